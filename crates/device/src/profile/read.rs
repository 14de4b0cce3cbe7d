//! Where a profile reads a value and what it may expect: a closed list, no expression language.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::setting::{SettingKey, Value};

/// A source of a value on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFrom {
    /// A setting; it must be listed under `settings`.
    Setting(SettingKey),
    /// One format letter of the OS application info (`uname`), such as `n` or `b`.
    OsInfo(char),
    /// A field of a statistics group.
    Stat {
        /// Group name.
        group: String,
        /// Field name.
        field: String,
    },
    /// The serial number string of the USB descriptor.
    UsbSerial,
    /// A string of the BLE Device Information service, by its 16-bit UUID.
    Dis(u16),
    /// The UDI for Medical Devices characteristic (0x2BFF).
    Udi,
    /// Battery charge in percent (0x2A19, or as the platform tells it).
    Battery,
    /// IDD Status (0x2B21) as `therapy/operation`: `stop`, `pause`, `run` or `undetermined`; then `off`, `standby`,
    /// `preparing`, `priming`, `waiting`, `ready` or `undetermined`. Idle is `stop/off` or `stop/standby`.
    InsulinDelivery,
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(key) => write!(f, "setting {key}"),
            Self::OsInfo(c) => write!(f, "os info {c:?}"),
            Self::Stat { group, field } => write!(f, "statistic {group}/{field}"),
            Self::UsbSerial => f.write_str("USB serial number"),
            Self::Dis(uuid) => write!(f, "device information 0x{uuid:04X}"),
            Self::Udi => f.write_str("UDI characteristic"),
            Self::Battery => f.write_str("battery level"),
            Self::InsulinDelivery => f.write_str("insulin delivery status"),
        }
    }
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Equal to this.
    Equals(Value),
    /// One of these.
    OneOf(Vec<Value>),
    /// Not one of these.
    NotOneOf(Vec<Value>),
    /// A number, this or more.
    AtLeast(i64),
    /// A number, this or less.
    AtMost(i64),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |vs: &[Value]| vs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Equals(v) => v.fmt(f),
            Self::OneOf(vs) => write!(f, "one of {}", list(vs)),
            Self::NotOneOf(vs) => write!(f, "none of {}", list(vs)),
            Self::AtLeast(n) => write!(f, "at least {n}"),
            Self::AtMost(n) => write!(f, "at most {n}"),
        }
    }
}

pub(super) fn passes(expect: &Expect, value: &Value) -> Option<bool> {
    let same_kind = |other: &Value| std::mem::discriminant(other) == std::mem::discriminant(value);
    match expect {
        Expect::Equals(v) => same_kind(v).then(|| v == value),
        Expect::OneOf(vs) => vs.iter().all(same_kind).then(|| vs.contains(value)),
        Expect::NotOneOf(vs) => vs.iter().all(same_kind).then(|| !vs.contains(value)),
        Expect::AtLeast(n) => number(value).map(|v| v >= *n),
        Expect::AtMost(n) => number(value).map(|v| v <= *n),
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(i) => Some(*i),
        Value::Bool(_) | Value::Text(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_another_kind_are_undecided_not_failed() {
        assert_eq!(passes(&Expect::Equals(Value::Bool(true)), &Value::Int(1)), None);
        assert_eq!(passes(&Expect::AtLeast(50), &Value::Text("60".into())), None);
        assert_eq!(passes(&Expect::AtLeast(50), &Value::Int(50)), Some(true));
        assert_eq!(passes(&Expect::NotOneOf(vec![Value::Text("1234".into())]), &Value::Text("9".into())), Some(true));
    }
}
