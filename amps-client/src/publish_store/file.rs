//! A publish store in a file.
//!
//! Owns what its records mean, and the reservation of numbers (ruling R16); the file itself is the
//! journal's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nom::error::Error;
use nom::number::complete::be_u64;

use super::places::{Entry, Places};
use super::{Attached, Progress, PublishStore, SyncPolicy};
#[cfg(any(test, feature = "simulation"))]
use crate::journal::Steps;
use crate::journal::{Found, Journal, Log, Owner, RealDisk, Record, Records, Settings, StoreKind, record};
use crate::store_error::StoreError;

/// So many numbers are reserved at a time.
const RESERVED_AHEAD: u64 = 1 << 20;

/// How much is read from the file at once.
const READ_AT_ONCE: usize = 256 << 10;

/// What a failing machine may take along is what was published in so short a time, and had not reached the
/// server yet; a force this often costs next to nothing.
const DEFAULT_POLICY: SyncPolicy = SyncPolicy::Interval(Duration::from_millis(10));

/// A number and a frame.
pub(super) const MESSAGE: u8 = 1;
/// Nothing up to this number is needed any more.
pub(super) const DISCARDED: u8 = 2;
/// No number above this one is in use; ahead of the numbers that are, and just the last of them when the
/// store was closed in order. The last such record counts.
pub(super) const RESERVED: u8 = 3;
/// The message of this number is not to be sent again.
pub(super) const REFUSED: u8 = 4;

/// Keeps messages in a file: they outlive the process.
///
/// A thread of the store's own writes what was accepted, a burst at a time, within a millisecond
/// or so, or as soon as the disk is done with a force, and forces it onto the disk as the [`SyncPolicy`] says: [`FilePublishStore::builder`]. What was
/// written outlives the process, what was forced outlives a failure of the machine.
///
/// Memory is used for 12 bytes a message, and for what is not written yet. The file shrinks while it is in
/// use, when most of it is discarded and it has more than 16 MiB, and when it is closed.
///
/// # The file
///
/// It belongs to one client, by name, and to one process at a time. What a process that died left half
/// written at its end is cut off. A file that is damaged elsewhere, written by a newer version, of another client or of
/// another kind is refused, and nothing in it is changed: move it away to begin anew, or see what can be
/// read with `cargo xtask store`. An empty file is as good as none.
///
/// When the disk is full the store keeps in memory what it accepts, tries again every second, and
/// says so by [`trouble`](PublishStore::trouble).
///
/// # Numbers
///
/// So that no number is ever used twice, blocks of numbers are reserved on the disk before they are used. After
/// a crash the next number is behind the block: gaps are in order. With [`SyncPolicy::EveryWrite`] nothing leaves
/// before it is on the disk, and no numbers are lost.
///
/// ```
/// use amps_client::{FilePublishStore, Progress, PublishStore};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("order-entry.publish");
///
/// let mut store = FilePublishStore::open(&path)?;
/// # // What a client does with it:
/// store.attach("order-entry", Progress::new(|| {}))?;
/// store.append(1, b"first")?;
/// store.append(2, b"second")?;
/// store.discard_up_to(1)?; // the server has it
/// store.close()?;
///
/// let mut store = FilePublishStore::open(&path)?;
/// let known = store.attach("order-entry", Progress::new(|| {}))?;
/// assert_eq!((known.last_used, known.last_persisted), (2, 1));
/// assert_eq!((store.len(), store.lowest()), (1, Some(2)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FilePublishStore {
    journal: Journal<State>,
    /// For reading.
    chunk: Vec<u8>,
    /// Closed in order, or never attached.
    done: bool,
}

/// How a [`FilePublishStore`] is opened.
///
/// ```
/// use amps_client::{FilePublishStore, PublishStore, SyncPolicy};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("orders.publish");
///
/// let store = FilePublishStore::builder(&path).sync(SyncPolicy::EveryWrite).open()?;
/// assert!(store.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct FilePublishStoreBuilder {
    path: PathBuf,
    policy: SyncPolicy,
}

impl FilePublishStoreBuilder {
    /// When what is written is forced onto the disk; by default within 10 milliseconds
    /// (`SyncPolicy::Interval(Duration::from_millis(10))`).
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Opens the file and locks it. If there is none it is made; its directory must be there.
    ///
    /// # Errors
    /// Any [`StoreError`]: the file is in use, damaged, written by a newer version, no publish store, or the system
    /// refused. Whose file it is turns out when a client takes the store.
    pub fn open(self) -> Result<FilePublishStore, StoreError> {
        let settings = Settings::new(Arc::new(RealDisk), self.policy);
        FilePublishStore::on(&self.path, settings)
    }
}

