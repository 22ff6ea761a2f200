//! Each rule of the suites for bookmark stores fails a store that breaks it.
#![cfg(feature = "testing")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use amps_client::bookmarks::MessageId;
use amps_client::testing::{
    Violation, check_bookmark_store, check_durable_bookmark_store, check_recovery_points,
};
use amps_client::{
    Arrival, BookmarkStore, FileBookmarkStore, MemoryBookmarkStore, RecoveryPoint, RecoveryPointAdapter,
    StoreError, StoredPoint,
};

/// A mistake that somebody might make in a bookmark store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum BookmarkFault {
    IsWronglyAttached,
    KnowsSomething,
    BeginsTwice,
    PointsAtTheNewest,
    PointsNowhere,
    ListsOnePublisher,
    TakesLowerForDuplicates,
    TakesEverythingForNew,
    JoinsAtOnce,
    DiscardsByPersisted,
    ForgetsThePersisted,
    RefusesUnknownDiscards,
    MixesSubscriptions,
    PurgesAll,
    PurgesNothing,
    CountsWrong,
    FindsTheWrongOldest,
    PanicsInThreads,
    ForgetsWhatItPassed,
    ListsEachPublisherOnce,
    KeepsTheOldSubscriber,
    CannotDiscard,
    CannotBeClosed,
    TiresOut,
}

struct BrokenBookmarks {
    fault: BookmarkFault,
    inner: MemoryBookmarkStore,
    newest: Mutex<BTreeMap<String, MessageId>>,
    persisted: Mutex<BTreeMap<String, MessageId>>,
    arrived: Mutex<BTreeSet<(String, u64, u64)>>,
    persisted_calls: AtomicUsize,
}

impl BrokenBookmarks {
    fn new(fault: BookmarkFault) -> Self {
        Self {
            fault,
            inner: MemoryBookmarkStore::new(),
            newest: Mutex::default(),
            persisted: Mutex::default(),
            arrived: Mutex::default(),
            persisted_calls: AtomicUsize::new(0),
        }
    }

    fn is(&self, fault: BookmarkFault) -> bool {
        self.fault == fault
    }

    fn sub<'a>(&self, sub: &'a str) -> &'a str {
        if self.is(BookmarkFault::MixesSubscriptions) && sub.len() == 1 { "one" } else { sub }
    }
}

impl BookmarkStore for BrokenBookmarks {
    fn attach(&self, client: &str) -> Result<(), StoreError> {
        if self.is(BookmarkFault::IsWronglyAttached) {
            return Err(StoreError::other("not today"));
        }
        self.inner.attach(client)
    }

    fn begin(&self, sub: &str, from: &str) -> Result<(), StoreError> {
        let sub = self.sub(sub);
        if self.is(BookmarkFault::BeginsTwice) && !self.inner.recovery_point(sub).progress {
            self.inner.purge_sub(sub)?;
        }
        self.inner.begin(sub, from)
    }

    fn new_subscriber(&self, sub: &str) -> Result<(), StoreError> {
        if self.is(BookmarkFault::KeepsTheOldSubscriber) {
            return Ok(());
        }
        let sub = self.sub(sub);
        self.arrived.lock().unwrap().retain(|(other, ..)| other != sub);
        self.newest.lock().unwrap().remove(sub);
        self.inner.new_subscriber(sub)
    }

    fn arrived(&self, sub: &str, message: MessageId) -> Result<Arrival, StoreError> {
        let sub = self.sub(sub);
        let arrival = self.inner.arrived(sub, message)?;
        let first_time =
            self.arrived.lock().unwrap().insert((sub.to_owned(), message.publisher, message.sequence));
        if self.is(BookmarkFault::ForgetsWhatItPassed) && first_time {
            return Ok(Arrival::New);
        }
        let mut newest = self.newest.lock().unwrap();
        let newest = newest.entry(sub.to_owned()).or_insert(message);
        if self.is(BookmarkFault::TakesLowerForDuplicates)
            && newest.publisher == message.publisher
            && newest.sequence > message.sequence
        {
            return Ok(Arrival::Duplicate);
        }
        *newest = message;
        Ok(if self.is(BookmarkFault::TakesEverythingForNew) { Arrival::New } else { arrival })
    }

    fn discard(&self, sub: &str, message: MessageId) -> Result<(), StoreError> {
        let sub = self.sub(sub);
        if self.is(BookmarkFault::CannotDiscard) {
            return Err(StoreError::other("not yet"));
        }
        let before = self.inner.open_messages(sub);
        if self.is(BookmarkFault::PanicsInThreads) && std::thread::current().name().is_none() {
            std::panic::resume_unwind(Box::new("in a thread without a name"));
        }
        self.inner.discard(sub, message)?;
        if self.is(BookmarkFault::RefusesUnknownDiscards) && self.inner.open_messages(sub) == before {
            return Err(StoreError::other("unknown"));
        }
        Ok(())
    }

