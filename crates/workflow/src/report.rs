//! Report: everything that is known of one visit, as data, with its proof. Rendering is `evidence`'s work.

use aseptic_patches::{Plan, Record};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::assess::Assessment;
use crate::identify::Visit;
use crate::kits::{KitRecord, last};
use crate::laptop::Laptop;
use crate::problem::{Code, Problem};
use crate::returning::{ReturnStatement, Standing, standing};

/// The value of `schema` in a report.
pub const SCHEMA: &str = "aseptic.report/1";

/// Everything known of one visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Version of Aseptic that wrote it.
    pub tool: String,
    /// When it was written.
    pub written: Timestamp,
    /// The visit.
    pub visit: Visit,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// Whether the device is in service, by this laptop's records.
    pub standing: Option<Standing>,
    /// The kit on the laptop.
    pub kit: Option<KitRecord>,
    /// Assessments, oldest first.
    pub assessments: Vec<Assessment>,
    /// Plans with their journals.
    pub plans: Vec<PlanRecord>,
    /// Proof that the last entry of the visit is in the audit log.
    pub proof: Option<Proof>,
}

/// A plan and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PlanRecord {
    /// The plan.
    pub plan: Plan,
    /// Its journal.
    pub journal: Vec<Record>,
    /// The return to service after it.
    pub returned: Option<ReturnStatement>,
}

/// A proof that needs nothing but itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Proof {
    /// The exact text of the entry.
    pub entry: String,
    /// C2SP tlog-proof.
    pub proof: String,
    /// C2SP verifier key of the log.
    pub key: String,
}

/// Gathers a visit's report; its id may be shortened as long as it is unique.
pub fn report(laptop: &Laptop, visit: &str) -> Result<Report, Problem> {
    let rows: Vec<_> = laptop.store.visits()?.into_iter().filter(|v| v.id.starts_with(visit)).collect();
    let row = match rows.as_slice() {
        [row] => row,
        [] => return Err(Problem::new(Code::NotFound, format!("no visit {visit}"), "aseptic visit list shows them")),
        _ => {
            return Err(Problem::new(Code::Usage, format!("several visits begin with {visit}"), "give more of the id"));
        }
    };
    let broken =
        |e: serde_json::Error| Problem::new(Code::Untrusted, e, "verify the records with aseptic audit verify");
    let found: Visit = serde_json::from_str(&row.json).map_err(broken)?;
    let mut plans = Vec::new();
    for plan in laptop.store.plans("")?.into_iter().filter(|p| p.visit.as_deref() == Some(&row.id)) {
        let journal = laptop.store.journal(&plan.id)?;
        let returned = laptop.store.returned(&plan.body.device.to_string())?.into_iter().find(|r| r.plan == plan.id);
        let returned = returned.map(|r| serde_json::from_str(&r.json)).transpose().map_err(broken)?;
        plans.push(PlanRecord { plan, journal, returned });
    }
    let standing = match &found.identity.id {
        Some(id) => Some(standing(laptop, &id.to_string())?.0),
        None => None,
    };
    Ok(Report {
        schema: SCHEMA.into(),
        tool: format!("aseptic {}", env!("CARGO_PKG_VERSION")),
        written: laptop.clock.now().wall,
        visit: found,
        closed: row.closed,
        standing,
        kit: last(&laptop.store)?,
        assessments: laptop.store.assessments(&row.id)?,
        plans,
        proof: proof(laptop, &row.id)?,
    })
}

fn proof(laptop: &Laptop, visit: &str) -> Result<Option<Proof>, Problem> {
    let entries = laptop.store.audit_entries(0)?;
    let Some(entry) = entries.iter().rev().find(|e| e.visit.as_deref() == Some(visit)) else { return Ok(None) };
    let leaf = String::from_utf8_lossy(&laptop.store.audit_leaf(entry.seq)?).into_owned();
    Ok(Some(Proof { entry: leaf, proof: laptop.store.proof(entry.seq)?, key: laptop.store.audit_key()? }))
}
