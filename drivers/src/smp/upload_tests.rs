use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aseptic_device::driver::Readiness;
use aseptic_device::profile::Framing;
use aseptic_device::{Endpoint, Intent, Transport};

use super::super::packet::{Packet, get_int, map};
use super::super::peer::{Does, Peer};
use super::*;

struct Bytes(Vec<u8>);

impl ImageSource for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn sha256(&self) -> [u8; 32] {
        [7; 32]
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        buf.copy_from_slice(&self.0[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }
}

#[derive(Default)]
struct Hand(AtomicUsize);

impl Control for Hand {
    fn progress(&self, _: u64, _: u64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        false
    }

    fn sample_every(&self) -> Option<Duration> {
        None
    }

    fn sampled(&self, _: Result<Readiness, DriverError>) {}
}

struct Idle;

#[async_trait::async_trait]
impl Between for Idle {
    async fn sample(&mut self, _: &mut Client) {}
}

// A device with an upload area; `twist` may change what it does with a piece.
fn device(
    mut twist: impl FnMut(&mut Vec<u8>, u64) -> Option<Does> + Send + 'static,
) -> (Box<dyn Transport>, Arc<Mutex<Vec<u8>>>) {
    let area = Arc::new(Mutex::new(Vec::new()));
    let kept = area.clone();
    let (link, _) = Peer::link(Framing::Console, move |p: &Packet| match (p.group, p.command) {
        (0, 6) => Does::Says(map([("buf_size", 256.into()), ("buf_count", 4.into())])),
        (1, 1) => {
            let mut area = kept.lock().unwrap();
            let off = get_uint(&p.body, "off").unwrap();
            if let Some(does) = twist(&mut area, off) {
                return does;
            }
            if off == area.len() as u64 {
                area.extend(get(&p.body, "data").and_then(ciborium::Value::as_bytes).unwrap());
            }
            Does::Says(map([("off", (area.len() as u64).into())]))
        }
        _ => Does::Says(map([("rc", 8.into())])),
    });
    (link, area)
}

async fn send(link: Box<dyn Transport>, bytes: &[u8]) -> Result<Uploaded, DriverError> {
    let timing = Timing { answer_s: 1, erase_s: 30, ..Timing::default() };
    let mut client = Client::new(link, Endpoint::Stream, Framing::Console, Intent::Effect, timing.answer());
    upload(&mut client, ImageId(0), &Bytes(bytes.to_vec()), &Hand::default(), &timing, &mut Idle).await
}

fn image() -> Vec<u8> {
    (0..5_000u32).map(|i| (i * 7) as u8).collect()
}

#[tokio::test(start_paused = true)]
async fn an_image_arrives_whole() {
    let (link, area) = device(|_, _| None);
    assert_eq!(send(link, &image()).await.unwrap(), Uploaded::Complete);
    assert_eq!(*area.lock().unwrap(), image());
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_where_the_device_says() {
    let (link, area) = device(|_, _| None);
    area.lock().unwrap().extend(&image()[..3_000]);
    assert_eq!(send(link, &image()).await.unwrap(), Uploaded::Complete);
    assert_eq!(*area.lock().unwrap(), image());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_forgets_in_the_middle_gets_all_of_it_again() {
    let mut forgot = false;
    let (link, area) = device(move |area, off| {
        if off > 2_000 && !forgot {
            forgot = true;
            area.clear();
        }
        None
    });
    assert_eq!(send(link, &image()).await.unwrap(), Uploaded::Complete);
    assert_eq!(*area.lock().unwrap(), image());
}

// A whole image ends the upload at the device: asked about its end again, it begins at 0.
#[tokio::test(start_paused = true)]
async fn an_image_whose_last_answer_was_lost_is_not_sent_again() {
    let whole = Arc::new(Mutex::new(Vec::new()));
    let kept = whole.clone();
    let (link, area) = device(move |area, off| {
        if off < 4_800 {
            return None;
        }
        if area.len() as u64 == off {
            *kept.lock().unwrap() = [area.as_slice(), &image()[off as usize..]].concat();
            area.clear();
            return Some(Does::Nothing);
        }
        None
    });
    assert_eq!(send(link, &image()).await.unwrap(), Uploaded::Complete);
    assert_eq!(*whole.lock().unwrap(), image());
    assert!(area.lock().unwrap().is_empty(), "no second upload was begun");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_forgot_much_and_then_takes_every_piece_is_not_stuck() {
    let mut restarts = 0;
    let (link, area) = device(move |area, off| {
        if restarts < 3 && off > 4_000 {
            restarts += 1;
            area.clear();
        }
        None
    });
    assert_eq!(send(link, &image()).await.unwrap(), Uploaded::Complete);
    assert_eq!(*area.lock().unwrap(), image());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_goes_back_and_forth_for_ever_ends_the_upload() {
    let (link, _) = device(|area, off| {
        if off > 400 {
            area.clear();
        }
        None
    });
    let error = send(link, &image()).await.unwrap_err();
    assert!(error.to_string().contains("does not move"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_received_other_bytes_has_refused() {
    let (link, _) =
        device(|_, off| (off > 4_800).then(|| Does::Says(map([("off", 5_000.into()), ("match", false.into())]))));
    let error = send(link, &image()).await.unwrap_err();
    assert!(matches!(error.kind, DriverErrorKind::Refused { .. }) && !error.leaves_doubt(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_offset_past_the_end_or_below_zero_is_not_believed() {
    for off in [5_001i64, -1, i64::MAX] {
        let (link, _) = device(move |_, _| Some(Does::Says(map([("off", off.into())]))));
        let error = send(link, &image()).await.unwrap_err();
        assert!(matches!(error.kind, DriverErrorKind::Malformed(_)), "{off}: {error}");
    }
    assert_eq!(get_int(&map([("off", (-1).into())]), "off"), Some(-1));
}

#[tokio::test(start_paused = true)]
async fn a_device_out_of_memory_is_given_time() {
    let mut short = 5;
    let (link, area) = device(move |_, _| {
        short -= 1;
        (short > 0).then(|| Does::Says(map([("rc", 2.into())])))
    });
    assert_eq!(send(link, &image()).await.unwrap(), Uploaded::Complete);
    assert_eq!(*area.lock().unwrap(), image());
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_is_given_the_time_of_an_erase_whenever_the_image_begins() {
    let (link, _) = device(|_, _| Some(Does::Nothing));
    let error = send(link, &image()).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::NoAnswer { waited: Duration::from_secs(90) });
    let mut forgot = false;
    let (link, _) = device(move |area, off| {
        forgot |= off > 1_000;
        if forgot {
            area.clear();
            return (off == 0).then_some(Does::Nothing);
        }
        None
    });
    let error = send(link, &image()).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::NoAnswer { waited: Duration::from_secs(90) }, "forgotten in the middle");
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_upload_is_resumed_by_its_hash_over_the_next_link() {
    let (link, area) = device(|_, off| (off > 2_000).then_some(Does::Nothing));
    assert!(send(link, &image()).await.unwrap_err().leaves_doubt());
    let held = area.lock().unwrap().len();
    assert!(held > 2_000);

    let kept = area.clone();
    let (link, heard) = Peer::link(Framing::Console, move |p: &Packet| {
        let mut area = kept.lock().unwrap();
        match (p.group, p.command, get(&p.body, "sha").and_then(ciborium::Value::as_bytes)) {
            (1, 1, Some(sha)) if *sha == [7; 32] && get_uint(&p.body, "len") == Some(5_000) => {}
            (1, 1, None) => area.extend(get(&p.body, "data").and_then(ciborium::Value::as_bytes).unwrap()),
            (1, 1, Some(_)) => area.clear(),
            _ => return Does::Says(map([("rc", 8.into())])),
        }
        Does::Says(map([("off", (area.len() as u64).into())]))
    });
    assert_eq!(send(link, &image()).await.unwrap(), Uploaded::Complete);
    assert_eq!(*area.lock().unwrap(), image());
    let offsets: Vec<u64> = heard.lock().unwrap().iter().filter_map(|p| get_uint(&p.body, "off")).collect();
    assert_eq!(offsets[..2], [0, held as u64], "nothing that it held was sent again");
}

#[tokio::test(start_paused = true)]
async fn an_old_device_without_parameters_gets_one_small_piece_at_a_time() {
    let area = Arc::new(Mutex::new(Vec::<u8>::new()));
    let kept = area.clone();
    let (link, heard) = Peer::link_of_version_one(move |p: &Packet| match (p.group, p.command) {
        (1, 1) => {
            let mut area = kept.lock().unwrap();
            area.extend(get(&p.body, "data").and_then(ciborium::Value::as_bytes).unwrap());
            Does::Says(map([("rc", 0.into()), ("off", (area.len() as u64).into())]))
        }
        _ => Does::Says(map([("rc", 8.into())])),
    });
    assert_eq!(send(link, &image()).await.unwrap(), Uploaded::Complete);
    assert_eq!(*area.lock().unwrap(), image());
    let heard = heard.lock().unwrap();
    assert!(heard.iter().all(|p| p.encode().unwrap().len() <= 380), "no packet above the usual buffer");
}