    fn persisted(&self, sub: &str, last: MessageId) -> Result<(), StoreError> {
        let sub = self.sub(sub);
        self.persisted.lock().unwrap().insert(sub.to_owned(), last);
        let calls = self.persisted_calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            BookmarkFault::ForgetsThePersisted => Ok(()),
            BookmarkFault::TiresOut if calls > 10 => Ok(()),
            BookmarkFault::DiscardsByPersisted => {
                self.inner.arrived(sub, last)?;
                self.inner.discard(sub, last)
            }
            _ => self.inner.persisted(sub, last),
        }
    }

    fn recovery_point(&self, sub: &str) -> RecoveryPoint {
        let sub = self.sub(sub);
        let mut point = self.inner.recovery_point(sub);
        match self.fault {
            BookmarkFault::KnowsSomething if point.bookmark.is_empty() => point.bookmark.push('0'),
            BookmarkFault::PointsAtTheNewest => {
                if let Some(newest) = self.newest.lock().unwrap().get(sub) {
                    point = RecoveryPoint { bookmark: newest.to_string(), progress: true };
                }
            }
            BookmarkFault::PointsNowhere if point.progress => point = RecoveryPoint::default(),
            BookmarkFault::ListsOnePublisher => {
                let first = point.bookmark.split(',').next().unwrap_or_default().to_owned();
                point.bookmark = first;
            }
            BookmarkFault::JoinsAtOnce => {
                if let Some(last) = self.persisted.lock().unwrap().get(sub) {
                    let mut entries: Vec<&str> =
                        point.bookmark.split(',').filter(|it| !it.is_empty()).collect();
                    let last = last.to_string();
                    entries.push(&last);
                    point = RecoveryPoint { bookmark: entries.join(","), progress: true };
                }
            }
            BookmarkFault::ListsEachPublisherOnce => {
                let entries = point.bookmark.split(',');
                let mut seen = BTreeSet::new();
                let once = entries.filter(|entry| seen.insert(entry.split('|').next()));
                point.bookmark = once.collect::<Vec<_>>().join(",");
            }
            _ => {}
        }
        point
    }

    fn oldest_open(&self, sub: &str) -> Option<MessageId> {
        let oldest = self.inner.oldest_open(self.sub(sub));
        let newest = self.newest.lock().unwrap().get(sub).copied();
        if self.is(BookmarkFault::FindsTheWrongOldest) { oldest.and(newest) } else { oldest }
    }

    fn open_messages(&self, sub: &str) -> usize {
        let open = self.inner.open_messages(self.sub(sub));
        if self.is(BookmarkFault::CountsWrong) { open.min(3) } else { open }
    }

    fn purge(&self) -> Result<(), StoreError> {
        if self.is(BookmarkFault::PurgesNothing) { Ok(()) } else { self.inner.purge() }
    }

    fn purge_sub(&self, sub: &str) -> Result<(), StoreError> {
        if self.is(BookmarkFault::PurgesAll) {
            self.inner.purge()
        } else {
            self.inner.purge_sub(self.sub(sub))
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        if self.is(BookmarkFault::CannotBeClosed) {
            Err(StoreError::other("not yet"))
        } else {
            self.inner.close()
        }
    }
}

/// Rows of a table, as an adapter of somebody's would keep them.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<BTreeMap<String, String>>>);

impl RecoveryPointAdapter for Table {
    fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
        let rows = self.0.lock().unwrap().clone();
        Ok(rows.into_iter().map(|(sub_id, bookmark)| StoredPoint { sub_id, bookmark }).collect())
    }

    fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
        self.0.lock().unwrap().insert(point.sub_id, point.bookmark);
        Ok(())
    }

    fn purge(&self) -> Result<(), StoreError> {
        self.0.lock().unwrap().clear();
        Ok(())
    }

    fn purge_sub(&self, sub_id: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().remove(sub_id);
        Ok(())
    }
}

/// A rule is broken, and it is this one.
#[track_caller]
fn breaks(outcome: Result<(), Violation>, rule: &str, fault: &dyn std::fmt::Debug) {
    match outcome {
        Ok(()) => panic!("nobody notices that it {fault:?}"),
        Err(violation) => {
            assert!(violation.rule().contains(rule), "{fault:?} was noticed as: {violation}");
            assert!(!violation.seen().is_empty());
        }
    }
}

