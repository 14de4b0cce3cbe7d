//! `org.bluez.GattService1`, `GattCharacteristic1` and `GattDescriptor1`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use zbus::message::Header;
use zbus::{OwnedFd, OwnedObjectPath, OwnedVariant, Variant, interface};

use super::attributes::{Characteristic, Holds, Service};
use super::peer::Peer;
use super::{Air, BluezError, Result, device};
use crate::life::lock;
use crate::ward::radio::{Flag, Uuid};

pub(super) const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";
/// Client Characteristic Configuration.
const CONFIGURATION: Uuid = Uuid::short(0x2902);

/// Where a service and its characteristics stand on the bus.
#[derive(Debug)]
pub(super) struct Placed {
    pub path: OwnedObjectPath,
    pub characteristics: Vec<PlacedCharacteristic>,
}

#[derive(Debug, Clone)]
pub(super) struct PlacedCharacteristic {
    pub path: OwnedObjectPath,
    pub descriptor: Option<OwnedObjectPath>,
}

fn notifies(characteristic: &Characteristic) -> bool {
    characteristic.flags.iter().any(|f| matches!(f, Flag::Notify | Flag::Indicate))
}

/// Gives handles; paths carry them, of a characteristic that of its declaration.
pub(super) fn place(device: &str, services: Vec<Service>) -> zbus::Result<Vec<(Service, Placed)>> {
    let mut handle = 0x000f_u16;
    let mut next = |skipped: u16| {
        handle += 1 + skipped;
        handle
    };
    services
        .into_iter()
        .map(|service| {
            let path = format!("{device}/service{:04x}", next(0));
            let characteristics = service
                .characteristics
                .iter()
                .map(|c| {
                    let path = format!("{path}/char{:04x}", next(0));
                    // Its value has a handle too.
                    let value = next(0);
                    let descriptor = notifies(c).then(|| format!("{path}/desc{:04x}", value.max(next(0))));
                    Ok(PlacedCharacteristic {
                        path: path.try_into()?,
                        descriptor: descriptor.map(OwnedObjectPath::try_from).transpose()?,
                    })
                })
                .collect::<zbus::Result<_>>()?;
            Ok((service, Placed { path: path.try_into()?, characteristics }))
        })
        .collect()
}

/// Puts a device's attribute table on the bus.
pub(super) async fn show(air: &Air, peer: &Arc<Peer>) -> zbus::Result<()> {
    let server = air.bus.object_server();
    for (service, placed) in &peer.services {
        server.at(&placed.path, GattService1 { uuid: service.uuid, device: peer.path.clone() }).await?;
        for (is, at) in service.characteristics.iter().zip(&placed.characteristics) {
            let characteristic = GattCharacteristic1 {
                peer: peer.clone(),
                service: placed.path.clone(),
                path: at.path.clone(),
                is: is.clone(),
            };
            server.at(&at.path, characteristic).await?;
            if let Some(path) = &at.descriptor {
                server.at(path, GattDescriptor1 { peer: peer.clone(), characteristic: at.path.clone() }).await?;
            }
        }
    }
    if peer.radio.battery.is_some() {
        server.at(&peer.path, device::Battery1(peer.clone())).await?;
    }
    Ok(())
}

/// Takes a device's attribute table off the bus.
pub(super) async fn hide(air: &Air, peer: &Peer) {
    let server = air.bus.object_server();
    let _ = server.remove::<device::Battery1, _>(&peer.path).await;
    for (_, placed) in &peer.services {
        for at in &placed.characteristics {
            if let Some(path) = &at.descriptor {
                let _ = server.remove::<GattDescriptor1, _>(path).await;
            }
            let _ = server.remove::<GattCharacteristic1, _>(&at.path).await;
        }
        let _ = server.remove::<GattService1, _>(&placed.path).await;
    }
}

struct GattService1 {
    uuid: Uuid,
    device: OwnedObjectPath,
}

#[interface(name = "org.bluez.GattService1", introspection_docs = false)]
impl GattService1 {
    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> String {
        self.uuid.to_string()
    }

