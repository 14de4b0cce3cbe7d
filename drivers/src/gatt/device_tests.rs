use aseptic_device::driver::Sensed;
use aseptic_device::{LinkErrorKind, Transport};

use super::super::peer::{Does, Log, Peer, Table, seen};
use super::*;

const PROFILE: &str = r#"
schema = "aseptic.profile/1"
id = "acme-ip"
vendor = "Acme"
model = "IP"
protocol = "gatt"
[[ble]]
service = "0000183a-0000-1000-8000-00805f9b34fb"
[identity]
serial = [{ dis = 0x2a25 }]
udi = "udi"
hardware = { dis = 0x2a27 }
placeholders = ["Serial Number"]
[firmware]
version-scheme = "dotted"
[readiness]
therapy-idle = { read = "insulin-delivery", expect = { one-of = ["stop/off", "stop/standby"] } }
battery = { read = "battery", expect = { at-least = 50 } }
[[checks]]
id = "answers"
title = "It tells its model"
read = { dis = 0x2a24 }
expect = { equals = "IP" }
"#;

fn device(table: Table<'_>) -> (GattDevice, Log) {
    let peer = Peer::new(table, [seen(table)]);
    let log = peer.log();
    (GattDevice::new(Profile::parse(PROFILE).unwrap(), Box::new(peer)), log)
}

fn says(value: &[u8]) -> Does {
    Does::Says(value.to_vec())
}

#[tokio::test(start_paused = true)]
async fn who_it_is_comes_from_device_information_and_udi() {
    let (mut pump, _) = device(&[(
        0x180a,
        &[
            (0x2a25, says(b"IP-0042\0")),
            (0x2a26, says(b"2.4.1")),
            (0x2bff, says(b"\x03(01)00860000000017\x0000860000000017\0")),
        ],
    )]);
    let read = pump.identify().await.unwrap();
    assert_eq!(read.id.unwrap().to_string(), "id:acme-ip/IP-0042");
    assert_eq!(read.udi.unwrap().as_str(), "(01)00860000000017", "the label, as a scanner reads it");
    assert_eq!(read.firmware.unwrap().text.as_str(), "2.4.1");
    assert_eq!(read.hardware, None);
}

#[tokio::test(start_paused = true)]
async fn a_default_of_an_sdk_or_a_number_behind_keys_is_no_identity() {
    for (does, why) in [
        (says(b"serial number"), "placeholder"),
        (Does::Fails(LinkErrorKind::NotPaired), "no serial number could be read"),
    ] {
        let read = device(&[(0x180a, &[(0x2a25, does)])]).0.identify().await.unwrap();
        assert_eq!(read.id, None);
        assert!(read.unusable.unwrap().contains(why));
    }
    let gone = Does::Fails(LinkErrorKind::Gone);
    assert!(device(&[(0x180a, &[(0x2a25, gone)])]).0.identify().await.is_err(), "a lost link is no finding");
}

#[tokio::test(start_paused = true)]
async fn only_a_pump_that_says_that_it_stands_still_is_idle() {
    for (status, battery, expected) in [
        (says(&[0x33, 0x3c]), says(&[80]), (true, true)),
        (says(&[0x33, 0x33]), says(&[20]), (true, false)),
        (says(&[0x55, 0x96]), says(&[80]), (false, true)),
        (says(&[0x0f, 0x0f]), says(&[80]), (false, true)),
        (says(&[0x33, 0x77]), says(&[80]), (false, true)),
        (Does::Fails(LinkErrorKind::NotPaired), says(&[255]), (false, false)),
    ] {
        let (mut pump, _) = device(&[(0x183a, &[(0x2b21, status.clone())]), (0x180f, &[(0x2a19, battery)])]);
        let ready = pump.readiness().await.unwrap();
        let safe = |sensed: &Sensed| matches!(sensed, Sensed::Safe(_));
        assert_eq!((safe(&ready.therapy), safe(&ready.power)), expected, "{status:?}: {ready:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_battery_that_only_the_platform_tells_counts() {
    let mut told = seen(&[]);
    told.battery = Some(77);
    let link: Box<dyn Transport> = Box::new(Peer::new(&[], [told]));
    let mut pump = GattDevice::new(Profile::parse(PROFILE).unwrap(), link);
    assert!(matches!(pump.readiness().await.unwrap().power, Sensed::Safe(why) if why.contains("77")));
}

#[tokio::test(start_paused = true)]
async fn checks_are_read_and_what_it_does_not_have_is_not_made_up() {
    let (mut pump, _) = device(&[(0x180a, &[(0x2a24, says(b"IP"))])]);
    assert!(matches!(pump.checks().await.unwrap().first().unwrap().sensed, Sensed::Safe(_)));
    let images = pump.images().await.unwrap();
    assert!(images.slots.is_empty() && images.bootloader.mode == BootMode::Unknown);
    assert!(pump.read_config().await.unwrap().settings.is_empty());
    assert!(matches!(pump.posture().await.unwrap().unwrap().management, Told::Absent));
}

struct Nothing;

impl ImageSource for Nothing {
    fn len(&self) -> u64 {
        1
    }

    fn sha256(&self) -> [u8; 32] {
        [0; 32]
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        Ok(())
    }
}

impl Control for Nothing {
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
async fn it_is_never_changed_and_nothing_is_sent() {
    let (mut pump, log) = device(&[(0x183a, &[(0x2b21, says(&[0x33, 0x33]))])]);
    let hash = ImageHash::new(&[1; 32]).unwrap();
    let errors = [
        pump.set(&"net/telnet".into(), &Value::Bool(false)).await.unwrap_err(),
        pump.erase(ImageId(0)).await.unwrap_err(),
        pump.upload(ImageId(0), &Nothing, &Nothing).await.unwrap_err(),
        pump.mark_test(ImageId(0), &hash).await.unwrap_err(),
        pump.restart().await.unwrap_err(),
        pump.confirm_running().await.unwrap_err(),
    ];
    assert!(errors.iter().all(|e| e.kind == DriverErrorKind::Unsupported), "{errors:?}");
    assert!(log.lock().unwrap().is_empty());
}
