//! Work orders: what a hospital's people allow on which devices and when, signed before the visit.

use aseptic_device::{DeviceId, ImageHash, SettingKey, Value};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::attestation::{Attestation, Person, Role};
use crate::dsse::{Envelope, EnvelopeError, SignerKey};

/// The value of `schema` in an order.
pub const SCHEMA: &str = "aseptic.order/1";

/// The payload type of an order's DSSE envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.aseptic.order+json";

/// What is allowed. The envelope's payload is this as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Order {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Unique text, such as a UUID or the work-order number; an order is used once a device.
    pub id: String,
    /// SHA-256 of the hospital's first pinned root, in hex: the order means nothing elsewhere.
    pub hospital: String,
    /// When it was written.
    pub issued: Timestamp,
    /// When it may be used, UTC.
    pub window: Window,
    /// Who allowed it.
    pub approvers: Vec<Person>,
    /// Devices and what may be done to each.
    pub devices: Vec<OrderDevice>,
    /// When to stop by itself.
    #[serde(default)]
    pub limits: Limits,
    /// A person who accepts a kit whose metadata has expired within the ladder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_stale: Option<Person>,
}

/// A span of time, UTC, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Window {
    /// First moment.
    pub from: Timestamp,
    /// First moment after it.
    pub until: Timestamp,
}

/// When a run stops by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// After so many failed devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_failures: Option<u32>,
}

/// What may be done to one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OrderDevice {
    /// The device.
    pub id: DeviceId,
    /// Image that may be installed, by MCUboot hash; for a revert, the image to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageHash>,
    /// Settings that may be written.
    #[serde(default)]
    pub settings: Vec<OrderedSetting>,
    /// What two people vouch for during the window, where nobody will be there to ask.
    #[serde(default)]
    pub attestations: Vec<Attestation>,
}

/// One setting that may be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OrderedSetting {
    /// Name on the device.
    pub key: SettingKey,
    /// The value that it may be given.
    pub to: Value,
}

/// An order whose signature was checked. Only [`SignedOrder::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOrder {
    order: Order,
    signers: Vec<String>,
    digest: String,
}

/// An order that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The envelope is not acceptable.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The payload is not an order.
    #[error("not a work order: {0}")]
    Malformed(String),
    /// It was written for another hospital.
    #[error("this work order is bound to another hospital")]
    OtherHospital,
}

impl SignedOrder {
    /// Checks envelope, signature, schema and hospital. The window is checked when authority is asked for.
    pub fn verify(envelope: &[u8], keys: &[SignerKey], hospital: &str) -> Result<Self, OrderError> {
        let envelope: Envelope =
            serde_json::from_slice(envelope).map_err(|e| EnvelopeError::Malformed(e.to_string()))?;
        let (payload, signers) = envelope.verify(PAYLOAD_TYPE, keys)?;
        let order: Order = serde_json::from_slice(&payload).map_err(|e| OrderError::Malformed(e.to_string()))?;
        if order.schema != SCHEMA {
            return Err(OrderError::Malformed(format!("schema must be \"{SCHEMA}\"")));
        }
        if order.window.from >= order.window.until {
            return Err(OrderError::Malformed("the window ends before it begins".into()));
        }
        if !order.approvers.iter().any(|p| p.role == Role::Approver && !p.name.trim().is_empty()) {
            return Err(OrderError::Malformed("no approver is named".into()));
        }
        if order.hospital != hospital {
            return Err(OrderError::OtherHospital);
        }
        let digest = Sha256::digest(&payload).iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { order, signers, digest })
    }

    /// Returns the order.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Returns the names of the keys that signed.
    pub fn signers(&self) -> &[String] {
        &self.signers
    }

    /// Returns the SHA-256 of the signed payload, in hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns what the order allows on a device.
    pub fn device(&self, id: &DeviceId) -> Option<&OrderDevice> {
        self.order.devices.iter().find(|d| &d.id == id)
    }
}
