//! Why a connection string cannot be used.

use alloc::string::String;

/// Why a connection string cannot be used. No variant ever holds a part of a password, and
/// no offset points into one.
///
/// ```
/// use amps_protocol::{Endpoint, EndpointError};
///
/// let error = "tcp://ada:s3cret@localhost/amps".parse::<Endpoint>().unwrap_err();
/// assert!(matches!(error, EndpointError::Syntax { offset: 26, .. }));
/// assert!(error.to_string().starts_with("invalid connection string at byte 26: it has no port"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It does not have the form of a connection string.
    #[error(
        "invalid connection string at byte {offset}: {problem}; write scheme://[user[:password]@]host:port/amps[/message_type][?parameters]"
    )]
    Syntax {
        /// Where in the text, counted from 0. For a fault in user or password, and where a
        /// password may have been torn apart, it is where the user begins.
        offset: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// The scheme is none that exists.
    #[error("unknown transport \"{scheme}\" in the connection string; use tcp, tcps, unix, ws or wss")]
    UnknownScheme {
        /// What was given.
        scheme: String,
    },
    /// The protocol is not `amps`, or something is before it that only an HTTP request can have.
    #[error(
        "unsupported protocol \"{protocol}\" in the connection string; only \"amps\" is supported, and segments of the path before it only with ws, wss or http_preflight=true"
    )]
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
