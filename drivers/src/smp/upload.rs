//! Sending an image. The loop owns its window, so that requests in flight are its own affair.

use std::collections::VecDeque;
use std::time::Duration;

use aseptic_device::profile::Timing;
use aseptic_device::{Control, DriverError, DriverErrorKind, ImageId, ImageSource, Uploaded};
use ciborium::Value;
use tokio::time::{Instant, sleep};

use super::client::{Client, Posted, is_out_of_memory};
use super::packet::{HEADER, get, get_uint};
use super::request::{Request, group};

/// Answers in a row that do not move the offset before the upload has failed.
const STUCK: u32 = 20;
/// Deadlines in a row without any answer before the device counts as gone.
const SILENT: u32 = 3;
/// Answers without trouble after which one more request is kept in flight.
const CALM: u32 = 16;
const OUT_OF_MEMORY_PAUSE: Duration = Duration::from_millis(100);

/// What comes between two pieces; the device's readings need the same link.
#[async_trait::async_trait]
pub(super) trait Between: Send {
    async fn sample(&mut self, client: &mut Client);
}

pub(super) async fn upload(
    client: &mut Client,
    image: ImageId,
    source: &dyn ImageSource,
    control: &dyn Control,
    timing: &Timing,
    between: &mut dyn Between,
) -> Result<Uploaded, DriverError> {
    let most = client.largest_packet().await?;
    // The answers need buffers too: as many requests in flight as buffers are answered "out of memory".
    let widest = client.buffers().await?.count.saturating_sub(1).max(1);
    let line = Line { image, source, timing, most, widest };
    let mut sending = Sending::new(&line);
    let mut sampled = Instant::now();
    loop {
        if control.stopped() {
            sending.drain(client).await?;
            return Ok(Uploaded::Stopped { offset: sending.held });
        }
        if control.sample_every().is_some_and(|every| sampled.elapsed() >= every) {
            sending.drain(client).await?;
            between.sample(client).await;
            sampled = Instant::now();
            continue;
        }
        sending.fill(client).await?;
        sending.take(client).await?;
        control.progress(sending.held, source.len());
        if let Some(matches) = sending.complete {
            return if matches { Ok(Uploaded::Complete) } else { Err(other_bytes(sending.held)) };
        }
    }
}

// What stays the same during an upload.
struct Line<'a> {
    image: ImageId,
    source: &'a dyn ImageSource,
    timing: &'a Timing,
    most: usize,
    widest: usize,
}

// A piece on its way. One that was overtaken by a new start still holds a buffer of the device until it is answered.
struct InFlight {
    sequence: u8,
    end: u64,
    first: bool,
    overtaken: bool,
    within: Duration,
    deadline: Instant,
}

struct Sending<'a> {
    line: &'a Line<'a>,
    flying: VecDeque<InFlight>,
    // Bytes that the device said it holds.
    held: u64,
    // Where the next piece begins.
    next: u64,
    // The device was told length and hash since it last forgot them.
    begun: bool,
    window: usize,
    calm: u32,
    furthest: u64,
    stuck: u32,
    silent: u32,
    waited: Duration,
    complete: Option<bool>,
    // The last piece was sent and not answered in time.
    last_unanswered: bool,
}

impl<'a> Sending<'a> {
    fn new(line: &'a Line<'a>) -> Self {
        Self {
            line,
            flying: VecDeque::new(),
            held: 0,
            next: 0,
            begun: false,
            window: line.widest,
            calm: 0,
            furthest: 0,
            stuck: 0,
            silent: 0,
            waited: Duration::ZERO,
            complete: None,
            last_unanswered: false,
        }
    }

    // The first piece travels alone: its answer says where to go on, and it may wait for an erase.
    async fn fill(&mut self, client: &mut Client) -> Result<(), DriverError> {
        let total = self.line.source.len();
        while self.flying.len() < self.window && self.next < total {
            let first = self.next == 0 || !self.begun;
            if first && !self.flying.is_empty() || self.flying.iter().any(|f| f.first) {
                return Ok(());
            }
            let (request, length) = self.line.piece(self.next, first)?;
            let within = if first { self.line.timing.erase() } else { self.line.timing.answer() };
            let sequence = client.post(&request).await?;
            let deadline = Instant::now() + within;
            self.next += length;
            self.flying.push_back(InFlight { sequence, end: self.next, first, overtaken: false, within, deadline });
        }
        Ok(())
    }

    async fn take(&mut self, client: &mut Client) -> Result<(), DriverError> {
        let kind = Request::image_upload(self.line.image, self.held, Vec::new(), None);
        let Some(deadline) = self.flying.front().map(|f| f.deadline) else {
            return Err(self.malformed("nothing is on its way"));
        };
        match client.next_answer(&kind, deadline).await? {
            Some(answer) => self.answered(answer).await,
            None => self.lost(),
        }
    }

