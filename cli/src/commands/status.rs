//! `aseptic status`.

use aseptic_workflow::kits::last;
use aseptic_workflow::returning::{Standing, standing};
use aseptic_workflow::{DeviceState, Problem, enrol};

use crate::args::Cli;
use crate::console::{Console, Done, local};
use crate::context::laptop;

/// Shows what this laptop knows.
pub fn run(cli: &Cli, console: &mut Console) -> Result<Done, Problem> {
    let laptop = laptop(cli, None)?;
    let hospital = enrol::hospital(&laptop.store)?;
    let text = hospital
        .as_ref()
        .map_or_else(|| "not enrolled: no kit can be imported".to_owned(), |h| format!("enrolled to {h}"));
    console.record("enrolment", serde_json::json!({ "hospital": hospital }), text);
    let kit = last(&laptop.store)?;
    let text = kit.as_ref().map_or_else(
        || "no kit".to_owned(),
        |k| {
            let next = k.roles.iter().map(|r| r.expires).min();
            let next = next.map(local).unwrap_or_default();
            format!("kit taken {}, {} patches, first role expires {next}", local(k.taken), k.patches.len())
        },
    );
    console.record("kit", serde_json::to_value(&kit).unwrap_or_default(), text);
    for i in laptop.store.interrupted()? {
        let record = serde_json::json!({ "plan": i.plan.id, "device": i.plan.body.device });
        let text = format!("INTERRUPTED    {}  plan {}", i.plan.body.device, i.plan.id.short());
        console.record("interrupted", record, text);
    }
    let mut devices: Vec<String> = laptop.store.plans("")?.iter().map(|p| p.body.device.to_string()).collect();
    devices.sort();
    devices.dedup();
    for device in devices {
        if let (Standing::OutOfService, Some(attempt)) = standing(&laptop, &device)? {
            let plan = attempt.plan;
            let record = serde_json::json!({ "device": device, "plan": plan.id });
            console.record(
                "out-of-service",
                record,
                format!("OUT OF SERVICE {device}  since plan {}", plan.id.short()),
            );
        }
    }
    Ok(Done { state: DeviceState::NotInvolved, ..Done::quietly() })
}
