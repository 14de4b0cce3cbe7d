//! `next` against a small model of a swapping device on which anything may fail at any moment.

use std::time::Duration;

use aseptic_device::setting::{Reading, SettingReading};
use aseptic_device::{
    BootMode, Bootloader, ConfigSnapshot, DeviceId, DeviceText, FirmwareVersion, ImageId, Images, SettingClass,
    VersionScheme,
};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::plan::{Estimate, FromState, PatchRef, PlanBody, PlanId, ProfileRef, SCHEMA, WayBack};

fn hash(n: u8) -> ImageHash {
    ImageHash::new(&[n; 32]).unwrap()
}

fn plan(with_set: bool, with_patch: bool) -> Plan {
    let mut steps = vec![Step::Backup];
    if with_set {
        steps.push(Step::Set { key: "net/telnet".into(), from: Value::Bool(true), to: Value::Bool(false) });
        steps.push(Step::Reload);
    }
    if with_patch {
        steps.extend([Step::Stage, Step::Verify, Step::Test, Step::Restart, Step::Check, Step::Confirm]);
    }
    steps.push(Step::Prove);
    let body = PlanBody {
        device: DeviceId::new("p", "SN-1").unwrap(),
        profile: ProfileRef { id: "p".into(), digest: String::new(), simulated: true, unreviewed: false },
        from: FromState { running: Some(hash(1)), spare: None, settings: String::new() },
        patch: with_patch.then(|| PatchRef {
            id: "x".into(),
            vendor: "v".into(),
            version: FirmwareVersion::new(VersionScheme::Mcuboot, "2.0.0"),
            image: ImageId(0),
            hash: hash(2),
            object: String::new(),
            length: 1,
            rollback: false,
        }),
        steps,
        gates: GateId::ALL.to_vec(),
        way_back: WayBack::Settings,
    };
    Plan {
        schema: SCHEMA.into(),
        id: PlanId("plan".into()),
        body,
        made_at: Timestamp::UNIX_EPOCH,
        visit: None,
        estimate: Estimate { total_s: 60, revert_s: 30 },
    }
}

/// What a real swapping device keeps.
#[derive(Debug, Clone)]
struct Model {
    running: u8,
    confirmed: bool,
    spare: Option<u8>,
    pending: bool,
    telnet: bool,
    /// What a restart finds: written and saved are two requests.
    saved: bool,
    /// The new image does not come up.
    dead_image: bool,
    /// A soak was finished since the last restart.
    soaked: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            running: 1,
            confirmed: true,
            spare: None,
            pending: false,
            telnet: true,
            saved: true,
            dead_image: false,
            soaked: false,
        }
    }

    fn restart(&mut self) {
        self.soaked = false;
        self.telnet = self.saved;
        if self.pending {
            self.pending = false;
            let old = self.running;
            if let Some(new) = self.spare.filter(|_| !self.dead_image) {
                (self.running, self.spare, self.confirmed) = (new, Some(old), false);
            }
        } else if !self.confirmed {
            let test = self.running;
            (self.running, self.spare, self.confirmed) = (self.spare.unwrap_or(1), Some(test), true);
        }
    }

    fn apply(&mut self, act: &Act) {
        match act {
            Act::Backup => {}
            Act::Set { value, .. } => {
                self.write(value);
                self.saved = self.telnet;
            }
            Act::Reload | Act::Restart => self.restart(),
            Act::Upload => {
                if self.confirmed && !self.pending {
                    self.spare = Some(2);
                }
            }
            Act::MarkTest => self.pending = self.spare == Some(2) && self.running != 2,
            Act::Soak => self.soaked = true,
            Act::Confirm => {
                assert!(self.running == 2 && self.soaked, "confirmed without a soak since the last restart: {self:?}");
                self.confirmed = true;
            }
        }
    }

    fn write(&mut self, value: &Value) {
        self.telnet = value == &Value::Bool(true);
    }

    fn shows(&self) -> Observed {
        let slot = |slot, n: u8, active, pending, confirmed| SlotState {
            image: ImageId(0),
            slot,
            version: DeviceText::new(&format!("{n}.0.0")),
            hash: Some(hash(n)),
            bootable: true,
            pending,
            confirmed,
            active,
            permanent: false,
        };
        let mut slots = vec![slot(0, self.running, true, false, self.confirmed)];
        slots.extend(self.spare.map(|n| slot(1, n, false, self.pending, !self.confirmed)));
        let telnet =
            SettingReading { class: SettingClass::Security, reading: Reading::Value(Value::Bool(self.telnet)) };
        Observed {
            images: Images {
                slots,
                bootloader: Bootloader {
                    name: None,
                    mode: BootMode::SwapUsingMove,
                    downgrade_prevention: None,
                    measured: true,
                },
            },
            config: ConfigSnapshot { settings: [("net/telnet".into(), telnet)].into() },
        }
    }
}

