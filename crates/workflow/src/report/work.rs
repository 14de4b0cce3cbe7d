//! One plan and its journal, as a reader of the report sees them.

use std::collections::BTreeMap;

use aseptic_device::setting::Reading;
use aseptic_device::{ConfigSnapshot, Images, SettingClass, SettingKey};
use aseptic_evidence::When;
use aseptic_evidence::work::{
    Attestation, Authority, ClassCount, Event, Gate, GateState, ReadBack, SettingChange, Step, StepState, Work,
};
use aseptic_operators::AuthoritySource;
use aseptic_patches::{Mark, Observed, Outcome, Plan, Record, Step as Planned, WayBack};
use jiff::Timestamp;

use super::{IMAGE, PlanRecord};

type InZone<'a> = &'a dyn Fn(Timestamp) -> When;

impl PlanRecord {
    /// Returns when the first step with an effect was started.
    pub(super) fn first_effect(&self) -> Option<Timestamp> {
        let effect = |r: &&Record| {
            let step = r.step.and_then(|i| self.plan.body.steps.get(i));
            r.mark == Mark::Started && step.is_some_and(Planned::has_effect)
        };
        self.journal.iter().find(effect).map(|r| r.at)
    }

    fn ended(&self) -> Option<(&Outcome, Timestamp)> {
        self.journal.iter().rev().find_map(|r| match &r.mark {
            Mark::Ended { outcome } => Some((outcome, r.at)),
            _ => None,
        })
    }

    fn before(&self) -> Option<&Observed> {
        self.journal.iter().find_map(|r| r.observed.as_deref())
    }

    // Only what was read after the first effect shows what the work left.
    fn after(&self) -> Option<&Observed> {
        let first = self.first_effect()?;
        self.journal.iter().rev().filter(|r| r.at >= first).find_map(|r| r.observed.as_deref())
    }
}

/// Says what a plan is to do.
pub(super) fn purpose(plan: &Plan) -> String {
    let patch = plan.body.patch.as_ref().map(|p| format!("firmware {} ({} by {})", p.version.text, p.id, p.vendor));
    let sets = plan.body.steps.iter().filter_map(|s| match s {
        Planned::Set { key, to, .. } => Some(format!("{key} {to}")),
        _ => None,
    });
    patch.into_iter().chain(sets).collect::<Vec<_>>().join(", ")
}

pub(super) fn work(record: &PlanRecord, when: InZone<'_>) -> Work {
    let body = &record.plan.body;
    Work {
        plan: record.plan.id.0.clone(),
        made: when(record.plan.made_at),
        purpose: purpose(&record.plan),
        way_back: way_back(&body.way_back),
        ended: record.ended().map(|(outcome, at)| format!("{}, {}", ending(outcome), when(at))),
        authority: record.journal.iter().filter_map(|r| authority(r, when)).collect(),
        steps: body.steps.iter().enumerate().map(|(i, s)| step(i, s, &record.journal, when)).collect(),
        gates: gates(record),
        attestations: record.journal.iter().filter_map(|r| attestation(r, when)).collect(),
        read_back: read_back(record),
        classes: classes(record),
        changes: changes(record),
        timeline: record.journal.iter().map(|r| event(r, body.steps.as_slice(), when)).collect(),
    }
}

fn way_back(way: &WayBack) -> String {
    match way {
        WayBack::Settings => "The old values are written again.".into(),
        WayBack::Restart { measured, downgrade_prevented } => format!(
            "An image that is not confirmed is undone by a restart; {}.{}",
            if *measured { "the bootloader was asked" } else { "the profile says so" },
            if *downgrade_prevented == Some(true) { " Once confirmed, only a signed rollback goes back." } else { "" },
        ),
    }
}

fn ending(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Installed => "installed and read back".into(),
        Outcome::Refused { gates } => format!("refused before anything was changed: {}", gates.join("; ")),
        Outcome::Untrusted { detail } => format!("not trusted, nothing was changed: {detail}"),
        Outcome::FailedAsBefore { failure } => format!("failed, the device is as before: {failure}"),
        Outcome::Stopped { cause } => format!("stopped, the device is as before: {cause}"),
        Outcome::Reverted { cause } => format!("tried and undone, the device is as before: {cause}"),
    }
}

