//! The one format of store files.
//!
//! Owns how a file begins and how a record looks, and nothing of what records mean.
//!
//! ```text
//! file   = header , { record } ;
//! header = "AMPSSTOR" , version (u32) , kind of store (u8) , position of the first record (u64) ,
//!          length of the name (u16) , name of the client , CRC-32 of all this (u32) ;
//! record = length of kind and payload (u32) , CRC-32 (u32) , kind (u8) , payload ;
//! synced = a record of the kind 0 , whose payload is a distance (u64) ;
//! ```
//!
//! All numbers are big-endian. A *position* counts the bytes of records that were ever appended:
//! when a file is written anew without its dead part, what is kept keeps its positions. The checksum
//! of a record begins with its position, of which the lower 32 bits count: a payload that contains a
//! record, or a block that a disk brings back from elsewhere, never passes for a record.
//!
//! A *synced* record is the journal's own. It says that everything which ends at least so many bytes before
//! it was forced onto the disk when it was written. What is not readable there is damage; what
//! is not readable behind the last such place may be what a failure of power has left.

use nom::bytes::complete::{tag, take};
use nom::error::Error;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Parser};

const MAGIC: &[u8; 8] = b"AMPSSTOR";

/// The version that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;

/// Header without the name and the checksum.
const FIXED_LEN: usize = MAGIC.len() + 4 + 1 + 8 + 2;

/// The longest header.
pub(crate) const MAX_HEADER_LEN: usize = FIXED_LEN + u16::MAX as usize + 4;

/// Length and checksum in front of a record.
pub(crate) const PREFIX_LEN: usize = 8;

/// The kind of a synced record. Kinds of stores begin at 1.
pub(crate) const SYNCED: u8 = 0;

/// The length of a synced record.
pub(crate) const SYNCED_LEN: usize = PREFIX_LEN + 1 + 8;

/// The longest kind and payload together. Nothing that a server takes is longer.
pub(crate) const MAX_RECORD_LEN: u32 = 1 << 30;

/// Which store a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// Messages until they are persisted.
    Publish,
    /// How far replays were processed.
    Bookmark,
}

impl StoreKind {
    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish store",
            Self::Bookmark => "bookmark store",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Publish => 1,
            Self::Bookmark => 2,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::Publish, Self::Bookmark].into_iter().find(|kind| kind.code() == code)
    }
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Whose store.
    pub(crate) kind: StoreKind,
    /// The position of the first record.
    pub(crate) first: u64,
    /// The client that owns it.
    pub(crate) client: String,
    /// The length of the header itself.
    pub(crate) len: usize,
}

/// Why the beginning of a file is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Somebody else's file.
    NoStore(&'static str),
    /// Written by a newer program.
    Version(u32),
    /// Once it was one.
    Damaged(&'static str),
}

/// Writes the beginning of a file; `None` if the client's name is longer than 65,535 bytes.
pub(crate) fn header(kind: StoreKind, first: u64, client: &str) -> Option<Vec<u8>> {
    let name_len = u16::try_from(client.len()).ok()?;
    let mut header = Vec::with_capacity(FIXED_LEN + client.len() + 4);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_be_bytes());
    header.push(kind.code());
    header.extend_from_slice(&first.to_be_bytes());
    header.extend_from_slice(&name_len.to_be_bytes());
    header.extend_from_slice(client.as_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_be_bytes());
    Some(header)
}

