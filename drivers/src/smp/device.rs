//! A device that speaks SMP, read and changed as its profile says.

use std::collections::BTreeMap;

use aseptic_device::driver::{CheckResult, Readiness};
use aseptic_device::profile::{Framing, Profile, ReadFrom};
use aseptic_device::setting::{Reading, SettingReading};
use aseptic_device::{
    Address, BootMode, Bootloader, Change, ConfigSnapshot, Control, DeviceText, DriverError, DriverErrorKind, Endpoint,
    FirmwareVersion, Identity, ImageHash, ImageId, ImageSource, Images, Inspect, Intent, LinkErrorKind, Posture,
    SettingClass, SettingKey, Sighting, SlotState, Told, Transport, Uploaded, Value,
};
use async_trait::async_trait;
use ciborium::Value as Cbor;
use sha2::{Digest as _, Sha256};

use super::client::{Client, is_passing};
use super::packet::{get, get_flag, get_text, get_uint};
use super::request::{Request, group};
use super::upload::{Between, upload};
use crate::gatt;
use crate::gatt::read::NEEDS_PAIRING;
use crate::reading::{self, Read, Source};

/// The characteristic that carries SMP (Zephyr `smp_transport.rst`, "Bluetooth Low Energy").
const SMP_CHARACTERISTIC: u128 = 0xda2e_7828_fbce_4e01_ae9e_2611_7499_7c48;

/// One SMP device.
pub struct SmpDevice {
    profile: Profile,
    usb_serial: Option<DeviceText>,
    over_radio: bool,
    permit: Intent,
    client: Client,
}

impl SmpDevice {
    /// Takes an open link and what the wire itself told about the device.
    pub fn new(profile: Profile, at: &Sighting, link: Box<dyn Transport>, permit: Intent) -> Self {
        let over_radio = matches!(at.address, Address::Ble { .. });
        let (endpoint, framing) = match over_radio {
            false => (Endpoint::Stream, profile.serial.framing),
            true => (Endpoint::Characteristic(SMP_CHARACTERISTIC), Framing::Raw),
        };
        let client = Client::new(link, endpoint, framing, permit, profile.timing.answer());
        let usb_serial = at.usb.as_ref().and_then(|u| u.serial.clone());
        Self { profile, usb_serial, over_radio, permit, client }
    }
}

/// Longest value of a setting that is asked for.
const VALUE: u16 = 256;

fn unread(error: DriverError) -> Read {
    match error.kind {
        _ if needs_pairing(&error) => Ok(Err(NEEDS_PAIRING.into())),
        _ if error.leaves_doubt() || is_passing(&error) => Err(error),
        kind => Ok(Err(kind.to_string())),
    }
}

fn needs_pairing(error: &DriverError) -> bool {
    matches!(&error.kind, DriverErrorKind::Link(link) if link.kind == LinkErrorKind::NotPaired)
}

struct Reader<'a> {
    profile: &'a Profile,
    usb_serial: Option<&'a DeviceText>,
    client: &'a mut Client,
}

#[async_trait]
impl Source for Reader<'_> {
    async fn read(&mut self, from: &ReadFrom) -> Read {
        match from {
            ReadFrom::Setting(key) => self.read_setting(key).await,
            ReadFrom::OsInfo(format) => match self.client.ask(&Request::os_info(*format)).await {
                Ok(body) => {
                    Ok(get_text(&body, "output").map(|t| Value::Text(t.into())).ok_or_else(|| "no output".into()))
                }
                Err(error) => unread(error),
            },
            ReadFrom::Stat { group, field } => match self.client.ask(&Request::stat(group)).await {
                Ok(body) => {
                    let value = get(&body, "fields").and_then(|f| super::packet::get_int(f, field));
                    Ok(value.map(Value::Int).ok_or_else(|| format!("no field {field}")))
                }
                Err(error) => unread(error),
            },
            ReadFrom::UsbSerial => {
                Ok(self.usb_serial.map(|s| Value::Text(s.clone())).ok_or_else(|| "no USB serial number".into()))
            }
            ReadFrom::Dis(_) | ReadFrom::Udi | ReadFrom::Battery | ReadFrom::InsulinDelivery => {
                let answer = self.profile.timing.answer();
                gatt::read::source(self.client.link(), answer, from).await
            }
        }
    }
}

