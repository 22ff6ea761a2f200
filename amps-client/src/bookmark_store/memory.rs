//! A bookmark store in memory.
//!
//! Owns the trackers of all subscriptions, each behind a lock of its own, and tells a recovery
//! point adapter, if there is one, what has moved. Touches no file.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use super::adapter::{RecoveryPointAdapter, StoredPoint};
use super::tracker::{Note, Tracker};
use super::{Arrival, BookmarkStore, RecoveryPoint};
use crate::bookmarks::MessageId;
use crate::store_error::StoreError;

/// Keeps in memory what was processed: it outlives the connection and the server, not the
/// process.
///
/// A message that arrived and is not yet discarded takes less than 100 bytes, and so does one
/// that was discarded while an earlier one is open. **Every message has to be discarded**: the
/// recovery point stays before the first that is not.
///
/// ```
/// use amps_client::bookmarks::MessageId;
/// use amps_client::{Arrival, BookmarkStore, MemoryBookmarkStore};
///
/// let store = MemoryBookmarkStore::new();
/// let [first, second] = [1, 2].map(|sequence| MessageId { publisher: 7, sequence });
/// assert_eq!(store.arrived("orders-1", first)?, Arrival::New);
/// assert_eq!(store.arrived("orders-1", second)?, Arrival::New);
///
/// store.discard("orders-1", second)?;
/// assert_eq!(store.recovery_point("orders-1").bookmark, "", "the first is still open");
/// store.discard("orders-1", first)?;
/// assert_eq!(store.recovery_point("orders-1").bookmark, "7|2|");
/// assert_eq!(store.arrived("orders-1", second)?, Arrival::Duplicate);
/// # Ok::<(), amps_client::StoreError>(())
/// ```
#[derive(Default)]
pub struct MemoryBookmarkStore {
    subs: RwLock<FxHashMap<Box<str>, Arc<Mutex<Tracker>>>>,
    adapter: Option<Box<dyn RecoveryPointAdapter>>,
    /// Whether the adapter was asked what it has.
    recovered: Mutex<bool>,
}

