//! Everything that can go wrong, as one type.

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{EncodeError, EndpointError, FrameTooLong, HeaderError, ReasonClass, SowError};
use amps_transport::{CloseReason, ConnectError, LayerTrouble};

use crate::store_error::StoreError;

/// The result of a client call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed, or why a connection ended. Cheap to clone; no variant holds a password.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument that can never work.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// The connection string cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The connection string names a transport, or asks for a feature, that this build lacks.
    #[error("{feature} is not available in this build; use a plain tcp connection string")]
    Unavailable {
        /// What was asked for.
        feature: String,
    },
    /// No connection could be made.
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    /// A server chooser or a delay strategy has ended the attempts to connect.
    #[error("there is no server to try: {reason}")]
    NoServer {
        /// What it said.
        reason: String,
    },
    /// The server refused the logon.
    #[error("{server} refused the logon of \"{client}\": {reason}; {}", logon_advice(*.class))]
    LogonRefused {
        /// Where.
        server: String,
        /// The client name.
        client: String,
        /// What kind of refusal it is.
        class: ReasonClass,
        /// The server's words.
        reason: String,
    },
    /// The authenticator could not say what to log on with. Nothing was sent.
    #[error("the authenticator has no credentials for \"{client}\" at {server}: {source}")]
    Authenticator {
        /// Where.
        server: String,
        /// The client name.
        client: String,
        /// What the authenticator said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The server kept asking for another logon.
    #[error(
        "{server} answered {attempts} logons of \"{client}\" with another challenge; check the credentials"
    )]
    LogonRetries {
        /// Where.
        server: String,
        /// The client name.
        client: String,
        /// How many logons were sent.
        attempts: u32,
    },
    /// The server refused a command.
    #[error("{action}: the server refused it: {reason}{}", command_advice(*.class))]
    Refused {
        /// What was asked, in words.
        action: String,
        /// What kind of refusal it is.
        class: ReasonClass,
        /// The server's words.
        reason: String,
    },
    /// The server abandoned a command and asks to send it again.
    #[error("{action}: the server asks to try again")]
    TryAgain {
        /// What was asked, in words.
        action: String,
    },
    /// No answer in time.
    #[error("{action}: no answer within {after:?}; check that the server is alive, or allow more time")]
    TimedOut {
        /// What was asked, in words.
        action: String,
        /// The time that was allowed.
        after: Duration,
    },
    /// No message came while a stream was asked for one. Not final.
    #[error("no message came within {after:?}; the stream goes on")]
    Idle {
        /// How long it waited.
        after: Duration,
    },
    /// There is no connection, or it was lost while the call waited.
    #[error("not connected: {cause}")]
    Disconnected {
        /// How the connection ended, or why there is none.
        #[source]
        cause: DisconnectCause,
    },
    /// The client has a connection, or is about to have one.
    #[error("{0}")]
    AlreadyConnected(&'static str),
    /// A call that is not allowed here, above all one that would wait for itself.
    #[error("{0}")]
    Usage(&'static str),
    /// What waits to be sent has reached its limit, and the server takes nothing.
    #[error(
        "{queued} bytes wait to be sent and the server does not take them (limit {limit}); slow down, or raise `send_limit`"
    )]
    Full {
        /// Bytes waiting.
        queued: usize,
        /// The limit in force.
        limit: usize,
    },
    /// A stream that is to fail when it is full was full.
    #[error(
        "the stream was full with {depth} unread messages ({bytes} bytes) and has ended; read faster, raise its limits, or let it block"
    )]
    Overrun {
        /// Unread messages.
        depth: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The message is larger than a server accepts.
    #[error("the message is too large: {0}")]
    TooLarge(FrameTooLong),
    /// A message handler failed or panicked.
    #[error("the handler of subscription {subscription} failed: {text}")]
    Handler {
        /// The subscription id.
        subscription: String,
        /// What the handler said.
        text: String,
    },
    /// A stream goes on after a reconnect and may have missed messages. Not final.
    #[error("the subscription was resumed after a reconnect: messages published in between may be missing")]
    Resumed,
    /// `close` could not finish everything within its deadline.
    #[error("closed with work unfinished: {}; allow more time, or finish before closing", unfinished(*.unacknowledged, *.unpersisted))]
    Unfinished {
        /// Leased messages that were neither acknowledged nor cancelled; they go back to their queues.
        unacknowledged: u64,
        /// Messages in the publish store that no server has confirmed. A store that outlives the
        /// process sends them when it is used again.
        unpersisted: usize,
    },
    /// A store cannot be used, or could not keep something.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The publish store would have to grow, and the application has not allowed it.
    #[error(
        "the publish store is full: {kept} bytes wait for the server to persist them (capacity {capacity}); slow down, or allow it to grow"
    )]
    StoreFull {
        /// Bytes that are kept.
        kept: u64,
        /// The capacity in force.
        capacity: u64,
        /// The capacity that would do.
        proposed: u64,
    },
    /// The server has less of what this client published than another server had confirmed.
    #[error(
        "the server has this client's messages up to sequence number {server_has}, but {persisted} was confirmed before; it is behind the other servers: use one of those until it has caught up"
    )]
    PublishStoreGap {
        /// The last number that the server has.
        server_has: u64,
        /// The last number that was confirmed.
        persisted: u64,
    },
    /// A command was kept by the publish store and carried out, but its answer went down with a
    /// connection.
    #[error("{action}: the server has carried it out, but the connection was lost with its answer")]
    AnswerLost {
        /// What was asked, in words.
        action: String,
    },
    /// The event loop's thread could not be started.
    #[error("cannot start the event loop: {0}")]
    EventLoop(Arc<std::io::Error>),
}

