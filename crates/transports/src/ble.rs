//! Bluetooth Low Energy: what advertises, and links to it, over the platform's own stack.
//!
//! One task an adapter keeps one event stream for its whole life; the library's panics end that task, not the program.
//! Traps of the library are noted where they are met.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aseptic_device::link::LinkErrorKind;
use aseptic_device::{
    Address, Bus, DeviceText, LineSettings, LinkError, RadioIdentity, Sighting, SightingEvent, Transport,
};
use async_trait::async_trait;
use btleplug::api::{Central as _, CentralEvent, CentralState, Manager as _, Peripheral as _, ScanFilter};
use btleplug::platform::{Adapter, Manager, Peripheral, PeripheralId};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};

#[cfg(target_os = "linux")]
#[path = "ble/bluez.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "ble/elsewhere.rs"]
mod platform;

mod link;
mod room;

pub use link::silence_library_panics;
use link::{BleTransport, Connected, connect, contained, disconnect};
use platform::{Platform, Removed};
use room::{Place, Room};

/// Who was not heard for so long is gone: the platform does not tell.
const SILENCE: Duration = Duration::from_secs(20);
/// Longest wait for a connection with its services.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest wait for a place where the adapter seems full.
const QUEUE: Duration = Duration::from_secs(60);
/// Until the platform is asked again after it failed.
const AGAIN: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_secs(1);
/// Signal strength is told anew when it changed by so much, in dB.
const RSSI_STEP: i16 = 8;

/// A 16-bit UUID in the Bluetooth base UUID.
pub(crate) fn sixteen(short: u16) -> u128 {
    0x0000_0000_0000_1000_8000_0080_5f9b_34fb | u128::from(short) << 96
}

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
    platform: Mutex<Option<Platform>>,
    rooms: Mutex<BTreeMap<String, Room>>,
    task: OnceLock<tokio::task::JoinHandle<()>>,
}

#[derive(Clone)]
struct Peer {
    peripheral: Peripheral,
    heard: Instant,
    open: bool,
}

enum Told {
    Central(Adapter, String, CentralEvent),
    Removed(Removed),
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
            platform: Mutex::default(),
            rooms: Mutex::default(),
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

async fn keep_scanning(shared: std::sync::Weak<Shared>) {
    loop {
        // In a task of its own: the library panics when a signal races a dropped stream.
        let Some(strong) = shared.upgrade() else { return };
        let mut scanning = tokio::task::JoinSet::new();
        scanning.spawn(scan(Arc::downgrade(&strong)));
        drop(strong);
        match scanning.join_next().await {
            Some(Ok(Err(error))) => tracing::debug!(%error, "no adapter"),
            Some(Err(error)) => tracing::warn!(%error, "the radio library failed"),
            Some(Ok(Ok(()))) | None => {}
        }
        let Some(strong) = shared.upgrade() else { return };
        strong.forget_all();
        drop(strong);
        tokio::time::sleep(AGAIN).await;
    }
}

// Returns when the platform no longer answers or no adapter is there.
async fn scan(shared: std::sync::Weak<Shared>) -> Result<(), btleplug::Error> {
    let manager = Manager::new().await?;
    let mut told: Vec<BoxStream<'static, Told>> = Vec::new();
    // Before the scan: what answers with a wish to pair is rejected from the start.
    if let Some(removals) = watch_platform(&shared).await {
        told.push(removals.map(Told::Removed).boxed());
    }
    let mut adapters = 0;
    for adapter in manager.adapters().await? {
        let name = adapter.adapter_info().await?;
        let name = name.split_whitespace().next().unwrap_or("adapter").to_owned();
        let stream = adapter.events().await?;
        adapter.start_scan(ScanFilter::default()).await?;
        adapters += 1;
        told.push(stream.map(move |event| Told::Central(adapter.clone(), name.clone(), event)).boxed());
    }
    if adapters == 0 {
        return Err(btleplug::Error::NotSupported("there is no adapter".into()));
    }
    let mut told = stream::select_all(told);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            event = told.next() => {
                let (Some(event), Some(shared)) = (event, shared.upgrade()) else { return Ok(()) };
                if !shared.take(event).await {
                    return Ok(());
                }
            }
            _ = tick.tick() => match shared.upgrade() {
                Some(shared) => shared.forget_silent().await,
                None => return Ok(()),
            }
        }
    }
}

