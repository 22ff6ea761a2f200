//! Messages as applications see them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use amps_protocol::{CommandKind, Message as Raw, ReasonClass, Status};
use amps_transport::{Clock, Time};
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::lease::{self, LeaseOverrun};
use crate::session::Shared;
use crate::session::acks::AckOption;
use crate::session::replay::{self, Replay};
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
    /// Seen by the dispatcher, which takes parts of it back without moving the whole.
    pub(crate) origin: Origin,
}

/// Where a message came from, and whether it has to be acknowledged.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) key: SubKey,
    pub(crate) lease: Option<Lease>,
    /// Its tie to the bookmark store.
    pub(crate) replay: Option<Arc<Replay>>,
}

impl Origin {
    /// Tells who listens that the lease had ended, if settling the message now settles it.
    pub(crate) fn watch(&self, lease_end: Option<SystemTime>, topic: &[u8], bookmark: &[u8], unasked: bool) {
        let (Some(lease), Some(lease_end)) = (self.lease, lease_end) else { return };
        let Some(by) = self.shared.leases.late(lease_end) else { return };
        let subscription = self.shared.with(|outbound| {
            outbound.awaits(lease, unasked).then(|| outbound.sub_id(self.key).map(ToString::to_string))
        });
        if let Some(subscription) = subscription {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            self.shared.leases.tell(LeaseOverrun {
                subscription: subscription.unwrap_or_default(),
                topic: text(topic),
                bookmark: text(bookmark),
                lease_end,
                by,
            });
        }
    }

    pub(crate) fn settle(&self, topic: &[u8], bookmark: &[u8], option: Option<&AckOption>) {
        if let Some(lease) = self.lease {
            let now = self.clock.now();
            self.shared.act_timed(now, |outbound| outbound.settle(|| now, lease, topic, bookmark, option));
        }
    }

    pub(crate) fn settle_unasked(
        &self,
        now: Time,
        topic: &[u8],
        bookmark: &[u8],
        option: Option<&AckOption>,
    ) {
        if let Some(lease) = self.lease {
            self.shared
                .act_timed(now, |outbound| outbound.settle_unasked(|| now, lease, topic, bookmark, option));
        }
    }
}

impl<B: AsRef<[u8]>> Message<B> {
    pub(crate) const fn new(raw: Raw<B>, origin: Origin) -> Self {
        Self { raw, origin }
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

    /// Tells the client's [bookmark store](crate::BookmarkStore) that the application is done with
    /// the message: a restart, or a reconnect, will not bring it again. Nothing does that by itself,
    /// neither the return of a handler nor [`ack`](Self::ack). **Every** message of a bookmark
    /// subscription has to be discarded, in any order: the store moves on to where all messages
    /// before it are.
    ///
    /// Without effect for a message that is not of a bookmark subscription (an acknowledgement, a record of a
    /// query), or has been discarded, and where the client has no bookmark store. Any thread may call it, also after the subscription or
    /// the connection has ended.
    ///
    /// ```
    /// use amps_client::{Client, MemoryBookmarkStore, bookmarks::MOST_RECENT};
    /// # let server = amps_testkit::FakeServer::builder()
    /// #     .txlog("orders").start()?;
    /// # let uri = server.uri("json");
    ///
    /// let client =
    ///     Client::builder("desk-7").server(&uri).bookmark_store(MemoryBookmarkStore::new()).connect()?;
    /// client.publish("orders", r#"{"id":1}"#)?;
    /// let mut orders = client.bookmark_subscribe("orders", MOST_RECENT).sub_id("orders-1").start()?;
    /// let order = orders.next().unwrap()?;
    /// println!("{}", order.data_str()?);
    /// order.discard()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Store`: the store noted it, but may have forgotten it after a restart.
    pub fn discard(&self) -> Result<()> {
        let Some(replay) = &self.origin.replay else { return Ok(()) };
        // Acknowledgements bear bookmarks as well: those of messages that others may still work on.
        replay::logged(&self.raw).map_or(Ok(()), |message| replay.discard(message))
    }

    /// Exempts this delivery from auto-ack: the application settles it by itself, for
    /// instance on another thread.
    pub fn keep_lease(&self) {
        if let Some(lease) = self.origin.lease {
            self.origin.shared.with(|outbound| outbound.exempt(lease));
        }
    }

    /// Takes the message into a guard, which settles it whatever becomes of the work: done, it
    /// is acknowledged; dropped before, by an error, a panic or a cancelled future, it goes
    /// back to its queue.
    pub fn guard(self) -> AckGuard<B> {
        self.keep_lease();
        AckGuard { message: self, done: false }
    }

    /// The id of the subscription or query that this delivery is for, also where the message
    /// names several; empty after its end.
    pub fn subscription_id(&self) -> String {
        let Origin { shared, key, .. } = &self.origin;
        shared.with(|outbound| outbound.sub_id(*key).map(ToString::to_string).unwrap_or_default())
    }

    /// Turns an acknowledgement that reports a failure into the error that it means; any
    /// other message is `Ok`.
    ///
    /// # Errors
    /// `Refused`, or `TryAgain`, with the server's words.
    pub fn result(&self) -> Result<()> {
        let failed =
            self.raw.command() == CommandKind::Ack && self.raw.status().is_some_and(|s| !s.is_success());
        if !failed {
            return Ok(());
        }
        let action =
            format!("the command {}", self.raw.command_id().map(ToString::to_string).unwrap_or_default());
        if self.raw.status() == Some(Status::Retry) {
            return Err(Error::TryAgain { action });
        }
        let reason = self.raw.reason().map_or_else(|| "no reason given".into(), ToString::to_string);
        Err(Error::Refused { action, class: ReasonClass::of(&reason), reason })
    }

    /// The data as text.
    ///
    /// # Errors
    /// It is no UTF-8.
    pub fn data_str(&self) -> std::result::Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(self.raw.data())
    }

