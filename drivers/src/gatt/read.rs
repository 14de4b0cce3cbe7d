//! Asking for values of characteristics, each within a deadline.

use std::time::Duration;

use aseptic_device::profile::ReadFrom;
use aseptic_device::radio::{known_as, uuid};
use aseptic_device::{DeviceText, DriverError, DriverErrorKind, Endpoint, LinkErrorKind, RadioLink, Transport, Value};
use tokio::time::timeout;

use super::values::{self, Decoded, Udi};

use crate::reading::Read;

/// UDI for Medical Devices.
pub(super) const UDI: u16 = 0x2bff;
/// Battery Level.
pub(super) const BATTERY: u16 = 0x2a19;
/// IDD Status.
pub(super) const IDD_STATUS: u16 = 0x2b21;

/// What is told where a device asks for keys first.
pub(crate) const NEEDS_PAIRING: &str = "needs pairing";
/// Longest wait for the platform, which may have keys to remove first.
const PLATFORM: Duration = Duration::from_secs(10);

/// Why a characteristic gave no value while the link held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoValue {
    /// The device or the platform shows none.
    #[error("the device has no such characteristic")]
    Absent,
    /// The device asks for keys first.
    #[error("{NEEDS_PAIRING}")]
    NotPaired,
    /// It was refused for another reason.
    #[error("{0}")]
    Refused(String),
}

/// Reads a characteristic. A lost link and silence are errors; everything else says something about the device.
pub async fn characteristic(
    link: &mut dyn Transport,
    answer: Duration,
    uuid: u128,
) -> Result<Result<Vec<u8>, NoValue>, DriverError> {
    let fail = |kind| DriverError::new(format!("characteristic {}", known_as(uuid)), kind);
    let read = timeout(answer, link.read(Endpoint::Characteristic(uuid))).await;
    let error = match read {
        Ok(Ok(value)) => return Ok(Ok(value)),
        Ok(Err(error)) => error,
        Err(_) => return Err(fail(DriverErrorKind::NoAnswer { waited: answer })),
    };
    match error.kind {
        LinkErrorKind::Unsupported(_) => Ok(Err(NoValue::Absent)),
        LinkErrorKind::NotPaired => Ok(Err(NoValue::NotPaired)),
        LinkErrorKind::Io(_) | LinkErrorKind::NoPermission => Ok(Err(NoValue::Refused(error.kind.to_string()))),
        LinkErrorKind::Gone | LinkErrorKind::NotFound | LinkErrorKind::Busy => Err(fail(error.into())),
    }
}

/// Reads one of a profile's sources that is a characteristic.
pub(crate) async fn source(link: &mut dyn Transport, answer: Duration, from: &ReadFrom) -> Read {
    let text = |text: &str| Value::Text(DeviceText::new(text));
    match from {
        ReadFrom::Dis(short) => decoded(link, answer, *short, |raw| Ok(Value::Text(DeviceText::from_bytes(raw)))).await,
        ReadFrom::Udi => decoded(link, answer, UDI, |raw| values::udi(raw).and_then(told)).await,
        ReadFrom::InsulinDelivery => {
            decoded(link, answer, IDD_STATUS, |raw| values::insulin_delivery(raw).map(|t| text(&t))).await
        }
        ReadFrom::Battery => match characteristic(link, answer, uuid(BATTERY)).await? {
            Ok(raw) => Ok(values::battery(&raw).map(|percent| Value::Int(percent.into()))),
            Err(none) => Ok(platform_battery(link).await?.map(|p| Value::Int(p.into())).ok_or(none.to_string())),
        },
        ReadFrom::Setting(_) | ReadFrom::OsInfo(_) | ReadFrom::Stat { .. } | ReadFrom::UsbSerial => {
            Ok(Err("Bluetooth SIG services have no such value".into()))
        }
    }
}

async fn decoded(
    link: &mut dyn Transport,
    answer: Duration,
    short: u16,
    decode: impl FnOnce(&[u8]) -> Decoded<Value>,
) -> Read {
    let read = characteristic(link, answer, uuid(short)).await?;
    Ok(read.map_err(|none| none.to_string()).and_then(|raw| decode(&raw)))
}

// The label is what a person scans; a device that tells only its identifier tells that.
fn told(udi: Udi) -> Decoded<Value> {
    udi.label.or(udi.device).map(Value::Text).ok_or_else(|| "it holds neither label nor device identifier".into())
}

/// Returns what the platform tells of an open link. `None` on a wire.
pub(super) async fn radio(link: &mut dyn Transport) -> Result<Option<RadioLink>, DriverError> {
    let fail = |kind| DriverError::new("radio link", kind);
    match timeout(PLATFORM, link.radio()).await {
        Ok(told) => told.map_err(|e| fail(e.into())),
        Err(_) => Err(fail(DriverErrorKind::NoAnswer { waited: PLATFORM })),
    }
}

// Platforms that keep the battery service to themselves tell the charge in its place.
async fn platform_battery(link: &mut dyn Transport) -> Result<Option<u8>, DriverError> {
    Ok(radio(link).await?.and_then(|r| r.battery))
}
