//! Several buses as one: sightings of all, links by kind of address.

use std::sync::Arc;

use aseptic_device::{Address, Bus, LineSettings, LinkError, Sighting, SightingEvent, Transport};
use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt as _, select};

/// A wire and a radio.
#[derive(Clone)]
pub struct WireAndRadio {
    /// Ports.
    pub wire: Arc<dyn Bus>,
    /// Radio peers.
    pub radio: Arc<dyn Bus>,
}

#[async_trait]
impl Bus for WireAndRadio {
    fn watch(&self) -> BoxStream<'static, SightingEvent> {
        select(self.wire.watch(), self.radio.watch()).boxed()
    }

    async fn open(&self, at: &Sighting, line: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        match at.address {
            Address::Port(_) => self.wire.open(at, line).await,
            Address::Ble { .. } => self.radio.open(at, line).await,
        }
    }
}
