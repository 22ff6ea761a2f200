//! Bookmarks: positions in a server's transaction log.
//!
//! Owns their syntax (protocol.md 9): what a bookmark says when it is looked into
//! ([`Position`], [`MessageId`]), and what may be sent to begin a replay ([`ReplayFrom`],
//! [`BookmarkList`], [`BookmarkRange`]). It keeps no record of what was seen or discarded;
//! that is the business of a bookmark store.

mod error;
mod id;
mod list;
mod range;
mod replay;

use alloc::string::ToString;
use core::fmt;

use bstr::BStr;
use bytes::Bytes;

use crate::timestamp::{format_timestamp, parse_timestamp};

pub use error::{BookmarkError, BookmarkFault};
pub use id::MessageId;
pub use list::BookmarkList;
pub use range::{BookmarkRange, RangeEdge};
pub use replay::ReplayFrom;

const EPOCH: &[u8] = b"0";
const NOW: &[u8] = b"0|1|";

/// One bookmark, opaque: the very bytes that the server sent, to be sent back unchanged.
///
/// Cloning shares the bytes. Two bookmarks are equal when their bytes are. A bookmark made
/// from [`Bytes`] keeps the whole buffer behind them alive; one made from a slice or a text
/// owns a copy of its own bytes only.
///
/// ```
/// use amps_protocol::{Bookmark, MessageId, Position};
///
/// let bookmark = Bookmark::from("7094790850998930143|42|");
/// let id = MessageId { publisher: 7094790850998930143, sequence: 42 };
/// assert_eq!(bookmark.position(), Position::Message(id));
/// assert_eq!(Bookmark::from(id), bookmark);
/// assert_eq!(Bookmark::from("1757438359976304|1|7|").position(), Position::Opaque);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark(Bytes);

/// What a bookmark says when it is looked into.
///
/// ```
/// use amps_protocol::{Bookmark, Position};
///
/// assert_eq!(Bookmark::from("0").position(), Position::Epoch);
/// assert_eq!(Bookmark::from("0|1").position(), Position::Now);
/// assert_eq!(Bookmark::from("19700101T000001Z").position(), Position::Timestamp(1_000_000_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Position {
    /// The start of the log: `0`.
    Epoch,
    /// Only what is published from now on: `0|1|`.
    Now,
    /// One message.
    Message(MessageId),
    /// A moment, in nanoseconds since the Unix epoch.
    Timestamp(u64),
    /// A form that this crate does not know, such as the three parts that one fake server
    /// writes (B-7). It can be sent back and compared for equality, and no more.
    Opaque,
}

impl Bookmark {
    /// The start of the log: `0`.
    pub const fn epoch() -> Self {
        Self(Bytes::from_static(EPOCH))
    }

    /// Only what is published from now on: `0|1|`.
    pub const fn now() -> Self {
        Self(Bytes::from_static(NOW))
    }

    /// A moment, in nanoseconds since the Unix epoch, rounded down to the microsecond. A
    /// moment before the log begins means its start.
    ///
    /// ```
    /// use amps_protocol::Bookmark;
    /// assert_eq!(Bookmark::at(1_420_202_100_000_000_000).to_string(), "20150102T123500Z");
    /// assert_eq!(Bookmark::at(1_420_202_100_000_250_999).to_string(), "20150102T123500.000250Z");
    /// ```
    pub fn at(unix_nanos: u64) -> Self {
        let text = format_timestamp(unix_nanos).to_string();
        // The documented form has no fraction (protocol.md 9.2): write one only if needed.
        match text.strip_suffix(".000000Z") {
            Some(seconds) => Self(Bytes::from([seconds.as_bytes(), b"Z"].concat())),
            None => Self(Bytes::from(text)),
        }
    }

    /// The bytes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Looks into the bookmark. White space around it and a missing last bar are
    /// overlooked (B-6, B-8).
    pub fn position(&self) -> Position {
        position(&self.0)
    }

    /// Who published the message and with which number, if this is a message bookmark.
    pub fn message_id(&self) -> Option<MessageId> {
        match self.position() {
            Position::Message(id) => Some(id),
            _ => None,
        }
    }
}

fn position(text: &[u8]) -> Position {
    let text = text.trim_ascii();
    if text == EPOCH {
        return Position::Epoch;
    }
    match MessageId::parse(text) {
        Ok(MessageId { publisher: 0, sequence: 1 }) => Position::Now,
        Ok(id) => Position::Message(id),
        Err(_) => parse_timestamp(text).map_or(Position::Opaque, Position::Timestamp),
    }
}

impl AsRef<[u8]> for Bookmark {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Bookmark {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Bookmark {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl From<&BStr> for Bookmark {
    fn from(bytes: &BStr) -> Self {
        Self::from(&**bytes)
    }
}

impl From<&str> for Bookmark {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<MessageId> for Bookmark {
    fn from(id: MessageId) -> Self {
        Self::from(id.encode(&mut [0; MessageId::MAX_LEN]))
    }
}

impl fmt::Display for Bookmark {
    /// Bytes that are not UTF-8 show as U+FFFD; [`as_bytes`](Self::as_bytes) has them all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(BStr::new(&self.0), f)
    }
}

impl fmt::Debug for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bookmark({})", BStr::new(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_told_apart() {
        let id = |publisher, sequence| Position::Message(MessageId { publisher, sequence });
        for (text, position) in [
            ("0", Position::Epoch),
            ("0|1|", Position::Now),
            ("0|1", Position::Now),
            ("0|0|", id(0, 0)),
            ("1|0", id(1, 0)),
            (" 7|8| ", id(7, 8)),
            ("20150102T123500Z", Position::Timestamp(1_420_202_100_000_000_000)),
            ("20150102T123500.5", Position::Timestamp(1_420_202_100_500_000_000)),
            ("1|2|3|", Position::Opaque),
            ("1|2|,3|4|", Position::Opaque),
            ("recent", Position::Opaque),
            ("", Position::Opaque),
        ] {
            assert_eq!(Bookmark::from(text).position(), position, "{text}");
        }
    }

    #[test]
    fn bytes_are_kept_whatever_they_are() {
        let odd = &b"\xff|\x00"[..];
        assert_eq!(Bookmark::from(odd).as_bytes(), odd);
        assert_eq!(Bookmark::from(odd).position(), Position::Opaque);
    }
}
