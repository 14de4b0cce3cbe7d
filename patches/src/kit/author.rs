//! Making kits: a working folder that hospital and vendors fill and sign in turn, packed into a folder or ZIP.
//!
//! The working folder holds `metadata/<role>.json` (signed or not yet), `metadata/<n>.root.json`, `targets/` under
//! plain names and, where keys were generated here, `keys/<role>.pem`. Metadata is TUF 1.0 JSON with ed25519 keys,
//! signed over OLPC canonical JSON.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aseptic_device::{FirmwareVersion, ImageSource};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use jiff::{SignedDuration, Timestamp};
use rand::{CryptoRng, RngCore};
use serde::Serialize as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::KitError;
use super::manifest::{PATCH_SCHEMA, PatchImage, PatchManifest};
use crate::mcuboot::McubootImage;

const TOP: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

fn fail(what: impl Into<String>) -> KitError {
    KitError::Authoring(what.into())
}

/// Returns the only path that a vendor is delegated.
pub fn vendor_path(vendor: &str) -> String {
    format!("vendors/{vendor}/patches/*/*")
}

/// What a new patch says; length, hashes and schema are filled in.
#[derive(Debug, Clone)]
pub struct NewPatch {
    /// Patch id.
    pub id: String,
    /// Vendor id.
    pub vendor: String,
    /// One line for people.
    pub title: String,
    /// What it changes.
    pub notes: String,
    /// Profiles that it is for.
    pub profiles: Vec<String>,
    /// Hardware revisions; empty for any.
    pub hardware: Vec<String>,
    /// Versions that it may be installed over; empty for any older one.
    pub from: Vec<String>,
    /// Version that it installs; `None` for the image's own.
    pub version: Option<FirmwareVersion>,
    /// A signed rollback.
    pub rollback: bool,
    /// Advisories that it closes.
    pub advisories: Vec<String>,
    /// Minutes that it takes.
    pub minutes: u32,
}

/// A working folder.
#[derive(Debug, Clone)]
pub struct Draft {
    dir: PathBuf,
}

impl Draft {
    /// Starts a kit. Each of `keys` (PKCS#8, PEM) becomes a key of every top role; without any, one key a role is generated in `keys/`.
    pub fn create(
        dir: &Path,
        keys: &[PathBuf],
        threshold: usize,
        expires: Timestamp,
        random: &mut (impl RngCore + CryptoRng),
    ) -> Result<Self, KitError> {
        let draft = Self { dir: dir.to_owned() };
        if draft.metadata("root").exists() {
            return Err(fail(format!("{} already holds a kit", dir.display())));
        }
        for part in ["metadata", "targets"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let mut all_keys = serde_json::Map::new();
        let mut roles = serde_json::Map::new();
        let given: Vec<VerifyingKey> = keys.iter().map(|k| public_key(k)).collect::<Result<_, _>>()?;
        for role in TOP {
            let publics = if given.is_empty() { vec![draft.generate_key(role, random)?] } else { given.clone() };
            if threshold == 0 || threshold > publics.len() {
                return Err(fail(format!(
                    "a threshold of {threshold} needs as many keys; there are {}",
                    publics.len()
                )));
            }
            let ids: Vec<String> = publics.iter().map(key_id).collect::<Result<_, _>>()?;
            for (id, key) in ids.iter().zip(&publics) {
                all_keys.insert(id.clone(), key_json(key));
            }
            roles.insert(role.into(), json!({ "keyids": ids, "threshold": threshold }));
        }
        draft.save(
            "root",
            &json!({
                "_type": "root", "spec_version": "1.0.31", "version": 1, "expires": seconds(expires),
                "consistent_snapshot": true, "keys": all_keys, "roles": roles,
            }),
            &[],
        )?;
        draft.save(
            "targets",
            &json!({
                "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": seconds(expires), "targets": {},
            }),
            &[],
        )?;
        Ok(draft)
    }

    /// Opens a working folder.
    pub fn open(dir: &Path) -> Result<Self, KitError> {
        let draft = Self { dir: dir.to_owned() };
        if draft.metadata("targets").exists() || draft.dir.join("metadata").is_dir() {
            return Ok(draft);
        }
        Err(fail(format!("{} is not a kit's working folder: start one with aseptic kit new", dir.display())))
    }

    fn metadata(&self, role: &str) -> PathBuf {
        self.dir.join("metadata").join(format!("{role}.json"))
    }

    /// Generates a key pair; the private half goes to `keys/<name>.pem`, for the owner only.
    pub fn generate_key(&self, name: &str, random: &mut (impl RngCore + CryptoRng)) -> Result<VerifyingKey, KitError> {
        generate_key(&self.dir.join("keys").join(format!("{name}.pem")), random)
    }

    /// Delegates `vendors/<vendor>/patches/` to a vendor's keys (public or private, PEM).
    pub fn delegate(
        &self,
        vendor: &str,
        keys: &[PathBuf],
        threshold: usize,
        expires: Timestamp,
    ) -> Result<(), KitError> {
        if vendor.is_empty() || !vendor.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            return Err(fail("a vendor id is lower-case letters, digits and '-'"));
        }
        if threshold == 0 || threshold > keys.len() {
            return Err(fail(format!("a threshold of {threshold} needs as many keys; there are {}", keys.len())));
        }
        let publics: Vec<VerifyingKey> = keys.iter().map(|k| public_key(k)).collect::<Result<_, _>>()?;
        let ids: Vec<String> = publics.iter().map(key_id).collect::<Result<_, _>>()?;
        let role = format!("vendor-{vendor}");
        let mut targets = self.editable("targets")?;
        let delegations = entry(&mut targets, "delegations", json!({ "keys": {}, "roles": [] }))?;
        for (id, key) in ids.iter().zip(&publics) {
            object(delegations, "keys")?.insert(id.clone(), key_json(key));
        }
        let Some(roles) = delegations.get_mut("roles").and_then(Value::as_array_mut) else {
            return Err(fail("targets.json: delegations are damaged"));
        };
        roles.retain(|r| r.get("name").and_then(Value::as_str) != Some(&role));
        roles.push(json!({
            "name": role, "keyids": ids, "threshold": threshold, "terminating": true, "paths": [vendor_path(vendor)],
        }));
        self.save("targets", &targets, &[])?;
        if !self.metadata(&role).exists() {
            self.save(&role, &json!({
                "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": seconds(expires), "targets": {},
            }), &[])?;
        }
        Ok(())
    }

