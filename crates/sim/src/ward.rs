//! What a simulated ward holds: a TOML file, `schema = "aseptic.ward/1"`.

pub mod radio;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::bootloader::Mode;
use crate::firmware::Behaviour;
use crate::wire::Framing;
pub use radio::Radio;

/// The value of `schema` in a ward file.
pub const SCHEMA: &str = "aseptic.ward/1";

/// A ward.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ward {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Devices.
    #[serde(rename = "device")]
    pub devices: Vec<Device>,
    /// The laptop's radio adapters, as far as there is something to say of them.
    #[serde(default, rename = "adapter")]
    pub adapters: Vec<Adapter>,
}

/// One radio adapter of the laptop.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Adapter {
    /// Name, such as `hci0`.
    pub name: String,
    /// Links that it holds at once; left out, as many as come.
    #[serde(default)]
    pub links: Option<usize>,
}

/// One device of a ward.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Device {
    /// Port name, such as `ttySIM0`; empty for a device with a radio.
    #[serde(default)]
    pub port: String,
    /// A radio, for a device without a port.
    #[serde(default)]
    pub radio: Option<Radio>,
    /// Serial number.
    pub serial: String,
    /// USB product string.
    pub product: String,
    /// Firmware that runs at first: major, minor, revision.
    #[serde(default = "first_firmware")]
    pub firmware: (u8, u8, u16),
    /// Bytes of that firmware.
    #[serde(default = "first_firmware_size")]
    pub firmware_size: usize,
    /// What the bootloader does with a new image.
    #[serde(default)]
    pub bootloader: Mode,
    /// The bootloader refuses older versions.
    #[serde(default)]
    pub no_downgrade: bool,
    /// Keys that the bootloader accepts, PEM; without any, the training key.
    #[serde(default)]
    pub keys: Vec<String>,
    /// How any firmware but the first behaves on this device, whatever it says itself.
    #[serde(default)]
    pub after_update: Option<Behaviour>,
    /// Settings that differ from those of a well-kept device.
    #[serde(default)]
    pub settings: BTreeMap<String, toml::Value>,
    /// The wire and what goes wrong on it.
    #[serde(default)]
    pub wire: Wire,
    /// How long the device takes for things.
    #[serde(default)]
    pub pace: Pace,
}

fn first_firmware() -> (u8, u8, u16) {
    (1, 2, 0)
}

fn first_firmware_size() -> usize {
    24 * 1024
}

/// A wire and what goes wrong on it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Wire {
    /// Framing.
    pub framing: Framing,
    /// Bits per second, ten a byte; 0 for as fast as it goes.
    pub baud: u32,
    /// Delay of every answer, in milliseconds.
    pub delay_ms: u64,
    /// Share of requests and of answers that are lost, 0 to 1.
    pub loss: f64,
    /// Share of answers that are sent twice.
    pub twice: f64,
    /// Log lines between answers.
    pub noise: bool,
    /// The link hangs up once after so many received bytes.
    pub drop_out_after: Option<u64>,
    /// Length of that drop-out, in milliseconds.
    pub drop_out_ms: u64,
    /// Bytes of one packet.
    pub buffer_size: usize,
    /// Packets at once.
    pub buffer_count: usize,
    /// The device does not tell its buffers.
    pub no_parameters: bool,
    /// Each restart brings another port name.
    pub moves: bool,
    /// Seed of what happens by chance.
    pub seed: u64,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            framing: Framing::default(),
            baud: 0,
            delay_ms: 0,
            loss: 0.0,
            twice: 0.0,
            noise: false,
            drop_out_after: None,
            drop_out_ms: 3_000,
            buffer_size: 384,
            buffer_count: 4,
            no_parameters: false,
            moves: false,
            seed: 1,
        }
    }
}

/// How long a device takes for things, in milliseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Pace {
    /// From power to the first answer.
    pub boot_ms: u64,
    /// Swapping or copying the slots.
    pub swap_ms: u64,
    /// Erasing the spare slot at the first piece of an upload.
    pub erase_ms: u64,
    /// Until the watchdog restarts a device that hangs.
    pub watchdog_ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { boot_ms: 300, swap_ms: 700, erase_ms: 200, watchdog_ms: 3_000 }
    }
}

/// A ward file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ward cannot be used: {0}")]
pub struct WardError(String);

