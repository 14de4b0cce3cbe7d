//! The contract of the command: exit codes, events, and what each says of the device.
#![cfg(unix)]
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod night;

use night::{Night, PUMP, Ran, SLOW_PUMP};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

// Every line fits the published schema, lines are counted, and exactly the last is `ended`, with the exit code.
#[track_caller]
fn keeps_the_contract(ran: &Ran) {
    let schema: Value = serde_json::from_str(include_str!("../../docs/schemas/event.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (i, event) in ran.events.iter().enumerate() {
        let wrong: Vec<String> = validator.iter_errors(event).map(|e| e.to_string()).collect();
        assert!(wrong.is_empty(), "{event:#}: {wrong:?}");
        assert_eq!((&event["schema"], &event["seq"]), (&json!("aseptic.event/1"), &json!(i)));
    }
    assert_eq!(ran.events.iter().filter(|e| e["event"] == "ended").count(), 1);
    assert_eq!((&ran.ended()["event"], &ran.ended()["code"]), (&json!("ended"), &json!(ran.code)));
    let told = |field: &str| ran.ended()[field].as_str().is_some_and(|t| !t.is_empty());
    assert!(ran.code == 0 || told("message"), "{:#}", ran.ended());
}

#[test]
fn a_ward_that_nobody_serves_is_3_and_not_an_empty_one() {
    let night = Night::begin(PUMP);
    let ran = night.run(&["--sim", &night.path("no-ward"), "discover", "--for", "500ms"]).expect(3, "untouched");
    assert!(ran.ended()["message"].as_str().unwrap().contains("no simulated ward"), "{:#}", ran.ended());
}

#[test]
fn a_visit_from_find_to_proof() {
    let night = Night::begin(PUMP);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let calls: [(&[&str], i32); 14] = [
        (&["discover", "--for", "500ms"], 0),
        (&["identify", "SP1-2026-0042", "--scan", "SP1-2026-0042"], 0),
        (&["assess", "id:sim-sp1/SP1-2026-0042"], 8),
        (&["apply", &plan, "--order", &order], 0),
        (&["assess", "id:sim-sp1/SP1-2026-0042"], 12),
        (&["status"], 0),
        (&["doctor"], 0),
        (&["visit", "list"], 0),
        (&["report", "SP1-2026-0042"], 0),
        (&["audit", "verify"], 0),
        (&["audit", "checkpoint"], 0),
        (&["audit", "proof", "3", "-o", &night.path("proof")], 0),
        (&["audit", "check", &night.path("proof")], 0),
        (&["resume"], 0),
    ];
    for (args, code) in calls {
        let ran = night.run(args);
        assert_eq!(ran.code, code, "{args:?}: {:#}\n{}", ran.ended(), ran.stderr);
        keeps_the_contract(&ran);
    }
    let truth = night.ward.truth("SP1-2026-0042");
    assert_eq!((&truth["version"], &truth["confirmed"]), (&json!("1.3.0"), &json!(true)));
}

#[test]
fn usage_errors_are_2_and_end_in_one_event() {
    let night = Night::begin(PUMP);
    for args in [&["frobnicate"][..], &["apply"], &["identify", "ble:nope"], &["report"]] {
        let ran = night.run(args);
        assert_eq!(ran.code, 2, "{args:?}");
        keeps_the_contract(&ran);
    }
}

#[test]
fn tuf_ends_with_0_or_1_whatever_it_is_given() {
    let night = Night::begin(PUMP);
    for args in [&["tuf"][..], &["tuf", "--bogus", "refresh"], &["tuf", "--metadata-dir", "nowhere", "refresh"]] {
        let ran = night.run(args);
        assert_eq!(ran.code, 1, "{args:?}");
        keeps_the_contract(&ran);
    }
}

#[test]
fn what_is_not_there_is_3() {
    let night = Night::begin(PUMP);
    let ran = night.run(&["identify", "SP1-2026-9999"]);
    keeps_the_contract(&ran);
    ran.expect(3, "untouched");
    let plan = night.path("no-such-plan.json");
    keeps_the_contract(&night.run(&["apply", &plan]));
    assert_eq!(night.run(&["apply", &plan]).code, 3);
}

#[test]
fn a_device_that_never_answers_is_3_before_anybody_thinks_that_it_hangs() {
    let night = Night::begin(&format!("{PUMP}wire = {{ loss = 1.0 }}\n"));
    let begun = std::time::Instant::now();
    let ran = night.run(&["identify", "SP1-2026-0042"]).expect(3, "untouched");
    assert!(begun.elapsed() < std::time::Duration::from_secs(25), "{:?}", begun.elapsed());
    assert!(ran.ended()["help"].as_str().unwrap().contains("cable"), "{:#}", ran.ended());
}

#[test]
fn without_terminal_and_order_nothing_is_begun_and_that_is_4() {
    let night = Night::begin(PUMP);
    let plan = night.plan("SP1-2026-0042", &[]);
    let effects = night.ward.truth("SP1-2026-0042")["effects"].clone();
    let ran = night.run(&["apply", &plan]);
    keeps_the_contract(&ran);
    ran.expect(4, "untouched");
    assert_eq!(night.ward.truth("SP1-2026-0042")["effects"], effects);
    let ran = night.run(&["return", "SP1-2026-0042"]);
    keeps_the_contract(&ran);
    assert_eq!(ran.code, 4);
}

#[test]
fn an_infusing_pump_is_refused_with_4_and_untouched() {
    let night = Night::begin(&format!("{PUMP}settings = {{ \"state/therapy\" = \"infusing\" }}\n"));
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let ran = night.run(&["apply", &plan, "--order", &order]);
    keeps_the_contract(&ran);
    let ran = ran.expect(4, "untouched");
    assert!(ran.ended()["message"].as_str().unwrap().contains("infusing"), "{:#}", ran.ended());
    assert_eq!(night.ward.truth("SP1-2026-0042")["effects"], 0);
}

#[test]
fn a_kit_with_one_changed_byte_is_5_and_keeps_nothing() {
    let night = Night::begin(PUMP);
    let sound = std::fs::read(night.path("kit.zip")).unwrap();
    let root = format!("{}/metadata/1.root.json", night.path("kit"));
    let image = std::fs::read(night.path("1.3.0.bin")).unwrap();
    let digest = b"\"sha256\"";
    for (i, part) in [&digest[..], &image[1_000..1_032]].into_iter().enumerate() {
        let mut kit = sound.clone();
        let at = kit.windows(part.len()).position(|w| w == part).unwrap() + part.len() + 8;
        kit[at] ^= 1;
        std::fs::write(night.path("bad.zip"), kit).unwrap();
        let fresh = night.path(&format!("fresh-{i}"));
        let on_fresh = |args: &[&str]| night.run(&[args, &["--data-dir", &fresh]].concat());
        assert_eq!(on_fresh(&["enrol", "--root", &root]).code, 0);
        let ran = on_fresh(&["kit", "import", &night.path("bad.zip")]);
        keeps_the_contract(&ran);
        ran.expect(5, "not-involved");
        assert!(on_fresh(&["kit", "list"]).records("patch").is_empty());
        let objects = std::fs::read_dir(format!("{fresh}/objects"))
            .map_or(0, |d| d.flatten().filter(|e| e.path().is_file()).count());
        assert_eq!(objects, 0, "an object of a refused kit was kept");
    }
}

#[test]
fn a_changed_plan_and_a_changed_order_are_5_and_nothing_is_begun() {
    let night = Night::begin(PUMP);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let text = std::fs::read_to_string(&plan).unwrap();
    let changed = night.path("changed.json");
    std::fs::write(&changed, text.replacen("not-on-patient", "power", 1)).unwrap();
    let ran = night.run(&["apply", &changed, "--order", &order]);
    keeps_the_contract(&ran);
    ran.expect(5, "untouched");
    let bytes = std::fs::read_to_string(&order).unwrap();
    let i = bytes.find("\"payload\"").unwrap() + 60;
    let other = if &bytes[i..=i] == "A" { "B" } else { "A" };
    std::fs::write(&order, format!("{}{other}{}", &bytes[..i], &bytes[i + 1..])).unwrap();
    let ran = night.run(&["apply", &plan, "--order", &order]);
    keeps_the_contract(&ran);
    ran.expect(5, "untouched");
    assert_eq!(night.ward.truth("SP1-2026-0042")["effects"], 0);
}

#[test]
fn an_image_that_the_device_refuses_is_6_and_the_device_is_as_before() {
    // The spare slot of a simulated device is 1 MiB.
    let night = Night::begin_with(PUMP, 1_100_000);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let ran = night.run(&["apply", &plan, "--order", &order]);
    keeps_the_contract(&ran);
    ran.expect(6, "as-before");
    assert_eq!(night.ward.truth("SP1-2026-0042")["version"], "1.2.0");
}

#[test]
fn a_device_that_somebody_else_changed_is_7_until_a_person_has_looked() {
    let night = Night::begin(SLOW_PUMP);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let mut going = night.start(&["apply", &plan, "--order", &order]);
    assert!(going.until(|e| e["event"] == "progress"));
    going.signal(Signal::SIGKILL);
    going.child.wait().unwrap();
    let listed = night.ok(&["resume"]);
    keeps_the_contract(&listed);
    assert_eq!(listed.records("interrupted").len(), 1);
    let was = night.ward.truth("SP1-2026-0042")["settings"]["therapy/rate-limit"].clone();
    night.ward.control("set SP1-2026-0042 therapy/rate-limit 7");
    let ran = night.run(&["resume", "--all", "--order", &order]);
    keeps_the_contract(&ran);
    ran.expect(7, "unknown");
    let hex = was.as_str().unwrap();
    let value: u64 =
        (0..hex.len() / 2).map(|i| u64::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap() << (8 * i)).sum();
    night.ward.control(&format!("set SP1-2026-0042 therapy/rate-limit {value}"));
    let ran = night.run(&["resume", "--all", "--order", &order]);
    keeps_the_contract(&ran);
    ran.expect(0, "installed-not-returned");
}

#[test]
fn power_lost_at_the_restart_is_ridden_out() {
    let night = Night::begin(SLOW_PUMP);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let mut going = night.start(&["apply", &plan, "--order", &order]);
    assert!(going.until(|e| e["event"] == "step-started" && e["name"] == "restart"));
    night.ward.control("cut SP1-2026-0042 2000");
    let ran = going.finish();
    keeps_the_contract(&ran);
    let truth = night.ward.truth("SP1-2026-0042");
    match ran.code {
        0 => assert_eq!((&truth["version"], &truth["confirmed"]), (&json!("1.3.0"), &json!(true))),
        11 => assert_eq!((&truth["version"], &truth["confirmed"]), (&json!("1.2.0"), &json!(true))),
        other => panic!("{other}: {:#}", ran.ended()),
    }
}

#[test]
fn findings_that_failed_are_8() {
    let night = Night::begin(&format!("{PUMP}settings = {{ \"net/telnet\" = true }}\n"));
    let ran = night.run(&["assess", "SP1-2026-0042"]);
    keeps_the_contract(&ran);
    ran.expect(8, "untouched");
}

#[test]
fn a_second_process_on_the_same_device_is_9_and_an_interrupt_is_10_as_before() {
    let night = Night::begin(SLOW_PUMP);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let before = night.ward.truth("SP1-2026-0042");
    let mut going = night.start(&["apply", &plan, "--order", &order]);
    assert!(going.until(|e| e["event"] == "progress"));
    let second = night.run(&["apply", &plan, "--order", &order]);
    keeps_the_contract(&second);
    assert_eq!(second.code, 9, "{:#}", second.ended());
    going.signal(Signal::SIGINT);
    let ran = going.finish();
    keeps_the_contract(&ran);
    ran.expect(10, "as-before");
    let after = night.ward.truth("SP1-2026-0042");
    assert_eq!((&after["hash"], &after["settings"]), (&before["hash"], &before["settings"]));
}

#[test]
fn cancel_from_another_process_is_10_as_before() {
    let night = Night::begin(SLOW_PUMP);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let mut going = night.start(&["apply", &plan, "--order", &order]);
    assert!(going.until(|e| e["event"] == "progress"));
    keeps_the_contract(&night.ok(&["cancel", &plan]));
    let ran = going.finish();
    keeps_the_contract(&ran);
    ran.expect(10, "as-before");
}

#[test]
fn firmware_that_never_comes_up_is_11_and_the_old_one_runs() {
    let night = Night::begin(&format!("{PUMP}after-update = \"never-comes-up\"\n"));
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let ran = night.run(&["apply", &plan, "--order", &order]);
    keeps_the_contract(&ran);
    ran.expect(11, "as-before");
    assert_eq!(night.ward.truth("SP1-2026-0042")["version"], "1.2.0");
}

#[test]
fn one_installed_and_one_reverted_are_13() {
    let devices = format!(
        "{SLOW_PUMP}\n[[device]]\nport = \"ttySIM1\"\nserial = \"SP1-2026-0043\"\nproduct = \"Simulated SP-1\"\nwire = {{ baud = 115200 }}\nafter-update = \"fails-self-test\"\n"
    );
    let night = Night::begin(&devices);
    let order = night.order(&[("SP1-2026-0042", json!([])), ("SP1-2026-0043", json!([]))]);
    for serial in ["SP1-2026-0042", "SP1-2026-0043"] {
        let plan = night.plan(serial, &[]);
        let mut going = night.start(&["apply", &plan, "--order", &order]);
        assert!(going.until(|e| e["event"] == "progress"));
        going.signal(Signal::SIGKILL);
        going.child.wait().unwrap();
    }
    let ran = night.run(&["resume", "--all", "--order", &order]);
    keeps_the_contract(&ran);
    assert_eq!(ran.code, 13, "{:#}", ran.ended());
    assert_eq!(night.ward.truth("SP1-2026-0042")["version"], "1.3.0");
    assert_eq!(night.ward.truth("SP1-2026-0043")["version"], "1.2.0");
}

#[test]
fn a_kept_image_is_taken_back_by_a_plan_of_its_own() {
    let night = Night::begin(PUMP);
    let old = night.ward.truth("SP1-2026-0042")["hash"].clone();
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    night.ok(&["apply", &plan, "--order", &order]);
    let without = night.run(&["revert", "SP1-2026-0042", "--order", &order]);
    keeps_the_contract(&without);
    assert_eq!(without.code, 4, "an order for the new image does not allow the old one: {:#}", without.ended());
    let back = night.order_for_image(&[("SP1-2026-0042", json!([]))], old.as_str().unwrap());
    let ran = night.run(&["revert", "SP1-2026-0042", "--order", &back]);
    keeps_the_contract(&ran);
    ran.expect(0, "installed-not-returned");
    let truth = night.ward.truth("SP1-2026-0042");
    assert_eq!((&truth["hash"], &truth["confirmed"]), (&old, &json!(true)));
}

#[test]
fn an_interrupted_patch_is_taken_back_by_revert() {
    let night = Night::begin(SLOW_PUMP);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let mut going = night.start(&["apply", &plan, "--order", &order]);
    assert!(going.until(|e| e["event"] == "step-started" && e["name"] == "check"));
    going.signal(Signal::SIGKILL);
    going.child.wait().unwrap();
    let ran = night.run(&["revert", "SP1-2026-0042", "--order", &order]);
    keeps_the_contract(&ran);
    ran.expect(10, "as-before");
    let truth = night.ward.truth("SP1-2026-0042");
    assert_eq!((&truth["version"], &truth["confirmed"]), (&json!("1.2.0"), &json!(true)));
}

#[test]
fn settings_are_fixed_and_read_back_and_exactly_those() {
    let night = Night::begin(&format!("{PUMP}settings = {{ \"net/telnet\" = true, \"net/ftp\" = true }}\n"));
    let order = night.order(&[("SP1-2026-0042", json!([{ "key": "net/telnet", "to": false }]))]);
    let before = night.ward.truth("SP1-2026-0042");
    let plan = night.plan("SP1-2026-0042", &["SER-11.telnet", "SER-11.ftp"]);
    let more = night.run(&["apply", &plan, "--order", &order]);
    keeps_the_contract(&more);
    more.expect(4, "untouched");
    let plan = night.plan("SP1-2026-0042", &["SER-11.telnet"]);
    let ran = night.run(&["apply", &plan, "--order", &order]);
    keeps_the_contract(&ran);
    ran.expect(0, "installed-not-returned");
    let after = night.ward.truth("SP1-2026-0042");
    assert_eq!((&after["settings"]["net/telnet"], &after["settings"]["net/ftp"]), (&json!("00"), &json!("01")));
    assert_eq!(after["settings"]["therapy/rate-limit"], before["settings"]["therapy/rate-limit"]);
}

#[test]
fn the_published_schemas_are_those_of_this_build() {
    for kind in ["event", "order", "plan", "patch", "profile", "report"] {
        let night = std::process::Command::new(night::ASEPTIC).args(["schema", kind]).output().unwrap();
        let file = aseptic_tests::oracle::root().join(format!("docs/schemas/{kind}.json"));
        let built = String::from_utf8(night.stdout).unwrap();
        if std::env::var_os("ASEPTIC_WRITE_SCHEMAS").is_some() {
            std::fs::write(&file, &built).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), built, "ASEPTIC_WRITE_SCHEMAS=1 writes {kind}");
    }
}

