//! Composite bodies: several parts, each behind its length.
//!
//! Owns the layout of `composite-local` and `composite-global` messages (protocol.md 14.1),
//! in both directions. It never looks inside a part, and reading allocates nothing.

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

use nom::bytes::complete::take;
use nom::number::complete::be_u32;
use nom::{IResult, Parser};

/// Bytes of the length in front of every part; they do not count themselves.
const PART_PREFIX: usize = 4;

/// Reads the parts of a composite body one by one, borrowing them.
///
/// The order is that of the message type's definition on the server (protocol.md CM-2).
/// Empty parts are parts: in a delta they mean "unchanged" (CM-3). An empty body has none.
/// After an error there is nothing more to read; the parts before it stay good.
///
/// ```
/// use amps_protocol::CompositeReader;
///
/// let body = b"\x00\x00\x00\x08{\"id\":1}\x00\x00\x00\x02\x00\xff";
/// let parts = CompositeReader::new(body).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(parts, [&b"{\"id\":1}"[..], &b"\x00\xff"[..]]);
///
/// // Whatever follows the first part, raw.
/// let mut reader = CompositeReader::new(body);
/// assert_eq!(reader.next().unwrap()?, b"{\"id\":1}");
/// assert_eq!(reader.remaining(), b"\x00\x00\x00\x02\x00\xff");
/// # Ok::<(), amps_protocol::CompositeError>(())
/// ```
#[derive(Clone)]
pub struct CompositeReader<'a> {
    rest: &'a [u8],
    offset: usize,
    part: usize,
    failed: bool,
}

impl<'a> CompositeReader<'a> {
    /// A reader of `body`, at its first part.
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body, offset: 0, part: 0, failed: false }
    }

    /// The part of `body` with this index, counted from 0; `None` if it has fewer parts.
    ///
    /// Only the parts up to this one are looked at.
    ///
    /// # Errors
    /// This part, or one before it, is cut off.
    ///
    /// ```
    /// use amps_protocol::CompositeReader;
    ///
    /// let body = b"\x00\x00\x00\x01a\x00\x00\x00\x09b";
    /// assert_eq!(CompositeReader::part(body, 0), Ok(Some(&b"a"[..])));
    /// assert_eq!(CompositeReader::part(body, 5).unwrap_err().part, 1);
    /// ```
    pub fn part(body: &'a [u8], index: usize) -> Result<Option<&'a [u8]>, CompositeError> {
        // Not `nth`: that would step over an error as if it were a part.
        let mut reader = Self::new(body);
        for _ in 0..index {
            if reader.next().transpose()?.is_none() {
                return Ok(None);
            }
        }
        reader.next().transpose()
    }

    /// The bytes behind the parts read so far, lengths included: after the last defined part
    /// this is the "unparsed payload" as it stands (protocol.md CM-6, inferred). After an
    /// error it begins with the part that is cut off.
    pub const fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// How many parts were read so far, which is the index of the next one.
    pub const fn parts_read(&self) -> usize {
        self.part
    }
}

impl<'a> Iterator for CompositeReader<'a> {
    type Item = Result<&'a [u8], CompositeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        match part(self.rest) {
            Ok((rest, part)) => {
                self.offset += self.rest.len() - rest.len();
                self.part += 1;
                self.rest = rest;
                Some(Ok(part))
            }
            Err(fault) => {
                self.failed = true;
                Some(Err(CompositeError { part: self.part, offset: self.offset, fault }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.failed {
            return (0, Some(0));
        }
        (usize::from(!self.rest.is_empty()), Some(self.rest.len().div_ceil(PART_PREFIX)))
    }
}

impl FusedIterator for CompositeReader<'_> {}

impl fmt::Debug for CompositeReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompositeReader({} parts read, {} bytes remain)", self.part, self.rest.len())
    }
}

/// One part and what follows it (protocol.md CM-1, CM-4).
fn part(input: &[u8]) -> Result<(&[u8], &[u8]), CompositeFault> {
    let prefix: IResult<&[u8], u32, ()> = be_u32(input);
    let (after, length) = prefix.map_err(|_| CompositeFault::TruncatedLength { left: input.len() })?;
    let part: IResult<&[u8], &[u8], ()> = take(length).parse(after);
    part.map_err(|_| CompositeFault::TruncatedPart { length, left: after.len() })
}

/// A composite body in which a part is cut off.
///
/// ```
/// use amps_protocol::{CompositeFault, CompositeReader};
///
/// let error = CompositeReader::new(b"\x00\x00\x00\x09A").next().unwrap().unwrap_err();
/// assert_eq!((error.part, error.offset), (0, 0));
/// assert_eq!(error.fault, CompositeFault::TruncatedPart { length: 9, left: 1 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed composite body: part {part}, at byte {offset}: {fault}")]
pub struct CompositeError {
    /// Index of the part, counted from 0.
    pub part: usize,
    /// Where the part's length begins, in bytes from the start of the body.
    pub offset: usize,
    /// What is wrong there.
    pub fault: CompositeFault,
}

