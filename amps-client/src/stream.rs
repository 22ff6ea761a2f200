//! The queue between the event loop and one subscription's iterator.
//!
//! Owns the hand-over: one block per read of the socket, not one message at a time. The
//! consumer takes whole blocks and walks through them without a lock. What is unread is
//! counted, in bytes and in messages; what happens at the limit is the stream's policy. A
//! conflating stream takes messages one at a time instead (`conflate.rs`).

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::{Duration, Instant};

use amps_protocol::{Header, Message as Raw};
use amps_transport::Time;
use bytes::Bytes;

use crate::caller;
use crate::conflate::Latest;
use crate::error::Error;
use crate::session::outbound::Generation;
use crate::session::settling::Lease;
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};

/// Unread bytes per stream above which reading stops.
pub(crate) const DEFAULT_STREAM_LIMIT: usize = 64 << 20;

/// What happens to a stream whose consumer falls behind; see
/// [`Subscribe::when_full`](crate::Subscribe::when_full).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The client stops reading its socket until half of the stream was read: the server is
    /// held back, and with it every other subscription of this client. Nothing is lost. The
    /// default.
    #[default]
    Block,
    /// The subscription ends: the stream yields what it holds, then an error of the kind
    /// [`ErrorKind::Full`](crate::ErrorKind::Full).
    Fail,
}

/// The bounds of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    /// Messages; `usize::MAX` for any number.
    pub(crate) depth: usize,
    pub(crate) when_full: WhenFull,
}

#[derive(Debug)]
pub(crate) struct StreamQueue {
    state: Mutex<State>,
    changed: Condvar,
    /// Leases of this generation and earlier ended with their connection.
    void: AtomicU64,
    conflates: AtomicBool,
    /// Nobody reads it any more.
    discarded: AtomicBool,
}

#[derive(Debug)]
struct State {
    entries: VecDeque<Entry>,
    limits: Limits,
    bytes: usize,
    depth: usize,
    /// No more comes: after the last entry the stream ends, with this error if there is one.
    end: Option<Option<Error>>,
    /// The loop has stopped reading because of this stream.
    paused: bool,
    /// Where the unread message of each key is.
    latest: Latest,
    /// Entries taken since the beginning.
    taken: u64,
    /// Threads that wait for an entry: to wake nobody costs a system call all the same.
    waiting: usize,
    /// The thread that asked last.
    reader: u64,
    /// A future that waits for the next entry.
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(crate) enum Entry {
    Block(Block),
    /// A message of a conflating stream.
    Single(Single),
    /// An error that does not end the stream.
    Notice(Error),
}

/// Messages of one read.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) bytes: Bytes,
    pub(crate) items: std::vec::IntoIter<Item>,
    pub(crate) arrived: Time,
}

#[derive(Debug)]
pub(crate) struct Item {
    /// Where its frame begins, and where it ends; records of one frame begin at the same place.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The bytes that it has for itself.
    pub(crate) own: usize,
    pub(crate) header: Header,
    pub(crate) lease: Option<Lease>,
}

impl Block {
    /// What is left of it that bears a lease.
    pub(crate) fn leased(self) -> impl Iterator<Item = (Raw, Lease)> {
        let bytes = self.bytes;
        self.items.filter_map(move |item| {
            let frame = bytes.slice(item.start..item.end);
            Some((Raw::from_parts(frame, item.header), item.lease?))
        })
    }
}

impl Item {
    /// The memory that it takes, its index included.
    pub(crate) const fn size(&self) -> usize {
        self.own + size_of::<Self>()
    }
}

/// A message with bytes of its own.
#[derive(Debug)]
pub(crate) struct Single {
    pub(crate) message: Raw,
    pub(crate) lease: Option<Lease>,
    /// When the first message of its record came that nobody has read.
    pub(crate) arrived: Time,
}

impl Single {
    pub(crate) fn size(&self) -> usize {
        self.message.frame().len() + size_of::<Self>()
    }
}

/// What the consumer finds.
pub(crate) enum Taken {
    Entry(Entry),
    Ended(Option<Error>),
    TimedOut,
}

/// What became of a push.
#[derive(Debug)]
pub(crate) enum Pushed {
    Room,
    /// Reading has to stop, with so many messages unread.
    Full(usize),
    /// The stream has ended by its policy: its subscription is to be ended.
    Overrun,
    /// Nobody reads it any more: these were leased, and are to be given back.
    Returned(Vec<(Raw, Lease)>),
}

