//! Reading a whole file of records.
//!
//! Owns the way through a file from its first record to the last whole one, in large reads and
//! without an allocation per record, and the ruling on what cannot be read: behind the last place
//! that the file knows to have been forced onto the disk it is a *torn tail*, the remains of writes that were
//! under way when a process or a machine died, and may be cut off; anywhere else it is damage, and
//! nobody touches it.

use std::io;
use std::path::Path;

use super::disk::DiskFile;
use super::format::{
    Found, Header, HeaderFault, MAX_HEADER_LEN, Record, SYNCED_LEN, VERSION, read_header, record,
    synced_up_to,
};
use crate::store_error::StoreError;

/// How much is read at once.
const READ_AT_ONCE: usize = 1 << 20;

/// What a synced record begins with: its length.
const SYNCED_BEGINS: [u8; 4] = [0, 0, 0, 9];

/// Why a file cannot be read.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// The system refused.
    Io(io::Error),
    /// It is damaged at this offset.
    Damaged(u64, String),
}

/// How far a file can be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Up to this offset.
    pub(crate) len: u64,
    /// What is wrong with the torn tail that begins there, if there is one.
    pub(crate) torn: Option<&'static str>,
}

/// What is to be read.
pub(crate) struct Scan<'a> {
    /// The file.
    pub(crate) file: &'a dyn DiskFile,
    /// Its length.
    pub(crate) len: u64,
    /// Where the first record stands in the file.
    pub(crate) from: u64,
    /// And its position.
    pub(crate) first: u64,
}

impl Scan<'_> {
    /// Shows each record with its position. `visit` says what is wrong with a record that it does
    /// not understand.
    pub(crate) fn run(
        &self,
        visit: &mut dyn FnMut(u64, Record<'_>) -> Result<(), String>,
    ) -> Result<Whole, ScanError> {
        let mut window = Vec::new();
        // The window shows the file from here on, and up to `ahead` it is done with.
        let mut at = self.from;
        loop {
            let mut ahead = 0;
            let stopped = loop {
                let bytes = window.get(ahead..).unwrap_or_default();
                let offset = at + ahead as u64;
                match record(bytes, self.position(offset)) {
                    Found::Whole(record) => {
                        visit(self.position(offset), record)
                            .map_err(|fault| ScanError::Damaged(offset, fault))?;
                        ahead += record.len;
                    }
                    Found::Beginning(needed) => break Ok(needed),
                    Found::Nothing(fault) => break Err(fault),
                }
            };
            at += ahead as u64;
            let needed = match stopped {
                Ok(needed) if at + needed as u64 <= self.len => needed,
                Ok(_) if at == self.len => return Ok(Whole { len: at, torn: None }),
                Ok(_) => return self.torn_at(at, "a record is cut off"),
                Err(fault) => return self.torn_at(at, fault),
            };
            self.read(&mut window, at, needed.max(READ_AT_ONCE)).map_err(ScanError::Io)?;
        }
    }

    fn position(&self, offset: u64) -> u64 {
        self.first.wrapping_add(offset - self.from)
    }

    fn read(&self, window: &mut Vec<u8>, at: u64, len: usize) -> io::Result<()> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        window.resize(len.min(left), 0);
        self.file.read_at(at, window)
    }

    /// The file is whole up to here. That is its end, unless something behind it says that more was forced
    /// onto the disk. The checksums are tied to positions, so that nothing within a payload can say that.
    fn torn_at(&self, end: u64, fault: &'static str) -> Result<Whole, ScanError> {
        let mut window = Vec::new();
        let mut at = end;
        while at + SYNCED_LEN as u64 <= self.len {
            self.read(&mut window, at, READ_AT_ONCE).map_err(ScanError::Io)?;
            for (start, bytes) in window.windows(SYNCED_LEN).enumerate() {
                if !bytes.starts_with(&SYNCED_BEGINS) {
                    continue;
                }
                let offset = at + start as u64;
                let position = self.position(offset);
                let Found::Whole(record) = record(bytes, position) else { continue };
                if synced_up_to(&record, position).is_some_and(|synced| synced > self.position(end)) {
                    let fault =
                        format!("{fault}, although it was on the disk when byte {offset} was written");
                    return Err(ScanError::Damaged(end, fault));
                }
            }
            at += (window.len() - (SYNCED_LEN - 1)) as u64;
        }
        Ok(Whole { len: end, torn: Some(fault) })
    }
}

/// Reads the header of a file that should be a `wanted`.
pub(crate) fn header_of(
    file: &dyn DiskFile,
    len: u64,
    path: &Path,
    wanted: &'static str,
) -> Result<Header, StoreError> {
    let mut bytes = vec![0; MAX_HEADER_LEN.min(usize::try_from(len).unwrap_or(usize::MAX))];
    file.read_at(0, &mut bytes).map_err(|error| StoreError::io("read", path, error))?;
    read_header(&bytes).map_err(|fault| {
        let path = path.to_owned();
        match fault {
            HeaderFault::NoStore(found) => {
                StoreError::NotAStore { path, expected: wanted, found: found.to_owned() }
            }
            HeaderFault::Version(found) => StoreError::NewerVersion { path, found, known: VERSION },
            HeaderFault::Damaged(fault) => StoreError::Corrupt { path, offset: 0, fault: fault.to_owned() },
        }
    })
}
