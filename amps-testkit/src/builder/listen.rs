//! Where a server listens: the addresses of tests, of files and of other instances.
//!
//! Owns the forms in which an address is written. Opens nothing.

use std::net::{SocketAddr, ToSocketAddrs};
#[cfg(unix)]
use std::path::PathBuf;

use amps_protocol::Endpoint;
use amps_transport::Layers;

use crate::engine::TransportConfig;
use crate::server::StartError;
use crate::wire::Asked;

/// Where to listen, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// The name of the transport in its file.
    pub(crate) name: Option<String>,
    pub(crate) at: Place,
    /// The address as it was given.
    pub(crate) text: String,
    /// What its scheme says of the connections.
    pub(crate) asked: Asked,
    pub(crate) message_type: Option<String>,
    /// Other instances connect here, and no clients.
    pub(crate) replication: bool,
    /// The rules of its own.
    pub(crate) transport: TransportConfig,
    /// The element of a file that names the address, by file, line and name.
    pub(crate) element: Option<String>,
    /// The scheme of its connection strings, and what lies between its sockets and the engine: known when all
    /// is known.
    pub(crate) scheme: &'static str,
    pub(crate) layers: Layers,
}

/// An address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    /// A socket file.
    #[cfg(unix)]
    Unix(PathBuf),
}

impl Place {
    /// The address and port, if it is one.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        self.addr().is_none()
    }

    /// In the place of the port or file that somebody named, one that is free.
    pub(crate) fn choose(&mut self) {
        match self {
            Self::Tcp(addr) => addr.set_port(0),
            #[cfg(unix)]
            Self::Unix(path) => *path = free_path(),
        }
    }

    /// The socket file at a path.
    ///
    /// # Errors
    /// No socket file can be there.
    #[cfg(unix)]
    pub(crate) fn file(path: &str) -> Result<Self, &'static str> {
        match socket2::SockAddr::unix(path) {
            Ok(_) => Ok(Self::Unix(path.into())),
            Err(_) => Err("the path is too long for a socket file, or has a NUL in it; \
                           systems allow about 100 bytes"),
        }
    }

    /// # Errors
    /// There are no socket files.
    #[cfg(not(unix))]
    pub(crate) fn file(_path: &str) -> Result<Self, &'static str> {
        Err("this system has no Unix sockets; write tcp://HOST:PORT/amps")
    }
}

/// A path that nobody uses: a name of the process, and of nobody else in it.
#[cfg(unix)]
fn free_path() -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("amps-testkit-{}-{number}.sock", std::process::id()))
}

impl Listen {
    /// With rules; a name and a message type in them come before those of the address.
    pub(super) fn with(mut self, transport: TransportConfig) -> Self {
        self.name = transport.name.clone().or(self.name);
        self.message_type = transport.message_type.clone().or(self.message_type);
        self.transport = transport;
        self
    }

    /// What an error about the address begins with.
    pub(crate) fn place(&self) -> String {
        self.element.as_ref().map_or_else(String::new, |element| format!("{element}: "))
    }

    /// The rules, with all that is known of the listener.
    pub(crate) fn rules(&self) -> TransportConfig {
        TransportConfig {
            name: Some(self.name()),
            message_type: self.message_type.clone(),
            ..self.transport.clone()
        }
    }

    /// The name of the transport, or one made of its message type and scheme.
    pub(crate) fn name(&self) -> String {
        let made = || match self.replication {
            true => "replication".to_owned(),
            false => format!("{}-{}", self.message_type.as_deref().unwrap_or("any"), self.scheme),
        };
        self.name.clone().unwrap_or_else(made)
    }

    /// Without any rules.
    pub(crate) fn at(at: Place, text: &str, replication: bool) -> Self {
        Self {
            name: None,
            at,
            text: text.to_owned(),
            asked: Asked::default(),
            message_type: None,
            replication,
            transport: TransportConfig::default(),
            element: None,
            scheme: "tcp",
            layers: Layers::new(),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, StartError> {
        let wrong = |fault| StartError::Address { text: text.to_owned(), fault };
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        if scheme == "unix" {
            return Self::parse_unix(text, rest).map_err(wrong);
        }
        let asked = Asked::by_scheme(scheme).ok_or_else(|| {
            wrong("no such scheme; write tcp, tcps, ws or wss://HOST:PORT/amps, or unix:///PATH")
        })?;
        let (addr, path) = rest.split_once('/').unwrap_or((rest, "amps"));
        let message_type = match path.split_once('/') {
            None if path == "amps" => None,
            Some(("amps", message_type)) if !message_type.is_empty() => Some(message_type.to_owned()),
            _ => return Err(wrong("the path has to be /amps or /amps/MESSAGE-TYPE")),
        };
        let addr = resolve(addr).ok_or_else(|| wrong("expected HOST:PORT"))?;
        Ok(Self { message_type, asked, ..Self::at(Place::Tcp(addr), text, false) })
    }

    /// `unix:///PATH`, or a connection string.
    fn parse_unix(text: &str, rest: &str) -> Result<Self, &'static str> {
        let mut message_type = None;
        let at = if rest.is_empty() {
            let mut at = Place::file("")?;
            at.choose();
            at
        } else if rest.starts_with('/') {
            Place::file(rest)?
        } else {
            let endpoint: Endpoint = text
                .parse()
                .map_err(|_| "expected unix:///PATH, or unix://localhost:0/amps/MESSAGE-TYPE?path=/PATH")?;
            message_type = endpoint.message_type;
            Place::file(endpoint.options.path.as_deref().unwrap_or_default())?
        };
        Ok(Self { message_type, ..Self::at(at, text, false) })
    }

    pub(super) fn parse_replication(text: &str) -> Result<Self, StartError> {
        let wrong = |fault| StartError::Address { text: text.to_owned(), fault };
        let addr = match text.split_once("://") {
            Some(("tcp", rest)) => rest,
            Some(_) => return Err(wrong("other instances come by tcp only; write tcp://HOST:PORT")),
            None => text,
        };
        let addr = resolve(addr).ok_or_else(|| wrong("expected HOST:PORT"))?;
        Ok(Self::at(Place::Tcp(addr), text, true))
    }

    /// The host that the address names.
    #[cfg(feature = "tls")]
    pub(crate) fn host(&self) -> Option<&str> {
        let rest = self.text.split_once("://").map_or(&*self.text, |(_, rest)| rest);
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let (host, _) = authority.rsplit_once(':')?;
        Some(host.trim_start_matches('[').trim_end_matches(']')).filter(|host| !host.is_empty())
    }
}

fn resolve(addr: &str) -> Option<SocketAddr> {
    addr.to_socket_addrs().ok().and_then(|mut addrs| addrs.next())
}
