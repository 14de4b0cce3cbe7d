//! Bluetooth Low Energy: what advertises, and links to it, over the platform's own stack.
//!
//! One task an adapter keeps one event stream for its whole life; the library's panics end that task, not the program.
//! Traps of the library are noted where they are met.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use aseptic_device::link::LinkErrorKind;
use aseptic_device::{
    Address, Bus, DeviceText, Endpoint, Inbound, LineSettings, LinkError, RadioIdentity, Sighting, SightingEvent,
    Transport,
};
use async_trait::async_trait;
use btleplug::api::{
    Central as _, CentralEvent, CentralState, Characteristic, Manager as _, Peripheral as _, ScanFilter,
    ValueNotification, WriteType,
};
use btleplug::platform::{Adapter, Manager, Peripheral, PeripheralId};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Who was not heard for so long is gone: the platform does not tell.
const SILENCE: Duration = Duration::from_secs(20);
/// The same right after a connection: who is still there advertises again at once, and who restarted may have another address.
const SILENCE_AFTER_LINK: Duration = Duration::from_secs(5);
/// Longest wait for a connection with its services.
const CONNECT: Duration = Duration::from_secs(30);
/// Until the platform is asked again after it failed.
const AGAIN: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_secs(1);
/// Signal strength is told anew when it changed by so much, in dB.
const RSSI_STEP: i16 = 8;
/// What fits a write on any link.
const SMALLEST_WRITE: usize = 20;
/// Opcode and handle of a write.
const WRITE_HEADER: usize = 3;

type Present = BTreeMap<Address, Sighting>;

/// What advertises in reach. Watching connects to nothing.
#[derive(Clone)]
pub struct BleBus(Arc<Shared>);

struct Shared {
    simulated: bool,
    named: Vec<String>,
    present: watch::Sender<Present>,
    peers: Mutex<HashMap<Address, Peer>>,
    lost: broadcast::Sender<Address>,
    task: OnceLock<JoinHandle<()>>,
}

#[derive(Clone)]
struct Peer {
    peripheral: Peripheral,
    gone_at: Instant,
    open: bool,
}

impl BleBus {
    /// Watches the system's adapters; `named` are addresses that a person gave. Nothing is asked of the system before the first watch.
    pub fn new(named: Vec<String>, simulated: bool) -> Self {
        Self(Arc::new(Shared {
            simulated,
            named,
            present: watch::channel(Present::new()).0,
            peers: Mutex::default(),
            lost: broadcast::channel(64).0,
            task: OnceLock::new(),
        }))
    }

