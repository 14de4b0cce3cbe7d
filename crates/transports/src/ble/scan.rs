//! What advertises: one task an adapter, for as long as the adapter is on.

use std::collections::{BTreeSet, HashMap};
use std::sync::{PoisonError, Weak};
use std::time::Duration;

use aseptic_device::{Address, DeviceText, RadioIdentity, Sighting};
use btleplug::api::{Central as _, CentralEvent, CentralState, Manager as _, Peripheral as _, ScanFilter};
use btleplug::platform::{Adapter, Manager, Peripheral, PeripheralId};
use futures::stream::{BoxStream, StreamExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use super::platform::Platform;
use super::{Link, Peer, Removed, Shared};

/// Who was not heard for so long is gone: the platform does not tell.
const SILENCE: Duration = Duration::from_secs(20);
/// Until the platform is asked again: which adapters there are, and whether they are on.
const AGAIN: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_secs(1);
/// Signal strength is told anew when it changed by so much, in dB.
const RSSI_STEP: i16 = 8;

/// Returns the adapters of this laptop and whether each is on; none where the platform has no radio stack.
pub async fn adapters() -> Vec<(String, bool)> {
    let asked = super::contained(async {
        let mut found = Vec::new();
        for adapter in Manager::new().await?.adapters().await? {
            let on = adapter.adapter_state().await? == CentralState::PoweredOn;
            found.push((name(&adapter).await?, on));
        }
        Ok(found)
    });
    asked.await.unwrap_or_default()
}

async fn name(adapter: &Adapter) -> Result<String, btleplug::Error> {
    let info = adapter.adapter_info().await?;
    Ok(info.split_whitespace().next().unwrap_or("adapter").to_owned())
}

/// Scans on every adapter that is on, until nobody holds the bus any more.
pub(super) async fn keep_scanning(shared: Weak<Shared>) {
    while shared.strong_count() > 0 {
        if let Err(error) = serve(&shared).await {
            tracing::debug!(%error, "the platform's radio stack does not answer");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

// Returns when the platform's stack ends.
async fn serve(shared: &Weak<Shared>) -> Result<(), btleplug::Error> {
    // Before the first scan: what answers with a wish to pair is rejected from the start.
    let mut removals = removals(shared).await;
    let manager = Manager::new().await?;
    let mut scans = Scans { running: HashMap::new(), tasks: JoinSet::new() };
    let mut again = interval(AGAIN);
    loop {
        tokio::select! {
            removed = removals.next() => match removed {
                Some(Removed::Adapter(name)) => scans.end(&name),
                Some(Removed::Device(device)) => {
                    let Some(shared) = shared.upgrade() else { return Ok(()) };
                    shared.forget(|peer| peer.peripheral.id().to_string() == device);
                }
                Some(Removed::Stack) | None => return Ok(()),
            },
            Some(_) = scans.tasks.join_next(), if !scans.tasks.is_empty() => scans.running.retain(|_, t| !t.is_finished()),
            _ = again.tick() => {
                if shared.strong_count() == 0 {
                    return Ok(());
                }
                for adapter in manager.adapters().await? {
                    let name = name(&adapter).await?;
                    // Scanning would switch it on; whoever switched it off had a reason.
                    if scans.running.contains_key(&name) || adapter.adapter_state().await? != CentralState::PoweredOn {
                        continue;
                    }
                    let scan = Scan { shared: shared.clone(), adapter, name: name.clone() };
                    scans.running.insert(name, scans.tasks.spawn(scan.run()));
                }
            }
        }
    }
}

// Dropping it ends them all.
struct Scans {
    running: HashMap<String, tokio::task::AbortHandle>,
    tasks: JoinSet<()>,
}

impl Scans {
    fn end(&mut self, name: &str) {
        if let Some(scan) = self.running.remove(name) {
            scan.abort();
        }
    }
}

async fn removals(shared: &Weak<Shared>) -> BoxStream<'static, Removed> {
    let never = || futures::stream::pending().boxed();
    let Some(shared) = shared.upgrade() else { return never() };
    match Platform::connect().await {
        Ok(platform) => {
            let removals = platform.removals().await.unwrap_or_else(|_| never());
            *shared.platform.lock().unwrap_or_else(PoisonError::into_inner) = Some(platform);
            removals
        }
        Err(error) => {
            tracing::debug!(%error, "keys and removals are not told here");
            never()
        }
    }
}

// One adapter, in a task of its own: others stay when it goes, and the library panics when a signal races a dropped stream.
struct Scan {
    shared: Weak<Shared>,
    adapter: Adapter,
    name: String,
}

// However scanning ends, links over the adapter are lost.
impl Drop for Scan {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.forget(|peer| peer.adapter == self.name);
        }
    }
}

impl Scan {
    async fn run(self) {
        if let Err(error) = self.listen().await {
            tracing::debug!(adapter = self.name, %error, "the adapter does not scan");
        }
    }

    // Returns when the adapter is off or no longer there.
    async fn listen(&self) -> Result<(), btleplug::Error> {
        let mut events = self.adapter.events().await?;
        self.adapter.start_scan(ScanFilter::default()).await?;
        let mut tick = interval(TICK);
        loop {
            tokio::select! {
                event = events.next() => {
                    let (Some(event), Some(shared)) = (event, self.shared.upgrade()) else { return Ok(()) };
                    if !self.take(&shared, event).await {
                        return Ok(());
                    }
                }
                _ = tick.tick() => match self.shared.upgrade() {
                    Some(shared) => self.forget_silent(&shared).await,
                    None => return Ok(()),
                }
            }
        }
    }

    // False: the adapter was switched off.
    async fn take(&self, shared: &Shared, event: CentralEvent) -> bool {
        match event {
            CentralEvent::StateUpdate(state) => return state == CentralState::PoweredOn,
            // It may come back under another address: this one counts again once it is heard.
            CentralEvent::DeviceDisconnected(id) => shared.forget(|peer| peer.peripheral.id() == id),
            CentralEvent::DeviceDiscovered(id)
            | CentralEvent::DeviceUpdated(id)
            | CentralEvent::DeviceConnected(id)
            | CentralEvent::DeviceServicesModified(id)
            | CentralEvent::ManufacturerDataAdvertisement { id, .. }
            | CentralEvent::ServiceDataAdvertisement { id, .. }
            | CentralEvent::ServicesAdvertisement { id, .. }
            | CentralEvent::RssiUpdate { id, .. } => self.heard(shared, &id).await,
        }
        true
    }

    // The first event comes before the scan response: the name then is the address, and is left out.
    async fn heard(&self, shared: &Shared, id: &PeripheralId) {
        let Ok(peripheral) = self.adapter.peripheral(id).await else { return };
        let Ok(Some(told)) = peripheral.properties().await else { return };
        let mac = peripheral.address().to_string();
        let address = Address::Ble { adapter: self.name.clone(), address: mac.clone() };
        // The platform remembers devices that are not here: without a signal strength it did not hear this one. One that
        // an earlier process left connected does not advertise.
        let known = shared.peers().contains_key(&address);
        if !known && told.rssi.is_none() && !peripheral.is_connected().await.unwrap_or(false) {
            return;
        }
        let shown = told.local_name.filter(|n| n.replace('-', ":") != mac);
        let mut services: Vec<String> = told.services.iter().map(ToString::to_string).collect();
        services.sort();
        let link = shared.peers().get(&address).map_or(Link::None, |p| p.link);
        shared
            .peers()
            .insert(address.clone(), Peer { adapter: self.name.clone(), peripheral, heard: Instant::now(), link });
        let sighting = Sighting {
            address: address.clone(),
            usb: None,
            radio: Some(RadioIdentity { services, rssi: told.rssi }),
            name: shown.as_deref().map(DeviceText::new),
            named: shared.named.iter().any(|n| n.eq_ignore_ascii_case(&mac)),
            simulated: shared.simulated,
        };
        shared.present.send_if_modified(|present| {
            let changed = present.get(&address).is_none_or(|known| differs(known, &sighting));
            if changed {
                present.insert(address, sighting);
            }
            changed
        });
    }

    // Who is connected does not advertise: another program, or one that was killed, may hold the link.
    async fn forget_silent(&self, shared: &Shared) {
        let silent: Vec<Peripheral> = {
            let peers = shared.peers();
            let own = peers.values().filter(|peer| peer.adapter == self.name);
            let silent = own.filter(|peer| peer.link == Link::None && peer.heard.elapsed() > SILENCE);
            silent.map(|peer| peer.peripheral.clone()).collect()
        };
        for peripheral in silent {
            if !peripheral.is_connected().await.unwrap_or(false) {
                shared.forget(|peer| peer.peripheral.id() == peripheral.id());
            }
        }
    }
}

impl Shared {
    /// Takes peers off the list; links to them are lost.
    pub(super) fn forget(&self, is_gone: impl Fn(&Peer) -> bool) {
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
