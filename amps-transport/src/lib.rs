//! A mio event loop that moves bytes between sockets and pure state machines.
//!
//! A protocol is written as a [`Machine`]: a plain value that is told what happens and says
//! what it wants, and knows neither sockets nor threads nor clocks. An [`EventLoop`] is one
//! thread that drives any number of machines, with all of their connections and timers; a
//! [`MachineHandle`] reaches one of them from any other thread. Threads that must not wait for
//! the loop write straight into a socket with the connection's [`Outlet`].
//!
//! ```
//! use amps_transport::{EventLoop, Input, Machine, Sink, SocketOptions, Time};
//! use std::io::{Read, Write};
//!
//! /// Sends back whatever it receives.
//! struct Echo;
//!
//! impl Machine for Echo {
//!     type Note = ();
//!
//!     fn handle<S: Sink>(&mut self, _now: Time, input: Input<'_, ()>, sink: &mut S) {
//!         if let Input::Received { conn, bytes } = input {
//!             sink.send(conn, &bytes.split());
//!         }
//!     }
//!
//!     fn deadline(&self) -> Option<Time> {
//!         None
//!     }
//! }
//!
//! let event_loop = EventLoop::start("echo")?;
//! let echo = event_loop.add(Echo);
//! let (_, address) = echo.listen("127.0.0.1:0".parse().unwrap(), SocketOptions::default())?;
//!
//! let mut peer = std::net::TcpStream::connect(address)?;
//! peer.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! peer.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]
// On docs.rs: which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

/// The example of the README runs with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod machine;
pub use machine::{
    Address, AddressFamily, CloseMode, ConnId, Connector, CustomStream, Input, ListenerId, Machine, Sink,
    SocketOptions, Target,
};

mod time;
pub use time::{Clock, Time};

mod error;
pub use error::{CloseReason, ConnectError};

mod event_loop;
pub use event_loop::{EventLoop, Idle, MachineHandle, Prepared};

mod layer;
pub use layer::{Layer, LayerError, LayerState, LayerTrouble, Layers, MakeLayer};

mod http;
pub use http::{HttpConfigError, HttpHeaders};

mod preflight;
pub use preflight::{HttpConnect, Preflight};

mod detect;
pub use detect::Detect;

#[cfg(feature = "websocket")]
mod websocket;
#[cfg(feature = "websocket")]
pub use websocket::{WebSocket, WebSocketServer};

#[cfg(feature = "zlib")]
mod zlib;
#[cfg(feature = "zlib")]
pub use zlib::Zlib;

#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls-self-signed")]
pub use tls::CaPem;
#[cfg(feature = "tls")]
pub use tls::{TlsClient, TlsClientBuilder, TlsServer, TlsServerBuilder, TlsSetupError, TlsVersion};

mod outlet;
pub use outlet::{Outlet, Written};

mod connect;
mod connection;
mod deadlines;
mod driver;
mod listener;
mod mailbox;
mod sink;
mod stack;
mod stream;
mod timetable;
