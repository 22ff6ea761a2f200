//! Subscriptions whose messages are values that `serde` knows.
//!
//! Owns the way from a message to a value and what becomes of a message that is none: it is never lost, and
//! never counts as processed.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use amps_protocol::CommandKind;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::subscription::Subscription;

/// A value, and the message that brought it, to be acknowledged or discarded as any other.
///
/// ```
/// use amps_client::{Client, Typed};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .queue(amps_testkit::QueueConfig::new("orders")).start()?;
/// # let uri = server.uri("json");
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// let client = Client::builder("desk-7").server(&uri).connect()?;
/// client.publish_json("orders", &Order { id: 7 })?;
/// let mut orders = client.subscribe("orders").start()?.typed::<Order>();
/// let Typed { value, message } = orders.next().unwrap()?;
/// assert_eq!(value.id, 7);
/// message.ack();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Typed<T> {
    /// What the message says.
    pub value: T,
    /// The message.
    pub message: Message,
}

/// What a typed subscription yields in place of a value.
///
/// ```
/// use amps_client::{Client, TypedError};
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("desk-7").server(&uri).connect()?;
/// let mut numbers = client.subscribe("numbers").start()?.typed::<u32>();
/// client.publish("numbers", "seven")?;
/// client.publish("numbers", "8")?;
/// let error = numbers.next().unwrap().unwrap_err();
/// assert_eq!(error.message().unwrap().data(), b"seven");
/// // The subscription goes on.
/// assert_eq!(numbers.next().unwrap()?.value, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// What the subscription itself yields; see [`Subscription`].
    #[error(transparent)]
    Subscription(#[from] Error),
    /// A message that cannot be read as such a value. The subscription goes on.
    #[error(transparent)]
    Unreadable(Box<Unreadable>),
}

impl TypedError {
    /// The message that cannot be read.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Subscription(_) => None,
            Self::Unreadable(unreadable) => Some(unreadable.message()),
        }
    }

    /// Sorts it as [`Error::kind`] does; a message that cannot be read is `InvalidArgument`, as for
    /// [`Message::json`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Subscription(error) => error.kind(),
            Self::Unreadable(_) => ErrorKind::InvalidArgument,
        }
    }

    pub(crate) fn unreadable(message: Message, source: serde_json::Error) -> Self {
        // Nothing acknowledges what nobody could process.
        message.keep_lease();
        Self::Unreadable(Box::new(Unreadable { message, source, taken: false }))
    }
}

/// A message that cannot be read as a value, and why.
///
/// A leased message goes back to its queue when this is dropped, as a failed one does, and the server delivers it
/// again at once: to another consumer, which may know how to read it, or to this one. Only a limit on cancels or
/// deliveries that is configured for the queue ends that, and by default there is none: where nobody can read the
/// message it comes for ever. So do not just drop this: settle the message through [`message`](Self::message), or take
/// it out with [`into_message`](Self::into_message), and [`expire`](Message::expire) it, or report it and
/// [`ack`](Message::ack) it, to be rid of it.
///
/// A message of a replay with a bookmark store has to be [discarded](Message::discard) even so: nothing does that
/// for a message that cannot be read, and the store goes on at the oldest one that is not discarded.
///
/// ```
/// use amps_client::{Client, TypedError};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .queue(amps_testkit::QueueConfig::new("work")).start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("desk-7").server(&uri).connect()?;
/// client.publish("work", "no number")?;
/// let mut work = client.subscribe("work").auto_ack(true).start()?.typed::<u32>();
/// match work.next().unwrap() {
///     Err(TypedError::Unreadable(unreadable)) => unreadable.into_message().expire(),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Unreadable {
    message: Message,
    source: serde_json::Error,
    taken: bool,
}

impl Unreadable {
    /// The message.
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// What `serde_json` says. Its text may quote the message.
    pub const fn json_error(&self) -> &serde_json::Error {
        &self.source
    }

    /// A copy of the message that is not given back to its queue by itself.
    pub fn into_message(mut self) -> Message {
        self.taken = true;
        self.message.to_owned()
    }
}

