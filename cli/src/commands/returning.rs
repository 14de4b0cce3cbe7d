//! `aseptic return`.

use aseptic_workflow::returning::return_to_service;
use aseptic_workflow::{Code, DeviceRef, DeviceState, Problem};

use crate::args::Cli;
use crate::console::{Console, Done};
use crate::context::laptop;
use crate::terminal::{Terminal, ask};

/// Returns a device to service.
pub async fn run(cli: &Cli, device: &DeviceRef, console: &mut Console) -> Result<Done, Problem> {
    if Terminal::here().is_none() {
        let message = "refused: a second person must return it at a terminal";
        return Err(Problem::new(Code::Refused, message, "nothing was changed; run it at a terminal"));
    }
    let laptop = laptop(cli, Some(device))?;
    let statement = return_to_service(&laptop, device, &|plan, read_back| {
        console.say(format!("{}: {read_back}", plan.body.device));
        let name = ask("Second person's name (recorded as unauthenticated):")?;
        let last_four = ask("Last four characters of the serial number, from the label:")?;
        Some((name, last_four))
    })
    .await?;
    Ok(Done::with(DeviceState::InService, format!("returned to service by {}", statement.by)))
}
