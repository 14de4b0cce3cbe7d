//! Any text is a report or refused; a report that is read can be shown.
#![no_main]

use aseptic_evidence::{Report, html};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(report) = Report::from_json(text) {
        let _ = report.digest();
        let _ = html::render(&report);
    }
});
