//! Decoding a header in place.
//!
//! Owns [`Header`], the index of a frame: where each field's value lies. It is filled in
//! place by one pass of the grammar's `nom` parsers, holds offsets and no bytes, and takes 64
//! bytes. What deliveries and acknowledgements carry lies inside it; other fields are looked
//! up in the frame when they are asked for. Only values with escapes are copied.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::mem::size_of;

use bstr::BStr;

use super::escape::unescape;
use super::field::Field;
use super::grammar::{self, Failure, RawValue};
use super::shape::Shapes;
use crate::ack::{AckTypes, Status};
use crate::command::CommandKind;
use crate::error::{HeaderError, HeaderFault};

/// The decoded index of one frame's header.
///
/// It is meaningless without the frame that it was decoded from; [`Message`](crate::Message)
/// keeps the two together. Use it by itself where messages are stored by the thousand.
///
/// ```
/// use amps_protocol::{CommandKind, Field, Header};
///
/// let frame = br#"{"c":"p","t":"orders"}{"id":1}"#;
/// let mut header = Header::default();
/// header.decode(frame)?;
/// assert_eq!(header.command(), CommandKind::Publish);
/// assert_eq!(header.get(frame, Field::Topic), Some(&b"orders"[..]));
/// assert_eq!(&frame[header.body_offset()..], br#"{"id":1}"#);
/// # Ok::<(), amps_protocol::HeaderError>(())
/// ```
#[derive(Clone, Default)]
pub struct Header {
    hot: [Span; HOT_FIELDS],
    /// Where the body begins.
    body: u32,
    /// Where the header of this record begins, if it is one of a batch; else 0.
    record: u32,
    command: CommandKind,
    acks: AckTypes,
    status: Option<Status>,
    flags: Flags,
    /// Shared, so that the records of a batch do not copy what their frame's header holds.
    escaped: Option<Arc<Escaped>>,
}

const HOT_FIELDS: usize = 11;

#[derive(Clone, Copy, Default)]
struct Flags(u8);

impl Flags {
    /// A field that has no place in the index lies in the frame.
    const UNINDEXED: u8 = 1;
    /// This is a record of a batch.
    const RECORD: u8 = 2;
    /// A field that has a place in the index lies where that cannot say.
    const ELSEWHERE: u8 = 4;

    #[inline(always)]
    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    #[inline(always)]
    fn set(&mut self, flag: u8) {
        self.0 |= flag;
    }
}

// A stream holds one index per queued message: it stays within one cache line.
const _: () = assert!(size_of::<Header>() <= 64);

/// Where a value lies: its start, counted from the header that it stands in, and its length.
/// No value can begin at 0, so 0 means absent.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u16,
    /// The top bit tells the header of a record from that of the frame.
    len: u16,
}

const OF_RECORD: u16 = 1 << 15;

/// Values whose escapes were undone.
#[derive(Clone, Default)]
struct Escaped(Vec<(Field, Box<[u8]>)>);

impl Header {
    /// Decodes the header at the front of `frame` into `self`, replacing what was there.
    ///
    /// # Errors
    /// The header breaks the grammar (protocol.md 2, tolerant decoding). `self` is then in
    /// an unspecified but safe state.
    #[inline]
    pub fn decode(&mut self, frame: &[u8]) -> Result<(), HeaderError> {
        *self = Self::default();
        self.fill::<false>(frame)
    }

    /// Lays the header of a record over this one, which is that of its frame: what the record
    /// does not say stays as the frame said (protocol.md S-5). `at` is where the record
    /// begins in `frame`.
    fn overlay(&mut self, frame: &[u8], at: usize) -> Result<(), HeaderError> {
        self.record = position(at)?;
        self.flags.set(Flags::RECORD);
        // The frame's own is that of its first record (S-6).
        self.unset(Field::Length);
        self.fill_record(frame)
    }

    /// Laid out once, as is what it does for whole frames, in [`decode`](Self::decode).
    #[inline(never)]
    fn fill_record(&mut self, frame: &[u8]) -> Result<(), HeaderError> {
        self.fill::<true>(frame)
    }

