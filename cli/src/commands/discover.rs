//! `aseptic discover`.

use std::time::Duration;

use aseptic_workflow::{DeviceState, Problem, Sighted, discover};

use crate::args::Cli;
use crate::console::{Console, Done};
use crate::context::laptop;
use crate::event::Event;

/// Shows what is in reach.
pub async fn run(cli: &Cli, span: Duration, console: &mut Console) -> Result<Done, Problem> {
    let laptop = laptop(cli, None)?;
    let mut lines = Vec::new();
    let present = discover(&laptop, span, &mut |sighted| lines.push(sighted.clone())).await?;
    for sighted in lines {
        console.say(line(&sighted));
        console.event(Event::Sighting { sighted });
    }
    let message = match present.len() {
        0 => "nothing in reach; name a serial port with --port PATH".to_owned(),
        1 => "1 in reach; nothing was opened".to_owned(),
        n => format!("{n} in reach; nothing was opened"),
    };
    Ok(Done::with(DeviceState::NotInvolved, message))
}

fn line(sighted: &Sighted) -> String {
    match sighted {
        Sighted::Gone { address } => format!("- {address} is gone"),
        Sighted::Seen { sighting, profile } => {
            let usb = sighting.usb.as_ref();
            let name = sighting.name.as_ref().map(ToString::to_string).unwrap_or_else(|| "unnamed".into());
            let serial = usb.and_then(|u| u.serial.as_ref()).map(ToString::to_string).unwrap_or_else(|| "-".into());
            let profile = profile.as_deref().unwrap_or("no profile: name the port to open it");
            let ward = if sighting.simulated { "  SIMULATED" } else { "" };
            format!("{name:<18} {serial:<16} {profile:<12} {}{ward}", sighting.address)
        }
    }
}
