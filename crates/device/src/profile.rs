//! A device model as data: how to recognise it, read it, judge its readiness and patch it.
//!
//! One TOML file a model. [`Profile::parse`] reports with line numbers the first that cannot be read, else all at once that does not fit together; what
//! it returns holds every rule of the schema, so nothing is checked again later.

mod problem;
mod read;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::identity::{Sighting, UsbIdentity};
use crate::image::{BootMode, VersionScheme};
use crate::link::LineSettings;
use crate::radio::PnpId;
use crate::setting::{SettingClass, SettingKey, Value, ValueType};

pub use problem::{ProfileError, ProfileProblem};
pub use read::{Expect, ReadFrom};

/// The value of `schema` in a profile file.
pub const SCHEMA: &str = "aseptic.profile/1";

/// Everything known of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Short lasting id, lower case, such as `acme-sp1`.
    pub id: String,
    /// Maker, as people write it.
    pub vendor: String,
    /// Model, as people write it.
    pub model: String,
    /// Driver that speaks to it.
    pub protocol: Protocol,
    /// Only for a simulated ward: allows a short soak and gate span, and is refused on a real bus.
    #[serde(default)]
    pub simulated: bool,
    /// USB identities that may be opened without a person naming the port.
    #[serde(default, rename = "match")]
    pub matches: Vec<UsbMatch>,
    /// Advertisements that may be connected to without a person naming the address.
    #[serde(default)]
    pub ble: Vec<BleMatch>,
    /// Serial line and framing.
    #[serde(default)]
    pub serial: SerialLine,
    /// What its radio should show.
    #[serde(default)]
    pub radio: Radio,
    /// Where identifiers are read.
    pub identity: IdentitySources,
    /// How versions read and what the bootloader does.
    pub firmware: Firmware,
    /// Settings that are read, with their class.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// How to tell that the device may be touched.
    #[serde(default)]
    pub readiness: ReadinessSources,
    /// Checks that a new firmware must pass before it is kept.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Waiting times.
    #[serde(default)]
    pub timing: Timing,
}

/// Wire protocols that a driver exists for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// MCUmgr Simple Management Protocol.
    Smp,
    /// Bluetooth SIG services only: such a device can be identified and assessed, never changed.
    Gatt,
}

/// A USB identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UsbMatch {
    /// Vendor id.
    pub vid: u16,
    /// Product id.
    pub pid: u16,
    /// Product string, where VID and PID are shared with other devices (USB-serial adapters).
    #[serde(default)]
    pub product: Option<String>,
}

/// An advertisement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BleMatch {
    /// Service UUID, 128 bits, lower case with hyphens.
    pub service: String,
    /// Name, where many models advertise the service (SMP).
    #[serde(default)]
    pub name: Option<String>,
}

/// The serial line of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SerialLine {
    /// Line settings.
    #[serde(default)]
    pub line: LineSettings,
    /// Framing of SMP packets.
    #[serde(default)]
    pub framing: Framing,
}

/// How SMP packets travel on a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Base64 lines of at most 127 bytes that share the line with a console.
    #[default]
    Console,
    /// Packets as they are.
    Raw,
}

/// What a model's radio should show.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Radio {
    /// What a laptop must do before the device answers it.
    #[serde(default)]
    pub pairing: Pairing,
    /// PnP ID of the model, for rule BLE-18.
    #[serde(default)]
    pub pnp: Option<PnpId>,
    /// Hashes (0x2B2A, hex) of the attribute tables of approved firmware, for rule BLE-20.
    #[serde(default)]
    pub database_hashes: Vec<String>,
}

/// What a laptop must do before a device answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    /// Nothing.
    #[default]
    None,
    /// Pair with the passkey that the device shows. Never done to audit: only to plan and to change.
    Passkey,
}

/// Where identifiers are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IdentitySources {
    /// Serial number; the first source that gives one counts. Without any, the device can only be audited.
    #[serde(default)]
    pub serial: Vec<ReadFrom>,
    /// Unique device identifier.
    #[serde(default)]
    pub udi: Option<ReadFrom>,
    /// Hardware revision.
    #[serde(default)]
    pub hardware: Option<ReadFrom>,
    /// Serial numbers that makers leave in by mistake (SDK defaults): they identify nothing.
    #[serde(default)]
    pub placeholders: Vec<String>,
}

/// Firmware and bootloader of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Firmware {
    /// How its versions are written.
    pub version_scheme: VersionScheme,
    /// Images (MCUboot "image") that the device has; several are refused unless declared here.
    #[serde(default = "one")]
    pub images: u8,
    /// What the bootloader does, used where it cannot be asked.
    #[serde(default)]
    pub bootloader: Option<BootMode>,
    /// Whether the bootloader refuses older versions, used where it cannot be asked.
    #[serde(default)]
    pub downgrade_prevention: Option<bool>,
    /// Public keys that the maker signs images with, PEM (SubjectPublicKeyInfo). An image must verify with one of them.
    #[serde(default)]
    pub signing_keys: Vec<String>,
    /// Versions that the hospital approves, for rule FW-01.
    #[serde(default)]
    pub approved: Vec<String>,
}

