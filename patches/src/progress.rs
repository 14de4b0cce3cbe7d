//! The journal folded into where a plan stands.

use aseptic_device::ConfigSnapshot;

use crate::journal::{Cause, Failure, Mark, Observed, Outcome, Record};
use crate::plan::{Plan, Step};

/// Where one step stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepProgress {
    /// How often it was started.
    pub attempts: u32,
    /// The device showed that it is done.
    pub done: bool,
    /// How it failed since it was last started.
    pub failure: Option<Failure>,
    /// How often undoing it was started.
    pub undo_attempts: u32,
    /// The device showed that it is undone.
    pub undone: bool,
}

/// Where a plan stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// One entry a step.
    pub steps: Vec<StepProgress>,
    /// Why it goes back, once it does.
    pub turned_back: Option<Cause>,
    /// How it ended.
    pub ended: Option<Outcome>,
    /// What the device showed before anything was changed.
    pub backup: Option<Observed>,
}

impl Progress {
    /// Folds the entries of a plan.
    pub fn of(plan: &Plan, records: &[Record]) -> Self {
        let mut progress = Self {
            steps: vec![StepProgress::default(); plan.body.steps.len()],
            turned_back: None,
            ended: None,
            backup: None,
        };
        for record in records {
            progress.take(plan, record);
        }
        progress
    }

    fn take(&mut self, plan: &Plan, record: &Record) {
        match &record.mark {
            Mark::TurnedBack { cause } if self.turned_back.is_none() => self.turned_back = Some(cause.clone()),
            Mark::Ended { outcome } => self.ended = Some(outcome.clone()),
            Mark::Done if self.is_backup(plan, record) => self.backup = record.observed.as_deref().cloned(),
            Mark::TurnedBack { .. }
            | Mark::Opened { .. }
            | Mark::Attested { .. }
            | Mark::GatesHeld { .. }
            | Mark::Halted { .. }
            | Mark::Started
            | Mark::Done
            | Mark::Failed { .. }
            | Mark::Undoing
            | Mark::Undone => {}
        }
        let Some(step) = record.step.and_then(|i| self.steps.get_mut(i)) else { return };
        match &record.mark {
            Mark::Started => {
                step.attempts = step.attempts.saturating_add(1);
                step.failure = None;
            }
            Mark::Done => step.done = true,
            Mark::Failed { failure } => step.failure = Some(failure.clone()),
            Mark::Undoing => step.undo_attempts = step.undo_attempts.saturating_add(1),
            Mark::Undone => step.undone = true,
            Mark::Opened { .. }
            | Mark::Attested { .. }
            | Mark::GatesHeld { .. }
            | Mark::TurnedBack { .. }
            | Mark::Halted { .. }
            | Mark::Ended { .. } => {}
        }
    }

    fn is_backup(&self, plan: &Plan, record: &Record) -> bool {
        record.step.and_then(|i| plan.body.steps.get(i)) == Some(&Step::Backup)
    }

    /// Returns how often a kind of step was started.
    pub fn attempts(&self, plan: &Plan, kind: &Step) -> u32 {
        self.find(plan, kind).map_or(0, |(_, s)| s.attempts)
    }

    /// Returns whether a kind of step was ever started.
    pub fn begun(&self, plan: &Plan, kind: &Step) -> bool {
        self.attempts(plan, kind) > 0
    }

    /// Returns the index and progress of a step.
    pub fn find(&self, plan: &Plan, kind: &Step) -> Option<(usize, &StepProgress)> {
        let index = plan.body.steps.iter().position(|s| s == kind)?;
        self.steps.get(index).map(|s| (index, s))
    }

    /// Returns whether anything with an effect was ever started.
    pub fn touched(&self, plan: &Plan) -> bool {
        plan.body.steps.iter().zip(&self.steps).any(|(step, p)| step.has_effect() && p.attempts > 0)
    }

    /// Returns whether going back needs an act on the device: a setting was written or a restart could start the new image.
    pub fn needs_undo(&self, plan: &Plan) -> bool {
        plan.body.steps.iter().zip(&self.steps).any(|(step, p)| {
            p.attempts > 0 && matches!(step, Step::Set { .. } | Step::Test | Step::Restart | Step::Confirm)
        })
    }

    /// Returns the settings of the backup.
    pub fn backup_config(&self) -> Option<&ConfigSnapshot> {
        self.backup.as_ref().map(|o| &o.config)
    }
}
