//! The ward on the air: an `org.bluez` of its own on a message bus of its own, as BlueZ serves it.
//!
//! Start with [`Air`], then [`peer`]: what BlueZ knows of one address. Each D-Bus interface has one file.

mod adapter;
mod agent;
mod attributes;
mod daemon;
mod device;
mod gatt;
mod peer;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use futures::StreamExt as _;
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use zbus::fdo::{ObjectManager, Properties};
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, DBusError, MatchRule, MessageStream, OwnedObjectPath, Variant};

use crate::adapter::Adapters;
use crate::life::{Shared, Socket, Wire, lock};
use crate::ward::Radio;
use crate::ward::radio::AddressKind;
use peer::Peer;

/// An error as BlueZ names it.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.bluez.Error")]
pub(crate) enum BluezError {
    #[zbus(error)]
    Bus(zbus::Error),
    AlreadyExists(String),
    AuthenticationCanceled(String),
    AuthenticationFailed(String),
    AuthenticationRejected(String),
    DoesNotExist(String),
    Failed(String),
    InProgress(String),
    InvalidOffset(String),
    NotConnected(String),
    NotPermitted(String),
    NotReady(String),
    NotSupported(String),
}

type Result<T, E = BluezError> = std::result::Result<T, E>;

/// The stack and its bus. It ends with this value.
pub(crate) struct Air {
    bus: Connection,
    adapters: Adapters,
    now: fn() -> jiff::Zoned,
    agents: agent::Agents,
    peers: Mutex<Vec<Weak<Peer>>>,
    tasks: Mutex<JoinSet<()>>,
    // Last: the bus goes when nobody speaks on it any more.
    _daemon: daemon::Daemon,
}

impl Air {
    /// Serves `org.bluez` on `DIR/bus`. `now`: the time that clocks of devices are set by.
    pub(crate) async fn begin(dir: &Path, adapters: Adapters, now: fn() -> jiff::Zoned) -> io::Result<Arc<Self>> {
        let (daemon, bus) = daemon::Daemon::start(dir).await?;
        let air = Arc::new(Self {
            bus: bus.clone(),
            adapters,
            now,
            agents: agent::Agents::default(),
            peers: Mutex::default(),
            tasks: Mutex::default(),
            _daemon: daemon,
        });
        air.serve().await.map_err(io::Error::other)?;
        Ok(air)
    }

    async fn serve(self: &Arc<Self>) -> zbus::Result<()> {
        self.bus.object_server().at("/", ObjectManager).await?;
        self.bus.object_server().at("/org/bluez", agent::AgentManager(Arc::downgrade(self))).await?;
        for (name, adapter) in self.adapters.iter() {
            adapter::plug(self, name).await?;
            self.spawn(adapter::keep(Arc::downgrade(self), name.clone(), adapter.subscribe()));
        }
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .build()?;
        let mut owners = MessageStream::for_match_rule(rule, &self.bus, None).await?;
        let air = Arc::downgrade(self);
        self.spawn(async move {
            while let Some(Ok(message)) = owners.next().await {
                let Some(air) = air.upgrade() else { return };
                let changed = message.body().deserialize::<(String, String, String)>();
                if let Ok((name, _, new)) = changed
                    && new.is_empty()
                {
                    air.left(&name);
                }
            }
        });
        self.bus.request_name("org.bluez").await.map(drop)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    // A program left the bus.
    fn left(&self, who: &str) {
        self.adapters.left(who);
        self.agents.left(who);
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|peer| peer.upgrade().inspect(|p| p.left(who)).is_some());
    }

    fn peer_at(&self, path: &str) -> Option<Arc<Peer>> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.iter().filter_map(Weak::upgrade).find(|p| p.path.as_str() == path)
    }

    /// Tells the bus that properties changed.
    async fn changed(&self, path: &OwnedObjectPath, interface: &'static str, now: &[(&str, Variant<'_>)]) {
        let now: HashMap<&str, Variant<'_>> = now.iter().filter_map(|(k, v)| Some((*k, v.try_clone().ok()?))).collect();
        let told = async {
            let emitter = SignalEmitter::new(&self.bus, path.as_ref())?;
            let interface = InterfaceName::from_static_str(interface)?;
            Properties::properties_changed(&emitter, interface, now, Cow::Borrowed(&[])).await
        };
        if let Err(error) = told.await {
            tracing::warn!(%path, %error, "a change could not be told");
        }
    }
}

/// A device's socket on the air.
pub(crate) struct Antenna {
    air: Arc<Air>,
    machine: Shared,
    radio: Arc<Radio>,
    links: mpsc::Receiver<Wire>,
    door: mpsc::Sender<Wire>,
    peer: Option<Arc<Peer>>,
}

impl Antenna {
    pub(crate) fn new(air: Arc<Air>, machine: Shared, radio: Radio) -> Self {
        let (door, links) = mpsc::channel(1);
        Self { air, machine, radio: Arc::new(radio), links, door, peer: None }
    }
}

#[async_trait]
impl Socket for Antenna {
    async fn appear(&mut self, restart: u64) {
        let serial = lock(&self.machine).spec.serial.clone();
        let address = address(&serial, self.radio.address, if self.radio.moves { restart } else { 0 });
        if self.peer.as_ref().is_none_or(|known| known.address != address) {
            let known = Peer::new(&self.air, &self.machine, &self.radio, &self.door, address);
            match known {
                Ok(peer) => self.peer = Some(peer),
                Err(error) => tracing::error!(serial, %error, "the device cannot be shown"),
            }
        }
        if let Some(peer) = &self.peer {
            peer.set_up(true);
        }
    }

    async fn accept(&mut self) -> Wire {
        match self.links.recv().await {
            Some(wire) => wire,
            None => std::future::pending().await,
        }
    }

    async fn vanish(&mut self) {
        if let Some(peer) = &self.peer {
            peer.set_up(false);
            peer.hang_up().await;
        }
        // A link that nobody took belongs to the life that ended.
        while self.links.try_recv().is_ok() {}
    }
}

// The same device has the same addresses in every ward, so that a run can be repeated.
fn address(serial: &str, kind: AddressKind, restart: u64) -> [u8; 6] {
    let seed = Sha256::digest(format!("{serial}/{restart}"));
    let mut bytes = [0; 6];
    StdRng::from_seed(seed.into()).fill_bytes(&mut bytes);
    let [first, ..] = &mut bytes;
    match kind {
        AddressKind::Public => *first &= 0xfc,
        AddressKind::RandomStatic => *first |= 0xc0,
        AddressKind::ResolvablePrivate => *first = *first & 0x3f | 0x40,
    }
    bytes
}
