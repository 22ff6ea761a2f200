//! Bookmark stores, each kind beside a server that replays its log from wherever they say
//! (client.md 7.11).

use std::collections::BTreeSet;
use std::path::Path;

use amps_client::bookmarks::MessageId;
use amps_client::{
    Arrival, BookmarkStore, FileBookmarkStore, FilePublishStore, MemoryBookmarkStore, Progress, PublishStore,
    RecoveryPoint, RingBookmarkStore, StoreError, SyncPolicy, inspect_store,
};
use proptest::prelude::*;

const CLIENT: &str = "order-worker";
const SUB: &str = "orders-1";

const fn id(publisher: u64, sequence: u64) -> MessageId {
    MessageId { publisher, sequence }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Memory,
    File,
    Ring,
}

impl Kind {
    /// A store of this kind that its client has taken.
    fn open(self, directory: &Path) -> Box<dyn BookmarkStore> {
        let store: Box<dyn BookmarkStore> = match self {
            Self::Memory => Box::new(MemoryBookmarkStore::new()),
            Self::File => {
                let path = directory.join("file");
                Box::new(FileBookmarkStore::builder(path).sync(SyncPolicy::Never).open().unwrap())
            }
            Self::Ring => Box::new(RingBookmarkStore::open(directory.join("ring"), 4).unwrap()),
        };
        store.attach(CLIENT).unwrap();
        store
    }
}

/// Runs a check with a new store of each kind.
fn each(check: impl Fn(&dyn BookmarkStore)) {
    for kind in [Kind::Memory, Kind::File, Kind::Ring] {
        let directory = tempfile::tempdir().unwrap();
        check(&*kind.open(directory.path()));
    }
}

/// C-7-11-1
#[test]
fn the_recovery_point_waits_for_the_first_message() {
    each(|store| {
        store.begin(SUB, "20240101T000000Z").unwrap();
        for sequence in 1..=3 {
            assert_eq!(store.arrived(SUB, id(1, sequence)).unwrap(), Arrival::New);
        }
        store.discard(SUB, id(1, 2)).unwrap();
        store.discard(SUB, id(1, 3)).unwrap();
        let start = RecoveryPoint { bookmark: "20240101T000000Z".to_owned(), progress: false };
        assert_eq!(store.recovery_point(SUB), start);
        store.discard(SUB, id(1, 1)).unwrap();
        assert_eq!(store.recovery_point(SUB), RecoveryPoint { bookmark: "1|3|".to_owned(), progress: true });
    });
}

/// C-7-11-2
#[test]
fn two_publishers_have_two_entries() {
    each(|store| {
        for message in [id(1, 7), id(2, 3)] {
            store.arrived(SUB, message).unwrap();
            store.discard(SUB, message).unwrap();
        }
        assert_eq!(store.recovery_point(SUB).bookmark, "1|7|,2|3|");
    });
}

/// C-7-11-5
#[test]
fn a_persisted_bookmark_counts_once_nothing_older_is_open() {
    each(|store| {
        store.persisted(SUB, id(9, 100)).unwrap();
        assert_eq!(store.recovery_point(SUB).bookmark, "9|100|");
        store.arrived("other", id(1, 1)).unwrap();
        store.persisted("other", id(9, 100)).unwrap();
        assert_eq!(store.recovery_point("other"), RecoveryPoint::default());
    });
}

/// C-7-11-6
#[test]
fn after_a_crash_what_was_discarded_is_known_and_the_next_message_is_new() {
    for kind in [Kind::File, Kind::Ring] {
        let directory = tempfile::tempdir().unwrap();
        let store = kind.open(directory.path());
        store.arrived(SUB, id(1, 1)).unwrap();
        store.arrived(SUB, id(1, 2)).unwrap();
        store.discard(SUB, id(1, 1)).unwrap();
        // What a process leaves that dies now.
        let left = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
        }
        let store = kind.open(left.path());
        assert_eq!(store.recovery_point(SUB).bookmark, "1|1|", "{kind:?}");
        assert_eq!(store.arrived(SUB, id(1, 2)).unwrap(), Arrival::New);
    }
}

/// C-7-11-7
#[test]
fn one_subscription_can_be_forgotten() {
    each(|store| {
        for sub in [SUB, "other"] {
            store.arrived(sub, id(1, 1)).unwrap();
            store.discard(sub, id(1, 1)).unwrap();
        }
        store.purge_sub(SUB).unwrap();
        assert_eq!(store.recovery_point(SUB), RecoveryPoint::default());
        assert_eq!(store.recovery_point("other").bookmark, "1|1|");
    });
}

