//! Bluetooth Low Energy: what advertises, and links to it, over the platform's own stack.
//!
//! One task an adapter keeps one event stream for its whole life; the library's panics end that task, not the program.
//! Traps of the library are noted where they are met.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aseptic_device::identity::changes;
use aseptic_device::link::LinkErrorKind;
use aseptic_device::{Address, AddressKind, Bus, LineSettings, LinkError, Sighting, SightingEvent, Transport};
use async_trait::async_trait;
use btleplug::api::Peripheral as _;
use btleplug::platform::Peripheral;
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
mod scan;

pub use link::silence_library_panics;
use link::{BleTransport, Connected, connect, contained, disconnect};
use platform::Platform;
use room::{Place, Room};
pub use scan::adapters;
use scan::keep_scanning;

/// Longest wait for a connection with its services.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest wait for a place where the adapter seems full.
const QUEUE: Duration = Duration::from_secs(60);
/// Longest wait for a peer to be heard again after its link ended.
const HEARD_AGAIN: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Longest wait for the end of a link that an earlier process left.
const LEFTOVER: Duration = Duration::from_secs(2);

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
    adapter: String,
    peripheral: Peripheral,
    heard: Instant,
    link: Link,
}

/// Whether this process has a link to a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    None,
    Open,
    // Dropped; the platform takes a while to let go.
    Closing,
}

/// What the platform tells of one device beyond the radio library; nothing where it has no more to tell.
#[derive(Debug, Default)]
struct Seen {
    address: Option<AddressKind>,
    flags: Option<u8>,
    battery: Option<u8>,
    bonded: bool,
}

/// What went away.
#[derive(Debug, PartialEq, Eq)]
enum Removed {
    /// The platform's stack itself: everything is gone.
    Stack,
    /// An adapter, `hci0`.
    Adapter(String),
    /// A device, `hci0/dev_…`.
    Device(String),
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

impl Shared {
    fn peers(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_link(&self, address: &Address, link: Link) {
        if let Some(peer) = self.peers().get_mut(address) {
            (peer.link, peer.heard) = (link, Instant::now());
        }
    }

    // A peer whose link was dropped just now is waited for: it counts again once it is heard.
    async fn peer(&self, address: &Address) -> Result<Peer, LinkErrorKind> {
        let begun = Instant::now();
        loop {
            let found = self.peers().get(address).cloned();
            match found {
                Some(Peer { link: Link::Open, .. }) => return Err(LinkErrorKind::Busy),
                Some(peer) if peer.link == Link::None => return Ok(peer),
                _ if begun.elapsed() >= HEARD_AGAIN => return Err(LinkErrorKind::NotFound),
                _ => tokio::time::sleep(BETWEEN_LOOKS).await,
            }
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
            let events = changes(&known, &now);
            Some((stream::iter(events), (bus, receiver, now)))
        });
        stream::iter(begin).chain(changes.flatten()).boxed()
    }

    async fn open(&self, at: &Sighting, _line: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        self.begin();
        let fail = |kind| LinkError { address: at.address.clone(), kind };
        let peer = self.0.peer(&at.address).await.map_err(fail)?;
        self.0.end_leftover(&peer.peripheral, &at.address).await;
        let lost = self.0.lost.subscribe();
        let platform = self.0.platform();
        let bonded_before = match &platform {
            Some(platform) => platform.look(&peer.peripheral.id().to_string()).await.bonded,
            None => false,
        };
        let (connected, place) = self.0.in_turn(&at.address, &peer.peripheral).await.map_err(fail)?;
        self.0.set_link(&at.address, Link::Open);
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

impl Shared {
    // A link that is there already has a past: half a packet at the device, a disconnection that is still to be told.
    async fn end_leftover(&self, peripheral: &Peripheral, address: &Address) {
        let mut lost = self.lost.subscribe();
        if !peripheral.is_connected().await.unwrap_or(false) {
            return;
        }
        disconnect(peripheral.clone()).await;
        let told = async { while lost.recv().await.is_ok_and(|gone| gone != *address) {} };
        let _ = timeout(LEFTOVER, told).await;
    }

    // A connection that fails while others are open may have found the adapter full: it is tried once more with a free place.
    async fn in_turn(&self, address: &Address, peripheral: &Peripheral) -> Result<(Connected, Place), LinkErrorKind> {
        let room = self.room(address);
        let place = enter(&room).await?;
        let error = match self.reach(address, peripheral).await {
            Ok(connected) => return Ok((connected, place)),
            Err(LinkErrorKind::NotFound) => return Err(LinkErrorKind::NotFound),
            Err(error) if room.taken() < 2 => return Err(error),
            Err(error) => error,
        };
        tracing::debug!(%error, open = room.taken(), "the adapter may be full");
        let supposed = room.supposed_full(place);
        let place = enter(&room).await?;
        let again = self.reach(address, peripheral).await;
        if again.is_err() {
            supposed.was_wrong();
        }
        again.map(|connected| (connected, place))
    }

    // Ends early when the peer is told gone.
    async fn reach(&self, address: &Address, peripheral: &Peripheral) -> Result<Connected, LinkErrorKind> {
        let mut lost = self.lost.subscribe();
        let gone = async { while lost.recv().await.is_ok_and(|gone| gone != *address) {} };
        let error = tokio::select! {
            connected = timeout(CONNECT, contained(connect(peripheral.clone()))) => match connected {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => error,
                Err(_) => LinkErrorKind::Io(format!("no connection within {} s", CONNECT.as_secs())),
            },
            () = gone => LinkErrorKind::NotFound,
        };
        disconnect(peripheral.clone()).await;
        Err(error)
    }
}

async fn enter(room: &Room) -> Result<Place, LinkErrorKind> {
    match timeout(QUEUE, room.enter()).await {
        Ok(Some(place)) => Ok(place),
        _ => Err(LinkErrorKind::Busy),
    }
}
