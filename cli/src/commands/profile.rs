//! `aseptic profile`.

use aseptic_device::Profile as Model;
use aseptic_patches::mcuboot::is_signing_key;
use aseptic_workflow::{Code, DeviceState, Problem};

use crate::args::Profile;
use crate::console::{Console, Done};

/// Checks a profile file.
pub fn run(verb: &Profile, console: &mut Console) -> Result<Done, Problem> {
    let Profile::Check { file } = verb;
    let text = std::fs::read_to_string(file)
        .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))?;
    match Model::parse(&text) {
        Ok(profile) => {
            if let Some(i) = profile.firmware.signing_keys.iter().position(|key| !is_signing_key(key)) {
                let message = format!("{}: key {} under signing-keys cannot be read", file.display(), i + 1);
                let help = "give a public key in PEM: ed25519, ECDSA P-256, RSA-2048 or RSA-3072 (imgtool getpub)";
                return Err(Problem::new(Code::Usage, message, help).with_state(DeviceState::NotInvolved));
            }
            let mut notes = Vec::new();
            if !profile.can_identify() {
                notes.push("it names no source of a serial number: devices can be assessed, not changed");
            }
            if profile.firmware.signing_keys.is_empty() {
                notes.push("it names no signing key of the maker: devices cannot be patched");
            }
            for note in notes {
                console.record("note", serde_json::json!({ "note": note }), format!("! {note}"));
            }
            Ok(Done::with(DeviceState::NotInvolved, format!("profile {} is sound", profile.id)))
        }
        Err(error) => {
            for problem in &error.problems {
                let record = serde_json::json!({ "line": problem.line, "message": problem.message });
                console.record("problem", record, format!("{}:{}: {}", file.display(), problem.line, problem.message));
            }
            let message = format!("{} problem(s)", error.problems.len());
            Err(Problem::new(Code::Usage, message, "see docs/adding-a-device.md").with_state(DeviceState::NotInvolved))
        }
    }
}
