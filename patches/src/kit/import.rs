//! Taking a kit: verify everything from the pinned root down, stream every target into the object store, accept all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use aseptic_device::{ImageSource, Profile};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sigstore_tuf::metadata::{TargetFile, Targets};
use sigstore_tuf::{Error as TufError, TrustedMetadataSet};

use super::KitError;
use super::manifest::PatchManifest;
use super::source::Source;
use crate::mcuboot::McubootImage;

const ROOT_MOST: u64 = 512 * 1024;
const TIMESTAMP_MOST: u64 = 16 * 1024;
const SNAPSHOT_MOST: u64 = 2 << 20;
const TARGETS_MOST: u64 = 5 << 20;
const DOCUMENT_MOST: u64 = 1 << 20;
const ROTATIONS: u32 = 256;
const STEPS: u32 = 16;

/// What a laptop trusts: metadata files by name, as they came. Only [`import`] and enrolment change it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustState {
    /// `root.json` is the pinned root, replaced only by a chain of rotations; the others are version floors.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The latest moment at which a kit was taken.
    pub newest: Option<Timestamp>,
}

impl TrustState {
    /// Returns whether the pinned root is a root that signed itself.
    pub fn check(&self) -> Result<(), KitError> {
        let pinned = self.files.get("root.json").map_or(&[][..], Vec::as_slice);
        TrustedMetadataSet::from_root(pinned).map(drop).map_err(Into::into)
    }
}

/// How expiry is treated on a laptop without network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// Expired no longer than this: stale, and a named approver must accept it.
    pub stale: SignedDuration,
    /// Somebody accepted a stale kit.
    pub accepted: bool,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { stale: SignedDuration::from_hours(24 * 30), accepted: false }
    }
}

/// How fresh a kit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// No role has expired.
    Fresh,
    /// A role has expired, within the ladder, and a named approver accepted it.
    Stale,
}

/// A role and when it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RoleExpiry {
    /// Role.
    pub role: String,
    /// Version.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
}

/// Where targets go. Takes exactly `length` bytes with this hash, durably, or fails and keeps nothing.
pub trait ObjectSink {
    /// Streams one object in.
    fn put(&mut self, sha256: &[u8; 32], length: u64, from: &mut dyn Read) -> io::Result<()>;
    /// Opens an object that was put.
    fn open(&self, sha256: &[u8; 32]) -> io::Result<Box<dyn ImageSource>>;
}

/// A kit that was verified whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// What to trust from now on.
    pub state: TrustState,
    /// Patches.
    pub patches: Vec<PatchManifest>,
    /// Profiles, as text.
    pub profiles: Vec<String>,
    /// Baselines by id (the file's name without its ending), as text.
    pub baselines: Vec<(String, String)>,
    /// Roles with their expiry.
    pub roles: Vec<RoleExpiry>,
    /// How fresh it is.
    pub freshness: Freshness,
    /// The clock is earlier than when the last kit was taken.
    pub clock_jumped_back: bool,
}

struct Verified {
    set: TrustedMetadataSet,
    state: TrustState,
    vendors: Vec<(String, Targets)>,
}

/// Verifies a kit against what is trusted and takes its targets into `sink`. Nothing is accepted in part.
pub fn import(
    source: &mut Source,
    trusted: &TrustState,
    now: Timestamp,
    ladder: Ladder,
    sink: &mut dyn ObjectSink,
) -> Result<Imported, KitError> {
    let verified = verify(source, trusted, now, ladder)?;
    let Some(top) = verified.set.targets_role("targets").cloned() else {
        return Err(KitError::Untrusted("no targets role".into()));
    };
    let mut content =
        Content { sink, problems: Vec::new(), patches: Vec::new(), profiles: Vec::new(), baselines: Vec::new() };
    content.take_hospital(source, &top)?;
    for (vendor, targets) in &verified.vendors {
        content.take_vendor(source, vendor, targets)?;
    }
    let mut ids = BTreeSet::new();
    for patch in &content.patches {
        if !ids.insert(patch.id.clone()) {
            content.problems.push(format!("patch {} is there twice", patch.id));
        }
    }
    if !content.problems.is_empty() {
        return Err(KitError::Content(content.problems));
    }
    let roles = expiries(&verified, &top);
    let freshness = if roles.iter().any(|r| r.expires <= now) { Freshness::Stale } else { Freshness::Fresh };
    let mut state = verified.state;
    state.newest = trusted.newest.max(Some(now));
    Ok(Imported {
        state,
        patches: content.patches,
        profiles: content.profiles,
        baselines: content.baselines,
        roles,
        freshness,
        clock_jumped_back: trusted
            .newest
            .is_some_and(|newest| newest.duration_since(now) > SignedDuration::from_hours(24)),
    })
}

