//! One open device, found again after every restart.
//!
//! Each open and reopen identifies first. A device is never assumed to be behind the same port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};

use crate::driver::{Change, DriverError, Inspect, Opener};
use crate::identity::{Address, DeviceId, Identity, Sighting, SightingEvent};
use crate::link::{Bus, LinkError};
use crate::profile::{Pairing, Profile};
use crate::time::Clock;

const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// A session that can only ask.
#[derive(Debug)]
pub enum Inspecting {}

/// A session that can change the device; only the plan runner holds one.
#[derive(Debug)]
pub enum Changing {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Inspecting {}
    impl Sealed for super::Changing {}
}

/// What a session may do.
pub trait Mode: sealed::Sealed + Send + 'static {
    /// The device behind the session.
    type Device: ?Sized + Send;
    #[doc(hidden)]
    fn open(
        reach: &Reach,
        link: Box<dyn crate::link::Transport>,
        at: &Sighting,
    ) -> Result<Box<Self::Device>, DriverError>;
    #[doc(hidden)]
    fn asking(device: &mut Self::Device) -> &mut (dyn Inspect + 'static);
}

impl Mode for Inspecting {
    type Device = dyn Inspect;
    fn open(
        reach: &Reach,
        link: Box<dyn crate::link::Transport>,
        at: &Sighting,
    ) -> Result<Box<dyn Inspect>, DriverError> {
        reach.opener.inspect(&reach.profile, at, link)
    }
    fn asking<'a>(device: &'a mut (dyn Inspect + 'static)) -> &'a mut (dyn Inspect + 'static) {
        device
    }
}

impl Mode for Changing {
    type Device = dyn Change;
    fn open(
        reach: &Reach,
        link: Box<dyn crate::link::Transport>,
        at: &Sighting,
    ) -> Result<Box<dyn Change>, DriverError> {
        reach.opener.change(&reach.profile, at, link)
    }
    fn asking<'a>(device: &'a mut (dyn Change + 'static)) -> &'a mut (dyn Inspect + 'static) {
        device
    }
}

/// What is needed to reach a device: a bus, drivers, a clock and the profile to read it by.
#[derive(Clone)]
pub struct Reach {
    /// Where devices appear.
    pub bus: Arc<dyn Bus>,
    /// Makes a device of a link.
    pub opener: Arc<dyn Opener>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// The model.
    pub profile: Arc<Profile>,
    /// Gives passkeys to devices that answer only paired laptops; `None` to audit, which never pairs.
    pub passkeys: Option<Arc<dyn Passkeys>>,
}

/// A person who reads the passkey from the device's screen.
#[async_trait]
pub trait Passkeys: Send + Sync {
    /// Asks for the six digits; `None` is a no.
    async fn passkey(&self, at: &Sighting) -> Option<u32>;
}

/// A device that could not be opened, or is not the one it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The link could not be opened.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The device did not answer as its protocol asks.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A profile for simulated wards met a real port.
    #[error("profile {0} is only for the simulated ward; nothing was opened")]
    SimulatedProfile(String),
    /// Nobody named the port and its USB identity is not the profile's.
    #[error("{0} was not opened: its USB identity does not match the profile and nobody named the port")]
    NotNamed(Address),
    /// The device wants to be paired with and nobody gave a passkey.
    #[error("{0} answers only laptops that it is paired with, and nobody gave the passkey that it shows")]
    NoPasskey(Address),
    /// Another device answered.
    #[error("another device answered: expected {expected}, found {found}")]
    OtherDevice {
        /// The device of this visit or plan.
        expected: DeviceId,
        /// What answered, in words.
        found: String,
    },
    /// The device did not come back.
    #[error("{device} did not come back within {waited:?}")]
    NotBack {
        /// The device.
        device: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The identifier is empty, a default, or unreadable, so nothing may be changed.
    #[error("this device has no usable identifier: {0}")]
    NoIdentity(String),
    /// The link is closed; reopen first.
    #[error("the link is closed")]
    Closed,
}

/// One device, open and identified.
pub struct Session<M: Mode> {
    reach: Reach,
    at: Sighting,
    identity: Identity,
    device: Option<Box<M::Device>>,
}

impl Session<Inspecting> {
    /// Opens a device to ask it, and identifies it.
    pub async fn inspect(reach: Reach, at: Sighting) -> Result<Self, SessionError> {
        Self::open(reach, at).await
    }
}

impl Session<Changing> {
    /// Opens a device to change it; refuses unless it is `expected`.
    pub async fn change(reach: Reach, at: Sighting, expected: &DeviceId) -> Result<Self, SessionError> {
        let session = Self::open(reach, at).await?;
        session.must_be(expected)?;
        Ok(session)
    }

    /// Returns the device's changing side.
    pub fn changing(&mut self) -> Result<&mut (dyn Change + 'static), SessionError> {
        self.device.as_deref_mut().ok_or(SessionError::Closed)
    }
}

impl<M: Mode> Session<M> {
    async fn open(reach: Reach, at: Sighting) -> Result<Self, SessionError> {
        let (device, identity) = Self::connect(&reach, &at).await?;
        Ok(Self { reach, at, identity, device: Some(device) })
    }

