//! Judging what a radio link showed. What could not be read never passes, and a link that made keys proves nothing.

use aseptic_device::radio::{AddressKind, Posture, SecurityLevel, Told};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::assess::{Facts, Judged};
use crate::finding::Verdict;

/// What the engine judges of a radio link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Radio {
    /// The device asks for authenticated encryption.
    SecurityLevels,
    /// An unpaired laptop reads nothing clinical.
    ClinicalNeedsPairing,
    /// It does not invite everybody to connect.
    NotDiscoverable,
    /// Its address changes.
    AddressChanges,
    /// It advertises nothing of a patient.
    AdvertisesNoPatient,
    /// Its keys can be deleted over the radio.
    KeysCanBeDeleted,
    /// Nordic's update service asks for keys, or is not there.
    NordicUpdate,
    /// MCUmgr asks for keys, or is not there.
    Management,
    /// TI's update service is not there.
    TiUpdate,
    /// No serial port or debug service is there.
    NoDebugService,
    /// The Device Information strings are the maker's own.
    InformationFilled,
    /// The device identifier is that of the scanned label.
    UdiMatchesLabel,
    /// The PnP ID is the model's.
    PnpMatches,
    /// The clock is right.
    ClockRight,
    /// The attribute table is that of approved firmware.
    TableApproved,
}

/// Seconds that a clock may be off.
const DRIFT: i64 = 120;
/// LE General Discoverable Mode (Core Specification Supplement, part A, 1.3).
const GENERAL_DISCOVERABLE: u8 = 0b10;

const INSULIN_DELIVERY: &str = "0000183a-0000-1000-8000-00805f9b34fb";
const BOND_MANAGEMENT: &str = "0000181e-0000-1000-8000-00805f9b34fb";
const BOND_FEATURES: &str = "00002aa5-0000-1000-8000-00805f9b34fb";
const NORDIC_UPDATE: &str = "0000fe59-0000-1000-8000-00805f9b34fb";
const NORDIC_LEGACY_UPDATE: &str = "00001530-1212-efde-1523-785feabcd123";
const NORDIC_UNBONDED: &str = "8ec90003-f315-4f60-9fb8-838830daea50";
const NORDIC_BONDED: &str = "8ec90004-f315-4f60-9fb8-838830daea50";
const TI_UPDATE: [(&str, &str); 2] = [
    ("f000ffc0-0451-4000-b000-000000000000", "TI over-the-air download"),
    ("f000ffd0-0451-4000-b000-000000000000", "TI over-the-air download, restart"),
];
const DEBUG: [(&str, &str); 5] = [
    ("6e400001-b5a3-f393-e0a9-e50e24dcca9e", "Nordic UART"),
    ("49535343-fe7d-4ae5-8fa9-9fafd205e455", "Microchip transparent UART"),
    ("2456e1b9-26e2-8f83-e744-f34f01e9d701", "u-blox serial port"),
    ("0000ffe0-0000-1000-8000-00805f9b34fb", "HM-10 serial port"),
    ("54220000-f6a5-4007-a371-722f4ebd8436", "Memfault diagnostics"),
];

/// Device Information strings that every device should tell.
const NEEDED: [&str; 3] = ["2a29", "2a24", "2a25"];
/// What characteristics are called at the bedside, by 16-bit UUID.
const NAMES: [(&str, &str); 16] = [
    ("2a29", "maker"),
    ("2a24", "model"),
    ("2a25", "serial number"),
    ("2a27", "hardware revision"),
    ("2a26", "firmware revision"),
    ("2a28", "software revision"),
    ("2b21", "insulin delivery status"),
    ("2b23", "insulin delivery features"),
    ("2aa8", "continuous glucose features"),
    ("2a51", "glucose features"),
    ("2a60", "pulse oximeter features"),
    ("2a49", "blood pressure features"),
    ("2a1d", "thermometer type"),
    ("2a38", "heart rate sensor location"),
    ("2a9e", "weight scale features"),
    ("2a9b", "body composition features"),
];
/// What SDKs write into Device Information until a maker fills it (Zephyr, TI and their samples).
const PLACEHOLDERS: [&str; 16] = [
    "Manufacturer",
    "Manufacturer Name",
    "Model",
    "Model Number",
    "Serial",
    "Serial Number",
    "Hardware Revision",
    "Firmware Revision",
    "Software Revision",
    "Zephyr",
    "Zephyr Model",
    "Zephyr Serial",
    "Zephyr Hardware",
    "Zephyr Firmware",
    "Zephyr Software",
    "0",
];

