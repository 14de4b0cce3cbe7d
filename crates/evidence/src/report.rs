//! Everything known of one visit, as plain data. Whoever fills it says only what was read or said.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{EvidenceError, EvidenceErrorKind};
use crate::proof::Proof;
use crate::when::When;
use crate::work::Work;

/// The value of `schema` in a report.
pub const SCHEMA: &str = "aseptic.report/1";

/// One visit to one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Headline, such as `SP-1 syringe pump, bed 4B-02`.
    pub title: String,
    /// Visit id, UUIDv7.
    pub visit: String,
    /// Tool with version, such as `aseptic 0.1.0`.
    pub tool: String,
    /// Name of the laptop.
    pub laptop: String,
    /// When the visit was opened.
    pub opened: When,
    /// When it was closed.
    pub closed: Option<When>,
    /// When this report was written.
    pub written: When,
    /// The device is a simulated one: nothing here is about a real device.
    pub simulated: bool,
    /// The device.
    pub device: Device,
    /// The profile by which it was read.
    pub profile: ProfileUsed,
    /// What came of the visit.
    pub outcome: Outcome,
    /// Whether the device may be used.
    pub service: Service,
    /// Findings at the first assessment.
    pub before: Option<Findings>,
    /// Findings at the last assessment after the work.
    pub after: Option<Findings>,
    /// Plans and what became of them, oldest first.
    pub works: Vec<Work>,
    /// The kit that patches and profiles came from.
    pub kit: Option<Kit>,
    /// Proof from the audit log.
    pub proof: Option<Proof>,
}

/// The device as it was identified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Device {
    /// Maker.
    pub vendor: String,
    /// Model.
    pub model: String,
    /// Lasting name, such as `id:sim-sp1/SP1-2026-0042`; `None` where it has no usable one.
    pub id: Option<String>,
    /// Serial number as read.
    pub serial: Option<String>,
    /// Unique device identifier as read.
    pub udi: Option<String>,
    /// Hardware revision as read.
    pub hardware: Option<String>,
    /// Where it was met, such as `port:/dev/ttyUSB0`.
    pub address: String,
    /// What was scanned from the label.
    pub scanned: Option<String>,
    /// Whether the scanned and the read identifier name the same device.
    pub agreement: Agreement,
}

/// Whether two independent identifiers agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// They name the same device.
    Agree,
    /// They name different devices.
    Differ,
    /// There is only one.
    OnlyOne,
}

/// The profile by which a device was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProfileUsed {
    /// Profile id.
    pub id: String,
    /// SHA-256 of its RFC 8785 JSON, hex.
    pub digest: String,
    /// It came from a verified kit or with this build, not from outside.
    pub reviewed: bool,
}

/// What came of the visit, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Outcome {
    /// What it was.
    pub kind: OutcomeKind,
    /// One line, such as `Firmware 1.3.0 is installed and was read back`.
    pub headline: String,
    /// What happened.
    pub what_happened: String,
    /// The state of the device now.
    pub state_now: String,
    /// What to do next.
    pub what_to_do: String,
}

/// Kinds of outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// Read only; nothing was changed.
    Assessed,
    /// The new state runs, is kept and was read back.
    Installed,
    /// Refused before anything was changed.
    Refused,
    /// Tried or begun, and undone: the device is as before.
    AsBefore,
    /// Stopped where only a person can go on.
    Halted,
}

/// Whether the device may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "state", deny_unknown_fields)]
pub enum Service {
    /// Nothing was changed: it is as it was.
    Unchanged,
    /// Work was begun and nobody returned it.
    #[serde(rename_all = "kebab-case")]
    NotReturned {
        /// Since when.
        since: When,
    },
    /// A second person returned it.
    #[serde(rename_all = "kebab-case")]
    Returned {
        /// Printed name and role.
        by: String,
        /// The name was checked by a sign-in or a signature.
        authenticated: bool,
        /// When.
        at: When,
        /// What was read back right before.
        read_back: String,
    },
}

/// One assessment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Findings {
    /// When the device was read.
    pub at: When,
    /// Baseline with version.
    pub baseline: String,
    /// One row a rule.
    pub rows: Vec<Finding>,
}

/// One rule on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Finding {
    /// Rule id.
    pub rule: String,
    /// What holds when it passes.
    pub title: String,
    /// What it came to.
    pub verdict: Verdict,
    /// How bad a failure is.
    pub severity: String,
    /// What the verdict stands on.
    pub evidence: String,
    /// What was read.
    pub observed: String,
    /// What it must be.
    pub expected: String,
    /// Why it is so and matters.
    pub why: String,
    /// What to do.
    pub what_to_do: Vec<String>,
    /// Requirements of standards.
    pub references: Vec<String>,
    /// Who accepts the failure and until when.
    pub accepted: Option<String>,
}

/// What a rule came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Read and not as it must be.
    Fail,
    /// Not read, or not to be judged.
    Unknown,
    /// It fails and somebody accepts that for now.
    Accepted,
    /// Read and as it must be.
    Pass,
    /// Not about this model.
    NotApplicable,
}

/// The kit on the laptop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kit {
    /// When it was imported.
    pub taken: When,
    /// How fresh it was then.
    pub freshness: Freshness,
    /// Who accepted it although it was stale.
    pub accepted_by: Option<String>,
    /// The laptop's clock had gone back since the kit before.
    pub clock_jumped_back: bool,
    /// Its TUF roles.
    pub roles: Vec<KitRole>,
}

/// How fresh a kit was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// No role had expired.
    Fresh,
    /// A role had expired.
    Stale,
}

/// One TUF role of a kit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KitRole {
    /// Role, such as `timestamp`.
    pub role: String,
    /// Version.
    pub version: u64,
    /// When it expires.
    pub expires: When,
}

impl Report {
    /// Reads a report from JSON; another schema or an unknown field is refused.
    pub fn from_json(text: &str) -> Result<Self, EvidenceError> {
        let report: Self =
            serde_json::from_str(text).map_err(|e| EvidenceError { visit: "?".into(), kind: e.into() })?;
        report.check()?;
        Ok(report)
    }

    /// Returns the report as JSON for people and machines, two blanks a level.
    pub fn to_json(&self) -> Result<String, EvidenceError> {
        self.check()?;
        serde_json::to_string_pretty(self).map_err(|e| self.error(e.into()))
    }

    pub(crate) fn check(&self) -> Result<(), EvidenceError> {
        if self.schema == SCHEMA { Ok(()) } else { Err(self.error(EvidenceErrorKind::Schema)) }
    }

    pub(crate) fn error(&self, kind: EvidenceErrorKind) -> EvidenceError {
        EvidenceError { visit: self.visit.clone(), kind }
    }
}
