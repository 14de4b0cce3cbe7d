//! One simulated device: what survives a power cut, what does not, and what really runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::bootloader::{Config, Flash, Image, PowerLost};
use crate::firmware::{Behaviour, behaviour, build};
use crate::power::PowerSwitch;
use crate::ward::Device;

/// A device.
#[derive(Debug)]
pub struct Machine {
    pub(crate) spec: Device,
    pub(crate) bootloader: Config,
    pub(crate) flash: Flash,
    pub(crate) saved: BTreeMap<String, Vec<u8>>,
    pub(crate) ram: Ram,
    pub(crate) power: PowerSwitch,
    pub(crate) effects: u64,
    boots: u64,
    first_version: (u8, u8, u16, u32),
}

/// What a restart wipes.
#[derive(Debug, Default)]
pub(crate) struct Ram {
    pub settings: BTreeMap<String, Vec<u8>>,
    pub upload: Option<Upload>,
    pub behaviour: Behaviour,
    pub restart: bool,
}

/// An upload under way.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub sha: Vec<u8>,
    pub length: usize,
}

/// What a start came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    /// It answers after this long.
    Runs(Duration),
    /// It hangs; the watchdog restarts it after this long.
    Hangs(Duration),
    /// The power went.
    PowerLost,
}

/// What really runs on a device, seen from outside the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// Serial number.
    pub serial: String,
    /// Version of the running image.
    pub version: String,
    /// Hash of the running image, hex.
    pub hash: String,
    /// It is kept.
    pub confirmed: bool,
    /// Another image waits for the next restart.
    pub pending: bool,
    /// The running image is damaged or not signed by the device's keys.
    pub torn: bool,
    /// All settings as a start would find them, hex.
    pub settings: BTreeMap<String, String>,
    /// Requests received that could change something.
    pub effects: u64,
    /// Starts so far.
    pub boots: u64,
}

impl Machine {
    /// Makes a device in the state that the ward file says; `None` where its first firmware cannot be made.
    pub fn new(spec: Device) -> Option<Self> {
        let keys = if spec.keys.is_empty() { vec![crate::TRAINING_KEY_PUBLIC.to_owned()] } else { spec.keys.clone() };
        let (major, minor, revision) = spec.firmware;
        let first_version = (major, minor, revision, 0);
        let primary = build(first_version, Behaviour::Runs, spec.firmware_size, crate::TRAINING_KEY_PRIVATE).ok()?;
        let mut all = keys;
        // The first firmware is training firmware, whatever key later ones are signed with.
        if !all.iter().any(|k| k == crate::TRAINING_KEY_PUBLIC) {
            all.push(crate::TRAINING_KEY_PUBLIC.to_owned());
        }
        let bootloader = Config { mode: spec.bootloader, no_downgrade: spec.no_downgrade, keys: all };
        let saved = default_settings(&spec)
            .into_iter()
            .map(|(name, value)| {
                let value = spec.settings.get(&name).and_then(|v| encode(&name, v)).unwrap_or(value);
                (name, value)
            })
            .collect();
        let flash = Flash { primary, confirmed: true, ..Flash::default() };
        let power = PowerSwitch::default();
        Some(Self { spec, bootloader, flash, saved, ram: Ram::default(), power, effects: 0, boots: 0, first_version })
    }

    /// Returns the device's power switch.
    pub fn power(&self) -> PowerSwitch {
        self.power.clone()
    }

    /// Sets a setting from outside, as a person at the device would (`state/therapy`, `state/alarm`, …).
    pub fn set_from_outside(&mut self, name: &str, value: &str) -> bool {
        let Some(old) = self.saved.get(name) else { return false };
        let parsed = match (name_type(name), value) {
            (Kind::Text, text) => text.as_bytes().to_vec(),
            (Kind::Bool, "true") => vec![1],
            (Kind::Bool, "false") => vec![0],
            (Kind::Number, digits) => match digits.parse::<u32>() {
                Ok(n) => n.to_le_bytes().iter().copied().take(old.len()).collect(),
                Err(_) => return false,
            },
            (Kind::Bool, _) => return false,
        };
        self.saved.insert(name.into(), parsed.clone());
        self.ram.settings.insert(name.into(), parsed);
        true
    }

    /// Returns what really runs.
    pub fn truth(&self) -> Truth {
        let running = Image::read(&self.flash.primary);
        Truth {
            serial: self.spec.serial.clone(),
            version: running.as_ref().map(Image::version_text).unwrap_or_default(),
            hash: running.as_ref().map(|i| hex(&i.hash)).unwrap_or_default(),
            confirmed: self.flash.confirmed,
            pending: self.flash.pending.is_some(),
            torn: self.flash.running(&self.bootloader).is_none(),
            settings: self.saved.iter().map(|(k, v)| (k.clone(), hex(v))).collect(),
            effects: self.effects,
            boots: self.boots,
        }
    }

