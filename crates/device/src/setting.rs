//! Settings of a device: what they are called, what they mean for safety, what they hold.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::DeviceText;

/// Name of a setting on the device, such as `net/telnet`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct SettingKey(pub String);

impl fmt::Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for SettingKey {
    fn from(s: &str) -> Self {
        Self(s.to_owned())
    }
}

/// What a setting means for safety. Only [`SettingClass::Security`] is ever written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SettingClass {
    /// Hardening: services, passwords, radio, logging.
    Security,
    /// Steers therapy: rates, doses, modes.
    Therapy,
    /// Alarm limits and volumes.
    Alarm,
    /// Drug library and its version.
    Library,
    /// The device's own counters, states and identifiers: they may change by themselves.
    Status,
    /// Nobody said; treated as if it steered therapy.
    Unknown,
}

impl SettingClass {
    /// Returns whether a value must be the same before and after a visit.
    pub fn must_stay(self) -> bool {
        !matches!(self, Self::Security | Self::Status)
    }
}

/// A setting's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(DeviceText),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => write!(f, "{}", if *b { "on" } else { "off" }),
            Self::Int(i) => i.fmt(f),
            Self::Text(t) => t.fmt(f),
        }
    }
}

/// How a setting's bytes are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ValueType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, one byte.
    U8,
    /// Unsigned, two bytes, little-endian.
    U16,
    /// Unsigned, four bytes, little-endian.
    U32,
    /// Signed, four bytes, little-endian.
    I32,
    /// UTF-8, a trailing NUL is dropped on reading.
    Text,
    /// Bytes, shown in hex.
    Bytes,
}

impl ValueType {
    /// Returns what the device's bytes mean; `None` where their length does not fit.
    pub fn decode(self, raw: &[u8]) -> Option<Value> {
        Some(match self {
            Self::Bool => match raw {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return None,
            },
            Self::U8 => Value::Int(u8::from_le_bytes(raw.try_into().ok()?).into()),
            Self::U16 => Value::Int(u16::from_le_bytes(raw.try_into().ok()?).into()),
            Self::U32 => Value::Int(u32::from_le_bytes(raw.try_into().ok()?).into()),
            Self::I32 => Value::Int(i32::from_le_bytes(raw.try_into().ok()?).into()),
            Self::Text => Value::Text(DeviceText::from_bytes(raw)),
            Self::Bytes => Value::Text(DeviceText::new(&raw.iter().map(|b| format!("{b:02x}")).collect::<String>())),
        })
    }

    /// Returns the bytes for the device; `None` where the value does not fit the type.
    pub fn encode(self, value: &Value) -> Option<Vec<u8>> {
        Some(match (self, value) {
            (Self::Bool, Value::Bool(b)) => vec![u8::from(*b)],
            (Self::U8, Value::Int(i)) => u8::try_from(*i).ok()?.to_le_bytes().to_vec(),
            (Self::U16, Value::Int(i)) => u16::try_from(*i).ok()?.to_le_bytes().to_vec(),
            (Self::U32, Value::Int(i)) => u32::try_from(*i).ok()?.to_le_bytes().to_vec(),
            (Self::I32, Value::Int(i)) => i32::try_from(*i).ok()?.to_le_bytes().to_vec(),
            (Self::Text, Value::Text(t)) => t.as_str().as_bytes().to_vec(),
            _ => return None,
        })
    }
}

/// What could be learned of one setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// The device answered.
    Value(Value),
    /// It could not be read, and why.
    Unreadable(String),
}

/// All settings of the profile, read in one go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigSnapshot {
    /// One entry a setting of the profile.
    pub settings: BTreeMap<SettingKey, SettingReading>,
}

/// One setting in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SettingReading {
    /// What it means for safety.
    pub class: SettingClass,
    /// What was read.
    pub reading: Reading,
}

impl ConfigSnapshot {
    /// Returns the value of a setting that could be read.
    pub fn value(&self, key: &SettingKey) -> Option<&Value> {
        match &self.settings.get(key)?.reading {
            Reading::Value(v) => Some(v),
            Reading::Unreadable(_) => None,
        }
    }

    /// Returns the settings that differ between two snapshots, the device's own counters and states left out.
    /// A setting that could be read before and cannot be read now differs.
    pub fn differences<'a>(&'a self, later: &'a Self) -> Vec<&'a SettingKey> {
        self.settings
            .iter()
            .filter(|(key, before)| {
                before.class != SettingClass::Status
                    && later.settings.get(*key).map(|r| &r.reading) != Some(&before.reading)
            })
            .map(|(key, _)| key)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_of_a_wrong_length_are_not_a_value() {
        assert_eq!(ValueType::U16.decode(&[1]), None);
        assert_eq!(ValueType::Bool.decode(&[2]), None);
        assert_eq!(ValueType::U8.encode(&Value::Int(256)), None);
    }

    #[test]
    fn a_setting_that_vanished_counts_as_changed() {
        let key = SettingKey::from("alarm/high");
        let with = |reading| ConfigSnapshot {
            settings: [(key.clone(), SettingReading { class: SettingClass::Alarm, reading })].into(),
        };
        let before = with(Reading::Value(Value::Int(1)));
        assert_eq!(before.differences(&with(Reading::Unreadable("gone".into()))), vec![&key]);
        assert!(before.differences(&before.clone()).is_empty());
    }

    proptest! {
        #[test]
        fn numbers_survive_the_wire(n in any::<u32>()) {
            let value = Value::Int(n.into());
            let bytes = ValueType::U32.encode(&value).unwrap();
            prop_assert_eq!(ValueType::U32.decode(&bytes), Some(value));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            for t in [ValueType::Bool, ValueType::U8, ValueType::U16, ValueType::U32, ValueType::I32, ValueType::Text, ValueType::Bytes] {
                let _ = t.decode(&raw);
            }
        }
    }
}
