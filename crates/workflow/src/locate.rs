//! From what a person names to a port: `id:`, `udi:`, `port:`, `ble:` or bare text where it is unique.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aseptic_device::{Address, DeviceId, Identity, Inspecting, Session, Sighting, SightingEvent};
use futures::StreamExt as _;

use crate::laptop::{KnownProfile, Laptop, Purpose};
use crate::problem::{Code, Problem};

const LOOK: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(8);

/// A device as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceRef {
    /// By its lasting name.
    Id(DeviceId),
    /// By its unique device identifier.
    Udi(String),
    /// By where it is.
    At(Address),
    /// By text that must be unique: a serial number, or the end of a port's name.
    Text(String),
}

impl FromStr for DeviceRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("port:") {
            return Ok(Self::At(Address::Port(rest.into())));
        }
        if let Some(rest) = text.strip_prefix("ble:") {
            let (adapter, address) = rest.split_once('/').ok_or("expected ble:ADAPTER/ADDRESS")?;
            return Ok(Self::At(Address::Ble { adapter: adapter.into(), address: address.into() }));
        }
        if let Some(rest) = text.strip_prefix("udi:") {
            return Ok(Self::Udi(rest.into()));
        }
        if text.starts_with("id:") {
            return text.parse().map(Self::Id).map_err(|e: aseptic_device::identity::NotADeviceId| e.to_string());
        }
        if text.is_empty() { Err("a device must be named".into()) } else { Ok(Self::Text(text.into())) }
    }
}

impl fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Udi(udi) => write!(f, "udi:{udi}"),
            Self::At(address) => address.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Finds a device and identifies it. Opens only ports that may be opened.
pub async fn open(laptop: &Laptop, device: &DeviceRef, purpose: Purpose) -> Result<Session<Inspecting>, Problem> {
    let mut last = None;
    // A silent device takes long to give up on, so that it is time that counts here, not tries.
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let present = present(laptop).await;
        refuse_twins(device, &present)?;
        for (at, known) in candidates(laptop, device, &present)? {
            match Session::inspect(laptop.reach(known, purpose), at).await {
                Ok(session) if is_meant(device, session.sighting(), session.identity()) => return Ok(session),
                Ok(session) => {
                    let found =
                        session.identity().id.as_ref().map_or_else(|| "another device".into(), ToString::to_string);
                    let message = format!("{} is {found}, not {device}", session.sighting().address);
                    last = Some(Problem::new(Code::NotFound, message, "follow the cable, or run aseptic discover"));
                }
                Err(error) => last = Some(error.into()),
            }
        }
        let refused = last.as_ref().is_some_and(|p: &Problem| p.code == Code::Refused);
        if refused || tokio::time::Instant::now() >= end {
            break;
        }
    }
    Err(last.unwrap_or_else(|| {
        Problem::new(
            Code::NotFound,
            format!("{device} is not in reach"),
            "check cable and power; aseptic discover shows what is in reach",
        )
    }))
}

/// Returns what is in reach just now.
pub async fn present(laptop: &Laptop) -> Vec<Sighting> {
    let mut watch = laptop.bus.watch();
    let mut present: Vec<Sighting> = Vec::new();
    let end = tokio::time::Instant::now() + LOOK;
    while let Ok(Some(event)) = tokio::time::timeout_at(end, watch.next()).await {
        match event {
            SightingEvent::Seen(s) => {
                present.retain(|p| p.address != s.address);
                present.push(s);
            }
            SightingEvent::Gone(address) => present.retain(|p| p.address != address),
        }
    }
    present
}

// Two devices that claim one identity cannot be told apart, so neither is touched.
fn refuse_twins(device: &DeviceRef, present: &[Sighting]) -> Result<(), Problem> {
    let DeviceRef::Id(id) = device else { return Ok(()) };
    let twins = present.iter().filter(|s| usb_serial(s) == Some(id.serial())).count();
    if twins > 1 {
        let message = format!("{twins} ports claim the serial number {}", id.serial());
        return Err(Problem::new(
            Code::Refused,
            message,
            "nothing was opened; unplug all but one, and find out which one lies",
        ));
    }
    Ok(())
}

fn usb_serial(s: &Sighting) -> Option<&str> {
    s.usb.as_ref()?.serial.as_ref().map(|t| t.as_str())
}

