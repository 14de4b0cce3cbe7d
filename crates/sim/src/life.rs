//! A device's life: power, start, conversation, restart. All waiting is on tokio's clock, which tests may stop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::machine::{Machine, Started};
use crate::smp::out_of_memory;
use crate::wire::{Receiver, frame};

/// Zephyr waits this long between the answer to a reset and the reset.
const RESET_DELAY: Duration = Duration::from_millis(250);
const FAR: Duration = Duration::from_secs(3_600 * 24 * 365);

/// A device that several hands may reach: its life, a test, the control socket.
pub type Shared = Arc<Mutex<Machine>>;

/// Locks a device; a panic elsewhere does not make it unusable.
pub fn lock(machine: &Shared) -> std::sync::MutexGuard<'_, Machine> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both directions of one link, as the device holds them.
pub struct Wire {
    /// Bytes from the laptop; closed when it hangs up.
    pub from_laptop: mpsc::Receiver<Vec<u8>>,
    /// Bytes to the laptop.
    pub to_laptop: mpsc::Sender<Vec<u8>>,
}

/// Where a device is plugged in: it appears when the device is up and vanishes when it is not.
#[async_trait]
pub trait Socket: Send {
    /// Shows the device; `restart` counts from 0.
    async fn appear(&mut self, restart: u64);
    /// Waits for a laptop.
    async fn accept(&mut self) -> Wire;
    /// Hides the device and hangs up.
    async fn vanish(&mut self);
}

enum Exit {
    LinkClosed,
    Restart,
    PowerCut,
    DropOut(Duration),
    Hang,
}

/// Lets a device live until the task is dropped.
pub async fn live(machine: Shared, mut socket: impl Socket) {
    let power = lock(&machine).power();
    let watchdog = Duration::from_millis(lock(&machine).spec.pace.watchdog_ms);
    let mut chance = StdRng::seed_from_u64(lock(&machine).spec.wire.seed);
    let mut restarts = 0;
    let mut dropped_out = false;
    loop {
        let started = lock(&machine).start();
        match started {
            Started::PowerLost => {
                sleep(power.off_for()).await;
                continue;
            }
            Started::Hangs(until_watchdog) => {
                sleep(until_watchdog).await;
                continue;
            }
            Started::Runs(wait) => sleep(wait).await,
        }
        let dies_at = lock(&machine).dies_after().map_or_else(|| Instant::now() + FAR, |d| Instant::now() + d);
        loop {
            socket.appear(restarts).await;
            let exit = loop {
                let wire = tokio::select! {
                    wire = socket.accept() => wire,
                    () = power.pulled() => break Exit::PowerCut,
                    () = sleep_until(dies_at) => break Exit::Hang,
                };
                let exit = tokio::select! {
                    exit = Conversation::new(&machine, &mut chance, wire, &mut dropped_out).run() => exit,
                    () = power.pulled() => Exit::PowerCut,
                    () = sleep_until(dies_at) => Exit::Hang,
                };
                if !matches!(exit, Exit::LinkClosed) {
                    break exit;
                }
                // A restart that was asked for comes, whether or not the laptop stays to see it.
                let restarts = lock(&machine).ram.restart;
                if restarts {
                    sleep(RESET_DELAY).await;
                    break Exit::Restart;
                }
            };
            socket.vanish().await;
            match exit {
                Exit::DropOut(span) => {
                    sleep(span).await;
                    continue;
                }
                Exit::PowerCut => sleep(power.off_for()).await,
                Exit::Hang => sleep(watchdog).await,
                Exit::Restart | Exit::LinkClosed => {}
            }
            break;
        }
        restarts += 1;
    }
}

// One link, with everything that goes wrong on it. Bytes wait in queues until the line has carried them.
struct Conversation<'a> {
    machine: &'a Shared,
    chance: &'a mut StdRng,
    wire: Wire,
    dropped_out: &'a mut bool,
    spec: crate::ward::Wire,
    receiver: Receiver,
    inbound: VecDeque<(Instant, Vec<u8>)>,
    requests: VecDeque<Vec<u8>>,
    outbound: VecDeque<(Instant, Vec<u8>)>,
    in_free: Instant,
    out_free: Instant,
    busy_until: Instant,
    received: u64,
    restart_at: Option<Instant>,
}

