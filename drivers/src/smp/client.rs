//! Pairs answers with requests over one link, with deadlines, and refuses effects on an inspecting link.

use std::collections::VecDeque;
use std::time::Duration;

use aseptic_device::profile::Framing;
use aseptic_device::{DriverError, DriverErrorKind, Endpoint, Intent, Transport};
use ciborium::Value;
use tokio::time::{Instant, timeout_at};

use super::console;
use super::packet::{HEADER, Op, Packet, Version, get, get_uint};
use super::request::{Request, meaning};

/// Sends of a repeatable request before it counts as unanswered.
const TRIES: u32 = 3;
/// Buffer size assumed where the device does not tell (Zephyr's default net buffer).
const DEFAULT_BUFFER: usize = 384;
/// Length and CRC travel in the same buffer on a serial line.
const FRAMING_BYTES: usize = 4;
const NO_MEMORY: u64 = 2;
const NOT_SUPPORTED: u64 = 8;

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
    framing: Framing,
    permit: Intent,
    answer: Duration,
    decoder: console::Decoder,
    raw: Vec<u8>,
    arrived: VecDeque<Packet>,
    sequence: u8,
    version: Option<Version>,
    buffers: Option<Buffers>,
}

impl Client {
    /// Takes an open link. With `permit` [`Intent::Read`] no request with an effect is ever sent.
    pub fn new(link: Box<dyn Transport>, framing: Framing, permit: Intent, answer: Duration) -> Self {
        Self {
            link,
            framing,
            permit,
            answer,
            decoder: console::Decoder::default(),
            raw: Vec::new(),
            arrived: VecDeque::new(),
            sequence: 0,
            version: None,
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
        let tries = if request.repeatable { TRIES } else { 1 };
        for attempt in 0..tries {
            let sequence = self.send(request, attempt).await.map_err(fail)?;
            if let Some(answer) = self.wait_for(request, sequence, deadline).await.map_err(fail)? {
                self.version = Some(answer.version);
                return check(answer.body).map_err(fail);
            }
        }
        Err(fail(DriverErrorKind::NoAnswer { waited: deadline * tries }))
    }

    async fn send(&mut self, request: &Request, attempt: u32) -> Result<u8, DriverErrorKind> {
        if request.intent == Intent::Effect && self.permit == Intent::Read {
            return Err(DriverErrorKind::EffectOnInspectingLink);
        }
        self.sequence = self.sequence.wrapping_add(1);
        // A device that knows only version 1 may keep silent about version 2.
        let version = self.version.unwrap_or(if attempt.is_multiple_of(2) { Version::V2 } else { Version::V1 });
        let packet = Packet {
            op: request.op,
            version,
            group: request.group,
            sequence: self.sequence,
            command: request.command,
            body: request.body.clone(),
        };
        let bytes = packet.encode().map_err(|e| DriverErrorKind::Malformed(e.to_string()))?;
        let wire = match self.framing {
            Framing::Console => console::encode(&bytes),
            Framing::Raw => bytes,
        };
        self.link.write(Endpoint::Stream, &wire).await?;
        Ok(self.sequence)
    }

    // None: the deadline passed. Late answers to other requests are dropped.
    async fn wait_for(
        &mut self,
        request: &Request,
        sequence: u8,
        within: Duration,
    ) -> Result<Option<Packet>, DriverErrorKind> {
        let deadline = Instant::now() + within;
        let op = if request.op == Op::Read { Op::ReadAnswer } else { Op::WriteAnswer };
        loop {
            while let Some(packet) = self.arrived.pop_front() {
                let ours = packet.sequence == sequence
                    && packet.group == request.group
                    && packet.command == request.command
                    && packet.op == op;
                if ours {
                    return Ok(Some(packet));
                }
            }
            match timeout_at(deadline, self.link.receive()).await {
                Err(_) => return Ok(None),
                Ok(inbound) => self.take(&inbound?.bytes),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
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

    fn split_raw(&mut self) {
        while let Some([_, _, l0, l1]) = self.raw.first_chunk::<4>() {
            let whole = HEADER + usize::from(u16::from_be_bytes([*l0, *l1]));
            if self.raw.len() < whole {
                return;
            }
            let rest = self.raw.split_off(whole);
            let packet = std::mem::replace(&mut self.raw, rest);
            self.arrived.extend(Packet::decode(&packet).ok());
        }
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
            Err(e) if e.leaves_doubt() => return Err(e),
            Err(_) => Buffers { size: DEFAULT_BUFFER, count: 1 },
        };
        let buffers = Buffers { size: buffers.size.clamp(128, 16_384), count: buffers.count.max(1) };
        self.buffers = Some(buffers);
        Ok(buffers)
    }

    /// Returns the most bytes that one packet may have, header included.
    pub async fn largest_packet(&mut self) -> Result<usize, DriverError> {
        Ok(self.buffers().await?.size - FRAMING_BYTES)
    }
}

/// Returns whether an error says that the device has no buffer free just now.
pub fn is_out_of_memory(error: &DriverError) -> bool {
    matches!(&error.kind, DriverErrorKind::Refused { group: 0, code, .. } if u64::from(*code) == NO_MEMORY)
}

// Version 1 says `rc`, version 2 `err {group, rc}`; servers of version 2 still use `rc` for their own trouble.
fn check(body: Value) -> Result<Value, DriverErrorKind> {
    let (group, code) = match get(&body, "err") {
        Some(err) => (get_uint(err, "group").and_then(|g| u16::try_from(g).ok()), get_uint(err, "rc").unwrap_or(1)),
        None => (None, get_uint(&body, "rc").unwrap_or(0)),
    };
    match (group, code) {
        (_, 0) => Ok(body),
        (None, NOT_SUPPORTED) => Err(DriverErrorKind::Unsupported),
        _ => Err(DriverErrorKind::Refused {
            group: group.unwrap_or(0),
            code: u32::try_from(code).unwrap_or(u32::MAX),
            meaning: meaning(group, code),
        }),
    }
}
