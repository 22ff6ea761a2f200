//! Publish stores in files: what is there after a restart, and which files are refused.

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use amps_client::{
    CommandKind, FilePublishStore, HybridPublishStore, Progress, PublishStore, Reconnect, StoreEnd,
    StoreError, SyncPolicy, inspect_store,
};
use common::{Line, PATIENCE, Peer, until};
use tempfile::TempDir;

struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a process leaves that is killed now.
    fn killed(&self, path: &Path) -> PathBuf {
        let copy = self.path("killed");
        std::fs::copy(path, &copy).unwrap();
        copy
    }
}

fn attach(store: &mut impl PublishStore) -> amps_client::Attached {
    store.attach("order-entry", Progress::new(|| {})).unwrap()
}

fn append(store: &mut impl PublishStore, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        store.append(number, frame(number).as_bytes()).unwrap();
    }
}

fn frame(number: u64) -> String {
    format!(r#"{{"c":"p","t":"orders","s":{number}}}{{"id":{number}}}"#)
}

fn numbers(store: &mut impl PublishStore) -> Vec<u64> {
    let mut numbers = Vec::new();
    let read = store.read(0, &mut |number, bytes| {
        assert_eq!(bytes, frame(number).as_bytes());
        numbers.push(number);
        true
    });
    read.unwrap();
    numbers
}

/// A file of a store that was closed in order, with the messages 3 to 6.
fn closed_store(path: &Path) -> Vec<u8> {
    let mut store = FilePublishStore::open(path).unwrap();
    attach(&mut store);
    append(&mut store, 1..=6);
    store.discard_up_to(2).unwrap();
    store.close().unwrap();
    std::fs::read(path).unwrap()
}

/// What the next frames bear as their sequence numbers.
fn sequences(line: &mut Line, count: usize) -> Vec<u64> {
    (0..count).map(|_| line.expect(CommandKind::Publish).sequence().unwrap()).collect()
}

/// C-7-8-3
#[test]
fn what_was_pending_is_sent_after_a_restart_and_numbers_go_on() {
    let (files, peer) = (Files::new(), Peer::new());
    let path = files.path("orders");
    let open = || FilePublishStore::open(&path).unwrap();
    let (client, mut line) = peer.connect(peer.client("order-entry").publish_store(open()));
    client.publish("orders", "1").unwrap();
    client.publish("orders", "2").unwrap();
    assert_eq!(sequences(&mut line, 2), [1, 2]);
    client.abort();
    drop(client);

    let (client, mut line) = peer.connect(peer.client("order-entry").publish_store(open()));
    assert_eq!(sequences(&mut line, 2), [1, 2]);
    assert_eq!(client.publish("orders", "3").unwrap().sequence(), Some(3));
    assert_eq!(sequences(&mut line, 1), [3]);
}

/// C-7-8-3
#[test]
fn what_was_on_the_disk_is_sent_after_the_process_was_killed_and_numbers_go_on() {
    let (files, peer) = (Files::new(), Peer::new());
    let path = files.path("orders");
    let open = |path| FilePublishStore::builder(path).sync(SyncPolicy::EveryWrite).open().unwrap();
    let (client, mut line) = peer.connect(peer.client("order-entry").publish_store(open(path.clone())));
    client.publish("orders", "1").unwrap();
    client.publish("orders", "2").unwrap();
    assert_eq!(sequences(&mut line, 2), [1, 2]);

    let killed = files.killed(&path);
    let (again, mut line) = peer.connect(peer.client("order-entry").publish_store(open(killed)));
    assert_eq!(sequences(&mut line, 2), [1, 2]);
    assert_eq!(again.publish("orders", "3").unwrap().sequence(), Some(3));
    assert_eq!(sequences(&mut line, 1), [3]);
}

#[test]
fn what_was_written_is_sent_after_the_process_was_killed_and_no_number_is_used_twice() {
    let (files, peer) = (Files::new(), Peer::new());
    let path = files.path("orders");
    let store = FilePublishStore::open(&path).unwrap();
    let (client, mut line) = peer.connect(peer.client("order-entry").publish_store(store));
    client.publish("orders", "1").unwrap();
    client.publish("orders", "2").unwrap().wait_stored(PATIENCE).unwrap();
    let killed = files.killed(&path);
    // Sent, and perhaps not written when the process died.
    client.publish("orders", "3").unwrap();
    assert_eq!(sequences(&mut line, 3), [1, 2, 3]);

    let store = FilePublishStore::open(&killed).unwrap();
    let (again, mut line) = peer.connect(peer.client("order-entry").publish_store(store));
    assert_eq!(sequences(&mut line, 2), [1, 2]);
    let next = again.publish("orders", "4").unwrap().sequence().unwrap();
    assert!(next > 3, "{next}");
    assert_eq!(sequences(&mut line, 1), [next]);
}

/// C-7-8-4
#[test]
fn a_hybrid_store_replays_from_file_and_memory_in_order() {
    let (files, peer) = (Files::new(), Peer::new());
    let store = HybridPublishStore::open(files.path("orders"), 10).unwrap();
    let builder = peer.client("order-entry").reconnect(Reconnect::new()).heartbeat(Duration::ZERO);
    let builder = builder.publish_store(store);
    let (client, mut line) = peer.connect(builder);
    for n in 1..=25 {
        client.publish("orders", n.to_string()).unwrap();
    }
    assert_eq!(sequences(&mut line, 25), (1..=25).collect::<Vec<_>>());
    drop(line);
    let mut line = peer.accept_logon();
    assert_eq!(sequences(&mut line, 25), (1..=25).collect::<Vec<_>>());
}

/// C-7-8-8
#[test]
fn a_file_that_is_cut_anywhere_opens_with_what_is_whole() {
    let files = Files::new();
    let path = files.path("orders");
    let mut store = FilePublishStore::builder(&path).sync(SyncPolicy::Never).open().unwrap();
    attach(&mut store);
    append(&mut store, 1..=4);
    until("all is written", || store.safe() >= 4);
    let whole = std::fs::read(files.killed(&path)).unwrap();
    let (mut bounds, mut ends) = (Vec::new(), Vec::new());
    let report = inspect_store(&path, |record| {
        bounds.push(record.offset);
        if record.text.starts_with("message") {
            ends.push(record.offset + record.len);
        }
    });
    assert_eq!((report.unwrap().end, ends.len()), (StoreEnd::Whole, 4));

    let cut = files.path("cut");
    for len in bounds[0]..whole.len() as u64 {
        std::fs::write(&cut, &whole[..len as usize]).unwrap();
        let left = ends.iter().filter(|end| **end <= len).count() as u64;
        let report = inspect_store(&cut, |_| {}).unwrap();
        assert_eq!(report.end == StoreEnd::Whole, bounds.contains(&len), "{len}: {report}");

        let mut store = FilePublishStore::open(&cut).unwrap();
        assert_eq!(std::fs::metadata(&cut).unwrap().len(), len, "nothing is cut off before it is used");
        let known = attach(&mut store);
        assert_eq!(numbers(&mut store), (1..=left).collect::<Vec<_>>());
        append(&mut store, [known.last_used + 1]);
        // It is sound again.
        assert_eq!(store.len() as u64, left + 1);
        store.close().unwrap();
        assert_eq!(inspect_store(&cut, |_| {}).unwrap().end, StoreEnd::Whole);
    }
}

#[test]
fn a_file_that_is_cut_within_the_header_is_refused_and_left_alone() {
    let files = Files::new();
    let path = files.path("orders");
    let whole = closed_store(&path);
    for len in 1..20 {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = FilePublishStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { offset: 0, .. }), "{len}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), whole[..len]);
    }
}

