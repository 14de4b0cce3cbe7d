//! Plays a [recording](crate::recorder) back: the laptop must send the same bytes, and gets the same answers.
//!
//! Pauses are left out. What is sent otherwise than recorded is an error, so a replay never invents a device.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, BufRead};
use std::sync::{Mutex, PoisonError};

use aseptic_device::link::LinkErrorKind;
use aseptic_device::{
    Address, Bus, Endpoint, Inbound, LineSettings, LinkError, RadioLink, Sighting, SightingEvent, Transport,
};
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};

use crate::recorder::{Head, Line, SCHEMA, What, characteristic, hex};

/// A bus on which a recording happens again, link by link. Everything on it counts as simulated.
pub struct Replay {
    addresses: BTreeSet<String>,
    links: Mutex<VecDeque<VecDeque<Line>>>,
}

impl Replay {
    /// Reads a recording.
    pub fn read(recording: impl BufRead) -> io::Result<Self> {
        let mut lines = recording.lines();
        let head: Head = serde_json::from_str(&lines.next().unwrap_or_else(|| Ok(String::new()))?)?;
        if head.schema != SCHEMA {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("schema must be \"{SCHEMA}\"")));
        }
        let mut links: BTreeMap<u32, VecDeque<Line>> = BTreeMap::new();
        let mut addresses = BTreeSet::new();
        for line in lines {
            let line: Line = serde_json::from_str(&line?)?;
            if let What::Opened { address, .. } = &line.what {
                addresses.insert(address.clone());
            }
            links.entry(line.link).or_default().push_back(line);
        }
        Ok(Self { addresses, links: Mutex::new(links.into_values().collect()) })
    }
}

fn sighting(address: &str) -> Option<Sighting> {
    let address = match address.split_once(':')? {
        ("port", path) => Address::Port(path.to_owned()),
        ("ble", rest) => {
            let (adapter, address) = rest.split_once('/')?;
            Address::Ble { adapter: adapter.to_owned(), address: address.to_owned() }
        }
        _ => return None,
    };
    Some(Sighting { address, usb: None, radio: None, name: None, named: true, simulated: true })
}

#[async_trait]
impl Bus for Replay {
    fn watch(&self) -> BoxStream<'static, SightingEvent> {
        let seen: Vec<_> = self.addresses.iter().filter_map(|a| sighting(a)).map(SightingEvent::Seen).collect();
        stream::iter(seen).chain(stream::pending()).boxed()
    }

    async fn open(&self, at: &Sighting, _line: &LineSettings) -> Result<Box<dyn Transport>, LinkError> {
        let fail = |kind| LinkError { address: at.address.clone(), kind };
        let next = self.links.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut lines = next.ok_or_else(|| fail(LinkErrorKind::NotFound))?;
        match lines.pop_front().map(|line| line.what) {
            Some(What::Opened { address, max_write }) if address == at.address.to_string() => {
                Ok(Box::new(Replayed { address: at.address.clone(), max_write, lines }))
            }
            Some(What::Failed(words)) => Err(fail(kind_of(&words))),
            _ => Err(fail(otherwise("another link is opened here"))),
        }
    }
}

fn kind_of(words: &str) -> LinkErrorKind {
    let known = [LinkErrorKind::NotFound, LinkErrorKind::Busy, LinkErrorKind::NoPermission, LinkErrorKind::Gone];
    known.into_iter().find(|k| k.to_string() == words).unwrap_or_else(|| LinkErrorKind::Io(words.to_owned()))
}

fn otherwise(what: &str) -> LinkErrorKind {
    LinkErrorKind::Io(format!("the recording goes on otherwise: {what}"))
}

struct Replayed {
    address: Address,
    max_write: usize,
    lines: VecDeque<Line>,
}

impl Replayed {
    fn error(&self, kind: LinkErrorKind) -> LinkError {
        LinkError { address: self.address.clone(), kind }
    }

    // The next thing that the laptop did; answers that came before it may still be unread.
    fn next_act(&mut self, is_one: impl Fn(&What) -> bool) -> Option<Line> {
        let at = self.lines.iter().position(|l| is_one(&l.what))?;
        self.lines.remove(at)
    }

