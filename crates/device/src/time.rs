//! Time as an argument: what a clock must tell, never a clock that logic reads by itself.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One instant on both clocks of the laptop.
///
/// `wall` can jump when somebody sets the clock; `boot` only runs forward and counts the time the
/// laptop slept (`CLOCK_BOOTTIME`). Deadlines hold against both, the stricter wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Civil time, UTC.
    pub wall: Timestamp,
    /// Time since the laptop booted, sleep included.
    pub boot: Duration,
}

impl Moment {
    /// Returns how long ago `earlier` was: the longer of the two clocks, so that evidence is never younger than it may be.
    pub fn since(&self, earlier: &Moment) -> Duration {
        let by_boot = self.boot.saturating_sub(earlier.boot);
        let by_wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or(Duration::ZERO);
        by_boot.max(by_wall)
    }

    /// Returns the moment `span` later on both clocks.
    #[must_use]
    pub fn plus(&self, span: Duration) -> Moment {
        let wall = jiff::SignedDuration::try_from(span)
            .ok()
            .and_then(|d| self.wall.checked_add(d).ok())
            .unwrap_or(Timestamp::MAX);
        Moment { wall, boot: self.boot.saturating_add(span) }
    }

    /// Returns whether either clock has reached `deadline`.
    pub fn reached(&self, deadline: &Moment) -> bool {
        self.wall >= deadline.wall || self.boot >= deadline.boot
    }
}

/// A source of time, given to whatever has to wait.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Returns the present moment.
    fn now(&self) -> Moment;
    /// Returns after `span` has passed.
    async fn sleep(&self, span: Duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, boot: u64) -> Moment {
        Moment { wall: Timestamp::from_second(wall).unwrap(), boot: Duration::from_secs(boot) }
    }

    #[test]
    fn age_is_the_longer_of_both_clocks() {
        assert_eq!(at(1_000, 50).since(&at(990, 45)), Duration::from_secs(10));
        assert_eq!(at(980, 50).since(&at(990, 45)), Duration::from_secs(5));
    }

    #[test]
    fn a_deadline_is_reached_by_either_clock() {
        let deadline = at(1_000, 100);
        assert!(at(1_000, 10).reached(&deadline));
        assert!(at(1, 100).reached(&deadline));
        assert!(!at(999, 99).reached(&deadline));
    }
}
