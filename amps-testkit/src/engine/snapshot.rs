//! Views of the engine's state, for tests and for the handle of a server.
//!
//! Owns copies only: nothing here can change the engine.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::net::SocketAddr;
use std::time::Duration;

use amps_transport::Time;

use super::Engine;
use super::inspect::ReplaySnapshot;
use super::queue::{Place, Queue, QueueCounters, QueueMessage};
use super::selector::Facts;
use super::subscription::Subscription;
use super::txlog::Entry;

/// A connection at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSnapshot {
    /// Counted from 0 in the order of arrival.
    pub index: u64,
    /// The address of the client.
    pub peer: Option<SocketAddr>,
    /// When it connected, by the server's time.
    pub since: Time,
    /// Frames that came from it, whatever became of them. What a scripted fault has swallowed is not among
    /// them.
    pub received: u64,
    /// Frames that it was sent, those included that are still pending.
    pub sent: u64,
    /// The client's name; `None` before the logon.
    pub client_name: Option<String>,
    /// The authenticated user; empty if there is none.
    pub user: String,
    /// The message type; empty before the logon.
    pub message_type: String,
    /// The interval of heartbeats, where they run.
    pub heartbeat: Option<Duration>,
    /// Bytes that it was sent and that its socket, or a scripted fault, has not let go yet. An
    /// engine by itself knows of none.
    pub pending_bytes: usize,
    /// The subscriptions, in the order of creation.
    pub subscriptions: Vec<SubscriptionSnapshot>,
}

/// A subscription at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionSnapshot {
    /// Its id.
    pub id: String,
    /// The topic, or the pattern of topics.
    pub topic: String,
    /// The content filter.
    pub filter: Option<String>,
    /// The options as sent.
    pub options: String,
    /// The granted backlog, if it covers a queue.
    pub backlog: Option<u32>,
    /// Queue messages in hand.
    pub leased: u32,
    /// Whether it gets what changed instead of whole messages.
    pub delta: bool,
    /// Where it stands in the transaction log, if it follows that.
    pub replay: Option<ReplaySnapshot>,
}

/// A queue at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSnapshot {
    /// Its name.
    pub name: String,
    /// What waits, oldest first.
    pub available: Vec<QueuedMessage>,
    /// What is leased, oldest first.
    pub leased: Vec<QueuedMessage>,
    /// What other instances deliver, oldest first.
    pub elsewhere: Vec<QueuedMessage>,
    /// Totals since the start.
    pub counters: QueueCounters,
}

/// A message in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// What acknowledges it.
    pub bookmark: String,
    /// The body.
    pub body: Vec<u8>,
    /// The client that holds the lease, if one does.
    pub holder: Option<String>,
    /// The subscription that holds the lease, if one does.
    pub sub_id: Option<String>,
    /// When the lease ends, if it ends by time.
    pub lease_end: Option<Time>,
    /// How often it was delivered.
    pub deliveries: u32,
    /// How often it was cancelled.
    pub cancels: u32,
}

/// Totals of the whole server since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages published: accepted, duplicates not counted.
    pub published: u64,
    /// Frames with messages sent, redeliveries included.
    pub delivered: u64,
    /// Queue messages acknowledged.
    pub acknowledged: u64,
    /// Leases that ended by time.
    pub expired_leases: u64,
    /// Queue messages given back by their holder.
    pub cancels: u64,
}

impl Engine {
    /// The connections, in the order of arrival.
    pub fn connections(&self) -> Vec<ConnectionSnapshot> {
        let snapshot = |connection: &super::Connection| ConnectionSnapshot {
            index: connection.index,
            peer: connection.peer,
            since: connection.since,
            received: connection.received,
            sent: connection.sent,
            client_name: connection.is_ready().then(|| connection.client_name.to_string()),
            user: connection.identity.as_ref().map_or_else(String::new, |identity| identity.user.to_string()),
            message_type: self.types.name(connection.message_type).to_owned(),
            heartbeat: connection.heartbeat,
            pending_bytes: 0,
            subscriptions: self.subscriptions_of(connection),
        };
        let mut connections: Vec<_> = self.connections.values().map(snapshot).collect();
        connections.sort_by_key(|connection| connection.index);
        connections
    }

