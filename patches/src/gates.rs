//! Gates: conditions that hold right before every step with an effect. Unknown blocks.
//!
//! An attestation fills what cannot be read; it never overrides what reads as unsafe.

use std::time::Duration;

use aseptic_device::driver::{Readiness, Sensed};
use aseptic_device::{Moment, profile::Timing};
use aseptic_operators::{Attestation, GateId, Person, Role};
use jiff::Timestamp;

/// The longest allowed time between two readings of "therapy idle".
pub const LONGEST_GAP: Duration = Duration::from_secs(15);
/// The newest reading of "therapy idle" must be younger than this.
pub const NEWEST_THERAPY: Duration = Duration::from_secs(5);
/// Other readings must be younger than this.
pub const NEWEST_OTHER: Duration = Duration::from_secs(30);
/// An attestation holds this long, unless an order carries it for its window.
pub const ATTESTATION: Duration = Duration::from_secs(600);
/// "Therapy idle" needs at least this many readings.
pub const READINGS: usize = 3;

/// Evidence for one device and plan, collected during a run.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What the device said, oldest first.
    pub readings: Vec<(Moment, Readiness)>,
    /// What people vouched for in this run.
    pub attestations: Vec<Attestation>,
    /// What an order's people vouch for, and until when.
    pub ordered: Option<(Vec<Attestation>, Timestamp)>,
    /// The laptop's own power, where it can be read.
    pub laptop: Option<(Moment, Sensed)>,
    /// The device was identified and a second, independent identifier agreed; says how.
    pub identity: Option<String>,
    /// Until when somebody allowed the change; `None` where nobody did.
    pub allowed: Option<Allowed>,
}

/// An authority as a gate sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Who, in words.
    pub by: String,
    /// End of the window, if there is one.
    pub until: Option<Timestamp>,
}

/// Whether one gate is open now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateState {
    /// The gate.
    pub gate: GateId,
    /// Open or not.
    pub verdict: Verdict,
    /// What it stands on, in words, with its age.
    pub evidence: String,
}

/// Whether a gate is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is open.
    Open,
    /// It may open when the device is read again.
    NeedsReading,
    /// A person must vouch.
    NeedsAttestation,
    /// It is closed.
    Closed,
}

/// Judges all gates of a plan.
pub fn judge(gates: &[GateId], timing: &Timing, evidence: &Evidence, now: &Moment) -> Vec<GateState> {
    gates.iter().map(|gate| judge_one(*gate, timing, evidence, now)).collect()
}

fn judge_one(gate: GateId, timing: &Timing, evidence: &Evidence, now: &Moment) -> GateState {
    let (verdict, words) = match gate {
        GateId::Identity => match &evidence.identity {
            Some(how) => (Verdict::Open, how.clone()),
            None => (Verdict::Closed, "only one identifier is known; scan the label or type the last four".into()),
        },
        GateId::WorkOrder => allowed(evidence, now),
        GateId::TherapyIdle => therapy(timing, evidence, now),
        GateId::NoAlarm => latest(evidence, now, gate, |r| &r.alarm),
        GateId::Power => latest(evidence, now, gate, |r| &r.power),
        GateId::Laptop => match &evidence.laptop {
            Some((at, sensed)) => reading(evidence, now, gate, at, sensed),
            None => attested(evidence, now, gate, "the laptop's power cannot be read"),
        },
        GateId::NotOnPatient | GateId::Loaner | GateId::Decontaminated => {
            attested(evidence, now, gate, "no device can tell this")
        }
    };
    GateState { gate, verdict, evidence: words }
}

fn allowed(evidence: &Evidence, now: &Moment) -> (Verdict, String) {
    match &evidence.allowed {
        None => (Verdict::Closed, "nobody allowed this change".into()),
        Some(Allowed { by, until: Some(until) }) if now.wall >= *until => {
            (Verdict::Closed, format!("the window of {by} ended at {until}"))
        }
        Some(Allowed { by, until: Some(until) }) => (Verdict::Open, format!("{by}, until {until}")),
        Some(Allowed { by, until: None }) => (Verdict::Open, by.clone()),
    }
}

