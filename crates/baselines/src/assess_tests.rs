use std::collections::BTreeMap;

use aseptic_device::setting::SettingReading;
use aseptic_device::{BootMode, Bootloader, DeviceId, SlotState, VersionScheme};

use super::*;

const PROFILE: &str = r#"
schema = "aseptic.profile/1"
id = "acme-sp1"
vendor = "Acme"
model = "SP-1"
protocol = "smp"
[identity]
serial = ["usb-serial"]
udi = "usb-serial"
hardware = "usb-serial"
[[ble]]
service = "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
name = "Acme PM"
[radio]
pnp = { source = 1, vendor = 95, product = 3 }
database-hashes = ["00112233445566778899aabbccddeeff"]
[firmware]
version-scheme = "mcuboot"
approved = ["1.3.0"]
"#;

/// One world in which every rule passes, fails, or cannot be read.
#[derive(Clone, Copy, PartialEq, Debug)]
enum World {
    Good,
    Bad,
    Silent,
}

struct Read3 {
    identity: Identity,
    images: Images,
    config: ConfigSnapshot,
    profile: Profile,
    signed: Vec<ImageHash>,
    vulnerable: Vec<FirmwareVersion>,
    scan: Option<bool>,
    posture: Posture,
}

fn hash(n: u8) -> ImageHash {
    ImageHash::new(&[n; 32]).unwrap()
}

