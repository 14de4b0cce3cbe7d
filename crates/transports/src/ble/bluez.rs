//! What BlueZ tells and does beyond the radio library: keys, advertising flags, battery, and what it removed.
//!
//! Sources: BlueZ `doc/device-api.txt`, `agent-api.txt`, `battery-api.txt`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aseptic_device::AddressKind;
use aseptic_device::link::LinkErrorKind;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::time::timeout;
use zbus::fdo::{DBusProxy, ObjectManagerProxy};
use zbus::proxy::CacheProperties;

use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, Proxy};

use super::{Removed, Seen};

const SERVICE: &str = "org.bluez";
const ROOT: &str = "/org/bluez";
const AGENT: &str = "/org/aseptic/agent";
const DEVICE: &str = "org.bluez.Device1";
const ADAPTER: &str = "org.bluez.Adapter1";
const BATTERY: &str = "org.bluez.Battery1";
/// Longest wait for BlueZ to answer anything but a pairing.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest wait for a pairing; BlueZ gives up after 30 s by itself.
const PAIRING: Duration = Duration::from_secs(35);

/// Services that BlueZ does not show: generic access, generic attribute; the battery stands in an interface of its own.
pub(super) const HIDDEN: [u16; 3] = [0x1800, 0x1801, 0x180f];

/// Connection to BlueZ with an agent that rejects every pairing that was not asked for.
#[derive(Clone)]
pub(super) struct Platform {
    connection: Connection,
    asked: Asked,
}

// Passkeys of the pairings that were asked for, by device path, and whether BlueZ wanted them.
type Asked = Arc<Mutex<HashMap<String, (u32, bool)>>>;

struct Agent(Asked);

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.bluez.Error")]
enum Refusal {
    #[zbus(error)]
    ZBus(zbus::Error),
    Rejected(String),
}

fn refuse<T>() -> Result<T, Refusal> {
    Err(Refusal::Rejected("nobody asked for a pairing".into()))
}

#[zbus::interface(name = "org.bluez.Agent1")]
impl Agent {
    fn release(&self) {}

    fn cancel(&self) {}

    fn request_passkey(&self, device: ObjectPath<'_>) -> Result<u32, Refusal> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.get_mut(device.as_str()) {
            Some((passkey, wanted)) => {
                *wanted = true;
                Ok(*passkey)
            }
            None => refuse(),
        }
    }

    fn request_pin_code(&self, _device: ObjectPath<'_>) -> Result<String, Refusal> {
        refuse()
    }

    fn display_pin_code(&self, _device: ObjectPath<'_>, _pin: &str) -> Result<(), Refusal> {
        refuse()
    }

    fn display_passkey(&self, _device: ObjectPath<'_>, _passkey: u32, _entered: u16) {}

    fn request_confirmation(&self, _device: ObjectPath<'_>, _passkey: u32) -> Result<(), Refusal> {
        refuse()
    }

    fn request_authorization(&self, _device: ObjectPath<'_>) -> Result<(), Refusal> {
        refuse()
    }

    fn authorize_service(&self, _device: ObjectPath<'_>, _uuid: &str) -> Result<(), Refusal> {
        refuse()
    }
}

impl Platform {
    /// Connects and registers the agent. Its capability is a keyboard only: a pairing must ask for the device's passkey.
    pub async fn connect() -> zbus::Result<Self> {
        let asked = Asked::default();
        let connection = zbus::connection::Builder::system().serve_at(AGENT, Agent(asked.clone())).build().await?;
        let agents = Proxy::new(&connection, SERVICE, ROOT, "org.bluez.AgentManager1").await?;
        let path = ObjectPath::try_from(AGENT)?;
        agents.call_method("RegisterAgent", &(&path, "KeyboardOnly")).await?;
        agents.call_method("RequestDefaultAgent", &(&path,)).await?;
        Ok(Self { connection, asked })
    }

