//! `aseptic assess`.

use aseptic_baselines::{Finding, Verdict};
use aseptic_workflow::{Code, DeviceRef, DeviceState, Problem, assess};
use jiff::tz::TimeZone;

use crate::args::Cli;
use crate::console::{Console, Done};
use crate::context::laptop;
use crate::event::Event;

/// Holds a device against a baseline.
pub async fn run(
    cli: &Cli,
    device: &DeviceRef,
    baseline: Option<&str>,
    console: &mut Console,
) -> Result<Done, Problem> {
    let assessment = assess(&laptop(cli, Some(device))?, device, baseline, &TimeZone::system()).await?;
    console.visit = Some(assessment.visit.clone());
    console.device = assessment.identity.id.as_ref().map(ToString::to_string);
    for finding in &assessment.findings {
        if finding.result != Verdict::NotApplicable {
            console.say(text(finding));
        }
        console.event(Event::Finding { finding: finding.clone() });
    }
    for (why, rules) in not_applicable(&assessment.findings) {
        console.say(format!("- n/a     {}: {why}", rules.join(", ")));
    }
    console.event(Event::Assessed { summary: assessment.summary });
    let s = assessment.summary;
    let message = format!(
        "{} failed, {} unknown, {} passed, {} not applicable, {} accepted (baseline {})",
        s.fail, s.unknown, s.pass, s.not_applicable, s.accepted, assessment.baseline
    );
    let code = assessment.code();
    let help = match code {
        Code::Incomplete => Some("what is unknown is not good: see how to learn it above".into()),
        _ => None,
    };
    Ok(Done { code, state: DeviceState::Untouched, message, help })
}

// Rules that do not apply for the same reason take one line.
fn not_applicable(findings: &[Finding]) -> Vec<(&str, Vec<&str>)> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for finding in findings.iter().filter(|f| f.result == Verdict::NotApplicable) {
        match reasons.iter_mut().find(|(why, _)| *why == finding.observed) {
            Some((_, rules)) => rules.push(&finding.rule),
            None => reasons.push((&finding.observed, vec![&finding.rule])),
        }
    }
    reasons
}

fn text(finding: &Finding) -> String {
    let mark = match finding.result {
        Verdict::Pass => "✓ pass   ",
        Verdict::Fail => "✗ FAIL   ",
        Verdict::Unknown => "? unknown",
        Verdict::NotApplicable => "- n/a    ",
        Verdict::Accepted { .. } => "! accepted",
    };
    let mut out = format!("{mark} {:<15} {}: {}", finding.rule, finding.title, finding.observed);
    if finding.result != Verdict::Pass {
        out.push_str(&format!("\n            → {}", finding.what_to_do));
    }
    out
}
