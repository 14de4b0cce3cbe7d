//! What a radio link shows of a device's hardening. Reads only, and keeps no clinical value.

use std::collections::BTreeMap;
use std::time::Duration;

use aseptic_device::radio::{Bond, MCUMGR_SERVICE, Posture, RadioLink, Told, uuid, written};
use aseptic_device::{DeviceText, DriverError, Transport};

use super::read::{BATTERY, NoValue, UDI, characteristic, radio};
use super::values::{self, Decoded};

const GENERIC_ACCESS: u16 = 0x1800;
const GENERIC_ATTRIBUTE: u16 = 0x1801;
const CURRENT_TIME: u16 = 0x1805;
const DEVICE_INFORMATION: u16 = 0x180a;
const BATTERY_SERVICE: u16 = 0x180f;

/// Manufacturer, model, serial number, hardware, firmware and software revision.
const INFORMATION: [u16; 6] = [0x2a29, 0x2a24, 0x2a25, 0x2a27, 0x2a26, 0x2a28];
/// Services and their characteristics that tell a state or a list of features, never a measurement.
const CLINICAL: [(u16, u16); 10] = [
    (0x183a, 0x2b21), // insulin delivery: status
    (0x183a, 0x2b23), // insulin delivery: features
    (0x181f, 0x2aa8), // continuous glucose: feature
    (0x1808, 0x2a51), // glucose: feature
    (0x1822, 0x2a60), // pulse oximeter: features
    (0x1810, 0x2a49), // blood pressure: feature
    (0x1809, 0x2a1d), // thermometer: type
    (0x180d, 0x2a38), // heart rate: body sensor location
    (0x181d, 0x2a9e), // weight scale: feature
    (0x181b, 0x2a9b), // body composition: feature
];

const HIDDEN: &str = "the platform keeps this service to itself";
const CAME_ABOUT: &str = "the device paired by itself, and the keys were removed again";
const PAIRED: &str = "laptop and device are paired, so what an unpaired one may do cannot be told";

/// Reads the posture; `None` on a wire. `management` is whether MCUmgr answered, where it was asked.
///
/// A lost link and silence are errors, never findings.
pub async fn read(
    link: &mut dyn Transport,
    answer: Duration,
    management: Told<bool>,
) -> Result<Option<Posture>, DriverError> {
    let Some(seen) = radio(link).await? else { return Ok(None) };
    let mut ask = Ask { link, answer, seen: &seen };
    let mut information = BTreeMap::new();
    for short in INFORMATION {
        let told = ask.tell(DEVICE_INFORMATION, short, |raw| Ok(DeviceText::from_bytes(raw))).await?;
        information.insert(format!("{short:04x}"), told);
    }
    let mut clinical = BTreeMap::new();
    for (service, short) in CLINICAL {
        match ask.may_read(service, short).await? {
            Told::Absent => {}
            told => drop(clinical.insert(format!("{short:04x}"), told)),
        }
    }
    let security_levels = ask.tell(GENERIC_ACCESS, 0x2bf5, values::security_levels).await?;
    let udi = ask.tell(DEVICE_INFORMATION, UDI, device_identifier).await?;
    let pnp = ask.tell(DEVICE_INFORMATION, 0x2a50, values::pnp).await?;
    let clock = ask.tell(CURRENT_TIME, 0x2a2b, values::current_time).await?;
    let battery = match (ask.tell(BATTERY_SERVICE, BATTERY, values::battery).await?, seen.battery) {
        (Told::Value(percent), _) | (_, Some(percent)) => Told::Value(percent),
        (none, None) => none,
    };
    let database_hash = ask.tell(GENERIC_ATTRIBUTE, 0x2b2a, values::database_hash).await?;
    let management = if ask.offers(MCUMGR_SERVICE) { management } else { ask.missing(MCUMGR_SERVICE) };
    // Last: keys may have come about while all this was asked.
    let bond = radio(link).await?.map_or(seen.bond, |now| now.bond);
    Ok(Some(Posture {
        address: told_by_platform(seen.address),
        flags: told_by_platform(seen.flags),
        name: seen.name.clone().map_or(Told::Absent, Told::Value),
        discloses: discloses(&seen),
        services: seen.services.keys().map(|u| written(*u)).collect(),
        hidden: seen.hidden.iter().map(|u| written(*u)).collect(),
        characteristics: seen.services.values().flatten().map(|u| written(*u)).collect(),
        security_levels,
        clinical: clinical.into_iter().map(|(short, told)| (short, unpaired(told, bond))).collect(),
        information,
        udi,
        pnp,
        clock,
        battery,
        database_hash,
        management: unpaired(management, bond),
        bond,
    }))
}

