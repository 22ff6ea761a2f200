//! A bookmark store in a file on a disk that fails at every operation in turn, beside a server
//! that replays its log from wherever the store says.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use super::*;
use crate::journal::{Disk, DiskFile, SimDisk, Step, Steps};

const PATH: &str = "orders.bookmarks";
const SUB: &str = "orders-1";
const INTERVAL: SyncPolicy = SyncPolicy::Interval(Duration::from_millis(10));

/// How a life of the process ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Process,
    Power,
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// The server's log: three publishers, whose numbers have gaps.
fn log() -> Vec<MessageId> {
    let mut last = [0; 3];
    let mut draw = Draw(11);
    let message = |_| {
        let publisher = draw.below(3);
        last[publisher] += 1 + draw.below(3) as u64;
        MessageId { publisher: 10 + publisher as u64, sequence: last[publisher] }
    };
    (0..400).map(message).collect()
}

/// What the application did, whatever became of it; places in the log.
#[derive(Default)]
struct Model {
    discarded: BTreeSet<usize>,
    /// It must not be bothered with these again.
    safe: BTreeSet<usize>,
}

fn open(disk: &SimDisk, policy: SyncPolicy) -> Result<(FileBookmarkStore, Steps), StoreError> {
    disk.bookmark_store_that_shrinks(Path::new(PATH), policy, Some(1500))
}

/// Where a server begins: behind the oldest of those that are listed.
fn start(log: &[MessageId], point: &RecoveryPoint) -> usize {
    let behind = |entry: &str| {
        let message = MessageId::parse(entry.as_bytes()).unwrap();
        1 + log.iter().position(|it| *it == message).unwrap()
    };
    if point.progress { point.bookmark.split(',').map(behind).min().unwrap() } else { 0 }
}

/// Runs one life and makes it end. Returns whether the disk has come to a stop in it.
fn live(disk: &SimDisk, model: &mut Model, policy: SyncPolicy, failure: Failure, draw: &mut Draw) -> bool {
    let outcome = open(disk, policy).and_then(|(store, steps)| {
        store.attach("order-worker")?;
        act(disk, &store, &steps, model, policy, failure, draw);
        Ok(store)
    });
    let stopped = disk.has_stopped();
    assert!(stopped || outcome.is_ok(), "{:?}", outcome.err());
    match failure {
        Failure::Process => disk.kill_process(),
        Failure::Power => disk.cut_power(),
    }
    drop(outcome);
    stopped
}

fn act(
    disk: &SimDisk,
    store: &FileBookmarkStore,
    steps: &Steps,
    model: &mut Model,
    policy: SyncPolicy,
    failure: Failure,
    draw: &mut Draw,
) {
    let log = log();
    let point = store.recovery_point(SUB);
    let mut next = start(&log, &point);
    let skipped = (0..next).find(|place| !model.discarded.contains(place));
    assert_eq!(skipped, None, "{point:?} is beyond what was discarded");
    let mut open = Vec::new();
    // What the store knows in this life to be discarded. What was lost, and has not come again, it does not.
    let mut known = BTreeSet::new();
    for _ in 0..250 {
        match draw.below(14) {
            0..=5 if next < log.len() => {
                match store.arrived(SUB, log[next]).unwrap() {
                    Arrival::New => {
                        assert!(!model.safe.contains(&next), "{} comes again", log[next]);
                        open.push(next);
                    }
                    Arrival::Duplicate => {
                        assert!(model.discarded.contains(&next), "{} is lost", log[next]);
                        known.insert(next);
                    }
                }
                next += 1;
            }
            6..=9 if !open.is_empty() => {
                // Mostly the first, so that there is progress.
                let at = if draw.below(3) == 0 { draw.below(open.len()) } else { 0 };
                let place = open.remove(at);
                model.discarded.insert(place);
                known.insert(place);
                let done = store.discard(SUB, log[place]).is_ok();
                let safe = done && (policy == SyncPolicy::EveryWrite || failure == Failure::Process);
                if safe {
                    model.safe.insert(place);
                }
            }
            10 if next > 0 => {
                let _later = store.persisted(SUB, log[draw.below(next)]);
            }
            11 => disk.set_room([None, Some(900)][draw.below(2)]),
            12 => disk.refuse_syncs(draw.below(3) == 0),
            _ => {
                let step = steps.step(true);
                let all_there = step == Step::Nothing && store.journal.trouble().is_none();
                if all_there && (failure == Failure::Process || policy == INTERVAL) && !disk.has_stopped() {
                    model.safe.extend(&known);
                }
            }
        }
    }
    disk.set_room(None);
    disk.refuse_syncs(false);
    if draw.below(3) == 0 && store.close().is_ok() {
        model.safe.extend(known);
    }
}

