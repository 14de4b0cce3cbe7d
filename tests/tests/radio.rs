//! The simulated ward on the air, through the unmodified radio library and `BleBus`.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aseptic_device::driver::Readiness;
use aseptic_device::link::LinkErrorKind;
use aseptic_device::profile::BleMatch;
use aseptic_device::session::{Changing, Reach, Session};
use aseptic_device::{
    Address, Bus as _, Control, DeviceId, DriverError, Endpoint, ImageHash, ImageId, Opener as _, Profile, Sighting,
    SightingEvent, Uploaded,
};
use aseptic_drivers::profiles;
use aseptic_drivers::registry::Registry;
use aseptic_sim::bootloader::Image;
use aseptic_sim::firmware::{Behaviour, build};
use aseptic_sim::{TRAINING_KEY_PRIVATE, Ward};
use aseptic_tests::OneImage;
use aseptic_tests::air::{BLUEZ, Laptop, PATIENCE, over_the_air};
use aseptic_tests::oracle::root;
use aseptic_transports::SystemClock;
use futures::StreamExt as _;
use tokio::time::{Instant, timeout};

const SMP: Endpoint = Endpoint::Characteristic(0xda2e_7828_fbce_4e01_ae9e_2611_7499_7c48);
const SERIAL_NUMBER: Endpoint = short(0x2a25);
const BATTERY_LEVEL: Endpoint = short(0x2a19);
const AT_ONCE: Duration = Duration::from_secs(2);

const fn short(number: u128) -> Endpoint {
    Endpoint::Characteristic(0x0000_0000_0000_1000_8000_0080_5f9b_34fb | number << 96)
}

fn profile() -> Profile {
    let generic = profiles::built_in().unwrap().into_iter().find(|p| p.id == "generic-mcumgr").unwrap();
    let service = "8d53dc1d-1db7-4cd3-868b-8a527460aa84".to_owned();
    Profile { ble: vec![BleMatch { service, name: Some("PM-1".into()) }], ..generic }
}

fn ward(radio: &str) -> String {
    format!("[[device]]\nserial = \"PM-1\"\nproduct = \"Monitor\"\nradio = {{ name = \"PM-1\", {radio} }}\n")
}

#[test]
fn a_name_that_comes_late_is_told_when_it_comes() {
    over_the_air(
        "a_name_that_comes_late_is_told_when_it_comes",
        &ward("late-name-ms = 700, manufacturer = \"5900abcd\""),
        async |laptop: Laptop| {
            let mut events = laptop.bus.watch();
            let mut seen = Vec::new();
            while seen.last().is_none_or(|s: &Sighting| s.name.is_none()) {
                match timeout(PATIENCE, events.next()).await.unwrap().unwrap() {
                    SightingEvent::Seen(s) => seen.push(s),
                    SightingEvent::Gone(address) => panic!("{address:?} is gone"),
                }
            }
            assert!(seen[0].name.is_none(), "the first sighting has no name yet: {seen:?}");
            assert!(seen.iter().all(|s| s.address == seen[0].address));
        },
    );
}

#[test]
fn a_device_that_restarts_under_another_address_is_found_again() {
    over_the_air(
        "a_device_that_restarts_under_another_address_is_found_again",
        &ward("moves = true, address = \"resolvable-private\""),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let profile = Arc::new(profile());
            let id = DeviceId::new(&profile.id, "PM-1").unwrap();
            let (bus, opener, clock) = (Arc::new(laptop.bus.clone()), Arc::new(Registry), Arc::new(SystemClock));
            let reach = Reach { bus, opener, clock, profile, passkeys: None };
            let mut session = Session::<Changing>::change(reach, at.clone(), &id).await.unwrap();
            let images = session.inspecting().unwrap().images().await.unwrap();
            assert_eq!(images.slots.iter().filter(|s| s.active).count(), 1);
            let begun = Instant::now();
            session.changing().unwrap().restart().await.unwrap();
            session.reopen(Duration::from_secs(60)).await.unwrap();
            assert_ne!(session.sighting().address, at.address);
            assert_eq!(session.identity().id.as_ref(), Some(&id));
            assert_eq!(session.inspecting().unwrap().images().await.unwrap().slots, images.slots);
            assert!(begun.elapsed() < PATIENCE, "back after {:?}", begun.elapsed());
        },
    );
}

