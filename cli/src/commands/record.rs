//! `aseptic record`.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use aseptic_store::Store;
use aseptic_transports::{Recorder, SystemClock};
use aseptic_workflow::{Code, DeviceRef, DeviceState, Problem, assess};
use jiff::tz::TimeZone;
use rand::rngs::OsRng;

use crate::args::Cli;
use crate::console::{Console, Done};
use crate::context::{bus, data_dir, laptop_over};

/// Writes down a whole assessment's conversation.
pub async fn run(cli: &Cli, device: &DeviceRef, output: &Path, console: &mut Console) -> Result<Done, Problem> {
    let store = Store::open(&data_dir(cli)?, &mut OsRng)?;
    let file = File::create_new(output).map_err(|e| {
        Problem::new(Code::NotFound, format!("{}: {e}", output.display()), "give a file that is not there yet")
    })?;
    let recorder = Recorder::new(bus(cli, &store, Some(device))?, Arc::new(SystemClock), BufWriter::new(file))
        .map_err(|e| Problem::new(Code::NotFound, e, "check the path"))?;
    let laptop = laptop_over(cli, Arc::new(recorder), store)?;
    let assessment = assess(&laptop, device, None, &TimeZone::system()).await?;
    drop(laptop);
    console.device = assessment.identity.id.as_ref().map(ToString::to_string);
    console.say("! the recording holds settings as they crossed the wire, secrets too: keep it as you keep those");
    Ok(Done::with(DeviceState::Untouched, format!("recorded to {}", output.display())))
}