    #[zbus(property)]
    fn primary(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn device(&self) -> OwnedObjectPath {
        self.device.clone()
    }

    #[zbus(property)]
    fn includes(&self) -> Vec<OwnedObjectPath> {
        Vec::new()
    }
}

struct GattCharacteristic1 {
    peer: Arc<Peer>,
    service: OwnedObjectPath,
    path: OwnedObjectPath,
    is: Characteristic,
}

fn sender(header: &Header<'_>) -> String {
    header.sender().map(ToString::to_string).unwrap_or_default()
}

type Options = HashMap<String, OwnedVariant>;

impl GattCharacteristic1 {
    fn may(&self, any: &[Flag]) -> Result<()> {
        let connected = self.peer.state().connected;
        if !connected {
            return Err(BluezError::Failed("Not connected".into()));
        }
        if !self.is.flags.iter().any(|f| any.contains(f)) {
            return Err(BluezError::NotSupported("Operation is not supported".into()));
        }
        Ok(())
    }
}

fn offset(options: &Options) -> usize {
    let offset = options.get("offset").and_then(|v| u16::try_from(v).ok());
    offset.map(usize::from).unwrap_or_default()
}

#[interface(name = "org.bluez.GattCharacteristic1", introspection_docs = false)]
impl GattCharacteristic1 {
    async fn read_value(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<Vec<u8>> {
        self.may(&[Flag::Read])?;
        self.peer.admit(&sender(&header), &self.is).await?;
        let now = (self.peer.air()?.now)();
        let value = self.is.holds.read(&lock(&self.peer.machine), &now);
        let rest = value.get(offset(&options)..).ok_or_else(|| BluezError::InvalidOffset("Invalid offset".into()))?;
        Ok(rest.to_vec())
    }

    async fn write_value(&self, value: Vec<u8>, options: Options, #[zbus(header)] header: Header<'_>) -> Result<()> {
        let kind = options.get("type").and_then(|v| <&str>::try_from(v).ok());
        let command = match kind {
            Some("command") => true,
            Some(_) => false,
            None => self.is.flags.contains(&Flag::WriteWithoutResponse),
        };
        self.may(if command { &[Flag::WriteWithoutResponse] } else { &[Flag::Write] })?;
        if command && value.len() > self.peer.longest() {
            return Err(BluezError::Failed("Failed to initiate write".into()));
        }
        let paired = self.peer.state().paired;
        if command && self.is.guarded && !paired {
            // A command has no answer: the device drops it, and nobody learns of it.
            return Ok(());
        }
        self.peer.admit(&sender(&header), &self.is).await?;
        if matches!(self.is.holds, Holds::Smp) {
            self.peer.send(value).await;
        }
        Ok(())
    }

    // A socket that carries commands until it is closed, and the MTU. BlueZ keeps the bounds of writes on it; here they may join.
    async fn acquire_write(&self, _options: Options, #[zbus(header)] header: Header<'_>) -> Result<(OwnedFd, u16)> {
        self.may(&[Flag::WriteWithoutResponse])?;
        self.peer.admit(&sender(&header), &self.is).await?;
        let failed = |error: std::io::Error| BluezError::Failed(error.to_string());
        let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
        let theirs = theirs.into_std().map_err(failed)?;
        let (peer, carries) = (self.peer.clone(), matches!(self.is.holds, Holds::Smp));
        self.peer.air()?.spawn(async move {
            let mut piece = vec![0; peer.longest()];
            while let Ok(length @ 1..) = ours.read(&mut piece).await {
                if carries {
                    peer.send(piece.iter().take(length).copied().collect()).await;
                }
            }
        });
        Ok((std::os::fd::OwnedFd::from(theirs).into(), self.peer.radio.mtu))
    }

    async fn start_notify(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.may(&[Flag::Notify, Flag::Indicate])?;
        self.peer.admit(&sender(&header), &self.is).await?;
        let new = {
            let mut state = self.peer.state();
            let programs = state.notifying.entry(self.path.clone()).or_default();
            let new = programs.is_empty();
            programs.insert(sender(&header));
            new
        };
        if new {
            self.peer.air()?.changed(&self.path, CHARACTERISTIC, &[("Notifying", Variant::from(true))]).await;
        }
        Ok(())
    }

    async fn stop_notify(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        let last = {
            let mut state = self.peer.state();
            let programs = state.notifying.entry(self.path.clone()).or_default();
            if !programs.remove(&sender(&header)) {
                return Err(BluezError::Failed("No notify session started".into()));
            }
            programs.is_empty()
        };
        if last {
            self.peer.air()?.changed(&self.path, CHARACTERISTIC, &[("Notifying", Variant::from(false))]).await;
        }
        Ok(())
    }

    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> String {
        self.is.uuid.to_string()
    }

    #[zbus(property)]
    fn service(&self) -> OwnedObjectPath {
        self.service.clone()
    }

    #[zbus(property)]
    fn flags(&self) -> Vec<String> {
        self.is.flags.iter().map(|f| f.word().to_owned()).collect()
    }

    #[zbus(property)]
    fn notifying(&self) -> bool {
        self.peer.state().notifying.get(&self.path).is_some_and(|programs| !programs.is_empty())
    }

    #[zbus(property, name = "MTU")]
    fn mtu(&self) -> u16 {
        self.peer.radio.mtu
    }
}

struct GattDescriptor1 {
    peer: Arc<Peer>,
    characteristic: OwnedObjectPath,
}

#[interface(name = "org.bluez.GattDescriptor1", introspection_docs = false)]
impl GattDescriptor1 {
    fn read_value(&self, _options: Options) -> Vec<u8> {
        let on = self.peer.state().notifying.get(&self.characteristic).is_some_and(|programs| !programs.is_empty());
        vec![u8::from(on), 0]
    }

    // BlueZ keeps this one to StartNotify and StopNotify.
    fn write_value(&self, _value: Vec<u8>, _options: Options) -> Result<()> {
        Err(BluezError::NotPermitted("Write not permitted".into()))
    }

    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> String {
        CONFIGURATION.to_string()
    }

    #[zbus(property)]
    fn characteristic(&self) -> OwnedObjectPath {
        self.characteristic.clone()
    }
}