#[test]
fn a_device_without_power_is_told_by_its_silence_and_its_link_at_once() {
    let other = |n: u32| ward("forget-ms = 60000").replace("PM-1", &format!("PM-{n}"));
    over_the_air(
        "a_device_without_power_is_told_by_its_silence_and_its_link_at_once",
        &format!("{}{}{}", ward("forget-ms = 3000"), other(2), other(3)),
        async |laptop: Laptop| {
            let (linked, silent, held) =
                (laptop.finds("PM-1").await, laptop.finds("PM-2").await, laptop.finds("PM-3").await);
            let mut events = laptop.bus.watch();
            let mut gone = async |address: &Address, within| {
                let gone = timeout(within, async {
                    loop {
                        match events.next().await.unwrap() {
                            SightingEvent::Gone(a) if a == *address => return,
                            SightingEvent::Gone(a) => assert_ne!(a, held.address, "a program holds it"),
                            SightingEvent::Seen(_) => {}
                        }
                    }
                });
                gone.await.unwrap_or_else(|_| panic!("{address} should be gone within {within:?}"));
            };
            // A program connects, and is killed.
            let (program, path) = (laptop.connection().await, laptop.path(&held));
            let device = Some("org.bluez.Device1");
            program.call_method(Some(BLUEZ), path.as_str(), device, "Connect", &()).await.unwrap();
            drop(program);
            let mut link = laptop.opens(&linked).await.unwrap();
            laptop.control("cut PM-1 600000");
            laptop.control("cut PM-2 600000");
            let lost = timeout(AT_ONCE, link.receive()).await.expect("at once").unwrap_err();
            assert_eq!(lost.kind, LinkErrorKind::Gone);
            drop(link);
            gone(&linked.address, Duration::from_secs(10)).await;
            assert!(laptop.opens(&linked).await.is_err());
            gone(&silent.address, Duration::from_secs(30)).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let mut link = laptop.opens(&held).await.unwrap();
            assert_eq!(link.read(SERIAL_NUMBER).await.unwrap(), b"PM-3");
        },
    );
}

#[test]
fn an_adapter_that_goes_takes_its_links_and_devices_with_it_at_once() {
    over_the_air(
        "an_adapter_that_goes_takes_its_links_and_devices_with_it_at_once",
        &format!("{}{}", ward("smp = \"open\""), ward("adapter = \"hci1\"").replace("PM-1", "PM-2")),
        async |laptop: Laptop| {
            let mut other = laptop.opens(&laptop.finds("PM-2").await).await.unwrap();
            for (away, back) in [("off", "on"), ("unplug", "plug")] {
                let at = laptop.finds("PM-1").await;
                let mut events = laptop.bus.watch();
                for _ in 0..2 {
                    assert!(matches!(events.next().await, Some(SightingEvent::Seen(_))));
                }
                let mut link = laptop.opens(&at).await.unwrap();
                link.subscribe(SMP).await.unwrap();
                laptop.control(&format!("adapter hci0 {away}"));
                let lost = timeout(AT_ONCE, link.receive()).await.expect("at once").unwrap_err();
                assert_eq!(lost.kind, LinkErrorKind::Gone, "{away}");
                assert!(timeout(AT_ONCE, link.write(SMP, &[0; 8])).await.expect("at once").is_err(), "{away}");
                let told = timeout(AT_ONCE, async {
                    while !matches!(events.next().await.unwrap(), SightingEvent::Gone(a) if a == at.address) {}
                });
                told.await.expect("told at once");
                // Longer than the bus waits before it asks the system again: it stays off.
                tokio::time::sleep(Duration::from_secs(3)).await;
                assert!(laptop.opens(&at).await.is_err(), "{away}");
                laptop.control(&format!("adapter hci0 {back}"));
            }
            laptop.finds("PM-1").await;
            assert_eq!(other.read(SERIAL_NUMBER).await.unwrap(), b"PM-2", "the other adapter's link stayed");
            assert!(timeout(Duration::ZERO, other.receive()).await.is_err(), "and nothing else was told");
        },
    );
}

#[test]
fn characteristics_are_read_and_what_the_stack_hides_is_not_there() {
    over_the_air(
        "characteristics_are_read_and_what_the_stack_hides_is_not_there",
        &ward("battery = 62, insulin = true, security-levels = [[1, 1], [1, 4]], protected = [\"2b21\"]"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let mut link = laptop.opens(&at).await.unwrap();
            assert_eq!(link.read(SERIAL_NUMBER).await.unwrap(), b"PM-1");
            assert_eq!(link.read(short(0x2a26)).await.unwrap(), b"1.2.0");
            assert_eq!(link.read(short(0x2bf5)).await.unwrap(), [1, 1, 1, 4]);
            assert_eq!(link.max_write(), 244);
            let refused = link.read(short(0x2b21)).await.unwrap_err();
            assert_eq!(refused.kind, LinkErrorKind::NotPaired);
            for hidden in [BATTERY_LEVEL, short(0x2a00), short(0x2b2a)] {
                assert!(matches!(link.read(hidden).await.unwrap_err().kind, LinkErrorKind::Unsupported(_)));
            }
            let battery = laptop.property(&at, "org.bluez.Battery1", "Percentage").await.unwrap();
            assert_eq!(u8::try_from(battery).unwrap(), 62);
        },
    );
}

