//! What a publish returns.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use amps_protocol::{Command as Wire, Publish, ReasonClass};

use crate::client::{Answer, Client, Inner};
use crate::error::{DisconnectCause, Error, Result};
use crate::session::Shared;
use crate::session::outbound::{PublishState, Published};
use crate::session::publisher::Publisher;

/// Tells what became of one published message. Ignore it, or ask it later.
///
/// Queued, written and persisted are three different things. Without a publish store nothing
/// says that the server has the message, but that after [`Client::flush`](crate::Client::flush)
/// everything written before was processed. With one, the message is sent until the server has
/// persisted or refused it, whatever happens to the connection, and the receipt tells:
///
/// ```
/// use std::time::Duration;
/// use amps_client::{Client, MemoryPublishStore, PublishState};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .txlog("orders").start()?;
/// # let uri = server.uri("json");
///
/// let client =
///     Client::builder("desk-7").server(&uri).publish_store(MemoryPublishStore::new()).connect()?;
/// let receipt = client.publish("orders", r#"{"id":1}"#)?;
/// assert_eq!(receipt.sequence(), Some(1));
/// receipt.wait_persisted(Duration::from_secs(10))?;
/// assert_eq!(receipt.state(), PublishState::Persisted);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Receipt {
    client: Weak<Inner>,
    shared: Arc<Shared>,
    published: Published,
}

impl Receipt {
    pub(crate) fn new(client: &Arc<Inner>, published: Published) -> Self {
        Self { client: Arc::downgrade(client), shared: Arc::clone(&client.shared), published }
    }

    /// What became of the message so far.
    pub fn state(&self) -> PublishState {
        self.shared.with(|outbound| outbound.publish_state(self.published))
    }

    /// The sequence number that the message bears; `None` without a publish store.
    pub const fn sequence(&self) -> Option<u64> {
        self.published.number
    }

    /// Whether the publish store keeps the message as safely as it promises: in memory, handed
    /// to the system, or on the disk. Without a store nothing keeps it.
    pub fn is_stored(&self) -> bool {
        let Some(number) = self.published.number else { return false };
        self.shared.with(|outbound| outbound.store_has(number))
    }

    /// Waits until [`is_stored`](Self::is_stored) holds.
    ///
    /// # Errors
    /// `TimedOut`; `Store` if the store is in trouble; `Usage` without a publish store.
    pub fn wait_stored(&self, timeout: Duration) -> Result<()> {
        let number = self.number()?;
        if self.shared.await_store(Some(timeout), number, Publisher::is_safe)? {
            return Ok(());
        }
        Err(Error::TimedOut { action: format!("store message {number}"), after: timeout })
    }

    /// Waits until the server has persisted the message, and with it all that was published
    /// before. A connection that is lost meanwhile does not end the wait.
    ///
    /// # Errors
    /// `Refused` if the server refused it, `TimedOut`, `Disconnected` if the client was closed
    /// or has given up, `Usage` on the loop or without a publish store.
    pub fn wait_persisted(&self, timeout: Duration) -> Result<()> {
        let number = self.number()?;
        let client = Client::from_inner(self.client()?);
        client.may_wait("wait_persisted")?;
        let span = client.span("wait_persisted");
        let waited = client.command(&span, Some(timeout), |outbound, now, waiter| {
            outbound.await_persisted(now, number, Some(timeout), waiter);
            Ok(())
        });
        // A refusal is known before everything that was published earlier is dealt with.
        self.verdict().and(waited.map(drop))
    }

    /// As [`wait_stored`](Self::wait_stored), for async code, and without a limit: a runtime has timers.
    ///
    /// Safe to cancel: dropping it changes nothing, and leaves nothing behind.
    ///
    /// # Errors
    /// `Store` if the store is in trouble; `Usage` without a publish store.
    pub fn stored_future(&self) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let (shared, number) = (Arc::clone(&self.shared), self.number());
        async move {
            let number = number?;
            shared.until(|| shared.with(|outbound| outbound.store_poll(number, Publisher::is_safe))).await
        }
    }

    /// Looks whether the server has dealt with the message.
    fn look(&self, number: u64) -> Poll<Result<()>> {
        self.shared.with(|outbound| {
            if let Some(reason) = outbound.refusal(number) {
                return Poll::Ready(Err(refused(number, reason)));
            }
            if outbound.is_dealt_with(number) {
                return Poll::Ready(Ok(()));
            }
            match outbound.gave_up() {
                Some(cause) => Poll::Ready(Err(Error::disconnected(cause))),
                None => Poll::Pending,
            }
        })
    }

    /// As [`wait_persisted`](Self::wait_persisted), for async code; ask [`state`](Self::state)
    /// afterwards whether it was persisted or refused. To await the receipt itself says that at once, and has
    /// no limit of time.
    ///
    /// Safe to cancel: dropping the future changes nothing about the message.
    ///
    /// # Errors
    /// `Usage` without a publish store; `Disconnected` if the client is gone. The future's are those of
    /// `wait_persisted`, but for `Refused`.
    pub fn persisted_future(&self, timeout: Duration) -> Result<Answer<()>> {
        let number = self.number()?;
        let client = Client::from_inner(self.client()?);
        let span = client.span("wait_persisted");
        Ok(client.asked(span, drop, |outbound, now, waiter| {
            outbound.await_persisted(now, number, Some(timeout), waiter);
            Ok(())
        }))
    }

    fn number(&self) -> Result<u64> {
        self.published.number.ok_or(Error::Usage(
            "this client has no publish store, and so no word from the server about each message; give it one",
        ))
    }

    fn client(&self) -> Result<Arc<Inner>> {
        self.client.upgrade().ok_or(Error::Disconnected { cause: DisconnectCause::ClosedByUser })
    }

    fn verdict(&self) -> Result<()> {
        let Some(number) = self.published.number else { return Ok(()) };
        match self.shared.with(|outbound| outbound.refusal(number)) {
            Some(reason) => Err(refused(number, reason)),
            None => Ok(()),
        }
    }
}