impl Reader<'_> {
    async fn read_setting(&mut self, key: &SettingKey) -> Read {
        let Some(setting) = self.profile.setting(key) else { return Ok(Err("not in the profile".into())) };
        let body = match self.client.ask(&Request::setting(&key.0, VALUE)).await {
            Ok(body) => body,
            Err(error) => return unread(error),
        };
        let Some(raw) = get(&body, "val").and_then(Cbor::as_bytes) else { return Ok(Err("no value".into())) };
        // A device with a smaller buffer says so and sends as much as fits: a value that fills it may go on.
        let most = get_uint(&body, "max_size").and_then(|n| u16::try_from(n).ok()).unwrap_or(VALUE).min(VALUE);
        if raw.len() >= usize::from(most) {
            return Ok(Err(format!("the device sent {most} bytes, and the value may be longer")));
        }
        if setting.secret {
            let digest: String = Sha256::digest(raw).iter().map(|b| format!("{b:02x}")).collect();
            return Ok(Ok(Value::Text(DeviceText::new(&format!("sha256:{digest}")))));
        }
        Ok(setting.value_type.decode(raw).ok_or_else(|| format!("{} bytes do not fit its type", raw.len())))
    }
}

#[async_trait]
impl Between for Sampling<'_> {
    async fn sample(&mut self, client: &mut Client) {
        let mut reader = Reader { profile: self.profile, usb_serial: self.usb_serial, client };
        let readiness = reading::readiness(self.profile, &mut reader).await;
        self.control.sampled(readiness);
    }
}

struct Sampling<'a> {
    profile: &'a Profile,
    usb_serial: Option<&'a DeviceText>,
    control: &'a dyn Control,
}

impl SmpDevice {
    fn reader(&mut self) -> Reader<'_> {
        Reader { profile: &self.profile, usb_serial: self.usb_serial.as_ref(), client: &mut self.client }
    }

    fn declared_bootloader(&self) -> Bootloader {
        Bootloader {
            name: None,
            mode: self.profile.firmware.bootloader.unwrap_or(BootMode::Unknown),
            downgrade_prevention: self.profile.firmware.downgrade_prevention,
            measured: false,
        }
    }

    async fn bootloader(&mut self) -> Result<Bootloader, DriverError> {
        let declared = self.declared_bootloader();
        let name = match self.client.ask(&Request::bootloader()).await {
            Ok(body) => get_text(&body, "bootloader").map(DeviceText::new),
            Err(error) if error.leaves_doubt() || is_passing(&error) => return Err(error),
            Err(_) => return Ok(declared),
        };
        // Only MCUboot's modes are known here.
        if name.as_ref().map(DeviceText::as_str) != Some("MCUboot") {
            return Ok(Bootloader { name, ..declared });
        }
        match self.client.ask(&Request::bootloader_mode()).await {
            Ok(body) => Ok(stricter(declared, name, &body)),
            Err(error) if error.leaves_doubt() || is_passing(&error) => Err(error),
            Err(_) => Ok(Bootloader { name, ..declared }),
        }
    }

    // Told before the slot is erased, where the device tells at all.
    async fn fits(&mut self, image: ImageId, length: u64) -> Result<(), DriverError> {
        let request = Request::slot_info();
        let body = match self.client.ask(&request).await {
            Ok(body) => body,
            Err(error) if error.leaves_doubt() || is_passing(&error) => return Err(error),
            Err(_) => return Ok(()),
        };
        match largest_image(&body, image) {
            Some(most) if length > most => {
                let meaning = format!("the image has {length} bytes, the slot takes {most}");
                Err(DriverError::new(request.name, DriverErrorKind::Refused { group: group::IMAGE, code: 30, meaning }))
            }
            _ => Ok(()),
        }
    }

    async fn tell(&mut self, request: &Request) -> Result<(), DriverError> {
        self.client.ask(request).await.map(drop)
    }
}

