//! Rules: one TOML table each, closed reads and expectations, no expression language.

use std::collections::BTreeSet;

use aseptic_device::profile::Expect;
use aseptic_device::{SettingKey, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::radio::Radio;

/// The value of `schema` in a rules file.
pub const SCHEMA: &str = "aseptic.rules/1";

/// A file of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RulesFile {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Rules.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rule {
    /// Short id, such as `SER-11`.
    pub id: String,
    /// What must be true.
    pub title: String,
    /// Why it matters at the bedside.
    pub rationale: String,
    /// How bad a failure is.
    pub severity: Severity,
    /// How it is known.
    pub evidence: EvidenceKind,
    /// Where standards ask for it.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// What a person does about a failure.
    pub remediation: String,
    /// What is read.
    pub read: Read,
    /// What passes; only for settings.
    #[serde(default)]
    pub expect: Option<Expect>,
    /// Value that a fix writes; only for settings.
    #[serde(default)]
    pub fix: Option<Value>,
}

/// How bad a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

/// How something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// Read from the device.
    Measured,
    /// Follows from a version that was read.
    Version,
    /// A named person says so.
    Attested,
    /// Tried on the bench, never on a clinical device.
    Bench,
}

/// A place in a standard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Reference {
    /// Such as `MDS2 SAHD-9`.
    pub id: String,
    /// Nobody has checked the number against the standard's text.
    #[serde(default)]
    pub unsure: bool,
}

/// What a rule reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Read {
    /// A setting of the device.
    Setting(SettingKey),
    /// A setting whose value is secret: its digest must not be that of any of these values.
    SecretNot {
        /// The setting.
        key: SettingKey,
        /// Known default values.
        defaults: Vec<String>,
    },
    /// Something that the engine knows how to judge.
    BuiltIn(BuiltIn),
}

/// What the engine judges itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BuiltIn {
    /// The running version is one that the hospital approves.
    VersionApproved,
    /// The running image is active and confirmed and none is pending.
    ImagesSettled,
    /// The running image's hash is one that a maker signed.
    RunningImageKnown,
    /// The spare slot holds no version known to be vulnerable.
    SpareNotVulnerable,
    /// The device has its own serial number.
    SerialUsable,
    /// The device tells its UDI.
    UdiPresent,
    /// The device tells its hardware revision.
    HardwareKnown,
    /// A second, independent identifier agreed with the serial number.
    SecondIdentifier,
    /// Something that a radio link shows.
    Radio(Radio),
}

/// Rules that cannot be used; every problem found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rules cannot be used: {}", .0.join("; "))]
pub struct RuleError(pub Vec<String>);

impl RulesFile {
    /// Reads a rules file.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let file: Self = toml::from_str(text).map_err(|e| {
            let line = text.bytes().take(e.span().map_or(0, |s| s.start)).filter(|b| *b == b'\n').count() + 1;
            RuleError(vec![format!("line {line}: {}", e.message())])
        })?;
        let mut problems = Vec::new();
        if file.schema != SCHEMA {
            problems.push(format!("schema must be \"{SCHEMA}\""));
        }
        let mut ids = BTreeSet::new();
        for rule in &file.rules {
            let line = text.lines().position(|l| l.contains(&format!("\"{}\"", rule.id))).map_or(1, |i| i + 1);
            let mut say = |what: &str| problems.push(format!("line {line}: rule {} {what}", rule.id));
            if !ids.insert(&rule.id) {
                say("is there twice");
            }
            let is_setting = matches!(rule.read, Read::Setting(_));
            if is_setting != rule.expect.is_some() {
                say("must have an expectation exactly when it reads a setting");
            }
            if rule.fix.is_some() && !is_setting {
                say("has a fix but reads no setting");
            }
            if let (Some(fix), Some(expect)) = (&rule.fix, &rule.expect)
                && aseptic_device::profile::passes(expect, fix) != Some(true)
            {
                say("has a fix that would not pass it");
            }
        }
        if problems.is_empty() { Ok(file) } else { Err(RuleError(problems)) }
    }
}
