//! The work behind a journal: writing bursts, forcing them, and the next slice of a new file.
//!
//! One step at a time, whoever takes them: the journal's thread, or a simulator. A step reads no
//! clock and never waits, except for the disk, and holds the lock only to take over work and to say what
//! came of it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::core::{Core, Owner, Stage};
use super::disk::Disk;
use super::format::StoreKind;
use super::rewrite::Rewrite;
use crate::publish_store::SyncPolicy;
use crate::store_error::StoreError;

/// What is kept of a buffer for the next burst.
const SPARE_BYTES: usize = 4 << 20;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "simulation"), expect(unreachable_pub, reason = "public to the simulator only"))]
pub enum Step {
    /// There was nothing to do.
    Nothing,
    /// Something was done.
    Done,
    /// The disk refused. The next step tries again; it should not come at once.
    Failed,
}

/// A kind of work. They take turns, so that none waits for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Write,
    Sync,
    Rewrite,
}

/// What the handles of a journal and its thread share.
pub(super) struct Shared<O> {
    pub(super) path: PathBuf,
    /// Where a new file grows.
    pub(super) beside: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) kind: StoreKind,
    pub(super) policy: SyncPolicy,
    /// A file that is shorter is not written anew.
    pub(super) rewrite_above: u64,
    pub(super) core: Mutex<Core<O>>,
    /// The thread waits here for work.
    pub(super) work: Condvar,
    /// Callers wait here for the thread.
    pub(super) settled: Condvar,
    /// Whoever takes steps has it.
    pub(super) worker: Mutex<Worker>,
    /// Called when positions, marks or the trouble have changed.
    pub(super) progress: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

/// What only the steps need.
pub(super) struct Worker {
    next: Task,
    spare: Vec<u8>,
    pub(super) rewrite: Option<Rewrite>,
    /// The disk refused to force the file: what it holds of that nobody knows. Only a new file helps.
    pub(super) doubtful: bool,
    /// The directory must be forced before anything else counts as forced.
    pub(super) directory_unsynced: bool,
    /// Somebody has to be told.
    pub(super) news: bool,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            next: Task::Write,
            spare: Vec::new(),
            rewrite: None,
            doubtful: false,
            directory_unsynced: false,
            news: false,
        }
    }
}

impl Worker {
    /// Trouble that a write does not end.
    fn cannot_sync(&self) -> bool {
        self.doubtful || self.directory_unsynced
    }
}

