//! What can be wrong with received bytes.

use core::fmt;

use crate::command::CommandKind;
use crate::header::Field;

/// A frame is longer than the limit that was set for it.
///
/// Inbound this is found before any memory is reserved for the frame; outbound the buffer is
/// left as it was.
///
/// ```
/// use amps_protocol::{FrameTooLong, next_frame};
///
/// let error = next_frame(b"\x00\x00\x10\x00", 1024).unwrap_err();
/// assert_eq!(error, FrameTooLong { length: 4096, limit: 1024 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a frame of {length} bytes exceeds the limit of {limit} bytes; raise the limit if such messages are expected"
)]
pub struct FrameTooLong {
    /// Length of header and body in bytes, as announced or as encoded.
    pub length: u64,
    /// The limit in force, in bytes of header and body.
    pub limit: u64,
}

/// A command that cannot be encoded. Nothing was written.
///
/// ```
/// use amps_protocol::{Command, Delete};
/// use bytes::BytesMut;
///
/// let nothing = Delete::keys::<&str>([]);
/// let error = Command::sow_delete("orders", nothing).encode(&mut BytesMut::new()).unwrap_err();
/// assert_eq!(error.to_string(), "cannot send sow_delete: it does not say what to delete");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It is too long.
    #[error(transparent)]
    TooLong(#[from] FrameTooLong),
    /// It lacks what every server would miss, or contradicts itself.
    #[error("cannot send {}: {problem}", .kind.token())]
    Incomplete {
        /// The command.
        kind: CommandKind,
        /// What is wrong with it.
        problem: &'static str,
    },
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

struct InField(Option<Field>);

impl fmt::Display for InField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |field| write!(f, "field \"{}\": ", field.key()))
    }
}

/// What is wrong with a malformed header, and what was expected instead.
///
/// ```
/// use amps_protocol::{HeaderFault, Message};
///
/// let error = Message::decode(&b"hello"[..]).unwrap_err();
/// assert_eq!(error.fault, HeaderFault::NoHeader);
/// assert_eq!(error.fault.to_string(), "expected a header, which begins with '{'");
/// ```
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

/// A `sow` frame whose records do not add up (protocol.md S-3, M-8).
///
/// The connection that it came from cannot be trusted any more and must be closed.
///
/// ```
/// use amps_protocol::{Message, SowFault};
///
/// let batch = Message::decode(&br#"{"c":"sow","bs":1}{"k":"1"}{"id":1}"#[..]).unwrap();
/// let error = batch.records().next().unwrap().unwrap_err();
/// assert_eq!((error.record, error.offset, error.fault), (0, 18, SowFault::MissingLength));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed sow batch at byte {offset}, record {record}: {fault}")]
pub struct SowError {
    /// The record's number in its frame, from 0.
    pub record: usize,
    /// Where in the frame, counted from 0 (the length prefix does not count).
    pub offset: usize,
    /// What is wrong there.
    pub fault: SowFault,
}

/// What is wrong with a record of a `sow` frame.
///
/// ```
/// use amps_protocol::{Message, SowFault};
///
/// let batch = Message::decode(&br#"{"c":"sow"}{"k":"1","l":99}{}"#[..])?;
/// let fault = batch.records().find_map(Result::err).unwrap().fault;
/// assert_eq!(fault, SowFault::LengthBeyondFrame { length: 99, left: 2 });
/// # Ok::<(), amps_protocol::HeaderError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SowFault {
    /// Its header breaks the grammar.
    #[error("{}{fault}", InField(*field))]
    Header {
        /// How.
        fault: HeaderFault,
        /// The field whose value was being read, if it is a known one.
        field: Option<Field>,
    },
    /// Its header does not tell how long its data is.
    #[error("expected \"l\", the length of its data, in its header")]
    MissingLength,
    /// Its data would end beyond the frame.
    #[error("its length \"l\" is {length}, but only {left} bytes are left")]
    LengthBeyondFrame {
        /// The length that its header tells.
        length: u64,
        /// What is left of the frame.
        left: usize,
    },
}

/// A byte string that does not consist of whole frames.
///
/// ```
/// use amps_protocol::{FrameFault, Frames};
///
/// let mut frames = Frames::new(b"\x00\x00\x00\x02{}\x00\x00\x00\x09{\"c\"");
/// assert_eq!(frames.next().unwrap().unwrap().bytes, b"{}");
/// let error = frames.next().unwrap().unwrap_err();
/// assert_eq!((error.offset, error.fault), (6, FrameFault::Truncated { length: 9, left: 4 }));
/// assert!(frames.next().is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad frame at byte {offset}: {fault}")]
pub struct FrameError {
    /// Where the frame's length prefix begins, counted from the start of the bytes.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: FrameFault,
}

/// What is wrong with a frame.
///
/// ```
/// use amps_protocol::{FrameFault, Frames};
///
/// let error = Frames::new(b"\x00\x00").next().unwrap().unwrap_err();
/// assert_eq!(error.fault, FrameFault::TruncatedPrefix { left: 2 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// It announces more than the limit.
    #[error(transparent)]
    TooLong(#[from] FrameTooLong),
    /// The bytes end inside it.
    #[error("it announces {length} bytes, but only {left} follow")]
    Truncated {
        /// What it announces.
        length: usize,
        /// What follows.
        left: usize,
    },
    /// The bytes end inside its length prefix.
    #[error("expected a length prefix of 4 bytes, but only {left} are left")]
    TruncatedPrefix {
        /// What is left.
        left: usize,
    },
}
