//! How a server is reached: from a connection string, and what the builder was told, to a socket and
//! the layers on it.
//!
//! Owns which transports this build has, and what a connection string may ask of them. Opens nothing.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{Endpoint, IpPreference, Scheme};
use amps_transport::{Address, AddressFamily, Connector, Layers, SocketOptions, Target};

use crate::error::{Error, Result};

/// What all connections of a client have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transports {
    /// In place of sockets.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    /// The application's own, next to the frames.
    pub(crate) layers: Layers,
}

/// The longest name of a socket file that every system takes: 104 bytes with the zero at the end.
const LONGEST_PATH: usize = 103;

/// Checks that this build can use a connection string.
///
/// # Errors
/// The transport, or something asked of it, is not available.
pub(crate) fn check(endpoint: &Endpoint) -> Result<()> {
    let feature = match endpoint.scheme {
        Scheme::Tcp if endpoint.options.zlib => "the parameter compression=zlib".to_owned(),
        Scheme::Tcp if endpoint.options.http_preflight => "the parameter http_preflight".to_owned(),
        Scheme::Tcp => return Ok(()),
        Scheme::Unix if cfg!(unix) => {
            return check_path(endpoint.options.path.as_deref().unwrap_or_default());
        }
        other => format!("the transport \"{}\"", other.name()),
    };
    Err(Error::Unavailable { feature })
}

fn check_path(path: &str) -> Result<()> {
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
    /// Where and how to connect.
    pub(crate) fn target(&self, endpoint: &Endpoint, timeout: Duration) -> Target {
        let (host, port) = (endpoint.host.clone(), endpoint.port);
        let address = match (&self.connector, endpoint.scheme) {
            (Some(connector), _) => Address::Custom { connector: Arc::clone(connector), host, port },
            (None, Scheme::Unix) => {
                Address::Unix(PathBuf::from(endpoint.options.path.clone().unwrap_or_default()))
            }
            (None, _) => Address::Tcp { host, port },
        };
        Target { address, timeout, socket: socket_options(endpoint), layers: self.layers.clone() }
    }
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