/// Reads the beginning of a file. Headers come into being as a whole: one that is cut off is damage.
pub(crate) fn read_header(bytes: &[u8]) -> Result<Header, HeaderFault> {
    if bytes.len() < MAGIC.len() && MAGIC.starts_with(bytes) {
        return Err(HeaderFault::Damaged("the header is cut off"));
    }
    // Only this much is the same in all versions.
    let (rest, _) = tag::<_, _, Error<&[u8]>>(&MAGIC[..])
        .parse(bytes)
        .map_err(|_| HeaderFault::NoStore("it does not begin as stores do"))?;
    let cut_off = |_| HeaderFault::Damaged("the header is cut off");
    let (rest, version) = be_u32::<_, Error<&[u8]>>(rest).map_err(cut_off)?;
    if version > VERSION {
        return Err(HeaderFault::Version(version));
    }
    let (rest, (kind, first, name)) = fields(rest).map_err(cut_off)?;
    let len = bytes.len() - rest.len();
    let (_, checksum) = be_u32::<_, Error<&[u8]>>(rest).map_err(cut_off)?;
    if crc32fast::hash(bytes.get(..len).unwrap_or_default()) != checksum {
        return Err(HeaderFault::Damaged("the checksum of the header does not fit"));
    }
    let kind = StoreKind::of(kind).ok_or(HeaderFault::NoStore("a store of an unknown kind"))?;
    let client = std::str::from_utf8(name)
        .map_err(|_| HeaderFault::Damaged("the client's name is not UTF-8"))?
        .to_owned();
    Ok(Header { kind, first, client, len: len + 4 })
}

fn fields(input: &[u8]) -> IResult<&[u8], (u8, u64, &[u8])> {
    let (input, (kind, first, name_len)) = (be_u8, be_u64, be_u16).parse(input)?;
    let (input, name) = take(name_len)(input)?;
    Ok((input, (kind, first, name)))
}

/// A record as it stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// What it is about; its store knows.
    pub(crate) kind: u8,
    /// The rest of it.
    pub(crate) payload: &'a [u8],
    /// Its length with everything.
    pub(crate) len: usize,
}

/// What stands at a place where a record should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A record.
    Whole(Record<'a>),
    /// The beginning of one, of this length in all.
    Beginning(usize),
    /// Nothing of the kind.
    Nothing(&'static str),
}

/// Reads the record that begins at this position. `bytes` may go on behind it.
pub(crate) fn record(bytes: &[u8], position: u64) -> Found<'_> {
    let Ok((rest, (len, checksum))) = prefix(bytes) else { return Found::Beginning(PREFIX_LEN) };
    if len == 0 || len > MAX_RECORD_LEN {
        return Found::Nothing("a record cannot have this length");
    }
    let Some(body) = rest.get(..len as usize) else { return Found::Beginning(PREFIX_LEN + len as usize) };
    if checksum_at(position, body) != checksum {
        return Found::Nothing("the checksum of a record does not fit");
    }
    match body.split_first() {
        Some((&kind, payload)) => Found::Whole(Record { kind, payload, len: PREFIX_LEN + body.len() }),
        None => Found::Nothing("a record cannot have this length"),
    }
}

