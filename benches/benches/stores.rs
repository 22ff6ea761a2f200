//! Stores, for people: `cargo bench -p benches --bench stores`. What they measure is also the disk
//! that holds the system's temporary directory: look at the floor, which appends and forces without a store.
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use amps_client::bookmarks::MessageId;
use amps_client::{
    BookmarkStore, FileBookmarkStore, FilePublishStore, MemoryBookmarkStore, MemoryPublishStore, Progress,
    PublishStore, SyncPolicy,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const FRAME: [u8; 128] = [b'x'; 128];
const MESSAGES: u64 = 200_000;
/// A discard in a bookmark store's file.
const RECORD: usize = 29;
const THREADS: u64 = 32;
const EACH: u64 = 50;

/// A store, and whoever waits for it.
#[derive(Default)]
struct Waiting {
    store: Mutex<Option<Box<dyn PublishStore>>>,
    told: Condvar,
}

impl Waiting {
    fn new(store: impl PublishStore) -> Arc<Self> {
        let waiting = Arc::new(Self { store: Mutex::new(Some(Box::new(store))), told: Condvar::new() });
        let told = Arc::downgrade(&waiting);
        let progress = Progress::new(move || {
            if let Some(waiting) = told.upgrade() {
                let _guard = waiting.store.lock().unwrap();
                waiting.told.notify_all();
            }
        });
        waiting.store.lock().unwrap().as_mut().unwrap().attach("bench", progress).unwrap();
        waiting
    }

    fn with<R>(&self, act: impl FnOnce(&mut dyn PublishStore) -> R) -> R {
        act(&mut **self.store.lock().unwrap().as_mut().unwrap())
    }

    fn wait_safe(&self, number: u64) {
        let mut guard = self.store.lock().unwrap();
        while guard.as_ref().unwrap().safe() < number {
            guard = self.told.wait(guard).unwrap();
        }
    }
}

/// Appends so many, waits until all are safe, and forgets them.
fn burst(waiting: &Waiting, next: &mut u64) -> Duration {
    let began = Instant::now();
    let last = *next + MESSAGES - 1;
    for number in *next..=last {
        waiting.with(|store| store.append(number, &FRAME).unwrap());
    }
    waiting.wait_safe(last);
    let took = began.elapsed();
    waiting.with(|store| store.discard_up_to(last).unwrap());
    *next = last + 1;
    took
}

/// Many threads, each of which waits for the disk after each message.
fn patient(waiting: &Waiting, next: &Mutex<u64>) -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let mut next = next.lock().unwrap();
                    let number = *next;
                    *next += 1;
                    waiting.with(|store| store.append(number, &FRAME).unwrap());
                    drop(next);
                    waiting.wait_safe(number);
                }
            });
        }
    });
    let took = began.elapsed();
    let last = *next.lock().unwrap() - 1;
    waiting.with(|store| store.discard_up_to(last).unwrap());
    took
}

fn open(path: &Path, policy: SyncPolicy) -> FilePublishStore {
    FilePublishStore::builder(path).sync(policy).open().unwrap()
}

fn appending(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let mut group = c.benchmark_group("append until safe, 128 bytes");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(10);
    let policies = [
        ("never forced", SyncPolicy::Never),
        ("forced every 10 ms", SyncPolicy::Interval(Duration::from_millis(10))),
        ("forced before anything leaves", SyncPolicy::EveryWrite),
    ];
    let memory = Waiting::new(MemoryPublishStore::new());
    let mut next = 1;
    group.bench_function("memory", |b| {
        b.iter_custom(|n| (0..n).map(|_| burst(&memory, &mut next)).sum());
    });
    for (name, policy) in policies {
        let waiting = Waiting::new(open(&directory.path().join(name), policy));
        let mut next = 1;
        group.bench_function(name, |b| {
            b.iter_custom(|n| (0..n).map(|_| burst(&waiting, &mut next)).sum());
        });
    }
    group.finish();

    let mut group = c.benchmark_group("each message on the disk before the next");
    group.sample_size(10).throughput(Throughput::Elements(1));
    let mut file = File::create(directory.path().join("floor")).unwrap();
    group.bench_function("floor: write and sync", |b| {
        b.iter(|| {
            file.write_all(&FRAME).unwrap();
            file.sync_data().unwrap();
        });
    });
    let waiting = Waiting::new(open(&directory.path().join("patient"), SyncPolicy::EveryWrite));
    let next = Mutex::new(1);
    group.throughput(Throughput::Elements(THREADS * EACH));
    group.bench_function(format!("{THREADS} threads"), |b| {
        b.iter_custom(|n| (0..n).map(|_| patient(&waiting, &next)).sum());
    });
    group.finish();
}

fn opening(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orders");
    let mut store = open(&path, SyncPolicy::Never);
    store.attach("bench", Progress::new(|| {})).unwrap();
    (1..=1 << 20).for_each(|number| store.append(number, &FRAME).unwrap());
    store.close().unwrap();
    drop(store);
    let mut group = c.benchmark_group("open a log of 1,048,576 messages of 128 bytes");
    group.throughput(Throughput::Bytes(std::fs::metadata(&path).unwrap().len())).sample_size(10);
    group.bench_function("open", |b| b.iter(|| assert_eq!(open(&path, SyncPolicy::Never).len(), 1 << 20)));
    group.finish();
}

/// So many messages arrive and are discarded in turn.
fn discards(store: &impl BookmarkStore, next: &mut u64) -> Duration {
    let first = *next;
    *next += MESSAGES;
    let began = Instant::now();
    for sequence in first..*next {
        let message = MessageId { publisher: 7, sequence };
        store.arrived("orders", message).unwrap();
        store.discard("orders", message).unwrap();
    }
    began.elapsed()
}

fn discarding(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let mut group = c.benchmark_group("a message arrives and is discarded");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(10);
    let file = File::create(directory.path().join("floor")).unwrap();
    let mut offset = 0;
    group.bench_function("floor: one write of a record", |b| {
        b.iter(|| {
            for _ in 0..MESSAGES {
                file.write_all_at(&FRAME[..RECORD], offset).unwrap();
                offset += RECORD as u64;
            }
        });
    });
    let memory = MemoryBookmarkStore::new();
    memory.attach("bench").unwrap();
    let mut next = 1;
    group.bench_function("memory", |b| b.iter_custom(|n| (0..n).map(|_| discards(&memory, &mut next)).sum()));
    for (name, policy) in [
        ("never forced", SyncPolicy::Never),
        ("forced every second", SyncPolicy::Interval(Duration::from_secs(1))),
    ] {
        let store = FileBookmarkStore::builder(directory.path().join(name)).sync(policy).open().unwrap();
        store.attach("bench").unwrap();
        let mut next = 1;
        group.bench_function(name, |b| b.iter_custom(|n| (0..n).map(|_| discards(&store, &mut next)).sum()));
    }
    group.finish();
}

criterion_group!(all, appending, opening, discarding);
criterion_main!(all);
