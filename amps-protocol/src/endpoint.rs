//! Connection strings: `tcp://user:password@host:9007/amps/json?tcp_nodelay=true`.
//!
//! Parsing only; what a transport supports is the business of those who connect.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_till1, take_while1};
use nom::combinator::{map, opt, rest, verify};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

/// The transport that a connection string names.
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
}

/// A secret that shows itself only when asked by name.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpPreference {
    /// IPv4 first.
    #[default]
    Ipv4,
    /// IPv6 first.
    Ipv6,
}

/// The parameters behind the `?`. `None` leaves the choice to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportOptions {
    /// `bind`: local address of the socket.
    pub bind: Option<IpAddr>,
    /// `tcp_rcvbuf`: receive buffer in bytes.
    pub recv_buffer: Option<usize>,
    /// `tcp_sndbuf`: send buffer in bytes.
    pub send_buffer: Option<usize>,
    /// `tcp_nodelay`: disable Nagle's algorithm.
    pub nodelay: Option<bool>,
    /// `tcp_keepalive`: let the kernel probe a silent peer.
    pub keepalive: Option<bool>,
    /// `tcp_linger`: seconds to linger on close.
    pub linger: Option<u32>,
    /// `ip_protocol_prefer`: address family tried first.
    pub prefer: Option<IpPreference>,
    /// `compression=zlib`.
    pub zlib: bool,
    /// `http_preflight`: pass an HTTP proxy by an upgrade request first.
    pub http_preflight: bool,
    /// `path`: the socket file of the `unix` scheme.
    pub path: Option<String>,
    /// `pretty`: ask the server to render binary message types readably.
    pub pretty: bool,
}

/// A parsed connection string.
///
/// `Display` and `Debug` mask the password.
///
/// ```
/// use amps_protocol::Endpoint;
///
/// let endpoint: Endpoint = "tcp://ada:s3cret@localhost:9007/amps/json".parse()?;
/// assert_eq!(endpoint.host, "localhost");
/// assert_eq!(endpoint.message_type.as_deref(), Some("json"));
/// assert_eq!(endpoint.to_string(), "tcp://ada:***@localhost:9007/amps/json");
/// # Ok::<(), amps_protocol::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The transport.
    pub scheme: Scheme,
    /// The user, percent-decoded.
    pub user: Option<String>,
    /// The password, percent-decoded.
    pub password: Option<Password>,
    /// Host name or address; an IPv6 address stands here without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path segments before `amps`, for proxies.
    pub prefix: Vec<String>,
    /// The message type sent in the logon; `None` leaves it to the server's transport.
    pub message_type: Option<String>,
    /// The parameters.
    pub options: TransportOptions,
}

/// Why a connection string cannot be used. No variant ever holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It does not have the form of a connection string.
    #[error(
        "invalid connection string: {problem}; write scheme://[user[:password]@]host:port/amps[/message_type][?parameters]"
    )]
    Syntax {
        /// What is wrong.
        problem: &'static str,
    },
    /// The scheme is none that exists.
    #[error("unknown transport \"{scheme}\" in the connection string; use tcp, tcps, unix, ws or wss")]
    UnknownScheme {
        /// What was given.
        scheme: String,
    },
    /// The protocol is not `amps`.
    #[error("unsupported protocol \"{protocol}\" in the connection string; only \"amps\" is supported")]
    UnsupportedProtocol {
        /// What was given.
        protocol: String,
    },
    /// A parameter that does not exist.
    #[error("unknown parameter \"{name}\" in the connection string; check its spelling")]
    UnknownParameter {
        /// What was given.
        name: String,
    },
    /// A parameter was given more than once.
    #[error("parameter \"{name}\" appears twice in the connection string; give it once")]
    RepeatedParameter {
        /// Its name.
        name: String,
    },
    /// A parameter whose value cannot be used.
    #[error(
        "parameter \"{name}\" of the connection string has an unusable value \"{value}\"; expected {expected}"
    )]
    BadValue {
        /// Its name.
        name: String,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// A parameter that this transport does not have.
    #[error("parameter \"{name}\" does not apply to the transport \"{scheme}\"; remove it")]
    NotApplicable {
        /// Its name.
        name: String,
        /// The transport.
        scheme: &'static str,
    },
}

