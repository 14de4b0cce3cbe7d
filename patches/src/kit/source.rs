//! Where a kit lies: a folder, or one ZIP whose entries are stored, never extracted.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;

use super::KitError;

const MOST_ENTRIES: usize = 100_000;
const CENTRAL_ENTRY: u32 = 0x0201_4b50;

/// A kit that can be read.
pub enum Source {
    /// `metadata/` and `targets/` in a folder.
    Folder(PathBuf),
    /// The same in a ZIP file.
    Zip(Box<ZipArchive<File>>),
}

impl Source {
    /// Opens a folder or a ZIP file and refuses a ZIP that could mean two things.
    pub fn open(path: &Path) -> Result<Self, KitError> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let names = central_names(path)?;
        let bad = |what: String| KitError::Content(vec![what]);
        let mut archive = ZipArchive::new(File::open(path)?).map_err(|e| bad(format!("not a zip file: {e}")))?;
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        for name in &names {
            if !seen.insert(name) {
                problems.push(format!("entry {} is there twice", String::from_utf8_lossy(name)));
            }
        }
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(|e| bad(e.to_string()))?;
            let name = entry.name().to_owned();
            if entry.enclosed_name().is_none() || name.contains('\\') {
                problems.push(format!("entry {name:?} points outside the kit"));
            }
            if entry.encrypted() {
                problems.push(format!("entry {name:?} is encrypted"));
            }
            if entry.compression() != zip::CompressionMethod::Stored || entry.compressed_size() != entry.size() {
                problems.push(format!("entry {name:?} is compressed; kits hold stored entries only"));
            }
        }
        if problems.is_empty() { Ok(Self::Zip(Box::new(archive))) } else { Err(KitError::Content(problems)) }
    }

    /// Returns a metadata file of at most `most` bytes; `None` where there is none.
    pub fn metadata(&mut self, name: &str, most: u64) -> Result<Option<Vec<u8>>, KitError> {
        self.with(&format!("metadata/{name}"), |from| {
            let mut bytes = Vec::new();
            from.take(most + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        })?
        .map_or(Ok(None), |bytes| {
            if bytes.len() as u64 > most {
                return Err(KitError::Untrusted(format!("{name} is larger than {most} bytes")));
            }
            Ok(Some(bytes))
        })
    }

    /// Gives a target file to `take`; `None` where there is none.
    pub fn target<T>(
        &mut self,
        path: &str,
        take: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<Option<T>, KitError> {
        self.with(&format!("targets/{path}"), take)
    }

    fn with<T>(
        &mut self,
        name: &str,
        take: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<Option<T>, KitError> {
        match self {
            Self::Folder(dir) => {
                let relative = Path::new(name);
                if !relative.components().all(|c| matches!(c, Component::Normal(_))) {
                    return Err(KitError::Content(vec![format!("{name} points outside the kit")]));
                }
                match File::open(dir.join(relative)) {
                    Ok(mut file) => Ok(Some(take(&mut file)?)),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(e.into()),
                }
            }
            Self::Zip(archive) => match archive.by_name(name) {
                Ok(mut entry) => Ok(Some(take(&mut entry)?)),
                Err(zip::result::ZipError::FileNotFound) => Ok(None),
                Err(e) => Err(KitError::Content(vec![format!("{name}: {e}")])),
            },
        }
    }
}

// The names as the central directory writes them. The library keeps one of two equal names without a word.
fn central_names(path: &Path) -> Result<Vec<Vec<u8>>, KitError> {
    let mut file = File::open(path)?;
    let bad = |what: &str| KitError::Content(vec![what.to_owned()]);
    let start =
        ZipArchive::new(file.try_clone()?).map_err(|e| bad(&format!("not a zip file: {e}")))?.central_directory_start();
    file.seek(SeekFrom::Start(start))?;
    let mut reader = io::BufReader::new(file);
    let mut names = Vec::new();
    loop {
        let mut head = [0; 46];
        if reader.read_exact(&mut head).is_err() {
            return Ok(names);
        }
        let u16_at = |i: usize| head.get(i..i + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes);
        if head.first_chunk::<4>().map(|b| u32::from_le_bytes(*b)) != Some(CENTRAL_ENTRY) {
            return Ok(names);
        }
        let mut name = vec![0; usize::from(u16_at(28))];
        reader.read_exact(&mut name)?;
        let skip = u64::from(u16_at(30)) + u64::from(u16_at(32));
        io::copy(&mut (&mut reader).take(skip), &mut io::sink())?;
        names.push(name);
        if names.len() > MOST_ENTRIES {
            return Err(bad("too many entries"));
        }
    }
}
