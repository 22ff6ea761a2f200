//! How a server is reached: from a connection string, and what the builder was told, to a socket and
//! the layers on it.
//!
//! Owns which transports this build has, and what a connection string may ask of them. Opens nothing.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "tls")]
use std::sync::OnceLock;
use std::time::Duration;

use amps_protocol::{Endpoint, IpPreference, Password, Scheme};
#[cfg(feature = "tls")]
use amps_transport::TlsClient;
#[cfg(feature = "websocket")]
use amps_transport::WebSocket;
#[cfg(feature = "zlib")]
use amps_transport::Zlib;
use amps_transport::{
    Address, AddressFamily, Connector, HttpConfigError, HttpConnect, HttpHeaders, Layers, Preflight,
    SocketOptions, Target,
};

use crate::error::{Error, Result};

/// What all connections of a client have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transports {
    /// In place of sockets.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    /// The application's own, next to the frames.
    pub(crate) layers: Layers,
    pub(crate) proxy: Option<HttpProxy>,
    /// Of requests to become something else than HTTP.
    pub(crate) headers: HttpHeaders,
    /// What a preflight asks to become, if not `websocket`.
    pub(crate) upgrade: Option<String>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsClient>,
    /// Made when it is needed first: reading the platform's certificates takes its time.
    #[cfg(feature = "tls")]
    default_tls: Arc<OnceLock<TlsClient>>,
    #[cfg(feature = "websocket")]
    pub(crate) length_prefix: bool,
    /// The longest message, in either direction.
    pub(crate) limit: usize,
}

/// A proxy that speaks HTTP, such as those at the border of a company's network; see
/// [`ClientBuilder::proxy`](crate::ClientBuilder::proxy).
///
/// ```
/// use amps_client::Client;
/// use amps_client::transport::HttpProxy;
///
/// let proxy = HttpProxy::new("proxy.example", 3128).credentials("ann", "s3cret")?;
/// assert!(!format!("{proxy:?}").contains("s3cret"));
/// let builder = Client::builder("desk-7").server("tcp://amps.example:9007/amps/json").proxy(proxy);
/// # let _ = builder;
/// # Ok::<(), amps_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpProxy {
    host: String,
    port: u16,
    credentials: Option<(String, Password)>,
    headers: HttpHeaders,
}

impl HttpProxy {
    /// A proxy by its host (an IPv6 address without brackets) and port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, credentials: None, headers: HttpHeaders::new() }
    }

    /// Answers the proxy's question for credentials, in the scheme `Basic`. They are not encrypted on their way to
    /// the proxy, and never printed.
    ///
    /// # Errors
    /// `InvalidArgument`: the user's name has a colon, or there is a control character.
    pub fn credentials(mut self, user: &str, password: &str) -> Result<Self> {
        self.credentials = Some((user.to_owned(), Password::new(password)));
        self.all_headers()?;
        Ok(self)
    }

    fn all_headers(&self) -> Result<HttpHeaders> {
        let mut headers = self.headers.clone();
        if let Some((user, password)) = &self.credentials {
            let added = headers.add_basic("Proxy-Authorization", user, password.reveal());
            added.map_err(|error| refused(&error))?;
        }
        Ok(headers)
    }

    /// Further headers for the proxy, in place of those that were set before; [credentials](Self::credentials) stay.
    #[must_use]
    pub fn headers(mut self, headers: HttpHeaders) -> Self {
        self.headers = headers;
        self
    }
}

fn refused(error: &HttpConfigError) -> Error {
    Error::InvalidArgument(error.to_string())
}

/// The longest name of a socket file that every system takes: 104 bytes with the zero at the end.
const LONGEST_PATH: usize = 103;

/// Checks that this build can use a connection string.
///
/// # Errors
/// The transport, or something asked of it, is not available.
pub(crate) fn check(endpoint: &Endpoint) -> Result<()> {
    let missing = |what: String, feature: &str| {
        Err(Error::Unavailable { feature: format!("{what} (cargo feature `{feature}`)") })
    };
    let transport = || format!("the transport \"{}\"", endpoint.scheme.name());
    match endpoint.scheme {
        Scheme::Unix if cfg!(unix) => {
            return check_path(endpoint.options.path.as_deref().unwrap_or_default());
        }
        Scheme::Unix => return Err(Error::Unavailable { feature: transport() }),
        Scheme::Ws | Scheme::Wss if !cfg!(feature = "websocket") => {
            return missing(transport(), "websocket");
        }
        Scheme::Tcps | Scheme::Wss if !cfg!(feature = "tls") => return missing(transport(), "tls"),
        Scheme::Tcp | Scheme::Tcps | Scheme::Ws | Scheme::Wss => {}
    }
    let options = socket_options(endpoint).check();
    options.map_err(|error| Error::InvalidArgument(format!("a socket option is out of range: {error}")))?;
    if endpoint.options.zlib && !cfg!(feature = "zlib") {
        return missing("the parameter compression=zlib".to_owned(), "zlib");
    }
    Ok(())
}

