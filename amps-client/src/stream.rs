//! The queue between the event loop and one subscription's iterator.
//!
//! Owns the hand-over: one block per read of the socket, not one message at a time. The
//! consumer takes whole blocks and walks through them without a lock. What is unread is
//! counted in bytes; above the limit the loop stops reading the socket, so that the server
//! is held back and nothing is dropped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use amps_protocol::Header;
use bytes::Bytes;

use crate::error::Error;
use crate::session::outbound::Generation;
use crate::session::settling::Lease;

/// Unread bytes per stream above which reading stops.
pub(crate) const DEFAULT_STREAM_LIMIT: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct StreamQueue {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
    /// Leases of this generation and earlier ended with their connection.
    void: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    depth: usize,
    /// No more comes: after the last entry the stream ends, with this error if there is one.
    end: Option<Option<Error>>,
    /// The loop has stopped reading because of this stream.
    paused: bool,
}

#[derive(Debug)]
pub(crate) enum Entry {
    Block(Block),
    /// An error that does not end the stream.
    Notice(Error),
}

/// Messages of one read.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) bytes: Bytes,
    pub(crate) items: std::vec::IntoIter<Item>,
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) header: Header,
    pub(crate) lease: Option<Lease>,
}

impl Item {
    /// The memory that it takes, its index included.
    pub(crate) const fn size(&self) -> usize {
        self.end - self.start + size_of::<Self>()
    }
}

/// What the consumer finds.
pub(crate) enum Taken {
    Entry(Entry),
    Ended(Option<Error>),
    TimedOut,
}

impl StreamQueue {
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), limit, void: AtomicU64::new(0) }
    }

    /// Adds what one read brought; returns whether the stream is now over its limit.
    pub(crate) fn push(&self, bytes: Bytes, items: Vec<Item>) -> bool {
        let mut state = self.lock();
        if state.end.is_some() {
            return false;
        }
        state.bytes += items.iter().map(Item::size).sum::<usize>();
        state.depth += items.len();
        state.entries.push_back(Entry::Block(Block { bytes, items: items.into_iter() }));
        let full = state.bytes > self.limit;
        state.paused |= full;
        drop(state);
        self.changed.notify_one();
        full
    }

    pub(crate) fn notice(&self, error: Error) {
        self.lock().entries.push_back(Entry::Notice(error));
        self.changed.notify_one();
    }

    /// Nothing more comes. The first call decides.
    pub(crate) fn end(&self, error: Option<Error>) {
        self.lock().end.get_or_insert(error);
        self.changed.notify_all();
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
        loop {
            if let Some(entry) = state.entries.pop_front() {
                return Taken::Entry(entry);
            }
            if let Some(end) = &mut state.end {
                return Taken::Ended(end.take());
            }
            state = match until {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => match until.checked_duration_since(Instant::now()) {
                    None | Some(Duration::ZERO) => return Taken::TimedOut,
                    Some(left) => {
                        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                },
            };
        }
    }

    /// The consumer has read messages; returns whether the loop should be told to go on.
    pub(crate) fn read(&self, messages: usize, bytes: usize) -> bool {
        let mut state = self.lock();
        state.depth -= messages.min(state.depth);
        state.bytes -= bytes.min(state.bytes);
        let resume = state.paused && state.bytes <= self.limit / 2;
        if resume {
            state.paused = false;
        }
        resume
    }

    /// Nobody reads any more: drops what is unread and lets the loop go on.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        *state = State { end: Some(None), ..State::default() };
    }

    /// Whether the loop should still hold back.
    pub(crate) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Messages that wait to be read, those in the consumer's hands included.
    pub(crate) fn depth(&self) -> usize {
        self.lock().depth
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
