//! The only loop that changes a device: ask `next`, write it down, act, look, again.
//!
//! After a power cut the same loop starts again from the journal; there is no other way to go on.

mod act;
mod watch;

use std::time::Duration;

use aseptic_device::driver::Sensed;
use aseptic_device::{Changing, Clock, DriverError, ImageSource, Moment, Session, SessionError};
use aseptic_operators::{Attestation, Authority, GateId};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gates::{Allowed, Evidence, GateState, Verdict, judge};
use crate::journal::{Failure, Halt, Journal, JournalError, Mark, Observed, Outcome, Record, attempts};
use crate::next::{Next, Situation, Waiting, next};
use crate::plan::{PatchRef, Plan};
use crate::progress::Progress;

/// How long a closed gate is waited for before the run turns back or halts.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A person who can be asked to vouch.
#[async_trait]
pub trait Attend: Send + Sync {
    /// Asks for the gates; an empty answer is a no.
    async fn attest(&self, gates: &[GateId]) -> Vec<Attestation>;
}

/// Where images come from. Opening checks hash and maker's signature again, before a byte is sent.
pub trait Objects: Send + Sync {
    /// Returns the image of a patch, or why it is not to be trusted.
    fn open(&self, patch: &PatchRef) -> Result<Box<dyn ImageSource>, String>;
}

/// What a run is given besides the device.
pub struct Hands<'a> {
    /// Says whether somebody asked to stop.
    pub cancelled: &'a (dyn Fn() -> bool + Send + Sync),
    /// Somebody to ask, if there is anybody.
    pub person: Option<&'a dyn Attend>,
    /// Takes what happens.
    pub events: &'a (dyn Fn(RunEvent) + Send + Sync),
    /// Reads the laptop's own power.
    pub laptop: &'a (dyn Fn() -> Sensed + Send + Sync),
    /// Gives images.
    pub objects: &'a dyn Objects,
    /// End of the window.
    pub deadline: Option<Moment>,
    /// How the device was identified twice, in words.
    pub identity: Option<String>,
    /// What people vouched for before the run.
    pub attestations: Vec<Attestation>,
    /// Begin anew where the plan's last attempt is over; otherwise that is how the run ends.
    pub anew: bool,
}

/// What happens during a run, in order. Additive within a major version of the event schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum RunEvent {
    /// A step is about to be tried.
    #[serde(rename_all = "kebab-case")]
    StepStarted {
        /// Index in the plan.
        step: usize,
        /// Name of the step.
        name: String,
        /// Counts from 1.
        attempt: u32,
    },
    /// Bytes that the device acknowledged.
    #[serde(rename_all = "kebab-case")]
    Progress {
        /// So far.
        acknowledged: u64,
        /// In all.
        total: u64,
    },
    /// The device shows that the step is done.
    #[serde(rename_all = "kebab-case")]
    StepDone {
        /// Index in the plan.
        step: usize,
        /// Name of the step.
        name: String,
    },
    /// The step failed.
    #[serde(rename_all = "kebab-case")]
    StepFailed {
        /// Index in the plan.
        step: usize,
        /// Name of the step.
        name: String,
        /// How.
        failure: String,
    },
    /// From here on the plan goes back.
    #[serde(rename_all = "kebab-case")]
    TurnedBack {
        /// Why.
        cause: String,
    },
    /// Undoing a step is about to be tried.
    #[serde(rename_all = "kebab-case")]
    Undoing {
        /// Index in the plan.
        step: usize,
        /// Name of the step.
        name: String,
    },
    /// The gates are being read.
    #[serde(rename_all = "kebab-case")]
    Gates {
        /// One line a gate that is not open.
        waiting: Vec<String>,
    },
    /// The link was lost, or closed for a restart; the device is being looked for.
    #[serde(rename_all = "kebab-case")]
    Searching {
        /// The longest wait, in seconds.
        within_s: u64,
    },
    /// The device is back.
    #[serde(rename_all = "kebab-case")]
    Back {
        /// Where.
        address: String,
    },
    /// The new firmware runs and is being watched.
    #[serde(rename_all = "kebab-case")]
    Soaking {
        /// Seconds so far.
        elapsed_s: u64,
        /// Seconds in all.
        total_s: u64,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The plan is over.
    Over(Outcome),
    /// Only a person can go on; the plan can be resumed.
    Halted(Halt),
}

