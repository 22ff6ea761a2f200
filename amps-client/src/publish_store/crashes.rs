//! A file store on a disk that fails at every operation in turn, against a model of what it has
//! promised.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{FilePublishStore, Progress, PublishStore, SyncPolicy};
use crate::journal::{Settings, SimDisk, Step, Steps};
use crate::store_error::StoreError;

const PATH: &str = "orders.publish";
const INTERVAL: SyncPolicy = SyncPolicy::Interval(Duration::from_millis(10));

/// How a life of the process ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Process,
    Power,
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What was done, whatever became of it.
#[derive(Default)]
struct Model {
    accepted: BTreeMap<u64, Vec<u8>>,
    discarded: u64,
    /// Up to here the wire may have numbers.
    left: u64,
    /// Up to here the store said that messages outlive such a failure.
    safe: u64,
}

/// Runs one life and makes it end. Returns whether the disk has come to a stop in it.
fn live(disk: &SimDisk, model: &mut Model, policy: SyncPolicy, failure: Failure, draw: &mut Draw) -> bool {
    let outcome = open(disk, policy).and_then(|(mut store, steps)| {
        let known = store.attach("order-entry", Progress::new(|| {}))?;
        assert!(known.last_used >= model.left, "{} are used twice", model.left - known.last_used);
        assert!(known.last_persisted <= model.discarded);
        check_kept(&mut store, model);
        act(disk, &mut store, &steps, model, known.last_used, policy, failure, draw);
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

fn open(disk: &SimDisk, policy: SyncPolicy) -> Result<(FilePublishStore, Steps), StoreError> {
    let settings = Settings { rewrite_above: 1500, ..Settings::new(Arc::new(disk.clone()), policy) };
    FilePublishStore::with_settings(Path::new(PATH), settings)
}

/// What is there is a run of what was accepted, with all that was promised.
fn check_kept(store: &mut FilePublishStore, model: &mut Model) {
    let mut kept = BTreeMap::new();
    let read = store.read(0, &mut |number, frame| {
        kept.insert(number, frame.to_vec());
        true
    });
    read.unwrap();
    assert_eq!((store.len(), store.lowest()), (kept.len(), kept.keys().next().copied()));
    let first = kept.keys().next().copied().unwrap_or(model.discarded + 1);
    let end = kept.keys().next_back().map_or(first, |last| last + 1);
    if first > model.discarded {
        assert_eq!(model.accepted.range(model.discarded + 1..first).next(), None, "a hole at the front");
    }
    let run: BTreeMap<u64, Vec<u8>> =
        model.accepted.range(first..end).map(|(number, frame)| (*number, frame.clone())).collect();
    assert_eq!(kept, run);
    let lost = model.accepted.keys().rfind(|it| **it <= model.safe && **it > model.discarded && **it >= end);
    assert_eq!(lost, None, "safe up to {}", model.safe);
    // What is lost is lost: its number may have been on the wire, and is not used again.
    model.accepted = kept;
}

#[expect(clippy::too_many_arguments, reason = "all that one life is made of")]
fn act(
    disk: &SimDisk,
    store: &mut FilePublishStore,
    steps: &Steps,
    model: &mut Model,
    mut last: u64,
    policy: SyncPolicy,
    failure: Failure,
    draw: &mut Draw,
) {
    for _ in 0..100 {
        match draw.below(12) {
            0..=4 => {
                last += 1 + draw.below(2);
                let frame = vec![draw.below(256) as u8; draw.below(120) as usize];
                store.append(last, &frame).unwrap();
                model.accepted.insert(last, frame);
            }
            5 if last > 0 => {
                model.discarded = model.discarded.max(last.saturating_sub(draw.below(5)));
                store.discard_up_to(model.discarded).unwrap();
            }
            6 => disk.set_room([None, Some(900)][draw.below(2) as usize]),
            7 => disk.refuse_syncs(draw.below(3) == 0),
            _ => {
                steps.step(draw.below(3) == 0);
            }
        }
        model.left = model.left.max(store.may_leave().min(last));
        if failure == Failure::Process || policy == SyncPolicy::EveryWrite {
            model.safe = model.safe.max(store.safe().min(last));
        }
    }
    disk.set_room(None);
    disk.refuse_syncs(false);
    if draw.below(3) == 0 && store.close().is_ok() {
        model.safe = last;
        model.left = last;
    }
}

#[test]
fn whenever_the_process_dies_or_the_power_fails_everything_that_was_promised_holds() {
    for policy in [SyncPolicy::Never, INTERVAL, SyncPolicy::EveryWrite] {
        for failure in [Failure::Process, Failure::Power] {
            for seed in 0..12 {
                for at in 0.. {
                    let disk = SimDisk::new(seed * 1000 + at);
                    let (mut model, mut draw) = (Model::default(), Draw(seed));
                    live(&disk, &mut model, policy, failure, &mut draw);
                    disk.stop_after(at);
                    let stopped = live(&disk, &mut model, policy, failure, &mut draw);
                    live(&disk, &mut model, policy, failure, &mut draw);
                    live(&disk, &mut model, policy, failure, &mut draw);
                    if !stopped {
                        assert!(at > 10, "hardly anything is done to the disk");
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_are_not_used_twice_although_messages_left_before_they_were_written() {
    let disk = SimDisk::new(1);
    let (mut store, _steps) = open(&disk, INTERVAL).unwrap();
    assert_eq!(store.attach("order-entry", Progress::new(|| {})).unwrap().last_used, 0);
    for number in 1..=5 {
        assert!(store.may_leave() >= number);
        store.append(number, b"on its way").unwrap();
    }
    disk.cut_power();
    let (mut store, _steps) = open(&disk, INTERVAL).unwrap();
    let known = store.attach("order-entry", Progress::new(|| {})).unwrap();
    assert!(store.is_empty());
    assert!(known.last_used >= 5, "{known:?}");
    let next = known.last_used + 1;
    assert!(store.may_leave() >= next);
    store.append(next, b"after the crash").unwrap();
    store.close().unwrap();
    // In order it goes on without a gap.
    let (mut store, _steps) = open(&disk, INTERVAL).unwrap();
    assert_eq!(store.attach("order-entry", Progress::new(|| {})).unwrap().last_used, next);
}

#[test]
fn numbers_beyond_a_block_leave_once_the_next_block_is_on_the_disk() {
    let disk = SimDisk::new(1);
    let (mut store, steps) = open(&disk, SyncPolicy::Never).unwrap();
    store.attach("order-entry", Progress::new(|| {})).unwrap();
    let block = store.may_leave();
    store.append(block + 1, b"far ahead").unwrap();
    assert_eq!(store.may_leave(), block);
    assert_eq!((steps.step(false), store.may_leave()), (Step::Done, block));
    assert_eq!(steps.step(false), Step::Done);
    assert!(store.may_leave() > block);
}

#[test]
fn with_a_force_before_each_publish_nothing_leaves_before_it() {
    let disk = SimDisk::new(1);
    let (mut store, steps) = open(&disk, SyncPolicy::EveryWrite).unwrap();
    store.attach("order-entry", Progress::new(|| {})).unwrap();
    for number in 1..=100 {
        store.append(number, b"a frame").unwrap();
    }
    let before = disk.writes_and_syncs();
    assert_eq!((store.may_leave(), store.safe()), (0, 0));
    assert_eq!((steps.step(false), store.may_leave()), (Step::Done, 0));
    assert_eq!((steps.step(false), store.may_leave(), store.safe()), (Step::Done, 100, 100));
    let after = disk.writes_and_syncs();
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1), "all of them share one write and one force");
    disk.cut_power();
    let (mut store, _steps) = open(&disk, SyncPolicy::EveryWrite).unwrap();
    assert_eq!(store.attach("order-entry", Progress::new(|| {})).unwrap().last_used, 100);
    assert_eq!(store.len(), 100);
}

#[test]
fn on_a_full_disk_what_was_accepted_is_kept_until_there_is_room() {
    let disk = SimDisk::new(1);
    let (mut store, steps) = open(&disk, SyncPolicy::EveryWrite).unwrap();
    store.attach("order-entry", Progress::new(|| {})).unwrap();
    let before = disk.contents(Path::new(PATH)).unwrap();
    disk.set_room(Some(before.len() as u64 + 20));
    for number in 1..=10 {
        store.append(number, format!("message {number}").as_bytes()).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(steps.step(false), Step::Failed);
        assert!(matches!(store.trouble(), Some(StoreError::Full { .. })), "{:?}", store.trouble());
        assert_eq!(disk.contents(Path::new(PATH)).unwrap(), before, "no half of a burst is left");
    }
    assert_eq!((store.may_leave(), store.len()), (0, 10));
    let mut seen = Vec::new();
    let read = store.read(9, &mut |number, frame| {
        seen.push((number, frame.to_vec()));
        true
    });
    read.unwrap();
    assert_eq!(seen, [(9, b"message 9".to_vec()), (10, b"message 10".to_vec())]);
    disk.set_room(None);
    while steps.step(false) == Step::Done {}
    assert!(store.trouble().is_none());
    assert_eq!(store.may_leave(), 10);
    disk.cut_power();
    let (mut store, _steps) = open(&disk, SyncPolicy::EveryWrite).unwrap();
    store.attach("order-entry", Progress::new(|| {})).unwrap();
    assert_eq!(store.len(), 10);
}

#[test]
fn after_a_force_that_failed_only_a_new_file_counts() {
    let disk = SimDisk::new(3);
    let (mut store, steps) = open(&disk, SyncPolicy::EveryWrite).unwrap();
    store.attach("order-entry", Progress::new(|| {})).unwrap();
    store.append(1, b"first").unwrap();
    disk.refuse_syncs(true);
    assert_eq!((steps.step(false), steps.step(false)), (Step::Done, Step::Failed));
    assert_eq!(store.may_leave(), 0);
    disk.refuse_syncs(false);
    while steps.step(false) != Step::Nothing {}
    assert!(store.trouble().is_none());
    assert_eq!(store.may_leave(), 1);
    disk.cut_power();
    let (mut store, _steps) = open(&disk, SyncPolicy::EveryWrite).unwrap();
    store.attach("order-entry", Progress::new(|| {})).unwrap();
    assert_eq!(store.len(), 1);
}

/// WF-5: what was refused stays as long as something before it is kept, also in a file that is written anew, and
/// the next process knows it.
#[test]
fn what_was_refused_is_known_after_a_restart_until_it_is_discarded() {
    let disk = SimDisk::new(3);
    let mut refused = Vec::new();
    for life in 0..3_u64 {
        let (mut store, steps) = open(&disk, SyncPolicy::Never).unwrap();
        store.attach("order-entry", Progress::new(|| {})).unwrap();
        assert_eq!(store.refused(), refused);
        let first = life * 3_000_000 + 1;
        // The first one is open to the end of its life; what is dead before it makes the file worth a new one.
        store.discard_up_to(first - 1).unwrap();
        assert_eq!(store.refused(), [0; 0]);
        (first..first + 100).for_each(|number| store.append(number, &[b'x'; 100]).unwrap());
        store.discard_up_to(first + 49).unwrap();
        refused = vec![first + 70, first + 99];
        for number in [first + 3, first + 70, first + 99, first + 70] {
            store.refuse(number).unwrap();
        }
        assert_eq!(store.refused(), refused, "{} is gone already", first + 3);
        while steps.step(false) != Step::Nothing {}
        if life == 1 {
            store.close().unwrap();
        } else {
            disk.kill_process();
        }
    }
}
