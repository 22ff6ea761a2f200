//! Deleting records, and settling queue messages, which is the same command.

use alloc::vec::Vec;

use bytes::BytesMut;

use super::setters::setters;
use super::{Ask, CommandKind, Text};
use crate::ack::AckType;
use crate::error::FrameTooLong;
use crate::header::{Field, FrameWriter};
use crate::options::{Interval, OptionName, Options};

/// What a `sow_delete` deletes: said in one of four ways, never in two, because what two
/// would do is undefined (protocol.md C-9).
///
/// ```
/// use amps_protocol::{Command, Delete, QueueAction};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// let returned = Delete::messages(["12|5|", "12|6|"], QueueAction::Cancel);
/// Command::sow_delete("work", returned).encode(&mut out)?;
/// assert_eq!(&out[4..], br#"{"c":"sow_delete","bm":"12|5|,12|6|","t":"work","o":"cancel"}"#);
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete<'a> {
    /// The records that satisfy a filter, or the messages of a queue that do, leased or not.
    Filter {
        /// The filter; `1=1` is all of them.
        filter: Text<'a>,
        /// What becomes of queue messages. Records are deleted; for them leave the default.
        action: QueueAction,
    },
    /// The records with these keys, comma separated. Keys are text, not numbers.
    Keys(Text<'a>),
    /// The record that this message would be stored in.
    Data(Text<'a>),
    /// Messages of a queue, and what becomes of them.
    Messages {
        /// Their bookmarks, as they came, comma separated.
        bookmarks: Text<'a>,
        /// What becomes of them.
        action: QueueAction,
    },
}

/// What becomes of queue messages.
///
/// ```
/// use amps_protocol::QueueAction;
/// assert_eq!(QueueAction::default(), QueueAction::Acknowledge);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueAction {
    /// They are done and leave the queue.
    #[default]
    Acknowledge,
    /// They go back to the queue, for somebody else.
    Cancel,
    /// They expire now.
    Expire,
    /// Their leases last that much longer.
    ExtendLease(Interval),
    /// Options that this crate has no name for, to be judged by the server.
    Other(Options),
}

impl<'a> Delete<'a> {
    /// Every record of the topic.
    pub fn all() -> Self {
        Self::filter("1=1")
    }

    /// The records that satisfy a filter. On a queue, every message that satisfies it is
    /// acknowledged, leased or not.
    pub fn filter(filter: impl Into<Text<'a>>) -> Self {
        Self::Filter { filter: filter.into(), action: QueueAction::default() }
    }

    /// The records with these keys.
    pub fn keys<T: AsRef<[u8]>>(keys: impl IntoIterator<Item = T>) -> Self {
        Self::Keys(joined(keys))
    }

    /// Messages of a queue, by their bookmarks.
    pub fn messages<T: AsRef<[u8]>>(bookmarks: impl IntoIterator<Item = T>, action: QueueAction) -> Self {
        Self::Messages { bookmarks: joined(bookmarks), action }
    }

    fn into_owned(self) -> Delete<'static> {
        match self {
            Self::Filter { filter, action } => Delete::Filter { filter: filter.into_owned(), action },
            Self::Keys(keys) => Delete::Keys(keys.into_owned()),
            Self::Data(data) => Delete::Data(data.into_owned()),
            Self::Messages { bookmarks, action } => {
                Delete::Messages { bookmarks: bookmarks.into_owned(), action }
            }
        }
    }
}

fn joined<T: AsRef<[u8]>>(items: impl IntoIterator<Item = T>) -> Text<'static> {
    let mut list = Vec::new();
    for item in items {
        if !list.is_empty() {
            list.push(b',');
        }
        list.extend_from_slice(item.as_ref());
    }
    list.into()
}

impl QueueAction {
    /// What the options of the command say.
    pub(super) fn of(options: Options) -> Self {
        let only = |name: OptionName| options.len() == 1 && options.contains(name.token());
        let bare = |name: OptionName| only(name) && options.get(name.token()).is_none();
        if options.is_empty() {
            Self::Acknowledge
        } else if bare(OptionName::Cancel) {
            Self::Cancel
        } else if bare(OptionName::Expire) {
            Self::Expire
        } else {
            match options.lease_extension() {
                Ok(Some(longer)) if only(OptionName::LeaseExtension) => Self::ExtendLease(longer),
                _ => Self::Other(options),
            }
        }
    }