/// How a connection ended, or why there is none.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectCause {
    /// No connection was made yet, or none is wanted any more.
    #[error("no connection is open; call connect, or wait for the reconnect")]
    NeverConnected,
    /// This client was closed.
    #[error("the client was closed")]
    ClosedByUser,
    /// The event loop that served this client has ended, by a fault of its own.
    #[error("the event loop of this client has ended; build a new client")]
    LoopEnded,
    /// The socket ended.
    #[error("{0}")]
    Socket(#[from] CloseReason),
    /// The server showed no sign of life.
    #[error(
        "nothing came from the server for {0:?} although heartbeats were agreed; the network or the server is down"
    )]
    Silent(Duration),
    /// The server sent something that is no AMPS frame.
    #[error("the server sent a frame that cannot be read: {0}; check that the port speaks AMPS")]
    BadHeader(HeaderError),
    /// The server sent a query result whose records cannot be told apart.
    #[error("the server sent records that cannot be read: {0}; report this to whoever runs it")]
    BadRecords(SowError),
    /// The server announced a frame beyond the limit.
    #[error("the server announced too long a frame: {0}")]
    BadFrame(FrameTooLong),
    /// A connection attempt failed, and no further one is planned.
    #[error("{0}")]
    GaveUp(#[source] Box<Error>),
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLong(error) => Self::TooLarge(error),
            other => Self::InvalidArgument(other.to_string()),
        }
    }
}

impl Error {
    pub(crate) const fn disconnected(cause: DisconnectCause) -> Self {
        Self::Disconnected { cause }
    }

