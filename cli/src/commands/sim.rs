//! `aseptic sim`.

use std::path::Path;

use aseptic_device::{FirmwareVersion, VersionScheme};
use aseptic_sim::firmware::{Behaviour, build};
use aseptic_sim::{TRAINING_KEY_PRIVATE, Ward};
use aseptic_workflow::{Code, DeviceState, Problem};

use crate::args::Sim;
use crate::console::{Console, Done};

/// Serves a ward or makes training firmware.
pub async fn run(verb: &Sim, console: &mut Console) -> Result<Done, Problem> {
    match verb {
        Sim::Serve { ward, dir } => {
            let usage = |e: &dyn std::fmt::Display| Problem::new(Code::Usage, e, "see docs/simulated-ward.md");
            let ward = match ward {
                Some(file) => Ward::parse(&read(file)?).map_err(|e| usage(&e))?,
                None => Ward::built_in().map_err(|e| usage(&e))?,
            };
            console.say(format!(
                "SIMULATED WARD: {} devices in {}; stop with Ctrl-C",
                ward.devices.len(),
                dir.display()
            ));
            serve(ward, dir).await
        }
        Sim::Firmware { of_version, behaviour, size, key, output } => {
            let version = version(of_version)?;
            let behaviour: Behaviour = serde_json::from_value(behaviour.clone().into()).map_err(|_| {
                Problem::new(Code::Usage, format!("no behaviour {behaviour}"), "see aseptic sim firmware --help")
            })?;
            let key = key.as_ref().map_or_else(|| Ok(TRAINING_KEY_PRIVATE.to_owned()), |file| read(file))?;
            let image = build(version, behaviour, *size, &key)
                .map_err(|e| Problem::new(Code::Usage, e, "give a PKCS#8 key in PEM"))?;
            std::fs::write(output, image)
                .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", output.display()), "check the path"))?;
            Ok(Done::with(DeviceState::NotInvolved, format!("training firmware written to {}", output.display())))
        }
    }
}

#[cfg(unix)]
async fn serve(ward: Ward, dir: &Path) -> Result<Done, Problem> {
    tokio::select! {
        served = aseptic_sim::serve::serve(ward, dir) => {
            served.map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", dir.display()), "give a folder that can be written"))?;
        }
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(Done::with(DeviceState::NotInvolved, "ward stopped"))
}

#[cfg(not(unix))]
async fn serve(_ward: Ward, _dir: &Path) -> Result<Done, Problem> {
    Err(Problem::new(Code::Usage, "the ward is served on Unix systems only", "use a Linux laptop for training"))
}

fn read(file: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(file)
        .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))
}

fn version(text: &str) -> Result<(u8, u8, u16, u32), Problem> {
    let fits = FirmwareVersion::new(VersionScheme::Mcuboot, text);
    let mut parts = text.split(['.', '+']).map(str::parse::<u32>);
    let mut part = || parts.next().and_then(Result::ok).unwrap_or(0);
    let (major, minor, revision, build) = (part(), part(), part(), part());
    match (u8::try_from(major), u8::try_from(minor), u16::try_from(revision)) {
        (Ok(major), Ok(minor), Ok(revision)) if fits.compare(&fits).is_some() => Ok((major, minor, revision, build)),
        _ => Err(Problem::new(Code::Usage, format!("{text} is not a version"), "write it as 1.3.0 or 1.3.0+7")),
    }
}
