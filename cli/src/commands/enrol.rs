//! `aseptic enrol`.

use std::path::Path;

use aseptic_workflow::{Code, DeviceState, Problem, enrol::enrol};

use crate::args::{Cli, Enrol};
use crate::console::{Console, Done};
use crate::context::laptop;

/// Pins a root and signers.
pub fn run(cli: &Cli, args: &Enrol, console: &mut Console) -> Result<Done, Problem> {
    let root = std::fs::read(&args.root)
        .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", args.root.display()), "check the path"))?;
    let mut signers = Vec::new();
    for pair in &args.signer {
        let (name, key) = pair.split_once('=').filter(|(n, _)| !n.is_empty()).ok_or_else(|| {
            Problem::new(Code::Usage, format!("{pair}: expected NAME=PUBKEY"), "PUBKEY is a PEM file or 64 hex digits")
        })?;
        let text =
            if Path::new(key).is_file() { std::fs::read_to_string(key).unwrap_or_default() } else { key.to_owned() };
        signers.push((name.to_owned(), text));
    }
    let enrolment = enrol(&laptop(cli, None)?, &root, &signers)?;
    let record = serde_json::json!({ "hospital": enrolment.hospital, "signers": enrolment.signers });
    let text = format!("hospital {}\nmay sign work orders: {}", enrolment.hospital, list(&enrolment.signers));
    console.record("enrolment", record, text);
    Ok(Done::with(DeviceState::NotInvolved, "enrolled"))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nobody".into() } else { names.join(", ") }
}
