//! `aseptic plan`.

use aseptic_patches::{Plan as Made, WayBack};
use aseptic_workflow::{Code, DeviceState, Problem, Wanted, plan};

use crate::args::{Cli, Plan};
use crate::console::{Console, Done};
use crate::context::laptop;
use crate::event::Event;

/// Makes a plan.
pub async fn run(cli: &Cli, args: &Plan, console: &mut Console) -> Result<Done, Problem> {
    let wanted = Wanted { patch: args.patch.clone(), fixes: args.fix.clone(), back: false };
    let made = plan(&laptop(cli, Some(&args.device))?, &args.device, &wanted).await?;
    console.visit.clone_from(&made.visit);
    console.device = Some(made.body.device.to_string());
    let internal = |e: serde_json::Error| Problem::new(Code::Internal, e, "report this as a fault of Aseptic");
    let json = serde_json::to_value(&made).map_err(internal)?;
    if let Some(file) = &args.output {
        let text = serde_json::to_string_pretty(&made).map_err(internal)?;
        std::fs::write(file, text + "\n")
            .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))?;
    }
    show(&made, console);
    console.event(Event::Planned { plan: json });
    let done = Done::with(DeviceState::Untouched, format!("plan {} made; nothing was changed", made.id.short()));
    Ok(Done { help: Some(format!("carry it out: aseptic apply {}", made.id.short())), ..done })
}

fn show(plan: &Made, console: &Console) {
    console.say(format!("device    {}", plan.body.device));
    if let Some(patch) = &plan.body.patch {
        console.say(format!(
            "patch     {} → {} (image {}, {} bytes)",
            patch.id,
            patch.version,
            patch.hash.short(),
            patch.length
        ));
    }
    console.say("steps");
    for (index, step) in plan.body.steps.iter().enumerate() {
        let gated = if step.has_effect() { "  (all gates right before)" } else { "" };
        console.say(format!("  {}. {step}{gated}", index + 1));
    }
    let gates: Vec<String> = plan.body.gates.iter().map(ToString::to_string).collect();
    console.say(format!("gates     {}", gates.join(", ")));
    let back = match &plan.body.way_back {
        WayBack::Settings => "the old values are written again".to_owned(),
        WayBack::Restart { measured, .. } => {
            let source = if *measured { "as the bootloader says" } else { "as the profile says" };
            format!("until it is confirmed, a restart brings the old firmware back ({source})")
        }
    };
    console.say(format!("way back  {back}"));
    let minutes = |s: u32| s.div_ceil(60);
    console.say(format!(
        "time      about {} min; {} min are kept to go back",
        minutes(plan.estimate.total_s),
        minutes(plan.estimate.revert_s)
    ));
    if plan.body.profile.unreviewed {
        console.say("profile   UNREVIEWED: it came from outside a kit");
    }
}
