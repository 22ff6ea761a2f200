//! A disk in memory, for tests and simulators, that fails when it is told to.
//!
//! Owns a model of what survives. A process that is killed leaves everything that it has handed over. When
//! the power fails, what was forced is there; of everything else each write is there, lost, or torn
//! at any byte, whatever became of those before it, and of renames, removals and new names the first few are.
//! Everything follows from a seed.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

/// A disk in memory.
///
/// ```
/// use std::path::Path;
///
/// use amps_client::simulation::SimDisk;
/// use amps_client::{Progress, PublishStore, SyncPolicy};
///
/// let disk = SimDisk::new(7);
/// let (mut store, _) = disk.publish_store(Path::new("orders"), SyncPolicy::EveryWrite)?;
/// store.attach("order-entry", Progress::new(|| {}))?;
/// store.append(1, b"first")?;
/// disk.cut_power(); // before anybody took a step
///
/// let (store, _) = disk.publish_store(Path::new("orders"), SyncPolicy::EveryWrite)?;
/// assert!(store.is_empty());
/// # Ok::<(), amps_client::StoreError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    /// The names that a failure of power cannot change.
    forced_names: BTreeMap<PathBuf, u64>,
    /// What was done to names since.
    changes: Vec<Change>,
    next_file: u64,
    /// Whoever opened a file in an earlier life has it no more.
    life: u64,
    /// Operations that change something.
    operations: u64,
    /// The operation with this number is the last, and is done by halves at most.
    last: Option<u64>,
    dead: bool,
    /// Bytes that all files together may have.
    room: Option<u64>,
    refuses_sync: bool,
    /// How often something was forced.
    syncs: u64,
    writes: u64,
    random: u64,
}

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    forced: Vec<u8>,
    /// What was done to it since.
    changes: Vec<Change>,
    locked: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Name(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl SimDisk {
    /// An empty disk, with as much room as there is.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            forced_names: BTreeMap::new(),
            changes: Vec::new(),
            next_file: 0,
            life: 0,
            operations: 0,
            last: None,
            dead: false,
            room: None,
            refuses_sync: false,
            syncs: 0,
            writes: 0,
            random: seed ^ 0x9e37_79b9_7f4a_7c15,
        })))
    }

    /// After so many more operations that change something everything comes to a stop: the one that is
    /// under way then is done, or not, or a part of it if it is a write, and nothing answers but with errors
    /// until the process is killed or the power is cut.
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.lock();
        state.last = Some(state.operations + operations);
    }

    /// Whether it has come to that.
    pub fn has_stopped(&self) -> bool {
        self.lock().dead
    }

    /// The process ends: nobody has a file open, and what was handed over is there.
    pub fn kill_process(&self) {
        self.lock().begin_anew();
    }

    /// The machine fails, and comes back.
    pub fn cut_power(&self) {
        let mut state = self.lock();
        let changes = std::mem::take(&mut state.changes);
        let survive = usize::try_from(state.draw(changes.len() as u64 + 1)).unwrap_or(0);
        state.names = state.forced_names.clone();
        for change in changes.into_iter().take(survive) {
            change.rename(&mut state.names);
        }
        state.forced_names = state.names.clone();
        let mut files = std::mem::take(&mut state.files);
        for content in files.values_mut() {
            content.now = std::mem::take(&mut content.forced);
            for change in std::mem::take(&mut content.changes) {
                match change {
                    Change::Write(offset, bytes) => {
                        let torn = usize::try_from(state.draw(bytes.len() as u64 + 1)).unwrap_or(0);
                        let survives = [0, torn, bytes.len()][usize::try_from(state.draw(3)).unwrap_or(0)];
                        write(&mut content.now, offset, bytes.get(..survives).unwrap_or_default());
                    }
                    Change::SetLen(len) if state.draw(2) == 1 => set_len(&mut content.now, len),
                    _ => {}
                }
            }
            content.forced = content.now.clone();
        }
        state.files = files;
        state.begin_anew();
    }

    /// All files together may have so many bytes; without a number there is room for everything.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.lock().room = bytes;
    }

    /// From now on nothing can be forced, or can again.
    pub fn refuse_syncs(&self, refuse: bool) {
        self.lock().refuses_sync = refuse;
    }

    /// How often something was written, and how often forced.
    pub fn writes_and_syncs(&self) -> (u64, u64) {
        let state = self.lock();
        (state.writes, state.syncs)
    }

    /// What is in a file, as the system shows it.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        let content = state.files.get(state.names.get(path)?)?;
        Some(content.now.clone())
    }

    /// Puts a file there, forced onto the disk.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.lock();
        let file = state.next_file;
        state.next_file += 1;
        state.names.insert(path.to_owned(), file);
        state.forced_names.insert(path.to_owned(), file);
        let content = Content { now: bytes.to_vec(), forced: bytes.to_vec(), ..Content::default() };
        state.files.insert(file, content);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_file(&self, path: &Path, empty: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        if state.dead {
            return Err(stopped());
        }
        let known = state.names.get(path).copied();
        let file = match known {
            Some(file) => file,
            None => {
                let file = state.next_file;
                state.next_file += 1;
                state.files.insert(file, Content::default());
                state.name(Change::Name(path.to_owned(), file))?;
                file
            }
        };
        let content = state.files.entry(file).or_default();
        if content.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        content.locked = true;
        let opened = SimFile { disk: self.clone(), file, life: state.life };
        drop(state);
        if empty {
            opened.set_len(0)?;
        }
        Ok(Arc::new(opened))
    }
}