    async fn connect(reach: &Reach, at: &Sighting) -> Result<(Box<M::Device>, Identity), SessionError> {
        let profile = &reach.profile;
        if profile.simulated && !at.simulated {
            return Err(SessionError::SimulatedProfile(profile.id.clone()));
        }
        if !at.named && !profile.matches(at) {
            return Err(SessionError::NotNamed(at.address.clone()));
        }
        let mut link = reach.bus.open(at, &profile.serial.line).await?;
        if let (Pairing::Passkey, Some(passkeys)) = (profile.radio.pairing, &reach.passkeys)
            && link.radio().await?.is_some_and(|radio| !radio.bond.now)
        {
            let passkey = passkeys.passkey(at).await.ok_or_else(|| SessionError::NoPasskey(at.address.clone()))?;
            link.pair(passkey).await?;
        }
        let mut device = M::open(reach, link, at)?;
        let identity = M::asking(device.as_mut()).identify().await?;
        Ok((device, identity))
    }

    fn must_be(&self, expected: &DeviceId) -> Result<(), SessionError> {
        match &self.identity.id {
            Some(id) if id == expected => Ok(()),
            Some(id) => Err(SessionError::OtherDevice { expected: expected.clone(), found: id.to_string() }),
            None => Err(SessionError::NoIdentity(self.identity.unusable.clone().unwrap_or_default())),
        }
    }

    /// Returns who the device is, as read when the link was last opened.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns where the device is now.
    pub fn sighting(&self) -> &Sighting {
        &self.at
    }

    /// Returns the model.
    pub fn profile(&self) -> &Profile {
        &self.reach.profile
    }

    /// Returns the device's asking side.
    pub fn inspecting(&mut self) -> Result<&mut (dyn Inspect + 'static), SessionError> {
        self.device.as_deref_mut().map(M::asking).ok_or(SessionError::Closed)
    }

    /// Returns whether the link is open.
    pub fn is_open(&self) -> bool {
        self.device.is_some()
    }

    /// Closes the link; [`Session::reopen`] opens it again.
    pub fn close(&mut self) {
        self.device = None;
    }

    /// Finds the same device again, wherever it now is, and identifies it.
    ///
    /// Only what has the same address, or whose USB identity or advertisement is the profile's and not another
    /// device's, is opened. Errors: [`SessionError::NotBack`] after `within`, or
    /// [`SessionError::OtherDevice`] when only a different device answered.
    pub async fn reopen(&mut self, within: Duration) -> Result<(), SessionError> {
        self.close();
        let Some(expected) = self.identity.id.clone() else {
            return Err(SessionError::NoIdentity(self.identity.unusable.clone().unwrap_or_default()));
        };
        let begun = self.reach.clock.now();
        let mut watch = self.reach.bus.watch();
        let mut present: BTreeMap<Address, Sighting> = BTreeMap::new();
        let mut other = None;
        loop {
            while let Some(Some(event)) = watch.next().now_or_never() {
                match event {
                    SightingEvent::Seen(s) => drop(present.insert(s.address.clone(), s)),
                    SightingEvent::Gone(a) => drop(present.remove(&a)),
                }
            }
            for at in self.candidates(&present) {
                match Self::connect(&self.reach, &at).await {
                    Ok((device, identity)) if identity.id.as_ref() == Some(&expected) => {
                        (self.at, self.identity, self.device) = (at, identity, Some(device));
                        return Ok(());
                    }
                    Ok((_, identity)) => {
                        let found =
                            identity.id.map_or_else(|| "a device without identifier".into(), |id| id.to_string());
                        other = Some(SessionError::OtherDevice { expected: expected.clone(), found });
                    }
                    Err(e) => tracing::debug!(address = %at.address, error = %e, "not back yet"),
                }
            }
            let waited = self.reach.clock.now().since(&begun);
            if waited >= within {
                return Err(other.unwrap_or(SessionError::NotBack { device: expected.to_string(), waited }));
            }
            self.reach.clock.sleep(BETWEEN_TRIES).await;
        }
    }

    // The same address first. Another only where USB or the advertisement says that it may be the same device:
    // a radio peer may come back under another address.
    fn candidates(&self, present: &BTreeMap<Address, Sighting>) -> Vec<Sighting> {
        let serial = self.at.usb.as_ref().and_then(|u| u.serial.as_ref());
        let same = present.get(&self.at.address).cloned();
        let moved = present.values().filter(|s| {
            s.address != self.at.address
                && s.simulated == self.at.simulated
                && (self.reach.profile.matches_radio(s)
                    || s.usb.as_ref().is_some_and(|u| {
                        self.reach.profile.matches_usb(u) && (serial.is_none() || u.serial.as_ref() == serial)
                    }))
        });
        same.into_iter().chain(moved.cloned()).collect()
    }
}
