//! Any text is a set of rules or refused.
#![no_main]

use aseptic_baselines::rule::RulesFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = RulesFile::parse(text);
});