const fn syntax(problem: &'static str) -> EndpointError {
    EndpointError::Syntax { problem }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (after_scheme, scheme) =
            scheme(text).map_err(|_| syntax("it does not begin with a scheme and \"://\""))?;
        let scheme = Scheme::ALL
            .into_iter()
            .find(|known| known.name() == scheme)
            .ok_or_else(|| EndpointError::UnknownScheme { scheme: scheme.to_owned() })?;

        let (tail, authority) = take_till::<_, _, ()>(|c| c == '/' || c == '?')(after_scheme)
            .map_err(|_| syntax("it has no host"))?;
        // The last @ separates: a careless password may contain another.
        let (user_info, address) = match authority.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info), address),
            None => (None, authority),
        };
        let (user, password) = match user_info.map(|info| info.split_once(':').unwrap_or((info, ""))) {
            None => (None, None),
            Some((user, password)) => (
                Some(percent_decode(user).ok_or(syntax("the user has a broken % escape"))?),
                Some(percent_decode(password).ok_or(syntax("the password has a broken % escape"))?),
            ),
        };
        let (port, host) = host(address).map_err(|_| syntax("it has no host"))?;
        let port = port.strip_prefix(':').ok_or(syntax("it has no port"))?;
        let port = port.parse().map_err(|_| syntax("the port is not a number from 0 to 65535"))?;
        if port == 0 && scheme != Scheme::Unix {
            return Err(syntax("the port is 0"));
        }

        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let beyond_host = path.contains('@') || (scheme != Scheme::Unix && query.contains('@'));
        if beyond_host {
            // Most likely a password with a slash: name no part of it.
            return Err(syntax(
                "there is an \"@\" in the path; write / ? and @ in a password as %2F, %3F and %40",
            ));
        }
        let (prefix, message_type) = parse_path(path)?;
        let options = parse_options(query, scheme)?;
        if scheme == Scheme::Unix && options.path.is_none() {
            return Err(syntax("the unix transport needs the parameter \"path\""));
        }
        Ok(Self {
            scheme,
            user: user.filter(|user| !user.is_empty()),
            password: password.filter(|password| !password.is_empty()).map(Password),
            host: host.to_owned(),
            port,
            prefix,
            message_type,
            options,
        })
    }
}

fn scheme(input: &str) -> IResult<&str, &str, ()> {
    terminated(take_while1(|c: char| c.is_ascii_alphanumeric()), tag("://")).parse(input)
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn host(input: &str) -> IResult<&str, &str, ()> {
    let bracketed = delimited(tag("["), take_till1(|c| c == ']'), tag("]"));
    let literal = verify(bracketed, |text: &str| text.parse::<core::net::Ipv6Addr>().is_ok());
    alt((literal, take_till1(|c| c == ':' || c == '['))).parse(input)
}

/// The segments before the last `amps`, and the message type after it.
fn parse_path(path: &str) -> Result<(Vec<String>, Option<String>), EndpointError> {
    let mut segments: Vec<&str> = path.split('/').skip(1).collect();
    if segments.last() == Some(&"") {
        segments.pop();
    }
    let Some(at) = segments.iter().rposition(|segment| *segment == "amps") else {
        return Err(match segments.first() {
            None => syntax("it has no protocol"),
            Some(protocol) => EndpointError::UnsupportedProtocol { protocol: (*protocol).to_owned() },
        });
    };
    if segments.len() > at + 2 {
        return Err(syntax("too many path segments follow the protocol"));
    }
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err(syntax("the path has an empty segment"));
    }
    let prefix = segments[..at].iter().map(|segment| (*segment).to_owned()).collect();
    Ok((prefix, segments.get(at + 1).map(|segment| (*segment).to_owned())))
}

