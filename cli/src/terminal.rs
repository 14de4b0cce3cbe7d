//! A person at the terminal: name, last four, and what they vouch for. Typed names are unauthenticated.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use aseptic_device::{Passkeys, Sighting};
use aseptic_operators::{Attestation, GateId, Person as Someone};
use aseptic_patches::{Attend, Plan};
use aseptic_workflow::apply::Person;
use async_trait::async_trait;
use jiff::Timestamp;

/// A person at this terminal.
#[derive(Debug, Clone, Copy)]
pub struct Terminal;

impl Terminal {
    /// Returns the person, if standard input and error are a terminal.
    pub fn here() -> Option<Self> {
        (std::io::stdin().is_terminal() && std::io::stderr().is_terminal()).then_some(Self)
    }
}

/// Asks one question; `None` at end of input or when interrupted.
pub fn ask(question: &str) -> Option<String> {
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{question} ");
    let _ = err.flush();
    drop(err);
    next_line()
}

/// Ends the waiting for an answer: Ctrl-C at a question is a no.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);
const POLL: Duration = Duration::from_millis(100);
static LINES: OnceLock<Mutex<Receiver<String>>> = OnceLock::new();

// Nothing interrupts a read of standard input, so that a thread of its own waits there.
fn next_line() -> Option<String> {
    let lines = LINES.get_or_init(|| {
        let (sender, lines) = channel();
        std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        Mutex::new(lines)
    });
    let lines = lines.lock().ok()?;
    loop {
        match lines.recv_timeout(POLL) {
            Ok(line) => return Some(line.trim().to_owned()),
            Err(RecvTimeoutError::Timeout) if !INTERRUPTED.load(Ordering::SeqCst) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Person for Terminal {
    fn claim(&self, plan: &Plan) -> Option<(String, String)> {
        tell(&format!("\nThis will change {}:", plan.body.device));
        for step in plan.body.steps.iter().filter(|s| s.has_effect()) {
            tell(&format!("  - {step}"));
        }
        let name = ask("Your name (recorded as unauthenticated):").filter(|n| !n.is_empty())?;
        let last_four = ask("Last four characters of the serial number, from the device's label:")?;
        Some((name, last_four))
    }

    fn attend(&self) -> &dyn Attend {
        self
    }
}

#[async_trait]
impl Attend for Terminal {
    async fn attest(&self, gates: &[GateId]) -> Vec<Attestation> {
        let gates = gates.to_vec();
        tokio::task::spawn_blocking(move || attest(&gates)).await.unwrap_or_default()
    }
}

#[async_trait]
impl Passkeys for Terminal {
    async fn passkey(&self, at: &Sighting) -> Option<u32> {
        let question = format!("{} wants to be paired with. Six digits on its screen (empty stops):", at.address);
        let asked = tokio::task::spawn_blocking(move || ask(&question)).await;
        asked.ok().flatten()?.parse().ok().filter(|n| *n <= 999_999)
    }
}

fn attest(gates: &[GateId]) -> Vec<Attestation> {
    let mut given = Vec::new();
    tell("\nThe device cannot tell these. Whoever vouches is recorded; an empty name stops.");
    for gate in gates {
        for role in gate.attested_by() {
            let question = format!("  {} — {role}, your name:", gate.statement());
            let Some(name) = ask(&question).filter(|n| !n.is_empty()) else { return Vec::new() };
            given.push(Attestation {
                gate: *gate,
                by: Someone { name, role: *role },
                at: Timestamp::now(),
                note: None,
            });
        }
    }
    given
}
