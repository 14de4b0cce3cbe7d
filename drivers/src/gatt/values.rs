//! Values of characteristics. Too short is an error in words; what follows a value is left alone, as newer versions add to it.

use aseptic_device::DeviceText;
use aseptic_device::radio::{PnpId, SecurityLevel};
use jiff::civil::DateTime;

/// A value, or why the bytes are none.
pub type Decoded<T> = Result<T, String>;

/// Reads PnP ID (0x2A50).
pub fn pnp(raw: &[u8]) -> Decoded<PnpId> {
    match raw {
        [source, v0, v1, p0, p1, _, _, ..] => Ok(PnpId {
            source: *source,
            vendor: u16::from_le_bytes([*v0, *v1]),
            product: u16::from_le_bytes([*p0, *p1]),
        }),
        _ => Err(short(raw, 7)),
    }
}

/// UDI for Medical Devices (0x2BFF): the parts that a device tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Udi {
    /// As on the label.
    pub label: Option<DeviceText>,
    /// Device identifier.
    pub device: Option<DeviceText>,
    /// OID of who issued the identifier.
    pub issuer: Option<DeviceText>,
    /// OID of the authority.
    pub authority: Option<DeviceText>,
}

/// Reads UDI for Medical Devices (0x2BFF): flags, then only the parts that they name, each ended by NUL.
pub fn udi(raw: &[u8]) -> Decoded<Udi> {
    let (flags, rest) = raw.split_first().ok_or_else(|| short(raw, 1))?;
    // The last part may have lost its NUL.
    let mut parts = rest.strip_suffix(&[0]).unwrap_or(rest).split(|b| *b == 0);
    let mut next = |bit: u8, what: &str| match flags & bit {
        0 => Ok(None),
        _ => match parts.next().filter(|p| !p.is_empty()) {
            Some(part) => Ok(Some(DeviceText::from_bytes(part))),
            None => Err(format!("the {what} is announced and missing")),
        },
    };
    Ok(Udi {
        label: next(1, "label")?,
        device: next(2, "device identifier")?,
        issuer: next(4, "issuer")?,
        authority: next(8, "authority")?,
    })
}

/// Reads LE GATT Security Levels (0x2BF5): pairs of mode and level.
pub fn security_levels(raw: &[u8]) -> Decoded<Vec<SecurityLevel>> {
    let (pairs, rest) = raw.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(|[mode, level]| SecurityLevel { mode: *mode, level: *level }).collect()),
        _ => Err(format!("{} bytes are no pairs of mode and level", raw.len())),
    }
}

/// Reads Current Time (0x2A2B): date and time of day.
pub fn current_time(raw: &[u8]) -> Decoded<DateTime> {
    let [y0, y1, month, day, hour, minute, second, ..] = raw else { return Err(short(raw, 7)) };
    let year = u16::from_le_bytes([*y0, *y1]);
    let signed = |n: &u8| i8::try_from(*n).unwrap_or(-1);
    let date = i16::try_from(year).ok().filter(|y| *y != 0);
    date.and_then(|y| {
        DateTime::new(y, signed(month), signed(day), signed(hour), signed(minute), signed(second), 0).ok()
    })
    .ok_or_else(|| format!("{year}-{month}-{day} {hour}:{minute}:{second} is no time"))
}

/// Reads Battery Level (0x2A19), in percent.
pub fn battery(raw: &[u8]) -> Decoded<u8> {
    match raw {
        [percent @ 0..=100, ..] => Ok(*percent),
        [other, ..] => Err(format!("{other} is no percentage")),
        [] => Err(short(raw, 1)),
    }
}

/// Reads IDD Status (0x2B21) as `therapy/operation`. What is not known is `undetermined`, which is never idle.
pub fn insulin_delivery(raw: &[u8]) -> Decoded<String> {
    let [therapy, operation, ..] = raw else { return Err(short(raw, 2)) };
    let therapy = match therapy {
        0x33 => "stop",
        0x3c => "pause",
        0x55 => "run",
        _ => "undetermined",
    };
    let operation = match operation {
        0x33 => "off",
        0x3c => "standby",
        0x55 => "preparing",
        0x5a => "priming",
        0x66 => "waiting",
        0x96 => "ready",
        _ => "undetermined",
    };
    Ok(format!("{therapy}/{operation}"))
}

/// Reads Database Hash (0x2B2A) as hex.
pub fn database_hash(raw: &[u8]) -> Decoded<String> {
    match raw.len() {
        16 => Ok(raw.iter().map(|b| format!("{b:02x}")).collect()),
        n => Err(format!("{n} bytes where a hash has 16")),
    }
}

