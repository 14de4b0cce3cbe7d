//! What came of a visit, in plain words, and whether the device may be used.

use aseptic_evidence::When;
use aseptic_evidence::report::{Outcome, OutcomeKind, Service};
use aseptic_patches::{Mark, Outcome as Ended};
use jiff::Timestamp;

use super::PlanRecord;
use super::work::purpose;
use crate::assess::Assessment;

/// Says what came of the last plan, or of the assessment where there was none.
pub(super) fn outcome(last: Option<&PlanRecord>, assessments: &[Assessment]) -> Outcome {
    match last.filter(|p| !p.journal.is_empty()) {
        Some(plan) => planned(plan),
        None => assessed(assessments),
    }
}

fn say(kind: OutcomeKind, headline: String, what_happened: String, state_now: &str, what_to_do: &str) -> Outcome {
    Outcome { kind, headline, what_happened, state_now: state_now.into(), what_to_do: what_to_do.into() }
}

fn planned(record: &PlanRecord) -> Outcome {
    const AS_BEFORE: &str = "The running image and every setting that was read equal the backup.";
    let purpose = purpose(&record.plan);
    let last = record.journal.last().map(|r| &r.mark);
    let ended = record.journal.iter().rev().find_map(|r| match &r.mark {
        Mark::Ended { outcome } => Some(outcome),
        _ => None,
    });
    match ended {
        Some(Ended::Installed) => say(
            OutcomeKind::Installed,
            format!("Done and read back: {purpose}"),
            "Every step of the plan was done, and the device showed each of them.".into(),
            "The planned image runs and is kept; settings that must stay equal the backup.",
            if record.returned.is_some() {
                "Nothing: the device was returned to service."
            } else {
                "A second person reads this page and returns the device to service."
            },
        ),
        Some(Ended::Refused { gates }) => say(
            OutcomeKind::Refused,
            format!("Refused: {purpose}"),
            format!("A gate was closed: {}.", gates.join("; ")),
            "Nothing was changed.",
            "Clear what closed the gate, then apply the plan again.",
        ),
        Some(Ended::Untrusted { detail }) => say(
            OutcomeKind::Refused,
            format!("Not trusted: {purpose}"),
            format!("The image on this laptop is not the one of the plan: {detail}."),
            "Nothing was changed.",
            "Import the kit again and plan anew; keep this laptop's records.",
        ),
        Some(Ended::FailedAsBefore { failure }) => say(
            OutcomeKind::AsBefore,
            format!("Failed, the device is as before: {purpose}"),
            format!("{failure}."),
            AS_BEFORE,
            "Find the cause before a second try.",
        ),
        Some(Ended::Stopped { cause }) => say(
            OutcomeKind::AsBefore,
            format!("Stopped, the device is as before: {purpose}"),
            format!("{cause}."),
            AS_BEFORE,
            "Plan again in the next window.",
        ),
        Some(Ended::Reverted { cause }) => say(
            OutcomeKind::AsBefore,
            format!("Tried and undone: {purpose}"),
            format!("{cause}."),
            AS_BEFORE,
            "Do not try this patch on this device again before its maker has looked at it.",
        ),
        None => say(
            OutcomeKind::Halted,
            format!("Not over: {purpose}"),
            match last {
                Some(Mark::Halted { halt }) => format!("{halt}."),
                _ => "The run was interrupted.".into(),
            },
            "Not known until the plan is resumed.",
            "Keep the device out of service and run aseptic resume.",
        ),
    }
}

fn assessed(assessments: &[Assessment]) -> Outcome {
    let (headline, what) = match assessments.last() {
        Some(a) => (
            format!("{} failed, {} unknown, {} passed", a.summary.fail, a.summary.unknown, a.summary.pass),
            format!("The device was read and held against the baseline {}.", a.baseline),
        ),
        None => ("Identified only".to_owned(), "The device was identified; nothing else was read.".to_owned()),
    };
    say(
        OutcomeKind::Assessed,
        headline,
        what,
        "Nothing was changed.",
        "Plan the fixes and patches that the findings ask for.",
    )
}

/// Says whether the device may be used, by this laptop's records.
pub(super) fn service(out: Option<bool>, plans: &[PlanRecord], when: &dyn Fn(Timestamp) -> When) -> Service {
    if let Some(r) = plans.last().and_then(|p| p.returned.as_ref()) {
        return Service::Returned {
            by: r.by.to_string(),
            authenticated: r.authenticated,
            at: when(r.at),
            read_back: r.read_back.clone(),
        };
    }
    let started = plans.iter().rev().find_map(|p| p.first_effect());
    match started {
        Some(since) if out != Some(false) => Service::NotReturned { since: when(since) },
        _ => Service::Unchanged,
    }
}
