use super::*;

fn moment(s: u64) -> Moment {
    Moment { wall: Timestamp::from_second(1_000_000 + s as i64).unwrap(), boot: Duration::from_secs(s) }
}

fn ready(therapy: Sensed) -> Readiness {
    Readiness { therapy, alarm: Sensed::Safe("none".into()), power: Sensed::Safe("mains".into()) }
}

fn idle() -> Readiness {
    ready(Sensed::Safe("idle".into()))
}

fn therapy_at(readings: Vec<(u64, Readiness)>, now: u64) -> Verdict {
    let evidence =
        Evidence { readings: readings.into_iter().map(|(s, r)| (moment(s), r)).collect(), ..Evidence::default() };
    judge_one(GateId::TherapyIdle, &Timing::default(), &evidence, &moment(now)).verdict
}

fn vouch(gate: GateId, name: &str, role: Role, at: u64) -> Attestation {
    Attestation { gate, by: Person { name: name.into(), role }, at: moment(at).wall, note: None }
}

#[test]
fn therapy_idle_needs_three_readings_over_thirty_seconds_the_newest_fresh() {
    assert_eq!(therapy_at(vec![], 0), Verdict::NeedsReading);
    assert_eq!(therapy_at(vec![(0, idle()), (15, idle())], 15), Verdict::NeedsReading);
    assert_eq!(therapy_at(vec![(0, idle()), (15, idle()), (29, idle())], 29), Verdict::NeedsReading);
    assert_eq!(therapy_at(vec![(0, idle()), (15, idle()), (30, idle())], 30), Verdict::Open);
    assert_eq!(therapy_at(vec![(0, idle()), (15, idle()), (30, idle())], 36), Verdict::NeedsReading);
}

#[test]
fn a_gap_or_an_unsafe_reading_starts_the_count_anew() {
    assert_eq!(therapy_at(vec![(0, idle()), (15, idle()), (31, idle())], 31), Verdict::NeedsReading);
    let infusing = ready(Sensed::Unsafe("infusing".into()));
    assert_eq!(
        therapy_at(vec![(0, idle()), (10, infusing.clone()), (20, idle()), (30, idle())], 30),
        Verdict::NeedsReading
    );
    assert_eq!(therapy_at(vec![(0, idle()), (15, idle()), (30, idle()), (31, infusing)], 31), Verdict::Closed);
}

#[test]
fn an_attestation_fills_the_unreadable_but_never_overrides_the_unsafe() {
    let mut evidence = Evidence {
        readings: vec![(moment(0), ready(Sensed::Unreadable("no such setting".into())))],
        ..Evidence::default()
    };
    let judge = |e: &Evidence| judge_one(GateId::TherapyIdle, &Timing::default(), e, &moment(5)).verdict;
    assert_eq!(judge(&evidence), Verdict::NeedsAttestation);
    evidence.attestations.push(vouch(GateId::TherapyIdle, "T. Tech", Role::Technician, 1));
    assert_eq!(judge(&evidence), Verdict::Open);
    evidence.readings.push((moment(2), ready(Sensed::Unsafe("infusing".into()))));
    assert_eq!(judge(&evidence), Verdict::Closed);
}

#[test]
fn not_on_a_patient_needs_a_technician_and_another_person_who_owns_the_therapy() {
    let judge = |list: Vec<Attestation>, now: u64| {
        let evidence = Evidence { attestations: list, ..Evidence::default() };
        judge_one(GateId::NotOnPatient, &Timing::default(), &evidence, &moment(now)).verdict
    };
    let tech = vouch(GateId::NotOnPatient, "T. Tech", Role::Technician, 0);
    let nurse = vouch(GateId::NotOnPatient, "N. Nurse", Role::ClinicalOwner, 0);
    let same = vouch(GateId::NotOnPatient, " t. tech ", Role::ClinicalOwner, 0);
    assert_eq!(judge(vec![tech.clone()], 1), Verdict::NeedsAttestation);
    assert_eq!(judge(vec![tech.clone(), same], 1), Verdict::NeedsAttestation);
    assert_eq!(judge(vec![tech.clone(), nurse.clone()], 600), Verdict::Open);
    assert_eq!(judge(vec![tech, nurse], 601), Verdict::NeedsAttestation);
}

#[test]
fn an_attestation_from_the_future_holds_nothing() {
    let evidence =
        Evidence { attestations: vec![vouch(GateId::Loaner, "T. Tech", Role::Technician, 60)], ..Evidence::default() };
    assert_eq!(judge_one(GateId::Loaner, &Timing::default(), &evidence, &moment(0)).verdict, Verdict::NeedsAttestation);
}

#[test]
fn an_order_vouches_for_its_window_only_with_two_people() {
    let judge = |list: Vec<Attestation>, now: u64| {
        let evidence = Evidence { ordered: Some((list, moment(1_000).wall)), ..Evidence::default() };
        judge_one(GateId::Decontaminated, &Timing::default(), &evidence, &moment(now)).verdict
    };
    let one = vouch(GateId::Decontaminated, "T. Tech", Role::Technician, 0);
    let two = vouch(GateId::Decontaminated, "N. Nurse", Role::ClinicalOwner, 0);
    assert_eq!(judge(vec![one.clone()], 10), Verdict::NeedsAttestation);
    assert_eq!(judge(vec![one.clone(), two.clone()], 900), Verdict::Open);
    assert_eq!(judge(vec![one, two], 1_000), Verdict::NeedsAttestation);
}

#[test]
fn without_an_authority_or_after_its_window_the_gate_is_closed() {
    let judge = |allowed| {
        judge_one(GateId::WorkOrder, &Timing::default(), &Evidence { allowed, ..Evidence::default() }, &moment(10))
            .verdict
    };
    assert_eq!(judge(None), Verdict::Closed);
    assert_eq!(judge(Some(Allowed { by: "WO-1".into(), until: Some(moment(10).wall) })), Verdict::Closed);
    assert_eq!(judge(Some(Allowed { by: "WO-1".into(), until: Some(moment(11).wall) })), Verdict::Open);
}

#[test]
fn an_order_that_lacks_a_word_is_told_whose() {
    let words = |gate, list: Vec<Attestation>| {
        let evidence = Evidence { ordered: Some((list, moment(1_000).wall)), ..Evidence::default() };
        judge_one(gate, &Timing::default(), &evidence, &moment(10)).evidence
    };
    let tech = vouch(GateId::Loaner, "T. Tech", Role::Technician, 0);
    let approver = vouch(GateId::Loaner, "A. Approver", Role::Approver, 0);
    assert!(words(GateId::Loaner, vec![tech, approver]).contains("second person, who is no approver"));
    assert!(words(GateId::NotOnPatient, vec![]).contains("technician and clinical owner"));
}
