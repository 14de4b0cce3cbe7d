//! A device that speaks SMP, read and changed as its profile says.

use std::collections::BTreeMap;

use aseptic_device::driver::{CheckResult, Readiness, Sensed};
use aseptic_device::identity::is_sdk_default;
use aseptic_device::profile::{Condition, Framing, Profile, ReadFrom, passes};
use aseptic_device::setting::{Reading, SettingReading};
use aseptic_device::{
    Address, BootMode, Bootloader, Change, ConfigSnapshot, Control, DeviceId, DeviceText, DriverError, DriverErrorKind,
    Endpoint, FirmwareVersion, Identity, ImageHash, ImageId, ImageSource, Images, Inspect, Intent, SettingClass,
    SettingKey, Sighting, SlotState, Transport, Uploaded, Value,
};
use async_trait::async_trait;
use ciborium::Value as Cbor;
use sha2::{Digest as _, Sha256};

use super::client::{Client, is_passing};
use super::packet::{get, get_flag, get_text, get_uint};
use super::request::{Request, group};
use super::upload::{Between, upload};

/// The characteristic that carries SMP (Zephyr `smp_transport.rst`, "Bluetooth Low Energy").
const SMP_CHARACTERISTIC: u128 = 0xda2e_7828_fbce_4e01_ae9e_2611_7499_7c48;
/// A 16-bit UUID stands in the Bluetooth base UUID.
const BLUETOOTH_BASE: u128 = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;

/// One SMP device.
pub struct SmpDevice {
    profile: Profile,
    usb_serial: Option<DeviceText>,
    client: Client,
}

impl SmpDevice {
    /// Takes an open link and what the wire itself told about the device.
    pub fn new(profile: Profile, at: &Sighting, link: Box<dyn Transport>, permit: Intent) -> Self {
        let (endpoint, framing) = match at.address {
            Address::Port(_) => (Endpoint::Stream, profile.serial.framing),
            Address::Ble { .. } => (Endpoint::Characteristic(SMP_CHARACTERISTIC), Framing::Raw),
        };
        let client = Client::new(link, endpoint, framing, permit, profile.timing.answer());
        Self { profile, usb_serial: at.usb.as_ref().and_then(|u| u.serial.clone()), client }
    }
}

/// Longest value of a setting that is asked for.
const VALUE: u16 = 256;

// Not read, and why; a failed link is an error of its own.
type Read = Result<Result<Value, String>, DriverError>;

fn unread(error: DriverError) -> Read {
    if error.leaves_doubt() || is_passing(&error) { Err(error) } else { Ok(Err(error.kind.to_string())) }
}

struct Reader<'a> {
    profile: &'a Profile,
    usb_serial: Option<&'a DeviceText>,
}