fn settings(world: World) -> BTreeMap<SettingKey, SettingReading> {
    let digest = |pin: &str| {
        let hex: String = Sha256::digest(pin.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        Value::Text(DeviceText::new(&format!("sha256:{hex}")))
    };
    let values: [(&str, Value, Value); 6] = [
        ("net/telnet", Value::Bool(false), Value::Bool(true)),
        ("net/ftp", Value::Bool(false), Value::Bool(true)),
        ("auth/service-pin", digest("8841-K"), digest("0000")),
        ("auth/lockout", Value::Int(5), Value::Int(0)),
        ("audit/enabled", Value::Bool(true), Value::Bool(false)),
        ("console/login", Value::Bool(true), Value::Bool(false)),
    ];
    values
        .into_iter()
        .map(|(key, good, bad)| {
            let reading = match world {
                World::Good => Reading::Value(good),
                World::Bad => Reading::Value(bad),
                World::Silent => Reading::Unreadable("no answer".into()),
            };
            (key.into(), SettingReading { class: SettingClass::Security, reading })
        })
        .collect()
}

fn world(world: World) -> Read3 {
    let text = |good: &str, bad: &str| match world {
        World::Good => Some(DeviceText::new(good)),
        World::Bad => Some(DeviceText::new(bad)),
        World::Silent => None,
    };
    let slot = |slot, version: &str, n, confirmed| SlotState {
        image: ImageId(0),
        slot,
        version: DeviceText::new(version),
        hash: Some(hash(n)),
        bootable: true,
        pending: false,
        confirmed,
        active: slot == 0,
        permanent: false,
    };
    let slots = match world {
        World::Good => vec![slot(0, "1.3.0", 1, true), slot(1, "1.2.9", 2, false)],
        World::Bad => vec![slot(0, "1.2.0", 1, false), slot(1, "1.2.0", 2, false)],
        World::Silent => vec![],
    };
    Read3 {
        identity: Identity {
            profile: "acme-sp1".into(),
            id: (world == World::Good).then(|| DeviceId::new("acme-sp1", "SN-1").unwrap()),
            serial: text("SN-1", "0"),
            udi: text("(01)1", " "),
            hardware: text("C", " "),
            firmware: match world {
                World::Good => Some(FirmwareVersion::new(VersionScheme::Mcuboot, "1.3.0")),
                World::Bad => Some(FirmwareVersion::new(VersionScheme::Mcuboot, "1.2.0")),
                World::Silent => None,
            },
            unusable: (world != World::Good).then(|| "no usable serial number".into()),
        },
        images: Images {
            slots,
            bootloader: Bootloader { name: None, mode: BootMode::Unknown, downgrade_prevention: None, measured: false },
        },
        config: ConfigSnapshot { settings: settings(world) },
        profile: Profile::parse(PROFILE).unwrap(),
        signed: vec![hash(1)],
        vulnerable: vec![FirmwareVersion::new(VersionScheme::Mcuboot, "1.2.0")],
        scan: match world {
            World::Good => Some(true),
            World::Bad => Some(false),
            World::Silent => None,
        },
        posture: posture(world),
    }
}

fn posture(world: World) -> Posture {
    let mut posture = crate::radio::tests::good();
    for (_, failing, unreadable) in crate::radio::tests::CASES {
        match world {
            World::Good => {}
            World::Bad => failing(&mut posture),
            World::Silent => unreadable(&mut posture),
        }
    }
    posture
}

fn findings(read: &Read3, waivers: &[Waiver]) -> Vec<Finding> {
    let facts = Facts {
        identity: &read.identity,
        images: &read.images,
        config: &read.config,
        profile: &read.profile,
        signed_images: &read.signed,
        vulnerable: &read.vulnerable,
        scan_agreed: read.scan,
        scanned_device: Some("04012345678901"),
        posture: Some(&read.posture),
        zone: crate::radio::tests::zone(),
    };
    assess(&built_in().unwrap(), &facts, waivers, "2026-11-24T03:00:00Z".parse().unwrap())
}

#[test]
fn every_rule_passes_in_the_good_world() {
    for finding in findings(&world(World::Good), &[]) {
        assert_eq!(finding.result, Verdict::Pass, "{}: {}", finding.rule, finding.observed);
    }
}

#[test]
fn every_rule_but_the_unprovable_one_fails_in_the_bad_world() {
    for finding in findings(&world(World::Bad), &[]) {
        // That a running image is in no kit proves nothing, so FW-04 never fails.
        let expected = if finding.rule == "FW-04" { Verdict::Pass } else { Verdict::Fail };
        assert_eq!(finding.result, expected, "{}: {}", finding.rule, finding.observed);
        assert!(!finding.what_to_do.is_empty() && !finding.why.is_empty());
    }
    let mut unknown_image = world(World::Bad);
    unknown_image.signed = vec![hash(9)];
    let fw04 = findings(&unknown_image, &[]).into_iter().find(|f| f.rule == "FW-04").unwrap();
    assert_eq!(fw04.result, Verdict::Unknown);
}

#[test]
fn nothing_passes_that_could_not_be_read() {
    for finding in findings(&world(World::Silent), &[]) {
        let expected = if finding.rule == "ID-01" { Verdict::Fail } else { Verdict::Unknown };
        assert_eq!(finding.result, expected, "{}: {}", finding.rule, finding.observed);
    }
}

#[test]
fn a_model_without_a_setting_is_not_judged_on_it_and_the_finding_stays() {
    let mut read = world(World::Good);
    read.config.settings.clear();
    let found = findings(&read, &[]);
    assert_eq!(found.len(), built_in().unwrap().rules.len());
    let telnet = found.iter().find(|f| f.rule == "SER-11.telnet").unwrap();
    assert_eq!(telnet.result, Verdict::NotApplicable);
}

#[test]
fn a_secret_is_never_shown() {
    for finding in findings(&world(World::Bad), &[]) {
        assert!(!finding.observed.contains("0000") && !finding.observed.contains("sha256:"));
    }
}

#[test]
fn a_waiver_holds_until_its_end_and_then_fails_loudly() {
    let waiver = |until: &str| Waiver {
        rule: "SER-11.ftp".into(),
        profile: "acme-sp1".into(),
        serial: None,
        control: "own network segment".into(),
        approver: "B. Boss".into(),
        until: until.parse().unwrap(),
    };
    let ftp = |w| findings(&world(World::Bad), &[w]).into_iter().find(|f| f.rule == "SER-11.ftp").unwrap();
    assert!(matches!(ftp(waiver("2026-11-24T03:00:01Z")).result, Verdict::Accepted { .. }));
    let expired = ftp(waiver("2026-11-24T03:00:00Z"));
    assert_eq!(expired.result, Verdict::Fail);
    assert!(expired.what_to_do.contains("EXPIRED at 2026-11-24T03:00:00Z"));
}
