//! `aseptic doctor`.

use aseptic_device::driver::Sensed;
use aseptic_transports::ble::adapters;
use aseptic_transports::host::laptop_power;
use aseptic_workflow::locate::present;
use aseptic_workflow::{Code, DeviceState, Problem, enrol, kits};

use crate::args::Cli;
use crate::console::{Console, Done};
use crate::context::laptop;

/// Checks this laptop.
pub async fn run(cli: &Cli, console: &mut Console) -> Result<Done, Problem> {
    let laptop = laptop(cli, None)?;
    let mut wrong = 0;
    let mut tell = |what: &str, good: bool, text: String| {
        wrong += usize::from(!good);
        let mark = if good { "✓" } else { "✗" };
        console.record(
            "check",
            serde_json::json!({ "check": what, "good": good, "found": text }),
            format!("{mark} {what}: {text}"),
        );
    };
    tell("data directory", true, format!("{}, opened and readable", laptop.store.dir().display()));
    match laptop.store.audit_verify(&[]) {
        Ok(head) => tell("audit log", true, format!("{} entries, {} checkpoints agree", head.size, head.checkpoints)),
        Err(error) => tell("audit log", false, error.to_string()),
    }
    let enrolled = enrol::hospital(&laptop.store)?;
    tell("enrolment", enrolled.is_some(), enrolled.unwrap_or_else(|| "none: aseptic enrol --root FILE".into()));
    let newest = kits::trusted(&laptop.store)?.newest;
    let now = laptop.clock.now().wall;
    let behind = newest.is_some_and(|n| n.duration_since(now) > jiff::SignedDuration::from_hours(24));
    let clock = if behind { format!("{now}, earlier than the last kit: is the clock right?") } else { now.to_string() };
    tell("clock", !behind, clock);
    match laptop_power() {
        Sensed::Safe(text) => tell("laptop power", true, text),
        Sensed::Unsafe(text) => tell("laptop power", false, text),
        Sensed::Unreadable(text) => tell("laptop power", true, format!("{text}; a person must vouch")),
    }
    let (peers, ports): (Vec<_>, Vec<_>) = present(&laptop).await.into_iter().partition(|s| s.radio.is_some());
    tell("ports", true, format!("{} in reach", ports.len()));
    let adapters = if cli.sim.is_some() && peers.is_empty() { Vec::new() } else { adapters().await };
    let state = |(name, on): &(String, bool)| format!("{name} is {}", if *on { "on" } else { "OFF" });
    let found = match adapters.is_empty() {
        true => "no adapter".to_owned(),
        false => format!("{}; {} in reach", adapters.iter().map(state).collect::<Vec<_>>().join(", "), peers.len()),
    };
    tell("radio", adapters.iter().all(|(_, on)| *on), found);
    if wrong == 0 {
        return Ok(Done::with(DeviceState::NotInvolved, "this laptop is ready"));
    }
    Ok(Done {
        code: Code::NotFound,
        state: DeviceState::NotInvolved,
        message: format!("{wrong} to put right"),
        help: None,
    })
}
