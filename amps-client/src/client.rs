//! The client: one connection to AMPS, shared by any number of threads.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use amps_protocol::{AckType, CommandKind, Endpoint, Message as Raw};
use amps_transport::{Clock, EventLoop as Loop, MachineHandle, Time};

use crate::authenticator::Authenticator;
use crate::builder::ClientBuilder;
use crate::caller;
use crate::command::{Command, refuse_controls};
use crate::dispatcher::{Dispatcher, HandlerResult, Targets, run_deferred};
use crate::error::{Error, Result};
use crate::hooks::{Direction, Hook, Hooks, ListenerId, SlowConsumer};
use crate::listener::ConnectionState;
use crate::message::Message;
use crate::placement::{Placement, Starting};
use crate::publish::{PublishOptions, Publishing, Receipt};
use crate::session::acks::{AckOption, AckSettings};
use crate::session::bugs::Bugs;
use crate::session::commands::Wait;
use crate::session::line::{Counters, SendLimits};
use crate::session::outbound::Outbound;
use crate::session::peer::Peer;
use crate::session::shared::Urgency;
use crate::session::waiter::{Done, Waiter};
use crate::session::{Note, Session, SessionConfig, Shared, WOULD_DEADLOCK};
use crate::sow_delete::{DeleteStats, SowDelete};
use crate::subscribe::{Sow, Subscribe};
use crate::subscription::{HandlerSubscription, Subscription};
use crate::write_failure::FailedWrite;

/// How long `close` takes at most, unless told otherwise.
pub const DEFAULT_CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// How long the last drop waits for a server that does not take what is sent.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Waits this long for the answer to a command that was sent, then looks whether the loop
/// has missed its deadline.
const PAST_DEADLINE: Duration = Duration::from_millis(2);

/// A client of AMPS. Cheap to clone; all clones share one connection.
///
/// ```
/// use amps_client::Client;
/// # let server = amps_testkit::FakeServer::builder()
/// #     .queue(amps_testkit::QueueConfig::new("work")).start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("order-entry").server(&uri).connect()?;
/// let work = client.subscribe("work").max_backlog(30).auto_ack(true).start()?;
/// client.publish("work", br#"{"id":1}"#)?;
/// for message in work.take(1) {
///     println!("{}", String::from_utf8_lossy(message?.data()));
/// }
/// client.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Threads
///
/// Every method may be called from every thread, and many at once: frames never interleave.
/// Handlers and listeners run on the client's event loop. There, a call that would wait for
/// the server returns [`ErrorKind::Usage`](crate::ErrorKind::Usage) at once instead of
/// waiting for ever; `publish`, `ack` and everything else that does not wait is allowed.
///
/// # When the connection is lost
///
/// With [`ClientBuilder::reconnect`] the client connects again by itself and places its
/// subscriptions again. Without, it stays disconnected: subscriptions end, calls return
/// [`ErrorKind::Disconnected`](crate::ErrorKind::Disconnected), and
/// [`connect`](Self::connect) may be called again.
///
/// # The end
///
/// When the last clone and the last subscription are dropped, pending acknowledgements and
/// what else waits to be sent is written, for at most a second, and the connection is closed.
/// [`close`](Self::close) does more: it finishes the work in hand and reports.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

pub(crate) type ClientMachine = Session<Dispatcher>;

/// What all clones share.
pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) targets: Arc<Targets>,
    hooks: Arc<Hooks>,
    pub(crate) handle: MachineHandle<ClientMachine>,
    auto_ack: AtomicBool,
    reconnects: bool,
    pub(crate) command_timeout: Option<Duration>,
    pub(crate) publish_timeout: Duration,
    pub(crate) stream_limit: usize,
    max_depth: AtomicUsize,
}

impl Inner {
    pub(crate) fn max_depth(&self) -> usize {
        self.max_depth.load(Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The process may end right after this, so what waits is written here and now; only
        // what the socket does not take at once is waited for.
        let now = self.clock.now();
        self.shared.act(now, Urgency::Now, |outbound| outbound.flush_acks(now));
        if !self.handle.is_loop_thread() {
            self.shared.wait_until_written(LAST_WORDS);
        }
        self.handle.post(Note::Shutdown);
        self.handle.remove();
    }
}

/// What `ClientBuilder` has gathered.
pub(crate) struct Parts {
    pub(crate) config: SessionConfig,
    pub(crate) acks: AckSettings,
    pub(crate) auto_ack: bool,
    pub(crate) limits: SendLimits,
    pub(crate) hooks: Hooks,
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) max_depth: usize,
    pub(crate) event_loop: Option<EventLoop>,
    pub(crate) command_timeout: Option<Duration>,
    pub(crate) publish_timeout: Duration,
    pub(crate) stream_limit: usize,
}

