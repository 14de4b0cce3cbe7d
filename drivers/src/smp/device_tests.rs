use std::sync::{Arc, Mutex};

use aseptic_device::driver::Sensed;
use aseptic_device::profile::Framing;
use aseptic_device::{Address, UsbIdentity};

use super::super::packet::{Op, Packet, map};
use super::super::peer::{Does, Peer};
use super::*;

const PROFILE: &str = r#"
schema = "aseptic.profile/1"
id = "acme"
vendor = "Acme"
model = "A"
protocol = "smp"
[identity]
serial = [{ setting = "id/serial" }, { os-info = "n" }, "usb-serial"]
hardware = { os-info = "m" }
placeholders = ["SN0"]
[firmware]
version-scheme = "mcuboot"
bootloader = "swap-using-move"
[readiness]
therapy-idle = { read = { stat = { group = "pump", field = "infusing" } }, expect = { equals = 0 } }
mains = { read = { setting = "state/mains" }, expect = { equals = true } }
battery = { read = { setting = "state/battery" }, expect = { at-least = 50 } }
[[settings]]
key = "id/serial"
class = "status"
type = "text"
[[settings]]
key = "state/mains"
class = "status"
type = "bool"
[[settings]]
key = "state/battery"
class = "status"
type = "u8"
[[settings]]
key = "net/telnet"
class = "security"
type = "bool"
writable = true
[[settings]]
key = "net/name"
class = "security"
type = "text"
[[settings]]
key = "alarm/high"
class = "alarm"
type = "u16"
[[settings]]
key = "auth/pin"
class = "security"
type = "text"
secret = true
"#;

type Answers = Arc<Mutex<Vec<((u16, u8, String), Value_)>>>;
use ciborium::Value as Value_;

// Answers by group, command and the name, format or query that was asked for; anything else is not supported.
struct Rig {
    answers: Answers,
    heard: Arc<Mutex<Vec<Packet>>>,
    device: SmpDevice,
}

fn rig(profile: &str, usb: Option<&str>) -> Rig {
    let answers: Answers = Arc::default();
    let known = answers.clone();
    let (link, heard) = Peer::link(Framing::Console, move |p: &Packet| {
        let about = ["name", "format", "query"].iter().find_map(|k| get_text(&p.body, k)).unwrap_or_default();
        let key = (p.group, p.command, about.to_owned());
        let found = known.lock().unwrap().iter().rev().find(|(k, _)| *k == key).map(|(_, v)| v.clone());
        Does::Says(found.unwrap_or_else(|| map([("rc", 8.into())])))
    });
    let usb = usb.map(|s| UsbIdentity { vid: 1, pid: 2, serial: Some(s.into()), product: None });
    let at =
        Sighting { address: Address::Port("x".into()), usb, radio: None, name: None, named: true, simulated: false };
    let device = SmpDevice::new(Profile::parse(profile).unwrap(), &at, link, Intent::Effect);
    Rig { answers, heard, device }
}

impl Rig {
    fn says(&self, group: u16, command: u8, about: &str, body: Value_) {
        self.answers.lock().unwrap().push(((group, command, about.into()), body));
    }

    fn holds(&self, key: &str, bytes: &[u8]) {
        self.says(3, 0, key, map([("val", Value_::Bytes(bytes.to_vec()))]));
    }

    fn effects(&self) -> usize {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|p| p.op == Op::Write && (p.group, p.command) != (0, 0)).count()
    }
}

fn entry(slot: u8, active: bool) -> Value_ {
    map([
        ("slot", slot.into()),
        ("version", "1.2.0".into()),
        ("hash", Value_::Bytes(vec![slot; 32])),
        ("active", active.into()),
        ("confirmed", active.into()),
    ])
}

fn with_images(rig: &Rig) {
    rig.says(1, 0, "", map([("images", Value_::Array(vec![entry(0, true), entry(1, false)]))]));
}

