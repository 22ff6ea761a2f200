//! Client-side conflation: which unread message a new one replaces.
//!
//! Owns the index from a message's key (its topic and record key) to its place in the queue.
//! It holds hashes only; the message that is found there is compared, so that two keys of one
//! hash cost a replacement and never confuse two records.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use amps_protocol::{CommandKind, Message as Raw};
use rustc_hash::{FxHashMap, FxHasher};

use crate::stream::Entry;

#[derive(Debug, Default)]
pub(crate) struct Latest {
    /// By hash of the key, the number of the unread message, counted since the beginning.
    by_key: FxHashMap<u64, u64>,
}

impl Latest {
    /// Where the unread message lies that this one replaces. `taken` messages have left the
    /// front of `entries`.
    pub(crate) fn place_of(&mut self, message: &Raw, taken: u64, entries: &VecDeque<Entry>) -> Option<usize> {
        if !may_replace(message) {
            return None;
        }
        let number = *self.by_key.get(&hash(message)?)?;
        let place = usize::try_from(number.checked_sub(taken)?).ok()?;
        let Entry::Single(unread) = entries.get(place)? else { return None };
        let same = unread.message.topic() == message.topic()
            && unread.message.sow_key() == message.sow_key()
            && unread.lease.is_none();
        same.then_some(place)
    }

    /// A message was added.
    pub(crate) fn note(&mut self, message: &Raw, number: u64) {
        if !may_replace(message) {
            // What delimits a result is not overtaken: a record behind it does not replace
            // one before it (CC-7).
            return self.clear();
        }
        if let Some(hash) = hash(message) {
            self.by_key.insert(hash, number);
        }
    }

    /// A message was taken.
    pub(crate) fn forget(&mut self, message: &Raw, number: u64) {
        if let Some(hash) = hash(message) {
            if self.by_key.get(&hash) == Some(&number) {
                self.by_key.remove(&hash);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.by_key.clear();
    }
}

/// Whether it is about a record: what is not is never conflated.
fn may_replace(message: &Raw) -> bool {
    !matches!(message.command(), CommandKind::Ack | CommandKind::GroupBegin | CommandKind::GroupEnd)
}

/// The hash of what makes two messages the same record; `None` for one without a record key.
fn hash(message: &Raw) -> Option<u64> {
    let key = message.sow_key()?;
    let mut hasher = FxHasher::default();
    message.topic().hash(&mut hasher);
    key[..].hash(&mut hasher);
    Some(hasher.finish())
}
