//! SIGKILL in mid-patch on real ptys: no goodbye, no clean-up, at ten moments, on ten devices at once.
#![cfg(unix)]
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod night;

use night::Night;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

type Moment = (&'static str, fn(&Value) -> bool);

fn step(event: &Value, what: &str, name: &str) -> bool {
    event["event"] == what && event["name"] == name
}

const MOMENTS: [Moment; 10] = [
    ("backup begun", |e| step(e, "step-started", "backup")),
    ("backup done", |e| step(e, "step-done", "backup")),
    ("first piece sent", |e| e["event"] == "progress"),
    ("half sent", |e| e["event"] == "progress" && e["acknowledged"].as_u64() > Some(8_000)),
    ("all sent", |e| step(e, "step-done", "stage")),
    ("mark begun", |e| step(e, "step-started", "test")),
    ("marked", |e| step(e, "step-done", "test")),
    ("restart begun", |e| step(e, "step-started", "restart")),
    ("soak begun", |e| step(e, "step-started", "check")),
    ("confirm begun", |e| step(e, "step-started", "confirm")),
];

#[test]
fn a_killed_run_leaves_old_or_new_and_resume_ends_it_with_what_the_device_shows() {
    let serial = |i: usize| format!("SP1-2026-01{i:02}");
    let device = |i: usize| {
        format!(
            "[[device]]\nport = \"ttySIM{i}\"\nserial = \"{}\"\nproduct = \"Simulated SP-1\"\nwire = {{ baud = 115200 }}\n",
            serial(i)
        )
    };
    let night = Night::begin_with(&(0..MOMENTS.len()).map(device).collect::<String>(), 16_000);
    let named: Vec<String> = (0..MOMENTS.len()).map(serial).collect();
    let order = night.order(&named.iter().map(|s| (s.as_str(), json!([]))).collect::<Vec<_>>());
    let old = night.ward.truth(&named[0])["hash"].clone();
    let plans: Vec<String> = named.iter().map(|s| night.plan(s, &[])).collect();
    std::thread::scope(|scope| {
        for (plan, (what, moment)) in plans.iter().zip(MOMENTS) {
            let (night, order) = (&night, &order);
            scope.spawn(move || {
                let mut going = night.start(&["apply", plan, "--order", order]);
                assert!(going.until(moment), "{what} never came: {:?}", going.seen.last());
                going.signal(Signal::SIGKILL);
                going.child.wait().unwrap();
            });
        }
    });
    for (serial, (what, _)) in named.iter().zip(MOMENTS) {
        let truth = night.ward.truth(serial);
        assert_eq!(truth["torn"], false, "killed when {what}: {truth}");
    }
    assert_eq!(night.ok(&["resume"]).records("interrupted").len(), MOMENTS.len());
    let resumed = night.run(&["resume", "--all", "--order", &order]);
    assert_eq!(resumed.code, 0, "{:#}", resumed.ended());
    for (serial, (what, _)) in named.iter().zip(MOMENTS) {
        let truth = night.ward.truth(serial);
        assert_eq!((&truth["version"], &truth["confirmed"]), (&json!("1.3.0"), &json!(true)), "killed when {what}");
        assert_ne!(truth["hash"], old);
    }
    night.ok(&["audit", "verify"]);
    assert_eq!(night.ok(&["resume"]).records("interrupted").len(), 0);
}
