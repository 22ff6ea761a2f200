//! Decoding a header in place.
//!
//! Owns [`Header`], the index of a frame: where each field's value lies. It is filled in
//! place by one pass of `nom`'s complete parsers, holds offsets and no bytes, and takes 64
//! bytes. What the hot path of deliveries and acknowledgements needs lies inside it; rare
//! fields, values with escapes and offsets above 64 KiB spill into a boxed list.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem::size_of;

use nom::bytes::complete::{tag, take_while};
use nom::{IResult, Parser};

use super::escape::unescape;
use super::field::Field;
use crate::ack::{AckTypes, Status};
use crate::command::CommandKind;
use crate::error::{HeaderError, HeaderFault};

/// The decoded index of one frame's header.
///
/// It is meaningless without the frame that it was decoded from; [`Message`](crate::Message)
/// keeps the two together.
#[derive(Clone, Default)]
pub struct Header {
    hot: [Span; HOT_FIELDS],
    body: u32,
    command: CommandKind,
    acks: AckTypes,
    status: Option<Status>,
    spilled: Option<Box<Spill>>,
}

const HOT_FIELDS: usize = 12;

// A stream holds one index per queued message: it stays within one cache line.
const _: () = assert!(size_of::<Header>() <= 64);

/// Where a value lies in its frame. No value can begin at 0, so 0 means absent.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u16,
    len: u16,
}

/// The fields that do not fit the hot part. Boxed as a whole, so that an index without them
/// pays for one pointer only.
#[derive(Clone, Debug, Default)]
struct Spill(Vec<(Field, Value)>);

/// A value that does not fit the hot part.
#[derive(Clone, Debug)]
enum Value {
    Span {
        start: u32,
        len: u32,
    },
    /// Escapes were undone.
    Owned(Box<[u8]>),
}

impl Header {
    /// Decodes the header at the front of `frame` into `self`, replacing what was there.
    ///
    /// # Errors
    /// The header breaks the grammar (protocol.md 2, tolerant decoding). `self` is then in
    /// an unspecified but safe state.
    #[inline]
    pub fn decode(&mut self, frame: &[u8]) -> Result<(), HeaderError> {
        if u32::try_from(frame.len()).is_err() {
            return Err(HeaderError { offset: 0, fault: HeaderFault::TooLong });
        }
        self.clear();
        let offset_of = |rest: &[u8]| frame.len() - rest.len();
        let fail = |rest: &[u8], fault| HeaderError { offset: offset_of(rest), fault };

        let input = white(frame);
        let Ok((mut rest, _)) = open(input) else {
            return Err(fail(input, HeaderFault::MissingOpeningBrace));
        };
        loop {
            rest = separators(rest);
            match rest.first() {
                Some(b'"') => {}
                Some(b'}') => {
                    self.body = (offset_of(rest) + 1) as u32;
                    return Ok(());
                }
                Some(_) => return Err(fail(rest, HeaderFault::ExpectedFieldName)),
                None => return Err(fail(rest, HeaderFault::MissingClosingBrace)),
            }
            let Ok((after_key, key)) = quoted(rest) else {
                return Err(fail(rest, HeaderFault::UnterminatedString));
            };
            let Ok((at_value, _)) = colon(after_key) else {
                return Err(fail(after_key, HeaderFault::ExpectedColon));
            };
            let (after_value, value) = match at_value.first() {
                Some(b'"') => {
                    quoted(at_value).map_err(|_| fail(at_value, HeaderFault::UnterminatedString))?
                }
                Some(b'{' | b'[') => return Err(fail(at_value, HeaderFault::NestedValue)),
                _ => bare(at_value).map_err(|_| fail(at_value, HeaderFault::ExpectedValue))?,
            };
            if let Some(field) = field_of(&key) {
                // The value ends where `rest` begins, less its closing quote.
                let start = offset_of(after_value) - value.text.len() - usize::from(value.quoted);
                self.set(field, &value, start);
            }
            rest = after_value;
        }
    }

    /// The value of `field` within `frame`, escapes undone; `None` if absent.
    ///
    /// `a`, `status` and known values of `c` are kept in decoded form only: ask
    /// [`Header::acks`], [`Header::status`] and [`Header::command`] for them.
    #[inline]
    pub fn get<'a>(&'a self, frame: &'a [u8], field: Field) -> Option<&'a [u8]> {
        if let Some(slot) = hot_slot(field) {
            let Span { start, len } = self.hot[slot];
            if start != 0 {
                return frame.get(usize::from(start)..usize::from(start) + usize::from(len));
            }
        }
        let spilled = self.spilled.as_deref()?;
        let (_, value) = spilled.0.iter().find(|(f, _)| *f == field)?;
        match value {
            Value::Span { start, len } => frame.get(*start as usize..(*start + *len) as usize),
            Value::Owned(bytes) => Some(bytes),
        }
    }

    /// What the frame asks or tells.
    pub const fn command(&self) -> CommandKind {
        self.command
    }

    /// The acknowledgements asked for (in a command), or the kind of this one (in an `ack`).
    pub const fn acks(&self) -> AckTypes {
        self.acks
    }

    /// Whether the acknowledged command succeeded; `None` if the header does not say.
    pub const fn status(&self) -> Option<Status> {
        self.status
    }

    /// Where the body begins within the frame.
    pub const fn body_offset(&self) -> usize {
        self.body as usize
    }

    fn clear(&mut self) {
        self.hot = [Span::default(); HOT_FIELDS];
        self.command = CommandKind::Missing;
        self.acks = AckTypes::NONE;
        self.status = None;
        self.spilled = None;
    }