// The verdict and what was observed.
type Came = (Verdict, String);

fn pass(observed: impl Into<String>) -> Came {
    (Verdict::Pass, observed.into())
}

fn fail(observed: impl Into<String>) -> Came {
    (Verdict::Fail, observed.into())
}

fn unknown(observed: impl Into<String>) -> Came {
    (Verdict::Unknown, observed.into())
}

fn not_applicable(observed: impl Into<String>) -> Came {
    (Verdict::NotApplicable, observed.into())
}

fn either(passed: bool, observed: impl Into<String>) -> Came {
    if passed { pass(observed) } else { fail(observed) }
}

fn unreadable(why: &str) -> Came {
    unknown(format!("not readable: {why}"))
}

/// Judges one thing.
pub(crate) fn judge(what: Radio, facts: &Facts<'_>, now: Timestamp) -> Judged {
    let (verdict, observed) = match facts.posture {
        None if facts.profile.ble.is_empty() => not_applicable("the model has no radio"),
        None => unknown("read over a cable; assess it over the radio too"),
        Some(posture) if posture.bond.came_about() => unknown(match posture.bond.now {
            false => "the device paired during the audit; what was read proves nothing",
            true => {
                "the device paired during the audit and the keys could not be removed: \
                 remove the device in the laptop's Bluetooth settings. What was read proves nothing"
            }
        }),
        Some(posture) => came(what, posture, facts, now),
    };
    Judged { verdict, observed, expected: expected(what).into(), fix: None }
}

fn expected(what: Radio) -> &'static str {
    match what {
        Radio::SecurityLevels => "mode 1, level 3 or better everywhere; level 4 with therapy",
        Radio::ClinicalNeedsPairing => "refused to a laptop that is not paired",
        Radio::NotDiscoverable => "not generally discoverable",
        Radio::AddressChanges => "an address that changes",
        Radio::AdvertisesNoPatient => "no name but the model's",
        Radio::KeysCanBeDeleted => "the Bond Management service",
        Radio::NordicUpdate => "none, or the one that asks for keys",
        Radio::Management => "no answer to a laptop that is not paired",
        Radio::TiUpdate | Radio::NoDebugService => "none",
        Radio::InformationFilled => "maker, model and serial number, none of them a default",
        Radio::UdiMatchesLabel => "the device identifier of the scanned label",
        Radio::PnpMatches => "the PnP ID of the profile",
        Radio::ClockRight => "at most 120 s off",
        Radio::TableApproved => "a hash of the profile",
    }
}

