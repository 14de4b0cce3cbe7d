//! A report as a visit to the simulated ward gives it.

use crate::proof::Proof;
use crate::report::*;
use crate::when::When;
use crate::work::*;

pub(crate) fn at(time: &str) -> When {
    When { at: format!("2026-11-24T{time}Z").parse().unwrap(), offset_s: 3_600, zone: "CET".into() }
}

fn finding(rule: &str, title: &str, verdict: Verdict, severity: &str, observed: &str, expected: &str) -> Finding {
    let open = matches!(verdict, Verdict::Fail | Verdict::Unknown | Verdict::Accepted);
    Finding {
        rule: rule.into(),
        title: title.into(),
        verdict,
        severity: severity.into(),
        evidence: "measured".into(),
        observed: observed.into(),
        expected: expected.into(),
        why: "Whoever reaches it has the device.".into(),
        what_to_do: if open { vec!["Switch it off, or cover the port.".into()] } else { vec![] },
        references: vec!["MDS2 HN 1-2019 SAHD-9".into(), "IEC 62443-4-2 CR 7.7 (unverified)".into()],
        accepted: (verdict == Verdict::Accepted).then(|| "Kim Ode until 2026-12-01T05:00:00Z (Europe/Zurich)".into()),
    }
}

fn findings(time: &str, telnet: Verdict, version: Verdict) -> Findings {
    let (shown, running) = (telnet == Verdict::Pass, version == Verdict::Pass);
    Findings {
        at: at(time),
        baseline: "ward-default 1.0.0".into(),
        rows: vec![
            finding(
                "ID-SERIAL",
                "The serial number names this device alone",
                Verdict::Pass,
                "critical",
                "SP1-2026-0042",
                "a serial number of its own",
            ),
            finding(
                "FW-01",
                "The running firmware is an approved version",
                version,
                "high",
                if running { "1.3.0" } else { "1.2.0" },
                "one of 1.3.0",
            ),
            finding(
                "FW-05",
                "No spare slot holds a version known to be vulnerable",
                Verdict::Unknown,
                "medium",
                "1.2.0",
                "no version known to be vulnerable",
            ),
            finding("SER-11-TELNET", "Telnet is off", telnet, "critical", if shown { "off" } else { "on" }, "off"),
            finding("SER-13", "The audit log is on", Verdict::Accepted, "medium", "off", "on"),
            finding(
                "SET-PIN",
                "The service PIN is no known default",
                Verdict::Pass,
                "critical",
                "set, not shown",
                "filled and none of 16 known defaults",
            ),
        ],
    }
}

fn step(name: &str, detail: &str, began: &str, ended: &str) -> Step {
    let (name, detail) = (name.into(), detail.into());
    Step { name, detail, state: StepState::Done, began: Some(at(began)), ended: Some(at(ended)), attempts: 1 }
}

fn row(what: &str, before: &str, planned: &str, read: &str) -> ReadBack {
    ReadBack {
        what: what.into(),
        before: before.into(),
        planned: planned.into(),
        read: Some(read.into()),
        equal: planned == read,
    }
}

fn class(class: &str, must_stay: bool, equal: u32, changed: u32) -> ClassCount {
    ClassCount { class: class.into(), must_stay, equal, changed, not_read: 0 }
}

fn event(time: &str, step: Option<&str>, what: &str) -> Event {
    let actor = "Jana Nováková (unauthenticated)".into();
    Event { at: at(time), step: step.map(Into::into), what: what.into(), actor }
}

fn gate(name: &str, state: GateState, evidence: &str) -> Gate {
    Gate { gate: name.into(), state, evidence: evidence.into() }
}

fn vouched(statement: &str, by: &str, time: &str, note: Option<&str>) -> Attestation {
    let note = note.map(Into::into);
    Attestation { statement: statement.into(), by: by.into(), authenticated: false, at: at(time), note }
}

