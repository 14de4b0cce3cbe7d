//! One act on the device, and what it left to be written down.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use aseptic_device::driver::Sensed;
use aseptic_device::{ImageHash, SessionError, SettingKey, Uploaded, Value};

use crate::journal::{Failure, Mark, Observed};
use crate::look::{shows_version, unplanned};
use crate::next::Act;
use crate::plan::PatchRef;
use crate::progress::Progress;

use super::watch::UploadControl;
use super::{RunError, RunEvent, Runner, failure_of};

// Zephyr answers a reset and restarts a moment later; asking at once would meet the old run.
const RESET_DELAY: Duration = Duration::from_millis(700);
// Where nothing on the device shows that it restarted, so much longer is waited for one that takes its time.
const SLOW_RESET: Duration = Duration::from_secs(3);
const SOAK_CHECKS: u32 = 3;

// What an act leaves to be written down. Most leave nothing: the next look decides.
enum Left {
    Nothing,
    Done,
    Failed(Failure),
}

impl Act {
    /// Returns whether the act changes the device.
    pub fn has_effect(&self) -> bool {
        match self {
            Self::Set { .. } | Self::Reload | Self::Upload | Self::MarkTest | Self::Restart | Self::Confirm => true,
            Self::Backup | Self::Soak => false,
        }
    }
}