    /// Sorts the error into the kinds that AMPS users know.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidArgument(_) => ErrorKind::InvalidArgument,
            Self::Endpoint(error) => match error {
                EndpointError::UnknownScheme { .. } => ErrorKind::TransportType,
                EndpointError::UnsupportedProtocol { .. } => ErrorKind::Protocol,
                EndpointError::Syntax { .. } => ErrorKind::InvalidUri,
                _ => ErrorKind::InvalidTransportOptions,
            },
            Self::Unavailable { .. } => ErrorKind::TransportType,
            Self::Connect(error) => match **error {
                ConnectError::Refused { .. } => ErrorKind::ConnectionRefused,
                ConnectError::TimedOut { .. } | ConnectError::HandshakeTimedOut { .. } => ErrorKind::TimedOut,
                ConnectError::Layer { ref source, .. } => match source.trouble() {
                    LayerTrouble::Authentication => ErrorKind::Authentication,
                    LayerTrouble::Refused => ErrorKind::ConnectionRefused,
                    _ => ErrorKind::Connection,
                },
                _ => ErrorKind::Connection,
            },
            Self::NoServer { .. } => ErrorKind::Connection,
            Self::LogonRefused { class, .. } | Self::Refused { class, .. } => ErrorKind::of(*class),
            Self::Authenticator { .. } => ErrorKind::Authentication,
            Self::LogonRetries { .. } | Self::TryAgain { .. } => ErrorKind::RetryOperation,
            Self::TimedOut { .. } | Self::Idle { .. } => ErrorKind::TimedOut,
            Self::Disconnected { cause } => match cause {
                DisconnectCause::BadHeader(_) | DisconnectCause::BadFrame(_) => ErrorKind::Protocol,
                DisconnectCause::BadRecords(_) => ErrorKind::Stream,
                _ => ErrorKind::Disconnected,
            },
            Self::AlreadyConnected(_) => ErrorKind::AlreadyConnected,
            Self::Usage(_) => ErrorKind::Usage,
            Self::Full { .. } | Self::Overrun { .. } => ErrorKind::Full,
            Self::TooLarge(_) => ErrorKind::InvalidArgument,
            Self::Handler { .. } => ErrorKind::MessageHandler,
            Self::Resumed => ErrorKind::Resumed,
            Self::Unfinished { .. } => ErrorKind::Unfinished,
            Self::Store(_) => ErrorKind::Store,
            Self::StoreFull { .. } => ErrorKind::Full,
            Self::AnswerLost { .. } => ErrorKind::Disconnected,
            Self::PublishStoreGap { .. } => ErrorKind::PublishStoreGap,
            Self::EventLoop(_) => ErrorKind::Connection,
        }
    }

    /// Whether the connection is, or was, the matter: the client may have none any more.
    pub fn is_connection(&self) -> bool {
        use ErrorKind as K;
        matches!(
            self.kind(),
            K::AlreadyConnected
                | K::Authentication
                | K::Connection
                | K::ConnectionRefused
                | K::Disconnected
                | K::InvalidTransportOptions
                | K::InvalidUri
                | K::MessageType
                | K::NameInUse
                | K::Protocol
                | K::RetryOperation
                | K::Stream
                | K::TransportType
        )
    }

    /// Whether the server refused a command. The client is as usable as before.
    pub fn is_command(&self) -> bool {
        use ErrorKind as K;
        matches!(
            self.kind(),
            K::BadFilter
                | K::BadRegexTopic
                | K::BadSowKey
                | K::Command
                | K::InvalidBookmark
                | K::InvalidOptions
                | K::InvalidSubscription
                | K::InvalidTopic
                | K::NotEntitled
                | K::NotLoggedOn
                | K::SubscriptionAlreadyExists
        )
    }

    /// Whether something took too long.
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::TimedOut
    }

    /// Whether trying the same call again later can succeed.
    pub fn is_retryable(&self) -> bool {
        use ErrorKind as K;
        matches!(
            self.kind(),
            K::TimedOut
                | K::Disconnected
                | K::ConnectionRefused
                | K::Connection
                | K::RetryOperation
                | K::Full
        )
    }
}

