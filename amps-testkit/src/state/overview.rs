//! What a page shows of a server, at one moment, and as JSON.
//!
//! Owns the whole, put together on the loop's thread from a few rows of everything
//! (`engine/overview.rs` has the bounds), and written by whoever asked.

use amps_protocol::format_timestamp;
use amps_transport::Time;
use serde_json::{Value, json};

use super::json::{counters, list};
use crate::clock::NextTimer;
use crate::engine::{
    ConnectionRow, Counters, Excerpt, LeaseRow, LogRow, Part, QueueRow, SubscriptionRow, TopicRow,
    TopicsPart, cut,
};
use crate::fault::FaultRow;
use crate::form::span_to_json;
use crate::shell::View;

/// The most faults that are shown.
const MOST_FAULTS: usize = 50;

/// A few rows of everything that a server holds, at one moment between two inputs.
#[derive(Clone, Debug)]
pub(crate) struct Overview {
    instance: String,
    now: Time,
    virtual_clock: bool,
    next: Option<NextTimer>,
    counters: Counters,
    connections: Part<ConnectionRow>,
    subscriptions: Part<SubscriptionRow>,
    topics: TopicsPart,
    queues: Part<QueueRow>,
    log: Option<Part<LogRow>>,
    faults: Part<FaultRow>,
}

impl Overview {
    pub(crate) fn of(view: &View<'_>) -> Self {
        let engine = view.engine;
        let (shown, total) = view.faults.last_added(MOST_FAULTS);
        Self {
            instance: cut(&engine.config().instance),
            now: view.now,
            virtual_clock: view.virtual_clock,
            next: view.next_timer(),
            counters: engine.counters(),
            connections: engine.connection_rows(view.unsent),
            subscriptions: engine.subscription_rows(),
            topics: engine.topic_rows(),
            queues: engine.queue_rows(),
            log: engine.log_rows(),
            faults: Part { shown, total },
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut topics = part(&self.topics.topics, topic);
        if let Some(members) = topics.as_object_mut() {
            members.insert("records".to_owned(), json!(self.topics.records));
        }
        json!({
            "instance": self.instance,
            "now": time(self.now),
            "virtual_clock": self.virtual_clock,
            "next": self.next.as_ref().map(|next| json!({
                "time": time(next.at),
                "in": span_to_json(next.at.saturating_since(self.now)),
                "what": cut(&next.kind.to_string()),
            })),
            "counters": counters(&self.counters),
            "connections": part(&self.connections, connection),
            "subscriptions": part(&self.subscriptions, subscription),
            "topics": topics,
            "queues": part(&self.queues, queue),
            "log": self.log.as_ref().map(|log| part(log, log_row)),
            "faults": part(&self.faults, fault),
        })
    }
}

/// As AMPS writes it, down to microseconds.
pub(crate) fn time(time: Time) -> Value {
    json!(format_timestamp(time.as_unix_nanos()).to_string())
}

pub(crate) fn excerpt(excerpt: &Excerpt) -> Value {
    json!({"text": excerpt.text, "bytes": excerpt.length})
}

fn part<T>(part: &Part<T>, write: impl Fn(&T) -> Value) -> Value {
    json!({"total": part.total, "shown": list(&part.shown, write)})
}

fn connection(row: &ConnectionRow) -> Value {
    json!({
        "index": row.index,
        "client": row.client,
        "user": row.user,
        "message_type": row.message_type,
        "peer": row.peer.map(|peer| peer.to_string()),
        "since": time(row.since),
        "received": row.received,
        "sent": row.sent,
        "pending_bytes": row.pending_bytes,
        "subscriptions": row.subscriptions,
    })
}

fn subscription(row: &SubscriptionRow) -> Value {
    json!({
        "connection": row.connection,
        "client": row.client,
        "id": row.id,
        "topic": row.topic,
        "filter": row.filter,
        "options": row.options,
        "backlog": row.backlog,
        "leased": row.leased,
        "replay": row.replay.map(|(remaining, paused)| json!({"remaining": remaining, "paused": paused})),
    })
}

fn topic(row: &TopicRow) -> Value {
    json!({
        "name": row.name,
        "message_type": row.message_type,
        "records": row.records,
        "derived": row.derived,
        "logged": row.logged,
    })
}

fn queue(row: &QueueRow) -> Value {
    json!({
        "name": row.name,
        "depth": row.tally.depth,
        "waiting": row.tally.waiting,
        "leased": row.tally.leased,
        "elsewhere": row.tally.elsewhere,
        "held_up": row.tally.held_up,
        "consumers": row.consumers,
        "backlog": row.backlog.map(|(used, granted)| json!({"used": used, "granted": granted})),
        "entered": row.entered,
        "delivered": row.delivered,
        "acknowledged": row.acknowledged,
        "expired_leases": row.expired_leases,
        "leases": part(&row.leases, lease),
    })
}

fn lease(row: &LeaseRow) -> Value {
    json!({
        "bookmark": row.bookmark,
        "holder": row.holder,
        "sub_id": row.sub_id,
        "until": row.until.map(time),
        "deliveries": row.deliveries,
        "body": excerpt(&row.body),
    })
}

fn log_row(row: &LogRow) -> Value {
    json!({
        "what": row.what,
        "position": row.position,
        "time": time(row.at),
        "bookmark": row.bookmark,
        "topic": row.topic,
        "by": row.by,
        "body": row.body.as_ref().map(excerpt),
    })
}

fn fault(row: &FaultRow) -> Value {
    json!({"id": row.id, "about": cut(&row.about), "fired": row.fired, "armed": row.armed})
}
