//! Bytes to and from a device, whatever the wire.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::identity::{Address, Sighting, SightingEvent};
use crate::radio::RadioLink;

/// Where bytes go on a link: the one stream of a serial line, or a GATT characteristic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// The only endpoint of a serial line.
    Stream,
    /// A GATT characteristic, by its 128-bit UUID.
    Characteristic(u128),
}

/// Bytes that arrived, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The endpoint that sent them.
    pub from: Endpoint,
    /// At least one byte; message borders are the codec's work.
    pub bytes: Vec<u8>,
}

/// What a request may do to a device. An inspecting link refuses [`Intent::Effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// Asks; the device is the same afterwards.
    Read,
    /// May change a setting, an image, the running state or a bond.
    Effect,
}

/// One open link to one device.
///
/// `receive` is cancel-safe: dropping the future loses no byte. Subscribe before the first write.
#[async_trait]
pub trait Transport: Send {
    /// Returns where the other end is.
    fn address(&self) -> &Address;
    /// Sends all of `bytes`; returns once the operating system has taken them.
    async fn write(&mut self, to: Endpoint, bytes: &[u8]) -> Result<(), LinkError>;
    /// Waits for the next bytes. There is no deadline here; the caller brings one.
    async fn receive(&mut self) -> Result<Inbound, LinkError>;
    /// Returns the most bytes that one write may carry without being split by the wire.
    fn max_write(&self) -> usize;
    /// Asks for the bytes of an endpoint; a stream needs no asking.
    async fn subscribe(&mut self, _to: Endpoint) -> Result<(), LinkError> {
        Ok(())
    }
    /// Reads the value of a characteristic; a stream has none.
    async fn read(&mut self, _from: Endpoint) -> Result<Vec<u8>, LinkError> {
        Err(LinkError { address: self.address().clone(), kind: LinkErrorKind::Unsupported("reading a characteristic") })
    }
    /// Returns what the platform tells of a radio link; `None` on a wire. Keys that came about by themselves are removed here.
    async fn radio(&mut self) -> Result<Option<RadioLink>, LinkError> {
        Ok(None)
    }
    /// Pairs with the passkey that the device shows; the keys are removed when the link is dropped. Nothing else ever pairs.
    async fn pair(&mut self, _passkey: u32) -> Result<(), LinkError> {
        Err(LinkError { address: self.address().clone(), kind: LinkErrorKind::Unsupported("pairing") })
    }
}

/// How a serial line is set before the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LineSettings {
    /// Bits per second.
    pub baud: u32,
    /// Parity bit.
    pub parity: Parity,
    /// State of DTR after opening; some devices restart when it changes.
    pub dtr: bool,
    /// State of RTS after opening.
    pub rts: bool,
}

impl Default for LineSettings {
    fn default() -> Self {
        Self { baud: 115_200, parity: Parity::None, dtr: true, rts: true }
    }
}

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Parity {
    /// No parity bit.
    #[default]
    None,
    /// Even parity.
    Even,
    /// Odd parity.
    Odd,
}

/// A radio or a set of ports on which devices appear.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Streams what appears and disappears, beginning with what is there now. Opens nothing.
    fn watch(&self) -> BoxStream<'static, SightingEvent>;
    /// Opens a link. For a serial port this is an act: it may restart the device.
    async fn open(&self, at: &Sighting, line: &LineSettings) -> Result<Box<dyn Transport>, LinkError>;
}

/// A link that could not be opened or broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at {address}")]
pub struct LinkError {
    /// Where it happened.
    pub address: Address,
    /// What happened.
    pub kind: LinkErrorKind,
}

/// What happened to a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkErrorKind {
    /// Nothing is at that address.
    NotFound,
    /// Another program holds the port.
    Busy,
    /// The operating system does not let this user open it.
    NoPermission,
    /// The other side went away while the link was open.
    Gone,
    /// The device answers only laptops that it is paired with.
    NotPaired,
    /// The line or adapter cannot do what was asked.
    Unsupported(&'static str),
    /// The operating system reported something else.
    Io(String),
}

impl fmt::Display for LinkErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no device"),
            Self::Busy => f.write_str("port held by another program"),
            Self::NoPermission => f.write_str("no permission to open the port"),
            Self::Gone => f.write_str("link lost"),
            Self::NotPaired => f.write_str("it answers only laptops that it is paired with"),
            Self::Unsupported(what) => write!(f, "{what} is not supported"),
            Self::Io(what) => write!(f, "input/output error ({what})"),
        }
    }
}
