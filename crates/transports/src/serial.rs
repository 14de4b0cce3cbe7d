//! Serial ports: USB ports that the system lists, ports that a person names, and the ports of a simulated ward.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aseptic_device::identity::changes;
use aseptic_device::link::{LinkErrorKind, Parity};
use aseptic_device::{
    Address, Bus, DeviceText, Endpoint, Inbound, LineSettings, LinkError, Sighting, SightingEvent, Transport,
    UsbIdentity,
};
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_serial::{SerialPort as _, SerialPortBuilderExt as _, SerialPortType, SerialStream};

const POLL: Duration = Duration::from_millis(200);
const READ: usize = 4_096;

/// Where serial devices appear. Watching opens nothing.
#[derive(Debug, Clone, Default)]
pub struct SerialBus {
    named: Vec<PathBuf>,
    ward: Option<PathBuf>,
    only_ward: bool,
}

impl SerialBus {
    /// Watches the system's USB serial ports and the ports that a person names, ptys included.
    pub fn new(named: Vec<PathBuf>) -> Self {
        Self { named, ward: None, only_ward: false }
    }

    /// Watches a simulated ward's folder and nothing else: `<port>` links to a pty, `<port>.usb.json` says what USB would.
    pub fn simulated(ward: PathBuf) -> Self {
        Self { named: Vec::new(), ward: Some(ward), only_ward: true }
    }

    fn present(&self) -> BTreeMap<Address, Sighting> {
        let mut all = Vec::new();
        if let Some(ward) = &self.ward {
            all.extend(simulated_ports(ward));
        }
        if !self.only_ward {
            all.extend(usb_ports());
        }
        for path in self.named.iter().filter(|p| p.exists()) {
            let address = address_of(path);
            // A link to a port and the port are one sighting, under the name that the person gave.
            let same = |s: &Sighting| matches!(&s.address, Address::Port(p) if real(Path::new(p)) == real(path));
            let listed = all.iter().position(same).map(|i| all.swap_remove(i));
            let usb = listed.and_then(|s| s.usb);
            all.push(Sighting { address, usb, radio: None, name: None, named: true, simulated: false });
        }
        all.into_iter().map(|s| (s.address.clone(), s)).collect()
    }
}

fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn address_of(path: &Path) -> Address {
    Address::Port(path.to_string_lossy().into_owned())
}

fn usb_ports() -> Vec<Sighting> {
    let Ok(ports) = serialport::available_ports() else { return Vec::new() };
    ports
        .into_iter()
        .filter_map(|port| match port.port_type {
            SerialPortType::UsbPort(usb) => Some(Sighting {
                address: Address::Port(port.port_name),
                name: usb.product.as_deref().map(DeviceText::new),
                usb: Some(UsbIdentity {
                    vid: usb.vid,
                    pid: usb.pid,
                    serial: usb.serial_number.as_deref().map(DeviceText::new),
                    product: usb.product.as_deref().map(DeviceText::new),
                }),
                radio: None,
                named: false,
                simulated: false,
            }),
            SerialPortType::BluetoothPort | SerialPortType::PciPort | SerialPortType::Unknown => None,
        })
        .collect()
}

fn simulated_ports(ward: &Path) -> Vec<Sighting> {
    let Ok(entries) = fs::read_dir(ward) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let port = path.to_str()?.strip_suffix(".usb.json")?.to_owned();
            let usb: UsbIdentity = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            Path::new(&port).exists().then(|| Sighting {
                address: Address::Port(port),
                name: usb.product.clone(),
                usb: Some(usb),
                radio: None,
                named: false,
                simulated: true,
            })
        })
        .collect()
}

#[async_trait]
impl Bus for SerialBus {
    fn watch(&self) -> BoxStream<'static, SightingEvent> {
        let bus = self.clone();
        let known: BTreeMap<Address, Sighting> = BTreeMap::new();
        stream::unfold((bus, known, true), |(bus, known, first)| async move {
            if !first {
                tokio::time::sleep(POLL).await;
            }
            let now = bus.present();
            let events = changes(&known, &now);
            Some((stream::iter(events), (bus, now, false)))
        })
        .flatten()
        .boxed()
    }

    async fn open(&self, at: &Sighting, line: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        let fail = |kind| LinkError { address: at.address.clone(), kind };
        let Address::Port(port) = &at.address else { return Err(fail(LinkErrorKind::Unsupported("a radio address"))) };
        let stream = open_port(port, line).map_err(|e| fail(kind_of(&e)))?;
        // What an earlier conversation left unread is not an answer to this one.
        let _ = stream.clear(tokio_serial::ClearBuffer::All);
        Ok(Box::new(SerialTransport { address: at.address.clone(), stream }))
    }
}

