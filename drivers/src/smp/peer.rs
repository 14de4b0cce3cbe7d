//! A scripted peer for the tests of this folder: answers packets as a test tells it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aseptic_device::profile::Framing;
use aseptic_device::{Address, Endpoint, Inbound, LinkError, Transport};
use async_trait::async_trait;
use ciborium::Value;

use super::console;
use super::packet::{Op, Packet, Version, map};

/// What a peer does with one request.
pub enum Does {
    /// Answers with this body.
    Says(Value),
    /// Keeps silent.
    Nothing,
    /// Takes no more bytes.
    Hangs,
    /// Puts exactly these bytes on the wire.
    Raw(Vec<u8>),
}

type Script = Box<dyn FnMut(&Packet) -> Does + Send>;

/// One end of a wire without a wire.
pub struct Peer {
    framing: Framing,
    knows: Version,
    decoder: console::Decoder,
    script: Script,
    waiting: VecDeque<Vec<u8>>,
    heard: Arc<Mutex<Vec<Packet>>>,
    address: Address,
}

impl Peer {
    /// Makes a link to a peer, and the list of what it heard, greeting included. Echo is answered by itself.
    pub fn link(
        framing: Framing,
        script: impl FnMut(&Packet) -> Does + Send + 'static,
    ) -> (Box<dyn Transport>, Arc<Mutex<Vec<Packet>>>) {
        Self::link_after(framing, Vec::new(), script)
    }

    /// A peer that keeps silent about version 2, its echo too.
    pub fn link_of_version_one(
        script: impl FnMut(&Packet) -> Does + Send + 'static,
    ) -> (Box<dyn Transport>, Arc<Mutex<Vec<Packet>>>) {
        Self::make(Framing::Console, Version::V1, Vec::new(), script)
    }

    /// The same with bytes that are already on their way.
    pub fn link_after(
        framing: Framing,
        before: Vec<u8>,
        script: impl FnMut(&Packet) -> Does + Send + 'static,
    ) -> (Box<dyn Transport>, Arc<Mutex<Vec<Packet>>>) {
        Self::make(framing, Version::V2, before, script)
    }

    fn make(
        framing: Framing,
        knows: Version,
        before: Vec<u8>,
        script: impl FnMut(&Packet) -> Does + Send + 'static,
    ) -> (Box<dyn Transport>, Arc<Mutex<Vec<Packet>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let waiting = if before.is_empty() { VecDeque::new() } else { [before].into() };
        let peer = Self {
            framing,
            knows,
            decoder: console::Decoder::default(),
            script: Box::new(script),
            waiting,
            heard: heard.clone(),
            address: Address::Port("peer".into()),
        };
        (Box::new(peer), heard)
    }
}

/// Writes an answer to a request as the wire carries it.
pub fn answer(framing: Framing, request: &Packet, body: Value) -> Vec<u8> {
    let op = if request.op == Op::Read { Op::ReadAnswer } else { Op::WriteAnswer };
    let bytes = Packet { op, body, ..request.clone() }.encode().unwrap();
    match framing {
        Framing::Console => console::encode(&bytes),
        Framing::Raw => bytes,
    }
}

/// Answers an echo; `None` for anything else.
pub fn echo(request: &Packet) -> Option<Value> {
    let text = super::packet::get_text(&request.body, "d")?;
    ((request.group, request.command) == (0, 0)).then(|| map([("r", text.into())]))
}

#[async_trait]
impl Transport for Peer {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn write(&mut self, _to: Endpoint, bytes: &[u8]) -> Result<(), LinkError> {
        let packets = match self.framing {
            Framing::Console => self.decoder.push(bytes),
            Framing::Raw => vec![bytes.to_vec()],
        };
        for packet in packets {
            let packet = Packet::decode(&packet).unwrap();
            self.heard.lock().unwrap().push(packet.clone());
            let does = match echo(&packet) {
                _ if packet.version == Version::V2 && self.knows == Version::V1 => Does::Nothing,
                Some(body) => Does::Says(body),
                None => (self.script)(&packet),
            };
            match does {
                Does::Says(body) => self.waiting.push_back(answer(self.framing, &packet, body)),
                Does::Raw(bytes) => self.waiting.push_back(bytes),
                Does::Nothing => {}
                Does::Hangs => std::future::pending().await,
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        match self.waiting.pop_front() {
            Some(bytes) => Ok(Inbound { from: Endpoint::Stream, bytes }),
            None => std::future::pending().await,
        }
    }

    fn max_write(&self) -> usize {
        usize::MAX
    }
}
