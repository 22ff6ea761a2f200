//! How far one subscription was processed.
//!
//! Owns the order in which its messages arrived, which of them were discarded, and what follows
//! from that: whether a message is a duplicate, and where the subscription has to begin. Knows
//! no file, no lock and no clock; what a store has to remember beyond the process is told as
//! [`Note`]s.
//!
//! Invariants: the queue is empty or begins with an open message; whatever is in the queue is in
//! `places`; whatever left it lies at or before its publisher's point; what `carried` holds
//! never arrived in this run.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::fmt::Write as _;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Arrival, RecoveryPoint};
use crate::bookmarks::MessageId;

/// A queue with more room than this gives it back when it is empty.
const ROOM_KEPT: usize = 1 << 12;

/// Something that outlives the process, if the store does. Taken in the order in which they were
/// told, any prefix of them describes a subscription that has processed at most what it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note<'a> {
    /// The subscription begins here, as long as nothing better is known.
    Begin(&'a str),
    /// Discarded, while something before it is open.
    Discarded(MessageId),
    /// Everything of this publisher up to here is discarded, and so is all that arrived before.
    Point(MessageId),
    /// The server has persisted everything up to here, and all that arrived before is discarded.
    Persisted(MessageId),
}

impl Note<'_> {
    /// Whether the recovery point may be another now.
    pub(super) const fn moves(&self) -> bool {
        !matches!(self, Self::Discarded(_))
    }
}

/// One subscription.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    start: Option<Box<str>>,
    numbers: FxHashMap<u64, u32>,
    publishers: Vec<Publisher>,
    /// Messages from the first open one on, in the order of their arrival.
    queue: VecDeque<Entry>,
    /// The place of the first entry of the queue. Places count on from there, and wrap around:
    /// four thousand million messages in one queue would not fit into memory.
    base: u32,
    places: FxHashMap<Key, u32>,
    open: usize,
    /// Discarded in an earlier run and not seen in this one.
    carried: FxHashSet<Key>,
    /// How many messages have left the queue since `carried` was cleared of what lies before
    /// the points.
    since_cleared: usize,
    /// Persisted bookmarks behind messages that are still open.
    markers: VecDeque<Marker>,
    last_persisted: Option<MessageId>,
    /// Publishers whose point has moved within the current call.
    moved: Vec<u32>,
    /// Publishers whose persisted bookmark has moved within the current call.
    joined: Vec<u32>,
    /// Entries of any kind that were looked at, for the test that counts them.
    #[cfg(test)]
    visited: u64,
}

#[derive(Debug)]
struct Publisher {
    id: u64,
    /// The last message of the contiguous run of discarded messages.
    point: Option<u64>,
    /// The last persisted bookmark that no open message precedes.
    persisted: Option<u64>,
    /// It is in the recovery point although none of its messages is known to be discarded.
    listed: bool,
    moved: bool,
    joined: bool,
}

/// A message that arrived.
#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence: u64,
    publisher: u32,
    discarded: bool,
}

/// A message, in 12 bytes: together with its place it fills 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    publisher: u32,
    high: u32,
    low: u32,
}

impl Key {
    const fn new(publisher: u32, sequence: u64) -> Self {
        Self { publisher, high: (sequence >> 32) as u32, low: sequence as u32 }
    }

    const fn sequence(self) -> u64 {
        (self.high as u64) << 32 | self.low as u64
    }
}

/// A persisted bookmark, and the place of the first message that arrived after it.
#[derive(Clone, Copy, Debug)]
struct Marker {
    sequence: u64,
    publisher: u32,
    place: u32,
}

