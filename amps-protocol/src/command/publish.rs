//! Publishing: whole messages, and partial updates.

use bytes::BytesMut;

use super::{Ask, CommandKind, Text, unless_empty};
use crate::ack::AckType;
use crate::error::FrameTooLong;
use crate::header::{Field, FrameWriter};

/// A message to be published, or a partial update of a record. Made by
/// [`Command::publish`](super::Command::publish) and
/// [`Command::delta_publish`](super::Command::delta_publish).
///
/// ```
/// use amps_protocol::Command;
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::publish("orders").sequence(1).ask_persisted().data(r#"{"id":1}"#).encode(&mut out)?;
/// assert_eq!(&out[4..], br#"{"c":"p","s":1,"t":"orders","a":"persisted"}{"id":1}"#);
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) kind: CommandKind,
    pub(super) topic: Text<'a>,
    pub(super) data: Text<'a>,
    pub(super) sequence: Option<u64>,
    pub(super) expiration: Option<u64>,
    pub(super) sow_key: Option<Text<'a>>,
    pub(super) correlation_id: Option<Text<'a>>,
}

impl<'a> Publish<'a> {
    #[inline]
    pub(super) fn new(kind: CommandKind, topic: Text<'a>) -> Self {
        Self {
            ask: Ask::default(),
            kind,
            topic,
            data: Text::default(),
            sequence: None,
            expiration: None,
            sow_key: None,
            correlation_id: None,
        }
    }

    /// The body: opaque bytes, empty by default.
    #[inline]
    #[must_use]
    pub fn data(mut self, data: impl Into<Text<'a>>) -> Self {
        self.data = data.into();
        self
    }

    /// The publisher's sequence number, strictly increasing per client name. The server drops
    /// a number that it has seen (protocol.md P-1, P-2). 0 means none.
    #[inline]
    #[must_use]
    pub fn sequence(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence).filter(|&sequence| sequence > 0);
        self
    }

    /// Seconds until the message expires; by default the topic decides.
    #[must_use]
    pub fn expiration(mut self, seconds: u64) -> Self {
        self.expiration = Some(seconds);
        self
    }

    /// The record's key, for topics whose publishers choose it.
    #[must_use]
    pub fn sow_key(mut self, key: impl Into<Text<'a>>) -> Self {
        self.sow_key = unless_empty(key);
        self
    }

    /// A mark of the publisher's own, passed through verbatim. Only the characters of Base64
    /// are safe in it.
    #[must_use]
    pub fn correlation_id(mut self, mark: impl Into<Text<'a>>) -> Self {
        self.correlation_id = unless_empty(mark);
        self
    }

    /// Asks to be told when the message is durable. The acknowledgements are conflated: they
    /// bear a sequence number and no command id, so the message needs the former only.
    #[inline]
    #[must_use]
    pub fn ask_persisted(mut self) -> Self {
        self.ask.acks = self.ask.acks.with(AckType::Persisted);
        self
    }

    /// `publish` or `delta_publish`.
    pub fn kind(&self) -> CommandKind {
        self.kind
    }

    /// The topic.
    pub fn get_topic(&self) -> &Text<'a> {
        &self.topic
    }

    /// The body.
    pub fn get_data(&self) -> &Text<'a> {
        &self.data
    }

    /// The sequence number, if it has one.
    pub fn get_sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Seconds until it expires, if it says so.
    pub fn get_expiration(&self) -> Option<u64> {
        self.expiration
    }

    /// The record key, if the publisher chose it.
    pub fn get_sow_key(&self) -> Option<&Text<'a>> {
        self.sow_key.as_ref()
    }

    /// The publisher's mark, if it has one.
    pub fn get_correlation_id(&self) -> Option<&Text<'a>> {
        self.correlation_id.as_ref()
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.topic.is_empty() {
            return Some("it has no topic");
        }
        // Only conflated acknowledgements come without an id, and those bear the sequence.
        let anonymous = self.ask.command_id.is_none() && self.sequence.is_none();
        (anonymous && !self.ask.acks.is_empty())
            .then_some("an acknowledgement needs a command id or a sequence number to be known by")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        FrameWriter::new(out, self.kind)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .maybe_number(Field::Sequence, self.sequence)
            .text(Field::Topic, &self.topic)
            .maybe_number(Field::Expiration, self.expiration)
            .maybe_text(Field::SowKey, self.sow_key.as_ref())
            .maybe_text(Field::CorrelationId, self.correlation_id.as_ref())
            .acks(self.ask.acks)
            .finish_within(self.data.as_bytes(), limit)
    }

    pub(super) fn into_owned(self) -> Publish<'static> {
        Publish {
            ask: self.ask.into_owned(),
            kind: self.kind,
            topic: self.topic.into_owned(),
            data: self.data.into_owned(),
            sequence: self.sequence,
            expiration: self.expiration,
            sow_key: self.sow_key.map(Text::into_owned),
            correlation_id: self.correlation_id.map(Text::into_owned),
        }
    }
}
