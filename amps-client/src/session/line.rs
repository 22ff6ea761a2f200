//! The way out of one connection, and what is counted on it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::Command;
use amps_transport::Time;

use super::acks::{AckOption, Acks, write_ack};
use super::wire::Wire;

/// Limits on what goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendLimits {
    /// Bytes that may wait before publishers are held back.
    pub(crate) queue: usize,
    /// Header and body of one message.
    pub(crate) message: usize,
}

/// The way out of the current connection, and what is counted on it. Apart from the rest, so
/// that a batch can be written while its subscription is borrowed.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) wire: Wire,
    pub(crate) stats: Counters,
    pub(super) last_sent: Time,
}

impl Line {
    /// Writes a command that is small by nature, whatever the application says.
    pub(super) fn write(&mut self, command: &Command<'_>) {
        let written = command.encode(&mut self.wire.tail);
        debug_assert!(written.is_ok(), "{command:?}");
    }

    pub(super) fn flush_batch(&mut self, now: Time, acks: &mut Acks) {
        if acks.pending() > 0 {
            acks.flush(now, &mut self.wire.tail);
            self.stats.ack_frames += 1;
            self.last_sent = now;
        }
    }

    /// Settles one message at once, after what was acknowledged before it.
    pub(super) fn settle_at_once(
        &mut self,
        now: Time,
        acks: &mut Acks,
        topic: &[u8],
        bookmark: &[u8],
        option: &AckOption,
    ) {
        self.flush_batch(now, acks);
        write_ack(&mut self.wire.tail, topic, bookmark, Some(option));
        self.last_sent = now;
        self.stats.returned += 1;
        self.stats.ack_frames += 1;
    }
}

/// What was counted since the client was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages published.
    pub published: u64,
    /// Messages acknowledged, batched ones when they joined their batch.
    pub acknowledged: u64,
    /// Messages returned to their queue or expired.
    pub returned: u64,
    /// Acknowledgements that came too late: their connection, and with it the lease, was gone.
    pub stale_acks: u64,
    /// Acknowledgement frames written.
    pub ack_frames: u64,
    /// Connections that reached the logon.
    pub logons: u64,
    /// Messages delivered to subscriptions, once for each.
    pub delivered: u64,
    /// The longest that handlers have held the event loop, over the messages of one read. While
    /// they do, nothing else is received, and no heartbeat is sent.
    pub longest_hold: Duration,
    /// Bytes that a lost connection took with it before they were written.
    pub unwritten_bytes_lost: u64,
}
