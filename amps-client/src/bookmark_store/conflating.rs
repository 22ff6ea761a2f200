//! A recovery point adapter that passes on fewer points than it is given.
//!
//! Owns what waits to be passed on, the decision when ([`Waiting`], which is told the time), and
//! a thread that asks. Points come in with locks of the store held; the inner adapter is called
//! without any of them, and by one caller at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::adapter::{RecoveryPointAdapter, StoredPoint};
use crate::store_error::StoreError;

type Listener = Box<dyn Fn(&StoreError) + Send + Sync>;

/// Stands between a store and an adapter that is slow, and passes on the newest point of each
/// subscription now and then.
///
/// A point is passed on after 10 updates of its subscription, or 2 s after the first that was
/// not passed on; a thread of the adapter's own looks every 2 s. All three can be set. What goes
/// wrong there is told to [`on_error`](Self::on_error), and the point is tried again. `close`
/// passes on everything; if that fails, another `close` tries again.
///
/// ```
/// use amps_client::{ConflatingRecoveryPointAdapter, RecoveryPointAdapter, StoredPoint};
/// # use std::sync::{Arc, Mutex};
/// # use amps_client::StoreError;
/// # #[derive(Default)]
/// # struct Database(Mutex<Vec<StoredPoint>>);
/// # impl RecoveryPointAdapter for Database {
/// #     fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> { Ok(Vec::new()) }
/// #     fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
/// #         self.0.lock().unwrap().push(point); Ok(()) }
/// #     fn purge(&self) -> Result<(), StoreError> { Ok(()) }
/// #     fn purge_sub(&self, _: &str) -> Result<(), StoreError> { Ok(()) }
/// # }
/// # let database = Arc::new(Database::default());
/// # let rows = Arc::clone(&database);
///
/// let adapter = ConflatingRecoveryPointAdapter::new(database)
///     .update_threshold(100)
///     .on_error(|error| eprintln!("recovery points are not kept: {error}"));
/// for sequence in 1..=1000 {
///     adapter.update(StoredPoint { sub_id: "s".to_owned(), bookmark: format!("7|{sequence}|") })?;
/// }
/// adapter.close()?;
/// # let rows = rows.0.lock().unwrap();
/// assert_eq!(rows.last().unwrap().bookmark, "7|1000|");
/// assert!(rows.len() < 1000);
/// # Ok::<(), StoreError>(())
/// ```
pub struct ConflatingRecoveryPointAdapter {
    shared: Arc<Shared>,
    interval: Duration,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Something waits, or no more will come.
    news: Condvar,
    /// Held by whoever calls the inner adapter. Taken before `waiting`.
    turn: Mutex<Turn>,
    inner: Box<dyn RecoveryPointAdapter>,
    listener: Mutex<Option<Listener>>,
}

/// The right to call the inner adapter.
#[derive(Debug, Default)]
struct Turn {
    inner_closed: bool,
}

/// What waits to be passed on.
#[derive(Debug)]
struct Waiting {
    points: BTreeMap<String, Point>,
    threshold: u32,
    timeout: Duration,
    closed: bool,
}

#[derive(Debug)]
struct Point {
    bookmark: String,
    updates: u32,
    /// When it was first seen to wait.
    since: Option<Duration>,
}

impl Waiting {
    /// Whether nothing had waited before.
    fn add(&mut self, point: StoredPoint) -> bool {
        let first = self.points.is_empty();
        let StoredPoint { sub_id, bookmark } = point;
        let entry =
            self.points.entry(sub_id).or_insert(Point { bookmark: String::new(), updates: 0, since: None });
        entry.bookmark = bookmark;
        entry.updates = entry.updates.saturating_add(1);
        first
    }

    /// Puts back what could not be passed on, unless there is something newer.
    fn put_back(&mut self, sub_id: String, mut point: Point) {
        // Not at once again.
        point.since = None;
        point.updates = 0;
        self.points.entry(sub_id).or_insert(point);
    }