    #[inline]
    fn set(&mut self, field: Field, value: &RawValue<'_>, start: usize) {
        let absent =
            (!value.quoted && value.text == b"null") || (value.text.is_empty() && field.is_identifier());
        if absent {
            return self.unset(field);
        }
        match field {
            Field::Command => {
                self.command = CommandKind::from_token(value.text);
                if self.command == CommandKind::Unknown {
                    self.spill(field, value, start);
                }
            }
            Field::AckType => self.acks = AckTypes::parse(value.text),
            Field::Status => {
                let status = Status::from_token(value.text);
                self.status = Some(status);
                if status == Status::Other {
                    self.spill(field, value, start);
                }
            }
            _ => match (hot_slot(field), u16::try_from(start), u16::try_from(value.text.len())) {
                (Some(slot), Ok(start), Ok(len)) if !value.escaped => {
                    self.hot[slot] = Span { start, len };
                    // The last one wins (D-11), also over one that had spilled.
                    if self.spilled.is_some() {
                        self.unspill(field);
                    }
                }
                _ => self.spill(field, value, start),
            },
        }
    }

    #[cold]
    fn unset(&mut self, field: Field) {
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
        self.unspill(field);
    }

    #[cold]
    fn unspill(&mut self, field: Field) {
        if let Some(spilled) = self.spilled.as_deref_mut() {
            spilled.0.retain(|(f, _)| *f != field);
        }
    }

    fn spill(&mut self, field: Field, value: &RawValue<'_>, start: usize) {
        self.unspill(field);
        if let Some(slot) = hot_slot(field) {
            self.hot[slot] = Span::default();
        }
        // `decode` has checked that the frame is shorter than 4 GiB.
        let value = if value.escaped {
            Value::Owned(unescape(value.text).into_boxed_slice())
        } else {
            Value::Span { start: start as u32, len: value.text.len() as u32 }
        };
        self.spilled.get_or_insert_default().0.push((field, value));
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("command", &self.command).field("body_offset", &self.body).finish()
    }
}

/// The slot of a field that deliveries and acknowledgements carry every time.
#[inline]
const fn hot_slot(field: Field) -> Option<usize> {
    Some(match field {
        Field::Topic => 0,
        Field::SubIds => 1,
        Field::Bookmark => 2,
        Field::SowKey => 3,
        Field::Timestamp => 4,
        Field::Lease => 5,
        Field::CorrelationId => 6,
        Field::CommandId => 7,
        Field::SubId => 8,
        Field::QueryId => 9,
        Field::UserId => 10,
        Field::Length => 11,
        _ => return None,
    })
}

/// A value as it stands in the frame.
struct RawValue<'a> {
    /// Without its quotes, escapes not undone.
    text: &'a [u8],
    quoted: bool,
    escaped: bool,
}

fn field_of(key: &RawValue<'_>) -> Option<Field> {
    if key.escaped { Field::from_key(&unescape(key.text)) } else { Field::from_key(key.text) }
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

type Parsed<'a, T> = IResult<&'a [u8], T, ()>;

fn white(input: &[u8]) -> &[u8] {
    let blank: Parsed<'_, &[u8]> = take_while(is_white).parse(input);
    blank.map_or(input, |(rest, _)| rest)
}

#[inline]
fn separators(input: &[u8]) -> &[u8] {
    // One comma and a quote is what every encoder writes.
    if let [b',', rest @ ..] = input {
        if rest.first() == Some(&b'"') {
            return rest;
        }
    }
    let skipped: Parsed<'_, &[u8]> = take_while(|byte| is_white(byte) || byte == b',').parse(input);
    skipped.map_or(input, |(rest, _)| rest)
}

fn open(input: &[u8]) -> Parsed<'_, &[u8]> {
    tag(&b"{"[..]).parse(input)
}

#[inline]
fn colon(input: &[u8]) -> Parsed<'_, ()> {
    if let [b':', rest @ ..] = input {
        if rest.first().is_some_and(|&byte| !is_white(byte)) {
            return Ok((rest, ()));
        }
    }
    let (rest, _) = tag(&b":"[..]).parse(white(input))?;
    Ok((white(rest), ()))
}

/// A string with its quotes; control bytes and invalid UTF-8 are kept (D-9, D-10).
#[inline]
fn quoted(input: &[u8]) -> Parsed<'_, RawValue<'_>> {
    let (inside, _) = tag(&b"\""[..]).parse(input)?;
    let end = memchr::memchr2(b'"', b'\\', inside).ok_or(nom::Err::Error(()))?;
    if inside[end] == b'"' {
        let text = &inside[..end];
        return Ok((&inside[end + 1..], RawValue { text, quoted: true, escaped: false }));
    }
    quoted_with_escapes(inside, end)
}

#[cold]
fn quoted_with_escapes(inside: &[u8], mut at: usize) -> Parsed<'_, RawValue<'_>> {
    loop {
        let found = inside.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest));
        at += found.ok_or(nom::Err::Error(()))?;
        if inside[at] == b'"' {
            let text = &inside[..at];
            return Ok((&inside[at + 1..], RawValue { text, quoted: true, escaped: true }));
        }
        at += 2;
    }
}

/// A number, `true`, `false`, `null`, or a bare word where a string is expected (D-2).
#[inline]
fn bare(input: &[u8]) -> Parsed<'_, RawValue<'_>> {
    let ends = |byte: u8| is_white(byte) || matches!(byte, b'"' | b',' | b'{' | b'}' | b'[' | b']');
    let (rest, text) = nom::bytes::complete::take_while1(|byte| !ends(byte)).parse(input)?;
    Ok((rest, RawValue { text, quoted: false, escaped: false }))
}
