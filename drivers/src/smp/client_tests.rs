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
        map([("err", map([("group", 1.into()), ("rc", 0.into())]))]),
        map([("rc", 0.into()), ("err", map([]))]),
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

    let (link, heard) = Peer::link_of_version_one(|_| Does::Says(map([])));
    let mut old = Client::new(link, Endpoint::Stream, Framing::Console, Intent::Read, SECOND);
    old.ask(&Request::datetime()).await.unwrap();
    old.ask(&Request::datetime()).await.unwrap();
    let versions: Vec<Version> = heard.lock().unwrap().iter().map(|p| p.version).collect();
    assert_eq!(versions, [Version::V2, Version::V2, Version::V1, Version::V1, Version::V1], "the greeting found out");
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

#[tokio::test(start_paused = true)]
async fn the_echo_of_an_earlier_conversation_is_waited_out() {
    let (mut probe, heard) = reader(|_| Does::Says(map([])));
    probe.ask(&Request::datetime()).await.unwrap();
    let greeting = heard.lock().unwrap().first().unwrap().clone();
    let mut before = Vec::new();
    for sequence in 0..=u8::MAX {
        let question = Packet { sequence, ..greeting.clone() };
        before.extend(answer(Framing::Console, &question, map([("r", "someone else".into())])));
    }
    for sequence in 0..=u8::MAX {
        let question = Packet { sequence, op: Op::Read, command: 4, ..greeting.clone() };
        before.extend(answer(Framing::Console, &question, map([("datetime", "old".into())])));
    }
    let (link, _) = Peer::link_after(Framing::Console, before, |_| Does::Says(map([("datetime", "new".into())])));
    let mut client = Client::new(link, Endpoint::Stream, Framing::Console, Intent::Read, SECOND);
    assert_eq!(get_text(&client.ask(&Request::datetime()).await.unwrap(), "datetime"), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn raw_framing_gives_up_a_header_that_noise_made() {
    // Says that 512 bytes follow.
    let noise = [1, 0, 2, 0, 0, 0, 9, 4];
    let (mut client, heard) = client(Framing::Raw, Intent::Effect, move |p| {
        let mut bytes = noise.to_vec();
        bytes.extend(answer(Framing::Raw, p, map([])));
        Does::Raw(bytes)
    });
    client.ask(&Request::reset()).await.unwrap();
    assert_eq!(count(&heard, 0, 5), 1, "found in what had arrived, not by asking again");
}

#[tokio::test(start_paused = true)]
async fn a_port_that_takes_no_bytes_ends_in_time() {
    let (mut client, _) = reader(|_| Does::Hangs);
    let began = Instant::now();
    let error = client.ask(&Request::datetime()).await.unwrap_err();
    assert!(matches!(error.kind, DriverErrorKind::NoAnswer { .. }) && began.elapsed() <= WRITE, "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_buffers_is_not_sent() {
    let write = Request::setting_write("net/name", vec![0; DEFAULT_BUFFER]);
    let (mut client, heard) = client(Framing::Console, Intent::Effect, |p| match p.command {
        6 => Does::Says(map([("buf_size", 1_024.into())])),
        _ => Does::Says(map([])),
    });
    let error = client.ask(&write).await.unwrap_err();
    assert!(matches!(error.kind, DriverErrorKind::Profile(_)) && count(&heard, 3, 0) == 0, "{error}");
    client.buffers().await.unwrap();
    client.ask(&write).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_a_console_shares_the_buffer_with_its_framing() {
    for (framing, largest) in [(Framing::Console, 380), (Framing::Raw, 384)] {
        let (mut client, heard) = client(framing, Intent::Effect, |_| Does::Says(map([("buf_size", 384.into())])));
        assert_eq!(client.largest_packet().await.unwrap(), largest);
        let with = |length| Request::setting_write("n", vec![7; length]);
        let fits = (0..=384).rev().find(|n| encoded(&with(*n)) == largest).unwrap();
        client.ask(&with(fits)).await.unwrap();
        let told = heard.lock().unwrap().len();
        let error = client.ask(&with(fits + 1)).await.unwrap_err();
        assert!(matches!(error.kind, DriverErrorKind::Profile(_)), "{error}");
        assert_eq!(heard.lock().unwrap().len(), told, "nothing was sent");
    }
}

fn encoded(request: &Request) -> usize {
    let (op, group, command) = (request.op, request.group, request.command);
    let packet = Packet { op, version: Version::V2, group, sequence: 0, command, body: &request.body };
    packet.encode().unwrap().len()
}