impl Client {
    /// Begins to describe a client. The name identifies it to the server: give every client
    /// its own, and the same one at every start, for example application, host and user.
    pub fn builder(name: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(name.into())
    }

    pub(crate) fn from_parts(parts: Parts) -> Result<Self> {
        let event_loop = match parts.event_loop {
            Some(event_loop) => event_loop,
            None => EventLoop::named(&format!("amps-{}", parts.config.name))?,
        };
        let clock = event_loop.inner.clock();
        let reconnects = parts.config.reconnect.is_some();
        let name = parts.config.name.clone();
        let shared = Arc::new(Shared::new(Outbound::new(parts.acks, parts.limits, Bugs::default())));
        let targets = Arc::new(Targets::default());
        let hooks = Arc::new(parts.hooks);
        let back = Arc::new(OnceLock::new());
        let dispatcher = Dispatcher::new(
            Arc::clone(&targets),
            Arc::clone(&hooks),
            parts.authenticator,
            Arc::clone(&back),
            Arc::clone(&shared),
            clock,
        );
        let handle = event_loop.inner.add(Session::new(parts.config, Arc::clone(&shared), dispatcher));
        // Weak: a message or a receipt that outlives its client must not keep the loop alive.
        let waker: Arc<OnceLock<Weak<Inner>>> = Arc::clone(&back);
        shared.on_wake(Box::new(move || {
            if let Some(inner) = waker.get().and_then(Weak::upgrade) {
                inner.handle.post(Note::Wake);
            }
        }));
        let tap = Arc::clone(&hooks);
        shared.on_write(Box::new(move |bytes| tap.traffic(Direction::Outbound, bytes)));
        let inner = Arc::new(Inner {
            name,
            shared,
            clock,
            targets,
            hooks,
            handle,
            auto_ack: AtomicBool::new(parts.auto_ack),
            reconnects,
            command_timeout: parts.command_timeout,
            publish_timeout: parts.publish_timeout,
            stream_limit: parts.stream_limit,
            max_depth: AtomicUsize::new(parts.max_depth),
        });
        let _ = back.set(Arc::downgrade(&inner) as Weak<Inner>);
        Ok(Self { inner })
    }

    pub(crate) const fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(crate) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// The client's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Connects and logs on to the servers that the builder was given.
    ///
    /// Without a reconnect policy each server is tried once, in order. With one, attempts go on
    /// until one succeeds or `ClientBuilder::connect_deadline` has passed.
    ///
    /// # Errors
    /// The last attempt's error; `AlreadyConnected` if the client is connected already; `Usage`
    /// on its loop.
    pub fn connect(&self) -> Result<()> {
        self.connect_with(None)
    }

    /// As [`connect`](Self::connect), to other servers, which replace the configured ones.
    ///
    /// # Errors
    /// As for `connect`, and if a connection string cannot be used.
    pub fn connect_to<I: IntoIterator<Item = S>, S: AsRef<str>>(&self, servers: I) -> Result<()> {
        let parse = |uri: S| crate::builder::parse_server(uri.as_ref());
        let servers: Vec<Endpoint> = servers.into_iter().map(parse).collect::<Result<_>>()?;
        if servers.is_empty() {
            return Err(Error::InvalidArgument("connect_to: give at least one connection string".into()));
        }
        self.connect_with(Some(servers))
    }

    fn connect_with(&self, servers: Option<Vec<Endpoint>>) -> Result<()> {
        self.may_wait("connect")?;
        let waiter = Arc::<Waiter>::default();
        self.post(Note::Connect { servers, waiter: Arc::clone(&waiter).into() })?;
        self.await_loop(&waiter).map(drop)
    }

