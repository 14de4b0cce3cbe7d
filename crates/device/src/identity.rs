//! Who a device is: a sighting is only an address, an identity was read from the device.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::image::FirmwareVersion;
use crate::text::DeviceText;

/// Where a device was met. Never an identity: ports are renumbered and radio addresses change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// A serial port, by path or name.
    Port(String),
    /// A BLE peer: adapter and address.
    Ble {
        /// Adapter name, such as `hci0`.
        adapter: String,
        /// Address as the platform names it.
        address: String,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(path) => write!(f, "port:{path}"),
            Self::Ble { adapter, address } => write!(f, "ble:{adapter}/{address}"),
        }
    }
}

/// What USB says of the adapter or device behind a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UsbIdentity {
    /// Vendor id.
    pub vid: u16,
    /// Product id.
    pub pid: u16,
    /// Serial number string, where there is one.
    pub serial: Option<DeviceText>,
    /// Product string.
    pub product: Option<DeviceText>,
}

/// What a radio advertisement says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RadioIdentity {
    /// Service UUIDs, 128 bits, lower case with hyphens, sorted.
    pub services: Vec<String>,
    /// Signal strength in dBm when it was last told anew.
    pub rssi: Option<i16>,
}

/// Something in reach that may be a device. Nothing was opened to learn it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Sighting {
    /// Where it is.
    pub address: Address,
    /// The USB side of a serial port.
    pub usb: Option<UsbIdentity>,
    /// The advertisement of a radio peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radio: Option<RadioIdentity>,
    /// Name that it shows, if any.
    pub name: Option<DeviceText>,
    /// A person named this port, so it may be opened without a matching VID and PID.
    pub named: bool,
    /// It belongs to a simulated ward.
    pub simulated: bool,
}

/// A change in what is in reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SightingEvent {
    /// New, or seen with other details.
    Seen(Sighting),
    /// No longer there.
    Gone(Address),
}

/// Returns what went and what is new or has other details, between two looks.
pub fn changes(known: &BTreeMap<Address, Sighting>, now: &BTreeMap<Address, Sighting>) -> Vec<SightingEvent> {
    let gone = known.keys().filter(|a| !now.contains_key(*a)).cloned().map(SightingEvent::Gone);
    let new = now.iter().filter(|(a, s)| known.get(*a) != Some(*s)).map(|(_, s)| SightingEvent::Seen(s.clone()));
    gone.chain(new).collect()
}

/// The lasting name of a device: profile and serial number, written `id:PROFILE/SERIAL`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(into = "String", try_from = "String")]
pub struct DeviceId {
    profile: String,
    serial: String,
}

impl DeviceId {
    /// Joins a profile id and a serial number; `None` where either is empty or holds characters that cannot be part of one.
    pub fn new(profile: &str, serial: &str) -> Option<Self> {
        let profile_ok = !profile.is_empty()
            && profile.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.');
        let serial = serial.trim();
        let serial_ok = !serial.is_empty()
            && serial.len() <= 64
            && serial.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != '\\');
        (profile_ok && serial_ok).then(|| Self { profile: profile.into(), serial: serial.into() })
    }

    /// Returns the profile's id.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Returns the serial number as the device gave it.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Returns the last four characters of the serial number, which a person types to show that they looked at this device.
    pub fn last_four(&self) -> &str {
        let start = self.serial.len().saturating_sub(4);
        self.serial.get(start..).unwrap_or(&self.serial)
    }
}

/// What software kits and empty memories give for a serial number. It names no single device, whatever the profile says.
const SDK_DEFAULTS: [&str; 9] =
    ["unknown", "none", "default", "serial", "zephyr", "123456", "12345678", "0123456789", "0123456789abcdef"];

/// Returns whether a serial number is one that many devices share because nobody set it.
pub fn is_sdk_default(serial: &str) -> bool {
    let serial = serial.trim().to_ascii_lowercase();
    let only = |c: char| !serial.is_empty() && serial.chars().all(|s| s == c);
    only('0') || only('f') || SDK_DEFAULTS.contains(&serial.as_str())
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "id:{}/{}", self.profile, self.serial)
    }
}

impl From<DeviceId> for String {
    fn from(id: DeviceId) -> Self {
        id.to_string()
    }
}

/// Text that is not a device id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a device id: expected id:PROFILE/SERIAL")]
pub struct NotADeviceId;

impl FromStr for DeviceId {
    type Err = NotADeviceId;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (profile, serial) = s.strip_prefix("id:").and_then(|rest| rest.split_once('/')).ok_or(NotADeviceId)?;
        Self::new(profile, serial).ok_or(NotADeviceId)
    }
}

impl TryFrom<String> for DeviceId {
    type Error = NotADeviceId;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

/// Who a device says it is, read over an open link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// Profile by which it was read.
    pub profile: String,
    /// Lasting name; `None` when the identifier is empty, an SDK default or unreadable: such a device can be audited, never changed.
    pub id: Option<DeviceId>,
    /// Serial number as read, usable or not.
    pub serial: Option<DeviceText>,
    /// Unique device identifier as read.
    pub udi: Option<DeviceText>,
    /// Hardware revision as read.
    pub hardware: Option<DeviceText>,
    /// Version of the running firmware as read.
    pub firmware: Option<FirmwareVersion>,
    /// Why there is no usable id.
    pub unusable: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_being_written_and_read() {
        let id = DeviceId::new("acme-sp1", "SN-0042").unwrap();
        assert_eq!(id.to_string().parse::<DeviceId>().unwrap(), id);
        assert_eq!(id.last_four(), "0042");
    }

    #[test]
    fn what_many_devices_share_is_no_serial_number() {
        for shared in ["unknown", "Zephyr", "000000", "FFFFFFFF", " 0123456789ABCDEF "] {
            assert!(is_sdk_default(shared), "{shared:?}");
        }
        for own in ["", "SP1-2026-0042", "F00", "100", "zephyr-a1b2c3"] {
            assert!(!is_sdk_default(own), "{own:?}");
        }
    }

    #[test]
    fn blanks_slashes_and_control_characters_make_no_id() {
        for serial in ["", "  ", "a/b", "a b", "a\u{1b}b", "é"] {
            assert!(DeviceId::new("p", serial).is_none(), "{serial:?}");
        }
        assert!(DeviceId::new("Upper", "1").is_none());
    }
}
