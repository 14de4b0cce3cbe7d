//! What a person vouches for where the device cannot be asked.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A condition that must hold before a device is touched. Built-in gates are a floor; data may only add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateId {
    /// The device is the one meant: two independent identifiers agree.
    Identity,
    /// Somebody allowed this change, and their window is open.
    WorkOrder,
    /// No patient depends on the device.
    NotOnPatient,
    /// No therapy is running.
    TherapyIdle,
    /// No alarm is active.
    NoAlarm,
    /// The device will not lose power.
    Power,
    /// The laptop will not lose power.
    Laptop,
    /// A loaner is in place, or none is needed.
    Loaner,
    /// The device was cleaned.
    Decontaminated,
}

impl GateId {
    /// Every built-in gate, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Identity,
        Self::WorkOrder,
        Self::NotOnPatient,
        Self::TherapyIdle,
        Self::NoAlarm,
        Self::Power,
        Self::Laptop,
        Self::Loaner,
        Self::Decontaminated,
    ];

    /// Returns the roles that must vouch, each by another person; empty where no attestation can open the gate.
    pub fn attested_by(self) -> &'static [Role] {
        match self {
            Self::Identity | Self::WorkOrder => &[],
            Self::NotOnPatient => &[Role::Technician, Role::ClinicalOwner],
            Self::TherapyIdle | Self::NoAlarm | Self::Power | Self::Laptop | Self::Loaner | Self::Decontaminated => {
                &[Role::Technician]
            }
        }
    }

    /// Returns the sentence that a person vouches for.
    pub fn statement(self) -> &'static str {
        match self {
            Self::Identity => "this is the device meant",
            Self::WorkOrder => "this change was allowed",
            Self::NotOnPatient => "the device is not on a patient",
            Self::TherapyIdle => "no therapy is running",
            Self::NoAlarm => "no alarm is active",
            Self::Power => "the device is on mains power or has enough battery",
            Self::Laptop => "the laptop is on mains power or has enough battery",
            Self::Loaner => "a loaner is in place, or none is needed",
            Self::Decontaminated => "the device is decontaminated",
        }
    }
}

impl fmt::Display for GateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::WorkOrder => "work order",
            Self::NotOnPatient => "not on a patient",
            Self::TherapyIdle => "therapy idle",
            Self::NoAlarm => "no alarm",
            Self::Power => "power",
            Self::Laptop => "laptop power",
            Self::Loaner => "loaner",
            Self::Decontaminated => "decontaminated",
        })
    }
}

/// What a person is in the hospital.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Works on devices.
    Technician,
    /// Answers for the device's use on the ward.
    ClinicalOwner,
    /// Allows work.
    Approver,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Technician => "technician",
            Self::ClinicalOwner => "clinical owner",
            Self::Approver => "approver",
        })
    }
}

/// A named person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Person {
    /// Printed name.
    pub name: String,
    /// What the person is.
    pub role: Role,
}

impl Person {
    /// Returns whether two entries name the same human being: letter case and outer blanks do not make another person.
    pub fn same_as(&self, other: &Self) -> bool {
        self.name.trim().to_lowercase() == other.name.trim().to_lowercase()
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.role)
    }
}

/// One person vouching for one gate of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Attestation {
    /// What is vouched for.
    pub gate: GateId,
    /// By whom.
    pub by: Person,
    /// When it was said.
    pub at: Timestamp,
    /// A remark, such as the loaner's tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