impl State {
    fn begin_anew(&mut self) {
        self.life += 1;
        self.dead = false;
        self.last = None;
        for content in self.files.values_mut() {
            content.locked = false;
        }
    }

    /// Something is about to be changed.
    fn operate(&mut self) -> io::Result<()> {
        if self.dead || self.last.is_some_and(|last| self.operations >= last) {
            self.dead = true;
            return Err(stopped());
        }
        self.operations += 1;
        Ok(())
    }

    /// A number below this one (xorshift64*).
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) % below.max(1)
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|file| self.files.get(file)).map(|it| it.now.len() as u64).sum()
    }

    fn name(&mut self, change: Change) -> io::Result<()> {
        let was_dead = self.dead;
        let outcome = self.operate();
        if outcome.is_ok() || !was_dead && self.draw(2) == 1 {
            change.clone().rename(&mut self.names);
            self.changes.push(change);
        }
        outcome
    }
}

impl Change {
    /// If it is about names.
    fn rename(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Name(path, file) => {
                names.insert(path, file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
            Self::Write(..) | Self::SetLen(_) => {}
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the disk has stopped")
}

fn write(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    if bytes.is_empty() {
        return;
    }
    let end = start.saturating_add(bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(start..end) {
        place.copy_from_slice(bytes);
    }
}

fn set_len(content: &mut Vec<u8>, len: u64) {
    content.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(path, false)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(path, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().name(Change::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if !state.names.contains_key(path) {
            return if state.dead { Err(stopped()) } else { Ok(()) };
        }
        state.name(Change::Remove(path.to_owned()))
    }

    fn sync_directory(&self, _of: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        state.forced_names = state.names.clone();
        state.changes.clear();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    file: u64,
    life: u64,
}

impl SimFile {
    fn with<R>(&self, act: impl FnOnce(&mut State, &mut Content) -> io::Result<R>) -> io::Result<R> {
        let mut state = self.disk.lock();
        if state.life != self.life || state.dead {
            return Err(stopped());
        }
        let Some(mut content) = state.files.remove(&self.file) else { return Err(stopped()) };
        let result = act(&mut state, &mut content);
        state.files.insert(self.file, content);
        result
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|_, content| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let found = content.now.get(start..start.saturating_add(buffer.len()));
            buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, content| {
            let stopped = state.operate();
            state.writes += 1;
            // This file is not among those that are looked at.
            let room = state.room.map_or(u64::MAX, |room| room.saturating_sub(state.used()));
            let fits = room.saturating_sub(offset).min(bytes.len() as u64);
            let done = if stopped.is_ok() { fits } else { state.draw(fits + 1) };
            let done = bytes.get(..usize::try_from(done).unwrap_or(0)).unwrap_or(bytes);
            write(&mut content.now, offset, done);
            content.changes.push(Change::Write(offset, done.to_vec()));
            stopped?;
            if fits < bytes.len() as u64 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state, content| {
            state.operate()?;
            set_len(&mut content.now, len);
            content.changes.push(Change::SetLen(len));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, content| {
            state.operate()?;
            let changes = std::mem::take(&mut content.changes);
            if state.refuses_sync {
                // As systems do it: what could not be forced counts as forced from now on.
                return Err(io::Error::other("the disk does not take it"));
            }
            state.syncs += 1;
            for change in changes {
                match change {
                    Change::Write(offset, bytes) => write(&mut content.forced, offset, &bytes),
                    Change::SetLen(len) => set_len(&mut content.forced, len),
                    _ => {}
                }
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|_, content| Ok(content.now.len() as u64))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.life == self.life {
            if let Some(content) = state.files.get_mut(&self.file) {
                content.locked = false;
            }
        }
    }
}
