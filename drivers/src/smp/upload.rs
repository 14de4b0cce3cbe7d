//! Sending an image. The loop owns its window, so that requests in flight are its own affair.

use std::time::Duration;

use aseptic_device::profile::Timing;
use aseptic_device::{Control, DriverError, DriverErrorKind, ImageId, ImageSource, Uploaded};
use tokio::time::{Instant, sleep};

use super::client::{Client, is_out_of_memory};
use super::packet::{HEADER, get, get_uint};
use super::request::Request;

/// Answers in a row that do not move the offset before the upload has failed.
const STUCK: u32 = 20;
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
    let total = source.len();
    let packet = client.largest_packet().await?;
    let mut offset = 0;
    let mut begun = false;
    let mut stuck = 0;
    let mut furthest = 0;
    let mut sampled = Instant::now();
    loop {
        if control.stopped() {
            return Ok(Uploaded::Stopped { offset });
        }
        if control.sample_every().is_some_and(|every| sampled.elapsed() >= every) {
            between.sample(client).await;
            sampled = Instant::now();
            continue;
        }
        let request = piece(image, source, offset, packet, begun)?;
        // The answer to the first piece may wait for the erase of the slot, also when the device began anew.
        let deadline = if offset == 0 { timing.erase() } else { timing.answer() };
        let answered = match client.ask_within(&request, deadline).await {
            Ok(body) => body,
            Err(error) if is_out_of_memory(&error) && stuck < STUCK => {
                stuck += 1;
                sleep(OUT_OF_MEMORY_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let malformed = |what: &str| DriverError::new(request.name.clone(), DriverErrorKind::Malformed(what.into()));
        let next = get_uint(&answered, "off").ok_or_else(|| malformed("no offset"))?;
        if next > total {
            return Err(malformed("an offset past the end"));
        }
        stuck = if next > furthest { 0 } else { stuck + 1 };
        furthest = furthest.max(next);
        if stuck >= STUCK {
            return Err(malformed("the offset does not move"));
        }
        (offset, begun) = (next, true);
        control.progress(offset, total);
        if offset == total {
            return match get(&answered, "match").and_then(ciborium::Value::as_bool) {
                Some(false) => Err(DriverError::new(
                    request.name.clone(),
                    DriverErrorKind::Refused {
                        group: super::request::group::IMAGE,
                        code: 0,
                        meaning: "the device received other bytes than were sent".into(),
                    },
                )),
                Some(true) | None => Ok(Uploaded::Complete),
            };
        }
    }
}

fn piece(
    image: ImageId,
    source: &dyn ImageSource,
    offset: u64,
    packet: usize,
    begun: bool,
) -> Result<Request, DriverError> {
    // Offset 0 names the whole again: a device that restarted has forgotten it.
    let whole = (!begun || offset == 0).then(|| (source.len(), source.sha256()));
    let empty = Request::image_upload(image, offset, Vec::new(), whole);
    let mut body = Vec::new();
    let unreadable = |what: String| DriverError::new(empty.name.clone(), DriverErrorKind::Source(what));
    ciborium::into_writer(&empty.body, &mut body).map_err(|e| unreadable(e.to_string()))?;
    // A byte string of up to 65,535 bytes has two more bytes of header than an empty one.
    let room = packet.saturating_sub(HEADER + body.len() + 2);
    let left = source.len().saturating_sub(offset);
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(room);
    if length == 0 {
        return Err(unreadable("the device's buffers are too small for an upload".into()));
    }
    let mut data = vec![0; length];
    source.read_at(offset, &mut data).map_err(|e| unreadable(e.to_string()))?;
    Ok(Request::image_upload(image, offset, data, whole))
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
