//! What a device holds in its attribute table, without any bus.

use jiff::Zoned;

use crate::bootloader::Image;
use crate::machine::Machine;
use crate::ward::radio::{Flag, INSULIN_DELIVERY, Radio, SMP_CHARACTERISTIC, SMP_SERVICE, Smp, Udi, Uuid};

const DEVICE_INFORMATION: Uuid = Uuid::short(0x180a);
const CURRENT_TIME: Uuid = Uuid::short(0x1805);
/// Services that BlueZ lists and keeps to itself: Generic Access, Generic Attribute; Battery where there is one.
pub(crate) const HIDDEN: [Uuid; 2] = [Uuid::short(0x1800), Uuid::short(0x1801)];
pub(crate) const BATTERY: Uuid = Uuid::short(0x180f);

/// A service as BlueZ shows it.
#[derive(Debug)]
pub(crate) struct Service {
    pub uuid: Uuid,
    pub characteristics: Vec<Characteristic>,
}

/// A characteristic.
#[derive(Debug, Clone)]
pub(crate) struct Characteristic {
    pub uuid: Uuid,
    pub flags: Vec<Flag>,
    pub holds: Holds,
    /// Only who is paired gets at it.
    pub guarded: bool,
}

/// Where the value of a characteristic comes from.
#[derive(Debug, Clone)]
pub(crate) enum Holds {
    Bytes(Vec<u8>),
    Firmware,
    Setting(&'static str),
    Clock { ahead_s: i64 },
    Therapy,
    Smp,
}

impl Holds {
    pub(crate) fn read(&self, machine: &Machine, now: &Zoned) -> Vec<u8> {
        let setting = |name: &str| machine.ram.settings.get(name).cloned().unwrap_or_default();
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Firmware => {
                Image::read(&machine.flash.primary).map(|i| i.version_text().into_bytes()).unwrap_or_default()
            }
            Self::Setting(name) => setting(name),
            Self::Clock { ahead_s } => clock(now, *ahead_s),
            Self::Therapy => therapy(&setting("state/therapy")),
            Self::Smp => Vec::new(),
        }
    }
}

/// Current Time 0x2A2B: local time with 1/256 s, Monday is 1.
fn clock(now: &Zoned, ahead_s: i64) -> Vec<u8> {
    let shown = now.checked_add(jiff::SignedDuration::from_secs(ahead_s)).unwrap_or_else(|_| now.clone());
    let small = |n: i8| u8::try_from(n).unwrap_or(0);
    let fraction = u8::try_from(i64::from(shown.subsec_nanosecond()) * 256 / 1_000_000_000).unwrap_or(0);
    let mut out = u16::try_from(shown.year()).unwrap_or(0).to_le_bytes().to_vec();
    out.extend([shown.month(), shown.day(), shown.hour(), shown.minute(), shown.second()].map(small));
    out.extend([small(shown.weekday().to_monday_one_offset()), fraction, 0]);
    out
}

/// IDD Status 0x2B21: therapy, operation, units left as SFLOAT, reservoir attached.
fn therapy(setting: &[u8]) -> Vec<u8> {
    let (therapy, operation) = match setting {
        b"idle" => (0x33, 0x33),
        b"paused" => (0x3c, 0x96),
        b"infusing" => (0x55, 0x96),
        _ => (0x0f, 0x0f),
    };
    // 180.0 units: 1800 with exponent -1.
    let left = (0xf000_u16 | 1_800).to_le_bytes();
    [&[therapy, operation][..], &left, &[1]].concat()
}

/// Returns the services that BlueZ shows of a device.
pub(crate) fn services(machine: &Machine, radio: &Radio) -> Vec<Service> {
    let mut services = vec![Service { uuid: DEVICE_INFORMATION, characteristics: information(machine, radio) }];
    if let Some(ahead_s) = radio.clock_ahead_s {
        let time = plain(0x2a2b, vec![Flag::Read, Flag::Notify], Holds::Clock { ahead_s });
        services.push(Service { uuid: CURRENT_TIME, characteristics: vec![time] });
    }
    if radio.insulin {
        let status = plain(0x2b21, vec![Flag::Read, Flag::Indicate], Holds::Therapy);
        services.push(Service { uuid: INSULIN_DELIVERY, characteristics: vec![status] });
    }
    if !radio.security_levels.is_empty() {
        let levels = radio.security_levels.iter().flat_map(|(mode, level)| [*mode, *level]).collect();
        let levels = plain(0x2bf5, vec![Flag::Read], Holds::Bytes(levels));
        let beside = if radio.insulin { INSULIN_DELIVERY } else { DEVICE_INFORMATION };
        if let Some(service) = services.iter_mut().find(|s| s.uuid == beside) {
            service.characteristics.push(levels);
        }
    }
    if radio.smp != Smp::None {
        let smp = Characteristic {
            uuid: SMP_CHARACTERISTIC,
            flags: vec![Flag::WriteWithoutResponse, Flag::Notify],
            holds: Holds::Smp,
            guarded: radio.smp == Smp::Paired,
        };
        services.push(Service { uuid: SMP_SERVICE, characteristics: vec![smp] });
    }
    services.extend(radio.services.iter().map(|service| {
        Service {
            uuid: service.uuid,
            characteristics: service
                .characteristics
                .iter()
                .map(|c| Characteristic {
                    uuid: c.uuid,
                    flags: c.flags.clone(),
                    holds: Holds::Bytes(c.value.0.clone()),
                    guarded: false,
                })
                .collect(),
        }
    }));
    for characteristic in services.iter_mut().flat_map(|s| &mut s.characteristics) {
        characteristic.guarded |= radio.protected.contains(&characteristic.uuid);
    }
    services
}

