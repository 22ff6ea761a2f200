//! The commands around the work: logging on, ending subscriptions, flushing, heartbeats.

use alloc::vec::Vec;

use bytes::BytesMut;

use super::setters::setters;
use super::text::Secret;
use super::{Ask, CommandKind, Text, unless_empty};
use crate::ack::{AckType, AckTypes};
use crate::error::FrameTooLong;
use crate::header::{Field, FrameWriter};
use crate::ids::Id;
use crate::options::{HeartbeatRequest, Options};

/// Identifies and authenticates a connection: the first command on it. Made by
/// [`Command::logon`](super::Command::logon).
///
/// `Debug` never shows the password.
///
/// ```
/// use amps_protocol::Command;
/// use bytes::BytesMut;
///
/// let logon = Command::logon(0, "worker-1")
///     .user_id("alice")
///     .password("s3cret")
///     .message_type("json")
///     .version("0.1.0:rust");
/// assert!(!format!("{logon:?}").contains("s3cret"));
///
/// let mut out = BytesMut::new();
/// logon.encode(&mut out)?;
/// assert!(out.ends_with(br#""pw":"s3cret","mt":"json","a":"processed","version":"0.1.0:rust"}"#));
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logon<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) client_name: Text<'a>,
    pub(super) user_id: Option<Text<'a>>,
    pub(super) password: Option<Secret<'a>>,
    pub(super) message_type: Option<Text<'a>>,
    pub(super) correlation_id: Option<Text<'a>>,
    pub(super) version: Option<Text<'a>>,
    pub(super) options: Options,
}

impl<'a> Logon<'a> {
    pub(super) fn new(command_id: Id<'a>, client_name: Text<'a>) -> Self {
        Self {
            ask: Ask { command_id: Some(command_id), acks: AckType::Processed.into() },
            client_name,
            user_id: None,
            password: None,
            message_type: None,
            correlation_id: None,
            version: None,
            options: Options::new(),
        }
    }

    setters!(options, get_options);

    /// The user who logs on.
    #[must_use]
    pub fn user_id(mut self, user: impl Into<Text<'a>>) -> Self {
        self.user_id = unless_empty(user);
        self
    }

    /// The password or token.
    #[must_use]
    pub fn password(mut self, password: impl Into<Text<'a>>) -> Self {
        self.password = unless_empty(password).map(Secret);
        self
    }

    /// The message type of the connection, such as `json`; without it the server's transport
    /// decides, if it has a fixed one.
    #[must_use]
    pub fn message_type(mut self, message_type: impl Into<Text<'a>>) -> Self {
        self.message_type = unless_empty(message_type);
        self
    }

    /// A mark of the client's own that the server logs. Only the characters of Base64 are
    /// safe in it.
    #[must_use]
    pub fn correlation_id(mut self, mark: impl Into<Text<'a>>) -> Self {
        self.correlation_id = unless_empty(mark);
        self
    }

    /// The client's version, for the server's log.
    #[must_use]
    pub fn version(mut self, version: impl Into<Text<'a>>) -> Self {
        self.version = unless_empty(version);
        self
    }

    /// Always `logon`.
    pub fn kind(&self) -> CommandKind {
        CommandKind::Logon
    }

    /// The name of the client.
    pub fn get_client_name(&self) -> &Text<'a> {
        &self.client_name
    }

    /// The user, if one is given.
    pub fn get_user_id(&self) -> Option<&Text<'a>> {
        self.user_id.as_ref()
    }

    /// The password itself, if one is given. Keep it out of logs.
    pub fn reveal_password(&self) -> Option<&[u8]> {
        self.password.as_ref().map(|password| password.0.as_bytes())
    }

    /// The message type, if it names one.
    pub fn get_message_type(&self) -> Option<&Text<'a>> {
        self.message_type.as_ref()
    }

    /// The client's mark, if it has one.
    pub fn get_correlation_id(&self) -> Option<&Text<'a>> {
        self.correlation_id.as_ref()
    }

    /// The client's version, if it says.
    pub fn get_version(&self) -> Option<&Text<'a>> {
        self.version.as_ref()
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        self.client_name.is_empty().then_some("it has no client name")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        FrameWriter::new(out, CommandKind::Logon)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .text(Field::ClientName, &self.client_name)
            .maybe_text(Field::UserId, self.user_id.as_ref())
            .maybe_text(Field::Password, self.reveal_password())
            .maybe_text(Field::MessageType, self.message_type.as_ref())
            .maybe_text(Field::CorrelationId, self.correlation_id.as_ref())
            .options(&self.options)
            .acks(self.ask.acks)
            .maybe_text(Field::Version, self.version.as_ref())
            .finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> Logon<'static> {
        Logon {
            ask: self.ask.into_owned(),
            client_name: self.client_name.into_owned(),
            user_id: self.user_id.map(Text::into_owned),
            password: self.password.map(|Secret(password)| Secret(password.into_owned())),
            message_type: self.message_type.map(Text::into_owned),
            correlation_id: self.correlation_id.map(Text::into_owned),
            version: self.version.map(Text::into_owned),
            options: self.options,
        }
    }
}

