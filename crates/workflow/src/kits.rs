//! Kits on this laptop: import, and what was imported.

use std::io::{self, Read};
use std::path::Path;

use aseptic_device::{ImageSource, Profile};
use aseptic_patches::kit::{
    Freshness, Imported, Ladder, ObjectSink, PatchManifest, RoleExpiry, Source, TrustState, import as take,
};
use aseptic_store::{ObjectStore, Store};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::laptop::Laptop;
use crate::problem::{Code, DeviceState, Problem};

const TRUST: &str = "trust/";
const NEWEST: &str = "trust-newest";
const LAST_KIT: &str = "last-kit";

/// The last kit that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct KitRecord {
    /// When it was taken.
    pub taken: Timestamp,
    /// Its roles, with versions and expiries.
    pub roles: Vec<RoleExpiry>,
    /// How fresh it was.
    pub freshness: Freshness,
    /// Who accepted it although it was stale.
    pub accepted_by: Option<String>,
    /// The laptop's clock was earlier than when the kit before was taken.
    pub clock_jumped_back: bool,
    /// Patch ids.
    pub patches: Vec<String>,
    /// Profile ids.
    pub profiles: Vec<String>,
}

struct Sink(ObjectStore);

impl ObjectSink for Sink {
    fn put(&mut self, sha256: &[u8; 32], length: u64, from: &mut dyn Read) -> io::Result<()> {
        self.0.put(sha256, length, from)
    }

    fn open(&self, sha256: &[u8; 32]) -> io::Result<Box<dyn ImageSource>> {
        let name: String = sha256.iter().map(|b| format!("{b:02x}")).collect();
        self.0.open(&name).map(|o| Box::new(o) as Box<dyn ImageSource>).map_err(io::Error::other)
    }
}

/// Returns what this laptop trusts; nothing before enrolment.
pub fn trusted(store: &Store) -> Result<TrustState, Problem> {
    let mut state = TrustState::default();
    if let Some(list) = store.blob(&format!("{TRUST}list"))? {
        let names: Vec<String> =
            serde_json::from_slice(&list).map_err(|e| Problem::new(Code::Untrusted, e, "enrol this laptop again"))?;
        for name in names {
            if let Some(bytes) = store.blob(&format!("{TRUST}{name}"))? {
                state.files.insert(name, bytes);
            }
        }
    }
    state.newest = store.blob(NEWEST)?.and_then(|b| String::from_utf8(b).ok()).and_then(|t| t.parse().ok());
    Ok(state)
}

pub(crate) fn trust_blobs(state: &TrustState) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let names: Vec<&String> = state.files.keys().collect();
    let list =
        serde_json::to_vec(&names).map_err(|e| Problem::new(Code::Internal, e, "report this as a fault of Aseptic"))?;
    let mut blobs: Vec<_> = state.files.iter().map(|(n, b)| (format!("{TRUST}{n}"), b.clone())).collect();
    blobs.push((format!("{TRUST}list"), list));
    blobs.extend(state.newest.map(|t| (NEWEST.to_owned(), t.to_string().into_bytes())));
    Ok(blobs)
}

/// Verifies a kit and keeps it, all or nothing.
pub fn import(laptop: &Laptop, path: &Path, accept_stale: Option<&str>) -> Result<KitRecord, Problem> {
    let now = laptop.clock.now().wall;
    let imported = verify(laptop, path, accept_stale.is_some(), now, &mut Sink(laptop.store.objects()))?;
    let record = KitRecord {
        taken: now,
        freshness: imported.freshness,
        accepted_by: accept_stale.filter(|_| imported.freshness == Freshness::Stale).map(str::to_owned),
        clock_jumped_back: imported.clock_jumped_back,
        patches: imported.patches.iter().map(|p| p.id.clone()).collect(),
        profiles: imported.profiles.iter().filter_map(|t| Profile::parse(t).ok()).map(|p| p.id).collect(),
        roles: imported.roles.clone(),
    };
    let internal = |e: serde_json::Error| Problem::new(Code::Internal, e, "report this as a fault of Aseptic");
    let mut documents = Vec::new();
    for patch in &imported.patches {
        documents.push(("patch".to_owned(), patch.id.clone(), serde_json::to_string(patch).map_err(internal)?));
    }
    for (text, id) in imported.profiles.iter().zip(&record.profiles) {
        documents.push(("profile".to_owned(), id.clone(), text.clone()));
    }
    for (id, text) in imported.baselines {
        aseptic_baselines::rule::RulesFile::parse(&text).map_err(|e| {
            Problem::new(
                Code::Untrusted,
                format!("baseline {id}: {e}"),
                "nothing of the kit was kept; correct the baseline",
            )
        })?;
        documents.push(("baseline".to_owned(), id, text));
    }
    let mut blobs = trust_blobs(&imported.state)?;
    blobs.push((LAST_KIT.into(), serde_json::to_vec(&record).map_err(internal)?));
    let body = serde_json::to_value(&record).map_err(internal)?;
    // What the kit no longer carries was withdrawn.
    laptop.store.keep(&blobs, Some(&documents), laptop.entry("kit.imported", None, None, body))?;
    // What protects from old kits is read back: only then is it kept.
    if trusted(&laptop.store)? != imported.state {
        return Err(Problem::new(
            Code::Internal,
            "the trust state does not read back",
            "check the disk, then import again",
        ));
    }
    Ok(record)
}

fn verify(
    laptop: &Laptop,
    path: &Path,
    accepted: bool,
    now: Timestamp,
    sink: &mut dyn ObjectSink,
) -> Result<Imported, Problem> {
    let mut source = Source::open(path)?;
    let pinned = trusted(&laptop.store)?;
    if pinned.files.is_empty() {
        let help = "pin the hospital's root first: aseptic enrol --root FILE";
        let refused = Problem::new(Code::Refused, "this laptop is not enrolled, so no kit can be verified", help);
        return Err(refused.with_state(DeviceState::NotInvolved));
    }
    Ok(take(&mut source, &pinned, now, Ladder { accepted, ..Ladder::default() }, sink)?)
}

/// Returns the patches on this laptop.
pub fn patches(laptop: &Laptop) -> Result<Vec<PatchManifest>, Problem> {
    laptop
        .store
        .documents("patch")?
        .into_iter()
        .map(|(id, text)| {
            serde_json::from_str(&text)
                .map_err(|e| Problem::new(Code::Untrusted, format!("patch {id}: {e}"), "import the kit again"))
        })
        .collect()
}

/// Returns the last kit that was taken.
pub fn last(store: &Store) -> Result<Option<KitRecord>, Problem> {
    let bytes = store.blob(LAST_KIT)?;
    bytes
        .map(|b| serde_json::from_slice(&b).map_err(|e| Problem::new(Code::Untrusted, e, "import the kit again")))
        .transpose()
}
