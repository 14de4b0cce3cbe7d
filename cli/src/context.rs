//! Building a [`Laptop`] from arguments: the only place that meets the real clock, ports and random numbers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use aseptic_device::{Address, Bus, Passkeys, Profile};
use aseptic_store::Store;
use aseptic_transports::{BleBus, SerialBus, SystemClock, WireAndRadio};
use aseptic_workflow::{Code, DeviceRef, Laptop, Problem};
use rand::rngs::OsRng;

use crate::args::Cli;
use crate::terminal::Terminal;

/// Returns the data directory of the arguments, the environment or the user.
pub fn data_dir(cli: &Cli) -> Result<PathBuf, Problem> {
    if let Some(dir) = &cli.data_dir {
        return Ok(dir.clone());
    }
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/share"));
    let base =
        std::env::var_os("XDG_DATA_HOME").or_else(|| std::env::var_os("LOCALAPPDATA")).map(PathBuf::from).or_else(home);
    base.map(|b| b.join("aseptic"))
        .ok_or_else(|| Problem::new(Code::Usage, "no data directory", "give one with --data-dir"))
}

/// Opens the laptop; `device` may name a port, which counts as a person naming it.
pub fn laptop(cli: &Cli, device: Option<&DeviceRef>) -> Result<Laptop, Problem> {
    let store = Store::open(&data_dir(cli)?, &mut OsRng)?;
    laptop_over(cli, bus(cli, &store, device)?, store)
}

/// Opens the laptop over a bus that was already made.
pub fn laptop_over(cli: &Cli, bus: Arc<dyn Bus>, store: Store) -> Result<Laptop, Problem> {
    let named = cli.profile.as_deref();
    let outside = named.filter(|p| p.exists()).map(profile).transpose()?;
    let known = named.filter(|p| !p.exists()).map(|p| p.to_string_lossy().into_owned());
    let actor = std::env::var("USER").ok().filter(|u| !u.is_empty()).unwrap_or_else(|| "somebody".into());
    let mut laptop = Laptop::new(
        store,
        bus,
        Arc::new(SystemClock),
        outside,
        format!("{actor} (unauthenticated)"),
        Box::new(|| uuid::Uuid::now_v7().to_string()),
    )?;
    laptop.passkeys = Terminal::here().map(|person| Arc::new(person) as Arc<dyn Passkeys>);
    if let Some(id) = known {
        laptop.choose(&id)?;
    }
    Ok(laptop)
}

/// Makes the bus: the simulated ward alone, or USB ports and those that a person named.
pub fn bus(cli: &Cli, store: &Store, device: Option<&DeviceRef>) -> Result<Arc<dyn Bus>, Problem> {
    let peers = match device {
        Some(DeviceRef::At(Address::Ble { address, .. })) => vec![address.clone()],
        _ => Vec::new(),
    };
    if let Some(ward) = &cli.sim {
        let ward = std::path::absolute(ward).map_err(|e| Problem::new(Code::Usage, e, "give the ward's folder"))?;
        if !ward.is_dir() {
            let message = format!("no simulated ward is served in {}", ward.display());
            return Err(Problem::new(Code::NotFound, message, "start one: aseptic sim serve --dir DIR"));
        }
        let wire: Arc<dyn Bus> = Arc::new(SerialBus::simulated(ward.clone()));
        if !ward.join(RADIO).exists() {
            return Ok(wire);
        }
        return Ok(Arc::new(WireAndRadio { wire, radio: Arc::new(BleBus::new(peers, true)) }));
    }
    let mut ports = cli.port.clone();
    match device {
        Some(DeviceRef::At(Address::Port(path))) => ports.push(path.into()),
        // A port on which this very device was met before was named then.
        Some(DeviceRef::Id(id)) => {
            let met = store.addresses_of(&id.to_string())?;
            ports.extend(met.iter().filter_map(|a| a.strip_prefix("port:")).map(PathBuf::from));
        }
        _ => {}
    }
    let wire = Arc::new(SerialBus::new(ports));
    Ok(Arc::new(WireAndRadio { wire, radio: Arc::new(BleBus::new(peers, false)) }))
}

/// The radio of a simulated ward: its message bus, as BlueZ's.
const RADIO: &str = "bus";

/// Returns the bus that this process must be started with to meet a simulated ward's radio and nothing else.
///
/// The radio library takes it from the environment only.
pub fn radio_of(cli: &Cli) -> Option<OsString> {
    let socket = std::path::absolute(cli.sim.as_ref()?).ok()?.join(RADIO);
    let address = OsString::from(format!("unix:path={}", escaped(&socket)));
    (socket.exists() && std::env::var_os(RADIO_VARIABLE).as_ref() != Some(&address)).then_some(address)
}

// Addresses of message buses escape all but a few characters (D-Bus specification, "Server Addresses").
fn escaped(path: &std::path::Path) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_/.*".contains(&b);
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02x}") }).collect()
}

/// Where the radio library looks for the system's message bus.
pub const RADIO_VARIABLE: &str = "DBUS_SYSTEM_BUS_ADDRESS";

/// Reads a profile file.
pub fn profile(file: &std::path::Path) -> Result<Profile, Problem> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Problem::new(Code::NotFound, format!("{}: {e}", file.display()), "check the path"))?;
    Profile::parse(&text)
        .map_err(|e| Problem::new(Code::Usage, e, "aseptic profile check FILE shows every problem with its line"))
}