    /// What is to be passed on now.
    fn due(&mut self, now: Duration) -> BTreeMap<String, Point> {
        if self.closed {
            return mem::take(&mut self.points);
        }
        let (threshold, timeout) = (self.threshold, self.timeout);
        let (due, rest) = mem::take(&mut self.points).into_iter().partition(|(_, point)| {
            point.updates >= threshold
                || point.since.is_some_and(|since| now >= since.saturating_add(timeout))
        });
        self.points = rest;
        for point in self.points.values_mut() {
            point.since.get_or_insert(now);
        }
        due
    }
}

impl ConflatingRecoveryPointAdapter {
    /// Passes on fewer points to `inner`.
    pub fn new(inner: impl RecoveryPointAdapter) -> Self {
        let waiting = Waiting {
            points: BTreeMap::new(),
            threshold: 10,
            timeout: Duration::from_secs(2),
            closed: false,
        };
        let shared = Shared {
            waiting: Mutex::new(waiting),
            news: Condvar::new(),
            turn: Mutex::default(),
            inner: Box::new(inner),
            listener: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), interval: Duration::from_secs(2), thread: Mutex::new(None) }
    }

    /// A point is passed on when it has changed so often. Default 10; 0 counts as 1.
    #[must_use]
    pub fn update_threshold(self, updates: u32) -> Self {
        lock(&self.shared.waiting).threshold = updates.max(1);
        self
    }

    /// A point is passed on when it has waited for so long. Default 2 s.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        lock(&self.shared.waiting).timeout = timeout;
        self
    }

    /// How often it is checked whether there is something to pass on. Default 2 s; not less
    /// than a millisecond.
    #[must_use]
    pub fn update_interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Called with what goes wrong where nobody waits for an answer, on this adapter's thread.
    #[must_use]
    pub fn on_error(self, listener: impl Fn(&StoreError) + Send + Sync + 'static) -> Self {
        *lock(&self.shared.listener) = Some(Box::new(listener));
        self
    }

    /// Starts the thread, once there is something for it to do.
    fn start(&self) -> Result<(), StoreError> {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let (shared, interval) = (Arc::clone(&self.shared), self.interval);
            let started = thread::Builder::new()
                .name("amps-recovery-points".to_owned())
                .spawn(move || shared.pass_on_until_closed(interval));
            *thread = Some(started.map_err(StoreError::other)?);
        }
        Ok(())
    }
}

impl Shared {
    fn pass_on_until_closed(&self, interval: Duration) {
        let begun = Instant::now();
        loop {
            let mut waiting = lock(&self.waiting);
            while waiting.points.is_empty() && !waiting.closed {
                waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if waiting.closed {
                return;
            }
            drop(waiting);
            if let Err(error) = self.pass_on(begun.elapsed()) {
                self.report(&error);
            }
            let waiting = lock(&self.waiting);
            let wait = self.news.wait_timeout_while(waiting, interval, |waiting| !waiting.closed);
            drop(wait);
        }
    }

    /// Passes on what is due; the first error.
    fn pass_on(&self, now: Duration) -> Result<(), StoreError> {
        let _turn = lock(&self.turn);
        let due = lock(&self.waiting).due(now);
        let mut outcome = Ok(());
        for (sub_id, point) in due {
            let update = StoredPoint { sub_id: sub_id.clone(), bookmark: point.bookmark.clone() };
            if let Err(error) = self.inner.update(update) {
                lock(&self.waiting).put_back(sub_id, point);
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    /// Once.
    fn close_inner(&self) -> Result<(), StoreError> {
        let mut turn = lock(&self.turn);
        if mem::replace(&mut turn.inner_closed, true) { Ok(()) } else { self.inner.close() }
    }

    fn report(&self, error: &StoreError) {
        if let Some(listener) = &*lock(&self.listener) {
            listener(error);
        }
    }
}

impl RecoveryPointAdapter for ConflatingRecoveryPointAdapter {
    fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
        let _turn = lock(&self.shared.turn);
        self.shared.inner.recovered()
    }

    fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        let first = waiting.add(point);
        drop(waiting);
        if first {
            self.start()?;
            self.shared.news.notify_one();
        }
        Ok(())
    }

    fn purge(&self) -> Result<(), StoreError> {
        let _turn = lock(&self.shared.turn);
        lock(&self.shared.waiting).points.clear();
        self.shared.inner.purge()
    }

    fn purge_sub(&self, sub_id: &str) -> Result<(), StoreError> {
        let _turn = lock(&self.shared.turn);
        lock(&self.shared.waiting).points.remove(sub_id);
        self.shared.inner.purge_sub(sub_id)
    }

    fn prune(&self) -> Result<(), StoreError> {
        let _turn = lock(&self.shared.turn);
        self.shared.inner.prune()
    }

    fn close(&self) -> Result<(), StoreError> {
        lock(&self.shared.waiting).closed = true;
        self.shared.news.notify_one();
        let here = thread::current().id();
        if let Some(thread) = lock(&self.thread).take().filter(|thread| thread.thread().id() != here) {
            // It ends by itself; if it has panicked, what is left is passed on here.
            let _ = thread.join();
        }
        self.shared.pass_on(Duration::MAX)?;
        self.shared.close_inner()
    }
}

/// Passes on what is left, as `close` does, and reports what goes wrong.
impl Drop for ConflatingRecoveryPointAdapter {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            self.shared.report(&error);
            if let Err(error) = self.shared.close_inner() {
                self.shared.report(&error);
            }
        }
    }
}

