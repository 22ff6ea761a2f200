//! The new file that takes the place of one that is mostly dead.
//!
//! It grows beside the old one, slice by slice, while the old one is written as always. When it has all
//! that the old one has, and is on the disk, it gets the old one's name. Whenever the process dies, there
//! is one whole file by that name; what is left beside it is removed at the next start.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::io;

use super::committer::{Shared, Step, Worker};
use super::core::{Core, Owner, Segment, Stage};
use super::format::{Found, Records, SYNCED, header, record};
use crate::store_error::StoreError;

/// How much is copied and forced at once: writes to the old file wait no longer than this takes. When no more
/// than this is left, nobody writes until it is done: otherwise it would never end under load.
const SLICE: usize = 4 << 20;

/// A new file that is not in its place yet.
pub(super) struct Rewrite {
    segment: Segment,
    /// It has everything up to this position.
    copied: u64,
}

impl<O: Owner> Shared<O> {
    /// Does the next bit, if a new file is worth it: the old one is at least this long and mostly dead.
    pub(super) fn rewrite(&self, worker: &mut Worker, above: u64) -> Step {
        let bit = match worker.rewrite.take() {
            None if !self.worth_it(&self.lock(), above) => return Step::Nothing,
            None => self.begin(worker),
            Some(rewrite) => self.go_on(worker, rewrite),
        };
        let Err(error) = bit else { return bit.unwrap_or(Step::Nothing) };
        worker.rewrite = None;
        let _best_effort = self.disk.remove(&self.beside);
        if self.lock().doubtful {
            return self.failed(error);
        }
        // The old file does as well.
        let mut core = self.lock();
        core.rewrite_from = core.file_len() + self.rewrite_above;
        Step::Done
    }

    fn worth_it(&self, core: &Core<O>, above: u64) -> bool {
        let len = core.file_len();
        let live = core.owner.live_bytes(core.end());
        let dead = len.saturating_sub(live);
        core.stage == Stage::Attached
            && (core.doubtful || len >= above.max(core.rewrite_from) && dead > live && dead > above / 2)
    }

    /// Makes the new file, with what stands for everything before a position.
    fn begin(&self, worker: &mut Worker) -> Result<Step, StoreError> {
        let (records, keep, client) = {
            let mut core = self.lock();
            let mut records = Records::default();
            let end = core.end();
            let keep = core.owner.snapshot(&mut records, end);
            (records, keep, core.client.clone())
        };
        let rewrite = self.new_file(records, keep, &client)?;
        worker.rewrite = Some(rewrite);
        Ok(Step::Done)
    }

    fn new_file(&self, mut records: Records, keep: u64, client: &str) -> Result<Rewrite, StoreError> {
        let wrong = |error| StoreError::io("write", &self.beside, error);
        if !records.is_empty() {
            // It is the new file's only once all of this is on the disk.
            records.push(SYNCED, &[&0_u64.to_be_bytes()]);
        }
        let (records, first) = records.ending_at(keep);
        let Some(mut bytes) = header(self.kind, first, client) else {
            let len = client.len();
            return Err(StoreError::other(format!("a client's name of {len} bytes is too long for a store")));
        };
        let header_len = bytes.len() as u64;
        bytes.extend_from_slice(&records);
        let file = self.disk.create(&self.beside).map_err(wrong)?;
        file.write_at(0, &bytes).map_err(wrong)?;
        Ok(Rewrite { segment: Segment { file, first, header_len }, copied: keep })
    }

    fn go_on(&self, worker: &mut Worker, mut rewrite: Rewrite) -> Result<Step, StoreError> {
        // As long as it is held nobody writes, so that the end of the old file stays where it is.
        let writer = self.writer();
        let (old, written) = {
            let core = self.lock();
            let Some(old) = core.segment.clone() else { return Ok(Step::Nothing) };
            (old, core.written.position)
        };
        let Some(left) = written.checked_sub(rewrite.copied) else {
            // What the new file begins with stands for something that is not written yet. That comes first.
            drop(writer);
            worker.rewrite = Some(rewrite);
            // If somebody else was faster, there is something to do all the same.
            return Ok(match self.write() {
                Step::Nothing => Step::Done,
                step => step,
            });
        };
        if left > SLICE as u64 {
            drop(writer);
            rewrite.copied = self.copy(&old, &rewrite, written)?;
            rewrite.segment.file.sync().map_err(|error| StoreError::io("sync", &self.beside, error))?;
            worker.rewrite = Some(rewrite);
            return Ok(Step::Done);
        }
        while rewrite.copied < written {
            rewrite.copied = self.copy(&old, &rewrite, written)?;
        }
        self.take_place(rewrite)?;
        drop(writer);
        Ok(self.sync(worker, true))
    }

    /// Copies whole records, and looks at them meanwhile: damage must not spread.
    fn copy(&self, old: &Segment, rewrite: &Rewrite, end: u64) -> Result<u64, StoreError> {
        let new = &rewrite.segment;
        let offset = old.offset(rewrite.copied);
        let left = end - rewrite.copied;
        let mut wanted = SLICE;
        loop {
            let mut slice = vec![0; wanted.min(usize::try_from(left).unwrap_or(usize::MAX))];
            old.file
                .read_at(offset, &mut slice)
                .map_err(|error| StoreError::io("read", &self.path, error))?;
            let mut whole = 0;
            let needed = loop {
                match record(slice.get(whole..).unwrap_or_default(), rewrite.copied + whole as u64) {
                    Found::Whole(record) => whole += record.len,
                    Found::Beginning(needed) => break needed,
                    Found::Nothing(fault) => return Err(self.damaged(offset + whole as u64, fault)),
                }
            };
            if whole > 0 {
                let records = slice.get(..whole).unwrap_or_default();
                new.file
                    .write_at(new.offset(rewrite.copied), records)
                    .map_err(|error| StoreError::io("write", &self.beside, error))?;
                return Ok(rewrite.copied + whole as u64);
            }
            if needed as u64 > left {
                return Err(self.damaged(offset, "a record is cut off"));
            }
            wanted = needed;
        }
    }

    fn damaged(&self, offset: u64, fault: &str) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), offset, fault: fault.to_owned() }
    }

    /// The new file has everything: it gets the name. Whoever calls has the writer's lock.
    fn take_place(&self, rewrite: Rewrite) -> Result<(), StoreError> {
        let wrong = |action| move |error: io::Error| StoreError::io(action, &self.path, error);
        rewrite.segment.file.sync().map_err(|error| StoreError::io("sync", &self.beside, error))?;
        self.disk.rename(&self.beside, &self.path).map_err(wrong("replace"))?;
        // From here on there is no way back.
        let mut core = self.lock();
        core.doubtful = false;
        core.directory_unsynced = true;
        core.segment = Some(rewrite.segment);
        core.rewrite_from = 0;
        drop(core);
        Ok(())
    }

    /// Makes the file of a store that has none yet. Whoever calls has the writer's lock.
    pub(super) fn make_file(&self) -> Result<(), StoreError> {
        let (written, client) = {
            let core = self.lock();
            (core.written, core.client.clone())
        };
        let rewrite = self.new_file(Records::default(), written.position, &client)?;
        self.take_place(rewrite)
    }
}
