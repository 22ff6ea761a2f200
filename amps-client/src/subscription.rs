//! A live subscription in the hands of the application.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use amps_protocol::Message as Raw;
use bytes::Bytes;

use crate::client::{Answer, Client};
use crate::command::Command;
use crate::error::{Error, Result};
#[cfg(feature = "async")]
use crate::futures_stream::MessageStream;
use crate::lease;
use crate::message::{Message, Origin};
use crate::placement::unlimited;
use crate::session::outbound::Outbound;
use crate::session::replay::Replay;
use crate::session::settling::Lease;
use crate::session::shared::Urgency;
use crate::session::subscription::{Spec, SubKey};
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
    /// The number of the command by which its messages came here.
    owner: SubKey,
    queue: Arc<StreamQueue>,
    /// Its tie to the bookmark store.
    replay: Option<Arc<Replay>>,
    /// The block that is being read.
    block: Option<Block>,
    auto_ack: bool,
    /// Delivered last, to be acknowledged by the next request.
    unsettled: Option<Unsettled>,
    timeout: Option<Duration>,
    /// Messages after which the queue is told, in the middle of a block as well.
    report_after: usize,
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
    /// Where somebody wants to know.
    lease_end: Option<SystemTime>,
}

impl Subscription {
    pub(crate) fn new(
        client: Client,
        key: SubKey,
        owner: SubKey,
        queue: Arc<StreamQueue>,
        auto_ack: bool,
        replay: Option<Arc<Replay>>,
    ) -> Self {
        Self {
            client,
            key,
            replay,
            owner,
            block: None,
            auto_ack,
            unsettled: None,
            timeout: None,
            report_after: report_after(queue.max_depth()),
            queue,
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

    /// From now on, a message that arrives while an older one of the same record is unread
    /// takes its place in the stream, and the older one is never seen: the consumer gets the
    /// newest of each record, in the order in which records first became unread. Messages
    /// without a record key are never replaced, and nothing replaces across the beginning or
    /// the end of a query's result.
    ///
    /// Whole messages are replaced. Deltas are not merged: with `delta_subscribe` updates would
    /// be lost.
    ///
    /// ```
    /// use amps_client::Client;
    /// # let server = amps_testkit::FakeServer::builder()
    /// #     .sow(amps_testkit::SowConfig::new("prices").key("/id")).start()?;
    /// # let uri = server.uri("json");
    ///
    /// let client = Client::builder("screen").server(&uri).connect()?;
    /// let mut prices = client.subscribe("prices").start()?;
    /// prices.conflate();
    /// for price in 1..=1000 {
    ///     client.publish("prices", format!("{{\"id\":1,\"price\":{price}}}"))?;
    /// }
    /// client.flush(std::time::Duration::from_secs(10))?;
    /// let newest = prices.next().unwrap()?;
    /// assert_eq!(newest.data(), br#"{"id":1,"price":1000}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn conflate(&self) {
        self.queue.conflate();
    }

    /// Unread messages that this stream holds at most; 0 for any number. When it is full the
    /// client stops reading its socket: acknowledgements, heartbeats and all other
    /// subscriptions of the client wait until this stream is read, closed, or ended by a
    /// disconnect.
    pub fn set_max_depth(&mut self, messages: usize) {
        let depth = unlimited(messages);
        self.report_after = report_after(depth);
        self.queue.set_max_depth(depth);
    }

    /// Unread messages that this stream holds at most; 0 for any number.
    pub fn max_depth(&self) -> usize {
        match self.queue.max_depth() {
            usize::MAX => 0,
            depth => depth,
        }
    }

    /// How long `next` waits; `None` for ever.
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Another thread than the one that placed it is going to read.
    pub(crate) fn forget_reader(&self) {
        self.queue.forget_reader();
    }

    pub(crate) const fn key(&self) -> SubKey {
        self.key
    }

    pub(crate) const fn owner(&self) -> SubKey {
        self.owner
    }

    /// What the subscription asks for at present, to be changed and given to
    /// [`replace`](Self::replace); `None` after its end.
    pub fn command(&self) -> Option<Command> {
        command_of(&self.client, self.key)
    }

    /// Replaces filter, topic and options of the live subscription, without a gap and without
    /// a repetition: from the server's processing on, only messages of the new parameters
    /// come. The identity, and this stream, stay. Refused, everything goes on as it was. After
    /// a reconnect the new form is placed again.
    ///
    /// A paginated subscription must repeat its pagination options.
    ///
    /// # Errors
    /// What the server refuses, `InvalidArgument`, `InvalidSubscription` after the end,
    /// `Disconnected`, `TimedOut`, or `Usage` on the loop.
    pub fn replace(&self, command: &Command) -> Result<()> {
        replace(&self.client, self.key, command.get_timeout(), |_| command.clone())
    }

    /// As [`replace`](Self::replace), for async code. Safe to cancel: the server is asked all the same.
    pub fn replace_future(&self, command: &Command) -> Answer<()> {
        replace_future(&self.client, self.key, command.get_timeout(), |_| command.clone())
    }

    /// As [`replace_filter`](Self::replace_filter), for async code. Safe to cancel: the server is asked all the
    /// same.
    pub fn replace_filter_future(&self, filter: impl Into<String>) -> Answer<()> {
        replace_future(&self.client, self.key, None, |command| command.filter(filter))
    }

    /// Replaces the filter of the live subscription; see [`replace`](Self::replace).
    ///
    /// # Errors
    /// As for `replace`.
    pub fn replace_filter(&self, filter: impl Into<String>) -> Result<()> {
        replace(&self.client, self.key, None, |command| command.filter(filter))
    }

    /// A handle by which another thread can end the subscription while this one waits in
    /// `next`.
    pub fn closer(&self) -> Closer {
        Closer {
            client: self.client.clone(),
            key: self.key,
            owner: self.owner,
            queue: Arc::clone(&self.queue),
        }
    }

    /// Messages received and not yet read.
    pub fn depth(&self) -> usize {
        self.queue.depth().saturating_sub(self.read.messages)
    }

    /// How long the oldest unread message has waited; `None` if there is none. A conflating
    /// stream counts from the first message of a record that was not read.
    pub fn oldest_age(&self) -> Option<Duration> {
        let in_hand = self.block.as_ref().filter(|block| block.items.len() > 0).map(|block| block.arrived);
        let arrived = in_hand.or_else(|| self.queue.oldest())?;
        Some(self.client.inner().clock.now() - arrived)
    }

    /// Ends the subscription, as dropping it does.
    pub fn close(self) {
        drop(self);
    }

    fn advance(&mut self, patience: Option<Duration>) -> Advance {
        // Asking for the next message says that the last one is done.
        if let Some(done) = self.unsettled.take() {
            done.origin.watch(done.lease_end, &done.topic, &done.bookmark, true);
            done.origin.settle_unasked(done.origin.clock.now(), &done.topic, &done.bookmark, None);
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
                Taken::Entry(entry) => {
                    if let Some(advance) = self.took(entry) {
                        return advance;
                    }
                }
                Taken::Ended(end) => return self.reached(end),
                Taken::TimedOut if on_loop => {
                    return Advance::Error(Error::Usage(
                        "next would wait for its own event loop; read streams on another thread",
                    ));
                }
                Taken::TimedOut => return Advance::TimedOut,
            }
        }
    }

