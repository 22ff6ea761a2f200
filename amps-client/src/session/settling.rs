//! Settling leases: acknowledging, cancelling, expiring.
//!
//! Owns promise P1 (an acknowledgement of another connection is dropped; a lease is settled
//! once) and, with `acks.rs`, when batches go out (P2, P3).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::Message;
use amps_transport::Time;

use super::acks::{AckOption, AckSettings, Acks};
use super::outbound::{Generation, Outbound};
use super::subscription::SubKey;
use crate::error::Result;

/// Names one delivery of one leased message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) key: SubKey,
    pub(crate) generation: Generation,
    pub(crate) number: u64,
}

impl Outbound {
    /// As [`settle`](Self::settle), on behalf of auto-ack: not for messages that the
    /// application has taken upon itself.
    pub(crate) fn settle_unasked(
        &mut self,
        now: impl FnMut() -> Time,
        lease: Lease,
        topic: &[u8],
        bookmark: &[u8],
        option: Option<&AckOption>,
    ) {
        let subscription = self.subscriptions.get(&lease.key);
        let exempt = subscription.is_some_and(|subscription| subscription.exempt.contains(&lease.number));
        if !exempt {
            self.settle(now, lease, topic, bookmark, option);
        }
    }

    /// Returns a message to its queue that nobody is going to read.
    pub(crate) fn give_back(&mut self, now: Time, message: &Message, lease: Lease) {
        if let (Some(topic), Some(bookmark)) = (message.topic(), message.bookmark()) {
            self.settle(|| now, lease, topic, bookmark, Some(&AckOption::Cancel));
        }
    }

    /// Whether to settle this lease would settle it, and it ends when its message says; `unasked` on behalf of
    /// auto-ack.
    pub(crate) fn awaits(&self, lease: Lease, unasked: bool) -> bool {
        let Some(subscription) = self.subscriptions.get(&lease.key) else { return false };
        let exempt = unasked && subscription.exempt.contains(&lease.number);
        let known = !subscription.extended.contains(&lease.number);
        let open = !exempt && !subscription.leases.is_settled(lease.number);
        open && known && lease.generation == self.generation && self.is_up()
    }

    /// Whether the client acknowledges by itself what the handler of a subscription has done.
    pub(crate) fn acknowledges(&self, lease: Lease) -> bool {
        let subscription = self.subscriptions.get(&lease.key);
        subscription.is_some_and(|subscription| subscription.spec.auto_ack) && self.awaits(lease, true)
    }

    /// Exempts one delivery from auto-ack.
    pub(crate) fn exempt(&mut self, lease: Lease) {
        if lease.generation == self.generation {
            if let Some(subscription) = self.subscriptions.get_mut(&lease.key) {
                subscription.exempt.insert(lease.number);
            }
        }
    }

    /// Acknowledges a leased message: adds it to its batch, or settles it at once with an
    /// option. Without effect if the lease was settled before, or ended with its connection. The time is asked for
    /// only where it matters.
    pub(crate) fn settle(
        &mut self,
        mut now: impl FnMut() -> Time,
        lease: Lease,
        topic: &[u8],
        bookmark: &[u8],
        option: Option<&AckOption>,
    ) {
        let stale = lease.generation != self.generation || !self.is_up();
        if stale && !(self.bugs.ack_survives_reconnect && self.is_up()) {
            self.line.stats.stale_acks += 1;
            if self.bugs.stale_acks_stored && self.line.publisher.is_some() {
                self.line.write_ack(topic, bookmark, option);
            }
            return;
        }
        let Some(subscription) = self.subscriptions.get_mut(&lease.key) else { return };
        if let Some(extension @ AckOption::ExtendLease(_)) = option {
            if !subscription.leases.is_settled(lease.number) {
                subscription.extended.insert(lease.number);
                self.line.write_ack(topic, bookmark, Some(extension));
                self.line.last_sent = now();
            }
            return;
        }
        if !subscription.leases.settle(lease.number) {
            return;
        }
        subscription.is_queue = true;
        if !subscription.exempt.is_empty() {
            subscription.exempt.remove(&lease.number);
        }
        if !subscription.extended.is_empty() {
            subscription.extended.remove(&lease.number);
        }
        if let Some(option) = option {
            self.line.settle_at_once(now(), &mut subscription.acks, topic, bookmark, option);
            return;
        }
        self.line.stats.acknowledged += 1;
        let full = if self.bugs.batch_above_backlog {
            subscription.spec.ack_batch_size.unwrap_or(self.settings.batch_size).max(1)
        } else {
            subscription.effective_batch(self.settings)
        };
        let restart = self.bugs.ack_timer_restarts;
        let now = if restart || subscription.acks.begins_or_ends(full) { now() } else { Time::EPOCH };
        if subscription.acks.add(now, topic, bookmark, full, self.settings.timeout, restart) {
            self.line.flush_batch(now, &mut subscription.acks);
        } else {
            let deadline = subscription.acks.deadline();
            self.arm(deadline);
        }
    }

