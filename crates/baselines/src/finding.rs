//! Findings: what a rule came to on one device, with why and what to do.

use aseptic_device::{SettingKey, Value};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule::{EvidenceKind, Reference, Severity};

/// What a rule came to. XCCDF: pass, fail, unknown, notapplicable; `accepted` is a fail with a waiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It is as it should be.
    Pass,
    /// It is not.
    Fail,
    /// It could not be read or judged. Never counts as good.
    Unknown,
    /// The model has no such thing.
    NotApplicable,
    /// It is not, and somebody accepts that.
    #[serde(rename_all = "kebab-case")]
    Accepted {
        /// Until when.
        until: Timestamp,
        /// Who accepts it.
        approver: String,
        /// What is done instead.
        control: String,
    },
}

/// One rule's result on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// Rule.
    pub rule: String,
    /// What must be true.
    pub title: String,
    /// The result.
    pub result: Verdict,
    /// How bad a failure is.
    pub severity: Severity,
    /// How it is known.
    pub evidence: EvidenceKind,
    /// What was read.
    pub observed: String,
    /// What passes.
    pub expected: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub what_to_do: String,
    /// Where standards ask for it.
    pub references: Vec<Reference>,
    /// A fix that Aseptic can make.
    pub fix: Option<Fix>,
}

/// A setting that can be written to pass a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Fix {
    /// Setting.
    pub key: SettingKey,
    /// Value now.
    pub from: Value,
    /// Value afterwards.
    pub to: Value,
}

/// How many findings came to what. Nothing is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// As they should be.
    pub pass: usize,
    /// Not as they should be.
    pub fail: usize,
    /// Not read or not judged.
    pub unknown: usize,
    /// Not on this model.
    pub not_applicable: usize,
    /// Accepted failures.
    pub accepted: usize,
}

impl Summary {
    /// Counts findings.
    pub fn of(findings: &[Finding]) -> Self {
        let mut summary = Self::default();
        for finding in findings {
            match finding.result {
                Verdict::Pass => summary.pass += 1,
                Verdict::Fail => summary.fail += 1,
                Verdict::Unknown => summary.unknown += 1,
                Verdict::NotApplicable => summary.not_applicable += 1,
                Verdict::Accepted { .. } => summary.accepted += 1,
            }
        }
        summary
    }
}