    // Whatever the laptop does next where a failure was recorded fails like that.
    fn due_failure(&mut self) -> Result<(), LinkError> {
        let Some(What::Failed(words)) = self.lines.front().map(|l| l.what.clone()) else { return Ok(()) };
        self.lines.pop_front();
        Err(self.error(kind_of(&words)))
    }
}

#[async_trait]
impl Transport for Replayed {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn write(&mut self, to: Endpoint, bytes: &[u8]) -> Result<(), LinkError> {
        self.due_failure()?;
        match self.next_act(|w| matches!(w, What::Laptop(_))) {
            Some(Line { what: What::Laptop(same), characteristic: at, .. })
                if same == hex(bytes) && at == characteristic(to) =>
            {
                Ok(())
            }
            _ => Err(self.error(otherwise("other bytes are sent"))),
        }
    }

    async fn receive(&mut self) -> Result<Inbound, LinkError> {
        self.due_failure()?;
        let front = self.lines.front().map(|l| (l.what.clone(), endpoint(l.characteristic.as_deref())));
        match front {
            Some((What::Device(bytes), from)) => {
                self.lines.pop_front();
                from.zip(unhex(&bytes))
                    .map(|(from, bytes)| Inbound { from, bytes })
                    .ok_or_else(|| self.error(otherwise("a line is damaged")))
            }
            // The device waits for the laptop.
            Some((What::Laptop(_) | What::Read(_) | What::Radio(_), _)) => std::future::pending().await,
            _ => Err(self.error(LinkErrorKind::Gone)),
        }
    }

    async fn read(&mut self, from: Endpoint) -> Result<Vec<u8>, LinkError> {
        self.due_failure()?;
        match self.next_act(|w| matches!(w, What::Read(_))) {
            Some(Line { what: What::Read(value), characteristic: at, .. }) if at == characteristic(from) => {
                unhex(&value).ok_or_else(|| self.error(otherwise("a line is damaged")))
            }
            _ => Err(self.error(otherwise("another value is read"))),
        }
    }

    async fn subscribe(&mut self, _to: Endpoint) -> Result<(), LinkError> {
        self.due_failure()
    }

    async fn radio(&mut self) -> Result<Option<RadioLink>, LinkError> {
        self.due_failure()?;
        match self.lines.iter().position(|l| matches!(l.what, What::Radio(_))) {
            None => Ok(None),
            Some(at) => match self.lines.remove(at) {
                Some(Line { what: What::Radio(radio), .. }) => Ok(Some(*radio)),
                _ => Ok(None),
            },
        }
    }

    fn max_write(&self) -> usize {
        self.max_write
    }
}

