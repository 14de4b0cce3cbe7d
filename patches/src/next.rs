//! The whole state machine, pure: what to do next, given what was written down and what the device shows.

use aseptic_device::{ImageHash, Moment, SettingKey, SlotState, Value};
use aseptic_operators::GateId;

use crate::gates::{GateState, Verdict};
use crate::journal::{Cause, Failure, Halt, Mark, Observed, Outcome, Record};
use crate::look::{Look, foreign, look};
use crate::plan::{Plan, Step};
use crate::progress::{Progress, StepProgress};

/// Starts of one step after which it has failed for good. An upload resumes, so it has more.
pub const ATTEMPTS: u32 = 8;
/// The same for the upload.
pub const UPLOAD_ATTEMPTS: u32 = 50;

/// What is true around the device.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The present moment.
    pub now: Moment,
    /// Somebody asked to stop.
    pub cancel: bool,
    /// End of the window.
    pub deadline: Option<Moment>,
    /// All gates of the plan, judged now.
    pub gates: &'a [GateState],
    /// A person can be asked.
    pub attended: bool,
    /// A closed gate was waited for as long as is allowed.
    pub patience_over: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Act on the device for a step.
    Do {
        /// Index of the step.
        step: usize,
        /// The act.
        act: Act,
    },
    /// Write down what the device shows; nothing is done to it.
    Note {
        /// Index of the step, if it is about one.
        step: Option<usize>,
        /// What to write.
        mark: Mark,
    },
    /// Read the device again, or wait for it.
    Wait(Waiting),
    /// Ask a person to vouch for these gates.
    Ask(Vec<GateId>),
    /// Act on the device to undo a step.
    Undo {
        /// Index of the step.
        step: usize,
        /// The act.
        act: Act,
    },
    /// The plan is over.
    Finish(Outcome),
    /// Only a person can go on.
    Halt(Halt),
}

/// One act on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Read everything and keep it.
    Backup,
    /// Write a setting.
    Set {
        /// Setting.
        key: SettingKey,
        /// Value.
        value: Value,
    },
    /// Restart; the same image runs afterwards.
    Reload,
    /// Send the image of the plan.
    Upload,
    /// Mark the image of the plan for one test boot.
    MarkTest,
    /// Restart into the other image.
    Restart,
    /// Let the new image run and check it.
    Soak,
    /// Keep the running image.
    Confirm,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// More or fresher readings.
    Readings,
    /// Closed gates, each with its reason.
    Gates(Vec<String>),
}

/// Decides what to do next. Pure: the same arguments give the same answer.
pub fn next(plan: &Plan, records: &[Record], seen: &Observed, situation: &Situation<'_>) -> Next {
    let progress = Progress::of(plan, records);
    if let Some(outcome) = &progress.ended {
        return Next::Finish(outcome.clone());
    }
    if let Some(detail) = foreign(plan, &progress, seen) {
        return if progress.touched(plan) {
            Next::Halt(Halt::Foreign { detail })
        } else {
            Next::Finish(Outcome::Refused { gates: vec![format!("the device is not as planned for: {detail}")] })
        };
    }
    let state = State { plan, progress: &progress, seen, situation };
    match (&progress.turned_back, state.must_turn_back()) {
        (Some(cause), _) => state.back(cause),
        (None, Some(cause)) => turn_back(cause),
        (None, None) => state.forward(),
    }
}

fn turn_back(cause: Cause) -> Next {
    Next::Note { step: None, mark: Mark::TurnedBack { cause } }
}

struct State<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    seen: &'a Observed,
    situation: &'a Situation<'a>,
}

