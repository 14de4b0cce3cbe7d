//! A moment with the zone in which people lived it.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A moment as a report shows it. The zone comes along, so that no reader needs a time zone database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct When {
    /// The moment.
    pub at: Timestamp,
    /// Distance of local time from UTC, in seconds, east is positive.
    pub offset_s: i32,
    /// Name of the zone, such as `CET`.
    pub zone: String,
}

impl When {
    /// Takes a moment in UTC.
    pub fn utc(at: Timestamp) -> Self {
        Self { at, offset_s: 0, zone: "UTC".into() }
    }

    /// Takes a moment in a zone.
    pub fn in_zone(at: Timestamp, zone: &TimeZone) -> Self {
        let info = zone.to_offset_info(at);
        Self { at, offset_s: info.offset().seconds(), zone: info.abbreviation().to_owned() }
    }

    // An offset that no zone has falls back to UTC and says so: a wrong local time would be worse.
    fn local(&self) -> (jiff::civil::DateTime, &str) {
        match Offset::from_seconds(self.offset_s) {
            Ok(offset) if !self.zone.trim().is_empty() => (offset.to_datetime(self.at), self.zone.trim()),
            _ => (Offset::UTC.to_datetime(self.at), "UTC"),
        }
    }

    /// Returns the time of day with its zone, such as `04:01:16 CET`.
    pub fn time(&self) -> String {
        let (local, zone) = self.local();
        format!("{:02}:{:02}:{:02} {zone}", local.hour(), local.minute(), local.second())
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, _) = self.local();
        write!(f, "{} {}", local.date(), self.time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_its_zone() {
        let when = When { at: "2026-11-24T03:01:16Z".parse().unwrap(), offset_s: 3_600, zone: "CET".into() };
        assert_eq!(when.to_string(), "2026-11-24 04:01:16 CET");
    }

    #[test]
    fn an_offset_that_cannot_be_falls_back_to_utc() {
        let when = When { at: "2026-11-24T03:01:16Z".parse().unwrap(), offset_s: i32::MAX, zone: "CET".into() };
        assert_eq!(when.to_string(), "2026-11-24 03:01:16 UTC");
    }
}