fn came(what: Radio, posture: &Posture, facts: &Facts<'_>, now: Timestamp) -> Came {
    match what {
        Radio::SecurityLevels => security_levels(posture),
        Radio::ClinicalNeedsPairing => clinical(posture),
        Radio::NotDiscoverable => match &posture.flags {
            Told::Value(flags) => either(flags & GENERAL_DISCOVERABLE == 0, format!("flags 0x{flags:02X}")),
            Told::Absent => pass("it advertises no flags"),
            Told::Unreadable(why) => unreadable(why),
        },
        Radio::AddressChanges => match &posture.address {
            Told::Value(AddressKind::Public) => fail("a public address, the same for life"),
            Told::Value(AddressKind::RandomStatic) => fail("a static address, the same at least until it restarts"),
            Told::Value(AddressKind::ResolvablePrivate) => pass("a private address that changes"),
            Told::Value(AddressKind::NonResolvablePrivate) => pass("a private address that nobody can resolve"),
            Told::Absent => unknown("it has no address"),
            Told::Unreadable(why) => unreadable(why),
        },
        Radio::AdvertisesNoPatient => advertised(posture, facts),
        Radio::KeysCanBeDeleted => match offers(posture, BOND_MANAGEMENT) {
            None => unreadable(HIDDEN),
            Some(there) => {
                let whole = there && posture.characteristics.iter().any(|c| c == BOND_FEATURES);
                either(whole, if whole { "there" } else { "not there" })
            }
        },
        Radio::NordicUpdate => nordic(posture),
        Radio::Management => match &posture.management {
            Told::Value(true) => fail("it lists its firmware to anybody"),
            Told::Value(false) => pass("it asks for pairing"),
            Told::Absent => pass("not there"),
            Told::Unreadable(why) => unreadable(why),
        },
        Radio::TiUpdate => none_of(posture, &TI_UPDATE),
        Radio::NoDebugService => none_of(posture, &DEBUG),
        Radio::InformationFilled => information(posture, facts),
        Radio::UdiMatchesLabel => match (&posture.udi, facts.scanned_device) {
            (Told::Absent, _) => not_applicable("the device tells no UDI over the radio"),
            (Told::Unreadable(why), _) => unreadable(why),
            (Told::Value(told), None) => unknown(format!("{told}; no GS1 label was scanned")),
            (Told::Value(told), Some(label)) => {
                let same = told.as_str().trim().trim_start_matches("(01)") == label;
                either(same, format!("device {told}, label {label}"))
            }
        },
        Radio::PnpMatches => match (&posture.pnp, facts.profile.radio.pnp) {
            (_, None) => not_applicable("the profile names none"),
            (Told::Absent, _) => fail("the device has none"),
            (Told::Unreadable(why), _) => unreadable(why),
            (Told::Value(told), Some(wanted)) => {
                let shown =
                    format!("source {}, vendor 0x{:04X}, product 0x{:04X}", told.source, told.vendor, told.product);
                either(*told == wanted, shown)
            }
        },
        Radio::ClockRight => clock(posture, facts, now),
        Radio::TableApproved => match &posture.database_hash {
            _ if facts.profile.radio.database_hashes.is_empty() => not_applicable("the profile names none"),
            Told::Value(hash) => either(facts.profile.radio.database_hashes.contains(hash), format!("hash {hash}")),
            Told::Absent => fail("the device has none"),
            Told::Unreadable(why) => unreadable(why),
        },
    }
}

const HIDDEN: &str = "the platform keeps this service to itself";

fn called(uuid: &str) -> String {
    let name = NAMES.iter().find(|(short, _)| *short == uuid).map_or("characteristic", |(_, name)| name);
    format!("{name} (0x{})", uuid.to_uppercase())
}

// `None`: the platform would not show it.
fn offers(posture: &Posture, service: &str) -> Option<bool> {
    let has = |list: &[String]| list.iter().any(|s| s == service);
    match (has(&posture.services), has(&posture.hidden)) {
        (true, _) => Some(true),
        (false, true) => None,
        (false, false) => Some(false),
    }
}

fn none_of(posture: &Posture, unwanted: &[(&str, &str)]) -> Came {
    let there: Vec<&str> =
        unwanted.iter().filter(|(uuid, _)| offers(posture, uuid) == Some(true)).map(|(_, name)| *name).collect();
    if !there.is_empty() {
        return fail(there.join(", "));
    }
    match unwanted.iter().all(|(uuid, _)| offers(posture, uuid) == Some(false)) {
        true => pass("not there"),
        false => unreadable(HIDDEN),
    }
}

fn nordic(posture: &Posture) -> Came {
    let has = |uuid: &str| posture.characteristics.iter().any(|c| c == uuid);
    match (offers(posture, NORDIC_UPDATE), offers(posture, NORDIC_LEGACY_UPDATE)) {
        (_, Some(true)) => fail("Nordic's first update service, which takes unsigned firmware"),
        _ if has(NORDIC_UNBONDED) => fail("the update service restarts into its loader for anybody"),
        (Some(true), _) if has(NORDIC_BONDED) => pass("the update service asks for keys"),
        (Some(true), _) => fail("the update service is open"),
        (Some(false), Some(false)) => pass("not there"),
        _ => unreadable(HIDDEN),
    }
}

