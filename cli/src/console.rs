//! Telling a person or a script what happens.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use aseptic_patches::RunEvent;
use aseptic_workflow::{Code, DeviceState, Problem};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, Zoned};

use crate::event::{Event, Happened, Line, SCHEMA};

/// How a command ended well, or with a result that has a code of its own.
#[derive(Debug, Clone)]
pub struct Done {
    /// Code.
    pub code: Code,
    /// What is known of the device.
    pub state: DeviceState,
    /// In one sentence; empty says nothing to a person.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

impl Done {
    /// Ends well, no device involved.
    pub fn quietly() -> Self {
        Self { code: Code::Done, state: DeviceState::NotInvolved, message: String::new(), help: None }
    }

    /// Ends well with a sentence.
    pub fn with(state: DeviceState, message: impl Into<String>) -> Self {
        Self { code: Code::Done, state, message: message.into(), help: None }
    }
}

/// Standard output and standard error.
#[derive(Debug)]
pub struct Console {
    json: bool,
    seq: u64,
    bar: Option<ProgressBar>,
    // Something that was told did not reach its file; a reader that closed its pipe wanted no more.
    lost: AtomicBool,
    /// Visit that lines belong to.
    pub visit: Option<String>,
    /// Device that lines are about.
    pub device: Option<String>,
}

impl Console {
    /// Tells scripts (`json`) or people.
    pub fn new(json: bool) -> Self {
        Self { json, seq: 0, bar: None, lost: AtomicBool::new(false), visit: None, device: None }
    }

    /// Tells a script.
    pub fn event(&mut self, event: Event) {
        self.line(Happened::Other(event));
    }

    fn line(&mut self, what: Happened) {
        if !self.json {
            return;
        }
        let line = Line {
            schema: SCHEMA,
            seq: self.seq,
            at: Timestamp::now(),
            visit: self.visit.clone(),
            device: self.device.clone(),
            what,
        };
        self.seq += 1;
        if let Ok(text) = serde_json::to_string(&line) {
            self.put(&text);
        }
    }

    fn put(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        if written.is_err_and(|e| e.kind() != ErrorKind::BrokenPipe) {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Tells a person.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.json {
            self.put(text.as_ref());
        }
    }

    /// Tells a script a record, and a person a line.
    pub fn record(&mut self, kind: &'static str, record: serde_json::Value, text: impl AsRef<str>) {
        self.event(Event::Record { kind, record });
        self.say(text);
    }

    /// Tells a step of a run.
    pub fn run(&mut self, event: RunEvent) {
        if !self.json {
            self.show(&event);
        }
        self.line(Happened::Run(event));
    }

    fn show(&mut self, event: &RunEvent) {
        if !matches!(event, RunEvent::Progress { .. } | RunEvent::Soaking { .. } | RunEvent::Gates { .. }) {
            self.clear_bar();
        }
        match event {
            RunEvent::StepStarted { name, attempt: 1, .. } => self.say(format!("  …  {name}")),
            RunEvent::StepStarted { name, attempt, .. } => self.say(format!("  …  {name} (start {attempt})")),
            RunEvent::StepDone { name, .. } => self.say(format!("  ✓  {name}")),
            RunEvent::StepFailed { name, failure, .. } => self.say(format!("  ✗  {name}: {failure}")),
            RunEvent::TurnedBack { cause } => self.say(format!("  ↩  going back: {cause}")),
            RunEvent::Undoing { name, .. } => self.say(format!("  ↩  undoing {name}")),
            RunEvent::Searching { within_s } => self.say(format!("  ⌕  waiting for the device, up to {within_s} s")),
            RunEvent::Back { address } => self.say(format!("  ⌕  it is back at {address}")),
            RunEvent::Gates { waiting } => self.spin(format!("gates: {}", waiting.join("; "))),
            RunEvent::Soaking { elapsed_s, total_s } => {
                self.spin(format!("the new firmware is watched: {elapsed_s} of {total_s} s"));
            }
            RunEvent::Progress { acknowledged, total } => self.bar(*acknowledged, *total),
        }
    }

    fn bar(&mut self, done: u64, total: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total);
            let style = "     {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        bar.set_position(done);
    }

    fn spin(&mut self, text: String) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        self.bar.get_or_insert_with(ProgressBar::new_spinner).set_message(text);
        if let Some(bar) = &self.bar {
            bar.tick();
        }
    }

    fn clear_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Ends; returns the exit code.
    pub fn ended(&mut self, done: &Done) -> u8 {
        if self.is_lost(done) {
            let problem = Problem::new(Code::Internal, "the output could not be written", "make room, or give -o FILE");
            return self.problem(&problem.with_state(DeviceState::NotInvolved));
        }
        self.clear_bar();
        self.event(Event::Ended {
            code: done.code.exit(),
            name: done.code.name(),
            device_state: done.state,
            message: done.message.clone(),
            help: done.help.clone(),
        });
        if !done.message.is_empty() {
            self.say(format!("{} {}", mark(done.code), done.message));
        }
        if let Some(help) = &done.help {
            self.say(format!("  → {help}"));
        }
        if self.is_lost(done) { Code::Internal.exit() } else { done.code.exit() }
    }

    // What was done to a device stays true; a verb that only tells has failed.
    fn is_lost(&self, done: &Done) -> bool {
        let only_tells = done.code == Code::Done && done.state == DeviceState::NotInvolved;
        only_tells && self.lost.load(Ordering::Relaxed)
    }

    /// Ends with a problem; returns the exit code.
    pub fn problem(&mut self, problem: &Problem) -> u8 {
        self.clear_bar();
        self.event(Event::Ended {
            code: problem.code.exit(),
            name: problem.code.name(),
            device_state: problem.state,
            message: problem.message.clone(),
            help: Some(problem.help.clone()),
        });
        if !self.json {
            let report = miette::Report::new(Told(problem.clone()));
            let _ = writeln!(std::io::stderr(), "{report:?}");
        }
        problem.code.exit()
    }
}

fn mark(code: Code) -> &'static str {
    match code {
        Code::Done => "✓",
        Code::Stopped | Code::Reverted | Code::Incomplete | Code::Mixed => "!",
        _ => "✗",
    }
}

/// Returns a time as people read it, with its zone.
pub fn local(at: Timestamp) -> String {
    let zoned: Zoned = at.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// A problem as a person is shown it: what happened, the device's state, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
struct Told(Problem);

impl miette::Diagnostic for Told {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.0.code.name()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(format!("{}\ndevice: {}", self.0.help, self.0.state)))
    }
}
