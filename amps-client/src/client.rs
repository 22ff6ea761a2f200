//! The client: one connection to AMPS, shared by any number of threads.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use amps_protocol::Endpoint;
use amps_transport::{Clock, EventLoop as Loop, Idle, MachineHandle, Prepared, Time};

use crate::advisor::Advisor;
use crate::authenticator::Authenticator;
use crate::bookmark_store::BookmarkStore;
use crate::builder::ClientBuilder;
use crate::caller;
use crate::command::{Command, refuse_controls};
use crate::dispatcher::{Dispatcher, Targets};
use crate::error::{Error, Result};
use crate::hooks::{Direction, Hooks};
use crate::lease::WallClock;
use crate::listener::ConnectionState;
use crate::publish_store::{Progress, PublishStore};
use crate::server_chooser::{ConnectionInfo, DelayStrategy, ServerChooser};
use crate::session::acks::AckSettings;
use crate::session::bugs::Bugs;
use crate::session::line::{Counters, SendLimits};
use crate::session::outbound::Outbound;
use crate::session::peer::Peer;
use crate::session::publisher::{Publisher, StoreStatus, StoreUse};
use crate::session::replay::Bookmarks;
use crate::session::shared::Urgency;
use crate::session::waiter::{Done, Waiter};
use crate::session::{Note, Session, SessionConfig, Shared, WOULD_DEADLOCK};
use crate::trace::CommandSpan;
use crate::transports::Transports;

mod executing;
mod futures;
pub use futures::{Answer, Connecting};
mod hooking;
mod publishing;
mod settling;

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
/// Handlers and listeners run on the client's event loop: on its thread, and until the outcome of
/// [`ClientBuilder::connect`] is there on the thread that connects. There, a call that would wait for
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
    pub(crate) bookmarks: Bookmarks,
    transports: Transports,
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
        // Messages and receipts may live on; the store's file is free from now on.
        if let Some(error) = self.shared.with(Outbound::close_store) {
            self.hooks.report(&error);
        }
        if let Some(Err(error)) = self.bookmarks.0.as_ref().map(|store| store.close()) {
            self.hooks.report(&Error::Store(error));
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
    pub(crate) system_time: Option<WallClock>,
    pub(crate) limits: SendLimits,
    pub(crate) hooks: Hooks,
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) max_depth: usize,
    pub(crate) event_loop: EventLoop,
    pub(crate) command_timeout: Option<Duration>,
    pub(crate) publish_timeout: Duration,
    pub(crate) stream_limit: usize,
    pub(crate) publish_store: Option<Box<dyn PublishStore>>,
    pub(crate) store_use: StoreUse,
    pub(crate) policies: Option<(Box<dyn ServerChooser>, Box<dyn DelayStrategy>)>,
    pub(crate) bookmark_store: Option<Arc<dyn BookmarkStore>>,
    pub(crate) retry: bool,
    pub(crate) resubscription_timeout: Duration,
}

impl Client {
    /// Begins to describe a client. The name identifies it to the server: give every client
    /// its own, and the same one at every start, for example application, host and user.
    pub fn builder(name: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(name.into())
    }

