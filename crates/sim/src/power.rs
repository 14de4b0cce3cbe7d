//! The power-cut switch: counts every lasting write of a device and cuts its power at a chosen one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

const NEVER: u64 = u64::MAX;

/// A hand on one device's power.
#[derive(Debug, Clone)]
pub struct PowerSwitch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writes: AtomicU64,
    cut_at: AtomicU64,
    off_for_ms: AtomicU64,
    pulled: Notify,
}

impl Default for PowerSwitch {
    fn default() -> Self {
        Self(Arc::new(Inner {
            writes: AtomicU64::new(0),
            cut_at: AtomicU64::new(NEVER),
            off_for_ms: AtomicU64::new(500),
            pulled: Notify::new(),
        }))
    }
}

impl PowerSwitch {
    /// Returns how many lasting writes the device has begun.
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::SeqCst)
    }

    /// Cuts the power right before the `n`-th lasting write from now (1 is the next), for `off`.
    pub fn cut_at(&self, n: u64, off: Duration) {
        self.0.off_for_ms.store(u64::try_from(off.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.0.cut_at.store(self.writes().saturating_add(n), Ordering::SeqCst);
    }

    /// Cuts the power now, for `off`.
    pub fn pull(&self, off: Duration) {
        self.0.off_for_ms.store(u64::try_from(off.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.0.pulled.notify_one();
    }

    /// Counts a write; true: the power is gone and the write does not happen.
    pub(crate) fn tick(&self) -> bool {
        let now = self.0.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let cut = now == self.0.cut_at.load(Ordering::SeqCst);
        if cut {
            self.0.cut_at.store(NEVER, Ordering::SeqCst);
        }
        cut
    }

    pub(crate) fn off_for(&self) -> Duration {
        Duration::from_millis(self.0.off_for_ms.load(Ordering::SeqCst))
    }

    pub(crate) async fn pulled(&self) {
        self.0.pulled.notified().await;
    }
}
