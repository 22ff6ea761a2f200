//! The log, with an owner that only remembers.

use std::path::Path;
use std::sync::Arc;

use super::{Journal, Log, Owner, Records, Settings, SimDisk, Step, Steps, StoreKind};
use crate::publish_store::SyncPolicy;
use crate::store_error::StoreError;

const PATH: &str = "log";
const ENTRY: u8 = 1;

#[derive(Default)]
struct Remembers(Vec<Vec<u8>>);

impl Owner for Remembers {
    fn replay(&mut self, _position: u64, kind: u8, payload: &[u8]) -> Result<(), String> {
        self.0.push(payload.to_vec());
        if kind == ENTRY { Ok(()) } else { Err(format!("kind {kind}")) }
    }

    fn live_bytes(&self, end: u64) -> u64 {
        end
    }

    fn snapshot(&mut self, _records: &mut Records, end: u64) -> u64 {
        end
    }
}

fn open(disk: &SimDisk, policy: SyncPolicy) -> Result<(Journal<Remembers>, Steps), StoreError> {
    let settings = Settings { thread: false, ..Settings::new(Arc::new(disk.clone()), policy) };
    let journal = Journal::open(Path::new(PATH), StoreKind::Bookmark, Remembers::default(), settings)?;
    let steps = journal.steps();
    Ok((journal, steps))
}

/// Appends, and returns when it is as safe as the policy demands.
fn settle(journal: &Journal<Remembers>, entry: &[u8]) -> Result<(), StoreError> {
    journal.settle(|_, log| log.append(ENTRY, &[entry]).map(drop))
}

fn append(journal: &Journal<Remembers>, entry: &[u8]) -> u64 {
    journal.with(|_, log: &mut Log<'_>| {
        log.append(ENTRY, &[entry]).unwrap();
        log.end()
    })
}

/// A log of ten entries, of which so many were noted as forced.
fn log_of_ten(forced: usize) -> (SimDisk, Vec<u8>) {
    let disk = SimDisk::new(5);
    let (journal, steps) = open(&disk, SyncPolicy::Never).unwrap();
    journal.attach("a", || {}, |_, _| Ok(())).unwrap();
    for number in 0..10 {
        if number == forced {
            journal.with(|_, log| log.demand_sync());
            while steps.step(false) != Step::Nothing {}
        }
        append(&journal, format!("entry {number}").as_bytes());
        steps.step(false);
    }
    let bytes = disk.contents(Path::new(PATH)).unwrap();
    disk.kill_process();
    (disk, bytes)
}

#[test]
fn who_waits_for_the_disk_takes_the_steps_where_there_is_no_thread() {
    let disk = SimDisk::new(5);
    let (journal, _steps) = open(&disk, SyncPolicy::EveryWrite).unwrap();
    journal.attach("a", || {}, |_, _| Ok(())).unwrap();
    settle(&journal, b"an entry").unwrap();
    disk.cut_power();
    let (journal, _steps) = open(&disk, SyncPolicy::EveryWrite).unwrap();
    assert_eq!(journal.with(|owner, _| owner.0.clone()), [b"an entry"]);
    journal.attach("a", || {}, |_, _| Ok(())).unwrap();
    disk.set_room(Some(0));
    assert!(matches!(settle(&journal, b"another"), Err(StoreError::Full { .. })));
}

#[test]
fn pages_that_never_came_to_the_disk_are_a_torn_tail() {
    for hole in 4..9 {
        let (disk, mut bytes) = log_of_ten(4);
        let at = bytes.windows(7).position(|it| it == format!("entry {hole}").as_bytes()).unwrap();
        bytes[at - 9..at + 7].fill(0);
        disk.put(Path::new(PATH), &bytes);
        let (journal, _steps) = open(&disk, SyncPolicy::Never).unwrap();
        assert_eq!(journal.with(|owner, _| owner.0.len()), hole);
        journal.attach("a", || {}, |_, _| Ok(())).unwrap();
        let end = append(&journal, b"goes on");
        journal.close(|_, _| Ok(())).unwrap();
        let (journal, _steps) = open(&disk, SyncPolicy::Never).unwrap();
        assert_eq!(journal.with(|owner, _| owner.0.last().cloned()), Some(b"goes on".to_vec()));
        assert!(journal.with(|_, log| log.end()) >= end);
    }
}

#[test]
fn a_hole_in_what_was_forced_is_damage() {
    for hole in 0..4 {
        let (disk, mut bytes) = log_of_ten(4);
        let at = bytes.windows(7).position(|it| it == format!("entry {hole}").as_bytes()).unwrap();
        bytes[at - 9..at + 7].fill(0);
        disk.put(Path::new(PATH), &bytes);
        match open(&disk, SyncPolicy::Never).map(|_| ()) {
            Err(StoreError::Corrupt { offset, .. }) => assert_eq!(offset, at as u64 - 9),
            other => panic!("{other:?}"),
        }
        assert_eq!(disk.contents(Path::new(PATH)).unwrap(), bytes);
    }
}

#[test]
fn a_record_that_its_store_does_not_understand_is_damage() {
    let disk = SimDisk::new(5);
    let (journal, _steps) = open(&disk, SyncPolicy::Never).unwrap();
    journal.attach("a", || {}, |_, log| log.append(7, &[b"?"]).map(|_| ())).unwrap();
    journal.close(|_, _| Ok(())).unwrap();
    let error = open(&disk, SyncPolicy::Never).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("kind 7"), "{error}");
}

#[test]
fn a_burst_is_one_write_however_many_records_it_has() {
    let disk = SimDisk::new(5);
    let (journal, steps) = open(&disk, SyncPolicy::Never).unwrap();
    journal.attach("a", || {}, |_, _| Ok(())).unwrap();
    let before = disk.writes_and_syncs();
    for _ in 0..1000 {
        append(&journal, b"an entry");
    }
    while steps.step(false) != Step::Nothing {}
    let after = disk.writes_and_syncs();
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 0));
}

#[test]
fn what_a_dead_process_left_beside_the_file_is_removed() {
    let (disk, _) = log_of_ten(0);
    disk.put(Path::new("log.new"), b"half a file");
    let (journal, _steps) = open(&disk, SyncPolicy::Never).unwrap();
    assert!(disk.contents(Path::new("log.new")).is_some(), "nothing is changed before it is used");
    journal.attach("a", || {}, |_, _| Ok(())).unwrap();
    assert!(disk.contents(Path::new("log.new")).is_none());
}
