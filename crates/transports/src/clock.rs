//! The laptop's clocks.

use std::time::Duration;

use aseptic_device::{Clock, Moment};
use async_trait::async_trait;
use jiff::Timestamp;

/// Civil time and the time since boot, sleep included.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment { wall: Timestamp::now(), boot: since_boot() }
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

// Rust's `Instant` stands still in suspend on Linux; CLOCK_BOOTTIME does not.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
