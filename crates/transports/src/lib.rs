//! The only crate that links serial and radio libraries: ports, recordings, the laptop's clock and power.
//!
//! It never interprets a byte that a device sent.
//! Start with [`serial`].

pub mod clock;
pub mod host;
pub mod recorder;
pub mod serial;

pub use clock::SystemClock;
pub use recorder::Recorder;
pub use serial::SerialBus;
