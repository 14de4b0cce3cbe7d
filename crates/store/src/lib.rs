//! Everything that must survive power loss: the database, objects, the journal, the audit log and locks.
//!
//! It never talks to a device and never decides; it keeps and gives back.
//! Start with [`Store`], then [`audit`].

pub mod audit;
mod db;
mod error;
pub mod journal;
pub mod locks;
pub mod objects;
mod records;

pub use audit::{Entry, Head, NewEntry, Tamper};
pub use db::Store;
pub use error::{StoreError, StoreErrorKind};
pub use journal::{Attempt, Interrupted, PlanJournal};
pub use locks::Lock;
pub use objects::{ObjectImage, ObjectStore};
pub use records::{Returned, VisitRow};
