//! The same plan a second time: one that is over may be begun anew, because the same plan always has the same id.
#![cfg(unix)]
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod night;

use night::{Night, PUMP, SLOW_PUMP};
use serde_json::json;

#[test]
fn a_refused_plan_is_applied_once_its_gate_is_open_with_the_same_order() {
    let night = Night::begin(&format!("{PUMP}settings = {{ \"state/therapy\" = \"infusing\" }}\n"));
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let refused = night.run(&["apply", &plan, "--order", &order]).expect(4, "untouched");
    assert!(refused.ended()["help"].as_str().unwrap().contains("again"), "{:#}", refused.ended());
    assert_eq!(night.run(&["cancel", &plan]).code, 4, "a plan that is over has nothing to stop");
    assert!(night.ok(&["resume"]).records("interrupted").is_empty());
    night.ward.control("set SP1-2026-0042 state/therapy idle");
    night.run(&["apply", &plan, "--order", &order]).expect(0, "installed-not-returned");
    assert_eq!(night.ward.truth("SP1-2026-0042")["version"], "1.3.0");
    let report = night.ok(&["report", "SP1-2026-0042"]);
    let works = report.records("report")[0]["works"].as_array().unwrap().clone();
    let ends: Vec<&str> = works.iter().map(|w| w["ended"].as_str().unwrap()).collect();
    assert!(ends.len() == 2 && ends[0].starts_with("refused") && ends[1].starts_with("installed"), "{ends:?}");
    night.ok(&["audit", "verify"]);
    night.run(&["apply", &plan, "--order", &order]).expect(4, "untouched");
}

#[test]
fn a_cancelled_plan_is_applied_again_and_wants_another_order() {
    let night = Night::begin(SLOW_PUMP);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let mut going = night.start(&["apply", &plan, "--order", &order]);
    assert!(going.until(|e| e["event"] == "progress"));
    night.ok(&["cancel", &plan]);
    going.finish().expect(10, "as-before");
    night.run(&["apply", &plan, "--order", &order]).expect(4, "untouched");
    let fresh = night.order(&[("SP1-2026-0042", json!([{ "key": "net/ftp", "to": false }]))]);
    night.run(&["apply", &plan, "--order", &fresh]).expect(0, "installed-not-returned");
}

#[test]
fn a_plan_under_way_is_never_called_untouched() {
    let night = Night::begin(SLOW_PUMP);
    let order = night.order(&[("SP1-2026-0042", json!([]))]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let mut going = night.start(&["apply", &plan, "--order", &order]);
    assert!(going.until(|e| e["event"] == "progress"));
    going.signal(nix::sys::signal::Signal::SIGKILL);
    going.child.wait().unwrap();
    for args in [&["resume", &plan][..], &["resume", "--all"], &["apply", &plan], &["revert", "SP1-2026-0042"]] {
        let ran = night.run(args).expect(7, "unknown");
        assert!(ran.ended()["help"].as_str().unwrap().contains("out of service"), "{args:?}: {:#}", ran.ended());
    }
}