/// P6, BM-25
#[test]
fn whenever_the_process_dies_or_the_power_fails_nothing_is_skipped_and_nothing_that_is_safe_comes_again() {
    let mut lives = 0;
    for policy in [SyncPolicy::Never, INTERVAL, SyncPolicy::EveryWrite] {
        for failure in [Failure::Process, Failure::Power] {
            for seed in 0..4 {
                for at in 0.. {
                    let disk = SimDisk::new(seed * 1000 + at);
                    let (mut model, mut draw) = (Model::default(), Draw(seed));
                    live(&disk, &mut model, policy, failure, &mut draw);
                    disk.stop_after(at);
                    let stopped = live(&disk, &mut model, policy, failure, &mut draw);
                    live(&disk, &mut model, policy, failure, &mut draw);
                    live(&disk, &mut model, policy, failure, &mut draw);
                    lives += 4;
                    if !stopped {
                        assert!(at > 10, "hardly anything is done to the disk");
                        break;
                    }
                }
            }
        }
    }
    assert!(lives > 1000, "{lives}");
}

/// BM-21, BM-25: the file ends anywhere, also within a record.
#[test]
fn wherever_the_file_ends_what_is_before_counts() {
    let disk = SimDisk::new(1);
    let (store, steps) = open(&disk, SyncPolicy::Never).unwrap();
    store.attach("order-worker").unwrap();
    let log = log();
    for message in &log[..40] {
        store.arrived(SUB, *message).unwrap();
    }
    // How long the file is when these are discarded.
    let mut ends = Vec::new();
    let mut draw = Draw(5);
    let mut unfinished: Vec<usize> = (0..40).collect();
    while !unfinished.is_empty() {
        let place = unfinished.remove(draw.below(unfinished.len().min(4)));
        store.discard(SUB, log[place]).unwrap();
        let end = store.journal.with(|_, log| log.end());
        ends.push((store.journal.offset(end) as usize, place));
    }
    while steps.step(false) != Step::Nothing {}
    let bytes = disk.contents(Path::new(PATH)).unwrap();
    drop(store);
    let header_len = bytes.len() - (ends[39].0 - store_header_end(&bytes));
    for end in header_len..=bytes.len() {
        let disk = SimDisk::new(1);
        disk.put(Path::new(PATH), &bytes[..end]);
        let (store, _steps) = open(&disk, SyncPolicy::Never).unwrap();
        store.attach("order-worker").unwrap();
        let whole: BTreeSet<usize> = ends.iter().filter(|it| it.0 <= end).map(|it| it.1).collect();
        let begun: BTreeSet<usize> = ends.iter().take(whole.len() + 1).map(|it| it.1).collect();
        let next = start(&log, &store.recovery_point(SUB));
        assert!((0..next).all(|place| begun.contains(&place)), "{end}");
        for (place, message) in log.iter().enumerate().take(40).skip(next) {
            let arrival = store.arrived(SUB, *message).unwrap();
            assert!(arrival == Arrival::Duplicate || !whole.contains(&place), "{message} comes again");
            assert!(arrival == Arrival::New || begun.contains(&place), "{message} is lost");
        }
    }
}

/// Where the first record begins.
fn store_header_end(bytes: &[u8]) -> usize {
    // In front of the first record, which names the subscription: its length, checksum, kind and number.
    let name = bytes.windows(SUB.len()).position(|it| it == SUB.as_bytes()).unwrap();
    name - 4 - 1 - 8
}

