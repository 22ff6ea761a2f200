//! The grammar of a header (protocol.md 2, tolerant decoding), as `nom` parsers over one
//! whole frame.
//!
//! Owns what a member is and where it ends. It interprets nothing: which field a key names
//! and what its value means is the index's business.
//!
//! Every function here is a `nom` parser and returns what one returns; what nom has, such as
//! tags and runs of bytes, is nom's. Two parsers are primitives of our own, in the place of
//! `take_till`, because they decide the speed of the whole: a string's end and a key.
//! Strings are the bulk of a header. Their end is looked for eight bytes at a time, and a
//! key of up to seven bytes comes out as one integer, which is compared in one instruction.

use nom::bytes::complete::{tag, take_while, take_while1};
use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Parser};

use super::escape::unescape;
use super::field::Field;
use crate::error::HeaderFault;

/// What every parser here returns.
pub(super) type Parsed<'a, T> = IResult<&'a [u8], T, Failure>;

/// A fault, and how many bytes were left where it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) left: usize,
    pub(super) fault: HeaderFault,
    pub(super) field: Option<Field>,
}

impl ParseError<&[u8]> for Failure {
    fn from_error_kind(input: &[u8], _: ErrorKind) -> Self {
        Self { left: input.len(), fault: HeaderFault::ExpectedFieldName, field: None }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

#[cold]
fn fail<T>(input: &[u8], fault: HeaderFault) -> Parsed<'_, T> {
    Err(nom::Err::Error(Failure { left: input.len(), fault, field: None }))
}

/// A value as it stands in the frame.
#[derive(Clone, Copy)]
pub(super) struct RawValue<'a> {
    /// Without its quotes, escapes not undone.
    pub(super) text: &'a [u8],
    pub(super) quoted: bool,
    pub(super) escaped: bool,
}

/// One `"key":value`.
#[derive(Clone, Copy)]
pub(super) struct RawMember<'a> {
    /// The key without its quotes, escapes not undone.
    pub(super) key: &'a [u8],
    /// What the key names, if it is a known field.
    pub(super) field: Option<Field>,
    pub(super) value: RawValue<'a>,
}

/// White space and the opening brace.
#[inline(always)]
pub(super) fn open(input: &[u8]) -> Parsed<'_, ()> {
    if let [b'{', rest @ ..] = input {
        return Ok((rest, ()));
    }
    let (at, _) = white(input)?;
    match tag::<_, _, Failure>(&b"{"[..]).parse(at) {
        Ok((rest, _)) => Ok((rest, ())),
        Err(_) if at.first() == Some(&b'"') => fail(at, HeaderFault::MissingOpeningBrace),
        Err(_) => fail(at, HeaderFault::NoHeader),
    }
}

/// Where the header at the front of `frame`, known to be well-formed, ends.
pub(super) fn end_of_header(frame: &[u8]) -> usize {
    let Ok((mut rest, ())) = open(frame) else { return 0 };
    while let Ok((after, found)) = next_member_aside(rest) {
        rest = after;
        if found.is_none() {
            return frame.len() - rest.len();
        }
    }
    0
}

/// Separators, then a member, or `None` at the closing brace, which is consumed.
#[inline(always)]
pub(super) fn next_member(input: &[u8]) -> Parsed<'_, Option<RawMember<'_>>> {
    let inside = match input {
        // What every encoder writes between two members.
        [b',', b'"', inside @ ..] | [b'"', inside @ ..] => inside,
        [b'}', rest @ ..] => return Ok((rest, None)),
        _ => match separators(input) {
            [b'"', inside @ ..] => inside,
            [b'}', rest @ ..] => return Ok((rest, None)),
            at @ [] => return fail(at, HeaderFault::MissingClosingBrace),
            at => return fail(at, HeaderFault::ExpectedFieldName),
        },
    };
    let (rest, found) = member(inside)?;
    Ok((rest, Some(found)))
}

/// The same for whoever is in no hurry: [`next_member`] is laid out once, where it matters.
#[inline(never)]
pub(super) fn next_member_aside(input: &[u8]) -> Parsed<'_, Option<RawMember<'_>>> {
    next_member(input)
}

#[inline(never)]
fn separators(input: &[u8]) -> &[u8] {
    let skipped: Parsed<'_, &[u8]> = take_while(|byte| is_white(byte) || byte == b',').parse(input);
    skipped.map_or(input, |(rest, _)| rest)
}

/// `inside` begins behind the key's opening quote.
#[inline(always)]
fn member(inside: &[u8]) -> Parsed<'_, RawMember<'_>> {
    let (rest, (key, field)) = key(inside)?;
    let named = |error: nom::Err<Failure>| error.map(|failure| Failure { field, ..failure });
    let (rest, value) = match rest {
        // Without white space, as every encoder writes it.
        [b':', b'"', inside @ ..] => string(inside),
        [b':', at @ ..] if at.first().is_some_and(u8::is_ascii_alphanumeric) => bare(at),
        _ => colon_and_value(rest),
    }
    .map_err(named)?;
    Ok((rest, RawMember { key, field, value }))
}

/// A key, its closing quote, and the field that it names.
#[inline(always)]
fn key(inside: &[u8]) -> Parsed<'_, (&[u8], Option<Field>)> {
    // Nearly all keys are so short that key and quote fit one word.
    if let Some(chunk) = inside.first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let ends = ends_of_string(word);
        let length = (ends.trailing_zeros() / 8) as usize;
        if let Some((key, [b'"', rest @ ..])) = inside.split_at_checked(length).filter(|_| ends != 0) {
            let key_and_quote = word & (u64::MAX >> (56 - length * 8));
            return Ok((rest, (key, Field::from_short_key(key_and_quote))));
        }
    }
    long_key(inside)
}

