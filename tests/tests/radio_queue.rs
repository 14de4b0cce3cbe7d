//! Many devices on the air and an adapter that holds few links: all are served, and a slow one holds up nobody.

#![cfg(target_os = "linux")]

use std::time::Duration;

use aseptic_device::{Endpoint, Sighting};
use aseptic_tests::air::{BLUEZ, Laptop, over_the_air};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

const SERIAL_NUMBER: Endpoint = Endpoint::Characteristic(0x0000_2a25_0000_1000_8000_0080_5f9b_34fb);
const SLOW: Duration = Duration::from_secs(5);
const HELD: Duration = Duration::from_millis(300);

fn ward() -> String {
    let device = |i: u32| {
        let connect = if i == 1 { SLOW.as_millis() } else { 50 };
        format!(
            "[[device]]\nserial = \"PM-{i}\"\nproduct = \"Monitor\"\nradio = {{ name = \"PM-{i}\", connect-ms = {connect} }}\n"
        )
    };
    let devices: String = (1..=6).map(device).collect();
    format!("[[adapter]]\nname = \"hci0\"\nlinks = 3\n{devices}")
}

async fn all(laptop: &Laptop) -> Vec<Sighting> {
    let mut found = Vec::new();
    for i in 1..=6 {
        found.push(laptop.finds(&format!("PM-{i}")).await);
    }
    found
}

#[test]
fn one_link_more_than_the_adapter_holds_fails_as_bluez_fails() {
    over_the_air("one_link_more_than_the_adapter_holds_fails_as_bluez_fails", &ward(), async |laptop: Laptop| {
        let found = all(&laptop).await;
        let mut links = Vec::new();
        for at in &found[1..4] {
            links.push(laptop.opens(at).await.unwrap());
        }
        let (other, path) = (laptop.connection().await, laptop.path(&found[4]));
        let connect = || other.call_method(Some(BLUEZ), path.as_str(), Some("org.bluez.Device1"), "Connect", &());
        match connect().await.map(drop) {
            Err(zbus::Error::MethodError(name, words, _)) => {
                assert_eq!(name.to_string(), "org.bluez.Error.Failed");
                assert_eq!(words.as_deref(), Some("le-connection-abort-by-local"));
            }
            other => panic!("{other:?}"),
        }
        links.pop();
        sleep(Duration::from_secs(1)).await;
        connect().await.unwrap();
    });
}

#[test]
fn six_devices_are_served_through_three_links_and_a_slow_one_holds_up_nobody() {
    over_the_air(
        "six_devices_are_served_through_three_links_and_a_slow_one_holds_up_nobody",
        &ward(),
        async |laptop: Laptop| {
            let found = all(&laptop).await;
            let begun = Instant::now();
            let visits = found.iter().map(async |at| {
                let mut link = laptop.opens(at).await.unwrap();
                let serial = link.read(SERIAL_NUMBER).await.unwrap();
                sleep(HELD).await;
                (String::from_utf8(serial).unwrap(), begun.elapsed())
            });
            let served = join_all(visits).await;
            let serials: Vec<&str> = served.iter().map(|(s, _)| s.as_str()).collect();
            assert_eq!(serials, ["PM-1", "PM-2", "PM-3", "PM-4", "PM-5", "PM-6"]);
            let (slow, rest) = served.split_first().unwrap();
            assert!(slow.1 >= SLOW, "{served:?}");
            assert!(rest.iter().all(|(_, at)| *at < SLOW), "nobody waited for the slow one: {served:?}");
            assert!(rest.iter().any(|(_, at)| *at >= HELD * 2), "some had to wait for a link: {served:?}");
        },
    );
}
