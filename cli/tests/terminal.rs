//! A person at a terminal: names, last four, vouching, and the second person who returns the device.
#![cfg(unix)]
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod night;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use night::{Night, PUMP};
use nix::pty::openpty;
use serde_json::json;

// A call whose standard input and error are a terminal.
struct Seat {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    read: usize,
}

impl Seat {
    fn sit(night: &Night, args: &[&str]) -> Self {
        let pty = openpty(None, None).unwrap();
        let mut command = night.command(args);
        command
            .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(pty.slave));
        let child = command.spawn().unwrap();
        drop(command);
        let keyboard = File::from(pty.master);
        let (screen, mut eye) = (Arc::new(Mutex::new(String::new())), keyboard.try_clone().unwrap());
        let shown = screen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = eye.read(&mut buffer) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        Self { child, keyboard, screen, read: 0 }
    }

    fn answer(&mut self, question: &str, reply: &str) {
        self.wait_for(question);
        writeln!(self.keyboard, "{reply}").unwrap();
    }

    fn wait_for(&mut self, question: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let screen = self.screen.lock().unwrap().clone();
            if let Some(at) = screen[self.read..].find(question) {
                self.read += at + question.len();
                break;
            }
            assert!(Instant::now() < end, "{question:?} was not asked:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn leave(mut self) -> (i32, String) {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, out + &self.screen.lock().unwrap())
    }
}

fn vouch(seat: &mut Seat) {
    seat.answer("not on a patient — technician, your name:", "T. Technician");
    seat.answer("not on a patient — clinical owner, your name:", "N. Nurse");
    for sentence in ["battery — technician", "loaner", "decontaminated"] {
        seat.answer(sentence, "T. Technician");
    }
}

#[test]
fn a_patch_at_the_terminal_and_its_return_by_a_second_person() {
    let night = Night::begin(PUMP);
    night.ok(&["identify", "SP1-2026-0042", "--scan", "SP1-2026-0042"]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let mut seat = Seat::sit(&night, &["apply", &plan]);
    seat.answer("Your name", "T. Technician");
    seat.answer("Last four", "0042");
    vouch(&mut seat);
    let (code, said) = seat.leave();
    assert_eq!(code, 0, "{said}");
    assert_eq!(night.ward.truth("SP1-2026-0042")["version"], "1.3.0");

    let mut same = Seat::sit(&night, &["return", "SP1-2026-0042"]);
    same.answer("name", "t. technician ");
    same.answer("ast four", "0042");
    let (code, said) = same.leave();
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("second person"), "{said}");

    let mut second = Seat::sit(&night, &["return", "SP1-2026-0042"]);
    second.answer("name", "S. Second");
    second.answer("ast four", "0042");
    let (code, said) = second.leave();
    assert_eq!(code, 0, "{said}");
    let report = night.ok(&["report", "SP1-2026-0042"]);
    let report = report.records("report")[0];
    assert_eq!((&report["service"]["state"], &report["service"]["authenticated"]), (&json!("returned"), &json!(false)));
}

#[test]
fn the_wrong_last_four_begins_nothing() {
    let night = Night::begin(PUMP);
    let plan = night.plan("SP1-2026-0042", &[]);
    let mut seat = Seat::sit(&night, &["apply", &plan]);
    seat.answer("Your name", "T. Technician");
    seat.answer("Last four", "0043");
    let (code, said) = seat.leave();
    assert_eq!(code, 4, "{said}");
    assert_eq!(night.ward.truth("SP1-2026-0042")["effects"], 0);
}

#[test]
fn whoever_does_not_vouch_stops_it_before_anything_is_changed() {
    let night = Night::begin(PUMP);
    night.ok(&["identify", "SP1-2026-0042", "--scan", "SP1-2026-0042"]);
    let plan = night.plan("SP1-2026-0042", &[]);
    let mut seat = Seat::sit(&night, &["apply", &plan]);
    seat.answer("Your name", "T. Technician");
    seat.answer("Last four", "0042");
    seat.answer("not on a patient — technician, your name:", "");
    let (code, said) = seat.leave();
    assert!([4, 10].contains(&code), "{code}: {said}");
    assert_eq!(night.ward.truth("SP1-2026-0042")["effects"], 0);
}

#[test]
fn an_interrupt_at_a_question_is_a_no() {
    let night = Night::begin(PUMP);
    let plan = night.plan("SP1-2026-0042", &[]);
    for (questions, code) in [(&["Your name"][..], 4), (&["Your name", "Last four", "technician, your name:"], 10)] {
        let mut seat = Seat::sit(&night, &["apply", &plan]);
        let (last, before) = questions.split_last().unwrap();
        for (question, reply) in before.iter().zip(["T. Technician", "0042"]) {
            seat.answer(question, reply);
        }
        seat.wait_for(last);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(seat.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let (ended, said) = seat.leave();
        assert_eq!(ended, code, "{said}");
    }
    assert_eq!(night.ward.truth("SP1-2026-0042")["effects"], 0);
}

#[test]
fn a_return_counts_for_its_own_attempt_at_a_plan_and_for_no_later_one() {
    let night = Night::begin(&format!("{PUMP}settings = {{ \"net/telnet\" = true }}\n"));
    let plan = night.path("fix.json");
    night.ok(&["plan", "SP1-2026-0042", "--fix", "SER-11.telnet", "-o", &plan]);
    let apply = || {
        let order = night.order(&[("SP1-2026-0042", json!([{ "key": "net/telnet", "to": false }]))]);
        night.ok(&["apply", &plan, "--order", &order]);
    };
    let out_of_service = || night.ok(&["status"]).records("out-of-service").len();
    apply();
    assert_eq!(out_of_service(), 1);
    let mut second = Seat::sit(&night, &["return", "SP1-2026-0042"]);
    second.answer("name", "S. Second");
    second.answer("ast four", "0042");
    assert_eq!(second.leave().0, 0);
    assert_eq!(out_of_service(), 0);
    night.ward.control("set SP1-2026-0042 net/telnet true");
    apply();
    assert_eq!(out_of_service(), 1, "nobody returned it after the second attempt");
}