fn short(raw: &[u8], least: usize) -> String {
    format!("{} bytes where at least {least} were expected", raw.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pnp_id_is_little_endian() {
        let read = pnp(&[1, 0x5f, 0x00, 0x34, 0x12, 0, 1]).unwrap();
        assert_eq!((read.source, read.vendor, read.product), (1, 0x5f, 0x1234));
        assert!(pnp(&[1, 2, 3, 4, 5, 6]).is_err());
    }

    #[test]
    fn a_udi_holds_only_the_parts_that_its_flags_name() {
        let read = udi(b"\x0a00860000000017\x002.16.840.1.113883.3.24\x00").unwrap();
        assert_eq!(read.device.unwrap().as_str(), "00860000000017");
        assert_eq!(read.authority.unwrap().as_str(), "2.16.840.1.113883.3.24");
        assert_eq!((read.label, read.issuer), (None, None));
        assert_eq!(udi(b"\x0200860000000017").unwrap().device.unwrap().as_str(), "00860000000017");
        assert!(udi(b"\x03(01)1\x00").unwrap_err().contains("device identifier"));
        assert!(udi(b"\x02\x00").is_err() && udi(b"").is_err());
        assert_eq!(udi(b"\x00"), Ok(Udi::default()));
    }

    #[test]
    fn half_a_pair_is_no_security_level() {
        let level = |mode, level| SecurityLevel { mode, level };
        assert_eq!(security_levels(&[1, 3, 1, 4]), Ok(vec![level(1, 3), level(1, 4)]));
        assert_eq!(security_levels(&[]), Ok(vec![]));
        assert!(security_levels(&[1, 3, 1]).is_err());
    }

    #[test]
    fn a_clock_that_was_never_set_has_no_time() {
        let read = current_time(&[0xea, 0x07, 11, 24, 3, 0, 7, 2, 0, 0]).unwrap();
        assert_eq!(read.to_string(), "2026-11-24T03:00:07");
        assert!(current_time(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(current_time(&[0xea, 0x07, 13, 24, 3, 0, 7]).is_err());
        assert!(current_time(&[0xea, 0x07, 11, 24, 3, 0]).is_err());
    }

    #[test]
    fn only_stopped_and_off_or_standby_reads_as_idle() {
        assert_eq!(insulin_delivery(&[0x33, 0x3c, 0, 0, 1]).unwrap(), "stop/standby");
        assert_eq!(insulin_delivery(&[0x33, 0x33]).unwrap(), "stop/off");
        assert_eq!(insulin_delivery(&[0x55, 0x96]).unwrap(), "run/ready");
        assert_eq!(insulin_delivery(&[0x0f, 0x42]).unwrap(), "undetermined/undetermined");
        assert!(insulin_delivery(&[0x33]).is_err());
    }

    #[test]
    fn more_than_a_hundred_percent_is_no_charge() {
        assert_eq!(battery(&[100, 7]), Ok(100));
        assert!(battery(&[101]).is_err() && battery(&[]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_an_error_in_words(raw in proptest::collection::vec(any::<u8>(), 0..80)) {
            let errors = [
                pnp(&raw).err(), udi(&raw).err(), security_levels(&raw).err(), current_time(&raw).err(),
                battery(&raw).err(), insulin_delivery(&raw).err(), database_hash(&raw).err(),
            ];
            prop_assert!(errors.iter().flatten().all(|e| !e.is_empty()));
        }

        #[test]
        fn every_time_survives_the_wire(y in 1i16..=9999, mo in 1i8..=12, d in 1i8..=28, h in 0i8..24, mi in 0i8..60, s in 0i8..60) {
            let [y0, y1] = y.to_le_bytes();
            let rest = [mo, d, h, mi, s].map(|n| u8::try_from(n).unwrap());
            let raw = [&[y0, y1][..], &rest].concat();
            prop_assert_eq!(current_time(&raw), Ok(jiff::civil::datetime(y, mo, d, h, mi, s, 0)));
        }

        #[test]
        fn what_follows_a_value_changes_nothing(more in proptest::collection::vec(any::<u8>(), 0..8)) {
            let with = |raw: &[u8]| [raw, &more].concat();
            prop_assert_eq!(pnp(&with(&[2, 1, 0, 2, 0, 3, 0])), pnp(&[2, 1, 0, 2, 0, 3, 0]));
            prop_assert_eq!(battery(&with(&[50])), Ok(50));
            prop_assert_eq!(insulin_delivery(&with(&[0x33, 0x33])), Ok("stop/off".into()));
        }
    }
}
