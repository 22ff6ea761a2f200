//! What an observer of the engine can see.
//!
//! Owns the vocabulary only. Events are gathered while an input is handled, in the order in
//! which things happened, and taken by the driver afterwards.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use amps_protocol::Message;
use amps_transport::ConnId;

use super::lint::Noted;
use crate::fault::Firing;

/// How much the engine reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Observe {
    /// Nothing.
    Nothing,
    /// Connections, and what clients send except publishes.
    #[default]
    Commands,
    /// Every frame, in both directions.
    All,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client connected.
    Accepted {
        /// The connection.
        conn: ConnId,
        /// Its number, counted from 0.
        index: u64,
        /// The address of the client.
        peer: Option<SocketAddr>,
    },
    /// A client logged on.
    LoggedOn {
        /// The connection.
        conn: ConnId,
        /// The name of the client.
        client: Arc<str>,
    },
    /// A client sent a frame.
    Received {
        /// The connection.
        conn: ConnId,
        /// The frame.
        message: Message,
    },
    /// The server sent a frame.
    Sent {
        /// The connection.
        conn: ConnId,
        /// The frame.
        message: Message,
    },
    /// A connection ended.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: Disconnect,
    },
    /// A scripted fault fired.
    Fault {
        /// The connection that it concerns; one that does not exist if it concerns none.
        conn: ConnId,
        /// Which one, and why.
        firing: Firing,
    },
    /// Something a client should perhaps not have done.
    Noted {
        /// The connection.
        conn: ConnId,
        /// What.
        noted: Noted,
    },
}

impl Event {
    /// The connection of what concerns none.
    pub(crate) const NOBODY: ConnId = ConnId(u64::MAX);
}

/// Why a connection ended (server.md CONN-80).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnect {
    /// The client went away.
    ConnectionClosed,
    /// Another connection took the client name.
    NameInUse,
    /// No sign of life.
    Heartbeat,
    /// An unknown command, or malformed input.
    UnknownCommand,
    /// The logon was refused, or missing.
    Auth,
    /// The user may not log on, or not any more.
    Entitlement,
    /// What the user may do has changed.
    EntitlementReset,
    /// It did not take what it was sent.
    SlowClient,
    /// The test, or the server's stop, ended it.
    Dropped,
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionClosed => "connection closed",
            Self::NameInUse => "name in use",
            Self::Heartbeat => "heartbeat",
            Self::UnknownCommand => "unknown command",
            Self::Auth => "auth",
            Self::Entitlement => "entitlement",
            Self::EntitlementReset => "entitlement reset",
            Self::SlowClient => "slow client",
            Self::Dropped => "dropped",
        })
    }
}
