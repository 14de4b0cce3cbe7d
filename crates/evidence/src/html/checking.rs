//! How to check the report without Aseptic, with everything that is needed for it.

use maud::{Markup, html};

use super::icon::{Icon, status};
use crate::error::EvidenceError;
use crate::proof::Reach;
use crate::report::Report;

/// The script that is printed in every report: Python's standard library only.
pub const CHECK: &str = include_str!("check.py");

pub(super) fn section(report: &Report) -> Result<Markup, EvidenceError> {
    let reach = match report.reach()? {
        Reach::Report => status(Icon::Pass, "The log entry below carries the digest of this report"),
        Reach::EntryOnly => status(Icon::Unknown, "The log entry below does not carry the digest of this report"),
        Reach::OtherReport => status(Icon::Fail, "The log entry below carries the digest of another report"),
        Reach::None => status(Icon::Unknown, "No proof"),
    };
    let digest = report.digest()?;
    Ok(html! {
        section.proof {
            h2 { "Proof, and how to check it without Aseptic" }
            p { (reach) }
            p.mono.small { "report sha256 " (digest) }
            @if let Some(proof) = &report.proof {
                ol {
                    li { "Save the script below as " code { "check.py" } " and run " code { "python3 check.py report.html KEY" } ". It needs nothing but Python 3." }
                    li { "Take KEY from the hospital, not from this page: whoever can forge a page can print a key in it." }
                    li { "It takes the report out of this file, computes its digest, looks for it in the log entry, follows the path from the entry to the root of the log, and checks the log's signature on that root." }
                    li { "It checks the data inside this file, not the words on this page: whoever doubts the page reads the data, or lets Aseptic draw the page again from them." }
                    li { "Ask somebody who keeps later checkpoints of this log whether they contain this one: a proof alone does not show that nothing was cut off later." }
                }
                h3 { "Key of the log" } pre { (proof.key) }
                h3 { "Entry of the log" } pre { (proof.entry) }
                h3 { "Path and checkpoint" } pre { (proof.proof) }
                h3 { "check.py" } pre.script { (CHECK) }
            } @else {
                p { "Nothing ties this report to an audit log. Believe it as far as you believe whoever handed it to you." }
            }
        }
    })
}
