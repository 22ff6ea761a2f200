//! What a server holds, as JSON. Bodies are texts, or `{"hex": …}` where they are none; times as
//! AMPS writes them; spans as `"30s"`; what does not exist is `null`.

use serde_json::{Map, Value, json};

use super::ServerState;
use crate::clock::NextTimer;
use crate::engine::{
    ConnectionSnapshot, Counters, LinkSnapshot, LogRecord, MessageId, PublisherSequence, QueueSnapshot,
    QueuedMessage, SowRecord, SubscriptionSnapshot, TopicSnapshot, Via,
};
use crate::form::{bytes_to_json, span_to_json, time_to_json};

impl ServerState {
    /// The state as one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "now": time_to_json(self.now),
            "virtual_clock": self.virtual_clock,
            "connections": list(&self.connections, connection),
            "topics": list(&self.topics, topic),
            "records": list(&self.records, record),
            "log": list(&self.log, log_record),
            "queues": list(&self.queues, queue),
            "sequences": list(&self.sequences, sequence),
            "links": list(&self.links, link),
            "timers": list(&self.timers, timer),
            "counters": counters(&self.counters),
        })
    }
}

pub(crate) fn list<T>(items: &[T], write: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(write).collect())
}

fn bookmark(id: Option<MessageId>) -> Value {
    json!(id.map(|id| id.to_string()))
}

pub(crate) fn connection(connection: &ConnectionSnapshot) -> Value {
    json!({
        "index": connection.index,
        "peer": connection.peer.map(|peer| peer.to_string()),
        "since": time_to_json(connection.since),
        "received": connection.received,
        "sent": connection.sent,
        "client": connection.client_name,
        "user": connection.user,
        "message_type": connection.message_type,
        "heartbeat": connection.heartbeat.map(span_to_json),
        "pending_bytes": connection.pending_bytes,
        "subscriptions": list(&connection.subscriptions, subscription),
    })
}

pub(crate) fn subscription(subscription: &SubscriptionSnapshot) -> Value {
    json!({
        "id": subscription.id,
        "topic": subscription.topic,
        "filter": subscription.filter,
        "options": subscription.options,
        "delta": subscription.delta,
        "backlog": subscription.backlog,
        "leased": subscription.leased,
        "replay": subscription.replay.map(|replay| json!({
            "after": bookmark(replay.after),
            "remaining": replay.remaining,
            "paused": replay.paused,
        })),
    })
}

pub(crate) fn topic(topic: &TopicSnapshot) -> Value {
    json!({
        "name": topic.name,
        "message_type": topic.message_type,
        "records": topic.records,
        "derived": topic.derived,
        "logged": topic.logged,
    })
}

pub(crate) fn record(record: &SowRecord) -> Value {
    json!({
        "topic": record.topic,
        "message_type": record.message_type,
        "key": record.key,
        "body": bytes_to_json(&record.body),
        "correlation": record.correlation.as_deref().map(bytes_to_json),
        "publisher": record.publisher,
        "bookmark": bookmark(record.bookmark),
        "updated": time_to_json(record.updated),
        "expires": record.expires.map(time_to_json),
    })
}

