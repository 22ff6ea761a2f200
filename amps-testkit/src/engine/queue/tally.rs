//! How much is in a queue, and what happens there next: without a walk through it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_transport::Time;

use super::{Position, Queue, QueueMessage};

/// How many messages are in which state. At-most-once queues keep none that is leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// All of them.
    pub(crate) depth: usize,
    /// Can be delivered.
    pub(crate) waiting: usize,
    pub(crate) leased: usize,
    /// Other instances deliver them.
    pub(crate) elsewhere: usize,
    /// Beyond the target depth, and barriers.
    pub(crate) held_up: usize,
}

impl Queue {
    pub(crate) fn tally(&self) -> Tally {
        Tally {
            depth: self.messages.len(),
            waiting: self.available.len(),
            leased: self.leased,
            elsewhere: self.elsewhere.len(),
            held_up: self.inactive.len() + self.barriers.len(),
        }
    }

    /// What is leased: what comes back by itself first is first, and what never does is last.
    pub(crate) fn leased_messages(&self) -> impl Iterator<Item = &QueueMessage> {
        let endless = |message: &&QueueMessage| message.lease.is_some_and(|lease| lease.until.is_none());
        let ending = self.leases.iter().filter_map(|(_, position)| self.messages.get(position));
        let held = self.held.values().flatten().filter_map(|position| self.messages.get(position));
        ending.chain(held.filter(endless))
    }

    /// The oldest message whose lease ends at that time.
    pub(crate) fn lease_ends_at(&self, at: Time) -> Option<&QueueMessage> {
        let (_, position) = self.leases.range((at, Position::MIN)..=(at, Position::MAX)).next()?;
        self.messages.get(position)
    }

    /// The oldest message whose time is up then.
    pub(crate) fn expires_at(&self, at: Time) -> Option<&QueueMessage> {
        let (_, position) = self.expirations.range((at, Position::MIN)..=(at, Position::MAX)).next()?;
        self.messages.get(position)
    }
}
