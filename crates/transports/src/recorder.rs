//! A conversation with a device as a file: one JSON object a line, `schema = "aseptic.recording/1"` first.
//!
//! Values of settings stand in it as they crossed the wire, secrets too; whoever records is told so.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use aseptic_device::{
    Bus, Clock, Endpoint, Inbound, LineSettings, LinkError, Moment, Sighting, SightingEvent, Transport,
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

/// One write or receive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Milliseconds since the recording began.
    pub ms: u64,
    /// `laptop` or `device`: who sent it.
    pub from: From,
    /// Bytes in hex.
    pub hex: String,
}

/// Who sent bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// The laptop.
    Laptop,
    /// The device.
    Device,
}

type Out = Arc<Mutex<dyn Write + Send>>;

/// A bus that writes down what crosses the links that it opens.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    begun: Moment,
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
        Ok(Self { inner, begun: clock.now(), clock, out: Arc::new(Mutex::new(out)) })
    }
}

#[async_trait]
impl Bus for Recorder {
    fn watch(&self) -> BoxStream<'static, SightingEvent> {
        self.inner.watch()
    }

    async fn open(&self, at: &Sighting, line: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        let link = self.inner.open(at, line).await?;
        Ok(Box::new(Recording { link, recorder: self.clone() }))
    }
}

struct Recording {
    link: Box<dyn Transport>,
    recorder: Recorder,
}

impl Recording {
    fn write_down(&self, from: From, bytes: &[u8]) {
        let ms = self.recorder.clock.now().since(&self.recorder.begun).as_millis();
        let hex = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let line = Line { ms: u64::try_from(ms).unwrap_or(u64::MAX), from, hex };
        let mut out = self.recorder.out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) =
            serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from).and_then(|()| out.write_all(b"\n"))
        {
            tracing::warn!(%error, "recording is incomplete");
        }
    }
}

#[async_trait]
impl Transport for Recording {
    async fn write(&mut self, to: Endpoint, bytes: &[u8]) -> Result<(), LinkError> {
        self.link.write(to, bytes).await?;
        self.write_down(From::Laptop, bytes);
        Ok(())
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        let inbound = self.link.receive().await?;
        self.write_down(From::Device, &inbound.bytes);
        Ok(inbound)
    }

    async fn subscribe(&mut self, to: Endpoint) -> Result<(), LinkError> {
        self.link.subscribe(to).await
    }

    fn max_write(&self) -> usize {
        self.link.max_write()
    }
}
