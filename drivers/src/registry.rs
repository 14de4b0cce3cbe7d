//! The one list of protocols and the code that speaks them.

use aseptic_device::profile::Protocol;
use aseptic_device::{Change, DriverError, Inspect, Intent, Opener, Profile, Sighting, Transport};

use crate::gatt::GattDevice;
use crate::smp::SmpDevice;

/// Opens devices by the protocol that their profile names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Registry;

impl Opener for Registry {
    fn inspect(
        &self,
        profile: &Profile,
        at: &Sighting,
        link: Box<dyn Transport>,
    ) -> Result<Box<dyn Inspect>, DriverError> {
        match profile.protocol {
            Protocol::Smp => Ok(Box::new(SmpDevice::new(profile.clone(), at, link, Intent::Read))),
            Protocol::Gatt => Ok(Box::new(GattDevice::new(profile.clone(), link))),
        }
    }

    fn change(
        &self,
        profile: &Profile,
        at: &Sighting,
        link: Box<dyn Transport>,
    ) -> Result<Box<dyn Change>, DriverError> {
        match profile.protocol {
            Protocol::Smp => Ok(Box::new(SmpDevice::new(profile.clone(), at, link, Intent::Effect))),
            Protocol::Gatt => Ok(Box::new(GattDevice::new(profile.clone(), link))),
        }
    }
}
