//! FIX and NVFIX bodies: `tag=value` fields, each ended by a separator.
//!
//! Owns the layout of these bodies (protocol.md 14.2), in both directions. It knows no tag's
//! meaning, and reading allocates nothing. The two types differ in the tag alone: a decimal
//! number in FIX, any bytes in NVFIX.

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

use nom::bytes::complete::{tag, take, take_till, take_till1};
use nom::combinator::{opt, rest};
use nom::sequence::{separated_pair, terminated};
use nom::{IResult, Parser};

/// The byte that ends a field unless another is chosen: SOH (protocol.md FX-9).
pub const FIX_SEPARATOR: u8 = 0x01;

/// Reads the fields of a FIX body in order, repeated tags included.
///
/// What is no field is skipped and counted: no `=`, an empty tag, or a tag that is not a
/// decimal number within `u32` (protocol.md FX-7). A sign, white space or a number above
/// 4294967295 make a tag unusable in that sense; leading zeros do not. Everything behind the
/// first `=` is the value, which may be empty. The last field needs no separator.
///
/// A map of the fields is one `collect` away; as in [`get`](Self::get), the last of several
/// equal tags wins.
///
/// ```
/// use amps_protocol::FixReader;
/// use std::collections::BTreeMap;
///
/// let mut fields = FixReader::new(b"35=D\x0155=IBM\x01oops\x0144=");
/// assert_eq!(fields.get(55), Some(&b"IBM"[..]));
/// let map: BTreeMap<u32, &[u8]> = fields.by_ref().collect();
/// assert_eq!(map[&44], b"");
/// assert_eq!(map.len(), 3);
/// assert_eq!(fields.skipped(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct FixReader<'a>(Fields<'a>);

impl<'a> FixReader<'a> {
    /// A reader of `body`, whose fields end with [`FIX_SEPARATOR`].
    pub const fn new(body: &'a [u8]) -> Self {
        Self::with_separator(body, FIX_SEPARATOR)
    }

    /// A reader of `body`, whose fields end with `separator`.
    pub const fn with_separator(body: &'a [u8], separator: u8) -> Self {
        Self(Fields::new(body, separator))
    }

    /// The value of the last field with this tag in the whole body, however much of it was
    /// already read. It looks at every field each time.
    pub fn get(&self, tag: u32) -> Option<&'a [u8]> {
        let all = Self(self.0.rewound());
        all.filter_map(|(found, value)| (found == tag).then_some(value)).last()
    }

    /// How many malformed fields were skipped so far; of the whole body once the iterator
    /// is at its end.
    pub const fn skipped(&self) -> usize {
        self.0.skipped
    }
}

impl<'a> Iterator for FixReader<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(fix_tag)
    }
}

impl FusedIterator for FixReader<'_> {}

/// Reads the fields of an NVFIX body in order, repeated keys included.
///
/// What is no field is skipped and counted: no `=`, or an empty key (protocol.md FX-7).
/// Everything behind the first `=` is the value, which may be empty. The last field needs
/// no separator. A map of the fields is one `collect` away, as with [`FixReader`].
///
/// ```
/// use amps_protocol::NvfixReader;
///
/// let fields = NvfixReader::new(b"symbol=IBM\x01note=a=b\x01");
/// assert_eq!(fields.get("note"), Some(&b"a=b"[..]));
/// assert_eq!(fields.map(|(key, _)| key).collect::<Vec<_>>(), [&b"symbol"[..], b"note"]);
/// ```
#[derive(Clone, Debug)]
pub struct NvfixReader<'a>(Fields<'a>);

impl<'a> NvfixReader<'a> {
    /// A reader of `body`, whose fields end with [`FIX_SEPARATOR`].
    pub const fn new(body: &'a [u8]) -> Self {
        Self::with_separator(body, FIX_SEPARATOR)
    }

    /// A reader of `body`, whose fields end with `separator`.
    pub const fn with_separator(body: &'a [u8], separator: u8) -> Self {
        Self(Fields::new(body, separator))
    }

    /// The value of the last field with this key in the whole body, however much of it was
    /// already read. It looks at every field each time.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&'a [u8]> {
        let key = key.as_ref();
        let all = Self(self.0.rewound());
        all.filter_map(|(found, value)| (found == key).then_some(value)).last()
    }

    /// How many malformed fields were skipped so far; of the whole body once the iterator
    /// is at its end.
    pub const fn skipped(&self) -> usize {
        self.0.skipped
    }
}