// Expired metadata is verified as of just before it expired; floors, signatures and hashes hold all the same.
fn verify(source: &mut Source, trusted: &TrustState, now: Timestamp, ladder: Ladder) -> Result<Verified, KitError> {
    let mut at = now;
    for _ in 0..STEPS {
        match verify_at(source, trusted, at) {
            Err(KitOrExpired::Expired { role, expires }) => {
                let late = now.duration_since(expires);
                if late > ladder.stale {
                    let rule = "that is too long ago, even for a laptop without network: get a newer kit".into();
                    return Err(KitError::Expired { role, expires, rule });
                }
                if !ladder.accepted {
                    let rule = "a named approver may accept it (--accept-stale NAME)".into();
                    return Err(KitError::Expired { role, expires, rule });
                }
                at = expires.checked_sub(SignedDuration::from_secs(1)).unwrap_or(expires);
            }
            Err(KitOrExpired::Kit(error)) => return Err(error),
            Ok(verified) => return Ok(verified),
        }
    }
    Err(KitError::Untrusted("expiries do not settle".into()))
}

enum KitOrExpired {
    Kit(KitError),
    Expired { role: String, expires: Timestamp },
}

impl From<KitError> for KitOrExpired {
    fn from(error: KitError) -> Self {
        Self::Kit(error)
    }
}

impl From<TufError> for KitOrExpired {
    fn from(error: TufError) -> Self {
        match error {
            TufError::Expired { role, expires } => Self::Expired { role, expires },
            other => Self::Kit(other.into()),
        }
    }
}

