//! `aseptic schema`.

use aseptic_workflow::{Code, Problem};
use schemars::{Schema, schema_for};

use crate::console::{Console, Done};
use crate::event::Line;

/// Prints a JSON Schema.
pub fn run(kind: &str, console: &mut Console) -> Result<Done, Problem> {
    let schema = of(kind).ok_or_else(|| {
        Problem::new(Code::Usage, format!("no schema {kind}"), "one of: event, order, plan, patch, profile, report")
    })?;
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    console.record("schema", schema.into(), text);
    Ok(Done::quietly())
}

fn of(kind: &str) -> Option<Schema> {
    Some(match kind {
        "event" => schema_for!(Line),
        "order" => schema_for!(aseptic_operators::Order),
        "plan" => schema_for!(aseptic_patches::Plan),
        "patch" => schema_for!(aseptic_patches::kit::PatchManifest),
        "profile" => schema_for!(aseptic_device::Profile),
        "report" => schema_for!(aseptic_evidence::Report),
        _ => return None,
    })
}