/// What is wrong with a part of a composite body.
///
/// ```
/// use amps_protocol::CompositeFault;
///
/// let fault = CompositeFault::TruncatedLength { left: 2 };
/// assert_eq!(fault.to_string(), "expected a length of 4 bytes, of which 2 are left");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompositeFault {
    /// The body ends inside the length.
    TruncatedLength {
        /// Bytes left, 1 to 3.
        left: usize,
    },
    /// The length reaches beyond the end of the body.
    TruncatedPart {
        /// The length announced, in bytes.
        length: u32,
        /// Bytes left behind the length.
        left: usize,
    },
}

impl fmt::Display for CompositeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TruncatedLength { left } => {
                write!(f, "expected a length of {PART_PREFIX} bytes, of which {left} are left")
            }
            Self::TruncatedPart { length, left } => {
                write!(f, "expected {length} bytes as announced, of which {left} are left")
            }
        }
    }
}

/// Builds a composite body, part after part.
///
/// Parts are copied in the order of the calls, which must be the order of the message type's
/// definition on the server (protocol.md CM-2). Empty parts are written as four zero bytes
/// (CM-3, inferred).
///
/// ```
/// use amps_protocol::{CompositeBuilder, CompositeReader};
///
/// let mut body = CompositeBuilder::new();
/// body.append(b"{\"id\":1}")?.append(b"")?.append_payload(b"\x00\xff")?;
/// assert_eq!(body.as_bytes(), b"\x00\x00\x00\x08{\"id\":1}\x00\x00\x00\x00\x00\x00\x00\x02\x00\xff");
/// assert_eq!(CompositeReader::new(body.as_bytes()).count(), 3);
/// # Ok::<(), amps_protocol::CompositeBuildError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompositeBuilder {
    body: Vec<u8>,
    complete: bool,
}

impl CompositeBuilder {
    /// A builder without parts.
    pub const fn new() -> Self {
        Self { body: Vec::new(), complete: false }
    }

    /// Adds one defined part, empty or not.
    ///
    /// # Errors
    /// The part is longer than its length can tell, or the unparsed payload was already
    /// added. The body is then as it was.
    pub fn append(&mut self, part: impl AsRef<[u8]>) -> Result<&mut Self, CompositeBuildError> {
        let part = part.as_ref();
        if self.complete {
            return Err(CompositeBuildError::AfterPayload);
        }
        let prefix = part_prefix(part.len())?;
        self.body.extend_from_slice(&prefix);
        self.body.extend_from_slice(part);
        Ok(self)
    }

    /// Adds the "unparsed payload" behind the defined parts: bytes that the server carries
    /// along and never looks into. It is written as one more part (protocol.md CM-6,
    /// inferred), and nothing can follow it.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn append_payload(&mut self, payload: impl AsRef<[u8]>) -> Result<&mut Self, CompositeBuildError> {
        self.append(payload)?;
        self.complete = true;
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

    /// Removes every part and keeps the memory, so that the builder can be used again.
    pub fn clear(&mut self) {
        self.body.clear();
        self.complete = false;
    }
}

impl AsRef<[u8]> for CompositeBuilder {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

fn part_prefix(length: usize) -> Result<[u8; PART_PREFIX], CompositeBuildError> {
    match u32::try_from(length) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(CompositeBuildError::PartTooLong { length }),
    }
}

/// Why a part cannot be added to a composite body.
///
/// ```
/// use amps_protocol::{CompositeBuildError, CompositeBuilder};
///
/// let mut body = CompositeBuilder::new();
/// body.append_payload(b"raw")?;
/// assert_eq!(body.append(b"late").unwrap_err(), CompositeBuildError::AfterPayload);
/// # Ok::<(), CompositeBuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompositeBuildError {
    /// The part does not fit the four bytes of its length.
    #[error("a part of {length} bytes does not fit a composite body; the most is {} bytes", u32::MAX)]
    PartTooLong {
        /// Bytes of the part.
        length: usize,
    },
    /// The unparsed payload comes once, and last.
    #[error("the unparsed payload ends a composite body; add the defined parts before it")]
    AfterPayload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_four_bytes_cannot_tell_is_refused() {
        assert_eq!(part_prefix(0), Ok([0; 4]));
        assert_eq!(part_prefix(u32::MAX as usize), Ok([0xff; 4]));
        #[cfg(target_pointer_width = "64")]
        assert_eq!(
            part_prefix(u32::MAX as usize + 1),
            Err(CompositeBuildError::PartTooLong { length: u32::MAX as usize + 1 })
        );
    }

    #[test]
    fn the_number_of_parts_lies_within_the_hint() {
        for body in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\0", b"\0\0\0\x01a\0\0\0\0", b"\0\0\0\x09a"] {
            let mut reader = CompositeReader::new(body);
            loop {
                let (least, most) = reader.size_hint();
                let count = reader.clone().count();
                assert!(least <= count && count <= most.unwrap(), "{body:?}: {least} {count} {most:?}");
                if reader.next().is_none() {
                    break;
                }
            }
        }
    }
}
