//! Keys between laptop and device: who pairs, who does not, and what is left afterwards.

#![cfg(target_os = "linux")]

use std::time::Duration;

use aseptic_device::link::LinkErrorKind;
use aseptic_device::{Endpoint, Sighting};
use aseptic_tests::air::{BLUEZ, Laptop, PATIENCE, over_the_air};
use tokio::time::timeout;

const SMP: Endpoint = Endpoint::Characteristic(0xda2e_7828_fbce_4e01_ae9e_2611_7499_7c48);
const SERIAL_NUMBER: Endpoint = Endpoint::Characteristic(0x0000_2a25_0000_1000_8000_0080_5f9b_34fb);
const AT_ONCE: Duration = Duration::from_secs(2);

fn ward(radio: &str) -> String {
    format!("[[device]]\nserial = \"PM-1\"\nproduct = \"Monitor\"\nradio = {{ name = \"PM-1\", {radio} }}\n")
}

// An echo that says "hello".
const ECHO: [u8; 17] = [0x0a, 0, 0, 9, 0, 0, 7, 0, 0xa1, 0x61, b'd', 0x65, b'h', b'e', b'l', b'l', b'o'];

/// A person at the laptop, who types the same passkey whenever asked.
struct Person {
    types: Option<u32>,
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.bluez.Error")]
enum Refusal {
    #[zbus(error)]
    Bus(zbus::Error),
    Rejected(String),
}

type Result<T, E = Refusal> = std::result::Result<T, E>;

#[zbus::interface(name = "org.bluez.Agent1")]
impl Person {
    fn request_passkey(&self, _device: zbus::ObjectPath<'_>) -> Result<u32> {
        self.types.ok_or_else(|| Refusal::Rejected("no".into()))
    }
}

// Pairs with an agent that types so; returns the error's name.
async fn pairs(laptop: &Laptop, at: &Sighting, person: Option<Person>) -> Result<(), String> {
    let bus = laptop.connection().await;
    if let Some(person) = person {
        bus.object_server().at("/person", person).await.unwrap();
        let path = zbus::ObjectPath::try_from("/person").unwrap();
        let body = (path, "KeyboardOnly");
        let manager = Some("org.bluez.AgentManager1");
        bus.call_method(Some(BLUEZ), "/org/bluez", manager, "RegisterAgent", &body).await.unwrap();
    }
    let path = laptop.path(at);
    match bus.call_method(Some(BLUEZ), path.as_str(), Some("org.bluez.Device1"), "Pair", &()).await {
        Ok(_) => Ok(()),
        Err(zbus::Error::MethodError(name, ..)) => Err(name.to_string()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn only_who_types_the_passkey_is_paired_and_may_speak() {
    over_the_air(
        "only_who_types_the_passkey_is_paired_and_may_speak",
        &ward("smp = \"paired\", passkey = 314159"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let paired = async || bool::try_from(laptop.property(&at, "org.bluez.Device1", "Paired").await.unwrap());
            let mut link = laptop.opens(&at).await.unwrap();
            let refused = link.subscribe(SMP).await.unwrap_err();
            assert_eq!(refused.kind, LinkErrorKind::NotPaired);
            let wrong = |error: &str| Err(format!("org.bluez.Error.{error}"));
            // The laptop's own agent is asked, and rejects what nobody asked for.
            assert_eq!(pairs(&laptop, &at, None).await, wrong("AuthenticationRejected"));
            assert_eq!(pairs(&laptop, &at, Some(Person { types: Some(1) })).await, wrong("AuthenticationFailed"));
            assert_eq!(pairs(&laptop, &at, Some(Person { types: None })).await, wrong("AuthenticationRejected"));
            assert_eq!(paired().await, Ok(false));
            assert_eq!(pairs(&laptop, &at, Some(Person { types: Some(314_159) })).await, Ok(()));
            assert_eq!(paired().await, Ok(true));
            link.subscribe(SMP).await.unwrap();
            link.write(SMP, &ECHO).await.unwrap();
            assert_eq!(timeout(AT_ONCE, link.receive()).await.unwrap().unwrap().bytes[6], 7);
        },
    );
}

#[test]
fn a_device_that_just_works_is_paired_by_a_mere_read() {
    over_the_air(
        "a_device_that_just_works_is_paired_by_a_mere_read",
        &ward("pairs-without-asking = true, raises-security = true, protected = [\"2a25\"]"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let paired = async || bool::try_from(laptop.property(&at, "org.bluez.Device1", "Paired").await.unwrap());
            let mut link = laptop.opens(&at).await.unwrap();
            assert_eq!(paired().await, Ok(false));
            assert_eq!(link.read(SERIAL_NUMBER).await.unwrap(), b"PM-1");
            assert_eq!(paired().await, Ok(true));
            // What an audit does about it: the bond goes with all that is known of the device.
            let path = laptop.path(&at);
            let (bus, device) = (laptop.connection().await, zbus::ObjectPath::try_from(path.as_str()).unwrap());
            let adapter = Some("org.bluez.Adapter1");
            bus.call_method(Some(BLUEZ), "/org/bluez/hci0", adapter, "RemoveDevice", &(device,)).await.unwrap();
            assert!(timeout(AT_ONCE, link.receive()).await.expect("at once").is_err());
            let back = timeout(PATIENCE, async {
                while laptop.property(&at, "org.bluez.Device1", "Paired").await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
            back.await.expect("it is heard again");
            assert_eq!(paired().await, Ok(false));
        },
    );
}

async fn bonded(laptop: &Laptop, at: &Sighting) -> bool {
    let told = laptop.property(at, "org.bluez.Device1", "Paired").await;
    told.is_ok_and(|paired| bool::try_from(paired).unwrap())
}

async fn is_forgotten(laptop: &Laptop, at: &Sighting) {
    let forgotten = timeout(PATIENCE, async {
        while bonded(laptop, at).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    forgotten.await.expect("no keys stay");
}

#[test]
fn a_link_pairs_with_the_passkey_that_a_person_read_and_leaves_no_keys() {
    over_the_air(
        "a_link_pairs_with_the_passkey_that_a_person_read_and_leaves_no_keys",
        &ward("smp = \"paired\", passkey = 314159"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let mut link = laptop.opens(&at).await.unwrap();
            assert!(!link.radio().await.unwrap().unwrap().bond.now);
            assert!(link.pair(1).await.is_err(), "another passkey");
            assert!(!bonded(&laptop, &at).await);
            link.pair(314_159).await.unwrap();
            let bond = link.radio().await.unwrap().unwrap().bond;
            assert!(bond.now && !bond.before && !bond.undone);
            link.subscribe(SMP).await.unwrap();
            link.write(SMP, &ECHO).await.unwrap();
            assert_eq!(timeout(AT_ONCE, link.receive()).await.unwrap().unwrap().bytes[6], 7);
            drop(link);
            is_forgotten(&laptop, &at).await;
        },
    );
}

#[test]
fn a_device_that_pairs_without_asking_for_the_passkey_is_not_trusted() {
    over_the_air(
        "a_device_that_pairs_without_asking_for_the_passkey_is_not_trusted",
        &ward("smp = \"paired\", pairs-without-asking = true"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let mut link = laptop.opens(&at).await.unwrap();
            let refused = link.pair(314_159).await.unwrap_err();
            assert!(refused.to_string().contains("without asking for a passkey"), "{refused}");
            is_forgotten(&laptop, &at).await;
        },
    );
}

#[test]
fn keys_that_came_about_by_themselves_are_told_and_removed() {
    over_the_air(
        "keys_that_came_about_by_themselves_are_told_and_removed",
        &ward("pairs-without-asking = true, raises-security = true, protected = [\"2a25\"]"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            let mut link = laptop.opens(&at).await.unwrap();
            assert!(!link.radio().await.unwrap().unwrap().bond.came_about());
            link.read(SERIAL_NUMBER).await.unwrap();
            assert!(bonded(&laptop, &at).await, "a mere read paired");
            let bond = link.radio().await.unwrap().unwrap().bond;
            assert!(bond.came_about() && bond.undone && !bond.now);
            assert!(link.radio().await.unwrap().unwrap().bond.came_about(), "told again, although the link went");
            is_forgotten(&laptop, &at).await;
        },
    );
}

#[test]
fn keys_that_were_there_before_stay() {
    over_the_air(
        "keys_that_were_there_before_stay",
        &ward("smp = \"paired\", passkey = 314159"),
        async |laptop: Laptop| {
            let at = laptop.finds("PM-1").await;
            assert_eq!(pairs(&laptop, &at, Some(Person { types: Some(314_159) })).await, Ok(()));
            let mut link = laptop.opens(&at).await.unwrap();
            link.subscribe(SMP).await.unwrap();
            let bond = link.radio().await.unwrap().unwrap().bond;
            assert!(bond.before && bond.now && !bond.came_about());
            drop(link);
            tokio::time::sleep(AT_ONCE).await;
            assert!(bonded(&laptop, &at).await);
        },
    );
}
