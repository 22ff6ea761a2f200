//! A live subscription in the hands of the application.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::Message as Raw;
use bytes::Bytes;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::message::{Message, Origin};
use crate::session::shared::Urgency;
use crate::session::subscription::SubKey;
use crate::stream::{Block, Entry, Item, StreamQueue, Taken};

/// The messages of a subscription, as a blocking iterator.
///
/// `next` waits for a message. It yields `Err` for what is worth knowing and goes on after
/// [`ErrorKind::Resumed`](crate::ErrorKind::Resumed) and
/// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut); any other error is the last item.
/// After the end it yields `None`.
///
/// With a reconnect policy the stream goes on by itself after a disconnect. Leased messages
/// that were unread when the connection was lost leave the stream, because the server delivers
/// them again.
///
/// A consumer that falls behind holds the server back: when 64 MiB (see
/// `ClientBuilder::stream_limit`) are unread, the client stops reading its socket, which stops
/// all its subscriptions, until half of that is read.
///
/// Dropping it sends pending acknowledgements, then unsubscribes; messages in hand that were
/// not acknowledged go back to their queue.
pub struct Subscription {
    client: Client,
    key: SubKey,
    queue: Arc<StreamQueue>,
    /// The block that is being read.
    block: Option<Block>,
    auto_ack: bool,
    /// Delivered last, to be acknowledged by the next request.
    unsettled: Option<Unsettled>,
    timeout: Option<Duration>,
    /// Read from the block and not yet told to the queue.
    read: Read,
    ended: bool,
}

#[derive(Default)]
struct Read {
    messages: usize,
    bytes: usize,
}

/// Enough of a message to acknowledge it.
struct Unsettled {
    origin: Origin,
    topic: Bytes,
    bookmark: Bytes,
}

impl Subscription {
    pub(crate) fn new(client: Client, key: SubKey, queue: Arc<StreamQueue>, auto_ack: bool) -> Self {
        Self {
            client,
            key,
            queue,
            block: None,
            auto_ack,
            unsettled: None,
            timeout: None,
            read: Read::default(),
            ended: false,
        }
    }

    /// Waits for the next message, at most `patience`; `Ok(None)` if none came in that time.
    /// A stream that has ended returns [`ErrorKind::Disconnected`](crate::ErrorKind::Disconnected).
    ///
    /// # Errors
    /// See [`Subscription`].
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Message>> {
        match self.advance(Some(patience)) {
            Advance::Message(message) => Ok(Some(message)),
            Advance::Error(error) => Err(error),
            Advance::TimedOut => Ok(None),
            Advance::Ended => Err(Error::disconnected(crate::error::DisconnectCause::ClosedByUser)),
        }
    }

    /// Sets how long `next` waits before it yields
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut); the stream goes on afterwards.
    /// Default: without limit.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// The subscription id on the wire; empty after the end.
    pub fn sub_id(&self) -> String {
        sub_id(&self.client, self.key)
    }

    /// The backlog that the server granted; `None` if the topic is no queue, or while
    /// disconnected.
    pub fn granted_backlog(&self) -> Option<u32> {
        granted(&self.client, self.key)
    }

    /// Acknowledgements per batch as they are in force: never more than the granted backlog.
    pub fn effective_ack_batch_size(&self) -> usize {
        effective_batch(&self.client, self.key)
    }

    /// Messages received and not yet read.
    pub fn depth(&self) -> usize {
        self.queue.depth().saturating_sub(self.read.messages)
    }

    /// Ends the subscription, as dropping it does.
    pub fn close(self) {
        drop(self);
    }

    fn advance(&mut self, patience: Option<Duration>) -> Advance {
        // Asking for the next message says that the last one is done.
        if let Some(done) = self.unsettled.take() {
            done.origin.settle_unasked(done.origin.clock.now(), &done.topic, &done.bookmark);
        }
        if self.ended {
            return Advance::Ended;
        }
        loop {
            if let Some(message) = self.next_in_block() {
                return Advance::Message(message);
            }
            self.report_read();
            let inner = self.client.inner();
            let on_loop = inner.handle.is_loop_thread();
            let patience = if on_loop { Some(Duration::ZERO) } else { patience };
            match self.queue.take(patience) {
                Taken::Entry(Entry::Block(block)) => self.block = Some(block),
                Taken::Entry(Entry::Notice(error)) => return Advance::Error(error),
                Taken::Ended(end) => {
                    self.ended = true;
                    return end.map_or(Advance::Ended, Advance::Error);
                }
                Taken::TimedOut if on_loop => {
                    return Advance::Error(Error::Usage(
                        "next would wait for its own event loop; read streams on another thread",
                    ));
                }
                Taken::TimedOut => return Advance::TimedOut,
            }
        }
    }

    fn next_in_block(&mut self) -> Option<Message> {
        let block = self.block.as_mut()?;
        loop {
            let Some(item) = block.items.next() else {
                self.block = None;
                return None;
            };
            self.read.messages += 1;
            self.read.bytes += item.size();
            let Item { start, end, header, lease } = item;
            if lease.is_some_and(|lease| self.queue.is_void(lease)) {
                // The server has it again and delivers it again.
                continue;
            }
            let frame = block.bytes.slice(start..end);
            let raw = Raw::from_parts(frame, header);
            let inner = self.client.inner();
            let origin =
                Origin { shared: Arc::clone(&inner.shared), clock: inner.clock, key: self.key, lease };
            if self.auto_ack && lease.is_some() {
                if let (Some(topic), Some(bookmark)) = (raw.topic(), raw.bookmark()) {
                    let (topic, bookmark) = (part_of(&raw, topic), part_of(&raw, bookmark));
                    self.unsettled = Some(Unsettled { origin: origin.clone(), topic, bookmark });
                }
            }
            return Some(Message::new(raw, origin));
        }
    }

    /// Tells the queue what was read, so that a held-back server may go on.
    fn report_read(&mut self) {
        let Read { messages, bytes } = std::mem::take(&mut self.read);
        if messages > 0 && self.queue.read(messages, bytes) {
            self.client.inner().shared.wake();
        }
    }
}

