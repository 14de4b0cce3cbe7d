//! What may be installed and how it survives a power cut: kits, images, plans, the journal and the one loop that changes a device.
//!
//! It never opens a port or a database and never reads a clock; links, journal and time arrive as arguments.
//! Start with [`plan`], then `next` (the whole state machine, pure), then `run`; for trust, with `kit`.

pub mod gates;
pub mod journal;
pub mod kit;
mod look;
pub mod mcuboot;
pub mod next;
pub mod plan;
pub mod progress;
pub mod run;

pub use journal::{Cause, Failure, Halt, Journal, JournalError, Mark, Observed, Outcome, Record};
pub use next::{Act, Next, Situation, Waiting, next};
pub use plan::{Estimate, FromState, PatchRef, Plan, PlanBody, PlanError, PlanId, ProfileRef, Step, WayBack};
pub use progress::Progress;
pub use run::{Attend, Ended, Hands, Objects, RunError, RunEvent, run};
