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
//! frame that is not whole ends the file, and the rest is cut off before anything is appended.
//! If whole frames follow, it is no such tail: then the file is damaged, and is left as it is.
//! One server at a time has the file; the system gives it free when the process ends.
//!
//! What does not count any more (`live`) is not handed over. When that is most of the file it is written
//! anew at the start, beside the old one, whose place it takes when it is whole and on the disk: whoever is
//! killed meanwhile leaves a sound log, and perhaps a file that the next start removes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt;
use nom::error::{Error, ErrorKind};
use nom::number::complete::be_u32;
use nom::{Err, IResult};

use crate::engine::{LogRecord, RecordTooLong, is_record_kind, put_record, read_record};
use crate::server::StartError;

mod live;
use live::live;

const FILE_NAME: &str = "txlog.bin";

/// What is written anew, until it is whole.
const NEW_FILE_NAME: &str = "txlog.bin.new";

/// How often a byte behind the end of the log is looked at, on the average, to find out whether that is the end.
const MOST_CHECKED_PER_BYTE: usize = 8;

const WRITTEN_AT_ONCE: usize = 1 << 20;

/// Bytes of states that may be replaced by now, after which a running server looks through its log.
const MOST_SUSPECT: u64 = 16 << 20;

/// Smaller files are left as they are.
const LEAST_TO_REWRITE: u64 = 64 << 10;

const MAGIC: &[u8; 8] = b"AMPSTLOG";
const VERSION: u32 = 2;
const HEADER_LEN: usize = MAGIC.len() + 4;

/// An open file of a log.
#[derive(Debug)]
pub(crate) struct Store {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Earlier states of records count.
    keep_past: bool,
    /// The length of the file, and how much of it may be dead since it was last looked through.
    length: u64,
    suspect: u64,
    /// The file that this one took the place of. It stays taken: another server may have opened it before
    /// it lost its name.
    replaced: Option<File>,
}

impl Store {
    /// Opens the file in a directory, makes it if there is none, and hands over what of it still counts;
    /// `keep_past`: earlier states of records do.
    ///
    /// # Errors
    /// The system refused something, or the file is of another kind or version, or damaged.
    pub(crate) fn open(
        dir: &Path,
        keep_past: bool,
        restore: impl FnOnce(Vec<LogRecord>),
    ) -> Result<Self, StartError> {
        let path = dir.join(FILE_NAME);
        let wrong = |source| StartError::Data { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(wrong)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(wrong)?;
        take(&file).map_err(wrong)?;
        let beside = dir.join(NEW_FILE_NAME);
        // Of a server that was killed while it wrote it. Nobody else is here.
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
            _ => {}
        }
        let (records, length) = read(&mut file).map_err(wrong)?;
        if length == 0 {
            file.write_all(&header()).map_err(wrong)?;
        } else {
            file.set_len(length).map_err(wrong)?;
            file.seek(SeekFrom::End(0)).map_err(wrong)?;
        }
        let all = records.len();
        let records = live(records, keep_past);
        let mut replaced = None;
        if length >= LEAST_TO_REWRITE && records.len() <= all / 2 {
            // Where that is impossible the old file does as well.
            match rewrite(&beside, &path, &records) {
                Ok(new) => replaced = Some(std::mem::replace(&mut file, new)),
                Err(_) => _ = std::fs::remove_file(&beside),
            }
        }
        restore(records);
        let length = file.metadata().map_err(wrong)?.len();
        Ok(Self { file, path, buffer: Vec::new(), keep_past, length, suspect: 0, replaced })
    }

    /// All that was appended and still counts, read from the file.
    ///
    /// # Errors
    /// The system refused something.
    pub(crate) fn read_again(&self) -> io::Result<Vec<LogRecord>> {
        let mut file = File::open(&self.path)?;
        Ok(live(read(&mut file)?.0, self.keep_past))
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
        self.file.write_all(&self.buffer)?;
        self.length += self.buffer.len() as u64;
        if records.iter().any(|record| {
            matches!(record, LogRecord::Kept { .. } | LogRecord::Dropped { .. } | LogRecord::Reset)
        }) {
            self.suspect += self.buffer.len() as u64;
            // So that states that are replaced again and again do not fill the disk.
            if self.suspect >= MOST_SUSPECT.max(self.length / 2) {
                self.suspect = 0;
                self.compact();
            }
        }
        Ok(())
    }

    /// Writes the file anew if most of it is dead. Where that is impossible the old file does as well.
    fn compact(&mut self) {
        let Ok(mut file) = File::open(&self.path) else { return };
        let Ok((records, _)) = read(&mut file) else { return };
        let all = records.len();
        let records = live(records, self.keep_past);
        let beside = self.path.with_file_name(NEW_FILE_NAME);
        if records.len() > all / 2 {
            return;
        }
        match rewrite(&beside, &self.path, &records) {
            Ok(new) => {
                self.length = new.metadata().map_or(self.length, |new| new.len());
                self.replaced = Some(std::mem::replace(&mut self.file, new));
            }
            Err(_) => _ = std::fs::remove_file(&beside),
        }
    }
}