fn record(step: Option<usize>, mark: Mark, observed: Option<Observed>) -> Record {
    Record {
        plan: PlanId("plan".into()),
        step,
        attempt: 1,
        mark,
        at: Timestamp::UNIX_EPOCH,
        actor: "test".into(),
        observed: observed.map(Box::new),
    }
}

/// One thing that goes wrong, or right, at one turn.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Good,
    /// The act does not reach the device.
    Lost,
    /// The act reaches the device, its answer is lost.
    AnswerLost,
    /// The laptop dies right after the act: nothing is written down.
    LaptopCut,
    /// The laptop dies, or the link ends, between writing a setting and saving it.
    NotSaved,
    /// The device restarts by itself before the turn.
    DeviceCut,
    /// A check fails, if one runs.
    BadCheck,
    /// All gates are closed at this turn.
    Closed,
    /// Somebody cancels.
    Cancel,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        8 => Just(Luck::Good),
        2 => Just(Luck::Lost),
        2 => Just(Luck::AnswerLost),
        2 => Just(Luck::LaptopCut),
        2 => Just(Luck::NotSaved),
        2 => Just(Luck::DeviceCut),
        1 => Just(Luck::BadCheck),
        2 => Just(Luck::Closed),
        1 => Just(Luck::Cancel),
    ]
}

fn gates(verdict: Verdict) -> Vec<GateState> {
    GateId::ALL.iter().map(|gate| GateState { gate: *gate, verdict, evidence: String::new() }).collect()
}

struct Run {
    plan: Plan,
    device: Model,
    journal: Vec<Record>,
    effects: u32,
    cancel: bool,
}

impl Run {
    // One turn of the loop; Some once there is nothing more to do.
    fn turn(&mut self, luck: Luck) -> Option<Next> {
        if matches!(luck, Luck::DeviceCut) {
            self.device.restart();
        }
        self.cancel |= matches!(luck, Luck::Cancel);
        let seen = self.device.shows();
        let judged = gates(if matches!(luck, Luck::Closed) { Verdict::Closed } else { Verdict::Open });
        let now = Moment { wall: Timestamp::UNIX_EPOCH, boot: Duration::ZERO };
        let situation = Situation {
            now,
            cancel: self.cancel,
            deadline: None,
            gates: &judged,
            attended: false,
            patience_over: false,
        };
        match next(&self.plan, &self.journal, &seen, &situation) {
            Next::Note { step, mark } => self.journal.push(record(step, mark, Some(seen))),
            Next::Do { step, act } => {
                assert!(!act.has_effect() || !matches!(luck, Luck::Closed), "{act:?} while gates are closed");
                self.journal.push(record(Some(step), Mark::Started, None));
                self.act(step, &act, luck, Mark::Done, &seen);
            }
            Next::Undo { step, act } => {
                assert!(!matches!(luck, Luck::Closed), "{act:?} while gates are closed");
                self.journal.push(record(Some(step), Mark::Undoing, None));
                self.act(step, &act, luck, Mark::Undone, &seen);
            }
            Next::Wait(_) => {}
            end @ (Next::Ask(_) | Next::Finish(_) | Next::Halt(_)) => return Some(end),
        }
        None
    }

    fn act(&mut self, step: usize, act: &Act, luck: Luck, done: Mark, seen: &Observed) {
        self.effects += u32::from(act.has_effect());
        if let Act::Set { key, .. } = act {
            assert_eq!(key, &SettingKey::from("net/telnet"));
        }
        let failed = |failure| record(Some(step), Mark::Failed { failure }, None);
        let lost = || Failure::Link { detail: "lost".into() };
        match luck {
            Luck::Lost => self.journal.push(failed(lost())),
            Luck::AnswerLost => {
                self.device.apply(act);
                self.device.soaked &= act != &Act::Soak;
                self.journal.push(failed(lost()));
            }
            Luck::LaptopCut => {
                self.device.apply(act);
                self.device.soaked &= act != &Act::Soak;
            }
            Luck::NotSaved => match act {
                Act::Set { value, .. } => self.device.write(value),
                _ => self.journal.push(failed(lost())),
            },
            Luck::BadCheck if act == &Act::Soak => {
                self.journal.push(failed(Failure::CheckFailed { detail: "self-test".into() }));
            }
            Luck::Good | Luck::DeviceCut | Luck::BadCheck | Luck::Closed | Luck::Cancel => {
                self.device.apply(act);
                if matches!(act, Act::Backup | Act::Set { .. } | Act::Reload | Act::Soak) {
                    self.journal.push(record(Some(step), done, Some(seen.clone())));
                }
            }
        }
    }
}

