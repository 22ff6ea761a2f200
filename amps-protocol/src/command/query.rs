//! Queries of the state of the world, alone and followed by a subscription.
//!
//! Three types instead of one with options that not all have: a plain query has no
//! subscription, and one followed by deltas has no bookmark (protocol.md 4.1).

use bytes::BytesMut;

use super::setters::setters;
use super::{Ask, CommandKind, Text, unless_empty};
use crate::bookmark::ReplayFrom;
use crate::error::FrameTooLong;
use crate::header::{Field, FrameWriter};
use crate::ids::Id;
use crate::options::Options;

/// A query. Made by [`Command::sow`](super::Command::sow).
///
/// ```
/// use amps_protocol::{AckType, Command, Options};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::sow("orders", 10)
///     .filter("/qty > 50")
///     .batch_size(10)
///     .options(Options::parse("top_n=2"))
///     .ask(10, AckType::Processed)
///     .encode(&mut out)?;
/// assert_eq!(
///     &out[4..],
///     br#"{"c":"sow","cid":"10","t":"orders","query_id":"10","f":"/qty > 50","bs":10,"o":"top_n=2","a":"processed"}"#
/// );
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sow<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) topic: Text<'a>,
    pub(super) query_id: Id<'a>,
    pub(super) filter: Option<Text<'a>>,
    pub(super) as_of: Option<ReplayFrom>,
    pub(super) order_by: Option<Text<'a>>,
    pub(super) batch_size: Option<u64>,
    pub(super) top_n: Option<u64>,
    pub(super) sow_keys: Option<Text<'a>>,
    pub(super) options: Options,
}

impl<'a> Sow<'a> {
    pub(super) fn new(topic: Text<'a>, id: Id<'a>) -> Self {
        Self {
            ask: Ask::default(),
            topic,
            query_id: id,
            filter: None,
            as_of: None,
            order_by: None,
            batch_size: None,
            top_n: None,
            sow_keys: None,
            options: Options::new(),
        }
    }

    setters!(filter, options, order_by, batch_size, top_n, sow_keys);
    setters!(get_topic, get_query_id, get_filter, get_options);
    setters!(get_order_by, get_batch_size, get_top_n, get_sow_keys);

    /// The state as it was there, for topics that keep their history; others ignore it.
    #[must_use]
    pub fn as_of(mut self, bookmark: ReplayFrom) -> Self {
        self.as_of = Some(bookmark);
        self
    }

    /// Always `sow`.
    pub fn kind(&self) -> CommandKind {
        CommandKind::Sow
    }

    /// The point of history that is asked for, if any.
    pub fn get_as_of(&self) -> Option<&ReplayFrom> {
        self.as_of.as_ref()
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        self.topic.is_empty().then_some("it has no topic")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        FrameWriter::new(out, CommandKind::Sow)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .replay(self.as_of.as_ref())
            .text(Field::Topic, &self.topic)
            .id(Field::QueryId, &self.query_id)
            .maybe_text(Field::Filter, self.filter.as_ref())
            .maybe_text(Field::OrderBy, self.order_by.as_ref())
            .maybe_number(Field::BatchSize, self.batch_size)
            .maybe_number(Field::TopN, self.top_n)
            .maybe_text(Field::SowKeys, self.sow_keys.as_ref())
            .options(&self.options)
            .acks(self.ask.acks)
            .finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> Sow<'static> {
        Sow {
            ask: self.ask.into_owned(),
            topic: self.topic.into_owned(),
            query_id: self.query_id.into_owned(),
            filter: self.filter.map(Text::into_owned),
            as_of: self.as_of,
            order_by: self.order_by.map(Text::into_owned),
            batch_size: self.batch_size,
            top_n: self.top_n,
            sow_keys: self.sow_keys.map(Text::into_owned),
            options: self.options,
        }
    }
}

/// A query, and a subscription that goes on from it. Made by
/// [`Command::sow_and_subscribe`](super::Command::sow_and_subscribe).
///
/// ```
/// use amps_protocol::{AckType, Command};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::sow_and_subscribe("orders", 11).ask(11, AckType::Processed).encode(&mut out)?;
/// assert_eq!(
///     &out[4..],
///     br#"{"c":"sow_and_subscribe","cid":"11","t":"orders","sub_id":"11","query_id":"11","a":"processed"}"#
/// );
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SowAndSubscribe<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) topic: Text<'a>,
    pub(super) sub_id: Id<'a>,
    pub(super) query_id: Id<'a>,
    pub(super) filter: Option<Text<'a>>,
    pub(super) replay: Option<ReplayFrom>,
    pub(super) order_by: Option<Text<'a>>,
    pub(super) batch_size: Option<u64>,
    pub(super) top_n: Option<u64>,
    pub(super) sow_keys: Option<Text<'a>>,
    pub(super) options: Options,
}

impl<'a> SowAndSubscribe<'a> {
    pub(super) fn new(topic: Text<'a>, id: Id<'a>) -> Self {
        Self {
            ask: Ask::default(),
            topic,
            sub_id: id.clone(),
            query_id: id,
            filter: None,
            replay: None,
            order_by: None,
            batch_size: None,
            top_n: None,
            sow_keys: None,
            options: Options::new(),
        }
    }

    setters!(filter, options, order_by, batch_size, top_n, sow_keys);
    setters!(get_topic, get_query_id, get_filter, get_options);
    setters!(get_order_by, get_batch_size, get_top_n, get_sow_keys);
    setters!(get_sub_id);