pub(crate) fn log_record(record: &LogRecord) -> Value {
    match record {
        LogRecord::Message(message) => json!({
            "what": "message",
            "bookmark": message.bookmark.to_string(),
            "message_type": message.message_type,
            "topic": message.topic,
            "body": bytes_to_json(&message.body),
            "key": message.key,
            "correlation": message.correlation.as_deref().map(bytes_to_json),
            "publisher": message.publisher,
            "time": time_to_json(message.at),
            "expiration": message.expiration,
            "via": via(message.via.as_ref()),
        }),
        LogRecord::Deletion { bookmark, message_type, at, records, via: path } => json!({
            "what": "deletion",
            "bookmark": bookmark.to_string(),
            "message_type": message_type,
            "time": time_to_json(*at),
            "records": list(records, |(topic, key)| json!({"topic": topic, "key": key})),
            "via": via(path.as_ref()),
        }),
        LogRecord::Departure { queue, message_type, bookmark, at, via: path } => json!({
            "what": "departure",
            "queue": queue,
            "message_type": message_type,
            "bookmark": bookmark.to_string(),
            "time": time_to_json(*at),
            "via": via(path.as_ref()),
        }),
        LogRecord::Transfer { queue, message_type, bookmark, owner, turn, at, via: path } => json!({
            "what": "transfer",
            "queue": queue,
            "message_type": message_type,
            "bookmark": bookmark.to_string(),
            "owner": owner,
            "turn": turn,
            "time": time_to_json(*at),
            "via": via(path.as_ref()),
        }),
        LogRecord::Kept { message_type, topic, key, body, correlation, publisher, at, expires } => json!({
            "what": "kept",
            "message_type": message_type,
            "topic": topic,
            "key": key,
            "body": bytes_to_json(body),
            "correlation": correlation.as_deref().map(bytes_to_json),
            "publisher": publisher,
            "time": time_to_json(*at),
            "expires": expires.map(time_to_json),
        }),
        LogRecord::Dropped { message_type, topic, key, at } => json!({
            "what": "dropped",
            "message_type": message_type,
            "topic": topic,
            "key": key,
            "time": time_to_json(*at),
        }),
        LogRecord::Sequence(id) => json!({"what": "sequence", "bookmark": id.to_string()}),
        LogRecord::Truncation(count) => json!({"what": "truncation", "count": count}),
        LogRecord::Reset => json!({"what": "reset"}),
    }
}

/// The instances that it came through.
fn via(via: Option<&Via>) -> Value {
    json!(via.map(|via| &via.path))
}

pub(crate) fn queue(queue: &QueueSnapshot) -> Value {
    let counters = &queue.counters;
    let expired: Map<String, Value> =
        counters.expired.iter().map(|(reason, count)| (reason.as_str().to_owned(), json!(count))).collect();
    json!({
        "name": queue.name,
        "available": list(&queue.available, queued),
        "leased": list(&queue.leased, queued),
        "counters": {
            "entered": counters.entered,
            "delivered": counters.delivered,
            "acknowledged": counters.acknowledged,
            "expired_leases": counters.expired_leases,
            "returned_leases": counters.returned_leases,
            "cancels": counters.cancels,
            "expired": expired,
        },
    })
}

fn queued(message: &QueuedMessage) -> Value {
    json!({
        "bookmark": message.bookmark,
        "body": bytes_to_json(&message.body),
        "holder": message.holder,
        "sub_id": message.sub_id,
        "lease_end": message.lease_end.map(time_to_json),
        "deliveries": message.deliveries,
        "cancels": message.cancels,
    })
}

pub(crate) fn sequence(known: &PublisherSequence) -> Value {
    // A number of 64 bits is more than many readers of JSON can hold.
    json!({"client": known.client, "publisher": known.publisher.to_string(), "sequence": known.sequence})
}

pub(crate) fn link(link: &LinkSnapshot) -> Value {
    json!({
        "destination": link.destination,
        "peer": link.peer,
        "mode": format!("{:?}", link.mode).to_lowercase(),
        "state": format!("{:?}", link.state).to_lowercase(),
        "connected": link.connected,
        "waiting": link.waiting,
        "sent": link.sent,
        "unconfirmed": link.unconfirmed,
        "lag": span_to_json(link.lag),
        "fault": link.fault,
    })
}

pub(crate) fn timer(timer: &NextTimer) -> Value {
    json!({"time": time_to_json(timer.at), "what": timer.kind.to_string()})
}

pub(crate) fn counters(counters: &Counters) -> Value {
    json!({
        "published": counters.published,
        "delivered": counters.delivered,
        "acknowledged": counters.acknowledged,
        "expired_leases": counters.expired_leases,
        "cancels": counters.cancels,
    })
}
