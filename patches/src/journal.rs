//! The journal: what was begun, done and read back, written before and after every act.

use std::fmt;

use aseptic_device::{ConfigSnapshot, Images, SettingKey};
use aseptic_operators::{Attestation, AuthoritySource, GateId};
use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::PlanId;

/// One entry. Entries are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// The plan.
    pub plan: PlanId,
    /// Index of the step in the plan; `None` for entries on the plan as a whole.
    pub step: Option<usize>,
    /// Counts the starts of the step, from 1.
    pub attempt: u32,
    /// What happened.
    pub mark: Mark,
    /// When.
    pub at: Timestamp,
    /// On whose authority.
    pub actor: String,
    /// What the device showed, where it was read for this entry.
    pub observed: Option<Box<Observed>>,
}

/// What the device shows, read in one go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Observed {
    /// Slots and bootloader.
    pub images: Images,
    /// All settings of the profile.
    pub config: ConfigSnapshot,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "mark")]
pub enum Mark {
    /// A run began or went on, on this authority.
    #[serde(rename_all = "kebab-case")]
    Opened {
        /// Who allowed it.
        authority: AuthoritySource,
    },
    /// A person vouched for a gate.
    #[serde(rename_all = "kebab-case")]
    Attested {
        /// What was vouched for.
        attestation: Attestation,
    },
    /// All gates held, with what each stood on.
    #[serde(rename_all = "kebab-case")]
    GatesHeld {
        /// One line a gate.
        evidence: Vec<String>,
    },
    /// The step is about to be tried.
    Started,
    /// The device shows that the step is done.
    Done,
    /// The step failed.
    #[serde(rename_all = "kebab-case")]
    Failed {
        /// How.
        failure: Failure,
    },
    /// From here on the plan goes back.
    #[serde(rename_all = "kebab-case")]
    TurnedBack {
        /// Why.
        cause: Cause,
    },
    /// Undoing the step is about to be tried.
    Undoing,
    /// The device shows that the step is undone.
    Undone,
    /// The run stopped where only a person can go on. It can be resumed.
    #[serde(rename_all = "kebab-case")]
    Halted {
        /// Why.
        halt: Halt,
    },
    /// The plan is over.
    #[serde(rename_all = "kebab-case")]
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// How a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "failure")]
pub enum Failure {
    /// The link or an answer was lost; the device's state must be looked up.
    #[serde(rename_all = "kebab-case")]
    Link {
        /// What was lost.
        detail: String,
    },
    /// The device refused.
    #[serde(rename_all = "kebab-case")]
    Refused {
        /// Its answer.
        detail: String,
    },
    /// The image on this laptop is not the one of the plan.
    #[serde(rename_all = "kebab-case")]
    Untrusted {
        /// What differs.
        detail: String,
    },
    /// The device shows something else than was written.
    #[serde(rename_all = "kebab-case")]
    NotReadBack {
        /// What was expected and what was read.
        detail: String,
    },
    /// The bootloader did not keep or did not start the new image.
    Reverted,
    /// The new firmware failed a check.
    #[serde(rename_all = "kebab-case")]
    CheckFailed {
        /// Which, and what was read.
        detail: String,
    },
    /// Settings that must stay differ from the backup.
    #[serde(rename_all = "kebab-case")]
    SettingsChanged {
        /// Which.
        keys: Vec<SettingKey>,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { detail } => write!(f, "link lost: {detail}"),
            Self::Refused { detail } => write!(f, "refused: {detail}"),
            Self::Untrusted { detail } => write!(f, "image not trusted: {detail}"),
            Self::NotReadBack { detail } => write!(f, "not read back: {detail}"),
            Self::Reverted => f.write_str("the device runs the old firmware again: the new one did not stay up"),
            Self::CheckFailed { detail } => write!(f, "check failed: {detail}"),
            Self::SettingsChanged { keys } => {
                let names: Vec<_> = keys.iter().map(ToString::to_string).collect();
                write!(f, "settings changed that must stay: {}", names.join(", "))
            }
        }
    }
}

/// Why a plan goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum Cause {
    /// A step failed for good.
    #[serde(rename_all = "kebab-case")]
    Failed {
        /// How.
        failure: Failure,
    },
    /// A person stopped it.
    Cancelled,
    /// The window is about to end.
    Deadline,
    /// A gate closed and did not open again.
    #[serde(rename_all = "kebab-case")]
    Blocked {
        /// The gates and why.
        gates: Vec<String>,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { failure } => failure.fmt(f),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Deadline => f.write_str("the window is about to end"),
            Self::Blocked { gates } => write!(f, "gate closed: {}", gates.join("; ")),
        }
    }
}

