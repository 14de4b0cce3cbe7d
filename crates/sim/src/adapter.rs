//! The laptop's radio adapters, as a hand on the ward switches them and a stack uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use crate::ward::Ward;

/// One adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adapter {
    /// It is in the laptop.
    pub plugged: bool,
    /// A switch holds it off, whatever programs ask for.
    pub blocked: bool,
    /// It is on.
    pub powered: bool,
    /// Who scans, by name on the bus.
    pub scanning: BTreeSet<String>,
    /// Links that it holds at once; without a number, as many as come.
    pub links: Option<usize>,
}

impl Adapter {
    pub(crate) fn hears(&self) -> bool {
        self.plugged && self.powered
    }

    pub(crate) fn discovers(&self) -> bool {
        self.hears() && !self.scanning.is_empty()
    }
}

/// All adapters of the laptop, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Adapters(Arc<BTreeMap<String, watch::Sender<Adapter>>>);

impl Adapters {
    /// Every adapter that a device names, with what the ward says of it.
    pub(crate) fn of(ward: &Ward) -> Self {
        let names = ward.devices.iter().filter_map(|d| Some(d.radio.as_ref()?.adapter.clone()));
        let adapter = |name: String| {
            let links = ward.adapters.iter().find(|a| a.name == name).and_then(|a| a.links);
            let new = Adapter { plugged: true, blocked: false, powered: true, scanning: BTreeSet::new(), links };
            (name, watch::channel(new).0)
        };
        Self(Arc::new(names.map(adapter).collect()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &watch::Sender<Adapter>)> {
        self.0.iter()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&watch::Sender<Adapter>> {
        self.0.get(name)
    }

    /// Does what a hand does; false: there is no such adapter or verb.
    pub(crate) fn obey(&self, name: &str, verb: &str) -> bool {
        let Some(adapter) = self.get(name) else { return false };
        let does: fn(&mut Adapter) = match verb {
            "off" => |a| (a.blocked, a.powered) = (true, false),
            "on" => |a| (a.blocked, a.powered) = (false, true),
            "unplug" => |a| (a.plugged, a.powered) = (false, false),
            "plug" => |a| (a.plugged, a.powered) = (true, !a.blocked),
            _ => return false,
        };
        adapter.send_modify(|adapter| {
            does(adapter);
            if !adapter.powered {
                adapter.scanning.clear();
            }
        });
        true
    }

    /// Forgets what a program that left the bus had asked for.
    pub(crate) fn left(&self, who: &str) {
        for adapter in self.0.values() {
            adapter.send_if_modified(|a| a.scanning.remove(who));
        }
    }
}
