//! `aseptic audit`.

use std::path::Path;

use aseptic_store::audit::verify_proof;
use aseptic_workflow::{Code, DeviceState, Problem};

use crate::args::{Audit, Cli};
use crate::console::{Console, Done, local};
use crate::context::laptop;

/// Shows, verifies, signs or proves the log.
pub fn run(cli: &Cli, verb: &Audit, console: &mut Console) -> Result<Done, Problem> {
    if let Audit::Check { prefix, key } = verb {
        return check(prefix, key.as_deref());
    }
    let laptop = laptop(cli, None)?;
    match verb {
        Audit::Show { from } => {
            for entry in laptop.store.audit_entries(*from)? {
                let device = entry.device.as_deref().unwrap_or("");
                let text =
                    format!("{:>5}  {}  {:<18} {device}  {}", entry.seq, local(entry.at), entry.kind, entry.actor);
                console.record("audit", serde_json::to_value(&entry).unwrap_or_default(), text);
            }
            Ok(Done::quietly())
        }
        Audit::Verify { checkpoint } => {
            let notes: Result<Vec<String>, Problem> = checkpoint.iter().map(|f| read(f)).collect();
            let head = laptop.store.audit_verify(&notes?)?;
            let record = serde_json::json!({ "size": head.size, "root": head.root, "checkpoints": head.checkpoints });
            let text = format!("{} entries, root {}", head.size, head.root);
            console.record("head", record, text);
            let message = format!("the log is whole; {} checkpoints agree", head.checkpoints);
            Ok(Done::with(DeviceState::NotInvolved, message))
        }
        Audit::Checkpoint => {
            let note = laptop.store.checkpoint()?;
            console.record("checkpoint", serde_json::json!({ "note": note }), note.trim_end());
            let done = Done::with(DeviceState::NotInvolved, "");
            Ok(Done { help: Some("keep a copy elsewhere: it is what shows a cut tail".into()), ..done })
        }
        Audit::Proof { entry, output } => {
            let leaf = laptop.store.audit_leaf(*entry).map_err(|_| {
                Problem::new(Code::NotFound, format!("no entry {entry}"), "aseptic audit show lists them")
            })?;
            let (proof, key) = (laptop.store.proof(*entry)?, laptop.store.audit_key()?);
            if let Some(prefix) = output {
                for (end, bytes) in
                    [("entry.json", leaf.as_slice()), ("tlog-proof", proof.as_bytes()), ("vkey", key.as_bytes())]
                {
                    write(&prefix.with_extension(end), bytes)?;
                }
            }
            let leaf = String::from_utf8_lossy(&leaf).into_owned();
            console.record("proof", serde_json::json!({ "entry": leaf, "proof": proof, "key": key }), proof.trim_end());
            Ok(Done::quietly())
        }
        Audit::Check { prefix, key } => check(prefix, key.as_deref()),
    }
}

fn check(prefix: &Path, key: Option<&str>) -> Result<Done, Problem> {
    let part = |end| read(&prefix.with_extension(end));
    let beside = part("vkey")?;
    let proof = part("tlog-proof")?;
    let given = key.unwrap_or(&beside).trim();
    let (index, size) = verify_proof(&proof, part("entry.json")?.as_bytes(), given)
        .map_err(|e| Problem::new(Code::Untrusted, e, "do not rely on this entry; ask for the log's checkpoints"))?;
    let help = key
        .is_none()
        .then(|| "the key came with the proof: compare it with the one that the hospital published".into());
    let done = Done::with(DeviceState::NotInvolved, format!("proved: entry {index} is in the log of {size} entries"));
    Ok(Done { help, ..done })
}

fn read(file: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(file)
        .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Problem> {
    std::fs::write(file, bytes)
        .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))
}
