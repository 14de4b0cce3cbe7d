//! The only crate that links serial and radio libraries: ports, recordings, the laptop's clock and power.
//!
//! It never interprets a byte that a device sent.
//! Start with [`serial`], then [`ble`].

pub mod ble;
pub mod both;
pub mod clock;
pub mod host;
pub mod recorder;
pub mod replay;
pub mod serial;

pub use ble::BleBus;
pub use both::WireAndRadio;
pub use clock::SystemClock;
pub use recorder::Recorder;
pub use replay::Replay;
pub use serial::SerialBus;
