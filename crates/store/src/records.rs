//! Visits, assessments, plans, orders used, what was imported: small typed doors to the database.

use aseptic_patches::{Plan, PlanId};
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::{NewEntry, append};
use crate::db::Store;
use crate::error::{StoreError, StoreErrorKind};

/// A visit as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitRow {
    /// Id, UUIDv7.
    pub id: String,
    /// Device, where it could be identified.
    pub device: Option<String>,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// The visit as JSON.
    pub json: String,
}

/// A return to service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The plan after which it was returned.
    pub plan: PlanId,
    /// The statement as JSON.
    pub json: String,
}

impl Store {
    /// Keeps a visit and what it begins with.
    pub fn open_visit(&self, id: &str, visit: &impl Serialize, entry: NewEntry) -> Result<(), StoreError> {
        self.write("open a visit", |tx| {
            let json = serde_json::to_string(visit)?;
            tx.execute(
                "INSERT INTO visit (id, device, opened, json) VALUES (?1, ?2, ?3, ?4)",
                params![id, entry.device, entry.at.to_string(), json],
            )?;
            append(tx, entry).map(drop)
        })
    }

    /// Closes a visit.
    pub fn close_visit(&self, id: &str, entry: NewEntry) -> Result<bool, StoreError> {
        self.write("close a visit", |tx| {
            let changed = tx.execute(
                "UPDATE visit SET closed = ?2 WHERE id = ?1 AND closed IS NULL",
                params![id, entry.at.to_string()],
            )?;
            if changed > 0 {
                append(tx, entry)?;
            }
            Ok(changed > 0)
        })
    }