    #[inline(always)]
    fn fill<const RECORD: bool>(&mut self, frame: &[u8]) -> Result<(), HeaderError> {
        position(frame.len())?;
        let text = if RECORD { frame.get(self.record as usize..).unwrap_or_default() } else { frame };
        let located = |error: nom::Err<Failure>| locate(&error, frame.len());
        let (mut rest, ()) = grammar::open(text).map_err(located)?;
        loop {
            let (after, found) = grammar::next_member(rest).map_err(located)?;
            rest = after;
            let Some(member) = found else { break };
            if let Some(field) = member.field {
                // The value ends where `rest` begins, less its closing quote.
                let value = &member.value;
                let end = text.len() - rest.len() - usize::from(value.quoted);
                // What a record says it is, is of no interest: it is a record.
                if !(RECORD && field == Field::Command) {
                    self.set::<RECORD>(field, value, end - value.text.len());
                }
            }
        }
        self.body = (frame.len() - rest.len()) as u32;
        Ok(())
    }

    #[inline(never)]
    fn decode_aside(&mut self, frame: &[u8]) -> Result<(), HeaderError> {
        self.decode(frame)
    }

    /// As [`decode`](Self::decode), where many headers look alike.
    #[inline]
    pub(crate) fn decode_like(&mut self, frame: &[u8], shapes: &mut Shapes) -> Result<(), HeaderError> {
        position(frame.len())?;
        if let Some(known) = shapes.recall(frame) {
            // Field by field, as it is read again: to move it as a whole would wait for each part to be written.
            self.hot = known.hot;
            (self.body, self.record) = (known.body, 0);
            (self.command, self.acks, self.status) = (known.command, known.acks, known.status);
            self.flags = known.flags;
            if self.escaped.is_some() {
                self.escaped = None;
            }
            return Ok(());
        }
        self.decode_aside(frame)?;
        if shapes.is_curious() {
            shapes.learn(frame, self, false);
        }
        Ok(())
    }

    /// Becomes the header of a record, which is that of its frame with what the record itself says laid over it;
    /// `at` is where the record begins in `frame`. Many records look alike.
    #[inline]
    pub(crate) fn overlay_on(
        &mut self,
        base: &Self,
        frame: &[u8],
        at: usize,
        shapes: &mut Shapes,
    ) -> Result<(), HeaderError> {
        let text = frame.get(at..).unwrap_or_default();
        // What the frame's header says may have to be taken back.
        if base.escaped.is_none() {
            if let Some(known) = shapes.recall(text) {
                self.hot =
                    core::array::from_fn(
                        |i| if known.hot[i].start == 0 { base.hot[i] } else { known.hot[i] },
                    );
                // The frame's own is that of its first record (S-6).
                const LENGTH: usize = SLOTS[Field::Length as usize] as usize;
                self.hot[LENGTH] = known.hot[LENGTH];
                (self.body, self.record) = (position(at + known.body as usize)?, position(at)?);
                (self.command, self.acks, self.status) = (base.command, base.acks, base.status);
                self.flags = Flags(base.flags.0 | known.flags.0);
                if self.escaped.is_some() {
                    self.escaped = None;
                }
                return Ok(());
            }
            if shapes.is_curious() {
                let mut own = Self::default();
                // A record stands behind something; where, its shape does not say.
                if own.fill_record(text).is_ok() {
                    own.flags.set(Flags::RECORD);
                    shapes.learn(text, &own, true);
                }
            }
        }
        *self = base.clone();
        self.overlay(frame, at)
    }

    /// This header as that of a record: the frame holds one record, which has none of its own.
    pub(crate) fn as_lone_record(&self) -> Self {
        let mut record = self.clone();
        record.flags.set(Flags::RECORD);
        record
    }

    /// Whether this is a record of a batch.
    pub(crate) const fn is_record(&self) -> bool {
        self.flags.has(Flags::RECORD)
    }

