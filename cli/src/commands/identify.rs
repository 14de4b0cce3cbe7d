//! `aseptic identify`.

use aseptic_workflow::{DeviceRef, DeviceState, Problem, identify};

use crate::args::Cli;
use crate::console::{Console, Done};
use crate::context::laptop;
use crate::event::Event;

/// Identifies a device and opens a visit.
pub async fn run(cli: &Cli, device: &DeviceRef, scan: Option<&str>, console: &mut Console) -> Result<Done, Problem> {
    let visit = identify(&laptop(cli, Some(device))?, device, scan).await?;
    console.visit = Some(visit.id.clone());
    console.device = visit.identity.id.as_ref().map(ToString::to_string);
    let text =
        |t: &Option<aseptic_device::DeviceText>| t.as_ref().map_or_else(|| "not told".into(), ToString::to_string);
    let identity = &visit.identity;
    console.say(format!(
        "device    {}",
        console.device.as_deref().unwrap_or("no usable identifier: it can be assessed, not changed")
    ));
    console.say(format!("serial    {}", text(&identity.serial)));
    console.say(format!("udi       {}", text(&identity.udi)));
    console.say(format!("hardware  {}", text(&identity.hardware)));
    let firmware = identity.firmware.as_ref().map_or_else(|| "not told".into(), ToString::to_string);
    console.say(format!("firmware  {firmware}"));
    console.say(format!("at        {}", visit.sighting.address));
    let label = match visit.scan_agreed {
        Some(true) => "scanned, agrees with the serial number",
        Some(false) => "scanned, of another device",
        None => "not scanned",
    };
    console.say(format!("label     {label}"));
    if visit.profile.unreviewed {
        console.say("profile   UNREVIEWED: it came from outside a kit");
    }
    console.say(format!("visit     {}", visit.id));
    console.event(Event::Identified { found: Box::new(visit) });
    Ok(Done::with(DeviceState::Untouched, "identified"))
}
