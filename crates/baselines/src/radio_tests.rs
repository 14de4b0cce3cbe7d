use std::collections::BTreeMap;

use aseptic_device::radio::{Bond, PnpId};
use aseptic_device::{BootMode, Bootloader, ConfigSnapshot, Identity, Images, Profile};
use jiff::tz::{Offset, TimeZone};

use super::*;
use crate::assess::{Baseline, assess};
use crate::finding::Finding;
use crate::rule::RulesFile;

const UART: &str = "6e400001-b5a3-f393-e0a9-e50e24dcca9e";
const LABEL: &str = "04012345678901";

const PROFILE: &str = r#"
schema = "aseptic.profile/1"
id = "acme-pm"
vendor = "Acme"
model = "PM"
protocol = "smp"
[[ble]]
service = "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
name = "Acme PM"
[radio]
pnp = { source = 1, vendor = 95, product = 3 }
database-hashes = ["00112233445566778899aabbccddeeff"]
[identity]
placeholders = ["SN000000"]
[firmware]
version-scheme = "mcuboot"
"#;

/// A posture with which every radio rule passes.
pub(crate) fn good() -> Posture {
    let text = |t: &str| Told::Value(t.into());
    Posture {
        address: Told::Value(AddressKind::ResolvablePrivate),
        flags: Told::Value(0x04),
        name: text("Acme PM"),
        discloses: vec![],
        services: vec![BOND_MANAGEMENT.into(), NORDIC_UPDATE.into()],
        hidden: vec![],
        characteristics: vec![BOND_FEATURES.into(), NORDIC_BONDED.into()],
        security_levels: Told::Value(vec![level(1, 3), level(1, 4)]),
        clinical: [("2a60".to_owned(), Told::Value(false))].into(),
        information: [("2a29", "Acme"), ("2a24", "PM"), ("2a25", "PM-0042")]
            .into_iter()
            .map(|(uuid, t)| (uuid.to_owned(), text(t)))
            .collect(),
        udi: text(LABEL),
        pnp: Told::Value(PnpId { source: 1, vendor: 95, product: 3 }),
        clock: Told::Value(jiff::civil::datetime(2026, 11, 24, 4, 1, 30, 0)),
        battery: Told::Value(80),
        database_hash: text_of("00112233445566778899aabbccddeeff"),
        management: Told::Value(false),
        bond: Bond::default(),
    }
}

fn text_of(text: &str) -> Told<String> {
    Told::Value(text.into())
}

fn level(mode: u8, level: u8) -> SecurityLevel {
    SecurityLevel { mode, level }
}

fn not_read<T>() -> Told<T> {
    Told::Unreadable("no answer".into())
}

type Change = fn(&mut Posture);

fn hide(posture: &mut Posture, services: &[&str]) {
    posture.services.retain(|s| !services.contains(&s.as_str()));
    posture.hidden.extend(services.iter().map(|s| (*s).to_owned()));
}

/// For every rule what makes it fail, and what makes it unreadable.
pub(crate) const CASES: [(&str, Change, Change); 15] = [
    ("BLE-01", |p| p.security_levels = Told::Value(vec![level(1, 4), level(1, 2)]), |p| p.security_levels = not_read()),
    (
        "BLE-02",
        |p| drop(p.clinical.insert("2a60".into(), Told::Value(true))),
        |p| drop(p.clinical.insert("2a60".into(), not_read())),
    ),
    ("BLE-07", |p| p.flags = Told::Value(0x06), |p| p.flags = not_read()),
    ("BLE-08", |p| p.address = Told::Value(AddressKind::RandomStatic), |p| p.address = not_read()),
    ("BLE-09", |p| p.discloses.push("the advertised name".into()), |p| p.name = not_read()),
    ("BLE-11", |p| p.characteristics.retain(|c| c != BOND_FEATURES), |p| hide(p, &[BOND_MANAGEMENT])),
    ("BLE-12", |p| p.characteristics.push(NORDIC_UNBONDED.into()), |p| hide(p, &[NORDIC_UPDATE, NORDIC_LEGACY_UPDATE])),
    ("BLE-13", |p| p.management = Told::Value(true), |p| p.management = not_read()),
    ("BLE-14", |p| p.services.push("f000ffc0-0451-4000-b000-000000000000".into()), |p| hide(p, &[TI_UPDATE[0].0])),
    ("BLE-15", |p| p.services.push(UART.into()), |p| hide(p, &[UART])),
    (
        "BLE-16",
        |p| drop(p.information.insert("2a25".into(), Told::Value("serial number".into()))),
        |p| drop(p.information.insert("2a25".into(), not_read())),
    ),
    ("BLE-17", |p| p.udi = Told::Value("04012345678918".into()), |p| p.udi = not_read()),
    ("BLE-18", |p| p.pnp = Told::Value(PnpId { source: 1, vendor: 95, product: 4 }), |p| p.pnp = not_read()),
    ("BLE-19", |p| p.clock = Told::Value(jiff::civil::datetime(2026, 11, 24, 3, 0, 0, 0)), |p| p.clock = not_read()),
    ("BLE-20", |p| p.database_hash = Told::Value("ff".repeat(16)), |p| p.database_hash = not_read()),
];