    /// The headers of `frame` that this index was decoded from: its own, and the record's.
    pub(crate) fn parts<'a>(&self, frame: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let record = if self.record == 0 { None } else { frame.get(self.record as usize..) };
        (frame, record)
    }

    /// The two parts of `frame` that this index needs, and the index for both joined: of a
    /// record, the frame's own header and the record; else the frame, and nothing.
    pub(crate) fn compact<'a>(&self, frame: &'a [u8]) -> (&'a [u8], &'a [u8], Self) {
        let mut header = self.clone();
        if self.record == 0 {
            return (frame, &[], header);
        }
        let own = grammar::end_of_header(frame);
        match (frame.get(..own), frame.get(self.record as usize..)) {
            (Some(front), Some(record)) if own <= self.record as usize => {
                header.body -= self.record - own as u32;
                header.record = own as u32;
                (front, record, header)
            }
            _ => (frame, &[], header),
        }
    }

    /// The value of `field` within `frame`, escapes undone; `None` if absent.
    ///
    /// Fields that deliveries and acknowledgements carry are found in the index, all others
    /// by looking through the header again: some 60 ns for a header of usual length.
    #[inline]
    pub fn get<'a>(&'a self, frame: &'a [u8], field: Field) -> Option<&'a [u8]> {
        let elsewhere = match hot_slot(field) {
            Some(slot) => {
                let Span { start, len } = self.hot[slot];
                if start != 0 {
                    let header = if len & OF_RECORD == 0 { 0 } else { self.record as usize };
                    let start = header + usize::from(start);
                    return frame.get(start..start + usize::from(len & !OF_RECORD));
                }
                self.flags.has(Flags::ELSEWHERE)
            }
            None => {
                let decoded = matches!(field, Field::Command | Field::AckType | Field::Status);
                decoded || self.flags.has(Flags::UNINDEXED)
            }
        };
        if elsewhere { self.look_up(frame, field) } else { None }
    }

    #[cold]
    fn look_up<'a>(&'a self, frame: &'a [u8], field: Field) -> Option<&'a [u8]> {
        if let Some((_, value)) = self.escaped.iter().flat_map(|e| &e.0).find(|(f, _)| *f == field) {
            return Some(value);
        }
        if self.record != 0 && field != Field::Command {
            let record = frame.get(self.record as usize..)?;
            if let Some(value) = last_value(record, field) {
                return value;
            }
            // The frame's own is that of its first record (S-6).
            if field == Field::Length {
                return None;
            }
        }
        last_value(frame, field)?
    }

    /// What the frame asks or tells.
    #[inline]
    pub const fn command(&self) -> CommandKind {
        self.command
    }

    /// The acknowledgements asked for (in a command), or the kind of this one (in an `ack`).
    #[inline]
    pub const fn acks(&self) -> AckTypes {
        self.acks
    }

    /// Whether the acknowledged command succeeded; `None` if the header does not say.
    #[inline]
    pub const fn status(&self) -> Option<Status> {
        self.status
    }

    /// Where the body begins within the frame.
    #[inline]
    pub const fn body_offset(&self) -> usize {
        self.body as usize
    }

    #[inline(always)]
    fn set<const RECORD: bool>(&mut self, field: Field, value: &RawValue<'_>, start: usize) {
        if is_absent(field, value) {
            return self.unset(field);
        }
        if value.escaped {
            return self.set_escaped(field, &unescape(value.text));
        }
        // The last one wins (D-11), also over one with escapes.
        if self.escaped.is_some() {
            self.forget_escaped(field);
        }
        if let Some(slot) = hot_slot(field) {
            let len = value.text.len();
            if start <= usize::from(u16::MAX) && len < usize::from(OF_RECORD) {
                let of_record = if RECORD { OF_RECORD } else { 0 };
                self.hot[slot] = Span { start: start as u16, len: len as u16 | of_record };
            } else {
                self.hot[slot] = Span::default();
                self.flags.set(Flags::ELSEWHERE);
            }
        } else {
            self.interpret(field, value.text);
        }
    }

    #[inline(always)]
    fn interpret(&mut self, field: Field, text: &[u8]) {
        match field {
            Field::Command => self.command = CommandKind::from_token(text),
            Field::AckType => self.acks = AckTypes::parse(text),
            Field::Status => self.status = Some(Status::from_token(text)),
            _ => self.flags.set(Flags::UNINDEXED),
        }
    }

    #[cold]
    fn set_escaped(&mut self, field: Field, text: &[u8]) {
        self.forget_escaped(field);
        match hot_slot(field) {
            Some(slot) => {
                self.hot[slot] = Span::default();
                self.flags.set(Flags::ELSEWHERE);
            }
            None => {
                self.interpret(field, text);
                self.flags.set(Flags::UNINDEXED);
            }
        }
        Arc::make_mut(self.escaped.get_or_insert_default()).0.push((field, text.into()));
    }

    #[cold]
    fn unset(&mut self, field: Field) {
        self.forget_escaped(field);
        match field {
            Field::Command => self.command = CommandKind::Missing,
            Field::AckType => self.acks = AckTypes::NONE,
            Field::Status => self.status = None,
            _ => {
                if let Some(slot) = hot_slot(field) {
                    self.hot[slot] = Span::default();
                }
            }
        }
    }

    #[cold]
    fn forget_escaped(&mut self, field: Field) {
        if let Some(escaped) = &mut self.escaped {
            if escaped.0.iter().any(|(f, _)| *f == field) {
                Arc::make_mut(escaped).0.retain(|(f, _)| *f != field);
            }
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("command", &self.command).field("body_offset", &self.body).finish()
    }
}