impl Tracker {
    /// The subscription begins at `from`, unless something is known of it.
    pub(super) fn begin(&mut self, from: &str, told: &mut dyn FnMut(Note<'_>)) {
        if self.start.is_none() && self.publishers.is_empty() {
            self.start = Some(from.into());
            told(Note::Begin(from));
        }
    }

    /// What arrived and is not discarded comes again, and is new.
    pub(super) fn new_subscriber(&mut self) {
        self.visit(self.queue.len());
        for Entry { sequence, publisher, discarded } in std::mem::take(&mut self.queue) {
            if discarded && !self.is_before_point(publisher, sequence) {
                self.carried.insert(Key::new(publisher, sequence));
            }
        }
        self.places = FxHashMap::default();
        self.markers.clear();
        self.open = 0;
    }

    pub(super) fn arrived(&mut self, message: MessageId, told: &mut dyn FnMut(Note<'_>)) -> Arrival {
        self.visit(1);
        let publisher = self.number(message.publisher);
        let MessageId { sequence, .. } = message;
        if self.is_before_point(publisher, sequence) {
            return Arrival::Duplicate;
        }
        let key = Key::new(publisher, sequence);
        let place = self.end();
        match self.places.entry(key) {
            std::collections::hash_map::Entry::Occupied(_) => return Arrival::Duplicate,
            std::collections::hash_map::Entry::Vacant(vacant) => vacant.insert(place),
        };
        let discarded = !self.carried.is_empty() && self.carried.remove(&key);
        self.queue.push_back(Entry { sequence, publisher, discarded });
        if discarded {
            self.settle(told);
            return Arrival::Duplicate;
        }
        self.open += 1;
        Arrival::New
    }

    /// Whether the message was open.
    pub(super) fn discard(&mut self, message: MessageId, told: &mut dyn FnMut(Note<'_>)) -> bool {
        self.visit(1);
        let Some(&publisher) = self.numbers.get(&message.publisher) else { return false };
        let Some(place) = self.places.get(&Key::new(publisher, message.sequence)) else { return false };
        let at = place.wrapping_sub(self.base);
        let Some(entry) = self.queue.get_mut(at as usize).filter(|entry| !entry.discarded) else {
            return false;
        };
        entry.discarded = true;
        self.open -= 1;
        if at == 0 {
            self.settle(told);
        } else {
            told(Note::Discarded(message));
        }
        true
    }

    pub(super) fn persisted(&mut self, last: MessageId, told: &mut dyn FnMut(Note<'_>)) {
        let publisher = self.number(last.publisher);
        let marker = Marker { sequence: last.sequence, publisher, place: self.end() };
        // Of several that nothing lies between, the last of each publisher counts.
        let here = self.markers.iter().rev().take_while(|other| other.place == marker.place);
        let back = here.enumerate().find(|(_, other)| other.publisher == publisher).map(|(back, _)| back);
        if let Some(back) = back {
            self.markers.remove(self.markers.len() - 1 - back);
        }
        self.visit(back.unwrap_or_default() + 1);
        self.markers.push_back(marker);
        self.join();
        self.tell(told);
    }

    /// Where the subscription has to begin.
    pub(super) fn recovery_point(&self) -> RecoveryPoint {
        let mut bookmark = String::new();
        let mut add = |publisher: u64, sequence: u64| {
            let comma = if bookmark.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(bookmark, "{comma}{}", MessageId { publisher, sequence });
        };
        let mut last = self.last_persisted;
        for publisher in &self.publishers {
            // An absent one is less than any.
            let listed = publisher.point.is_some() || publisher.listed;
            let Some(sequence) = publisher.point.max(publisher.persisted).filter(|_| listed) else {
                continue;
            };
            add(publisher.id, sequence);
            last = last.filter(|last| *last != MessageId { publisher: publisher.id, sequence });
        }
        // Also if it is lower than what is listed of its publisher: a server that takes over may
        // know nothing later (client.md BM-8, inferred).
        if let Some(last) = last {
            add(last.publisher, last.sequence);
        }
        let progress = !bookmark.is_empty();
        if !progress {
            bookmark.push_str(self.start.as_deref().unwrap_or_default());
        }
        RecoveryPoint { bookmark, progress }
    }

    pub(super) fn oldest_open(&self) -> Option<MessageId> {
        self.queue.front().and_then(|entry| self.message(entry.publisher, entry.sequence))
    }

    pub(super) const fn open_messages(&self) -> usize {
        self.open
    }

    /// Takes up what an earlier run has told.
    pub(super) fn restore(&mut self, note: Note<'_>) {
        let number = |tracker: &mut Self, message: MessageId| tracker.number(message.publisher);
        match note {
            Note::Begin(from) => self.start = Some(from.into()),
            Note::Discarded(message) => {
                let publisher = number(self, message);
                if !self.is_before_point(publisher, message.sequence) {
                    self.carried.insert(Key::new(publisher, message.sequence));
                }
            }
            Note::Point(message) => {
                let publisher = number(self, message);
                self.carried.remove(&Key::new(publisher, message.sequence));
                if let Some(publisher) = self.publishers.get_mut(publisher as usize) {
                    publisher.point = publisher.point.max(Some(message.sequence));
                }
                self.since_cleared += 1;
                self.clear_carried();
            }
            Note::Persisted(message) => {
                let publisher = number(self, message);
                if let Some(publisher) = self.publishers.get_mut(publisher as usize) {
                    publisher.persisted = Some(message.sequence);
                }
                self.last_persisted = Some(message);
            }
        }
    }

    /// Takes up the recovery point of an earlier run, of which nothing else is known. No message
    /// is a duplicate for that: what the point names may have been persisted only.
    pub(super) fn recover(&mut self, point: &RecoveryPoint) {
        let entries: Option<Vec<MessageId>> =
            point.bookmark.split(',').map(|entry| MessageId::parse(entry.as_bytes()).ok()).collect();
        let Some(entries) = entries.filter(|_| point.progress) else {
            self.start = (!point.bookmark.is_empty()).then(|| point.bookmark.as_str().into());
            return;
        };
        for message in entries {
            let number = self.number(message.publisher);
            let Some(publisher) = self.publishers.get_mut(number as usize) else { continue };
            if publisher.listed {
                // The second one of its publisher is what was persisted last.
                self.last_persisted = Some(message);
            } else {
                publisher.persisted = Some(message.sequence);
                publisher.listed = true;
            }
        }
    }

    /// Tells all that an earlier run would have told, as briefly as possible.
    pub(super) fn recount(&self, told: &mut dyn FnMut(Note<'_>)) {
        if let Some(start) = &self.start {
            told(Note::Begin(start));
        }
        for publisher in &self.publishers {
            let id = publisher.id;
            if let Some(sequence) = publisher.point {
                told(Note::Point(MessageId { publisher: id, sequence }));
            }
        }
        for publisher in &self.publishers {
            if let Some(sequence) = publisher.persisted {
                told(Note::Persisted(MessageId { publisher: publisher.id, sequence }));
            }
        }
        if let Some(last) = self.last_persisted {
            told(Note::Persisted(last));
        }
        let queued = self.queue.iter().filter(|entry| entry.discarded);
        let queued = queued.map(|entry| (entry.publisher, entry.sequence));
        let carried = self.carried.iter().map(|key| (key.publisher, key.sequence()));
        for (publisher, sequence) in queued.chain(carried) {
            if let Some(message) = self.message(publisher, sequence) {
                if !self.is_before_point(publisher, sequence) {
                    told(Note::Discarded(message));
                }
            }
        }
    }

    /// How many notes a [`recount`](Self::recount) takes at most.
    pub(super) fn notes(&self) -> usize {
        2 + 2 * self.publishers.len() + (self.queue.len() - self.open) + self.carried.len()
    }

    /// Takes discarded messages off the front of the queue.
    fn settle(&mut self, told: &mut dyn FnMut(Note<'_>)) {
        while let Some(entry) = self.queue.front().copied().filter(|entry| entry.discarded) {
            self.visit(1);
            self.queue.pop_front();
            self.base = self.base.wrapping_add(1);
            self.since_cleared += 1;
            self.places.remove(&Key::new(entry.publisher, entry.sequence));
            if let Some(publisher) = self.publishers.get_mut(entry.publisher as usize) {
                publisher.point = publisher.point.max(Some(entry.sequence));
                if !std::mem::replace(&mut publisher.moved, true) {
                    self.moved.push(entry.publisher);
                }
            }
            self.join();
        }
        if self.queue.is_empty() && self.queue.capacity() > ROOM_KEPT {
            self.queue = VecDeque::new();
            self.places = FxHashMap::default();
        }
        self.clear_carried();
        self.tell(told);
    }

    /// Lets the persisted bookmarks join that no open message precedes any more.
    fn join(&mut self) {
        while let Some(marker) = self.markers.front().copied().filter(|marker| marker.place == self.base) {
            self.visit(1);
            self.markers.pop_front();
            self.last_persisted = self.message(marker.publisher, marker.sequence);
            if let Some(publisher) = self.publishers.get_mut(marker.publisher as usize) {
                publisher.persisted = Some(marker.sequence);
                if !std::mem::replace(&mut publisher.joined, true) {
                    self.joined.push(marker.publisher);
                }
            }
        }
    }

    /// Tells what has moved: of each publisher once, the last persisted bookmark last.
    fn tell(&mut self, told: &mut dyn FnMut(Note<'_>)) {
        self.visit(self.moved.len() + self.joined.len());
        for number in self.moved.drain(..) {
            let Some(publisher) = self.publishers.get_mut(number as usize) else { continue };
            publisher.moved = false;
            if let Some(sequence) = publisher.point {
                told(Note::Point(MessageId { publisher: publisher.id, sequence }));
            }
        }
        if self.joined.is_empty() {
            return;
        }
        for number in self.joined.drain(..) {
            let Some(publisher) = self.publishers.get_mut(number as usize) else { continue };
            publisher.joined = false;
            if let Some(sequence) = publisher.persisted {
                let message = MessageId { publisher: publisher.id, sequence };
                if self.last_persisted != Some(message) {
                    told(Note::Persisted(message));
                }
            }
        }
        if let Some(last) = self.last_persisted {
            told(Note::Persisted(last));
        }
    }

    /// Forgets single messages of earlier runs that the points have passed: often enough to
    /// bound them, seldom enough to cost nothing.
    fn clear_carried(&mut self) {
        if self.carried.is_empty() || self.since_cleared <= self.carried.len() {
            return;
        }
        self.since_cleared = 0;
        self.visit(self.carried.len());
        let publishers = &self.publishers;
        self.carried.retain(|key| {
            let point = publishers.get(key.publisher as usize).and_then(|publisher| publisher.point);
            point.is_none_or(|point| key.sequence() > point)
        });
    }

    #[cfg(not(test))]
    const fn visit(&mut self, _entries: usize) {}

    #[cfg(test)]
    const fn visit(&mut self, entries: usize) {
        self.visited += entries as u64;
    }

    /// The place of the next message that arrives.
    fn end(&self) -> u32 {
        self.base.wrapping_add(self.queue.len() as u32)
    }

    fn is_before_point(&self, publisher: u32, sequence: u64) -> bool {
        let publisher = self.publishers.get(publisher as usize);
        publisher.and_then(|publisher| publisher.point).is_some_and(|point| sequence <= point)
    }

    fn message(&self, publisher: u32, sequence: u64) -> Option<MessageId> {
        let publisher = self.publishers.get(publisher as usize)?.id;
        Some(MessageId { publisher, sequence })
    }

    /// A publisher's number here.
    fn number(&mut self, id: u64) -> u32 {
        let publishers = &mut self.publishers;
        *self.numbers.entry(id).or_insert_with(|| {
            let number = publishers.len() as u32;
            publishers.push(Publisher {
                id,
                point: None,
                persisted: None,
                listed: false,
                moved: false,
                joined: false,
            });
            number
        })
    }
}

#[cfg(test)]
mod tests;