// A profile that knows of no way back is believed over a bootloader that claims one, and the other way round.
fn stricter(declared: Bootloader, name: Option<DeviceText>, answer: &Cbor) -> Bootloader {
    let told = boot_mode(get_uint(answer, "mode"));
    let declared_none = !matches!(declared.mode, BootMode::Unknown) && !declared.mode.has_revert();
    let keeps_declared = declared_none && told.has_revert();
    let prevents = get(answer, "no-downgrade").and_then(Cbor::as_bool);
    Bootloader {
        name,
        mode: if keeps_declared { declared.mode } else { told },
        downgrade_prevention: match (prevents, declared.downgrade_prevention) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (told, profile) => told.or(profile),
        },
        measured: !keeps_declared,
    }
}

// Zephyr `MCUBOOT_MODE_*` (`bootutil/boot_status.h`).
fn boot_mode(number: Option<u64>) -> BootMode {
    match number {
        Some(0) => BootMode::SingleSlot,
        Some(1) => BootMode::SwapUsingScratch,
        Some(2) => BootMode::OverwriteOnly,
        Some(3) => BootMode::SwapUsingMove,
        Some(4) => BootMode::DirectXip,
        Some(5) => BootMode::DirectXipWithRevert,
        Some(6) => BootMode::RamLoad,
        Some(7) => BootMode::FirmwareLoader,
        Some(9) => BootMode::SwapUsingOffset,
        _ => BootMode::Unknown,
    }
}

// What the device says that an image may be, else the size of its largest slot.
fn largest_image(slot_info: &Cbor, image: ImageId) -> Option<u64> {
    let images = get(slot_info, "images")?.as_array()?;
    let entry = images.iter().find(|i| get_uint(i, "image").unwrap_or(0) == u64::from(image.0))?;
    let sizes = || get(entry, "slots")?.as_array()?.iter().filter_map(|s| get_uint(s, "size")).max();
    get_uint(entry, "max_image_size").or_else(sizes)
}

fn slot(entry: &Cbor) -> Option<SlotState> {
    let small = |key| get_uint(entry, key).map(u8::try_from);
    Some(SlotState {
        image: ImageId(small("image").unwrap_or(Ok(0)).ok()?),
        slot: small("slot")?.ok()?,
        version: DeviceText::new(get_text(entry, "version").unwrap_or_default()),
        hash: get(entry, "hash").and_then(Cbor::as_bytes).and_then(|h| ImageHash::new(h)),
        bootable: get_flag(entry, "bootable"),
        pending: get_flag(entry, "pending"),
        confirmed: get_flag(entry, "confirmed"),
        active: get_flag(entry, "active"),
        permanent: get_flag(entry, "permanent"),
    })
}

#[async_trait]
impl Inspect for SmpDevice {
    async fn identify(&mut self) -> Result<Identity, DriverError> {
        let reader = &mut self.reader();
        let identity = reading::identity(reader.profile, reader).await?;
        let images = self.images().await?;
        let scheme = self.profile.firmware.version_scheme;
        let firmware = images.active(ImageId(0)).map(|s| FirmwareVersion { scheme, text: s.version.clone() });
        Ok(Identity { firmware, ..identity })
    }

    async fn readiness(&mut self) -> Result<Readiness, DriverError> {
        let reader = &mut self.reader();
        reading::readiness(reader.profile, reader).await
    }

    async fn read_config(&mut self) -> Result<ConfigSnapshot, DriverError> {
        let mut reader = self.reader();
        let mut settings = BTreeMap::new();
        for setting in &reader.profile.settings {
            let reading = match reader.read_setting(&setting.key).await? {
                Ok(value) => Reading::Value(value),
                Err(why) => Reading::Unreadable(why),
            };
            settings.insert(setting.key.clone(), SettingReading { class: setting.class, reading });
        }
        Ok(ConfigSnapshot { settings })
    }

