//! The script that every report prints checks real proofs of the store, and nothing else.

#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use aseptic_evidence::html::{CHECK, render};
use aseptic_evidence::{Proof, Report};
use aseptic_store::{NewEntry, Store};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

fn run(dir: &Path, page: &str, key: Option<&str>) -> Result<String, String> {
    fs::write(dir.join("check.py"), CHECK).unwrap();
    fs::write(dir.join("report.html"), page).unwrap();
    let mut python = Command::new("python3");
    let done = python.current_dir(dir).args(["check.py", "report.html"]).args(key).output();
    let done = done.expect("this test needs python3, as the readers of reports do");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

// A log with `before` entries, then the report's own, then `after`.
fn proved(dir: &Path, before: u64, after: u64, bind: bool) -> (Report, String) {
    let store = Store::open(&dir.join("data"), &mut StdRng::seed_from_u64(before * 31 + after)).unwrap();
    let mut report: Report = serde_json::from_str(include_str!("report.json")).unwrap();
    let entry = |body| NewEntry {
        at: "2026-11-24T03:02:17Z".parse().unwrap(),
        kind: "report.written".into(),
        actor: "laptop".into(),
        device: None,
        visit: Some(report.visit.clone()),
        body,
    };
    (0..before).for_each(|n| {
        store.audit(entry(serde_json::json!({ "n": n }))).unwrap();
    });
    let body =
        if bind { serde_json::json!({ "report-sha256": report.digest().unwrap() }) } else { serde_json::json!({}) };
    let seq = store.audit(entry(body)).unwrap();
    (0..after).for_each(|n| {
        store.audit(entry(serde_json::json!({ "n": n }))).unwrap();
    });
    let key = store.audit_key().unwrap();
    report.proof = Some(Proof {
        entry: String::from_utf8(store.audit_leaf(seq).unwrap()).unwrap(),
        proof: store.proof(seq).unwrap(),
        key: key.clone(),
    });
    (report, key)
}

#[test]
fn the_printed_script_proves_a_report_anywhere_in_the_log() {
    for (before, after) in [(0, 0), (0, 1), (1, 0), (2, 4), (6, 0), (7, 6)] {
        let dir = tempfile::tempdir().unwrap();
        let (report, key) = proved(dir.path(), before, after, true);
        let said = run(dir.path(), &render(&report).unwrap(), Some(&key)).unwrap();
        assert!(said.contains("PROVED: entry") && said.contains("covers the whole report"), "{before} {after}: {said}");
    }
}

#[test]
fn the_printed_script_says_when_only_the_entry_is_proved_and_when_the_key_is_the_pages_own() {
    let dir = tempfile::tempdir().unwrap();
    let (report, _) = proved(dir.path(), 2, 1, false);
    let said = run(dir.path(), &render(&report).unwrap(), None).unwrap();
    assert!(said.contains("covers only the entry") && said.contains("compare it with the hospital's"), "{said}");
}

#[test]
fn the_printed_script_refuses_whatever_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (report, key) = proved(dir.path(), 3, 2, true);
    let (other, other_key) = proved(tempfile::tempdir().unwrap().path(), 5, 0, true);
    let refuse = |what: &str, change: &dyn Fn(&mut Report)| {
        let mut changed = report.clone();
        change(&mut changed);
        let refused = run(dir.path(), &render(&changed).unwrap(), Some(&key));
        let said = refused.expect_err(what);
        assert!(said.contains("NOT PROVED"), "{what}: {said}");
    };
    let proof = |r: &mut Report, f: &dyn Fn(&mut Proof)| f(r.proof.as_mut().unwrap());
    refuse("a changed report", &|r| r.outcome.state_now = "all is well".into());
    refuse("a changed entry", &|r| proof(r, &|p| p.entry = p.entry.replace("laptop", "nobody")));
    refuse("another index", &|r| proof(r, &|p| p.proof = p.proof.replace("index 3", "index 2")));
    refuse("another log's proof", &|r| r.proof = other.proof.clone());
    refuse("a changed size", &|r| proof(r, &|p| p.proof = p.proof.replace("\n6\n", "\n7\n")));
    refuse("no proof", &|r| r.proof = None);
    assert!(run(dir.path(), &render(&report).unwrap(), Some(&other_key)).unwrap_err().contains("NOT PROVED"));
    run(dir.path(), &render(&report).unwrap(), Some(&key)).unwrap();
}
