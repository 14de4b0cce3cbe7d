//! Identify: open one device, read who it is, and open a visit.

use aseptic_device::{Identity, Sighting};
use aseptic_patches::ProfileRef;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::laptop::{Laptop, Purpose};
use crate::locate::{DeviceRef, open};
use crate::problem::{Code, Problem};
use crate::scan::Scan;

/// One visit to one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Visit {
    /// UUIDv7.
    pub id: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// Where the device was.
    pub sighting: Sighting,
    /// Who it says it is.
    pub identity: Identity,
    /// The model by which it was read.
    pub profile: ProfileRef,
    /// The label that was scanned.
    pub scan: Option<Scan>,
    /// Whether label and serial number agree; `None` where nothing was scanned.
    pub scan_agreed: Option<bool>,
}

/// Identifies a device and opens a visit. A label of another device opens none.
pub async fn identify(laptop: &Laptop, device: &DeviceRef, code: Option<&str>) -> Result<Visit, Problem> {
    let visit = look(laptop, device, code).await?;
    keep(laptop, &visit)?;
    Ok(visit)
}

async fn look(laptop: &Laptop, device: &DeviceRef, code: Option<&str>) -> Result<Visit, Problem> {
    let scan = code.map(Scan::parse).transpose().map_err(|e| Problem::new(Code::Usage, e, "scan the label again"))?;
    let session = open(laptop, device, Purpose::Audit).await?;
    let identity = session.identity().clone();
    let text = |t: &Option<aseptic_device::DeviceText>| t.as_ref().map(|t| t.as_str().to_owned());
    let agreed = scan.as_ref().map(|s| s.agrees(text(&identity.serial).as_deref(), text(&identity.udi).as_deref()));
    if agreed == Some(false) {
        let found = identity.serial.as_ref().map(ToString::to_string).unwrap_or_default();
        let message = format!("the scanned label is not of the device on the cable, which is {found}");
        return Err(Problem::new(Code::Refused, message, "follow the cable: nothing was changed"));
    }
    let known = laptop.profile(&identity.profile).map(|k| k.reference.clone());
    let profile =
        known.ok_or_else(|| Problem::new(Code::Internal, "profile vanished", "report this as a fault of Aseptic"))?;
    Ok(Visit {
        id: (laptop.new_id)(),
        opened: laptop.clock.now().wall,
        sighting: session.sighting().clone(),
        identity,
        profile,
        scan,
        scan_agreed: agreed,
    })
}

fn keep(laptop: &Laptop, visit: &Visit) -> Result<(), Problem> {
    let body = serde_json::json!({
        "identity": visit.identity, "address": visit.sighting.address, "profile": visit.profile, "scan-agreed": visit.scan_agreed,
    });
    let id = visit.identity.id.as_ref();
    laptop.store.open_visit(&visit.id, visit, laptop.entry("visit.opened", id, Some(&visit.id), body))?;
    if let Some(id) = id {
        laptop.store.met(&id.to_string(), &visit.sighting.address.to_string(), visit.opened)?;
    }
    Ok(())
}

/// Returns the newest open visit of a device, or identifies it again.
pub(crate) async fn visit_of(laptop: &Laptop, device: &DeviceRef) -> Result<Visit, Problem> {
    if let DeviceRef::Id(id) = device
        && let Some(visit) = open_visit(laptop, &id.to_string())?
    {
        return Ok(visit);
    }
    let visit = look(laptop, device, None).await?;
    // An open visit of the same device, with its scanned label, goes on.
    if let Some(id) = &visit.identity.id
        && let Some(earlier) = open_visit(laptop, &id.to_string())?
    {
        return Ok(earlier);
    }
    keep(laptop, &visit)?;
    Ok(visit)
}

fn open_visit(laptop: &Laptop, device: &str) -> Result<Option<Visit>, Problem> {
    let row = laptop.store.visits()?.into_iter().find(|v| v.closed.is_none() && v.device.as_deref() == Some(device));
    Ok(row.and_then(|v| serde_json::from_str(&v.json).ok()))
}
