//! The report as one HTML file: no script, nothing loaded from anywhere, the report's JSON inside.
//!
//! The data block has type [`BLOCK_TYPE`], which no browser runs. Every `<`, `>`, `&` and line separator in it is
//! written as a JSON escape, so nothing in the data can end the block. The content security policy forbids all but
//! this file's own style sheet, named by its hash.

mod checking;
mod findings;
mod icon;
mod visit;
mod work;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
pub use checking::CHECK;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::error::{EvidenceError, EvidenceErrorKind};
use crate::report::Report;

/// Media type of the data block.
pub const BLOCK_TYPE: &str = "application/vnd.aseptic.report+json";

const STYLE: &str = include_str!("html/style.css");

/// Renders a report.
pub fn render(report: &Report) -> Result<String, EvidenceError> {
    report.check()?;
    let cautions = report.cautions()?;
    let block = block(report)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "Service report " (report.visit) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (visit::head(report))
                main {
                    (visit::outcome(report))
                    (visit::cautions(&cautions))
                    (visit::device(report))
                    @for work in &report.works { (work::section(work)) }
                    (findings::section(report))
                    (visit::kit(report))
                    (checking::section(report)?)
                }
                (visit::foot(report))
                (block)
            }
        }
    };
    Ok(page.into_string())
}

/// Returns the JSON that a page carries. A page with no block or several is refused.
pub fn embedded(page: &str) -> Result<Report, EvidenceError> {
    let open = format!("<script type=\"{BLOCK_TYPE}\" id=\"report\">");
    let mut blocks = page.split(open.as_str()).skip(1);
    let broken = |n| EvidenceError { visit: "?".into(), kind: EvidenceErrorKind::Embedded(n) };
    let (Some(block), None) = (blocks.next(), blocks.next()) else {
        return Err(broken(page.matches(open.as_str()).count()));
    };
    let (json, _) = block.split_once("</script>").ok_or_else(|| broken(0))?;
    Report::from_json(json)
}

fn block(report: &Report) -> Result<Markup, EvidenceError> {
    let json = serde_json::to_string(report).map_err(|e| report.error(e.into()))?;
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => safe.push(c),
        }
    }
    Ok(html! { script type=(BLOCK_TYPE) id="report" { (PreEscaped(safe)) } })
}

fn policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'")
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
