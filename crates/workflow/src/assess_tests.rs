use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aseptic_device::{
    Address, Bus, Clock, Endpoint, Inbound, LineSettings, LinkError, LinkErrorKind, Moment, RadioIdentity, RadioLink,
    Sighting, SightingEvent, Transport,
};
use aseptic_store::Store;
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::*;

const OXIMETER: &str = "00001822-0000-1000-8000-00805f9b34fb";

const fn uuid(short: u16) -> u128 {
    0x0000_0000_0000_1000_8000_0080_5f9b_34fb | (short as u128) << 96
}

// A pulse oximeter on the air. Each time it is asked, the platform tells the next of its bonds; the last lasts.
struct Air(Vec<Bond>);

struct Link {
    address: Address,
    bonds: Mutex<VecDeque<Bond>>,
}

fn address() -> Address {
    Address::Ble { adapter: "hci0".into(), address: "C0:00:00:00:00:01".into() }
}

#[async_trait]
impl Bus for Air {
    fn watch(&self) -> BoxStream<'static, SightingEvent> {
        let seen = SightingEvent::Seen(Sighting {
            address: address(),
            usb: None,
            radio: Some(RadioIdentity { services: vec![OXIMETER.into()], rssi: None }),
            name: Some("Simulated OX-1".into()),
            named: false,
            simulated: true,
        });
        stream::iter([seen]).chain(stream::pending()).boxed()
    }

    async fn open(&self, _: &Sighting, _: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        Ok(Box::new(Link { address: address(), bonds: Mutex::new(self.0.clone().into()) }))
    }
}

#[async_trait]
impl Transport for Link {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn write(&mut self, _: Endpoint, _: &[u8]) -> Result<(), LinkError> {
        panic!("an assessment of such a device writes nothing")
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        std::future::pending().await
    }

    fn max_write(&self) -> usize {
        20
    }

    async fn read(&mut self, from: Endpoint) -> Result<Vec<u8>, LinkError> {
        match from {
            Endpoint::Characteristic(u) if u == uuid(0x2a25) => Ok(b"OX-0042".to_vec()),
            Endpoint::Characteristic(u) if u == uuid(0x2a2b) => Ok(vec![0xea, 0x07, 11, 24, 4, 0, 30, 2, 0, 0]),
            _ => Err(LinkError { address: address(), kind: LinkErrorKind::Unsupported("this characteristic") }),
        }
    }

    async fn radio(&mut self) -> Result<Option<RadioLink>, LinkError> {
        let mut bonds = self.bonds.lock().unwrap();
        let bond = if bonds.len() > 1 { bonds.pop_front() } else { bonds.front().copied() };
        Ok(Some(RadioLink {
            address: None,
            flags: None,
            name: Some("Simulated OX-1".into()),
            manufacturer: BTreeMap::new(),
            services: [(uuid(0x180a), vec![uuid(0x2a25)]), (uuid(0x1805), vec![uuid(0x2a2b)])].into(),
            hidden: vec![uuid(0x1800)],
            battery: None,
            bond: bond.unwrap_or_default(),
        }))
    }
}

struct AtThree;

#[async_trait]
impl Clock for AtThree {
    fn now(&self) -> Moment {
        Moment { wall: "2026-11-24T03:00:00Z".parse().unwrap(), boot: Duration::from_secs(9) }
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

async fn assessed(bonds: Vec<Bond>) -> (Laptop, Assessment, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &mut rand::rngs::OsRng).unwrap();
    let new_id = Box::new(|| "visit-1".to_owned());
    let laptop = Laptop::new(store, Arc::new(Air(bonds)), Arc::new(AtThree), None, "A. Tech".into(), new_id).unwrap();
    let zone = TimeZone::fixed(jiff::tz::Offset::from_hours(1).unwrap());
    let assessment = assess(&laptop, &DeviceRef::At(address()), None, &zone).await.unwrap();
    (laptop, assessment, dir)
}

fn kinds(laptop: &Laptop) -> Vec<String> {
    laptop.store.audit_entries(0).unwrap().into_iter().map(|e| e.kind).collect()
}

fn verdict<'a>(assessment: &'a Assessment, rule: &str) -> &'a Verdict {
    &assessment.findings.iter().find(|f| f.rule == rule).unwrap().result
}

#[tokio::test(start_paused = true)]
async fn a_radio_device_is_judged_by_what_its_radio_shows_in_its_own_zone() {
    let (laptop, assessment, _dir) = assessed(vec![Bond::default()]).await;
    assert_eq!(assessment.identity.id.as_ref().unwrap().to_string(), "id:sim-ox1/OX-0042");
    assert_eq!(verdict(&assessment, "BLE-19"), &Verdict::Pass, "local time, one hour ahead of UTC");
    assert_eq!(verdict(&assessment, "BLE-09"), &Verdict::Pass);
    assert_eq!(verdict(&assessment, "BLE-01"), &Verdict::Unknown, "the platform hides it");
    assert_eq!(verdict(&assessment, "BLE-15"), &Verdict::Pass);
    assert_eq!(kinds(&laptop), ["visit.opened", "assessed"]);
    let kept: Vec<Assessment> = laptop.store.assessments(&assessment.visit).unwrap();
    assert_eq!(kept, [assessment]);
}

#[tokio::test(start_paused = true)]
async fn keys_that_came_about_are_in_the_audit_log_and_the_posture_is_kept() {
    for (now, undone, kind) in [(false, true, "pairing.undone"), (true, false, "pairing.left")] {
        let bond = Bond { before: false, now, undone };
        let (laptop, assessment, _dir) = assessed(vec![Bond::default(), bond]).await;
        assert_eq!(kinds(&laptop), ["visit.opened", kind, "assessed"]);
        assert_eq!(assessment.posture.as_ref().unwrap().bond, bond);
        let radio = assessment.findings.iter().filter(|f| f.rule.starts_with("BLE-"));
        assert!(radio.clone().count() == 15 && radio.into_iter().all(|f| f.result == Verdict::Unknown));
    }
}

#[tokio::test(start_paused = true)]
async fn an_assessment_without_a_posture_can_still_be_read() {
    let (_, assessment, _dir) = assessed(vec![Bond::default()]).await;
    let mut json = serde_json::to_value(&assessment).unwrap();
    json.as_object_mut().unwrap().remove("posture");
    let earlier: Assessment = serde_json::from_value(json).unwrap();
    assert_eq!(earlier, Assessment { posture: None, ..assessment });
}
