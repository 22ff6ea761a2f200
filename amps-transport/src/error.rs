//! Why a connection could not be made, and how one ended.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::layer::LayerError;

/// Why a connection could not be established.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host name could not be turned into an address.
    #[error("cannot resolve host \"{host}\": {source}; check the name in the connection string")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: Arc<io::Error>,
    },
    /// The name has no usable address.
    #[error("host \"{host}\" has no usable address; check the name in the connection string")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// The peer answered that nothing listens there.
    #[error("connection to {address} was refused; check that the server runs and listens on that port")]
    Refused {
        /// Host and port.
        address: String,
    },
    /// Nothing answered in time.
    #[error("no connection to {address} within {timeout:?}; check the address and the network in between")]
    TimedOut {
        /// Host and port.
        address: String,
        /// The time that was allowed.
        timeout: Duration,
    },
    /// The socket is connected, and the handshake of a layer on it did not end in time.
    #[error(
        "the connection to {address} is established, but its {layer} handshake did not end within {timeout:?}; check \
         that what listens there speaks {layer}"
    )]
    HandshakeTimedOut {
        /// Host and port, or file.
        address: String,
        /// The layer, in a word for people, such as "TLS".
        layer: &'static str,
        /// The time that was allowed for everything.
        timeout: Duration,
    },
    /// The host has addresses, but none of the family of the address to bind.
    #[error(
        "host \"{host}\" has no address that can be reached from the bind address {bind}; bind an address of the \
         family that the host has, or none"
    )]
    BindFamily {
        /// The name.
        host: String,
        /// The address to bind.
        bind: IpAddr,
    },
    /// The socket could not be bound.
    #[error("cannot bind to {bind} for {address}: {source}; bind must be an address of this machine")]
    Bind {
        /// The address to bind.
        bind: IpAddr,
        /// Host and port.
        address: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The socket is connected, and a layer on it cannot be used.
    #[error("cannot use the connection to {address}: {source}")]
    Layer {
        /// Host and port, or file.
        address: String,
        /// What the layer says.
        source: LayerError,
    },
    /// The socket could not be set up or connected.
    #[error("cannot connect to {address}: {source}")]
    Io {
        /// Host and port.
        address: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// How a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed the connection in an orderly way.
    #[error("the peer closed the connection")]
    EndOfStream,
    /// The peer reset the connection.
    #[error("the peer reset the connection")]
    Reset,
    /// A layer of the connection ended it.
    #[error("the connection ended: {0}")]
    Layer(LayerError),
    /// Reading or writing failed.
    #[error("the connection failed: {0}")]
    Io(Arc<io::Error>),
    /// The event loop that served the connection has ended.
    #[error("the event loop that served the connection has ended")]
    LoopEnded,
    /// This side closed the connection. Only an [`Outlet`](crate::Outlet) reports it: the
    /// machine that called [`Sink::close`](crate::Sink::close) gets no further input.
    #[error("this side closed the connection")]
    ThisSide,
}

impl CloseReason {
    /// Sorts an I/O error into its reason.
    pub fn from_io(error: io::Error) -> Self {
        if let Some(error) = LayerError::within(&error) {
            return Self::Layer(error.clone());
        }
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Self::Reset
            }
            io::ErrorKind::UnexpectedEof => Self::EndOfStream,
            _ => Self::Io(Arc::new(error)),
        }
    }
}
