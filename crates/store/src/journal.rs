//! The journal of plans, kept together with the audit log.

use aseptic_patches::journal::is_over;
use aseptic_patches::{Journal, JournalError, Mark, Plan, PlanId, Record};
use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::params;

use crate::audit::{NewEntry, append, digest};
use crate::db::Store;
use crate::error::StoreError;

/// A plan that was begun and is not over.
#[derive(Debug, Clone, PartialEq)]
pub struct Interrupted {
    /// The plan.
    pub plan: Plan,
    /// The last thing that was written down.
    pub last: Record,
}

/// One try to carry a plan out. The same plan may be begun anew once a try is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The plan.
    pub plan: Plan,
    /// Counts the tries of the plan, from 1.
    pub number: u32,
    /// Its entries, oldest first.
    pub records: Vec<Record>,
}

/// The journal of one plan's device and visit.
#[derive(Debug, Clone)]
pub struct PlanJournal {
    store: Store,
    device: String,
    visit: Option<String>,
}

impl PlanJournal {
    /// Opens the journal for a plan.
    pub fn new(store: Store, plan: &Plan) -> Self {
        Self { store, device: plan.body.device.to_string(), visit: plan.visit.clone() }
    }
}

fn kind(mark: &Mark) -> &'static str {
    match mark {
        Mark::Opened { .. } => "plan.opened",
        Mark::Attested { .. } => "plan.attested",
        Mark::GatesHeld { .. } => "plan.gates-held",
        Mark::Started => "step.started",
        Mark::Done => "step.done",
        Mark::Failed { .. } => "step.failed",
        Mark::TurnedBack { .. } => "plan.turned-back",
        Mark::Undoing => "step.undoing",
        Mark::Undone => "step.undone",
        Mark::Halted { .. } => "plan.halted",
        Mark::Ended { .. } => "plan.ended",
    }
}

#[async_trait]
impl Journal for PlanJournal {
    async fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let text = serde_json::to_string(record).map_err(|e| JournalError(e.to_string()))?;
        self.store
            .write("write the journal", |tx| {
                // What was asked of this attempt is not asked of the next.
                if matches!(record.mark, Mark::Ended { .. }) {
                    tx.execute("DELETE FROM cancel WHERE plan = ?1", [&record.plan.0])?;
                }
                tx.execute("INSERT INTO journal (plan, record) VALUES (?1, ?2)", params![record.plan.0, text])?;
                let body = serde_json::json!({
                    "journal": tx.last_insert_rowid(),
                    "record-sha256": digest(&text),
                    "plan": record.plan,
                    "step": record.step,
                    "attempt": record.attempt,
                    "mark": record.mark,
                });
                let entry = NewEntry {
                    at: record.at,
                    kind: kind(&record.mark).into(),
                    actor: record.actor.clone(),
                    device: Some(self.device.clone()),
                    visit: self.visit.clone(),
                    body,
                };
                append(tx, entry).map(drop)
            })
            .map_err(|e| JournalError(e.to_string()))
    }

    async fn replay(&self, plan: &PlanId) -> Result<Vec<Record>, JournalError> {
        self.store.journal(plan).map_err(|e| JournalError(e.to_string()))
    }

    async fn cancel_requested(&self, plan: &PlanId) -> Result<bool, JournalError> {
        self.store.cancel_requested(plan).map_err(|e| JournalError(e.to_string()))
    }
}

impl Store {
    /// Returns the entries of a plan, oldest first.
    pub fn journal(&self, plan: &PlanId) -> Result<Vec<Record>, StoreError> {
        self.read("read the journal", |tx| {
            let mut statement = tx.prepare_cached("SELECT record FROM journal WHERE plan = ?1 ORDER BY seq")?;
            let rows = statement.query_map([&plan.0], |row| row.get::<_, String>(0))?;
            rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
        })
    }

    /// Returns the plans that were begun and are not over.
    pub fn interrupted(&self) -> Result<Vec<Interrupted>, StoreError> {
        let begun = self.attempts(None)?.into_iter().filter(|a| !is_over(&a.records));
        Ok(begun.filter_map(|a| a.records.into_iter().last().map(|last| Interrupted { plan: a.plan, last })).collect())
    }

    /// Returns every attempt on a device, or on all, in the order in which they were begun.
    pub fn attempts(&self, device: Option<&str>) -> Result<Vec<Attempt>, StoreError> {
        self.read("read the journal", |tx| {
            let mut statement = tx.prepare(
                "SELECT plan.json, journal.record FROM journal JOIN plan ON plan.id = journal.plan
                 WHERE ?1 IS NULL OR plan.device = ?1 ORDER BY journal.seq",
            )?;
            let rows = statement.query_map([device], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            let mut attempts: Vec<Attempt> = Vec::new();
            for row in rows {
                let (plan, record) = row?;
                let record: Record = serde_json::from_str(&record)?;
                let earlier = attempts.iter_mut().rev().find(|a| a.plan.id == record.plan);
                let number = match earlier {
                    Some(attempt) if !is_over(&attempt.records) => {
                        attempt.records.push(record);
                        continue;
                    }
                    Some(attempt) => attempt.number.saturating_add(1),
                    None => 1,
                };
                attempts.push(Attempt { plan: serde_json::from_str(&plan)?, number, records: vec![record] });
            }
            Ok(attempts)
        })
    }

    /// Asks whichever process runs a plan to stop at the next safe point.
    pub fn request_cancel(&self, plan: &PlanId, at: Timestamp, actor: &str) -> Result<(), StoreError> {
        self.write("ask for a cancel", |tx| {
            tx.execute("INSERT OR IGNORE INTO cancel (plan, at) VALUES (?1, ?2)", params![plan.0, at.to_string()])?;
            let body = serde_json::json!({ "plan": plan });
            let (device, visit) = (None, None);
            append(tx, NewEntry { at, kind: "plan.cancel-asked".into(), actor: actor.into(), device, visit, body })
                .map(drop)
        })
    }

    /// Returns whether somebody asked to cancel a plan.
    pub fn cancel_requested(&self, plan: &PlanId) -> Result<bool, StoreError> {
        self.read("read the cancels", |tx| {
            let count: i64 =
                tx.query_row("SELECT count(*) FROM cancel WHERE plan = ?1", [&plan.0], |row| row.get(0))?;
            Ok(count > 0)
        })
    }
}