    /// Acknowledges by topic and bookmark, without a delivered message and without checks.
    ///
    /// # Errors
    /// No connection.
    pub(crate) fn ack_loose(
        &mut self,
        now: Time,
        topic: &str,
        bookmark: &str,
        option: Option<&AckOption>,
    ) -> Result<()> {
        if self.recovering {
            // Its lease ended with its connection.
            self.line.stats.stale_acks += 1;
            return Ok(());
        }
        self.require_up()?;
        let (topic, bookmark) = (topic.as_bytes(), bookmark.as_bytes());
        if let Some(option) = option {
            self.line.settle_at_once(now, &mut self.loose, topic, bookmark, option);
            return Ok(());
        }
        // Which subscription it came from is not known: the smallest grant is safe.
        let granted = self.subscriptions.values().filter_map(|s| s.granted).min();
        let full = self.settings.effective_batch(granted);
        self.line.stats.acknowledged += 1;
        if self.loose.add(now, topic, bookmark, full, self.settings.timeout, false) {
            self.line.flush_batch(now, &mut self.loose);
        }
        self.arm(self.loose.deadline());
        Ok(())
    }

    /// Writes every pending acknowledgement now.
    pub(crate) fn flush_acks(&mut self, now: Time) {
        if self.is_up() {
            self.flush_acks_due(now, Time::NEVER);
        }
    }

    pub(crate) fn set_ack_settings(&mut self, now: Time, settings: AckSettings) {
        self.settings = settings;
        if !self.is_up() {
            return;
        }
        // A smaller size, or none, sends what now meets it.
        for subscription in self.subscriptions.values_mut() {
            if subscription.acks.pending() >= subscription.effective_batch(settings) {
                self.line.flush_batch(now, &mut subscription.acks);
            }
        }
        if self.loose.pending() >= settings.effective_batch(None) {
            self.line.flush_batch(now, &mut self.loose);
        }
    }

    pub(crate) const fn ack_settings(&self) -> AckSettings {
        self.settings
    }

    pub(crate) fn effective_batch(&self, key: SubKey) -> Option<usize> {
        Some(self.subscriptions.get(&key)?.effective_batch(self.settings))
    }

    pub(super) fn arm(&mut self, deadline: Option<Time>) {
        if let Some(deadline) = deadline {
            self.ack_timer = Some(self.ack_timer.map_or(deadline, |armed| armed.min(deadline)));
        }
    }

    /// Sends every batch whose deadline is not after `due`; with [`Time::NEVER`], all.
    pub(super) fn flush_acks_due(&mut self, now: Time, due: Time) {
        let is_due =
            |acks: &Acks| due == Time::NEVER || acks.deadline().is_some_and(|deadline| deadline <= due);
        for subscription in self.subscriptions.values_mut() {
            if is_due(&subscription.acks) {
                self.line.flush_batch(now, &mut subscription.acks);
            }
        }
        if is_due(&self.loose) {
            self.line.flush_batch(now, &mut self.loose);
        }
    }
}
