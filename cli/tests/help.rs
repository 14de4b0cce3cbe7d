//! The command line is a contract: verbs and flags are as published. Adding is allowed, and shows here.
#![cfg(unix)]
#![allow(clippy::allow_attributes, clippy::unwrap_used)]

use std::process::Command;

const VERBS: [&str; 48] = [
    "",
    "enrol",
    "discover",
    "identify",
    "assess",
    "visit",
    "visit list",
    "visit show",
    "visit close",
    "plan",
    "apply",
    "cancel",
    "resume",
    "revert",
    "return",
    "status",
    "doctor",
    "report",
    "audit",
    "audit show",
    "audit verify",
    "audit checkpoint",
    "audit proof",
    "audit check",
    "kit",
    "kit new",
    "kit key",
    "kit add",
    "kit delegate",
    "kit sign",
    "kit rotate",
    "kit pack",
    "kit import",
    "kit list",
    "kit verify",
    "order",
    "order sign",
    "order check",
    "profile",
    "profile check",
    "record",
    "sim",
    "sim serve",
    "sim firmware",
    "tuf",
    "tuf init",
    "tuf refresh",
    "schema",
];

// The usage line and the names of flags and verbs; wording may change.
fn shape(help: &str) -> String {
    let keeps = |l: &&str| {
        let text = l.trim_start();
        l.starts_with("Usage:")
            || (l.starts_with("  ") && !l.starts_with("    ") && !text.is_empty())
            || text.starts_with("--")
    };
    let name = |l: &str| l.trim().split("  ").next().unwrap_or_default().to_owned();
    help.lines().filter(keeps).map(name).collect::<Vec<_>>().join("\n")
}

#[test]
fn verbs_and_flags_are_the_published_ones() {
    let mut all = String::new();
    for verb in VERBS {
        let done =
            Command::new(env!("CARGO_BIN_EXE_aseptic")).args(verb.split_whitespace()).arg("--help").output().unwrap();
        assert!(done.status.success(), "{verb}");
        all += &format!("## aseptic {verb}\n{}\n\n", shape(&String::from_utf8(done.stdout).unwrap()));
    }
    insta::assert_snapshot!(all);
}