#[test]
fn a_damaged_byte_anywhere_but_in_the_last_record_is_found_and_the_file_left_alone() {
    let files = Files::new();
    let path = files.path("orders");
    let whole = closed_store(&path);
    let mut last = 0;
    inspect_store(&path, |record| last = record.offset as usize).unwrap();
    assert!(last > 200 && last < whole.len(), "{last}");
    for at in 0..last {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let error = FilePublishStore::open(&path).unwrap_err();
        match &error {
            StoreError::Corrupt { offset, .. } => assert!(*offset as usize <= at, "{at}: {error}"),
            StoreError::NotAStore { .. } => assert!(at < 8, "{at}: {error}"),
            StoreError::NewerVersion { .. } => assert!((8..12).contains(&at), "{at}: {error}"),
            other => panic!("{at}: {other}"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), damaged);
    }
}

#[test]
fn a_report_says_where_the_damage_begins() {
    let files = Files::new();
    let path = files.path("orders");
    let mut damaged = closed_store(&path);
    let mut second = None;
    let mut texts = Vec::new();
    let whole = inspect_store(&path, |record| {
        if record.text.starts_with("message 2") {
            second = Some((record.offset, record.len));
        }
        texts.push(record.text.clone());
    });
    let whole = whole.unwrap();
    assert_eq!((whole.kind, whole.version, whole.client.as_str()), ("publish store", 1, "order-entry"));
    assert!(whole.live.starts_with("4 messages, "), "{whole}");
    assert!(whole.live.ends_with("from 3 to 6; persisted up to 2; the next number is 7"), "{whole}");
    assert!(texts.contains(&"message 6: p to \"orders\", 8 bytes of data".to_owned()), "{texts:#?}");
    assert!(texts.contains(&"discarded: everything up to 2".to_owned()), "{texts:#?}");

    let (offset, len) = second.unwrap();
    damaged[(offset + len - 1) as usize] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let mut shown = 0;
    let report = inspect_store(&path, |_| shown += 1).unwrap();
    assert!(matches!(report.end, StoreEnd::Damaged { offset: at, .. } if at == offset), "{report}");
    assert_eq!(report.records, shown);
    assert!(report.live.contains("1 messages"), "{report}");
}