/// What deliveries and acknowledgements carry every time.
const HOT: [Field; HOT_FIELDS] = [
    Field::Topic,
    Field::SubIds,
    Field::Bookmark,
    Field::SowKey,
    Field::Timestamp,
    Field::Lease,
    Field::CorrelationId,
    Field::CommandId,
    Field::SubId,
    Field::QueryId,
    Field::Length,
];

/// The slot of each field, or one beyond the last.
const SLOTS: [u8; Field::ALL.len()] = {
    let mut slots = [HOT_FIELDS as u8; Field::ALL.len()];
    let mut i = 0;
    while i < HOT_FIELDS {
        slots[HOT[i] as usize] = i as u8;
        i += 1;
    }
    slots
};

#[inline(always)]
const fn hot_slot(field: Field) -> Option<usize> {
    let slot = SLOTS[field as usize] as usize;
    if slot < HOT_FIELDS { Some(slot) } else { None }
}

/// Whether the value means that the field is not there (D-5, D-14).
#[inline(always)]
pub(super) fn is_absent(field: Field, value: &RawValue<'_>) -> bool {
    if value.quoted { value.text.is_empty() && field.is_identifier() } else { value.text == b"null" }
}

/// Looks through a header for the last value of a field: `None` if it is not there,
/// `Some(None)` if it is there to say that it is absent.
fn last_value(header: &[u8], field: Field) -> Option<Option<&[u8]>> {
    let (mut rest, ()) = grammar::open(header).ok()?;
    let mut last = None;
    while let Ok((after, Some(member))) = grammar::next_member_aside(rest) {
        rest = after;
        if member.field == Some(field) {
            last = Some((!is_absent(field, &member.value)).then_some(member.value.text));
        }
    }
    last
}

/// A place in a frame, or its length, as an index stores it.
#[inline(always)]
fn position(at: usize) -> Result<u32, HeaderError> {
    u32::try_from(at).map_err(|_| HeaderError { offset: 0, fault: HeaderFault::TooLong, field: None })
}

#[cold]
fn locate(error: &nom::Err<Failure>, frame: usize) -> HeaderError {
    // Complete parsers never ask for more; did one, the end of the frame would be the place.
    let mut failure = Failure { left: 0, fault: HeaderFault::MissingClosingBrace, field: None };
    if let nom::Err::Error(found) | nom::Err::Failure(found) = error {
        failure = *found;
    }
    HeaderError { offset: frame - failure.left, fault: failure.fault, field: failure.field }
}

