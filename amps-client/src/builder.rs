//! Describing a client.

mod hooking;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use amps_protocol::{DEFAULT_MAX_INBOUND, DEFAULT_MAX_OUTBOUND, Endpoint};
use amps_transport::{Connector, HttpHeaders, Idle, MakeLayer, Prepared};

use crate::advisor::PolicyDelay;
use crate::authenticator::Authenticator;
use crate::bookmark_store::BookmarkStore;
use crate::client::{Client, ClientMachine, Connecting, EventLoop, Parts};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::lease::WallClock;
use crate::listener::AfterRefusal;
use crate::publish_store::PublishStore;
use crate::reconnect::Reconnect;
use crate::server_chooser::{DefaultServerChooser, DelayStrategy, ServerChooser};
use crate::session::acks::AckSettings;
use crate::session::line::SendLimits;
use crate::session::publisher::StoreUse;
use crate::session::recovery::RECOVERY_TIMEOUT;
use crate::session::{HeartbeatSettings, LogonSettings, SessionConfig};
use crate::stream::DEFAULT_STREAM_LIMIT;
use crate::transports::{self, HttpProxy, Transports};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_LOGON_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_CONNECT_DEADLINE: Duration = Duration::from_secs(30);
const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// Heartbeats are on by default only where a reconnect policy depends on noticing a loss.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);
const DEFAULT_SEND_LIMIT: usize = 64 << 20;

/// A client in the making; see [`Client::builder`].
///
/// | What | Default |
/// |---|---|
/// | connect: TCP, per attempt | 10 s |
/// | logon | 5 s |
/// | connect: all attempts of one `connect` together | 30 s |
/// | commands that wait | 30 s |
/// | publish, while too much waits to be sent | 30 s |
/// | heartbeat | off; 30 s with a reconnect policy |
/// | reconnect | off |
/// | auto-ack | off |
/// | acknowledgements per batch | 1: each is sent at once |
/// | a batch waits at most | 1 s |
/// | bytes that wait to be sent | 64 MiB |
/// | unread bytes of a stream | 64 MiB |
#[must_use = "a client comes into being by `connect` or `build`"]
pub struct ClientBuilder {
    name: String,
    servers: Vec<String>,
    reconnect: Option<Reconnect>,
    heartbeat: Option<Duration>,
    heartbeat_timeout: Option<Duration>,
    connect_timeout: Duration,
    logon_timeout: Duration,
    connect_deadline: Duration,
    command_timeout: Option<Duration>,
    publish_timeout: Duration,
    acks: AckSettings,
    auto_ack: bool,
    system_time: Option<WallClock>,
    send_limit: usize,
    stream_limit: usize,
    max_inbound: usize,
    max_outbound: usize,
    event_loop: Option<EventLoop>,
    idle: Idle,
    hooks: Hooks,
    authenticator: Option<Arc<dyn Authenticator>>,
    logon: LogonSettings,
    transports: Transports,
    max_depth: usize,
    publish_store: Option<Box<dyn PublishStore>>,
    store_use: StoreUse,
    chooser: Option<Box<dyn ServerChooser>>,
    delay: Option<Box<dyn DelayStrategy>>,
    bookmark_store: Option<Arc<dyn BookmarkStore>>,
    retry: Option<bool>,
    resubscription_timeout: Duration,
}

