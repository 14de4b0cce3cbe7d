//! MCUmgr Simple Management Protocol (SMP), versions 1 and 2.
//!
//! Sources: Zephyr `doc/services/device_mgmt/smp_protocol.rst`, `smp_transport.rst` and `smp_groups/`.
//! Bytes pass [`console`] or raw framing, then [`packet`]; [`request`] says what may be asked; [`client`]
//! pairs answers with requests; [`SmpDevice`] reads a model's profile over it.

pub mod client;
pub mod console;
mod device;
pub mod packet;
#[cfg(test)]
mod peer;
pub mod request;
mod upload;

pub use device::SmpDevice;