fn one() -> u8 {
    1
}

/// One setting of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Setting {
    /// Name on the device.
    pub key: SettingKey,
    /// What it means for safety.
    pub class: SettingClass,
    /// How its bytes read.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// What it is, for people.
    #[serde(default)]
    pub title: Option<String>,
    /// It may be written; only for class `security`.
    #[serde(default)]
    pub writable: bool,
    /// A change counts only after a restart.
    #[serde(default)]
    pub needs_restart: bool,
    /// Its value is a secret: stored and shown as a digest only.
    #[serde(default)]
    pub secret: bool,
}

/// How to tell that the device may be touched. What is not named here must be attested by a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReadinessSources {
    /// Passes while no therapy runs.
    #[serde(default)]
    pub therapy_idle: Option<Condition>,
    /// Passes while no alarm is active.
    #[serde(default)]
    pub no_alarm: Option<Condition>,
    /// Passes on mains power.
    #[serde(default)]
    pub mains: Option<Condition>,
    /// Passes with enough battery charge.
    #[serde(default)]
    pub battery: Option<Condition>,
}

/// A reading and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Condition {
    /// Where to read.
    pub read: ReadFrom,
    /// What passes.
    pub expect: Expect,
}

/// A check that a new firmware must pass before it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Check {
    /// Short id.
    pub id: String,
    /// What it shows, for people.
    pub title: String,
    /// Where to read.
    pub read: ReadFrom,
    /// What passes.
    pub expect: Expect,
}

/// Waiting times of a model, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Timing {
    /// The new firmware must run this long, checked three times, before it is kept. At least 60 outside a simulation.
    pub soak_s: u32,
    /// "Therapy idle" must be read at least three times over this span. At least 30 outside a simulation.
    pub gate_span_s: u32,
    /// Longest wait for the device after a restart, swap included.
    pub restart_s: u32,
    /// Longest wait for one answer.
    pub answer_s: u32,
    /// Longest wait for the first answer of an upload, which may erase the slot first.
    pub erase_s: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self { soak_s: 60, gate_span_s: 30, restart_s: 120, answer_s: 4, erase_s: 40 }
    }
}

impl Timing {
    /// Returns the soak.
    pub fn soak(&self) -> Duration {
        Duration::from_secs(self.soak_s.into())
    }

    /// Returns the span over which "therapy idle" is read.
    pub fn gate_span(&self) -> Duration {
        Duration::from_secs(self.gate_span_s.into())
    }

    /// Returns the longest wait for a restart.
    pub fn restart(&self) -> Duration {
        Duration::from_secs(self.restart_s.into())
    }

    /// Returns the longest wait for an answer.
    pub fn answer(&self) -> Duration {
        Duration::from_secs(self.answer_s.into())
    }

    /// Returns the longest wait for the first answer of an upload.
    pub fn erase(&self) -> Duration {
        Duration::from_secs(self.erase_s.into())
    }
}

impl Profile {
    /// Reads a profile; on failure reports the first part that cannot be read, else everything that does not fit together, each with its line.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        problem::parse(text)
    }

    /// Returns the setting with that key.
    pub fn setting(&self, key: &SettingKey) -> Option<&Setting> {
        self.settings.iter().find(|s| &s.key == key)
    }

    /// Returns whether a sighting's USB identity is one of this model's.
    pub fn matches_usb(&self, usb: &UsbIdentity) -> bool {
        self.matches.iter().any(|m| {
            m.vid == usb.vid
                && m.pid == usb.pid
                && m.product.as_deref().is_none_or(|p| usb.product.as_ref().is_some_and(|q| q.as_str() == p))
        })
    }

    /// Returns whether an advertisement is one of this model's.
    pub fn matches_radio(&self, at: &Sighting) -> bool {
        let Some(radio) = &at.radio else { return false };
        self.ble.iter().any(|m| {
            radio.services.contains(&m.service)
                && m.name.as_deref().is_none_or(|n| at.name.as_ref().is_some_and(|shown| shown.as_str() == n))
        })
    }

    /// Returns whether a sighting may be opened as this model without a person naming it.
    pub fn matches(&self, at: &Sighting) -> bool {
        at.usb.as_ref().is_some_and(|usb| self.matches_usb(usb)) || self.matches_radio(at)
    }

    /// Returns whether this model could be changed at all: it says where a serial number is read.
    pub fn can_identify(&self) -> bool {
        !self.identity.serial.is_empty()
    }
}

/// Returns whether a value passes an expectation; `None` where the two cannot be compared.
pub fn passes(expect: &Expect, value: &Value) -> Option<bool> {
    read::passes(expect, value)
}
