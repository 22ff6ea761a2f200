//! Which server to use next, and how long to wait before: policies of the application's own.
//!
//! Owns the traits, what they are told, and a list of servers with credentials of their own.
//! They run on a thread beside the event loop (`advisor.rs`), where they may take their time.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use amps_protocol::{Endpoint, ServerVersion};

use crate::authenticator::Authenticator;
use crate::error::{Error, Result};

/// Chooses the server for each attempt to connect; see
/// [`ClientBuilder::server_chooser`](crate::ClientBuilder::server_chooser).
///
/// Called on a thread of its own, one call at a time, in the order of the events: it may ask other
/// systems and wait. A panic ends the attempts, as no server to try does.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use amps_client::{Client, ConnectionInfo, Error, Reconnect, Server, ServerChooser};
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let (near, far) = ("tcp://127.0.0.1:1/amps/json".to_owned(), server.uri("json"));
///
/// /// The near server, unless it failed last.
/// struct Near {
///     near: String,
///     far: String,
///     failed: AtomicBool,
/// }
///
/// impl ServerChooser for Near {
///     fn current(&self) -> Option<Server> {
///         let away = self.failed.load(Ordering::Relaxed);
///         Some(Server::new(if away { &self.far } else { &self.near }))
///     }
///     fn report_failure(&self, _error: &Error, info: &ConnectionInfo) {
///         self.failed.store(info.uri() == self.near, Ordering::Relaxed);
///     }
/// }
///
/// let chooser = Near { near, far, failed: AtomicBool::new(false) };
/// let client = Client::builder("desk-7").server_chooser(chooser).reconnect(Reconnect::new()).connect()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ServerChooser: Send + Sync + 'static {
    /// The server to try now; `None` gives up.
    fn current(&self) -> Option<Server>;

    /// An attempt failed, in connecting or at the logon; or a connection was lost.
    fn report_failure(&self, error: &Error, info: &ConnectionInfo);

    /// A logon succeeded.
    fn report_success(&self, info: &ConnectionInfo) {
        let _ = info;
    }

    /// Why there is no server to try, for the error of whoever waits.
    fn error(&self) -> String {
        "the server chooser has no server to try".to_owned()
    }
}

impl<C: ServerChooser + ?Sized> ServerChooser for Arc<C> {
    fn current(&self) -> Option<Server> {
        (**self).current()
    }

    fn report_failure(&self, error: &Error, info: &ConnectionInfo) {
        (**self).report_failure(error, info);
    }

    fn report_success(&self, info: &ConnectionInfo) {
        (**self).report_success(info);
    }

    fn error(&self) -> String {
        (**self).error()
    }
}

/// A server, and who makes the credentials for it; see [`ServerChooser`].
#[derive(Clone)]
pub struct Server {
    uri: String,
    authenticator: Option<Arc<dyn Authenticator>>,
}

impl Server {
    /// By its connection string. Its credentials are those of the string, or of the client's
    /// authenticator.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), authenticator: None }
    }

    /// Has credentials of its own.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    pub(crate) fn into_parts(self) -> (String, Option<Arc<dyn Authenticator>>) {
        (self.uri, self.authenticator)
    }
}

impl fmt::Debug for Server {
    /// Does not show the connection string: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("authenticator", &self.authenticator.is_some()).finish_non_exhaustive()
    }
}

/// A list of servers, in order: stays with one while it works, goes on to the next when it
/// fails, and begins again after the last. Can be changed at any time, also while it is used:
/// keep a clone.
///
/// ```
/// use amps_client::{Client, DefaultServerChooser, Reconnect};
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let uri = server.uri("json");
///
/// let servers = DefaultServerChooser::new();
/// servers.add(&uri)?;
/// let client =
///     Client::builder("desk-7").server_chooser(servers.clone()).reconnect(Reconnect::new()).connect()?;
/// servers.add("tcp://backup:9007/amps/json")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct DefaultServerChooser(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    servers: Vec<(Endpoint, Server)>,
    current: usize,
    last_error: Option<Error>,
}

impl DefaultServerChooser {
    /// Without a server.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a server at the end.
    ///
    /// # Errors
    /// The connection string cannot be used.
    pub fn add(&self, uri: impl Into<String>) -> Result<()> {
        self.add_server(Server::new(uri))
    }

    /// Adds a server that has credentials of its own.
    ///
    /// # Errors
    /// The connection string cannot be used.
    pub fn add_with_authenticator(
        &self,
        uri: impl Into<String>,
        authenticator: impl Authenticator,
    ) -> Result<()> {
        self.add_server(Server::new(uri).authenticator(authenticator))
    }

