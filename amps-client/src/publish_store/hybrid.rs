//! A publish store in memory, and in a file once that is too much.
//!
//! Owns the way from the one to the other: the oldest messages go, in order, so that everything in
//! the file is older than everything in memory.

use std::path::Path;

use super::file::FilePublishStoreBuilder;
use super::{Attached, FilePublishStore, MemoryPublishStore, Progress, PublishStore, SyncPolicy};
use crate::store_error::StoreError;

/// Keeps messages in memory, up to a number of them; when there are more, the oldest go to a file until
/// half of that number is left, or as many as
/// [`low_watermark`](HybridPublishStoreBuilder::low_watermark) says.
///
/// As long as servers answer, next to nothing is written; when they do not, memory does not grow.
///
/// **What is in memory is lost when the process is killed or the machine fails.** Only what went to the
/// file is there afterwards, which is the older part of what was not persisted. [`close`](PublishStore::close)
/// puts everything into the file. Use a [`FilePublishStore`] where every message counts.
///
/// Sequence numbers are not used twice, whatever happens: blocks of them are reserved in the file ahead
/// of their use.
///
/// ```
/// use amps_client::{HybridPublishStore, Progress, PublishStore};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("orders.publish");
///
/// let mut store = HybridPublishStore::open(&path, 10)?;
/// store.attach("order-entry", Progress::new(|| {}))?;
/// for number in 1..=25 {
///     store.append(number, b"a frame")?;
/// }
/// assert_eq!(store.len(), 25);
/// assert!(store.in_memory() <= 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HybridPublishStore {
    memory: MemoryPublishStore,
    file: FilePublishStore,
    most: usize,
    low_watermark: usize,
    /// Up to here nothing is needed. The file hears of it while it has messages, and at last.
    discarded: u64,
    /// Why the file did not take what memory has too much of.
    stuck: Option<StoreError>,
}

/// How a [`HybridPublishStore`] is opened.
///
/// ```
/// use amps_client::{HybridPublishStore, PublishStore};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("orders.publish");
///
/// let store = HybridPublishStore::builder(&path, 100_000).low_watermark(80_000).open()?;
/// assert!(store.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct HybridPublishStoreBuilder {
    most: usize,
    low_watermark: usize,
    file: FilePublishStoreBuilder,
}

impl HybridPublishStoreBuilder {
    /// So many messages stay in memory when the oldest go to the file; by default half of the number that is
    /// allowed, and never more than that.
    pub fn low_watermark(mut self, messages: usize) -> Self {
        self.low_watermark = messages.min(self.most);
        self
    }

    /// When what is written to the file is forced onto the disk; by default as for a [`FilePublishStore`].
    /// Messages leave for the server whatever this says.
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.file = self.file.sync(policy);
        self
    }

    /// Opens the file and locks it. If there is none it is made; its directory must be there.
    ///
    /// # Errors
    /// See [`FilePublishStoreBuilder::open`].
    pub fn open(self) -> Result<HybridPublishStore, StoreError> {
        Ok(HybridPublishStore::over(self.file.open()?, self.most, self.low_watermark))
    }
}

impl HybridPublishStore {
    /// Opens a store that keeps up to so many messages in memory.
    ///
    /// # Errors
    /// See [`FilePublishStoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>, max_memory_messages: usize) -> Result<Self, StoreError> {
        Self::builder(path, max_memory_messages).open()
    }

    /// The same, with more to choose.
    pub fn builder(path: impl AsRef<Path>, max_memory_messages: usize) -> HybridPublishStoreBuilder {
        HybridPublishStoreBuilder {
            most: max_memory_messages,
            low_watermark: max_memory_messages / 2,
            file: FilePublishStore::builder(path),
        }
    }

    pub(super) fn over(file: FilePublishStore, most: usize, low_watermark: usize) -> Self {
        file.always_reserve();
        Self { memory: MemoryPublishStore::new(), file, most, low_watermark, discarded: 0, stuck: None }
    }

    /// How many messages are in memory.
    pub fn in_memory(&self) -> usize {
        self.memory.len()
    }

    /// Moves the oldest messages until so many are left in memory.
    fn move_oldest(&mut self, left: usize) -> Result<(), StoreError> {
        let mut more = self.memory.len().saturating_sub(left);
        if more == 0 {
            return Ok(());
        }
        let (mut moved, mut outcome) = (None, Ok(()));
        let file = &mut self.file;
        self.memory.read(0, &mut |number, frame| {
            outcome = file.append(number, frame);
            if outcome.is_ok() {
                moved = Some(number);
                more -= 1;
            }
            outcome.is_ok() && more > 0
        })?;
        if let Some(moved) = moved {
            self.memory.discard_up_to(moved)?;
        }
        outcome
    }
}

impl PublishStore for HybridPublishStore {
    fn attach(&mut self, client: &str, progress: Progress) -> Result<Attached, StoreError> {
        let attached = self.file.attach(client, progress)?;
        self.discarded = attached.last_persisted;
        Ok(attached)
    }

    fn append(&mut self, sequence: u64, frame: &[u8]) -> Result<(), StoreError> {
        self.file.use_number(sequence)?;
        self.memory.append(sequence, frame)?;
        if self.memory.len() > self.most {
            // The message is kept either way.
            self.stuck = self.move_oldest(self.low_watermark).err();
        }
        Ok(())
    }

