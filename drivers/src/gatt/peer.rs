//! A scripted GATT peer for the tests of this crate: characteristics that answer, need keys, hang or break.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use aseptic_device::radio::uuid;
use aseptic_device::{Address, Endpoint, Inbound, LinkError, LinkErrorKind, RadioLink, Transport};
use async_trait::async_trait;

/// What a characteristic does when it is read.
#[derive(Debug, Clone)]
pub enum Does {
    /// Answers.
    Says(Vec<u8>),
    /// The link answers with this failure.
    Fails(LinkErrorKind),
    /// Keeps silent.
    Hangs,
}

/// A peer without a radio.
pub struct Peer {
    address: Address,
    held: BTreeMap<u128, Does>,
    told: VecDeque<RadioLink>,
    log: Log,
    answer: Option<Answer>,
    waiting: VecDeque<Inbound>,
}

/// Writes that a peer heard.
pub type Log = Arc<Mutex<Vec<Vec<u8>>>>;
/// What a peer answers to a write; an error is of the link.
pub type Answer = Box<dyn FnMut(&[u8]) -> Result<Vec<u8>, LinkErrorKind> + Send>;

/// Services with characteristics, by 16-bit UUIDs.
pub type Table<'a> = &'a [(u16, &'a [(u16, Does)])];

/// What a platform tells of a peer with this table, unpaired.
pub fn seen(table: Table<'_>) -> RadioLink {
    let services =
        table.iter().map(|(service, held)| (uuid(*service), held.iter().map(|(c, _)| uuid(*c)).collect())).collect();
    RadioLink {
        address: None,
        flags: None,
        name: None,
        manufacturer: BTreeMap::new(),
        services,
        hidden: Vec::new(),
        battery: None,
        bond: aseptic_device::Bond::default(),
    }
}

impl Peer {
    /// Makes a peer of a table, of which the platform tells `told`, one after the other; the last lasts.
    pub fn new(table: Table<'_>, told: impl Into<VecDeque<RadioLink>>) -> Self {
        let held = table.iter().flat_map(|(_, held)| held.iter()).map(|(c, does)| (uuid(*c), does.clone())).collect();
        Self {
            address: Address::Ble { adapter: "hci0".into(), address: "C0:00:00:00:00:01".into() },
            held,
            told: told.into(),
            log: Log::default(),
            answer: None,
            waiting: VecDeque::new(),
        }
    }

    /// Answers writes.
    pub fn answering(mut self, answer: Answer) -> Self {
        self.answer = Some(answer);
        self
    }

    /// Returns what was written, also later.
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    fn error(&self, kind: LinkErrorKind) -> LinkError {
        LinkError { address: self.address.clone(), kind }
    }
}

#[async_trait]
impl Transport for Peer {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn write(&mut self, to: Endpoint, bytes: &[u8]) -> Result<(), LinkError> {
        self.log.lock().unwrap().push(bytes.to_vec());
        let Some(answer) = &mut self.answer else { return Err(self.error(LinkErrorKind::Unsupported("writing"))) };
        let bytes = answer(bytes).map_err(|kind| self.error(kind))?;
        self.waiting.push_back(Inbound { from: to, bytes });
        Ok(())
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        match self.waiting.pop_front() {
            Some(inbound) => Ok(inbound),
            None => std::future::pending().await,
        }
    }

    fn max_write(&self) -> usize {
        usize::MAX
    }

    async fn read(&mut self, from: Endpoint) -> Result<Vec<u8>, LinkError> {
        let Endpoint::Characteristic(uuid) = from else { panic!("a stream has no value") };
        match self.held.get(&uuid) {
            Some(Does::Says(value)) => Ok(value.clone()),
            Some(Does::Fails(kind)) => Err(self.error(kind.clone())),
            Some(Does::Hangs) => std::future::pending().await,
            None => Err(self.error(LinkErrorKind::Unsupported("this characteristic"))),
        }
    }

    async fn radio(&mut self) -> Result<Option<RadioLink>, LinkError> {
        if self.told.len() > 1 { Ok(self.told.pop_front()) } else { Ok(self.told.front().cloned()) }
    }
}
