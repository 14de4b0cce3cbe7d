//! What the store promises: nothing is lost, changed or cut off without being noticed.

#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aseptic_store::audit::verify_proof;
use aseptic_store::{NewEntry, Store, StoreErrorKind, Tamper};
use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

fn open(dir: &Path) -> Store {
    Store::open(dir, &mut StdRng::seed_from_u64(std::process::id().into())).unwrap()
}

fn entry(n: u64) -> NewEntry {
    NewEntry {
        at: Timestamp::from_second(1_000 + n as i64).unwrap(),
        kind: "test".into(),
        actor: "T. Tech".into(),
        device: None,
        visit: None,
        body: serde_json::json!({ "n": n }),
    }
}

fn filled(dir: &Path, n: u64) -> Store {
    let store = open(dir);
    for i in 0..n {
        store.audit(entry(i)).unwrap();
    }
    store
}

// A hand with the key and without the triggers, as an attacker with the whole laptop has.
fn raw(dir: &Path) -> Connection {
    let key = fs::read_to_string(dir.join("key")).unwrap();
    let db = Connection::open(dir.join("db")).unwrap();
    db.execute_batch(&format!("PRAGMA key = \"x'{key}'\";")).unwrap();
    for name in ["audit_keeps", "audit_stays", "audit_hash_keeps", "audit_hash_stays"] {
        db.execute_batch(&format!("DROP TRIGGER {name};")).unwrap();
    }
    db
}

fn tamper(dir: &Path, store: &Store) -> Tamper {
    let _ = dir;
    match store.audit_verify(&[]).unwrap_err().kind {
        StoreErrorKind::Tampered(tamper) => tamper,
        other => panic!("{other}"),
    }
}

#[test]
fn the_log_refuses_changes_and_removals() {
    let dir = tempfile::tempdir().unwrap();
    let _store = filled(dir.path(), 3);
    let key = fs::read_to_string(dir.path().join("key")).unwrap();
    let db = Connection::open(dir.path().join("db")).unwrap();
    db.execute_batch(&format!("PRAGMA key = \"x'{key}'\";")).unwrap();
    db.execute_batch("INSERT INTO journal (plan, record) VALUES ('p', '{}')").unwrap();
    for sql in [
        "UPDATE audit SET entry = x'00'",
        "DELETE FROM audit",
        "DELETE FROM journal",
        "UPDATE audit_hash SET hash = x'00'",
    ] {
        assert!(db.execute_batch(sql).is_err(), "{sql}");
    }
}

#[test]
fn a_sound_log_verifies_and_its_proofs_hold_for_their_entry_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 9);
    assert_eq!(store.audit_verify(&[]).unwrap().size, 9);
    let (proof, key) = (store.proof(4).unwrap(), store.audit_key().unwrap());
    assert_eq!(verify_proof(&proof, &store.audit_leaf(4).unwrap(), &key).unwrap(), (4, 9));
    assert!(verify_proof(&proof, &store.audit_leaf(5).unwrap(), &key).is_err());
    let other = tempfile::tempdir().unwrap();
    let foreign = Store::open(other.path(), &mut StdRng::seed_from_u64(99)).unwrap().audit_key().unwrap();
    assert_eq!(verify_proof(&proof, &store.audit_leaf(4).unwrap(), &foreign), Err(Tamper::BadCheckpoint));
}

#[test]
fn a_changed_dropped_or_swapped_entry_is_found_and_told_apart() {
    let changes: [(&str, Tamper); 3] = [
        (
            "UPDATE audit SET entry = CAST(replace(CAST(entry AS TEXT), '\"n\":3', '\"n\":4') AS BLOB) WHERE seq = 3",
            Tamper::Changed(3),
        ),
        ("DELETE FROM audit WHERE seq = 5", Tamper::Gap(5)),
        (
            "UPDATE audit SET seq = seq + 100 WHERE seq IN (2, 3); UPDATE audit SET seq = 105 - seq WHERE seq > 50",
            Tamper::Gap(2),
        ),
    ];
    for (sql, expected) in changes {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), 8);
        raw(dir.path()).execute_batch(sql).unwrap();
        assert_eq!(tamper(dir.path(), &store), expected, "{sql}");
    }
}

#[test]
fn a_cut_tail_is_found_by_any_checkpoint_even_with_the_database_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 8);
    let kept_elsewhere = store.checkpoint().unwrap();
    raw(dir.path()).execute_batch("DELETE FROM audit WHERE seq >= 6; DELETE FROM audit_hash WHERE idx >= 10;").unwrap();
    assert_eq!(tamper(dir.path(), &store), Tamper::Truncated { signed: 8, found: 6, missing: 2 });
    // The whole folder is an older copy: only a checkpoint kept elsewhere can tell.
    let db = raw_again(dir.path());
    db.execute_batch("DROP TRIGGER checkpoint_stays; DELETE FROM checkpoint;").unwrap();
    fs::remove_file(dir.path().join("checkpoints.txt")).unwrap();
    assert_eq!(store.audit_verify(&[]).unwrap().size, 6);
    assert!(store.audit_verify(&[kept_elsewhere]).is_err());
}

