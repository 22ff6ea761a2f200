//! One frame together with the index of its header.

use core::fmt;

use bstr::BStr;
use bytes::{Bytes, BytesMut};

use crate::ack::{AckType, AckTypes, Status};
use crate::command::CommandKind;
use crate::error::HeaderError;
use crate::header::{Field, Header, Members};
use crate::ids::Ids;
use crate::lease::LeaseEnd;
use crate::reason::OofReason;
use crate::sow_batch::{RecordPosition, Records, SharedRecords};
use crate::timestamp::parse_timestamp;
use crate::version::ServerVersion;

/// A decoded frame, borrowed (`Message<&[u8]>`) or owned (`Message<Bytes>`, which shares the
/// bytes that were received).
///
/// Text fields are byte strings, UTF-8 by convention: they come as [`BStr`], which compares
/// with `str`, prints readably and derefs to `[u8]`. An absent field is `None`; a number
/// that does not parse counts as absent.
///
/// `Debug` shows every field but a password, and the length of the body instead of the body.
///
/// ```
/// use amps_protocol::{CommandKind, Message};
///
/// let frame = br#"{"c":"p","t":"orders","s":7,"bm":"12|7|","sids":"1,4"}{"id":1}"#;
/// let message = Message::decode(&frame[..])?;
/// assert_eq!(message.command(), CommandKind::Publish);
/// assert_eq!(message.topic().unwrap(), "orders");
/// assert_eq!(message.sequence(), Some(7));
/// assert_eq!(message.ids().collect::<Vec<_>>(), ["1", "4"]);
/// assert_eq!(message.correlation_id(), None);
/// assert_eq!(message.data(), br#"{"id":1}"#);
/// # Ok::<(), amps_protocol::HeaderError>(())
/// ```
#[derive(Clone)]
pub struct Message<B = Bytes> {
    frame: B,
    header: Header,
}

impl Message {
    /// The whole frame, to be sliced without copying it.
    pub const fn frame_bytes(&self) -> &Bytes {
        &self.frame
    }

    /// The body, sharing the bytes of the frame: nothing is copied, and the frame lives as
    /// long as the body does.
    pub fn data_bytes(&self) -> Bytes {
        self.frame.slice(self.header.body_offset().min(self.frame.len())..)
    }

    /// The records of a `sow` frame, each with its own share of the frame's bytes.
    pub fn into_records(self) -> SharedRecords {
        SharedRecords::of(self)
    }
}

impl<B: AsRef<[u8]>> Message<B> {
    /// Decodes a frame (without its length prefix). The body is not looked at.
    ///
    /// # Errors
    /// The header breaks the grammar, or the frame exceeds 4 GiB.
    #[inline]
    pub fn decode(frame: B) -> Result<Self, HeaderError> {
        let mut message = Self { frame, header: Header::default() };
        message.header.decode(message.frame.as_ref())?;
        Ok(message)
    }

    pub(crate) fn parts_mut(&mut self) -> (&mut B, &mut Header) {
        (&mut self.frame, &mut self.header)
    }

    /// Puts a frame and the index that was decoded from it together again. With the index of
    /// another frame the fields and the body are any parts of the frame; nothing panics.
    pub const fn from_parts(frame: B, header: Header) -> Self {
        Self { frame, header }
    }

    /// Takes frame and index apart.
    pub fn into_parts(self) -> (B, Header) {
        (self.frame, self.header)
    }

    /// The whole frame, header and body. Of a record: its batch up to the record's end; what
    /// the record alone holds is in [`data`](Self::data).
    pub fn frame(&self) -> &[u8] {
        self.frame.as_ref()
    }

    /// The index of the header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// An independent copy. Of a record, only the record and the header of its batch.
    pub fn to_owned(&self) -> Message {
        let (front, rest, header) = self.header.compact(self.frame());
        if rest.is_empty() {
            return Message { frame: Bytes::copy_from_slice(front), header };
        }
        let mut frame = BytesMut::with_capacity(front.len() + rest.len());
        frame.extend_from_slice(front);
        frame.extend_from_slice(rest);
        Message { frame: frame.freeze(), header }
    }