impl ClientBuilder {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            servers: Vec::new(),
            reconnect: None,
            heartbeat: None,
            heartbeat_timeout: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            logon_timeout: DEFAULT_LOGON_TIMEOUT,
            connect_deadline: DEFAULT_CONNECT_DEADLINE,
            command_timeout: Some(DEFAULT_COMMAND_TIMEOUT),
            publish_timeout: DEFAULT_PUBLISH_TIMEOUT,
            acks: AckSettings::default(),
            auto_ack: false,
            system_time: None,
            send_limit: DEFAULT_SEND_LIMIT,
            stream_limit: DEFAULT_STREAM_LIMIT,
            max_inbound: DEFAULT_MAX_INBOUND,
            max_outbound: DEFAULT_MAX_OUTBOUND,
            event_loop: None,
            idle: Idle::Sleep,
            hooks: Hooks::default(),
            authenticator: None,
            logon: LogonSettings::default(),
            transports: Transports::default(),
            max_depth: 0,
            publish_store: None,
            store_use: StoreUse::default(),
            chooser: None,
            delay: None,
            bookmark_store: None,
            retry: None,
            resubscription_timeout: RECOVERY_TIMEOUT,
        }
    }

    /// Adds a server by its connection string, for example
    /// `tcp://user:password@localhost:9007/amps/json`. Several are tried in order.
    pub fn server(mut self, uri: impl Into<String>) -> Self {
        self.servers.push(uri.into());
        self
    }

    /// Adds several servers.
    pub fn servers<S: Into<String>>(mut self, uris: impl IntoIterator<Item = S>) -> Self {
        self.servers.extend(uris.into_iter().map(Into::into));
        self
    }

    /// Leaves the choice of the server for each attempt to `chooser`, in place of
    /// [`server`](Self::server). Needs a [reconnect policy](Self::reconnect).
    pub fn server_chooser(mut self, chooser: impl ServerChooser) -> Self {
        self.chooser = Some(Box::new(chooser));
        self
    }

    /// Leaves to `strategy` how long to wait before each attempt, and when to give up, in place of what the
    /// [reconnect policy](Self::reconnect) says, which is needed all the same.
    pub fn delay_strategy(mut self, strategy: impl DelayStrategy) -> Self {
        self.delay = Some(Box::new(strategy));
        self
    }

    /// Reconnects after a loss, and places the subscriptions again.
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = Some(policy);
        self
    }

    /// Exchanges heartbeats: each side sends something at least this often. AMPS counts whole
    /// seconds; a fraction is rounded up. Zero turns them off.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Silence of the server after which the connection counts as lost. Default twice the
    /// interval; never less than the interval.
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Self {
        self.heartbeat_timeout = Some(timeout);
        self
    }

    /// Keeps what is published, deleted and acknowledged until the server has persisted or refused it, and sends
    /// after a reconnect what the server does not have. A store belongs to one client.
    ///
    /// Publishes then bear sequence numbers, by which a server drops what it has already:
    /// nothing is stored twice, however often it is sent. Those numbers belong to the client's
    /// name, so that no two clients may use one name, not even one after the other with
    /// different stores.
    ///
    /// While the client reconnects, publishes are accepted and kept.
    pub fn publish_store(mut self, store: impl PublishStore) -> Self {
        self.publish_store = Some(Box::new(store));
        self
    }

    /// Asks before the publish store keeps more than `bytes`: the decider is called, on the
    /// thread that publishes, with the capacity that is proposed, at first twice as much.
    /// `true` allows it. While it says `false`, publishing waits until the server has persisted
    /// something, up to [`publish_timeout`](Self::publish_timeout), and the decider is asked again about every second.
    /// Without it a store may grow as it likes.
    pub fn on_store_growth(
        mut self,
        bytes: u64,
        decider: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.store_use.ask_above = Some(bytes);
        self.hooks.set_growth(Arc::new(decider));
        self
    }

    /// Refuses a server that has less of what this client published than another server has
    /// confirmed, for example a replica that lags: the attempt fails with
    /// [`ErrorKind::PublishStoreGap`](crate::ErrorKind::PublishStoreGap), and the next server is tried. Default off: the client
    /// goes on there with what its store still has.
    pub fn error_on_publish_gap(mut self, on: bool) -> Self {
        self.store_use.strict = on;
        self
    }

    /// Remembers which messages of bookmark subscriptions the application is done with
    /// ([`Message::discard`](crate::Message::discard)): after a reconnect, or a restart with a store that
    /// outlives the process, each goes on behind them, and what was delivered before goes to
    /// [`on_duplicate`](Self::on_duplicate) instead. See [`BookmarkStore`]. A store belongs to one client.
    ///
    /// Without one, a bookmark subscription begins again at its bookmark after a reconnect.
    pub fn bookmark_store(self, store: impl BookmarkStore) -> Self {
        self.shared_bookmark_store(Arc::new(store))
    }

    /// As [`bookmark_store`](Self::bookmark_store), for a store that the application uses as well, for example to
    /// purge it or to look into it.
    pub fn shared_bookmark_store(mut self, store: Arc<dyn BookmarkStore>) -> Self {
        self.bookmark_store = Some(store);
        self
    }

    /// Whether commands wait for a reconnect that is under way, and those that a lost
    /// connection left unanswered are sent again on the next: their callers go on waiting,
    /// within their timeout. Without, they return `Disconnected`. Default on with a reconnect
    /// policy, and without effect otherwise.
    pub fn retry_on_disconnect(mut self, on: bool) -> Self {
        self.retry = Some(on);
        self
    }

    /// Decides what becomes of a subscription that a server refuses to place again after a
    /// reconnect. Runs on the loop. Without it, the subscription ends with the server's error,
    /// and everything else goes on. The error is reported to [`on_error`](Self::on_error) in any
    /// case.
    ///
    /// ```
    /// use amps_client::{AfterRefusal, Client, ErrorKind};
    ///
    /// let builder = Client::builder("desk-7").on_failed_resubscription(|command, error| {
    ///     eprintln!("{:?}: {error}", command.get_topic());
    ///     match error.kind() {
    ///         // Another server may know the topic.
    ///         ErrorKind::InvalidTopic => AfterRefusal::NextServer,
    ///         _ => AfterRefusal::EndSubscription,
    ///     }
    /// });
    /// # let _ = builder;
    /// ```
    pub fn on_failed_resubscription(
        self,
        decider: impl Fn(&Command, &Error) -> AfterRefusal + Send + Sync + 'static,
    ) -> Self {
        self.hooks.set_refusal(Arc::new(decider));
        self
    }

    /// How long a server may take to answer each subscription that is placed again. Default 30 s;
    /// then the connection is given up, and the next attempt follows.
    pub fn resubscription_timeout(mut self, timeout: Duration) -> Self {
        self.resubscription_timeout = timeout;
        self
    }

    /// Sets who makes the credentials of logons; default: user and password of the connection
    /// string, as they are.
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// How encrypted connections (`tcps`, `wss`) are made; by default the platform's certificates decide whom to
    /// trust. Counts for all servers.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: amps_transport::TlsClient) -> Self {
        self.transports.tls = Some(tls);
        self
    }

    /// Reaches all servers (but Unix sockets) through an HTTP proxy, by `CONNECT`. Names of servers are resolved by
    /// the proxy; encryption goes through it, from end to end.
    pub fn proxy(mut self, proxy: HttpProxy) -> Self {
        self.transports.proxy = Some(proxy);
        self
    }

    /// Headers of the request that a preflight (`http_preflight=true` in the connection string), or the upgrade to
    /// WebSocket, consists of: a cookie or a token for a reverse proxy, for example. By itself it turns nothing on.
    pub fn http_headers(mut self, headers: HttpHeaders) -> Self {
        self.transports.headers = headers;
        self
    }

    /// What a preflight asks to become; default `websocket`, which proxies know.
    pub fn upgrade_protocol(mut self, protocol: impl Into<String>) -> Self {
        self.transports.upgrade = Some(protocol.into());
        self
    }

    /// Whether each WebSocket message begins with its length, as on TCP. Default no; either is understood.
    #[cfg(feature = "websocket")]
    pub fn websocket_length_prefix(mut self, on: bool) -> Self {
        self.transports.length_prefix = on;
        self
    }

    /// Makes the streams of all connections in a way of your own, in place of sockets: through a tunnel, for example, or
    /// a proxy that nobody else speaks to. Everything above is as the connection string says; what it says of the
    /// socket (`bind`, `tcp_nodelay` and the like, the `path` of a socket file) is the connector's own business, which is
    /// told the host and the port.
    pub fn connector(mut self, connector: impl Connector + 'static) -> Self {
        self.transports.connector = Some(Arc::new(connector));
        self
    }

    /// Puts a layer of your own between the frames and everything below: an encryption, for example. The
    /// server has to have the same. Several stand on each other, the first one lowest. Not for `ws` and `wss`, which
    /// have to see the frames.
    pub fn layer(mut self, layer: impl MakeLayer + 'static) -> Self {
        self.transports.layers.push(Arc::new(layer));
        self
    }

    /// A mark of your own for the server's log, made of Base64 characters.
    pub fn logon_correlation_id(mut self, mark: impl Into<String>) -> Self {
        self.logon.correlation_id = Some(mark.into());
        self
    }

    /// How often the server sends conflated acknowledgements of publishes; it takes 1 s if not
    /// told.
    pub fn ack_conflation(mut self, interval: Duration) -> Self {
        self.logon.ack_conflation = Some(interval);
        self
    }

    /// Has the server show binary message types readably, where it can.
    pub fn pretty(mut self, on: bool) -> Self {
        self.logon.pretty = on;
        self
    }

    /// Sends no logon over WebSocket, for servers that know from the upgrade who connects (give it
    /// [headers](Self::http_headers) that say so). The connection counts as logged on when it is there. Nothing is
    /// known of the server then, its version included, an authenticator is not asked, and a publish store sends
    /// everything that it keeps. Other transports always log on.
    #[cfg(feature = "websocket")]
    pub fn skip_logon_over_websocket(mut self, skip: bool) -> Self {
        self.logon.not_over_websocket = skip;
        self
    }

    /// How long one attempt may take to reach a server, name resolution included.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a server may take to answer a logon.
    pub fn logon_timeout(mut self, timeout: Duration) -> Self {
        self.logon_timeout = timeout;
        self
    }

    /// How long a call of `connect` may take, all attempts together. Reconnecting later is bounded by
    /// [`Reconnect::give_up_after`] instead.
    pub fn connect_deadline(mut self, deadline: Duration) -> Self {
        self.connect_deadline = deadline;
        self
    }

    /// How long commands that wait for the server do so; `None` waits until the answer comes
    /// or the connection is lost.
    pub fn command_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// How long `publish` blocks while more than [`send_limit`](Self::send_limit) bytes wait.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// Whether subscriptions acknowledge by themselves, unless they say otherwise; see
    /// `Subscribe::auto_ack`. Default off.
    pub fn auto_ack(mut self, on: bool) -> Self {
        self.auto_ack = on;
        self
    }

    /// Acknowledgements per batch. A good start is a third of the smallest backlog; the
    /// granted backlog bounds it in any case.
    pub fn ack_batch_size(mut self, messages: usize) -> Self {
        self.acks.batch_size = messages;
        self
    }

    /// The longest that a batch of acknowledgements waits to be full; zero waits for ever.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.acks.timeout = timeout;
        self
    }

    /// Bytes that may wait to be sent before publishers are held back.
    pub fn send_limit(mut self, bytes: usize) -> Self {
        self.send_limit = bytes;
        self
    }

    /// Unread bytes of a stream at which the client stops reading its socket.
    pub fn stream_limit(mut self, bytes: usize) -> Self {
        self.stream_limit = bytes;
        self
    }

    /// Where the time of day comes from, which the end of a lease is compared with (see
    /// [`Client::on_lease_overrun`]); by default [`SystemTime::now`]. Timeouts do not depend on it. In a test with a
    /// server of virtual time, `FakeServer::system_time` of that server.
    pub fn system_time(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.system_time = Some(Box::new(now));
        self
    }

    /// Unread messages of a stream at which the client stops reading its socket; 0, the
    /// default, for any number: only bytes are counted then.
    pub fn max_depth(mut self, messages: usize) -> Self {
        self.max_depth = messages;
        self
    }

    /// Longest frame accepted from the server; a longer one ends the connection. Default 256 MiB.
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.max_inbound = bytes;
        self
    }

    /// Longest message that may be published. Default 200 MiB, about what a server accepts.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_outbound = bytes;
        self
    }

    /// Serves this client on a thread shared with others.
    pub fn event_loop(mut self, event_loop: &EventLoop) -> Self {
        self.event_loop = Some(event_loop.clone());
        self
    }

    /// The client's thread never sleeps: it looks for messages without a pause, which spares the tens of
    /// microseconds that waking it takes, and uses the whole of a processor. For clients that share a thread, call
    /// [`EventLoop::busy_polling`]. Off by default.
    ///
    /// ```
    /// # let server = amps_testkit::FakeServer::builder().start()?;
    /// # let uri = server.uri("json");
    /// let client = amps_client::Client::builder("quotes").server(&uri).busy_poll(true).connect()?;
    /// assert!(client.is_connected());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn busy_poll(mut self, on: bool) -> Self {
        self.idle = if on { Idle::Spin } else { Idle::Sleep };
        self
    }

    /// Builds the client without connecting it.
    ///
    /// # Errors
    /// The name or a connection string cannot be used, or not with what else was set, there is no server, a reconnect
    /// policy and a disconnect handler were both given, or a store cannot be used. No socket is opened.
    pub fn build(self) -> Result<Client> {
        let (client, prepared) = self.prepare()?;
        if let Some(prepared) = prepared {
            prepared.start().map_err(|error| Error::EventLoop(Arc::new(error)))?;
        }
        Ok(client)
    }

    /// The client, and its loop, if that is its own: it does not run yet.
    fn prepare(self) -> Result<(Client, Option<Prepared<ClientMachine>>)> {
        let invalid = |text: &str| Err(Error::InvalidArgument(text.into()));
        if self.name.is_empty() {
            return invalid("the client name is empty; give each client a name of its own");
        }
        if self.name.chars().any(char::is_control) {
            return invalid("the client name contains control characters");
        }
        if let Some(mark) = &self.logon.correlation_id {
            let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
            if mark.is_empty() || !mark.chars().all(base64) {
                return invalid("the correlation id of the logon must consist of Base64 characters");
            }
        }
        if self.chooser.is_some() && !self.servers.is_empty() {
            return invalid(
                "servers and a server chooser exclude each other; add the servers to the chooser",
            );
        }
        if (self.chooser.is_some() || self.delay.is_some()) && self.reconnect.is_none() {
            return invalid("a server chooser or a delay strategy needs a reconnect policy; call reconnect");
        }
        if self.event_loop.is_some() && self.idle == Idle::Spin {
            return invalid(
                "busy polling is a matter of the shared event loop; make it by EventLoop::busy_polling",
            );
        }
        if self.servers.is_empty() && self.chooser.is_none() {
            return invalid("no server was given; call server(\"tcp://host:port/amps/json\")");
        }
        if self.reconnect.is_some() && self.hooks.disconnect_handler().is_some() {
            return invalid("a reconnect policy and a disconnect handler exclude each other; choose one");
        }
        // Different for every client, so that their back-offs differ.
        let seed = RandomState::new().build_hasher().finish();
        let policies = match (self.chooser, self.delay, &self.reconnect) {
            (None, None, _) | (_, _, None) => None,
            (chooser, delay, Some(policy)) => Some((
                chooser.map_or_else(|| DefaultServerChooser::of(&self.servers).map(boxed), Ok)?,
                delay.unwrap_or_else(|| Box::new(PolicyDelay::new(policy.clone(), seed))),
            )),
        };
        let mut servers: Vec<Endpoint> =
            self.servers.iter().map(|uri| parse_server(uri)).collect::<Result<_>>()?;
        servers.shrink_to_fit();
        let mut transports = self.transports;
        transports.limit = self.max_inbound.max(self.max_outbound);
        servers.iter().try_for_each(|server| transports.check(server))?;
        let (event_loop, prepared) = match self.event_loop {
            Some(event_loop) => (event_loop, None),
            None => {
                let (event_loop, prepared) = EventLoop::prepare(&format!("amps-{}", self.name), self.idle)?;
                (event_loop, Some(prepared))
            }
        };
        let heartbeat = self.heartbeat.or(self.reconnect.is_some().then_some(DEFAULT_HEARTBEAT));
        let config = SessionConfig {
            name: self.name,
            servers,
            reconnect: self.reconnect,
            heartbeat: heartbeat_settings(heartbeat, self.heartbeat_timeout),
            connect_timeout: self.connect_timeout,
            logon_timeout: self.logon_timeout,
            connect_deadline: self.connect_deadline,
            max_inbound: self.max_inbound,
            logon: self.logon,
            transports,
            seed,
        };
        let client = Client::from_parts(Parts {
            publish_store: self.publish_store,
            bookmark_store: self.bookmark_store,
            policies,
            store_use: self.store_use,
            retry: self.retry.unwrap_or(true),
            resubscription_timeout: self.resubscription_timeout,
            config,
            acks: self.acks,
            auto_ack: self.auto_ack,
            system_time: self.system_time,
            limits: SendLimits { queue: self.send_limit, message: self.max_outbound },
            hooks: self.hooks,
            authenticator: self.authenticator,
            max_depth: self.max_depth,
            event_loop,
            command_timeout: self.command_timeout,
            publish_timeout: self.publish_timeout,
            stream_limit: self.stream_limit,
        })?;
        Ok((client, prepared))
    }

    /// Builds the client, connects it and logs it on.
    ///
    /// Until the outcome is there the calling thread does the work of the event loop, which spares the time until a new
    /// thread runs. It then runs listeners as well, for states, errors, traffic and whatever else comes: they must not
    /// wait for something that this thread does after `connect`, nor for a lock that it holds meanwhile. With a
    /// [shared loop](Self::event_loop), and where its thread matters to somebody
    /// ([`on_connection_start`](Self::on_connection_start), [`on_connection_end`](Self::on_connection_end)), they run
    /// on the loop's thread from the beginning; as they do with [`build`](Self::build) and [`Client::connect`].
    ///
    /// # Errors
    /// As for [`build`](Self::build) and [`Client::connect`].
    pub fn connect(self) -> Result<Client> {
        if self.hooks.minds_the_thread() {
            let client = self.build()?;
            client.connect()?;
            return Ok(client);
        }
        let (client, prepared) = self.prepare()?;
        match prepared {
            Some(prepared) => client.connect_on(prepared)?,
            None => client.connect()?,
        }
        Ok(client)
    }

    /// As [`connect`](Self::connect), for async code: the client is built now, which may read the files of its
    /// stores, and the first attempt is under way. Safe to cancel: dropping the future ends the attempts.
    ///
    /// # Errors
    /// The future's are those of `connect`.
    pub fn connect_future(self) -> Connecting {
        Connecting::of(self.build())
    }
}

impl std::fmt::Debug for ClientBuilder {
    /// Does not show connection strings: they may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("name", &self.name)
            .field("servers", &self.servers.len())
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}

fn boxed(chooser: DefaultServerChooser) -> Box<dyn ServerChooser> {
    Box::new(chooser)
}

/// Whole seconds, rounded up; zero is none.
pub(crate) fn heartbeat_settings(
    interval: Option<Duration>,
    timeout: Option<Duration>,
) -> Option<HeartbeatSettings> {
    let asked = interval.filter(|interval| !interval.is_zero())?;
    let seconds = asked.as_secs().saturating_add(u64::from(asked.subsec_nanos() > 0));
    let interval = Duration::from_secs(seconds);
    let timeout = timeout.unwrap_or(interval.saturating_mul(2)).max(interval);
    Some(HeartbeatSettings { interval, timeout })
}

pub(crate) fn parse_server(uri: &str) -> Result<Endpoint> {
    let endpoint = uri.parse::<Endpoint>()?;
    transports::check(&endpoint)?;
    Ok(endpoint)
}
