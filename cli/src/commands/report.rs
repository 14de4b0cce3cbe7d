//! `aseptic report`.

use std::path::Path;

use aseptic_evidence::html::render;
use aseptic_workflow::{Code, DeviceState, Problem, report};

use jiff::tz::TimeZone;

use crate::args::{Cli, Format};
use crate::console::{Console, Done};
use crate::context::laptop;

/// Writes a visit's report.
pub fn run(
    cli: &Cli,
    visit: &str,
    format: Format,
    output: Option<&Path>,
    console: &mut Console,
) -> Result<Done, Problem> {
    let report = report(&laptop(cli, None)?, visit, &TimeZone::system())?;
    console.visit = Some(report.visit.clone());
    console.device = report.device.id.clone();
    let internal = |e: &dyn std::fmt::Display| Problem::new(Code::Internal, e, "report this as a fault of Aseptic");
    let text = match format {
        Format::Json => report.to_json().map_err(|e| internal(&e))?,
        Format::Html => render(&report).map_err(|e| internal(&e))?,
    };
    match output {
        Some(file) => {
            std::fs::write(file, text)
                .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))?;
            Ok(Done::with(DeviceState::NotInvolved, format!("written to {}", file.display())))
        }
        None => {
            let record = serde_json::to_value(&report).map_err(|e| internal(&e))?;
            console.record("report", record, text);
            Ok(Done::quietly())
        }
    }
}
