//! What BlueZ knows of one address, and the link to it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use zbus::{OwnedObjectPath, Variant};

use super::attributes::{BATTERY, Characteristic, HIDDEN, Holds, Service, services};
use super::gatt::{self, Placed};
use super::{Air, BluezError, Result, adapter, device};
use crate::adapter::Adapter;
use crate::life::{Shared, Wire, lock};
use crate::ward::Radio;

/// Advertisements are heard about so often.
const HEARD: Duration = Duration::from_secs(1);
/// A controller looks so long for a peer that it shall connect to.
const LOOKS: Duration = Duration::from_secs(20);
/// Opcode and handle of a write or a notification.
const HEADER: usize = 3;

/// One address, as BlueZ and the device behind it hold it.
pub(super) struct Peer {
    pub(super) air: Weak<Air>,
    pub(super) machine: Shared,
    pub(super) radio: Arc<Radio>,
    pub(super) address: [u8; 6],
    pub(super) path: OwnedObjectPath,
    pub(super) services: Vec<(Service, Placed)>,
    door: mpsc::Sender<Wire>,
    up: watch::Sender<bool>,
    pairing: Notify,
    giving_up: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// Its object is on the bus.
    pub known: bool,
    /// The scan response came.
    pub named: bool,
    pub rssi: i16,
    pub connecting: bool,
    pub connected: bool,
    pub resolved: bool,
    /// The attribute table is on the bus, and stays there until the device is forgotten.
    pub shown: bool,
    pub paired: bool,
    pub asking: bool,
    pub trusted: bool,
    pub notifying: HashMap<OwnedObjectPath, BTreeSet<String>>,
    link: Option<Link>,
    write_free: Option<Instant>,
}

struct Link {
    to_device: mpsc::Sender<Vec<u8>>,
    packet: Vec<u8>,
    _pump: JoinSet<()>,
}

impl Link {
    // As Zephyr does (`smp_reassembly.c`): what would be longer than its header says is dropped whole.
    fn collect(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        self.packet.extend(piece);
        let length = self.packet.get(2..4).and_then(|l| <[u8; 2]>::try_from(l).ok()).map(u16::from_be_bytes)?;
        let missing = (usize::from(length) + 8).checked_sub(self.packet.len());
        match missing {
            Some(1..) => None,
            whole => Some(std::mem::take(&mut self.packet)).filter(|_| whole.is_some()),
        }
    }
}