/// Ends subscriptions, cancels queries, or both. Made by
/// [`Command::unsubscribe`](super::Command::unsubscribe),
/// [`unsubscribe_all`](super::Command::unsubscribe_all) and
/// [`cancel_queries`](super::Command::cancel_queries).
///
/// ```
/// use amps_protocol::Command;
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::unsubscribe([1, 2]).and_queries([7]).encode(&mut out)?;
/// assert_eq!(&out[4..], br#"{"c":"unsubscribe","sub_id":"1,2","query_id":"7"}"#);
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) subscriptions: Ended<'a>,
    pub(super) query_ids: Vec<Id<'a>>,
}

/// Which subscriptions end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended<'a> {
    All,
    These(Vec<Id<'a>>),
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn ids(sub_ids: Vec<Id<'a>>) -> Self {
        Self { ask: Ask::default(), subscriptions: Ended::These(sub_ids), query_ids: Vec::new() }
    }

    pub(super) fn all() -> Self {
        Self { ask: Ask::default(), subscriptions: Ended::All, query_ids: Vec::new() }
    }

    pub(super) fn queries(query_ids: Vec<Id<'a>>) -> Self {
        Self { ask: Ask::default(), subscriptions: Ended::These(Vec::new()), query_ids }
    }

    /// Cancels these running queries too.
    #[must_use]
    pub fn and_queries<I: Into<Id<'a>>>(mut self, query_ids: impl IntoIterator<Item = I>) -> Self {
        self.query_ids.extend(query_ids.into_iter().map(Into::into));
        self
    }

    /// Always `unsubscribe`.
    pub fn kind(&self) -> CommandKind {
        CommandKind::Unsubscribe
    }

    /// Whether every subscription of the connection ends.
    pub fn ends_all(&self) -> bool {
        self.subscriptions == Ended::All
    }

    /// The subscriptions that end; empty if all do.
    pub fn get_sub_ids(&self) -> &[Id<'a>] {
        match &self.subscriptions {
            Ended::All => &[],
            Ended::These(ids) => ids,
        }
    }

    /// The queries that are cancelled.
    pub fn get_query_ids(&self) -> &[Id<'a>] {
        &self.query_ids
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        let nothing = matches!(&self.subscriptions, Ended::These(ids) if ids.is_empty());
        (nothing && self.query_ids.is_empty()).then_some("it names neither subscription nor query")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        let mut frame = FrameWriter::new(out, CommandKind::Unsubscribe)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref());
        frame = match &self.subscriptions {
            Ended::All => frame.text(Field::SubId, "all"),
            Ended::These(ids) => frame.ids(Field::SubId, ids),
        };
        frame.ids(Field::QueryId, &self.query_ids).acks(self.ask.acks).finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> Unsubscribe<'static> {
        let owned = |ids: Vec<Id<'a>>| ids.into_iter().map(Id::into_owned).collect();
        Unsubscribe {
            ask: self.ask.into_owned(),
            subscriptions: match self.subscriptions {
                Ended::All => Ended::All,
                Ended::These(ids) => Ended::These(owned(ids)),
            },
            query_ids: owned(self.query_ids),
        }
    }
}

