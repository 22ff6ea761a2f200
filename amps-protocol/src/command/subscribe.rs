//! Subscribing, and pausing and resuming replays.

use alloc::vec::Vec;

use bytes::BytesMut;

use super::setters::setters;
use super::{Ask, CommandKind, Text, unless_empty};
use crate::bookmark::{Position, ReplayFrom};
use crate::error::FrameTooLong;
use crate::header::{Field, FrameWriter};
use crate::ids::Id;
use crate::options::Options;

/// A subscription. Made by [`Command::subscribe`](super::Command::subscribe) and
/// [`Command::delta_subscribe`](super::Command::delta_subscribe).
///
/// ```
/// use amps_protocol::{AckType, Command, Options, ReplayFrom};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::subscribe("orders", 5)
///     .replay(ReplayFrom::epoch())
///     .options(Options::parse("rate=2X"))
///     .ask(5, AckType::Processed)
///     .encode(&mut out)?;
/// assert_eq!(
///     &out[4..],
///     br#"{"c":"subscribe","cid":"5","bm":"0","t":"orders","sub_id":"5","o":"rate=2X","a":"processed"}"#
/// );
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) kind: CommandKind,
    pub(super) topic: Text<'a>,
    pub(super) sub_id: Id<'a>,
    pub(super) filter: Option<Text<'a>>,
    pub(super) replay: Option<ReplayFrom>,
    /// Only together with `replay` (protocol.md OP-8).
    pub(super) top_n: Option<u64>,
    pub(super) options: Options,
}

impl<'a> Subscribe<'a> {
    pub(super) fn new(kind: CommandKind, topic: Text<'a>, sub_id: Id<'a>) -> Self {
        Self {
            ask: Ask::default(),
            kind,
            topic,
            sub_id,
            filter: None,
            replay: None,
            top_n: None,
            options: Options::new(),
        }
    }

    setters!(filter, options, get_topic, get_sub_id, get_filter, get_options);

    /// Replays the transaction log from there, and then goes on with what is published. This
    /// makes it a bookmark subscription.
    #[must_use]
    pub fn replay(mut self, from: ReplayFrom) -> Self {
        self.replay = Some(from);
        self.top_n = None;
        self
    }

    /// As [`replay`](Self::replay), but of at most so many messages. Such a limit exists for
    /// replays only, and not for one that begins at NOW.
    #[must_use]
    pub fn replay_at_most(mut self, from: ReplayFrom, messages: u64) -> Self {
        self.replay = Some(from);
        self.top_n = Some(messages);
        self
    }

    /// `subscribe` or `delta_subscribe`.
    pub fn kind(&self) -> CommandKind {
        self.kind
    }

    /// Where its replay begins, if it has one.
    pub fn get_replay(&self) -> Option<&ReplayFrom> {
        self.replay.as_ref()
    }

    /// The most messages of its replay, if there is a limit.
    pub fn get_top_n(&self) -> Option<u64> {
        self.top_n
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        let nothing_to_limit = |from: &ReplayFrom| from.position() == Some(Position::Now);
        if self.top_n.is_some() && self.replay.as_ref().is_some_and(nothing_to_limit) {
            return Some("a replay that begins at NOW has nothing that could be limited");
        }
        self.topic.is_empty().then_some("it has no topic")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        FrameWriter::new(out, self.kind)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .replay(self.replay.as_ref())
            .text(Field::Topic, &self.topic)
            .id(Field::SubId, &self.sub_id)
            .maybe_text(Field::Filter, self.filter.as_ref())
            .maybe_number(Field::TopN, self.top_n)
            .options(&self.options)
            .acks(self.ask.acks)
            .finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> Subscribe<'static> {
        Subscribe {
            ask: self.ask.into_owned(),
            kind: self.kind,
            topic: self.topic.into_owned(),
            sub_id: self.sub_id.into_owned(),
            filter: self.filter.map(Text::into_owned),
            replay: self.replay,
            top_n: self.top_n,
            options: self.options,
        }
    }
}

/// Pauses or resumes bookmark subscriptions. Made by
/// [`Command::pause`](super::Command::pause) and [`Command::resume`](super::Command::resume).
///
/// On the wire it is a `subscribe` with the option `pause` or `resume` (protocol.md OP-4);
/// here it cannot have what neither has: a filter, a bookmark, other options.
///
/// ```
/// use amps_protocol::{AckType, Command};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::resume("orders", [3, 5]).ask(7, AckType::Processed).encode(&mut out)?;
/// assert_eq!(
///     &out[4..],
///     br#"{"c":"subscribe","cid":"7","t":"orders","sub_id":"3,5","o":"resume","a":"processed"}"#
/// );
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayControl<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) topic: Text<'a>,
    pub(super) sub_ids: Vec<Id<'a>>,
    pub(super) resume: bool,
}

impl<'a> ReplayControl<'a> {
    pub(super) fn new(topic: Text<'a>, sub_ids: Vec<Id<'a>>, resume: bool) -> Self {
        Self { ask: Ask::default(), topic, sub_ids, resume }
    }

    setters!(get_topic);

    /// Always `subscribe`.
    pub fn kind(&self) -> CommandKind {
        CommandKind::Subscribe
    }

    /// The subscriptions.
    pub fn get_sub_ids(&self) -> &[Id<'a>] {
        &self.sub_ids
    }

    /// Whether it resumes; else it pauses.
    pub fn resumes(&self) -> bool {
        self.resume
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.sub_ids.is_empty() {
            return Some("it names no subscription");
        }
        self.topic.is_empty().then_some("it has no topic")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        FrameWriter::new(out, CommandKind::Subscribe)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .text(Field::Topic, &self.topic)
            .ids(Field::SubId, &self.sub_ids)
            .text(Field::Options, if self.resume { "resume" } else { "pause" })
            .acks(self.ask.acks)
            .finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> ReplayControl<'static> {
        ReplayControl {
            ask: self.ask.into_owned(),
            topic: self.topic.into_owned(),
            sub_ids: self.sub_ids.into_iter().map(Id::into_owned).collect(),
            resume: self.resume,
        }
    }
}
