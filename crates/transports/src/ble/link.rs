//! One link to one radio peer.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aseptic_device::link::LinkErrorKind;
use aseptic_device::radio::uuid;
use aseptic_device::{Address, Bond, DeviceText, Endpoint, Inbound, LinkError, RadioLink, Transport};
use async_trait::async_trait;
use btleplug::api::{Characteristic, Peripheral as _, ValueNotification, WriteType};
use btleplug::platform::Peripheral;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::platform::{HIDDEN, Platform};
use super::room::Place;
use super::{Link, Seen, Shared};

/// Longest wait for a disconnection; BlueZ takes up to 2 s.
const DISCONNECT: Duration = Duration::from_secs(4);
/// What fits a write on any link.
const SMALLEST_WRITE: usize = 20;
/// Opcode and handle of a write.
const WRITE_HEADER: usize = 3;

/// Runs what the radio library does in a task of its own, where its panics stay.
pub(super) async fn contained<T: Send + 'static>(
    work: impl Future<Output = Result<T, btleplug::Error>> + Send + 'static,
) -> Result<T, LinkErrorKind> {
    let mut task = JoinSet::new();
    task.spawn(work);
    match task.join_next().await {
        Some(Ok(done)) => done.map_err(|e| kind_of(&e)),
        _ => Err(LinkErrorKind::Io("the radio library failed".into())),
    }
}

/// Keeps the radio library's own panics off the screen: they end one task of it and nothing else.
///
/// It panics when a signal arrives while a stream is dropped (`bluez-async` 0.9, `messagestream.rs`).
pub fn silence_library_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_some_and(|at| at.file().contains("bluez-async")) {
            tracing::debug!(%panic, "the radio library failed");
        } else {
            tell(panic);
        }
    }));
}

// BlueZ names its errors; the library passes them on in words (`create_gatt_dbus_error` in BlueZ `gatt-client.c`).
fn kind_of(error: &btleplug::Error) -> LinkErrorKind {
    match error {
        btleplug::Error::PermissionDenied => LinkErrorKind::NoPermission,
        btleplug::Error::DeviceNotFound => LinkErrorKind::NotFound,
        btleplug::Error::NotConnected => LinkErrorKind::Gone,
        other => {
            let words = other.to_string();
            if words.contains("Not paired") || words.contains("NotAuthorized") || words.contains("Not Authorized") {
                LinkErrorKind::NotPaired
            } else if words.contains("Not connected")
                || words.contains("NotConnected")
                || words.contains("UnknownObject")
            {
                LinkErrorKind::Gone
            } else {
                LinkErrorKind::Io(words)
            }
        }
    }
}

/// A connected peer with its services.
pub(super) struct Connected {
    characteristics: HashMap<u128, Characteristic>,
    notifications: BoxStream<'static, ValueNotification>,
}

/// Connects and reads the services.
pub(super) async fn connect(peripheral: Peripheral) -> Result<Connected, btleplug::Error> {
    peripheral.connect().await?;
    peripheral.discover_services().await?;
    let notifications = peripheral.notifications().await?.boxed();
    let characteristics = peripheral.characteristics().into_iter().map(|c| (c.uuid.as_u128(), c)).collect();
    Ok(Connected { characteristics, notifications })
}

/// Ends a connection or an attempt at one.
pub(super) async fn disconnect(peripheral: Peripheral) {
    let _ = timeout(DISCONNECT, contained(async move { peripheral.disconnect().await })).await;
}

/// An open link.
pub(super) struct BleTransport {
    pub address: Address,
    pub shared: Arc<Shared>,
    pub peripheral: Peripheral,
    pub connected: Connected,
    pub lost: broadcast::Receiver<Address>,
    pub platform: Option<Platform>,
    pub bonded_before: bool,
    /// Somebody gave the passkey.
    pub paired: bool,
    pub voided: Option<RadioLink>,
    pub place: Option<Place>,
}

impl BleTransport {
    fn error(&self, kind: LinkErrorKind) -> LinkError {
        LinkError { address: self.address.clone(), kind }
    }

    fn find(&self, endpoint: Endpoint) -> Result<Characteristic, LinkError> {
        let found = match endpoint {
            Endpoint::Characteristic(uuid) => self.connected.characteristics.get(&uuid),
            Endpoint::Stream => None,
        };
        found.cloned().ok_or_else(|| self.error(LinkErrorKind::Unsupported("this characteristic")))
    }

    fn device(&self) -> String {
        self.peripheral.id().to_string()
    }
}

