//! Discover: what is in reach. Nothing is opened.

use std::time::Duration;

use aseptic_device::{Address, Sighting, SightingEvent};
use futures::StreamExt as _;
use schemars::JsonSchema;
use serde::Serialize;

use crate::laptop::Laptop;
use crate::problem::Problem;

/// A change in what is in reach, with the model that it would be read by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Sighted {
    /// New, or seen with other details.
    #[serde(rename_all = "kebab-case")]
    Seen {
        /// What was seen.
        sighting: Sighting,
        /// Profile id; without one the port is not opened until a person names it.
        profile: Option<String>,
    },
    /// No longer there.
    #[serde(rename_all = "kebab-case")]
    Gone {
        /// Where it was.
        address: Address,
    },
}

/// Watches for `span` and tells each change as it comes; returns what is there at the end.
pub async fn discover(
    laptop: &Laptop,
    span: Duration,
    tell: &mut dyn FnMut(&Sighted),
) -> Result<Vec<Sighting>, Problem> {
    let mut watch = laptop.bus.watch();
    let mut present: Vec<Sighting> = Vec::new();
    let end = tokio::time::Instant::now() + span;
    while let Ok(Some(event)) = tokio::time::timeout_at(end, watch.next()).await {
        let sighted = match event {
            SightingEvent::Seen(sighting) => {
                present.retain(|s| s.address != sighting.address);
                present.push(sighting.clone());
                let profile = laptop.profile_for(&sighting).map(|k| k.profile.id.clone());
                Sighted::Seen { sighting, profile }
            }
            SightingEvent::Gone(address) => {
                present.retain(|s| s.address != address);
                Sighted::Gone { address }
            }
        };
        tell(&sighted);
    }
    let addresses: Vec<String> = present.iter().map(|s| s.address.to_string()).collect();
    let body = serde_json::json!({ "seconds": span.as_secs(), "present": addresses });
    laptop.store.audit(laptop.entry("discovered", None, None, body))?;
    Ok(present)
}