    /// Adds a patch with its image to a vendor's role.
    pub fn add_patch(&self, new: NewPatch, image: &Path, expires: Timestamp) -> Result<PatchManifest, KitError> {
        let bytes = FileImage::open(image)?;
        let read = McubootImage::read(&bytes).map_err(|e| fail(format!("{}: {e}", image.display())))?;
        let file = image.file_name().and_then(|n| n.to_str()).filter(|n| *n != "patch.json");
        let file = file.ok_or_else(|| fail("the image's file name cannot be used in a kit"))?.to_owned();
        let manifest = PatchManifest {
            schema: PATCH_SCHEMA.into(),
            id: new.id,
            vendor: new.vendor,
            title: new.title,
            notes: new.notes,
            profiles: new.profiles,
            hardware: new.hardware,
            from: new.from,
            version: new.version.unwrap_or(read.version),
            image: PatchImage {
                file: file.clone(),
                length: bytes.len(),
                sha256: hex(&bytes.sha256()),
                hash: read.hash,
                number: aseptic_device::ImageId(0),
            },
            rollback: new.rollback,
            advisories: new.advisories,
            minutes: new.minutes,
        };
        let role = format!("vendor-{}", manifest.vendor);
        if !self.metadata(&role).exists() {
            let start = json!({
                "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": seconds(expires), "targets": {},
            });
            self.save(&role, &start, &[])?;
        }
        let folder = format!("vendors/{}/patches/{}", manifest.vendor, manifest.id);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| fail(e.to_string()))?;
        self.put_target(&format!("{folder}/patch.json"), &mut text.as_slice())?;
        self.put_target(&format!("{folder}/{file}"), &mut File::open(image)?)?;
        self.list(&role, &[format!("{folder}/patch.json"), format!("{folder}/{file}")])?;
        Ok(manifest)
    }

    /// Takes a patch out of a vendor's role: laptops that take the next kit no longer have it.
    pub fn withdraw(&self, vendor: &str, id: &str) -> Result<(), KitError> {
        let role = format!("vendor-{vendor}");
        let folder = format!("vendors/{vendor}/patches/{id}/");
        let mut signed = self.editable(&role)?;
        let targets = object(&mut signed, "targets")?;
        let before = targets.len();
        targets.retain(|path, _| !path.starts_with(&folder));
        if targets.len() == before {
            return Err(fail(format!("{role} carries no patch {id}")));
        }
        self.save(&role, &signed, &[])
    }

    /// Adds a profile or baseline to the hospital's own targets. `kind`: `profiles` or `baselines`.
    pub fn add_hospital(&self, kind: &str, file: &Path) -> Result<(), KitError> {
        let name =
            file.file_name().and_then(|n| n.to_str()).ok_or_else(|| fail("the file name cannot be used in a kit"))?;
        let path = format!("hospital/{kind}/{name}");
        self.put_target(&path, &mut File::open(file)?)?;
        self.list("targets", &[path])
    }

    fn put_target(&self, path: &str, from: &mut dyn io::Read) -> Result<(), KitError> {
        let to = self.dir.join("targets").join(path);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        io::copy(from, &mut File::create(to)?)?;
        Ok(())
    }

    fn list(&self, role: &str, paths: &[String]) -> Result<(), KitError> {
        let mut signed = self.editable(role)?;
        for path in paths {
            let file = FileImage::open(&self.dir.join("targets").join(path))?;
            let entry = json!({ "length": file.len(), "hashes": { "sha256": hex(&file.sha256()) } });
            object(&mut signed, "targets")?.insert(path.clone(), entry);
        }
        self.save(role, &signed, &[])
    }

    /// Replaces the keys of the root role. Both the old and the new keys must sign the new root.
    pub fn rotate_root(&self, keys: &[PathBuf], threshold: usize, expires: Timestamp) -> Result<(), KitError> {
        let mut root = self.editable("root")?;
        let publics: Vec<VerifyingKey> = keys.iter().map(|k| public_key(k)).collect::<Result<_, _>>()?;
        let ids: Vec<String> = publics.iter().map(key_id).collect::<Result<_, _>>()?;
        if threshold == 0 || threshold > ids.len() {
            return Err(fail(format!("a threshold of {threshold} needs as many keys; there are {}", ids.len())));
        }
        for (id, key) in ids.iter().zip(&publics) {
            object(&mut root, "keys")?.insert(id.clone(), key_json(key));
        }
        object(&mut root, "roles")?.insert("root".into(), json!({ "keyids": ids, "threshold": threshold }));
        if let Some(map) = root.as_object_mut() {
            map.insert("expires".into(), seconds(expires).into());
        }
        self.save("root", &root, &[])
    }

    /// Adds a key's signature to a role; returns how many signatures it now has.
    pub fn sign(&self, role: &str, key: &Path) -> Result<usize, KitError> {
        let secret = private_key(key)?;
        let (signed, mut signatures) = self.load(role)?;
        let id = key_id(&secret.verifying_key())?;
        let sig = hex(&secret.sign(&canonical(&signed)?).to_bytes());
        signatures.retain(|s| s.get("keyid").and_then(Value::as_str) != Some(&id));
        signatures.push(json!({ "keyid": id, "sig": sig }));
        self.save(role, &signed, &signatures)?;
        Ok(signatures.len())
    }

    /// Signs every role that is not signed yet with the keys in `keys/` that belong to it.
    pub fn sign_with_own_keys(&self) -> Result<(), KitError> {
        for role in self.roles()? {
            let key = self.dir.join("keys").join(format!("{role}.pem"));
            if key.exists() && self.load(&role)?.1.is_empty() {
                self.sign(&role, &key)?;
            }
        }
        Ok(())
    }

    fn roles(&self) -> Result<Vec<String>, KitError> {
        let mut roles = Vec::new();
        for entry in fs::read_dir(self.dir.join("metadata"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(role) = name.strip_suffix(".json").filter(|r| !r.starts_with(|c: char| c.is_ascii_digit())) {
                roles.push(role.to_owned());
            }
        }
        roles.sort();
        Ok(roles)
    }

    /// Writes snapshot and timestamp, signs what its own keys can sign, and packs a ZIP or, without `.zip`, a folder.
    ///
    /// Where others hold the keys of snapshot or timestamp, the error says what to sign; pack again afterwards.
    pub fn pack(&self, out: &Path, expires: Timestamp) -> Result<(), KitError> {
        self.sign_with_own_keys()?;
        let (root, _) = self.load("root")?;
        fs::copy(self.metadata("root"), self.metadata(&format!("{}.root", version(&root))))?;
        let meta = self.snapshot_meta()?;
        if !self.awaits_only_packing(&meta, expires) {
            self.write_snapshot(meta, expires)?;
        }
        self.sign_with_own_keys()?;
        let files = self.files()?;
        if out.extension().is_some_and(|e| e == "zip") { pack_zip(out, &files) } else { pack_folder(out, &files) }
    }

    fn snapshot_meta(&self) -> Result<serde_json::Map<String, Value>, KitError> {
        let mut meta = serde_json::Map::new();
        for role in self.roles()? {
            if role == "targets" || role.starts_with("vendor-") {
                let (signed, signatures) = self.load(&role)?;
                if signatures.is_empty() {
                    return Err(fail(format!("{role} is not signed: aseptic kit sign DIR {role} --key FILE")));
                }
                meta.insert(format!("{role}.json"), json!({ "version": version(&signed) }));
            }
        }
        Ok(meta)
    }

    // Snapshot and timestamp were written for this content less than a day ago and signed by others since.
    fn awaits_only_packing(&self, meta: &serde_json::Map<String, Value>, expires: Timestamp) -> bool {
        ["snapshot", "timestamp"].iter().all(|role| {
            let Ok((signed, signatures)) = self.load(role) else { return false };
            let until = signed.get("expires").and_then(Value::as_str).and_then(|t| t.parse::<Timestamp>().ok());
            let fresh = until.is_some_and(|t| expires.duration_since(t).abs() < SignedDuration::from_hours(24));
            let same = *role == "timestamp" || signed.get("meta").and_then(Value::as_object) == Some(meta);
            let by_others = !self.dir.join("keys").join(format!("{role}.pem")).exists();
            by_others && fresh && same && !signatures.is_empty()
        })
    }

    fn write_snapshot(&self, meta: serde_json::Map<String, Value>, expires: Timestamp) -> Result<(), KitError> {
        for (role, of) in [("snapshot", meta), ("timestamp", serde_json::Map::new())] {
            let next = self.load(role).map(|(signed, _)| version(&signed) + 1).unwrap_or(1);
            let meta = if role == "snapshot" {
                of
            } else {
                let (snapshot, _) = self.load("snapshot")?;
                [("snapshot.json".to_owned(), json!({ "version": version(&snapshot) }))].into_iter().collect()
            };
            let signed = json!({
                "_type": role, "spec_version": "1.0.31", "version": next, "expires": seconds(expires), "meta": meta,
            });
            self.save(role, &signed, &[])?;
        }
        Ok(())
    }

    // Every file of the kit under its name there.
    fn files(&self) -> Result<BTreeMap<String, PathBuf>, KitError> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(self.dir.join("metadata"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".root.json") || name == "timestamp.json" {
                files.insert(format!("metadata/{name}"), entry.path());
            }
        }
        for role in self.roles()? {
            let (signed, signatures) = self.load(&role)?;
            if signatures.is_empty() {
                return Err(fail(format!("{role} is not signed: aseptic kit sign DIR {role} --key FILE")));
            }
            if role != "timestamp" && role != "root" {
                files.insert(format!("metadata/{}.{role}.json", version(&signed)), self.metadata(&role));
            }
            for (path, file) in signed.get("targets").and_then(Value::as_object).into_iter().flatten() {
                let sha = file.pointer("/hashes/sha256").and_then(Value::as_str).unwrap_or_default();
                let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
                files.insert(format!("targets/{folder}/{sha}.{name}"), self.dir.join("targets").join(path));
            }
        }
        Ok(files)
    }

    // A role's content to be changed: one version above what was last packed, its signatures dropped when saved.
    fn editable(&self, role: &str) -> Result<Value, KitError> {
        let (mut signed, _) = self.load(role)?;
        let packed = if role == "root" {
            self.metadata(&format!("{}.root", version(&signed))).exists().then(|| version(&signed))
        } else {
            let snapshot = self.load("snapshot").ok();
            snapshot.and_then(|(s, _)| s.get("meta")?.get(format!("{role}.json"))?.get("version")?.as_u64())
        };
        if let (Some(packed), Some(map)) = (packed, signed.as_object_mut()) {
            map.insert("version".into(), (packed + 1).into());
        }
        Ok(signed)
    }

    fn load(&self, role: &str) -> Result<(Value, Vec<Value>), KitError> {
        let text = fs::read(self.metadata(role)).map_err(|e| fail(format!("role {role}: {e}")))?;
        let mut file: Value = serde_json::from_slice(&text).map_err(|e| fail(format!("{role}.json: {e}")))?;
        let signatures = file.get("signatures").and_then(Value::as_array).cloned().unwrap_or_default();
        let signed =
            file.get_mut("signed").map(Value::take).ok_or_else(|| fail(format!("{role}.json has no content")))?;
        Ok((signed, signatures))
    }

    fn save(&self, role: &str, signed: &Value, signatures: &[Value]) -> Result<(), KitError> {
        let text = serde_json::to_vec_pretty(&json!({ "signatures": signatures, "signed": signed }))
            .map_err(|e| fail(e.to_string()))?;
        fs::write(self.metadata(role), text)?;
        Ok(())
    }
}