impl Drop for Unreadable {
    fn drop(&mut self) {
        if !self.taken {
            self.message.cancel();
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = self.message.topic().map(ToString::to_string).unwrap_or_default();
        let bytes = self.message.data().len();
        write!(f, "a message of \"{topic}\" ({bytes} bytes) is not JSON of this shape: {}", self.source)
    }
}

impl fmt::Debug for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unreadable").field("source", &self.source).finish_non_exhaustive()
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A subscription as a blocking iterator of values; made by [`Subscription::typed`].
///
/// It yields a [`Typed`] for each message and each record of a query, and a [`TypedError`] for what cannot be
/// read and for what the [`Subscription`] yields as an error, under the same rules. What has no value is passed
/// over: the begin and the end of a query's result, acknowledgements that were asked for (one that reports a
/// failure is an error), and out-of-focus messages. Who needs those reads the [`Subscription`], or keeps a
/// [`SowMap`](crate::SowMap).
///
/// With auto-ack a message is acknowledged by the request for the next one, if it could be read.
///
/// ```
/// # let server = amps_testkit::FakeServer::builder()
/// #     .sow(amps_testkit::SowConfig::new("orders").key("/id")).start()?;
/// # let uri = server.uri("json");
/// # #[derive(serde::Deserialize)] struct Order { id: u64, qty: u64 }
/// let client = amps_client::Client::builder("desk-7").server(&uri).connect()?;
/// client.publish("orders", r#"{"id":1,"qty":5}"#)?;
/// client.publish("orders", r#"{"id":2,"qty":8}"#)?;
/// client.flush(std::time::Duration::from_secs(10))?;
/// let mut total = 0;
/// for order in client.sow("orders").start()?.typed::<Order>() {
///     total += order?.value.qty;
/// }
/// assert_eq!(total, 13);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TypedSubscription<T> {
    subscription: Subscription,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> TypedSubscription<T> {
    pub(crate) const fn new(subscription: Subscription) -> Self {
        Self { subscription, values: PhantomData }
    }

    /// The subscription behind it, for what it can do besides.
    pub const fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// The subscription behind it, as it was.
    pub fn into_inner(self) -> Subscription {
        self.subscription
    }

    /// Waits for the next value, at most `patience` for each message; `Ok(None)` if none came in that time.
    ///
    /// # Errors
    /// See [`Subscription::next_within`] and [`TypedError`].
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Typed<T>>, TypedError> {
        loop {
            let Some(message) = self.subscription.next_within(patience)? else { return Ok(None) };
            if let Some(value) = read(message).transpose()? {
                return Ok(Some(value));
            }
        }
    }

    /// As a `futures` stream, for async code; see [`Subscription::into_stream`].
    #[cfg(feature = "async")]
    pub fn into_stream(self) -> crate::TypedStream<T> {
        crate::TypedStream::new(self.subscription.into_stream())
    }
}

impl<T: DeserializeOwned> Iterator for TypedSubscription<T> {
    type Item = Result<Typed<T>, TypedError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.subscription.next()? {
                Ok(message) => {
                    if let Some(item) = read(message) {
                        return Some(item);
                    }
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

impl<T> fmt::Debug for TypedSubscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedSubscription").field(&self.subscription).finish()
    }
}

impl Subscription {
    /// Reads every message as a `T`; see [`TypedSubscription`]. What borrows from the message is read with
    /// [`Message::json`] instead.
    ///
    /// ```
    /// # let server = amps_testkit::FakeServer::builder().start()?;
    /// # let uri = server.uri("json");
    /// # #[derive(serde::Deserialize)] struct Order { id: u64 }
    /// let client = amps_client::Client::builder("desk-7").server(&uri).connect()?;
    /// let mut orders = client.subscribe("orders").start()?.typed::<Order>();
    /// client.publish("orders", r#"{"id":7}"#)?;
    /// assert_eq!(orders.next().unwrap()?.value.id, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn typed<T: DeserializeOwned>(self) -> TypedSubscription<T> {
        TypedSubscription::new(self)
    }
}

/// The value of a message; `None` if it is of a kind that has none.
pub(crate) fn read<T: DeserializeOwned>(message: Message) -> Option<Result<Typed<T>, TypedError>> {
    match message.command() {
        CommandKind::Ack => message.result().err().map(|error| Err(error.into())),
        CommandKind::GroupBegin | CommandKind::GroupEnd | CommandKind::Oof => None,
        _ => Some(match serde_json::from_slice(message.data()) {
            Ok(value) => Ok(Typed { value, message }),
            Err(error) => Err(TypedError::unreadable(message, error)),
        }),
    }
}