    /// Streams what goes away: the radio library does not tell.
    pub async fn removals(&self) -> zbus::Result<BoxStream<'static, Removed>> {
        let objects = ObjectManagerProxy::builder(&self.connection).destination(SERVICE).path("/").build().await?;
        let gone = objects.receive_interfaces_removed().await?.filter_map(|signal| async move {
            let args = signal.args().ok()?;
            let has = |name: &str| args.interfaces.iter().any(|i| i.as_str() == name);
            let path = args.object_path.strip_prefix("/org/bluez/")?.to_owned();
            if has(ADAPTER) {
                return Some(Removed::Adapter(path));
            }
            has(DEVICE).then_some(Removed::Device(path))
        });
        let bus = DBusProxy::new(&self.connection).await?;
        let ended = bus.receive_name_owner_changed_with_args(&[(0, SERVICE)]).await?;
        let ended =
            ended.filter_map(|signal| async move { signal.args().ok()?.new_owner.is_none().then_some(Removed::Stack) });
        Ok(futures::stream::select(gone.boxed(), ended.boxed()).boxed())
    }

    /// Returns what BlueZ tells of a device now.
    pub async fn look(&self, device: &str) -> Seen {
        let told = self.properties(device, DEVICE).await;
        let text = |name: &str| told.get(name).and_then(|v| String::try_from(v.clone()).ok());
        let flag = |name: &str| told.get(name).and_then(|v| bool::try_from(v.clone()).ok()) == Some(true);
        let highest = text("Address").and_then(|a| u8::from_str_radix(a.get(..2)?, 16).ok());
        let address = match text("AddressType").as_deref() {
            Some("public") => Some(AddressKind::Public),
            Some("random") => highest.and_then(AddressKind::of_random),
            _ => None,
        };
        let flags = told.get("AdvertisingFlags").and_then(|v| Vec::<u8>::try_from(v.clone()).ok());
        let battery = self.properties(device, BATTERY).await;
        Seen {
            address,
            flags: flags.and_then(|f| f.first().copied()),
            battery: battery.get("Percentage").and_then(|v| u8::try_from(v.clone()).ok()),
            // Older versions tell Paired alone.
            bonded: flag("Paired") || flag("Bonded"),
        }
    }

    async fn properties(&self, device: &str, interface: &str) -> BTreeMap<String, OwnedVariant> {
        let asked = async {
            let proxy = self.proxy(device, "org.freedesktop.DBus.Properties").await?;
            proxy.call::<_, _, BTreeMap<String, OwnedVariant>>("GetAll", &(interface,)).await
        };
        match timeout(ANSWER, asked).await {
            Ok(Ok(told)) => told,
            _ => BTreeMap::new(),
        }
    }

    async fn proxy(&self, device: &str, interface: &'static str) -> zbus::Result<Proxy<'static>> {
        let path = OwnedObjectPath::try_from(format!("{ROOT}/{device}"))?;
        let proxy: zbus::proxy::Builder<'static, Proxy<'static>> = zbus::proxy::Builder::new(&self.connection);
        let proxy = proxy.destination(SERVICE).path(path).interface(interface);
        proxy.cache_properties(CacheProperties::No).build().await
    }

    /// Pairs with the passkey that the device shows. Keys made without asking for it are removed, and that is an error.
    pub async fn pair(&self, device: &str, passkey: u32) -> Result<(), LinkErrorKind> {
        let path = format!("{ROOT}/{device}");
        let asked = || self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked().insert(path.clone(), (passkey, false));
        let pairing = async { self.proxy(device, DEVICE).await?.call_method("Pair", &()).await };
        let paired = timeout(PAIRING, pairing).await;
        let wanted = asked().remove(&path).is_some_and(|(_, wanted)| wanted);
        match paired {
            Ok(Ok(_)) if wanted => Ok(()),
            Ok(Ok(_)) => {
                self.forget(device).await;
                Err(LinkErrorKind::Io("it paired without asking for a passkey; the keys were removed".into()))
            }
            Ok(Err(error)) => Err(LinkErrorKind::Io(format!("pairing failed: {error}"))),
            Err(_) => Err(LinkErrorKind::Io(format!("pairing did not end within {} s", PAIRING.as_secs()))),
        }
    }

    /// Removes a device with its keys; whether they are gone.
    pub async fn forget(&self, device: &str) -> bool {
        let Some((adapter, _)) = device.split_once('/') else { return false };
        let removing = async {
            let path = OwnedObjectPath::try_from(format!("{ROOT}/{device}"))?;
            self.proxy(adapter, ADAPTER).await?.call_method("RemoveDevice", &(path,)).await
        };
        matches!(timeout(ANSWER, removing).await, Ok(Ok(_))) || !self.look(device).await.bonded
    }
}