/// Generates an ed25519 key pair; the private half is written for the owner only.
pub fn generate_key(path: &Path, random: &mut (impl RngCore + CryptoRng)) -> Result<VerifyingKey, KitError> {
    let mut seed = [0; 32];
    random.fill_bytes(&mut seed);
    let key = SigningKey::from_bytes(&seed);
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| fail(e.to_string()))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(pem.as_bytes())?;
    Ok(key.verifying_key())
}

/// Reads an ed25519 private key (PKCS#8, PEM).
pub fn private_key(path: &Path) -> Result<SigningKey, KitError> {
    let pem = fs::read_to_string(path).map_err(|e| fail(format!("{}: {e}", path.display())))?;
    // Standard tools write version 1 keys; the public half follows from the private one.
    SigningKey::from_pkcs8_pem(&pem)
        .map_err(|_| fail(format!("{} is not an ed25519 private key (PKCS#8, PEM)", path.display())))
}

/// Reads an ed25519 public key, or takes the public half of a private one (PEM).
pub fn public_key(path: &Path) -> Result<VerifyingKey, KitError> {
    let pem = fs::read_to_string(path).map_err(|e| fail(format!("{}: {e}", path.display())))?;
    VerifyingKey::from_public_key_pem(&pem)
        .or_else(|_| private_key(path).map(|k| k.verifying_key()))
        .map_err(|_| fail(format!("{} is not an ed25519 key (PEM)", path.display())))
}

