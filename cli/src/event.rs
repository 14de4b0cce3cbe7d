//! What `--json` prints: one object a line, `aseptic.event/1`, additive within a major version.

use aseptic_baselines::{Finding, Summary};
use aseptic_patches::RunEvent;
use aseptic_workflow::{DeviceState, KitRecord, Sighted, Visit};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// The value of `schema` in every line.
pub const SCHEMA: &str = "aseptic.event/1";

/// One line.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Line {
    /// Always `aseptic.event/1`.
    pub schema: &'static str,
    /// Counts lines from 0.
    pub seq: u64,
    /// When, UTC.
    pub at: Timestamp,
    /// Visit, if the line belongs to one.
    pub visit: Option<String>,
    /// Device, if the line is about one.
    pub device: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub what: Happened,
}

/// What happened: a step of a run, or anything else.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "an event lives for one line")]
pub enum Happened {
    /// A step of a run.
    Run(RunEvent),
    /// Anything else.
    Other(Event),
}

/// Everything but the steps of a run.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// Something came into reach or left it.
    Sighting {
        /// What.
        sighted: Sighted,
    },
    /// A device was identified and a visit opened.
    Identified {
        /// The visit.
        found: Box<Visit>,
    },
    /// What a rule came to.
    Finding {
        /// The finding.
        finding: Finding,
    },
    /// An assessment is complete.
    Assessed {
        /// Counts.
        summary: Summary,
    },
    /// A plan was made.
    Planned {
        /// The plan.
        plan: serde_json::Value,
    },
    /// A kit was taken or verified.
    Kit {
        /// The kit.
        kit: KitRecord,
    },
    /// A record of a list: a visit, an audit entry, a patch, an interrupted plan.
    Record {
        /// What kind.
        kind: &'static str,
        /// The record.
        record: serde_json::Value,
    },
    /// The last line.
    #[serde(rename_all = "kebab-case")]
    Ended {
        /// Exit code.
        code: u8,
        /// Stable name of the code.
        name: &'static str,
        /// What is known of the device.
        device_state: DeviceState,
        /// In one sentence.
        message: String,
        /// What to do.
        help: Option<String>,
    },
}
