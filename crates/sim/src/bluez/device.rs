//! `org.bluez.Device1`, and `org.bluez.Battery1` beside it.

use std::collections::HashMap;
use std::sync::Arc;

use zbus::message::Header;
use zbus::{OwnedObjectPath, Variant, fdo, interface};

use super::peer::Peer;
use super::{BluezError, Result, adapter};
use crate::life::lock;
use crate::ward::radio::AddressKind;

pub(super) const NAME: &str = "org.bluez.Device1";

pub(super) struct Device1(pub Arc<Peer>);

// A property that is not there is left out, as a getter that fails is.
fn absent<T>() -> fdo::Result<T> {
    Err(fdo::Error::InvalidArgs("No such property".into()))
}

#[interface(name = "org.bluez.Device1", introspection_docs = false)]
impl Device1 {
    async fn connect(&self) -> Result<()> {
        self.0.connect().await
    }

    async fn disconnect(&self) -> Result<()> {
        if self.0.disconnect().await { Ok(()) } else { Err(BluezError::NotConnected("Not Connected".into())) }
    }

    async fn pair(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.0.pair(&header.sender().map(ToString::to_string).unwrap_or_default()).await
    }

    fn cancel_pairing(&self) -> Result<()> {
        if self.0.cancel_pairing() { Ok(()) } else { Err(BluezError::DoesNotExist("Does Not Exist".into())) }
    }

    #[zbus(property)]
    fn address(&self) -> String {
        self.0.address_text(":")
    }

    #[zbus(property)]
    fn address_type(&self) -> &str {
        if self.0.radio.address == AddressKind::Public { "public" } else { "random" }
    }

    #[zbus(property)]
    fn name(&self) -> fdo::Result<String> {
        let named = self.0.state().named && !self.0.radio.name.is_empty();
        if named { Ok(self.0.radio.name.clone()) } else { absent() }
    }

    #[zbus(property)]
    fn alias(&self) -> String {
        let named = self.0.state().named && !self.0.radio.name.is_empty();
        if named { self.0.radio.name.clone() } else { self.0.address_text("-") }
    }

    #[zbus(property)]
    fn adapter(&self) -> fdo::Result<OwnedObjectPath> {
        OwnedObjectPath::try_from(adapter::path(&self.0.radio.adapter)).or_else(|_| absent())
    }

    #[zbus(property, name = "UUIDs")]
    fn uuids(&self) -> Vec<String> {
        self.0.uuids()
    }

    #[zbus(property)]
    fn manufacturer_data(&self) -> fdo::Result<HashMap<u16, Variant<'static>>> {
        let named = self.0.state().named;
        self.0.manufacturer_data().filter(|_| named).map_or_else(absent, Ok)
    }

    #[zbus(property)]
    fn advertising_flags(&self) -> Vec<u8> {
        vec![self.0.radio.flags]
    }

    #[zbus(property, name = "RSSI")]
    fn rssi(&self) -> i16 {
        self.0.state().rssi
    }

    #[zbus(property)]
    fn modalias(&self) -> fdo::Result<String> {
        let shown = self.0.state().shown;
        let Some((source, vendor, product, version)) = self.0.radio.pnp.filter(|_| shown) else { return absent() };
        let source = if source == 1 { "bluetooth" } else { "usb" };
        Ok(format!("{source}:v{vendor:04X}p{product:04X}d{version:04X}"))
    }

    #[zbus(property)]
    fn connected(&self) -> bool {
        self.0.state().connected
    }

    #[zbus(property)]
    fn services_resolved(&self) -> bool {
        self.0.state().resolved
    }

    #[zbus(property)]
    fn paired(&self) -> bool {
        self.0.state().paired
    }

    #[zbus(property)]
    fn bonded(&self) -> bool {
        self.0.state().paired
    }

    #[zbus(property)]
    fn trusted(&self) -> bool {
        self.0.state().trusted
    }

    #[zbus(property)]
    fn set_trusted(&self, trusted: bool) {
        self.0.state().trusted = trusted;
    }

    #[zbus(property)]
    fn blocked(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn legacy_pairing(&self) -> bool {
        false
    }
}

pub(super) struct Battery1(pub Arc<Peer>);

#[interface(name = "org.bluez.Battery1", introspection_docs = false)]
impl Battery1 {
    #[zbus(property)]
    fn percentage(&self) -> u8 {
        let machine = lock(&self.0.machine);
        machine.saved.get("state/battery").and_then(|b| b.first()).copied().unwrap_or_default()
    }

    #[zbus(property)]
    fn source(&self) -> &str {
        "GATT Battery Service"
    }
}