    fn write<'w>(&self, frame: FrameWriter<'w>) -> FrameWriter<'w> {
        match self {
            Self::Acknowledge => frame,
            Self::Cancel => frame.text(Field::Options, OptionName::Cancel.token()),
            Self::Expire => frame.text(Field::Options, OptionName::Expire.token()),
            Self::ExtendLease(longer) => {
                let mut options = Options::new();
                options.set_lease_extension(*longer);
                frame.options(&options)
            }
            Self::Other(options) => frame.options(options),
        }
    }
}

/// Deletes records, or settles queue messages. Made by
/// [`Command::sow_delete`](super::Command::sow_delete).
///
/// ```
/// use amps_protocol::{AckType, Command, Delete};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::sow_delete("orders", Delete::all()).ask(13, AckType::Stats).encode(&mut out)?;
/// assert_eq!(&out[4..], br#"{"c":"sow_delete","cid":"13","t":"orders","f":"1=1","a":"stats"}"#);
/// # Ok::<(), amps_protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SowDelete<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) topic: Text<'a>,
    pub(super) what: Delete<'a>,
    pub(super) sequence: Option<u64>,
}

impl<'a> SowDelete<'a> {
    pub(super) fn new(topic: Text<'a>, what: Delete<'a>) -> Self {
        Self { ask: Ask::default(), topic, what, sequence: None }
    }

    setters!(get_topic);

    /// The publisher's sequence number: deleting changes what is stored, as publishing does.
    /// 0 means none.
    #[must_use]
    pub fn sequence(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence).filter(|&sequence| sequence > 0);
        self
    }

    /// Asks to be told when the deletion is durable. The acknowledgements are conflated: they
    /// bear a sequence number and no command id.
    #[must_use]
    pub fn ask_persisted(mut self) -> Self {
        self.ask.acks = self.ask.acks.with(AckType::Persisted);
        self
    }

    /// Always `sow_delete`.
    pub fn kind(&self) -> CommandKind {
        CommandKind::SowDelete
    }

    /// What it deletes.
    pub fn get_what(&self) -> &Delete<'a> {
        &self.what
    }

    /// The sequence number, if it has one.
    pub fn get_sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// What keeps it from being sent.
    #[inline]
    pub(super) fn problem(&self) -> Option<&'static str> {
        let nothing = match &self.what {
            Delete::Filter { filter, .. } => filter.is_empty(),
            Delete::Keys(keys) => keys.is_empty(),
            Delete::Data(data) => data.is_empty(),
            Delete::Messages { bookmarks, .. } => bookmarks.is_empty(),
        };
        if nothing {
            return Some("it does not say what to delete");
        }
        self.topic.is_empty().then_some("it has no topic")
    }

    #[inline]
    pub(super) fn write(&self, out: &mut BytesMut, limit: usize) -> Result<usize, FrameTooLong> {
        let (mut filter, mut keys, mut messages, mut data) = (None, None, None, &b""[..]);
        let mut becomes = &QueueAction::Acknowledge;
        match &self.what {
            Delete::Filter { filter: text, action } => (filter, becomes) = (Some(text), action),
            Delete::Keys(text) => keys = Some(text),
            Delete::Data(text) => data = text.as_bytes(),
            Delete::Messages { bookmarks, action } => (messages, becomes) = (Some(bookmarks), action),
        }
        let frame = FrameWriter::new(out, CommandKind::SowDelete)
            .maybe_id(Field::CommandId, self.ask.command_id.as_ref())
            .maybe_number(Field::Sequence, self.sequence)
            .maybe_text(Field::Bookmark, messages)
            .text(Field::Topic, &self.topic)
            .maybe_text(Field::Filter, filter)
            .maybe_text(Field::SowKeys, keys);
        becomes.write(frame).acks(self.ask.acks).finish_within(data, limit)
    }

    pub(super) fn into_owned(self) -> SowDelete<'static> {
        SowDelete {
            ask: self.ask.into_owned(),
            topic: self.topic.into_owned(),
            what: self.what.into_owned(),
            sequence: self.sequence,
        }
    }
}