fn raw_again(dir: &Path) -> Connection {
    let key = fs::read_to_string(dir.join("key")).unwrap();
    let db = Connection::open(dir.join("db")).unwrap();
    db.execute_batch(&format!("PRAGMA key = \"x'{key}'\";")).unwrap();
    db
}

#[test]
fn a_rewritten_history_with_a_new_root_does_not_fit_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 4);
    let note = store.checkpoint().unwrap();
    let other = tempfile::tempdir().unwrap();
    let forged = Store::open(other.path(), &mut StdRng::seed_from_u64(std::process::id().into())).unwrap();
    for i in 0..4 {
        forged.audit(entry(i + 1)).unwrap();
    }
    let error = forged.audit_verify(&[note]).unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Tampered(Tamper::OtherHistory(4))), "{error}");
}

#[test]
fn keys_and_folders_are_for_the_owner_only_and_another_key_opens_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 1));
    let mode = |p: &str| fs::metadata(dir.path().join(p)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key"), mode("objects"), mode("")), (0o600, 0o700, 0o700));
    let header = fs::read(dir.path().join("db")).unwrap();
    assert_ne!(&header[..15], b"SQLite format 3");
    fs::write(dir.path().join("key"), "0".repeat(64)).unwrap();
    let error = Store::open(dir.path(), &mut StdRng::seed_from_u64(1)).unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::WrongKey), "{error}");
}

#[test]
fn objects_are_taken_whole_and_right_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path()).objects();
    let bytes = vec![7u8; 200_000];
    let sha: [u8; 32] = Sha256::digest(&bytes).into();
    let name: String = sha.iter().map(|b| format!("{b:02x}")).collect();
    for (length, from) in [(200_000, &bytes[..199_999]), (199_999, &bytes[..]), (200_000, &[8u8; 200_000][..])] {
        assert!(objects.put(&sha, length, &mut &from[..]).is_err());
        assert!(objects.open(&name).is_err());
    }
    objects.put(&sha, 200_000, &mut &bytes[..]).unwrap();
    assert!(objects.open(&name).is_ok());
    let path = dir.path().join("objects/sha256").join(&name[..2]).join(&name[2..]);
    let folder = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(folder, 1, "nothing half-written is left");
    fs::write(&path, [9u8; 200_000]).unwrap();
    assert!(matches!(objects.open(&name).unwrap_err().kind, StoreErrorKind::WrongHash));
}

#[test]
fn a_lock_is_held_by_one_and_says_by_whom() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let held = store.hold("id:p/SN-1").unwrap();
    let error = store.hold("id:p/SN-1").unwrap_err();
    assert!(
        matches!(&error.kind, StoreErrorKind::Locked(who) if who.contains(&std::process::id().to_string())),
        "{error}"
    );
    store.hold("id:p/SN-2").unwrap();
    drop(held);
    store.hold("id:p/SN-1").unwrap();
}

#[test]
fn a_killed_writer_leaves_a_log_that_verifies() {
    if let Some(dir) = std::env::var_os("ASEPTIC_WRITE_UNTIL_KILLED") {
        let store = open(Path::new(&dir));
        for n in 0.. {
            store.audit(entry(n)).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let myself = std::env::current_exe().unwrap();
    for round in 0..3 {
        let mut child = Command::new(&myself)
            .args(["--exact", "a_killed_writer_leaves_a_log_that_verifies"])
            .env("ASEPTIC_WRITE_UNTIL_KILLED", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(700 + 130 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let head = open(dir.path()).audit_verify(&[]).unwrap();
        assert!(head.size > 0, "the writer wrote");
    }
}

#[test]
fn two_writers_make_one_log() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| drop(filled(dir.path(), 25)));
        }
    });
    assert_eq!(open(dir.path()).audit_verify(&[]).unwrap().size, 50);
}

#[test]
fn what_a_newer_kit_no_longer_carries_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let patch = |id: &str| ("patch".to_owned(), id.to_owned(), "{}".to_owned());
    store.keep(&[], Some(&[patch("bad-1.3.0"), patch("good-1.2.0")]), entry(0)).unwrap();
    store.keep(&[("signers".into(), vec![1])], None, entry(1)).unwrap();
    assert_eq!(store.documents("patch").unwrap().len(), 2, "enrolling a signer withdraws nothing");
    store.keep(&[], Some(&[patch("good-1.2.0")]), entry(2)).unwrap();
    assert_eq!(store.documents("patch").unwrap(), [("good-1.2.0".to_owned(), "{}".to_owned())]);
}