#[tokio::test(start_paused = true)]
async fn a_serial_number_comes_from_the_first_source_that_has_one_and_a_placeholder_is_not_skipped() {
    let mut rig = rig(PROFILE, Some("USB-1"));
    with_images(&rig);
    let id = |i: &Identity| i.id.as_ref().map(ToString::to_string);
    assert_eq!(id(&rig.device.identify().await.unwrap()).as_deref(), Some("id:acme/USB-1"));
    rig.says(0, 7, "n", map([("output", "NODE-1".into())]));
    rig.says(0, 7, "m", map([("output", "arm".into())]));
    let read = rig.device.identify().await.unwrap();
    assert_eq!(id(&read).as_deref(), Some("id:acme/NODE-1"));
    assert_eq!(read.hardware.unwrap().as_str(), "arm");
    rig.holds("id/serial", b"sn0\0");
    let read = rig.device.identify().await.unwrap();
    assert!(read.id.is_none() && read.unusable.unwrap().contains("placeholder"));
    rig.holds("id/serial", b"Unknown");
    assert!(rig.device.identify().await.unwrap().id.is_none(), "what a software kit gives is no serial number");
}

#[tokio::test(start_paused = true)]
async fn a_device_without_any_serial_number_has_no_name_and_can_still_be_read() {
    let mut rig = rig(PROFILE, None);
    with_images(&rig);
    let read = rig.device.identify().await.unwrap();
    assert_eq!((read.id, read.firmware.unwrap().text.as_str()), (None, "1.2.0"));
}