    /// Wipes RAM, runs the bootloader, starts the firmware.
    pub(crate) fn start(&mut self) -> Started {
        self.ram = Ram { settings: self.saved.clone(), ..Ram::default() };
        self.boots += 1;
        let swapped = match self.flash.boot(&self.bootloader, &self.power) {
            Ok(swapped) => swapped,
            Err(PowerLost) => return Started::PowerLost,
        };
        let mut wait = Duration::from_millis(self.spec.pace.boot_ms);
        if swapped {
            wait += Duration::from_millis(self.spec.pace.swap_ms);
        }
        self.ram.behaviour = self.behaviour();
        if self.ram.behaviour == Behaviour::ChangesAnAlarmLimit {
            let changed = 1_u16.to_le_bytes().to_vec();
            self.saved.insert("alarm/high".into(), changed.clone());
            self.ram.settings.insert("alarm/high".into(), changed);
        }
        if self.ram.behaviour == Behaviour::FailsSelfTest {
            self.ram.settings.insert("check/self-test".into(), b"fail".to_vec());
        }
        if self.ram.behaviour == Behaviour::NeverComesUp {
            return Started::Hangs(wait + Duration::from_millis(self.spec.pace.watchdog_ms));
        }
        Started::Runs(wait)
    }

    fn behaviour(&self) -> Behaviour {
        let Some(running) = Image::read(&self.flash.primary) else { return Behaviour::NeverComesUp };
        match self.spec.after_update {
            Some(fault) if running.version != self.first_version => fault,
            _ => behaviour(running.payload(&self.flash.primary)),
        }
    }

    /// Returns the seconds after which this firmware hangs, if it does.
    pub(crate) fn dies_after(&self) -> Option<Duration> {
        (self.ram.behaviour == Behaviour::DiesDuringSoak).then(|| Duration::from_secs(1))
    }

    /// Returns whether a setting may be written over the wire.
    pub(crate) fn is_writable(name: &str) -> bool {
        !(name.starts_with("id/") || name.starts_with("state/") || name.starts_with("check/"))
    }
}

enum Kind {
    Text,
    Bool,
    Number,
}

fn name_type(name: &str) -> Kind {
    match name {
        "net/telnet" | "net/ftp" | "audit/enabled" | "console/login" | "state/mains" => Kind::Bool,
        "auth/lockout" | "therapy/rate-limit" | "alarm/high" | "alarm/volume" | "state/battery" => Kind::Number,
        _ => Kind::Text,
    }
}

fn encode(name: &str, value: &toml::Value) -> Option<Vec<u8>> {
    let width = match name {
        "therapy/rate-limit" => 4,
        "alarm/high" => 2,
        _ => 1,
    };
    match value {
        toml::Value::Boolean(b) => Some(vec![u8::from(*b)]),
        toml::Value::Integer(i) => Some(i.to_le_bytes().into_iter().take(width).collect()),
        toml::Value::String(s) => Some(s.as_bytes().to_vec()),
        _ => None,
    }
}

/// Returns the settings of a well-kept device.
pub(crate) fn default_settings(spec: &Device) -> BTreeMap<String, Vec<u8>> {
    let udi = format!("(01)00860000000017(11)260115(21){}", spec.serial);
    let entries: [(&str, Vec<u8>); 19] = [
        ("id/serial", spec.serial.clone().into_bytes()),
        ("id/udi", udi.into_bytes()),
        ("id/hardware", b"C".to_vec()),
        ("net/telnet", vec![0]),
        ("net/ftp", vec![0]),
        ("auth/service-pin", b"8841-K".to_vec()),
        ("auth/lockout", vec![5]),
        ("audit/enabled", vec![1]),
        ("console/login", vec![1]),
        ("therapy/rate-limit", 50_000_u32.to_le_bytes().to_vec()),
        ("therapy/mode", b"continuous".to_vec()),
        ("alarm/high", 300_u16.to_le_bytes().to_vec()),
        ("alarm/volume", vec![80]),
        ("library/version", b"ICU-2026.3".to_vec()),
        ("state/therapy", b"idle".to_vec()),
        ("state/alarm", b"none".to_vec()),
        ("state/mains", vec![1]),
        ("state/battery", vec![90]),
        ("check/self-test", b"pass".to_vec()),
    ];
    entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
