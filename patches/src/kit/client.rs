//! A plain TUF client for any repository, over http and file URLs: the contract of the public conformance suite.
//!
//! `D` holds trusted metadata under unversioned names, exactly as it came. Every failure is one error, and what was verified before
//! it is kept. sigstore-tuf verifies every file; the order of steps is ours. Its own `Updater` drops the trusted snapshot as soon as
//! a newer timestamp is kept, and so accepts on the second try a rollback that it refused on the first.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256, Sha512};
use sigstore_tuf::client::HttpRepository;
use sigstore_tuf::reqwest::Url;
use sigstore_tuf::transport::{FetchFuture, Repository};
use sigstore_tuf::{Error, MetaFile, Metadata, Snapshot, TargetFile, TrustedMetadataSet};

use super::KitError;

const TOP: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];
// Limits of python-tuf, which the specification leaves to the client.
const MOST_ROOTS: usize = 256;
const MOST_DELEGATIONS: usize = 32;
const ROOT_BYTES: u64 = 512_000;
const TIMESTAMP_BYTES: u64 = 16_384;
const SNAPSHOT_BYTES: u64 = 2_000_000;
const TARGETS_BYTES: u64 = 5_000_000;
// A target is held in memory until it is verified.
const TARGET_BYTES: u64 = 1 << 30;

/// Trusts a root on first use.
pub fn init(dir: &Path, root: &Path) -> Result<(), KitError> {
    let bytes = fs::read(root)?;
    TrustedMetadataSet::from_root(&bytes)?;
    fs::create_dir_all(dir)?;
    Ok(write(&dir.join("root.json"), &bytes)?)
}

/// Brings the metadata in `dir` up to date.
pub async fn refresh(dir: &Path, url: &str, now: Timestamp) -> Result<(), KitError> {
    Client::open(dir, url, now)?.refresh().await
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
    let mut client = Client::open(dir, url, now)?;
    let targets = place(base)?;
    client.refresh().await?;
    for name in names {
        let target = client.find(name).await?;
        let target = target.ok_or_else(|| untrusted(format!("no role signs target {name}")))?;
        // The name becomes one file name, so that no target can be written anywhere else.
        let to = out.join(file_name(name));
        if !fs::read(&to).is_ok_and(|bytes| fits(&bytes, &target)) {
            let bytes = client.fetch_target(targets.as_ref(), name, &target).await?;
            fs::create_dir_all(out)?;
            write(&to, &bytes)?;
        }
    }
    Ok(())
}

struct Client {
    metadata: Box<dyn Repository>,
    dir: PathBuf,
    trusted: TrustedMetadataSet,
    now: Timestamp,
}

impl Client {
    fn open(dir: &Path, url: &str, now: Timestamp) -> Result<Self, KitError> {
        let trusted = TrustedMetadataSet::from_root(&fs::read(dir.join("root.json"))?)?;
        Ok(Self { metadata: place(url)?, dir: dir.to_owned(), trusted, now })
    }

    async fn refresh(&mut self) -> Result<(), KitError> {
        self.update_root().await?;
        self.trusted.check_root_expired(self.now)?;
        self.update_timestamp().await?;
        self.update_snapshot().await?;
        self.load("targets", None).await
    }

    async fn update_root(&mut self) -> Result<(), KitError> {
        for _ in 0..MOST_ROOTS {
            let name = format!("{}.root.json", self.trusted.root().version.saturating_add(1));
            let Some(bytes) = self.metadata.fetch_metadata(&name, ROOT_BYTES).await? else { break };
            self.trusted.update_root(&bytes)?;
            self.keep("root", &bytes)?;
        }
        Ok(())
    }

