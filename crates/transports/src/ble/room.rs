//! How many links an adapter holds: found by trying, never assumed. Who waits is served in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More than any adapter holds.
const PLENTY: usize = 64;

/// The room of one adapter.
#[derive(Debug, Clone)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    size: Arc<AtomicUsize>,
}

/// A place in the room; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(OwnedSemaphorePermit);

impl Default for Room {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLENTY)), size: Arc::new(AtomicUsize::new(PLENTY)) }
    }
}

impl Room {
    /// Waits for a place.
    pub async fn enter(&self) -> Option<Place> {
        self.places.clone().acquire_owned().await.ok().map(Place)
    }

    /// Returns how many places are taken.
    pub fn taken(&self) -> usize {
        self.size.load(Ordering::SeqCst).saturating_sub(self.places.available_permits())
    }

    /// Supposes that the adapter holds no more than what is taken, the failed place left out. At least one stays.
    pub fn supposed_full(&self, failed: Place) -> Supposed {
        let others = self.taken().saturating_sub(1).max(1);
        let spare = self.size.load(Ordering::SeqCst).saturating_sub(others + 1);
        let removed = self.places.forget_permits(spare) + 1;
        failed.0.forget();
        self.size.fetch_sub(removed, Ordering::SeqCst);
        Supposed { room: self.clone(), removed }
    }
}

/// A supposition about the size of a room.
#[derive(Debug)]
pub(super) struct Supposed {
    room: Room,
    removed: usize,
}

impl Supposed {
    /// Takes it back: with a free place it failed as well, so the size was not the reason.
    pub fn was_wrong(self) {
        self.room.size.fetch_add(self.removed, Ordering::SeqCst);
        self.room.places.add_permits(self.removed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_full_adapter_shrinks_the_room_to_what_it_held_and_the_next_waits_for_a_place() {
        let room = Room::default();
        let first = room.enter().await.unwrap();
        let second = room.enter().await.unwrap();
        let third = room.enter().await.unwrap();
        assert_eq!(room.taken(), 3);
        let supposed = room.supposed_full(third);
        assert_eq!(room.taken(), 2);
        assert!(room.enter().now_or_never().is_none(), "no third place");
        drop(first);
        let again = room.enter().now_or_never().flatten();
        assert!(again.is_some() && room.enter().now_or_never().is_none());
        supposed.was_wrong();
        assert!(room.enter().now_or_never().flatten().is_some(), "there is room again");
        drop((second, again));
        assert_eq!(room.taken(), 0);
    }
}
