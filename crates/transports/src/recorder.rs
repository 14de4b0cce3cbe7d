//! A conversation with a device as a file: one JSON object a line, `schema = "aseptic.recording/1"` first.
//!
//! Values of settings stand in it as they crossed the wire, secrets too; whoever records is told so.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aseptic_device::{
    Address, Bus, Clock, Endpoint, Inbound, LineSettings, LinkError, Moment, RadioLink, Sighting, SightingEvent,
    Transport,
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

/// The value of `schema` in the first line.
pub const SCHEMA: &str = "aseptic.recording/1";

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Always [`SCHEMA`].
    pub schema: String,
}

/// One thing that happened on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the recording began.
    pub ms: u64,
    /// Counts the links that were opened, from 1: a device that restarts comes back on another.
    pub link: u32,
    /// The characteristic, in hex; a serial line has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub characteristic: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The link was opened.
    Opened {
        /// Where.
        address: String,
        /// Bytes that one write may carry.
        max_write: usize,
    },
    /// The laptop sent these bytes, in hex.
    Laptop(String),
    /// The device sent these bytes, in hex.
    Device(String),
    /// The laptop read a characteristic and got this, in hex.
    Read(String),
    /// What the platform told of the radio link.
    Radio(Box<RadioLink>),
    /// Opening, sending, receiving, reading or pairing failed like this.
    Failed(String),
    /// The link was closed.
    Closed,
}

type Out = Arc<Mutex<dyn Write + Send>>;

/// A bus that writes down what crosses the links that it opens.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    begun: Moment,
    links: Arc<AtomicU32>,
    out: Out,
}

impl Recorder {
    /// Wraps a bus; writes the head at once.
    pub fn new(
        inner: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        mut out: impl Write + Send + 'static,
    ) -> std::io::Result<Self> {
        serde_json::to_writer(&mut out, &Head { schema: SCHEMA.into() })?;
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(Self { inner, begun: clock.now(), clock, links: Arc::default(), out: Arc::new(Mutex::new(out)) })
    }
}

#[async_trait]
impl Bus for Recorder {
    fn watch(&self) -> BoxStream<'static, SightingEvent> {
        self.inner.watch()
    }

    async fn open(&self, at: &Sighting, line: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        let number = self.links.fetch_add(1, Ordering::Relaxed) + 1;
        let opened = self.inner.open(at, line).await;
        let link = opened.inspect_err(|e| self.write_down(number, None, What::Failed(e.kind.to_string())))?;
        let opened = What::Opened { address: at.address.to_string(), max_write: link.max_write() };
        self.write_down(number, None, opened);
        Ok(Box::new(Recording { link, number, recorder: self.clone() }))
    }
}

impl Recorder {
    // Flushed at once: the last line before a crash is the one that is wanted.
    fn write_down(&self, link: u32, endpoint: Option<Endpoint>, what: What) {
        let ms = u64::try_from(self.clock.now().since(&self.begun).as_millis()).unwrap_or(u64::MAX);
        let line = Line { ms, link, characteristic: endpoint.and_then(characteristic), what };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_string(&line)
            .map_err(std::io::Error::from)
            .and_then(|text| writeln!(out, "{text}"))
            .and_then(|()| out.flush());
        if let Err(error) = written {
            tracing::warn!(%error, "recording is incomplete");
        }
    }
}

struct Recording {
    link: Box<dyn Transport>,
    number: u32,
    recorder: Recorder,
}

/// Writes bytes as they stand in a recording.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes an endpoint as it stands in a recording.
pub(crate) fn characteristic(endpoint: Endpoint) -> Option<String> {
    match endpoint {
        Endpoint::Stream => None,
        Endpoint::Characteristic(uuid) => Some(format!("{uuid:032x}")),
    }
}

impl Recording {
    fn write_down(&self, endpoint: Endpoint, what: What) {
        self.recorder.write_down(self.number, Some(endpoint), what);
    }

    fn failed(&self, endpoint: Option<Endpoint>, error: &LinkError) {
        self.recorder.write_down(self.number, endpoint, What::Failed(error.kind.to_string()));
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.recorder.write_down(self.number, None, What::Closed);
    }
}