fn rules() -> Baseline {
    let file = RulesFile::parse(include_str!("../rules/radio.toml")).unwrap();
    Baseline { id: "radio".into(), rules: file.rules }
}

/// The device stands in a zone one hour ahead of UTC.
pub(crate) fn zone() -> TimeZone {
    TimeZone::fixed(Offset::from_hours(1).unwrap())
}

fn found(profile: &Profile, posture: Option<&Posture>, label: Option<&str>) -> BTreeMap<String, Finding> {
    let identity = Identity {
        profile: profile.id.clone(),
        id: None,
        serial: None,
        udi: None,
        hardware: None,
        firmware: None,
        unusable: None,
    };
    let bootloader = Bootloader { name: None, mode: BootMode::Unknown, downgrade_prevention: None, measured: false };
    let facts = Facts {
        identity: &identity,
        images: &Images { slots: vec![], bootloader },
        config: &ConfigSnapshot::default(),
        profile,
        signed_images: &[],
        vulnerable: &[],
        scan_agreed: None,
        scanned_device: label,
        posture,
        zone: zone(),
    };
    let findings = assess(&rules(), &facts, &[], "2026-11-24T03:00:00Z".parse().unwrap());
    findings.into_iter().map(|f| (f.rule.clone(), f)).collect()
}

fn profile() -> Profile {
    Profile::parse(PROFILE).unwrap()
}

fn verdict(rule: &str, change: impl FnOnce(&mut Posture)) -> Verdict {
    let mut posture = good();
    change(&mut posture);
    found(&profile(), Some(&posture), Some(LABEL))[rule].result.clone()
}

#[test]
fn every_rule_passes_fails_and_is_unknown_where_it_cannot_be_read_and_none_is_left_out() {
    let ids: Vec<String> = rules().rules.into_iter().map(|r| r.id).collect();
    assert_eq!(ids, CASES.map(|(id, ..)| id));
    for (rule, failing, unreadable) in CASES {
        assert_eq!(verdict(rule, |_| {}), Verdict::Pass, "{rule}");
        assert_eq!(verdict(rule, failing), Verdict::Fail, "{rule}");
        assert_eq!(verdict(rule, unreadable), Verdict::Unknown, "{rule}");
    }
}

#[test]
fn one_fault_fails_one_rule_only() {
    for (rule, failing, _) in CASES {
        let mut posture = good();
        failing(&mut posture);
        for (other, finding) in found(&profile(), Some(&posture), Some(LABEL)) {
            assert_eq!(finding.result == Verdict::Pass, other != rule, "{rule} made {other}: {}", finding.observed);
        }
    }
}

#[test]
fn a_link_that_made_keys_proves_nothing() {
    for (now, undone, told) in [(false, true, "paired during the audit"), (true, false, "could not be removed")] {
        let mut posture = good();
        posture.bond = Bond { before: false, now, undone };
        for (rule, finding) in found(&profile(), Some(&posture), Some(LABEL)) {
            assert_eq!(finding.result, Verdict::Unknown, "{rule}");
            assert!(finding.observed.contains(told), "{rule}: {}", finding.observed);
        }
    }
    let mut posture = good();
    posture.bond = Bond { before: true, now: true, undone: false };
    assert_eq!(found(&profile(), Some(&posture), Some(LABEL))["BLE-08"].result, Verdict::Pass, "keys that were there");
}

#[test]
fn over_a_cable_a_radio_stays_unknown_and_a_model_without_one_is_not_judged() {
    for (rule, finding) in found(&profile(), None, Some(LABEL)) {
        assert_eq!(finding.result, Verdict::Unknown, "{rule}");
        assert!(finding.observed.contains("assess it over the radio too"));
    }
    let wired = Profile { ble: vec![], ..profile() };
    for (rule, finding) in found(&wired, None, Some(LABEL)) {
        assert_eq!(finding.result, Verdict::NotApplicable, "{rule}");
        assert_eq!(finding.observed, "the model has no radio");
    }
}

#[test]
fn what_must_be_absent_passes_when_it_is() {
    let lists = |p: &mut Posture| {
        p.services.clear();
        p.characteristics.clear();
        p.management = Told::Absent;
        (p.flags, p.name) = (Told::Absent, Told::Absent);
    };
    for rule in ["BLE-07", "BLE-09", "BLE-12", "BLE-13", "BLE-14", "BLE-15"] {
        assert_eq!(verdict(rule, lists), Verdict::Pass, "{rule}");
    }
    assert_eq!(verdict("BLE-11", lists), Verdict::Fail, "this one must be there");
}