    async fn images(&mut self) -> Result<Images, DriverError> {
        let slots = match self.client.ask(&Request::image_list()).await {
            Ok(body) => {
                let malformed = |what: &str| DriverError::new("image list", DriverErrorKind::Malformed(what.into()));
                let list = get(&body, "images").and_then(Cbor::as_array).ok_or_else(|| malformed("no list"))?;
                let slots: Option<Vec<SlotState>> = list.iter().map(slot).collect();
                slots.ok_or_else(|| malformed("an entry without a slot number"))?
            }
            Err(error) if error.kind == DriverErrorKind::Unsupported => Vec::new(),
            // Asked without keys, it is a finding; while a device is changed, a failure.
            Err(error) if needs_pairing(&error) && self.permit == Intent::Read => {
                return Ok(Images { slots: Vec::new(), bootloader: self.declared_bootloader() });
            }
            Err(error) => return Err(error),
        };
        Ok(Images { slots, bootloader: self.bootloader().await? })
    }

    async fn checks(&mut self) -> Result<Vec<CheckResult>, DriverError> {
        let reader = &mut self.reader();
        reading::checks(reader.profile, reader).await
    }

    async fn posture(&mut self) -> Result<Option<Posture>, DriverError> {
        if !self.over_radio {
            return Ok(None);
        }
        let management = match self.client.ask(&Request::image_list()).await {
            Ok(_) => Told::Value(true),
            Err(error) if needs_pairing(&error) => Told::Value(false),
            Err(error) if error.leaves_doubt() || is_passing(&error) => return Err(error),
            Err(error) => Told::Unreadable(error.kind.to_string()),
        };
        gatt::posture::read(self.client.link(), self.profile.timing.answer(), management).await
    }
}

#[async_trait]
impl Change for SmpDevice {
    async fn set(&mut self, key: &SettingKey, value: &Value) -> Result<(), DriverError> {
        let refuse = |why: &str| DriverError::new(format!("setting {key} write"), DriverErrorKind::Profile(why.into()));
        let setting = self.profile.setting(key).ok_or_else(|| refuse("the setting is not listed"))?;
        if setting.class != SettingClass::Security || !setting.writable || setting.secret {
            return Err(refuse("only writable settings of class security that are no secret are written"));
        }
        let raw =
            setting.value_type.encode(value).ok_or_else(|| refuse("the value does not fit the setting's type"))?;
        self.tell(&Request::setting_write(&key.0, raw)).await?;
        self.tell(&Request::settings_save()).await
    }

    async fn erase(&mut self, image: ImageId) -> Result<(), DriverError> {
        let refuse = |why: &str| Err(DriverError::new("image erase", DriverErrorKind::Profile(why.into())));
        let images = self.images().await?;
        // Without a running slot in the list none of the others is known to be spare.
        let spare = match (images.active(image), images.spare(image)) {
            (Some(running), Some(spare)) if spare.slot != running.slot => spare,
            _ => return refuse("the device lists no running and no spare slot beside it"),
        };
        // During a test the way back lies there.
        if spare.pending || spare.confirmed {
            return refuse("the image in the spare slot is pending or confirmed");
        }
        let spare = spare.slot;
        let request = Request::image_erase(spare.saturating_add(image.0.saturating_mul(2)));
        self.client.ask_within(&request, self.profile.timing.erase()).await.map(drop)
    }

    async fn upload(
        &mut self,
        image: ImageId,
        source: &dyn ImageSource,
        control: &dyn Control,
    ) -> Result<Uploaded, DriverError> {
        self.fits(image, source.len()).await?;
        let mut sampling = Sampling { profile: &self.profile, usb_serial: self.usb_serial.as_ref(), control };
        upload(&mut self.client, image, source, control, &self.profile.timing, &mut sampling).await
    }

    async fn mark_test(&mut self, _image: ImageId, hash: &ImageHash) -> Result<(), DriverError> {
        self.tell(&Request::image_test(hash)).await
    }

    async fn restart(&mut self) -> Result<(), DriverError> {
        self.tell(&Request::reset()).await
    }

    async fn confirm_running(&mut self) -> Result<(), DriverError> {
        self.tell(&Request::image_confirm()).await
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