#[test]
fn a_file_that_is_mostly_dead_is_written_anew_and_knows_the_same() {
    let disk = SimDisk::new(1);
    let (store, steps) = open(&disk, SyncPolicy::Never).unwrap();
    store.attach("order-worker").unwrap();
    store.begin("other", "20240101T000000").unwrap();
    let message = |sequence| MessageId { publisher: 7, sequence };
    store.arrived(SUB, message(1)).unwrap();
    for sequence in 2..=300 {
        store.arrived("busy", message(sequence)).unwrap();
        store.discard("busy", message(sequence)).unwrap();
        if sequence <= 10 {
            store.arrived(SUB, message(sequence)).unwrap();
            store.discard(SUB, message(sequence)).unwrap();
        }
        while steps.step(false) != Step::Nothing {}
    }
    store.purge_sub("gone").unwrap();
    let len = disk.contents(Path::new(PATH)).unwrap().len();
    assert!(len < 3000, "{len} bytes");
    disk.kill_process();
    drop(store);
    let (store, _steps) = open(&disk, SyncPolicy::Never).unwrap();
    store.attach("order-worker").unwrap();
    let points = [SUB, "other", "busy", "gone"].map(|sub| store.recovery_point(sub).bookmark);
    assert_eq!(points, ["", "20240101T000000", "7|300|", ""]);
    assert_eq!(store.arrived(SUB, message(1)).unwrap(), Arrival::New);
    for sequence in 2..=10 {
        assert_eq!(store.arrived(SUB, message(sequence)).unwrap(), Arrival::Duplicate);
    }
}

#[test]
fn on_a_full_disk_the_store_goes_on_and_says_so() {
    let disk = SimDisk::new(1);
    let (store, steps) = open(&disk, SyncPolicy::Never).unwrap();
    store.attach("order-worker").unwrap();
    let message = |sequence| MessageId { publisher: 7, sequence };
    for sequence in 1..=4 {
        store.arrived(SUB, message(sequence)).unwrap();
    }
    disk.set_room(Some(disk.contents(Path::new(PATH)).unwrap().len() as u64 + 10));
    for sequence in [1, 2] {
        let told = store.discard(SUB, message(sequence));
        assert!(matches!(told, Err(StoreError::Full { .. })), "{told:?}");
    }
    assert_eq!(steps.step(false), Step::Failed);
    assert_eq!(store.recovery_point(SUB).bookmark, "7|2|", "it counts all the same");
    disk.set_room(None);
    while steps.step(false) != Step::Nothing {}
    store.discard(SUB, message(3)).unwrap();
    while steps.step(false) != Step::Nothing {}
    disk.kill_process();
    drop(store);
    let (store, _steps) = open(&disk, SyncPolicy::Never).unwrap();
    assert_eq!(store.recovery_point(SUB).bookmark, "7|3|");
}

/// A disk on which forcing takes as long as the gate is shut.
#[derive(Clone)]
struct Gated(SimDisk, Arc<(Mutex<Gate>, Condvar)>);

#[derive(Default)]
struct Gate {
    shut: bool,
    waiting: usize,
}

struct GatedFile(Arc<dyn DiskFile>, Gated);

impl Gated {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(GatedFile(file, self.clone()))
    }

    fn shut(&self, shut: bool) {
        self.1.0.lock().unwrap().shut = shut;
        self.1.1.notify_all();
    }

    /// Until somebody stands at the gate.
    fn await_somebody(&self) {
        let (gate, changed) = &*self.1;
        drop(changed.wait_while(gate.lock().unwrap(), |gate| gate.waiting == 0).unwrap());
    }
}

impl Disk for Gated {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.0.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.0.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_directory(&self, of: &Path) -> io::Result<()> {
        self.0.sync_directory(of)
    }
}

impl DiskFile for GatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let (gate, changed) = &*self.1.1;
        let mut gate = gate.lock().unwrap();
        gate.waiting += 1;
        changed.notify_all();
        let mut gate = changed.wait_while(gate, |gate| gate.shut).unwrap();
        gate.waiting -= 1;
        drop(gate);
        self.0.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

