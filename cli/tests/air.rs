//! The command over the air: the simulated ward's radio, the unmodified radio library, and every stage in a process of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod night;

use night::Night;
use serde_json::{Value, json};

const MONITOR: &str = r#"
[[device]]
serial = "PM3-2026-0101"
product = "Simulated PM-3"
radio = { name = "Simulated PM-3", late-name-ms = 300, moves = true, address = "resolvable-private", battery = 90 }
"#;

const DELIVERING: &str = r#"
[[device]]
serial = "IP2-2026-0301"
product = "Simulated IP-2"
settings = { "state/therapy" = "infusing" }
radio = { name = "Simulated IP-2", insulin = true }
"#;

const TELLTALE: &str = r#"
[[device]]
serial = "TM1-2026-0401"
product = "Simulated TM-1"
radio = { name = "MILLER, ANNA 1957-03-12", smp = "none", pairs-without-asking = true, raises-security = true, protected = ["2a25"] }
"#;

#[test]
fn a_monitor_is_patched_over_the_air_and_found_again_under_another_address() {
    let night = Night::begin(MONITOR);
    let order = night.order(&[("sim-pm3/PM3-2026-0101", json!([]))]);
    let plan = night.plan("PM3-2026-0101", &[]);
    let applied = night.ok(&["apply", &plan, "--order", &order]);
    let back: Vec<&Value> = applied.events.iter().filter(|e| e["event"] == "back").collect();
    assert!(back.iter().any(|e| e["address"].as_str().unwrap().starts_with("ble:")), "{back:?}");
    let truth = night.ward.truth("PM3-2026-0101");
    assert_eq!(
        (&truth["version"], &truth["confirmed"], &truth["torn"]),
        (&json!("1.3.0"), &json!(true), &json!(false))
    );
}

#[test]
fn an_insulin_pump_that_delivers_is_refused_with_4_and_untouched() {
    let night = Night::begin(DELIVERING);
    let order = night.order(&[("sim-ip2/IP2-2026-0301", json!([]))]);
    let plan = night.plan("IP2-2026-0301", &[]);
    let before = night.ward.truth("IP2-2026-0301");
    let refused = night.run(&["apply", &plan, "--order", &order]).expect(4, "untouched");
    assert!(refused.ended()["message"].as_str().unwrap().contains("run/ready"), "{:#}", refused.ended());
    assert_eq!(night.ward.truth("IP2-2026-0301"), before);
}

#[test]
fn a_patients_name_reaches_no_record_and_keys_that_came_about_void_the_audit() {
    let night = Night::begin(TELLTALE);
    let seen = night.ok(&["discover", "--for", "3s"]);
    let at = seen.events.iter().find_map(|e| e["sighted"]["sighting"]["address"]["ble"]["address"].as_str()).unwrap();
    let assessed = night.run(&["assess", &format!("ble:hci0/{at}")]);
    let rule = |id: &str| {
        let finding = assessed.events.iter().find(|e| e["finding"]["rule"] == id);
        finding.unwrap_or_else(|| panic!("no {id}: {:#}\n{}", assessed.ended(), assessed.stderr))["finding"].clone()
    };
    assert_eq!(rule("BLE-12")["result"]["verdict"], "unknown", "{:#}", rule("BLE-12"));
    let audit = night.ok(&["audit", "show"]);
    assert!(audit.records("audit").iter().any(|e| e["kind"] == "pairing.undone"), "{:#?}", audit.records("audit"));
    for ran in [&seen, &assessed, &audit] {
        let said = serde_json::to_string(&ran.events).unwrap();
        assert!(!said.contains("MILLER") && !said.contains("1957"), "{said}");
    }
}