    async fn answered(&mut self, answer: Posted) -> Result<(), DriverError> {
        let Some(at) = self.flying.iter().position(|f| f.sequence == answer.sequence) else { return Ok(()) };
        let Some(piece) = self.flying.remove(at) else { return Ok(()) };
        (self.silent, self.waited) = (0, Duration::ZERO);
        let body = match answer.body {
            Ok(body) => body,
            Err(error) if is_out_of_memory(&error) && self.stuck < STUCK => {
                self.stuck += 1;
                self.narrow();
                if !piece.overtaken {
                    self.go_back_to(self.held);
                }
                sleep(OUT_OF_MEMORY_PAUSE).await;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let offset = get_uint(&body, "off").ok_or_else(|| self.malformed("no offset"))?;
        if offset > self.line.source.len() {
            return Err(self.malformed("an offset past the end"));
        }
        if piece.overtaken {
            return Ok(());
        }
        if offset == 0 && self.last_unanswered {
            // It took the last piece, whose answer was lost, and so knows of no upload any more; or it forgot everything.
            // What it lists tells which.
            self.complete = Some(true);
            return Ok(());
        }
        self.moved(offset, offset == piece.end)?;
        self.begun = true;
        if offset == piece.end {
            self.held = offset;
            self.calmed();
        } else {
            // It had some of it already, lost an earlier piece, or forgot everything: it says where to go on.
            self.go_back_to(offset);
        }
        if offset == self.line.source.len() {
            self.complete = Some(get(&body, "match").and_then(Value::as_bool).unwrap_or(true));
        }
        Ok(())
    }

    // What it was sent again after it went back is no standstill; going back again and again is.
    fn moved(&mut self, offset: u64, took_piece: bool) -> Result<(), DriverError> {
        self.stuck = if offset > self.furthest { 0 } else { self.stuck + u32::from(!took_piece) };
        self.furthest = self.furthest.max(offset);
        if self.stuck >= STUCK { Err(self.malformed("the offset does not move")) } else { Ok(()) }
    }

    // No answer in time: a piece or an answer was lost, or the device is gone.
    fn lost(&mut self) -> Result<(), DriverError> {
        self.silent += 1;
        self.waited += self.flying.front().map_or(Duration::ZERO, |f| f.within);
        if self.silent >= SILENT {
            let kind = DriverErrorKind::NoAnswer { waited: self.waited };
            return Err(DriverError::new(format!("image upload at {}", self.held), kind));
        }
        self.narrow();
        self.last_unanswered |= self.flying.iter().any(|f| f.end == self.line.source.len());
        self.flying.clear();
        self.next = self.held;
        Ok(())
    }

    fn go_back_to(&mut self, offset: u64) {
        self.flying.iter_mut().for_each(|f| f.overtaken = true);
        self.held = offset;
        self.next = offset;
    }

    fn narrow(&mut self) {
        self.window = (self.window - 1).max(1);
        self.calm = 0;
    }

    fn calmed(&mut self) {
        self.calm += 1;
        if self.calm >= CALM {
            self.window = (self.window + 1).min(self.line.widest);
            self.calm = 0;
        }
    }

    // Waits until nothing is on its way, so that other requests find the link and the device's buffers free.
    async fn drain(&mut self, client: &mut Client) -> Result<(), DriverError> {
        while !self.flying.is_empty() && self.complete.is_none() {
            self.take(client).await?;
        }
        Ok(())
    }

    fn malformed(&self, what: &str) -> DriverError {
        DriverError::new(format!("image upload at {}", self.held), DriverErrorKind::Malformed(what.into()))
    }
}

impl Line<'_> {
    // A piece that fills one packet. The first names the whole again: a device that restarted has forgotten it.
    fn piece(&self, offset: u64, first: bool) -> Result<(Request, u64), DriverError> {
        let whole = first.then(|| (self.source.len(), self.source.sha256()));
        let empty = Request::image_upload(self.image, offset, Vec::new(), whole);
        let mut body = Vec::new();
        let unreadable = |what: String| DriverError::new(empty.name.clone(), DriverErrorKind::Source(what));
        ciborium::into_writer(&empty.body, &mut body).map_err(|e| unreadable(e.to_string()))?;
        // A byte string of up to 65,535 bytes has two more bytes of header than an empty one.
        let room = self.most.saturating_sub(HEADER + body.len() + 2);
        let left = self.source.len().saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(room);
        if length == 0 {
            return Err(unreadable("the device's buffers are too small for an upload".into()));
        }
        let mut data = vec![0; length];
        self.source.read_at(offset, &mut data).map_err(|e| unreadable(e.to_string()))?;
        Ok((Request::image_upload(self.image, offset, data, whole), length as u64))
    }
}

fn other_bytes(offset: u64) -> DriverError {
    let meaning = "the device received other bytes than were sent".to_owned();
    let kind = DriverErrorKind::Refused { group: group::IMAGE, code: 0, meaning };
    DriverError::new(format!("image upload at {offset}"), kind)
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
