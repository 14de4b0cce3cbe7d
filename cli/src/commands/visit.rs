//! `aseptic visit`.

use aseptic_store::VisitRow;
use aseptic_workflow::{Code, DeviceState, Laptop, Problem};

use crate::args::{Cli, Visit};
use crate::console::{Console, Done, local};
use crate::context::laptop;

/// Lists, shows or closes visits.
pub fn run(cli: &Cli, verb: &Visit, console: &mut Console) -> Result<Done, Problem> {
    let laptop = laptop(cli, None)?;
    match verb {
        Visit::List => {
            for row in laptop.store.visits()? {
                let state = row.closed.map_or_else(|| "open".to_owned(), |at| format!("closed {}", local(at)));
                let device = row.device.as_deref().unwrap_or("no usable identifier");
                let text = format!("{}  {}  {device}  {state}", row.id, local(row.opened));
                console.record("visit", json(&row), text);
            }
            Ok(Done::quietly())
        }
        Visit::Show { visit } => {
            let row = find(&laptop, visit)?;
            let pretty = serde_json::to_string_pretty(&json(&row)).unwrap_or_default();
            console.record("visit", json(&row), pretty);
            Ok(Done::quietly())
        }
        Visit::Close { visit } => {
            let row = find(&laptop, visit)?;
            let mut entry = laptop.entry("visit.closed", None, Some(&row.id), serde_json::json!({}));
            entry.device.clone_from(&row.device);
            if laptop.store.close_visit(&row.id, entry)? {
                return Ok(Done::with(DeviceState::NotInvolved, "closed"));
            }
            Err(Problem::new(Code::Refused, "the visit is already closed", "aseptic visit list shows the open ones"))
        }
    }
}

fn json(row: &VisitRow) -> serde_json::Value {
    serde_json::json!({
        "id": row.id, "device": row.device, "opened": row.opened, "closed": row.closed,
        "visit": serde_json::from_str::<serde_json::Value>(&row.json).unwrap_or_default(),
    })
}

fn find(laptop: &Laptop, prefix: &str) -> Result<VisitRow, Problem> {
    let mut rows: Vec<VisitRow> = laptop.store.visits()?.into_iter().filter(|v| v.id.starts_with(prefix)).collect();
    match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => Ok(row),
        (Some(_), false) => {
            Err(Problem::new(Code::Usage, format!("several visits begin with {prefix}"), "give more of the id"))
        }
        (None, _) => Err(Problem::new(Code::NotFound, format!("no visit {prefix}"), "aseptic visit list shows them")),
    }
}