impl Peer {
    pub(super) fn new(
        air: &Arc<Air>,
        machine: &Shared,
        radio: &Arc<Radio>,
        door: &mpsc::Sender<Wire>,
        address: [u8; 6],
    ) -> zbus::Result<Arc<Self>> {
        let name: Vec<String> = address.iter().map(|b| format!("{b:02X}")).collect();
        let path = format!("{}/dev_{}", adapter::path(&radio.adapter), name.join("_"));
        let peer = Arc::new(Self {
            air: Arc::downgrade(air),
            machine: machine.clone(),
            radio: radio.clone(),
            address,
            services: gatt::place(&path, services(&lock(machine), radio))?,
            path: OwnedObjectPath::try_from(path)?,
            door: door.clone(),
            up: watch::channel(false).0,
            pairing: Notify::new(),
            giving_up: Notify::new(),
            state: Mutex::default(),
        });
        air.peers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&peer));
        if let Some(adapter) = air.adapters.get(&radio.adapter) {
            air.spawn(keep(Arc::downgrade(&peer), peer.up.subscribe(), adapter.subscribe()));
        }
        Ok(peer)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn air(&self) -> Result<Arc<Air>> {
        self.air.upgrade().ok_or_else(not_ready)
    }

    /// Switches the device on or off.
    pub(super) fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }

    pub(super) fn is_known(&self) -> bool {
        self.state().known
    }

    /// Drops what a program that left the bus had asked for. Its connection stays, as with BlueZ.
    pub(super) fn left(&self, who: &str) {
        let mut state = self.state();
        for programs in state.notifying.values_mut() {
            programs.remove(who);
        }
    }

    pub(super) fn address_text(&self, between: &str) -> String {
        let bytes: Vec<String> = self.address.iter().map(|b| format!("{b:02X}")).collect();
        bytes.join(between)
    }

    /// Returns what BlueZ lists: what is advertised, and after a connection all that the device has.
    // What is advertised stays in the list, whether or not the device has such a service.
    pub(super) fn uuids(&self) -> Vec<String> {
        let mut told: BTreeSet<String> = self.radio.advertised().iter().map(ToString::to_string).collect();
        if self.state().shown {
            let hidden = HIDDEN.into_iter().chain(self.radio.battery.map(|_| BATTERY));
            told.extend(hidden.chain(self.services.iter().map(|(s, _)| s.uuid)).map(|u| u.to_string()));
        }
        told.into_iter().collect()
    }

    pub(super) fn manufacturer_data(&self) -> Option<HashMap<u16, Variant<'static>>> {
        let (company, data) = self.radio.manufacturer.0.split_first_chunk::<2>()?;
        Some([(u16::from_le_bytes(*company), Variant::from(data.to_vec()))].into())
    }

    // One advertisement, and the scan response where it is due.
    async fn hear(self: &Arc<Self>, air: &Air, rssi: i16, since: Duration) {
        let (first, named) = {
            let mut state = self.state();
            let first = !std::mem::replace(&mut state.known, true);
            let late = Duration::from_millis(self.radio.late_name_ms);
            let named = !state.named && since >= late;
            (state.rssi, state.named) = (rssi, state.named || named);
            (first, named)
        };
        if first {
            if let Err(error) = air.bus.object_server().at(&self.path, device::Device1(self.clone())).await {
                tracing::warn!(path = %self.path, %error, "the device cannot be shown");
            }
            return;
        }
        air.changed(&self.path, device::NAME, &[("RSSI", Variant::from(rssi))]).await;
        if named && !self.radio.name.is_empty() {
            let name = || Variant::from(self.radio.name.clone());
            air.changed(&self.path, device::NAME, &[("Name", name()), ("Alias", name())]).await;
        }
        if let (true, Some(data)) = (named, self.manufacturer_data()) {
            air.changed(&self.path, device::NAME, &[("ManufacturerData", Variant::from(data))]).await;
        }
    }

    /// Connects as `Device1.Connect` does.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<()> {
        {
            let mut state = self.state();
            if state.connected {
                return Ok(());
            }
            if std::mem::replace(&mut state.connecting, true) {
                return Err(BluezError::InProgress("Operation already in progress".into()));
            }
        }
        let reached = self.reach().await;
        let connected = reached.and_then(|()| self.take_link());
        {
            let mut state = self.state();
            state.connecting = false;
            connected?;
            state.link = self.link();
        }
        let air = self.air()?;
        air.changed(&self.path, device::NAME, &[("Connected", Variant::from(true))]).await;
        let peer = self.clone();
        air.spawn(async move { peer.resolve().await });
        Ok(())
    }

    // A controller that holds all the links it can ends the new one, and BlueZ says no more than that.
    fn take_link(&self) -> Result<()> {
        let air = self.air()?;
        let adapter = air.adapters.get(&self.radio.adapter).ok_or_else(not_ready)?;
        let most = adapter.borrow().links;
        let peers = air.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let here = |p: &Arc<Self>| p.radio.adapter == self.radio.adapter && p.state().connected;
        let held = peers.iter().filter_map(Weak::upgrade).filter(here).count();
        if most.is_some_and(|most| held >= most) {
            return Err(aborted());
        }
        self.state().connected = true;
        Ok(())
    }

    // Waits until the device hears that it is wanted.
    async fn reach(&self) -> Result<()> {
        let air = self.air()?;
        let adapter = air.adapters.get(&self.radio.adapter).ok_or_else(not_ready)?;
        let (mut adapter, mut up) = (adapter.subscribe(), self.up.subscribe());
        drop(air);
        if !adapter.borrow().hears() {
            return Err(not_ready());
        }
        let reaching = async {
            up.wait_for(|up| *up).await.map_err(|_| aborted())?;
            sleep(Duration::from_millis(self.radio.connect_ms)).await;
            if *up.borrow() { Ok(()) } else { Err(aborted()) }
        };
        tokio::select! {
            () = self.giving_up.notified() => Err(aborted()),
            reached = timeout(LOOKS, reaching) => reached.unwrap_or_else(|_| Err(aborted())),
            _ = adapter.wait_for(|a| !a.hears()) => Err(not_ready()),
        }
    }

    fn link(self: &Arc<Self>) -> Option<Link> {
        let smp = self.services.iter().flat_map(|(s, p)| s.characteristics.iter().zip(&p.characteristics));
        let (_, place) = smp.into_iter().find(|(c, _)| matches!(c.holds, Holds::Smp))?;
        let (to_device, from_laptop) = mpsc::channel(64);
        let (to_laptop, from_device) = mpsc::channel(64);
        self.door.try_send(Wire { from_laptop, to_laptop }).ok()?;
        let mut pump = JoinSet::new();
        pump.spawn(notify(Arc::downgrade(self), place.path.clone(), from_device));
        Some(Link { to_device, packet: Vec::new(), _pump: pump })
    }

    // The attribute table is read; then its objects are there.
    async fn resolve(self: &Arc<Self>) {
        let Ok(air) = self.air() else { return };
        let shown = std::mem::replace(&mut self.state().shown, true);
        if !shown && let Err(error) = gatt::show(&air, self).await {
            tracing::warn!(path = %self.path, %error, "the attribute table cannot be shown");
        }
        let resolved = {
            let mut state = self.state();
            state.resolved = state.connected;
            state.resolved
        };
        if resolved {
            let told = [("UUIDs", Variant::from(self.uuids())), ("ServicesResolved", Variant::from(true))];
            air.changed(&self.path, device::NAME, &told).await;
        }
    }

    /// Ends the connection, or the attempt to make one, as `Device1.Disconnect` does; false: there is neither.
    pub(super) async fn disconnect(&self) -> bool {
        let (connecting, connected) = {
            let state = self.state();
            (state.connecting, state.connected)
        };
        if connecting {
            self.giving_up.notify_waiters();
        }
        self.hang_up().await;
        connecting || connected
    }

    /// Ends the connection.
    pub(super) async fn hang_up(&self) {
        let was = {
            let mut state = self.state();
            state.notifying.clear();
            (state.link, state.resolved) = (None, false);
            std::mem::replace(&mut state.connected, false)
        };
        if let (true, Some(air)) = (was, self.air.upgrade()) {
            let told = [("ServicesResolved", Variant::from(false)), ("Connected", Variant::from(false))];
            air.changed(&self.path, device::NAME, &told).await;
        }
    }

    /// Takes all that is known off the bus, but for a bond.
    pub(super) async fn forget(&self) {
        let state = {
            let mut state = self.state();
            let bond = State { paired: state.paired, trusted: state.trusted, ..State::default() };
            std::mem::replace(&mut *state, bond)
        };
        let Some(air) = self.air.upgrade() else { return };
        if state.shown {
            gatt::hide(&air, self).await;
        }
        if state.known {
            let _ = air.bus.object_server().remove::<device::Device1, _>(&self.path).await;
        }
    }

    /// Forgets all, as `Adapter1.RemoveDevice` does.
    pub(super) async fn remove(&self) {
        self.hang_up().await;
        self.state().paired = false;
        self.forget().await;
    }

    /// Pairs as `Device1.Pair` does, asking the agent of `who`.
    pub(super) async fn pair(self: &Arc<Self>, who: &str) -> Result<()> {
        if self.state().paired {
            return Err(BluezError::AlreadyExists("Already Exists".into()));
        }
        if std::mem::replace(&mut self.state().asking, true) {
            return Err(BluezError::InProgress("Operation already in progress".into()));
        }
        let asked = tokio::select! {
            asked = self.ask(who) => asked,
            () = self.pairing.notified() => Err(BluezError::AuthenticationCanceled("Authentication Canceled".into())),
        };
        self.state().asking = false;
        asked?;
        self.state().paired = true;
        let told = [("Paired", Variant::from(true)), ("Bonded", Variant::from(true))];
        self.air()?.changed(&self.path, device::NAME, &told).await;
        Ok(())
    }

    async fn ask(self: &Arc<Self>, who: &str) -> Result<()> {
        self.connect().await?;
        if self.radio.pairs_without_asking {
            return Ok(());
        }
        let failed = || BluezError::AuthenticationFailed("Authentication Failed".into());
        let shown = self.radio.passkey.ok_or_else(failed)?;
        let typed = self.air()?.ask_passkey(who, &self.path).await?;
        if typed == shown { Ok(()) } else { Err(failed()) }
    }

    /// Ends pairing under way; false: there is none.
    pub(super) fn cancel_pairing(&self) -> bool {
        let asking = self.state().asking;
        if asking {
            self.pairing.notify_waiters();
        }
        asking
    }

    /// Lets `who` at a characteristic, after pairing where the stack does that by itself.
    pub(super) async fn admit(self: &Arc<Self>, who: &str, to: &Characteristic) -> Result<()> {
        let paired = self.state().paired;
        if !to.guarded || paired {
            return Ok(());
        }
        if self.radio.raises_security && self.pair(who).await.is_ok() {
            return Ok(());
        }
        Err(BluezError::NotPermitted("Not paired".into()))
    }

    pub(super) fn longest(&self) -> usize {
        usize::from(self.radio.mtu) - HEADER
    }

    /// Waits for the link's turn, then hands bytes to the device.
    pub(super) async fn send(&self, bytes: Vec<u8>) {
        let turn = {
            let mut state = self.state();
            let now = Instant::now();
            let turn = state.write_free.map_or(now, |free| free.max(now));
            if let Some(pause) = Duration::from_secs(1).checked_div(self.radio.writes_per_s) {
                state.write_free = Some(turn + pause);
            }
            turn
        };
        // A timer takes a millisecond even where there is nothing to wait for.
        if turn > Instant::now() {
            sleep_until(turn).await;
        }
        let packet = self.state().link.as_mut().and_then(|l| Some((l.collect(&bytes)?, l.to_device.clone())));
        // A device that does not take bytes any more is silent: a write without an answer tells nothing.
        if let Some((packet, to_device)) = packet {
            let _ = to_device.send(packet).await;
        }
    }
}

