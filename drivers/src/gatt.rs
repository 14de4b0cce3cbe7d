//! Bluetooth SIG services over a radio link: who a device is, whether it may be touched, what its radio shows.
//!
//! Sources: Bluetooth SIG assigned numbers and GATT specification supplement; Zephyr `subsys/bluetooth/services/dis.c`.
//! [`values`] reads bytes, [`read`] asks for them, [`posture`] gathers what the radio rules judge, and
//! [`GattDevice`] is a model that speaks nothing else. Nothing here writes.

mod device;
#[cfg(test)]
pub(crate) mod peer;
pub mod posture;
pub mod read;
pub mod values;

pub use device::GattDevice;

/// A 16-bit UUID stands in the Bluetooth base UUID.
const BASE: u128 = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;

/// Returns the 128-bit UUID of a 16-bit one.
pub const fn uuid(short: u16) -> u128 {
    BASE | (short as u128) << 96
}

/// Writes a UUID with hyphens, lower case.
pub fn written(uuid: u128) -> String {
    let hex = format!("{uuid:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

// As people know it: 0x2A25, or the whole UUID where it is not of the Bluetooth SIG.
fn known_as(uuid: u128) -> String {
    match u16::try_from((uuid ^ BASE) >> 96) {
        Ok(short) if self::uuid(short) == uuid => format!("0x{short:04X}"),
        _ => written(uuid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_written_as_people_know_them() {
        assert_eq!(written(uuid(0x2a25)), "00002a25-0000-1000-8000-00805f9b34fb");
        assert_eq!(known_as(uuid(0x2a25)), "0x2A25");
        let own = 0x8d53_dc1d_1db7_4cd3_868b_8a52_7460_aa84;
        assert_eq!(known_as(own), "8d53dc1d-1db7-4cd3-868b-8a527460aa84");
        assert_eq!(known_as(own), written(own));
    }
}
