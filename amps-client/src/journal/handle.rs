//! The journal as a store has it: opening, appending, reading back, waiting, closing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::committer::{Shared, Step, Worker};
use super::core::{Asleep, Core, Log, ORIGIN, Owner, Reached, Segment, Stage};
use super::disk::Disk;
use super::format::{SYNCED, StoreKind};
use super::scan::{Scan, ScanError, header_of};
use super::thread;
use crate::publish_store::SyncPolicy;
use crate::store_error::StoreError;

/// A file that is shorter is not written anew while it is in use.
const REWRITE_ABOVE: u64 = 16 << 20;

/// The same when it is closed.
const REWRITE_ABOVE_AT_CLOSE: u64 = 64 << 10;

/// How a journal goes about its work.
pub(crate) struct Settings {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) policy: SyncPolicy,
    /// A file that is shorter is not written anew while it is in use; in bytes.
    pub(crate) rewrite_above: u64,
    /// Without a thread somebody takes the [`Steps`].
    pub(crate) thread: bool,
}

impl Settings {
    /// A thread, and files from 16 MiB on are written anew.
    pub(crate) fn new(disk: Arc<dyn Disk>, policy: SyncPolicy) -> Self {
        Self { disk, policy, rewrite_above: REWRITE_ABOVE, thread: true }
    }
}

/// A log file, and the state of its owner.
pub(crate) struct Journal<O: Owner> {
    shared: Arc<Shared<O>>,
    has_thread: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What attaching has to do to the file.
    found: Found,
}

/// What was at the path.
#[derive(Clone, Copy)]
enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A store; what is behind this length is a torn tail.
    Store { len: u64, torn: bool },
}

