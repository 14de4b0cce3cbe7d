//! A simulated ward, a plan for one of its devices, and runs that can be cut anywhere.

use std::sync::Arc;
use std::time::Duration;

use aseptic_device::driver::Sensed;
use aseptic_device::session::Reach;
use aseptic_device::{
    Address, Bus, Changing, Clock, DeviceId, ImageHash, ImageId, Moment, Profile, Session, Sighting, SightingEvent,
    Value, VersionScheme,
};
use aseptic_drivers::{Registry, profiles};
use aseptic_operators::{Attestation, Authority, GateId, Person, Role};
use aseptic_patches::plan::{SCHEMA, digest};
use aseptic_patches::{
    Ended, Estimate, FromState, Hands, PatchRef, Plan, PlanBody, ProfileRef, RunError, RunEvent, Step, WayBack, run,
};
use aseptic_sim::bootloader::Image;
use aseptic_sim::firmware::{Behaviour, build};
use aseptic_sim::life::{Shared, lock};
use aseptic_sim::{SimBus, TRAINING_KEY_PRIVATE, Truth, Ward};
use async_trait::async_trait;
use futures::StreamExt as _;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::memory::{MemoryJournal, OneImage};

/// tokio's clock, which tests stop, with a date.
#[derive(Debug)]
pub struct StoppedClock {
    begun: tokio::time::Instant,
}

