//! Connection strings: `tcp://user:password@host:9007/amps/json?tcp_nodelay=true`.
//!
//! Owns their grammar and parameters (protocol.md 15.1, 15.2), read and printed. What a
//! transport supports is the business of those who connect.

mod display;
mod error;
mod parse;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

pub use error::EndpointError;

/// The transport that a connection string names.
///
/// ```
/// use amps_protocol::Scheme;
/// assert_eq!(Scheme::from_name("tcps"), Some(Scheme::Tcps));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tcps,
    /// A Unix domain socket.
    Unix,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    const ALL: [Self; 5] = [Self::Tcp, Self::Tcps, Self::Unix, Self::Ws, Self::Wss];

    /// The word before `://`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tcps => "tcps",
            Self::Unix => "unix",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The transport of this name, which is lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// A secret that shows itself only when asked by name.
///
/// ```
/// use amps_protocol::Password;
///
/// let password = Password::new("s3cret");
/// assert_eq!(format!("{password:?}"), "<hidden>");
/// assert_eq!(password.reveal(), "s3cret");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// Which address family is tried first when a name has both.
///
/// ```
/// assert_eq!(amps_protocol::IpPreference::default().token(), "ipv4");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpPreference {
    /// IPv4 first.
    #[default]
    Ipv4,
    /// IPv6 first.
    Ipv6,
}

impl IpPreference {
    /// The value of `ip_protocol_prefer`. Its spelling is inferred (protocol.md 15.2), and
    /// read in any case.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// The parameters behind the `?`. `None` means that a parameter was not given, which leaves
/// the choice to the client, and then to the system.
///
/// All but `pretty`, and `path` of `unix`, belong to the transports over TCP: `tcp`,
/// `tcps`, `ws` and `wss`; `compression` and `http_preflight` to `tcp` and `tcps` alone.
/// A parameter of another transport is an error.
///
/// ```
/// use amps_protocol::Endpoint;
///
/// let endpoint: Endpoint = "tcp://h:9007/amps?tcp_nodelay=yes&tcp_sndbuf=65536".parse()?;
/// assert_eq!(endpoint.options.nodelay, Some(true));
/// assert_eq!(endpoint.options.send_buffer, Some(65_536));
/// assert_eq!(endpoint.options.linger, None);
/// # Ok::<(), amps_protocol::EndpointError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportOptions {
    /// `bind`: local IP address of the socket. Default: the system's choice.
    pub bind: Option<IpAddr>,
    /// `tcp_rcvbuf`: receive buffer in bytes. Default: the system's.
    pub recv_buffer: Option<usize>,
    /// `tcp_sndbuf`: send buffer in bytes. Default: the system's.
    pub send_buffer: Option<usize>,
    /// `tcp_nodelay`: disable Nagle's algorithm. Default: the client's choice, or else the
    /// system's, which leaves it on.
    pub nodelay: Option<bool>,
    /// `tcp_keepalive`: let the kernel probe a silent peer. Default: the client's choice,
    /// or else the system's.
    pub keepalive: Option<bool>,
    /// `tcp_linger`: seconds to linger on close. Default: the system's.
    pub linger: Option<u32>,
    /// `ip_protocol_prefer`: address family tried first. Default: IPv4.
    pub prefer: Option<IpPreference>,
    /// `compression=zlib`: compress both directions. Default: off.
    pub zlib: bool,
    /// `http_preflight`: pass an HTTP proxy by an upgrade request first. Default: off.
    pub http_preflight: bool,
    /// `path`: the socket file of the `unix` transport, where it is required.
    pub path: Option<String>,
    /// `pretty`: ask the server, in the logon, to render binary message types readably.
    /// Default: off.
    pub pretty: bool,
}

/// A parsed connection string.
///
/// `Display` prints it whole, parameters included, but with `***` in the place of the
/// password, which `Debug` hides too. What it prints parses to the same endpoint, apart
/// from that password.
///
/// ```
/// use amps_protocol::{Endpoint, Scheme};
///
/// let endpoint: Endpoint = "tcp://ada:s3cret@localhost:9007/amps/json?tcp_nodelay=1".parse()?;
/// assert_eq!(endpoint.host, "localhost");
/// assert_eq!(endpoint.message_type.as_deref(), Some("json"));
/// assert_eq!(endpoint.to_string(), "tcp://ada:***@localhost:9007/amps/json?tcp_nodelay=true");
///
/// let mut other = Endpoint::new(Scheme::Tcp, "localhost", 9007);
/// other.message_type = Some("json".into());
/// assert_eq!(other.to_string(), "tcp://localhost:9007/amps/json");
/// # Ok::<(), amps_protocol::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The transport.
    pub scheme: Scheme,
    /// The user, percent-decoded; never empty.
    pub user: Option<String>,
    /// The password, percent-decoded; never empty.
    pub password: Option<Password>,
    /// Host name or address; an IPv6 address stands here without its brackets. The `unix`
    /// transport ignores it.
    pub host: String,
    /// Port, 1 to 65535. The `unix` transport ignores it; there it is 0 if not given.
    pub port: u16,
    /// Path segments before `amps`, for proxies.
    pub prefix: Vec<String>,
    /// The message type sent in the logon; `None` leaves it to the server's transport.
    pub message_type: Option<String>,
    /// The parameters.
    pub options: TransportOptions,
}

impl Endpoint {
    /// An endpoint without user, message type and parameters. An IPv6 address is given
    /// without brackets.
    pub fn new(scheme: Scheme, host: impl Into<String>, port: u16) -> Self {
        Self {
            scheme,
            user: None,
            password: None,
            host: host.into(),
            port,
            prefix: Vec::new(),
            message_type: None,
            options: TransportOptions::default(),
        }
    }
}