impl MemoryBookmarkStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins with the recovery points that `adapter` has kept, and keeps them there. They are
    /// read when a client takes the store.
    #[must_use]
    pub fn with_adapter(mut self, adapter: impl RecoveryPointAdapter) -> Self {
        self.adapter = Some(Box::new(adapter));
        self
    }

    /// Tells the adapter to give back what room it can.
    ///
    /// # Errors
    /// As the adapter says.
    pub fn prune(&self) -> Result<(), StoreError> {
        self.adapter.as_ref().map_or(Ok(()), |adapter| adapter.prune())
    }

    fn known(&self, sub: &str) -> Option<Arc<Mutex<Tracker>>> {
        self.subs.read().unwrap_or_else(PoisonError::into_inner).get(sub).cloned()
    }

    fn any(&self, sub: &str) -> Arc<Mutex<Tracker>> {
        self.known(sub).unwrap_or_else(|| {
            let mut subs = self.subs.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(subs.entry(sub.into()).or_default())
        })
    }

    /// Changes a subscription, and tells the adapter if its recovery point is another now.
    fn change<T>(
        &self,
        sub: &str,
        tracker: &Mutex<Tracker>,
        change: impl FnOnce(&mut Tracker, &mut dyn FnMut(Note<'_>)) -> T,
    ) -> Result<T, StoreError> {
        let mut tracker = lock(tracker);
        let mut moved = false;
        let outcome = change(&mut tracker, &mut |note| moved |= note.moves());
        if let Some(adapter) = self.adapter.as_ref().filter(|_| moved) {
            let bookmark = tracker.recovery_point().bookmark;
            adapter.update(StoredPoint { sub_id: sub.to_owned(), bookmark })?;
        }
        Ok(outcome)
    }

    fn look<T: Default>(&self, sub: &str, look: impl FnOnce(&Tracker) -> T) -> T {
        self.known(sub).map(|tracker| look(&lock(&tracker))).unwrap_or_default()
    }
}

impl BookmarkStore for MemoryBookmarkStore {
    fn attach(&self, _client: &str) -> Result<(), StoreError> {
        let mut recovered = self.recovered.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(adapter) = self.adapter.as_ref().filter(|_| !*recovered) else { return Ok(()) };
        for point in adapter.recovered()? {
            lock(&self.any(&point.sub_id)).recover(&point.recovery_point());
        }
        *recovered = true;
        Ok(())
    }

    fn begin(&self, sub: &str, from: &str) -> Result<(), StoreError> {
        self.change(sub, &self.any(sub), |tracker, told| tracker.begin(from, told))
    }

    fn new_subscriber(&self, sub: &str) -> Result<(), StoreError> {
        if let Some(tracker) = self.known(sub) {
            lock(&tracker).new_subscriber();
        }
        Ok(())
    }

    fn arrived(&self, sub: &str, message: MessageId) -> Result<Arrival, StoreError> {
        let tracker = self.any(sub);
        let mut arrival = Arrival::New;
        let kept = self.change(sub, &tracker, |tracker, told| arrival = tracker.arrived(message, told));
        // What it is, is known whatever the adapter says of the point that a duplicate may have moved: it is
        // told the next one, or at the end of the run one is repeated.
        let _repeated = kept;
        Ok(arrival)
    }

    fn discard(&self, sub: &str, message: MessageId) -> Result<(), StoreError> {
        let Some(tracker) = self.known(sub) else { return Ok(()) };
        self.change(sub, &tracker, |tracker, told| tracker.discard(message, told)).map(drop)
    }

    fn persisted(&self, sub: &str, last: MessageId) -> Result<(), StoreError> {
        self.change(sub, &self.any(sub), |tracker, told| tracker.persisted(last, told))
    }

    fn recovery_point(&self, sub: &str) -> RecoveryPoint {
        self.look(sub, Tracker::recovery_point)
    }

    fn oldest_open(&self, sub: &str) -> Option<MessageId> {
        self.look(sub, Tracker::oldest_open)
    }

    fn open_messages(&self, sub: &str) -> usize {
        self.look(sub, Tracker::open_messages)
    }

    fn purge(&self) -> Result<(), StoreError> {
        let mut subs = self.subs.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever is about to change a subscription finds it empty, not gone.
        for tracker in subs.values() {
            *lock(tracker) = Tracker::default();
        }
        subs.retain(|_, tracker| Arc::strong_count(tracker) > 1);
        // It may ask somebody else, and take its time.
        drop(subs);
        self.adapter.as_ref().map_or(Ok(()), |adapter| adapter.purge())
    }

    fn purge_sub(&self, sub: &str) -> Result<(), StoreError> {
        if let Some(tracker) = self.known(sub) {
            *lock(&tracker) = Tracker::default();
        }
        self.adapter.as_ref().map_or(Ok(()), |adapter| adapter.purge_sub(sub))
    }

    fn close(&self) -> Result<(), StoreError> {
        self.adapter.as_ref().map_or(Ok(()), |adapter| adapter.close())
    }
}

/// An application that panics while it holds a lock has changed nothing by halves.
fn lock(tracker: &Mutex<Tracker>) -> MutexGuard<'_, Tracker> {
    tracker.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for MemoryBookmarkStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subs = self.subs.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("MemoryBookmarkStore")
            .field("subscriptions", &subs.len())
            .field("adapter", &self.adapter.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps nothing.
    struct Gone;

    impl RecoveryPointAdapter for Gone {
        fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
            Ok(Vec::new())
        }
        fn update(&self, _: StoredPoint) -> Result<(), StoreError> {
            Err(StoreError::other("nobody is there"))
        }
        fn purge(&self) -> Result<(), StoreError> {
            Ok(())
        }
        fn purge_sub(&self, _: &str) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn what_was_discarded_stays_so_for_a_new_subscriber_though_the_adapter_keeps_nothing() {
        let store = MemoryBookmarkStore::new().with_adapter(Gone);
        let [first, second] = [1, 2].map(|sequence| MessageId { publisher: 7, sequence });
        store.arrived("s", first).unwrap();
        store.arrived("s", second).unwrap();
        store.discard("s", second).unwrap();
        store.new_subscriber("s").unwrap();
        // Nothing is before it in this run, so that the recovery point moves, and the adapter is told.
        assert_eq!(store.arrived("s", second).ok(), Some(Arrival::Duplicate));
    }
}
