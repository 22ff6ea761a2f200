//! Message bookmarks: `publisher|sequence|`.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use nom::character::complete::{char, digit1};

use super::error::{BookmarkError, BookmarkFault};

/// Who published a message, and the how manieth of theirs it was: what a message bookmark
/// says when it is looked into.
///
/// `Ord` is there for maps and sets only. No order exists between messages of different
/// publishers outside the server's log (protocol.md BC-2): ask [`compare`](Self::compare).
///
/// ```
/// use amps_protocol::MessageId;
/// use core::cmp::Ordering;
///
/// let id: MessageId = "7094790850998930143|42|".parse()?;
/// assert_eq!((id.publisher, id.sequence), (7094790850998930143, 42));
/// assert_eq!(id.to_string(), "7094790850998930143|42|");
/// assert_eq!(id.compare(&MessageId { sequence: 43, ..id }), Some(Ordering::Less));
/// assert_eq!(id.compare(&MessageId { publisher: 1, sequence: 1 }), None);
/// # Ok::<(), amps_protocol::BookmarkError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The server's hash of the publisher's name. Clients learn their own from the logon
    /// acknowledgement and never compute it (B-2).
    pub publisher: u64,
    /// The publisher's sequence number, or one that the server made up (B-5).
    pub sequence: u64,
}

impl MessageId {
    /// Most bytes that a message bookmark takes when written.
    pub const MAX_LEN: usize = 42;

    /// Reads `publisher|sequence|`; white space around it is dropped, and the last bar may
    /// be missing (B-6).
    ///
    /// # Errors
    /// The text is anything else: a list, a time, EPOCH, …
    pub fn parse(text: &[u8]) -> Result<Self, BookmarkError> {
        let total = text.len();
        let fail = |rest: &[u8], fault| BookmarkError::new(total - rest.len(), fault);
        let text = text.trim_ascii_start();
        let (rest, publisher) =
            number(text).map_err(|fault| fail(text, fault.unwrap_or(BookmarkFault::ExpectedPublisher)))?;
        let (rest, _) = bar(rest).ok_or_else(|| fail(rest, BookmarkFault::ExpectedBar))?;
        let (end, sequence) =
            number(rest).map_err(|fault| fail(rest, fault.unwrap_or(BookmarkFault::ExpectedSequence)))?;
        let (end, _) = bar(end).unwrap_or((end, ()));
        if !end.trim_ascii().is_empty() {
            return Err(fail(end, BookmarkFault::ExpectedEnd));
        }
        Ok(Self { publisher, sequence })
    }

    /// The order of two messages of one publisher (BC-1); `None` across publishers (BC-2).
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        (self.publisher == other.publisher).then(|| self.sequence.cmp(&other.sequence))
    }

    /// Writes the bookmark into `buffer` without allocating, and returns the part written.
    ///
    /// ```
    /// use amps_protocol::MessageId;
    ///
    /// let mut buffer = [0; MessageId::MAX_LEN];
    /// let id = MessageId { publisher: u64::MAX, sequence: u64::MAX };
    /// assert_eq!(id.encode(&mut buffer), b"18446744073709551615|18446744073709551615|");
    /// ```
    pub fn encode<'a>(&self, buffer: &'a mut [u8; Self::MAX_LEN]) -> &'a [u8] {
        let mut len = 0;
        for number in [self.publisher, self.sequence] {
            let mut digits = itoa::Buffer::new();
            for &byte in digits.format(number).as_bytes().iter().chain(b"|") {
                if let Some(slot) = buffer.get_mut(len) {
                    *slot = byte;
                    len += 1;
                }
            }
        }
        buffer.get(..len).unwrap_or_default()
    }
}

/// A decimal of 64 bits. `Err(None)` if there is no digit.
fn number(input: &[u8]) -> Result<(&[u8], u64), Option<BookmarkFault>> {
    let (rest, digits) = digit1::<_, ()>(input).map_err(|_| None)?;
    let value = digits
        .iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    Ok((rest, value.ok_or(BookmarkFault::NumberTooLarge)?))
}

fn bar(input: &[u8]) -> Option<(&[u8], ())> {
    let (rest, _) = char::<_, ()>('|')(input).ok()?;
    Some((rest, ()))
}

impl FromStr for MessageId {
    type Err = BookmarkError;

    fn from_str(text: &str) -> Result<Self, BookmarkError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|", self.publisher, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bar_may_be_missing_and_blanks_are_dropped() {
        let id = MessageId { publisher: 12, sequence: 5 };
        for text in ["12|5|", "12|5", " 12|5| ", "\t12|5 "] {
            assert_eq!(text.parse(), Ok(id), "{text}");
        }
    }

    #[test]
    fn a_fault_is_found_where_it_is() {
        for (text, offset, fault) in [
            ("", 0, BookmarkFault::ExpectedPublisher),
            ("  x", 2, BookmarkFault::ExpectedPublisher),
            ("0", 1, BookmarkFault::ExpectedBar),
            ("12|", 3, BookmarkFault::ExpectedSequence),
            ("12|-1|", 3, BookmarkFault::ExpectedSequence),
            ("12|5||", 5, BookmarkFault::ExpectedEnd),
            ("1757438359976304|1|7|", 19, BookmarkFault::ExpectedEnd),
            ("1|18446744073709551616|", 2, BookmarkFault::NumberTooLarge),
        ] {
            assert_eq!(MessageId::parse(text.as_bytes()), Err(BookmarkError { offset, fault }), "{text}");
        }
    }
}