fn security_levels(posture: &Posture) -> Came {
    let levels = match &posture.security_levels {
        Told::Value(levels) => levels,
        Told::Absent => return unknown("the device does not tell it"),
        Told::Unreadable(why) => return unreadable(why),
    };
    let least = if offers(posture, INSULIN_DELIVERY) == Some(true) { 4 } else { 3 };
    let good = |l: &SecurityLevel| l.mode == 1 && l.level >= least;
    let shown: Vec<String> = levels.iter().map(|l| format!("{}/{}", l.mode, l.level)).collect();
    match levels.is_empty() {
        true => fail("it asks for none"),
        false => either(levels.iter().all(good), format!("mode/level {}", shown.join(", "))),
    }
}

fn clinical(posture: &Posture) -> Came {
    let named = |wanted: fn(&Told<bool>) -> bool| {
        let found: Vec<String> =
            posture.clinical.iter().filter(|(_, told)| wanted(told)).map(|(uuid, _)| called(uuid)).collect();
        (!found.is_empty()).then(|| found.join(", "))
    };
    let open = named(|t| matches!(t, Told::Value(true)));
    let unread = named(|t| matches!(t, Told::Unreadable(_)));
    match (open, unread) {
        (Some(open), _) => fail(format!("{open} read without pairing; the values were not kept")),
        (None, Some(unread)) => unreadable(&unread),
        (None, None) => match named(|t| matches!(t, Told::Value(false))) {
            Some(closed) => pass(format!("{closed} refused")),
            None => not_applicable("the device has nothing clinical that may be asked for"),
        },
    }
}

fn advertised(posture: &Posture, facts: &Facts<'_>) -> Came {
    if !posture.discloses.is_empty() {
        return fail(format!("looks like a patient's data: {}", posture.discloses.join(", ")));
    }
    let models = |name: &str| facts.profile.ble.iter().any(|m| m.name.as_deref() == Some(name));
    match &posture.name {
        Told::Absent => pass("no name"),
        Told::Value(name) if name.is_blank() => pass("no name"),
        Told::Value(name) if models(name.as_str()) => pass(name.to_string()),
        Told::Value(name) => unknown(format!("{name}; whether that is a person, only a person can say")),
        Told::Unreadable(why) => unreadable(why),
    }
}

fn information(posture: &Posture, facts: &Facts<'_>) -> Came {
    let placeholders = || {
        let own = facts.profile.identity.placeholders.iter().map(String::as_str);
        PLACEHOLDERS.into_iter().chain(own)
    };
    let (mut faults, mut unread, mut good) = (Vec::new(), Vec::new(), Vec::new());
    for uuid in NEEDED.into_iter().filter(|u| !posture.information.contains_key(*u)) {
        unread.push(format!("{} was not asked for", called(uuid)));
    }
    for (uuid, told) in &posture.information {
        match told {
            Told::Value(text) if text.is_blank() => faults.push(format!("{} is blank", called(uuid))),
            Told::Value(text) if placeholders().any(|p| p.eq_ignore_ascii_case(text.as_str().trim())) => {
                faults.push(format!("{} is \"{text}\", a default", called(uuid)));
            }
            Told::Value(text) => good.push(text.to_string()),
            Told::Absent if NEEDED.contains(&uuid.as_str()) => faults.push(format!("{} is missing", called(uuid))),
            Told::Absent => {}
            Told::Unreadable(why) => unread.push(format!("{}: {why}", called(uuid))),
        }
    }
    match (faults.is_empty(), unread.is_empty()) {
        (false, _) => fail(faults.join(", ")),
        (true, false) => unreadable(&unread.join(", ")),
        (true, true) => pass(good.join(", ")),
    }
}

// A device's clock has no zone: it shows local time.
fn clock(posture: &Posture, facts: &Facts<'_>, now: Timestamp) -> Came {
    let told = match &posture.clock {
        Told::Value(told) => *told,
        Told::Absent => return not_applicable("the device tells no time over the radio"),
        Told::Unreadable(why) => return unreadable(why),
    };
    let here = now.to_zoned(facts.zone.clone()).datetime();
    let off = told.duration_since(here).as_secs();
    either(
        off.abs() <= DRIFT,
        format!("{told}, {} s {} this laptop", off.abs(), if off < 0 { "behind" } else { "ahead of" }),
    )
}

#[cfg(test)]
#[path = "radio_tests.rs"]
pub(crate) mod tests;
