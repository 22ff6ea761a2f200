//! Stores that make mistakes on purpose, around those that ship.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use amps_client::simulation::Bugs;
use amps_client::{Arrival, Attached, BookmarkStore, Progress, PublishStore, RecoveryPoint, StoreError};
use amps_testkit::MessageId;

/// A publish store, with the mistakes that are switched on.
pub(super) fn publish_store(store: impl PublishStore, bugs: Bugs) -> Box<dyn PublishStore> {
    if bugs.leaves_before_commit || bugs.stored_too_early {
        return Box::new(Hasty { store, bugs });
    }
    Box::new(store)
}

/// A bookmark store, with the mistakes that are switched on.
pub(super) fn bookmark_store(store: impl BookmarkStore, bugs: Bugs) -> Arc<dyn BookmarkStore> {
    if bugs.discard_counts_as_prefix || bugs.delivered_again {
        return Arc::new(Careless { store, bugs, open: Mutex::default() });
    }
    Arc::new(store)
}

/// Takes for done what is not.
struct Hasty<S> {
    store: S,
    bugs: Bugs,
}

impl<S: PublishStore> PublishStore for Hasty<S> {
    fn attach(&mut self, client: &str, progress: Progress) -> Result<Attached, StoreError> {
        self.store.attach(client, progress)
    }

    fn append(&mut self, sequence: u64, frame: &[u8]) -> Result<(), StoreError> {
        self.store.append(sequence, frame)
    }

    fn discard_up_to(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.store.discard_up_to(sequence)
    }

    fn refuse(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.store.refuse(sequence)
    }

    fn refused(&self) -> Vec<u64> {
        self.store.refused()
    }

    fn read(&mut self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
        self.store.read(from, visit)
    }

    fn len(&self) -> usize {
        self.store.len()
    }

    fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    fn lowest(&self) -> Option<u64> {
        self.store.lowest()
    }

    fn may_leave(&self) -> u64 {
        if self.bugs.leaves_before_commit { u64::MAX } else { self.store.may_leave() }
    }

    fn safe(&self) -> u64 {
        if self.bugs.stored_too_early { u64::MAX } else { self.store.safe() }
    }

    fn trouble(&self) -> Option<StoreError> {
        self.store.trouble()
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.store.close()
    }
}

/// Does not keep apart what was delivered and what was discarded.
struct Careless<S> {
    store: S,
    bugs: Bugs,
    open: Mutex<BTreeSet<(String, MessageId)>>,
}

impl<S> Careless<S> {
    fn with_open<R>(&self, look: impl FnOnce(&mut BTreeSet<(String, MessageId)>) -> R) -> R {
        look(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: BookmarkStore> BookmarkStore for Careless<S> {
    fn attach(&self, client: &str) -> Result<(), StoreError> {
        self.store.attach(client)
    }

    fn begin(&self, sub: &str, from: &str) -> Result<(), StoreError> {
        self.store.begin(sub, from)
    }

    fn new_subscriber(&self, sub: &str) -> Result<(), StoreError> {
        self.with_open(|open| open.retain(|(other, _)| other != sub));
        self.store.new_subscriber(sub)
    }

    fn arrived(&self, sub: &str, message: MessageId) -> Result<Arrival, StoreError> {
        let arrival = self.store.arrived(sub, message)?;
        let known = self.with_open(|open| match arrival {
            Arrival::New => !open.insert((sub.to_owned(), message)),
            Arrival::Duplicate => open.contains(&(sub.to_owned(), message)),
        });
        Ok(if known && self.bugs.delivered_again { Arrival::New } else { arrival })
    }

    fn discard(&self, sub: &str, message: MessageId) -> Result<(), StoreError> {
        while let Some(open) = self.store.oldest_open(sub) {
            if open == message || !self.bugs.discard_counts_as_prefix {
                break;
            }
            self.store.discard(sub, open)?;
        }
        self.with_open(|open| open.remove(&(sub.to_owned(), message)));
        self.store.discard(sub, message)
    }

    fn persisted(&self, sub: &str, last: MessageId) -> Result<(), StoreError> {
        self.store.persisted(sub, last)
    }

    fn recovery_point(&self, sub: &str) -> RecoveryPoint {
        self.store.recovery_point(sub)
    }

    fn oldest_open(&self, sub: &str) -> Option<MessageId> {
        self.store.oldest_open(sub)
    }

    fn open_messages(&self, sub: &str) -> usize {
        self.store.open_messages(sub)
    }

    fn purge(&self) -> Result<(), StoreError> {
        self.store.purge()
    }

    fn purge_sub(&self, sub: &str) -> Result<(), StoreError> {
        self.store.purge_sub(sub)
    }

    fn close(&self) -> Result<(), StoreError> {
        self.store.close()
    }
}
