//! Reading the device: what it shows, whether it is ready, and finding it again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aseptic_device::driver::{Readiness, Sensed};
use aseptic_device::{Clock, Control, DriverError, Moment, SessionError};

use crate::gates::LONGEST_GAP;
use crate::journal::{Halt, Observed};

use super::{RunEvent, Runner, halt_of};

const TRIES: u32 = 3;

impl Runner<'_> {
    /// Returns what the device shows now; finds it again when the link is lost.
    pub(super) async fn observe(&mut self) -> Result<Observed, Halt> {
        if let Some(seen) = &self.seen {
            return Ok(seen.clone());
        }
        let mut last = String::new();
        for _ in 0..TRIES {
            if !self.session.is_open() {
                self.find_again().await.map_err(|e| halt_of(&e))?;
            }
            match self.read_all().await {
                Ok(seen) => {
                    self.seen = Some(seen.clone());
                    return Ok(seen);
                }
                Err(error) => {
                    last = error.to_string();
                    self.session.close();
                }
            }
        }
        Err(Halt::Unreachable { detail: last })
    }

    async fn read_all(&mut self) -> Result<Observed, SessionError> {
        let device = self.session.inspecting()?;
        let images = device.images().await?;
        let config = device.read_config().await?;
        let readiness = device.readiness().await?;
        self.took(readiness);
        Ok(Observed { images, config })
    }

    /// Looks for the device for as long as its profile allows a restart to take.
    pub(super) async fn find_again(&mut self) -> Result<(), SessionError> {
        let within = self.session.profile().timing.restart();
        (self.hands.events)(RunEvent::Searching { within_s: within.as_secs() });
        self.session.reopen(within).await?;
        (self.hands.events)(RunEvent::Back { address: self.session.sighting().address.to_string() });
        Ok(())
    }

    /// Reads readiness once; a device that does not answer closes the link, so that it is found again.
    pub(super) async fn read_readiness(&mut self) {
        let read = match self.session.inspecting() {
            Ok(device) => device.readiness().await,
            Err(_) => return,
        };
        match read {
            Ok(readiness) => self.took(readiness),
            Err(error) => {
                tracing::debug!(%error, "readiness not read");
                self.forget();
            }
        }
    }

    pub(super) fn took(&mut self, readiness: Readiness) {
        let now = self.clock.now();
        self.evidence.readings.push((now, readiness));
        if self.evidence.readings.len() > 1_000 {
            self.evidence.readings.drain(..500);
        }
    }

    /// Drops the link and what was seen over it; the next look finds the device again.
    pub(super) fn forget(&mut self) {
        self.session.close();
        self.seen = None;
    }
}

/// The run's hand on an upload: progress out, readings in, stop when the device stops being safe.
pub(super) struct UploadControl<'a> {
    pub clock: &'a dyn Clock,
    pub cancelled: &'a (dyn Fn() -> bool + Send + Sync),
    pub events: &'a (dyn Fn(RunEvent) + Send + Sync),
    pub begun: Moment,
    pub deadline: Option<Moment>,
    pub every: Duration,
    pub unsafe_now: AtomicBool,
    pub readings: Mutex<Vec<(Moment, Readiness)>>,
}

impl Control for UploadControl<'_> {
    fn progress(&self, acknowledged: u64, total: u64) {
        (self.events)(RunEvent::Progress { acknowledged, total });
    }

    fn stopped(&self) -> bool {
        self.unsafe_now.load(Ordering::Relaxed)
            || (self.cancelled)()
            || self.deadline.is_some_and(|end| self.clock.now().reached(&end))
    }

    fn sample_every(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn sampled(&self, readiness: Result<Readiness, DriverError>) {
        let now = self.clock.now();
        let Ok(readiness) = readiness else {
            // A device that no longer says how it is counts as unsafe after the longest allowed gap.
            let read = self.readings.lock().ok().and_then(|r| r.last().map(|(at, _)| *at)).unwrap_or(self.begun);
            if now.since(&read) > LONGEST_GAP {
                self.unsafe_now.store(true, Ordering::Relaxed);
            }
            return;
        };
        let not_safe = |s: &Sensed| matches!(s, Sensed::Unsafe(_));
        if not_safe(&readiness.therapy) || not_safe(&readiness.alarm) || not_safe(&readiness.power) {
            self.unsafe_now.store(true, Ordering::Relaxed);
        }
        if let Ok(mut readings) = self.readings.lock() {
            readings.push((now, readiness));
        }
    }
}
