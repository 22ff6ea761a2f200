//! Why a text is no bookmark.

use core::fmt;

/// A text that is not the bookmark, list or range that it should be.
///
/// ```
/// use amps_protocol::{BookmarkFault, BookmarkList};
///
/// let error = BookmarkList::parse(b"12|5|, ,7|1|").unwrap_err();
/// assert_eq!((error.offset, error.fault), (7, BookmarkFault::Empty));
/// assert_eq!(error.to_string(), "invalid bookmark at byte 7: expected a bookmark, found nothing");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid bookmark at byte {offset}: {fault}")]
pub struct BookmarkError {
    /// Where in the text, counted from 0.
    pub offset: usize,
    /// What is wrong there.
    pub fault: BookmarkFault,
}

impl BookmarkError {
    pub(super) const fn new(offset: usize, fault: BookmarkFault) -> Self {
        Self { offset, fault }
    }

    /// The same fault, seen from a text that begins `by` bytes earlier.
    pub(super) const fn shifted(self, by: usize) -> Self {
        Self { offset: self.offset + by, fault: self.fault }
    }
}

/// What is wrong with a bookmark.
///
/// ```
/// use amps_protocol::{BookmarkFault, ReplayFrom};
///
/// let error = "recent".parse::<ReplayFrom>().unwrap_err();
/// assert_eq!(error.fault, BookmarkFault::MostRecent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BookmarkFault {
    /// There is nothing where a bookmark should be.
    Empty,
    /// The publisher's number is missing.
    ExpectedPublisher,
    /// The bar between publisher and sequence is missing.
    ExpectedBar,
    /// The sequence number is missing.
    ExpectedSequence,
    /// A number does not fit 64 bits.
    NumberTooLarge,
    /// Something follows the bookmark.
    ExpectedEnd,
    /// A byte that would end a bookmark early within a list or a range.
    ForbiddenByte,
    /// MOST_RECENT, which only a client's bookmark store can resolve (protocol.md 9.2).
    MostRecent,
    /// A range does not begin with `[` or `(`.
    ExpectedRange,
    /// A range has no `:`.
    ExpectedColon,
    /// A range has no start.
    MissingStart,
    /// A range has no end.
    MissingEnd,
    /// A range does not end with `]` or `)`.
    UnclosedRange,
}

impl fmt::Display for BookmarkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "expected a bookmark, found nothing",
            Self::ExpectedPublisher => "expected the publisher's number",
            Self::ExpectedBar => "expected '|' after the publisher's number",
            Self::ExpectedSequence => "expected the sequence number after '|'",
            Self::NumberTooLarge => "the number exceeds 64 bits",
            Self::ExpectedEnd => "expected the end of the bookmark",
            Self::ForbiddenByte => "a bookmark cannot hold blanks, control bytes, ',', ':' or brackets",
            Self::MostRecent => {
                "MOST_RECENT is no place in a server's log; let a bookmark store replace it by a resume point"
            }
            Self::ExpectedRange => "expected '[' or '(', with which every range begins",
            Self::ExpectedColon => "expected ':' between the start and the end of the range",
            Self::MissingStart => "expected the start of the range before ':'",
            Self::MissingEnd => "expected the end of the range after ':'",
            Self::UnclosedRange => "expected ']' or ')' at the end of the range",
        })
    }
}