fn is_as_before(device: &Model) -> bool {
    device.running == 1 && device.confirmed && !device.pending && device.telnet && device.saved
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_ends_and_what_it_says_is_true(
        lucks in proptest::collection::vec(luck(), 0..60),
        with_set in any::<bool>(),
        with_patch in any::<bool>(),
        dead_image in any::<bool>(),
    ) {
        let mut run = Run {
            plan: plan(with_set, with_patch),
            device: Model { dead_image, ..Model::new() },
            journal: Vec::new(),
            effects: 0,
            cancel: false,
        };
        let mut end = None;
        for luck in lucks.into_iter().chain(std::iter::repeat_n(Luck::Good, 100)) {
            end = run.turn(luck);
            if end.is_some() {
                break;
            }
        }
        let device = &run.device;
        match end.expect("it ends") {
            Next::Finish(Outcome::Installed) => {
                prop_assert!(device.confirmed && device.running == if with_patch { 2 } else { 1 }, "{device:?}");
                prop_assert!(device.telnet != with_set && device.saved != with_set, "{device:?}");
            }
            Next::Finish(Outcome::Refused { .. }) => prop_assert_eq!(run.effects, 0),
            Next::Finish(_) => prop_assert!(is_as_before(device), "{device:?}"),
            // After the confirmation there is no way back in the same plan; before it there always is.
            Next::Halt(_) => prop_assert!(run.journal.iter().any(|r| r.mark == Mark::Started), "{:?}", run.journal),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn without_trouble_every_step_is_done_once() {
    let mut run = Run { plan: plan(true, true), device: Model::new(), journal: vec![], effects: 0, cancel: false };
    let end = (0..100).find_map(|_| run.turn(Luck::Good));
    assert_eq!(end, Some(Next::Finish(Outcome::Installed)));
    assert_eq!(run.effects, 6, "set, reload, upload, mark, restart, confirm");
}

#[test]
fn a_setting_that_reads_right_and_was_not_saved_is_written_again_on_both_ways() {
    let mut run = Run { plan: plan(true, true), device: Model::new(), journal: vec![], effects: 0, cancel: false };
    assert_eq!(run.turn(Luck::Good), None, "backup");
    assert_eq!(run.turn(Luck::NotSaved), None);
    assert!(!run.device.telnet && run.device.saved, "it reads as wanted and a restart would lose it");
    assert_eq!(run.turn(Luck::Good), None);
    assert!(!run.device.saved);
    assert_eq!(run.turn(Luck::Cancel), None, "turned back");
    assert_eq!(run.turn(Luck::NotSaved), None);
    assert!(run.device.telnet && !run.device.saved, "it reads as before and a restart would bring the new value");
    let end = (0..20).find_map(|_| run.turn(Luck::Good));
    assert!(matches!(end, Some(Next::Finish(_))), "{end:?}");
    assert!(is_as_before(&run.device));
}

#[test]
fn a_closed_gate_refuses_before_the_first_effect() {
    let mut run = Run { plan: plan(false, true), device: Model::new(), journal: vec![], effects: 0, cancel: false };
    let end = (0..10).find_map(|_| run.turn(Luck::Closed));
    assert!(matches!(end, Some(Next::Finish(Outcome::Refused { .. }))), "{end:?}");
    assert_eq!(run.effects, 0);
}

#[test]
fn an_image_that_does_not_stay_up_is_told_as_reverted() {
    let device = Model { dead_image: true, ..Model::new() };
    let mut run = Run { plan: plan(true, true), device, journal: vec![], effects: 0, cancel: false };
    let end = (0..100).find_map(|_| run.turn(Luck::Good));
    assert!(matches!(end, Some(Next::Finish(Outcome::Reverted { .. }))), "{end:?}");
    assert!(is_as_before(&run.device));
}

#[test]
fn somebody_elses_image_stops_everything() {
    let device = Model { spare: Some(9), ..Model::new() };
    let mut run = Run { plan: plan(false, true), device, journal: vec![], effects: 0, cancel: false };
    assert!(matches!(run.turn(Luck::Good), Some(Next::Finish(Outcome::Refused { .. }))));
    run.device.spare = None;
    while !run.journal.iter().any(|r| r.mark == Mark::Started && r.step == Some(1)) {
        assert_eq!(run.turn(Luck::Good), None);
    }
    run.device.spare = Some(9);
    assert!(matches!(run.turn(Luck::Good), Some(Next::Halt(Halt::Foreign { .. }))));
}

#[test]
fn the_time_to_go_back_is_kept_free_before_the_window_ends() {
    let (plan, device, judged) = (plan(false, true), Model::new(), gates(Verdict::Open));
    let at = |s: u64| Moment { wall: Timestamp::from_second(s as i64).unwrap(), boot: Duration::from_secs(s) };
    let next_at = |now| {
        let deadline = Some(at(100));
        let situation =
            Situation { now: at(now), cancel: false, deadline, gates: &judged, attended: false, patience_over: false };
        next(&plan, &[], &device.shows(), &situation)
    };
    assert!(matches!(next_at(69), Next::Do { .. }));
    assert!(matches!(next_at(70), Next::Note { mark: Mark::TurnedBack { cause: Cause::Deadline }, .. }));
}