fn authority(record: &Record, when: InZone<'_>) -> Option<Authority> {
    let Mark::Opened { authority } = &record.mark else { return None };
    let (who, how, authenticated) = match authority {
        AuthoritySource::Terminal { person, authenticated } => (
            person.to_string(),
            "typed a name and the last four of the serial number at the terminal".into(),
            *authenticated,
        ),
        AuthoritySource::Order { id, signers, approvers, .. } => {
            let people: Vec<_> = approvers.iter().map(ToString::to_string).collect();
            (
                format!("work order {id}"),
                format!("signed by {}; allowed by {}", signers.join(", "), people.join(", ")),
                true,
            )
        }
    };
    Some(Authority { who, how, authenticated, at: when(record.at) })
}

fn step(index: usize, step: &Planned, journal: &[Record], when: InZone<'_>) -> Step {
    let own: Vec<&Record> = journal.iter().filter(|r| r.step == Some(index)).collect();
    let last = own.iter().rev().find(|r| !matches!(r.mark, Mark::GatesHeld { .. }));
    let state = match last.map(|r| &r.mark) {
        Some(Mark::Done) => StepState::Done,
        Some(Mark::Failed { .. }) => StepState::Failed,
        Some(Mark::Undone) => StepState::Undone,
        Some(_) => StepState::InDoubt,
        None => StepState::NotReached,
    };
    let settled = matches!(state, StepState::Done | StepState::Undone);
    Step {
        name: step.name().into(),
        detail: detail(step),
        state,
        began: own.iter().rev().find(|r| r.mark == Mark::Started).map(|r| when(r.at)),
        ended: last.filter(|_| settled).map(|r| when(r.at)),
        attempts: own.iter().map(|r| r.attempt).max().unwrap_or(0),
    }
}

fn detail(step: &Planned) -> String {
    match step {
        Planned::Backup => "read images and settings and keep them".into(),
        Planned::Set { key, from, to } => format!("{key}: {from} → {to}"),
        Planned::Reload => "restart so that settings count".into(),
        Planned::Stage => "send the image to the spare slot".into(),
        Planned::Verify => "read back that the spare slot holds the image".into(),
        Planned::Test => "mark the image for one test boot".into(),
        Planned::Restart => "restart into the image".into(),
        Planned::Check => "let it run, check it, compare all settings".into(),
        Planned::Confirm => "keep the running image".into(),
        Planned::Prove => "read everything back once more".into(),
    }
}

// A refusal names what was closed; otherwise the last evidence before an effect tells what each gate stood on.
fn gates(record: &PlanRecord) -> Vec<Gate> {
    let row = |line: &String, state: fn(&str) -> GateState| {
        let (gate, evidence) = line.split_once(": ").unwrap_or((line, ""));
        Gate { gate: gate.into(), state: state(evidence), evidence: evidence.into() }
    };
    let held = record.journal.iter().rev().find_map(|r| match &r.mark {
        Mark::GatesHeld { evidence } => Some(evidence),
        _ => None,
    });
    match (held, record.ended()) {
        (_, Some((Outcome::Refused { gates }, _))) => gates.iter().map(|l| row(l, |_| GateState::Closed)).collect(),
        (Some(lines), _) => {
            let state = |e: &str| if e.starts_with("vouched for") { GateState::Attested } else { GateState::Open };
            lines.iter().map(|l| row(l, state)).collect()
        }
        (None, _) => Vec::new(),
    }
}

fn attestation(record: &Record, when: InZone<'_>) -> Option<Attestation> {
    let Mark::Attested { attestation } = &record.mark else { return None };
    Some(Attestation {
        statement: attestation.gate.statement().into(),
        by: attestation.by.to_string(),
        authenticated: false,
        at: when(attestation.at),
        note: attestation.note.clone(),
    })
}

fn running(images: &Images) -> [String; 3] {
    match images.active(IMAGE) {
        Some(s) => [
            s.version.to_string(),
            s.hash.as_ref().map_or_else(|| "none".into(), ToString::to_string),
            if s.confirmed { "kept".into() } else { "on test".into() },
        ],
        None => ["no running image".into(), "none".into(), "unknown".into()],
    }
}

