//! The SMP server of a simulated device, as Zephyr's behaves.

mod body;
mod image;
mod settings;

use std::time::Duration;

use crate::bootloader::PowerLost;
use crate::machine::Machine;
use body::{Body, Item};

/// Generic errors (Zephyr `mgmt_defines.h`).
pub(crate) mod rc {
    pub const NO_MEMORY: u64 = 2;
    pub const INVALID: u64 = 3;
    pub const NOT_SUPPORTED: u64 = 8;
}

/// How a request ended before its answer was written.
pub(crate) enum Trouble {
    /// A generic error.
    Generic(u64),
    /// An error of the group; `v1` is what version 1 says instead.
    Group { code: u64, v1: u64 },
    /// The power went.
    PowerLost,
}

impl From<PowerLost> for Trouble {
    fn from(_: PowerLost) -> Self {
        Self::PowerLost
    }
}

type Done = Result<Vec<(&'static str, Item)>, Trouble>;

/// An answer and how long it takes to make.
pub(crate) struct Answer {
    pub packet: Vec<u8>,
    pub after: Duration,
}

struct Header {
    write: bool,
    version: u8,
    group: u16,
    sequence: u8,
    command: u8,
}

fn header(packet: &[u8]) -> Option<(Header, &[u8])> {
    let (head, body) = packet.split_first_chunk::<8>()?;
    let [first, _, l0, l1, g0, g1, sequence, command] = *head;
    if usize::from(u16::from_be_bytes([l0, l1])) != body.len() || first & 7 > 2 || first & 1 == 1 {
        return None;
    }
    let group = u16::from_be_bytes([g0, g1]);
    Some((Header { write: first & 7 == 2, version: first >> 3 & 3, group, sequence, command }, body))
}

fn answer(header: &Header, entries: Vec<(&'static str, Item)>) -> Vec<u8> {
    let body = Body(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()).encode();
    let mut out = vec![header.version << 3 | if header.write { 3 } else { 1 }, 0];
    out.extend(u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
    out.extend(header.group.to_be_bytes());
    out.extend([header.sequence, header.command]);
    out.extend(body);
    out
}

/// Answers "out of memory" to a packet for which no buffer is free.
pub(crate) fn out_of_memory(packet: &[u8]) -> Option<Vec<u8>> {
    header(packet).map(|(h, _)| answer(&h, vec![("rc", Item::Int(rc::NO_MEMORY))]))
}

impl Machine {
    /// Carries a request out. `None`: no answer, since it was no request. `Err`: the power went.
    pub(crate) fn handle(&mut self, packet: &[u8]) -> Result<Option<Answer>, PowerLost> {
        let Some((header, raw)) = header(packet) else { return Ok(None) };
        let mut after = Duration::ZERO;
        let done = match Body::decode(raw) {
            Some(body) => self.dispatch(&header, &body, &mut after),
            None => Err(Trouble::Generic(rc::INVALID)),
        };
        let entries = match done {
            Ok(entries) => entries,
            Err(Trouble::PowerLost) => return Err(PowerLost),
            Err(Trouble::Generic(code)) => vec![("rc", Item::Int(code))],
            Err(Trouble::Group { code, .. }) if header.version > 0 => {
                let err = Body(vec![("group".into(), Item::Int(header.group.into())), ("rc".into(), Item::Int(code))]);
                vec![("err", Item::Map(err))]
            }
            Err(Trouble::Group { v1, .. }) => vec![("rc", Item::Int(v1))],
        };
        Ok(Some(Answer { packet: answer(&header, entries), after }))
    }

    fn dispatch(&mut self, header: &Header, body: &Body, after: &mut Duration) -> Done {
        let echo = header.group == 0 && header.command == 0;
        self.effects += u64::from(header.write && !echo);
        match (header.group, header.command, header.write) {
            (0, 0, _) => Ok(vec![("r", Item::Text(body.text("d").unwrap_or_default().to_owned()))]),
            (0, 4, false) => Ok(vec![("datetime", Item::Text("2026-11-24T03:00:00".into()))]),
            (0, 5, true) => {
                self.ram.restart = true;
                Ok(vec![])
            }
            (0, 6, false) if !self.spec.wire.no_parameters => Ok(vec![
                ("buf_size", Item::Int(self.spec.wire.buffer_size as u64)),
                ("buf_count", Item::Int(self.spec.wire.buffer_count as u64)),
            ]),
            (0, 7, false) => Ok(vec![("output", Item::Text(self.os_info(body.text("format").unwrap_or("s"))?))]),
            (0, 8, false) => self.bootloader_info(body.text("query")),
            (1, 0, false) => Ok(self.image_list()),
            (1, 0, true) => self.image_state(body),
            (1, 1, true) => self.image_upload(body, after),
            (1, 5, true) => self.image_erase(body, after),
            (2, 0, false) if body.text("name") == Some("device") => {
                let fields = Body(vec![("restarts".into(), Item::Int(self.truth().boots))]);
                Ok(vec![("name", Item::Text("device".into())), ("fields", Item::Map(fields))])
            }
            (2, 0, false) => Err(Trouble::Group { code: 2, v1: 5 }),
            (2, 1, false) => Ok(vec![("stat_list", Item::List(vec![Item::Text("device".into())]))]),
            (3, 0, false) => self.setting_read(body),
            (3, 0, true) => self.setting_write(body),
            (3, 1, true) => Err(Trouble::Group { code: 7, v1: rc::NOT_SUPPORTED }),
            (3, 2, true) => Ok(vec![]),
            (3, 3, write) => self.settings_load_or_save(write),
            _ => Err(Trouble::Generic(rc::NOT_SUPPORTED)),
        }
    }

    fn os_info(&self, format: &str) -> Result<String, Trouble> {
        let words: Result<Vec<&str>, Trouble> = format
            .chars()
            .map(|c| match c {
                's' => Ok("Zephyr"),
                'n' => Ok("unknown"),
                'r' => Ok("aseptic-sim"),
                'v' => Ok("4.3.0"),
                'b' => Ok("Tue Nov 24 03:00:00 2026"),
                'm' | 'p' => Ok("arm"),
                'i' => Ok("simulated"),
                'o' => Ok("Zephyr"),
                'a' => Ok("Zephyr unknown aseptic-sim 4.3.0 arm simulated Zephyr"),
                _ => Err(Trouble::Group { code: 2, v1: rc::INVALID }),
            })
            .collect();
        Ok(words?.join(" "))
    }

    fn bootloader_info(&self, query: Option<&str>) -> Done {
        match query {
            None | Some("") => Ok(vec![("bootloader", Item::Text("MCUboot".into()))]),
            Some("mode") => {
                let mut entries = vec![("mode", Item::Int(self.bootloader.mode.number()))];
                if self.bootloader.no_downgrade {
                    entries.push(("no-downgrade", Item::Bool(true)));
                }
                Ok(entries)
            }
            Some(_) => Err(Trouble::Group { code: 3, v1: rc::NOT_SUPPORTED }),
        }
    }
}