// The newest unbroken run of safe readings must be long, dense and fresh.
fn therapy(timing: &Timing, evidence: &Evidence, now: &Moment) -> (Verdict, String) {
    let Some((newest, readiness)) = evidence.readings.last() else {
        return (Verdict::NeedsReading, "not read yet".into());
    };
    match &readiness.therapy {
        Sensed::Unsafe(what) => return (Verdict::Closed, format!("the device says: {what}")),
        Sensed::Unreadable(why) => return attested(evidence, now, GateId::TherapyIdle, why),
        Sensed::Safe(_) => {}
    }
    let mut count = 1;
    let mut oldest = newest;
    for (at, earlier) in evidence.readings.iter().rev().skip(1) {
        if !matches!(earlier.therapy, Sensed::Safe(_)) || oldest.since(at) > LONGEST_GAP {
            break;
        }
        count += 1;
        oldest = at;
    }
    let (age, span) = (now.since(newest), newest.since(oldest));
    let words = format!("idle, read {count} times over {} s, {} s ago", span.as_secs(), age.as_secs());
    let enough = count >= READINGS && span >= timing.gate_span() && age <= NEWEST_THERAPY;
    (if enough { Verdict::Open } else { Verdict::NeedsReading }, words)
}

fn latest(evidence: &Evidence, now: &Moment, gate: GateId, pick: fn(&Readiness) -> &Sensed) -> (Verdict, String) {
    match evidence.readings.last() {
        Some((at, readiness)) => reading(evidence, now, gate, at, pick(readiness)),
        None => (Verdict::NeedsReading, "not read yet".into()),
    }
}

fn reading(evidence: &Evidence, now: &Moment, gate: GateId, at: &Moment, sensed: &Sensed) -> (Verdict, String) {
    let age = now.since(at);
    match sensed {
        Sensed::Unreadable(why) => attested(evidence, now, gate, why),
        _ if age > NEWEST_OTHER => (Verdict::NeedsReading, format!("read {} s ago", age.as_secs())),
        Sensed::Safe(what) => (Verdict::Open, format!("{what}, read {} s ago", age.as_secs())),
        Sensed::Unsafe(what) => (Verdict::Closed, format!("the device says: {what}")),
    }
}

fn attested(evidence: &Evidence, now: &Moment, gate: GateId, why: &str) -> (Verdict, String) {
    if let Some((list, until)) = &evidence.ordered
        && now.wall < *until
        && let Some(people) = vouchers(list.iter(), gate, true)
    {
        return (Verdict::Open, format!("vouched for in the work order by {people}, until {until}"));
    }
    let young = evidence.attestations.iter().filter(|a| is_young(a, now));
    match vouchers(young, gate, false) {
        Some(people) => (Verdict::Open, format!("vouched for by {people}")),
        None => (Verdict::NeedsAttestation, format!("{why}; {}", wanted(gate, evidence.ordered.is_some()))),
    }
}

fn wanted(gate: GateId, ordered: bool) -> String {
    let roles: Vec<String> = gate.attested_by().iter().map(ToString::to_string).collect();
    match (ordered, roles.len()) {
        (false, _) => "a person must vouch".into(),
        (true, 0 | 1) => {
            "the work order must carry the word of a technician and of a second person, who is no approver".into()
        }
        (true, _) => format!("the work order must carry the word of two people: {}", roles.join(" and ")),
    }
}

fn is_young(attestation: &Attestation, now: &Moment) -> bool {
    let age = now.wall.duration_since(attestation.at);
    !age.is_negative() && age <= jiff::SignedDuration::try_from(ATTESTATION).unwrap_or_default()
}

// Every role needs its own person. For a window nobody watches, two different people must vouch.
fn vouchers<'a>(list: impl Iterator<Item = &'a Attestation>, gate: GateId, unattended: bool) -> Option<String> {
    let candidates: Vec<&Person> =
        list.filter(|a| a.gate == gate && !a.by.name.trim().is_empty()).map(|a| &a.by).collect();
    let mut chosen: Vec<&Person> = Vec::new();
    for role in gate.attested_by() {
        let person = candidates.iter().find(|p| p.role == *role && !chosen.iter().any(|c| c.same_as(p)))?;
        chosen.push(person);
    }
    if unattended && chosen.len() < 2 {
        let second = candidates.iter().find(|p| p.role != Role::Approver && !chosen.iter().any(|c| c.same_as(p)))?;
        chosen.push(second);
    }
    (!chosen.is_empty()).then(|| chosen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))
}

#[cfg(test)]
#[path = "gates_tests.rs"]
mod tests;