fn plain(number: u16, flags: Vec<Flag>, holds: Holds) -> Characteristic {
    Characteristic { uuid: Uuid::short(number), flags, holds, guarded: false }
}

fn information(machine: &Machine, radio: &Radio) -> Vec<Characteristic> {
    let dis = &radio.dis;
    let or = |text: &Option<String>, else_: &str| Holds::Bytes(text.as_deref().unwrap_or(else_).as_bytes().to_vec());
    let live = |text: &Option<String>, live: Holds| text.as_ref().map_or(live, |t| Holds::Bytes(t.as_bytes().to_vec()));
    let mut all = vec![
        (0x2a29, or(&dis.manufacturer, "Aseptic training")),
        (0x2a24, or(&dis.model, &machine.spec.product)),
        (0x2a25, or(&dis.serial, &machine.spec.serial)),
        (0x2a26, live(&dis.firmware, Holds::Firmware)),
        (0x2a27, live(&dis.hardware, Holds::Setting("id/hardware"))),
    ];
    if let Some((source, vendor, product, version)) = radio.pnp {
        let numbers = [vendor, product, version].into_iter().flat_map(u16::to_le_bytes);
        all.push((0x2a50, Holds::Bytes(std::iter::once(source).chain(numbers).collect())));
    }
    if let Some(udi) = &radio.udi {
        let label = machine.ram.settings.get("id/udi").or(machine.saved.get("id/udi"));
        let label = label.map(|l| String::from_utf8_lossy(l).into_owned()).unwrap_or_default();
        all.push((0x2bff, Holds::Bytes(udi_value(udi, &label))));
    }
    all.into_iter().map(|(number, holds)| plain(number, vec![Flag::Read], holds)).collect()
}

/// UDI for Medical Devices: flags, then what is there, each with a NUL (Zephyr `dis.c`).
fn udi_value(udi: &Udi, label: &str) -> Vec<u8> {
    let di = label.strip_prefix("(01)").and_then(|l| l.split('(').next()).unwrap_or_default();
    let parts = [
        udi.label.as_deref().unwrap_or(label),
        udi.di.as_deref().unwrap_or(di),
        udi.issuer.as_deref().unwrap_or_default(),
        udi.authority.as_deref().unwrap_or_default(),
    ];
    let mut out = vec![0];
    for (bit, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        if let Some(flags) = out.first_mut() {
            *flags |= 1 << bit;
        }
        out.extend(part.as_bytes());
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_told_as_the_assigned_format_says() {
        let now: Zoned = "2026-11-24T03:04:05.5+01:00[Europe/Berlin]".parse().unwrap();
        // A Tuesday.
        assert_eq!(clock(&now, 60), [0xea, 0x07, 11, 24, 3, 5, 5, 2, 128, 0]);
    }

    #[test]
    fn a_pump_that_delivers_says_so_and_an_odd_state_is_undetermined() {
        assert_eq!(therapy(b"infusing"), [0x55, 0x96, 0x08, 0xf7, 1]);
        assert_eq!(therapy(b"idle")[..2], [0x33, 0x33]);
        assert_eq!(therapy(b"?")[..2], [0x0f, 0x0f]);
    }

    #[test]
    fn a_udi_holds_only_what_is_there() {
        let label = "(01)00860000000017(21)X";
        let value = udi_value(&Udi::default(), label);
        assert_eq!(value, [&[3][..], label.as_bytes(), b"\0", b"00860000000017\0"].concat());
        let without = Udi { label: Some(String::new()), issuer: Some("2.51".into()), ..Udi::default() };
        assert_eq!(udi_value(&without, label), b"\x0600860000000017\x002.51\0");
    }
}