    /// The records of a `sow` frame; none on other commands. See [`Records`] for an example.
    #[inline]
    pub fn records(&self) -> Records<'_> {
        Records::of(self.frame.as_ref(), &self.header)
    }

    /// The records of the same frame behind the one that was reached; from another frame's
    /// position, whatever lies there.
    pub fn records_from(&self, position: RecordPosition) -> Records<'_> {
        Records::at(self.frame.as_ref(), &self.header, position)
    }

    /// Any field as text, escapes undone. See [`Header::get`] for what it costs.
    #[inline]
    pub fn get(&self, field: Field) -> Option<&BStr> {
        self.header.get(self.frame.as_ref(), field).map(BStr::new)
    }

    /// Any integer field. `None` if it is absent, or no decimal number of 64 bits (D-13).
    pub fn number(&self, field: Field) -> Option<u64> {
        parse_u64(self.get(field)?)
    }

    /// A boolean field: `true` in any case, quoted or not, is true (protocol.md D-4), all
    /// else false; `None` if it is absent.
    pub fn flag(&self, field: Field) -> Option<bool> {
        Some(self.get(field)?.eq_ignore_ascii_case(b"true"))
    }

    /// What stands in the header, in its order, unknown keys included. For tools; it looks
    /// through the header anew.
    pub fn members(&self) -> Members<'_> {
        Members::of(self.header.parts(self.frame.as_ref()))
    }

    /// What the frame asks or tells.
    #[inline]
    pub fn command(&self) -> CommandKind {
        self.header.command()
    }

    /// The body, verbatim; empty if there is none.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.frame.as_ref().get(self.header.body_offset()..).unwrap_or_default()
    }

    /// The acknowledgements asked for.
    pub fn acks(&self) -> AckTypes {
        self.header.acks()
    }

    /// Whether this is an acknowledgement of the given kind.
    pub fn is_ack(&self, kind: AckType) -> bool {
        self.command() == CommandKind::Ack && self.acks().contains(kind)
    }

    /// Whether the acknowledged command succeeded; `None` if the header does not say, which in
    /// an `ack` counts as a failure.
    pub fn status(&self) -> Option<Status> {
        self.header.status()
    }

    /// The ids of the subscriptions that a delivery is for, each once: those of `sids`, else
    /// of `sub_id` (protocol.md I-7, I-8).
    #[inline]
    pub fn ids(&self) -> Ids<'_> {
        let some = |list: &&BStr| Ids::new(list).next().is_some();
        let list = self.sub_ids().filter(some).or_else(|| self.sub_id());
        Ids::new(list.map_or(&[][..], |list| list))
    }

    /// When the lease of a queue message ends; `None` if it has none, or one in a form that
    /// this crate does not know, which [`lease`](Self::lease) still shows.
    pub fn lease_end(&self) -> Option<LeaseEnd> {
        LeaseEnd::parse(self.lease()?).ok()
    }

    /// When the server processed the message, in nanoseconds since the Unix epoch; `None` if
    /// it does not say, or in a form that this crate does not know, which
    /// [`timestamp`](Self::timestamp) still shows.
    pub fn unix_nanos(&self) -> Option<u64> {
        parse_timestamp(self.timestamp()?)
    }

    /// Why a record left focus: what the reason of an `oof` means.
    pub fn oof_reason(&self) -> Option<OofReason> {
        if self.command() == CommandKind::Oof { Some(OofReason::of(self.reason()?)) } else { None }
    }

    /// The version of the server, from the acknowledgement of a logon.
    pub fn server_version(&self) -> Option<ServerVersion> {
        ServerVersion::parse(self.version()?).ok()
    }

    /// Whether this is one record of a `sow` frame, as [`records`](Self::records) gives it.
    pub const fn is_record(&self) -> bool {
        self.header.is_record()
    }

    /// Whether the `l` field, where present, tells another body length than the frame does.
    pub fn length_mismatch(&self) -> bool {
        self.command() != CommandKind::Sow
            && self.number(Field::Length).is_some_and(|length| length != self.data().len() as u64)
    }
}

