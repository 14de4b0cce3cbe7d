//! `aseptic discover`.

use std::time::Duration;

use aseptic_device::Sighting;
use aseptic_workflow::{DeviceState, KnownProfile, Problem, discover};

use crate::args::Cli;
use crate::console::{Console, Done};
use crate::context::laptop;
use crate::event::Event;

/// Shows what is in reach.
pub async fn run(cli: &Cli, span: Duration, console: &mut Console) -> Result<Done, Problem> {
    let laptop = laptop(cli, None)?;
    // A script is told each change as it comes; a person, what there is at the end.
    let mut present = discover(&laptop, span, &mut |sighted| {
        console.event(Event::Sighting { sighted: sighted.clone() });
    })
    .await?;
    present.sort_by(|a, b| a.address.cmp(&b.address));
    for sighting in &present {
        console.say(line(sighting, laptop.profile_for(sighting)));
    }
    let message = match present.len() {
        0 => "nothing in reach; name a serial port with --port PATH, and see aseptic doctor for the radio".to_owned(),
        n => format!("{n} in reach; nothing was opened. What has no profile is opened only when it is named"),
    };
    Ok(Done::with(DeviceState::NotInvolved, message))
}

fn line(at: &Sighting, known: Option<&KnownProfile>) -> String {
    let usb = at.usb.as_ref();
    let name = at.name.as_ref().map_or_else(|| "unnamed".into(), ToString::to_string);
    let serial = usb.and_then(|u| u.serial.as_ref()).map_or_else(|| "-".into(), ToString::to_string);
    let profile = known.map_or("no profile", |k| k.profile.id.as_str());
    let signal = at.radio.as_ref().and_then(|r| r.rssi).map_or_else(String::new, |dbm| format!("  {dbm} dBm"));
    let ward = if at.simulated { "  SIMULATED" } else { "" };
    format!("{name:<18} {serial:<16} {profile:<12} {}{signal}{ward}", at.address)
}
