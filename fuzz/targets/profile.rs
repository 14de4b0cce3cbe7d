//! Any text is a profile or refused with lines.
#![no_main]

use aseptic_device::Profile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Profile::parse(text) {
        assert!(!error.problems.is_empty() && error.problems.iter().all(|p| p.line >= 1));
    }
});