#[async_trait]
impl Transport for BleTransport {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn write(&mut self, to: Endpoint, bytes: &[u8]) -> Result<(), LinkError> {
        let characteristic = self.find(to)?;
        let written = self.peripheral.write(&characteristic, bytes, WriteType::WithoutResponse).await;
        written.map_err(|e| self.error(kind_of(&e)))
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        loop {
            tokio::select! {
                // What arrived before the link was lost is still read.
                biased;
                notified = self.connected.notifications.next() => {
                    let Some(told) = notified else { return Err(self.error(LinkErrorKind::Gone)) };
                    return Ok(Inbound { from: Endpoint::Characteristic(told.uuid.as_u128()), bytes: told.value });
                }
                lost = self.lost.recv() => match lost {
                    Ok(address) if address != self.address => {}
                    // Too many were lost at once to tell whether this one is among them.
                    Ok(_) | Err(_) => return Err(self.error(LinkErrorKind::Gone)),
                }
            }
        }
    }

    async fn read(&mut self, from: Endpoint) -> Result<Vec<u8>, LinkError> {
        let characteristic = self.find(from)?;
        let value = self.peripheral.read(&characteristic).await;
        value.map_err(|e| self.error(kind_of(&e)))
    }

    async fn subscribe(&mut self, to: Endpoint) -> Result<(), LinkError> {
        let characteristic = self.find(to)?;
        let subscribed = self.peripheral.subscribe(&characteristic).await;
        subscribed.map_err(|e| self.error(kind_of(&e)))
    }

    fn max_write(&self) -> usize {
        usize::from(self.peripheral.mtu()).saturating_sub(WRITE_HEADER).max(SMALLEST_WRITE)
    }

    async fn radio(&mut self) -> Result<Option<RadioLink>, LinkError> {
        // With the keys the platform dropped the link and all that it knew.
        if self.voided.is_some() {
            return Ok(self.voided.clone());
        }
        let peripheral = self.peripheral.clone();
        let told = contained(async move { peripheral.properties().await }).await.map_err(|k| self.error(k))?;
        let told = told.unwrap_or_default();
        let seen = match &self.platform {
            Some(platform) => platform.look(&self.device()).await,
            None => Seen::default(),
        };
        let mut services: BTreeMap<u128, Vec<u128>> =
            self.peripheral.services().iter().map(|s| (s.uuid.as_u128(), Vec::new())).collect();
        for characteristic in self.peripheral.characteristics() {
            services.entry(characteristic.service_uuid.as_u128()).or_default().push(characteristic.uuid.as_u128());
        }
        let mut radio = RadioLink {
            address: seen.address,
            flags: seen.flags,
            name: told.advertisement_name.as_deref().map(DeviceText::new),
            manufacturer: told.manufacturer_data.iter().map(|(id, data)| (*id, DeviceText::from_bytes(data))).collect(),
            hidden: HIDDEN.into_iter().map(uuid).filter(|s| !services.contains_key(s)).collect(),
            services,
            battery: seen.battery,
            bond: Bond { before: self.bonded_before, now: seen.bonded, undone: false },
        };
        if radio.bond.came_about()
            && !self.paired
            && let Some(platform) = &self.platform
        {
            radio.bond.undone = platform.forget(&self.device()).await;
            radio.bond.now = !radio.bond.undone;
            self.voided = Some(radio.clone());
        }
        Ok(Some(radio))
    }

    async fn pair(&mut self, passkey: u32) -> Result<(), LinkError> {
        let Some(platform) = self.platform.clone() else {
            return Err(self.error(LinkErrorKind::Unsupported("pairing")));
        };
        platform.pair(&self.device(), passkey).await.map_err(|kind| self.error(kind))?;
        self.paired = true;
        Ok(())
    }
}

impl Drop for BleTransport {
    fn drop(&mut self) {
        let (shared, address) = (self.shared.clone(), self.address.clone());
        let (peripheral, device, place) = (self.peripheral.clone(), self.device(), self.place.take());
        let platform = self.platform.clone().filter(|_| !self.bonded_before);
        shared.set_link(&address, Link::Closing);
        // Keys that were not there before do not stay, whoever made them.
        let closing = async move {
            let made = match &platform {
                Some(platform) => platform.look(&device).await.bonded,
                None => false,
            };
            match platform {
                Some(platform) if made => drop(platform.forget(&device).await),
                _ => disconnect(peripheral).await,
            }
            shared.set_link(&address, Link::None);
            drop(place);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(closing)),
            Err(_) => tracing::warn!("a radio link was dropped outside the runtime"),
        }
    }
}
