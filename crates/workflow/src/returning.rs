//! Return to service: a second person says that a device may go back to the ward.

use aseptic_operators::{Person, Role};
use aseptic_patches::{Mark, Outcome, Plan, Progress};
use aseptic_store::Attempt;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::laptop::{Laptop, Purpose};
use crate::locate::{DeviceRef, open};
use crate::problem::{Code, Problem};

/// What the second person said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ReturnStatement {
    /// Who.
    pub by: Person,
    /// Nobody checked the name until operators can sign in.
    pub authenticated: bool,
    /// When.
    pub at: Timestamp,
    /// What was read back right before.
    pub read_back: String,
    /// Which attempt at the plan it stands on.
    #[serde(default = "first")]
    pub attempt: u32,
}

fn first() -> u32 {
    1
}

/// Whether a device is in service, by this laptop's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing was ever changed, or it was returned since.
    InService,
    /// Work was begun and nobody returned it.
    OutOfService,
}

/// Returns whether a device is in service, and the last attempt that touched it.
pub fn standing(laptop: &Laptop, device: &str) -> Result<(Standing, Option<Attempt>), Problem> {
    let touched = |a: &Attempt| Progress::of(&a.plan, &a.records).touched(&a.plan);
    let last = laptop.store.attempts(Some(device))?.into_iter().rev().find(touched);
    let returned = last.as_ref().map(|a| returned(laptop, a)).transpose()?.flatten();
    let out = last.is_some() && returned.is_none();
    Ok((if out { Standing::OutOfService } else { Standing::InService }, last))
}

/// Returns what was said when the device was returned after an attempt.
pub(crate) fn returned(laptop: &Laptop, attempt: &Attempt) -> Result<Option<ReturnStatement>, Problem> {
    let rows = laptop.store.returned(&attempt.plan.body.device.to_string())?;
    for row in rows.into_iter().filter(|r| r.plan == attempt.plan.id) {
        let statement: ReturnStatement = serde_json::from_str(&row.json)
            .map_err(|e| Problem::new(Code::Untrusted, e, "verify the records with aseptic audit verify"))?;
        if statement.attempt == attempt.number {
            return Ok(Some(statement));
        }
    }
    Ok(None)
}

/// Shows a plan and what was read back; takes the second person's name and the last four of the serial number.
pub type Ask<'a> = dyn Fn(&Plan, &str) -> Option<(String, String)> + 'a;

/// Returns a device to service. `ask` shows the reading and takes name and last four; the person must not be the one who did the work.
pub async fn return_to_service(laptop: &Laptop, device: &DeviceRef, ask: &Ask<'_>) -> Result<ReturnStatement, Problem> {
    let refuse = |why: String| Problem::new(Code::Refused, why, "keep the device out of service");
    let mut session = open(laptop, device, Purpose::Change).await?;
    let id = crate::assess::usable(session.identity())?.clone();
    let (standing, attempt) = standing(laptop, &id.to_string())?;
    let Some(attempt) = attempt.filter(|_| standing == Standing::OutOfService) else {
        return Err(Problem::new(Code::Refused, format!("{id} is not out of service"), "there is nothing to return"));
    };
    let Attempt { plan, number, records } = attempt;
    let outcome = records.iter().find_map(|r| match &r.mark {
        Mark::Ended { outcome } => Some(outcome.clone()),
        _ => None,
    });
    let expected = match &outcome {
        Some(Outcome::Installed) => plan.body.patch.as_ref().map(|p| p.hash.clone()).or(plan.body.from.running.clone()),
        Some(_) => plan.body.from.running.clone(),
        None => return Err(refuse(format!("plan {} is not over; resume or revert it first", plan.id.short()))),
    };
    let images = session.inspecting()?.images().await?;
    let active = images.active(aseptic_device::ImageId(0));
    if active.and_then(|s| s.hash.clone()) != expected || images.slots.iter().any(|s| s.pending) {
        return Err(refuse("the device does not show what the plan left".into()));
    }
    let read_back =
        active.map(|s| format!("version {} runs, confirmed {}", s.version, s.confirmed)).unwrap_or_default();
    let (name, last_four) = ask(&plan, &read_back).ok_or_else(|| refuse("nobody returned it".into()))?;
    if last_four.trim() != id.last_four() {
        return Err(refuse("the last four characters of the serial number do not match".into()));
    }
    let by = Person { name: name.trim().into(), role: Role::Approver };
    let performers = records.iter().map(|r| r.actor.trim_end_matches(" (unauthenticated)").to_lowercase());
    if by.name.is_empty() || performers.into_iter().any(|p| p == by.name.to_lowercase()) {
        return Err(refuse("a second person must return it, not the one who did the work".into()));
    }
    let statement =
        ReturnStatement { by, authenticated: false, at: laptop.clock.now().wall, read_back, attempt: number };
    let body = serde_json::json!({ "plan": plan.id, "statement": statement });
    let entry = laptop.entry("returned-to-service", Some(&id), plan.visit.as_deref(), body);
    laptop.store.put_returned(&plan, &statement, entry)?;
    Ok(statement)
}