enum Advance {
    Message(Message),
    Error(Error),
    TimedOut,
    Ended,
}

impl Iterator for Subscription {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Result<Message>> {
        match self.advance(self.timeout) {
            Advance::Message(message) => Some(Ok(message)),
            Advance::Error(error) => Some(Err(error)),
            Advance::TimedOut => {
                let after = self.timeout.unwrap_or_default();
                Some(Err(Error::Idle { after }))
            }
            Advance::Ended => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Nobody reads any more: what holds the socket back lets go.
        self.block = None;
        self.queue.discard();
        unsubscribe(&self.client, self.key);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("sub_id", &self.sub_id()).field("depth", &self.depth()).finish()
    }
}

/// A subscription whose messages go to a handler.
///
/// Dropping it changes nothing: the handler stays until [`unsubscribe`](Self::unsubscribe),
/// until the client is closed, or until the connection is lost for good.
#[derive(Clone)]
pub struct HandlerSubscription {
    client: Client,
    key: SubKey,
}

impl HandlerSubscription {
    pub(crate) const fn new(client: Client, key: SubKey) -> Self {
        Self { client, key }
    }

    /// The subscription id on the wire; empty after the end.
    pub fn sub_id(&self) -> String {
        sub_id(&self.client, self.key)
    }

    /// The backlog that the server granted; `None` if the topic is no queue, or while
    /// disconnected.
    pub fn granted_backlog(&self) -> Option<u32> {
        granted(&self.client, self.key)
    }

    /// Acknowledgements per batch as they are in force: never more than the granted backlog.
    pub fn effective_ack_batch_size(&self) -> usize {
        effective_batch(&self.client, self.key)
    }

    /// Sends pending acknowledgements, then ends the subscription, without waiting. Messages
    /// under way no longer reach the handler, and go back to their queue.
    pub fn unsubscribe(&self) {
        unsubscribe(&self.client, self.key);
    }
}

impl fmt::Debug for HandlerSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerSubscription").field("sub_id", &self.sub_id()).finish()
    }
}

fn sub_id(client: &Client, key: SubKey) -> String {
    client.inner().shared.with(|outbound| outbound.sub_id(key).map(ToString::to_string).unwrap_or_default())
}

fn granted(client: &Client, key: SubKey) -> Option<u32> {
    client.inner().shared.with(|outbound| outbound.granted(key))
}

fn effective_batch(client: &Client, key: SubKey) -> usize {
    client.inner().shared.with(|outbound| outbound.effective_batch(key).unwrap_or(1))
}

fn unsubscribe(client: &Client, key: SubKey) {
    let inner = client.inner();
    let now = inner.clock.now();
    inner.shared.act(now, Urgency::Now, |outbound| outbound.unsubscribe(now, key));
}

/// A part of a frame without copying it; a value that had escapes is copied.
fn part_of(raw: &Raw, part: &[u8]) -> Bytes {
    let frame = raw.frame();
    let start = (part.as_ptr() as usize).wrapping_sub(frame.as_ptr() as usize);
    match start.checked_add(part.len()) {
        Some(end) if end <= frame.len() => raw.frame_bytes().slice(start..end),
        _ => Bytes::copy_from_slice(part),
    }
}