impl FilePublishStore {
    /// Opens a store with the default policy, as [`builder`](Self::builder) does.
    ///
    /// # Errors
    /// See [`FilePublishStoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder(path).open()
    }

    /// Opens a store with a policy of your choice.
    pub fn builder(path: impl AsRef<Path>) -> FilePublishStoreBuilder {
        FilePublishStoreBuilder { path: path.as_ref().to_owned(), policy: DEFAULT_POLICY }
    }

    fn on(path: &Path, settings: Settings) -> Result<Self, StoreError> {
        let state = State { reserves: settings.policy != SyncPolicy::EveryWrite, ..State::default() };
        let journal = Journal::open(path, StoreKind::Publish, state, settings)?;
        Ok(Self { journal, chunk: Vec::new(), done: true })
    }

    /// Without a thread: somebody takes the steps.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn with_settings(path: &Path, settings: Settings) -> Result<(Self, Steps), StoreError> {
        let store = Self::on(path, Settings { thread: false, ..settings })?;
        let steps = store.journal.steps();
        Ok((store, steps))
    }

    /// This number is given out, and is kept elsewhere for now.
    pub(super) fn use_number(&mut self, number: u64) -> Result<(), StoreError> {
        self.journal.with(|state, log| {
            state.last_used = state.last_used.max(number);
            state.reserve(log)
        })
    }

    /// A client has it.
    pub(super) fn is_attached(&self) -> bool {
        !self.done
    }

    /// Numbers are reserved whatever the policy, because not all messages are kept here.
    pub(super) fn always_reserve(&self) {
        self.journal.with(|state, _| state.reserves = true);
    }

    /// Up to here numbers are reserved on the disk.
    pub(super) fn reserved(&self) -> u64 {
        self.journal.with(|state, log| {
            state.settle_reservation(log.synced());
            state.reserved
        })
    }
}

#[cfg(any(test, feature = "simulation"))]
#[cfg_attr(not(feature = "simulation"), expect(unreachable_pub, reason = "public to the simulator only"))]
impl crate::journal::SimDisk {
    /// A store on this disk that has no thread: whoever asks for it takes the steps.
    ///
    /// # Errors
    /// See [`FilePublishStoreBuilder::open`].
    pub fn publish_store(
        &self,
        path: &Path,
        policy: SyncPolicy,
    ) -> Result<(FilePublishStore, Steps), StoreError> {
        FilePublishStore::with_settings(path, Settings::new(Arc::new(self.clone()), policy))
    }
}

impl PublishStore for FilePublishStore {
    fn attach(&mut self, client: &str, progress: Progress) -> Result<Attached, StoreError> {
        self.journal.attach(client, move || progress.made(), State::begin)?;
        self.done = false;
        Ok(self
            .journal
            .with(|state, _| Attached { last_used: state.last_used, last_persisted: state.last_discarded }))
    }

    fn append(&mut self, sequence: u64, frame: &[u8]) -> Result<(), StoreError> {
        self.journal.with(|state, log| state.append(sequence, frame, log))
    }

    fn discard_up_to(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.journal.with(|state, log| state.discard_up_to(sequence, log))
    }

    fn refuse(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.journal.with(|state, log| state.refuse(sequence, log))
    }

    fn refused(&self) -> Vec<u64> {
        self.journal.with(|state, _| state.refused.iter().copied().collect())
    }

    fn read(&mut self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
        let found = self.journal.with(|state, log| (state.places.first_from(from), log.end()));
        let (Some(Entry { mut position, .. }), end) = found else { return Ok(()) };
        let mut wanted = READ_AT_ONCE;
        while position < end {
            self.journal.read(position, wanted, &mut self.chunk)?;
            let mut done = 0;
            let stopped = loop {
                let at = position + done as u64;
                match record(self.chunk.get(done..).unwrap_or_default(), at) {
                    Found::Whole(Record { kind, payload, len }) => {
                        if let Some((number, frame)) = message(payload).filter(|_| kind == MESSAGE) {
                            if number >= from && !visit(number, frame) {
                                return Ok(());
                            }
                        }
                        done += len;
                    }
                    other => break other,
                }
            };
            position += done as u64;
            wanted = match stopped {
                Found::Beginning(needed) if done > 0 || needed > wanted => needed.max(READ_AT_ONCE),
                Found::Nothing(fault) => return Err(self.damaged(position, fault)),
                _ => return Err(self.damaged(position, "a record is cut off")),
            };
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.journal.with(|state, _| state.places.len())
    }

    fn bytes(&self) -> u64 {
        self.journal.with(|state, _| state.places.bytes())
    }

    fn lowest(&self) -> Option<u64> {
        self.journal.with(|state, _| state.places.first().map(|entry| entry.number))
    }

    fn may_leave(&self) -> u64 {
        match self.journal.policy() {
            SyncPolicy::EveryWrite => self.journal.safe_mark(),
            SyncPolicy::Never | SyncPolicy::Interval(_) => self.reserved(),
        }
    }

    fn safe(&self) -> u64 {
        self.journal.safe_mark()
    }

    fn trouble(&self) -> Option<StoreError> {
        self.journal.trouble()
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(());
        }
        self.journal.close(State::close)
    }
}

impl FilePublishStore {
    fn damaged(&self, position: u64, fault: &str) -> StoreError {
        StoreError::Corrupt {
            path: self.journal.path().to_owned(),
            offset: self.journal.offset(position),
            fault: fault.to_owned(),
        }
    }
}

impl Drop for FilePublishStore {
    fn drop(&mut self) {
        // Whoever wants to know closes it first.
        let _unknown = self.close();
    }
}