    async fn update_timestamp(&mut self) -> Result<(), KitError> {
        if let Some(kept) = self.kept("timestamp") {
            // At the beginning of time nothing has expired; what the root no longer signs is no floor.
            self.trusted.update_timestamp(&kept, Timestamp::MIN).ok();
        }
        let bytes = self.fetch("timestamp.json", TIMESTAMP_BYTES).await?;
        match self.trusted.update_timestamp(&bytes, self.now) {
            Ok(()) => self.keep("timestamp", &bytes)?,
            Err(Error::EqualVersion { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.trusted.check_timestamp_expired(self.now)?)
    }

    async fn update_snapshot(&mut self) -> Result<(), KitError> {
        let pin = self.trusted.timestamp().and_then(|t| t.snapshot_meta()).cloned();
        let pin = pin.ok_or_else(|| untrusted("timestamp pins no snapshot"))?;
        let kept = self.kept("snapshot");
        let floor = kept.as_ref().and_then(|bytes| self.signed_snapshot(bytes));
        if kept.is_some_and(|bytes| self.trusted.update_snapshot(&bytes, self.now).is_ok()) {
            return Ok(());
        }
        let bytes = self.fetch_pinned("snapshot", &pin, SNAPSHOT_BYTES).await?;
        self.trusted.update_snapshot(&bytes, self.now)?;
        if let (Some(floor), Some(new)) = (floor, self.trusted.snapshot()) {
            not_back(&floor, new)?;
        }
        self.keep("snapshot", &bytes)
    }

    // A snapshot that was trusted before, whatever the timestamp says of it now: its versions are a floor.
    fn signed_snapshot(&self, bytes: &[u8]) -> Option<Snapshot> {
        let snapshot = Metadata::<Snapshot>::from_slice(bytes).ok()?;
        let root = self.trusted.root();
        snapshot.verify_threshold(&root.keys, root.role("snapshot")?, "snapshot").ok()?;
        Some(snapshot.into_signed())
    }

    // Targets are delegated by the root, every other role by a targets role.
    async fn load(&mut self, role: &str, by: Option<&str>) -> Result<(), KitError> {
        let pin = self.trusted.snapshot().and_then(|s| s.meta.get(&format!("{role}.json"))).cloned();
        let pin = pin.ok_or_else(|| untrusted(format!("snapshot pins no role {role}")))?;
        if self.kept(role).is_some_and(|bytes| self.accept(role, by, &bytes).is_ok()) {
            return Ok(());
        }
        let bytes = self.fetch_pinned(role, &pin, TARGETS_BYTES).await?;
        self.accept(role, by, &bytes)?;
        self.keep(role, &bytes)
    }

    fn accept(&mut self, role: &str, by: Option<&str>, bytes: &[u8]) -> Result<(), Error> {
        match by {
            None => self.trusted.update_targets(bytes, self.now),
            Some(by) => self.trusted.update_delegated_targets(bytes, role, by, self.now),
        }
        .map(drop)
    }

    // Depth first, in the order of delegation. A role that cannot be verified ends the search: the next might sign something worse.
    async fn find(&mut self, name: &str) -> Result<Option<TargetFile>, KitError> {
        let mut waiting: Vec<(String, Option<String>)> = vec![("targets".to_owned(), None)];
        let mut seen = BTreeSet::new();
        while let Some((role, by)) = waiting.pop() {
            if seen.contains(&role) {
                continue;
            }
            if seen.len() > MOST_DELEGATIONS {
                break;
            }
            match by {
                Some(by) if self.trusted.targets_role(&role).is_some() => {
                    self.trusted.verify_delegated_targets(&role, &by, self.now)?;
                }
                Some(by) => self.load(&role, Some(&by)).await?,
                None => {}
            }
            let Some(targets) = self.trusted.targets_role(&role) else { break };
            if let Some(target) = targets.target(name) {
                return Ok(Some(target.clone()));
            }
            let mut next = Vec::new();
            for child in targets.delegations.iter().flat_map(|d| &d.roles) {
                // Some systems do not tell `Root.json` from `root.json`.
                if TOP.iter().any(|top| top.eq_ignore_ascii_case(&child.name)) {
                    return Err(untrusted(format!("{role} delegates to a role called {}", child.name)));
                }
                if child.matches_path(name)? {
                    next.push((child.name.clone(), Some(role.clone())));
                    if child.terminating {
                        waiting.clear();
                        break;
                    }
                }
            }
            waiting.extend(next.into_iter().rev());
            seen.insert(role);
        }
        Ok(None)
    }

    async fn fetch_target(
        &self,
        targets: &dyn Repository,
        name: &str,
        target: &TargetFile,
    ) -> Result<Vec<u8>, KitError> {
        if name.split('/').any(|part| matches!(part, "." | ".." | "")) {
            return Err(untrusted(format!("target {name} is no path within a repository")));
        }
        if target.length > TARGET_BYTES {
            return Err(untrusted(format!("target {name} is larger than {TARGET_BYTES} bytes")));
        }
        let path = if self.trusted.root().consistent_snapshot {
            let hash = target.hashes.get("sha256").or_else(|| target.hashes.values().next());
            let hash = hash.ok_or_else(|| untrusted(format!("target {name} has no hash")))?;
            match name.rsplit_once('/') {
                Some((folder, last)) => format!("{folder}/{hash}.{last}"),
                None => format!("{hash}.{name}"),
            }
        } else {
            name.to_owned()
        };
        let bytes = targets.fetch_target(&path, target.length).await?;
        bytes
            .ok_or_else(|| untrusted(format!("target {name} is not there")))
            .and_then(|b| if fits(&b, target) { Ok(b) } else { Err(untrusted(format!("target {name} was changed"))) })
    }

    async fn fetch_pinned(&self, role: &str, pin: &MetaFile, most: u64) -> Result<Vec<u8>, KitError> {
        let role = escape(role);
        let name = match self.trusted.root().consistent_snapshot {
            true => format!("{}.{role}.json", pin.version),
            false => format!("{role}.json"),
        };
        self.fetch(&name, pin.length.map_or(most, |length| length.min(most))).await
    }

    async fn fetch(&self, name: &str, most: u64) -> Result<Vec<u8>, KitError> {
        let bytes = self.metadata.fetch_metadata(name, most).await?;
        bytes.ok_or_else(|| untrusted(format!("{name} is not there")))
    }

    fn path(&self, role: &str) -> PathBuf {
        self.dir.join(format!("{}.json", file_name(role)))
    }

    // What cannot be read is fetched anew; whatever is read is verified again.
    fn kept(&self, role: &str) -> Option<Vec<u8>> {
        fs::read(self.path(role)).ok()
    }

    fn keep(&self, role: &str, bytes: &[u8]) -> Result<(), KitError> {
        Ok(write(&self.path(role), bytes)?)
    }
}

fn untrusted(why: impl Display) -> KitError {
    KitError::Untrusted(why.to_string())
}

fn not_back(floor: &Snapshot, new: &Snapshot) -> Result<(), KitError> {
    for (role, old) in &floor.meta {
        match new.meta.get(role) {
            None => return Err(untrusted(format!("snapshot forgets {role}"))),
            Some(pin) if pin.version < old.version => {
                return Err(untrusted(format!("{role} goes back from version {} to {}", old.version, pin.version)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

// Every hash we know must be right, and there must be one.
fn fits(bytes: &[u8], target: &TargetFile) -> bool {
    let right: Vec<bool> = (target.hashes.iter())
        .filter_map(|(algorithm, hash)| match algorithm.as_str() {
            "sha256" => Some(hex(&Sha256::digest(bytes)).eq_ignore_ascii_case(hash)),
            "sha512" => Some(hex(&Sha512::digest(bytes)).eq_ignore_ascii_case(hash)),
            _ => None,
        })
        .collect();
    bytes.len() as u64 == target.length && !right.is_empty() && right.iter().all(|r| *r)
}

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

// No file system takes names of any length.
fn file_name(name: &str) -> String {
    match escape(name) {
        long if long.len() > 200 => hex(&Sha256::digest(name)),
        short => short,
    }
}

// A reader finds the old file or the new one, also after a power cut. No name of ours ends like the file between.
fn write(to: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = to.as_os_str().to_owned();
    part.push("%part");
    let written = fs::File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&part, to)).inspect_err(|_| {
        fs::remove_file(&part).ok();
    })
}

fn place(url: &str) -> Result<Box<dyn Repository>, KitError> {
    let parsed = Url::parse(url).map_err(|e| untrusted(format!("{url}: {e}")))?;
    if parsed.scheme() != "file" {
        return Ok(Box::new(Web(HttpRepository::new(url)?.with_targets_base(url)?)));
    }
    match parsed.to_file_path() {
        Ok(path) => Ok(Box::new(Folder(path))),
        Err(()) => Err(untrusted(format!("{url} names no folder"))),
    }
}

struct Web(HttpRepository);

impl Repository for Web {
    fn fetch_metadata<'a>(&'a self, name: &'a str, most: u64) -> FetchFuture<'a> {
        self.0.fetch_metadata(name, most)
    }

    // A name is content: it must not become a query, a fragment or another host.
    fn fetch_target<'a>(&'a self, path: &'a str, most: u64) -> FetchFuture<'a> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&b);
        let quoted = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
        let path = format!("./{}", path.bytes().map(quoted).collect::<String>());
        Box::pin(async move { self.0.fetch_target(&path, most).await })
    }
}

struct Folder(PathBuf);

impl Folder {
    fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        if !Path::new(name).components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(Error::transport(format!("{name} points outside the repository")));
        }
        let path = self.0.join(name);
        match fs::metadata(&path) {
            Ok(m) if m.len() > most => Err(Error::transport(format!("{name} is larger than {most} bytes"))),
            Ok(_) => fs::read(path).map(Some).map_err(|e| Error::io(format!("reading {name}"), e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format!("reading {name}"), e)),
        }
    }
}

impl Repository for Folder {
    fn fetch_metadata<'a>(&'a self, name: &'a str, most: u64) -> FetchFuture<'a> {
        Box::pin(async move { self.read(name, most) })
    }

    fn fetch_target<'a>(&'a self, path: &'a str, most: u64) -> FetchFuture<'a> {
        Box::pin(async move { self.read(path, most) })
    }
}