impl<'a> Iterator for NvfixReader<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(Some)
    }
}

impl FusedIterator for NvfixReader<'_> {}

/// What both readers share: everything but the meaning of the tag.
#[derive(Clone)]
struct Fields<'a> {
    body: &'a [u8],
    rest: &'a [u8],
    separator: u8,
    skipped: usize,
}

impl<'a> Fields<'a> {
    const fn new(body: &'a [u8], separator: u8) -> Self {
        Self { body, rest: body, separator, skipped: 0 }
    }

    const fn rewound(&self) -> Self {
        Self::new(self.body, self.separator)
    }

    fn next_with<T>(&mut self, read_tag: impl Fn(&'a [u8]) -> Option<T>) -> Option<(T, &'a [u8])> {
        while !self.rest.is_empty() {
            let (rest, field) = field(self.rest, self.separator);
            self.rest = rest;
            let split = tag_and_value(field).ok();
            if let Some((tag, value)) = split.and_then(|(_, (tag, value))| Some((read_tag(tag)?, value))) {
                return Some((tag, value));
            }
            self.skipped += 1;
        }
        None
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes remain, {} fields skipped", self.rest.len(), self.skipped)
    }
}

/// Everything up to the separator, which the last field may lack (protocol.md FX-3), and
/// what follows it.
fn field(input: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let text = take_till(|byte| byte == separator);
    let field: IResult<&[u8], &[u8], ()> = terminated(text, opt(take(1usize))).parse(input);
    field.unwrap_or((&[], input))
}

/// The first `=` splits, later ones belong to the value (protocol.md FX-4).
fn tag_and_value(field: &[u8]) -> IResult<&[u8], (&[u8], &[u8]), ()> {
    separated_pair(take_till1(|byte| byte == b'='), tag(&b"="[..]), rest).parse(field)
}

/// Digits only; `None` for anything else and for what `u32` cannot hold.
fn fix_tag(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0u32, |tag, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        tag.checked_mul(10)?.checked_add(digit)
    })
}

/// Builds a FIX body, field after field, repeated tags included.
///
/// ```
/// use amps_protocol::{FixBuilder, FixError};
///
/// let mut body = FixBuilder::new();
/// body.append(8, "FIX.4.2")?.append(35, "D")?;
/// assert_eq!(body.as_bytes(), b"8=FIX.4.2\x0135=D\x01");
/// assert_eq!(body.append(58, "a\x01b").unwrap_err(), FixError::SeparatorInValue { offset: 1 });
/// # Ok::<(), FixError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixBuilder {
    body: Vec<u8>,
    separator: u8,
}

impl FixBuilder {
    /// A builder without fields, which ends them with [`FIX_SEPARATOR`].
    pub const fn new() -> Self {
        Self { body: Vec::new(), separator: FIX_SEPARATOR }
    }

    /// A builder without fields, which ends them with `separator`.
    ///
    /// # Errors
    /// The separator is `=` or a digit, so that no reader could find a field's end.
    pub const fn with_separator(separator: u8) -> Result<Self, FixError> {
        if separator == b'=' || separator.is_ascii_digit() {
            return Err(FixError::UnusableSeparator { separator });
        }
        Ok(Self { body: Vec::new(), separator })
    }

    /// Adds one field. An empty value is present, and NULL to the server (protocol.md FX-6).
    ///
    /// # Errors
    /// The value holds the separator. The body is then as it was.
    pub fn append(&mut self, tag: u32, value: impl AsRef<[u8]>) -> Result<&mut Self, FixError> {
        let mut digits = itoa::Buffer::new();
        append_field(&mut self.body, self.separator, digits.format(tag).as_bytes(), value.as_ref())?;
        Ok(self)
    }

    /// The body so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Takes the body out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.body
    }

    /// Removes every field and keeps separator and memory, so that the builder can be used
    /// again.
    pub fn clear(&mut self) {
        self.body.clear();
    }
}

