//! Pairs answers with requests over one link, with deadlines, and refuses effects on an inspecting link.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aseptic_device::profile::Framing;
use aseptic_device::{DriverError, DriverErrorKind, Endpoint, Inbound, Intent, LinkError, Transport};
use ciborium::Value;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::console;
use super::packet::{HEADER, Op, Packet, Version, get, get_text, get_uint};
use super::request::{Request, meaning};

/// Sends of a repeatable request before it counts as unanswered.
const TRIES: u32 = 3;
/// Buffer size assumed where the device does not tell (Zephyr's default net buffer).
const DEFAULT_BUFFER: usize = 384;
/// Length and CRC share the buffer with the packet on a console; raw packets, over the air too, have it alone
/// (Zephyr `serial_util.c`, `smp_reassembly.c`).
const CONSOLE_BYTES: usize = 4;
/// The largest packet that is ever sent, whatever a device says.
const LARGEST: usize = 16_384;
/// Longest wait for the operating system to take one packet.
const WRITE: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const TIMED_OUT: u64 = 4;
const NO_MEMORY: u64 = 2;
const NOT_SUPPORTED: u64 = 8;
const BUSY: u64 = 10;

// Conversations of this process so far, so that no two begin alike.
static OPENED: AtomicU32 = AtomicU32::new(0);

/// What an SMP server can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Bytes of one packet.
    pub size: usize,
    /// Packets at once; 1 where the device does not tell.
    pub count: usize,
}

/// One SMP conversation.
pub struct Client {
    link: Box<dyn Transport>,
    endpoint: Endpoint,
    subscribed: bool,
    framing: Framing,
    permit: Intent,
    answer: Duration,
    decoder: console::Decoder,
    raw: Vec<u8>,
    arrived: VecDeque<Packet>,
    sequence: u8,
    version: Option<Version>,
    greeting: Option<String>,
    buffers: Option<Buffers>,
}

impl Client {
    /// Takes an open link over which packets go to and come from `endpoint`. With `permit` [`Intent::Read`] no request with an effect is ever sent.
    pub fn new(
        link: Box<dyn Transport>,
        endpoint: Endpoint,
        framing: Framing,
        permit: Intent,
        answer: Duration,
    ) -> Self {
        let opened = OPENED.fetch_add(1, Ordering::Relaxed);
        Self {
            link,
            endpoint,
            subscribed: false,
            framing,
            permit,
            answer,
            decoder: console::Decoder::default(),
            raw: Vec::new(),
            arrived: VecDeque::new(),
            sequence: (opened.wrapping_mul(61) & 0xff) as u8,
            version: None,
            greeting: Some(format!("aseptic {:08x}", std::process::id().rotate_left(16) ^ opened)),
            buffers: None,
        }
    }

    /// Sends a request and returns the answer's body. Repeatable requests are sent up to three times.
    pub async fn ask(&mut self, request: &Request) -> Result<Value, DriverError> {
        self.ask_within(request, self.answer).await
    }

    /// Does the same with another deadline for each try.
    pub async fn ask_within(&mut self, request: &Request, deadline: Duration) -> Result<Value, DriverError> {
        let fail = |kind| DriverError::new(request.name.clone(), kind);
        self.permits(request).map_err(fail)?;
        self.greet().await?;
        self.exchange(request, deadline).await
    }

    // An answer to an earlier conversation may still be on its way. Once the device has echoed a text of this one,
    // every older answer has arrived and was dropped.
    async fn greet(&mut self) -> Result<(), DriverError> {
        let Some(text) = self.greeting.clone() else { return Ok(()) };
        match self.exchange(&Request::echo(&text), self.answer).await {
            Err(error) if error.leaves_doubt() || is_passing(&error) => Err(error),
            // A device without echo answers in order all the same.
            Ok(_) | Err(_) => {
                self.greeting = None;
                Ok(())
            }
        }
    }

    async fn exchange(&mut self, request: &Request, deadline: Duration) -> Result<Value, DriverError> {
        let fail = |kind| DriverError::new(request.name.clone(), kind);
        let tries = if request.repeatable { TRIES } else { 1 };
        for attempt in 1..=tries {
            let sequence = self.send(request, attempt).await.map_err(fail)?;
            let Some(answer) = self.wait_for(request, sequence, deadline).await.map_err(fail)? else { continue };
            self.version = Some(answer.version);
            match check(answer.body).map_err(fail) {
                Err(error) if is_passing(&error) && attempt < tries => sleep(BUSY_PAUSE).await,
                other => return other,
            }
        }
        Err(fail(DriverErrorKind::NoAnswer { waited: deadline * tries }))
    }