/// A run that could not be carried on safely.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Nothing more was done to the device, since it could not be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The authority is for another device; nothing was done.
    #[error("the authority is for another device than the plan")]
    Authority,
}

/// Carries a plan out, or on, or back, until it is over or only a person can go on.
pub async fn run(
    plan: &Plan,
    authority: &Authority,
    session: &mut Session<Changing>,
    journal: &mut dyn Journal,
    clock: &dyn Clock,
    hands: &Hands<'_>,
) -> Result<Ended, RunError> {
    if authority.device() != &plan.body.device {
        return Err(RunError::Authority);
    }
    let mut records = attempts(journal.replay(&plan.id).await?).pop().unwrap_or_default();
    match Progress::of(plan, &records).ended {
        Some(outcome) if !hands.anew => return Ok(Ended::Over(outcome)),
        Some(_) => records.clear(),
        None => {}
    }
    let window = authority.window();
    let evidence = Evidence {
        attestations: hands.attestations.clone(),
        ordered: window.map(|w| (authority.attestations().to_vec(), w.until)),
        identity: hands.identity.clone(),
        allowed: Some(Allowed { by: authority.source().actor(), until: window.map(|w| w.until) }),
        ..Evidence::default()
    };
    let mut runner = Runner {
        plan,
        actor: authority.source().actor(),
        session,
        journal,
        clock,
        hands,
        records,
        evidence,
        seen: None,
        closed_since: None,
        declined: 0,
    };
    runner.write(None, Mark::Opened { authority: authority.source().clone() }, None).await?;
    runner.run().await
}

struct Runner<'a> {
    plan: &'a Plan,
    actor: String,
    session: &'a mut Session<Changing>,
    journal: &'a mut dyn Journal,
    clock: &'a dyn Clock,
    hands: &'a Hands<'a>,
    records: Vec<Record>,
    evidence: Evidence,
    seen: Option<Observed>,
    closed_since: Option<Moment>,
    // How often the person would not vouch: the first time stops the plan, after the second nobody is asked any more.
    declined: u32,
}