    fn discard_up_to(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.discarded = self.discarded.max(sequence);
        self.memory.discard_up_to(sequence)?;
        if self.memory.len() <= self.most {
            self.stuck = None;
        }
        if self.file.is_empty() { Ok(()) } else { self.file.discard_up_to(sequence) }
    }

    fn refuse(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.file.refuse(sequence)
    }

    fn refused(&self) -> Vec<u64> {
        self.file.refused()
    }

    fn read(&mut self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
        let mut goes_on = true;
        self.file.read(from, &mut |number, frame| {
            goes_on = visit(number, frame);
            goes_on
        })?;
        if goes_on { self.memory.read(from, visit) } else { Ok(()) }
    }

    fn len(&self) -> usize {
        self.file.len() + self.memory.len()
    }

    fn bytes(&self) -> u64 {
        self.file.bytes() + self.memory.bytes()
    }

    fn lowest(&self) -> Option<u64> {
        self.file.lowest().or_else(|| self.memory.lowest())
    }

    fn may_leave(&self) -> u64 {
        self.file.reserved()
    }

    fn trouble(&self) -> Option<StoreError> {
        self.stuck.clone().or_else(|| self.file.trouble())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if !self.file.is_attached() {
            return self.file.close();
        }
        let moved = self.move_oldest(0).and_then(|()| self.file.discard_up_to(self.discarded));
        self.file.close().and(moved)
    }
}

impl Drop for HybridPublishStore {
    fn drop(&mut self) {
        // Whoever wants to know closes it first.
        let _unknown = self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{SimDisk, Steps};

    fn open(disk: &SimDisk) -> (HybridPublishStore, Steps, Attached) {
        let (file, steps) = disk.publish_store(Path::new("orders"), SyncPolicy::Never).unwrap();
        let mut store = HybridPublishStore::over(file, 10, 4);
        let known = store.attach("order-entry", Progress::new(|| {})).unwrap();
        (store, steps, known)
    }

    fn numbers(store: &mut HybridPublishStore, from: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        let read = store.read(from, &mut |number, frame| {
            assert_eq!(frame, format!("frame {number}").as_bytes());
            numbers.push(number);
            true
        });
        read.unwrap();
        numbers
    }

    fn append(store: &mut HybridPublishStore, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            store.append(number, format!("frame {number}").as_bytes()).unwrap();
            assert!(store.in_memory() <= 10);
        }
    }

    #[test]
    fn the_oldest_go_to_the_file_and_everything_is_read_in_order() {
        let (mut store, _steps, _) = open(&SimDisk::new(1));
        append(&mut store, 1..=25);
        assert_eq!(numbers(&mut store, 0), (1..=25).collect::<Vec<_>>());
        // The 11th, the 18th and the 25th are one too many, and 4 stay each time.
        assert_eq!((store.len(), store.in_memory(), store.file.len()), (25, 4, 21));
    }

    #[test]
    fn what_is_discarded_in_either_place_is_gone() {
        let (mut store, _steps, _) = open(&SimDisk::new(1));
        append(&mut store, 1..=12);
        store.discard_up_to(3).unwrap();
        assert_eq!((store.lowest(), numbers(&mut store, 0)), (Some(4), (4..=12).collect()));
        store.discard_up_to(9).unwrap();
        assert_eq!((store.lowest(), numbers(&mut store, 11)), (Some(10), vec![11, 12]));
        store.discard_up_to(12).unwrap();
        assert_eq!((store.lowest(), store.len(), store.bytes()), (None, 0, 0));
    }

    #[test]
    fn while_servers_answer_the_file_does_not_grow() {
        let disk = SimDisk::new(1);
        let (mut store, steps, _) = open(&disk);
        let before = disk.writes_and_syncs();
        for number in 1..=1000 {
            append(&mut store, [number]);
            store.discard_up_to(number).unwrap();
            steps.step(true);
        }
        assert_eq!(disk.writes_and_syncs(), before);
    }

    #[test]
    fn closed_in_order_everything_is_there_again() {
        let disk = SimDisk::new(1);
        let (mut store, _steps, _) = open(&disk);
        append(&mut store, 1..=15);
        store.discard_up_to(2).unwrap();
        store.close().unwrap();
        let (mut store, _steps, known) = open(&disk);
        assert_eq!(known, Attached { last_used: 15, last_persisted: 2 });
        assert_eq!(numbers(&mut store, 0), (3..=15).collect::<Vec<_>>());
    }

    #[test]
    fn killed_it_has_the_older_part_and_uses_no_number_twice() {
        let disk = SimDisk::new(1);
        let (mut store, steps, _) = open(&disk);
        append(&mut store, 1..=15);
        assert!(store.may_leave() >= 15);
        steps.step(true);
        let (in_file, all) = (store.file.len() as u64, store.len());
        assert!(in_file > 0 && all == 15);
        disk.kill_process();
        let (mut again, _steps, known) = open(&disk);
        assert_eq!(numbers(&mut again, 0), (1..=in_file).collect::<Vec<_>>());
        assert!(known.last_used >= 15, "{known:?}");
    }
}
