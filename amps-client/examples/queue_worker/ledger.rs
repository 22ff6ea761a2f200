//! What really happened, by record id: counted by the application alone, apart from the
//! client's own statistics.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared by everybody.
pub(crate) struct Ledger {
    book: Mutex<Book>,
    moved: Condvar,
}

struct Book {
    processed: Vec<bool>,
    processed_count: usize,
    deliveries: Vec<u32>,
    /// Anything that shows that the run is alive.
    activity: u64,
    /// Bookmarks that a worker has processed and may acknowledge.
    earned: HashMap<u32, HashSet<Vec<u8>>>,
    /// Acknowledgements seen on the wire for messages that their worker had not processed.
    unearned: usize,
    /// The record on which a worker sits until its lease is over.
    held: Option<usize>,
    expired_leases: usize,
    /// The server's leases last so long that none is waited for.
    endless_leases: bool,
    /// When all but the last record, which waits for its lease to end, were processed.
    nearly_done: Option<Instant>,
    published: HashSet<usize>,
    delays: HashMap<String, Delays>,
    stopped: bool,
}

/// Delay statistics of one origin.
#[derive(Clone, Copy, Default)]
pub(crate) struct Delays {
    /// Flights counted.
    pub(crate) flights: u64,
    /// Sum of delays in minutes.
    pub(crate) minutes: i64,
    /// The longest delay in minutes.
    pub(crate) longest: i64,
}

impl Ledger {
    pub(crate) fn new(records: usize) -> Self {
        let book = Book {
            processed: vec![false; records + 1],
            processed_count: 0,
            deliveries: vec![0; records + 1],
            activity: 0,
            earned: HashMap::new(),
            unearned: 0,
            held: None,
            expired_leases: 0,
            endless_leases: false,
            nearly_done: None,
            published: HashSet::new(),
            delays: HashMap::new(),
            stopped: false,
        };
        Self { book: Mutex::new(book), moved: Condvar::new() }
    }

    /// The number of records.
    pub(crate) fn len(&self) -> usize {
        self.book().processed.len() - 1
    }

    /// A record was published (again).
    pub(crate) fn published(&self, id: usize) {
        let mut book = self.book();
        book.published.insert(id);
        book.activity += 1;
    }

    /// A record was delivered; returns how often before.
    pub(crate) fn delivered(&self, id: usize) -> u32 {
        let mut book = self.book();
        book.activity += 1;
        if book.held == Some(id) {
            // Somebody sits on it, and the server gives it to another: the lease is over.
            book.held = None;
            book.expired_leases += 1;
        }
        let before = book.deliveries.get(id).copied().unwrap_or_default();
        if let Some(count) = book.deliveries.get_mut(id) {
            *count += 1;
        }
        before
    }

    /// A worker begins to sit on a record; `false` if somebody else does so already.
    pub(crate) fn hold(&self, id: usize) -> bool {
        let mut book = self.book();
        let free = book.held.is_none() && book.expired_leases == 0;
        if free {
            book.held = Some(id);
        }
        free
    }

    /// The worker that sits on a record has lost its connection, and the lease with it: that
    /// proves nothing, so another record has to be held.
    pub(crate) fn release(&self) {
        self.book().held = None;
    }

    /// The server's leases last too long to wait for the end of one.
    pub(crate) fn leases_are_endless(&self) {
        self.book().endless_leases = true;
    }

    /// Whether a lease has still to expire.
    pub(crate) fn awaits_expiry(&self) -> bool {
        let book = self.book();
        book.expired_leases == 0 && !book.endless_leases
    }

    /// Everything is processed, and yet no lease has expired, nor is one about to: the one that
    /// was held died with its server.
    pub(crate) fn wants_encore(&self) -> bool {
        self.awaits_expiry() && self.processed() == self.len() && self.book().held.is_none()
    }

    /// A worker has done its work on a record, and earned the right to acknowledge it.
    pub(crate) fn worked(&self, worker: u32, id: usize, bookmark: &[u8], origin: &str, delay: i64) {
        let mut book = self.book();
        book.earned.entry(worker).or_default().insert(bookmark.to_vec());
        book.activity += 1;
        if book.processed.get(id) == Some(&false) {
            book.processed[id] = true;
            book.processed_count += 1;
            if book.processed_count + 2 == book.processed.len() {
                book.nearly_done = Some(Instant::now());
            }
            let delays = book.delays.entry(origin.to_owned()).or_default();
            delays.flights += 1;
            delays.minutes += delay;
            delays.longest = delays.longest.max(delay);
        }
        drop(book);
        self.moved.notify_all();
    }

    /// An acknowledgement of a worker passed by on the wire.
    pub(crate) fn acknowledged(&self, worker: u32, bookmark: &[u8]) {
        let mut book = self.book();
        let earned = book.earned.get(&worker).is_some_and(|earned| earned.contains(bookmark));
        book.unearned += usize::from(!earned);
        book.activity += 1;
    }

    pub(crate) fn processed(&self) -> usize {
        self.book().processed_count
    }

    pub(crate) fn is_processed(&self, id: usize) -> bool {
        self.book().processed.get(id).copied().unwrap_or_default()
    }

    pub(crate) fn published_count(&self) -> usize {
        self.book().published.len()
    }

    pub(crate) fn lost(&self) -> usize {
        let book = self.book();
        book.published.iter().filter(|id| book.processed.get(**id) != Some(&true)).count()
    }

    pub(crate) fn unearned(&self) -> usize {
        self.book().unearned
    }

    pub(crate) fn expired_leases(&self) -> usize {
        self.book().expired_leases
    }

    /// How long the work took, without the wait for the one lease that had to end.
    pub(crate) fn busy_since(&self, began: Instant) -> Duration {
        self.book().nearly_done.map_or_else(|| began.elapsed(), |end| end - began)
    }

    /// The origins with the longest average delay.
    pub(crate) fn worst_origins(&self, count: usize) -> Vec<(String, Delays)> {
        let book = self.book();
        let mut origins: Vec<_> =
            book.delays.iter().map(|(origin, delays)| (origin.clone(), *delays)).collect();
        let mean = |delays: &Delays| delays.minutes as f64 / delays.flights as f64;
        origins.retain(|(_, delays)| delays.flights >= 20);
        origins.sort_by(|(a_name, a), (b_name, b)| mean(b).total_cmp(&mean(a)).then(a_name.cmp(b_name)));
        origins.truncate(count);
        origins
    }

    /// Changes whenever anything happens.
    pub(crate) fn activity(&self) -> u64 {
        self.book().activity
    }

    /// Waits until something happened since `seen`, at most `patience`.
    pub(crate) fn wait_for_activity(&self, seen: u64, patience: Duration) {
        let book = self.book();
        if book.activity == seen {
            drop(self.moved.wait_timeout(book, patience));
        }
    }

    pub(crate) fn stop(&self) {
        self.book().stopped = true;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.book().stopped
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