fn verify_at(source: &mut Source, trusted: &TrustState, at: Timestamp) -> Result<Verified, KitOrExpired> {
    let pinned = trusted
        .files
        .get("root.json")
        .ok_or_else(|| KitError::Untrusted("no root is pinned: run aseptic enrol".into()))?;
    let mut set = TrustedMetadataSet::from_root(pinned)?;
    let mut state = TrustState::default();
    for _ in 0..ROTATIONS {
        let next = format!("{}.root.json", set.root().version + 1);
        match source.metadata(&next, ROOT_MOST)? {
            Some(bytes) => set.update_root(&bytes)?,
            None => break,
        }
    }
    state.files.insert("root.json".into(), set.root_bytes().to_vec());
    set.check_root_expired(at)?;
    seed_floors(&mut set, trusted);
    let missing = |name: &str| KitOrExpired::Kit(KitError::Untrusted(format!("{name} is missing")));
    let timestamp = source.metadata("timestamp.json", TIMESTAMP_MOST)?.ok_or_else(|| missing("timestamp.json"))?;
    match set.update_timestamp(&timestamp, at) {
        Ok(()) | Err(TufError::EqualVersion { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    set.check_timestamp_expired(at)?;
    let consistent = set.root().consistent_snapshot;
    let named =
        |version: u64, role: &str| if consistent { format!("{version}.{role}.json") } else { format!("{role}.json") };
    let version = set
        .timestamp()
        .and_then(|t| t.snapshot_meta())
        .map(|m| m.version)
        .ok_or_else(|| missing("the snapshot's version"))?;
    let name = named(version, "snapshot");
    let snapshot = source.metadata(&name, SNAPSHOT_MOST)?.ok_or_else(|| missing(&name))?;
    set.update_snapshot(&snapshot, at)?;
    let pinned_version = |set: &TrustedMetadataSet, role: &str| {
        set.snapshot().and_then(|s| s.meta.get(&format!("{role}.json"))).map(|m| m.version)
    };
    let name = named(pinned_version(&set, "targets").ok_or_else(|| missing("targets.json"))?, "targets");
    let targets = source.metadata(&name, TARGETS_MOST)?.ok_or_else(|| missing(&name))?;
    let top = set.update_targets(&targets, at)?.clone();
    let mut vendors = Vec::new();
    for role in top.delegations.iter().flat_map(|d| &d.roles) {
        let vendor = vendor_of(&role.name, role.paths.as_deref()).map_err(KitError::Untrusted)?;
        let name = named(pinned_version(&set, &role.name).ok_or_else(|| missing(&role.name))?, &role.name);
        let bytes = source.metadata(&name, TARGETS_MOST)?.ok_or_else(|| missing(&name))?;
        let delegated = set.update_delegated_targets(&bytes, &role.name, "targets", at)?.clone();
        state.files.insert(format!("{}.json", role.name), bytes);
        vendors.push((vendor, delegated));
    }
    state.files.insert("timestamp.json".into(), timestamp);
    state.files.insert("snapshot.json".into(), snapshot);
    state.files.insert("targets.json".into(), targets);
    Ok(Verified { set, state, vendors })
}

// Versions that were once trusted are a floor, however long ago they expired.
fn seed_floors(set: &mut TrustedMetadataSet, trusted: &TrustState) {
    // At the beginning of time nothing has expired; what a rotated root no longer signs is no floor.
    if let Some(bytes) = trusted.files.get("timestamp.json") {
        let _ = set.update_timestamp(bytes, Timestamp::MIN);
    }
    if let Some(bytes) = trusted.files.get("snapshot.json") {
        let _ = set.update_snapshot(bytes, Timestamp::MIN);
    }
}

/// Returns the vendor of a delegated role; its name and path must be exactly the ones of the layout.
fn vendor_of(role: &str, paths: Option<&[String]>) -> Result<String, String> {
    let vendor = role
        .strip_prefix("vendor-")
        .filter(|v| !v.is_empty() && v.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
        .ok_or_else(|| format!("delegated role {role} is not named vendor-<id>"))?;
    let expected = super::author::vendor_path(vendor);
    if paths != Some(std::slice::from_ref(&expected)) {
        return Err(format!("role {role} must be delegated {expected} and nothing else"));
    }
    Ok(vendor.to_owned())
}

fn expiries(verified: &Verified, top: &Targets) -> Vec<RoleExpiry> {
    let set = &verified.set;
    let mut roles = vec![RoleExpiry { role: "root".into(), version: set.root().version, expires: set.root().expires }];
    roles.extend(set.timestamp().map(|r| RoleExpiry {
        role: "timestamp".into(),
        version: r.version,
        expires: r.expires,
    }));
    roles.extend(set.snapshot().map(|r| RoleExpiry {
        role: "snapshot".into(),
        version: r.version,
        expires: r.expires,
    }));
    roles.push(RoleExpiry { role: "targets".into(), version: top.version, expires: top.expires });
    roles.extend(verified.vendors.iter().map(|(vendor, t)| RoleExpiry {
        role: format!("vendor-{vendor}"),
        version: t.version,
        expires: t.expires,
    }));
    roles
}

struct Content<'a> {
    sink: &'a mut dyn ObjectSink,
    problems: Vec<String>,
    patches: Vec<PatchManifest>,
    profiles: Vec<String>,
    baselines: Vec<(String, String)>,
}

impl Content<'_> {
    fn take_hospital(&mut self, source: &mut Source, top: &Targets) -> Result<(), KitError> {
        for (path, file) in &top.targets {
            let Some(text) = self.document(source, path, file)? else { continue };
            if path.starts_with("hospital/profiles/") {
                match Profile::parse(&text) {
                    Ok(_) => self.profiles.push(text),
                    Err(error) => self.problems.push(format!("{path}: {error}")),
                }
            } else if let Some(id) = path.strip_prefix("hospital/baselines/").and_then(|f| f.strip_suffix(".toml")) {
                self.baselines.push((id.to_owned(), text));
            } else {
                self.problems.push(format!(
                    "{path}: the hospital's own targets are hospital/profiles/ and hospital/baselines/*.toml"
                ));
            }
        }
        Ok(())
    }

    fn take_vendor(&mut self, source: &mut Source, vendor: &str, targets: &Targets) -> Result<(), KitError> {
        if targets.delegations.as_ref().is_some_and(|d| !d.roles.is_empty()) {
            self.problems.push(format!("vendor {vendor} delegates further, which is not allowed"));
        }
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for (path, file) in &targets.targets {
            let Some(folder) = folder_of(path, vendor) else {
                self.problems.push(format!("{path} is not in {}", super::author::vendor_path(vendor)));
                continue;
            };
            if !path.ends_with("/patch.json") {
                continue;
            }
            used.insert(path);
            let Some(text) = self.document(source, path, file)? else { continue };
            let patch: PatchManifest = match serde_json::from_str(&text) {
                Ok(patch) => patch,
                Err(error) => {
                    self.problems.push(format!("{path}: {error}"));
                    continue;
                }
            };
            self.problems.extend(patch.problems(vendor, folder).into_iter().map(|p| format!("{path} {p}")));
            let image = format!("vendors/{vendor}/patches/{folder}/{}", patch.image.file);
            match targets.targets.get_key_value(&image) {
                None => {
                    self.problems.push(format!("{path}: its image {} is not signed by the vendor", patch.image.file))
                }
                Some((name, file)) => {
                    used.insert(name);
                    self.take_image(source, &patch, &image, file)?;
                }
            }
            self.patches.push(patch);
        }
        let unused = targets.targets.keys().filter(|p| !used.contains(p.as_str()) && folder_of(p, vendor).is_some());
        let unused: Vec<String> = unused.map(|p| format!("{p} belongs to no patch")).collect();
        self.problems.extend(unused);
        Ok(())
    }

    fn take_image(
        &mut self,
        source: &mut Source,
        patch: &PatchManifest,
        path: &str,
        file: &TargetFile,
    ) -> Result<(), KitError> {
        let Some(sha) = sha256_of(path, file, &mut self.problems) else { return Ok(()) };
        if hex(&sha) != patch.image.sha256 || file.length != patch.image.length {
            self.problems.push(format!("{path}: length or SHA-256 differ from patch.json"));
        }
        if !self.put(source, path, file, &sha)? {
            return Ok(());
        }
        match self.sink.open(&sha).map_err(Into::into).and_then(|image| McubootImage::read(image.as_ref())) {
            Ok(image) if image.hash != patch.image.hash => {
                self.problems.push(format!(
                    "{path}: the image's own hash is {}, patch.json says {}",
                    image.hash, patch.image.hash
                ));
            }
            Ok(image) if patch.version.compare(&as_scheme(&image, patch)) != Some(std::cmp::Ordering::Equal) => {
                self.problems
                    .push(format!("{path}: the image is version {}, patch.json says {}", image.version, patch.version));
            }
            Ok(_) => {}
            Err(error) => self.problems.push(format!("{path}: {error}")),
        }
        Ok(())
    }

    fn document(&mut self, source: &mut Source, path: &str, file: &TargetFile) -> Result<Option<String>, KitError> {
        let Some(sha) = sha256_of(path, file, &mut self.problems) else { return Ok(None) };
        if file.length > DOCUMENT_MOST {
            self.problems.push(format!("{path} is larger than {DOCUMENT_MOST} bytes"));
            return Ok(None);
        }
        let read = source.target(&consistent(path, &sha), |from| {
            let mut bytes = Vec::new();
            from.take(file.length + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        })?;
        let text = match read {
            None => Err("is missing"),
            Some(bytes) if bytes.len() as u64 != file.length || Sha256::digest(&bytes).as_slice() != sha => {
                Err("does not match its signed hash")
            }
            Some(bytes) => String::from_utf8(bytes).map_err(|_| "is not UTF-8 text"),
        };
        match text {
            Ok(text) => Ok(Some(text)),
            Err(why) => {
                self.problems.push(format!("{path} {why}"));
                Ok(None)
            }
        }
    }

    fn put(&mut self, source: &mut Source, path: &str, file: &TargetFile, sha: &[u8; 32]) -> Result<bool, KitError> {
        let sink = &mut *self.sink;
        let put = source.target(&consistent(path, sha), |from| Ok(sink.put(sha, file.length, from)))?;
        match put {
            Some(Ok(())) => Ok(true),
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                self.problems.push(format!("{path}: {error}"));
                Ok(false)
            }
            Some(Err(error)) => Err(error.into()),
            None => {
                self.problems.push(format!("{path} is missing"));
                Ok(false)
            }
        }
    }
}

fn as_scheme(image: &McubootImage, patch: &PatchManifest) -> aseptic_device::FirmwareVersion {
    aseptic_device::FirmwareVersion { scheme: patch.version.scheme, text: image.version.text.clone() }
}

fn folder_of<'a>(path: &'a str, vendor: &str) -> Option<&'a str> {
    let rest = path.strip_prefix("vendors/")?.strip_prefix(vendor)?.strip_prefix("/patches/")?;
    let (folder, file) = rest.split_once('/')?;
    let plain = |s: &str| {
        !s.is_empty() && s != "." && s != ".." && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    (plain(folder) && plain(file)).then_some(folder)
}

fn sha256_of(path: &str, file: &TargetFile, problems: &mut Vec<String>) -> Option<[u8; 32]> {
    let sha = file.hashes.get("sha256").and_then(|h| unhex(h));
    if sha.is_none() {
        problems.push(format!("{path} has no sha256 in its metadata"));
    }
    sha
}

fn consistent(path: &str, sha: &[u8; 32]) -> String {
    match path.rsplit_once('/') {
        Some((folder, file)) => format!("{folder}/{}.{file}", hex(sha)),
        None => format!("{}.{path}", hex(sha)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}