/// How a plan ended. Each was read back from the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// The new state runs, is kept and was read back. The device is not yet returned to service.
    Installed,
    /// Refused before anything was changed.
    #[serde(rename_all = "kebab-case")]
    Refused {
        /// The gates and why.
        gates: Vec<String>,
    },
    /// The image on this laptop is not the one of the plan; nothing was changed.
    #[serde(rename_all = "kebab-case")]
    Untrusted {
        /// What differs.
        detail: String,
    },
    /// It failed; the device is as before.
    #[serde(rename_all = "kebab-case")]
    FailedAsBefore {
        /// How it failed.
        failure: Failure,
    },
    /// It was stopped; the device is as before.
    #[serde(rename_all = "kebab-case")]
    Stopped {
        /// Why.
        cause: Cause,
    },
    /// The new state was tried and undone; the device is as before.
    #[serde(rename_all = "kebab-case")]
    Reverted {
        /// Why.
        cause: Cause,
    },
}

/// Why a run stopped and needs a person. The plan is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "halt")]
pub enum Halt {
    /// The device did not come back or does not answer.
    #[serde(rename_all = "kebab-case")]
    Unreachable {
        /// What was tried.
        detail: String,
    },
    /// Another device answered at the port.
    #[serde(rename_all = "kebab-case")]
    OtherDevice {
        /// Which.
        detail: String,
    },
    /// The device shows something that this plan did not do: another laptop or person was at it.
    #[serde(rename_all = "kebab-case")]
    Foreign {
        /// What.
        detail: String,
    },
    /// A gate is closed and going on or back is not allowed while it is.
    #[serde(rename_all = "kebab-case")]
    Blocked {
        /// The gates and why.
        gates: Vec<String>,
    },
    /// A person must vouch and nobody can be asked.
    #[serde(rename_all = "kebab-case")]
    Unattested {
        /// For what.
        gates: Vec<GateId>,
    },
    /// It could not be undone.
    #[serde(rename_all = "kebab-case")]
    NotAsBefore {
        /// What differs from the backup.
        detail: String,
    },
    /// The new image is kept, but the last reading does not show what it should.
    #[serde(rename_all = "kebab-case")]
    NotProved {
        /// What differs.
        detail: String,
    },
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { detail } => write!(f, "the device does not answer: {detail}"),
            Self::OtherDevice { detail } => write!(f, "another device answered: {detail}"),
            Self::Foreign { detail } => write!(f, "somebody else changed the device: {detail}"),
            Self::Blocked { gates } => write!(f, "gate closed: {}", gates.join("; ")),
            Self::Unattested { gates } => {
                let names: Vec<_> = gates.iter().map(ToString::to_string).collect();
                write!(f, "nobody can vouch for: {}", names.join(", "))
            }
            Self::NotAsBefore { detail } => write!(f, "the device is not as before: {detail}"),
            Self::NotProved { detail } => write!(f, "the new state is not proved: {detail}"),
        }
    }
}

/// Splits the entries of a plan, oldest first, into its attempts: a plan that is over may be begun anew.
pub fn attempts(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut attempts: Vec<Vec<Record>> = Vec::new();
    for record in records {
        match attempts.last_mut().filter(|a| !is_over(a)) {
            Some(attempt) => attempt.push(record),
            None => attempts.push(vec![record]),
        }
    }
    attempts
}

/// Returns whether an attempt has ended.
pub fn is_over(attempt: &[Record]) -> bool {
    attempt.last().is_some_and(|r| matches!(r.mark, Mark::Ended { .. }))
}

/// The journal could not take or give an entry; nothing further is done to a device then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal: {0}")]
pub struct JournalError(pub String);

/// Where entries are kept. Both calls return only once the data is on disk.
#[async_trait]
pub trait Journal: Send {
    /// Adds an entry.
    async fn append(&mut self, record: &Record) -> Result<(), JournalError>;
    /// Returns the entries of a plan, oldest first.
    async fn replay(&self, plan: &PlanId) -> Result<Vec<Record>, JournalError>;
    /// Returns whether another process asked to cancel the plan.
    async fn cancel_requested(&self, plan: &PlanId) -> Result<bool, JournalError>;
}