#[async_trait]
impl Clock for StoppedClock {
    fn now(&self) -> Moment {
        let start = Moment { wall: "2026-11-24T03:00:00Z".parse().unwrap(), boot: Duration::from_secs(1_000) };
        start.plus(self.begun.elapsed())
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// The laptop died.
#[derive(Debug)]
pub struct Gone;

/// A ward with one device of interest.
pub struct Bench {
    pub bus: Arc<SimBus>,
    pub clock: Arc<StoppedClock>,
    pub profile: Arc<Profile>,
    pub device: Shared,
    pub id: DeviceId,
    pub image: OneImage,
}

impl Bench {
    /// Brings up one device of the built-in ward, changed as `tune` says, and a new firmware for it.
    pub fn new(serial: &str, behaviour: Behaviour, tune: impl FnOnce(&mut aseptic_sim::ward::Device)) -> Self {
        let mut ward = Ward::built_in().unwrap();
        ward.devices.retain(|d| d.serial == serial);
        tune(&mut ward.devices[0]);
        let bus = Arc::new(SimBus::new(ward));
        let profile_id = if serial.starts_with("LVP") { "sim-lvp2" } else { "sim-sp1" };
        let profile = profiles::built_in().unwrap().into_iter().find(|p| p.id == profile_id).unwrap();
        let image = build((1, 3, 0, 0), behaviour, 6_000, TRAINING_KEY_PRIVATE).unwrap();
        Self {
            device: bus.machine(serial).unwrap(),
            bus,
            clock: Arc::new(StoppedClock { begun: tokio::time::Instant::now() }),
            id: DeviceId::new(&profile.id, serial).unwrap(),
            profile: Arc::new(profile),
            image: OneImage(Arc::new(image)),
        }
    }

    pub fn truth(&self) -> Truth {
        lock(&self.device).truth()
    }

    pub fn reach(&self) -> Reach {
        Reach {
            passkeys: None,
            bus: self.bus.clone(),
            opener: Arc::new(Registry),
            clock: self.clock.clone(),
            profile: self.profile.clone(),
        }
    }

    /// Waits until the device is there.
    pub async fn sighting(&self) -> Sighting {
        let mut watch = self.bus.watch();
        loop {
            if let Some(SightingEvent::Seen(s)) = watch.next().await {
                return s;
            }
        }
    }

    pub fn hash(&self) -> ImageHash {
        ImageHash::new(&Image::read(&self.image.0).unwrap().hash).unwrap()
    }

    /// Makes a plan from what the device shows now.
    pub async fn plan(&self, fixes: &[(&str, Value, Value)]) -> Plan {
        let mut session = Session::<Changing>::change(self.reach(), self.sighting().await, &self.id).await.unwrap();
        let device = session.inspecting().unwrap();
        let from =
            FromState::of(ImageId(0), &device.images().await.unwrap(), &device.read_config().await.unwrap()).unwrap();
        let mut steps = vec![Step::Backup];
        steps.extend(fixes.iter().map(|(key, from, to)| Step::Set {
            key: (*key).into(),
            from: from.clone(),
            to: to.clone(),
        }));
        steps.extend([Step::Stage, Step::Verify, Step::Test, Step::Restart, Step::Check, Step::Confirm, Step::Prove]);
        let body = PlanBody {
            device: self.id.clone(),
            profile: ProfileRef {
                id: self.profile.id.clone(),
                digest: digest(self.profile.as_ref()).unwrap(),
                simulated: true,
                unreviewed: false,
            },
            from,
            patch: Some(PatchRef {
                id: "sp1-1.3.0".into(),
                vendor: "simulated".into(),
                version: aseptic_device::FirmwareVersion::new(VersionScheme::Mcuboot, "1.3.0"),
                image: ImageId(0),
                hash: self.hash(),
                object: Sha256::digest(self.image.0.as_slice()).iter().map(|b| format!("{b:02x}")).collect(),
                length: self.image.0.len() as u64,
                rollback: false,
            }),
            steps,
            gates: GateId::ALL.to_vec(),
            way_back: WayBack::Restart { measured: true, downgrade_prevented: Some(false) },
        };
        Plan {
            schema: SCHEMA.into(),
            id: body.id().unwrap(),
            body,
            made_at: Timestamp::UNIX_EPOCH,
            visit: None,
            estimate: Estimate { total_s: 60, revert_s: 30 },
        }
    }

    /// Runs a plan until it ends, halts, or the laptop dies. `keep_going` false cancels.
    pub async fn run(
        &self,
        plan: &Plan,
        journal: &mut MemoryJournal,
        cancelled: &(dyn Fn() -> bool + Send + Sync),
        events: &(dyn Fn(RunEvent) + Send + Sync),
    ) -> Result<Ended, Gone> {
        let authority = Authority::from_terminal(&plan.body.scope(), "T. Tech", self.id.last_four()).unwrap();
        let at = self.find().await;
        let mut session = match Session::<Changing>::change(self.reach(), at, &self.id).await {
            Ok(session) => session,
            // It restarted just now: the next look finds it.
            Err(_) => {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Session::<Changing>::change(self.reach(), self.find().await, &self.id).await.unwrap()
            }
        };
        let hands = Hands {
            anew: false,
            cancelled,
            person: None,
            events,
            laptop: &|| Sensed::Safe("on mains".into()),
            objects: &self.image,
            deadline: None,
            identity: Some("label scanned and serial number read".into()),
            attestations: self.attestations(),
        };
        match run(plan, &authority, &mut session, journal, self.clock.as_ref(), &hands).await {
            Ok(ended) => Ok(ended),
            Err(RunError::Journal(_)) => Err(Gone),
            Err(other) => panic!("{other}"),
        }
    }

    async fn find(&self) -> Sighting {
        self.sighting().await
    }

    /// What two people vouch for right now.
    pub fn attestations(&self) -> Vec<Attestation> {
        let people = [
            Person { name: "T. Tech".into(), role: Role::Technician },
            Person { name: "N. Nurse".into(), role: Role::ClinicalOwner },
        ];
        GateId::ALL
            .iter()
            .flat_map(|gate| {
                people.iter().map(|by| Attestation {
                    gate: *gate,
                    by: by.clone(),
                    at: self.clock.now().wall,
                    note: None,
                })
            })
            .collect()
    }

    /// Returns the address of the device.
    pub async fn address(&self) -> Address {
        self.sighting().await.address
    }
}