    fn subscriptions_of(&self, connection: &super::Connection) -> Vec<SubscriptionSnapshot> {
        let mut keys: Vec<_> = connection.subscriptions.values().copied().collect();
        keys.sort_unstable();
        let found = keys.iter().filter_map(|key| Some((key, self.subscriptions.get(key)?)));
        found
            .map(|(key, subscription)| SubscriptionSnapshot {
                id: subscription.id.to_string(),
                topic: subscription.pattern.text().to_owned(),
                filter: subscription
                    .selector
                    .as_ref()
                    .and_then(|selector| selector.text())
                    .map(str::to_owned),
                options: subscription.options.to_string(),
                backlog: subscription.backlog,
                leased: subscription.leased,
                delta: subscription.delta().is_some(),
                replay: self.replay_of(*key),
            })
            .collect()
    }

    /// The queue of that name.
    pub fn queue(&self, name: &str) -> Option<QueueSnapshot> {
        let queue = self.queues.iter().find(|queue| *queue.name == *name)?;
        let (leased, others): (Vec<_>, Vec<_>) =
            queue.messages().map(|(_, message)| message).partition(|message| message.lease.is_some());
        let (available, elsewhere): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|message| message.owner.is_none());
        Some(QueueSnapshot {
            name: name.to_owned(),
            available: available.into_iter().map(|message| self.queued(message)).collect(),
            leased: leased.into_iter().map(|message| self.queued(message)).collect(),
            elsewhere: elsewhere.into_iter().map(|message| self.queued(message)).collect(),
            counters: queue.counters.clone(),
        })
    }

    fn queued(&self, message: &QueueMessage) -> QueuedMessage {
        let holder = message.lease.map(|lease| lease.holder);
        let connection = holder.and_then(|holder| self.connections.get(&holder.conn));
        let subscription = holder.and_then(|holder| self.subscriptions.get(&holder.sub));
        QueuedMessage {
            bookmark: message.entry.bookmark.to_string(),
            body: message.entry.body.to_vec(),
            holder: connection.map(|connection| connection.client_name.to_string()),
            sub_id: subscription.map(|subscription| subscription.id.to_string()),
            lease_end: message.lease.and_then(|lease| lease.until),
            deliveries: message.deliveries,
            cancels: message.cancels,
        }
    }

    /// Totals since the start.
    pub fn counters(&self) -> Counters {
        let sum = |count: fn(&QueueCounters) -> u64| self.queues.iter().map(|q| count(&q.counters)).sum();
        Counters {
            published: self.published,
            delivered: self.delivered,
            acknowledged: sum(|counters| counters.acknowledged),
            expired_leases: sum(|counters| counters.expired_leases),
            cancels: sum(|counters| counters.cancels),
        }
    }

    /// Messages in the transaction log.
    pub fn logged(&self) -> usize {
        self.log.len()
    }

    /// Every contradiction in the engine's books. Empty, unless the engine is wrong.
    #[doc(hidden)]
    pub fn contradictions(&self) -> Vec<String> {
        let mut found: Vec<String> = self.queues.iter().flat_map(Queue::contradictions).collect();
        found
            .extend(self.queues.iter().filter(|queue| queue.can_deliver()).filter_map(|q| self.forgotten(q)));
        found.extend(self.replay_contradictions());
        for (key, subscription) in &self.subscriptions {
            let held: usize = self.queues.iter().map(|queue| queue.unacknowledged_by(*key)).sum();
            if subscription.leased as usize != held {
                let id = &subscription.id;
                found.push(format!("{id} counts {} in hand, the queues count {held}", subscription.leased));
            }
        }
        found
    }

    /// A message that somebody could have had, found without the shortcuts of the dispatch.
    fn forgotten(&self, queue: &Queue) -> Option<String> {
        let subscriptions = queue.members.keys().filter_map(|key| self.subscriptions.get(key));
        let wanted = |subscription: &Subscription| {
            let selector = subscription.selector.as_ref();
            let matches = |entry: &Entry| {
                selector.is_none_or(|selector| {
                    let document = queue.format.read(&entry.body);
                    selector
                        .matches(Facts::of(entry, &queue.format, &document).read_as(&queue.name), Time::EPOCH)
                })
            };
            subscription.has_room().then(|| queue.find_available(Place::default(), matches)).flatten()
        };
        let (place, id) = subscriptions.filter_map(|s| Some((wanted(s)?, &s.id))).next()?;
        Some(format!("message {} of {} waits although {id} would take it", place.position, queue.name))
    }
}
