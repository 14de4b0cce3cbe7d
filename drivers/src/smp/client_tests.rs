use std::sync::{Arc, Mutex};

use aseptic_device::ImageId;

use super::super::packet::map;
use super::super::peer::{Does, Peer, answer};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

type Heard = Arc<Mutex<Vec<Packet>>>;

fn client(framing: Framing, permit: Intent, script: impl FnMut(&Packet) -> Does + Send + 'static) -> (Client, Heard) {
    let (link, heard) = Peer::link(framing, script);
    (Client::new(link, Endpoint::Stream, framing, permit, SECOND), heard)
}

fn reader(script: impl FnMut(&Packet) -> Does + Send + 'static) -> (Client, Heard) {
    client(Framing::Console, Intent::Read, script)
}

fn count(heard: &Heard, group: u16, command: u8) -> usize {
    heard.lock().unwrap().iter().filter(|p| (p.group, p.command) == (group, command)).count()
}

#[tokio::test(start_paused = true)]
async fn an_inspecting_link_sends_nothing_that_changes_a_device() {
    let (mut client, heard) = reader(|_| Does::Says(map([])));
    let effects = [
        Request::reset(),
        Request::image_confirm(),
        Request::image_erase(1),
        Request::image_upload(ImageId(0), 0, vec![1], Some((1, [0; 32]))),
        Request::setting_write("net/telnet", vec![0]),
        Request::settings_save(),
    ];
    for request in effects {
        let error = client.ask(&request).await.unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::EffectOnInspectingLink, "{}", request.name);
    }
    assert!(heard.lock().unwrap().is_empty(), "not even a greeting");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_earlier_conversation_is_never_taken_for_ours() {
    // The stale answer has the number that our first question will have.
    let (mut probe, heard) = reader(|_| Does::Says(map([("datetime", "new".into())])));
    probe.ask(&Request::datetime()).await.unwrap();
    let asked = heard.lock().unwrap().last().unwrap().clone();
    for ahead in 0..=u8::MAX {
        let question = Packet { sequence: ahead, ..asked.clone() };
        let stale = answer(Framing::Console, &question, map([("datetime", "old".into())]));
        let (link, _) = Peer::link_after(Framing::Console, stale, |_| Does::Says(map([("datetime", "new".into())])));
        let mut client = Client::new(link, Endpoint::Stream, Framing::Console, Intent::Read, SECOND);
        let body = client.ask(&Request::datetime()).await.unwrap();
        assert_eq!(get_text(&body, "datetime"), Some("new"));
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_not_plainly_zero_is_an_error() {
    let bodies = [
        map([("rc", (-1).into())]),
        map([("rc", "no".into())]),
        map([("rc", 3.into())]),
        map([("err", map([("group", 1.into()), ("rc", 9.into())]))]),
        map([("err", map([("group", 1.into())]))]),
        map([("err", 5.into())]),
    ];
    for body in bodies {
        let shown = format!("{body:?}");
        let (mut client, _) = reader(move |_| Does::Says(body.clone()));
        let error = client.ask(&Request::datetime()).await.unwrap_err();
        assert!(matches!(error.kind, DriverErrorKind::Refused { .. }), "{shown}: {error}");
    }
    let (mut client, _) = reader(|_| Does::Says(map([("rc", 0.into())])));
    assert!(client.ask(&Request::datetime()).await.is_ok());
    let (mut client, _) = reader(|_| Does::Says(map([("rc", 8.into())])));
    assert_eq!(client.ask(&Request::datetime()).await.unwrap_err().kind, DriverErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn one_lost_answer_does_not_pin_version_one_and_a_device_of_version_one_is_understood() {
    let mut lost = 1;
    let (mut client, heard) = reader(move |_| {
        lost -= 1;
        if lost >= 0 { Does::Nothing } else { Does::Says(map([])) }
    });
    client.ask(&Request::datetime()).await.unwrap();
    assert!(heard.lock().unwrap().iter().all(|p| p.version == Version::V2));

    let (link, heard) =
        Peer::link(Framing::Console, |p| if p.version == Version::V1 { Does::Says(map([])) } else { Does::Nothing });
    let mut old = Client::new(link, Endpoint::Stream, Framing::Console, Intent::Read, SECOND);
    old.greeting = None;
    old.ask(&Request::datetime()).await.unwrap();
    old.ask(&Request::datetime()).await.unwrap();
    let versions: Vec<Version> = heard.lock().unwrap().iter().map(|p| p.version).collect();
    assert_eq!(versions, [Version::V2, Version::V2, Version::V1, Version::V1]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_device_is_asked_again_and_a_silent_one_ends_in_time() {
    let mut left = 2;
    let (mut client, heard) = reader(move |_| {
        left -= 1;
        Does::Says(map([("rc", if left >= 0 { 10 } else { 0 }.into())]))
    });
    client.ask(&Request::datetime()).await.unwrap();
    assert_eq!(count(&heard, 0, 4), 3);

    let (mut client, _) = reader(|_| Does::Nothing);
    let began = Instant::now();
    let error = client.ask(&Request::datetime()).await.unwrap_err();
    assert!(error.leaves_doubt() && began.elapsed() < SECOND * 10, "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_sent_twice_is_sent_once() {
    let (mut client, heard) = client(Framing::Console, Intent::Effect, |_| Does::Nothing);
    client.ask(&Request::reset()).await.unwrap_err();
    assert_eq!(count(&heard, 0, 5), 1);
}

#[tokio::test(start_paused = true)]
async fn raw_framing_finds_its_feet_after_noise() {
    let (mut client, _) = client(Framing::Raw, Intent::Read, |p| {
        let mut bytes = b"*** Booting Zephyr ***\r\n\x01\x00\xff\xff".to_vec();
        bytes.extend(answer(Framing::Raw, p, map([("datetime", "now".into())])));
        Does::Raw(bytes)
    });
    let body = client.ask(&Request::datetime()).await.unwrap();
    assert_eq!(get_text(&body, "datetime"), Some("now"));
}

#[tokio::test(start_paused = true)]
async fn a_device_without_parameters_gets_small_packets_one_at_a_time() {
    let (mut client, _) = reader(|_| Does::Says(map([("rc", 8.into())])));
    assert_eq!(client.buffers().await.unwrap(), Buffers { size: DEFAULT_BUFFER, count: 1 });
    let (mut client, _) = reader(|_| Does::Says(map([("buf_size", 96.into()), ("buf_count", 0.into())])));
    assert_eq!(client.buffers().await.unwrap(), Buffers { size: 96, count: 1 }, "never more than the device says");
}