impl fmt::Debug for ConflatingRecoveryPointAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConflatingRecoveryPointAdapter")
            .field("interval", &self.interval)
            .field("waiting", &*lock(&self.shared.waiting))
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Waiting {
        Waiting { points: BTreeMap::new(), threshold: 3, timeout: Duration::from_secs(2), closed: false }
    }

    fn point(sub_id: &str, sequence: u64) -> StoredPoint {
        StoredPoint { sub_id: sub_id.to_owned(), bookmark: format!("1|{sequence}|") }
    }

    fn due(waiting: &mut Waiting, millis: u64) -> Vec<(String, String)> {
        let due = waiting.due(Duration::from_millis(millis));
        due.into_iter().map(|(sub_id, point)| (sub_id, point.bookmark)).collect()
    }

    fn named(sub_id: &str, bookmark: &str) -> Vec<(String, String)> {
        vec![(sub_id.to_owned(), bookmark.to_owned())]
    }

    #[test]
    fn the_newest_point_is_due_after_enough_updates_or_enough_time() {
        let mut waiting = waiting();
        assert!(waiting.add(point("often", 1)));
        assert!(!waiting.add(point("seldom", 1)));
        assert_eq!(due(&mut waiting, 0), []);
        waiting.add(point("often", 2));
        waiting.add(point("often", 3));
        assert_eq!(due(&mut waiting, 1000), named("often", "1|3|"));
        assert_eq!(due(&mut waiting, 1999), []);
        assert_eq!(due(&mut waiting, 2000), named("seldom", "1|1|"));
        assert_eq!(due(&mut waiting, 9000), []);
    }

    #[test]
    fn what_failed_is_tried_again_unless_there_is_something_newer() {
        let mut waiting = waiting();
        for sequence in 1..=3 {
            waiting.add(point("a", sequence));
        }
        let mut failed = waiting.due(Duration::ZERO);
        waiting.put_back("a".to_owned(), failed.remove("a").unwrap());
        assert_eq!(due(&mut waiting, 0), []);
        assert_eq!(due(&mut waiting, 2000), named("a", "1|3|"));
        for sequence in 1..=3 {
            waiting.add(point("a", sequence));
        }
        let mut failed = waiting.due(Duration::ZERO);
        waiting.add(point("a", 4));
        waiting.put_back("a".to_owned(), failed.remove("a").unwrap());
        waiting.closed = true;
        assert_eq!(due(&mut waiting, 0), named("a", "1|4|"));
    }
}
