//! `aseptic report`.

use std::path::Path;

use aseptic_workflow::{Code, DeviceState, Problem, report};

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
    let report = report(&laptop(cli, None)?, visit)?;
    console.visit = Some(report.visit.id.clone());
    console.device = report.visit.identity.id.as_ref().map(ToString::to_string);
    let internal = |e: serde_json::Error| Problem::new(Code::Internal, e, "report this as a fault of Aseptic");
    let text = match format {
        Format::Json => serde_json::to_string_pretty(&report).map_err(internal)?,
        Format::Html => serde_json::to_string_pretty(&report).map_err(internal)?,
    };
    match output {
        Some(file) => {
            std::fs::write(file, text)
                .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))?;
            Ok(Done::with(DeviceState::NotInvolved, format!("written to {}", file.display())))
        }
        None => {
            let record = serde_json::to_value(&report).map_err(internal)?;
            console.record("report", record, text);
            Ok(Done::quietly())
        }
    }
}
