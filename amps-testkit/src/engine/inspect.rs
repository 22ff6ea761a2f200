//! The rest of what can be seen of an engine (server.md OBS-04): records, topics, sequence
//! numbers, replays, and everything that waits for a time.
//!
//! Owns copies only: nothing here can change the engine.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use amps_protocol::MessageId;
use amps_transport::{ConnId, Time};

use super::Engine;
use super::snapshot::ConnectionSnapshot;
use super::subscription::SubKey;
use super::timers::Timer;
use crate::clock::NextTimer;

/// A record of the state of the world at one moment.
///
/// ```
/// use amps_testkit::{FakeServer, SowConfig};
///
/// let server = FakeServer::builder().sow(SowConfig::new("orders").key("/id")).start()?;
/// server.publish("orders", "{\"id\":1}").unwrap();
/// let records = server.sow("orders");
/// assert_eq!(records[0].body, b"{\"id\":1}");
/// assert_eq!(records[0].expires, None);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SowRecord {
    /// Its topic.
    pub topic: String,
    /// The message type.
    pub message_type: String,
    /// Its key.
    pub key: String,
    /// The body.
    pub body: Vec<u8>,
    /// The correlation id.
    pub correlation: Option<Vec<u8>>,
    /// The client name of who published it last.
    pub publisher: String,
    /// The bookmark of the last change, if the topic is logged.
    pub bookmark: Option<MessageId>,
    /// When it changed last.
    pub updated: Time,
    /// When it expires, if it does.
    pub expires: Option<Time>,
}

/// A configured topic with a state of the world at one moment.
///
/// ```
/// use amps_testkit::{FakeServer, SowConfig};
///
/// let server = FakeServer::builder().sow(SowConfig::new("orders").key("/id")).start()?;
/// let topics = server.topics();
/// assert_eq!((topics[0].name.as_str(), topics[0].records, topics[0].derived), ("orders", 0, false));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSnapshot {
    /// Its name, or that of the container of all topics that match a pattern.
    pub name: String,
    /// The message type.
    pub message_type: String,
    /// How many records it has.
    pub records: usize,
    /// Whether it is a view or a conflated topic, which nobody publishes to.
    pub derived: bool,
    /// Whether what is published to it is logged.
    pub logged: bool,
}

/// The highest sequence number of a publisher.
///
/// ```
/// use amps_testkit::FakeServer;
///
/// let server = FakeServer::builder().start()?;
/// server.set_sequence("app", 7).unwrap();
/// let sequences = server.sequences();
/// assert_eq!((sequences[0].client.as_deref(), sequences[0].sequence), (Some("app"), 7));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherSequence {
    /// The client name, if anybody is known by it: a connection, a message in the log. `None`
    /// also for the numbers that the server gives to what comes without.
    pub client: Option<String>,
    /// The first part of the publisher's bookmarks.
    pub publisher: u64,
    /// The highest number seen.
    pub sequence: u64,
}

/// Where a bookmark subscription stands at one moment.
///
/// ```
/// use amps_testkit::ReplaySnapshot;
///
/// let caught_up = ReplaySnapshot { after: None, remaining: 0, paused: false };
/// assert_eq!(caught_up.remaining, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplaySnapshot {
    /// The last bookmark before its place in the log, if that is still there.
    pub after: Option<MessageId>,
    /// So many items of the log it has not looked at; they need not be for it.
    pub remaining: u64,
    /// Whether it is paused.
    pub paused: bool,
}

impl Engine {
    /// The records of a topic, or of a container of topics, in the order of their insertion.
    pub fn sow(&self, topic: &str) -> Vec<SowRecord> {
        let mut records = self.all_records();
        let of_container =
            self.topic_tables().any(|table| *table.name == *topic && table.only_topic().is_none());
        if of_container {
            let tables = self.topic_tables().filter(|table| *table.name == *topic);
            return tables.flat_map(|table| self.records_in(table)).collect();
        }
        records.retain(|record| record.topic == topic);
        records
    }

    /// Every record, by topic in the order of the configuration.
    pub fn all_records(&self) -> Vec<SowRecord> {
        self.topic_tables().flat_map(|table| self.records_in(table)).collect()
    }

    /// What can be seen of queues is no topic.
    pub(super) fn topic_tables(&self) -> impl Iterator<Item = &super::Table> {
        self.sow.iter().filter(|table| table.queue.is_none())
    }

    fn records_in<'e>(&'e self, table: &'e super::Table) -> impl Iterator<Item = SowRecord> + 'e {
        table.records().map(|record| SowRecord {
            topic: record.topic.to_string(),
            message_type: self.types.name(table.message_type).to_owned(),
            key: record.key.to_string(),
            body: record.body.to_vec(),
            correlation: record.correlation.as_deref().map(<[u8]>::to_vec),
            publisher: record.publisher.to_string(),
            bookmark: record.bookmark,
            updated: record.updated,
            expires: record.expires,
        })
    }

    /// The topics with a state of the world, in the order of the configuration.
    pub fn topics(&self) -> Vec<TopicSnapshot> {
        let snapshot = |table: &super::Table| TopicSnapshot {
            name: table.name.to_string(),
            message_type: self.types.name(table.message_type).to_owned(),
            records: table.len(),
            derived: table.is_derived,
            logged: !table.is_derived && self.log.covers(table.message_type, &table.name),
        };
        self.topic_tables().map(snapshot).collect()
    }

    /// The names of all queues, in the order of the configuration.
    pub fn queue_names(&self) -> Vec<String> {
        self.queues.iter().map(|queue| queue.name.to_string()).collect()
    }

    /// The highest sequence number of every publisher.
    pub fn sequences(&self) -> Vec<PublisherSequence> {
        let mut names: BTreeMap<u64, String> = self.scripted.publishers().collect();
        for message in self.logged_messages() {
            if self.client_hash(&message.publisher) == message.bookmark.publisher {
                names.insert(message.bookmark.publisher, message.publisher);
            }
        }
        for connection in self.connections.values() {
            if let Some(identity) = &connection.identity {
                names.insert(identity.hash, connection.client_name.to_string());
            }
        }
        let known = |MessageId { publisher, sequence }| PublisherSequence {
            client: names.get(&publisher).cloned(),
            publisher,
            sequence,
        };
        self.log.sequences().map(known).collect()
    }

    /// The connections, with the bytes that each has not taken yet.
    pub(crate) fn connections_with(&self, unsent: &dyn Fn(ConnId) -> usize) -> Vec<ConnectionSnapshot> {
        let mut connections = self.connections();
        for (conn, connection) in &self.connections {
            let snapshot = connections.iter_mut().find(|snapshot| snapshot.index == connection.index);
            if let Some(snapshot) = snapshot {
                snapshot.pending_bytes = unsent(*conn);
            }
        }
        connections
    }

    pub(super) fn replay_of(&self, key: SubKey) -> Option<ReplaySnapshot> {
        let (cursor, end, paused) = self.replays.place_of(key, &self.log)?;
        let after = self.log.bookmark_before(cursor);
        Some(ReplaySnapshot { after, remaining: end.saturating_sub(cursor), paused })
    }

    /// Everything that waits for a time, the earliest first.
    pub(crate) fn timers(&self) -> Vec<NextTimer> {
        let mut all: Vec<NextTimer> = Vec::new();
        for (at, timer) in self.timers.all() {
            match timer {
                Timer::Queue(index) => all.extend(self.queue_timers(index, at)),
                _ => all.extend(self.describe_timer(at, timer)),
            }
        }
        all.sort_by_key(|timer| timer.at);
        all
    }
}