impl Runner<'_> {
    async fn run(&mut self) -> Result<Ended, RunError> {
        loop {
            let seen = match self.observe().await {
                Ok(seen) => seen,
                Err(halt) => return self.halt(halt).await,
            };
            let gates = self.judge();
            match next(self.plan, &self.records, &seen, &self.situation(&gates).await?) {
                Next::Note { step, mark } => self.note(step, mark, &seen).await?,
                Next::Do { step, act } => {
                    self.started(step, Mark::Started, &act, &gates).await?;
                    self.carry_out(step, act, false).await?;
                }
                Next::Undo { step, act } => {
                    self.started(step, Mark::Undoing, &act, &gates).await?;
                    self.carry_out(step, act, true).await?;
                }
                Next::Wait(waiting) => self.wait(waiting, &gates).await,
                Next::Ask(asked) => self.ask(&asked).await?,
                Next::Finish(outcome) => return self.finish(outcome, &seen).await,
                Next::Halt(halt) => return self.halt(halt).await,
            }
        }
    }

    fn judge(&mut self) -> Vec<GateState> {
        self.evidence.laptop = Some((self.clock.now(), (self.hands.laptop)()));
        judge(&self.plan.body.gates, &self.session.profile().timing, &self.evidence, &self.clock.now())
    }

    async fn situation<'g>(&self, gates: &'g [GateState]) -> Result<Situation<'g>, RunError> {
        let now = self.clock.now();
        Ok(Situation {
            now,
            cancel: self.declined > 0
                || (self.hands.cancelled)()
                || self.journal.cancel_requested(&self.plan.id).await?,
            deadline: self.hands.deadline,
            gates,
            attended: self.hands.person.is_some() && self.declined < 2,
            patience_over: self.closed_since.is_some_and(|since| now.since(&since) >= PATIENCE),
        })
    }

    async fn write(&mut self, step: Option<usize>, mark: Mark, observed: Option<Observed>) -> Result<(), RunError> {
        let started = |r: &&Record| r.step == step && matches!(r.mark, Mark::Started | Mark::Undoing);
        let before = u32::try_from(self.records.iter().filter(started).count()).unwrap_or(u32::MAX);
        let starts = matches!(mark, Mark::Started | Mark::Undoing);
        let record = Record {
            plan: self.plan.id.clone(),
            step,
            attempt: before.saturating_add(u32::from(starts)),
            mark,
            at: self.clock.now().wall,
            actor: self.actor.clone(),
            observed: observed.map(Box::new),
        };
        self.journal.append(&record).await?;
        self.records.push(record);
        Ok(())
    }

    async fn started(
        &mut self,
        step: usize,
        mark: Mark,
        act: &crate::next::Act,
        gates: &[GateState],
    ) -> Result<(), RunError> {
        if act.has_effect() {
            let evidence = gates.iter().map(|g| format!("{}: {}", g.gate, g.evidence)).collect();
            self.write(Some(step), Mark::GatesHeld { evidence }, None).await?;
        }
        let undoing = mark == Mark::Undoing;
        self.write(Some(step), mark, None).await?;
        let attempt = self.records.last().map_or(0, |r| r.attempt);
        let name = self.step_name(step);
        (self.hands.events)(if undoing {
            RunEvent::Undoing { step, name }
        } else {
            RunEvent::StepStarted { step, name, attempt }
        });
        Ok(())
    }

    async fn note(&mut self, step: Option<usize>, mark: Mark, seen: &Observed) -> Result<(), RunError> {
        let name = step.map(|s| self.step_name(s)).unwrap_or_default();
        match (&mark, step) {
            (Mark::Done, Some(step)) => (self.hands.events)(RunEvent::StepDone { step, name }),
            (Mark::Failed { failure }, Some(step)) => {
                (self.hands.events)(RunEvent::StepFailed { step, name, failure: failure.to_string() });
            }
            (Mark::TurnedBack { cause }, _) => (self.hands.events)(RunEvent::TurnedBack { cause: cause.to_string() }),
            _ => {}
        }
        self.write(step, mark, Some(seen.clone())).await
    }

    async fn finish(&mut self, outcome: Outcome, seen: &Observed) -> Result<Ended, RunError> {
        self.write(None, Mark::Ended { outcome: outcome.clone() }, Some(seen.clone())).await?;
        Ok(Ended::Over(outcome))
    }

    async fn halt(&mut self, halt: Halt) -> Result<Ended, RunError> {
        self.write(None, Mark::Halted { halt: halt.clone() }, None).await?;
        Ok(Ended::Halted(halt))
    }

    async fn ask(&mut self, gates: &[GateId]) -> Result<(), RunError> {
        let Some(person) = self.hands.person else { return Ok(()) };
        let answers = person.attest(gates).await;
        self.declined += u32::from(answers.is_empty());
        for attestation in answers {
            self.write(None, Mark::Attested { attestation: attestation.clone() }, None).await?;
            self.evidence.attestations.push(attestation);
        }
        Ok(())
    }

    async fn wait(&mut self, waiting: Waiting, gates: &[GateState]) {
        let shut = |g: &&GateState| matches!(g.verdict, Verdict::Closed | Verdict::NeedsReading);
        let lines = gates.iter().filter(shut).map(|g| format!("{}: {}", g.gate, g.evidence)).collect();
        (self.hands.events)(RunEvent::Gates { waiting: lines });
        match waiting {
            Waiting::Readings => self.closed_since = None,
            Waiting::Gates(_) => self.closed_since = self.closed_since.or_else(|| Some(self.clock.now())),
        }
        let between = self.between_readings();
        if let Some((newest, _)) = self.evidence.readings.last() {
            let age = self.clock.now().since(newest);
            if age < between {
                self.clock.sleep(between.saturating_sub(age)).await;
            }
        }
        self.read_readiness().await;
    }

    fn between_readings(&self) -> Duration {
        (self.session.profile().timing.gate_span() / 3).clamp(Duration::from_millis(200), Duration::from_secs(10))
    }

    fn step_name(&self, step: usize) -> String {
        self.plan.body.steps.get(step).map(ToString::to_string).unwrap_or_default()
    }
}

// What a failed request means for the step. Lost answers leave doubt and are looked up; a refusal is an answer.
fn failure_of(error: &DriverError) -> Failure {
    if error.leaves_doubt() {
        Failure::Link { detail: error.to_string() }
    } else {
        Failure::Refused { detail: error.to_string() }
    }
}

fn halt_of(error: &SessionError) -> Halt {
    match error {
        SessionError::OtherDevice { .. } => Halt::OtherDevice { detail: error.to_string() },
        _ => Halt::Unreachable { detail: error.to_string() },
    }
}