fn work() -> Work {
    Work {
        plan: "4be1c0de9a7700d1f3a5b2c84e6d7f9012345678abcdef0123456789abcdef01".into(),
        made: at("02:41:09"),
        purpose: "Install firmware 1.3.0 (sp1-1.3.0 by simulated) and switch telnet off".into(),
        way_back: "An image that is not confirmed is undone by a restart; the bootloader was asked".into(),
        ended: Some("installed, read back at 03:01:16 CET".into()),
        authority: vec![Authority {
            who: "Jana Nováková (technician)".into(),
            how: "typed name and last four at the terminal".into(),
            authenticated: false,
            at: at("02:42:00"),
        }],
        steps: vec![
            step("backup", "images and settings read and kept", "02:42:01", "02:42:03"),
            step("set", "net/telnet: on → off", "02:42:03", "02:42:04"),
            step("stage", "212 kB sent to the spare slot", "02:42:04", "02:43:10"),
            step("verify", "the spare slot lists the image", "02:43:10", "02:43:11"),
            step("test", "marked for one boot", "02:43:11", "02:43:12"),
            step("restart", "into 1.3.0", "02:43:12", "02:43:31"),
            step("check", "three checks in 60 s, all settings compared", "02:43:31", "02:44:35"),
            step("confirm", "the running image is kept", "02:44:35", "02:44:36"),
            step("prove", "everything read once more", "02:44:36", "02:44:39"),
        ],
        gates: vec![
            gate("identity", GateState::Open, "scan and device agree"),
            gate("work order", GateState::Open, "Jana Nováková (unauthenticated)"),
            gate("not on a patient", GateState::Attested, "Jana Nováková (technician) and Mara Weiss (clinical owner)"),
            gate("therapy idle", GateState::Open, "read 3 times in 34 s, newest 1 s ago"),
            gate("no alarm", GateState::Open, "state/alarm reads none, 1 s ago"),
            gate("power", GateState::Open, "mains"),
            gate("loaner", GateState::Attested, "Jana Nováková (technician): loaner L-214"),
        ],
        attestations: vec![
            vouched("the device is not on a patient", "Jana Nováková (technician)", "02:41:30", None),
            vouched("the device is not on a patient", "Mara Weiss (clinical owner)", "02:41:44", None),
            vouched("a loaner is in place, or none is needed", "Jana Nováková (technician)", "02:41:50", Some("L-214")),
        ],
        read_back: vec![
            row("Version", "1.2.0", "1.3.0", "1.3.0"),
            row("Image hash", "9c41d2aa", "b7d2418f", "b7d2418f"),
            row("Running slot", "0, confirmed", "0, confirmed", "0, confirmed"),
            row("Self-test", "pass", "pass", "pass"),
        ],
        classes: vec![
            class("security", false, 5, 1),
            class("therapy", true, 2, 0),
            class("alarm", true, 2, 0),
            class("library", true, 1, 0),
        ],
        changes: vec![SettingChange {
            class: "security".into(),
            key: "net/telnet".into(),
            before: Some("on".into()),
            after: Some("off".into()),
            planned: true,
        }],
        timeline: vec![
            event("02:42:00", None, "run opened"),
            event("02:42:01", None, "all gates held"),
            event("02:42:04", Some("stage"), "started"),
            event("02:43:10", Some("stage"), "done"),
            event("02:44:39", None, "ended: installed"),
        ],
    }
}

/// An installed patch, with a proof that is not real: tests of the page do not check signatures.
pub(crate) fn installed() -> Report {
    let mut report = Report {
        schema: SCHEMA.into(),
        title: "SP-1 syringe pump, bed 4B-02".into(),
        visit: "01936a2b-7c1e-7d4a-9b00-2f6e1c0a5d11".into(),
        tool: "aseptic 0.1.0".into(),
        laptop: "ward-4b".into(),
        opened: at("02:40:12"),
        closed: Some(at("03:02:00")),
        written: at("03:02:17"),
        simulated: true,
        device: Device {
            vendor: "Simulated".into(),
            model: "SP-1 syringe pump".into(),
            id: Some("id:sim-sp1/SP1-2026-0042".into()),
            serial: Some("SP1-2026-0042".into()),
            udi: Some("(01)04056789012341(21)SP1-2026-0042".into()),
            hardware: Some("B".into()),
            address: "port:sp1-0042".into(),
            scanned: Some("(01)04056789012341(21)SP1-2026-0042".into()),
            agreement: Agreement::Agree,
        },
        profile: ProfileUsed {
            id: "sim-sp1".into(),
            digest: "5f0a91d2b3c4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e".into(),
            reviewed: true,
        },
        outcome: Outcome {
            kind: OutcomeKind::Installed,
            headline: "Firmware 1.3.0 is installed and was read back".into(),
            what_happened: "Telnet was switched off. Firmware 1.3.0 was sent, tried, checked and kept.".into(),
            state_now: "The pump runs 1.3.0, confirmed. All therapy, alarm and library settings are as before.".into(),
            what_to_do: "A second person reads this page and returns the pump to service.".into(),
        },
        service: Service::NotReturned { since: at("02:42:03") },
        before: Some(findings("02:40:40", Verdict::Fail, Verdict::Fail)),
        after: Some(findings("02:45:02", Verdict::Pass, Verdict::Pass)),
        works: vec![work()],
        kit: Some(Kit {
            taken: at("01:10:00"),
            freshness: Freshness::Fresh,
            accepted_by: None,
            clock_jumped_back: false,
            roles: vec![
                KitRole { role: "root".into(), version: 1, expires: at("04:00:00") },
                KitRole { role: "timestamp".into(), version: 7, expires: at("05:00:00") },
            ],
        }),
        proof: None,
    };
    let digest = report.digest().unwrap();
    report.proof = Some(Proof {
        entry: format!(
            r#"{{"actor":"laptop","at":"2026-11-24T03:02:17Z","body":{{"report-sha256":"{digest}"}},"device":"id:sim-sp1/SP1-2026-0042","kind":"report.written","seq":41,"visit":"{}"}}"#,
            report.visit
        ),
        proof: "c2sp.org/tlog-proof@v1\nindex 41\nq3Z0b1m9m0HnAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\naseptic.local/1a2b3c4d\n42\nq3Z0b1m9m0HnAAAAAAAAAAAAAAAAAAAAAAAAAAAAw7Uu4=\n\n— aseptic.local/1a2b3c4d AAAA\n".into(),
        key: "aseptic.local/1a2b3c4d+00000000+AQAA".into(),
    });
    report
}
