//! The records of a topic as a map that keeps itself up to date.
//!
//! Owns the map that the application reads, the thread that keeps it (`keeper.rs`), and its description
//! (`builder.rs`); what a message changes is in `table.rs`. User code never runs with a lock held.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::error::{DisconnectCause, Error, Result};
use crate::parked::Parked;
use crate::subscription::Closer;

mod builder;
pub use builder::SowMapBuilder;
mod keeper;
mod table;

use table::Rows;

/// What happened to one row of a [`SowMap`].
///
/// ```
/// use amps_client::Change;
/// let change = Change::Inserted { key: 7, value: std::sync::Arc::new("seven") };
/// assert_eq!(*change.key(), 7);
/// ```
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<K, V> {
    /// There is a row that was not there.
    Inserted {
        /// Its key.
        key: K,
        /// What it is now.
        value: Arc<V>,
    },
    /// A row was published again, perhaps with the same value.
    Updated {
        /// Its key.
        key: K,
        /// What it was.
        old: Arc<V>,
        /// What it is now.
        value: Arc<V>,
    },
    /// A row is not there any more: it was deleted, expired, does not match the filter any more, or cannot be
    /// read any more.
    Removed {
        /// Its key.
        key: K,
        /// What it was.
        old: Arc<V>,
    },
}

impl<K, V> Change<K, V> {
    /// The key of the row.
    pub const fn key(&self) -> &K {
        match self {
            Self::Inserted { key, .. } | Self::Updated { key, .. } | Self::Removed { key, .. } => key,
        }
    }
}

/// How a [`SowMap`] stands to its topic.
///
/// ```
/// use amps_client::MapState;
/// # let server = amps_testkit::FakeServer::builder()
/// #     .sow(amps_testkit::SowConfig::new("orders").key("/id")).start()?;
/// # let uri = server.uri("json");
/// let client = amps_client::Client::builder("desk-7").server(&uri).connect()?;
/// let orders = client.sow_map::<u64, String>("orders").key_field("/id").start()?;
/// orders.wait_ready(std::time::Duration::from_secs(10))?;
/// assert_eq!(orders.state(), MapState::Current);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MapState {
    /// The first result is on its way.
    Loading,
    /// It is as the server last told. While there is no connection, see
    /// [`Client::is_connected`](crate::Client::is_connected), nothing is told.
    Current,
    /// There was a reconnect, and the result is on its way again: rows may be out of date until it is there.
    Resynchronizing,
    /// Nothing keeps it up to date any more; see [`SowMap::error`].
    Ended,
}

/// The records of a topic, as values of the type `V` under keys of the type `K`, kept up to date by a query with a
/// subscription; made by [`Client::sow_map`].
///
/// Any thread may read it, at any time, without waiting for the server: [`get`](Self::get) one row,
/// [`snapshot`](Self::snapshot) or [`iter`](Self::iter) for all as they are at one moment. Values are shared, not
/// copied.
///
/// A thread of its own keeps it, and calls [`SowMapBuilder::on_change`], which may take its time: what is not
/// applied yet waits in a stream within the limits of the client, and then on the server.
///
/// # When the connection is lost
///
/// The rows stay as they are. After a reconnect the query runs again; rows that vanished meanwhile are removed when
/// its result is there, with an event for each, and each that is still there is told as updated. Without a
/// reconnect policy the map ends, with [`error`](Self::error), and keeps its last rows.
///
/// # The end
///
/// The map lives as long as any clone of it. The last drop ends the subscription, [`close`](Self::close) does it
/// for all clones.
///
/// ```
/// use std::time::Duration;
/// use amps_client::{Change, Client};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .sow(amps_testkit::SowConfig::new("prices").key("/symbol")).start()?;
/// # let uri = server.uri("json");
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Price {
///     symbol: String,
///     bid: f64,
/// }
///
/// let client = Client::builder("screen").server(&uri).connect()?;
/// client.publish_json("prices", &Price { symbol: "AMZN".into(), bid: 1.5 })?;
/// client.flush(Duration::from_secs(10))?;
///
/// let (sender, changes) = std::sync::mpsc::channel();
/// let prices = client
///     .sow_map::<String, Price>("prices")
///     .key_field("/symbol")
///     .on_change(move |change| _ = sender.send(change.key().clone()))
///     .start()?;
/// prices.wait_ready(Duration::from_secs(10))?;
/// assert_eq!(prices.get("AMZN").map(|price| price.bid), Some(1.5));
///
/// client.publish_json("prices", &Price { symbol: "IBM".into(), bid: 2.5 })?;
/// assert_eq!(changes.iter().take(2).collect::<Vec<_>>(), ["AMZN", "IBM"]);
/// assert_eq!(prices.iter().map(|(_, price)| price.bid).sum::<f64>(), 4.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SowMap<K, V> {
    handle: Arc<Handle<K, V>>,
}

/// What all clones share. Its end is the end of the subscription.
struct Handle<K, V> {
    client: Client,
    closer: Closer,
    kept: Arc<Kept<K, V>>,
    keeper: ThreadId,
}

