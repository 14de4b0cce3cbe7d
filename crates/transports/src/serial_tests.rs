use std::os::fd::OwnedFd;

use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use super::*;

fn pty() -> (OwnedFd, OwnedFd, String) {
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    let mut settings = tcgetattr(&slave).unwrap();
    cfmakeraw(&mut settings);
    tcsetattr(&slave, SetArg::TCSANOW, &settings).unwrap();
    let path = nix::unistd::ttyname(&slave).unwrap().to_string_lossy().into_owned();
    (master, slave, path)
}

fn named(path: &str) -> Sighting {
    Sighting { address: Address::Port(path.into()), usb: None, radio: None, name: None, named: true, simulated: false }
}

#[tokio::test]
async fn bytes_go_both_ways_and_a_hangup_is_told_as_gone() {
    let (master, slave, path) = pty();
    let bus = SerialBus::new(vec![path.clone().into()]);
    let mut link = bus.open(&named(&path), &LineSettings::default()).await.unwrap();
    link.write(Endpoint::Stream, b"ask\n").await.unwrap();
    let mut asked = [0; 4];
    assert_eq!(nix::unistd::read(&master, &mut asked).unwrap(), 4);
    nix::unistd::write(&master, b"answer").unwrap();
    assert_eq!(link.receive().await.unwrap().bytes, b"answer");
    drop((master, slave));
    assert_eq!(link.receive().await.unwrap_err().kind, LinkErrorKind::Gone);
}

#[tokio::test]
async fn a_port_that_is_held_is_told_as_busy_and_is_free_again_afterwards() {
    let (_master, _slave, path) = pty();
    let bus = SerialBus::new(vec![path.clone().into()]);
    let first = bus.open(&named(&path), &LineSettings::default()).await.unwrap();
    let error = bus.open(&named(&path), &LineSettings::default()).await.err().unwrap();
    assert_eq!(error.kind, LinkErrorKind::Busy);
    drop(first);
    assert!(bus.open(&named(&path), &LineSettings::default()).await.is_ok());
}

#[tokio::test]
async fn what_was_left_unread_is_no_answer() {
    let (master, _slave, path) = pty();
    nix::unistd::write(&master, b"old").unwrap();
    let bus = SerialBus::new(vec![path.clone().into()]);
    let mut link = bus.open(&named(&path), &LineSettings::default()).await.unwrap();
    nix::unistd::write(&master, b"new").unwrap();
    assert_eq!(link.receive().await.unwrap().bytes, b"new");
}

#[tokio::test]
async fn a_link_to_a_port_and_the_port_are_one_sighting() {
    let dir = tempfile::tempdir().unwrap();
    let (_master, _slave, path) = pty();
    let link = dir.path().join("pump");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let present = SerialBus::new(vec![path.into(), link.clone()]).present();
    assert_eq!(present.keys().collect::<Vec<_>>(), [&Address::Port(link.to_string_lossy().into_owned())]);
}

#[tokio::test]
async fn a_missing_port_is_not_found() {
    let bus = SerialBus::default();
    let error = bus.open(&named("/nowhere/tty"), &LineSettings::default()).await.err().unwrap();
    assert_eq!(error.kind, LinkErrorKind::NotFound);
}

#[tokio::test]
async fn a_simulated_ward_appears_and_disappears_and_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let (_master, _slave, path) = pty();
    let bus = SerialBus::simulated(dir.path().into());
    let mut watch = bus.watch();
    let port = dir.path().join("ttySIM0");
    std::os::unix::fs::symlink(&path, &port).unwrap();
    let usb = r#"{"vid":4617,"pid":1,"serial":"SN-1","product":"Simulated SP-1"}"#;
    std::fs::write(dir.path().join("ttySIM0.usb.json"), usb).unwrap();
    let Some(SightingEvent::Seen(seen)) = watch.next().await else { panic!("not seen") };
    assert!(seen.simulated && !seen.named);
    assert_eq!(seen.usb.unwrap().serial.unwrap().as_str(), "SN-1");
    std::fs::remove_file(&port).unwrap();
    assert_eq!(watch.next().await, Some(SightingEvent::Gone(Address::Port(port.to_string_lossy().into_owned()))));
}

#[test]
fn a_line_that_cannot_be_set_is_told_unless_the_port_has_none() {
    use nix::errno::Errno;
    assert!(where_it_has_lines(Ok(())).is_ok());
    let (_master, _slave, path) = pty();
    let mut pty = tokio_serial::new(path, 9_600).open().unwrap();
    let none = pty.write_data_terminal_ready(true);
    assert!(none.is_err() && where_it_has_lines(none).is_ok());
    for errno in [Errno::EIO, Errno::EPERM, Errno::EACCES, Errno::EINVAL] {
        let words = errno.desc();
        let error = tokio_serial::Error::new(tokio_serial::ErrorKind::Unknown, words);
        assert_eq!(where_it_has_lines(Err(error)).unwrap_err().to_string(), words);
    }
}