macro_rules! text_fields {
    ($($(#[$doc:meta])* $name:ident => $field:ident;)*) => {
        impl<B: AsRef<[u8]>> Message<B> {
            $($(#[$doc])* #[inline] pub fn $name(&self) -> Option<&BStr> { self.get(Field::$field) })*
        }
    };
}

text_fields! {
    /// The topic that the message was published to; on a queue, the queue's name.
    topic => Topic;
    /// The command id that this acknowledges, or that the command bears.
    command_id => CommandId;
    /// The subscription, or a comma list of them.
    sub_id => SubId;
    /// Every subscription that a delivery matched, comma separated.
    sub_ids => SubIds;
    /// The query whose result this is.
    query_id => QueryId;
    /// The position in the transaction log; on a queue, what is acknowledged.
    bookmark => Bookmark;
    /// The record key.
    sow_key => SowKey;
    /// When the lease of a queue message ends, as text. Only queue messages have it.
    lease => Lease;
    /// When the server processed the message, as text.
    timestamp => Timestamp;
    /// The publisher's own mark.
    correlation_id => CorrelationId;
    /// The user who published, or who logs on.
    user_id => UserId;
    /// The name of the client.
    client_name => ClientName;
    /// The content filter.
    filter => Filter;
    /// The options.
    options => Options;
    /// Why a command failed, or why a record left focus.
    reason => Reason;
    /// The version of the client or of the server.
    version => Version;
    /// The connection's message type.
    message_type => MessageType;
    /// The order of a query's result.
    order_by => OrderBy;
    /// Record keys, comma separated.
    sow_keys => SowKeys;
}

macro_rules! number_fields {
    ($($(#[$doc:meta])* $name:ident => $field:ident;)*) => {
        impl<B: AsRef<[u8]>> Message<B> {
            $($(#[$doc])* pub fn $name(&self) -> Option<u64> { self.number(Field::$field) })*
        }
    };
}

number_fields! {
    /// The publisher's sequence number.
    sequence => Sequence;
    /// Seconds until the message expires.
    expiration => Expiration;
    /// Records per `sow` frame: the most that a query asks for, or those that this frame holds.
    batch_size => BatchSize;
    /// The number of this batch within its query's result.
    group_sequence => GroupSequence;
    /// The most records to return.
    top_n => TopN;
    /// Of a `stats` acknowledgement: records that satisfied topic and filter.
    matches => Matches;
    /// Of a `stats` acknowledgement: records looked at in matching topics.
    topic_matches => TopicMatches;
    /// Of a `stats` acknowledgement: records sent.
    records_returned => RecordsReturned;
    /// Of a `stats` acknowledgement: records inserted.
    records_inserted => RecordsInserted;
    /// Of a `stats` acknowledgement: records updated.
    records_updated => RecordsUpdated;
    /// Of a `stats` acknowledgement: records deleted.
    records_deleted => RecordsDeleted;
}

/// A plain decimal; anything else counts as absent (D-13).
pub(crate) fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(digit.into()) }
    })
}

impl<B: AsRef<[u8]>> fmt::Debug for Message<B> {
    /// Prints every field but the password, and the length of the body instead of the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Message");
        match self.command() {
            CommandKind::Unknown => out.field("c", &self.get(Field::Command).unwrap_or_default()),
            known => out.field("c", &known.token()),
        };
        for &field in Field::ALL.iter().filter(|field| **field != Field::Command) {
            match self.get(field) {
                Some(_) if field == Field::Password => out.field("pw", &format_args!("<hidden>")),
                Some(value) => out.field(field.key(), &value),
                None => continue,
            };
        }
        out.field("body", &format_args!("{} bytes", self.data().len())).finish()
    }
}
