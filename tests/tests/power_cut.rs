//! The laptop or the device loses power at every point; afterwards the old or the new state runs, whole, and
//! nothing was claimed that the device does not confirm.
//!
//! `./x test` cuts at every step boundary and at a seeded sample of the rest; `./x sweep` cuts everywhere.

use std::time::Duration;

use aseptic_device::Value;
use aseptic_patches::{Ended, Mark, Outcome, Plan};
use aseptic_sim::Truth;
use aseptic_sim::firmware::Behaviour;
use aseptic_sim::life::lock;
use aseptic_tests::{Bench, Gone, MemoryJournal};

const WEAK: &str = "SP1-2026-0046";

fn everywhere() -> bool {
    std::env::var_os("ASEPTIC_SWEEP").is_some()
}

fn bench(behaviour: Behaviour) -> Bench {
    Bench::new(WEAK, behaviour, |_| {})
}

async fn plan(bench: &Bench) -> Plan {
    bench.plan(&[("net/telnet", Value::Bool(true), Value::Bool(false))]).await
}

// Runs until the plan is over; the laptop comes back after each death, at most a few times.
async fn finish(bench: &Bench, plan: &Plan, journal: &mut MemoryJournal) -> Ended {
    for _ in 0..5 {
        match bench.run(plan, journal, &|| false, &|_| {}).await {
            Ok(ended @ Ended::Over(_)) => return ended,
            Ok(Ended::Halted(_)) => tokio::time::sleep(Duration::from_secs(60)).await,
            Err(Gone) => {
                journal.die_at = None;
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        }
    }
    panic!(
        "the plan does not end: {:#?}",
        journal.records.lock().unwrap().iter().map(|r| (&r.step, &r.mark)).collect::<Vec<_>>()
    );
}

fn holds(before: &Truth, bench: &Bench, ended: &Ended, journal: &MemoryJournal, when: &str) {
    let now = bench.truth();
    assert!(!now.torn, "{when}: a mix runs");
    match ended {
        Ended::Over(Outcome::Installed) => {
            assert_eq!((now.version.as_str(), now.confirmed, now.pending), ("1.3.0", true, false), "{when}");
            assert_eq!(now.settings["net/telnet"], "00", "{when}");
        }
        Ended::Over(_) => {
            assert_eq!((&now.hash, now.confirmed, now.pending), (&before.hash, true, false), "{when}: {ended:?}");
            assert_eq!(now.settings, before.settings, "{when}");
        }
        Ended::Halted(_) => unreachable!("finish goes on after a halt"),
    }
    let ends = journal.records.lock().unwrap().iter().filter(|r| matches!(r.mark, Mark::Ended { .. })).count();
    assert_eq!(ends, 1, "{when}: told once how it ended");
}

#[tokio::test(start_paused = true)]
async fn a_laptop_cut_at_any_journal_entry_loses_nothing() {
    for behaviour in [Behaviour::Runs, Behaviour::FailsSelfTest] {
        let mut entries = 0;
        loop {
            let bench = bench(behaviour);
            let before = bench.truth();
            let plan = plan(&bench).await;
            let mut journal = MemoryJournal { die_at: Some(entries), ..MemoryJournal::default() };
            let died = matches!(bench.run(&plan, &mut journal, &|| false, &|_| {}).await, Err(Gone));
            journal.die_at = None;
            tokio::time::sleep(Duration::from_secs(20)).await;
            let ended = finish(&bench, &plan, &mut journal).await;
            holds(&before, &bench, &ended, &journal, &format!("laptop cut at entry {entries}"));
            if !died {
                break;
            }
            entries += 1;
        }
        assert!(entries > 20, "only {entries} entries were cut");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_cut_at_any_lasting_write_loses_nothing() {
    for behaviour in [Behaviour::Runs, Behaviour::FailsSelfTest] {
        let whole = {
            let bench = bench(behaviour);
            let plan = plan(&bench).await;
            finish(&bench, &plan, &mut MemoryJournal::default()).await;
            lock(&bench.device).power().writes()
        };
        assert!(whole > 30, "only {whole} writes");
        for write in 1..=whole {
            // Uploads are many equal writes: a sample of them is enough, outside a sweep.
            if !everywhere() && (4..whole - 25).contains(&write) && write % 7 != 3 {
                continue;
            }
            let bench = bench(behaviour);
            let before = bench.truth();
            let plan = plan(&bench).await;
            lock(&bench.device).power().cut_at(write, Duration::from_secs(2));
            let mut journal = MemoryJournal::default();
            let ended = finish(&bench, &plan, &mut journal).await;
            holds(&before, &bench, &ended, &journal, &format!("device cut at write {write} of {whole}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn both_cut_in_one_visit_lose_nothing() {
    let step = if everywhere() { 1 } else { 5 };
    for entry in (3..30).step_by(step) {
        for write in (1..45).step_by(step) {
            let bench = bench(Behaviour::Runs);
            let before = bench.truth();
            let plan = plan(&bench).await;
            lock(&bench.device).power().cut_at(write as u64, Duration::from_secs(2));
            let mut journal = MemoryJournal { die_at: Some(entry), ..MemoryJournal::default() };
            let ended = finish(&bench, &plan, &mut journal).await;
            holds(&before, &bench, &ended, &journal, &format!("laptop cut at entry {entry}, device at write {write}"));
        }
    }
}
