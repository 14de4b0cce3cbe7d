//! Reports of visits: plain data, its JSON, and one HTML file that carries the data and its own proof.
//!
//! It never decides what happened, never reads a device or a clock, and never runs a script in the reader's browser.
//! Start with [`report`] (the data), then [`html`] (the page).

pub mod cautions;
mod error;
pub mod html;
pub mod proof;
pub mod report;
pub mod when;
pub mod work;

#[cfg(test)]
mod sample;

pub use error::{EvidenceError, EvidenceErrorKind};
pub use proof::Proof;
pub use report::Report;
pub use when::When;
pub use work::Work;
