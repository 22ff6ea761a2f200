//! The file of the transaction log.
//!
//! Owns the format, appending, and reading back. The engine says what is to be kept, and gets
//! it back at the next start.
//!
//! ```text
//! file   = "AMPSTLOG" , version (u32) , { frame } ;
//! frame  = length of the record (u32) , CRC-32 of the record (u32) , record ;
//! ```
//!
//! All numbers are big-endian. A server that is killed may leave half a frame behind: the first
//! frame that is not whole, or not what its checksum says, ends the file, and the rest is cut
//! off before anything is appended.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use amps_transport::Time;
use nom::combinator::{cond, map};
use nom::error::{Error, ErrorKind};
use nom::multi::{length_count, length_data};
use nom::number::complete::{be_u8, be_u32, be_u64};
use nom::{Err, IResult, Parser};

use crate::engine::{LogRecord, LoggedMessage, MessageId};
use crate::server::StartError;

const FILE_NAME: &str = "txlog.bin";
const MAGIC: &[u8; 8] = b"AMPSTLOG";
const VERSION: u32 = 1;
const HEADER_LEN: usize = MAGIC.len() + 4;

/// What a record begins with.
mod tag {
    pub(super) const MESSAGE: u8 = 1;
    pub(super) const DELETION: u8 = 2;
    pub(super) const DEPARTURE: u8 = 3;
    pub(super) const SEQUENCE: u8 = 4;
    pub(super) const TRUNCATION: u8 = 5;
    pub(super) const RESET: u8 = 6;
}

/// An open file of a log.
#[derive(Debug)]
pub(crate) struct Store {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Store {
    /// Opens the file in a directory, makes it if there is none, and hands over what it holds.
    ///
    /// # Errors
    /// The system refused something, or the file is of another kind or version.
    pub(crate) fn open(dir: &Path, restore: impl FnOnce(Vec<LogRecord>)) -> Result<Self, StartError> {
        let path = dir.join(FILE_NAME);
        let wrong = |source| StartError::Data { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(wrong)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(wrong)?;
        let (records, length) = read(&mut file).map_err(wrong)?;
        if length == 0 {
            file.write_all(&header()).map_err(wrong)?;
        } else {
            file.set_len(length).map_err(wrong)?;
            file.seek(SeekFrom::End(0)).map_err(wrong)?;
        }
        restore(records);
        Ok(Self { file, path, buffer: Vec::new() })
    }

    /// All that was appended, read from the file.
    ///
    /// # Errors
    /// The system refused something.
    pub(crate) fn read_again(&self) -> io::Result<Vec<LogRecord>> {
        let mut file = File::open(&self.path)?;
        Ok(read(&mut file)?.0)
    }

    /// Appends records. They are in the file when this returns, if not yet on the disk.
    ///
    /// # Errors
    /// The system refused; what follows must not be appended, for it would follow a gap.
    pub(crate) fn append(&mut self, records: &[LogRecord]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.buffer.clear();
        for record in records {
            put_frame(&mut self.buffer, record)?;
        }
        self.file.write_all(&self.buffer)
    }
}

fn header() -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_be_bytes()].concat()
}

/// The records of a file, and the length of what is whole; 0 for a file without a header.
fn read(file: &mut File) -> io::Result<(Vec<LogRecord>, u64)> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if bytes.len() < HEADER_LEN && header().starts_with(&bytes) {
        file.set_len(0)?;
        file.rewind()?;
        return Ok((Vec::new(), 0));
    }
    if !bytes.starts_with(&header()) {
        let fault = format!("the file is no transaction log of version {VERSION}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
    }
    let mut rest = bytes.get(HEADER_LEN..).unwrap_or_default();
    let mut records = Vec::new();
    while let Ok((after, record)) = frame(rest) {
        records.push(record);
        rest = after;
    }
    Ok((records, (bytes.len() - rest.len()) as u64))
}

// --- Writing ---------------------------------------------------------------------------------