/// The kinds of error, under the names that AMPS users know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Rejected before anything was sent.
    InvalidArgument,
    /// The connection string is malformed.
    InvalidUri,
    /// A parameter of the connection string is unknown or has a bad value.
    InvalidTransportOptions,
    /// The transport is unknown or not available.
    TransportType,
    /// Another protocol than `amps`, or a peer that does not speak it.
    Protocol,
    /// What came over the connection is damaged.
    Stream,
    /// The peer refused the connection.
    ConnectionRefused,
    /// Another failure of the connection.
    Connection,
    /// No connection when one was needed.
    Disconnected,
    /// Credentials rejected.
    Authentication,
    /// The client name is taken.
    NameInUse,
    /// No permission.
    NotEntitled,
    /// The filter does not parse.
    BadFilter,
    /// The topic pattern does not compile.
    BadRegexTopic,
    /// The record key is missing or wrong.
    BadSowKey,
    /// The topic does not support the operation.
    InvalidTopic,
    /// An option is malformed or contradicts another.
    InvalidOptions,
    /// The bookmark is malformed or unknown.
    InvalidBookmark,
    /// No such subscription.
    InvalidSubscription,
    /// The subscription id is taken.
    SubscriptionAlreadyExists,
    /// The message type cannot be used.
    MessageType,
    /// The server wants a logon first.
    NotLoggedOn,
    /// The operation was abandoned and may be tried again.
    RetryOperation,
    /// No answer in time.
    TimedOut,
    /// The client is connected already.
    AlreadyConnected,
    /// Misuse of the API.
    Usage,
    /// Too much waits: to be sent, or to be read from a stream that fails then.
    Full,
    /// A message handler failed.
    MessageHandler,
    /// A stream goes on after a gap.
    Resumed,
    /// `close` left work undone.
    Unfinished,
    /// A store failed.
    Store,
    /// A server has less of what was published than another server had.
    PublishStoreGap,
    /// Another refusal by the server.
    Command,
}

impl ErrorKind {
    const fn of(class: ReasonClass) -> Self {
        match class {
            ReasonClass::Authentication => Self::Authentication,
            ReasonClass::NotEntitled => Self::NotEntitled,
            ReasonClass::BadFilter => Self::BadFilter,
            ReasonClass::BadRegexTopic => Self::BadRegexTopic,
            ReasonClass::BadSowKey => Self::BadSowKey,
            ReasonClass::InvalidTopic => Self::InvalidTopic,
            ReasonClass::NameInUse => Self::NameInUse,
            ReasonClass::SubscriptionAlreadyExists => Self::SubscriptionAlreadyExists,
            ReasonClass::InvalidOptions => Self::InvalidOptions,
            ReasonClass::InvalidBookmark => Self::InvalidBookmark,
            ReasonClass::InvalidSubscription => Self::InvalidSubscription,
            ReasonClass::MessageType => Self::MessageType,
            ReasonClass::NotLoggedOn => Self::NotLoggedOn,
            _ => Self::Command,
        }
    }
}

fn unfinished(unacknowledged: u64, unpersisted: usize) -> String {
    let acks = format!("{unacknowledged} messages were not acknowledged and go back to their queues");
    let publishes = format!("{unpersisted} messages in the publish store were not confirmed by a server");
    match (unacknowledged, unpersisted) {
        (_, 0) => acks,
        (0, _) => publishes,
        _ => format!("{acks}, and {publishes}"),
    }
}

const fn logon_advice(class: ReasonClass) -> &'static str {
    match class {
        ReasonClass::Authentication => "check user and password in the connection string",
        ReasonClass::NameInUse => "another client is connected under this name: give each its own",
        ReasonClass::NotEntitled => "ask for the permission to log on",
        ReasonClass::MessageType => "check the message type at the end of the connection string",
        _ => "the server's log may say more",
    }
}

const fn command_advice(class: ReasonClass) -> &'static str {
    match class {
        ReasonClass::BadFilter => " (AMPS writes AND, OR, NOT, = and /field)",
        ReasonClass::InvalidTopic => " (check that the topic is configured for this)",
        ReasonClass::NotEntitled => " (ask for the permission)",
        _ => "",
    }
}
