use aseptic_device::{AddressKind, DriverErrorKind, LinkErrorKind};

use super::super::peer::{Does, Peer, Table, seen};
use super::*;

const ANSWER: Duration = Duration::from_secs(2);
const MONITOR: u16 = 0x1822;

fn says(value: &[u8]) -> Does {
    Does::Says(value.to_vec())
}

fn unreadable<T>(why: &str) -> Told<T> {
    Told::Unreadable(why.into())
}

async fn posture_of(peer: Peer, management: Told<bool>) -> Posture {
    let mut link: Box<dyn Transport> = Box::new(peer);
    read(link.as_mut(), ANSWER, management).await.unwrap().unwrap()
}

async fn of(table: Table<'_>) -> Posture {
    posture_of(Peer::new(table, [seen(table)]), Told::Value(true)).await
}

#[tokio::test(start_paused = true)]
async fn everything_that_a_device_tells_is_read() {
    let posture = of(&[
        (0x1800, &[(0x2bf5, says(&[1, 3]))]),
        (0x1801, &[(0x2b2a, says(&[0xab; 16]))]),
        (0x1805, &[(0x2a2b, says(&[0xea, 0x07, 11, 24, 3, 0, 7, 2, 0, 0]))]),
        (0x180f, &[(0x2a19, says(&[81]))]),
        (
            0x180a,
            &[(0x2a29, says(b"Acme")), (0x2a50, says(&[2, 1, 0, 2, 0, 0, 0])), (0x2bff, says(b"\x0200860000000017\0"))],
        ),
        (0x1822, &[(0x2a60, says(&[0, 0]))]),
    ])
    .await;
    assert_eq!(posture.security_levels.value().unwrap().first().unwrap().level, 3);
    assert_eq!(posture.database_hash, Told::Value("ab".repeat(16)));
    assert_eq!(posture.clock.value().unwrap().to_string(), "2026-11-24T03:00:07");
    assert_eq!(posture.battery, Told::Value(81));
    assert_eq!(posture.information["2a29"], Told::Value("Acme".into()));
    assert_eq!(posture.information["2a25"], Told::Absent);
    assert_eq!(posture.pnp.value().unwrap().product, 2);
    assert_eq!(posture.udi, Told::Value("00860000000017".into()));
    assert_eq!(posture.clinical, [("2a60".to_owned(), Told::Value(true))].into());
    assert_eq!(posture.management, Told::Absent, "it offers no such service");
    assert!(posture.services.contains(&"00001822-0000-1000-8000-00805f9b34fb".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_a_device_lacks_is_absent_and_what_the_platform_hides_is_unreadable() {
    let mut told = seen(&[]);
    told.hidden = [0x1800, 0x1801, 0x180f].map(uuid).into();
    told.battery = Some(64);
    let posture = posture_of(Peer::new(&[], [told]), Told::Value(true)).await;
    assert_eq!(posture.security_levels, unreadable(HIDDEN));
    assert_eq!(posture.database_hash, unreadable(HIDDEN));
    assert_eq!(posture.battery, Told::Value(64), "the platform tells it in place of the service");
    assert_eq!((posture.pnp, posture.clock), (Told::Absent, Told::Absent));
    assert!(matches!(posture.address, Told::Unreadable(_)) && matches!(posture.flags, Told::Unreadable(_)));
    assert_eq!(posture.name, Told::Absent);
    assert_eq!(posture.hidden.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_want_of_keys_is_good_for_clinical_values_only() {
    let refused = || Does::Fails(LinkErrorKind::NotPaired);
    let odd = Does::Fails(LinkErrorKind::Io("ATT 0x80".into()));
    let posture = of(&[(0x180a, &[(0x2a25, refused())]), (0x183a, &[(0x2b21, refused()), (0x2b23, odd)])]).await;
    assert_eq!(posture.information["2a25"], unreadable("needs pairing"));
    assert_eq!(posture.clinical["2b21"], Told::Value(false));
    assert!(matches!(&posture.clinical["2b23"], Told::Unreadable(why) if why.contains("ATT 0x80")));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_read_as_one_is_unreadable() {
    let posture = of(&[(0x1805, &[(0x2a2b, says(&[0; 10]))]), (0x180a, &[(0x2a50, says(&[1]))])]).await;
    assert!(matches!(posture.clock, Told::Unreadable(_)) && matches!(posture.pnp, Told::Unreadable(_)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_link_and_silence_are_errors_not_findings() {
    for does in [Does::Fails(LinkErrorKind::Gone), Does::Hangs] {
        for table in [[(0x180a_u16, 0x2a25_u16)], [(MONITOR, 0x2a60)]] {
            let [(service, held)] = table;
            let held = [(held, does.clone())];
            let table = [(service, held.as_slice())];
            let mut link: Box<dyn Transport> = Box::new(Peer::new(&table, [seen(&table)]));
            let error = read(link.as_mut(), ANSWER, Told::Absent).await.unwrap_err();
            assert!(matches!(error.kind, DriverErrorKind::Link(_) | DriverErrorKind::NoAnswer { .. }), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_keys_nothing_is_said_about_a_laptop_without() {
    let clinical = [(0x2a60, says(&[0, 0]))];
    let table = [(MONITOR, clinical.as_slice())];
    let bonds = [(true, true, false), (false, true, false), (false, false, true)];
    for (before, now, undone) in bonds {
        let bond = Bond { before, now, undone };
        let mut first = seen(&table);
        first.bond.before = before;
        first.services.insert(MCUMGR_SERVICE, vec![]);
        let last = RadioLink { bond, ..first.clone() };
        let posture = posture_of(Peer::new(&table, [first, last]), Told::Value(true)).await;
        assert_eq!(posture.bond, bond, "as it was after the reading");
        assert_eq!(posture.clinical["2a60"], unreadable(PAIRED));
        assert_eq!(posture.management, unreadable(PAIRED));
    }
}

#[tokio::test(start_paused = true)]
async fn what_it_advertises_is_told_and_a_patients_name_only_as_a_place() {
    let mut told = seen(&[]);
    told.name = Some("MILLER, ANNA 1957-03-12".into());
    told.manufacturer = [(0x5f, "patient: anna".into()), (0x59, "PM-3".into())].into();
    (told.address, told.flags) = (Some(AddressKind::ResolvablePrivate), Some(4));
    let posture = posture_of(Peer::new(&[], [told]), Told::Absent).await;
    assert_eq!(posture.address, Told::Value(AddressKind::ResolvablePrivate));
    assert_eq!(posture.flags, Told::Value(4));
    let places = posture.discloses.join("; ");
    assert_eq!(places, "the advertised name; the manufacturer data of company 0x005F");
    assert!(!format!("{posture:?}").to_lowercase().contains("anna"));
}
