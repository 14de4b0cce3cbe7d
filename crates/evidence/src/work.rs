//! One plan and what became of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::when::When;

/// One plan and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Work {
    /// Plan id: SHA-256 of its binding part, hex.
    pub plan: String,
    /// When it was made.
    pub made: When,
    /// What it was to do, in words, such as `Install firmware 1.3.0 (sp1-1.3.0 by simulated)`.
    pub purpose: String,
    /// How the device could get back.
    pub way_back: String,
    /// How it ended, in words; `None` while it is not over.
    pub ended: Option<String>,
    /// Who allowed it.
    pub authority: Vec<Authority>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Gates as they stood when the work began or was refused.
    pub gates: Vec<Gate>,
    /// What people vouched for.
    pub attestations: Vec<Attestation>,
    /// What the device showed in the end, beside before and planned.
    pub read_back: Vec<ReadBack>,
    /// Settings by class, before against after.
    pub classes: Vec<ClassCount>,
    /// Settings that differ.
    pub changes: Vec<SettingChange>,
    /// The journal, oldest first.
    pub timeline: Vec<Event>,
}

/// Somebody who allowed a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Authority {
    /// Printed name, or the order's id.
    pub who: String,
    /// How, such as `typed name and last four at the terminal`.
    pub how: String,
    /// A sign-in or a signature was checked.
    pub authenticated: bool,
    /// When.
    pub at: When,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// Verb of the code, such as `stage`.
    pub name: String,
    /// One clause.
    pub detail: String,
    /// What became of it.
    pub state: StepState,
    /// When it last began.
    pub began: Option<When>,
    /// When the device showed that it was done or undone.
    pub ended: Option<When>,
    /// Starts, from 1; 0 where it was never started.
    pub attempts: u32,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// The device showed that it is done.
    Done,
    /// It failed.
    Failed,
    /// The device showed that it is undone.
    Undone,
    /// It was started, and what became of it was not read back.
    InDoubt,
    /// It was never started.
    NotReached,
}

/// A gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Gate {
    /// Name.
    pub gate: String,
    /// How it stood.
    pub state: GateState,
    /// What that stands on.
    pub evidence: String,
}

/// How a gate stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateState {
    /// Read from the device or a record, and open.
    Open,
    /// Open because people vouched.
    Attested,
    /// Closed.
    Closed,
    /// Not known, which blocks.
    Unknown,
}

/// What a person vouched for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Attestation {
    /// The sentence.
    pub statement: String,
    /// Printed name and role.
    pub by: String,
    /// The name was checked by a sign-in or a signature.
    pub authenticated: bool,
    /// When.
    pub at: When,
    /// A remark.
    pub note: Option<String>,
}

/// One thing that was read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReadBack {
    /// What, such as `Version` or `Image hash`.
    pub what: String,
    /// Before the work.
    pub before: String,
    /// As planned.
    pub planned: String,
    /// As the device reported in the end; `None` where it was not read.
    pub read: Option<String>,
    /// Whether read and planned are the same. Not for whoever shows it to work out: only the driver knows how values compare.
    pub equal: bool,
}

/// How the settings of one class compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClassCount {
    /// Class, such as `therapy`.
    pub class: String,
    /// The values must be the same before and after.
    pub must_stay: bool,
    /// Read both times and the same.
    pub equal: u32,
    /// Read both times and different.
    pub changed: u32,
    /// Not read at one of the times.
    pub not_read: u32,
}

/// A setting that differs. Secrets never come here with their value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SettingChange {
    /// Class.
    pub class: String,
    /// Setting.
    pub key: String,
    /// Before; `None` where it was not read.
    pub before: Option<String>,
    /// After; `None` where it was not read.
    pub after: Option<String>,
    /// The plan wrote it, and it reads as written.
    pub planned: bool,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Event {
    /// When.
    pub at: When,
    /// Step, where it belongs to one.
    pub step: Option<String>,
    /// What, in words.
    pub what: String,
    /// On whose authority.
    pub actor: String,
}
