//! Reading a whole file of records.
//!
//! Owns the way through a file from its first record to the last whole one, in large reads and
//! without an allocation per record, and the ruling on what follows: the remains of a write that
//! was under way when a process or machine died are a *torn tail*, which may be cut off; anything
//! else is damage, and nobody touches it.

use std::io;

use super::disk::DiskFile;
use super::format::{Found, PREFIX_LEN, Record, record};

/// How much is read at once.
const READ_AT_ONCE: usize = 1 << 20;

/// How often, on the average, a byte behind the end is looked at to find out whether that is the end.
const MOST_CHECKED_PER_BYTE: u64 = 16;

/// Below this much checking nobody counts.
const CHECKED_ANYWAY: u64 = 16 << 20;

/// Why a file cannot be read.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// The system refused.
    Io(io::Error),
    /// It is damaged at this offset.
    Damaged(u64, String),
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
    /// Shows each record with its position, and returns how much of the file is whole. `visit` says what
    /// is wrong with a record that it does not understand.
    pub(crate) fn run(
        &self,
        visit: &mut dyn FnMut(u64, Record<'_>) -> Result<(), String>,
    ) -> Result<u64, ScanError> {
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
                    other => break other,
                }
            };
            at += ahead as u64;
            let needed = match stopped {
                Found::Beginning(needed) if at + needed as u64 <= self.len => needed,
                Found::Beginning(_) if at == self.len => return Ok(self.len),
                Found::Beginning(_) => return self.torn_at(at, "a record is cut off"),
                Found::Nothing(fault) => return self.torn_at(at, fault),
                Found::Whole(_) => continue,
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

    /// The file is whole up to here, and ends here if no record follows. The checksums are tied to positions,
    /// so that nothing within a payload passes for one.
    fn torn_at(&self, end: u64, fault: &str) -> Result<u64, ScanError> {
        let damaged = |what: String| ScanError::Damaged(end, format!("{fault}, {what}"));
        let allowed = CHECKED_ANYWAY + MOST_CHECKED_PER_BYTE * (self.len - end);
        let mut checked = 0;
        let mut window = Vec::new();
        let mut at = end + 1;
        while at + (PREFIX_LEN as u64) < self.len {
            self.read(&mut window, at, READ_AT_ONCE).map_err(ScanError::Io)?;
            let last_window = at + window.len() as u64 == self.len;
            let mut next = at + 1;
            for start in 0..window.len() {
                let bytes = window.get(start..).unwrap_or_default();
                let offset = at + start as u64;
                next = offset + 1;
                // Zeros, as a machine that failed leaves them, are no length.
                let found = match bytes.first_chunk::<PREFIX_LEN>() {
                    Some([0, 0, 0, 0, ..]) => continue,
                    None if last_window => break,
                    None => Found::Beginning(PREFIX_LEN),
                    Some(_) => record(bytes, self.position(offset)),
                };
                let cost = match found {
                    Found::Whole(_) => return Err(damaged(format!("but a whole one follows at {offset}"))),
                    Found::Beginning(needed) if offset + needed as u64 > self.len => 0,
                    // It goes on behind the window.
                    Found::Beginning(_) if start > 0 => {
                        next = offset;
                        break;
                    }
                    Found::Beginning(needed) => {
                        let mut whole = Vec::new();
                        self.read(&mut whole, offset, needed).map_err(ScanError::Io)?;
                        if let Found::Whole(_) = record(&whole, self.position(offset)) {
                            return Err(damaged(format!("but a whole one follows at {offset}")));
                        }
                        needed as u64
                    }
                    Found::Nothing(_) => bytes.first_chunk::<4>().map_or(0, |len| {
                        let len = u64::from(u32::from_be_bytes(*len));
                        if len > bytes.len() as u64 { 0 } else { len }
                    }),
                };
                checked += cost;
                if checked > allowed {
                    return Err(damaged("and what follows cannot be told from records".to_owned()));
                }
            }
            at = next;
        }
        Ok(end)
    }
}