    pub(crate) fn from_parts(parts: Parts) -> Result<Self> {
        let event_loop = parts.event_loop;
        let clock = event_loop.inner.clock();
        let reconnects = parts.config.reconnect.is_some();
        let name = parts.config.name.clone();
        let transports = parts.config.transports.clone();
        let mut outbound = Outbound::new(parts.acks, parts.limits, Bugs::default());
        outbound.set_retry(parts.retry);
        outbound.set_resubscription_timeout(parts.resubscription_timeout);
        let progressed: Arc<OnceLock<Weak<Shared>>> = Arc::default();
        if let Some(mut store) = parts.publish_store {
            let told = Arc::clone(&progressed);
            let progress = Progress::new(move || {
                if let Some(shared) = told.get().and_then(Weak::upgrade) {
                    shared.store_progressed();
                }
            });
            let found = store.attach(&name, progress)?;
            outbound.set_publisher(Publisher::new(store, found, parts.store_use, Bugs::default()));
        }
        if let Some(store) = &parts.bookmark_store {
            store.attach(&name)?;
        }
        let bookmarks = Bookmarks(parts.bookmark_store);
        outbound.set_bookmarks(bookmarks.clone());
        let shared = Arc::new(Shared::new(outbound));
        let _ = progressed.set(Arc::downgrade(&shared));
        let targets = Arc::new(Targets::default());
        let hooks = Arc::new(parts.hooks);
        hooks.trace.set_client(&name);
        let back = Arc::new(OnceLock::new());
        let advisor = match parts.policies {
            Some((chooser, strategy)) => Some(Advisor::start(chooser, strategy, Arc::clone(&back))?),
            None => None,
        };
        let dispatcher = Dispatcher::new(
            Arc::clone(&targets),
            Arc::clone(&hooks),
            parts.authenticator,
            advisor,
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
        let late = Arc::clone(&hooks);
        shared.leases.set(Box::new(move |overrun| late.overrun(&overrun)), parts.system_time);
        shared.leases.turn(hooks.watches_leases());
        let inner = Arc::new(Inner {
            transports,
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
            bookmarks,
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
    /// The last attempt's error, or `TimedOut`, which names it, when the deadline has passed; `AlreadyConnected` if the client is connected already; `Usage`
    /// on its loop.
    pub fn connect(&self) -> Result<()> {
        self.connect_with(None)
    }

    /// As [`connect`](Self::connect), to other servers, which replace the configured ones. From here on a server
    /// chooser and a delay strategy are not asked any more: servers are tried in turn, and waits are those of the
    /// [`Reconnect`](crate::Reconnect) policy.
    ///
    /// # Errors
    /// As for `connect`, and if a connection string cannot be used.
    pub fn connect_to<I: IntoIterator<Item = S>, S: AsRef<str>>(&self, servers: I) -> Result<()> {
        let servers = parse_servers(servers)?;
        servers.iter().try_for_each(|server| self.inner.transports.check(server))?;
        self.connect_with(Some(servers))
    }

    fn connect_with(&self, servers: Option<Vec<Endpoint>>) -> Result<()> {
        self.may_wait("connect")?;
        let waiter = Arc::<Waiter>::default();
        let span = self.span("connect");
        self.post(Note::Connect { servers, waiter: Arc::clone(&waiter).into() })?;
        self.await_loop(&span, &waiter).map(drop)
    }

    /// Connects on the calling thread, which runs the loop until the outcome is there: to wait for a new thread, and
    /// then to be woken by it, takes longer than connecting. The thread gets going while the server looks at the logon.
    pub(crate) fn connect_on(&self, mut prepared: Prepared<ClientMachine>) -> Result<()> {
        let waiter = Arc::<Waiter>::default();
        let span = self.span("connect");
        self.post(Note::Connect { servers: None, waiter: Arc::clone(&waiter).into() })?;
        let no_thread = |error| Error::EventLoop(Arc::new(error));
        let is_open = || self.inner.shared.with(|outbound| outbound.is_open());
        span.within(|| prepared.run_until(|| waiter.is_completed() || is_open()));
        prepared.spawn().map_err(no_thread)?;
        span.within(|| prepared.run_until(|| waiter.is_completed()));
        prepared.start().map_err(no_thread)?;
        self.await_loop(&span, &waiter).map(drop)
    }

    /// Waits until everything that this client published before has reached the server: with a
    /// publish store, until it is persisted or refused, also across reconnects; without, until
    /// the server has processed everything that was sent.
    ///
    /// Call it before the program ends when it matters that publishes arrived. What other
    /// threads publish meanwhile does not prolong it.
    ///
    /// # Errors
    /// `TimedOut`, or `Usage` on the loop; `Disconnected` without a publish store, and with one when
    /// the client is closed or has given up.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        self.may_wait("flush")?;
        let span = self.span("flush");
        self.command(&span, Some(timeout), |outbound, now, waiter| outbound.flush(now, Some(timeout), waiter))
            .map(drop)
    }

    /// Changes how often heartbeats are exchanged, and after which silence of the server the connection counts
    /// as lost: at once where there is a connection, and for those to come. AMPS counts whole seconds; a fraction
    /// is rounded up. Zero turns them off. The timeout is twice the interval if not given, never less than it.
    ///
    /// # Errors
    /// `Usage` if the event loop of this client has ended.
    pub fn set_heartbeat(&self, interval: Duration, timeout: Option<Duration>) -> Result<()> {
        self.post(Note::Heartbeats(crate::builder::heartbeat_settings(Some(interval), timeout)))
    }

    /// How the publish store stands; `None` without one.
    pub fn publish_store(&self) -> Option<StoreStatus> {
        self.inner.shared.with(|outbound| outbound.store_status())
    }

    /// The server of the last logon; `None` before the first.
    pub fn peer(&self) -> Option<Arc<Peer>> {
        self.inner.shared.with(|outbound| outbound.peer.clone())
    }

    /// The connection of the last logon; `None` before the first.
    pub fn connection_info(&self) -> Option<Arc<ConnectionInfo>> {
        self.inner.shared.with(|outbound| outbound.info.clone())
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
    /// queues; or if the publish store has messages that no server has confirmed, also where there is no
    /// connection: a store that outlives the process sends them next time. `Disconnected` if the connection was lost meanwhile. The client is closed in any
    /// case. `Usage`, and nothing has happened, on the loop (use [`abort`](Self::abort) there), and while a
    /// stream is full that this thread reads: read it, or drop it, first.
    pub fn close_within(&self, deadline: Duration) -> Result<()> {
        self.may_wait("close")?;
        self.may_be_answered()?;
        let waiter = Arc::<Waiter>::default();
        let span = self.span("close");
        self.post(Note::Close { within: deadline, waiter: Arc::clone(&waiter).into() })?;
        self.await_loop(&span, &waiter).map(drop)
    }

    /// Closes at once: nothing more is sent, what is in hand goes back to its queues, and
    /// streams end with an error. On the loop it does not wait until that has happened.
    pub fn abort(&self) {
        let waiter = Arc::<Waiter>::default();
        let posted = self.inner.handle.post(Note::Abort { waiter: Arc::clone(&waiter).into() });
        if posted && !self.inner.handle.is_loop_thread() {
            let _ = self.await_loop(&self.span("abort"), &waiter);
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
        span: &CommandSpan,
        timeout: Option<Duration>,
        send: impl FnOnce(&mut Outbound, Time, &Arc<Waiter>) -> Result<()>,
    ) -> Result<Done> {
        self.may_be_answered()?;
        let waiter = Arc::new(Waiter::of(caller::current()));
        let now = self.inner.clock.now();
        let result = span.within(|| {
            self.inner.shared.act(now, Urgency::Now, |outbound| send(outbound, now, &waiter))?;
            self.wait(&waiter, timeout)
        });
        span.outcome(&result);
        result
    }

    /// A call that is no command of the application's own.
    pub(crate) fn span(&self, call: &str) -> CommandSpan {
        CommandSpan::new(self.name(), call, None)
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
    fn await_loop(&self, span: &CommandSpan, waiter: &Waiter) -> Result<Done> {
        let ended = Err(Error::Usage("the event loop of this client has ended"));
        let result = span.within(|| waiter.wait(None)).unwrap_or(ended);
        span.outcome(&result);
        result
    }
}

/// Connection strings that replace the configured ones.
fn parse_servers<I: IntoIterator<Item = S>, S: AsRef<str>>(servers: I) -> Result<Vec<Endpoint>> {
    let parse = |uri: S| crate::builder::parse_server(uri.as_ref());
    let servers: Vec<Endpoint> = servers.into_iter().map(parse).collect::<Result<_>>()?;
    if servers.is_empty() {
        return Err(Error::InvalidArgument("connect_to: give at least one connection string".into()));
    }
    Ok(servers)
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
        Self::named("amps-loop", Idle::Sleep)
    }

    /// Starts a thread that never sleeps, as [`ClientBuilder::busy_poll`] says, for any number of clients. It takes a
    /// processor until the last client and the last handle are gone.
    ///
    /// ```
    /// # let server = amps_testkit::FakeServer::builder().start()?;
    /// # let uri = server.uri("json");
    /// use amps_client::{Client, EventLoop};
    ///
    /// let fast = EventLoop::busy_polling()?;
    /// let quotes = Client::builder("quotes").server(&uri).event_loop(&fast).connect()?;
    /// let orders = Client::builder("orders").server(&uri).event_loop(&fast).connect()?;
    /// let mut seen = quotes.subscribe("quotes").start()?;
    /// orders.publish("quotes", r#"{"bid":101}"#)?;
    /// assert_eq!(seen.next().expect("a message")?.data(), br#"{"bid":101}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn busy_polling() -> Result<Self> {
        Self::named("amps-loop", Idle::Spin)
    }

    fn named(name: &str, idle: Idle) -> Result<Self> {
        let started = Loop::start_idling(name, Clock::new(), idle);
        let inner = started.map_err(|error| Error::EventLoop(Arc::new(error)))?;
        Ok(Self { inner })
    }

    /// One that does not run yet.
    pub(crate) fn prepare(name: &str, idle: Idle) -> Result<(Self, Prepared<ClientMachine>)> {
        let prepared = Loop::prepare(name, Clock::new(), idle);
        let (inner, prepared) = prepared.map_err(|error| Error::EventLoop(Arc::new(error)))?;
        Ok((Self { inner }, prepared))
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