fn parameter(input: &str) -> IResult<&str, (&str, &str), ()> {
    let value = map(opt(preceded(tag("="), rest)), Option::unwrap_or_default);
    (take_till1(|c| c == '='), value).parse(input)
}

fn parse_options(query: &str, scheme: Scheme) -> Result<TransportOptions, EndpointError> {
    let mut options = TransportOptions::default();
    let mut seen: Vec<&str> = Vec::new();
    for segment in query.split('&').filter(|segment| !segment.is_empty()) {
        let (_, (name, raw)) = parameter(segment).map_err(|_| syntax("a parameter has no name"))?;
        if seen.contains(&name) {
            return Err(EndpointError::RepeatedParameter { name: name.to_owned() });
        }
        seen.push(name);
        let value = percent_decode(raw).ok_or(syntax("a parameter has a broken % escape"))?;
        set_option(&mut options, scheme, name, &value)?;
    }
    Ok(options)
}

fn set_option(
    options: &mut TransportOptions,
    scheme: Scheme,
    name: &str,
    value: &str,
) -> Result<(), EndpointError> {
    let bad = |expected| EndpointError::BadValue { name: name.to_owned(), value: value.to_owned(), expected };
    let on_tcp = matches!(scheme, Scheme::Tcp | Scheme::Tcps);
    let on_socket = scheme != Scheme::Unix;
    let applies = match name {
        "bind" | "tcp_rcvbuf" | "tcp_sndbuf" | "tcp_nodelay" | "tcp_keepalive" | "tcp_linger"
        | "ip_protocol_prefer" => on_socket,
        "compression" | "http_preflight" => on_tcp,
        "path" => scheme == Scheme::Unix,
        "pretty" => true,
        _ => return Err(EndpointError::UnknownParameter { name: name.to_owned() }),
    };
    if !applies {
        return Err(EndpointError::NotApplicable { name: name.to_owned(), scheme: scheme.name() });
    }
    let boolean = || parse_bool(value).ok_or_else(|| bad("true or false"));
    let bytes = || value.parse::<usize>().map_err(|_| bad("a number of bytes"));
    match name {
        "bind" => options.bind = Some(value.parse().map_err(|_| bad("an IP address"))?),
        "tcp_rcvbuf" => options.recv_buffer = Some(bytes()?),
        "tcp_sndbuf" => options.send_buffer = Some(bytes()?),
        "tcp_nodelay" => options.nodelay = Some(boolean()?),
        "tcp_keepalive" => options.keepalive = Some(boolean()?),
        "tcp_linger" => options.linger = Some(value.parse().map_err(|_| bad("a number of seconds"))?),
        "ip_protocol_prefer" => {
            options.prefer = Some(match value {
                _ if value.eq_ignore_ascii_case("ipv4") => IpPreference::Ipv4,
                _ if value.eq_ignore_ascii_case("ipv6") => IpPreference::Ipv6,
                _ => return Err(bad("ipv4 or ipv6")),
            });
        }
        "compression" => {
            if value != "zlib" {
                return Err(bad("zlib"));
            }
            options.zlib = true;
        }
        "http_preflight" => options.http_preflight = boolean()?,
        "path" => options.path = Some(value.to_owned()),
        _ => options.pretty = boolean()?,
    }
    Ok(())
}

fn parse_bool(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// `None` if an escape is broken or the result is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        if let Some(user) = &self.user {
            let mask = if self.password.is_some() { ":***" } else { "" };
            write!(f, "{user}{mask}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
        for segment in &self.prefix {
            write!(f, "/{segment}")?;
        }
        f.write_str("/amps")?;
        if let Some(message_type) = &self.message_type {
            write!(f, "/{message_type}")?;
        }
        Ok(())
    }
}
