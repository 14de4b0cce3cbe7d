//! What a reader must know before believing a report: gathered from the data, so that nobody can forget to say it.

use crate::error::EvidenceError;
use crate::proof::Reach;
use crate::report::{Agreement, Freshness, OutcomeKind, Report, Service, Verdict};
use crate::work::{StepState, Work};

impl Report {
    /// Returns the cautions, the gravest first.
    pub fn cautions(&self) -> Result<Vec<String>, EvidenceError> {
        let mut out = Vec::new();
        if self.simulated {
            out.push("The device is simulated. Nothing here is about a real device.".into());
        }
        match self.device.agreement {
            Agreement::Agree => {}
            Agreement::Differ => out.push("Label and device name different devices.".into()),
            Agreement::OnlyOne => {
                out.push("Only one identifier is known: nothing shows that this is the device on the label.".into())
            }
        }
        self.works.iter().for_each(|w| work(w, &mut out));
        contradictions(self, &mut out);
        if !self.profile.reviewed {
            out.push("The profile came from outside a verified kit: nobody reviewed how this device is read.".into());
        }
        let unchecked = unchecked_names(self);
        if !unchecked.is_empty() {
            out.push(format!("Nobody checked these names: {}.", unchecked.join(", ")));
        }
        kit(self, &mut out);
        match self.reach()? {
            Reach::Report => {}
            Reach::EntryOnly => {
                out.push("The audit log proves the entry printed below, not every line of this report.".into())
            }
            Reach::OtherReport => out
                .push("The audit log carries the digest of another report: this one is not as it was written.".into()),
            Reach::None => out.push("There is no proof from an audit log.".into()),
        }
        Ok(out)
    }
}

fn work(work: &Work, out: &mut Vec<String>) {
    let named = |names: Vec<&str>| names.join(", ");
    let differ: Vec<_> =
        work.read_back.iter().filter(|r| r.read.is_some() && !r.equal).map(|r| r.what.as_str()).collect();
    if !differ.is_empty() {
        out.push(format!("Not as planned when read back: {}.", named(differ)));
    }
    let unread: Vec<_> = work.read_back.iter().filter(|r| r.read.is_none()).map(|r| r.what.as_str()).collect();
    if !unread.is_empty() {
        out.push(format!("Not read back: {}.", named(unread)));
    }
    let moved = work.classes.iter().filter(|c| c.must_stay && c.changed + c.not_read > 0);
    let moved: Vec<_> = moved.map(|c| c.class.as_str()).collect();
    if !moved.is_empty() {
        out.push(format!(
            "Settings that must stay are changed or could not be compared: {}. Do not return the device to service.",
            named(moved)
        ));
    }
    let unplanned: Vec<_> = work.changes.iter().filter(|c| !c.planned).map(|c| c.key.as_str()).collect();
    if !unplanned.is_empty() {
        out.push(format!("Changed without being planned, or not as planned: {}.", named(unplanned)));
    }
    let doubt: Vec<_> = work.steps.iter().filter(|s| s.state == StepState::InDoubt).map(|s| s.name.as_str()).collect();
    if !doubt.is_empty() {
        out.push(format!("Begun, and not looked up since: {}.", named(doubt)));
    }
}

// Two things that cannot both be true are said, never smoothed over.
fn contradictions(report: &Report, out: &mut Vec<String>) {
    let installed = report.outcome.kind == OutcomeKind::Installed;
    let read_back = report.works.iter().any(|w| !w.read_back.is_empty());
    if installed && !read_back {
        out.push("It says installed, but nothing was read back.".into());
    }
    let touched = report.works.iter().flat_map(|w| &w.steps).any(|s| s.attempts > 0 && s.state != StepState::Undone);
    if installed && report.service == Service::Unchanged {
        out.push("It says installed, and that nothing was changed.".into());
    }
    if report.outcome.kind == OutcomeKind::Assessed && touched {
        out.push("It says that nothing was changed, but steps were begun.".into());
    }
    if report.outcome.kind == OutcomeKind::Halted && matches!(report.service, Service::Returned { .. }) {
        out.push("It says returned to service, but the work stopped halfway.".into());
    }
    let last = report.after.as_ref().or(report.before.as_ref());
    let unknown = last.map_or(0, |f| f.rows.iter().filter(|r| r.verdict == Verdict::Unknown).count());
    if unknown > 0 {
        out.push(format!("{unknown} rules could not be judged. Unknown is not passed."));
    }
}

fn unchecked_names(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let authority = report.works.iter().flat_map(|w| &w.authority).filter(|a| !a.authenticated).map(|a| a.who.as_str());
    let vouched = report.works.iter().flat_map(|w| &w.attestations).filter(|a| !a.authenticated).map(|a| a.by.as_str());
    let returned = match &report.service {
        Service::Returned { by, authenticated: false, .. } => Some(by.as_str()),
        _ => None,
    };
    for name in authority.chain(vouched).chain(returned) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn kit(report: &Report, out: &mut Vec<String>) {
    let Some(kit) = &report.kit else { return };
    if kit.freshness == Freshness::Stale {
        let by = kit.accepted_by.as_deref().unwrap_or("nobody");
        out.push(format!("The kit was stale when it was imported; accepted by {by}."));
    }
    if kit.clock_jumped_back {
        out.push("The laptop's clock had gone back: its times may be wrong.".into());
    }
}

#[cfg(test)]
#[path = "cautions_tests.rs"]
mod tests;
