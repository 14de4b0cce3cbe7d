//! Waivers: a failure that a named person accepts until a date, with what is done instead.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One accepted failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Waiver {
    /// Rule.
    pub rule: String,
    /// Profile of the model.
    pub profile: String,
    /// Serial number; without one it holds for the model.
    #[serde(default)]
    pub serial: Option<String>,
    /// What is done instead.
    pub control: String,
    /// Who accepts it.
    pub approver: String,
    /// Until when.
    pub until: Timestamp,
}

impl Waiver {
    /// Returns whether the waiver is about this rule on this device, expired or not.
    pub fn is_about(&self, rule: &str, profile: &str, serial: Option<&str>) -> bool {
        self.rule == rule && self.profile == profile && (self.serial.is_none() || self.serial.as_deref() == serial)
    }
}
