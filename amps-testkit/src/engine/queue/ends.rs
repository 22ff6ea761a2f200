//! How a lease ends, and how a message leaves: acknowledged, given back, or expired (server.md 6.5 to
//! 6.7).
//!
//! Owns what follows for the message. Whose backlog is freed, and who is told, is `delivery`'s.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::MessageId;
use amps_transport::Time;

use super::{Entry, ExpiryReason, Holder, Position, Queue, QueueConfig, QueueMessage, Unsuccessful};
use crate::engine::switches::{MaxCancels, ReturnPosition};

impl Queue {
    /// A message is done. Returns who held it.
    pub(crate) fn acknowledge(&mut self, position: Position, now: Time) -> Option<Holder> {
        let holder = self.end_lease(position);
        if self.forget_message(position, now).is_some() {
            self.counters.acknowledged += 1;
        }
        holder
    }

    /// At-most-once: a message that was sent is done. Returns whose backlog it was on.
    pub(crate) fn acknowledge_sent(
        &mut self,
        bookmark: MessageId,
        allowed: impl Fn(Holder) -> bool,
    ) -> Option<Holder> {
        let holder = *self.sent.get(&bookmark)?;
        if !allowed(holder) {
            return None;
        }
        self.sent.remove(&bookmark);
        self.counters.acknowledged += 1;
        Some(holder)
    }

    /// Remembers the acknowledgement of a message that has not come yet.
    pub(crate) fn defer(&mut self, bookmark: MessageId, now: Time) {
        let until = now + self.config.deferred_ack_expiration;
        if let Some(old) = self.deferred.insert(bookmark, until) {
            self.forget.remove(&(old, bookmark));
        }
        self.forget.insert((until, bookmark));
    }

    /// A lease ends without acknowledgement. Returns who held it, and the message with the
    /// reason if it expires instead of becoming available.
    pub(crate) fn give_back(
        &mut self,
        position: Position,
        how: Unsuccessful,
        now: Time,
    ) -> (Option<Holder>, Option<(Arc<Entry>, ExpiryReason)>) {
        let holder = self.end_lease(position);
        if holder.is_none() {
            return (None, None);
        }
        match how {
            Unsuccessful::TimedOut => self.counters.expired_leases += 1,
            Unsuccessful::HolderLeft => self.counters.returned_leases += 1,
            Unsuccessful::Cancelled => self.counters.cancels += 1,
        }
        let Some(message) = self.messages.get_mut(&position) else { return (holder, None) };
        message.cancels += u32::from(how == Unsuccessful::Cancelled);
        if message.owner.is_some() {
            self.elsewhere.insert(position);
            return (holder, None);
        }
        if let Some(reason) = Self::limit_reached(message, &self.config, self.max_cancels, now) {
            return (holder, self.expire(position, reason, now));
        }
        if let Some(at) = message.expires {
            self.expirations.insert((at, position));
        }
        let position = self.place_of_return(position);
        self.offer(self.place_of(position));
        (holder, None)
    }

    fn limit_reached(
        message: &QueueMessage,
        config: &QueueConfig,
        max_cancels: MaxCancels,
        now: Time,
    ) -> Option<ExpiryReason> {
        let cancels_allowed = match max_cancels {
            MaxCancels::Reach => message.cancels < config.max_cancels,
            MaxCancels::Exceed => message.cancels <= config.max_cancels,
        };
        if config.max_cancels > 0 && message.cancels > 0 && !cancels_allowed {
            return Some(ExpiryReason::MaxCancels);
        }
        if config.max_deliveries > 0 && message.deliveries >= config.max_deliveries {
            return Some(ExpiryReason::MaxDeliveries);
        }
        message.expires.is_some_and(|at| at <= now).then_some(ExpiryReason::TimeLimit)
    }

    /// Moves a message to the tail if returned messages go there.
    fn place_of_return(&mut self, position: Position) -> Position {
        if self.return_position == ReturnPosition::Original || position == self.tail {
            return position;
        }
        let Some(message) = self.messages.remove(&position) else { return position };
        if let Some(at) = message.expires {
            self.expirations.remove(&(at, position));
            self.expirations.insert((at, self.tail + 1));
        }
        self.tail += 1;
        self.by_bookmark.insert(message.entry.bookmark, self.tail);
        self.messages.insert(self.tail, message);
        self.tail
    }

    /// A message leaves by expiring. Ends its lease, if there is one, without counting it.
    pub(crate) fn expire(
        &mut self,
        position: Position,
        reason: ExpiryReason,
        now: Time,
    ) -> Option<(Arc<Entry>, ExpiryReason)> {
        let message = self.forget_message(position, now)?;
        *self.counters.expired.entry(reason).or_default() += 1;
        Some((message.entry, reason))
    }

    /// Gives a lease a new end; `false` if there is no lease.
    pub(crate) fn extend(&mut self, position: Position, until: Time) -> bool {
        let Some(lease) = self.messages.get_mut(&position).and_then(|message| message.lease.as_mut()) else {
            return false;
        };
        if let Some(old) = lease.until.replace(until) {
            self.leases.remove(&(old, position));
        }
        self.leases.insert((until, position));
        true
    }
}