    /// Publishes a message. Returns as soon as it is encoded and, as a rule, written; it does
    /// not wait for the server. The [`Receipt`] tells what became of it and may be ignored.
    ///
    /// While more than `ClientBuilder::send_limit` bytes wait because the server does not take
    /// them, this blocks, up to `ClientBuilder::publish_timeout`; on the loop it fails at once.
    ///
    /// # Errors
    /// `Disconnected` without a connection, `Full` as above, `InvalidArgument` if the message is
    /// too large. In each case nothing was sent.
    pub fn publish(&self, topic: &str, data: impl AsRef<[u8]>) -> Result<Receipt> {
        self.publish_one(&Publishing::new(topic, data.as_ref()))
    }

    /// As [`publish`](Self::publish), for a message that expires; AMPS counts whole seconds,
    /// a fraction is rounded up.
    ///
    /// # Errors
    /// As for `publish`.
    pub fn publish_expiring(&self, topic: &str, data: impl AsRef<[u8]>, after: Duration) -> Result<Receipt> {
        self.publish_with(topic, data, &PublishOptions::new().expiration(after))
    }

    /// As [`publish`](Self::publish), with an expiration, a record key or a mark of your own.
    ///
    /// # Errors
    /// As for `publish`.
    pub fn publish_with(
        &self,
        topic: &str,
        data: impl AsRef<[u8]>,
        options: &PublishOptions,
    ) -> Result<Receipt> {
        options.check()?;
        let publishing = Publishing { options: Some(options), ..Publishing::new(topic, data.as_ref()) };
        self.publish_one(&publishing)
    }

    /// As [`publish`](Self::publish), with a value as JSON.
    ///
    /// # Errors
    /// As for `publish`, and `InvalidArgument` for a value that JSON cannot express.
    #[cfg(feature = "json")]
    pub fn publish_json<T: serde::Serialize + ?Sized>(&self, topic: &str, value: &T) -> Result<Receipt> {
        let data = serde_json::to_vec(value)
            .map_err(|error| Error::InvalidArgument(format!("publish: the value is not JSON: {error}")))?;
        self.publish(topic, data)
    }

    /// Publishes a partial update of a record: the key fields, and those that change. As
    /// [`publish`](Self::publish) in all else.
    ///
    /// # Errors
    /// As for `publish`.
    pub fn delta_publish(&self, topic: &str, data: impl AsRef<[u8]>) -> Result<Receipt> {
        self.publish_one(&Publishing { delta: true, ..Publishing::new(topic, data.as_ref()) })
    }

    /// As [`delta_publish`](Self::delta_publish), with an expiration, a record key or a mark.
    ///
    /// # Errors
    /// As for `publish`.
    pub fn delta_publish_with(
        &self,
        topic: &str,
        data: impl AsRef<[u8]>,
        options: &PublishOptions,
    ) -> Result<Receipt> {
        options.check()?;
        let bare = Publishing::new(topic, data.as_ref());
        self.publish_one(&Publishing { delta: true, options: Some(options), ..bare })
    }

    fn publish_one(&self, publishing: &Publishing<'_>) -> Result<Receipt> {
        check_topic("publish", publishing.topic)?;
        let inner = &*self.inner;
        let now = inner.clock.now();
        let result = match inner.shared.act_publish(now, |outbound| outbound.publish(now, publishing)) {
            Err(error @ Error::Full { .. }) => self.until_room(now, error, |now| {
                inner.shared.act_publish(now, |outbound| outbound.publish(now, publishing))
            }),
            result => result,
        };
        result.map(|(generation, end)| Receipt::new(Arc::clone(&inner.shared), generation, end))
    }

    /// Does what may find that too much waits to be sent, and then waits for room.
    pub(crate) fn with_room<T>(&self, mut f: impl FnMut(Time, &mut Outbound) -> Result<T>) -> Result<T> {
        let inner = &*self.inner;
        let mut once = |now| inner.shared.act(now, Urgency::Gather, |outbound| f(now, outbound));
        let now = inner.clock.now();
        match once(now) {
            Err(error @ Error::Full { .. }) => self.until_room(now, error, once),
            result => result,
        }
    }

    fn until_room<T>(&self, began: Time, full: Error, mut again: impl FnMut(Time) -> Result<T>) -> Result<T> {
        let inner = &*self.inner;
        let give_up = began + inner.publish_timeout;
        let mut error = full;
        loop {
            let now = inner.clock.now();
            if now >= give_up || inner.handle.is_loop_thread() {
                return Err(error);
            }
            inner.shared.wait_for_room(give_up - now);
            match again(inner.clock.now()) {
                Err(full @ Error::Full { .. }) => error = full,
                result => return result,
            }
        }
    }

