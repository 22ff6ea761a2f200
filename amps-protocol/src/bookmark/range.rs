//! Ranges of bookmarks: `[20200604T000000:20200605T000000)`.

use core::fmt;
use core::str::FromStr;

use bstr::BStr;
use nom::branch::alt;
use nom::character::complete::char;
use nom::combinator::value;
use nom::{IResult, Parser};

use super::error::{BookmarkError, BookmarkFault};
use super::list::BookmarkList;

/// A part of the log with a start and an end (protocol.md 9.4), for servers from 5.3.2 on.
///
/// The server begins at the earliest entry of the start and stops at the latest entry of
/// the end, which may lie in the future.
///
/// ```
/// use amps_protocol::{BookmarkRange, RangeEdge};
///
/// let day: BookmarkRange = "[20200604T000000:20200605T000000)".parse()?;
/// assert_eq!(day.start_edge(), RangeEdge::Included);
/// assert_eq!(day.end_edge(), RangeEdge::Excluded);
/// assert_eq!(day.to_string(), "[20200604T000000:20200605T000000)");
///
/// let again = BookmarkRange::new(day.start().clone(), day.end().clone())?;
/// assert_eq!(again, day);
/// assert!("[20200604T000000:]".parse::<BookmarkRange>().is_err());
/// # Ok::<(), amps_protocol::BookmarkError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BookmarkRange {
    start: BookmarkList,
    start_edge: RangeEdge,
    end: BookmarkList,
    end_edge: RangeEdge,
}

/// Whether the bookmark at an end of a range belongs to the range.
///
/// ```
/// use amps_protocol::{BookmarkRange, RangeEdge};
///
/// let range = "[1|5|:1|9|)".parse::<BookmarkRange>()?;
/// let range = range.with_edges(RangeEdge::Excluded, RangeEdge::Included);
/// assert_eq!(range.to_string(), "(1|5|:1|9|]");
/// # Ok::<(), amps_protocol::BookmarkError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeEdge {
    /// It does: `[` or `]`.
    Included,
    /// It does not: `(` or `)`.
    Excluded,
}

impl BookmarkRange {
    /// The range from `start`, included, to `end`, excluded.
    ///
    /// # Errors
    /// A side has no entry.
    pub fn new(start: BookmarkList, end: BookmarkList) -> Result<Self, BookmarkError> {
        if start.is_empty() {
            return Err(BookmarkError::new(1, BookmarkFault::MissingStart));
        }
        if end.is_empty() {
            let offset = "[:".len() + start.pieces().map(<[u8]>::len).sum::<usize>();
            return Err(BookmarkError::new(offset, BookmarkFault::MissingEnd));
        }
        Ok(Self { start, start_edge: RangeEdge::Included, end, end_edge: RangeEdge::Excluded })
    }

    /// The same range with other edges.
    #[must_use]
    pub fn with_edges(self, start: RangeEdge, end: RangeEdge) -> Self {
        Self { start_edge: start, end_edge: end, ..self }
    }

    /// Reads a range; white space around its parts is dropped.
    ///
    /// # Errors
    /// A bracket, the colon or a side is missing, or a side is no list of bookmarks.
    pub fn parse(text: &[u8]) -> Result<Self, BookmarkError> {
        let fail = |offset, fault| Err(BookmarkError::new(offset, fault));
        let blanks = text.len() - text.trim_ascii_start().len();
        let Ok((sides, start_edge)) = opening(text.trim_ascii()) else {
            return fail(blanks, BookmarkFault::ExpectedRange);
        };
        let start_at = blanks + 1;
        let (sides, end_edge) = match sides.split_last() {
            Some((b']', sides)) => (sides, RangeEdge::Included),
            Some((b')', sides)) => (sides, RangeEdge::Excluded),
            _ => return fail(start_at + sides.len(), BookmarkFault::UnclosedRange),
        };
        // No bookmark holds a colon, so that the first one splits (protocol.md 9.4).
        let Some(colon) = sides.iter().position(|&byte| byte == b':') else {
            return fail(start_at + sides.len(), BookmarkFault::ExpectedColon);
        };
        let (start, end) =
            (sides.get(..colon).unwrap_or_default(), sides.get(colon + 1..).unwrap_or_default());
        let end_at = start_at + colon + 1;
        if start.trim_ascii().is_empty() {
            return fail(start_at, BookmarkFault::MissingStart);
        }
        if end.trim_ascii().is_empty() {
            return fail(end_at, BookmarkFault::MissingEnd);
        }
        let start = BookmarkList::parse(start).map_err(|error| error.shifted(start_at))?;
        let end = BookmarkList::parse(end).map_err(|error| error.shifted(end_at))?;
        Ok(Self { start, start_edge, end, end_edge })
    }