    /// Sends a request without waiting for its answer; returns the number that the answer will carry.
    pub(super) async fn post(&mut self, request: &Request) -> Result<u8, DriverError> {
        self.greet().await?;
        self.send(request, 1).await.map_err(|kind| DriverError::new(request.name.clone(), kind))
    }

    /// Waits for the next answer to any posted request like `kind`; `None` when the deadline passes first.
    pub(super) async fn next_answer(
        &mut self,
        kind: &Request,
        deadline: Instant,
    ) -> Result<Option<Posted>, DriverError> {
        let fail = |k| DriverError::new(kind.name.clone(), k);
        loop {
            while let Some(packet) = self.arrived.pop_front() {
                if is_answer_to(&packet, kind) {
                    self.version = Some(packet.version);
                    return Ok(Some(Posted { sequence: packet.sequence, body: check(packet.body).map_err(fail) }));
                }
            }
            match timeout_at(deadline, self.link.receive()).await {
                Err(_) if self.resync() => {}
                Err(_) => return Ok(None),
                Ok(inbound) => self.take(&inbound.map_err(|e| fail(e.into()))?),
            }
        }
    }

    // Echo is a write by its operation, and changes nothing.
    fn permits(&self, request: &Request) -> Result<(), DriverErrorKind> {
        let changes = request.intent == Intent::Effect || (request.op != Op::Read && !request.is_echo());
        if changes && self.permit == Intent::Read {
            return Err(DriverErrorKind::EffectOnInspectingLink);
        }
        Ok(())
    }

    async fn send(&mut self, request: &Request, attempt: u32) -> Result<u8, DriverErrorKind> {
        self.permits(request)?;
        self.sequence = self.sequence.wrapping_add(1);
        // A device that knows only version 1 may keep silent about version 2; a lost answer must not look like that.
        let version = self.version.unwrap_or(if attempt < TRIES { Version::V2 } else { Version::V1 });
        let packet = Packet {
            op: request.op,
            version,
            group: request.group,
            sequence: self.sequence,
            command: request.command,
            body: &request.body,
        };
        let bytes = packet.encode().map_err(|e| DriverErrorKind::Malformed(e.to_string()))?;
        if bytes.len() > self.room_in(self.buffers.map_or(DEFAULT_BUFFER, |b| b.size)) {
            return Err(DriverErrorKind::Profile(format!("{} bytes do not fit the device's buffers", bytes.len())));
        }
        let wire = match self.framing {
            Framing::Console => console::encode(&bytes),
            Framing::Raw => bytes,
        };
        match timeout(WRITE, self.put(&wire)).await {
            Ok(written) => written?,
            Err(_) => return Err(DriverErrorKind::NoAnswer { waited: WRITE }),
        }
        Ok(self.sequence)
    }

    // A characteristic takes as much as one write carries; the other side joins the pieces by the packet's length.
    async fn put(&mut self, wire: &[u8]) -> Result<(), LinkError> {
        if !self.subscribed {
            self.link.subscribe(self.endpoint).await?;
            self.subscribed = true;
        }
        for piece in wire.chunks(self.link.max_write().max(1)) {
            self.link.write(self.endpoint, piece).await?;
        }
        Ok(())
    }

    /// Returns the link, to read beside the conversation.
    pub(super) fn link(&mut self) -> &mut dyn Transport {
        self.link.as_mut()
    }

    // None: the deadline passed. Late answers to other requests are dropped.
    async fn wait_for(
        &mut self,
        request: &Request,
        sequence: u8,
        within: Duration,
    ) -> Result<Option<Packet>, DriverErrorKind> {
        let deadline = Instant::now() + within;
        loop {
            while let Some(packet) = self.arrived.pop_front() {
                if packet.sequence == sequence && is_answer_to(&packet, request) {
                    return Ok(Some(packet));
                }
            }
            match timeout_at(deadline, self.link.receive()).await {
                Err(_) if self.resync() => {}
                Err(_) => return Ok(None),
                Ok(inbound) => self.take(&inbound?),
            }
        }
    }

    fn take(&mut self, inbound: &Inbound) {
        if inbound.from != self.endpoint {
            return;
        }
        let bytes = &inbound.bytes;
        match self.framing {
            Framing::Console => {
                for packet in self.decoder.push(bytes) {
                    self.arrived.extend(Packet::decode(&packet).ok());
                }
            }
            Framing::Raw => {
                self.raw.extend(bytes);
                self.split_raw();
            }
        }
    }