impl Reader<'_> {
    async fn read(&self, client: &mut Client, from: &ReadFrom) -> Read {
        match from {
            ReadFrom::Setting(key) => self.read_setting(client, key).await,
            ReadFrom::OsInfo(format) => match client.ask(&Request::os_info(*format)).await {
                Ok(body) => {
                    Ok(get_text(&body, "output").map(|t| Value::Text(t.into())).ok_or_else(|| "no output".into()))
                }
                Err(error) => unread(error),
            },
            ReadFrom::Stat { group, field } => match client.ask(&Request::stat(group)).await {
                Ok(body) => {
                    let value = get(&body, "fields").and_then(|f| super::packet::get_int(f, field));
                    Ok(value.map(Value::Int).ok_or_else(|| format!("no field {field}")))
                }
                Err(error) => unread(error),
            },
            ReadFrom::UsbSerial => {
                Ok(self.usb_serial.map(|s| Value::Text(s.clone())).ok_or_else(|| "no USB serial number".into()))
            }
            ReadFrom::Dis(uuid) => match client.read_characteristic(BLUETOOTH_BASE | u128::from(*uuid) << 96).await {
                Ok(bytes) => Ok(Ok(Value::Text(DeviceText::from_bytes(&bytes)))),
                Err(error) => unread(error),
            },
            ReadFrom::Udi => Ok(Err("not read yet".into())),
        }
    }

    async fn read_setting(&self, client: &mut Client, key: &SettingKey) -> Read {
        let Some(setting) = self.profile.setting(key) else { return Ok(Err("not in the profile".into())) };
        let body = match client.ask(&Request::setting(&key.0, VALUE)).await {
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

    async fn sense(&self, client: &mut Client, condition: &Condition) -> Result<Sensed, DriverError> {
        Ok(match self.read(client, &condition.read).await? {
            Err(why) => Sensed::Unreadable(format!("{}: {why}", condition.read)),
            Ok(value) => match passes(&condition.expect, &value) {
                Some(true) => Sensed::Safe(format!("{} reads {value}", condition.read)),
                Some(false) => {
                    Sensed::Unsafe(format!("{} reads {value}, expected {}", condition.read, condition.expect))
                }
                None => Sensed::Unreadable(format!("{} reads {value}, which cannot be judged", condition.read)),
            },
        })
    }

    async fn sense_declared(&self, client: &mut Client, condition: Option<&Condition>) -> Result<Sensed, DriverError> {
        match condition {
            Some(condition) => self.sense(client, condition).await,
            None => Ok(Sensed::Unreadable("the profile names no reading".into())),
        }
    }

    async fn readiness(&self, client: &mut Client) -> Result<Readiness, DriverError> {
        let sources = &self.profile.readiness;
        Ok(Readiness {
            therapy: self.sense_declared(client, sources.therapy_idle.as_ref()).await?,
            alarm: self.sense_declared(client, sources.no_alarm.as_ref()).await?,
            power: self.power(client).await?,
        })
    }

    // Mains or enough battery: one that passes is enough, one that fails counts only when the other does not pass.
    async fn power(&self, client: &mut Client) -> Result<Sensed, DriverError> {
        let mains = self.sense_declared(client, self.profile.readiness.mains.as_ref()).await?;
        if matches!(mains, Sensed::Safe(_)) {
            return Ok(mains);
        }
        let battery = self.sense_declared(client, self.profile.readiness.battery.as_ref()).await?;
        Ok(match (mains, battery) {
            (_, safe @ Sensed::Safe(_)) => safe,
            (Sensed::Unsafe(a), Sensed::Unsafe(b)) => Sensed::Unsafe(format!("{a}; {b}")),
            (not_safe @ Sensed::Unsafe(_), _) | (_, not_safe) => not_safe,
        })
    }
}

#[async_trait]
impl Between for (Reader<'_>, &dyn Control) {
    async fn sample(&mut self, client: &mut Client) {
        let readiness = self.0.readiness(client).await;
        self.1.sampled(readiness);
    }
}

impl SmpDevice {
    fn parts(&mut self) -> (Reader<'_>, &mut Client) {
        (Reader { profile: &self.profile, usb_serial: self.usb_serial.as_ref() }, &mut self.client)
    }

    async fn read_text(&mut self, from: Option<&ReadFrom>) -> Result<Option<DeviceText>, DriverError> {
        let Some(from) = from else { return Ok(None) };
        let (reader, client) = self.parts();
        Ok(reader.read(client, from).await?.ok().map(|value| match value {
            Value::Text(text) => text,
            other => DeviceText::new(&other.to_string()),
        }))
    }

    // The first source that gives anything counts, even a placeholder: it must not be skipped for a weaker one.
    async fn read_serial(&mut self) -> Result<Option<DeviceText>, DriverError> {
        for source in self.profile.identity.serial.clone() {
            if let Some(text) = self.read_text(Some(&source)).await?
                && !text.is_blank()
            {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    async fn bootloader(&mut self) -> Result<Bootloader, DriverError> {
        let declared = Bootloader {
            name: None,
            mode: self.profile.firmware.bootloader.unwrap_or(BootMode::Unknown),
            downgrade_prevention: self.profile.firmware.downgrade_prevention,
            measured: false,
        };
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
        let serial = self.read_serial().await?;
        let udi = self.read_text(self.profile.identity.udi.clone().as_ref()).await?;
        let hardware = self.read_text(self.profile.identity.hardware.clone().as_ref()).await?;
        let images = self.images().await?;
        let scheme = self.profile.firmware.version_scheme;
        let firmware = images.active(ImageId(0)).map(|s| FirmwareVersion { scheme, text: s.version.clone() });
        let (id, unusable) = match &serial {
            None => (None, Some("no serial number could be read".to_owned())),
            Some(s)
                if is_sdk_default(s.as_str())
                    || self.profile.identity.placeholders.iter().any(|p| p.eq_ignore_ascii_case(s.as_str().trim())) =>
            {
                (None, Some(format!("serial number {s} is a placeholder that many devices share")))
            }
            Some(s) => match DeviceId::new(&self.profile.id, s.as_str()) {
                Some(id) => (Some(id), None),
                None => (None, Some(format!("serial number {s} cannot be used as an identifier"))),
            },
        };
        Ok(Identity { profile: self.profile.id.clone(), id, serial, udi, hardware, firmware, unusable })
    }

    async fn readiness(&mut self) -> Result<Readiness, DriverError> {
        let (reader, client) = self.parts();
        reader.readiness(client).await
    }

    async fn read_config(&mut self) -> Result<ConfigSnapshot, DriverError> {
        let (reader, client) = self.parts();
        let mut settings = BTreeMap::new();
        for setting in &reader.profile.settings {
            let reading = match reader.read_setting(client, &setting.key).await? {
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
            Err(error) => return Err(error),
        };
        Ok(Images { slots, bootloader: self.bootloader().await? })
    }

    async fn checks(&mut self) -> Result<Vec<CheckResult>, DriverError> {
        let (reader, client) = self.parts();
        let mut results = Vec::new();
        for check in &reader.profile.checks {
            let condition = Condition { read: check.read.clone(), expect: check.expect.clone() };
            results.push(CheckResult { check: check.id.clone(), sensed: reader.sense(client, &condition).await? });
        }
        Ok(results)
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
        let reader = Reader { profile: &self.profile, usb_serial: self.usb_serial.as_ref() };
        upload(&mut self.client, image, source, control, &self.profile.timing, &mut (reader, control)).await
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