    /// Of servers whose connection strings were given to the builder.
    pub(crate) fn of(uris: &[String]) -> Result<Self> {
        let chooser = Self::new();
        uris.iter().try_for_each(|uri| chooser.add(uri))?;
        Ok(chooser)
    }

    fn add_server(&self, server: Server) -> Result<()> {
        let endpoint = crate::builder::parse_server(&server.uri)?;
        self.lock().servers.push((endpoint, server));
        Ok(())
    }

    /// Takes a server out, as it was added. The one that is used stays so until its connection ends.
    pub fn remove(&self, uri: &str) {
        let mut list = self.lock();
        let current = list.current;
        let before = list.servers.iter().take(current).filter(|(_, server)| server.uri == uri).count();
        list.servers.retain(|(_, server)| server.uri != uri);
        list.current = (current - before) % list.servers.len().max(1);
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerChooser for DefaultServerChooser {
    fn current(&self) -> Option<Server> {
        let list = self.lock();
        list.servers.get(list.current).map(|(_, server)| server.clone())
    }

    fn report_failure(&self, error: &Error, info: &ConnectionInfo) {
        let mut list = self.lock();
        list.last_error = Some(error.clone());
        // Unless somebody has changed the list meanwhile.
        let failed = list.servers.get(list.current).is_some_and(|(server, _)| server.to_string() == info.uri);
        if failed {
            list.current = (list.current + 1) % list.servers.len().max(1);
        }
    }

    fn report_success(&self, _info: &ConnectionInfo) {
        self.lock().last_error = None;
    }

    fn error(&self) -> String {
        match &self.lock().last_error {
            Some(error) => error.to_string(),
            None => "the list of servers is empty; add one".to_owned(),
        }
    }
}

/// How long to wait before an attempt to connect; see
/// [`ClientBuilder::delay_strategy`](crate::ClientBuilder::delay_strategy). What
/// [`Reconnect`](crate::Reconnect) describes is usually enough.
///
/// ```
/// use std::time::Duration;
/// use amps_client::{Client, DelayStrategy, Reconnect};
///
/// /// The n-th attempt waits n seconds; the tenth is the last.
/// struct Linear(u64);
///
/// impl DelayStrategy for Linear {
///     fn wait(&mut self, _server: &str) -> Result<Duration, String> {
///         self.0 += 1;
///         if self.0 > 10 {
///             return Err("ten attempts were in vain".to_owned());
///         }
///         Ok(Duration::from_secs(self.0 - 1))
///     }
///     fn reset(&mut self) {
///         self.0 = 0;
///     }
/// }
///
/// let builder = Client::builder("desk-7").reconnect(Reconnect::new()).delay_strategy(Linear(0));
/// # let _ = builder;
/// ```
pub trait DelayStrategy: Send + 'static {
    /// How long to wait before the next attempt at this server, named by its connection string
    /// without the password. Asked before every attempt, the first one included.
    ///
    /// # Errors
    /// Nothing more is to be tried, for this reason.
    fn wait(&mut self, server: &str) -> std::result::Result<Duration, String>;

    /// A logon has held for a second, or the application calls [`Client::connect`](crate::Client::connect):
    /// whatever comes is a new outage.
    fn reset(&mut self);
}

/// A connection, or an attempt at one, as far as it is known; see
/// [`Client::connection_info`](crate::Client::connection_info).
///
/// ```
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let uri = server.uri("json");
/// let client = amps_client::Client::builder("desk-7").server(&uri).connect()?;
/// let info = client.connection_info().expect("connected");
/// assert_eq!(info.client_name(), "desk-7");
/// assert_eq!(info.host(), "127.0.0.1");
/// assert_eq!(info.peer_addr().map(|address| address.port()), Some(info.port()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    pub(crate) client: String,
    pub(crate) uri: String,
    pub(crate) scheme: &'static str,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) version: Option<ServerVersion>,
}

impl ConnectionInfo {
    pub(crate) fn of(client: &str, endpoint: &Endpoint) -> Self {
        Self {
            client: client.to_owned(),
            uri: endpoint.to_string(),
            scheme: endpoint.scheme.name(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            local: None,
            peer: None,
            version: None,
        }
    }

    /// The client's name.
    pub fn client_name(&self) -> &str {
        &self.client
    }

    /// The connection string, without the password.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The scheme of the connection string, such as `tcp`.
    pub fn scheme(&self) -> &str {
        self.scheme
    }

    /// The host of the connection string.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port of the connection string.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// This end of the socket, once it is connected.
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The other end of the socket, once it is connected.
    pub const fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The server's version, once it has accepted the logon, if it said one that can be
    /// compared.
    pub const fn server_version(&self) -> Option<ServerVersion> {
        self.version
    }
}
