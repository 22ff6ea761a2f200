//! The work behind a journal: writing bursts, forcing them, and the next slice of a new file.
//!
//! One step at a time, whoever takes them: the journal's thread, or a simulator. A step reads no
//! clock and never waits, except for the disk, and holds the lock only to take over work and to say what
//! came of it. Writing alone is also done by callers who must not wait for a force that is under way.
//!
//! Of the three locks, each is only taken by who has none of those behind it: `worker` (steps), `writer`
//! (the file's end, and which file it is), `core` (the state, for short).
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
    /// Whoever writes at the end of the file has it, or puts another file in its place: a spare buffer.
    pub(super) writer: Mutex<Vec<u8>>,
    /// Called when positions, marks or the trouble have changed.
    pub(super) progress: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

/// What only the steps need.
pub(super) struct Worker {
    next: Task,
    pub(super) rewrite: Option<Rewrite>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { next: Task::Write, rewrite: None }
    }
}

impl<O: Owner> Shared<O> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core<O>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn worker(&self) -> MutexGuard<'_, Worker> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has changed.
    pub(super) fn wait<'a>(&self, mut core: MutexGuard<'a, Core<O>>) -> MutexGuard<'a, Core<O>> {
        core.waiting += 1;
        let mut core = self.settled.wait(core).unwrap_or_else(PoisonError::into_inner);
        core.waiting -= 1;
        core
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Vec<u8>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
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
                Task::Write => (self.write(), Task::Sync),
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
    pub(super) fn tell(&self) {
        let progress = {
            let mut core = self.lock();
            // Whoever closes may hold what the client needs to listen.
            if !std::mem::take(&mut core.news) || core.closing {
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
    pub(super) fn write(&self) -> Step {
        let mut writer = self.writer();
        let Some((segment, offset, burst)) = self.lock().take_burst(&mut writer) else {
            return Step::Nothing;
        };
        match segment.file.write_at(offset, &burst) {
            Ok(()) => {
                let mut core = self.lock();
                core.burst_written();
                if !core.cannot_sync() {
                    core.news |= core.trouble.take().is_some();
                }
                core.news |= self.policy != SyncPolicy::EveryWrite;
                let somebody_waits = core.waiting > 0;
                drop(core);
                // Readers copy under the lock: nobody else has it now.
                if let Some(mut spare) = Arc::into_inner(burst).filter(|it| it.capacity() <= SPARE_BYTES) {
                    spare.clear();
                    *writer = spare;
                }
                if somebody_waits {
                    self.settled.notify_all();
                }
                Step::Done
            }
            Err(error) => {
                // So that a process that ends now leaves a sound file. If it fails, the torn tail is cut
                // off at the next start.
                let _best_effort = segment.file.set_len(offset);
                self.failed(StoreError::io("write", &self.path, error))
            }
        }
    }

    /// Forces what was written, if it has to be.
    pub(super) fn sync(&self, worker: &mut Worker, interval_over: bool) -> Step {
        let (segment, target, directory_unsynced) = {
            let core = self.lock();
            let behind = core.written.position > core.synced.position;
            let due = match self.policy {
                SyncPolicy::EveryWrite => behind,
                SyncPolicy::Interval(_) => behind && interval_over || core.demands_sync(),
                SyncPolicy::Never => core.demands_sync(),
            };
            let due = (due || core.directory_unsynced) && !core.doubtful;
            match core.segment.clone().filter(|_| due) {
                Some(segment) => (segment, core.written, core.directory_unsynced),
                None => return Step::Nothing,
            }
        };
        if let Err(error) = segment.file.sync() {
            // What was to be forced may be lost although it can still be read, and the next attempt may say
            // that all is well.
            self.lock().doubtful = true;
            worker.rewrite = None;
            return self.failed(StoreError::io("sync", &self.path, error));
        }
        if directory_unsynced {
            if let Err(error) = self.disk.sync_directory(&self.path) {
                return self.failed(StoreError::io("sync the directory of", &self.path, error));
            }
        }
        let mut core = self.lock();
        core.directory_unsynced = false;
        core.synced = target;
        core.news |= core.trouble.take().is_some() || self.policy == SyncPolicy::EveryWrite;
        core.news |= core.must_sync > 0 && core.must_sync <= target.position;
        if core.must_sync <= target.position {
            core.must_sync = 0;
        }
        drop(core);
        self.settled.notify_all();
        Step::Done
    }

    /// Notes why nothing goes on.
    pub(super) fn failed(&self, error: StoreError) -> Step {
        let mut core = self.lock();
        core.trouble = Some(error);
        core.news = true;
        drop(core);
        self.settled.notify_all();
        Step::Failed
    }

    /// Writes and forces everything that was appended, and says why if that is impossible.
    pub(super) fn commit_all(&self, worker: &mut Worker) -> Result<(), StoreError> {
        loop {
            let (behind, end) = {
                let mut core = self.lock();
                core.must_sync = core.end();
                let behind = core.has_unwritten() || core.synced.position < core.written.position;
                (behind || core.cannot_sync(), core.end())
            };
            if !behind {
                return Ok(());
            }
            let step = match self.write() {
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
