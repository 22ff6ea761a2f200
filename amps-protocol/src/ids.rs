//! Identifiers of commands, subscriptions and queries, lists of them, and lists of record
//! keys (protocol.md 8).
//!
//! Owns what an identifier may be, and how a comma list is taken apart. It hands out no
//! identifiers: that is the business of a client.

use alloc::collections::BTreeSet;
use core::fmt;
use core::iter::FusedIterator;

use bstr::BStr;

use crate::command::Text;

/// Why a text cannot be an identifier (protocol.md I-4).
///
/// ```
/// use amps_protocol::{Id, IdError};
///
/// assert_eq!(Id::text("a,b"), Err(IdError::Comma { offset: 1 }));
/// assert_eq!(Id::text("all").unwrap_err().to_string(), "the identifier \"all\" means every subscription; choose another");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// It is empty.
    #[error("an identifier cannot be empty")]
    Empty,
    /// It holds a comma, which would make two of it.
    #[error("an identifier cannot hold a comma, but has one at byte {offset}")]
    Comma {
        /// Where, counted from 0.
        offset: usize,
    },
    /// It begins or ends with white space, which receivers drop (I-7).
    #[error("an identifier cannot begin or end with white space; trim it")]
    OuterBlank,
    /// It is `all`, which an `unsubscribe` takes for every subscription.
    #[error("the identifier \"all\" means every subscription; choose another")]
    All,
}

/// An identifier that may be sent: a number, or a text of the application's choice.
///
/// ```
/// use amps_protocol::Id;
///
/// assert_eq!(Id::number(42).as_bytes(), b"42");
/// assert_eq!(Id::text("orders-1")?.to_string(), "orders-1");
/// assert_eq!(Id::number(7), Id::text("7")?);
/// # Ok::<(), amps_protocol::IdError>(())
/// ```
#[derive(Clone)]
pub struct Id<'a>(Form<'a>);

#[derive(Clone)]
enum Form<'a> {
    Number { digits: [u8; MAX_DIGITS], len: u8 },
    Text(Text<'a>),
}

/// Digits of the largest number of 64 bits.
const MAX_DIGITS: usize = 20;

impl<'a> Id<'a> {
    /// A number. Its digits are part of the value: nothing is allocated.
    pub fn number(number: u64) -> Self {
        let mut digits = [0; MAX_DIGITS];
        let mut len = 0;
        let mut buffer = itoa::Buffer::new();
        for (slot, digit) in digits.iter_mut().zip(buffer.format(number).bytes()) {
            *slot = digit;
            len += 1;
        }
        Self(Form::Number { digits, len })
    }

    /// A text, once it is seen to be an identifier.
    ///
    /// # Errors
    /// It is empty, holds a comma, has white space at an end, or is `all`.
    pub fn text(text: impl Into<Text<'a>>) -> Result<Self, IdError> {
        let text = text.into();
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(IdError::Empty);
        }
        if let Some(offset) = memchr::memchr(b',', bytes) {
            return Err(IdError::Comma { offset });
        }
        if bytes.trim_ascii().len() != bytes.len() {
            return Err(IdError::OuterBlank);
        }
        if bytes == b"all" {
            return Err(IdError::All);
        }
        Ok(Self(Form::Text(text)))
    }

    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Id<'static> {
        Id(match self.0 {
            Form::Number { digits, len } => Form::Number { digits, len },
            Form::Text(text) => Form::Text(text.into_owned()),
        })
    }

    /// The bytes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Number { digits, len } => digits.get(..usize::from(*len)).unwrap_or_default(),
            Form::Text(text) => text.as_bytes(),
        }
    }
}

impl From<u64> for Id<'_> {
    fn from(number: u64) -> Self {
        Self::number(number)
    }
}

impl<'a> TryFrom<&'a str> for Id<'a> {
    type Error = IdError;

    fn try_from(text: &'a str) -> Result<Self, IdError> {
        Self::text(text)
    }
}

impl AsRef<[u8]> for Id<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Id<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Id<'_> {}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(BStr::new(self.as_bytes()), f)
    }
}

impl fmt::Debug for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// The entries of a comma list, trimmed, empty ones skipped.
#[derive(Clone, Debug)]
struct Entries<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Entries<'a> {
    const fn new(list: &'a [u8]) -> Self {
        Self { rest: Some(list) }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest.take()?;
            let entry = match memchr::memchr(b',', rest) {
                Some(comma) => {
                    let (entry, after) = rest.split_at(comma);
                    self.rest = after.get(1..);
                    entry
                }
                None => rest,
            };
            let entry = entry.trim_ascii();
            if !entry.is_empty() {
                return Some(entry);
            }
        }
    }
}