struct Ask<'a> {
    link: &'a mut dyn Transport,
    answer: Duration,
    seen: &'a RadioLink,
}

impl Ask<'_> {
    fn offers(&self, service: u128) -> bool {
        self.seen.services.contains_key(&service)
    }

    // Absence is known only of services that the platform would show.
    fn missing<T>(&self, service: u128) -> Told<T> {
        if self.seen.hidden.contains(&service) { Told::Unreadable(HIDDEN.into()) } else { Told::Absent }
    }

    // `Err`: there is nothing to ask for.
    async fn raw<T>(
        &mut self,
        service: u16,
        short: u16,
    ) -> Result<Result<Result<Vec<u8>, NoValue>, Told<T>>, DriverError> {
        let (service, wanted) = (uuid(service), uuid(short));
        // With the keys the link went.
        if self.seen.bond.undone {
            return Ok(Err(Told::Unreadable(CAME_ABOUT.into())));
        }
        if !self.seen.services.get(&service).is_some_and(|held| held.contains(&wanted)) {
            return Ok(Err(self.missing(service)));
        }
        Ok(Ok(characteristic(self.link, self.answer, wanted).await?))
    }

    async fn tell<T>(
        &mut self,
        service: u16,
        short: u16,
        decode: impl FnOnce(&[u8]) -> Decoded<T>,
    ) -> Result<Told<T>, DriverError> {
        Ok(match self.raw(service, short).await? {
            Err(told) => told,
            Ok(Ok(raw)) => decode(&raw).map_or_else(Told::Unreadable, Told::Value),
            Ok(Err(none)) => Told::Unreadable(none.to_string()),
        })
    }

    // The value is dropped where it arrives.
    async fn may_read(&mut self, service: u16, short: u16) -> Result<Told<bool>, DriverError> {
        Ok(match self.raw(service, short).await? {
            Err(told) => told,
            Ok(Ok(_)) => Told::Value(true),
            Ok(Err(NoValue::NotPaired)) => Told::Value(false),
            Ok(Err(none)) => Told::Unreadable(none.to_string()),
        })
    }
}

// With keys nothing can be said about a laptop that has none.
fn unpaired(told: Told<bool>, bond: Bond) -> Told<bool> {
    match told {
        Told::Value(_) if bond.before || bond.now || bond.undone => Told::Unreadable(PAIRED.into()),
        told => told,
    }
}

fn told_by_platform<T>(told: Option<T>) -> Told<T> {
    told.map_or_else(|| Told::Unreadable("the platform does not tell it".into()), Told::Value)
}

fn device_identifier(raw: &[u8]) -> Decoded<DeviceText> {
    values::udi(raw)?.device.ok_or_else(|| "it holds no device identifier".into())
}

fn discloses(seen: &RadioLink) -> Vec<String> {
    let name = seen.name.iter().filter(|n| n.is_masked()).map(|_| "the advertised name".to_owned());
    let manufacturer = seen.manufacturer.iter().filter(|(_, text)| text.is_masked());
    name.chain(manufacturer.map(|(company, _)| format!("the manufacturer data of company 0x{company:04X}"))).collect()
}

#[cfg(test)]
#[path = "posture_tests.rs"]
mod tests;