fn endpoint(characteristic: Option<&str>) -> Option<Endpoint> {
    match characteristic {
        None => Some(Endpoint::Stream),
        Some(uuid) => u128::from_str_radix(uuid, 16).ok().map(Endpoint::Characteristic),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let (pairs, []) = digits.as_deref()?.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::recorder::Recorder;

    const BLE: &str = "ble:hci0/AA:BB:CC:DD:EE:FF";
    const UUID: u128 = 0xda2e_7828_fbce_4e01_ae9e_2611_7499_7c48;
    const SMP: Endpoint = Endpoint::Characteristic(UUID);
    const LINE: LineSettings =
        LineSettings { baud: 115_200, parity: aseptic_device::link::Parity::None, dtr: true, rts: true };

    fn recording() -> String {
        let lines = [
            format!(r#"{{"schema":"{SCHEMA}"}}"#),
            format!(r#"{{"ms":0,"link":1,"opened":{{"address":"{BLE}","max_write":244}}}}"#),
            format!(r#"{{"ms":1,"link":1,"characteristic":"{UUID:032x}","laptop":"01"}}"#),
            format!(r#"{{"ms":1,"link":1,"characteristic":"{UUID:032x}","laptop":"02"}}"#),
            format!(r#"{{"ms":2,"link":1,"characteristic":"{UUID:032x}","device":"a1a2"}}"#),
            format!(r#"{{"ms":3,"link":1,"characteristic":"{UUID:032x}","read":"5350"}}"#),
            r#"{"ms":4,"link":1,"failed":"link lost"}"#.to_owned(),
            r#"{"ms":5,"link":1,"closed":null}"#.to_owned(),
            r#"{"ms":6,"link":2,"failed":"port held by another program"}"#.to_owned(),
            format!(r#"{{"ms":7,"link":3,"opened":{{"address":"{BLE}","max_write":20}}}}"#),
            format!(r#"{{"ms":8,"link":3,"characteristic":"{UUID:032x}","device":"b1"}}"#),
        ];
        lines.join("\n") + "\n"
    }

    fn replay() -> Replay {
        Replay::read(recording().as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_recording_happens_again_link_by_link() {
        let bus = replay();
        let Some(SightingEvent::Seen(at)) = bus.watch().next().await else { panic!("nothing seen") };
        assert!(at.simulated && at.address.to_string() == BLE);
        let mut link = bus.open(&at, &LINE).await.unwrap();
        assert_eq!(link.max_write(), 244);
        link.subscribe(SMP).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(1), link.receive()).await;
        assert!(early.is_err(), "no answer before the question");
        link.write(SMP, &[1]).await.unwrap();
        link.write(SMP, &[2]).await.unwrap();
        assert_eq!(link.receive().await.unwrap(), Inbound { from: SMP, bytes: vec![0xa1, 0xa2] });
        assert_eq!(link.read(SMP).await.unwrap(), b"SP");
        assert_eq!(link.receive().await.unwrap_err().kind, LinkErrorKind::Gone);
        assert_eq!(bus.open(&at, &LINE).await.err().unwrap().kind, LinkErrorKind::Busy);
        let mut again = bus.open(&at, &LINE).await.unwrap();
        assert_eq!(again.receive().await.unwrap().bytes, [0xb1]);
        assert_eq!(again.receive().await.unwrap_err().kind, LinkErrorKind::Gone, "the recording ends");
        assert_eq!(bus.open(&at, &LINE).await.err().unwrap().kind, LinkErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_was_not_recorded_is_an_error_and_never_an_answer() {
        let at = sighting(BLE).unwrap();
        for (to, bytes) in [(SMP, &[9][..]), (Endpoint::Stream, &[1][..])] {
            let mut link = replay().open(&at, &LINE).await.unwrap();
            let error = link.write(to, bytes).await.unwrap_err();
            assert!(error.to_string().contains("otherwise"), "{error}");
        }
        let elsewhere = sighting("port:/dev/ttyACM0").unwrap();
        assert!(replay().open(&elsewhere, &LINE).await.is_err());
        for text in ["", "{}", r#"{"schema":"aseptic.recording/2"}"#] {
            assert!(Replay::read(text.as_bytes()).is_err(), "{text}");
        }
        let cut = recording().replace("a1a2", "a1a");
        let mut link = Replay::read(cut.as_bytes()).unwrap().open(&at, &LINE).await.unwrap();
        link.write(SMP, &[1]).await.unwrap();
        link.write(SMP, &[2]).await.unwrap();
        assert!(link.receive().await.unwrap_err().to_string().contains("damaged"));
    }

    #[tokio::test]
    async fn a_recording_of_a_replay_is_the_same_recording() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bus = Recorder::new(Arc::new(replay()), Arc::new(SystemClock), file.reopen().unwrap()).unwrap();
        let at = sighting(BLE).unwrap();
        let mut link = bus.open(&at, &LINE).await.unwrap();
        link.write(SMP, &[1]).await.unwrap();
        link.write(SMP, &[2]).await.unwrap();
        link.receive().await.unwrap();
        link.read(SMP).await.unwrap();
        link.receive().await.unwrap_err();
        drop(link);
        assert!(bus.open(&at, &LINE).await.is_err());
        bus.open(&at, &LINE).await.unwrap().receive().await.unwrap();
        let told = |text: &str| -> Vec<Line> {
            let lines = text.lines().skip(1).map(|l| serde_json::from_str::<Line>(l).unwrap());
            lines.map(|l| Line { ms: 0, ..l }).collect()
        };
        let again = told(&std::fs::read_to_string(file.path()).unwrap());
        let (last, all) = again.split_last().unwrap();
        assert_eq!(all, told(&recording()));
        assert_eq!((last.link, &last.what), (3, &What::Closed));
    }
}