/// BM-24
#[test]
fn a_file_belongs_to_one_client_and_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let store = FileBookmarkStore::open(&path).unwrap();
    store.attach(CLIENT).unwrap();
    assert!(matches!(FileBookmarkStore::open(&path), Err(StoreError::Locked { .. })));
    assert!(matches!(store.attach(CLIENT), Err(StoreError::Locked { .. })));
    store.close().unwrap();
    assert!(matches!(store.attach(CLIENT), Err(StoreError::Closed)));
    let store = FileBookmarkStore::open(&path).unwrap();
    let refused = store.attach("somebody").unwrap_err();
    assert!(matches!(&refused, StoreError::OtherClient { owner, .. } if owner == CLIENT), "{refused}");
}

#[test]
fn a_file_that_is_something_else_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"notes of somebody's").unwrap();
    assert!(matches!(FileBookmarkStore::open(&path), Err(StoreError::NotAStore { .. })));
    assert!(matches!(RingBookmarkStore::open(&path, 4), Err(StoreError::NotAStore { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"notes of somebody's");

    drop(Kind::Ring.open(directory.path()));
    assert!(matches!(
        FileBookmarkStore::open(directory.path().join("ring")),
        Err(StoreError::NotAStore { .. })
    ));
    let path = directory.path().join("publishes");
    let mut publishes = FilePublishStore::open(&path).unwrap();
    publishes.attach(CLIENT, Progress::new(|| {})).unwrap();
    drop(publishes);
    let refused = FileBookmarkStore::open(&path).unwrap_err();
    assert!(
        matches!(&refused, StoreError::NotAStore { found, .. } if found.contains("publish store")),
        "{refused}"
    );
}

#[test]
fn a_file_can_be_looked_at_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let store = Kind::File.open(directory.path());
    store.begin(SUB, "0").unwrap();
    for sequence in 1..=3 {
        store.arrived(SUB, id(1, sequence)).unwrap();
    }
    store.discard(SUB, id(1, 3)).unwrap();
    store.discard(SUB, id(1, 1)).unwrap();
    store.persisted("other", id(9, 100)).unwrap();
    store.begin("gone", "0").unwrap();
    store.purge_sub("gone").unwrap();
    store.close().unwrap();
    let mut texts = Vec::new();
    let report =
        inspect_store(directory.path().join("file"), |record| texts.push(record.text.clone())).unwrap();
    let said = texts.join("\n");
    for words in [
        "subscription 0: \"orders-1\"",
        "\"orders-1\" begins at \"0\"",
        "\"orders-1\" discarded singly: 1|3|",
        "\"orders-1\" discarded all up to: 1|1|",
        "\"other\" persisted up to: 9|100|",
        "\"gone\" purged",
    ] {
        assert!(said.contains(words), "{words} is not in:\n{said}");
    }
    assert_eq!((report.kind, report.client.as_str()), ("bookmark store", CLIENT));
    assert_eq!(report.live, "\"orders-1\" goes on at \"1|1|\"; \"other\" goes on at \"9|100|\"");
}

#[test]
fn a_file_that_is_damaged_in_the_middle_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = Kind::File.open(directory.path());
    for sequence in 1..=20 {
        store.arrived(SUB, id(1, sequence)).unwrap();
        store.discard(SUB, id(1, sequence)).unwrap();
    }
    store.close().unwrap();
    let path = directory.path().join("file");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = FileBookmarkStore::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_file_shrinks_when_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let store = Kind::File.open(directory.path());
    for sequence in 1..=10_000 {
        store.arrived(SUB, id(1, sequence)).unwrap();
        store.discard(SUB, id(1, sequence)).unwrap();
    }
    store.close().unwrap();
    let len = std::fs::metadata(directory.path().join("file")).unwrap().len();
    assert!(len < 200, "{len} bytes");
    assert_eq!(Kind::File.open(directory.path()).recovery_point(SUB).bookmark, "1|10000|");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The server sends so many messages.
    Send(usize),
    /// The application is done with the open message of this rank.
    Discard(usize),
    /// The server has persisted what it sent so long ago.
    Persisted(usize),
    Reconnect,
    /// In order, or not.
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..6usize).prop_map(Step::Send),
        12 => (0..4usize).prop_map(Step::Discard),
        3 => (0..4usize).prop_map(Step::Persisted),
        2 => Just(Step::Reconnect),
        2 => any::<bool>().prop_map(Step::Restart),
    ]
}