    /// Waits until the server has processed everything that this client sent before.
    ///
    /// Call it before the program ends when it matters that publishes arrived.
    ///
    /// # Errors
    /// `Disconnected`, `TimedOut`, or `Usage` on the loop.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        self.may_wait("flush")?;
        self.command(Some(timeout), |outbound, now, waiter| outbound.flush(now, Some(timeout), waiter))
            .map(drop)
    }

    /// Begins to describe a subscription to a topic, or to all topics that a regular
    /// expression matches.
    pub fn subscribe(&self, topic: impl Into<String>) -> Subscribe {
        Subscribe::of(self.clone(), Command::subscribe(topic))
    }

    /// As [`subscribe`](Self::subscribe), with only the fields that changed. What is delivered
    /// is what the server sends: the client merges nothing.
    pub fn delta_subscribe(&self, topic: impl Into<String>) -> Subscribe {
        Subscribe::of(self.clone(), Command::delta_subscribe(topic))
    }

    /// Begins to describe a query: the records of a topic, as they are now.
    pub fn sow(&self, topic: impl Into<String>) -> Sow {
        Sow::of(self.clone(), Command::sow(topic))
    }

    /// Begins to describe a query whose result is followed by the messages of the topic,
    /// without a gap and without an overlap.
    pub fn sow_and_subscribe(&self, topic: impl Into<String>) -> Subscribe {
        Subscribe::of(self.clone(), Command::sow_and_subscribe(topic))
    }

    /// As [`sow_and_subscribe`](Self::sow_and_subscribe), with only the fields that changed
    /// once the result is there.
    pub fn sow_and_delta_subscribe(&self, topic: impl Into<String>) -> Subscribe {
        Subscribe::of(self.clone(), Command::sow_and_delta_subscribe(topic))
    }

    /// Executes a command, and returns its messages: those of a subscription, the records of a
    /// query, the acknowledgements that the command asks for. A command without any has an
    /// iterator that is at its end. Waits until the server has processed the command, unless it
    /// publishes, or asks for nothing.
    ///
    /// # Errors
    /// `InvalidArgument` before anything is sent; what the server refuses; `Disconnected`;
    /// `TimedOut`; `Usage` on the loop.
    pub fn execute(&self, command: &Command) -> Result<Subscription> {
        Placement::new(self.clone(), command.clone()).start()
    }

    /// As [`execute`](Self::execute), for async code: the command is written now, and the
    /// future waits for the server.
    pub fn execute_future(&self, command: &Command) -> Starting {
        Placement::new(self.clone(), command.clone()).start_future()
    }

    /// As [`execute`](Self::execute), with a handler; see [`Subscribe::on_message`] for what it
    /// may do. With the option `replace` the handler takes over from the one before, once the
    /// server has agreed.
    ///
    /// # Errors
    /// As for `execute`.
    pub fn execute_with(
        &self,
        command: &Command,
        handler: impl FnMut(&Message<&[u8]>) -> HandlerResult + Send + 'static,
    ) -> Result<HandlerSubscription> {
        Placement::new(self.clone(), command.clone()).handle(Box::new(handler))
    }

    /// Executes a command whose messages, if there are any, nobody wants: only whether it
    /// succeeded is of interest. Waits as [`execute`](Self::execute) does.
    ///
    /// # Errors
    /// As for `execute`.
    pub fn perform(&self, command: &Command) -> Result<()> {
        Placement::new(self.clone(), command.clone()).perform().map(drop)
    }

    /// Writes a command as it is: no acknowledgement is added, nobody waits, and what comes of
    /// it goes to the listener for unexpected messages. For experts.
    ///
    /// # Errors
    /// `InvalidArgument`, `Disconnected`, or `Full`.
    pub fn send(&self, command: &Command) -> Result<()> {
        command.check()?;
        self.with_room(|now, outbound| outbound.send_as_is(now, command))
    }

    /// Ends subscriptions by id: one, or a comma list. Pending acknowledgements go out first.
    /// Does not wait; messages under way go to the listener for unexpected messages.
    ///
    /// # Errors
    /// `Disconnected` without a connection, unless a reconnect is under way: then the
    /// subscription is not placed again.
    pub fn unsubscribe(&self, sub_id: &str) -> Result<()> {
        self.perform(&Command::unsubscribe(sub_id))
    }

    /// Ends every subscription of this client; see [`unsubscribe`](Self::unsubscribe).
    ///
    /// # Errors
    /// As for `unsubscribe`.
    pub fn unsubscribe_all(&self) -> Result<()> {
        self.unsubscribe("all")
    }

    /// Unread messages that a stream placed from now on holds at most; 0 for any number.
    /// Default 0: only bytes are counted.
    pub fn set_max_depth(&self, messages: usize) {
        self.inner.max_depth.store(messages, Ordering::Relaxed);
    }

    /// Unread messages that a stream placed from now on holds at most; 0 for any number.
    pub fn max_depth(&self) -> usize {
        self.inner.max_depth()
    }

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
        let done = self.command(timeout, |outbound, now, waiter| {
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
    /// otherwise; see [`Subscribe::auto_ack`].
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

    /// The server of the last logon; `None` before the first.
    pub fn peer(&self) -> Option<Arc<Peer>> {
        self.inner.shared.with(|outbound| outbound.peer.clone())
    }

    /// The state of the connection that listeners heard of last; `None` before the first.
    pub fn state(&self) -> Option<ConnectionState> {
        self.inner.hooks.last_state()
    }

    /// Whether commands can be sent at this moment.
    pub fn is_connected(&self) -> bool {
        self.inner.shared.with(|outbound| outbound.is_up())
    }

    /// What was counted since the client was built.
    pub fn stats(&self) -> Counters {
        self.inner.shared.with(|outbound| outbound.line.stats)
    }

    /// Adds a listener for the states of the connection. It runs on the loop: it must not
    /// wait, and a call of this client that waits returns `Usage` there. Its panic is reported.
    /// Listeners are called in the order in which they were added.
    pub fn on_state(&self, listener: impl Fn(ConnectionState) + Send + Sync + 'static) -> ListenerId {
        self.inner.hooks.add_state(Arc::new(listener))
    }

    /// Removes one listener for connection states; returns whether it was there.
    pub fn remove_state_listener(&self, id: ListenerId) -> bool {
        self.inner.hooks.remove_state(id)
    }

    /// Sets the listener for errors that have no caller; see [`ClientBuilder::on_error`].
    pub fn on_error(&self, listener: impl Fn(&Error) + Send + Sync + 'static) {
        self.inner.hooks.set_error(Arc::new(listener));
    }

    /// Sets the listener for messages that no subscription took: late ones of a subscription
    /// that has ended, and refusals that nobody waits for. Runs on the loop. Without it they
    /// are dropped.
    pub fn on_unexpected(&self, listener: impl Fn(&Raw<&[u8]>) + Send + Sync + 'static) {
        self.inner.hooks.set_unexpected(Arc::new(listener));
    }

    /// Sets the listener for messages that were seen before, which reach no subscription. Runs
    /// on the loop.
    pub fn on_duplicate(&self, listener: impl Fn(&Raw<&[u8]>) + Send + Sync + 'static) {
        self.inner.hooks.set_duplicate(Arc::new(listener));
    }

    /// Sets the listener for writes that the server refused to persist. Runs on the loop.
    /// Without it such acknowledgements go to [`on_unexpected`](Self::on_unexpected).
    pub fn on_failed_write(&self, listener: impl Fn(&FailedWrite<'_>) + Send + Sync + 'static) {
        self.inner.hooks.set_failed_write(Arc::new(listener));
    }

    /// Sets the listener for every message of one kind, before it goes where it belongs and
    /// whether or not anybody wants it. Runs on the loop. Handing `CommandKind::Ack` shows
    /// all acknowledgements, also those that the client asks for by itself.
    pub fn on_kind(&self, kind: CommandKind, listener: impl Fn(&Raw<&[u8]>) + Send + Sync + 'static) {
        self.inner.hooks.set_messages(kind, Arc::new(listener));
    }

    /// Sets what happens after an unexpected disconnect; see [`ClientBuilder::on_disconnect`].
    ///
    /// # Errors
    /// `Usage` if the client has a reconnect policy: the two exclude each other.
    pub fn on_disconnect(
        &self,
        handler: impl FnMut(&Self, &Error) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        if self.inner.reconnects {
            return Err(Error::Usage(
                "a reconnect policy and a disconnect handler exclude each other; listen with `on_state` instead",
            ));
        }
        self.inner.hooks.set_disconnect(Arc::new(std::sync::Mutex::new(handler)));
        Ok(())
    }

    /// Shows the raw bytes, for diagnosis: what is sent before it is encrypted or compressed,
    /// what is received afterwards. Bytes come as they are read and written, not frame by
    /// frame, lengths included. Set it before connecting to see the logon, and beware: a logon
    /// bears the password.
    ///
    /// The listener must send nothing in answer to what goes out, which would never end. What
    /// it sends in answer to what comes in may be left out of what it is shown.
    pub fn on_traffic(&self, listener: impl FnMut(Direction, &[u8]) + Send + 'static) {
        self.inner.hooks.set_traffic(Arc::new(std::sync::Mutex::new(listener)));
    }

    /// Sets the listener for streams that are full, because nobody reads them as fast as
    /// messages come. Called once each time that a stream becomes full. Runs on the loop.
    pub fn on_slow_consumer(&self, listener: impl Fn(&SlowConsumer) + Send + Sync + 'static) {
        self.inner.hooks.set_slow(Arc::new(listener));
    }

    /// Runs on the thread that serves this client when a connection begins, before anything is
    /// received on it: to name the thread, or to bind it to a processor. The thread stays the
    /// same across reconnects, and may serve other clients too.
    pub fn on_connection_start(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.inner.hooks.set_start(Arc::new(hook));
    }

    /// Runs on the thread that serves this client when a connection has ended.
    pub fn on_connection_end(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.inner.hooks.set_end(Arc::new(hook));
    }

    /// Runs `work` once this client is connected and recovered: now if it is, else after the
    /// next recovery. On a thread of its own, so that it may wait; several run in order. Dropped
    /// with the client if that never happens.
    pub fn when_recovered(&self, work: impl FnOnce(&Self) + Send + 'static) {
        self.inner.hooks.defer(Box::new(work));
        run_deferred(self.clone(), &self.inner.hooks);
    }

    /// Gathers publishes: they are written once `bytes` wait, or `within` after the first of
    /// them, or with anything else that is sent. Larger pieces for the network at the price of
    /// that time. Zero bytes, the default, writes each at once, unless publishes come back to
    /// back.
    pub fn set_publish_batching(&self, bytes: usize, within: Duration) {
        let now = self.inner.clock.now();
        self.inner.shared.act(now, Urgency::Now, |outbound| outbound.set_batching(bytes, within));
    }

    /// Removes what was set for a hook: from the next event on, it is as if it had never been.
    pub fn remove_hook(&self, hook: Hook) {
        self.inner.hooks.remove(hook);
    }

    /// Closes in an orderly way, within five seconds; see [`close_within`](Self::close_within).
    ///
    /// # Errors
    /// As for `close_within`.
    pub fn close(&self) -> Result<()> {
        self.close_within(DEFAULT_CLOSE_WITHIN)
    }

    /// Closes in an orderly way: asks the server for no further deliveries, waits until what
    /// was delivered is processed and acknowledged, sends all acknowledgements, ends the
    /// subscriptions, has the server confirm, and closes the connection.
    ///
    /// Streams yield what they hold and then end, so keep reading them meanwhile, on another
    /// thread, or drop them before. Closing a client that is not connected just ends its
    /// attempts. No disconnect handler runs, and nothing reconnects.
    ///
    /// # Errors
    /// `Unfinished` if messages in hand were not acknowledged in time; they go back to their
    /// queues. `Disconnected` if the connection was lost meanwhile. The client is closed in any
    /// case. `Usage` on the loop: use [`abort`](Self::abort) there.
    pub fn close_within(&self, deadline: Duration) -> Result<()> {
        self.may_wait("close")?;
        let waiter = Arc::<Waiter>::default();
        self.post(Note::Close { within: deadline, waiter: Arc::clone(&waiter).into() })?;
        self.await_loop(&waiter).map(drop)
    }

    /// Closes at once: nothing more is sent, what is in hand goes back to its queues, and
    /// streams end with an error. On the loop it does not wait until that has happened.
    pub fn abort(&self) {
        let waiter = Arc::<Waiter>::default();
        let posted = self.inner.handle.post(Note::Abort { waiter: Arc::clone(&waiter).into() });
        if posted && !self.inner.handle.is_loop_thread() {
            let _ = self.await_loop(&waiter);
        }
    }

    /// Refuses a call that would wait for its own thread.
    pub(crate) fn may_wait(&self, call: &str) -> Result<()> {
        if !self.inner.handle.is_loop_thread() {
            return Ok(());
        }
        Err(Error::Usage(match call {
            "sow_delete" => {
                "sow_delete would wait for its own event loop; call Message::ack, or use another client"
            }
            "close" => "close would wait for its own event loop; call abort, or close from another thread",
            "connect" => "connect would wait for its own event loop; call it from another thread",
            "subscribe" => "subscribe would wait for its own event loop; call it from another thread",
            "flush" => "flush would wait for its own event loop; call it from another thread",
            _ => {
                "this call would wait for its own event loop; make it from another thread, or use another client"
            }
        }))
    }

    /// Sends a command and waits for its end.
    pub(crate) fn command(
        &self,
        timeout: Option<Duration>,
        send: impl FnOnce(&mut Outbound, Time, &Arc<Waiter>) -> Result<()>,
    ) -> Result<Done> {
        self.may_be_answered()?;
        let waiter = Arc::new(Waiter::of(caller::current()));
        let now = self.inner.clock.now();
        self.inner.shared.act(now, Urgency::Now, |outbound| send(outbound, now, &waiter))?;
        self.wait(&waiter, timeout)
    }

    /// Waits for the end of a command.
    pub(crate) fn wait(&self, waiter: &Waiter, timeout: Option<Duration>) -> Result<Done> {
        if self.inner.targets.holds_back(caller::current()) {
            // The stream became full while the command was written: the loop looks again, and refuses it.
            self.inner.shared.wake();
        }
        let mut patience = timeout;
        loop {
            if let Some(result) = waiter.wait(patience) {
                return result;
            }
            // The loop ends overdue commands; if a slow handler holds it, this thread does.
            let now = self.inner.clock.now();
            self.inner.shared.act(now, Urgency::Now, |outbound| outbound.expire_commands(now));
            patience = Some(PAST_DEADLINE);
        }
    }

    /// Refuses to wait for what cannot be received: a stream that this thread reads is full.
    pub(crate) fn may_be_answered(&self) -> Result<()> {
        if self.inner.targets.holds_back(caller::current()) { Err(WOULD_DEADLOCK) } else { Ok(()) }
    }

    /// How long a command may take.
    pub(crate) fn timeout_of(&self, command: &Command) -> Option<Duration> {
        command.get_timeout().or(self.inner.command_timeout)
    }

    pub(crate) fn hooks(&self) -> Arc<Hooks> {
        Arc::clone(&self.inner.hooks)
    }

    fn post(&self, note: Note) -> Result<()> {
        if self.inner.handle.post(note) {
            return Ok(());
        }
        Err(Error::Usage("the event loop of this client has ended"))
    }

    /// Waits for the session to end what it was asked by a note; it always does, in time, or
    /// ends itself.
    fn await_loop(&self, waiter: &Waiter) -> Result<Done> {
        waiter.wait(None).unwrap_or(Err(Error::Usage("the event loop of this client has ended")))
    }
}

/// Refuses topics that a server could only drop.
pub(crate) fn check_topic(call: &str, topic: &str) -> Result<()> {
    if topic.is_empty() {
        return Err(Error::InvalidArgument(format!("{call}: the topic is empty; name one")));
    }
    refuse_controls(call, "topic", topic)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name()).field("connected", &self.is_connected()).finish()
    }
}

/// One thread that serves many clients.
///
/// By default every client has an event loop of its own. A thousand clients share one thread
/// when each is built with [`ClientBuilder::event_loop`]. Handlers of all of them then run on
/// that thread, and a call that waits is refused there for each of them.
#[derive(Clone)]
pub struct EventLoop {
    inner: Loop<ClientMachine>,
}

impl EventLoop {
    /// Starts the thread. It ends when the last client and the last handle are gone.
    ///
    /// # Errors
    /// The system cannot start a thread or has no file descriptors left.
    pub fn new() -> Result<Self> {
        Self::named("amps-loop")
    }

    fn named(name: &str) -> Result<Self> {
        let inner = Loop::start(name).map_err(|error| Error::EventLoop(Arc::new(error)))?;
        Ok(Self { inner })
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
