//! Acknowledging and deleting.

use std::sync::atomic::Ordering;
use std::time::Duration;

use amps_protocol::AckType;

use super::{Client, check_topic};
use crate::error::Result;
use crate::session::acks::{AckOption, AckSettings};
use crate::session::commands::Wait;
use crate::session::shared::Urgency;
use crate::sow_delete::{DeleteStats, SowDelete};
use crate::trace::CommandSpan;

impl Client {
    /// Acknowledges a queue message by its topic and bookmark, for instance one of an
    /// at-most-once queue, to free the backlog. Joins a batch like `Message::ack`, without its
    /// checks: a bookmark given twice is sent twice, which is harmless.
    ///
    /// # Errors
    /// `Disconnected` without a connection, unless a reconnect is under way: then there is
    /// nothing to acknowledge any more, and it does nothing.
    pub fn ack(&self, topic: &str, bookmark: &str) -> Result<()> {
        self.ack_loose(topic, bookmark, None)
    }

    /// As [`ack`](Self::ack), with an option, sent at once.
    ///
    /// # Errors
    /// `Disconnected` without a connection.
    pub fn ack_with(&self, topic: &str, bookmark: &str, option: &AckOption) -> Result<()> {
        self.ack_loose(topic, bookmark, Some(option))
    }

    fn ack_loose(&self, topic: &str, bookmark: &str, option: Option<&AckOption>) -> Result<()> {
        check_topic("ack", topic)?;
        let now = self.inner.clock.now();
        self.inner.shared.act_timed(now, |outbound| outbound.ack_loose(now, topic, bookmark, option))
    }

    /// Deletes records, or removes messages from a queue, and waits until the server has done
    /// it. See [`SowDelete`]. Subscribers that had seen a deleted record are told that it left
    /// their focus, if they asked for it.
    ///
    /// # Errors
    /// `InvalidArgument`, `Refused` kinds, `Disconnected`, `TimedOut`, or `Usage` on the loop: use
    /// `Message::ack` there, or another client.
    pub fn sow_delete(&self, delete: &SowDelete) -> Result<DeleteStats> {
        self.may_wait("sow_delete")?;
        let command = delete.command();
        command.check()?;
        let timeout = self.timeout_of(command);
        let span = CommandSpan::of(self.name(), command);
        let done = self.command(&span, timeout, |outbound, now, waiter| {
            // Messages of a queue are settled, not counted.
            let settles = command.get_bookmark().is_some();
            let until = if settles { AckType::Processed } else { AckType::Stats };
            let wait = Wait { until, timeout, waiter: Some(waiter) };
            outbound.perform(now, command, Some(wait))
        })?;
        Ok(done.deleted)
    }

    /// Sends every pending batch of acknowledgements now. Does not wait for the server.
    pub fn flush_acks(&self) {
        let now = self.inner.clock.now();
        self.inner.shared.act(now, Urgency::Now, |outbound| outbound.flush_acks(now));
    }

    /// Whether subscriptions placed from now on acknowledge by themselves, unless they say
    /// otherwise; see [`Subscribe::auto_ack`](crate::Subscribe::auto_ack).
    pub fn set_auto_ack(&self, on: bool) {
        self.inner.auto_ack.store(on, Ordering::Relaxed);
    }

    /// Whether subscriptions placed from now on acknowledge by themselves, unless they say
    /// otherwise.
    pub fn auto_ack(&self) -> bool {
        self.inner.auto_ack.load(Ordering::Relaxed)
    }

    /// Changes the batch size for acknowledgements; what meets the new size is sent.
    pub fn set_ack_batch_size(&self, batch_size: usize) {
        self.change_acks(|settings| settings.batch_size = batch_size);
    }

    /// Changes how long a batch of acknowledgements may wait, from the next batch on.
    pub fn set_ack_timeout(&self, timeout: Duration) {
        self.change_acks(|settings| settings.timeout = timeout);
    }

    /// Acknowledgements per batch, as they were asked for; a subscription's
    /// `effective_ack_batch_size` tells what is in force.
    pub fn ack_batch_size(&self) -> usize {
        self.inner.shared.with(|outbound| outbound.ack_settings()).batch_size
    }

    /// The longest that a batch of acknowledgements waits.
    pub fn ack_timeout(&self) -> Duration {
        self.inner.shared.with(|outbound| outbound.ack_settings()).timeout
    }

    fn change_acks(&self, change: impl FnOnce(&mut AckSettings)) {
        let now = self.inner.clock.now();
        self.inner.shared.act(now, Urgency::Now, |outbound| {
            let mut settings = outbound.ack_settings();
            change(&mut settings);
            outbound.set_ack_settings(now, settings);
        });
    }
}
