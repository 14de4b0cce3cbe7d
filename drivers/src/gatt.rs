//! Bluetooth SIG services over a radio link: who a device is, whether it may be touched, what its radio shows.
//!
//! Sources: Bluetooth SIG assigned numbers and GATT specification supplement; Zephyr `subsys/bluetooth/services/dis.c`.
//! [`values`] reads bytes, [`read`] asks for them, [`posture`] gathers what the radio rules judge, and
//! [`GattDevice`] is a model that speaks nothing else. Nothing here writes.

mod device;
#[cfg(test)]
pub(crate) mod peer;
pub mod posture;
pub mod read;
pub mod values;

pub use device::GattDevice;
