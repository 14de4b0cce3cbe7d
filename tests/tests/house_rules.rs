//! Rules of the house that no compiler holds: arrows between folders, size of files, names, hazards with their tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aseptic_tests::oracle::root;

// Which of our crates each may use. Tests may use more.
const ARROWS: [(&str, &[&str]); 11] = [
    ("device", &[]),
    ("transports", &["device"]),
    ("drivers", &["device"]),
    ("baselines", &["device"]),
    ("operators", &["device"]),
    ("sim", &["device"]),
    ("evidence", &[]),
    ("patches", &["device", "operators"]),
    ("store", &["device", "baselines", "operators", "patches"]),
    ("workflow", &["device", "drivers", "baselines", "operators", "patches", "store", "evidence"]),
    (
        "aseptic",
        &[
            "device",
            "drivers",
            "baselines",
            "operators",
            "patches",
            "store",
            "evidence",
            "workflow",
            "transports",
            "sim",
        ],
    ),
];

fn folder(name: &str) -> PathBuf {
    match name {
        "drivers" | "patches" => root().join(name),
        "aseptic" => root().join("cli"),
        other => root().join("crates").join(other),
    }
}

fn files(under: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(under).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources() -> BTreeMap<PathBuf, String> {
    let mut found = Vec::new();
    files(&root(), ".rs", &mut found);
    found.into_iter().map(|p| (p.clone(), std::fs::read_to_string(p).unwrap())).collect()
}

#[test]
fn arrows_between_folders_are_the_documented_ones() {
    for (name, may) in ARROWS {
        let manifest = std::fs::read_to_string(folder(name).join("Cargo.toml")).unwrap();
        let normal = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        let used: BTreeSet<&str> = normal
            .lines()
            .filter_map(|l| l.strip_prefix("aseptic-"))
            .map(|l| l.split(['.', ' ', '=']).next().unwrap())
            .collect();
        let more: Vec<_> = used.iter().filter(|u| !may.contains(u)).collect();
        assert!(more.is_empty(), "{name} uses {more:?}");
    }
}

#[test]
fn heavy_libraries_stay_in_their_folder() {
    for (library, home) in
        [("serialport", "transports"), ("tokio-serial", "transports"), ("rusqlite", "store"), ("maud", "evidence")]
    {
        for (name, _) in ARROWS.iter().filter(|(name, _)| *name != home) {
            let manifest = std::fs::read_to_string(folder(name).join("Cargo.toml")).unwrap();
            let normal = manifest.split("[dev-dependencies]").next().unwrap();
            assert!(!normal.lines().any(|l| l.starts_with(library)), "{name} links {library}, which belongs to {home}");
        }
    }
    let sim = std::fs::read_to_string(folder("sim").join("Cargo.toml")).unwrap();
    assert!(
        !sim.contains("ciborium") && !sim.contains("aseptic-drivers"),
        "the simulated ward shares no codec with the drivers"
    );
}

#[test]
fn no_file_is_two_things() {
    for (path, text) in sources() {
        assert!(text.lines().count() <= 600, "{} has more than 600 lines", path.display());
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            !["utils", "util", "manager", "helper", "helpers", "common", "service", "misc"].contains(&stem.as_str()),
            "{}",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_for_later_and_the_network_is_not_named() {
    let unfinished = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("XX", "X:")];
    for (path, text) in sources() {
        for word in unfinished {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn only_the_runner_holds_a_session_that_changes_devices() {
    let allowed = ["crates/device/", "patches/src/", "crates/workflow/src/apply.rs", "tests/"];
    for (path, text) in sources() {
        let place = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        assert!(!text.contains("Changing>") || allowed.iter().any(|a| place.starts_with(a)), "{place}");
    }
}

#[test]
fn logic_never_reads_the_clock() {
    let allowed = ["crates/transports/", "cli/", "tests/", "crates/sim/"];
    for (path, text) in sources() {
        let place = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let is_test = place.contains("tests");
        // Tokio's instants only bound waiting, and stand still in tests.
        let instants = code.lines().any(|l| l.contains("std::time") && l.contains("Instant"));
        let reads =
            instants || ["Timestamp::now()", "SystemTime::now()", "Zoned::now()"].iter().any(|c| code.contains(c));
        assert!(is_test || !reads || allowed.iter().any(|a| place.starts_with(a)), "{place} reads the clock");
    }
}

#[test]
fn every_hazard_names_tests_that_exist() {
    let all: String = sources().into_values().collect();
    let text = std::fs::read_to_string(root().join("docs/hazards.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|l| l.starts_with("| ") && l.contains('`')).collect();
    assert!(rows.len() > 15);
    for row in rows {
        let shown = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for name in shown.split('`').skip(1).step_by(2) {
            assert!(all.contains(&format!("fn {name}(")), "{name} is named in docs/hazards.md and is no test");
        }
    }
}