// An echo with a text of so many bytes, as the protocol description has it.
fn echo(sequence: u8, text: u16) -> Vec<u8> {
    let mut body = vec![0xa1, 0x61, b'd', 0x79];
    body.extend(text.to_be_bytes());
    body.resize(body.len() + usize::from(text), b'x');
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x0a, 0, length[0], length[1], 0, 0, sequence, 0], body.as_slice()].concat()
}

#[test]
fn twenty_thousand_notifications_arrive() {
    over_the_air(
        "twenty_thousand_notifications_arrive",
        &format!("{}wire = {{ buffer-size = 1024 }}\n", ward("mtu = 48")),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let mut link = laptop.opens(&at).await.unwrap();
            link.subscribe(SMP).await.unwrap();
            let mut notifications = 0;
            let begun = Instant::now();
            for round in 0..1_000_u32 {
                let request = echo((round & 0xff) as u8, 900);
                for piece in request.chunks(link.max_write()) {
                    link.write(SMP, piece).await.unwrap();
                }
                let mut answer = Vec::new();
                while answer.len() < request.len() {
                    let piece = timeout(PATIENCE, link.receive()).await.expect("nothing is lost").unwrap();
                    assert!(piece.bytes.len() <= 45);
                    answer.extend(piece.bytes);
                    notifications += 1;
                }
                assert_eq!(&answer[6..7], &request[6..7], "answers come in order");
                assert!(answer.ends_with(&request[14..]));
            }
            assert!(notifications >= 20_000, "{notifications}");
            eprintln!("{notifications} notifications in {:?}", begun.elapsed());
        },
    );
}

#[test]
fn lost_notifications_are_recovered_by_the_driver() {
    over_the_air(
        "lost_notifications_are_recovered_by_the_driver",
        &ward("mtu = 100, lose = 0.05"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let mut profile = profile();
            profile.timing.answer_s = 1;
            let link = laptop.opens(&at).await.unwrap();
            let mut device = Registry.inspect(&profile, &at, link).unwrap();
            let begun = Instant::now();
            for round in 0..10 {
                let images = device.images().await.unwrap_or_else(|e| panic!("round {round}: {e}"));
                assert_eq!(images.slots.len(), 1);
            }
            assert!(begun.elapsed() > Duration::from_secs(1), "nothing was lost, so nothing was shown");
        },
    );
}

/// Somebody who watches an upload and lets it be.
struct Onlooker;

impl Control for Onlooker {
    fn progress(&self, _acknowledged: u64, _total: u64) {}

    fn stopped(&self) -> bool {
        false
    }

    fn sample_every(&self) -> Option<Duration> {
        None
    }

    fn sampled(&self, _readiness: std::result::Result<Readiness, DriverError>) {}
}

#[test]
fn an_upload_arrives_whole_although_notifications_are_lost() {
    over_the_air(
        "an_upload_arrives_whole_although_notifications_are_lost",
        &ward("lose = 0.02"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let mut profile = profile();
            profile.timing.answer_s = 1;
            let link = laptop.opens(&at).await.unwrap();
            let mut device = Registry.change(&profile, &at, link).unwrap();
            let image = build((1, 3, 0, 0), Behaviour::Runs, 60_000, TRAINING_KEY_PRIVATE).unwrap();
            let hash = Image::read(&image).unwrap().hash;
            let sent = device.upload(ImageId(0), &OneImage(Arc::new(image)), &Onlooker).await.unwrap();
            assert_eq!(sent, Uploaded::Complete);
            let images = device.images().await.unwrap();
            let spare = images.slots.iter().find(|s| !s.active).unwrap();
            assert_eq!(spare.hash, ImageHash::new(&hash));
        },
    );
}