fn check_path(path: &str) -> Result<()> {
    if path.contains('\0') {
        return Err(Error::InvalidArgument(
            "the parameter path contains a zero byte, which no file name has".into(),
        ));
    }
    if path.len() <= LONGEST_PATH {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "the parameter path has {} bytes, and the name of a socket file at most {LONGEST_PATH}; use a shorter path, \
         such as one below /run",
        path.len()
    )))
}

impl Transports {
    /// Finds out before anything is opened whether a server can be reached in this way.
    ///
    /// # Errors
    /// A part of it cannot be made.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Result<()> {
        self.target(endpoint, Duration::ZERO).map(drop)
    }

    /// Where and how to connect.
    ///
    /// # Errors
    /// A part of it cannot be made.
    pub(crate) fn target(&self, endpoint: &Endpoint, timeout: Duration) -> Result<Target> {
        let (host, port) = match &self.proxy {
            Some(proxy) if endpoint.scheme != Scheme::Unix => (proxy.host.clone(), proxy.port),
            _ => (endpoint.host.clone(), endpoint.port),
        };
        let address = match (&self.connector, endpoint.scheme) {
            (Some(connector), _) => Address::Custom { connector: Arc::clone(connector), host, port },
            (None, Scheme::Unix) => {
                Address::Unix(PathBuf::from(endpoint.options.path.clone().unwrap_or_default()))
            }
            (None, _) => Address::Tcp { host, port },
        };
        let layers = self.stack(endpoint)?;
        Ok(Target { address, timeout, socket: socket_options(endpoint), layers })
    }

    /// The layers of a connection, the lowest first: proxy, TLS, HTTP, compression, the application's own.
    fn stack(&self, endpoint: &Endpoint) -> Result<Layers> {
        let mut layers = Layers::new();
        if let Some(proxy) = self.proxy.as_ref().filter(|_| endpoint.scheme != Scheme::Unix) {
            let connect = HttpConnect::new(&authority(endpoint)).map_err(|error| refused(&error))?;
            layers.push(Arc::new(connect.with_headers(proxy.all_headers()?)));
        }
        #[cfg(feature = "tls")]
        if matches!(endpoint.scheme, Scheme::Tcps | Scheme::Wss) {
            layers.push(Arc::new(self.tls()?));
        }
        #[cfg(feature = "websocket")]
        if matches!(endpoint.scheme, Scheme::Ws | Scheme::Wss) {
            let websocket =
                WebSocket::new(&authority(endpoint), &path(endpoint)).map_err(|error| refused(&error))?;
            let websocket = websocket.with_headers(self.headers.clone()).with_limit(self.limit);
            layers.push(Arc::new(websocket.with_length_prefix(self.length_prefix)));
            if !self.layers.is_empty() {
                return Err(Error::InvalidArgument(format!(
                    "a layer of your own hides the frames that the transport \"{}\" has to see; use tcp or tcps",
                    endpoint.scheme.name()
                )));
            }
        }
        if endpoint.options.http_preflight {
            let preflight =
                Preflight::new(&authority(endpoint), &path(endpoint)).map_err(|error| refused(&error))?;
            let preflight = preflight.with_headers(self.headers.clone());
            layers.push(match &self.upgrade {
                Some(protocol) => {
                    Arc::new(preflight.with_upgrade(protocol).map_err(|error| refused(&error))?)
                }
                None => Arc::new(preflight),
            });
        }
        #[cfg(feature = "zlib")]
        if endpoint.options.zlib {
            layers.push(Arc::new(Zlib::new()));
        }
        layers.extend(self.layers.iter().cloned());
        Ok(layers)
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Result<TlsClient> {
        if let Some(tls) = self.tls.as_ref().or_else(|| self.default_tls.get()) {
            return Ok(tls.clone());
        }
        let tls = TlsClient::builder().build().map_err(|error| Error::InvalidArgument(error.to_string()))?;
        Ok(self.default_tls.get_or_init(|| tls).clone())
    }
}

/// Whom an HTTP request is for.
fn authority(endpoint: &Endpoint) -> String {
    let Endpoint { host, port, .. } = endpoint;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The path of the connection string.
fn path(endpoint: &Endpoint) -> String {
    let prefix = endpoint.prefix.iter().map(String::as_str);
    let segments: Vec<&str> = prefix.chain(["amps"]).chain(endpoint.message_type.as_deref()).collect();
    format!("/{}", segments.join("/"))
}

fn socket_options(endpoint: &Endpoint) -> SocketOptions {
    let (asked, mut socket) = (&endpoint.options, SocketOptions::default());
    socket.nodelay = asked.nodelay.unwrap_or(socket.nodelay);
    socket.keepalive = asked.keepalive.unwrap_or(socket.keepalive);
    socket.send_buffer = asked.send_buffer;
    socket.recv_buffer = asked.recv_buffer;
    socket.linger = asked.linger.map(|seconds| Duration::from_secs(seconds.into()));
    socket.bind = asked.bind;
    socket.prefer = match asked.prefer {
        Some(IpPreference::Ipv6) => AddressFamily::V6,
        _ => AddressFamily::V4,
    };
    socket
}