/// The header with one field changed, and a checksum that fits.
fn with_header(whole: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut changed = whole.to_vec();
    changed[at] = byte;
    let name_len = usize::from(u16::from_be_bytes([whole[21], whole[22]]));
    let end = 23 + name_len;
    let checksum = crc32fast::hash(&changed[..end]).to_be_bytes();
    changed[end..end + 4].copy_from_slice(&checksum);
    changed
}

#[test]
fn files_of_newer_versions_and_other_kinds_are_refused_and_left_alone() {
    let files = Files::new();
    let path = files.path("orders");
    let whole = closed_store(&path);
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = FilePublishStore::open(&path).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        error
    };
    assert!(matches!(
        refused(&with_header(&whole, 11, 2)),
        StoreError::NewerVersion { found: 2, known: 1, .. }
    ));
    let error = refused(&with_header(&whole, 12, 2));
    assert!(error.to_string().contains("is not a publish store: it is a bookmark store"), "{error}");
    assert!(matches!(refused(&with_header(&whole, 12, 99)), StoreError::NotAStore { .. }));
    assert!(matches!(refused(b"orders of today\n"), StoreError::NotAStore { .. }));
    assert!(matches!(inspect_store(&path, |_| {}), Err(StoreError::NotAStore { .. })));
}