    /// Gives the query an id other than that of the subscription.
    #[must_use]
    pub fn query(mut self, query_id: impl Into<Id<'a>>) -> Self {
        self.query_id = query_id.into();
        self
    }

    /// The state as it was there, and then the transaction log from there on.
    #[must_use]
    pub fn replay(mut self, from: ReplayFrom) -> Self {
        self.replay = Some(from);
        self
    }

    /// Always `sow_and_subscribe`.
    pub fn kind(&self) -> CommandKind {
        CommandKind::SowAndSubscribe
    }

    /// Where it begins, if it has a bookmark.
    pub fn get_replay(&self) -> Option<&ReplayFrom> {
        self.replay.as_ref()
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        self.topic.is_empty().then_some("it has no topic")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        FrameWriter::new(out, CommandKind::SowAndSubscribe)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .replay(self.replay.as_ref())
            .text(Field::Topic, &self.topic)
            .id(Field::SubId, &self.sub_id)
            .id(Field::QueryId, &self.query_id)
            .maybe_text(Field::Filter, self.filter.as_ref())
            .maybe_text(Field::OrderBy, self.order_by.as_ref())
            .maybe_number(Field::BatchSize, self.batch_size)
            .maybe_number(Field::TopN, self.top_n)
            .maybe_text(Field::SowKeys, self.sow_keys.as_ref())
            .options(&self.options)
            .acks(self.ask.acks)
            .finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> SowAndSubscribe<'static> {
        SowAndSubscribe {
            ask: self.ask.into_owned(),
            topic: self.topic.into_owned(),
            sub_id: self.sub_id.into_owned(),
            query_id: self.query_id.into_owned(),
            filter: self.filter.map(Text::into_owned),
            replay: self.replay,
            order_by: self.order_by.map(Text::into_owned),
            batch_size: self.batch_size,
            top_n: self.top_n,
            sow_keys: self.sow_keys.map(Text::into_owned),
            options: self.options,
        }
    }
}

/// A query, and a subscription to changes that goes on from it. Made by
/// [`Command::sow_and_delta_subscribe`](super::Command::sow_and_delta_subscribe).
///
/// ```
/// use amps_protocol::{AckType, Command};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::sow_and_delta_subscribe("orders", 11).ask(11, AckType::Processed).encode(&mut out)?;
/// assert_eq!(
///     &out[4..],
///     br#"{"c":"sow_and_delta_subscribe","cid":"11","t":"orders","sub_id":"11","query_id":"11","a":"processed"}"#
/// );
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SowAndDeltaSubscribe<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) topic: Text<'a>,
    pub(super) sub_id: Id<'a>,
    pub(super) query_id: Id<'a>,
    pub(super) filter: Option<Text<'a>>,
    pub(super) order_by: Option<Text<'a>>,
    pub(super) batch_size: Option<u64>,
    pub(super) top_n: Option<u64>,
    pub(super) sow_keys: Option<Text<'a>>,
    pub(super) options: Options,
}

impl<'a> SowAndDeltaSubscribe<'a> {
    pub(super) fn new(topic: Text<'a>, id: Id<'a>) -> Self {
        Self {
            ask: Ask::default(),
            topic,
            sub_id: id.clone(),
            query_id: id,
            filter: None,
            order_by: None,
            batch_size: None,
            top_n: None,
            sow_keys: None,
            options: Options::new(),
        }
    }

    setters!(filter, options, order_by, batch_size, top_n, sow_keys);
    setters!(get_topic, get_query_id, get_filter, get_options);
    setters!(get_order_by, get_batch_size, get_top_n, get_sow_keys);
    setters!(get_sub_id);

    /// Gives the query an id other than that of the subscription.
    #[must_use]
    pub fn query(mut self, query_id: impl Into<Id<'a>>) -> Self {
        self.query_id = query_id.into();
        self
    }

    /// Always `sow_and_delta_subscribe`.
    pub fn kind(&self) -> CommandKind {
        CommandKind::SowAndDeltaSubscribe
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        self.topic.is_empty().then_some("it has no topic")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        FrameWriter::new(out, CommandKind::SowAndDeltaSubscribe)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .text(Field::Topic, &self.topic)
            .id(Field::SubId, &self.sub_id)
            .id(Field::QueryId, &self.query_id)
            .maybe_text(Field::Filter, self.filter.as_ref())
            .maybe_text(Field::OrderBy, self.order_by.as_ref())
            .maybe_number(Field::BatchSize, self.batch_size)
            .maybe_number(Field::TopN, self.top_n)
            .maybe_text(Field::SowKeys, self.sow_keys.as_ref())
            .options(&self.options)
            .acks(self.ask.acks)
            .finish_within(b"", limit)
    }

    pub(super) fn into_owned(self) -> SowAndDeltaSubscribe<'static> {
        SowAndDeltaSubscribe {
            ask: self.ask.into_owned(),
            topic: self.topic.into_owned(),
            sub_id: self.sub_id.into_owned(),
            query_id: self.query_id.into_owned(),
            filter: self.filter.map(Text::into_owned),
            order_by: self.order_by.map(Text::into_owned),
            batch_size: self.batch_size,
            top_n: self.top_n,
            sow_keys: self.sow_keys.map(Text::into_owned),
            options: self.options,
        }
    }
}