fn refused(number: u64, reason: String) -> Error {
    let (action, class) = (format!("publish message {number}"), ReasonClass::of(&reason));
    Error::Refused { action, class, reason }
}

/// A receipt can be awaited: until the server has persisted the message, and with it all that was published
/// before, or has refused it. A connection that is lost meanwhile does not end the wait; a client that is closed,
/// or gives up, does (`Disconnected`), and without a publish store the answer is `Usage` at once. There is no
/// limit of time: a runtime has timers.
///
/// Safe to cancel: dropping the future changes nothing about the message, and leaves nothing behind; await a
/// clone of the receipt to ask again.
///
/// ```
/// use amps_client::{Client, MemoryPublishStore, PublishState};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .txlog("orders").start()?;
/// # let uri = server.uri("json");
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let builder = Client::builder("desk-7").server(&uri).publish_store(MemoryPublishStore::new());
/// let client = builder.connect_future().await?;
/// let receipt = client.publish("orders", r#"{"id":1}"#)?;
/// receipt.clone().await?;
/// assert_eq!(receipt.state(), PublishState::Persisted);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl IntoFuture for Receipt {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let number = self.number()?;
            self.shared.until(|| self.look(number)).await
        })
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.state()).finish()
    }
}

/// What a publish may say besides its topic and data; see
/// [`Client::publish_with`](crate::Client::publish_with).
///
/// ```
/// use std::time::Duration;
/// use amps_client::{Client, PublishOptions};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .sow(amps_testkit::SowConfig::new("notes")).start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("desk-7").server(&uri).connect()?;
/// let options = PublishOptions::new().sow_key("note-1").correlation_id("bWFyaw==");
/// client.publish_with("notes", r#"{"text":"late"}"#, &options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    expiration: Option<u64>,
    sow_key: Option<String>,
    correlation_id: Option<String>,
}

impl PublishOptions {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The message expires after this time. AMPS counts whole seconds; a fraction is rounded up.
    #[must_use]
    pub fn expiration(mut self, after: Duration) -> Self {
        self.expiration = Some(after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)));
        self
    }

    /// The key of the record to write, where the topic leaves keys to publishers.
    #[must_use]
    pub fn sow_key(mut self, key: impl Into<String>) -> Self {
        self.sow_key = Some(key.into());
        self
    }

    /// A mark of your own that goes with the message. AMPS asks for Base64 characters.
    #[must_use]
    pub fn correlation_id(mut self, mark: impl Into<String>) -> Self {
        self.correlation_id = Some(mark.into());
        self
    }

    /// Refuses what a server could only misread.
    pub(crate) fn check(&self) -> Result<()> {
        for (what, text) in [("record key", &self.sow_key), ("correlation id", &self.correlation_id)] {
            if let Some(text) = text {
                crate::command::refuse_controls("publish", what, text)?;
            }
        }
        Ok(())
    }
}

/// One publish on its way to the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publishing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) data: &'a [u8],
    pub(crate) delta: bool,
    pub(crate) options: Option<&'a PublishOptions>,
}

impl<'a> Publishing<'a> {
    pub(crate) const fn new(topic: &'a str, data: &'a [u8]) -> Self {
        Self { topic, data, delta: false, options: None }
    }

    #[inline]
    pub(crate) fn command(&self) -> Publish<'a> {
        let publish = if self.delta { Wire::delta_publish(self.topic) } else { Wire::publish(self.topic) };
        let mut publish = publish.data(self.data);
        let Some(options) = self.options else { return publish };
        if let Some(seconds) = options.expiration {
            publish = publish.expiration(seconds);
        }
        if let Some(key) = &options.sow_key {
            publish = publish.sow_key(key.as_str());
        }
        if let Some(mark) = &options.correlation_id {
            publish = publish.correlation_id(mark.as_str());
        }
        publish
    }
}
