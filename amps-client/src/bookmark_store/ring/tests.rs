//! Entries that are torn, and a disk that fails at every operation in turn.

use super::*;
use crate::journal::SimDisk;

const PATH: &str = "orders.ring";

const fn message(sequence: u64) -> MessageId {
    MessageId { publisher: 7, sequence }
}

fn open(disk: &SimDisk, slots: u32) -> Result<RingBookmarkStore, StoreError> {
    let ring = Arc::new(Ring::open(Path::new(PATH), slots, Arc::new(disk.clone()))?);
    Ok(RingBookmarkStore { memory: MemoryBookmarkStore::new().with_adapter(Arc::clone(&ring)), ring })
}

fn attached(disk: &SimDisk, slots: u32) -> RingBookmarkStore {
    let store = open(disk, slots).unwrap();
    store.attach("order-worker").unwrap();
    store
}

fn process(store: &RingBookmarkStore, sub: &str, sequence: u64) -> Result<(), StoreError> {
    store.arrived(sub, message(sequence))?;
    store.discard(sub, message(sequence))
}

/// The last number in a recovery point; 0 if there is none.
fn reached(store: &RingBookmarkStore, sub: &str) -> u64 {
    let point = store.recovery_point(sub);
    if point.progress { MessageId::parse(point.bookmark.as_bytes()).unwrap().sequence } else { 0 }
}

#[test]
fn an_entry_that_is_damaged_anywhere_costs_one_step_back() {
    let disk = SimDisk::new(1);
    let store = attached(&disk, 2);
    for sequence in 1..=9 {
        process(&store, "s", sequence).unwrap();
    }
    drop(store);
    let bytes = disk.contents(Path::new(PATH)).unwrap();
    let newest = offset(0, 0) as usize; // after two rounds;
    let len = entry(0, 9, Some(&StoredPoint { sub_id: "s".to_owned(), bookmark: "7|9|".to_owned() })).len();
    for at in newest..newest + len {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let disk = SimDisk::new(1);
        disk.put(Path::new(PATH), &damaged);
        let store = attached(&disk, 2);
        assert_eq!(reached(&store, "s"), 8, "{at}");
        // And on it goes, in the same place.
        process(&store, "s", 10).unwrap();
        drop(store);
        assert_eq!(reached(&attached(&disk, 2), "s"), 10);
    }
}

#[test]
fn an_entry_of_another_slot_is_none_of_this_one() {
    let disk = SimDisk::new(1);
    let store = attached(&disk, 2);
    process(&store, "s", 1).unwrap();
    drop(store);
    let mut bytes = disk.contents(Path::new(PATH)).unwrap();
    let (first, second) = (offset(0, 0) as usize, offset(1, 0) as usize);
    bytes.copy_within(first..first + SLOT_LEN, second);
    bytes[first..first + SLOT_LEN].fill(0);
    disk.put(Path::new(PATH), &bytes);
    assert_eq!(reached(&attached(&disk, 2), "s"), 0);
}

#[test]
fn there_are_as_many_subscriptions_as_slots_and_a_purge_gives_one_free() {
    let disk = SimDisk::new(1);
    let store = attached(&disk, 2);
    process(&store, "a", 1).unwrap();
    process(&store, "b", 1).unwrap();
    let refused = process(&store, "c", 1).unwrap_err().to_string();
    assert!(refused.contains("has 2 slots, and no one is left for \"c\""), "{refused}");
    assert_eq!(reached(&store, "c"), 1, "for this run it counts");
    store.purge_sub("a").unwrap();
    process(&store, "c", 2).unwrap();
    drop(store);
    let store = attached(&disk, 2);
    assert_eq!(["a", "b", "c"].map(|sub| reached(&store, sub)), [0, 1, 2]);
    store.purge().unwrap();
    drop(store);
    let store = attached(&disk, 2);
    assert_eq!(["a", "b", "c"].map(|sub| reached(&store, sub)), [0, 0, 0]);
    process(&store, "d", 1).unwrap();
    process(&store, "e", 1).unwrap();
}