impl Ward {
    /// Reads a ward file.
    pub fn parse(text: &str) -> Result<Self, WardError> {
        let mut ward: Self = toml::from_str(text).map_err(|e| WardError(e.to_string()))?;
        if ward.schema != SCHEMA {
            return Err(WardError(format!("schema must be \"{SCHEMA}\"")));
        }
        let mut serials = std::collections::BTreeSet::new();
        let mut ports = std::collections::BTreeSet::new();
        for adapter in &ward.adapters {
            let here = |d: &Device| d.radio.as_ref().is_some_and(|r| r.adapter == adapter.name);
            let again = ward.adapters.iter().filter(|a| a.name == adapter.name).count() > 1;
            if again || !ward.devices.iter().any(here) {
                return Err(WardError(format!("adapter {}: named twice, or by no device", adapter.name)));
            }
        }
        for device in &mut ward.devices {
            let fail = |why: &str| Err(WardError(format!("device {}: {why}", device.serial)));
            if !serials.insert(device.serial.clone()) {
                return fail("serial number used twice");
            }
            match (&device.radio, device.port.as_str()) {
                (Some(radio), "") => {
                    if let Some(why) = radio.problem() {
                        return fail(&format!("radio: {why}"));
                    }
                    device.wire.framing = Framing::Raw;
                    if let Some(percent) = radio.battery {
                        device.settings.entry("state/battery".into()).or_insert(toml::Value::Integer(percent.into()));
                    }
                }
                (Some(_), _) => return fail("it has a port or a radio, not both"),
                (None, "") => return fail("it needs a port or a radio"),
                (None, port) => {
                    let plain = port.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                    if !plain || !ports.insert(port.to_owned()) {
                        return fail(&format!("port {port:?} must be letters and digits, and used once"));
                    }
                }
            }
            for name in device.settings.keys() {
                if !crate::machine::default_settings(device).contains_key(name) {
                    return Err(WardError(format!("device {}: no setting {name}", device.serial)));
                }
            }
        }
        Ok(ward)
    }

    /// Returns the ward of the demonstration.
    pub fn built_in() -> Result<Self, WardError> {
        Self::parse(include_str!("../ward.toml"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_ward_loads() {
        let devices = Ward::built_in().unwrap().devices;
        assert_eq!(devices.iter().filter(|d| d.radio.is_none()).count(), 6);
        assert_eq!(devices.iter().filter(|d| d.radio.is_some()).count(), 5);
    }

    #[test]
    fn a_ward_file_that_makes_no_sense_says_why() {
        let why = |device: &str| {
            let head = "schema = \"aseptic.ward/1\"\n[[device]]\nproduct = \"P\"\n";
            Ward::parse(&format!("{head}{device}")).unwrap_err().to_string()
        };
        for (device, expected) in [
            ("serial = \"1\"", "device 1: it needs a port or a radio"),
            ("serial = \"1\"\nport = \"a\"\nradio = {}", "device 1: it has a port or a radio, not both"),
            ("serial = \"1\"\nport = \"a/b\"", "port \"a/b\" must be letters and digits"),
            ("serial = \"1\"\nradio = { mtu = 22 }", "radio: mtu must be 23 to 517"),
            ("serial = \"1\"\nradio = { lose = 1.5 }", "radio: lose must be a share from 0 to 1"),
            ("serial = \"1\"\nradio = { adapter = \"../x\" }", "radio: adapter must be hci0"),
            ("serial = \"1\"\nradio = { smp = \"paired\" }", "needs passkey or pairs-without-asking"),
            ("serial = \"1\"\nradio = { advertises = [\"fe5\"] }", "\"fe5\" is no UUID"),
            ("serial = \"1\"\nradio = { manufacturer = \"5\" }", "\"5\" is not an even number of hex digits"),
            ("serial = \"1\"\nradio = { colour = 1 }", "unknown field `colour`"),
            ("serial = \"1\"\nradio = {}\n[[adapter]]\nname = \"hci1\"", "adapter hci1: named twice, or by no device"),
            ("serial = \"1\"\nradio = {}\n[[adapter]]\nname = \"hci0\"\nlink = 3", "unknown field `link`"),
        ] {
            let said = why(device);
            assert!(said.contains(expected), "{said}");
        }
    }
}
