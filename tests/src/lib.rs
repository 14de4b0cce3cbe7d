//! What the scenarios share: a bench with a simulated ward on a stopped clock, a ward on ptys, and outside oracles.
//!
//! It is used by the tests beside it and by nothing else.
//! Start with [`Bench`], then read `straight_path.rs`.

#[cfg(target_os = "linux")]
pub mod air;
pub mod bench;
pub mod memory;
pub mod oracle;
#[cfg(unix)]
pub mod pty_ward;
pub mod upload;

pub use bench::{Bench, Gone, StoppedClock};
pub use memory::{MemoryJournal, OneImage};