#[test]
fn a_point_that_is_too_long_leaves_the_last_that_fitted() {
    let disk = SimDisk::new(1);
    let store = attached(&disk, 1);
    let mut refused = None;
    for publisher in 0..40 {
        let message = MessageId { publisher: u64::MAX - publisher, sequence: u64::MAX };
        store.arrived("s", message).unwrap();
        if let Err(error) = store.discard("s", message) {
            refused = refused.or(Some((publisher, error.to_string())));
        }
    }
    let (fitted, refused) = refused.unwrap();
    assert_eq!(fitted, 23, "as the documentation says");
    assert!(refused.contains("has room for 1007"), "{refused}");
    drop(store);
    assert_eq!(attached(&disk, 1).recovery_point("s").bookmark.split(',').count() as u64, fitted);
}

#[test]
fn it_is_opened_as_it_was_made_by_its_client_and_once() {
    let disk = SimDisk::new(1);
    assert!(Ring::open(Path::new(PATH), 0, Arc::new(disk.clone())).is_err());
    let store = attached(&disk, 2);
    assert!(matches!(open(&disk, 2), Err(StoreError::Locked { .. })));
    assert!(matches!(store.attach("order-worker"), Err(StoreError::Locked { .. })));
    store.close().unwrap();
    assert!(matches!(store.attach("order-worker"), Err(StoreError::Closed)));
    assert!(matches!(process(&store, "s", 1), Err(StoreError::Closed)));
    let other = open(&disk, 2).unwrap().attach("somebody");
    assert!(matches!(other, Err(StoreError::OtherClient { .. })), "{other:?}");
    let slots = open(&disk, 3).unwrap_err().to_string();
    assert!(slots.contains("has 2 slots, not 3"), "{slots}");

    let bytes = disk.contents(Path::new(PATH)).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        disk.put(Path::new(PATH), &bytes);
        open(&disk, 2).map(drop)
    };
    assert!(matches!(with(&|it| it[0] ^= 1), Err(StoreError::NotAStore { .. })));
    assert!(matches!(with(&|it| it[11] = 9), Err(StoreError::NewerVersion { found: 9, .. })));
    assert!(matches!(with(&|it| it[20] ^= 1), Err(StoreError::Corrupt { offset: 0, .. })));
    assert!(matches!(with(&|it| it.truncate(5000)), Err(StoreError::Corrupt { offset: 5000, .. })));
    assert!(matches!(with(&|it| it.truncate(15)), Err(StoreError::Corrupt { offset: 0, .. })));
    assert!(with(&|_| {}).is_ok());
}

/// BM-25
#[test]
fn whenever_the_process_dies_or_the_power_fails_no_point_is_beyond_what_was_discarded() {
    for power in [false, true] {
        for at in 0.. {
            let disk = SimDisk::new(at);
            let subs = ["a", "b", "c"];
            let (mut done, mut safe) = ([0; 3], [0; 3]);
            let mut stopped = false;
            disk.stop_after(at);
            for _ in 0..3 {
                let life = open(&disk, 3).and_then(|store| {
                    store.attach("order-worker")?;
                    for (sub, id) in subs.iter().enumerate() {
                        let reached = reached(&store, id);
                        assert!(
                            (safe[sub]..=done[sub]).contains(&reached),
                            "{reached} of {done:?}, {safe:?}"
                        );
                        safe[sub] = reached;
                    }
                    for step in 0..30 {
                        let sub = step % 3;
                        done[sub] += 1;
                        process(&store, subs[sub], done[sub])?;
                        if !power {
                            safe[sub] = done[sub];
                        }
                    }
                    store.close()?;
                    safe = done;
                    Ok(store)
                });
                stopped |= disk.has_stopped();
                if life.is_err() || !power {
                    if power { disk.cut_power() } else { disk.kill_process() }
                }
                drop(life);
            }
            if !stopped {
                assert!(at > 30, "hardly anything is done to the disk");
                break;
            }
        }
    }
}