impl StreamQueue {
    /// `reader`: the thread that is going to read it, 0 if that is not known.
    pub(crate) fn new(limits: Limits, reader: u64) -> Self {
        let state = State {
            entries: VecDeque::new(),
            limits,
            bytes: 0,
            depth: 0,
            end: None,
            paused: false,
            latest: Latest::default(),
            taken: 0,
            waiting: 0,
            reader,
            waker: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            void: AtomicU64::new(0),
            conflates: AtomicBool::new(false),
            discarded: AtomicBool::new(false),
        }
    }

    /// Adds what one read brought.
    pub(crate) fn push(&self, bytes: Bytes, items: Vec<Item>, arrived: Time) -> Pushed {
        let mut state = self.lock();
        if state.end.is_some() {
            let block = Block { bytes, items: items.into_iter(), arrived };
            return Pushed::Returned(block.leased().collect());
        }
        state.bytes += items.iter().map(Item::size).sum::<usize>();
        state.depth += items.len();
        state.latest.clear();
        state.entries.push_back(Entry::Block(Block { bytes, items: items.into_iter(), arrived }));
        self.pushed(state)
    }

    /// Adds one message that has bytes of its own; to a conflating stream, in the place of the unread one
    /// of its key, which nobody is going to see: it is returned as well.
    pub(crate) fn push_single(
        &self,
        message: Raw,
        lease: Option<Lease>,
        arrived: Time,
    ) -> (Pushed, Option<Raw>) {
        let mut state = self.lock();
        if state.end.is_some() {
            return (Pushed::Returned(lease.map(|lease| (message, lease)).into_iter().collect()), None);
        }
        let mut single = Single { message, lease, arrived };
        let size = single.size();
        let State { entries, latest, taken, .. } = &mut *state;
        let conflates = self.conflates();
        let unread = if conflates { latest.place_of(&single.message, *taken, entries) } else { None };
        let old = unread.and_then(|place| match entries.get_mut(place) {
            Some(Entry::Single(old)) => Some(old),
            _ => None,
        });
        match old {
            Some(old) => {
                single.arrived = old.arrived;
                let old = std::mem::replace(old, single);
                state.bytes = state.bytes + size - old.size().min(state.bytes);
                // It has a place: how many there are is no matter (CC-9), how large they are is.
                let pushed = match state.limits.when_full {
                    _ if state.bytes <= state.limits.bytes => Pushed::Room,
                    WhenFull::Block => {
                        state.paused = true;
                        Pushed::Full(state.depth)
                    }
                    WhenFull::Fail => {
                        let (depth, bytes) = (state.depth, state.bytes);
                        state.end = Some(Some(Error::Overrun { depth, bytes }));
                        Pushed::Overrun
                    }
                };
                return (pushed, Some(old.message));
            }
            None => {
                let number = *taken + entries.len() as u64;
                if conflates {
                    latest.note(&single.message, number);
                }
                entries.push_back(Entry::Single(single));
                state.bytes += size;
                state.depth += 1;
            }
        }
        (self.pushed(state), None)
    }