async fn watch_platform(shared: &std::sync::Weak<Shared>) -> Option<BoxStream<'static, Removed>> {
    let platform = match Platform::connect().await {
        Ok(platform) => platform,
        Err(error) => {
            tracing::debug!(%error, "keys and removals are not told here");
            return None;
        }
    };
    let removals = platform.removals().await.ok();
    *shared.upgrade()?.platform.lock().unwrap_or_else(PoisonError::into_inner) = Some(platform);
    removals
}

impl Shared {
    fn peers(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // False: the adapter was switched off or is gone.
    async fn take(&self, told: Told) -> bool {
        let (adapter, name, event) = match told {
            Told::Removed(Removed::Adapter) => return false,
            Told::Removed(Removed::Device(device)) => {
                self.forget(|peer| peer.peripheral.id().to_string() == device);
                return true;
            }
            Told::Central(adapter, name, event) => (adapter, name, event),
        };
        match event {
            CentralEvent::StateUpdate(state) => return state == CentralState::PoweredOn,
            // It may come back under another address: this one counts again once it is heard.
            CentralEvent::DeviceDisconnected(id) => self.forget(|peer| peer.peripheral.id() == id),
            CentralEvent::DeviceDiscovered(id)
            | CentralEvent::DeviceUpdated(id)
            | CentralEvent::DeviceConnected(id)
            | CentralEvent::DeviceServicesModified(id)
            | CentralEvent::ManufacturerDataAdvertisement { id, .. }
            | CentralEvent::ServiceDataAdvertisement { id, .. }
            | CentralEvent::ServicesAdvertisement { id, .. }
            | CentralEvent::RssiUpdate { id, .. } => self.heard(&adapter, &name, &id).await,
        }
        true
    }

    // The first event comes before the scan response: the name then is the address, and is left out.
    async fn heard(&self, adapter: &Adapter, name: &str, id: &PeripheralId) {
        let Ok(peripheral) = adapter.peripheral(id).await else { return };
        let Ok(Some(told)) = peripheral.properties().await else { return };
        let mac = peripheral.address().to_string();
        let address = Address::Ble { adapter: name.to_owned(), address: mac.clone() };
        // The platform remembers devices that are not here: without a signal strength it did not hear this one. One that
        // an earlier process left connected does not advertise.
        let known = self.peers().contains_key(&address);
        if !known && told.rssi.is_none() && !peripheral.is_connected().await.unwrap_or(false) {
            return;
        }
        let shown = told.local_name.filter(|n| n.replace('-', ":") != mac);
        let mut services: Vec<String> = told.services.iter().map(ToString::to_string).collect();
        services.sort();
        let open = self.peers().get(&address).is_some_and(|p| p.open);
        self.peers().insert(address.clone(), Peer { peripheral, heard: Instant::now(), open });
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

    // Who is connected does not advertise: another program, or one that was killed, may hold the link.
    async fn forget_silent(&self) {
        let silent: Vec<Peripheral> = {
            let peers = self.peers();
            let silent = peers.values().filter(|peer| !peer.open && peer.heard.elapsed() > SILENCE);
            silent.map(|peer| peer.peripheral.clone()).collect()
        };
        for peripheral in silent {
            if !peripheral.is_connected().await.unwrap_or(false) {
                self.forget(|peer| peer.peripheral.id() == peripheral.id());
            }
        }
    }

    // The adapter is gone or off: links over it are lost.
    fn forget_all(&self) {
        self.forget(|_| true);
    }

    fn forget(&self, is_gone: impl Fn(&Peer) -> bool) {
        let gone: BTreeSet<Address> =
            self.peers().iter().filter(|(_, peer)| is_gone(peer)).map(|(a, _)| a.clone()).collect();
        if gone.is_empty() {
            return;
        }
        self.peers().retain(|a, _| !gone.contains(a));
        self.present.send_modify(|present| present.retain(|a, _| !gone.contains(a)));
        for address in gone {
            let _ = self.lost.send(address);
        }
    }

    fn opened(&self, address: &Address) {
        self.set_open(address, true);
    }

    fn closed(&self, address: &Address) {
        self.set_open(address, false);
    }

    fn set_open(&self, address: &Address, open: bool) {
        if let Some(peer) = self.peers().get_mut(address) {
            (peer.open, peer.heard) = (open, Instant::now());
        }
    }

    fn platform(&self) -> Option<Platform> {
        self.platform.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn room(&self, at: &Address) -> Room {
        let adapter = match at {
            Address::Ble { adapter, .. } => adapter.clone(),
            Address::Port(_) => String::new(),
        };
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).entry(adapter).or_default().clone()
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
        let mut receiver = self.0.present.subscribe();
        let now = receiver.borrow_and_update().clone();
        let begin: Vec<_> = now.values().cloned().map(SightingEvent::Seen).collect();
        let changes = stream::unfold((self.clone(), receiver, now), |(bus, mut receiver, known)| async move {
            receiver.changed().await.ok()?;
            let now = receiver.borrow_and_update().clone();
            let gone = known.keys().filter(|a| !now.contains_key(*a)).cloned().map(SightingEvent::Gone);
            let new =
                now.iter().filter(|(a, s)| known.get(*a) != Some(*s)).map(|(_, s)| SightingEvent::Seen(s.clone()));
            let events: Vec<_> = gone.chain(new).collect();
            Some((stream::iter(events), (bus, receiver, now)))
        });
        stream::iter(begin).chain(changes.flatten()).boxed()
    }

    async fn open(&self, at: &Sighting, _line: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        self.begin();
        let fail = |kind| LinkError { address: at.address.clone(), kind };
        let peer = self.0.peers().get(&at.address).cloned().ok_or_else(|| fail(LinkErrorKind::NotFound))?;
        if peer.open {
            return Err(fail(LinkErrorKind::Busy));
        }
        let lost = self.0.lost.subscribe();
        let platform = self.0.platform();
        let bonded_before = match &platform {
            Some(platform) => platform.look(&peer.peripheral.id().to_string()).await.bonded,
            None => false,
        };
        let (connected, place) = in_turn(&self.0.room(&at.address), &peer.peripheral).await.map_err(fail)?;
        self.0.opened(&at.address);
        Ok(Box::new(BleTransport {
            address: at.address.clone(),
            shared: self.0.clone(),
            peripheral: peer.peripheral,
            connected,
            lost,
            platform,
            bonded_before,
            paired: false,
            voided: None,
            place: Some(place),
        }))
    }
}

// A connection that fails while others are open may have found the adapter full: it is tried once more with a free place.
async fn in_turn(room: &Room, peripheral: &Peripheral) -> Result<(Connected, Place), LinkErrorKind> {
    let place = enter(room).await?;
    let error = match reach(peripheral).await {
        Ok(connected) => return Ok((connected, place)),
        Err(error) if room.taken() < 2 => return Err(error),
        Err(error) => error,
    };
    tracing::debug!(%error, open = room.taken(), "the adapter may be full");
    let supposed = room.supposed_full(place);
    let result = match enter(room).await {
        Ok(place) => reach(peripheral).await.map(|connected| (connected, place)),
        Err(busy) => return Err(busy),
    };
    if result.is_err() {
        supposed.was_wrong();
    }
    result
}

async fn enter(room: &Room) -> Result<Place, LinkErrorKind> {
    match timeout(QUEUE, room.enter()).await {
        Ok(Some(place)) => Ok(place),
        _ => Err(LinkErrorKind::Busy),
    }
}

async fn reach(peripheral: &Peripheral) -> Result<Connected, LinkErrorKind> {
    let error = match timeout(CONNECT, contained(connect(peripheral.clone()))).await {
        Ok(Ok(connected)) => return Ok(connected),
        Ok(Err(error)) => error,
        Err(_) => LinkErrorKind::Io(format!("no connection within {} s", CONNECT.as_secs())),
    };
    disconnect(peripheral.clone()).await;
    Err(error)
}
