//! Describing a map.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::keeper::{Keeper, OnChange, OnError};
use super::table::{KeyOf, Table};
use super::{Change, Handle, Kept, SowMap};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::placement::Starting;
use crate::subscribe::Subscribe;
use crate::subscription::Subscription;
use crate::typed::TypedError;

/// Records per message of the result, if not told otherwise.
const BATCH: u64 = 100;

/// A [`SowMap`] in the making; [`start`](Self::start) makes it.
///
/// ```
/// use std::time::Duration;
/// # let server = amps_testkit::FakeServer::builder()
/// #     .sow(amps_testkit::SowConfig::new("orders").key("/id")).start()?;
/// # let uri = server.uri("json");
/// #[derive(serde::Deserialize)]
/// struct Order {
///     region: String,
///     qty: u64,
/// }
///
/// let client = amps_client::Client::builder("desk-7").server(&uri).connect()?;
/// client.publish("orders", r#"{"id":1,"region":"EU","qty":5}"#)?;
/// client.publish("orders", r#"{"id":2,"region":"US","qty":8}"#)?;
/// client.flush(Duration::from_secs(10))?;
/// let european = client
///     .sow_map::<u64, Order>("orders")
///     .key_field("/id")
///     .filter("/region = 'EU'")
///     .delta()
///     .start()?;
/// european.wait_ready(Duration::from_secs(10))?;
/// assert_eq!(european.get(&1).unwrap().qty, 5);
/// assert_eq!(european.len(), 1);
/// # assert_eq!(european.get(&1).unwrap().region, "EU");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a map is made by `start`"]
pub struct SowMapBuilder<K, V> {
    client: Client,
    topic: String,
    key_of: KeyOf<K, V>,
    merges: bool,
    change: Vec<Box<dyn FnOnce(Subscribe) -> Subscribe + Send>>,
    on_change: Option<OnChange<K, V>>,
    on_error: Option<OnError>,
}

impl Client {
    /// Begins to describe a map of the records of a topic, kept up to date; see [`SowMap`].
    pub fn sow_map<K, V>(&self, topic: impl Into<String>) -> SowMapBuilder<K, V> {
        SowMapBuilder {
            client: self.clone(),
            topic: topic.into(),
            key_of: KeyOf::Record,
            merges: false,
            change: Vec::new(),
            on_change: None,
            on_error: None,
        }
    }
}

impl<K, V> SowMapBuilder<K, V> {
    /// Takes a field of the value as the key, named by a path such as `/id` or `/customer/name`. It should tell the
    /// records apart: of two under one key only the newest is seen. Not an integer beyond 64 bits. Default: the key
    /// that the server gives the record, as a text, or as what the text says if `K` is no text (servers make them of
    /// digits that fit into an `u64`).
    pub fn key_field(mut self, path: impl Into<String>) -> Self {
        self.key_of = KeyOf::Field(path.into());
        self
    }

    /// Computes the key from the value; see [`key_field`](Self::key_field). A record for which this panics cannot be
    /// read.
    pub fn key_with(mut self, key: impl Fn(&V) -> K + Send + 'static) -> Self {
        self.key_of = KeyOf::Function(Box::new(key));
        self
    }

    /// Only records that match; one that does not any more is removed. Default: all.
    pub fn filter(self, filter: impl Into<String>) -> Self {
        let filter = filter.into();
        self.describe(|subscribe| subscribe.filter(filter))
    }

    /// Has the server send only the fields of an update that changed, and merges them into the record: names are
    /// replaced leaf by leaf, lists as a whole. Saves bandwidth, and keeps each record a second time, as JSON. A
    /// field that a publisher leaves out of a whole record stays: deltas cannot say that it is gone.
    ///
    /// An update that is no JSON may have said anything: the record is out of the map, and each further update of it
    /// told to [`on_error`](Self::on_error), until it comes as a whole, in the result that follows a reconnect or
    /// after it was deleted or out of the filter.
    ///
    /// Values are made of the merged [`serde_json::Value`], which has no integer beyond 64 bits, rounds longer
    /// decimals, and makes no `RawValue`. Where that matters leave this off: then they are read from the bytes.
    ///
    /// Not together with [`conflate`](Subscribe::conflate), by which the client drops messages that are not read
    /// yet: updates would be lost. [`conflation`](Self::conflation) by the server is possible.
    pub fn delta(mut self) -> Self {
        self.merges = true;
        self
    }

    /// Has the server hold updates back, and send at most the last one of each interval for each record.
    pub fn conflation(self, interval: Duration) -> Self {
        self.describe(move |subscribe| subscribe.conflation(interval))
    }

    /// Records per message of the result. Default 100, at most 10,000.
    pub fn batch_size(self, records: u64) -> Self {
        self.describe(move |subscribe| subscribe.batch_size(records))
    }

