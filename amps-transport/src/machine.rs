//! The contract between a pure state machine and whatever drives it.
//!
//! A [`Machine`] is one *endpoint*: a client, or a whole server engine with all of its
//! connections. Everything that happens to it arrives as an [`Input`], together with the
//! time; everything it wants goes into the [`Sink`] that the driver passes in. It holds no
//! clock, socket, thread or random source of its own, so that the event loop can drive it
//! in production and a simulator can drive the very same code with a virtual clock and a
//! seeded network.
//!
//! The order of inputs for one connection is always
//! `Connected | Accepted`, then any number of `Received` and `Writable`, then at most one
//! `Closed`; or a single `ConnectFailed`. After `Closed`, `ConnectFailed` or a call of
//! [`Sink::close`] no further input names that connection.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use core::fmt;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use mio::event::Source;

use crate::connect::check_options;
use crate::error::{CloseReason, ConnectError};
use crate::layer::Layers;
use crate::outlet::Outlet;
use crate::time::Time;

/// Names one connection of one machine. Never used twice by the same machine, so that a
/// late event of an old connection cannot be taken for one of a new connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn{}", self.0)
    }
}

/// Names one listening socket of one machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerId(pub u64);

/// Where and how to connect. Names are resolved on a helper thread; every address found is
/// tried in turn until one answers or `timeout` has passed since the request.
#[derive(Clone, Debug)]
pub struct Target {
    /// The other end.
    pub address: Address,
    /// How long name resolution, all connection attempts and the handshakes of the layers may take together.
    pub timeout: Duration,
    /// How the socket is set up.
    pub socket: SocketOptions,
    /// What lies between the socket and the machine's bytes, the layer next to the wire first. The connection is
    /// `Connected` when all of them are ready.
    pub layers: Layers,
}

impl Target {
    /// A TCP socket with default options and without layers.
    pub fn tcp(host: impl Into<String>, port: u16, timeout: Duration) -> Self {
        let address = Address::Tcp { host: host.into(), port };
        Self { address, timeout, socket: SocketOptions::default(), layers: Layers::new() }
    }
}

/// The other end of a connection to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Address {
    /// By TCP.
    Tcp {
        /// A host name or an IP address (an IPv6 address without brackets).
        host: String,
        /// The port.
        port: u16,
    },
    /// By a socket file of this machine. Only where the system has such sockets.
    Unix(PathBuf),
    /// By a way of the application's own.
    Custom {
        /// Makes the stream.
        connector: Arc<dyn Connector>,
        /// A host name or an IP address, for the connector, and for layers that look at it.
        host: String,
        /// The port, for the connector.
        port: u16,
    },
}

impl Address {
    /// The name by which certificates and proxies know the other end; empty where there is none.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } | Self::Custom { host, .. } => host,
            Self::Unix(_) => "",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } | Self::Custom { host, port, .. }
                if host.parse::<std::net::Ipv6Addr>().is_ok() =>
            {
                write!(f, "[{host}]:{port}")
            }
            Self::Tcp { host, port } | Self::Custom { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Makes connections in a way of the application's own.
pub trait Connector: fmt::Debug + Send + Sync {
    /// A connected stream to a server, which does not block. Called on a helper thread, where it may wait, at most
    /// for `timeout`.
    ///
    /// # Errors
    /// There is no connection.
    fn connect(&self, host: &str, port: u16, timeout: Duration) -> io::Result<Box<dyn CustomStream>>;
}

/// A stream of bytes that a `mio` poller can watch: reads and writes return `WouldBlock` where they would
/// wait, and an event follows when that has changed.
pub trait CustomStream: Read + Write + Source + Send {
    /// Ends one direction, or both.
    ///
    /// # Errors
    /// It has ended already, or the system refuses.
    fn shutdown(&mut self, how: Shutdown) -> io::Result<()>;
}

impl CustomStream for mio::net::TcpStream {
    fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        Self::shutdown(self, how)
    }
}

#[cfg(unix)]
impl CustomStream for mio::net::UnixStream {
    fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        Self::shutdown(self, how)
    }
}

/// How a TCP socket is set up before it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `TCP_NODELAY`: send small frames at once instead of gathering them. Default on.
    pub nodelay: bool,
    /// `SO_KEEPALIVE`: let the kernel probe a silent peer, on Linux after 30 s and three times 10 s apart. Default
    /// on.
    pub keepalive: bool,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged before the kernel gives the connection up.
    /// Only on Linux. Default 60 s; `None` leaves the system's choice, which is a quarter of an hour or so.
    pub user_timeout: Option<Duration>,
    /// `SO_SNDBUF` in bytes, at most 2147483647; `None` leaves the system's choice. A larger one is an error of the
    /// kind `InvalidInput`.
    pub send_buffer: Option<usize>,
    /// `SO_RCVBUF` in bytes, as `send_buffer`.
    pub recv_buffer: Option<usize>,
    /// `SO_LINGER`; `None` leaves the system's choice. With zero the connection is reset when it is closed, and what
    /// the peer has not read may be lost. With more (whole seconds, rounded up) it is as with `None`: the system
    /// sends the rest in the background, since the loop must not wait in a close; an orderly close waits for it as
    /// long as [`CloseMode::Flush`] does. More seconds than the system can store (2147483647, on Windows 65535) are
    /// an error of the kind `InvalidInput`.
    pub linger: Option<Duration>,
    /// Local address to bind before connecting; `None` lets the system choose.
    pub bind: Option<std::net::IpAddr>,
    /// Which address family is tried first when a name has both. Default IPv4.
    pub prefer: AddressFamily,
    /// How long the handshakes of the layers of an accepted connection may take, before it is closed as by a layer's
    /// error. Default 30 s. Means nothing for a connection that this side makes: [`Target::timeout`] holds there.
    pub handshake_timeout: Duration,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: true,
            user_timeout: Some(Duration::from_secs(60)),
            send_buffer: None,
            recv_buffer: None,
            linger: None,
            bind: None,
            prefer: AddressFamily::V4,
            handshake_timeout: Duration::from_secs(30),
        }
    }
}