/// A server, an application, and a store between them.
struct Play<'a> {
    kind: Kind,
    directory: &'a Path,
    store: Box<dyn BookmarkStore>,
    log: Vec<MessageId>,
    /// What the server sends next; a place in its log.
    next: usize,
    /// What the application has in hand.
    open: Vec<usize>,
    discarded: BTreeSet<usize>,
    /// The same, whether or not it has come again: it was processed once.
    processed: BTreeSet<usize>,
}

impl<'a> Play<'a> {
    fn new(kind: Kind, directory: &'a Path, publishers: &[u8]) -> Self {
        let mut last = [0; 4];
        let message = |publisher: &u8| {
            let last = &mut last[usize::from(*publisher)];
            *last += 1 + u64::from(*publisher);
            id(u64::from(*publisher) + 1, *last)
        };
        let log = publishers.iter().map(message).collect();
        let store = kind.open(directory);
        let (discarded, processed) = (BTreeSet::new(), BTreeSet::new());
        Self { kind, directory, store, log, next: 0, open: Vec::new(), discarded, processed }
    }

    /// The server replays from where the store says, and may skip only what was discarded.
    fn resume(&mut self) -> Result<(), TestCaseError> {
        let point = self.store.recovery_point(SUB);
        let place = |entry: &str| {
            let message = MessageId::parse(entry.as_bytes()).unwrap();
            1 + self.log.iter().position(|it| *it == message).unwrap()
        };
        self.next = if point.progress { point.bookmark.split(',').map(place).min().unwrap() } else { 0 };
        let skipped = (0..self.next).find(|place| !self.processed.contains(place));
        prop_assert_eq!(skipped, None, "{:?} is beyond what was discarded", point);
        Ok(())
    }

    fn send(&mut self) -> Result<(), TestCaseError> {
        let Some(message) = self.log.get(self.next).copied() else { return Ok(()) };
        let place = self.next;
        self.next += 1;
        let in_hand = self.open.contains(&place);
        match self.store.arrived(SUB, message).unwrap() {
            Arrival::New => {
                prop_assert!(!in_hand, "{} is delivered twice", message);
                let comes_again = self.discarded.remove(&place);
                prop_assert!(!comes_again || self.kind != Kind::File, "{} was discarded", message);
                self.open.push(place);
            }
            Arrival::Duplicate => {
                prop_assert!(in_hand || self.discarded.contains(&place), "{} is lost", message);
            }
        }
        Ok(())
    }

    fn discard(&mut self, rank: usize) {
        if self.open.is_empty() {
            return;
        }
        let place = self.open.remove(rank.min(self.open.len() - 1));
        self.store.discard(SUB, self.log[place]).unwrap();
        self.discarded.insert(place);
        self.processed.insert(place);
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Send(count) => (0..count).try_for_each(|_| self.send())?,
            Step::Discard(rank) => self.discard(rank),
            Step::Persisted(ago) => {
                if let Some(place) = self.next.checked_sub(ago + 1) {
                    self.store.persisted(SUB, self.log[place]).unwrap();
                }
            }
            Step::Reconnect => self.resume()?,
            Step::Restart(in_order) => {
                if self.kind == Kind::Memory {
                    return Ok(());
                }
                if in_order {
                    self.store.close().unwrap();
                }
                self.store = Box::new(MemoryBookmarkStore::new());
                self.store = self.kind.open(self.directory);
                self.open.clear();
                self.resume()?;
            }
        }
        prop_assert_eq!(self.store.open_messages(SUB), self.open.len());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// P6
    #[test]
    fn nothing_is_skipped_and_nothing_that_was_discarded_comes_again(
        publishers in prop::collection::vec(0..4u8, 1..60),
        steps in prop::collection::vec(step(), 0..60),
        kind in prop_oneof![Just(Kind::Memory), Just(Kind::File), Just(Kind::Ring)],
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut play = Play::new(kind, directory.path(), &publishers);
        for step in steps {
            play.take(step)?;
        }
        // In the end everything is processed, and there is nothing left to replay.
        while play.next < play.log.len() {
            play.send()?;
        }
        while !play.open.is_empty() {
            play.discard(3);
        }
        play.store.persisted(SUB, play.log[play.log.len() - 1]).unwrap();
        play.take(Step::Restart(false))?;
        play.resume()?;
        while play.next < play.log.len() {
            play.send()?;
        }
        prop_assert!(play.open.is_empty() || kind == Kind::Ring);
        prop_assert_eq!(play.processed.len(), play.log.len());
    }
}
