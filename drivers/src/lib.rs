//! How to talk to devices: one folder a wire protocol, one TOML file a model.
//!
//! It never opens a port; links arrive open, and an inspecting device refuses every request with an effect.
//! Start with [`registry`], then [`smp`] and [`gatt`]; to add a model, with [`profiles`].

pub mod gatt;
pub mod profiles;
mod reading;
pub mod registry;
pub mod smp;

pub use registry::Registry;