/// How many entries are compared one by one before a set takes over.
const COMPARED: usize = 64;

/// The ids of a list such as `sids`, each once (protocol.md I-7, I-12).
///
/// Ids are trimmed, empty ones skipped. For up to 64 ids, which is far more than one
/// message matches in practice, each is compared with those before it and nothing is
/// allocated. Beyond, a set takes over, so that the time for `n` ids is at most
/// proportional to `n log n` whoever wrote the list.
///
/// ```
/// use amps_protocol::Ids;
///
/// let ids: Vec<_> = Ids::new(b"1, 4,,9,1").map(|id| id.to_string()).collect();
/// assert_eq!(ids, ["1", "4", "9"]);
/// ```
#[derive(Clone, Debug)]
pub struct Ids<'a> {
    entries: Entries<'a>,
    /// From the beginning again, to look at what came before.
    all: Entries<'a>,
    /// How many entries came so far, repeated ones included.
    passed: usize,
    seen: Option<BTreeSet<&'a [u8]>>,
}

impl<'a> Ids<'a> {
    /// The ids of a comma list.
    pub const fn new(list: &'a [u8]) -> Self {
        Self { entries: Entries::new(list), all: Entries::new(list), passed: 0, seen: None }
    }

    /// Whether the entry that comes now is the first of its kind.
    fn is_first(&mut self, id: &'a [u8]) -> bool {
        let earlier = || self.all.clone().take(self.passed);
        if self.passed < COMPARED {
            return earlier().all(|other| other != id);
        }
        self.seen.get_or_insert_with(|| earlier().collect()).insert(id)
    }
}

impl<'a> Iterator for Ids<'a> {
    type Item = &'a BStr;

    fn next(&mut self) -> Option<&'a BStr> {
        loop {
            let id = self.entries.next()?;
            let first = self.is_first(id);
            self.passed += 1;
            if first {
                return Some(BStr::new(id));
            }
        }
    }
}

impl FusedIterator for Ids<'_> {}

/// The record keys of a list such as `sow_keys`, in order: trimmed, empty ones skipped.
/// Keys are text; they need not be numbers, nor fit 64 bits.
///
/// ```
/// use amps_protocol::SowKeys;
///
/// let keys: Vec<_> = SowKeys::new(b"1853097931817257202,22363879930342650852").collect();
/// assert_eq!(keys, ["1853097931817257202", "22363879930342650852"]);
/// ```
#[derive(Clone, Debug)]
pub struct SowKeys<'a>(Entries<'a>);

impl<'a> SowKeys<'a> {
    /// The keys of a comma list.
    pub const fn new(list: &'a [u8]) -> Self {
        Self(Entries::new(list))
    }
}

impl<'a> Iterator for SowKeys<'a> {
    type Item = &'a BStr;

    fn next(&mut self) -> Option<&'a BStr> {
        self.0.next().map(BStr::new)
    }
}

impl FusedIterator for SowKeys<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn what_is_no_identifier_is_refused_with_its_reason() {
        for (text, error) in [
            (&b""[..], IdError::Empty),
            (b"a,b", IdError::Comma { offset: 1 }),
            (b" a", IdError::OuterBlank),
            (b"a\t", IdError::OuterBlank),
            (b"all", IdError::All),
        ] {
            assert_eq!(Id::text(text), Err(error));
        }
        assert!(Id::text("allen").is_ok());
        assert!(Id::text(b"\xff").is_ok(), "ids are byte strings");
    }

    #[test]
    fn a_number_and_its_digits_are_one_identifier_borrowed_or_not() {
        let (number, text) = (Id::from(7), Id::try_from("7").unwrap());
        assert_eq!(number, text);
        assert_eq!(number.clone().into_owned(), text.clone().into_owned());
        assert_eq!(format!("{number} {text:?}"), "7 Id(7)");
        assert_eq!(Id::try_from("7,8"), Err(IdError::Comma { offset: 1 }));
    }

    #[test]
    fn the_largest_number_fits() {
        assert_eq!(Id::number(u64::MAX).as_bytes(), b"18446744073709551615");
        assert_eq!(Id::number(0).as_bytes(), b"0");
    }

    #[test]
    fn a_list_of_nothing_has_no_ids() {
        for list in [&b""[..], b",", " , ,".as_bytes()] {
            assert_eq!(Ids::new(list).next(), None);
            assert_eq!(SowKeys::new(list).next(), None);
        }
    }
}