    /// What an entry of the queue is to the consumer; `None` if it has to be walked through.
    fn took(&mut self, entry: Entry) -> Option<Advance> {
        match entry {
            Entry::Block(block) => {
                self.block = Some(block);
                None
            }
            Entry::Single(single) => {
                self.read.messages += 1;
                self.read.bytes += single.size();
                self.report_read();
                if single.lease.is_some_and(|lease| self.queue.is_void(lease)) {
                    return None;
                }
                Some(Advance::Message(self.message(single.message, single.lease)))
            }
            Entry::Notice(error) => Some(Advance::Error(error)),
        }
    }

    fn reached(&mut self, end: Option<Error>) -> Advance {
        self.ended = true;
        end.map_or(Advance::Ended, Advance::Error)
    }

    /// As a `futures` stream, for async code. Auto-ack ends here: see [`MessageStream`].
    #[cfg(feature = "async")]
    pub fn into_stream(mut self) -> MessageStream {
        self.auto_ack = false;
        MessageStream::new(self)
    }

    /// The next message if it is there; else the waker is called when it may be.
    #[cfg(feature = "async")]
    pub(crate) fn poll(&mut self, waker: &std::task::Waker) -> Option<Polled> {
        let advance = loop {
            if self.ended {
                break Advance::Ended;
            }
            if let Some(message) = self.next_in_block() {
                break Advance::Message(message);
            }
            self.report_read();
            match self.queue.poll_take(waker)? {
                Taken::Entry(entry) => {
                    if let Some(advance) = self.took(entry) {
                        break advance;
                    }
                }
                Taken::Ended(end) => break self.reached(end),
                Taken::TimedOut => {}
            }
        };
        Some(match advance {
            Advance::Message(message) => Polled::Message(message),
            Advance::Error(error) => Polled::Error(error),
            Advance::TimedOut | Advance::Ended => Polled::Ended,
        })
    }