impl<K, V> Drop for Handle<K, V> {
    fn drop(&mut self) {
        self.closer.close();
    }
}

/// What the thread that keeps the map shares with those who read it.
struct Kept<K, V> {
    inner: Mutex<Inner<K, V>>,
    /// The state has changed.
    changed: Condvar,
    parked: Parked,
}

struct Inner<K, V> {
    /// Replaced, and not changed, while somebody holds a snapshot.
    rows: Arc<Rows<K, V>>,
    state: MapState,
    error: Option<Error>,
    unreadable: usize,
}

impl<K, V> Kept<K, V> {
    fn new() -> Self {
        let inner =
            Inner { rows: Arc::new(HashMap::new()), state: MapState::Loading, error: None, unreadable: 0 };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), parked: Parked::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_state(&self, state: MapState, error: Option<Error>) {
        {
            let mut inner = self.lock();
            inner.state = state;
            if error.is_some() {
                inner.error = error;
            }
        }
        self.changed.notify_all();
        self.parked.wake();
    }
}

impl<K, V> Inner<K, V> {
    /// Whether whoever waits for the map has an answer.
    fn readiness(&self) -> Poll<Result<()>> {
        match self.state {
            MapState::Loading | MapState::Resynchronizing => Poll::Pending,
            MapState::Current => Poll::Ready(Ok(())),
            MapState::Ended => Poll::Ready(Err(self.error.clone().unwrap_or_else(closed))),
        }
    }
}

const fn closed() -> Error {
    Error::disconnected(DisconnectCause::ClosedByUser)
}

impl<K: Eq + Hash, V> SowMap<K, V> {
    /// The value under a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.handle.kept.lock().rows.get(key).cloned()
    }

    /// Whether there is a row under a key.
    pub fn contains_key<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
    {
        self.handle.kept.lock().rows.contains_key(key)
    }
}

impl<K, V> SowMap<K, V> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.handle.kept.lock().rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rows as they are now. It costs nothing by itself; the first change after it copies the map (keys, and
    /// references to values), so keep it no longer than needed.
    pub fn snapshot(&self) -> Arc<HashMap<K, Arc<V>>> {
        Arc::clone(&self.handle.kept.lock().rows)
    }

    /// Goes through all rows as they are now, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (K, Arc<V>)> + use<K, V>
    where
        K: Clone,
    {
        let rows: Vec<_> =
            self.snapshot().iter().map(|(key, value)| (key.clone(), Arc::clone(value))).collect();
        rows.into_iter()
    }

    /// How it stands to its topic.
    pub fn state(&self) -> MapState {
        self.handle.kept.lock().state
    }

    /// Why it has ended; `None` before that, and if the application ended it. A key that panics where it is hashed,
    /// compared or cloned ends it as well, with an error of the kind
    /// [`MessageHandler`](crate::ErrorKind::MessageHandler).
    pub fn error(&self) -> Option<Error> {
        self.handle.kept.lock().error.clone()
    }

    /// Records that are in the topic and not in the map, because they cannot be read. Each was told to
    /// [`SowMapBuilder::on_error`].
    pub fn unreadable(&self) -> usize {
        self.handle.kept.lock().unreadable
    }

    /// Waits until the first result is there, or, after a reconnect, that of the repeated query.
    ///
    /// # Errors
    /// `TimedOut`; why the map has ended, if it has; `Usage` on the client's event loop and in a listener of this
    /// map, which would wait for themselves.
    pub fn wait_ready(&self, timeout: Duration) -> Result<()> {
        self.handle.client.may_wait("wait_ready")?;
        if std::thread::current().id() == self.handle.keeper {
            return Err(Error::Usage(
                "wait_ready would wait for its own listener; call it from another thread",
            ));
        }
        let kept = &self.handle.kept;
        let give_up = Instant::now().checked_add(timeout);
        let mut inner = kept.lock();
        loop {
            if let Poll::Ready(result) = inner.readiness() {
                return result;
            }
            let left = give_up.map(|give_up| give_up.saturating_duration_since(Instant::now()));
            inner = match left {
                None => kept.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    return Err(Error::TimedOut { action: "wait for a SOW map".into(), after: timeout });
                }
                Some(left) => {
                    kept.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// As [`wait_ready`](Self::wait_ready), for async code, and without a limit: a runtime has timers. Safe to
    /// cancel: dropping it changes nothing. It does not keep the map alive: await it while you hold the map.
    ///
    /// # Errors
    /// Why the map has ended, if it has.
    pub async fn ready_future(&self) -> Result<()> {
        let kept = &self.handle.kept;
        kept.parked.until(|| kept.lock().readiness()).await
    }

    /// Ends the map, for all its clones: the subscription ends, and the rows stay as they are.
    pub fn close(&self) {
        self.handle.closer.close();
    }
}

impl<K, V> Clone for SowMap<K, V> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<K, V> fmt::Debug for SowMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.handle.kept.lock();
        f.debug_struct("SowMap").field("state", &inner.state).field("len", &inner.rows.len()).finish()
    }
}
