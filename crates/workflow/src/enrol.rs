//! Enrol: pin the hospital's root and the keys that may sign work orders.

use aseptic_operators::SignerKey;
use aseptic_patches::kit::TrustState;
use aseptic_store::Store;
use sha2::{Digest as _, Sha256};

use crate::kits::{trust_blobs, trusted};
use crate::laptop::Laptop;
use crate::problem::{Code, DeviceState, Problem};

const HOSPITAL: &str = "hospital";
const SIGNERS: &str = "signers";

/// What a laptop is enrolled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// SHA-256 of the first pinned root, hex: orders are bound to it.
    pub hospital: String,
    /// Names of the keys that may sign orders.
    pub signers: Vec<String>,
}

/// Pins a root on an empty laptop, or adds signers to one that has the same root.
pub fn enrol(laptop: &Laptop, root: &[u8], signers: &[(String, String)]) -> Result<Enrolment, Problem> {
    let keys: Vec<SignerKey> = signers
        .iter()
        .map(|(name, text)| SignerKey::parse(name, text))
        .collect::<Result<_, _>>()
        .map_err(|e| Problem::new(Code::Usage, e, "give an ed25519 public key: PEM file or 64 hex digits"))?;
    let pinned = TrustState { files: [("root.json".to_owned(), root.to_vec())].into(), newest: None };
    pinned.check().map_err(|e| {
        let help = "nothing was pinned; the hospital's publisher gives the root (N.root.json)";
        Problem::new(Code::Untrusted, format!("the root cannot be trusted: {e}"), help)
            .with_state(DeviceState::NotInvolved)
    })?;
    let fingerprint: String = Sha256::digest(root).iter().map(|b| format!("{b:02x}")).collect();
    let mut blobs = Vec::new();
    match hospital(&laptop.store)? {
        Some(known) if known != fingerprint => {
            return Err(Problem::new(
                Code::Refused,
                "this laptop is enrolled to another root",
                "a root changes only through a kit that rotates it; for another hospital use another --data-dir",
            ));
        }
        Some(_) => {}
        None => {
            blobs.extend(trust_blobs(&pinned)?);
            blobs.push((HOSPITAL.into(), fingerprint.clone().into_bytes()));
        }
    }
    let mut all: Vec<(String, String)> =
        self::signers(&laptop.store)?.iter().map(|k| (k.name.clone(), k.hex())).collect();
    for key in &keys {
        all.retain(|(name, _)| name != &key.name);
        all.push((key.name.clone(), key.hex()));
    }
    let list =
        serde_json::to_vec(&all).map_err(|e| Problem::new(Code::Internal, e, "report this as a fault of Aseptic"))?;
    blobs.push((SIGNERS.into(), list));
    let names: Vec<String> = all.iter().map(|(n, _)| n.clone()).collect();
    let body = serde_json::json!({ "hospital": fingerprint, "signers": all });
    laptop.store.keep(&blobs, None, laptop.entry("enrolled", None, None, body))?;
    if trusted(&laptop.store)?.files.is_empty() {
        return Err(Problem::new(Code::Internal, "the root does not read back", "check the disk"));
    }
    Ok(Enrolment { hospital: fingerprint, signers: names })
}

/// Returns the fingerprint of the hospital's first root.
pub fn hospital(store: &Store) -> Result<Option<String>, Problem> {
    Ok(store.blob(HOSPITAL)?.and_then(|b| String::from_utf8(b).ok()))
}

/// Returns the keys that may sign orders.
pub fn signers(store: &Store) -> Result<Vec<SignerKey>, Problem> {
    let Some(bytes) = store.blob(SIGNERS)? else { return Ok(Vec::new()) };
    let list: Vec<(String, String)> =
        serde_json::from_slice(&bytes).map_err(|e| Problem::new(Code::Untrusted, e, "enrol this laptop again"))?;
    list.iter()
        .map(|(name, hex)| SignerKey::parse(name, hex))
        .collect::<Result<_, _>>()
        .map_err(|e| Problem::new(Code::Untrusted, e, "enrol this laptop again"))
}