#[test]
fn the_built_in_ward_shows_what_its_document_says() {
    let ward = std::fs::read_to_string(root().join("crates/sim/ward.toml")).unwrap();
    over_the_air(
        "the_built_in_ward_shows_what_its_document_says",
        &ward.replace("schema = \"aseptic.ward/1\"", ""),
        async |laptop: Laptop| {
            let read = async |name: &str, number: u128| {
                let mut link = laptop.opens(&laptop.finds(name).await).await.unwrap();
                link.read(short(number)).await
            };
            assert_eq!(read("Simulated PM-3", 0x2a25).await.unwrap(), b"PM3-2026-0101");
            assert_eq!(read("Simulated OX-1", 0x2a24).await.unwrap(), b"Simulated OX-1");
            assert_eq!(read("Simulated IP-2", 0x2b21).await.unwrap()[..2], [0x55, 0x96]);
            assert_eq!(read("Simulated PM-1", 0x2a25).await.unwrap(), b"");
            assert_eq!(read("▮▮▮", 0x2a1c).await.unwrap().len(), 5);
            let mut oximeter = laptop.opens(&laptop.finds("Simulated OX-1").await).await.unwrap();
            assert!(matches!(oximeter.subscribe(SMP).await.unwrap_err().kind, LinkErrorKind::Unsupported(_)));
            let mut monitor = laptop.opens(&laptop.finds("Simulated PM-1").await).await.unwrap();
            let unbonded = Endpoint::Characteristic(0x8ec9_0003_f315_4f60_9fb8_8388_30da_ea50);
            monitor.subscribe(unbonded).await.unwrap();
        },
    );
}

#[test]
fn writes_are_paced_and_what_does_not_fit_a_packet_is_refused() {
    over_the_air(
        "writes_are_paced_and_what_does_not_fit_a_packet_is_refused",
        &ward("writes-per-s = 20, mtu = 23"),
        async |laptop: Laptop| {
            let mut link = laptop.opens(&laptop.finds("PM-1").await).await.unwrap();
            let begun = Instant::now();
            for _ in 0..11 {
                link.write(SMP, &[0; 20]).await.unwrap();
            }
            assert!(begun.elapsed() >= Duration::from_millis(480), "{:?}", begun.elapsed());
            assert!(link.write(SMP, &[0; 21]).await.is_err());
        },
    );
}

#[test]
fn the_bus_ends_with_its_ward_however_that_ends() {
    const SERVE: &str = "ASEPTIC_TEST_SERVE";
    if let Some(dir) = std::env::var_os(SERVE) {
        let ward = Ward::parse(&format!("schema = \"aseptic.ward/1\"\n{}", ward("mtu = 23"))).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(aseptic_sim::serve::serve(ward, Path::new(&dir))).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_bus_ends_with_its_ward_however_that_ends"])
        .env(SERVE, dir.path())
        .spawn()
        .unwrap();
    let reached = || UnixStream::connect(dir.path().join("bus")).is_ok();
    let within = |what: bool| {
        let end = std::time::Instant::now() + PATIENCE;
        while reached() != what {
            assert!(std::time::Instant::now() < end, "the bus should {}", if what { "come" } else { "end" });
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    within(true);
    child.kill().unwrap();
    child.wait().unwrap();
    within(false);
}

#[test]
fn what_a_killed_run_left_behind_does_not_disturb_the_next() {
    over_the_air(
        "what_a_killed_run_left_behind_does_not_disturb_the_next",
        &ward("mtu = 100"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let (path, killed) = (laptop.path(&at), laptop.connection().await);
            let device = Some("org.bluez.Device1");
            killed.call_method(Some(BLUEZ), path.as_str(), device, "Connect", &()).await.unwrap();
            let resolved = timeout(PATIENCE, async {
                let resolved = async || laptop.property(&at, "org.bluez.Device1", "ServicesResolved").await.unwrap();
                while !bool::try_from(resolved().await).unwrap() {}
            });
            resolved.await.unwrap();
            let objects = Some("org.freedesktop.DBus.ObjectManager");
            let objects = killed.call_method(Some(BLUEZ), "/", objects, "GetManagedObjects", &()).await.unwrap();
            let objects: zbus::fdo::ManagedObjects = objects.body().deserialize().unwrap();
            let smp = objects.iter().find(|(_, interfaces)| {
                let interface = interfaces.get("org.bluez.GattCharacteristic1");
                let uuid = interface.and_then(|i| <&str>::try_from(i.get("UUID")?).ok());
                uuid == Some("da2e7828-fbce-4e01-ae9e-261174997c48")
            });
            let (smp, interface) = (smp.unwrap().0, Some("org.bluez.GattCharacteristic1"));
            killed.call_method(Some(BLUEZ), smp, interface, "StartNotify", &()).await.unwrap();
            let options = HashMap::from([("type", zbus::Variant::from("command"))]);
            let half = (&echo(1, 300)[..97], options);
            killed.call_method(Some(BLUEZ), smp, interface, "WriteValue", &half).await.unwrap();
            drop(killed);
            let link = laptop.opens(&at).await.unwrap();
            let mut device = Registry.inspect(&profile(), &at, link).unwrap();
            let images = timeout(AT_ONCE, device.images()).await.expect("no try is lost").unwrap();
            assert_eq!(images.slots.len(), 1);
            assert_eq!(laptop.opens(&at).await.map(drop).unwrap_err().kind, LinkErrorKind::Busy);
        },
    );
}
