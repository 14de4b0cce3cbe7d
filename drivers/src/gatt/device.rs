//! A device that speaks nothing but Bluetooth SIG services: it can be identified and assessed, never changed.

use aseptic_device::driver::{CheckResult, Readiness};
use aseptic_device::profile::{Profile, ReadFrom};
use aseptic_device::setting::{Reading, SettingReading};
use aseptic_device::{
    BootMode, Bootloader, Change, ConfigSnapshot, Control, DriverError, DriverErrorKind, FirmwareVersion, Identity,
    ImageHash, ImageId, ImageSource, Images, Inspect, Posture, SettingKey, Told, Transport, Uploaded, Value,
};
use async_trait::async_trait;

use super::{posture, read};
use crate::reading::{self, Read, Source};

/// Firmware Revision String.
const FIRMWARE: ReadFrom = ReadFrom::Dis(0x2a26);

/// One such device.
pub struct GattDevice {
    profile: Profile,
    link: Box<dyn Transport>,
}

impl GattDevice {
    /// Takes an open link.
    pub fn new(profile: Profile, link: Box<dyn Transport>) -> Self {
        Self { profile, link }
    }

    fn reader(&mut self) -> Reader<'_> {
        Reader { profile: &self.profile, link: self.link.as_mut() }
    }
}

struct Reader<'a> {
    profile: &'a Profile,
    link: &'a mut dyn Transport,
}

#[async_trait]
impl Source for Reader<'_> {
    async fn read(&mut self, from: &ReadFrom) -> Read {
        read::source(self.link, self.profile.timing.answer(), from).await
    }
}

#[async_trait]
impl Inspect for GattDevice {
    async fn identify(&mut self) -> Result<Identity, DriverError> {
        let reader = &mut self.reader();
        let scheme = reader.profile.firmware.version_scheme;
        let identity = reading::identity(reader.profile, reader).await?;
        let firmware = reading::text(Some(&FIRMWARE), reader).await?.map(|text| FirmwareVersion { scheme, text });
        Ok(Identity { firmware, ..identity })
    }

    async fn readiness(&mut self) -> Result<Readiness, DriverError> {
        let reader = &mut self.reader();
        reading::readiness(reader.profile, reader).await
    }

    async fn read_config(&mut self) -> Result<ConfigSnapshot, DriverError> {
        let unreadable = || Reading::Unreadable("Bluetooth SIG services have no settings".into());
        let settings = self.profile.settings.iter();
        Ok(ConfigSnapshot {
            settings: settings
                .map(|s| (s.key.clone(), SettingReading { class: s.class, reading: unreadable() }))
                .collect(),
        })
    }

    async fn images(&mut self) -> Result<Images, DriverError> {
        let bootloader =
            Bootloader { name: None, mode: BootMode::Unknown, downgrade_prevention: None, measured: false };
        Ok(Images { slots: Vec::new(), bootloader })
    }

    async fn checks(&mut self) -> Result<Vec<CheckResult>, DriverError> {
        let reader = &mut self.reader();
        reading::checks(reader.profile, reader).await
    }

    async fn posture(&mut self) -> Result<Option<Posture>, DriverError> {
        let management = Told::Unreadable("the profile's protocol does not ask it".into());
        posture::read(self.link.as_mut(), self.profile.timing.answer(), management).await
    }
}

fn never<T>(operation: &str) -> Result<T, DriverError> {
    Err(DriverError::new(operation, DriverErrorKind::Unsupported))
}

#[async_trait]
impl Change for GattDevice {
    async fn set(&mut self, key: &SettingKey, _value: &Value) -> Result<(), DriverError> {
        never(&format!("setting {key} write"))
    }

    async fn erase(&mut self, _image: ImageId) -> Result<(), DriverError> {
        never("image erase")
    }

    async fn upload(
        &mut self,
        _image: ImageId,
        _source: &dyn ImageSource,
        _control: &dyn Control,
    ) -> Result<Uploaded, DriverError> {
        never("image upload")
    }

    async fn mark_test(&mut self, _image: ImageId, _hash: &ImageHash) -> Result<(), DriverError> {
        never("image test")
    }

    async fn restart(&mut self) -> Result<(), DriverError> {
        never("restart")
    }

    async fn confirm_running(&mut self) -> Result<(), DriverError> {
        never("image confirm")
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