#[test]
fn a_mistake_in_a_bookmark_store_is_noticed_as_what_it_is() {
    use BookmarkFault as F;
    for (fault, rule) in [
        (F::IsWronglyAttached, "a store can be made"),
        (F::KnowsSomething, "that nothing is known of"),
        (F::BeginsTwice, "where a subscription begins"),
        (F::PointsAtTheNewest, "stays before the first open message"),
        (F::PointsNowhere, "moves over the whole run"),
        (F::ListsOnePublisher, "lists the last discarded message of each publisher"),
        (F::TakesLowerForDuplicates, "a message is new unless"),
        (F::TakesEverythingForNew, "arrived before in this run is a duplicate"),
        (F::JoinsAtOnce, "a persisted bookmark joins"),
        (F::DiscardsByPersisted, "a persisted bookmark discards nothing"),
        (F::ForgetsThePersisted, "a persisted bookmark joins"),
        (F::RefusesUnknownDiscards, "not open has no effect"),
        (F::MixesSubscriptions, "changes no other"),
        (F::PurgesAll, "purge_sub forgets everything about one"),
        (F::PurgesNothing, "purge forgets everything"),
        (F::CountsWrong, "oldest_open and open_messages"),
        (F::FindsTheWrongOldest, "oldest_open and open_messages"),
        (F::PanicsInThreads, "many threads"),
        (F::ForgetsWhatItPassed, "at or before its publisher's point"),
        (F::ListsEachPublisherOnce, "the last persisted bookmark is in the recovery point"),
        (F::KeepsTheOldSubscriber, "for a new subscriber"),
        (F::CannotDiscard, "a store that is well does what it is told"),
        (F::CannotBeClosed, "a store can be closed"),
        (F::TiresOut, "as the trait says"),
    ] {
        breaks(check_bookmark_store(|| Ok(BrokenBookmarks::new(fault))), rule, &fault);
    }
}

/// Stores that are right within a run, and wrong after a restart.
#[test]
fn a_mistake_in_a_bookmark_store_that_outlives_its_process_is_noticed_as_what_it_is() {
    let nothing = |_: &str| Ok(MemoryBookmarkStore::new());
    breaks(check_durable_bookmark_store(nothing), "the recovery points are what they were", &"forgets");

    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let points_only = check_durable_bookmark_store(|place| {
        let table = tables.entry(place.to_owned()).or_default().clone();
        Ok(MemoryBookmarkStore::new().with_adapter(table))
    });
    breaks(points_only, "what was discarded is a duplicate also after a restart", &"keeps points only");

    let mut stores: BTreeMap<String, Arc<MemoryBookmarkStore>> = BTreeMap::new();
    let the_same = check_recovery_points(|place| {
        let store = stores.entry(place.to_owned()).or_insert_with(|| Arc::new(MemoryBookmarkStore::new()));
        Ok(Kept(Arc::clone(store)))
    });
    breaks(the_same, "what was not discarded is new again", &"keeps what is open");

    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let stubborn = check_recovery_points(|place| {
        let table = tables.entry(place.to_owned()).or_default().clone();
        Ok(MemoryBookmarkStore::new().with_adapter(Stubborn(table)))
    });
    breaks(stubborn, "what was purged does not come back", &"does not purge");

    let directory = tempfile::tempdir().unwrap();
    let anybody = check_durable_bookmark_store(|place| {
        Ok(Anybody(FileBookmarkStore::open(directory.path().join(place))?))
    });
    breaks(anybody, "belongs to one client", &"takes any client");
}

/// Calls that a wrapper passes on.
macro_rules! passes_on {
    () => {
        fn begin(&self, sub: &str, from: &str) -> Result<(), StoreError> {
            self.0.begin(sub, from)
        }

        fn new_subscriber(&self, sub: &str) -> Result<(), StoreError> {
            self.0.new_subscriber(sub)
        }

        fn arrived(&self, sub: &str, message: MessageId) -> Result<Arrival, StoreError> {
            self.0.arrived(sub, message)
        }

        fn discard(&self, sub: &str, message: MessageId) -> Result<(), StoreError> {
            self.0.discard(sub, message)
        }

        fn persisted(&self, sub: &str, last: MessageId) -> Result<(), StoreError> {
            self.0.persisted(sub, last)
        }

        fn recovery_point(&self, sub: &str) -> RecoveryPoint {
            self.0.recovery_point(sub)
        }

        fn oldest_open(&self, sub: &str) -> Option<MessageId> {
            self.0.oldest_open(sub)
        }

        fn open_messages(&self, sub: &str) -> usize {
            self.0.open_messages(sub)
        }

        fn purge(&self) -> Result<(), StoreError> {
            self.0.purge()
        }

        fn purge_sub(&self, sub: &str) -> Result<(), StoreError> {
            self.0.purge_sub(sub)
        }

        fn close(&self) -> Result<(), StoreError> {
            self.0.close()
        }
    };
}

/// Keeps what is open across a restart as well.
struct Kept(Arc<MemoryBookmarkStore>);

impl BookmarkStore for Kept {
    fn attach(&self, client: &str) -> Result<(), StoreError> {
        self.0.attach(client)
    }

    passes_on!();
}

/// Takes every client for the one it belongs to.
struct Anybody(FileBookmarkStore);

impl BookmarkStore for Anybody {
    fn attach(&self, _client: &str) -> Result<(), StoreError> {
        self.0.attach("anybody")
    }

    passes_on!();
}

/// Forgets nothing.
struct Stubborn(Table);

impl RecoveryPointAdapter for Stubborn {
    fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
        self.0.recovered()
    }

    fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
        self.0.update(point)
    }

    fn purge(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn purge_sub(&self, _sub_id: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