impl<O: Owner> Shared<O> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core<O>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn worker(&self) -> MutexGuard<'_, Worker> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is next. `interval_over`: what was written has waited long enough to be forced.
    pub(super) fn step(&self, worker: &mut Worker, interval_over: bool) -> Step {
        let order = match worker.next {
            Task::Write => [Task::Write, Task::Sync, Task::Rewrite],
            Task::Sync => [Task::Sync, Task::Rewrite, Task::Write],
            Task::Rewrite => [Task::Rewrite, Task::Write, Task::Sync],
        };
        for task in order {
            let (step, after) = match task {
                Task::Write => (self.write(worker), Task::Sync),
                Task::Sync => (self.sync(worker, interval_over), Task::Rewrite),
                Task::Rewrite => (self.rewrite(worker, self.rewrite_above), Task::Write),
            };
            if step != Step::Nothing {
                worker.next = after;
                return step;
            }
        }
        Step::Nothing
    }

    /// Tells the owner's client that there is news, if there is. No lock is held meanwhile.
    pub(super) fn tell(&self, news: bool) {
        if !news {
            return;
        }
        let progress = {
            let mut core = self.lock();
            // Whoever closes may hold what the client needs to listen.
            if core.closing {
                return;
            }
            core.telling = true;
            self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        if let Some(progress) = progress {
            progress();
        }
        self.lock().telling = false;
        self.settled.notify_all();
    }

    /// Writes the next burst, or the last once more.
    pub(super) fn write(&self, worker: &mut Worker) -> Step {
        let spare = std::mem::take(&mut worker.spare);
        let Some((segment, offset, burst)) = self.lock().take_burst(spare) else { return Step::Nothing };
        match segment.file.write_at(offset, &burst) {
            Ok(()) => {
                let mut core = self.lock();
                core.burst_written();
                if !worker.cannot_sync() {
                    worker.news |= core.trouble.take().is_some();
                }
                drop(core);
                // Readers copy under the lock: nobody else has it now.
                if let Some(mut spare) = Arc::into_inner(burst).filter(|it| it.capacity() <= SPARE_BYTES) {
                    spare.clear();
                    worker.spare = spare;
                }
                worker.news |= self.policy != SyncPolicy::EveryWrite;
                self.settled.notify_all();
                Step::Done
            }
            Err(error) => {
                // So that a process that ends now leaves a sound file. If it fails, the torn tail is cut
                // off at the next start.
                let _best_effort = segment.file.set_len(offset);
                self.failed(worker, StoreError::io("write", &self.path, error))
            }
        }
    }

    /// Forces what was written, if it has to be.
    pub(super) fn sync(&self, worker: &mut Worker, interval_over: bool) -> Step {
        let (segment, target) = {
            let core = self.lock();
            let behind = core.written.position > core.synced.position;
            let due = match self.policy {
                SyncPolicy::EveryWrite => behind,
                SyncPolicy::Interval(_) => behind && interval_over || core.demands_sync(),
                SyncPolicy::Never => core.demands_sync(),
            };
            let due = (due || worker.directory_unsynced) && !worker.doubtful;
            match core.segment.clone().filter(|_| due) {
                Some(segment) => (segment, core.written),
                None => return Step::Nothing,
            }
        };
        if let Err(error) = segment.file.sync() {
            // What was to be forced may be lost although it can still be read, and the next attempt may say
            // that all is well.
            worker.doubtful = true;
            worker.rewrite = None;
            return self.failed(worker, StoreError::io("sync", &self.path, error));
        }
        if worker.directory_unsynced {
            if let Err(error) = self.disk.sync_directory(&self.path) {
                return self.failed(worker, StoreError::io("sync the directory of", &self.path, error));
            }
            worker.directory_unsynced = false;
        }
        let mut core = self.lock();
        core.synced = target;
        worker.news |= core.trouble.take().is_some() || self.policy == SyncPolicy::EveryWrite;
        worker.news |= core.must_sync > 0 && core.must_sync <= target.position;
        if core.must_sync <= target.position {
            core.must_sync = 0;
        }
        drop(core);
        self.settled.notify_all();
        Step::Done
    }

    /// Notes why nothing goes on.
    pub(super) fn failed(&self, worker: &mut Worker, error: StoreError) -> Step {
        self.lock().trouble = Some(error);
        self.settled.notify_all();
        worker.news = true;
        Step::Failed
    }

    /// Writes and forces everything that was appended, and says why if that is impossible.
    pub(super) fn commit_all(&self, worker: &mut Worker) -> Result<(), StoreError> {
        loop {
            let (behind, end) = {
                let mut core = self.lock();
                core.must_sync = core.end();
                (core.has_unwritten() || core.synced.position < core.written.position, core.end())
            };
            if !behind && !worker.cannot_sync() {
                return Ok(());
            }
            let step = match self.write(worker) {
                Step::Nothing => match self.sync(worker, true) {
                    // Only a new file helps.
                    Step::Nothing => self.rewrite(worker, 0),
                    step => step,
                },
                step => step,
            };
            if step != Step::Done {
                let core = self.lock();
                return match &core.trouble {
                    Some(trouble) => Err(trouble.clone()),
                    None if core.stage == Stage::Closed => Err(StoreError::Closed),
                    None if core.synced.position >= end => Ok(()),
                    None => Err(StoreError::other("the store cannot be written")),
                };
            }
        }
    }
}
