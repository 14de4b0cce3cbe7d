//! The laptop of a test on a ward that is on the air, through the unmodified radio library and `BleBus`.
//!
//! The library finds its bus by `DBUS_SYSTEM_BUS_ADDRESS`, which belongs to a whole process and which nothing may set once threads
//! run. So each test serves a ward, then runs itself again as a child with the variable set: the child is the laptop.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use aseptic_device::{Address, Bus as _, LineSettings, LinkError, Sighting, SightingEvent, Transport};
use aseptic_transports::BleBus;
use futures::StreamExt as _;
use tokio::time::timeout;

use crate::pty_ward::{PtyWard, control};

/// Who serves devices on the bus.
pub const BLUEZ: &str = "org.bluez";
const WARD: &str = "ASEPTIC_TEST_WARD";
/// Longest wait for something to be seen.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The laptop's side of a test.
pub struct Laptop {
    /// Folder of the ward.
    pub ward: PathBuf,
    /// Its radio.
    pub bus: BleBus,
}

/// Serves a ward and runs the laptop's side in a child. `test`: the name of the test that calls.
pub fn over_the_air(test: &str, ward: &str, laptop: impl AsyncFnOnce(Laptop)) {
    if let Some(here) = Laptop::here() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(laptop(here));
    }
    let ward = PtyWard::serve(&format!("schema = \"aseptic.ward/1\"\n{ward}"));
    let child = Laptop::child(&ward).args(["--exact", test, "--nocapture"]).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(child.status.success(), "{}\n{}", said(&child.stdout), said(&child.stderr));
    eprint!("{}", said(&child.stderr));
    assert!(said(&child.stdout).contains("1 passed"), "the child ran no test of this name");
}

impl Laptop {
    /// The laptop, where this process is it.
    pub fn here() -> Option<Self> {
        std::env::var_os(WARD).map(|dir| Self { ward: dir.into(), bus: BleBus::new(Vec::new(), true) })
    }

    /// This program again, as the laptop on a ward.
    pub fn child(ward: &PtyWard) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let address = format!("unix:path={}", ward.port("bus").display());
        command.env(WARD, ward.dir()).env("DBUS_SYSTEM_BUS_ADDRESS", address);
        command
    }

    /// Waits for an event that satisfies.
    pub async fn sees<T>(&self, within: Duration, what: impl Fn(&SightingEvent) -> Option<T>) -> T {
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

    /// Waits until a device shows this name.
    pub async fn finds(&self, name: &str) -> Sighting {
        let named = |e: &SightingEvent| match e {
            SightingEvent::Seen(s) if s.name.as_ref().is_some_and(|n| n.to_string() == name) => Some(s.clone()),
            SightingEvent::Seen(_) | SightingEvent::Gone(_) => None,
        };
        self.sees(PATIENCE, named).await
    }

    /// Does what a hand on the ward does.
    pub fn control(&self, line: &str) {
        assert_eq!(control(&self.ward, line), serde_json::json!({ "ok": true }), "{line}");
    }

    /// Opens a link.
    pub async fn opens(&self, at: &Sighting) -> Result<Box<dyn Transport>, LinkError> {
        self.bus.open(at, &LineSettings::default()).await
    }
}

impl Laptop {
    /// Joins the ward's message bus as another program.
    pub async fn connection(&self) -> zbus::Connection {
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap();
        zbus::connection::Builder::address(address.as_str()).build().await.unwrap()
    }

    /// Returns the path of a device on that bus.
    pub fn path(&self, at: &Sighting) -> String {
        let Address::Ble { adapter, address } = &at.address else { panic!("{at:?}") };
        format!("/org/bluez/{adapter}/dev_{}", address.replace(':', "_"))
    }

    /// Reads a property of a device on that bus.
    pub async fn property(&self, at: &Sighting, interface: &str, name: &str) -> zbus::Result<zbus::OwnedVariant> {
        let bus = self.connection().await;
        let (path, properties) = (self.path(at), Some("org.freedesktop.DBus.Properties"));
        let answer = bus.call_method(Some(BLUEZ), path.as_str(), properties, "Get", &(interface, name)).await?;
        answer.body().deserialize()
    }
}
