//! What can be wrong with received bytes.

use core::fmt;

use crate::header::Field;

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
///
/// ```
/// use amps_protocol::{HeaderFault, Message};
///
/// let error = Message::decode(&b"{\"c\":\"p\",\"t\":}"[..]).unwrap_err();
/// assert_eq!(error.fault, HeaderFault::ExpectedValue);
/// assert_eq!(error.to_string(), "malformed header at byte 13, field \"t\": expected a value after ':'");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed header at byte {offset}{}: {fault}", OfField(*field))]
pub struct HeaderError {
    /// Where in the frame, counted from 0 (the length prefix does not count).
    pub offset: usize,
    /// What is wrong there.
    pub fault: HeaderFault,
    /// The field whose value was being read, if it is a known one.
    pub field: Option<Field>,
}

struct OfField(Option<Field>);

impl fmt::Display for OfField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |field| write!(f, ", field \"{}\"", field.key()))
    }
}

/// What is wrong with a malformed header, and what was expected instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The frame does not begin like a header at all.
    NoHeader,
    /// The frame begins with a member, not with the `{` before it.
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
    /// The frame is longer than 4 GiB.
    TooLong,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "expected a header, which begins with '{'",
            Self::MissingOpeningBrace => "expected '{' before the first field name",
            Self::MissingClosingBrace => "expected '}' before the end of the frame",
            Self::UnterminatedString => "expected a closing '\"' before the end of the frame",
            Self::ExpectedFieldName => "expected a quoted field name or '}'",
            Self::ExpectedColon => "expected ':' after a field name",
            Self::ExpectedValue => "expected a value after ':'",
            Self::NestedValue => "expected a string or a number, not an object or a list",
            Self::TooLong => "expected a frame below 4 GiB",
        })
    }
}
