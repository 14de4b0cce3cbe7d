//! What a device can be asked ([`Inspect`]) and told ([`Change`]), whatever its protocol.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::identity::{Identity, Sighting};
use crate::image::{ImageHash, ImageId, Images};
use crate::link::{LinkError, Transport};
use crate::profile::Profile;
use crate::radio::Posture;
use crate::setting::{ConfigSnapshot, SettingKey, Value};

/// A reading of something that decides whether a device may be touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sensed {
    /// Read and safe, with the words shown to people.
    Safe(String),
    /// Read and not safe.
    Unsafe(String),
    /// The profile names no reading, or the device did not answer it.
    Unreadable(String),
}

/// What the device says about being touched now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Readiness {
    /// No therapy is running.
    pub therapy: Sensed,
    /// No alarm is active.
    pub alarm: Sensed,
    /// Mains power or enough battery.
    pub power: Sensed,
}

/// The result of one of the profile's checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CheckResult {
    /// Id of the check in the profile.
    pub check: String,
    /// `Safe` is passed.
    pub sensed: Sensed,
}

/// What a device may be asked. None of it can cause an effect.
#[async_trait]
pub trait Inspect: Send {
    /// Reads who the device is.
    async fn identify(&mut self) -> Result<Identity, DriverError>;
    /// Reads whether it may be touched now.
    async fn readiness(&mut self) -> Result<Readiness, DriverError>;
    /// Reads every setting of the profile.
    async fn read_config(&mut self) -> Result<ConfigSnapshot, DriverError>;
    /// Reads slots and bootloader.
    async fn images(&mut self) -> Result<Images, DriverError>;
    /// Runs the profile's read-only checks.
    async fn checks(&mut self) -> Result<Vec<CheckResult>, DriverError>;
    /// Reads what a radio link shows of the device's hardening; `None` on a wire. Asked last: it also tells whether the reading made keys.
    async fn posture(&mut self) -> Result<Option<Posture>, DriverError>;
}

/// What a device may be told. Only the plan runner calls these.
#[async_trait]
pub trait Change: Inspect {
    /// Writes one setting and makes the device keep it. The caller reads back.
    async fn set(&mut self, key: &SettingKey, value: &Value) -> Result<(), DriverError>;
    /// Erases the spare slot of an image.
    async fn erase(&mut self, image: ImageId) -> Result<(), DriverError>;
    /// Sends an image to the spare slot, resuming where the device says.
    async fn upload(
        &mut self,
        image: ImageId,
        source: &dyn ImageSource,
        control: &dyn Control,
    ) -> Result<Uploaded, DriverError>;
    /// Marks the image in the spare slot for one test boot.
    async fn mark_test(&mut self, image: ImageId, hash: &ImageHash) -> Result<(), DriverError>;
    /// Restarts the device. The link is lost; an answer may never come.
    async fn restart(&mut self) -> Result<(), DriverError>;
    /// Keeps the image that runs, whichever it is; never takes a hash.
    async fn confirm_running(&mut self) -> Result<(), DriverError>;
}

/// Where the bytes of an image come from.
pub trait ImageSource: Send + Sync {
    /// Returns the length in bytes.
    fn len(&self) -> u64;
    /// Returns whether there is nothing to send.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Returns the SHA-256 of all bytes, by which devices recognise an interrupted upload.
    fn sha256(&self) -> [u8; 32];
    /// Fills `buf` from `offset`; `buf` never reaches past the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()>;
}

/// The caller's hand on a long operation.
pub trait Control: Send + Sync {
    /// Tells how many bytes the device has acknowledged.
    fn progress(&self, acknowledged: u64, total: u64);
    /// Returns whether to stop at the next safe point.
    fn stopped(&self) -> bool;
    /// Returns how often readiness must be read while the operation runs; `None` for never.
    fn sample_every(&self) -> Option<Duration>;
    /// Takes such a reading; the answer of [`Control::stopped`] may change through it.
    fn sampled(&self, readiness: Result<Readiness, DriverError>);
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// The device acknowledged every byte, or was sent every byte and then knew of no upload any more. What it holds must
    /// still be read back.
    Complete,
    /// [`Control::stopped`] said so; the device holds `offset` bytes.
    Stopped {
        /// Bytes acknowledged.
        offset: u64,
    },
}

/// Turns an open link into a device that speaks. Implemented by the drivers' registry.
///
/// The sighting is there for what the wire itself tells, such as the USB serial number.
pub trait Opener: Send + Sync {
    /// Returns a device that can only be asked: its codec refuses every request with an effect.
    fn inspect(
        &self,
        profile: &Profile,
        at: &Sighting,
        link: Box<dyn Transport>,
    ) -> Result<Box<dyn Inspect>, DriverError>;
    /// Returns a device that can be changed.
    fn change(
        &self,
        profile: &Profile,
        at: &Sighting,
        link: Box<dyn Transport>,
    ) -> Result<Box<dyn Change>, DriverError>;
}

/// A request that a device did not fulfil.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct DriverError {
    /// What was asked, in words for people, such as `image list`.
    pub operation: String,
    /// What went wrong.
    pub kind: DriverErrorKind,
}

/// What went wrong between driver and device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverErrorKind {
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// No answer within the deadline, all retries included.
    #[error("no answer within {waited:?}")]
    NoAnswer {
        /// How long was waited in all.
        waited: Duration,
    },
    /// The device answered with an error of its protocol.
    #[error("device refused: {meaning} (group {group}, code {code})")]
    Refused {
        /// SMP group, or 0 where the protocol has none.
        group: u16,
        /// Code within the group.
        code: u32,
        /// The code in words.
        meaning: String,
    },
    /// The answer does not follow the protocol.
    #[error("unintelligible answer: {0}")]
    Malformed(String),
    /// The device does not offer this.
    #[error("not offered by this device")]
    Unsupported,
    /// An inspecting link was asked for an effect; nothing was sent.
    #[error("refused: this session may only inspect")]
    EffectOnInspectingLink,
    /// The profile does not allow it.
    #[error("not allowed by the profile: {0}")]
    Profile(String),
    /// The image could not be read on this laptop.
    #[error("image cannot be read: {0}")]
    Source(String),
}

impl DriverError {
    /// Joins an operation and its failure.
    pub fn new(operation: impl Into<String>, kind: DriverErrorKind) -> Self {
        Self { operation: operation.into(), kind }
    }

    /// Returns whether the device may still be as it was asked to be: the link or the answer was lost.
    pub fn leaves_doubt(&self) -> bool {
        matches!(self.kind, DriverErrorKind::Link(_) | DriverErrorKind::NoAnswer { .. } | DriverErrorKind::Malformed(_))
    }
}
