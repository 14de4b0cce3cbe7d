//! The ward inside one process, without any port: for tests on a stopped clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aseptic_device::identity::changes;
use aseptic_device::link::LinkErrorKind;
use aseptic_device::{
    Address, Bus, DeviceText, Endpoint, Inbound, LineSettings, LinkError, Sighting, SightingEvent, Transport,
    UsbIdentity,
};
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::life::{Shared, Socket, Wire, live, lock};
use crate::machine::Machine;
use crate::ward::{Device, Ward};

type Present = BTreeMap<Address, (Sighting, Door)>;

// Where links are handed in; one at a time, as an exclusive port.
#[derive(Debug, Clone)]
struct Door {
    links: mpsc::Sender<Wire>,
    taken: Arc<AtomicBool>,
}

/// A simulated ward as a bus.
pub struct SimBus {
    present: Arc<watch::Sender<Present>>,
    machines: BTreeMap<String, Shared>,
    lives: Mutex<JoinSet<()>>,
}

impl SimBus {
    /// Brings a ward to life, but for devices with a radio. Needs a tokio runtime.
    pub fn new(ward: Ward) -> Self {
        let bus = Self {
            present: Arc::new(watch::channel(Present::new()).0),
            machines: BTreeMap::new(),
            lives: Mutex::new(JoinSet::new()),
        };
        ward.devices.into_iter().filter(|d| d.radio.is_none()).filter_map(Machine::new).fold(bus, Self::with)
    }

    fn with(mut self, machine: Machine) -> Self {
        let spec = machine.spec.clone();
        let shared = Arc::new(Mutex::new(machine));
        self.machines.insert(spec.serial.clone(), shared.clone());
        let plug = Plug { spec, present: self.present.clone(), links: None, address: None };
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).spawn(live(shared, plug));
        self
    }

    /// Returns a device by serial number.
    pub fn machine(&self, serial: &str) -> Option<Shared> {
        self.machines.get(serial).cloned()
    }
}

#[async_trait]
impl Bus for SimBus {
    fn watch(&self) -> BoxStream<'static, SightingEvent> {
        let receiver = self.present.subscribe();
        let known: BTreeMap<Address, Sighting> = BTreeMap::new();
        stream::unfold((receiver, known, true), |(mut receiver, known, first)| async move {
            if !first {
                receiver.changed().await.ok()?;
            }
            let now: BTreeMap<Address, Sighting> =
                receiver.borrow_and_update().iter().map(|(a, (s, _))| (a.clone(), s.clone())).collect();
            let events = changes(&known, &now);
            Some((stream::iter(events), (receiver, now, false)))
        })
        .flatten()
        .boxed()
    }

    async fn open(&self, at: &Sighting, _line: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        let fail = |kind| LinkError { address: at.address.clone(), kind };
        let door = self.present.borrow().get(&at.address).map(|(_, door)| door.clone());
        let door = door.ok_or_else(|| fail(LinkErrorKind::NotFound))?;
        let (to_device, from_laptop) = mpsc::channel(64);
        let (to_laptop, from_device) = mpsc::channel(64);
        if door.taken.swap(true, Ordering::SeqCst) {
            return Err(fail(LinkErrorKind::Busy));
        }
        let channel = Channel { address: at.address.clone(), to_device, from_device, taken: door.taken.clone() };
        door.links.send(Wire { from_laptop, to_laptop }).await.map_err(|_| fail(LinkErrorKind::Gone))?;
        Ok(Box::new(channel))
    }
}

struct Plug {
    spec: Device,
    present: Arc<watch::Sender<Present>>,
    links: Option<mpsc::Receiver<Wire>>,
    address: Option<Address>,
}

#[async_trait]
impl Socket for Plug {
    async fn appear(&mut self, restart: u64) {
        let port = if self.spec.wire.moves && restart > 0 {
            format!("sim/{}-{restart}", self.spec.port)
        } else {
            format!("sim/{}", self.spec.port)
        };
        let address = Address::Port(port);
        let (door, links) = mpsc::channel(1);
        let door = Door { links: door, taken: Arc::default() };
        let sighting = Sighting {
            address: address.clone(),
            usb: Some(usb(&self.spec)),
            name: Some(DeviceText::new(&self.spec.product)),
            radio: None,
            named: false,
            simulated: true,
        };
        self.present.send_modify(|p| drop(p.insert(address.clone(), (sighting, door))));
        (self.links, self.address) = (Some(links), Some(address));
    }

    async fn accept(&mut self) -> Wire {
        match &mut self.links {
            Some(links) => match links.recv().await {
                Some(wire) => wire,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    async fn vanish(&mut self) {
        self.links = None;
        if let Some(address) = self.address.take() {
            self.present.send_modify(|p| drop(p.remove(&address)));
        }
    }
}

/// Returns what USB says of a simulated device.
pub(crate) fn usb(spec: &Device) -> UsbIdentity {
    UsbIdentity {
        vid: 0x1209,
        pid: 0x0001,
        serial: Some(DeviceText::new(&spec.serial)),
        product: Some(DeviceText::new(&spec.product)),
    }
}

struct Channel {
    address: Address,
    to_device: mpsc::Sender<Vec<u8>>,
    from_device: mpsc::Receiver<Vec<u8>>,
    taken: Arc<AtomicBool>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.taken.store(false, Ordering::SeqCst);
    }
}

impl Channel {
    fn gone(&self) -> LinkError {
        LinkError { address: self.address.clone(), kind: LinkErrorKind::Gone }
    }
}

#[async_trait]
impl Transport for Channel {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn write(&mut self, _to: Endpoint, bytes: &[u8]) -> Result<(), LinkError> {
        self.to_device.send(bytes.to_vec()).await.map_err(|_| self.gone())
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        let bytes = self.from_device.recv().await.ok_or_else(|| self.gone())?;
        Ok(Inbound { from: Endpoint::Stream, bytes })
    }

    fn max_write(&self) -> usize {
        usize::MAX
    }
}

impl std::fmt::Debug for SimBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let serials: Vec<_> = self.machines.values().map(|m| lock(m).spec.serial.clone()).collect();
        f.debug_tuple("SimBus").field(&serials).finish()
    }
}
