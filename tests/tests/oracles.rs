//! Programs that share no code with Aseptic agree with it: on bytes, and on what a device is.
#![cfg(unix)]

use std::path::Path;
use std::time::Duration;

#[cfg(target_os = "linux")]
use {
    aseptic_device::{ImageHash, Opener as _},
    aseptic_drivers::{Registry, profiles},
    aseptic_sim::bootloader::Image,
    aseptic_tests::air::{Laptop, over_the_air},
};

use aseptic_drivers::smp::console::{Decoder, encode};
use aseptic_drivers::smp::packet::Packet;
use aseptic_sim::TRAINING_KEY_PRIVATE;
use aseptic_sim::firmware::{Behaviour, build};
use aseptic_tests::oracle::python;
use aseptic_tests::pty_ward::PtyWard;
use mcumgr_toolkit::MCUmgrClient;
use mcumgr_toolkit::bootloader::BootloaderInfo;
use serde_json::{Value, json};

const WARD: &str = r#"
schema = "aseptic.ward/1"

[[device]]
port = "ttySIM0"
serial = "SP1-2026-0042"
product = "Simulated SP-1"
"#;

fn firmware() -> Vec<u8> {
    build((1, 3, 0, 0), Behaviour::default(), 20_000, TRAINING_KEY_PRIVATE).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn unwrapped(lines: &[u8]) -> Vec<u8> {
    let lines = lines.strip_suffix(b"\n").unwrap().split(|b| *b == b'\n').enumerate();
    let text = |(i, line): (usize, &[u8])| {
        assert!(line.len() < 127, "a line is too long");
        assert_eq!(line[..2], if i == 0 { [6, 9] } else { [4, 20] });
        line[2..].to_vec()
    };
    lines.flat_map(text).collect()
}

#[test]
fn packets_and_console_lines_are_those_of_pypi_smp() {
    let golden = include_str!("../oracles/smp-4.2.0.jsonl");
    if let Some(fresh) = python("smp_vectors.py", &[]) {
        assert_eq!(fresh, golden, "smp makes other bytes than the ones kept here");
    }
    for line in golden.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let (name, bytes) = (&vector["name"], unhex(vector["packet"].as_str().unwrap()));
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!(packet.encode().unwrap(), bytes, "{name}");
        let lines = unhex(vector["lines"].as_str().unwrap());
        // Where a long packet is broken into lines is the sender's choice, up to 127 bytes each.
        assert_eq!(unwrapped(&encode(&bytes)), unwrapped(&lines), "{name}");
        assert_eq!(Decoder::default().push(&lines), vec![bytes], "{name}");
    }
}

#[test]
fn smpclient_patches_the_simulated_device_from_find_to_keep() {
    let ward = PtyWard::serve(WARD);
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image.bin");
    std::fs::write(&image, firmware()).unwrap();
    let port = ward.port("ttySIM0");
    let Some(said) = python("smpclient_drives.py", &[port.to_str().unwrap(), image.to_str().unwrap()]) else { return };
    let saw: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(saw["echo"], "hello");
    assert_eq!(saw["buffers"], json!([384, 4]));
    assert_eq!(saw["bootloader"], "MCUboot");
    assert_eq!((&saw["telnet"], &saw["telnet-after"]), (&json!("00"), &json!("01")));
    assert_eq!(saw["unknown-is-error"], true);
    assert_eq!(saw["offsets-grow"], true);
    assert_eq!(saw["erase-of-pending-is-error"], true);
    let slot =
        |list: &str, slot: u64| saw[list].as_array().unwrap().iter().find(|s| s["slot"] == slot).unwrap().clone();
    assert_eq!(slot("before", 0)["version"], "1.2.0");
    assert_eq!(slot("pending", 1)["pending"], true);
    assert_eq!(
        (slot("on-test", 0)["version"].clone(), slot("on-test", 0)["confirmed"].clone()),
        (json!("1.3.0"), json!(false))
    );
    assert_eq!(slot("kept", 0)["confirmed"], true);
    let truth = ward.truth("SP1-2026-0042");
    assert_eq!((&truth["version"], &truth["confirmed"]), (&json!("1.3.0"), &json!(true)));
    assert_eq!(slot("kept", 0)["hash"], truth["hash"]);
    assert_eq!(truth["settings"]["net/telnet"], "01");
}