fn key_json(key: &VerifyingKey) -> Value {
    json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex(key.as_bytes()) } })
}

fn key_id(key: &VerifyingKey) -> Result<String, KitError> {
    Ok(hex(&Sha256::digest(canonical(&key_json(key))?)))
}

fn canonical(value: &Value) -> Result<Vec<u8>, KitError> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, olpc_cjson::CanonicalFormatter::new());
    value.serialize(&mut serializer).map_err(|e| fail(e.to_string()))?;
    Ok(out)
}

fn version(signed: &Value) -> u64 {
    signed.get("version").and_then(Value::as_u64).unwrap_or(0)
}

fn object<'a>(value: &'a mut Value, key: &str) -> Result<&'a mut serde_json::Map<String, Value>, KitError> {
    value.get_mut(key).and_then(Value::as_object_mut).ok_or_else(|| fail(format!("metadata has no {key}")))
}

fn entry<'a>(value: &'a mut Value, key: &str, start: Value) -> Result<&'a mut Value, KitError> {
    let map = value.as_object_mut().ok_or_else(|| fail("metadata is damaged"))?;
    Ok(map.entry(key).or_insert(start))
}

// TUF clients refuse fractions of a second.
fn seconds(at: Timestamp) -> String {
    let whole = at.checked_sub(SignedDuration::from_nanos(at.subsec_nanosecond().into())).unwrap_or(at);
    whole.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn pack_zip(out: &Path, files: &BTreeMap<String, PathBuf>) -> Result<(), KitError> {
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).large_file(true);
    let mut zip = zip::ZipWriter::new(File::create(out)?);
    let bad = |e: zip::result::ZipError| fail(e.to_string());
    for (name, path) in files {
        zip.start_file(name.as_str(), stored).map_err(bad)?;
        io::copy(&mut File::open(path)?, &mut zip)?;
    }
    zip.finish().map_err(bad)?.sync_all()?;
    Ok(())
}

fn pack_folder(out: &Path, files: &BTreeMap<String, PathBuf>) -> Result<(), KitError> {
    for (name, path) in files {
        let to = out.join(name);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(path, to)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A file as an image; its hash is computed when opened.
struct FileImage {
    file: File,
    length: u64,
    digest: [u8; 32],
}

impl FileImage {
    fn open(path: &Path) -> Result<Self, KitError> {
        let mut file = File::open(path).map_err(|e| fail(format!("{}: {e}", path.display())))?;
        let mut hash = Sha256::new();
        let length = io::copy(&mut file, &mut hash)?;
        Ok(Self { file, length, digest: hash.finalize().into() })
    }
}

impl ImageSource for FileImage {
    fn len(&self) -> u64 {
        self.length
    }

    fn sha256(&self) -> [u8; 32] {
        self.digest
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        use std::io::{Read as _, Seek as _};
        let mut file = &self.file;
        file.seek(io::SeekFrom::Start(offset))?;
        file.read_exact(buf)
    }
}