#[tokio::test(start_paused = true)]
async fn readiness_is_read_from_statistics_and_settings_and_silence_is_unreadable() {
    let mut rig = rig(PROFILE, None);
    let ready = rig.device.readiness().await.unwrap();
    assert!(matches!(ready.therapy, Sensed::Unreadable(_)), "{:?}", ready.therapy);
    assert!(matches!(ready.alarm, Sensed::Unreadable(_)), "the profile names none");
    rig.says(2, 0, "pump", map([("fields", map([("infusing", 0.into())]))]));
    rig.holds("state/mains", &[0]);
    rig.holds("state/battery", &[80]);
    let ready = rig.device.readiness().await.unwrap();
    assert!(matches!(ready.therapy, Sensed::Safe(_)) && matches!(ready.power, Sensed::Safe(_)), "{ready:?}");
    rig.says(2, 0, "pump", map([("fields", map([("infusing", 1.into())]))]));
    rig.holds("state/battery", &[20]);
    let ready = rig.device.readiness().await.unwrap();
    assert!(matches!(ready.therapy, Sensed::Unsafe(_)) && matches!(ready.power, Sensed::Unsafe(_)), "{ready:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_device_is_not_taken_for_one_that_lacks_something() {
    let mut rig = rig(PROFILE, None);
    rig.says(3, 0, "alarm/high", map([("rc", 10.into())]));
    let error = rig.device.read_config().await.unwrap_err();
    assert!(error.to_string().contains("busy"), "{error}");
    let rig_2 = self::rig(PROFILE, None);
    rig_2.says(0, 8, "", map([("rc", 2.into())]));
    with_images(&rig_2);
    let mut device = rig_2.device;
    assert!(device.images().await.is_err(), "out of memory says nothing about the bootloader");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_may_be_cut_or_does_not_fit_is_unreadable_and_a_secret_is_a_digest() {
    let mut rig = rig(PROFILE, None);
    rig.holds("alarm/high", &[1, 2, 3]);
    rig.holds("auth/pin", b"0000");
    rig.says(3, 0, "id/serial", map([("val", Value_::Bytes(vec![b'a'; 32])), ("max_size", 32.into())]));
    let config = rig.device.read_config().await.unwrap();
    let reading = |key: &str| config.settings[&SettingKey::from(key)].reading.clone();
    assert!(matches!(reading("alarm/high"), Reading::Unreadable(_)));
    assert!(matches!(reading("id/serial"), Reading::Unreadable(why) if why.contains("longer")));
    let Reading::Value(pin) = reading("auth/pin") else { panic!("not read") };
    assert!(pin.to_string().starts_with("sha256:") && !pin.to_string().contains("0000"));
}

#[tokio::test(start_paused = true)]
async fn the_stricter_of_bootloader_and_profile_counts() {
    let mode = |n: u8| map([("mode", n.into())]);
    let cases = [
        ("swap-using-move", "MCUboot", mode(3), BootMode::SwapUsingMove, true),
        ("swap-using-move", "MCUboot", mode(2), BootMode::OverwriteOnly, true),
        ("overwrite-only", "MCUboot", mode(3), BootMode::OverwriteOnly, false),
        ("swap-using-move", "MCUboot", mode(77), BootMode::Unknown, true),
        ("swap-using-move", "HomeBoot", mode(2), BootMode::SwapUsingMove, false),
        ("swap-using-move", "MCUboot", map([("rc", 8.into())]), BootMode::SwapUsingMove, false),
    ];
    for (declared, name, answer, expected, measured) in cases {
        let text = PROFILE.replace("bootloader = \"swap-using-move\"", &format!("bootloader = \"{declared}\""));
        let mut rig = rig(&text, None);
        with_images(&rig);
        rig.says(0, 8, "", map([("bootloader", name.into())]));
        rig.says(0, 8, "mode", answer);
        let read = rig.device.images().await.unwrap().bootloader;
        assert_eq!((read.mode, read.measured), (expected, measured), "{declared} {name}");
        assert_eq!(read.downgrade_prevention, None, "nobody said");
    }
}

#[tokio::test(start_paused = true)]
async fn a_downgrade_counts_as_prevented_when_either_says_so_and_silence_leaves_the_profile() {
    for (declared, told, expected) in
        [(false, None, false), (true, None, true), (true, Some(false), true), (false, Some(true), true)]
    {
        let text = PROFILE.replace("[readiness]", &format!("downgrade-prevention = {declared}\n[readiness]"));
        let mut rig = rig(&text, None);
        with_images(&rig);
        rig.says(0, 8, "", map([("bootloader", "MCUboot".into())]));
        let mut entries = vec![(Value_::from("mode"), Value_::from(3))];
        entries.extend(told.map(|t| ("no-downgrade".into(), t.into())));
        rig.says(0, 8, "mode", Value_::Map(entries));
        let read = rig.device.images().await.unwrap().bootloader;
        assert_eq!(read.downgrade_prevention, Some(expected), "{declared} {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_none_is_not_an_empty_one() {
    for body in [map([]), map([("images", 5.into())]), map([("images", Value_::Array(vec![map([])]))])] {
        let mut rig = rig(PROFILE, None);
        rig.says(1, 0, "", body);
        let error = rig.device.images().await.unwrap_err();
        assert!(matches!(error.kind, DriverErrorKind::Malformed(_)), "{error}");
    }
    assert!(rig(PROFILE, None).device.images().await.unwrap().slots.is_empty(), "a device without the group has none");
}

#[tokio::test(start_paused = true)]
async fn only_what_the_profile_allows_is_written() {
    let mut rig = rig(PROFILE, None);
    let text = |t: &str| Value::Text(t.into());
    // No file can say that all of them are writable; the driver does not rely on it.
    assert!(rig.device.set(&"net/name".into(), &text("x")).await.is_err());
    for all_writable in [false, true] {
        rig.device.profile.settings.iter_mut().for_each(|s| s.writable |= all_writable);
        for (key, value) in [
            ("alarm/high", Value::Int(5)),
            ("auth/pin", text("1234")),
            ("id/serial", text("other")),
            ("not/there", Value::Bool(true)),
            ("net/telnet", Value::Int(300)),
        ] {
            let error = rig.device.set(&key.into(), &value).await.unwrap_err();
            assert!(matches!(error.kind, DriverErrorKind::Profile(_)), "{key}: {error}");
        }
    }
    assert_eq!(rig.effects(), 0);
    rig.says(3, 0, "net/telnet", map([]));
    rig.says(3, 3, "", map([]));
    rig.device.set(&"net/telnet".into(), &Value::Bool(false)).await.unwrap();
    assert_eq!(rig.effects(), 2, "written and saved");
}

#[tokio::test(start_paused = true)]
async fn erasing_takes_the_spare_slot_of_the_list_and_never_guesses() {
    let mut rig = rig(PROFILE, None);
    rig.says(1, 0, "", map([("images", Value_::Array(vec![entry(0, true)]))]));
    assert!(rig.device.erase(ImageId(0)).await.is_err());
    assert_eq!(rig.effects(), 0);
    with_images(&rig);
    rig.says(1, 5, "", map([]));
    rig.device.erase(ImageId(0)).await.unwrap();
    let heard = rig.heard.lock().unwrap();
    assert_eq!(get_uint(&heard.iter().rev().find(|p| p.command == 5).unwrap().body, "slot"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_runs_or_holds_the_way_back_is_never_erased() {
    let flagged = |flag: &str| {
        let mut spare = entry(1, false);
        spare.as_map_mut().unwrap().retain(|(k, _)| k.as_text() != Some(flag));
        spare.as_map_mut().unwrap().push((flag.into(), true.into()));
        spare
    };
    let lists = [
        vec![entry(0, false), entry(1, false)],
        vec![entry(0, true), flagged("confirmed")],
        vec![entry(0, true), flagged("pending")],
        vec![entry(0, true), entry(0, false)],
        vec![],
    ];
    for list in lists {
        let mut rig = rig(PROFILE, None);
        rig.says(1, 0, "", map([("images", Value_::Array(list.clone()))]));
        rig.says(1, 5, "", map([]));
        assert!(rig.device.erase(ImageId(0)).await.is_err(), "{list:?}");
        assert_eq!(rig.effects(), 0);
    }
}

struct Zeros(u64);

impl ImageSource for Zeros {
    fn len(&self) -> u64 {
        self.0
    }

    fn sha256(&self) -> [u8; 32] {
        [0; 32]
    }

    fn read_at(&self, _: u64, buf: &mut [u8]) -> std::io::Result<()> {
        buf.fill(0);
        Ok(())
    }
}

struct Hand;

impl Control for Hand {
    fn progress(&self, _: u64, _: u64) {}

    fn stopped(&self) -> bool {
        false
    }

    fn sample_every(&self) -> Option<std::time::Duration> {
        None
    }

    fn sampled(&self, _: Result<Readiness, DriverError>) {}
}

#[tokio::test(start_paused = true)]
async fn an_image_that_does_not_fit_is_refused_before_the_slot_is_erased() {
    let slots = Value_::Array([900, 1_000].map(|n| map([("slot", 0.into()), ("size", n.into())])).into());
    let sized = |most: Option<u16>| {
        let mut entries = vec![(Value_::from("image"), Value_::from(0)), ("slots".into(), slots.clone())];
        entries.extend(most.map(|n| ("max_image_size".into(), n.into())));
        map([("images", Value_::Array(vec![Value_::Map(entries)]))])
    };
    for (told, most) in [(None, 1_000), (Some(800), 800)] {
        let mut rig = rig(PROFILE, None);
        rig.says(1, 6, "", sized(told));
        let error = rig.device.upload(ImageId(0), &Zeros(most + 1), &Hand).await.unwrap_err();
        assert!(error.to_string().contains(&format!("the slot takes {most}")), "{error}");
        assert_eq!(rig.effects(), 0);
        rig.says(1, 1, "", map([("off", most.into())]));
        assert_eq!(rig.device.upload(ImageId(0), &Zeros(most), &Hand).await.unwrap(), Uploaded::Complete);
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_does_not_tell_its_slots_gets_the_image_and_a_busy_one_does_not() {
    let mut rig = rig(PROFILE, None);
    rig.says(1, 1, "", map([("off", 10.into())]));
    assert_eq!(rig.device.upload(ImageId(0), &Zeros(10), &Hand).await.unwrap(), Uploaded::Complete);
    let before = rig.effects();
    rig.says(1, 6, "", map([("rc", 10.into())]));
    assert!(rig.device.upload(ImageId(0), &Zeros(10), &Hand).await.is_err());
    assert_eq!(rig.effects(), before);
}

#[tokio::test(start_paused = true)]
async fn the_running_image_is_kept_without_naming_a_hash() {
    let mut rig = rig(PROFILE, None);
    with_images(&rig);
    rig.device.confirm_running().await.unwrap();
    let heard = rig.heard.lock().unwrap();
    let body = &heard.last().unwrap().body;
    assert!(get(body, "hash").is_none() && get_flag(body, "confirm"));
}

// An SMP device over a radio whose management does as told on the first write.
fn over_radio(permit: Intent, bond: aseptic_device::Bond, needs_keys: bool) -> SmpDevice {
    use crate::gatt::peer::{Does, Peer, seen};
    let table = [(0x180a_u16, [(0x2a25_u16, Does::Says(b"SN-7".to_vec()))])];
    let table: Vec<_> = table.iter().map(|(s, held)| (*s, held.as_slice())).collect();
    let mut told = seen(&table);
    told.services.insert(0x8d53_dc1d_1db7_4cd3_868b_8a52_7460_aa84, vec![SMP_CHARACTERISTIC]);
    told.bond = bond;
    let answer = move |bytes: &[u8]| {
        if needs_keys {
            return Err(LinkErrorKind::NotPaired);
        }
        let request = Packet::decode(bytes).unwrap();
        let body = super::super::peer::echo(&request).unwrap_or_else(|| match (request.group, request.command) {
            (1, 0) => map([("images", Value_::Array(vec![entry(0, true)]))]),
            _ => map([("rc", 8.into())]),
        });
        Ok(super::super::peer::answer(Framing::Raw, &request, body))
    };
    let peer = Peer::new(&table, [told]).answering(Box::new(answer));
    let address = Address::Ble { adapter: "hci0".into(), address: "C0:00:00:00:00:01".into() };
    let at = Sighting { address, usb: None, radio: None, name: None, named: true, simulated: false };
    let profile = PROFILE.replace("{ os-info = \"n\" }", "{ dis = 0x2a25 }");
    SmpDevice::new(Profile::parse(&profile).unwrap(), &at, Box::new(peer), permit)
}

#[tokio::test(start_paused = true)]
async fn management_that_answers_a_laptop_without_keys_is_told() {
    let unpaired = aseptic_device::Bond::default();
    let paired = aseptic_device::Bond { before: true, now: true, undone: false };
    for (bond, needs_keys, expected) in
        [(unpaired, false, Some(true)), (unpaired, true, Some(false)), (paired, false, None)]
    {
        let mut device = over_radio(Intent::Read, bond, needs_keys);
        let posture = device.posture().await.unwrap().unwrap();
        assert_eq!(posture.management.value().copied(), expected, "{:?}", posture.management);
    }
    assert_eq!(rig(PROFILE, None).device.posture().await.unwrap(), None, "a wire has no radio");
}

#[tokio::test(start_paused = true)]
async fn without_keys_a_device_is_known_by_its_open_services_and_never_taken_for_an_empty_one_while_changed() {
    let unpaired = aseptic_device::Bond::default();
    let mut device = over_radio(Intent::Read, unpaired, true);
    let read = device.identify().await.unwrap();
    assert_eq!(read.id.unwrap().to_string(), "id:acme/SN-7");
    assert_eq!(read.firmware, None);
    let config = device.read_config().await.unwrap();
    assert!(config.settings.values().all(|s| s.reading == Reading::Unreadable("needs pairing".into())));
    assert!(over_radio(Intent::Effect, unpaired, true).images().await.is_err());
}