#[cfg(target_os = "linux")]
#[test]
fn smpclient_over_the_air_sends_an_image_to_the_simulated_device() {
    let radio = "radio = { name = \"PM-1\", mtu = 100 }";
    let ward = format!("[[device]]\nserial = \"PM-1\"\nproduct = \"Monitor\"\n{radio}\n");
    over_the_air("smpclient_over_the_air_sends_an_image_to_the_simulated_device", &ward, async |laptop: Laptop| {
        let image = laptop.ward.join("image.bin");
        std::fs::write(&image, firmware()).unwrap();
        let Some(said) = python("smpclient_radio.py", &["PM-1", image.to_str().unwrap()]) else { return };
        let saw: Value = serde_json::from_str(&said).unwrap();
        let running = json!({ "slot": 0, "version": "1.2.0", "active": true });
        assert_eq!(saw["before"], json!([running]));
        assert_eq!(saw["after"], json!([running, { "slot": 1, "version": "1.3.0", "active": false }]));
        // This program's own driver sees what the other one left there.
        let profile = profiles::built_in().unwrap().into_iter().find(|p| p.id == "generic-mcumgr").unwrap();
        let at = laptop.finds("PM-1").await;
        let mut device = Registry.inspect(&profile, &at, laptop.opens(&at).await.unwrap()).unwrap();
        let slots = device.images().await.unwrap().slots;
        let spare = slots.iter().find(|s| !s.active).unwrap();
        assert_eq!(spare.hash, ImageHash::new(&Image::read(&firmware()).unwrap().hash));
    });
}

fn toolkit(port: &Path) -> MCUmgrClient {
    for _ in 0..100 {
        let serial = serialport::new(port.to_str().unwrap(), 115_200).timeout(Duration::from_secs(2)).open();
        if let Ok(serial) = serial {
            let client = MCUmgrClient::new_from_serial(serial);
            if client.check_connection().is_ok() {
                return client;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the device did not come back");
}

#[test]
fn mcumgr_toolkit_patches_the_simulated_device_and_sees_it_revert() {
    let ward = PtyWard::serve(WARD);
    let port = ward.port("ttySIM0");
    let client = toolkit(&port);
    client.use_auto_frame_size().unwrap();
    assert_eq!(client.os_mcumgr_parameters().unwrap().buf_size, 384);
    assert!(matches!(client.os_bootloader_info().unwrap(), BootloaderInfo::MCUboot { mode: 3, .. }));
    assert_eq!(client.settings_read("net/telnet").unwrap(), [0]);
    assert!(client.settings_read("no/such").is_err());
    let before = client.image_get_state().unwrap();
    client.image_upload(firmware(), None, None, false, None).unwrap();
    let staged = client.image_get_state().unwrap();
    let new = staged.iter().find(|i| i.slot == 1).unwrap();
    assert_eq!(new.version, "1.3.0");
    client.image_set_state(new.hash.as_deref(), false).unwrap();
    client.os_system_reset(false, None).unwrap();
    drop(client);
    std::thread::sleep(Duration::from_millis(1_500));
    let client = toolkit(&port);
    let on_test = client.image_get_state().unwrap();
    assert!(on_test.iter().any(|i| i.active && !i.confirmed && i.version == "1.3.0"), "{on_test:?}");
    client.os_system_reset(false, None).unwrap();
    drop(client);
    std::thread::sleep(Duration::from_millis(1_500));
    let back = toolkit(&port).image_get_state().unwrap();
    let active =
        |list: &[mcumgr_toolkit::commands::image::ImageState]| list.iter().find(|i| i.active).unwrap().hash.clone();
    assert_eq!(active(&back), active(&before), "an image that was not kept is undone by a restart");
    assert_eq!(ward.truth("SP1-2026-0042")["version"], "1.2.0");
}