#[async_trait]
impl Transport for Recording {
    fn address(&self) -> &Address {
        self.link.address()
    }

    async fn write(&mut self, to: Endpoint, bytes: &[u8]) -> Result<(), LinkError> {
        // Before it is sent: what a device was told must not be missing when the write hangs.
        self.write_down(to, What::Laptop(hex(bytes)));
        self.link.write(to, bytes).await.inspect_err(|e| self.failed(Some(to), e))
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        let inbound = self.link.receive().await.inspect_err(|e| self.failed(None, e))?;
        self.write_down(inbound.from, What::Device(hex(&inbound.bytes)));
        Ok(inbound)
    }

    async fn read(&mut self, from: Endpoint) -> Result<Vec<u8>, LinkError> {
        let value = self.link.read(from).await.inspect_err(|e| self.failed(Some(from), e))?;
        self.write_down(from, What::Read(hex(&value)));
        Ok(value)
    }

    async fn subscribe(&mut self, to: Endpoint) -> Result<(), LinkError> {
        self.link.subscribe(to).await.inspect_err(|e| self.failed(Some(to), e))
    }

    fn max_write(&self) -> usize {
        self.link.max_write()
    }

    async fn radio(&mut self) -> Result<Option<RadioLink>, LinkError> {
        let radio = self.link.radio().await.inspect_err(|e| self.failed(None, e))?;
        if let Some(radio) = &radio {
            self.recorder.write_down(self.number, None, What::Radio(Box::new(radio.clone())));
        }
        Ok(radio)
    }

    async fn pair(&mut self, passkey: u32) -> Result<(), LinkError> {
        self.link.pair(passkey).await.inspect_err(|e| self.failed(None, e))
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::serial::SerialBus;
    use aseptic_device::Address;
    use aseptic_device::link::LinkErrorKind;
    use nix::pty::openpty;

    #[tokio::test]
    async fn a_recording_tells_every_link_from_open_to_close_and_is_on_disk_at_once() {
        let pty = openpty(None, None).unwrap();
        let port = nix::unistd::ttyname(&pty.slave).unwrap().to_string_lossy().into_owned();
        let address = Address::Port(port.clone());
        let at =
            Sighting { address: address.clone(), usb: None, radio: None, name: None, named: true, simulated: false };
        let file = tempfile::NamedTempFile::new().unwrap();
        let inner = Arc::new(SerialBus::new(vec![port.into()]));
        let recorder = Recorder::new(inner, Arc::new(SystemClock), file.reopen().unwrap()).unwrap();
        let mut link = recorder.open(&at, &LineSettings::default()).await.unwrap();
        link.write(Endpoint::Stream, b"ask").await.unwrap();
        nix::unistd::write(&pty.master, b"answer").unwrap();
        link.receive().await.unwrap();
        drop(link);
        drop(recorder.open(&at, &LineSettings::default()).await.unwrap());
        let nowhere = Sighting { address: Address::Port("/nowhere/tty".into()), ..at };
        assert!(recorder.open(&nowhere, &LineSettings::default()).await.is_err());
        let text = std::fs::read_to_string(file.path()).unwrap();
        let (head, lines) = text.split_once('\n').unwrap();
        assert_eq!(serde_json::from_str::<Head>(head).unwrap().schema, SCHEMA);
        let told: Vec<(u32, What)> =
            lines.lines().map(|l| serde_json::from_str::<Line>(l).unwrap()).map(|l| (l.link, l.what)).collect();
        let opened = What::Opened { address: address.to_string(), max_write: 4_096 };
        let first = [opened.clone(), What::Laptop("61736b".into()), What::Device("616e73776572".into()), What::Closed];
        let failed = What::Failed(LinkErrorKind::NotFound.to_string());
        let all = first.map(|w| (1, w)).into_iter().chain([(2, opened), (2, What::Closed), (3, failed)]);
        assert_eq!(told, all.collect::<Vec<_>>());
    }
}
