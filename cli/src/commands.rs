//! One file a verb.

mod apply;
mod assess;
mod audit;
mod discover;
mod doctor;
mod enrol;
mod identify;
mod kit;
mod order;
mod plan;
mod profile;
mod record;
mod report;
mod returning;
mod schema;
mod sim;
mod status;
mod tuf;
mod visit;

use aseptic_workflow::Problem;

use crate::args::{Cli, Verb};
use crate::console::{Console, Done};

/// Carries out one verb.
pub async fn run(cli: Cli, console: &mut Console) -> Result<Done, Problem> {
    match &cli.verb {
        Verb::Enrol(args) => enrol::run(&cli, args, console),
        Verb::Discover { span } => discover::run(&cli, *span, console).await,
        Verb::Identify { device, scan } => identify::run(&cli, device, scan.as_deref(), console).await,
        Verb::Assess { device, baseline } => assess::run(&cli, device, baseline.as_deref(), console).await,
        Verb::Visit(verb) => visit::run(&cli, verb, console),
        Verb::Plan(args) => plan::run(&cli, args, console).await,
        Verb::Apply(args) => apply::apply(&cli, args, console).await,
        Verb::Cancel { plan } => apply::cancel(&cli, plan, console),
        Verb::Resume { plan, all, authority } => apply::resume(&cli, plan.as_deref(), *all, authority, console).await,
        Verb::Revert { device, authority } => apply::revert(&cli, device, authority, console).await,
        Verb::Return { device } => returning::run(&cli, device, console).await,
        Verb::Status => status::run(&cli, console),
        Verb::Doctor => doctor::run(&cli, console).await,
        Verb::Report { visit, format, output } => report::run(&cli, visit, *format, output.as_deref(), console),
        Verb::Audit(verb) => audit::run(&cli, verb, console),
        Verb::Kit(verb) => kit::run(&cli, verb, console),
        Verb::Order(verb) => order::run(&cli, verb, console),
        Verb::Profile(verb) => profile::run(verb, console),
        Verb::Record { device, output } => record::run(&cli, device, output, console).await,
        Verb::Sim(verb) => sim::run(verb, console).await,
        Verb::Tuf(args) => tuf::run(args).await,
        Verb::Schema { kind } => schema::run(kind, console),
    }
}