impl std::fmt::Debug for FilePublishStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilePublishStore").field("path", &self.journal.path()).finish_non_exhaustive()
    }
}

/// What the records add up to.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) places: Places,
    /// No number up to here may be used again.
    pub(super) last_used: u64,
    pub(super) last_discarded: u64,
    /// Kept, and not to be sent again.
    pub(super) refused: BTreeSet<u64>,
    /// Numbers are reserved ahead.
    reserves: bool,
    /// Up to here they are reserved on the disk.
    pub(super) reserved: u64,
    /// Up to here once everything before this position is.
    reserving: Option<(u64, u64)>,
}

impl State {
    /// A client takes the store. Numbers that may have been in use are not used again.
    fn begin(&mut self, log: &mut Log<'_>) -> Result<(), StoreError> {
        self.last_used = self.last_used.max(self.reserved);
        // A store that was closed in order has none reserved. One that was not has used them up.
        self.reserve(log)
    }

    fn append(&mut self, sequence: u64, frame: &[u8], log: &mut Log<'_>) -> Result<(), StoreError> {
        let position = log.append(MESSAGE, &[&sequence.to_be_bytes(), frame])?;
        self.keep(sequence, position, frame.len());
        self.reserve(log)
    }

    fn keep(&mut self, number: u64, position: u64, len: usize) {
        // A record has a length of 32 bits.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.places.push(Entry { number, position, len });
        self.last_used = self.last_used.max(number);
    }

    fn discard_up_to(&mut self, sequence: u64, log: &mut Log<'_>) -> Result<(), StoreError> {
        if sequence <= self.last_discarded {
            return Ok(());
        }
        self.forget_up_to(sequence);
        log.append(DISCARDED, &[&sequence.to_be_bytes()])?;
        Ok(())
    }

    fn forget_up_to(&mut self, sequence: u64) {
        self.places.forget_up_to(sequence);
        self.refused = self.refused.split_off(&sequence.saturating_add(1));
        self.last_discarded = self.last_discarded.max(sequence);
        self.last_used = self.last_used.max(sequence);
    }

    fn refuse(&mut self, sequence: u64, log: &mut Log<'_>) -> Result<(), StoreError> {
        if sequence > self.last_discarded && self.refused.insert(sequence) {
            log.append(REFUSED, &[&sequence.to_be_bytes()])?;
        }
        Ok(())
    }

    /// Reserves numbers when half of those that are reserved are used.
    fn reserve(&mut self, log: &mut Log<'_>) -> Result<(), StoreError> {
        if !self.reserves || self.last_used.saturating_add(RESERVED_AHEAD / 2) < self.asked() {
            return Ok(());
        }
        let number = self.last_used.saturating_add(RESERVED_AHEAD);
        log.append(RESERVED, &[&number.to_be_bytes()])?;
        log.demand_sync();
        self.reserving = Some((number, log.end()));
        Ok(())
    }

    /// Up to here numbers are reserved, or will be.
    fn asked(&self) -> u64 {
        self.reserving.map_or(self.reserved, |(number, _)| number)
    }

    fn settle_reservation(&mut self, synced: u64) {
        if let Some((number, _)) = self.reserving.filter(|(_, position)| *position <= synced) {
            self.reserved = number;
            self.reserving = None;
        }
    }

    fn close(&mut self, log: &mut Log<'_>) -> Result<(), StoreError> {
        log.append(RESERVED, &[&self.last_used.to_be_bytes()])?;
        (self.reserved, self.reserving) = (self.last_used, None);
        Ok(())
    }
}

impl Owner for State {
    fn replay(&mut self, position: u64, kind: u8, payload: &[u8]) -> Result<(), String> {
        let (number, frame) = message(payload).ok_or("a record without a number")?;
        match kind {
            MESSAGE if self.places.last_number().is_some_and(|last| number <= last) => {
                return Err(format!("the message {number} comes too late"));
            }
            MESSAGE => self.keep(number, position, frame.len()),
            DISCARDED => self.forget_up_to(number),
            RESERVED => self.reserved = number,
            REFUSED if number > self.last_discarded => drop(self.refused.insert(number)),
            REFUSED => {}
            unknown => return Err(format!("a record of the unknown kind {unknown}")),
        }
        Ok(())
    }

    fn mark(&self) -> u64 {
        self.last_used
    }

    fn live_bytes(&self, end: u64) -> u64 {
        self.places.first().map_or(0, |first| end - first.position)
    }

    fn snapshot(&mut self, records: &mut Records, end: u64) -> u64 {
        records.push(DISCARDED, &[&self.last_discarded.to_be_bytes()]);
        records.push(RESERVED, &[&self.asked().max(self.last_used).to_be_bytes()]);
        for number in &self.refused {
            records.push(REFUSED, &[&number.to_be_bytes()]);
        }
        self.places.first().map_or(end, |first| first.position)
    }
}

/// The number in front of a payload, and the rest.
pub(super) fn message(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (rest, number) = be_u64::<_, Error<&[u8]>>(payload).ok()?;
    Some((number, rest))
}
