//! What a journal's lock guards: the state of its owner, what is not written yet, and how far
//! things have come.
//!
//! Nothing here waits, reads or writes: the lock is held for short.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::Path;
use std::sync::Arc;

use super::disk::DiskFile;
use super::format::{Records, put_record, put_synced};
use crate::store_error::StoreError;

/// The first position of a new file. What stands for records that are gone lies before the first one that is
/// kept, and may be longer: so much longer it is never.
pub(super) const ORIGIN: u64 = 1 << 48;

/// So much that is not written yet ends the wait for more.
pub(super) const BURST: usize = 256 << 10;

/// The state of a store, which its records describe.
pub(crate) trait Owner: Send + 'static {
    /// A record that is in the file when it is opened, in order. Its kind is what was given to [`Log::append`].
    ///
    /// # Errors
    /// What is wrong with it, in words: then the file is damaged.
    fn replay(&mut self, position: u64, kind: u8, payload: &[u8]) -> Result<(), String>;

    /// A number that stands for everything appended so far. The journal tells how far it has come in
    /// these as well.
    fn mark(&self) -> u64 {
        0
    }

    /// About how many bytes a new file would have; `end` is the position behind all that was appended.
    fn live_bytes(&self, end: u64) -> u64;

    /// What a new file begins with. Returns from which position on (a record's, or `end`) it goes on with
    /// what was appended; the records stand for everything before.
    fn snapshot(&mut self, records: &mut Records, end: u64) -> u64;
}

/// How far something has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// The position behind it.
    pub(super) position: u64,
    /// The owner's mark at that time.
    pub(super) mark: u64,
}

/// The life of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The file is read and locked; nothing was changed.
    Opened,
    /// A client has it.
    Attached,
    /// It is over.
    Closed,
}

/// What the thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asleep {
    /// It will look for itself.
    No,
    /// Until there is something to do.
    Idle,
    /// The same, or until what was written has to be forced.
    UntilForced,
    /// For a moment, so that more comes together.
    Lingering,
}

/// An open file, and which positions it holds.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn DiskFile>,
    /// The position of the first record.
    pub(super) first: u64,
    /// The length of the header.
    pub(super) header_len: u64,
}

impl Segment {
    /// Where in the file a position is.
    pub(super) fn offset(&self, position: u64) -> u64 {
        position.saturating_sub(self.first) + self.header_len
    }
}

/// Everything behind the lock.
pub(super) struct Core<O> {
    pub(super) owner: O,
    pub(super) stage: Stage,
    /// Whose file it is.
    pub(super) client: String,
    /// `None` once it is given free.
    pub(super) segment: Option<Segment>,
    /// Appended, and not looked at by the thread.
    pub(super) pending: Vec<u8>,
    /// What the thread writes, or has to write again.
    pub(super) writing: Arc<Vec<u8>>,
    pub(super) writing_mark: u64,
    pub(super) written: Reached,
    pub(super) synced: Reached,
    /// How much of that the file itself says.
    pub(super) synced_noted: u64,
    /// Has to be forced whatever the policy says.
    pub(super) must_sync: u64,
    pub(super) trouble: Option<StoreError>,
    /// The disk refused to force the file: what it holds of that nobody knows. Only a new file helps.
    pub(super) doubtful: bool,
    /// The directory must be forced before anything else counts as forced.
    pub(super) directory_unsynced: bool,
    /// The owner's client has to be told.
    pub(super) news: bool,
    /// How far things had come when the thread last looked.
    pub(super) looked_at: u64,
    pub(super) asleep: Asleep,
    /// The thread has to come to its end, and to tell nobody anything.
    pub(super) closing: bool,
    /// The thread is telling the owner's client something.
    pub(super) telling: bool,
    /// Callers that wait for the thread: where there are none, nobody has to be woken.
    pub(super) waiting: usize,
    /// There is no thread any more, or there was none.
    pub(super) no_thread: bool,
    /// After a new file could not be written: how long the old one gets before the next attempt.
    pub(super) rewrite_from: u64,
}

impl<O: Owner> Core<O> {
    /// The position behind everything that was appended.
    pub(super) fn end(&self) -> u64 {
        self.written.position + (self.writing.len() + self.pending.len()) as u64
    }

    /// How long the file is when everything is written.
    pub(super) fn file_len(&self) -> u64 {
        self.segment.as_ref().map_or(0, |segment| segment.offset(self.end()))
    }

    /// Something waits to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.writing.is_empty() || !self.pending.is_empty()
    }

    /// Trouble that a write does not end.
    pub(super) fn cannot_sync(&self) -> bool {
        self.doubtful || self.directory_unsynced
    }

    /// Something that was written has to be forced, whatever the policy says.
    pub(super) fn demands_sync(&self) -> bool {
        self.must_sync > self.synced.position && self.written.position > self.synced.position
    }

    /// Hands over the next burst, or the last once more: its bytes, and where they go.
    pub(super) fn take_burst(&mut self, spare: &mut Vec<u8>) -> Option<(Segment, u64, Arc<Vec<u8>>)> {
        if self.writing.is_empty() {
            if self.pending.is_empty() {
                return None;
            }
            self.note_synced();
            self.writing = Arc::new(std::mem::replace(&mut self.pending, std::mem::take(spare)));
            self.writing_mark = self.owner.mark();
        }
        let segment = self.segment.clone()?;
        let offset = segment.offset(self.written.position);
        Some((segment, offset, Arc::clone(&self.writing)))
    }

    /// Appends how much was forced, if the file does not say so yet.
    pub(super) fn note_synced(&mut self) {
        if self.synced.position > self.synced_noted {
            self.synced_noted = self.synced.position;
            let end = self.end();
            put_synced(&mut self.pending, end, self.synced_noted);
        }
    }

    /// The burst is in the file.
    pub(super) fn burst_written(&mut self) {
        self.written.position += self.writing.len() as u64;
        self.written.mark = self.writing_mark;
        self.writing = Arc::default();
    }
}

/// A journal that is being appended to.
pub(crate) struct Log<'a> {
    pub(super) path: &'a Path,
    pub(super) stage: Stage,
    pub(super) pending: &'a mut Vec<u8>,
    /// The position of the first pending byte.
    pub(super) pending_from: u64,
    pub(super) synced: u64,
    pub(super) must_sync: &'a mut u64,
}

impl Log<'_> {
    /// Appends a record whose payload is these parts, one behind the other, and returns its position. Kinds
    /// begin at 1.
    ///
    /// # Errors
    /// No client has the store, or it is closed, or the record would be longer than 1 GiB.
    pub(crate) fn append(&mut self, kind: u8, parts: &[&[u8]]) -> Result<u64, StoreError> {
        match self.stage {
            Stage::Attached => {}
            Stage::Closed => return Err(StoreError::Closed),
            Stage::Opened => {
                return Err(StoreError::other(format!(
                    "{} belongs to no client yet: attach the store first",
                    self.path.display()
                )));
            }
        }
        let position = self.end();
        if put_record(self.pending, position, kind, parts) {
            return Ok(position);
        }
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        Err(StoreError::other(format!("a store takes up to 1 GiB at once, not {len} bytes")))
    }

    /// The position behind everything that was appended.
    pub(crate) fn end(&self) -> u64 {
        self.pending_from + self.pending.len() as u64
    }

    /// Everything up to this position was forced onto the disk.
    pub(crate) fn synced(&self) -> u64 {
        self.synced
    }

    /// What was appended so far has to be forced onto the disk soon, whatever the policy says.
    pub(crate) fn demand_sync(&mut self) {
        *self.must_sync = self.end();
    }
}