    // Raw packets have no marker: after noise, bytes are dropped until a header makes sense and its body reads.
    fn split_raw(&mut self) {
        while let Some(header) = self.raw.first_chunk::<HEADER>() {
            let [first, flags, l0, l1, ..] = *header;
            let whole = HEADER + usize::from(u16::from_be_bytes([l0, l1]));
            let answers = matches!(first & 0b111, 1 | 3) && first >> 3 <= 1;
            if !answers || flags != 0 || whole > LARGEST {
                self.raw.remove(0);
                continue;
            }
            let Some(bytes) = self.raw.get(..whole) else { return };
            match Packet::decode(bytes) {
                Ok(packet) => {
                    self.arrived.push_back(packet);
                    self.raw.drain(..whole);
                }
                Err(_) => {
                    self.raw.remove(0);
                }
            }
        }
    }

    // A header that noise made holds back all that follows: it is given up, and true means that a packet stood behind it.
    fn resync(&mut self) -> bool {
        while self.arrived.is_empty() && !self.raw.is_empty() {
            self.raw.remove(0);
            self.split_raw();
        }
        !self.arrived.is_empty()
    }

    /// Returns what the device can hold, asked once.
    pub async fn buffers(&mut self) -> Result<Buffers, DriverError> {
        if let Some(known) = self.buffers {
            return Ok(known);
        }
        let buffers = match self.ask(&Request::parameters()).await {
            Ok(body) => Buffers {
                size: get_uint(&body, "buf_size").and_then(|n| usize::try_from(n).ok()).unwrap_or(DEFAULT_BUFFER),
                count: get_uint(&body, "buf_count").and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
            },
            Err(e) if e.leaves_doubt() || is_passing(&e) => return Err(e),
            Err(_) => Buffers { size: DEFAULT_BUFFER, count: 1 },
        };
        let buffers = Buffers { size: buffers.size.min(LARGEST), count: buffers.count.max(1) };
        self.buffers = Some(buffers);
        Ok(buffers)
    }

    /// Returns the most bytes that one packet may have, header included.
    pub async fn largest_packet(&mut self) -> Result<usize, DriverError> {
        let size = self.buffers().await?.size;
        Ok(self.room_in(size))
    }

    // How long a packet a buffer of this size takes.
    fn room_in(&self, size: usize) -> usize {
        match self.framing {
            Framing::Console => size.saturating_sub(CONSOLE_BYTES),
            Framing::Raw => size,
        }
    }
}

/// An answer to a posted request.
pub(super) struct Posted {
    /// The number that [`Client::post`] gave.
    pub sequence: u8,
    /// The answer's body.
    pub body: Result<Value, DriverError>,
}

fn is_answer_to(packet: &Packet, request: &Request) -> bool {
    let op = if request.op == Op::Read { Op::ReadAnswer } else { Op::WriteAnswer };
    // The echo of an earlier conversation may have the same number.
    let other_text = || get_text(&packet.body, "r").is_some_and(|r| get_text(&request.body, "d") != Some(r));
    (packet.op, packet.group, packet.command) == (op, request.group, request.command)
        && !(request.is_echo() && other_text())
}

/// Returns whether an error says that the device has no buffer free just now.
pub fn is_out_of_memory(error: &DriverError) -> bool {
    matches!(&error.kind, DriverErrorKind::Refused { group: 0, code, .. } if u64::from(*code) == NO_MEMORY)
}

/// Returns whether a refusal is about this moment, not about the request: out of memory, timed out, busy.
pub fn is_passing(error: &DriverError) -> bool {
    let passing = |code: u32| [NO_MEMORY, TIMED_OUT, BUSY].contains(&u64::from(code));
    matches!(&error.kind, DriverErrorKind::Refused { group: 0, code, .. } if passing(*code))
}

// Version 1 says `rc`, version 2 `err {group, rc}`; servers of version 2 still use `rc` for their own trouble.
// An `err` is an error whatever it holds, and so is an `rc` that is not plainly zero.
fn check(body: Value) -> Result<Value, DriverErrorKind> {
    let trouble = match get(&body, "err") {
        Some(err) => {
            let group = get_uint(err, "group").and_then(|g| u16::try_from(g).ok());
            Some((group, code_of(err).unwrap_or(u64::MAX)))
        }
        None => code_of(&body).filter(|code| *code != 0).map(|code| (None, code)),
    };
    match trouble {
        None => Ok(body),
        Some((None, NOT_SUPPORTED)) => Err(DriverErrorKind::Unsupported),
        Some((group, code)) => Err(DriverErrorKind::Refused {
            group: group.unwrap_or(0),
            code: u32::try_from(code).unwrap_or(u32::MAX),
            meaning: meaning(group, code),
        }),
    }
}

fn code_of(map: &Value) -> Option<u64> {
    get(map, "rc").map(|_| get_uint(map, "rc").unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