/// Asks to be told when everything that this connection sent before was processed. Made by
/// [`Command::flush`](super::Command::flush).
///
/// ```
/// use amps_protocol::{AckType, Command};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::flush(18, AckType::Completed).encode(&mut out)?;
/// assert_eq!(&out[4..], br#"{"c":"flush","cid":"18","a":"completed"}"#);
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flush<'a> {
    pub(super) ask: Ask<'a>,
}

impl<'a> Flush<'a> {
    pub(super) fn new(command_id: Id<'a>, acks: AckTypes) -> Self {
        Self { ask: Ask { command_id: Some(command_id), acks } }
    }

    /// Always `flush`.
    pub fn kind(&self) -> CommandKind {
        CommandKind::Flush
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        self.ask.acks.is_empty().then_some("it asks for no acknowledgement, so nothing would come of it")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        FrameWriter::new(out, CommandKind::Flush)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .acks(self.ask.acks)
            .finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> Flush<'static> {
        Flush { ask: self.ask.into_owned() }
    }
}

/// Starts or stops heartbeats, or shows a sign of life. Made by
/// [`Command::heartbeat`](super::Command::heartbeat).
///
/// ```
/// use amps_protocol::{AckType, Command, HeartbeatRequest};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::heartbeat(HeartbeatRequest::Start(5)).ask(19, AckType::Processed).encode(&mut out)?;
/// assert_eq!(&out[4..], br#"{"c":"heartbeat","cid":"19","o":"start,5","a":"processed"}"#);
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) request: HeartbeatRequest,
}

impl<'a> Heartbeat<'a> {
    pub(super) fn new(request: HeartbeatRequest) -> Self {
        Self { ask: Ask::default(), request }
    }

    /// Always `heartbeat`.
    pub fn kind(&self) -> CommandKind {
        CommandKind::Heartbeat
    }

    /// What it asks for.
    pub fn get_request(&self) -> HeartbeatRequest {
        self.request
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        None
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        let frame = FrameWriter::new(out, CommandKind::Heartbeat)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref());
        match self.request {
            HeartbeatRequest::Start(seconds) => {
                let mut digits = itoa::Buffer::new();
                frame.pieces(Field::Options, ["start,", digits.format(seconds)])
            }
            HeartbeatRequest::Beat => frame.text(Field::Options, "beat"),
            HeartbeatRequest::Stop => frame.text(Field::Options, "stop"),
        }
        .acks(self.ask.acks)
        .finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> Heartbeat<'static> {
        Heartbeat { ask: self.ask.into_owned(), request: self.request }
    }
}

/// Legacy: starts or stops a timer. Made by
/// [`Command::start_timer`](super::Command::start_timer) and
/// [`Command::stop_timer`](super::Command::stop_timer).
///
/// ```
/// use amps_protocol::Command;
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::start_timer(3).topic("orders").encode(&mut out)?;
/// assert_eq!(&out[4..], br#"{"c":"start_timer","cid":"3","t":"orders"}"#);
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) kind: CommandKind,
    pub(super) topic: Option<Text<'a>>,
    pub(super) options: Options,
}

impl<'a> Timer<'a> {
    pub(super) fn new(kind: CommandKind, command_id: Id<'a>) -> Self {
        let ask = Ask { command_id: Some(command_id), acks: AckTypes::NONE };
        Self { ask, kind, topic: None, options: Options::new() }
    }

    setters!(options);

    /// The topic.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<Text<'a>>) -> Self {
        self.topic = unless_empty(topic);
        self
    }

    /// `start_timer` or `stop_timer`.
    pub fn kind(&self) -> CommandKind {
        self.kind
    }

    /// The topic, if it has one.
    pub fn get_topic(&self) -> Option<&Text<'a>> {
        self.topic.as_ref()
    }

    /// The options.
    pub fn get_options(&self) -> &Options {
        &self.options
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        None
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        FrameWriter::new(out, self.kind)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .maybe_text(Field::Topic, self.topic.as_ref())
            .options(&self.options)
            .acks(self.ask.acks)
            .finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> Timer<'static> {
        Timer {
            ask: self.ask.into_owned(),
            kind: self.kind,
            topic: self.topic.map(Text::into_owned),
            options: self.options,
        }
    }
}