fn aborted() -> BluezError {
    BluezError::Failed("le-connection-abort-by-local".into())
}

pub(super) fn not_ready() -> BluezError {
    BluezError::NotReady("Resource Not Ready".into())
}

// What the device says becomes notifications, some of them lost.
async fn notify(peer: Weak<Peer>, path: OwnedObjectPath, mut from_device: mpsc::Receiver<Vec<u8>>) {
    let Some((seed, longest)) = peer.upgrade().map(|p| (lock(&p.machine).spec.wire.seed, p.longest())) else { return };
    let mut chance = StdRng::seed_from_u64(seed);
    while let Some(bytes) = from_device.recv().await {
        let Some(peer) = peer.upgrade() else { return };
        let Ok(air) = peer.air() else { return };
        if peer.state().notifying.get(&path).is_none_or(BTreeSet::is_empty) {
            continue;
        }
        for piece in bytes.chunks(longest) {
            if chance.r#gen::<f64>() >= peer.radio.lose {
                air.changed(&path, gatt::CHARACTERISTIC, &[("Value", Variant::from(piece.to_vec()))]).await;
            }
        }
    }
}

// Lets BlueZ hear the device while it scans, and forget it when it does not.
async fn keep(peer: Weak<Peer>, mut up: watch::Receiver<bool>, mut adapter: watch::Receiver<Adapter>) {
    let mut began = None;
    let mut heard = Instant::now();
    let Some(seed) = peer.upgrade().map(|p| lock(&p.machine).spec.wire.seed) else { return };
    let mut chance = StdRng::seed_from_u64(seed);
    loop {
        let next = {
            let Some(peer) = peer.upgrade() else { return };
            let Ok(air) = peer.air() else { return };
            let (here, now) = (*up.borrow_and_update(), adapter.borrow_and_update().clone());
            if !(here && now.hears()) {
                peer.hang_up().await;
            }
            let (linked, paired) = {
                let state = peer.state();
                (state.connected || state.connecting, state.paired)
            };
            if linked {
                heard = Instant::now();
            } else if here && now.discovers() {
                heard = Instant::now();
                let rssi = peer.radio.rssi.saturating_add(chance.gen_range(-2..=2));
                peer.hear(&air, rssi, began.get_or_insert(heard).elapsed()).await;
            }
            let silent = !paired && heard.elapsed() >= Duration::from_millis(peer.radio.forget_ms);
            if !now.plugged || silent {
                began = None;
                peer.forget().await;
            }
            let named = peer.state().named;
            if named { HEARD } else { HEARD.min(Duration::from_millis(peer.radio.late_name_ms)) }
        };
        tokio::select! {
            changed = up.changed() => if changed.is_err() { return },
            changed = adapter.changed() => if changed.is_err() { return },
            () = sleep(next.max(Duration::from_millis(10))) => {}
        }
    }
}