impl<O: Owner> Journal<O> {
    /// Opens and locks a file, and has the owner replay what is in it. Nothing is changed, except that a
    /// file is made if there is none.
    ///
    /// # Errors
    /// The file is locked, damaged, newer, of another kind or no store, or the system refused.
    pub(crate) fn open(
        path: &Path,
        kind: StoreKind,
        mut owner: O,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let Settings { disk, policy, rewrite_above, thread } = settings;
        let file = disk.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StoreError::Locked { path: path.to_owned() },
            _ => StoreError::io("open", path, error),
        })?;
        let unreadable = |error| StoreError::io("read", path, error);
        let len = file.len().map_err(unreadable)?;
        let (segment, found, client) = if len == 0 {
            (Segment { file, first: ORIGIN, header_len: 0 }, Found::Nothing, String::new())
        } else {
            let header = header_of(&*file, len, path, kind.name())?;
            if header.kind != kind {
                let found = format!("it is a {}", header.kind.name());
                return Err(StoreError::NotAStore { path: path.to_owned(), expected: kind.name(), found });
            }
            let (first, header_len) = (header.first, header.len as u64);
            let scan = Scan { file: &*file, len, from: header_len, first };
            let replayed = scan.run(&mut |position, record| match record.kind {
                SYNCED => Ok(()),
                kind => owner.replay(position, kind, record.payload),
            });
            let whole = replayed.map_err(|error| match error {
                ScanError::Io(error) => unreadable(error),
                ScanError::Damaged(offset, fault) => {
                    StoreError::Corrupt { path: path.to_owned(), offset, fault }
                }
            })?;
            let found = Found::Store { len: whole.len, torn: whole.torn.is_some() };
            (Segment { file, first, header_len }, found, header.client)
        };
        let end = match found {
            Found::Nothing => ORIGIN,
            Found::Store { len, .. } => segment.first + (len - segment.header_len),
        };
        let core = Core {
            stage: Stage::Opened,
            client,
            pending: Vec::new(),
            writing: Arc::default(),
            writing_mark: 0,
            written: Reached { position: end, mark: owner.mark() },
            synced: Reached { position: segment.first, mark: 0 },
            synced_noted: segment.first,
            must_sync: 0,
            trouble: None,
            doubtful: false,
            directory_unsynced: false,
            news: false,
            looked_at: 0,
            asleep: Asleep::No,
            closing: false,
            telling: false,
            waiting: 0,
            no_thread: true,
            rewrite_from: 0,
            segment: Some(segment),
            owner,
        };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let shared = Shared {
            path: path.to_owned(),
            beside: PathBuf::from(beside),
            disk,
            kind,
            policy,
            rewrite_above,
            core: Mutex::new(core),
            work: Condvar::new(),
            settled: Condvar::new(),
            worker: Mutex::new(Worker::default()),
            writer: Mutex::default(),
            progress: Mutex::new(None),
        };
        Ok(Self { shared: Arc::new(shared), has_thread: thread, thread: Mutex::new(None), found })
    }

    /// Gives the file to a client, appends what `first` has to say, and forces all of it onto the disk.
    /// From here on `progress` is called whenever something was written, was forced, is in trouble or is
    /// out of it; on the journal's thread, without a lock.
    ///
    /// # Errors
    /// The file belongs to a client of another name, or is taken or closed already: nothing was changed. Or
    /// the file cannot be written, or `first` failed: then the journal is closed.
    pub(crate) fn attach(
        &self,
        client: &str,
        progress: impl Fn() + Send + Sync + 'static,
        first: impl FnOnce(&mut O, &mut Log<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let shared = &self.shared;
        let mut worker = shared.worker();
        // Nobody writes before the file is ready.
        let writer = shared.writer();
        {
            let mut core = shared.lock();
            match core.stage {
                Stage::Opened => {}
                Stage::Attached => return Err(StoreError::Locked { path: shared.path.clone() }),
                Stage::Closed => return Err(StoreError::Closed),
            }
            if matches!(self.found, Found::Store { .. }) && core.client != client {
                return Err(StoreError::OtherClient {
                    path: shared.path.clone(),
                    owner: core.client.clone(),
                    client: client.to_owned(),
                });
            }
            client.clone_into(&mut core.client);
            core.stage = Stage::Attached;
        }
        let made = self.make_ready();
        drop(writer);
        let ready = made.and_then(|()| self.with(first)).and_then(|()| shared.commit_all(&mut worker));
        shared.lock().news = false;
        drop(worker);
        *shared.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(progress));
        ready.and_then(|()| self.start()).inspect_err(|_| self.give_free())
    }

    fn make_ready(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared
            .disk
            .remove(&shared.beside)
            .map_err(|error| StoreError::io("remove", &shared.beside, error))?;
        match self.found {
            Found::Nothing => shared.make_file(),
            Found::Store { len, torn: true } => {
                let file = shared.lock().segment.as_ref().map(|segment| Arc::clone(&segment.file));
                // Before anything is written there: what was torn must not come back behind it.
                file.map_or(Ok(()), |file| file.set_len(len).and_then(|()| file.sync()))
                    .map_err(|error| StoreError::io("cut the torn end off", &shared.path, error))
            }
            Found::Store { torn: false, .. } => Ok(()),
        }
    }

    fn start(&self) -> Result<(), StoreError> {
        if !self.has_thread {
            return Ok(());
        }
        self.shared.lock().no_thread = false;
        let shared = Arc::clone(&self.shared);
        match std::thread::Builder::new().name("amps-store".to_owned()).spawn(move || thread::run(&shared)) {
            Ok(handle) => {
                *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
                Ok(())
            }
            Err(error) => {
                self.shared.lock().no_thread = true;
                Err(StoreError::io("start a thread for", &self.shared.path, error))
            }
        }
    }

    /// Looks at the owner's state, or changes it and appends to the log, under one lock.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut O, &mut Log<'_>) -> R) -> R {
        let mut core = self.shared.lock();
        let result = self.act(&mut core, act);
        thread::wake_if_needed(&self.shared, &mut core);
        result
    }

    fn act<R>(&self, core: &mut Core<O>, act: impl FnOnce(&mut O, &mut Log<'_>) -> R) -> R {
        let mut log = Log {
            path: &self.shared.path,
            stage: core.stage,
            pending_from: core.written.position + core.writing.len() as u64,
            synced: core.synced.position,
            pending: &mut core.pending,
            must_sync: &mut core.must_sync,
        };
        act(&mut core.owner, &mut log)
    }

    /// Does the same, and returns when everything that was appended so far outlives what the policy promises
    /// it to outlive: a failure of the machine with [`SyncPolicy::EveryWrite`], for which it waits for
    /// the thread, and otherwise the end of the process, for which it writes by itself, since the thread may
    /// be waiting for the disk.
    ///
    /// # Errors
    /// `act` failed, or it does not get there for now; it is kept in memory, and tried again.
    pub(crate) fn settle<T>(
        &self,
        act: impl FnOnce(&mut O, &mut Log<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let forced = self.shared.policy == SyncPolicy::EveryWrite;
        let (result, end) = {
            let mut core = self.shared.lock();
            let result = self.act(&mut core, act)?;
            if forced {
                thread::wake_if_needed(&self.shared, &mut core);
            }
            (result, core.end())
        };
        if forced { self.wait_until_forced(end) } else { self.write_up_to(end) }?;
        self.trouble().map_or(Ok(result), Err)
    }

    fn wait_until_forced(&self, position: u64) -> Result<(), StoreError> {
        let mut core = self.shared.lock();
        while core.synced.position < position {
            let alone = core.no_thread;
            if core.stage == Stage::Closed {
                return Err(StoreError::Closed);
            }
            if let Some(trouble) = core.trouble.clone().filter(|_| !alone) {
                return Err(trouble);
            }
            if !alone {
                core = self.shared.wait(core);
                continue;
            }
            drop(core);
            let step = self.shared.step(&mut self.shared.worker(), true);
            core = self.shared.lock();
            if step != Step::Done && core.synced.position < position {
                return Err(core.trouble.clone().unwrap_or(StoreError::Closed));
            }
        }
        Ok(())
    }

    /// Writes, unless somebody else has done it meanwhile.
    fn write_up_to(&self, position: u64) -> Result<(), StoreError> {
        let mut core = self.shared.lock();
        while core.written.position < position {
            drop(core);
            let step = self.shared.write();
            core = self.shared.lock();
            thread::wake_after_write(&self.shared, &mut core, step);
            if step != Step::Done && core.written.position < position {
                return Err(core.trouble.clone().unwrap_or(StoreError::Closed));
            }
        }
        Ok(())
    }

    /// Replaces `out` by what was appended from this position on, up to `len` bytes; by less, but not by
    /// nothing, where it is in different places.
    ///
    /// # Errors
    /// The system refused, or the journal is closed.
    pub(crate) fn read(&self, position: u64, len: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        out.clear();
        let (segment, in_file) = {
            let core = self.shared.lock();
            let Some(segment) = core.segment.clone() else { return Err(StoreError::Closed) };
            let in_file = core.written.position.saturating_sub(position);
            if in_file == 0 {
                let skip = usize::try_from(position - core.written.position).unwrap_or(usize::MAX);
                let in_memory = core.writing.get(skip..).filter(|it| !it.is_empty());
                let in_memory = in_memory
                    .or_else(|| core.pending.get(skip.saturating_sub(core.writing.len())..))
                    .unwrap_or_default();
                out.extend_from_slice(in_memory.get(..len).unwrap_or(in_memory));
                return Ok(());
            }
            (segment, in_file)
        };
        out.resize(len.min(usize::try_from(in_file).unwrap_or(usize::MAX)), 0);
        segment
            .file
            .read_at(segment.offset(position), out)
            .map_err(|error| StoreError::io("read", &self.shared.path, error))
    }

    /// Where in the file a position is, for error messages.
    pub(crate) fn offset(&self, position: u64) -> u64 {
        self.shared.lock().segment.as_ref().map_or(0, |segment| segment.offset(position))
    }

    /// The owner's mark up to which everything is as safe as the policy promises: on the disk, or at least
    /// written.
    pub(crate) fn safe_mark(&self) -> u64 {
        let core = self.shared.lock();
        match self.shared.policy {
            SyncPolicy::EveryWrite => core.synced.mark,
            SyncPolicy::Never | SyncPolicy::Interval(_) => core.written.mark,
        }
    }

    /// Why nothing is written or forced for now.
    pub(crate) fn trouble(&self) -> Option<StoreError> {
        self.shared.lock().trouble.clone()
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// When what is written is forced onto the disk.
    pub(crate) fn policy(&self) -> SyncPolicy {
        self.shared.policy
    }

    /// Ends the thread, appends what `last` has to say, writes and forces everything, and gives the file
    /// free; it is written anew if most of it is dead. Nobody is told of progress any more. Once closed, it
    /// does nothing.
    ///
    /// # Errors
    /// Not everything is on the disk.
    pub(crate) fn close(
        &self,
        last: impl FnOnce(&mut O, &mut Log<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let shared = &self.shared;
        self.end_thread();
        let mut worker = shared.worker();
        if shared.lock().stage != Stage::Attached {
            self.give_free();
            return Ok(());
        }
        let outcome = self.with(last).and_then(|()| shared.commit_all(&mut worker)).and_then(|()| {
            shared.lock().note_synced();
            shared.commit_all(&mut worker)
        });
        if outcome.is_ok() {
            // Where that is impossible the old file does as well.
            while shared.rewrite(&mut worker, REWRITE_ABOVE_AT_CLOSE) == Step::Done
                && worker.rewrite.is_some() | shared.lock().directory_unsynced
            {}
        }
        self.give_free();
        outcome
    }

    /// The thread may be telling the client something that waits for a lock which whoever closes has:
    /// then it is not waited for, and ends when it is done with that.
    fn end_thread(&self) {
        let mut core = self.shared.lock();
        core.closing = true;
        self.shared.work.notify_all();
        while !core.no_thread && !core.telling {
            core = self.shared.wait(core);
        }
        let ended = core.no_thread;
        drop(core);
        let handle = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle.filter(|_| ended) {
            // A panic was reported when it happened.
            let _panicked = handle.join();
        }
    }

    fn give_free(&self) {
        let mut core = self.shared.lock();
        core.stage = Stage::Closed;
        core.segment = None;
        drop(core);
        self.shared.settled.notify_all();
    }
}

impl<O: Owner> Drop for Journal<O> {
    fn drop(&mut self) {
        // Whoever wants to know closes it first.
        let _unknown = self.close(|_, _| Ok(()));
    }
}

/// What the thread would do, to be done by somebody else.
#[cfg(any(test, feature = "simulation"))]
#[derive(Clone)]
#[cfg_attr(not(feature = "simulation"), expect(unreachable_pub, reason = "public to the simulator only"))]
pub struct Steps(Arc<dyn Fn(bool) -> Step + Send + Sync>);

#[cfg(any(test, feature = "simulation"))]
#[cfg_attr(not(feature = "simulation"), expect(unreachable_pub, reason = "public to the simulator only"))]
impl Steps {
    /// Does the next thing. `interval_over`: what was written has waited for the interval of the policy.
    pub fn step(&self, interval_over: bool) -> Step {
        (self.0)(interval_over)
    }
}

#[cfg(any(test, feature = "simulation"))]
impl<O: Owner> Journal<O> {
    /// For a journal without a thread.
    pub(crate) fn steps(&self) -> Steps {
        let shared = Arc::clone(&self.shared);
        Steps(Arc::new(move |interval_over| {
            if shared.lock().stage != Stage::Attached {
                return Step::Nothing;
            }
            let step = shared.step(&mut shared.worker(), interval_over);
            shared.tell();
            step
        }))
    }
}