    fn begin(&self) {
        self.0.task.get_or_init(|| tokio::spawn(keep_scanning(Arc::downgrade(&self.0))));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

async fn keep_scanning(shared: Weak<Shared>) {
    let mut manager = None;
    let mut running: HashMap<String, JoinHandle<()>> = HashMap::new();
    while shared.strong_count() > 0 {
        running.retain(|_, task| !task.is_finished());
        match adapters(&mut manager).await {
            Ok(found) => {
                for (name, adapter) in found {
                    let scan = || tokio::spawn(scan(Scan { shared: shared.clone(), adapter, name: name.clone() }));
                    running.entry(name.clone()).or_insert_with(scan);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the platform's radio stack does not answer");
                running.drain().for_each(|(_, task)| task.abort());
                manager = None;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn adapters(manager: &mut Option<Manager>) -> Result<Vec<(String, Adapter)>, btleplug::Error> {
    let manager = match manager {
        Some(manager) => manager,
        None => manager.insert(Manager::new().await?),
    };
    let mut found = Vec::new();
    for adapter in manager.adapters().await? {
        let info = adapter.adapter_info().await?;
        found.push((info.split_whitespace().next().unwrap_or("adapter").to_owned(), adapter));
    }
    Ok(found)
}

// One adapter, in a task of its own: another one stays when it goes, and the library panics when a signal races a dropped stream.
struct Scan {
    shared: Weak<Shared>,
    adapter: Adapter,
    name: String,
}

// However scanning ends.
impl Drop for Scan {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.forget(&self.name);
        }
    }
}

async fn scan(scan: Scan) {
    if let Err(error) = scan.run().await {
        tracing::debug!(adapter = scan.name, %error, "the adapter does not scan");
    }
}

impl Scan {
    // Returns when the adapter is off or no longer there.
    async fn run(&self) -> Result<(), btleplug::Error> {
        let mut events = self.adapter.events().await?;
        self.adapter.start_scan(ScanFilter::default()).await?;
        for known in self.adapter.peripherals().await? {
            let Some(shared) = self.shared.upgrade() else { return Ok(()) };
            shared.heard(&self.adapter, &self.name, &known.id()).await;
        }
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                event = events.next() => {
                    let (Some(event), Some(shared)) = (event, self.shared.upgrade()) else { return Ok(()) };
                    if !shared.take(&self.adapter, &self.name, event).await {
                        return Ok(());
                    }
                }
                _ = tick.tick() => match self.shared.upgrade() {
                    Some(shared) => shared.forget_silent(&self.name).await,
                    None => return Ok(()),
                }
            }
        }
    }
}

fn is_on(address: &Address, name: &str) -> bool {
    matches!(address, Address::Ble { adapter, .. } if adapter == name)
}

impl Shared {
    fn peers(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // False: the adapter was switched off.
    async fn take(&self, adapter: &Adapter, name: &str, event: CentralEvent) -> bool {
        match event {
            CentralEvent::StateUpdate(state) => return state == CentralState::PoweredOn,
            CentralEvent::DeviceDisconnected(id) => {
                let address = self.peers().iter().find(|(_, p)| p.peripheral.id() == id).map(|(a, _)| a.clone());
                if let Some(address) = address {
                    self.set_open(&address, false);
                    let _ = self.lost.send(address);
                }
            }
            CentralEvent::DeviceDiscovered(id)
            | CentralEvent::DeviceUpdated(id)
            | CentralEvent::DeviceConnected(id)
            | CentralEvent::DeviceServicesModified(id)
            | CentralEvent::ManufacturerDataAdvertisement { id, .. }
            | CentralEvent::ServiceDataAdvertisement { id, .. }
            | CentralEvent::ServicesAdvertisement { id, .. }
            | CentralEvent::RssiUpdate { id, .. } => self.heard(adapter, name, &id).await,
        }
        true
    }

    // The first event comes before the scan response: the name then is the address, and is left out.
    async fn heard(&self, adapter: &Adapter, name: &str, id: &PeripheralId) {
        let Ok(peripheral) = adapter.peripheral(id).await else { return };
        let Ok(Some(told)) = peripheral.properties().await else { return };
        let mac = peripheral.address().to_string();
        let address = Address::Ble { adapter: name.to_owned(), address: mac.clone() };
        let shown = told.local_name.filter(|n| n.replace('-', ":") != mac);
        let mut services: Vec<String> = told.services.iter().map(ToString::to_string).collect();
        services.sort();
        let open = self.peers().get(&address).is_some_and(|p| p.open);
        self.peers().insert(address.clone(), Peer { peripheral, gone_at: Instant::now() + SILENCE, open });
        let sighting = Sighting {
            address: address.clone(),
            usb: None,
            radio: Some(RadioIdentity { services, rssi: told.rssi }),
            name: shown.as_deref().map(DeviceText::new),
            named: self.named.iter().any(|n| n.eq_ignore_ascii_case(&mac)),
            simulated: self.simulated,
        };
        self.present.send_if_modified(|present| {
            let changed = present.get(&address).is_none_or(|known| differs(known, &sighting));
            if changed {
                present.insert(address, sighting);
            }
            changed
        });
    }

    async fn forget_silent(&self, adapter: &str) {
        let silent: Vec<(Address, Peripheral)> = {
            let peers = self.peers();
            let silent = peers.iter().filter(|(_, p)| !p.open && p.gone_at < Instant::now());
            let silent = silent.filter(|(address, _)| is_on(address, adapter));
            silent.map(|(address, peer)| (address.clone(), peer.peripheral.clone())).collect()
        };
        for (address, peripheral) in silent {
            // Who is connected does not advertise: another program, or one that was killed, may hold the link.
            if peripheral.is_connected().await.unwrap_or(false) {
                continue;
            }
            self.peers().remove(&address);
            self.present.send_modify(|present| drop(present.remove(&address)));
        }
    }

    // The adapter is gone or off: links over it are lost.
    fn forget(&self, adapter: &str) {
        let lost: Vec<Address> = self.peers().extract_if(|a, _| is_on(a, adapter)).map(|(a, _)| a).collect();
        for address in lost {
            let _ = self.lost.send(address);
        }
        self.present.send_modify(|present| present.retain(|a, _| !is_on(a, adapter)));
    }

    // A link that is there already has a past: half a packet at the device, a disconnection that is still to be told.
    async fn start_anew(&self, peer: &Peer, address: &Address) {
        let mut lost = self.lost.subscribe();
        if !peer.peripheral.is_connected().await.unwrap_or(false) {
            return;
        }
        let _ = timeout(AGAIN, peer.peripheral.disconnect()).await;
        let told = async { while lost.recv().await.is_ok_and(|gone| gone != *address) {} };
        let _ = timeout(AGAIN, told).await;
    }

    fn set_open(&self, address: &Address, open: bool) {
        if let Some(peer) = self.peers().get_mut(address) {
            (peer.open, peer.gone_at) = (open, Instant::now() + SILENCE_AFTER_LINK);
        }
    }
}

fn differs(known: &Sighting, now: &Sighting) -> bool {
    let still = |s: &Sighting| {
        let radio = s.radio.as_ref().map(|r| RadioIdentity { rssi: None, ..r.clone() });
        Sighting { radio, ..s.clone() }
    };
    let rssi = |s: &Sighting| s.radio.as_ref().and_then(|r| r.rssi);
    let moved = match (rssi(known), rssi(now)) {
        (Some(a), Some(b)) => a.saturating_sub(b).saturating_abs() >= RSSI_STEP,
        (None, Some(_)) => true,
        (_, None) => false,
    };
    still(known) != still(now) || moved
}

#[async_trait]
impl Bus for BleBus {
    fn watch(&self) -> BoxStream<'static, SightingEvent> {
        self.begin();
        let bus = self.clone();
        let receiver = self.0.present.subscribe();
        stream::unfold((bus, receiver, Present::new(), true), |(bus, mut receiver, known, first)| async move {
            if !first {
                receiver.changed().await.ok()?;
            }
            let now = receiver.borrow_and_update().clone();
            let gone = known.keys().filter(|a| !now.contains_key(*a)).cloned().map(SightingEvent::Gone);
            let new =
                now.iter().filter(|(a, s)| known.get(*a) != Some(*s)).map(|(_, s)| SightingEvent::Seen(s.clone()));
            let events: Vec<_> = gone.chain(new).collect();
            Some((stream::iter(events), (bus, receiver, now, false)))
        })
        .flatten()
        .boxed()
    }

    async fn open(&self, at: &Sighting, _line: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        self.begin();
        let fail = |kind| LinkError { address: at.address.clone(), kind };
        let peer = self.0.peers().get(&at.address).cloned().ok_or_else(|| fail(LinkErrorKind::NotFound))?;
        if peer.open {
            return Err(fail(LinkErrorKind::Busy));
        }
        self.0.start_anew(&peer, &at.address).await;
        let lost = self.0.lost.subscribe();
        let mut present = self.0.present.subscribe();
        let connected = tokio::select! {
            connected = timeout(CONNECT, connect(&peer.peripheral)) => match connected {
                Ok(done) => done.map_err(|error| kind_of(&error)),
                Err(_) => Err(LinkErrorKind::Io(format!("no connection within {} s", CONNECT.as_secs()))),
            },
            // The system would go on looking for a device that left or moved.
            _ = present.wait_for(|present| !present.contains_key(&at.address)) => Err(LinkErrorKind::NotFound),
        };
        let (characteristics, notifications) = match connected {
            Ok(parts) => parts,
            Err(kind) => {
                let _ = timeout(AGAIN, peer.peripheral.disconnect()).await;
                return Err(fail(kind));
            }
        };
        self.0.set_open(&at.address, true);
        Ok(Box::new(BleTransport {
            address: at.address.clone(),
            shared: self.0.clone(),
            peripheral: peer.peripheral,
            characteristics,
            notifications,
            lost,
        }))
    }
}

type Connected = (HashMap<u128, Characteristic>, BoxStream<'static, ValueNotification>);

async fn connect(peripheral: &Peripheral) -> Result<Connected, btleplug::Error> {
    peripheral.connect().await?;
    peripheral.discover_services().await?;
    let notifications = peripheral.notifications().await?.boxed();
    let characteristics = peripheral.characteristics().into_iter().map(|c| (c.uuid.as_u128(), c)).collect();
    Ok((characteristics, notifications))
}

fn kind_of(error: &btleplug::Error) -> LinkErrorKind {
    match error {
        btleplug::Error::PermissionDenied => LinkErrorKind::NoPermission,
        btleplug::Error::DeviceNotFound => LinkErrorKind::NotFound,
        btleplug::Error::NotConnected => LinkErrorKind::Gone,
        other => LinkErrorKind::Io(other.to_string()),
    }
}

struct BleTransport {
    address: Address,
    shared: Arc<Shared>,
    peripheral: Peripheral,
    characteristics: HashMap<u128, Characteristic>,
    notifications: BoxStream<'static, ValueNotification>,
    lost: broadcast::Receiver<Address>,
}

impl BleTransport {
    fn error(&self, kind: LinkErrorKind) -> LinkError {
        LinkError { address: self.address.clone(), kind }
    }

    fn find(&self, endpoint: Endpoint) -> Result<&Characteristic, LinkError> {
        let found = match endpoint {
            Endpoint::Characteristic(uuid) => self.characteristics.get(&uuid),
            Endpoint::Stream => None,
        };
        found.ok_or_else(|| self.error(LinkErrorKind::Unsupported("this characteristic")))
    }
}

#[async_trait]
impl Transport for BleTransport {
    async fn write(&mut self, to: Endpoint, bytes: &[u8]) -> Result<(), LinkError> {
        let characteristic = self.find(to)?;
        let written = self.peripheral.write(characteristic, bytes, WriteType::WithoutResponse).await;
        written.map_err(|e| self.error(kind_of(&e)))
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        loop {
            tokio::select! {
                notified = self.notifications.next() => {
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
        let value = self.peripheral.read(characteristic).await;
        value.map_err(|e| self.error(kind_of(&e)))
    }

    async fn subscribe(&mut self, to: Endpoint) -> Result<(), LinkError> {
        let characteristic = self.find(to)?;
        let subscribed = self.peripheral.subscribe(characteristic).await;
        subscribed.map_err(|e| self.error(kind_of(&e)))
    }

    fn max_write(&self) -> usize {
        usize::from(self.peripheral.mtu()).saturating_sub(WRITE_HEADER).max(SMALLEST_WRITE)
    }
}

impl Drop for BleTransport {
    fn drop(&mut self) {
        self.shared.set_open(&self.address, false);
        let peripheral = self.peripheral.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { timeout(AGAIN, peripheral.disconnect()).await });
        }
    }
}
