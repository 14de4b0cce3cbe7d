//! What a radio link shows of a device's hardening, read without pairing.
//!
//! Numbers are of the Bluetooth SIG's assigned numbers and GATT specification supplement.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::DeviceText;

/// A 16-bit UUID stands in the Bluetooth base UUID.
const BASE: u128 = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;

/// The service by which a radio peer shows that it speaks MCUmgr (Zephyr `smp_transport.rst`).
pub const MCUMGR_SERVICE: u128 = 0x8d53_dc1d_1db7_4cd3_868b_8a52_7460_aa84;

/// Returns the 128-bit UUID of a 16-bit one.
pub const fn uuid(short: u16) -> u128 {
    BASE | (short as u128) << 96
}

/// Writes a UUID with hyphens, lower case.
pub fn written(uuid: u128) -> String {
    let hex = format!("{uuid:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// Writes a UUID as people know it: 0x2A25, or the whole where it is not of the Bluetooth SIG.
pub fn known_as(uuid: u128) -> String {
    match u16::try_from((uuid ^ BASE) >> 96) {
        Ok(short) if self::uuid(short) == uuid => format!("0x{short:04X}"),
        _ => written(uuid),
    }
}

/// What came of asking for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Told<T> {
    /// The device or the platform told it.
    Value(T),
    /// The device has no such thing.
    Absent,
    /// It cannot be read here, and why. Never counts as good.
    Unreadable(String),
}

impl<T> Told<T> {
    /// Returns the value, where there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

/// How long an address lasts (Core specification, vol. 6, part B, 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    /// Registered with the IEEE: follows the device for life.
    Public,
    /// Random, the same until the device restarts or longer.
    RandomStatic,
    /// Changes about every quarter of an hour; only bonded peers can tell whose it is.
    ResolvablePrivate,
    /// Changes, and nobody can tell whose it is.
    NonResolvablePrivate,
}

impl AddressKind {
    /// Returns the kind of a random address by its two highest bits.
    pub fn of_random(highest_byte: u8) -> Option<Self> {
        match highest_byte >> 6 {
            0b11 => Some(Self::RandomStatic),
            0b01 => Some(Self::ResolvablePrivate),
            0b00 => Some(Self::NonResolvablePrivate),
            _ => None,
        }
    }
}

/// Whether laptop and device share keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Bond {
    /// They did when the link was opened.
    pub before: bool,
    /// They do now.
    pub now: bool,
    /// The keys that came about since were removed again.
    pub undone: bool,
}

impl Bond {
    /// Returns whether keys came about on a link that should only ask: what was read over it proves nothing.
    pub fn came_about(&self) -> bool {
        !self.before && (self.now || self.undone)
    }
}

/// What the platform tells of an open radio link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RadioLink {
    /// Kind of the device's address; `None` where the platform hides it.
    pub address: Option<AddressKind>,
    /// Advertising flags (AD type 0x01) when last heard; `None` where the platform hides them.
    pub flags: Option<u8>,
    /// Name that it advertises.
    pub name: Option<DeviceText>,
    /// Manufacturer data that it advertises, read as text, by company identifier.
    pub manufacturer: BTreeMap<u16, DeviceText>,
    /// Services with their characteristics, 128-bit UUIDs; services that the platform keeps to itself are missing.
    pub services: BTreeMap<u128, Vec<u128>>,
    /// Services that the platform keeps to itself, so that their absence above proves nothing.
    pub hidden: Vec<u128>,
    /// Battery charge in percent, where the platform tells it in place of the service.
    pub battery: Option<u8>,
    /// Keys before and now.
    pub bond: Bond,
}

/// What a radio link shows of a device's hardening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Posture {
    /// Kind of the address.
    pub address: Told<AddressKind>,
    /// Advertising flags when last heard.
    pub flags: Told<u8>,
    /// Name that it advertises.
    pub name: Told<DeviceText>,
    /// Where in what it advertises something looks like a patient's data.
    pub discloses: Vec<String>,
    /// Services, 128-bit UUIDs with hyphens, lower case.
    pub services: Vec<String>,
    /// Services that the platform keeps to itself, written alike: their absence above proves nothing.
    pub hidden: Vec<String>,
    /// Characteristics, written alike.
    pub characteristics: Vec<String>,
    /// Security modes and levels that the device asks for (0x2BF5).
    pub security_levels: Told<Vec<SecurityLevel>>,
    /// Clinical characteristics, and whether an unpaired laptop may read them. Their values are not kept.
    pub clinical: BTreeMap<String, Told<bool>>,
    /// Strings of the Device Information service, by 16-bit UUID in hex.
    pub information: BTreeMap<String, Told<DeviceText>>,
    /// Device identifier out of the UDI (0x2BFF), as text.
    pub udi: Told<DeviceText>,
    /// PnP ID (0x2A50).
    pub pnp: Told<PnpId>,
    /// Its clock (0x2A2B): date and time of day without zone, ISO 8601.
    pub clock: Told<jiff::civil::DateTime>,
    /// Battery charge in percent.
    pub battery: Told<u8>,
    /// Hash of its attribute table (0x2B2A), hex.
    pub database_hash: Told<String>,
    /// MCUmgr answers an unpaired laptop.
    pub management: Told<bool>,
    /// Keys before and after.
    pub bond: Bond,
}

/// One entry of LE GATT Security Levels (0x2BF5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SecurityLevel {
    /// Mode: 1 encryption, 2 data signing.
    pub mode: u8,
    /// Level in the mode: 1/3 is authenticated, 1/4 authenticated with Secure Connections.
    pub level: u8,
}

/// PnP ID (0x2A50).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PnpId {
    /// Who gave the vendor id: 1 Bluetooth SIG, 2 USB Implementers Forum.
    pub source: u8,
    /// Vendor id.
    pub vendor: u16,
    /// Product id.
    pub product: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_written_as_people_know_them() {
        assert_eq!(written(uuid(0x2a25)), "00002a25-0000-1000-8000-00805f9b34fb");
        assert_eq!(known_as(uuid(0x2a25)), "0x2A25");
        assert_eq!(known_as(MCUMGR_SERVICE), "8d53dc1d-1db7-4cd3-868b-8a527460aa84");
    }
}
