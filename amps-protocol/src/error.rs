//! What can be wrong with received bytes.

use core::fmt;

/// A frame is longer than the limit that was set for it.
///
/// Inbound this is found before any memory is reserved for the frame; outbound before any
/// byte of it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a frame of {length} bytes exceeds the limit of {limit} bytes; raise the limit if such messages are expected"
)]
pub struct FrameTooLong {
    /// Length of header and body, as announced or as encoded.
    pub length: u64,
    /// The limit in force.
    pub limit: u64,
}

/// A frame whose header does not follow the grammar.
///
/// The connection that it came from cannot be trusted any more and must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed header at byte {offset}: {fault}")]
pub struct HeaderError {
    /// Where in the frame, counted from 0 (the length prefix does not count).
    pub offset: usize,
    /// What is wrong there.
    pub fault: HeaderFault,
}

/// What is wrong with a malformed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The frame does not begin with `{`.
    MissingOpeningBrace,
    /// The frame ends before the closing `}` of the header.
    MissingClosingBrace,
    /// A string is not closed before the frame ends.
    UnterminatedString,
    /// Something other than a quoted field name.
    ExpectedFieldName,
    /// A field name that no `:` follows.
    ExpectedColon,
    /// A `:` that no value follows.
    ExpectedValue,
    /// A nested object or list, which a header cannot hold.
    NestedValue,
    /// The header is longer than 4 GiB.
    TooLong,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MissingOpeningBrace => "expected '{', with which every header begins",
            Self::MissingClosingBrace => "the frame ends before the header's closing '}'",
            Self::UnterminatedString => "the frame ends inside a string",
            Self::ExpectedFieldName => "expected a quoted field name or '}'",
            Self::ExpectedColon => "expected ':' after a field name",
            Self::ExpectedValue => "expected a value after ':'",
            Self::NestedValue => "a header value cannot be an object or a list",
            Self::TooLong => "a header cannot exceed 4 GiB",
        })
    }
}
