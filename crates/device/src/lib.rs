//! The seam between Aseptic and a device: traits and plain data, no input or output of its own.
//!
//! It never opens a port, reads a clock or touches a file; those arrive as arguments.
//! Start with [`link`] (bytes), then [`driver`] (what a device can be asked and told), then [`session`].

pub mod driver;
pub mod identity;
pub mod image;
pub mod link;
mod privacy;
pub mod profile;
pub mod radio;
pub mod session;
pub mod setting;
pub mod text;
pub mod time;

pub use driver::{Change, Control, DriverError, DriverErrorKind, ImageSource, Inspect, Opener, Uploaded};
pub use identity::{Address, DeviceId, Identity, RadioIdentity, Sighting, SightingEvent, UsbIdentity};
pub use image::{BootMode, Bootloader, FirmwareVersion, ImageHash, ImageId, Images, SlotState, VersionScheme};
pub use link::{Bus, Endpoint, Inbound, Intent, LineSettings, LinkError, LinkErrorKind, Transport};
pub use profile::Profile;
pub use radio::{AddressKind, Bond, Posture, RadioLink, Told};
pub use session::{Changing, Inspecting, Passkeys, Reach, Session, SessionError};
pub use setting::{ConfigSnapshot, SettingClass, SettingKey, Value};
pub use text::DeviceText;
pub use time::{Clock, Moment};