impl<'a> Conversation<'a> {
    fn new(machine: &'a Shared, chance: &'a mut StdRng, wire: Wire, dropped_out: &'a mut bool) -> Self {
        let spec = lock(machine).spec.wire.clone();
        let now = Instant::now();
        Self {
            machine,
            chance,
            wire,
            dropped_out,
            receiver: Receiver::new(spec.framing, spec.buffer_size),
            spec,
            inbound: VecDeque::new(),
            requests: VecDeque::new(),
            outbound: VecDeque::new(),
            in_free: now,
            out_free: now,
            busy_until: now,
            received: 0,
            restart_at: None,
        }
    }

    async fn run(mut self) -> Exit {
        loop {
            if let Some(exit) = self.work().await {
                return exit;
            }
            let next = self.next_event();
            tokio::select! {
                biased;
                bytes = self.wire.from_laptop.recv() => match bytes {
                    None => return Exit::LinkClosed,
                    Some(bytes) => self.carry_in(bytes),
                },
                () = sleep_until(next) => {}
            }
        }
    }

    fn next_event(&self) -> Instant {
        let far = Instant::now() + FAR;
        let request = if self.requests.is_empty() { far } else { self.busy_until };
        [self.inbound.front().map(|x| x.0), self.outbound.front().map(|x| x.0), self.restart_at, Some(request)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(far)
    }

    fn line_time(&self, bytes: usize) -> Duration {
        if self.spec.baud == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(bytes as u64 * 10 * 1_000_000_000 / u64::from(self.spec.baud))
    }

    fn carry_in(&mut self, bytes: Vec<u8>) {
        self.in_free = self.in_free.max(Instant::now()) + self.line_time(bytes.len());
        self.inbound.push_back((self.in_free, bytes));
    }

    fn send(&mut self, packet: &[u8]) {
        self.send_after(packet, Duration::ZERO);
    }

    // `after`: how long the device works on the answer.
    fn send_after(&mut self, packet: &[u8], after: Duration) {
        if self.chance.r#gen::<f64>() < self.spec.loss {
            return;
        }
        let mut bytes = frame(self.spec.framing, packet);
        if self.spec.noise {
            bytes.splice(0..0, b"[00:00:01.000,000] <inf> app: uart:~$ \r\n".iter().copied());
        }
        let times = if self.chance.r#gen::<f64>() < self.spec.twice { 2 } else { 1 };
        for _ in 0..times {
            let ready = Instant::now() + after + Duration::from_millis(self.spec.delay_ms);
            self.out_free = self.out_free.max(ready) + self.line_time(bytes.len());
            self.outbound.push_back((self.out_free, bytes.clone()));
        }
    }

    // Does everything that is due.
    async fn work(&mut self) -> Option<Exit> {
        let now = Instant::now();
        while self.inbound.front().is_some_and(|(at, _)| *at <= now) {
            let (_, bytes) = self.inbound.pop_front()?;
            self.received += bytes.len() as u64;
            for packet in self.receiver.take(&bytes) {
                self.arrived(packet);
            }
        }
        if self.spec.drop_out_after.is_some_and(|n| self.received >= n) && !*self.dropped_out {
            *self.dropped_out = true;
            return Some(Exit::DropOut(Duration::from_millis(self.spec.drop_out_ms)));
        }
        while self.busy_until <= now && !self.requests.is_empty() {
            let packet = self.requests.pop_front()?;
            if self.answer(&packet).is_err() {
                return Some(Exit::PowerCut);
            }
        }
        while self.outbound.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            let (_, bytes) = self.outbound.pop_front()?;
            if self.wire.to_laptop.send(bytes).await.is_err() {
                return Some(Exit::LinkClosed);
            }
        }
        self.restart_at.is_some_and(|at| at <= now).then_some(Exit::Restart)
    }

    fn arrived(&mut self, packet: Vec<u8>) {
        if self.chance.r#gen::<f64>() < self.spec.loss {
            return;
        }
        // One buffer is for the answer.
        if self.requests.len() >= self.spec.buffer_count.saturating_sub(1).max(1) {
            if let Some(answer) = out_of_memory(&packet) {
                self.send(&answer);
            }
            return;
        }
        self.requests.push_back(packet);
    }

    fn answer(&mut self, packet: &[u8]) -> Result<(), crate::bootloader::PowerLost> {
        let (answer, restart) = {
            let mut machine = lock(self.machine);
            let answer = machine.handle(packet)?;
            (answer, machine.ram.restart)
        };
        if let Some(answer) = answer {
            self.busy_until = self.busy_until.max(Instant::now()) + answer.after;
            self.send_after(&answer.packet, answer.after);
        }
        if restart && self.restart_at.is_none() {
            self.restart_at = Some(Instant::now() + RESET_DELAY);
        }
        Ok(())
    }
}
