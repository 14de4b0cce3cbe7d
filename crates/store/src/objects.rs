//! Images and documents by their SHA-256: written once, checked while written, checked again before use.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use aseptic_device::ImageSource;
use sha2::{Digest as _, Sha256};

use crate::db::sync_parent;
use crate::error::{During as _, StoreError, StoreErrorKind};

const PIECE: usize = 64 * 1024;

/// The folder of objects.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    dir: PathBuf,
}

impl ObjectStore {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Keeps objects in a folder outside a data directory, such as one that is thrown away.
    pub fn in_folder(dir: &Path) -> Self {
        Self::new(dir.to_owned())
    }

    fn path(&self, sha256: &str) -> PathBuf {
        let (first, rest) = sha256.split_at_checked(2).unwrap_or((sha256, ""));
        self.dir.join("sha256").join(first).join(rest)
    }

    /// Streams an object in. Nothing is left when its length or hash is not as named.
    pub fn put(&self, sha256: &[u8; 32], length: u64, from: &mut dyn Read) -> io::Result<()> {
        let name = hex(sha256);
        let path = self.path(&name);
        let folder = path.parent().unwrap_or(&self.dir).to_owned();
        fs::create_dir_all(&folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        let mut total = 0;
        loop {
            let n = from.read(&mut piece)?;
            if n == 0 {
                break;
            }
            let read = piece.get(..n).unwrap_or_default();
            total += n as u64;
            if total > length {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than named"));
            }
            hash.update(read);
            file.write_all(read)?;
        }
        if total != length || hash.finalize().as_slice() != sha256 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "content does not match its hash"));
        }
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|e| e.error)?;
        sync_parent(&path)?;
        sync_parent(&folder)
    }

    /// Opens an object and hashes it again first.
    pub fn open(&self, sha256: &str) -> Result<ObjectImage, StoreError> {
        let what = format!("open object {}", sha256.get(..12).unwrap_or(sha256));
        let mut file = File::open(self.path(sha256)).during(&what)?;
        let mut hash = Sha256::new();
        let length = io::copy(&mut file, &mut hash).during(&what)?;
        let digest: [u8; 32] = hash.finalize().into();
        if hex(&digest) != sha256 {
            return Err(StoreError::new(what, StoreErrorKind::WrongHash));
        }
        Ok(ObjectImage { file, length, digest })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An opened object. The open file stays the one that was hashed, whatever happens to its name.
#[derive(Debug)]
pub struct ObjectImage {
    file: File,
    length: u64,
    digest: [u8; 32],
}

impl ImageSource for ObjectImage {
    fn len(&self) -> u64 {
        self.length
    }

    fn sha256(&self) -> [u8; 32] {
        self.digest
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, offset)
    }

    #[cfg(not(unix))]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        use std::io::{Seek as _, SeekFrom};
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buf)
    }
}