#[test]
fn what_a_model_does_not_declare_or_a_device_does_not_have_is_not_applicable() {
    let mut silent = profile();
    silent.radio = aseptic_device::profile::Radio::default();
    for rule in ["BLE-18", "BLE-20"] {
        assert_eq!(found(&silent, Some(&good()), None)[rule].result, Verdict::NotApplicable, "{rule}");
    }
    assert_eq!(verdict("BLE-02", |p| p.clinical.clear()), Verdict::NotApplicable);
    assert_eq!(verdict("BLE-17", |p| p.udi = Told::Absent), Verdict::NotApplicable);
    assert_eq!(verdict("BLE-19", |p| p.clock = Told::Absent), Verdict::NotApplicable);
    for change in [|p: &mut Posture| p.pnp = Told::Absent, |p: &mut Posture| p.database_hash = Told::Absent] {
        let mut posture = good();
        change(&mut posture);
        let found = found(&profile(), Some(&posture), Some(LABEL));
        assert_eq!(found.values().filter(|f| f.result == Verdict::Fail).count(), 1, "declared and not there");
    }
}

#[test]
fn therapy_asks_for_level_four_and_no_level_at_all_fails() {
    let pump = |levels: Vec<SecurityLevel>| {
        verdict("BLE-01", |p| {
            p.services.push(INSULIN_DELIVERY.into());
            p.security_levels = Told::Value(levels);
        })
    };
    assert_eq!(pump(vec![level(1, 4)]), Verdict::Pass);
    assert_eq!(pump(vec![level(1, 4), level(1, 3)]), Verdict::Fail);
    assert_eq!(verdict("BLE-01", |p| p.security_levels = Told::Value(vec![])), Verdict::Fail);
    assert_eq!(verdict("BLE-01", |p| p.security_levels = Told::Value(vec![level(2, 3)])), Verdict::Fail);
    assert_eq!(verdict("BLE-01", |p| p.security_levels = Told::Absent), Verdict::Unknown);
}

#[test]
fn one_open_clinical_value_fails_whatever_else_was_refused() {
    let open = |p: &mut Posture| {
        p.clinical.insert("2b21".into(), Told::Value(true));
        p.clinical.insert("2b23".into(), not_read());
    };
    assert_eq!(verdict("BLE-02", open), Verdict::Fail);
    let mut posture = good();
    open(&mut posture);
    let told = found(&profile(), Some(&posture), None)["BLE-02"].observed.clone();
    assert_eq!(told, "insulin delivery status (0x2B21) read without pairing; the values were not kept");
}

#[test]
fn a_name_that_is_not_the_models_is_for_a_person_to_judge() {
    assert_eq!(verdict("BLE-09", |p| p.name = Told::Value("Anna Miller".into())), Verdict::Unknown);
    assert_eq!(verdict("BLE-09", |p| p.name = Told::Value(" ".into())), Verdict::Pass);
}

#[test]
fn every_form_of_an_open_update_service_fails() {
    let legacy = |p: &mut Posture| p.services.push(NORDIC_LEGACY_UPDATE.into());
    let bare = |p: &mut Posture| p.characteristics.retain(|c| c != NORDIC_BONDED);
    assert_eq!(verdict("BLE-12", legacy), Verdict::Fail);
    assert_eq!(verdict("BLE-12", bare), Verdict::Fail);
    assert_eq!(verdict("BLE-12", |p| hide(p, &[NORDIC_LEGACY_UPDATE])), Verdict::Pass, "the bonded form is there");
}

#[test]
fn information_must_be_there_and_be_the_makers_own() {
    let set = |uuid: &str, told: Told<aseptic_device::DeviceText>| {
        verdict("BLE-16", |p| drop(p.information.insert(uuid.into(), told)))
    };
    assert_eq!(set("2a29", Told::Absent), Verdict::Fail);
    assert_eq!(set("2a28", Told::Absent), Verdict::Pass, "a software revision is not needed");
    assert_eq!(set("2a28", Told::Value("Zephyr Software".into())), Verdict::Fail);
    assert_eq!(set("2a24", Told::Value("  ".into())), Verdict::Fail);
    assert_eq!(set("2a25", Told::Value("SN000000".into())), Verdict::Fail, "a placeholder of the profile");
    assert_eq!(verdict("BLE-16", |p| p.information.clear()), Verdict::Unknown);
}

#[test]
fn a_udi_without_a_scanned_label_is_not_known_to_be_right() {
    assert_eq!(found(&profile(), Some(&good()), None)["BLE-17"].result, Verdict::Unknown);
    assert_eq!(verdict("BLE-17", |p| p.udi = Told::Value("(01)04012345678901".into())), Verdict::Pass);
}

#[test]
fn a_clock_is_held_against_local_time_to_two_minutes() {
    let at = |h, m, s| verdict("BLE-19", |p| p.clock = Told::Value(jiff::civil::datetime(2026, 11, 24, h, m, s, 0)));
    assert_eq!((at(4, 2, 0), at(3, 58, 0)), (Verdict::Pass, Verdict::Pass));
    assert_eq!((at(4, 2, 1), at(3, 57, 59)), (Verdict::Fail, Verdict::Fail));
    let mut posture = good();
    posture.clock = Told::Value(jiff::civil::datetime(2026, 11, 24, 3, 0, 0, 0));
    let told = found(&profile(), Some(&posture), None)["BLE-19"].observed.clone();
    assert_eq!(told, "2026-11-24T03:00:00, 3600 s behind this laptop");
}
