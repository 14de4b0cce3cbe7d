//! What may be installed and how it survives a power cut: kits, images, plans, the journal and the one loop that changes a device.
//!
//! It never opens a port or a database and never reads a clock; links, journal and time arrive as arguments.
//! Start with [`plan`], then `next` (the whole state machine, pure), then `run`; for trust, with `kit`.

pub mod journal;
pub mod plan;

pub use journal::{Cause, Failure, Halt, Journal, JournalError, Mark, Observed, Outcome, Record};
pub use plan::{Estimate, FromState, PatchRef, Plan, PlanBody, PlanError, PlanId, ProfileRef, Step, WayBack};