    #[inline(always)]
    fn next_in_block(&mut self) -> Option<Message> {
        if self.queue.is_discarded() {
            let block = self.block.take().into_iter().flat_map(Block::leased);
            give_back(&self.client, block);
        }
        let block = self.block.as_mut()?;
        loop {
            let Some(item) = block.items.next() else {
                self.block = None;
                return None;
            };
            self.read.messages += 1;
            self.read.bytes += item.size();
            let Item { start, end, header, lease, .. } = item;
            if lease.is_some_and(|lease| self.queue.is_void(lease)) {
                // The server has it again and delivers it again.
                continue;
            }
            let frame = block.bytes.slice(start..end);
            let raw = Raw::from_parts(frame, header);
            if self.read.messages >= self.report_after {
                self.report_read();
            }
            return Some(self.message(raw, lease));
        }
    }

    #[inline(always)]
    fn message(&mut self, raw: Raw, lease: Option<Lease>) -> Message {
        let inner = self.client.inner();
        let (shared, replay) = (Arc::clone(&inner.shared), self.replay.clone());
        let origin = Origin { shared, clock: inner.clock, key: self.key, lease, replay };
        if self.auto_ack && lease.is_some() {
            if let (Some(topic), Some(bookmark)) = (raw.topic(), raw.bookmark()) {
                let (topic, bookmark) = (part_of(&raw, topic), part_of(&raw, bookmark));
                let lease_end = if inner.shared.leases.is_on() { lease::lease_end(&raw) } else { None };
                self.unsettled = Some(Unsettled { origin: origin.clone(), topic, bookmark, lease_end });
            }
        }
        Message::new(raw, origin)
    }

    /// Tells the queue what was read, so that a held-back server may go on.
    fn report_read(&mut self) {
        let Read { messages, bytes } = std::mem::take(&mut self.read);
        if messages > 0 && self.queue.read(messages, bytes) {
            self.client.inner().shared.wake();
        }
    }
}

/// What a stream finds.
#[cfg(feature = "async")]
pub(crate) enum Polled {
    Message(Message),
    Error(Error),
    Ended,
}

enum Advance {
    Message(Message),
    Error(Error),
    TimedOut,
    Ended,
}

impl Iterator for Subscription {
    type Item = Result<Message>;

    #[inline]
    fn next(&mut self) -> Option<Result<Message>> {
        // The way of nearly all messages: one block holds hundreds.
        if self.unsettled.is_none() && !self.ended {
            if let Some(message) = self.next_in_block() {
                return Some(Ok(message));
            }
        }
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
        let inner = self.client.inner();
        // Unread leases go back to their queue at once; with the subscription, or without.
        let mut unread = self.queue.take_leased();
        unread.extend(self.block.take().into_iter().flat_map(Block::leased));
        // Nobody reads any more: what holds the socket back lets go.
        self.queue.discard();
        inner.shared.wake();
        let now = inner.clock.now();
        let (key, owner) = (self.key, self.owner);
        inner.shared.act(now, Urgency::Now, |outbound| {
            // Its messages may have gone over to somebody else meanwhile: then it is not this one's to end.
            outbound.unsubscribe_as(now, key, owner);
            for (message, lease) in unread {
                outbound.give_back(now, &message, lease);
            }
        });
    }
}

/// Ends a [`Subscription`] from another thread; see [`Subscription::closer`].
#[derive(Clone)]
pub struct Closer {
    client: Client,
    key: SubKey,
    owner: SubKey,
    queue: Arc<StreamQueue>,
}

impl Closer {
    /// Ends the subscription, as dropping it does: what is unread is discarded, and a `next`
    /// that waits returns `None`.
    pub fn close(&self) {
        let unread = self.queue.take_leased();
        self.queue.discard();
        let inner = self.client.inner();
        inner.shared.wake();
        let now = inner.clock.now();
        let (key, owner) = (self.key, self.owner);
        inner.shared.act(now, Urgency::Now, |outbound| outbound.unsubscribe_as(now, key, owner));
        give_back(&self.client, unread);
    }
}