impl SocketOptions {
    /// Checks the values before they are used: what makes a connection or a listener checks them too.
    ///
    /// # Errors
    /// `InvalidInput`: the system could store one of them only cut off. The text names it.
    ///
    /// ```
    /// use amps_transport::SocketOptions;
    ///
    /// let options = SocketOptions { send_buffer: Some(1 << 40), ..SocketOptions::default() };
    /// assert!(options.check().unwrap_err().to_string().starts_with("SO_SNDBUF cannot be 1099511627776"));
    /// ```
    pub fn check(&self) -> io::Result<()> {
        check_options(self)
    }
}

/// An IP address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// IPv4 first.
    #[default]
    V4,
    /// IPv6 first.
    V6,
}

/// How a machine ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Send what is buffered (for at most one second), then close. No further input is
    /// delivered for the connection meanwhile.
    Flush,
    /// Close at once and drop what is buffered.
    Abort,
    /// As [`Self::Abort`], but with a TCP reset in place of the end of the stream: what the peer
    /// has not read yet may be lost, and its calls fail. If other threads hold an outlet, the
    /// reset goes out when the last of them is gone.
    Reset,
}

/// One thing that happened to a machine.
#[derive(Debug)]
pub enum Input<'a, N> {
    /// A connection asked for with [`Sink::connect`] is established.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The address of this end, where there is one.
        local: Option<SocketAddr>,
        /// The address of the other end, where there is one.
        peer: Option<SocketAddr>,
    },
    /// A connection asked for with [`Sink::connect`] could not be established.
    ConnectFailed {
        /// The connection.
        conn: ConnId,
        /// Why.
        error: ConnectError,
    },
    /// A peer connected to a listener.
    Accepted {
        /// The new connection.
        conn: ConnId,
        /// The listener that it came in by.
        listener: ListenerId,
        /// The address of the other end, where there is one.
        peer: Option<SocketAddr>,
    },
    /// Bytes arrived. The machine takes from the front of `bytes` what it can use; what it
    /// leaves is offered again, in front of the bytes that come next.
    Received {
        /// The connection.
        conn: ConnId,
        /// All bytes received and not yet taken.
        bytes: &'a mut BytesMut,
    },
    /// The connection takes bytes again after its [`Outlet`] reported that it was full, or
    /// somebody asked for [`Outlet::request_flush`].
    Writable {
        /// The connection.
        conn: ConnId,
    },
    /// The connection ended, not by this machine's own will. What was received before has
    /// been delivered; what [`Sink::send`] had not brought out yet is dropped. The end of
    /// the peer's stream ends the connection as a whole: there is no half-open state.
    Closed {
        /// The connection.
        conn: ConnId,
        /// How it ended.
        reason: CloseReason,
    },
    /// The time of [`Machine::deadline`] has come (or passed).
    Timer,
    /// Another thread posted a note.
    Note(N),
}

/// Where a machine puts what it wants done. Calls take effect after the machine's `handle`
/// returns, in the order in which they were made.
pub trait Sink {
    /// Opens a connection; `Connected` or `ConnectFailed` follows, never from within this call.
    fn connect(&mut self, target: Target) -> ConnId;

    /// Appends bytes to what waits to be sent on `conn`. Unknown connections are ignored.
    fn send(&mut self, conn: ConnId, bytes: &[u8]);

    /// Ends a connection; no further input names it, and no `Closed` follows.
    fn close(&mut self, conn: ConnId, mode: CloseMode);

    /// Stops (`false`) or resumes (`true`) reading from `conn`. While stopped, the peer is
    /// held back by the socket's own flow control.
    fn set_reading(&mut self, conn: ConnId, on: bool);

    /// The sending half of `conn` for use by other threads, or `None` where the driver has
    /// no threads (a simulator): then [`Sink::send`] is the only way out. `None`, too, for a
    /// connection that is not established yet or has ended. A machine uses one way or the
    /// other for a connection, never both.
    fn outlet(&mut self, conn: ConnId) -> Option<Outlet>;

    /// Bytes passed to [`Sink::send`] for `conn` that the peer's socket has not taken yet.
    fn unsent(&self, conn: ConnId) -> usize;
}

/// One endpoint, as a pure state machine.
pub trait Machine {
    /// What other threads may post to the machine.
    type Note: Send + 'static;

    /// Takes one input at the time `now` and puts what follows from it into `sink`.
    fn handle<S: Sink>(&mut self, now: Time, input: Input<'_, Self::Note>, sink: &mut S);

    /// When the machine next wants an [`Input::Timer`], if at all. Asked after every input.
    fn deadline(&self) -> Option<Time>;
}
