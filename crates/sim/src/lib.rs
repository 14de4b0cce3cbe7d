//! The simulated ward: devices for training, demonstration and tests, as real ones behave.
//!
//! It shares no codec with the drivers, so that driver and simulation cannot share a misreading.
//! Start with [`ward`] (what there is), then [`machine`] (what a device is), then [`bus`] and [`serve`] (how it is reached).

#[cfg(unix)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "radios are simulated on Linux only"))]
mod adapter;
#[cfg(target_os = "linux")]
mod bluez;
pub mod bootloader;
pub mod bus;
pub mod firmware;
pub mod life;
pub mod machine;
pub mod power;
#[cfg(unix)]
pub mod serve;
mod smp;
pub mod ward;
mod wire;

pub use bus::SimBus;
pub use machine::{Machine, Truth};
pub use power::PowerSwitch;
pub use ward::Ward;

/// The public half of the training key, PEM. See `keys/README.md`.
pub const TRAINING_KEY_PUBLIC: &str = include_str!("../keys/training-ed25519.pub.pem");
/// The private half of the training key, PEM. Public on purpose.
pub const TRAINING_KEY_PRIVATE: &str = include_str!("../keys/training-ed25519.pem");