/// Writes records into a file beside the log's, and puts it in its place. The new file is this server's
/// before it has the name.
fn rewrite(beside: &Path, path: &Path, records: &[LogRecord]) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(beside)?;
    take(&file)?;
    let mut buffer = header();
    for record in records {
        put_frame(&mut buffer, record)?;
        if buffer.len() >= WRITTEN_AT_ONCE {
            file.write_all(&buffer)?;
            buffer.clear();
        }
    }
    file.write_all(&buffer)?;
    file.sync_all()?;
    std::fs::rename(beside, path)?;
    // The name has to be on the disk too; where directories cannot be opened, it is when the system likes.
    if let Some(dir) = path.parent().and_then(|dir| File::open(dir).ok()) {
        let _best_effort = dir.sync_all();
    }
    Ok(file)
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
    let end = bytes.len() - rest.len();
    // Of a frame that was not written to its end less is there than it announces.
    let announced = be_u32::<_, Error<&[u8]>>(rest).map_or(usize::MAX, |(_, length)| length as usize);
    let is_cut_off = announced > rest.len().saturating_sub(8);
    match next_frame(rest) {
        Next::None => Ok((records, end as u64)),
        Next::Unknown if is_cut_off => Ok((records, end as u64)),
        Next::Unknown => {
            let fault = format!(
                "the file is damaged from byte {end} on, and what follows cannot be told from records; put a sound copy \
                 in its place, or cut it to {end} bytes to go on with the {} records before",
                records.len()
            );
            Err(io::Error::new(io::ErrorKind::InvalidData, fault))
        }
        Next::At(next) => {
            let fault = format!(
                "the file is damaged from byte {end} to byte {}, in front of records that are whole; put a sound \
                 copy in its place, or cut it to {end} bytes to go on with the {} records before",
                end + next,
                records.len()
            );
            Err(io::Error::new(io::ErrorKind::InvalidData, fault))
        }
    }
}

/// Makes the file this server's alone.
fn take(file: &File) -> io::Result<()> {
    match FileExt::try_lock_exclusive(file) {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "another server keeps its log there; stop it, or give this one a directory of its own",
        )),
        Err(error) => Err(error),
    }
}

/// What follows a frame that is not whole.
enum Next {
    /// Another that is, so far behind.
    At(usize),
    /// Nothing.
    None,
    /// It would take too long to find out.
    Unknown,
}

/// Where the next whole frame begins behind one that is not. Whatever the bytes look like, the search takes
/// a time that is proportional to their number: so much is checked, and no more.
fn next_frame(rest: &[u8]) -> Next {
    let mut checked = 0;
    for start in 1..rest.len() {
        let candidate = rest.get(start..).unwrap_or_default();
        let length = be_u32::<_, Error<&[u8]>>(candidate).map_or(usize::MAX, |(_, length)| length as usize);
        // A record begins with the byte that says of what kind it is.
        let kind = candidate.get(8).copied().unwrap_or(u8::MAX);
        if length == 0 || length > candidate.len() || !is_record_kind(kind) {
            continue;
        }
        checked += length;
        if checked > MOST_CHECKED_PER_BYTE * rest.len() {
            return Next::Unknown;
        }
        if frame(candidate).is_ok() {
            return Next::At(start);
        }
    }
    Next::None
}

// --- Writing ---------------------------------------------------------------------------------

fn put_frame(out: &mut Vec<u8>, record: &LogRecord) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    put_record(out, record).map_err(too_long)?;
    let record = out.get(start + 8..).unwrap_or_default();
    let length = u32::try_from(record.len()).map_err(|_| too_long(RecordTooLong))?;
    let prefix = [length.to_be_bytes(), crc32fast::hash(record).to_be_bytes()].concat();
    if let Some(place) = out.get_mut(start..start + 8) {
        place.copy_from_slice(&prefix);
    }
    Ok(())
}

fn too_long(error: RecordTooLong) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

// --- Reading ---------------------------------------------------------------------------------

fn frame(input: &[u8]) -> IResult<&[u8], LogRecord> {
    let (after, length) = be_u32(input)?;
    let (after, checksum) = be_u32(after)?;
    let (rest, bytes) = nom::bytes::complete::take(length)(after)?;
    if crc32fast::hash(bytes) != checksum {
        return fail(input);
    }
    let (left, record) = read_record(bytes)?;
    if left.is_empty() { Ok((rest, record)) } else { fail(input) }
}

fn fail<T>(input: &[u8]) -> IResult<&[u8], T> {
    Err(Err::Error(Error::new(input, ErrorKind::Verify)))
}

#[cfg(test)]
mod tests {
    use amps_transport::Time;

    use super::*;
    use crate::engine::{LoggedMessage, MessageId, Via};

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
            via: Some(Via { path: vec!["A".into(), "B".into()], since: at }),
        };
        let bare =
            LoggedMessage { key: None, correlation: None, expiration: None, via: None, ..message.clone() };
        vec![
            LogRecord::Message(message),
            LogRecord::Message(bare),
            LogRecord::Deletion {
                bookmark,
                message_type: "json".into(),
                at,
                records: vec![("T".into(), "1".into()), ("U".into(), String::new())],
                via: message_via(at),
            },
            LogRecord::Departure { queue: "q".into(), message_type: "json".into(), bookmark, at, via: None },
            LogRecord::Transfer {
                queue: "q".into(),
                message_type: "json".into(),
                bookmark,
                owner: "B".into(),
                turn: 3,
                at,
                via: message_via(at),
            },
            LogRecord::Kept {
                message_type: "json".into(),
                topic: "T".into(),
                key: "1".into(),
                body: b"{}".to_vec(),
                correlation: None,
                publisher: "p".into(),
                at,
                expires: Some(at),
            },
            LogRecord::Dropped { message_type: "json".into(), topic: "T".into(), key: "1".into(), at },
            LogRecord::Sequence(bookmark),
            LogRecord::Truncation(3),
            LogRecord::Reset,
        ]
    }

    fn message_via(since: Time) -> Option<Via> {
        Some(Via { path: vec!["A".into()], since })
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