    /// Returns all visits, newest first.
    pub fn visits(&self) -> Result<Vec<VisitRow>, StoreError> {
        self.read("read the visits", |tx| {
            let mut statement = tx.prepare("SELECT id, device, opened, closed, json FROM visit ORDER BY id DESC")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, Option<String>>(3)?, row.get(4)?))
            })?;
            let time = |text: String| text.parse().map_err(|_| StoreErrorKind::Unreadable("a visit's time".into()));
            rows.map(|row| {
                let (id, device, opened, closed, json) = row?;
                Ok(VisitRow { id, device, opened: time(opened)?, closed: closed.map(time).transpose()?, json })
            })
            .collect()
        })
    }

    /// Keeps an assessment.
    pub fn put_assessment(&self, visit: &str, assessment: &impl Serialize, entry: NewEntry) -> Result<(), StoreError> {
        self.write("keep an assessment", |tx| {
            let json = serde_json::to_string(assessment)?;
            tx.execute("INSERT INTO assessment (visit, json) VALUES (?1, ?2)", params![visit, json])?;
            append(tx, entry).map(drop)
        })
    }

    /// Returns the assessments of a visit, oldest first.
    pub fn assessments<T: DeserializeOwned>(&self, visit: &str) -> Result<Vec<T>, StoreError> {
        self.read("read the assessments", |tx| {
            let mut statement = tx.prepare("SELECT json FROM assessment WHERE visit = ?1 ORDER BY seq")?;
            let rows = statement.query_map([visit], |row| row.get::<_, String>(0))?;
            rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
        })
    }

    /// Keeps a plan; the same plan again changes nothing but adds an entry.
    pub fn put_plan(&self, plan: &Plan, entry: NewEntry) -> Result<(), StoreError> {
        self.write("keep a plan", |tx| {
            tx.execute(
                "INSERT OR IGNORE INTO plan (id, device, visit, json) VALUES (?1, ?2, ?3, ?4)",
                params![plan.id.0, plan.body.device.to_string(), plan.visit, serde_json::to_string(plan)?],
            )?;
            append(tx, entry).map(drop)
        })
    }

    /// Returns the plans whose id begins with `prefix`.
    pub fn plans(&self, prefix: &str) -> Result<Vec<Plan>, StoreError> {
        self.read("read the plans", |tx| {
            let mut statement =
                tx.prepare("SELECT json FROM plan WHERE substr(id, 1, length(?1)) = ?1 ORDER BY rowid")?;
            let rows = statement.query_map([prefix], |row| row.get::<_, String>(0))?;
            rows.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
        })
    }

    /// Returns the plans made for a device, oldest first.
    pub fn plans_of(&self, device: &str) -> Result<Vec<Plan>, StoreError> {
        Ok(self.plans("")?.into_iter().filter(|p| p.body.device.to_string() == device).collect())
    }

    /// Uses an order for a device; the same use may go on (a resume), another may not.
    pub fn use_order(&self, digest: &str, device: &str, by: &str) -> Result<(), StoreError> {
        self.write("use a work order", |tx| {
            let used: Option<String> = tx
                .query_row(
                    "SELECT plan FROM order_used WHERE digest = ?1 AND device = ?2",
                    params![digest, device],
                    |row| row.get(0),
                )
                .optional()?;
            match used {
                Some(other) if other != by => Err(StoreErrorKind::OrderUsed(other)),
                Some(_) => Ok(()),
                None => {
                    let insert = "INSERT INTO order_used (digest, device, plan) VALUES (?1, ?2, ?3)";
                    tx.execute(insert, params![digest, device, by])?;
                    Ok(())
                }
            }
        })
    }

    /// Keeps a return to service.
    pub fn put_returned(&self, plan: &Plan, statement: &impl Serialize, entry: NewEntry) -> Result<(), StoreError> {
        self.write("return to service", |tx| {
            tx.execute(
                "INSERT INTO returned (device, plan, json) VALUES (?1, ?2, ?3)",
                params![plan.body.device.to_string(), plan.id.0, serde_json::to_string(statement)?],
            )?;
            append(tx, entry).map(drop)
        })
    }

    /// Returns the returns to service of a device, oldest first.
    pub fn returned(&self, device: &str) -> Result<Vec<Returned>, StoreError> {
        self.read("read the returns", |tx| {
            let mut statement = tx.prepare("SELECT plan, json FROM returned WHERE device = ?1 ORDER BY seq")?;
            let rows = statement.query_map([device], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.map(|row| row.map(|(plan, json)| Returned { plan: PlanId(plan), json }).map_err(Into::into)).collect()
        })
    }

    /// Remembers where a device was met.
    pub fn met(&self, device: &str, address: &str, at: Timestamp) -> Result<(), StoreError> {
        self.write("remember an address", |tx| {
            let insert = "INSERT OR REPLACE INTO met (device, address, at) VALUES (?1, ?2, ?3)";
            tx.execute(insert, params![device, address, at.to_string()])?;
            Ok(())
        })
    }

    /// Returns the addresses at which a device was met, newest first.
    pub fn addresses_of(&self, device: &str) -> Result<Vec<String>, StoreError> {
        self.read("read the addresses", |tx| {
            let mut statement = tx.prepare("SELECT address FROM met WHERE device = ?1 ORDER BY at DESC")?;
            let rows = statement.query_map([device], |row| row.get(0))?;
            rows.map(|row| row.map_err(Into::into)).collect()
        })
    }

    /// Returns a named blob.
    pub fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("read the database", |tx| {
            Ok(tx.query_row("SELECT bytes FROM blob WHERE name = ?1", [name], |row| row.get(0)).optional()?)
        })
    }

    /// Keeps blobs together with an entry; all or none. `documents`, as `(kind, id, text)`, take the place of all that were kept before.
    pub fn keep(
        &self,
        blobs: &[(String, Vec<u8>)],
        documents: Option<&[(String, String, String)]>,
        entry: NewEntry,
    ) -> Result<(), StoreError> {
        self.write("keep what was imported", |tx| {
            for (name, bytes) in blobs {
                tx.execute("INSERT OR REPLACE INTO blob (name, bytes) VALUES (?1, ?2)", params![name, bytes])?;
            }
            if documents.is_some() {
                tx.execute("DELETE FROM document", [])?;
            }
            for (kind, id, text) in documents.into_iter().flatten() {
                let insert = "INSERT OR REPLACE INTO document (kind, id, text) VALUES (?1, ?2, ?3)";
                tx.execute(insert, params![kind, id, text])?;
            }
            append(tx, entry).map(drop)
        })
    }

    /// Returns the documents of a kind as `(id, text)`.
    pub fn documents(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.read("read the documents", |tx| {
            let mut statement = tx.prepare("SELECT id, text FROM document WHERE kind = ?1 ORDER BY id")?;
            let rows = statement.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.map(|row| row.map_err(Into::into)).collect()
        })
    }
}
