//! What Aseptic makes is read by programs that know nothing of it: kits by python-tuf, proofs by a script.
#![cfg(unix)]
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod night;

use aseptic_tests::oracle::python;
use night::{Night, PUMP};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn python_tuf_reads_a_kit_with_two_root_keys_after_a_rotation() {
    let night = Night::begin(PUMP);
    let at = |name: &str| night.path(name);
    let kit = at("two");
    for key in ["a", "b", "c"] {
        night.ok(&["kit", "key", &at(&format!("{key}.pem"))]);
    }
    night.ok(&["kit", "new", &kit, "--key", &at("a.pem"), "--key", &at("b.pem"), "--threshold", "2"]);
    let first = at("first.root.json");
    night.ok(&["kit", "delegate", &kit, "simulated", "--key", &at("vendor.pub.pem")]);
    let image = at("1.3.0.bin");
    night.ok(&[
        "kit",
        "add",
        &kit,
        "--vendor",
        "simulated",
        "--image",
        &image,
        "--id",
        "p",
        "--for-profile",
        "sim-sp1",
    ]);
    let sign = |role: &str, key: &str| night.ok(&["kit", "sign", &kit, role, "--key", &at(key)]);
    sign("vendor-simulated", "vendor.pem");
    for key in ["a.pem", "b.pem"] {
        sign("root", key);
    }
    std::fs::copy(format!("{kit}/metadata/root.json"), &first).unwrap();
    std::fs::copy(&first, format!("{kit}/metadata/1.root.json")).unwrap();
    night.ok(&["kit", "rotate", &kit, "--key", &at("b.pub.pem"), "--key", &at("c.pub.pem"), "--threshold", "2"]);
    for key in ["a.pem", "b.pem", "c.pem"] {
        sign("root", key);
    }
    for key in ["a.pem", "b.pem"] {
        sign("targets", key);
    }
    let packed = at("packed");
    let unsigned = night.run(&["kit", "pack", &kit, "-o", &packed]);
    assert_eq!(unsigned.code, 2, "{:#}", unsigned.ended());
    assert!(unsigned.ended()["message"].as_str().unwrap().contains("kit sign DIR snapshot"), "{:#}", unsigned.ended());
    for role in ["snapshot", "timestamp"] {
        sign(role, "a.pem");
    }
    let one_short = night.run(&["kit", "pack", &kit, "-o", &packed]);
    assert_eq!(one_short.code, 5, "one signature of two: {:#}", one_short.ended());
    for role in ["snapshot", "timestamp"] {
        sign(role, "b.pem");
    }
    night.ok(&["kit", "pack", &kit, "-o", &packed]);
    let names = [
        "vendors/simulated/patches/p/1.3.0.bin",
        "vendors/simulated/patches/p/patch.json",
        "vendors/other/patches/p/patch.json",
    ];
    assert_eq!(night.ok(&["kit", "verify", &packed, "--root", &first]).records("patch").len(), 1);
    let Some(said) = python("kit_read.py", &[&[packed.as_str(), &first], &names[..]].concat()) else { return };
    let said: Value = serde_json::from_str(&said).unwrap();
    let sha = |file: &str| sha256(&std::fs::read(file).unwrap());
    let manifest = format!("{kit}/targets/{}", names[1]);
    assert_eq!(
        said,
        json!({ "root": 2, "targets": { names[0]: sha(&image), names[1]: sha(&manifest), names[2]: null } })
    );
}

#[test]
fn an_independent_script_checks_every_proof() {
    let night = Night::begin(PUMP);
    night.ok(&["identify", "SP1-2026-0042"]);
    let size = night.ok(&["audit", "verify"]).records("head")[0]["size"].as_u64().unwrap();
    for entry in 0..size {
        let prefix = night.path(&format!("proof-{entry}"));
        night.ok(&["audit", "proof", &entry.to_string(), "-o", &prefix]);
        let Some(said) = python("tlog_proof.py", &[&prefix]) else { return };
        assert_eq!(said.trim(), format!("entry {entry} of {size}"));
    }
}

#[test]
fn the_tuf_client_keeps_the_public_contract_in_every_case_of_the_script() {
    let Some(said) = python("tuf_client.py", &[env!("CARGO_BIN_EXE_aseptic")]) else { return };
    println!("{said}");
}