/// BM-25
#[test]
fn what_is_discarded_while_the_disk_is_busy_outlives_the_process() {
    let disk = Gated(SimDisk::new(1), Arc::default());
    let policy = SyncPolicy::Interval(Duration::from_millis(1));
    let store =
        FileBookmarkStore::with_settings(Path::new(PATH), Settings::new(Arc::new(disk.clone()), policy))
            .unwrap();
    store.attach("order-worker").unwrap();
    let message = |sequence| MessageId { publisher: 7, sequence };
    for sequence in 1..=100 {
        store.arrived(SUB, message(sequence)).unwrap();
    }
    disk.shut(true);
    store.discard(SUB, message(1)).unwrap();
    disk.await_somebody();
    let (before, _) = disk.0.writes_and_syncs();
    std::thread::scope(|scope| {
        for first in 0..3 {
            let store = &store;
            scope.spawn(move || {
                for sequence in (2..=100).filter(|sequence| sequence % 3 == first) {
                    store.discard(SUB, message(sequence)).unwrap();
                }
            });
        }
    });
    assert!(disk.0.writes_and_syncs().0 > before, "they have not waited for the force");
    disk.0.kill_process();
    disk.shut(false);
    let (again, _steps) = disk.0.bookmark_store(Path::new(PATH), policy).unwrap();
    assert_eq!(again.recovery_point(SUB).bookmark, "7|100|");
}

/// The new file takes the place of the old one while other threads write.
#[test]
fn a_file_that_is_written_anew_meanwhile_loses_no_discard() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let settings = Settings::new(Arc::new(disk.clone()), SyncPolicy::Never);
        let settings = Settings { rewrite_above: 1000, ..settings };
        let store = FileBookmarkStore::with_settings(Path::new(PATH), settings).unwrap();
        store.attach("order-worker").unwrap();
        let len = || disk.contents(Path::new(PATH)).unwrap().len();
        let enough = AtomicBool::new(false);
        let last: Vec<u64> = std::thread::scope(|scope| {
            let threads = (1..=4).map(|publisher| {
                let (store, enough) = (&store, &enough);
                scope.spawn(move || {
                    let mut sequence = 0;
                    while !enough.load(Ordering::Relaxed) {
                        sequence += 1;
                        let message = MessageId { publisher, sequence };
                        store.arrived(SUB, message).unwrap();
                        store.discard(SUB, message).unwrap();
                    }
                    sequence
                })
            });
            let threads: Vec<_> = threads.collect();
            // Until it was written anew a few times.
            for _ in 0..3 {
                let mut before = len();
                loop {
                    let now = len();
                    if now < before {
                        break;
                    }
                    before = now;
                    std::thread::yield_now();
                }
            }
            enough.store(true, Ordering::Relaxed);
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        disk.kill_process();
        drop(store);
        let (store, _steps) = disk.bookmark_store(Path::new(PATH), SyncPolicy::Never).unwrap();
        let point = store.recovery_point(SUB).bookmark;
        let mut points: Vec<&str> = point.split(',').collect();
        points.sort_unstable();
        let expected: Vec<String> =
            (1..).zip(last).map(|(publisher, last)| format!("{publisher}|{last}|")).collect();
        assert_eq!(points, expected);
    }
}

#[test]
fn threads_that_discard_at_the_same_time_share_a_force_and_return_after_it() {
    const THREADS: u64 = 16;
    let disk = Gated(SimDisk::new(1), Arc::default());
    let settings = Settings::new(Arc::new(disk.clone()), SyncPolicy::EveryWrite);
    let store = FileBookmarkStore::with_settings(Path::new(PATH), settings).unwrap();
    store.attach("order-worker").unwrap();
    let message = |sequence| MessageId { publisher: 7, sequence };
    for sequence in 0..=THREADS {
        store.arrived(SUB, message(sequence)).unwrap();
    }
    let (_, before) = disk.0.writes_and_syncs();
    disk.shut(true);
    let returned = Mutex::new(0);
    std::thread::scope(|scope| {
        let discard = |sequence| {
            store.discard(SUB, message(sequence)).unwrap();
            *returned.lock().unwrap() += 1;
        };
        scope.spawn(move || discard(0));
        disk.await_somebody();
        for sequence in 1..=THREADS {
            scope.spawn(move || discard(sequence));
        }
        while store.open_messages(SUB) > 0 {
            std::thread::yield_now();
        }
        let early = *returned.lock().unwrap();
        disk.shut(false);
        assert_eq!(early, 0, "none is on the disk");
    });
    assert_eq!(disk.0.writes_and_syncs().1 - before, 2, "one for the first, one for all the others");
    disk.0.cut_power();
    let (store, _steps) = disk.0.bookmark_store(Path::new(PATH), SyncPolicy::EveryWrite).unwrap();
    assert_eq!(store.recovery_point(SUB).bookmark, format!("7|{THREADS}|"));
}