    /// Settles it on behalf of auto-ack.
    pub(crate) fn settle_unless_kept(&self, option: Option<&AckOption>) {
        if let (Some(topic), Some(bookmark)) = (self.raw.topic(), self.raw.bookmark()) {
            if option.is_none() {
                self.watch_lease(true);
            }
            self.origin.settle_unasked(self.origin.clock.now(), topic, bookmark, option);
        }
    }

    /// Reads the data as JSON.
    ///
    /// ```
    /// # #[derive(serde::Deserialize)]
    /// # struct Order { id: u32 }
    /// # let server = amps_testkit::FakeServer::builder().start()?;
    /// # let uri = server.uri("json");
    /// let client = amps_client::Client::builder("desk-7").server(&uri).connect()?;
    /// let mut orders = client.subscribe("orders").start()?;
    /// client.publish_json("orders", &serde_json::json!({"id": 7}))?;
    /// let order: Order = orders.next().unwrap()?.json()?;
    /// assert_eq!(order.id, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument`: it is none, or not of this shape.
    #[cfg(feature = "json")]
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_slice(self.raw.data())
            .map_err(|error| Error::InvalidArgument(format!("the data is not JSON of this shape: {error}")))
    }

    /// Whether the message bears a lease and has to be acknowledged.
    pub const fn is_leased(&self) -> bool {
        self.origin.lease.is_some()
    }

    /// When the lease of a queue message ends, by the server's clock: until then nobody else gets it. `None` for a
    /// message without a lease, and where the server's text ([`lease`](amps_protocol::Message::lease)) is no instant; what it is instead, the
    /// method of this name of [`amps_protocol::Message`] says.
    /// An [extension](AckOption::ExtendLease) does not change it.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// # let server = amps_testkit::FakeServer::builder()
    /// #     .queue(amps_testkit::QueueConfig::new("work").lease(Duration::from_secs(30))).start()?;
    /// # let uri = server.uri("json");
    ///
    /// let client = amps_client::Client::builder("worker-1").server(&uri).connect()?;
    /// client.publish("work", "1")?;
    /// let message = client.subscribe("work").start()?.next().unwrap()?;
    /// let left = message.lease_end().unwrap().duration_since(SystemTime::now())?;
    /// assert!(left <= Duration::from_secs(30));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lease_end(&self) -> Option<SystemTime> {
        lease::lease_end(&self.raw)
    }

    /// What is done with the message counts as done now: was that in time?
    #[inline]
    pub(crate) fn watch_lease(&self, unasked: bool) {
        if self.origin.shared.leases.is_on() {
            if let (Some(topic), Some(bookmark)) = (self.raw.topic(), self.raw.bookmark()) {
                self.origin.watch(self.lease_end(), topic, bookmark, unasked);
            }
        }
    }

    /// A copy that is independent of the read buffer and can still be acknowledged.
    pub fn to_owned(&self) -> Message {
        Message { raw: self.raw.to_owned(), origin: self.origin.clone() }
    }

    fn settle(&self, option: Option<&AckOption>) {
        if let (Some(topic), Some(bookmark)) = (self.raw.topic(), self.raw.bookmark()) {
            // Who gives a message back knows that others get it.
            if !matches!(option, Some(AckOption::Cancel | AckOption::Expire)) {
                self.watch_lease(false);
            }
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

/// A message of a queue that is being worked on; see [`Message::guard`].
///
/// ```
/// use amps_client::Client;
/// # let server = amps_testkit::FakeServer::builder()
/// #     .queue(amps_testkit::QueueConfig::new("work")).start()?;
/// # let uri = server.uri("json");
/// # let client = Client::builder("worker").server(&uri).connect()?;
/// # fn settle(_: &[u8]) -> Result<(), &'static str> { Err("no money") }
/// # client.publish("work", "1")?;
///
/// let mut work = client.subscribe("work").start()?;
/// let message = work.next().unwrap()?.guard();
/// match settle(message.data()) {
///     Ok(()) => message.done(),
///     // Not done: it is delivered again.
///     Err(_) => drop(message),
/// }
/// assert_eq!(work.next().unwrap()?.data(), b"1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a guard that is dropped gives its message back"]
pub struct AckGuard<B: AsRef<[u8]> = Bytes> {
    message: Message<B>,
    done: bool,
}

impl<B: AsRef<[u8]>> AckGuard<B> {
    /// The work is done: acknowledges the message.
    pub fn done(mut self) {
        self.done = true;
        self.message.ack();
    }
}

impl<B: AsRef<[u8]>> Deref for AckGuard<B> {
    type Target = Message<B>;

    fn deref(&self) -> &Message<B> {
        &self.message
    }
}

impl<B: AsRef<[u8]>> Drop for AckGuard<B> {
    fn drop(&mut self) {
        if !self.done {
            self.message.cancel();
        }
    }
}

impl<B: AsRef<[u8]>> fmt::Debug for AckGuard<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AckGuard").field(&self.message).finish()
    }
}