    /// Where the range begins: at the earliest of these.
    pub const fn start(&self) -> &BookmarkList {
        &self.start
    }

    /// Whether its start belongs to the range.
    pub const fn start_edge(&self) -> RangeEdge {
        self.start_edge
    }

    /// Where the range ends: at the latest of these.
    pub const fn end(&self) -> &BookmarkList {
        &self.end
    }

    /// Whether its end belongs to the range.
    pub const fn end_edge(&self) -> RangeEdge {
        self.end_edge
    }

    /// The range as it stands on the wire, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let open: &[u8] = match self.start_edge {
            RangeEdge::Included => b"[",
            RangeEdge::Excluded => b"(",
        };
        let close: &[u8] = match self.end_edge {
            RangeEdge::Included => b"]",
            RangeEdge::Excluded => b")",
        };
        let colon: &[u8] = b":";
        let start = core::iter::once(open).chain(self.start.pieces());
        start.chain([colon]).chain(self.end.pieces()).chain([close])
    }
}

pub(super) fn opening(input: &[u8]) -> IResult<&[u8], RangeEdge, ()> {
    alt((value(RangeEdge::Included, char('[')), value(RangeEdge::Excluded, char('(')))).parse(input)
}

impl FromStr for BookmarkRange {
    type Err = BookmarkError;

    fn from_str(text: &str) -> Result<Self, BookmarkError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for BookmarkRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().try_for_each(|piece| fmt::Display::fmt(BStr::new(piece), f))
    }
}

impl fmt::Debug for BookmarkRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BookmarkRange({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn lists_and_every_pair_of_brackets_are_read() {
        for text in ["[0:0|1|]", "(1|2|,3|4|:1|9|)", "[0|1|:20300101T000000Z)", "(0:1|1|]"] {
            assert_eq!(text.parse::<BookmarkRange>().unwrap().to_string(), text);
        }
        assert_eq!(" [ 0 : 1|1 ] ".parse::<BookmarkRange>().unwrap().to_string(), "[0:1|1|]");
    }

    #[test]
    fn what_is_missing_is_named_where_it_is_missing() {
        for (text, offset, fault) in [
            ("0:1|1|", 0, BookmarkFault::ExpectedRange),
            ("", 0, BookmarkFault::ExpectedRange),
            ("[", 1, BookmarkFault::UnclosedRange),
            ("[0:1|1|", 7, BookmarkFault::UnclosedRange),
            ("[]", 1, BookmarkFault::ExpectedColon),
            ("[0]", 2, BookmarkFault::ExpectedColon),
            ("[:0)", 1, BookmarkFault::MissingStart),
            ("[0: )", 3, BookmarkFault::MissingEnd),
            ("[0:1:2]", 4, BookmarkFault::ForbiddenByte),
            (" [0,,:2]", 4, BookmarkFault::Empty),
            ("[0:recent]", 3, BookmarkFault::MostRecent),
        ] {
            assert_eq!(text.parse::<BookmarkRange>(), Err(BookmarkError { offset, fault }), "{text}");
        }
    }

    #[test]
    fn a_range_built_by_hand_needs_both_sides_too() {
        let (side, none) = ("1|2|".parse::<BookmarkList>().unwrap(), BookmarkList::new());
        let fault = |start: &BookmarkList, end: &BookmarkList| {
            BookmarkRange::new(start.clone(), end.clone()).unwrap_err().fault
        };
        assert_eq!(fault(&none, &side), BookmarkFault::MissingStart);
        assert_eq!(fault(&side, &none), BookmarkFault::MissingEnd);
    }
}
