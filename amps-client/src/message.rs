//! Messages as applications see them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use amps_protocol::Message as Raw;
use amps_transport::{Clock, Time};
use bytes::Bytes;

use crate::session::Shared;
use crate::session::acks::AckOption;
use crate::session::settling::Lease;
use crate::session::subscription::SubKey;

/// A message that was delivered to a subscription.
///
/// A stream yields owned messages (`Message`, which is `Message<Bytes>`); a handler sees a
/// borrowed one (`Message<&[u8]>`), which costs no allocation and lives as long as the call.
/// All header fields are methods of [`amps_protocol::Message`], to which this derefs.
///
/// An owned message shares the bytes of the read that it came in with, up to 64 KiB or more:
/// to keep one for long, keep [`Message::to_owned`], which copies just this message.
///
/// # Acknowledging
///
/// [`ack`](Self::ack), [`cancel`](Self::cancel) and [`expire`](Self::expire) concern messages
/// from a queue with at-least-once delivery, which are the ones that bear a lease. For any
/// other message they do nothing. Each delivery is settled once: the first call decides.
/// After the connection that delivered it is gone they do nothing either: the server has
/// ended the lease and delivers the message again.
pub struct Message<B = Bytes> {
    raw: Raw<B>,
    origin: Origin,
}

/// Where a message came from, and whether it has to be acknowledged.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) key: SubKey,
    pub(crate) lease: Option<Lease>,
}

impl Origin {
    pub(crate) fn settle(&self, topic: &[u8], bookmark: &[u8], option: Option<&AckOption>) {
        if let Some(lease) = self.lease {
            let now = self.clock.now();
            self.shared.act_timed(now, |outbound| outbound.settle(now, lease, topic, bookmark, option));
        }
    }

    pub(crate) fn settle_unasked(&self, now: Time, topic: &[u8], bookmark: &[u8]) {
        if let Some(lease) = self.lease {
            self.shared.act_timed(now, |outbound| outbound.settle_unasked(now, lease, topic, bookmark, None));
        }
    }
}

impl<B: AsRef<[u8]>> Message<B> {
    pub(crate) const fn new(raw: Raw<B>, origin: Origin) -> Self {
        Self { raw, origin }
    }

    pub(crate) fn into_parts(self) -> (Raw<B>, Origin) {
        (self.raw, self.origin)
    }

    /// Acknowledges the message: it was processed and leaves its queue. It joins the batch of
    /// its subscription; see `ClientBuilder::ack_batch_size`. Never blocks; any thread may call it.
    pub fn ack(&self) {
        self.settle(None);
    }

    /// Returns the message to its queue, at once: it is delivered again, perhaps to another
    /// consumer. The server may expire it instead when a limit on cancels is reached.
    pub fn cancel(&self) {
        self.settle(Some(&AckOption::Cancel));
    }

    /// Removes the message from its queue as expired, at once.
    pub fn expire(&self) {
        self.settle(Some(&AckOption::Expire));
    }

    /// Settles the message with an option, or extends its lease; see [`AckOption`].
    pub fn ack_with(&self, option: &AckOption) {
        self.settle(Some(option));
    }

    /// Exempts this delivery from auto-ack: the application settles it by itself, for
    /// instance on another thread.
    pub fn keep_lease(&self) {
        if let Some(lease) = self.origin.lease {
            self.origin.shared.with(|outbound| outbound.exempt(lease));
        }
    }

    /// Whether the message bears a lease and has to be acknowledged.
    pub const fn is_leased(&self) -> bool {
        self.origin.lease.is_some()
    }

    /// A copy that is independent of the read buffer and can still be acknowledged.
    pub fn to_owned(&self) -> Message {
        Message { raw: self.raw.to_owned(), origin: self.origin.clone() }
    }

    fn settle(&self, option: Option<&AckOption>) {
        if let (Some(topic), Some(bookmark)) = (self.raw.topic(), self.raw.bookmark()) {
            self.origin.settle(topic, bookmark, option);
        }
    }
}

impl<B> Deref for Message<B> {
    type Target = Raw<B>;

    fn deref(&self) -> &Raw<B> {
        &self.raw
    }
}

impl<B: AsRef<[u8]>> fmt::Debug for Message<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}
