//! What is to happen when.
//!
//! Owns one deadline per [`Timer`], in order. Ties go by the order of the variants.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};

use amps_transport::{ConnId, Time};

use super::replay::StreamId;
use super::subscription::SubKey;

/// Something that waits for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The next lease, expiration or forgotten ack of a queue.
    Queue(usize),
    /// The next record of a table expires.
    Sow(usize),
    /// A conflated topic has waited long enough with a record.
    Derived(usize),
    /// A conflated subscription has held something back long enough.
    Conflation(SubKey),
    /// Conflated `persisted` acks are due.
    Persisted(ConnId),
    /// A client that was asked for a sign of life has given none.
    Silence(ConnId),
    /// A heartbeat is due.
    Beat(ConnId),
    /// A scheduled action is due.
    Action(usize),
    /// Statistics of the state of the world are due.
    Statistics,
    /// What was appended to the log is written.
    LogWrite,
    /// The next message of a replay is due, or its end.
    Replay(StreamId),
    /// A client may have left something untaken for too long.
    Slow(ConnId),
    /// Bookmark subscriptions are told what is durable.
    Durable(ConnId),
    /// An entry may be sent to a destination.
    Replicate(usize),
    /// A queue message may be given to another instance.
    Transfer(usize),
}

/// The deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: BTreeMap<Timer, Time>,
    order: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Sets, moves or (with `None`) removes a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Time>) {
        let old = self.at.get(&timer).copied();
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.order.remove(&(old, timer));
        }
        match at {
            Some(at) => {
                self.at.insert(timer, at);
                self.order.insert((at, timer));
            }
            None => {
                self.at.remove(&timer);
            }
        }
    }

    pub(crate) fn get(&self, timer: Timer) -> Option<Time> {
        self.at.get(&timer).copied()
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The earliest timer, left where it is.
    pub(crate) fn first(&self) -> Option<(Time, Timer)> {
        self.order.first().copied()
    }

    /// Every timer, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Time, Timer)> + '_ {
        self.order.iter().copied()
    }

    /// Takes the earliest timer out if its time has come.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }
}