#[test]
fn a_file_of_another_client_is_refused_and_left_alone() {
    let (files, peer) = (Files::new(), Peer::new());
    let path = files.path("orders");
    let whole = closed_store(&path);
    let store = FilePublishStore::open(&path).unwrap();
    let error = peer.client("order-exit").publish_store(store).connect().unwrap_err();
    assert!(
        error.to_string().contains("belongs to the client \"order-entry\", not to \"order-exit\""),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    // And it is given free.
    attach(&mut FilePublishStore::open(&path).unwrap());
}

#[test]
fn a_file_in_use_is_refused_and_may_be_looked_at() {
    let files = Files::new();
    let path = files.path("orders");
    let mut store = FilePublishStore::open(&path).unwrap();
    assert!(matches!(FilePublishStore::open(&path), Err(StoreError::Locked { .. })), "before it is used");
    attach(&mut store);
    assert!(matches!(FilePublishStore::open(&path), Err(StoreError::Locked { .. })));
    assert_eq!(inspect_store(&path, |_| {}).unwrap().client, "order-entry");
    store.close().unwrap();
    assert!(matches!(store.append(1, b"too late"), Err(StoreError::Closed)));
    FilePublishStore::open(&path).unwrap();
}

#[test]
fn a_store_that_no_client_takes_changes_nothing() {
    let files = Files::new();
    let path = files.path("orders");
    let whole = closed_store(&path);
    let mut store = FilePublishStore::open(&path).unwrap();
    assert_eq!(numbers(&mut store), [3, 4, 5, 6]);
    assert!(store.append(7, b"whose?").is_err());
    drop(store);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn a_message_that_contains_a_store_is_not_taken_for_one() {
    let files = Files::new();
    let (inner, path) = (closed_store(&files.path("inner")), files.path("orders"));
    let mut store = FilePublishStore::builder(&path).sync(SyncPolicy::EveryWrite).open().unwrap();
    attach(&mut store);
    for number in 1..=2 {
        store.append(number, &inner).unwrap();
        until("it is on the disk", || store.safe() >= number);
    }
    let whole = std::fs::read(files.killed(&path)).unwrap();
    let cut = files.path("cut");
    for missing in [1, 17, inner.len() / 2] {
        std::fs::write(&cut, &whole[..whole.len() - missing]).unwrap();
        let mut store = FilePublishStore::open(&cut).unwrap();
        attach(&mut store);
        assert!(store.len() <= 2 && store.lowest() == Some(1));
    }
}

#[test]
fn messages_of_any_size_are_there_again() {
    let files = Files::new();
    let path = files.path("orders");
    let sizes = [0, 1, 4 << 20, 3, (1 << 20) - 17, 1 << 20, 70_000];
    let mut store = FilePublishStore::open(&path).unwrap();
    attach(&mut store);
    for (number, size) in (1..).zip(sizes) {
        store.append(number, &vec![number as u8; size]).unwrap();
    }
    store.close().unwrap();
    let mut store = FilePublishStore::open(&path).unwrap();
    for from in 1..=7 {
        let mut seen = Vec::new();
        let read = store.read(from, &mut |number, bytes| {
            assert!(bytes.iter().all(|byte| u64::from(*byte) == number));
            seen.push(bytes.len());
            true
        });
        read.unwrap();
        assert_eq!(seen, sizes[from as usize - 1..]);
    }
}

#[test]
fn a_file_shrinks_while_it_is_in_use() {
    let files = Files::new();
    let path = files.path("orders");
    let mut store = FilePublishStore::builder(&path).sync(SyncPolicy::Never).open().unwrap();
    attach(&mut store);
    let frame = vec![b'x'; 64 << 10];
    for number in 1..=320 {
        store.append(number, &frame).unwrap();
    }
    until("20 MiB are written", || std::fs::metadata(&path).unwrap().len() > 20 << 20);
    store.discard_up_to(318).unwrap();
    until("there is a new file", || std::fs::metadata(&path).unwrap().len() < 1 << 20);
    store.append(321, b"last").unwrap();
    let mut seen = Vec::new();
    let read = store.read(0, &mut |number, bytes| {
        seen.push((number, bytes.len()));
        true
    });
    read.unwrap();
    assert_eq!(seen, [(319, 64 << 10), (320, 64 << 10), (321, 4)]);
    store.close().unwrap();
    let mut store = FilePublishStore::open(&path).unwrap();
    assert_eq!(attach(&mut store).last_used, 321);
    assert_eq!((store.len(), store.lowest()), (3, Some(319)));
}

/// A store as a client has it: behind a lock that its progress takes as well.
type Shared = Arc<(Mutex<Option<FilePublishStore>>, Condvar)>;

fn shared(path: &Path) -> Shared {
    let shared = Shared::default();
    let store = FilePublishStore::builder(path).sync(SyncPolicy::EveryWrite).open().unwrap();
    let told = Arc::downgrade(&shared);
    let mut guard = shared.0.lock().unwrap();
    let store = guard.insert(store);
    let progress = Progress::new(move || {
        if let Some(shared) = told.upgrade() {
            let _guard = shared.0.lock().unwrap();
            shared.1.notify_all();
        }
    });
    store.attach("order-entry", progress).unwrap();
    drop(guard);
    shared
}

#[test]
fn threads_that_wait_for_the_disk_are_told() {
    let files = Files::new();
    let shared = shared(&files.path("orders"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let mut guard = shared.0.lock().unwrap();
                    let store = guard.as_mut().unwrap();
                    let number = store.len() as u64 + 1;
                    append(store, [number]);
                    let unsafe_yet = |guard: &mut Option<FilePublishStore>| {
                        guard.as_ref().is_some_and(|store| store.safe() < number)
                    };
                    let (guard, waited) = shared.1.wait_timeout_while(guard, PATIENCE, unsafe_yet).unwrap();
                    assert!(!waited.timed_out() && guard.is_some());
                }
            });
        }
    });
    let mut guard = shared.0.lock().unwrap();
    assert_eq!(numbers(guard.as_mut().unwrap()), (1..=200).collect::<Vec<_>>());
}

#[test]
fn a_store_can_be_closed_by_who_has_the_lock_that_its_progress_waits_for() {
    let files = Files::new();
    let path = files.path("orders");
    for round in 0..50 {
        let shared = shared(&path);
        let mut guard = shared.0.lock().unwrap();
        let store = guard.as_mut().unwrap();
        append(store, [round + 1]);
        store.close().unwrap();
        assert_eq!(store.len() as u64, round + 1);
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let files = Files::new();
    let error = FilePublishStore::open(files.path("nowhere/orders")).unwrap_err();
    assert!(matches!(error, StoreError::Io { action: "open", .. }));
    assert!(error.to_string().contains("nowhere/orders"), "{error}");
}
