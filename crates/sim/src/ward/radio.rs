//! What a device with a radio shows and does: the table `radio` of a device in a ward file.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;

/// A 16-bit UUID stands in the Bluetooth base UUID.
const BASE: u128 = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;
/// The service of SMP (Zephyr `smp_transport.rst`).
pub const SMP_SERVICE: Uuid = Uuid(0x8d53_dc1d_1db7_4cd3_868b_8a52_7460_aa84);
/// Its only characteristic.
pub const SMP_CHARACTERISTIC: Uuid = Uuid(0xda2e_7828_fbce_4e01_ae9e_2611_7499_7c48);
/// The service of insulin pumps.
pub const INSULIN_DELIVERY: Uuid = Uuid::short(0x183a);

/// A UUID; in a ward file four hex digits or the long form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Uuid(pub u128);

impl Uuid {
    /// Returns an assigned number in its long form.
    pub const fn short(number: u16) -> Self {
        Self(BASE | (number as u128) << 96)
    }
}

impl TryFrom<String> for Uuid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no UUID: four hex digits, or 8-4-4-4-12");
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let digits = text.replace('-', "");
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        match (groups.as_slice(), u128::from_str_radix(&digits, 16)) {
            ([4], Ok(number)) => Ok(Self(BASE | number << 96)),
            ([8, 4, 4, 4, 12], Ok(number)) => Ok(Self(number)),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = format!("{:032x}", self.0);
        for (i, digit) in digits.chars().enumerate() {
            if [8, 12, 16, 20].contains(&i) {
                f.write_str("-")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// Bytes; in a ward file hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Hex(pub Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        bytes.map(Self).map_err(|_| format!("{text:?} is not an even number of hex digits"))
    }
}

/// Kind of a device address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    /// From a registry.
    Public,
    /// Random, and the same for a whole power cycle.
    #[default]
    RandomStatic,
    /// Random, and resolvable by who holds the key.
    ResolvablePrivate,
}

/// Who may speak SMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Smp {
    /// Anybody.
    #[default]
    Open,
    /// Who is paired.
    Paired,
    /// Nobody: the device has no such service.
    None,
}

/// One more service of a device.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Service {
    /// UUID.
    pub uuid: Uuid,
    /// Its characteristics.
    #[serde(default)]
    pub characteristics: Vec<Characteristic>,
}

/// One more characteristic of a device.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Characteristic {
    /// UUID.
    pub uuid: Uuid,
    /// What may be done with it.
    #[serde(default = "read_only")]
    pub flags: Vec<Flag>,
    /// What it holds.
    #[serde(default)]
    pub value: Hex,
}

fn read_only() -> Vec<Flag> {
    vec![Flag::Read]
}

/// What may be done with a characteristic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// Read.
    Read,
    /// Write with an answer.
    Write,
    /// Write without one.
    WriteWithoutResponse,
    /// Notify.
    Notify,
    /// Indicate.
    Indicate,
}

impl Flag {
    /// Returns the word that BlueZ has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteWithoutResponse => "write-without-response",
            Self::Notify => "notify",
            Self::Indicate => "indicate",
        }
    }
}

/// Texts of the Device Information service; what is left out is taken from the device, `""` is an empty text.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Dis {
    /// Maker.
    pub manufacturer: Option<String>,
    /// Model; else the product.
    pub model: Option<String>,
    /// Serial number; else that of the device.
    pub serial: Option<String>,
    /// Firmware; else the version that runs.
    pub firmware: Option<String>,
    /// Hardware; else the setting `id/hardware`.
    pub hardware: Option<String>,
}

/// UDI for Medical Devices; what is left out is taken from the setting `id/udi`, `""` is not there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Udi {
    /// As on the label.
    pub label: Option<String>,
    /// Device identifier.
    pub di: Option<String>,
    /// Object identifier of the issuer.
    pub issuer: Option<String>,
    /// Object identifier of the authority.
    pub authority: Option<String>,
}