impl Default for FixBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRef<[u8]> for FixBuilder {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Builds an NVFIX body, field after field, repeated keys included.
///
/// ```
/// use amps_protocol::{FixError, NvfixBuilder};
///
/// let mut body = NvfixBuilder::with_separator(b'|')?;
/// body.append("symbol", "IBM")?.append("note", "a=b")?;
/// assert_eq!(body.as_bytes(), b"symbol=IBM|note=a=b|");
/// assert_eq!(body.append("a=b", "1").unwrap_err(), FixError::EqualsInKey { offset: 1 });
/// # Ok::<(), FixError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvfixBuilder {
    body: Vec<u8>,
    separator: u8,
}

impl NvfixBuilder {
    /// A builder without fields, which ends them with [`FIX_SEPARATOR`].
    pub const fn new() -> Self {
        Self { body: Vec::new(), separator: FIX_SEPARATOR }
    }

    /// A builder without fields, which ends them with `separator`.
    ///
    /// # Errors
    /// The separator is `=`, so that no reader could find a field's end.
    pub const fn with_separator(separator: u8) -> Result<Self, FixError> {
        if separator == b'=' {
            return Err(FixError::UnusableSeparator { separator });
        }
        Ok(Self { body: Vec::new(), separator })
    }

    /// Adds one field. An empty value is present, and NULL to the server (protocol.md FX-6).
    ///
    /// # Errors
    /// The key is empty or holds `=`, or key or value hold the separator. The body is then as
    /// it was.
    pub fn append(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<&mut Self, FixError> {
        append_field(&mut self.body, self.separator, key.as_ref(), value.as_ref())?;
        Ok(self)
    }

    /// The body so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Takes the body out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.body
    }

    /// Removes every field and keeps separator and memory, so that the builder can be used
    /// again.
    pub fn clear(&mut self) {
        self.body.clear();
    }
}

impl Default for NvfixBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRef<[u8]> for NvfixBuilder {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Writes `key=value` and the separator, which ends the last field too (protocol.md FX-2),
/// unless a reader would see something else than was meant (FX-5, UF-4, inferred).
fn append_field(body: &mut Vec<u8>, separator: u8, key: &[u8], value: &[u8]) -> Result<(), FixError> {
    if key.is_empty() {
        return Err(FixError::EmptyKey);
    }
    if let Some(offset) = memchr::memchr(b'=', key) {
        return Err(FixError::EqualsInKey { offset });
    }
    if let Some(offset) = memchr::memchr(separator, key) {
        return Err(FixError::SeparatorInKey { offset });
    }
    if let Some(offset) = memchr::memchr(separator, value) {
        return Err(FixError::SeparatorInValue { offset });
    }
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(separator);
    Ok(())
}

/// Why a FIX or NVFIX field cannot be written.
///
/// ```
/// use amps_protocol::{FixBuilder, FixError};
///
/// let error = FixBuilder::with_separator(b'=').unwrap_err();
/// assert_eq!(error, FixError::UnusableSeparator { separator: b'=' });
/// assert_eq!(error.to_string(), "the byte 0x3d cannot separate fields; choose one that no tag holds, such as 0x01");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FixError {
    /// The separator could be part of every field.
    #[error("the byte {separator:#04x} cannot separate fields; choose one that no tag holds, such as 0x01")]
    UnusableSeparator {
        /// What was chosen.
        separator: u8,
    },
    /// A value with the separator inside, which cannot be expressed.
    #[error("the value holds the field separator at byte {offset}; choose another separator")]
    SeparatorInValue {
        /// Where in the value, counted from 0.
        offset: usize,
    },
    /// A key with the separator inside, which cannot be expressed.
    #[error("the key holds the field separator at byte {offset}; choose another separator")]
    SeparatorInKey {
        /// Where in the key, counted from 0.
        offset: usize,
    },
    /// A key with `=` inside, where a reader would split it.
    #[error("the key holds \"=\" at byte {offset}; only values can")]
    EqualsInKey {
        /// Where in the key, counted from 0.
        offset: usize,
    },
    /// A field without a key, which readers skip.
    #[error("the key is empty; every field needs one")]
    EmptyKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_decimal_that_fits_32_bits() {
        assert_eq!(fix_tag(b"0"), Some(0));
        assert_eq!(fix_tag(b"007"), Some(7));
        assert_eq!(fix_tag(b"4294967295"), Some(u32::MAX));
        for unusable in ["4294967296", "99999999999999999999", "-1", "+1", " 1", "1 ", "0x1", "1.0", "x"] {
            assert_eq!(fix_tag(unusable.as_bytes()), None, "{unusable}");
        }
    }
}