    /// Wakes the consumer, and applies the policy.
    fn pushed(&self, mut state: MutexGuard<'_, State>) -> Pushed {
        let full = match state.limits.when_full {
            WhenFull::Block => state.is_full(),
            // It fails for want of a place, and not because the last one was taken.
            WhenFull::Fail => state.bytes > state.limits.bytes || state.depth > state.limits.depth,
        };
        let (waker, waiting) = (state.waker.take(), state.waiting > 0);
        let outcome = match (full, state.limits.when_full) {
            (false, _) => Pushed::Room,
            (true, WhenFull::Block) => {
                state.paused = true;
                Pushed::Full(state.depth)
            }
            (true, WhenFull::Fail) => {
                // What had no place is not kept.
                let (messages, size) = match state.entries.pop_back() {
                    Some(Entry::Block(block)) => {
                        let items = block.items.as_slice();
                        (items.len(), items.iter().map(Item::size).sum())
                    }
                    Some(Entry::Single(single)) => (1, single.size()),
                    Some(Entry::Notice(_)) | None => (0, 0),
                };
                state.depth -= messages.min(state.depth);
                state.bytes -= size.min(state.bytes);
                let (depth, bytes) = (state.depth, state.bytes);
                state.end = Some(Some(Error::Overrun { depth, bytes }));
                Pushed::Overrun
            }
        };
        drop(state);
        if waiting {
            self.changed.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        outcome
    }

    pub(crate) fn notice(&self, error: Error) {
        let mut state = self.lock();
        state.latest.clear();
        state.entries.push_back(Entry::Notice(error));
        self.wake_all(state);
    }

    /// Nothing more comes. The first call decides.
    pub(crate) fn end(&self, error: Option<Error>) {
        let mut state = self.lock();
        state.end.get_or_insert(error);
        self.wake_all(state);
    }

    fn wake_all(&self, mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// From now on an unread message is replaced by a later one of its key.
    pub(crate) fn conflate(&self) {
        self.conflates.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn conflates(&self) -> bool {
        self.conflates.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_depth(&self, depth: usize) {
        self.lock().limits.depth = depth;
    }

    pub(crate) fn max_depth(&self) -> usize {
        self.lock().limits.depth
    }

    /// How many messages may still be added.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        match state.limits.depth {
            usize::MAX => usize::MAX,
            depth => depth.saturating_sub(state.depth),
        }
    }

    /// Leases up to `generation` have ended: what is unread of them is skipped.
    pub(crate) fn void_leases(&self, generation: Generation) {
        self.void.store(generation, Ordering::Release);
    }

    pub(crate) fn is_void(&self, lease: Lease) -> bool {
        lease.generation <= self.void.load(Ordering::Acquire)
    }

    /// Takes the next entry, waiting for it at most `patience`.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Taken {
        // Beyond what the clock can express is without limit.
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut state = self.lock();
        state.reader = caller::current();
        loop {
            if let Some(taken) = state.next() {
                return taken;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Taken::TimedOut;
            }
            state.waiting += 1;
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiting -= 1;
        }
    }

    /// Takes the next entry, or has the future woken when there is one.
    #[cfg(feature = "async")]
    pub(crate) fn poll_take(&self, waker: &Waker) -> Option<Taken> {
        let mut state = self.lock();
        // Whoever polls does not wait, and may do anything else meanwhile.
        state.reader = 0;
        let taken = state.next();
        let old = if taken.is_none() { state.waker.replace(waker.clone()) } else { None };
        // It may be the last of its task, whose end is user code.
        drop(state);
        drop(old);
        taken
    }

    /// The consumer has read messages; returns whether the loop should be told to go on.
    pub(crate) fn read(&self, messages: usize, bytes: usize) -> bool {
        let mut state = self.lock();
        state.depth -= messages.min(state.depth);
        state.bytes -= bytes.min(state.bytes);
        let depth = state.limits.depth;
        let shallow = depth == usize::MAX || state.depth + (depth / 4).max(1) <= depth;
        let resume = state.paused && state.bytes <= state.limits.bytes / 2 && shallow;
        if resume {
            state.paused = false;
        }
        resume
    }

    /// Nobody reads any more: drops what is unread and lets the loop go on. Returns whether
    /// more could have come.
    pub(crate) fn discard(&self) -> bool {
        let mut state = self.lock();
        self.discarded.store(true, Ordering::Release);
        let live = state.end.is_none();
        state.entries.clear();
        state.latest.clear();
        (state.bytes, state.depth, state.paused) = (0, 0, false);
        state.end = Some(None);
        self.wake_all(state);
        live
    }

    /// Whether nobody reads it any more, somebody else having said so.
    pub(crate) fn is_discarded(&self) -> bool {
        self.discarded.load(Ordering::Acquire)
    }

    /// The thread that is going to read it is not known yet.
    pub(crate) fn forget_reader(&self) {
        self.lock().reader = 0;
    }

    /// Takes the leased messages that nobody has read.
    pub(crate) fn take_leased(&self) -> Vec<(Raw, Lease)> {
        let mut leased = Vec::new();
        for entry in std::mem::take(&mut self.lock().entries) {
            match entry {
                Entry::Block(block) => leased.extend(block.leased()),
                Entry::Single(Single { message, lease: Some(lease), .. }) => leased.push((message, lease)),
                Entry::Single(_) | Entry::Notice(_) => {}
            }
        }
        leased.retain(|(_, lease)| !self.is_void(*lease));
        leased
    }

    /// Whether the loop should still hold back.
    pub(crate) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// The thread that reads this stream, if it is full.
    pub(crate) fn awaited_reader(&self) -> Option<u64> {
        let state = self.lock();
        (state.paused && state.reader != 0).then_some(state.reader)
    }

    /// When the oldest message came that waits here.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.lock().entries.iter().find_map(|entry| match entry {
            Entry::Block(block) => Some(block.arrived),
            Entry::Single(single) => Some(single.arrived),
            Entry::Notice(_) => None,
        })
    }

    /// Messages that wait to be read, those in the consumer's hands included.
    pub(crate) fn depth(&self) -> usize {
        self.lock().depth
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.bytes > self.limits.bytes || self.depth >= self.limits.depth
    }

    fn next(&mut self) -> Option<Taken> {
        if let Some(entry) = self.entries.pop_front() {
            if let Entry::Single(single) = &entry {
                self.latest.forget(&single.message, self.taken);
            }
            self.taken += 1;
            return Some(Taken::Entry(entry));
        }
        self.end.as_mut().map(|end| Taken::Ended(end.take()))
    }
}
