//! The simulated ward on the air, through the unmodified radio library and `BleBus`.
//!
//! The library finds its bus by `DBUS_SYSTEM_BUS_ADDRESS`, which belongs to a whole process and which nothing may set once threads
//! run. So each test serves a ward, then runs itself again as a child with the variable set: the child is the laptop.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aseptic_device::{Address, Bus as _, Endpoint, LineSettings, LinkError, Sighting, SightingEvent, Transport};
use aseptic_tests::pty_ward::{PtyWard, control};
use aseptic_transports::BleBus;
use futures::StreamExt as _;
use tokio::time::{Instant, timeout};

const WARD: &str = "ASEPTIC_TEST_WARD";
const SMP: Endpoint = Endpoint::Characteristic(0xda2e_7828_fbce_4e01_ae9e_2611_7499_7c48);
const PATIENCE: Duration = Duration::from_secs(15);

/// The laptop's side of a test.
struct Laptop {
    ward: PathBuf,
    bus: BleBus,
}

// `test`: the name of the test that calls.
fn over_the_air(test: &str, ward: &str, laptop: impl AsyncFnOnce(Laptop)) {
    if let Some(dir) = std::env::var_os(WARD) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let bus = BleBus::new(Vec::new(), true);
        return runtime.block_on(laptop(Laptop { ward: dir.into(), bus }));
    }
    let ward = PtyWard::serve(&format!("schema = \"aseptic.ward/1\"\n{ward}"));
    let address = format!("unix:path={}", ward.port("bus").display());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(WARD, ward.dir())
        .env("DBUS_SYSTEM_BUS_ADDRESS", address)
        .output()
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(child.status.success(), "{}\n{}", said(&child.stdout), said(&child.stderr));
    assert!(said(&child.stdout).contains("1 passed"), "the child ran no test of this name");
}

impl Laptop {
    // Waits for an event that satisfies.
    async fn sees<T>(&self, within: Duration, what: impl Fn(&SightingEvent) -> Option<T>) -> T {
        let mut events = self.bus.watch();
        let seen = timeout(within, async {
            loop {
                let event = events.next().await.unwrap();
                if let Some(found) = what(&event) {
                    return found;
                }
            }
        });
        seen.await.expect("seen in time")
    }

    async fn finds(&self, name: &str) -> Sighting {
        let named = |e: &SightingEvent| match e {
            SightingEvent::Seen(s) if s.name.as_ref().is_some_and(|n| n.to_string() == name) => Some(s.clone()),
            SightingEvent::Seen(_) | SightingEvent::Gone(_) => None,
        };
        self.sees(PATIENCE, named).await
    }

    async fn opens(&self, at: &Sighting) -> Result<Box<dyn Transport>, LinkError> {
        self.bus.open(at, &LineSettings::default()).await
    }
}

fn ward(radio: &str) -> String {
    format!("[[device]]\nserial = \"PM-1\"\nproduct = \"Monitor\"\nradio = {{ name = \"PM-1\", {radio} }}\n")
}

#[test]
fn a_name_that_comes_late_is_told_when_it_comes() {
    over_the_air(
        "a_name_that_comes_late_is_told_when_it_comes",
        &ward("late-name-ms = 700, manufacturer = \"5900abcd\""),
        async |laptop: Laptop| {
            let mut events = laptop.bus.watch();
            let mut seen = Vec::new();
            while seen.last().is_none_or(|s: &Sighting| s.name.is_none()) {
                match timeout(PATIENCE, events.next()).await.unwrap().unwrap() {
                    SightingEvent::Seen(s) => seen.push(s),
                    SightingEvent::Gone(address) => panic!("{address:?} is gone"),
                }
            }
            assert!(seen[0].name.is_none(), "the first sighting has no name yet: {seen:?}");
            assert!(seen.iter().all(|s| s.address == seen[0].address));
        },
    );
}
