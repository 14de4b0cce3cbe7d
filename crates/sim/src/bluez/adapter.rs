//! `org.bluez.Adapter1`.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::sync::watch;
use zbus::message::Header;
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, Variant, fdo, interface};

use super::{Air, BluezError, Result};
use crate::adapter::Adapter;

const NAME: &str = "org.bluez.Adapter1";

pub(super) fn path(name: &str) -> String {
    format!("/org/bluez/{name}")
}

/// Puts an adapter on the bus.
pub(super) async fn plug(air: &Arc<Air>, name: &str) -> zbus::Result<()> {
    let adapter = Adapter1 { air: Arc::downgrade(air), name: name.to_owned() };
    air.bus.object_server().at(path(name), adapter).await.map(drop)
}

/// Tells what changes about an adapter, for as long as there is a bus.
pub(super) async fn keep(air: Weak<Air>, name: String, mut adapter: watch::Receiver<Adapter>) {
    let mut known = adapter.borrow_and_update().clone();
    while adapter.changed().await.is_ok() {
        let Some(air) = air.upgrade() else { return };
        let now = adapter.borrow_and_update().clone();
        let Ok(path) = OwnedObjectPath::try_from(path(&name)) else { return };
        if now.plugged && !known.plugged {
            if let Err(error) = plug(&air, &name).await {
                tracing::warn!(name, %error, "the adapter cannot be shown");
            }
        } else {
            let mut told = Vec::new();
            if now.discovers() != known.discovers() {
                told.push(("Discovering", Variant::from(now.discovers())));
            }
            if now.powered != known.powered {
                told.push(("Powered", Variant::from(now.powered)));
            }
            if !told.is_empty() {
                air.changed(&path, NAME, &told).await;
            }
        }
        if known.plugged && !now.plugged {
            let _ = air.bus.object_server().remove::<Adapter1, _>(path).await;
        }
        known = now;
    }
}

struct Adapter1 {
    air: Weak<Air>,
    name: String,
}

impl Adapter1 {
    fn air(&self) -> Result<Arc<Air>> {
        self.air.upgrade().ok_or_else(|| BluezError::NotReady("Resource Not Ready".into()))
    }

    fn read<T>(&self, of: impl FnOnce(&Adapter) -> T) -> fdo::Result<T> {
        let air = self.air().map_err(|_| fdo::Error::Failed("the bus ends".into()))?;
        let adapter = air.adapters.get(&self.name).ok_or_else(|| fdo::Error::Failed("no such adapter".into()))?;
        Ok(of(&adapter.borrow()))
    }

    // `change` says what is wrong or does what is asked.
    fn change(&self, change: impl FnOnce(&mut Adapter) -> Result<()>) -> Result<()> {
        let air = self.air()?;
        let adapter = air.adapters.get(&self.name).ok_or_else(|| BluezError::Failed("no such adapter".into()))?;
        let mut done = Ok(());
        adapter.send_if_modified(|adapter| {
            let before = adapter.clone();
            done = change(adapter);
            *adapter != before
        });
        done
    }
}

fn sender(header: &Header<'_>) -> String {
    header.sender().map(ToString::to_string).unwrap_or_default()
}

#[interface(name = "org.bluez.Adapter1", introspection_docs = false)]
impl Adapter1 {
    fn start_discovery(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.change(|adapter| match adapter.hears() {
            false => Err(BluezError::NotReady("Resource Not Ready".into())),
            true if !adapter.scanning.insert(sender(&header)) => {
                Err(BluezError::InProgress("Operation already in progress".into()))
            }
            true => Ok(()),
        })
    }

    fn stop_discovery(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.change(|adapter| match adapter.scanning.remove(&sender(&header)) {
            true => Ok(()),
            false => Err(BluezError::Failed("No discovery started".into())),
        })
    }

    fn set_discovery_filter(&self, _properties: HashMap<String, OwnedVariant>) -> Result<()> {
        Ok(())
    }

    fn get_discovery_filters(&self) -> Vec<String> {
        ["UUIDs", "RSSI", "Pathloss", "Transport", "DuplicateData", "Discoverable", "Pattern"].map(Into::into).into()
    }

    async fn remove_device(&self, device: ObjectPath<'_>) -> Result<()> {
        let air = self.air()?;
        let peer = air.peer_at(device.as_str()).filter(|p| p.is_known());
        let peer = peer.ok_or_else(|| BluezError::DoesNotExist("Does Not Exist".into()))?;
        peer.remove().await;
        Ok(())
    }

    #[zbus(property)]
    fn address(&self) -> String {
        let number = self.name.trim_start_matches("hci").parse::<u8>().unwrap_or_default();
        format!("00:1A:7D:DA:71:{number:02X}")
    }

    #[zbus(property)]
    fn address_type(&self) -> &str {
        "public"
    }

    #[zbus(property)]
    fn name(&self) -> &str {
        "simulated laptop"
    }

    #[zbus(property)]
    fn alias(&self) -> &str {
        "simulated laptop"
    }

    #[zbus(property)]
    fn class(&self) -> u32 {
        0x10_010c
    }

    #[zbus(property)]
    fn modalias(&self) -> &str {
        "usb:v1D6Bp0246d0542"
    }

    #[zbus(property)]
    fn discoverable(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn pairable(&self) -> bool {
        true
    }

    #[zbus(property, name = "UUIDs")]
    fn uuids(&self) -> Vec<String> {
        Vec::new()
    }

    #[zbus(property)]
    fn roles(&self) -> Vec<String> {
        vec!["central".into()]
    }

    #[zbus(property)]
    fn discovering(&self) -> fdo::Result<bool> {
        self.read(Adapter::discovers)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn powered(&self) -> fdo::Result<bool> {
        self.read(|adapter| adapter.powered)
    }

    #[zbus(property)]
    fn set_powered(&self, on: bool) -> Result<()> {
        self.change(|adapter| {
            if on && adapter.blocked {
                return Err(BluezError::Failed("Blocked through rfkill".into()));
            }
            adapter.powered = on;
            if !on {
                adapter.scanning.clear();
            }
            Ok(())
        })
    }
}