fn prefix(input: &[u8]) -> IResult<&[u8], (u32, u32)> {
    (be_u32, be_u32).parse(input)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn checksum_at(position: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(position as u32);
    hasher.update(body);
    hasher.finalize()
}

/// From a synced record on: everything up to this position was forced.
pub(crate) fn synced_up_to(record: &Record<'_>, position: u64) -> Option<u64> {
    let (_, distance) = be_u64::<_, Error<&[u8]>>(record.payload).ok()?;
    (record.kind == SYNCED && record.len == SYNCED_LEN).then(|| position.saturating_sub(distance))
}

/// Appends a synced record.
pub(crate) fn put_synced(out: &mut Vec<u8>, position: u64, synced: u64) {
    put_record(out, position, SYNCED, &[&position.saturating_sub(synced).to_be_bytes()]);
}

/// Appends the record whose payload is these parts, one behind the other; `false`, and nothing is
/// appended, if it would be too long.
pub(crate) fn put_record(out: &mut Vec<u8>, position: u64, kind: u8, parts: &[&[u8]]) -> bool {
    let Some(start) = put_unsealed(out, kind, parts) else { return false };
    seal(out, start, position);
    true
}

/// The same without the checksum.
fn put_unsealed(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) -> Option<usize> {
    let len = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    let len = u32::try_from(len).ok().filter(|len| *len <= MAX_RECORD_LEN)?;
    let start = out.len();
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    for part in parts {
        out.extend_from_slice(part);
    }
    Some(start)
}

/// Puts the checksum into the last record, which begins at `start`.
fn seal(out: &mut [u8], start: usize, position: u64) {
    let Some((prefix, body)) = out.get_mut(start..).and_then(|it| it.split_at_mut_checked(PREFIX_LEN)) else {
        return;
    };
    if let Some(place) = prefix.get_mut(4..) {
        place.copy_from_slice(&checksum_at(position, body).to_be_bytes());
    }
}

/// Records that get their positions when all of them are there.
#[derive(Debug, Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Records {
    /// Adds one; `false` if it would be too long.
    pub(crate) fn push(&mut self, kind: u8, parts: &[&[u8]]) -> bool {
        let start = put_unsealed(&mut self.bytes, kind, parts);
        self.starts.extend(start);
        start.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Their bytes, and the position of the first, if the last ends at this position.
    pub(crate) fn ending_at(mut self, end: u64) -> (Vec<u8>, u64) {
        let first = end.wrapping_sub(self.bytes.len() as u64);
        let ends = self.starts.iter().skip(1).copied().chain([self.bytes.len()]);
        for (start, end) in self.starts.iter().copied().zip(ends) {
            if let Some(record) = self.bytes.get_mut(..end) {
                seal(record, start, first.wrapping_add(start as u64));
            }
        }
        (self.bytes, first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_is_read_back_at_its_position_and_nowhere_else(
            kind in 1_u8..,
            payload in vec(any::<u8>(), 0..100),
            position in any::<u32>(),
            elsewhere in any::<u32>(),
            behind in vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = Vec::new();
            let (head, tail) = payload.split_at(payload.len() / 2);
            prop_assert!(put_record(&mut bytes, position.into(), kind, &[head, tail]));
            let len = bytes.len();
            bytes.extend(behind);
            let whole = Found::Whole(Record { kind, payload: &payload, len });
            prop_assert_eq!(record(&bytes, position.into()), whole);
            if elsewhere != position {
                prop_assert_ne!(record(&bytes, elsewhere.into()), whole);
            }
            for cut in 0..len {
                let needed = if cut < PREFIX_LEN { PREFIX_LEN } else { len };
                prop_assert_eq!(record(&bytes[..cut], position.into()), Found::Beginning(needed));
            }
        }

        #[test]
        fn a_header_is_read_back_and_nothing_else_is_one(
            first in any::<u64>(),
            client in "\\PC{0,40}",
            at in any::<prop::sample::Index>(),
            bit in 0..8,
            garbage in vec(any::<u8>(), 0..60),
        ) {
            let mut bytes = header(StoreKind::Bookmark, first, &client).unwrap();
            let len = bytes.len();
            let expected = Header { kind: StoreKind::Bookmark, first, client, len };
            prop_assert_eq!(read_header(&bytes), Ok(expected));
            bytes[at.index(len)] ^= 1_u8 << bit;
            prop_assert!(read_header(&bytes).is_err());
            prop_assert!(read_header(&garbage).is_err());
        }

        #[test]
        fn records_that_are_placed_at_last_are_read_back(
            payloads in vec(vec(any::<u8>(), 0..30), 0..10),
            end in 1_u64 << 32..1 << 60,
        ) {
            let mut records = Records::default();
            for payload in &payloads {
                prop_assert!(records.push(7, &[payload]));
            }
            let (bytes, mut position) = records.ending_at(end);
            let mut rest = bytes.as_slice();
            for payload in &payloads {
                let Found::Whole(found) = record(rest, position) else { panic!("no record at {position}") };
                prop_assert_eq!((found.kind, found.payload), (7, payload.as_slice()));
                rest = &rest[found.len..];
                position += found.len as u64;
            }
            prop_assert_eq!((rest.len(), position), (0, end));
        }
    }
}