#[test]
fn a_laptop_that_is_not_enrolled_and_a_file_that_is_no_root_are_told_what_to_do() {
    let night = Night::begin(PUMP);
    let fresh = night.path("fresh");
    let ran = night.run(&["kit", "import", &night.path("kit.zip"), "--data-dir", &fresh]).expect(4, "not-involved");
    assert!(ran.ended()["help"].as_str().unwrap().contains("aseptic enrol --root"), "{:#}", ran.ended());
    let ran = night.run(&["enrol", "--root", &night.path("kit.zip"), "--data-dir", &fresh]).expect(5, "not-involved");
    assert!(!ran.ended()["help"].as_str().unwrap().contains("kit"), "{:#}", ran.ended());
}

#[test]
fn output_that_is_lost_is_told_and_a_closed_pipe_is_none() {
    let night = Night::begin(PUMP);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let lost = night.command(&["audit", "show"]).stdout(full).output().unwrap();
    assert_eq!(lost.status.code(), Some(1), "{}", String::from_utf8_lossy(&lost.stderr));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(night.command(&["audit", "show"]).stdout(writer).output().unwrap().status.code(), Some(0));
}

#[test]
fn a_withdrawn_patch_is_gone_with_the_next_kit() {
    let night = Night::begin(PUMP);
    let kit = night.path("kit");
    assert_eq!(night.run(&["kit", "withdraw", &kit, "--vendor", "simulated", "--id", "nope"]).code, 2);
    night.ok(&["kit", "withdraw", &kit, "--vendor", "simulated", "--id", "sp1-1.3.0"]);
    night.ok(&["kit", "sign", &kit, "vendor-simulated", "--key", &night.path("vendor.pem")]);
    night.ok(&["kit", "pack", &kit, "-o", &night.path("next.zip")]);
    assert_eq!(night.ok(&["kit", "list"]).records("patch").len(), 1);
    night.ok(&["kit", "import", &night.path("next.zip")]);
    assert!(night.ok(&["kit", "list"]).records("patch").is_empty());
    night.run(&["plan", "SP1-2026-0042", "--patch", "sp1-1.3.0"]).expect(3, "untouched");
}