fn open_port(port: &str, line: &LineSettings) -> Result<SerialStream, tokio_serial::Error> {
    let parity = match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    // A link is resolved first, so that the port's own name is locked and asked.
    let resolved = fs::canonicalize(port)?;
    let mut stream = tokio_serial::new(resolved.to_string_lossy(), line.baud).parity(parity).open_native_async()?;
    #[cfg(unix)]
    {
        stream.set_exclusive(true)?;
        keep_lines_on_close(&stream)?;
    }
    where_it_has_lines(stream.write_data_terminal_ready(line.dtr))?;
    where_it_has_lines(stream.write_request_to_send(line.rts))?;
    Ok(stream)
}

// A pty has no such lines and says so. A port that has them and cannot be kept from restarting a device is not used.
fn where_it_has_lines(set: Result<(), tokio_serial::Error>) -> Result<(), tokio_serial::Error> {
    match set {
        // The serial library passes the number on in words only.
        #[cfg(unix)]
        Err(error) if error.to_string() == nix::errno::Errno::ENOTTY.desc() => Ok(()),
        other => other,
    }
}

// Without HUPCL closing the port does not drop DTR, which would restart some devices.
#[cfg(unix)]
fn keep_lines_on_close(stream: &SerialStream) -> io::Result<()> {
    use nix::sys::termios::{ControlFlags, SetArg, tcgetattr, tcsetattr};
    let fd = descriptor(stream);
    let mut settings = tcgetattr(fd)?;
    settings.control_flags.remove(ControlFlags::HUPCL);
    Ok(tcsetattr(fd, SetArg::TCSANOW, &settings)?)
}

#[cfg(unix)]
fn descriptor(stream: &SerialStream) -> std::os::fd::BorrowedFd<'_> {
    use std::os::fd::{AsRawFd as _, BorrowedFd};
    #[expect(unsafe_code, reason = "tokio-serial gives only a raw descriptor; the borrow ends with the stream's")]
    unsafe {
        BorrowedFd::borrow_raw(stream.as_raw_fd())
    }
}

fn kind_of(error: &tokio_serial::Error) -> LinkErrorKind {
    match error.kind() {
        tokio_serial::ErrorKind::NoDevice => {
            // The serial library says "no device" for a held port too, and tells them apart only in words.
            let words = error.to_string().to_lowercase();
            if words.contains("busy") || words.contains("exclusive lock") {
                LinkErrorKind::Busy
            } else {
                LinkErrorKind::NotFound
            }
        }
        tokio_serial::ErrorKind::Io(io::ErrorKind::NotFound) => LinkErrorKind::NotFound,
        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => LinkErrorKind::NoPermission,
        tokio_serial::ErrorKind::Io(io::ErrorKind::ResourceBusy) => LinkErrorKind::Busy,
        tokio_serial::ErrorKind::InvalidInput | tokio_serial::ErrorKind::Unknown | tokio_serial::ErrorKind::Io(_) => {
            LinkErrorKind::Io(error.to_string())
        }
    }
}

struct SerialTransport {
    address: Address,
    stream: SerialStream,
}

impl SerialTransport {
    fn error(&self, error: &io::Error) -> LinkError {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected | io::ErrorKind::UnexpectedEof => {
                LinkErrorKind::Gone
            }
            // A pty whose other side closed answers EIO, an unplugged adapter ENXIO or ENODEV.
            _ if matches!(error.raw_os_error(), Some(5 | 6 | 19)) => LinkErrorKind::Gone,
            _ => LinkErrorKind::Io(error.to_string()),
        };
        LinkError { address: self.address.clone(), kind }
    }
}

#[async_trait]
impl Transport for SerialTransport {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn write(&mut self, _to: Endpoint, bytes: &[u8]) -> Result<(), LinkError> {
        self.stream.write_all(bytes).await.map_err(|e| self.error(&e))
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        let mut bytes = Vec::with_capacity(READ);
        match self.stream.read_buf(&mut bytes).await {
            // tokio-serial tells a hangup as an empty read.
            Ok(0) => Err(LinkError { address: self.address.clone(), kind: LinkErrorKind::Gone }),
            Ok(_) => Ok(Inbound { from: Endpoint::Stream, bytes }),
            Err(e) => Err(self.error(&e)),
        }
    }

    fn max_write(&self) -> usize {
        READ
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "serial_tests.rs"]
mod tests;