#[inline(never)]
fn long_key(inside: &[u8]) -> Parsed<'_, (&[u8], Option<Field>)> {
    let (rest, key) = string(inside)?;
    let field = if key.escaped { Field::from_key(&unescape(key.text)) } else { Field::from_key(key.text) };
    Ok((rest, (key.text, field)))
}

#[inline(never)]
fn colon_and_value(input: &[u8]) -> Parsed<'_, RawValue<'_>> {
    let (at, _) = white(input)?;
    let Ok((rest, _)) = tag::<_, _, Failure>(&b":"[..]).parse(at) else {
        return fail(input, HeaderFault::ExpectedColon);
    };
    let (at, _) = white(rest)?;
    match at {
        [b'"', inside @ ..] => string(inside),
        [b'{' | b'[', ..] => fail(at, HeaderFault::NestedValue),
        _ => bare(at),
    }
}

/// A number, `true`, `false`, `null` or a bare word (D-2).
#[inline(always)]
fn bare(input: &[u8]) -> Parsed<'_, RawValue<'_>> {
    match take_while1::<_, _, Failure>(|byte: u8| IS_BARE[usize::from(byte)]).parse(input) {
        Ok((rest, text)) => Ok((rest, RawValue { text, quoted: false, escaped: false })),
        Err(_) => fail(input, HeaderFault::ExpectedValue),
    }
}

/// The rest of a string, `inside` being what follows its opening quote. Control bytes and
/// invalid UTF-8 are kept (D-9, D-10).
#[inline(always)]
fn string(inside: &[u8]) -> Parsed<'_, RawValue<'_>> {
    let mut left = inside;
    while let Some((chunk, after)) = left.split_first_chunk::<8>() {
        let ends = ends_of_string(u64::from_le_bytes(*chunk));
        if ends != 0 {
            let at = inside.len() - left.len();
            return string_until(inside, at + (ends.trailing_zeros() / 8) as usize);
        }
        left = after;
    }
    string_at_end_of_frame(inside, inside.len() - left.len())
}

/// `end` is where the first `"` or `\` was found.
#[inline(always)]
fn string_until(inside: &[u8], end: usize) -> Parsed<'_, RawValue<'_>> {
    match inside.split_at_checked(end) {
        Some((text, [b'"', rest @ ..])) => Ok((rest, RawValue { text, quoted: true, escaped: false })),
        _ => string_with_escapes(inside, end),
    }
}

/// A string that reaches into the last seven bytes of the frame, which no word covers.
#[inline(never)]
fn string_at_end_of_frame(inside: &[u8], at: usize) -> Parsed<'_, RawValue<'_>> {
    let tail = inside.get(at..).unwrap_or_default();
    let (rest, text) = take_while::<_, _, Failure>(|byte| byte != b'"' && byte != b'\\').parse(tail)?;
    if rest.is_empty() {
        return unterminated(inside);
    }
    string_until(inside, at + text.len())
}

#[cold]
fn string_with_escapes(inside: &[u8], mut at: usize) -> Parsed<'_, RawValue<'_>> {
    while let Some(found) = inside.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if inside[at] == b'"' {
            let text = &inside[..at];
            return Ok((&inside[at + 1..], RawValue { text, quoted: true, escaped: true }));
        }
        at += 2;
    }
    unterminated(inside)
}

/// Told where the string began: at its opening quote.
#[cold]
fn unterminated<T>(inside: &[u8]) -> Parsed<'_, T> {
    let fault = HeaderFault::UnterminatedString;
    Err(nom::Err::Error(Failure { left: inside.len() + 1, fault, field: None }))
}

/// Marks the high bit of each byte that is `"` or `\`. Marks above the first may be wrong:
/// a borrow can reach them.
#[inline(always)]
const fn ends_of_string(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let quotes = word ^ u64::from_le_bytes([b'"'; 8]);
    let backslashes = word ^ u64::from_le_bytes([b'\\'; 8]);
    // Both are below 0x80, so bytes above it are no match whatever the subtraction says.
    (quotes.wrapping_sub(ONES) | backslashes.wrapping_sub(ONES)) & !word & HIGH
}

/// White space between the parts of a header; no other byte is.
pub(crate) const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn white(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while(is_white).parse(input)
}

/// What a number, `true`, `false`, `null`, or a bare word (D-2) consists of.
const IS_BARE: [bool; 256] = {
    let mut table = [true; 256];
    let ends = b"\",{}[] \t\r\n";
    let mut i = 0;
    while i < ends.len() {
        table[ends[i] as usize] = false;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use nom::branch::alt;

    #[test]
    fn a_fault_passes_through_the_combinators_of_nom_unchanged() {
        let mut either = alt((
            |input| fail::<()>(input, HeaderFault::ExpectedColon),
            |input| fail::<()>(input, HeaderFault::NestedValue),
        ));
        let Err(nom::Err::Error(failure)) = either.parse(&b"abc"[..]) else { panic!("no fault") };
        assert_eq!((failure.left, failure.fault, failure.field), (3, HeaderFault::NestedValue, None));
    }

    #[test]
    fn the_end_of_a_header_is_behind_its_brace() {
        assert_eq!(end_of_header(br#" {"c":"p","t":"}"}{}"#), 18);
        for malformed in [&b""[..], b"hello", br#"{"c":"p""#, br#"{"c":}"#] {
            assert_eq!(end_of_header(malformed), 0, "{malformed:?}");
        }
    }
}
