//! One visit to each device of the ward, on a stopped clock: what is said at the end is what really runs.

use std::sync::atomic::{AtomicBool, Ordering};

use aseptic_device::Value;
use aseptic_patches::{Cause, Ended, Halt, Outcome, RunEvent};
use aseptic_sim::firmware::Behaviour;
use aseptic_sim::life::lock;
use aseptic_tests::{Bench, MemoryJournal};

const READY: &str = "SP1-2026-0042";

async fn visit(bench: &Bench) -> (Ended, MemoryJournal) {
    let plan = bench.plan(&[]).await;
    let mut journal = MemoryJournal::default();
    let ended = bench.run(&plan, &mut journal, &|| false, &|_| {}).await.unwrap();
    (ended, journal)
}

fn is_as_before(bench: &Bench, before: &aseptic_sim::Truth) {
    let now = bench.truth();
    assert_eq!((&now.hash, now.confirmed, now.pending, &now.settings), (&before.hash, true, false, &before.settings));
    assert!(!now.torn);
}

#[tokio::test(start_paused = true)]
async fn a_ready_pump_runs_and_keeps_the_new_firmware() {
    let bench = Bench::new(READY, Behaviour::Runs, |_| {});
    let (ended, _) = visit(&bench).await;
    assert_eq!(ended, Ended::Over(Outcome::Installed));
    let truth = bench.truth();
    assert_eq!((truth.version.as_str(), truth.confirmed, truth.torn), ("1.3.0", true, false));
}

#[tokio::test(start_paused = true)]
async fn an_infusing_pump_is_refused_and_nothing_is_sent() {
    let bench = Bench::new("SP1-2026-0043", Behaviour::Runs, |_| {});
    let before = bench.truth();
    let (ended, _) = visit(&bench).await;
    assert!(matches!(&ended, Ended::Over(Outcome::Refused { gates }) if gates[0].contains("infusing")), "{ended:?}");
    assert_eq!(bench.truth().effects, 0);
    is_as_before(&bench, &before);
}

#[tokio::test(start_paused = true)]
async fn firmware_that_never_comes_up_is_told_as_reverted() {
    let bench = Bench::new("SP1-2026-0044", Behaviour::Runs, |_| {});
    let before = bench.truth();
    let (ended, _) = visit(&bench).await;
    assert!(matches!(ended, Ended::Over(Outcome::Reverted { .. })), "{ended:?}");
    is_as_before(&bench, &before);
}

#[tokio::test(start_paused = true)]
async fn firmware_that_fails_its_check_is_reverted() {
    let bench = Bench::new("SP1-2026-0045", Behaviour::Runs, |_| {});
    let before = bench.truth();
    let (ended, _) = visit(&bench).await;
    let Ended::Over(Outcome::Reverted { cause: Cause::Failed { failure } }) = ended else { panic!("{ended:?}") };
    assert!(failure.to_string().contains("self-test"), "{failure}");
    is_as_before(&bench, &before);
}

#[tokio::test(start_paused = true)]
async fn firmware_that_dies_while_it_is_watched_is_told_as_reverted() {
    let bench = Bench::new(READY, Behaviour::DiesDuringSoak, |_| {});
    let before = bench.truth();
    let (ended, _) = visit(&bench).await;
    assert!(matches!(ended, Ended::Over(Outcome::Reverted { .. })), "{ended:?}");
    is_as_before(&bench, &before);
}

#[tokio::test(start_paused = true)]
async fn firmware_that_changes_an_alarm_limit_is_reverted_and_the_device_is_not_called_as_before() {
    let bench = Bench::new(READY, Behaviour::ChangesAnAlarmLimit, |_| {});
    let (ended, _) = visit(&bench).await;
    assert!(
        matches!(&ended, Ended::Halted(Halt::NotAsBefore { detail }) if detail.contains("alarm/high")),
        "{ended:?}"
    );
    assert_eq!(bench.truth().version, "1.2.0");
}

