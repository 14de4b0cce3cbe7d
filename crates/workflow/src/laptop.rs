//! What every stage stands on: the store, the bus, the drivers, the clock and the known models.

use std::sync::Arc;

use aseptic_device::radio::{MCUMGR_SERVICE, written};
use aseptic_device::session::Reach;
use aseptic_device::{Bus, Clock, DeviceId, Opener, Passkeys, Profile, Sighting};
use aseptic_drivers::{Registry, profiles};
use aseptic_patches::ProfileRef;
use aseptic_patches::plan::digest;
use aseptic_store::{NewEntry, Store};

use crate::problem::{Code, Problem};

/// A model and where its profile came from.
#[derive(Debug, Clone)]
pub struct KnownProfile {
    /// The model.
    pub profile: Arc<Profile>,
    /// How plans refer to it.
    pub reference: ProfileRef,
}

/// One laptop at work.
pub struct Laptop {
    /// What is kept.
    pub store: Store,
    /// Where devices appear.
    pub bus: Arc<dyn Bus>,
    /// Speaks to them.
    pub opener: Arc<dyn Opener>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Known models; one from outside comes first.
    pub profiles: Vec<KnownProfile>,
    /// The model by which ports that a person named are read.
    pub chosen: Option<String>,
    /// Who works here, as far as anybody said.
    pub actor: String,
    /// Makes ids (UUIDv7).
    pub new_id: Box<dyn Fn() -> String + Send + Sync>,
    /// A person who can read a passkey from a device's screen.
    pub passkeys: Option<Arc<dyn Passkeys>>,
}

/// What a device is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To ask. Never pairs.
    Audit,
    /// To plan a change or make it. Pairs, where the profile says so and a person gives the passkey.
    Change,
}

impl Laptop {
    /// Gathers the known models: `outside` (unreviewed) first, then those from kits, then the built-in ones.
    pub fn new(
        store: Store,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        outside: Option<Profile>,
        actor: String,
        new_id: Box<dyn Fn() -> String + Send + Sync>,
    ) -> Result<Self, Problem> {
        let chosen = outside.as_ref().map(|p| p.id.clone());
        let mut all: Vec<(Profile, bool)> = outside.into_iter().map(|p| (p, true)).collect();
        for (id, text) in store.documents("profile")? {
            let profile = Profile::parse(&text)
                .map_err(|e| Problem::new(Code::Untrusted, format!("profile {id}: {e}"), "import the kit again"))?;
            all.push((profile, false));
        }
        let built_in =
            profiles::built_in().map_err(|e| Problem::new(Code::Internal, e, "report this as a fault of Aseptic"))?;
        all.extend(built_in.into_iter().map(|p| (p, false)));
        let mut known: Vec<KnownProfile> = Vec::new();
        for (profile, unreviewed) in all {
            if known.iter().any(|k| k.profile.id == profile.id) {
                continue;
            }
            let digest =
                digest(&profile).map_err(|e| Problem::new(Code::Internal, e, "report this as a fault of Aseptic"))?;
            let reference = ProfileRef { id: profile.id.clone(), digest, simulated: profile.simulated, unreviewed };
            known.push(KnownProfile { profile: Arc::new(profile), reference });
        }
        Ok(Self {
            store,
            bus,
            opener: Arc::new(Registry),
            clock,
            profiles: known,
            chosen,
            actor,
            new_id,
            passkeys: None,
        })
    }

    /// Returns the model with that id.
    pub fn profile(&self, id: &str) -> Option<&KnownProfile> {
        self.profiles.iter().find(|k| k.profile.id == id)
    }

    /// Reads ports that a person names by a known model.
    pub fn choose(&mut self, id: &str) -> Result<(), Problem> {
        if self.profile(id).is_none() {
            let known: Vec<&str> = self.profiles.iter().map(|k| k.profile.id.as_str()).collect();
            return Err(Problem::new(
                Code::NotFound,
                format!("no profile {id}: neither a file nor a known model"),
                format!("known are {}; or give a file", known.join(", ")),
            ));
        }
        self.chosen = Some(id.to_owned());
        Ok(())
    }

    /// Returns the model of a sighting: the chosen one when a person named the port, one whose USB identity or advertisement matches, or a generic one for a named port or radio peer.
    pub fn profile_for(&self, at: &Sighting) -> Option<&KnownProfile> {
        let chosen = self.chosen.as_ref().filter(|_| at.named).and_then(|id| self.profile(id));
        let matching =
            || self.profiles.iter().find(|k| k.profile.matches(at) && (at.simulated || !k.profile.simulated));
        let manages = at.radio.as_ref().is_none_or(|radio| radio.services.contains(&written(MCUMGR_SERVICE)));
        let generic_id = if manages { profiles::GENERIC } else { profiles::GENERIC_RADIO };
        let generic = || at.named.then(|| self.profile(generic_id)).flatten();
        chosen.or_else(matching).or_else(generic)
    }

    /// Returns what a session needs to reach devices of a model.
    pub fn reach(&self, known: &KnownProfile, purpose: Purpose) -> Reach {
        Reach {
            bus: self.bus.clone(),
            opener: self.opener.clone(),
            clock: self.clock.clone(),
            profile: known.profile.clone(),
            passkeys: self.passkeys.clone().filter(|_| purpose == Purpose::Change),
        }
    }

    /// Makes an audit entry for now.
    pub fn entry(
        &self,
        kind: &str,
        device: Option<&DeviceId>,
        visit: Option<&str>,
        body: serde_json::Value,
    ) -> NewEntry {
        NewEntry {
            at: self.clock.now().wall,
            kind: kind.into(),
            actor: self.actor.clone(),
            device: device.map(ToString::to_string),
            visit: visit.map(str::to_owned),
            body,
        }
    }
}