// Work that went back was to end as it began.
fn read_back(record: &PlanRecord) -> Vec<ReadBack> {
    let Some(before) = record.before().map(|o| running(&o.images)) else { return Vec::new() };
    if record.first_effect().is_none() {
        return Vec::new();
    }
    let installs = record.ended().is_none_or(|(outcome, _)| *outcome == Outcome::Installed);
    let patch = record.plan.body.patch.as_ref().filter(|_| installs);
    let planned = match patch {
        Some(p) => [p.version.text.to_string(), p.hash.to_string(), "kept".into()],
        None => before.clone(),
    };
    let read = record.after().map(|o| running(&o.images));
    ["Version", "Image hash", "Running image"]
        .into_iter()
        .zip(before)
        .zip(planned)
        .enumerate()
        .map(|(i, ((what, before), planned))| {
            let read = read.as_ref().and_then(|r| r.get(i)).cloned();
            // A version may be written in several ways; the hash tells whether it is the image.
            let equal = read.as_ref() == Some(&planned) || (what == "Version" && same_image(record, patch.is_some()));
            ReadBack { what: what.into(), before, planned, read, equal }
        })
        .collect()
}

fn same_image(record: &PlanRecord, patched: bool) -> bool {
    let hash = record.plan.body.patch.as_ref().filter(|_| patched).map(|p| &p.hash);
    let read = record.after().and_then(|o| o.images.active(IMAGE)).and_then(|s| s.hash.as_ref());
    hash.is_some() && hash == read
}

fn classes(record: &PlanRecord) -> Vec<ClassCount> {
    let (Some(before), Some(after)) = (record.before(), record.after()) else { return Vec::new() };
    let mut out: BTreeMap<SettingClass, ClassCount> = BTreeMap::new();
    for (key, was) in before.config.settings.iter().filter(|(_, r)| r.class != SettingClass::Status) {
        let count = out.entry(was.class).or_insert_with(|| ClassCount {
            class: class(was.class).into(),
            must_stay: was.class.must_stay(),
            equal: 0,
            changed: 0,
            not_read: 0,
        });
        match (&was.reading, after.config.settings.get(key).map(|r| &r.reading)) {
            (Reading::Value(a), Some(Reading::Value(b))) if a == b => count.equal += 1,
            (Reading::Value(_), Some(Reading::Value(_))) => count.changed += 1,
            _ => count.not_read += 1,
        }
    }
    out.into_values().collect()
}

fn class(class: SettingClass) -> &'static str {
    match class {
        SettingClass::Security => "security",
        SettingClass::Therapy => "therapy",
        SettingClass::Alarm => "alarm",
        SettingClass::Library => "library",
        SettingClass::Status => "status",
        SettingClass::Unknown => "unknown",
    }
}

fn changes(record: &PlanRecord) -> Vec<SettingChange> {
    let (Some(before), Some(after)) = (record.before(), record.after()) else { return Vec::new() };
    let shown = |config: &ConfigSnapshot, key: &SettingKey| config.value(key).map(ToString::to_string);
    let written = |key: &SettingKey| {
        record
            .plan
            .body
            .steps
            .iter()
            .any(|s| matches!(s, Planned::Set { key: k, to, .. } if k == key && after.config.value(k) == Some(to)))
    };
    let row = |key: &SettingKey| SettingChange {
        class: before.config.settings.get(key).map_or("unknown", |r| class(r.class)).into(),
        key: key.to_string(),
        before: shown(&before.config, key),
        after: shown(&after.config, key),
        planned: written(key),
    };
    before.config.differences(&after.config).into_iter().map(row).collect()
}

fn event(record: &Record, steps: &[Planned], when: InZone<'_>) -> Event {
    let what = match &record.mark {
        Mark::Opened { .. } => "run opened".into(),
        Mark::Attested { attestation } => format!("{} vouches: {}", attestation.by, attestation.gate.statement()),
        Mark::GatesHeld { .. } => "all gates held".into(),
        Mark::Started => match record.attempt {
            0 | 1 => "started".into(),
            n => format!("started, attempt {n}"),
        },
        Mark::Done => "done".into(),
        Mark::Failed { failure } => format!("failed: {failure}"),
        Mark::TurnedBack { cause } => format!("going back: {cause}"),
        Mark::Undoing => "undoing".into(),
        Mark::Undone => "undone".into(),
        Mark::Halted { halt } => format!("halted: {halt}"),
        Mark::Ended { outcome } => format!("ended: {}", ending(outcome)),
    };
    let step = record.step.and_then(|i| steps.get(i)).map(|s| s.name().to_owned());
    Event { at: when(record.at), step, what, actor: record.actor.clone() }
}