/// A radio and what it shows.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Radio {
    /// The laptop's adapter that hears the device.
    pub adapter: String,
    /// Advertised name; may be empty.
    pub name: String,
    /// Until the scan response with the name comes.
    pub late_name_ms: u64,
    /// Kind of address.
    pub address: AddressKind,
    /// Each restart brings another address. A bond belongs to an address.
    pub moves: bool,
    /// Signal strength in dBm.
    pub rssi: i16,
    /// How long connecting takes.
    pub connect_ms: u64,
    /// How long the laptop remembers a device that it no longer hears.
    pub forget_ms: u64,
    /// ATT MTU: a notification carries three bytes less.
    pub mtu: u16,
    /// Share of notifications that are lost, 0 to 1.
    pub lose: f64,
    /// Writes that the link carries in a second; 0 for as many as come.
    pub writes_per_s: u32,
    /// Who may speak SMP.
    pub smp: Smp,
    /// An access that needs security begins pairing by itself.
    pub raises_security: bool,
    /// Pairing asks nobody ("just works").
    pub pairs_without_asking: bool,
    /// The passkey that the device shows. Without one, and unless it pairs without asking, pairing fails.
    pub passkey: Option<u32>,
    /// Manufacturer data, company number first.
    pub manufacturer: Hex,
    /// Advertising flags.
    pub flags: u8,
    /// Services in the advertisement; else all that matter.
    pub advertises: Option<Vec<Uuid>>,
    /// More services.
    pub services: Vec<Service>,
    /// LE GATT Security Levels as (mode, level), beside the insulin or the device information: the stack hides it where it belongs.
    pub security_levels: Vec<(u8, u8)>,
    /// PnP id: source, vendor, product, version.
    pub pnp: Option<(u8, u16, u16, u16)>,
    /// UDI.
    pub udi: Option<Udi>,
    /// Device information.
    pub dis: Dis,
    /// Charge in percent at first; without one, no Battery service.
    pub battery: Option<u8>,
    /// How far the device's clock is ahead; without it, no Current Time service.
    pub clock_ahead_s: Option<i64>,
    /// An Insulin Delivery service that tells the setting `state/therapy`.
    pub insulin: bool,
    /// Characteristics that only who is paired may read.
    pub protected: Vec<Uuid>,
}

impl Default for Radio {
    fn default() -> Self {
        Self {
            adapter: "hci0".into(),
            name: String::new(),
            late_name_ms: 0,
            address: AddressKind::default(),
            moves: false,
            rssi: -60,
            connect_ms: 50,
            forget_ms: 10_000,
            mtu: 247,
            lose: 0.0,
            writes_per_s: 0,
            smp: Smp::default(),
            raises_security: false,
            pairs_without_asking: false,
            passkey: None,
            manufacturer: Hex::default(),
            flags: 0x06,
            advertises: None,
            services: Vec::new(),
            security_levels: Vec::new(),
            pnp: None,
            udi: None,
            dis: Dis::default(),
            battery: None,
            clock_ahead_s: None,
            insulin: false,
            protected: Vec::new(),
        }
    }
}

impl Radio {
    /// Returns what is wrong with it, if anything is.
    pub(crate) fn problem(&self) -> Option<String> {
        let adapter = self.adapter.strip_prefix("hci").is_some_and(|n| n.len() < 4 && n.parse::<u8>().is_ok());
        let cases = [
            (!adapter, "adapter must be hci0, hci1, …"),
            (!(23..=517).contains(&self.mtu), "mtu must be 23 to 517"),
            (!(0.0..=1.0).contains(&self.lose), "lose must be a share from 0 to 1"),
            (self.manufacturer.0.len() == 1, "manufacturer must begin with a company number of two bytes"),
            (self.passkey.is_some_and(|p| p > 999_999), "passkey must have six digits at most"),
            (
                self.smp == Smp::Paired && self.passkey.is_none() && !self.pairs_without_asking,
                "smp = \"paired\" needs passkey or pairs-without-asking",
            ),
            (
                self.passkey.is_some() && self.pairs_without_asking,
                "passkey and pairs-without-asking exclude each other",
            ),
            (self.battery.is_some_and(|b| b > 100), "battery must be 0 to 100"),
        ];
        cases.into_iter().find(|(wrong, _)| *wrong).map(|(_, why)| why.to_owned())
    }

    /// Returns the services in the advertisement.
    pub(crate) fn advertised(&self) -> Vec<Uuid> {
        if let Some(services) = &self.advertises {
            return services.clone();
        }
        let own = [(self.smp != Smp::None, SMP_SERVICE), (self.insulin, INSULIN_DELIVERY)];
        let own = own.into_iter().filter(|(has, _)| *has).map(|(_, uuid)| uuid);
        own.chain(self.services.iter().map(|s| s.uuid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_short_or_long_and_nothing_else() {
        assert_eq!(Uuid::try_from("FE59".to_owned()).unwrap().to_string(), "0000fe59-0000-1000-8000-00805f9b34fb");
        assert_eq!(Uuid::try_from(SMP_SERVICE.to_string()), Ok(SMP_SERVICE));
        for wrong in ["", "fe5", "+e59", "fe590", "8d53dc1d1db74cd3868b8a527460aa84"] {
            assert!(Uuid::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
