//! A plain TUF client for any repository, over http and file URLs: the contract of the public conformance suite.
//!
//! `D` holds trusted metadata under unversioned names, exactly as it came. Every failure is one error.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sigstore_tuf::cache::MetadataStore;
use sigstore_tuf::client::{HttpRepository, Updater};
use sigstore_tuf::transport::{FetchFuture, Repository};
use sigstore_tuf::{Error, TrustedMetadataSet};

use super::KitError;

/// Trusts a root on first use.
pub fn init(dir: &Path, root: &Path) -> Result<(), KitError> {
    let bytes = fs::read(root)?;
    TrustedMetadataSet::from_root(&bytes)?;
    fs::create_dir_all(dir)?;
    fs::write(dir.join("root.json"), bytes)?;
    Ok(())
}

/// Brings the metadata in `dir` up to date.
pub async fn refresh(dir: &Path, url: &str, now: Timestamp) -> Result<(), KitError> {
    updater(dir, url, url)?.refresh(now).await?;
    Ok(())
}

/// Brings the metadata up to date and downloads targets into `out`.
pub async fn download(
    dir: &Path,
    url: &str,
    names: &[String],
    base: &str,
    out: &Path,
    now: Timestamp,
) -> Result<(), KitError> {
    let mut updater = updater(dir, url, base)?;
    updater.refresh(now).await?;
    for name in names {
        let target = updater.get_target_info(name, now).await?;
        let target = target.ok_or_else(|| KitError::Untrusted(format!("no role signs target {name}")))?;
        // The name becomes one file name, so that no target can be written anywhere else.
        let to = out.join(escape(name));
        let same = fs::read(&to).ok().filter(|bytes| {
            let sha = target.hashes.get("sha256");
            bytes.len() as u64 == target.length && sha.is_some_and(|h| *h == hex(&sha2::Sha256::digest(bytes)))
        });
        if same.is_none() {
            let bytes = updater.download_target(&target, name).await?;
            fs::create_dir_all(out)?;
            fs::write(to, bytes)?;
        }
    }
    Ok(())
}

use sha2::Digest as _;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn escape(name: &str) -> String {
    name.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn updater(dir: &Path, url: &str, base: &str) -> Result<Updater, KitError> {
    let root = fs::read(dir.join("root.json"))?;
    let repository: Box<dyn Repository> = match url.strip_prefix("file://") {
        Some(path) => {
            Box::new(Files { metadata: path.into(), targets: base.strip_prefix("file://").unwrap_or(base).into() })
        }
        None => Box::new(HttpRepository::new(url)?.with_targets_base(base)?),
    };
    Ok(Updater::new(repository, &root)?.with_store(Folder(dir.to_owned())))
}

// Only trusted metadata under its plain name: no history, no targets.
struct Folder(PathBuf);

impl MetadataStore for Folder {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format!("reading {name}"), e)),
        }
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        let versioned = name.split('.').next().is_some_and(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()));
        if name.contains('/') || versioned {
            return Ok(());
        }
        fs::write(self.0.join(name), bytes).map_err(|e| Error::io(format!("writing {name}"), e))
    }
}

struct Files {
    metadata: PathBuf,
    targets: PathBuf,
}

fn read(folder: &Path, name: &str, most: u64) -> sigstore_tuf::Result<Option<Vec<u8>>> {
    if !Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_))) {
        return Err(Error::transport(format!("{name} points outside the repository")));
    }
    let path = folder.join(name);
    match fs::metadata(&path) {
        Ok(m) if m.len() > most => Err(Error::transport(format!("{name} is larger than {most} bytes"))),
        Ok(_) => fs::read(path).map(Some).map_err(|e| Error::io(format!("reading {name}"), e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("reading {name}"), e)),
    }
}

impl Repository for Files {
    fn fetch_metadata<'a>(&'a self, name: &'a str, most: u64) -> FetchFuture<'a> {
        Box::pin(async move { read(&self.metadata, name, most) })
    }

    fn fetch_target<'a>(&'a self, path: &'a str, most: u64) -> FetchFuture<'a> {
        Box::pin(async move { read(&self.targets, path, most) })
    }
}