impl Runner<'_> {
    pub(super) async fn carry_out(&mut self, step: usize, act: Act, undoing: bool) -> Result<(), RunError> {
        let keeps_look = act == Act::Backup;
        let left = match act {
            Act::Backup => Left::Done,
            Act::Set { key, value } => self.set(&key, &value).await,
            Act::Reload => self.reload().await,
            Act::Upload => self.upload().await,
            Act::MarkTest => self.mark_test().await,
            Act::Restart => self.restart().await,
            Act::Soak => self.soak().await,
            Act::Confirm => self.confirm().await,
        };
        if !keeps_look {
            self.seen = None;
        }
        let (mark, observed) = match left {
            Left::Nothing => return Ok(()),
            Left::Done => {
                let observed = match self.observe().await {
                    Ok(seen) => Some(seen),
                    // The device is gone again: the step is not written as done and the loop looks for it.
                    Err(_) => return Ok(()),
                };
                (if undoing { Mark::Undone } else { Mark::Done }, observed)
            }
            Left::Failed(failure) => {
                if matches!(failure, Failure::Link { .. }) {
                    self.forget();
                }
                (Mark::Failed { failure }, None)
            }
        };
        let name = self.step_name(step);
        match &mark {
            Mark::Failed { failure } => {
                (self.hands.events)(RunEvent::StepFailed { step, name, failure: failure.to_string() });
            }
            Mark::Done => (self.hands.events)(RunEvent::StepDone { step, name }),
            _ => {}
        }
        self.write(Some(step), mark, observed).await
    }

    async fn set(&mut self, key: &SettingKey, value: &Value) -> Left {
        let result = match self.session.changing() {
            Ok(device) => device.set(key, value).await,
            Err(error) => return lost(&error),
        };
        if let Err(error) = result {
            return Left::Failed(failure_of(&error));
        }
        self.seen = None;
        match self.observe().await {
            // The device answered that it saved, and shows the value.
            Ok(seen) if seen.config.value(key) == Some(value) => Left::Done,
            Ok(seen) => {
                let read = seen.config.value(key).map_or_else(|| "nothing".into(), ToString::to_string);
                Left::Failed(Failure::NotReadBack { detail: format!("{key}: wrote {value}, read {read}") })
            }
            Err(halt) => Left::Failed(Failure::Link { detail: halt.to_string() }),
        }
    }

    async fn reload(&mut self) -> Left {
        if let Err(left) = self.send_restart().await {
            return left;
        }
        self.clock.sleep(SLOW_RESET).await;
        match self.find_again().await {
            Ok(()) => Left::Done,
            Err(error) => lost(&error),
        }
    }

    async fn upload(&mut self) -> Left {
        let Some(patch) = self.plan.body.patch.as_ref() else { return no_patch() };
        let source = match self.hands.objects.open(patch) {
            Ok(source) => source,
            Err(detail) => return Left::Failed(Failure::Untrusted { detail }),
        };
        let reserve = Duration::from_secs(self.plan.estimate.revert_s.into());
        let control = UploadControl {
            clock: self.clock,
            cancelled: self.hands.cancelled,
            events: self.hands.events,
            begun: self.clock.now(),
            deadline: self.hands.deadline.map(|end| aseptic_device::Moment {
                wall: jiff::SignedDuration::try_from(reserve)
                    .ok()
                    .and_then(|r| end.wall.checked_sub(r).ok())
                    .unwrap_or(end.wall),
                boot: end.boot.saturating_sub(reserve),
            }),
            every: self.between_readings().min(Duration::from_secs(5)),
            unsafe_now: AtomicBool::new(false),
            readings: Mutex::new(Vec::new()),
        };
        let result = match self.session.changing() {
            Ok(device) => device.upload(patch.image, source.as_ref(), &control).await,
            Err(error) => return lost(&error),
        };
        if let Ok(readings) = control.readings.into_inner() {
            self.evidence.readings.extend(readings);
        }
        match result {
            Ok(Uploaded::Complete | Uploaded::Stopped { .. }) => Left::Nothing,
            Err(error) => Left::Failed(failure_of(&error)),
        }
    }

    async fn mark_test(&mut self) -> Left {
        let Some(patch) = self.plan.body.patch.as_ref() else { return no_patch() };
        let result = match self.session.changing() {
            Ok(device) => device.mark_test(patch.image, &patch.hash).await,
            Err(error) => return lost(&error),
        };
        result.map_or_else(|error| Left::Failed(failure_of(&error)), |()| Left::Nothing)
    }

    async fn send_restart(&mut self) -> Result<(), Left> {
        let result = match self.session.changing() {
            Ok(device) => device.restart().await,
            Err(error) => return Err(lost(&error)),
        };
        // A restart may cut off its own answer; only a refusal is an answer.
        match result {
            Err(error) if !error.leaves_doubt() => Err(Left::Failed(failure_of(&error))),
            _ => {
                self.forget();
                self.clock.sleep(RESET_DELAY).await;
                Ok(())
            }
        }
    }

    // Waits until another image runs than before, or the pending one was dropped: a device may take
    // a while to begin its restart, and its bootloader to swap.
    async fn restart(&mut self) -> Left {
        let Some(patch) = self.plan.body.patch.as_ref() else { return no_patch() };
        let before = self.seen.as_ref().and_then(|s| s.images.active(patch.image)).and_then(|s| s.hash.clone());
        if let Err(left) = self.send_restart().await {
            return left;
        }
        let begun = self.clock.now();
        let within = self.session.profile().timing.restart();
        loop {
            if !self.session.is_open()
                && let Err(error) = self.find_again().await
            {
                return lost(&error);
            }
            match self.observe().await {
                Ok(seen) if has_restarted(patch, before.as_ref(), &seen) => return Left::Nothing,
                Ok(_) if self.clock.now().since(&begun) >= within => return Left::Nothing,
                Ok(_) => {
                    self.forget();
                    self.clock.sleep(RESET_DELAY).await;
                }
                Err(halt) => return Left::Failed(Failure::Link { detail: halt.to_string() }),
            }
        }
    }

    async fn soak(&mut self) -> Left {
        let Some(patch) = self.plan.body.patch.clone() else { return no_patch() };
        let total = self.session.profile().timing.soak();
        let begun = self.clock.now();
        for check in 1..=SOAK_CHECKS {
            let due = total * check / SOAK_CHECKS;
            loop {
                let elapsed = self.clock.now().since(&begun);
                (self.hands.events)(RunEvent::Soaking { elapsed_s: elapsed.as_secs(), total_s: total.as_secs() });
                if elapsed >= due {
                    break;
                }
                if (self.hands.cancelled)() {
                    return Left::Nothing;
                }
                self.clock.sleep(due.saturating_sub(elapsed).min(self.between_readings())).await;
                if let Err(left) = self.still_there().await {
                    return left;
                }
            }
            if let Err(failure) = self.check_new_firmware(&patch).await {
                return Left::Failed(failure);
            }
        }
        Left::Done
    }

    // A lost link during the soak starts it anew; it is never bridged.
    async fn still_there(&mut self) -> Result<(), Left> {
        let result = match self.session.inspecting() {
            Ok(device) => device.readiness().await,
            Err(error) => return Err(lost(&error)),
        };
        match result {
            Ok(readiness) => {
                self.took(readiness);
                Ok(())
            }
            Err(error) => Err(Left::Failed(failure_of(&error))),
        }
    }

    async fn check_new_firmware(&mut self, patch: &PatchRef) -> Result<(), Failure> {
        let seen = self.look_without_searching().await?;
        let Some(active) = seen.images.active(patch.image).filter(|s| s.hash.as_ref() == Some(&patch.hash)) else {
            return Err(Failure::Reverted);
        };
        if !shows_version(patch, active.version.as_str()) {
            let detail = format!("the device reports version {}, not {}", active.version, patch.version);
            return Err(Failure::CheckFailed { detail });
        }
        let device = self.session.inspecting().map_err(|e| Failure::Link { detail: e.to_string() })?;
        for result in device.checks().await.map_err(|e| failure_of(&e))? {
            match result.sensed {
                Sensed::Safe(_) => {}
                Sensed::Unsafe(what) | Sensed::Unreadable(what) => {
                    return Err(Failure::CheckFailed { detail: format!("{}: {what}", result.check) });
                }
            }
        }
        let progress = Progress::of(self.plan, &self.records);
        let keys = unplanned(self.plan, &progress, &seen);
        if keys.is_empty() { Ok(()) } else { Err(Failure::SettingsChanged { keys }) }
    }

    async fn look_without_searching(&mut self) -> Result<Observed, Failure> {
        let device = self.session.inspecting().map_err(|e| Failure::Link { detail: e.to_string() })?;
        let images = device.images().await.map_err(|e| failure_of(&e))?;
        let config = device.read_config().await.map_err(|e| failure_of(&e))?;
        Ok(Observed { images, config })
    }

    // Listed right before, so that nothing but the checked image can be kept; the next look lists again.
    async fn confirm(&mut self) -> Left {
        let Some(patch) = self.plan.body.patch.clone() else { return no_patch() };
        match self.look_without_searching().await {
            Err(failure) => return Left::Failed(failure),
            Ok(seen) if !runs(&patch, &seen) => return Left::Failed(Failure::Reverted),
            Ok(_) => {}
        }
        let result = match self.session.changing() {
            Ok(device) => device.confirm_running().await,
            Err(error) => return lost(&error),
        };
        result.map_or_else(|error| Left::Failed(failure_of(&error)), |()| Left::Nothing)
    }
}

fn runs(patch: &PatchRef, seen: &Observed) -> bool {
    seen.images.active(patch.image).is_some_and(|s| s.hash.as_ref() == Some(&patch.hash))
}

fn has_restarted(patch: &PatchRef, before: Option<&ImageHash>, seen: &Observed) -> bool {
    let active = seen.images.active(patch.image).and_then(|s| s.hash.as_ref());
    let waits = seen.images.spare(patch.image).is_some_and(|s| s.pending);
    active != before || !waits && !runs(patch, seen)
}

fn lost(error: &SessionError) -> Left {
    Left::Failed(Failure::Link { detail: error.to_string() })
}

fn no_patch() -> Left {
    Left::Failed(Failure::Untrusted { detail: "the plan names no patch".into() })
}