fn put_frame(out: &mut Vec<u8>, record: &LogRecord) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    put_record(out, record)?;
    let record = out.get(start + 8..).unwrap_or_default();
    let prefix = [length(record.len())?, crc32fast::hash(record).to_be_bytes()].concat();
    if let Some(place) = out.get_mut(start..start + 8) {
        place.copy_from_slice(&prefix);
    }
    Ok(())
}

fn length(length: usize) -> io::Result<[u8; 4]> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a record of more than 4 GiB");
    u32::try_from(length).map(u32::to_be_bytes).map_err(too_long)
}

fn put_record(out: &mut Vec<u8>, record: &LogRecord) -> io::Result<()> {
    match record {
        LogRecord::Message(message) => {
            out.push(tag::MESSAGE);
            put_id(out, message.bookmark);
            put_bytes(out, message.message_type.as_bytes())?;
            put_bytes(out, message.topic.as_bytes())?;
            put_bytes(out, &message.body)?;
            put_option(out, message.key.as_deref().map(str::as_bytes))?;
            put_option(out, message.correlation.as_deref())?;
            put_bytes(out, message.publisher.as_bytes())?;
            put_number(out, message.at.as_unix_nanos());
            put_option(out, message.expiration.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice))?;
        }
        LogRecord::Deletion { bookmark, message_type, at, records } => {
            out.push(tag::DELETION);
            put_id(out, *bookmark);
            put_bytes(out, message_type.as_bytes())?;
            put_number(out, at.as_unix_nanos());
            out.extend_from_slice(&length(records.len())?);
            for (topic, key) in records {
                put_bytes(out, topic.as_bytes())?;
                put_bytes(out, key.as_bytes())?;
            }
        }
        LogRecord::Departure { queue, message_type, bookmark, at } => {
            out.push(tag::DEPARTURE);
            put_bytes(out, queue.as_bytes())?;
            put_bytes(out, message_type.as_bytes())?;
            put_id(out, *bookmark);
            put_number(out, at.as_unix_nanos());
        }
        LogRecord::Sequence(id) => {
            out.push(tag::SEQUENCE);
            put_id(out, *id);
        }
        LogRecord::Truncation(count) => {
            out.push(tag::TRUNCATION);
            put_number(out, *count);
        }
        LogRecord::Reset => out.push(tag::RESET),
    }
    Ok(())
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_id(out: &mut Vec<u8>, id: MessageId) {
    put_number(out, id.publisher);
    put_number(out, id.sequence);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    out.extend_from_slice(&length(bytes.len())?);
    out.extend_from_slice(bytes);
    Ok(())
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> io::Result<()> {
    out.push(u8::from(bytes.is_some()));
    bytes.map_or(Ok(()), |bytes| put_bytes(out, bytes))
}

// --- Reading ---------------------------------------------------------------------------------

fn frame(input: &[u8]) -> IResult<&[u8], LogRecord> {
    let (after, length) = be_u32(input)?;
    let (after, checksum) = be_u32(after)?;
    let (rest, bytes) = nom::bytes::complete::take(length)(after)?;
    if crc32fast::hash(bytes) != checksum {
        return fail(input);
    }
    let (left, record) = record(bytes)?;
    if left.is_empty() { Ok((rest, record)) } else { fail(input) }
}

fn fail<T>(input: &[u8]) -> IResult<&[u8], T> {
    Err(Err::Error(Error::new(input, ErrorKind::Verify)))
}

fn record(input: &[u8]) -> IResult<&[u8], LogRecord> {
    let (input, tag) = be_u8(input)?;
    match tag {
        tag::MESSAGE => {
            let optional = (option(text), option(bytes));
            let (rest, (bookmark, message_type, topic, body, (key, correlation), publisher, at, expiration)) =
                (id, text, text, bytes, optional, text, time, option(bytes)).parse(input)?;
            let expiration = match expiration.as_deref().map(TryFrom::try_from) {
                None => None,
                Some(Ok(seconds)) => Some(u64::from_be_bytes(seconds)),
                Some(Err(_)) => return fail(input),
            };
            let message = LoggedMessage {
                bookmark,
                message_type,
                topic,
                body,
                key,
                correlation,
                publisher,
                at,
                expiration,
            };
            Ok((rest, LogRecord::Message(message)))
        }
        tag::DELETION => {
            let (rest, (bookmark, message_type, at, records)) =
                (id, text, time, length_count(be_u32, (text, text))).parse(input)?;
            Ok((rest, LogRecord::Deletion { bookmark, message_type, at, records }))
        }
        tag::DEPARTURE => {
            let (rest, (queue, message_type, bookmark, at)) = (text, text, id, time).parse(input)?;
            Ok((rest, LogRecord::Departure { queue, message_type, bookmark, at }))
        }
        tag::SEQUENCE => map(id, LogRecord::Sequence).parse(input),
        tag::TRUNCATION => map(be_u64, LogRecord::Truncation).parse(input),
        tag::RESET => Ok((input, LogRecord::Reset)),
        _ => fail(input),
    }
}

fn id(input: &[u8]) -> IResult<&[u8], MessageId> {
    map((be_u64, be_u64), |(publisher, sequence)| MessageId { publisher, sequence }).parse(input)
}

fn time(input: &[u8]) -> IResult<&[u8], Time> {
    map(be_u64, Time::from_unix_nanos).parse(input)
}

fn bytes(input: &[u8]) -> IResult<&[u8], Vec<u8>> {
    map(length_data(be_u32), <[u8]>::to_vec).parse(input)
}

fn text(input: &[u8]) -> IResult<&[u8], String> {
    let (rest, bytes) = bytes(input)?;
    String::from_utf8(bytes).map_or_else(|_| fail(input), |text| Ok((rest, text)))
}

fn option<T>(value: fn(&[u8]) -> IResult<&[u8], T>) -> impl Fn(&[u8]) -> IResult<&[u8], Option<T>> {
    move |input| {
        let (input, present) = be_u8(input)?;
        cond(present == 1, value).parse(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<LogRecord> {
        let bookmark = MessageId { publisher: u64::MAX, sequence: 7 };
        let at = Time::from_unix_nanos(1_767_225_600_000_000_001);
        let message = LoggedMessage {
            bookmark,
            message_type: "json".into(),
            topic: "T".into(),
            body: b"{\"a\":\"\xff\"}".to_vec(),
            key: Some("k".into()),
            correlation: Some(b"YWJj".to_vec()),
            publisher: "p".into(),
            at,
            expiration: Some(0),
        };
        let bare = LoggedMessage { key: None, correlation: None, expiration: None, ..message.clone() };
        vec![
            LogRecord::Message(message),
            LogRecord::Message(bare),
            LogRecord::Deletion {
                bookmark,
                message_type: "json".into(),
                at,
                records: vec![("T".into(), "1".into()), ("U".into(), String::new())],
            },
            LogRecord::Departure { queue: "q".into(), message_type: "json".into(), bookmark, at },
            LogRecord::Sequence(bookmark),
            LogRecord::Truncation(3),
            LogRecord::Reset,
        ]
    }

    fn frames(records: &[LogRecord]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            put_frame(&mut out, record).unwrap();
        }
        out
    }

    fn read_frames(mut bytes: &[u8]) -> Vec<LogRecord> {
        let mut records = Vec::new();
        while let Ok((rest, record)) = frame(bytes) {
            records.push(record);
            bytes = rest;
        }
        records
    }

    #[test]
    fn every_record_comes_back_as_it_was() {
        assert_eq!(read_frames(&frames(&records())), records());
    }

    #[test]
    fn a_torn_tail_is_dropped_wherever_it_is_torn() {
        let (records, bytes) = (records(), frames(&records()));
        let ends: Vec<usize> = (0..=records.len()).map(|n| frames(&records[..n]).len()).collect();
        for cut in 0..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(read_frames(&bytes[..cut]), records[..whole], "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_log_before_it() {
        let (records, bytes) = (records(), frames(&records()));
        let second = frames(&records[..1]).len();
        for at in second..frames(&records[..2]).len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(read_frames(&damaged), records[..1], "byte {at}");
        }
    }
}