impl State<'_> {
    fn must_turn_back(&self) -> Option<Cause> {
        if self.progress.begun(self.plan, &Step::Confirm) {
            return None;
        }
        if self.situation.cancel {
            return Some(Cause::Cancelled);
        }
        let reserve = std::time::Duration::from_secs(self.plan.estimate.revert_s.into());
        let late = self.situation.deadline.is_some_and(|end| self.situation.now.plus(reserve).reached(&end));
        late.then_some(Cause::Deadline)
    }

    fn forward(&self) -> Next {
        for (index, (step, progress)) in self.plan.body.steps.iter().zip(&self.progress.steps).enumerate() {
            if progress.done {
                continue;
            }
            return match look(self.plan, step, self.progress, progress, self.seen) {
                Look::Done => Next::Note { step: Some(index), mark: Mark::Done },
                Look::Foreign(detail) => Next::Halt(Halt::Foreign { detail }),
                Look::Failed(failure) => self.failed(index, step, progress, failure),
                Look::Todo(act) => self.act(index, step, progress, act),
            };
        }
        Next::Finish(Outcome::Installed)
    }

    fn failed(&self, index: usize, step: &Step, progress: &StepProgress, failure: Failure) -> Next {
        if step == &Step::Prove && self.progress.begun(self.plan, &Step::Confirm) {
            return Next::Halt(Halt::NotProved { detail: failure.to_string() });
        }
        if progress.failure.as_ref() == Some(&failure) {
            return turn_back(Cause::Failed { failure });
        }
        Next::Note { step: Some(index), mark: Mark::Failed { failure } }
    }

    fn act(&self, index: usize, step: &Step, progress: &StepProgress, act: Act) -> Next {
        let limit = if act == Act::Upload { UPLOAD_ATTEMPTS } else { ATTEMPTS };
        match &progress.failure {
            Some(Failure::Link { .. }) | None if progress.attempts < limit => {}
            Some(failure) => return turn_back(Cause::Failed { failure: failure.clone() }),
            None => {
                let detail =
                    format!("{} was tried {} times and is not shown by the device", step.name(), progress.attempts);
                return turn_back(Cause::Failed { failure: Failure::NotReadBack { detail } });
            }
        }
        if step.has_effect()
            && let Some(wait) = self.gates()
        {
            return wait;
        }
        Next::Do { step: index, act }
    }

    // None: every gate is open.
    fn gates(&self) -> Option<Next> {
        let with = |verdict| self.situation.gates.iter().filter(move |g| g.verdict == verdict);
        let closed: Vec<String> = with(Verdict::Closed).map(describe).collect();
        if !closed.is_empty() {
            return Some(self.closed(closed));
        }
        let unattested: Vec<&GateState> = with(Verdict::NeedsAttestation).collect();
        if !unattested.is_empty() {
            let gates: Vec<GateId> = unattested.iter().map(|g| g.gate).collect();
            if self.situation.attended {
                return Some(Next::Ask(gates));
            }
            return Some(match self.standing() {
                Standing::Untouched => {
                    Next::Finish(Outcome::Refused { gates: unattested.into_iter().map(describe).collect() })
                }
                Standing::OnlyStaged => {
                    turn_back(Cause::Blocked { gates: unattested.into_iter().map(describe).collect() })
                }
                Standing::Changed => Next::Halt(Halt::Unattested { gates }),
            });
        }
        with(Verdict::NeedsReading).next().map(|_| Next::Wait(Waiting::Readings))
    }

    fn closed(&self, closed: Vec<String>) -> Next {
        match self.standing() {
            Standing::Untouched => Next::Finish(Outcome::Refused { gates: closed }),
            _ if !self.situation.patience_over => Next::Wait(Waiting::Gates(closed)),
            Standing::OnlyStaged => turn_back(Cause::Blocked { gates: closed }),
            Standing::Changed => Next::Halt(Halt::Blocked { gates: closed }),
        }
    }

    fn standing(&self) -> Standing {
        if !self.progress.touched(self.plan) {
            Standing::Untouched
        } else if self.progress.turned_back.is_none() && !self.progress.needs_undo(self.plan) {
            Standing::OnlyStaged
        } else {
            Standing::Changed
        }
    }

    fn back(&self, cause: &Cause) -> Next {
        self.back_to_old_image().or_else(|| self.back_to_old_settings()).unwrap_or_else(|| self.as_before(cause))
    }

    fn back_to_old_image(&self) -> Option<Next> {
        let patch = self.plan.body.patch.as_ref()?;
        let images = &self.seen.images;
        let runs = images.active(patch.image).filter(|s| s.hash.as_ref() == Some(&patch.hash));
        if runs.is_some_and(|s| s.confirmed) {
            let detail = "the new image is already kept; going back needs a plan of its own (aseptic revert)".into();
            return Some(Next::Halt(Halt::NotAsBefore { detail }));
        }
        let waits = is_pending(images.spare(patch.image), &patch.hash);
        if runs.is_none() && !waits {
            return None;
        }
        Some(self.undo_by(&Step::Restart, Act::Restart, "the old image does not come back after a restart"))
    }

    fn back_to_old_settings(&self) -> Option<Next> {
        for (index, (step, progress)) in self.plan.body.steps.iter().zip(&self.progress.steps).enumerate().rev() {
            let Step::Set { key, from, .. } = step else { continue };
            if progress.attempts == 0 || progress.undone {
                continue;
            }
            // Once the way back was begun the old value may stand in memory only, and the new one is what is saved.
            if progress.undo_attempts == 0 && self.seen.config.value(key) == Some(from) {
                return Some(Next::Note { step: Some(index), mark: Mark::Undone });
            }
            let act = Act::Set { key: key.clone(), value: from.clone() };
            return Some(self.undo(index, progress, act, &format!("{key} cannot be written back")));
        }
        let (_, reload) = self.progress.find(self.plan, &Step::Reload)?;
        (reload.attempts > 0 && !reload.undone)
            .then(|| self.undo_by(&Step::Reload, Act::Reload, "the device does not restart"))
    }

    fn undo_by(&self, kind: &Step, act: Act, why_not: &str) -> Next {
        match self.progress.find(self.plan, kind) {
            Some((index, progress)) => self.undo(index, progress, act, why_not),
            None => Next::Halt(Halt::NotAsBefore { detail: why_not.into() }),
        }
    }

    fn undo(&self, index: usize, progress: &StepProgress, act: Act, why_not: &str) -> Next {
        if progress.undo_attempts >= ATTEMPTS {
            return Next::Halt(Halt::NotAsBefore { detail: why_not.into() });
        }
        self.gates().unwrap_or(Next::Undo { step: index, act })
    }

    fn as_before(&self, cause: &Cause) -> Next {
        let image = self.plan.body.patch.as_ref().map(|p| p.image).unwrap_or_default();
        let running = self.seen.images.active(image).and_then(|s| s.hash.as_ref());
        if running != self.plan.body.from.running.as_ref() {
            let detail = "another image runs than before".into();
            return Next::Halt(Halt::NotAsBefore { detail });
        }
        if let Some(backup) = self.progress.backup_config() {
            let changed: Vec<String> = backup.differences(&self.seen.config).iter().map(ToString::to_string).collect();
            if !changed.is_empty() {
                let detail = format!("these settings differ from the backup: {}", changed.join(", "));
                return Next::Halt(Halt::NotAsBefore { detail });
            }
        }
        Next::Finish(self.outcome(cause))
    }

    fn outcome(&self, cause: &Cause) -> Outcome {
        let tried = self.progress.begun(self.plan, &Step::Restart)
            || self
                .plan
                .body
                .steps
                .iter()
                .zip(&self.progress.steps)
                .any(|(s, p)| matches!(s, Step::Set { .. }) && p.done);
        match cause {
            Cause::Failed { failure: Failure::Untrusted { detail } } => Outcome::Untrusted { detail: detail.clone() },
            Cause::Failed { .. } if tried => Outcome::Reverted { cause: cause.clone() },
            Cause::Failed { failure } => Outcome::FailedAsBefore { failure: failure.clone() },
            Cause::Cancelled | Cause::Deadline | Cause::Blocked { .. } => Outcome::Stopped { cause: cause.clone() },
        }
    }
}

enum Standing {
    Untouched,
    OnlyStaged,
    Changed,
}

fn describe(gate: &GateState) -> String {
    format!("{}: {}", gate.gate, gate.evidence)
}

fn is_pending(slot: Option<&SlotState>, hash: &ImageHash) -> bool {
    slot.is_some_and(|s| s.pending && s.hash.as_ref() == Some(hash))
}

#[cfg(test)]
#[path = "next_tests.rs"]
mod tests;
