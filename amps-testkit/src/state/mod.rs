//! Everything that can be seen of a server at one moment (server.md OBS-04).
//!
//! Owns the whole, put together from the engine's copies; [`json`] is how it is written.

use amps_transport::Time;

use crate::clock::NextTimer;
use crate::engine::{
    ConnectionSnapshot, Counters, LinkSnapshot, LogRecord, PublisherSequence, QueueSnapshot, SowRecord,
    TopicSnapshot,
};
use crate::shell::View;

pub(crate) mod json;
pub(crate) mod overview;

/// Everything that a server holds, at one moment between two inputs.
///
/// ```
/// use amps_testkit::{FakeServer, SowConfig};
///
/// let server = FakeServer::builder().sow(SowConfig::new("orders").key("/id")).virtual_clock().start()?;
/// server.publish("orders", "{\"id\":1}").unwrap();
/// let state = server.state();
/// assert_eq!((state.records.len(), state.log.len(), state.counters.published), (1, 1, 1));
/// assert_eq!(state.to_json()["records"][0]["body"], "{\"id\":1}");
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerState {
    /// The server's time.
    pub now: Time,
    /// Whether the time moves only when it is told to.
    pub virtual_clock: bool,
    /// The connections with their subscriptions, in the order of arrival.
    pub connections: Vec<ConnectionSnapshot>,
    /// The topics with a state of the world.
    pub topics: Vec<TopicSnapshot>,
    /// Their records.
    pub records: Vec<SowRecord>,
    /// The transaction log, oldest first.
    pub log: Vec<LogRecord>,
    /// The queues with their messages.
    pub queues: Vec<QueueSnapshot>,
    /// The sequence numbers of publishers.
    pub sequences: Vec<PublisherSequence>,
    /// The links to other instances, with what waits to be sent to each.
    pub links: Vec<LinkSnapshot>,
    /// What waits for a time, the earliest first.
    pub timers: Vec<NextTimer>,
    /// Totals since the start.
    pub counters: Counters,
}

impl ServerState {
    pub(crate) fn of(view: &View<'_>) -> Self {
        let engine = view.engine;
        Self {
            now: view.now,
            virtual_clock: view.virtual_clock,
            connections: engine.connections_with(view.unsent),
            topics: engine.topics(),
            records: engine.all_records(),
            log: engine.log(),
            queues: engine.queue_names().iter().filter_map(|name| engine.queue(name)).collect(),
            sequences: engine.sequences(),
            links: engine.links(),
            timers: view.timers(),
            counters: engine.counters(),
        }
    }
}