/// Returns messages to their queue that nobody is going to read; of a subscription that has ended the server has
/// them already.
fn give_back(client: &Client, leased: impl IntoIterator<Item = (Raw, Lease)>) {
    let inner = client.inner();
    let now = inner.clock.now();
    for (message, lease) in leased {
        inner.shared.act_timed(now, |outbound| outbound.give_back(now, &message, lease));
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closer").field(&self.key).finish()
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
    /// The number of the command by which its messages came here.
    owner: SubKey,
}

impl HandlerSubscription {
    pub(crate) const fn new(client: Client, key: SubKey, owner: SubKey) -> Self {
        Self { client, key, owner }
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

    /// What the subscription asks for at present; `None` after its end.
    pub fn command(&self) -> Option<Command> {
        command_of(&self.client, self.key)
    }

    /// Replaces what the live subscription asks for; see [`Subscription::replace`]. The handler
    /// stays; to replace it too, call [`Client::execute_with`] with the option `replace`.
    ///
    /// # Errors
    /// As for `Subscription::replace`.
    pub fn replace(&self, command: &Command) -> Result<()> {
        replace(&self.client, self.key, command.get_timeout(), |_| command.clone())
    }

    /// As [`replace`](Self::replace), for async code. Safe to cancel: the server is asked all the same.
    pub fn replace_future(&self, command: &Command) -> Answer<()> {
        replace_future(&self.client, self.key, command.get_timeout(), |_| command.clone())
    }

    /// As [`replace_filter`](Self::replace_filter), for async code. Safe to cancel: the server is asked all the
    /// same.
    pub fn replace_filter_future(&self, filter: impl Into<String>) -> Answer<()> {
        replace_future(&self.client, self.key, None, |command| command.filter(filter))
    }

    /// Replaces the filter of the live subscription; see [`Subscription::replace`].
    ///
    /// # Errors
    /// As for `Subscription::replace`.
    pub fn replace_filter(&self, filter: impl Into<String>) -> Result<()> {
        replace(&self.client, self.key, None, |command| command.filter(filter))
    }

    /// Sends pending acknowledgements, then ends the subscription, without waiting. Messages
    /// under way no longer reach the handler, and go back to their queue.
    pub fn unsubscribe(&self) {
        let inner = self.client.inner();
        let now = inner.clock.now();
        let (key, owner) = (self.key, self.owner);
        inner.shared.act(now, Urgency::Now, |outbound| outbound.unsubscribe_as(now, key, owner));
    }
}

impl fmt::Debug for HandlerSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerSubscription").field("sub_id", &self.sub_id()).finish()
    }
}

fn command_of(client: &Client, key: SubKey) -> Option<Command> {
    client.inner().shared.with(|outbound| outbound.spec(key).map(|spec| spec.command.clone()))
}

fn replace(
    client: &Client,
    key: SubKey,
    timeout: Option<Duration>,
    change: impl FnOnce(Command) -> Command,
) -> Result<()> {
    client.may_wait("replace")?;
    let serial = client.inner().shared.with(Outbound::reserve);
    let timeout = timeout.or(client.inner().command_timeout);
    let change = |spec: &Spec| {
        let command = change(spec.command.clone());
        command.check()?;
        Ok(Spec { command, ..spec.clone() })
    };
    client
        .command(&client.span("replace"), timeout, |outbound, now, waiter| {
            outbound.replace(now, key, serial, false, change, timeout, waiter)
        })
        .map(drop)
}

fn replace_future(
    client: &Client,
    key: SubKey,
    timeout: Option<Duration>,
    change: impl FnOnce(Command) -> Command,
) -> Answer<()> {
    let timeout = timeout.or(client.inner().command_timeout);
    client.asked(client.span("replace"), drop, |outbound, now, waiter| {
        let serial = outbound.reserve();
        let change = |spec: &Spec| {
            let command = change(spec.command.clone());
            command.check()?;
            Ok(Spec { command, ..spec.clone() })
        };
        outbound.replace(now, key, serial, false, change, timeout, waiter)
    })
}

/// Often enough for a bounded stream to go on, seldom enough to cost nothing.
const fn report_after(depth: usize) -> usize {
    if depth == usize::MAX || depth < 4 { if depth == usize::MAX { depth } else { 1 } } else { depth / 4 }
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

/// A part of a frame without copying it; a value that had escapes is copied.
fn part_of(raw: &Raw, part: &[u8]) -> Bytes {
    let frame = raw.frame();
    let start = (part.as_ptr() as usize).wrapping_sub(frame.as_ptr() as usize);
    match start.checked_add(part.len()) {
        Some(end) if end <= frame.len() => raw.frame_bytes().slice(start..end),
        _ => Bytes::copy_from_slice(part),
    }
}