    /// How long [`start`](Self::start) waits for the server's answer. Default: the client's
    /// [`command_timeout`](crate::ClientBuilder::command_timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        self.describe(move |subscribe| subscribe.timeout(timeout))
    }

    /// Says anything else about the query and subscription, such as `|s| s.max_depth(1000)`. The map needs
    /// out-of-focus messages and record keys: leave them on. `|s| s.conflate()` is not possible with
    /// [`delta`](Self::delta).
    pub fn describe(mut self, change: impl FnOnce(Subscribe) -> Subscribe + Send + 'static) -> Self {
        self.change.push(Box::new(change));
        self
    }

    /// Called for each change, in order, after it is in the map, on the thread of the map and without a lock: it
    /// may read the map, call the client, and take its time. A panic is reported to the client's
    /// [`on_error`](crate::ClientBuilder::on_error), and the map goes on. It should not hold a clone of its own map,
    /// which would never end by being dropped then.
    pub fn on_change(mut self, listener: impl FnMut(&Change<K, V>) + Send + 'static) -> Self {
        self.on_change = Some(Box::new(listener));
        self
    }

    /// Called for each record that cannot be read, with the raw message, and for what ends the map. In the way of
    /// [`on_change`](Self::on_change). Default: the client's
    /// [`on_error`](crate::ClientBuilder::on_error) is told, without what the record says.
    pub fn on_error(mut self, listener: impl FnMut(&TypedError) + Send + 'static) -> Self {
        self.on_error = Some(Box::new(listener));
        self
    }
}

impl<K, V> SowMapBuilder<K, V>
where
    K: Eq + Hash + Clone + DeserializeOwned + Send + Sync + 'static,
    V: DeserializeOwned + Send + Sync + 'static,
{
    /// Sends the query, waits until the server has accepted it, and returns the map, which fills by itself:
    /// [`SowMap::wait_ready`] waits for that.
    ///
    /// # Errors
    /// As for [`Subscribe::start`], and if the system has no thread left; `InvalidArgument` for
    /// [`delta`](Self::delta) with [`conflate`](Subscribe::conflate).
    pub fn start(self) -> Result<SowMap<K, V>> {
        let (subscribe, making) = self.prepare()?;
        making.finish(subscribe.start()?)
    }

    /// As [`start`](Self::start), for async code: the query is written now. Safe to cancel: dropping it ends the
    /// subscription. [`SowMap::ready_future`] waits for the rows.
    ///
    /// # Errors
    /// As for `start`.
    pub fn start_future(self) -> impl Future<Output = Result<SowMap<K, V>>> + Send {
        let begun = self.prepare().map(|(subscribe, making)| {
            let starting: Starting = subscribe.start_future();
            (starting, making)
        });
        async move {
            let (starting, making) = begun?;
            making.finish(starting.await?)
        }
    }

    fn prepare(self) -> Result<(Subscribe, Making<K, V>)> {
        let Self { client, topic, key_of, merges, change, on_change, on_error } = self;
        let described = if merges {
            client.sow_and_delta_subscribe(topic.clone())
        } else {
            client.sow_and_subscribe(topic.clone())
        };
        let described = change.into_iter().fold(described.batch_size(BATCH), |s, change| change(s)).oof();
        if merges && described.conflates() {
            return Err(Error::InvalidArgument(format!(
                "the map of \"{topic}\" merges deltas, and client-side conflation would drop some of them; leave out `delta` or `conflate`"
            )));
        }
        Ok((described, Making { client, topic, table: Table::new(key_of, merges), on_change, on_error }))
    }
}

/// What is needed once the server has agreed.
struct Making<K, V> {
    client: Client,
    topic: String,
    table: Table<K, V>,
    on_change: Option<OnChange<K, V>>,
    on_error: Option<OnError>,
}

impl<K, V> Making<K, V>
where
    K: Eq + Hash + Clone + DeserializeOwned + Send + Sync + 'static,
    V: DeserializeOwned + Send + Sync + 'static,
{
    fn finish(self, subscription: Subscription) -> Result<SowMap<K, V>> {
        let Self { client, topic, table, on_change, on_error } = self;
        // Its thread reads it from now on.
        subscription.forget_reader();
        let closer = subscription.closer();
        let kept = Arc::new(Kept::new());
        let keeper = Keeper {
            name: topic.clone(),
            hooks: client.hooks(),
            kept: Arc::clone(&kept),
            table,
            on_change,
            on_error,
        };
        let thread = std::thread::Builder::new().name(format!("amps-map-{topic}"));
        let thread = thread.spawn(move || keeper.run(subscription));
        let thread = thread.map_err(|error| Error::EventLoop(Arc::new(error)))?;
        let keeper = thread.thread().id();
        Ok(SowMap { handle: Arc::new(Handle { client, closer, kept, keeper }) })
    }
}

impl<K, V> fmt::Debug for SowMapBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SowMapBuilder").field("topic", &self.topic).finish_non_exhaustive()
    }
}