fn candidates<'l>(
    laptop: &'l Laptop,
    device: &DeviceRef,
    present: &[Sighting],
) -> Result<Vec<(Sighting, &'l KnownProfile)>, Problem> {
    let with_profile = |s: &Sighting| laptop.profile_for(s).map(|k| (s.clone(), k));
    let list = match device {
        DeviceRef::At(address) => {
            let at = present.iter().find(|s| &s.address == address);
            if at.is_some_and(|s| laptop.profile_for(s).is_none()) {
                let message = format!("{address} matches no profile and nobody named it");
                return Err(Problem::new(
                    Code::Refused,
                    message,
                    "name it with --port, and its model with --profile FILE",
                ));
            }
            at.into_iter().filter_map(with_profile).collect()
        }
        DeviceRef::Id(id) => {
            let Some(known) = laptop.profile(id.profile()) else {
                let message = format!("no profile {}", id.profile());
                return Err(Problem::new(
                    Code::NotFound,
                    message,
                    "import the kit that carries it, or give it with --profile FILE",
                ));
            };
            let met = laptop.store.addresses_of(&id.to_string())?;
            let mut list: Vec<&Sighting> = present.iter().filter(|s| usb_serial(s) == Some(id.serial())).collect();
            list.extend(present.iter().filter(|s| met.contains(&s.address.to_string())));
            list.extend(present.iter().filter(|s| known.profile.matches(s)));
            list.extend(present.iter().filter(|s| s.named));
            let mut seen = std::collections::BTreeSet::new();
            list.retain(|s| seen.insert(s.address.clone()));
            // Where USB already names another device of the model, its port stays shut.
            let exact = list.first().is_some_and(|s| usb_serial(s) == Some(id.serial()));
            list.into_iter().take(if exact { 1 } else { usize::MAX }).map(|s| (s.clone(), known)).collect()
        }
        DeviceRef::Udi(_) => present.iter().filter_map(with_profile).collect(),
        DeviceRef::Text(text) => {
            let list: Vec<_> = present.iter().filter(|s| shows(s, text)).filter_map(with_profile).collect();
            // A radio peer shows no serial number before it is asked.
            if list.is_empty() {
                return Ok(present.iter().filter(|s| s.radio.is_some()).filter_map(with_profile).collect());
            }
            if list.len() > 1 {
                let message = format!("{text} fits {} devices", list.len());
                return Err(Problem::new(Code::Usage, message, "name it in full: id:PROFILE/SERIAL or port:PATH"));
            }
            list
        }
    };
    Ok(list)
}

// Whether a text is what the outside of a device shows: serial number on USB, port, address or name.
fn shows(s: &Sighting, text: &str) -> bool {
    let named = || s.radio.is_some() && s.name.as_ref().is_some_and(|n| n.as_str() == text);
    let placed = || match &s.address {
        Address::Port(port) => port == text || port.rsplit('/').next() == Some(text),
        Address::Ble { address, .. } => address.eq_ignore_ascii_case(text),
    };
    usb_serial(s) == Some(text) || placed() || named()
}

fn is_meant(device: &DeviceRef, at: &Sighting, identity: &Identity) -> bool {
    match device {
        DeviceRef::Id(id) => identity.id.as_ref() == Some(id),
        DeviceRef::Udi(udi) => identity.udi.as_ref().is_some_and(|u| u.as_str() == udi),
        DeviceRef::At(_) => true,
        DeviceRef::Text(text) => shows(at, text) || identity.serial.as_ref().is_some_and(|s| s.as_str() == text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_ways_to_name_a_device_are_told_apart() {
        assert_eq!("id:p/SN-1".parse(), Ok(DeviceRef::Id(DeviceId::new("p", "SN-1").unwrap())));
        assert_eq!("port:/dev/ttyACM0".parse(), Ok(DeviceRef::At(Address::Port("/dev/ttyACM0".into()))));
        assert_eq!("udi:(01)1".parse(), Ok(DeviceRef::Udi("(01)1".into())));
        assert_eq!("SN-1".parse(), Ok(DeviceRef::Text("SN-1".into())));
        assert!("id:broken".parse::<DeviceRef>().is_err());
        assert!("ble:hci0".parse::<DeviceRef>().is_err());
        assert!("".parse::<DeviceRef>().is_err());
    }
}