/// One member of a header as it stands in the frame, known or not.
///
/// Made by [`Message::members`](crate::Message::members). `Debug` does not show the value of
/// a password.
///
/// ```
/// use amps_protocol::{Field, Message};
///
/// let message = Message::decode(&br#"{"c":"p","t":"orders","new":7}{"id":1}"#[..])?;
/// let last = message.members().last().unwrap();
/// assert_eq!((&**last.key, &**last.value, last.quoted), (&b"new"[..], &b"7"[..], false));
/// assert_eq!(last.field, None, "this crate does not know it");
/// # Ok::<(), amps_protocol::HeaderError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key, escapes undone.
    pub key: Cow<'a, BStr>,
    /// What the key names; `None` if this crate does not know it.
    pub field: Option<Field>,
    /// The value without its quotes, escapes undone.
    pub value: Cow<'a, BStr>,
    /// Whether the value stood in quotes.
    pub quoted: bool,
}

impl fmt::Debug for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Member");
        out.field("key", &self.key).field("field", &self.field);
        match self.field {
            Some(Field::Password) => out.field("value", &format_args!("<hidden>")),
            _ => out.field("value", &self.value),
        };
        out.field("quoted", &self.quoted).finish()
    }
}

/// The members of a header, in the order in which they stand in the frame, repeated and
/// unknown ones included. Of a record of a batch: those of the batch, then its own.
///
/// Made by [`Message::members`](crate::Message::members). Of a malformed header, which no
/// message holds, it would give those before the fault.
///
/// ```
/// use amps_protocol::Message;
///
/// let message = Message::decode(&br#"{"c":"p","t":"orders","t":"trades"}"#[..])?;
/// let keys: Vec<String> = message.members().map(|member| member.key.to_string()).collect();
/// assert_eq!(keys, ["c", "t", "t"]);
/// # Ok::<(), amps_protocol::HeaderError>(())
/// ```
#[derive(Clone)]
pub struct Members<'a> {
    rest: &'a [u8],
    /// The header of a record, which comes after that of its frame.
    record: Option<&'a [u8]>,
}

impl fmt::Debug for Members<'_> {
    /// Tells how much is left, not what: a password may be in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({} bytes remain)", self.rest.len())
    }
}

impl<'a> Members<'a> {
    /// Of a frame whose header has been decoded. Of one whose header is malformed, those
    /// before the fault.
    pub(crate) fn of((frame, record): (&'a [u8], Option<&'a [u8]>)) -> Self {
        Self { rest: inside(frame), record }
    }
}

/// What follows the opening brace of a header.
fn inside(header: &[u8]) -> &[u8] {
    grammar::open(header).map_or(&[], |(rest, ())| rest)
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let (rest, member) = loop {
            match grammar::next_member_aside(self.rest) {
                Ok((rest, Some(member))) => break (rest, member),
                _ => self.rest = inside(self.record.take()?),
            }
        };
        self.rest = rest;
        let plain = |text: &'a [u8], escaped: bool| {
            if escaped { Cow::Owned(unescape(text).into()) } else { Cow::Borrowed(BStr::new(text)) }
        };
        Some(Member {
            key: plain(member.key, member.key.contains(&b'\\')),
            field: member.field,
            value: plain(member.value.text, member.value.escaped),
            quoted: member.value.quoted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_place_beyond_4_gib_is_refused() {
        assert_eq!(position(u32::MAX as usize), Ok(u32::MAX));
        let Some(beyond) = (u32::MAX as usize).checked_add(1) else { return };
        let error = position(beyond).unwrap_err();
        assert_eq!(error.to_string(), "malformed header at byte 0: expected a frame below 4 GiB");
    }

    #[test]
    fn a_parser_that_asked_for_more_would_miss_the_end_of_the_header() {
        let error = locate(&nom::Err::Incomplete(nom::Needed::Unknown), 7);
        assert_eq!((error.offset, error.fault), (7, HeaderFault::MissingClosingBrace));
    }
}
