use super::*;
use crate::report::Outcome;
use crate::sample::{at, installed};

type Change = Box<dyn FnOnce(&mut Report)>;

fn with(change: impl FnOnce(&mut Report)) -> String {
    let mut report = installed();
    report.simulated = false;
    report.proof = None;
    change(&mut report);
    report.cautions().unwrap().join("\n")
}

#[test]
fn each_weakness_of_the_data_is_said_and_only_where_it_is() {
    let plain = with(|_| {});
    let cases: Vec<(&str, Change)> = vec![
        ("is simulated", Box::new(|r| r.simulated = true)),
        ("different devices", Box::new(|r| r.device.agreement = Agreement::Differ)),
        ("Only one identifier", Box::new(|r| r.device.agreement = Agreement::OnlyOne)),
        ("outside a verified kit", Box::new(|r| r.profile.reviewed = false)),
        ("Not as planned when read back: Version", Box::new(|r| r.works[0].read_back[0].equal = false)),
        ("Not read back: Version", Box::new(|r| r.works[0].read_back[0].read = None)),
        ("must stay are changed or could not be compared: therapy", Box::new(|r| r.works[0].classes[1].changed = 1)),
        ("could not be compared: alarm", Box::new(|r| r.works[0].classes[2].not_read = 1)),
        ("without being planned, or not as planned: net/telnet", Box::new(|r| r.works[0].changes[0].planned = false)),
        ("not looked up since: confirm", Box::new(|r| r.works[0].steps[7].state = StepState::InDoubt)),
        ("nothing was read back", Box::new(|r| r.works[0].read_back.clear())),
        ("and that nothing was changed", Box::new(|r| r.service = Service::Unchanged)),
        ("but steps were begun", Box::new(|r| r.outcome.kind = OutcomeKind::Assessed)),
        (
            "stopped halfway",
            Box::new(|r| {
                let returned = Service::Returned {
                    by: "A".into(),
                    authenticated: true,
                    at: at("03:00:00"),
                    read_back: "x".into(),
                };
                (r.service, r.outcome) = (returned, Outcome { kind: OutcomeKind::Halted, ..r.outcome.clone() });
            }),
        ),
        (
            "stale when it was imported; accepted by nobody",
            Box::new(|r| r.kit.as_mut().unwrap().freshness = Freshness::Stale),
        ),
        ("clock had gone back", Box::new(|r| r.kit.as_mut().unwrap().clock_jumped_back = true)),
    ];
    for (words, change) in cases {
        assert!(!plain.contains(words), "{words} is said of a sound report:\n{plain}");
        let said = with(change);
        assert!(said.contains(words), "{words} is missing in:\n{said}");
    }
}

#[test]
fn names_that_nobody_checked_are_named_once_each() {
    let said = with(|r| {
        r.service = Service::Returned {
            by: "Ana Lind (approver)".into(),
            authenticated: false,
            at: at("03:00:00"),
            read_back: "x".into(),
        };
    });
    assert!(
        said.contains(
            "Nobody checked these names: Jana Nováková (technician), Mara Weiss (clinical owner), Ana Lind (approver)."
        ),
        "{said}"
    );
    let checked = with(|r| {
        r.works[0].authority.iter_mut().for_each(|a| a.authenticated = true);
        r.works[0].attestations.iter_mut().for_each(|a| a.authenticated = true);
    });
    assert!(!checked.contains("Nobody checked"), "{checked}");
}

#[test]
fn unknown_rules_are_counted_as_unknown() {
    assert!(with(|_| {}).contains("1 rules could not be judged. Unknown is not passed."));
}

#[test]
fn a_report_that_was_changed_after_its_entry_is_said_to_be_another() {
    let mut report = installed();
    assert_eq!(report.reach().unwrap(), Reach::Report);
    report.outcome.state_now = "All is well.".into();
    assert_eq!(report.reach().unwrap(), Reach::OtherReport);
    assert!(report.cautions().unwrap().join("\n").contains("digest of another report"));
    report.proof.as_mut().unwrap().entry = "{\"body\":{}}".into();
    assert_eq!(report.reach().unwrap(), Reach::EntryOnly);
    report.proof = None;
    assert_eq!(report.reach().unwrap(), Reach::None);
}
