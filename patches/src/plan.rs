//! A plan: what will be done to one device, step by step, and what it was made from.

use std::fmt;

use aseptic_device::{ConfigSnapshot, DeviceId, FirmwareVersion, ImageHash, ImageId, Images, SettingKey, Value};
use aseptic_operators::{GateId, Scope};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The value of `schema` in a plan file.
pub const SCHEMA: &str = "aseptic.plan/1";

/// SHA-256 of a plan's binding part in RFC 8785 JSON, in hex: the same plan always has the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PlanId(pub String);

impl PlanId {
    /// Returns the first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A plan as stored and written to a file. [`PlanBody`] binds; the rest informs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plan {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Digest of `body`.
    pub id: PlanId,
    /// What binds.
    pub body: PlanBody,
    /// When it was made.
    pub made_at: Timestamp,
    /// The visit in which it was made.
    pub visit: Option<String>,
    /// How long it should take.
    pub estimate: Estimate,
}

/// The part of a plan that its id covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PlanBody {
    /// The device.
    pub device: DeviceId,
    /// The profile by which it is read.
    pub profile: ProfileRef,
    /// The state that the plan starts from.
    pub from: FromState,
    /// The patch, where there is one.
    pub patch: Option<PatchRef>,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// Conditions that hold before every step with an effect.
    pub gates: Vec<GateId>,
    /// How the device gets back.
    pub way_back: WayBack,
}

/// A profile, fixed by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProfileRef {
    /// Profile id.
    pub id: String,
    /// SHA-256 of the profile's RFC 8785 JSON, in hex.
    pub digest: String,
    /// Only for simulated devices.
    pub simulated: bool,
    /// It came from outside a verified kit or this build (`--profile`).
    pub unreviewed: bool,
}

/// The state of the device that a plan was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FromState {
    /// Image that runs.
    pub running: Option<ImageHash>,
    /// Image in the spare slot.
    pub spare: Option<ImageHash>,
    /// SHA-256 of all settings but the device's own counters and states, in hex.
    pub settings: String,
}

/// A patch from a verified kit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PatchRef {
    /// Patch id.
    pub id: String,
    /// Vendor id under which it was delegated.
    pub vendor: String,
    /// Version that it installs.
    pub version: FirmwareVersion,
    /// Image number on the device.
    pub image: ImageId,
    /// MCUboot hash of the image.
    pub hash: ImageHash,
    /// SHA-256 of the image file, in hex: its name in the object store.
    pub object: String,
    /// Length of the image file in bytes.
    pub length: u64,
    /// A vendor-signed rollback: it may go to an older version.
    pub rollback: bool,
}

/// How the device gets back when the new state is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum WayBack {
    /// Settings only: the old values are written again.
    Settings,
    /// An image that is not confirmed is undone by a restart.
    #[serde(rename_all = "kebab-case")]
    Restart {
        /// The bootloader was asked; otherwise the profile says so.
        measured: bool,
        /// After confirming, going back needs a signed rollback: the bootloader refuses older versions.
        downgrade_prevented: Option<bool>,
    },
}

/// One step. Plain data: what was done is in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Read images and settings and keep them.
    Backup,
    /// Write one setting and read it back.
    #[serde(rename_all = "kebab-case")]
    Set {
        /// Setting.
        key: SettingKey,
        /// Value before.
        from: Value,
        /// Value after.
        to: Value,
    },
    /// Restart so that settings count; the same image runs afterwards.
    Reload,
    /// Send the image to the spare slot.
    Stage,
    /// Read back that the spare slot holds the image.
    Verify,
    /// Mark the image for one test boot.
    Test,
    /// Restart into the image.
    Restart,
    /// Let it run, check it, compare all settings with the backup.
    Check,
    /// Keep the running image.
    Confirm,
    /// Read everything back once more.
    Prove,
}

impl Step {
    /// Returns whether the step changes the device, so that gates must hold right before it.
    pub fn has_effect(&self) -> bool {
        match self {
            Self::Set { .. } | Self::Reload | Self::Stage | Self::Test | Self::Restart | Self::Confirm => true,
            Self::Backup | Self::Verify | Self::Check | Self::Prove => false,
        }
    }

    /// Returns the step's name in the interface.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Set { .. } => "set",
            Self::Reload => "reload",
            Self::Stage => "stage",
            Self::Verify => "verify",
            Self::Test => "test",
            Self::Restart => "restart",
            Self::Check => "check",
            Self::Confirm => "confirm",
            Self::Prove => "prove",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { key, from, to } => write!(f, "set {key}: {from} → {to}"),
            other => f.write_str(other.name()),
        }
    }
}

/// How long a plan should take. Not binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Estimate {
    /// All steps, in seconds.
    pub total_s: u32,
    /// Going back from the worst moment, in seconds: kept free at the end of a window.
    pub revert_s: u32,
}

/// A plan that is not what its id says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The schema is not known.
    #[error("not an aseptic plan: schema must be \"{SCHEMA}\"")]
    Schema,
    /// The id does not cover the body.
    #[error("the plan was changed after it was made: its id does not match its content")]
    Digest,
    /// It cannot be written as canonical JSON.
    #[error("plan cannot be written as canonical json: {0}")]
    Json(String),
}

impl PlanBody {
    /// Returns the id that covers this body.
    pub fn id(&self) -> Result<PlanId, PlanError> {
        digest(self).map(PlanId).map_err(PlanError::Json)
    }

    /// Returns what somebody must allow.
    pub fn scope(&self) -> Scope {
        Scope {
            device: self.device.clone(),
            image: self.patch.as_ref().map(|p| p.hash.clone()),
            settings: self
                .steps
                .iter()
                .filter_map(|s| match s {
                    Step::Set { key, to, .. } => Some((key.clone(), to.clone())),
                    _ => None,
                })
                .collect(),
        }
    }
}

impl Plan {
    /// Checks schema and id of a plan that came from a file or the store.
    pub fn check(self) -> Result<Self, PlanError> {
        if self.schema != SCHEMA {
            return Err(PlanError::Schema);
        }
        if self.body.id()? != self.id {
            return Err(PlanError::Digest);
        }
        Ok(self)
    }
}

impl FromState {
    /// Describes what was read from a device.
    pub fn of(image: ImageId, images: &Images, config: &ConfigSnapshot) -> Result<Self, PlanError> {
        let lasting = ConfigSnapshot {
            settings: config
                .settings
                .iter()
                .filter(|(_, r)| r.class != aseptic_device::SettingClass::Status)
                .map(|(k, r)| (k.clone(), r.clone()))
                .collect(),
        };
        Ok(Self {
            running: images.active(image).and_then(|s| s.hash.clone()),
            spare: images.spare(image).and_then(|s| s.hash.clone()),
            settings: digest(&lasting).map_err(PlanError::Json)?,
        })
    }
}

/// Returns the SHA-256 of a value's RFC 8785 JSON, in hex.
pub fn digest(value: &impl Serialize) -> Result<String, String> {
    let json = serde_json_canonicalizer::to_vec(value).map_err(|e| e.to_string())?;
    Ok(Sha256::digest(&json).iter().map(|b| format!("{b:02x}")).collect())
}
