//! The way out of one connection, and what is counted on it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::{AckType, AckTypes};
use amps_transport::Time;
use bytes::BytesMut;

use super::acks::{AckOption, Acks, ack_command};
use super::publisher::{Closed, Kept, Publisher};
use super::wire::{Chunk, Wire};
use crate::error::{Error, Result};

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
    /// Where what is published is kept until a server has it.
    pub(crate) publisher: Option<Box<Publisher>>,
    /// The same, once the client is done with it.
    pub(super) closed: Option<Closed>,
    /// Application commands may be written: what is kept may go straight to the wire.
    pub(super) up: bool,
    /// What a store said that nobody was there to hear.
    pub(super) troubles: Vec<Error>,
}

impl Line {
    /// Writes a command that is small by nature, whatever the application says.
    pub(super) fn write(&mut self, command: &amps_protocol::Command<'_>) {
        let written = command.encode(&mut self.wire.tail);
        debug_assert!(written.is_ok(), "{command:?}");
    }

    /// Writes what changes the server's data: with a store, by way of the store, with a number
    /// of its own. `encode` makes the frame.
    ///
    /// # Errors
    /// Nothing was written or kept.
    pub(super) fn publish(
        &mut self,
        limits: SendLimits,
        asked: Option<u64>,
        encode: impl FnOnce(&mut BytesMut, Option<u64>) -> Result<()>,
    ) -> Result<Option<Kept>> {
        let Some(publisher) = &mut self.publisher else {
            encode(&mut self.wire.tail, asked)?;
            return Ok(None);
        };
        publisher
            .keep(&mut self.wire, self.up, limits.queue, asked, |out, number| encode(out, Some(number)))
            .map(Some)
    }

    /// Writes a command, by way of the store if it is one that a store keeps; then the server is
    /// asked to say when it is persisted. Returns the number under which it is kept.
    ///
    /// # Errors
    /// Nothing was written or kept.
    pub(super) fn publish_if(
        &mut self,
        limits: SendLimits,
        numbered: bool,
        asked: Option<u64>,
        encode: impl FnOnce(&mut BytesMut, AckTypes, Option<u64>) -> Result<()>,
        acks: AckTypes,
    ) -> Result<Option<u64>> {
        if !numbered {
            encode(&mut self.wire.tail, acks, asked)?;
            return Ok(None);
        }
        let acks = if self.publisher.is_some() { acks.with(AckType::Persisted) } else { acks };
        Ok(self.publish(limits, asked, |out, number| encode(out, acks, number))?.map(|kept| kept.number))
    }

    /// Takes from the store what can be written next.
    pub(super) fn fill(&mut self) {
        if let Some(publisher) = &mut self.publisher {
            self.troubles.extend(publisher.fill(&mut self.wire));
        }
    }

    /// Takes the next chunk out to be written, what the store still has to send included.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        self.fill();
        let chunk = self.wire.take();
        if let Some(publisher) = self.publisher.as_mut().filter(|_| self.wire.queued() == 0) {
            publisher.all_written();
        }
        chunk
    }

    /// Whether nothing that was published is kept back.
    pub(super) fn is_level(&self) -> bool {
        self.publisher.as_ref().is_none_or(|publisher| publisher.is_level())
    }

    pub(super) fn flush_batch(&mut self, now: Time, acks: &mut Acks) {
        if acks.pending() > 0 {
            acks.flush(now, |topic, bookmarks| self.write_ack(topic, bookmarks, None));
            self.stats.ack_frames += 1;
            self.last_sent = now;
        }
    }

    /// Writes one acknowledgement frame. `bookmarks` is one bookmark or a comma list. A store keeps
    /// what settles messages (client.md PS-3).
    pub(super) fn write_ack(&mut self, topic: &[u8], bookmarks: &[u8], option: Option<&AckOption>) {
        let settles = !matches!(option, Some(AckOption::ExtendLease(_)));
        let command = || ack_command(topic, bookmarks, option);
        if let Some(publisher) = self.publisher.as_mut().filter(|_| settles) {
            // Not bounded: an acknowledgement makes room elsewhere.
            let kept = publisher.keep(&mut self.wire, self.up, usize::MAX, None, |out, number| {
                Ok(command().sequence(number).ask_persisted().encode(out).map(drop)?)
            });
            match kept {
                Ok(_) => return,
                // It is sent all the same, but not again.
                Err(error) => self.troubles.push(error),
            }
        }
        let written = command().encode(&mut self.wire.tail);
        debug_assert!(written.is_ok(), "bookmarks come in pieces");
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
        self.write_ack(topic, bookmark, Some(option));
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