#[tokio::test(start_paused = true)]
async fn a_tampered_image_never_runs() {
    let mut bench = Bench::new(READY, Behaviour::Runs, |_| {});
    let plan = bench.plan(&[]).await;
    let mut bytes = bench.image.0.as_ref().clone();
    bytes[3_000] ^= 1;
    bench.image = aseptic_tests::OneImage(std::sync::Arc::new(bytes));
    let before = bench.truth();
    let mut journal = MemoryJournal::default();
    let ended = bench.run(&plan, &mut journal, &|| false, &|_| {}).await.unwrap();
    assert!(matches!(ended, Ended::Over(Outcome::Reverted { .. })), "{ended:?}");
    is_as_before(&bench, &before);
}

#[tokio::test(start_paused = true)]
async fn settings_and_firmware_go_together_and_come_back_together() {
    let fixes = [("net/telnet", Value::Bool(true), Value::Bool(false)), ("auth/lockout", Value::Int(0), Value::Int(5))];
    for fault in [None, Some(Behaviour::FailsSelfTest)] {
        let bench = Bench::new("SP1-2026-0046", Behaviour::Runs, |d| d.after_update = fault);
        let before = bench.truth();
        let plan = bench.plan(&fixes).await;
        let mut journal = MemoryJournal::default();
        let ended = bench.run(&plan, &mut journal, &|| false, &|_| {}).await.unwrap();
        if fault.is_some() {
            assert!(matches!(ended, Ended::Over(Outcome::Reverted { .. })), "{ended:?}");
            is_as_before(&bench, &before);
        } else {
            assert_eq!(ended, Ended::Over(Outcome::Installed));
            let truth = bench.truth();
            assert_eq!((truth.settings["net/telnet"].as_str(), truth.settings["auth/lockout"].as_str()), ("00", "05"));
            assert_eq!(truth.version, "1.3.0");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_wire_only_takes_longer() {
    let bench = Bench::new(READY, Behaviour::Runs, |d| {
        d.wire.loss = 0.05;
        d.wire.twice = 0.1;
        d.wire.noise = true;
        d.wire.baud = 115_200;
        d.wire.delay_ms = 30;
        d.wire.moves = true;
        d.wire.drop_out_after = Some(9_000);
        d.pace.erase_ms = 8_000;
        d.pace.swap_ms = 15_000;
    });
    let (ended, _) = visit(&bench).await;
    assert_eq!(ended, Ended::Over(Outcome::Installed));
    assert_eq!(bench.truth().version, "1.3.0");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_at_any_moment_leaves_the_device_as_before_or_kept() {
    for stop_at in 0..40 {
        let bench = Bench::new(READY, Behaviour::Runs, |_| {});
        let before = bench.truth();
        let plan = bench.plan(&[]).await;
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let cancel = AtomicBool::new(false);
        let events = |_: RunEvent| {
            if seen.fetch_add(1, Ordering::SeqCst) == stop_at {
                cancel.store(true, Ordering::SeqCst);
            }
        };
        let mut journal = MemoryJournal::default();
        let ended = bench.run(&plan, &mut journal, &|| cancel.load(Ordering::SeqCst), &events).await.unwrap();
        match ended {
            Ended::Over(Outcome::Installed) => assert_eq!(bench.truth().version, "1.3.0"),
            Ended::Over(Outcome::Stopped { cause: Cause::Cancelled }) => is_as_before(&bench, &before),
            other => panic!("cancelled at event {stop_at}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_starts_infusing_during_the_upload_is_left_alone() {
    let bench = Bench::new(READY, Behaviour::Runs, |d| d.wire.baud = 9_600);
    let before = bench.truth();
    let plan = bench.plan(&[]).await;
    let device = bench.device.clone();
    let events = move |event: RunEvent| {
        if matches!(event, RunEvent::Progress { acknowledged, .. } if acknowledged > 2_000) {
            lock(&device).set_from_outside("state/therapy", "infusing");
        }
    };
    let mut journal = MemoryJournal::default();
    let ended = bench.run(&plan, &mut journal, &|| false, &events).await.unwrap();
    assert!(matches!(ended, Ended::Over(Outcome::Stopped { cause: Cause::Blocked { .. } })), "{ended:?}");
    assert_eq!(bench.truth().hash, before.hash);
}
