//! What the engine waits for, in the words of a test.
//!
//! Owns the translation of its timers; it changes none.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_transport::{ConnId, Time};

use super::Engine;
use super::queue::{Queue, QueueMessage};
use super::timers::Timer;
use crate::clock::{NextTimer, TimerKind};

impl Engine {
    /// The next thing that the clock does.
    pub(crate) fn next_timer(&self) -> Option<NextTimer> {
        let (at, timer) = self.timers.first()?;
        self.describe_timer(at, timer)
    }

    pub(super) fn describe_timer(&self, at: Time, timer: Timer) -> Option<NextTimer> {
        let client = |conn: ConnId| {
            let connection = self.connections.get(&conn);
            connection.map_or_else(String::new, |connection| connection.client_name.to_string())
        };
        let kind = match timer {
            Timer::Queue(index) => self.queues.get(index).map(|queue| self.queue_timer_kind(queue, at))?,
            Timer::Sow(index) => TimerKind::RecordExpiration { topic: self.sow.get(index)?.name.to_string() },
            Timer::Derived(index) => {
                let target = self.derived.get(index)?.target();
                TimerKind::ConflatedTopic { topic: self.sow.get(target)?.name.to_string() }
            }
            Timer::Conflation(key) => {
                TimerKind::ConflatedSubscription { sub_id: self.subscriptions.get(&key)?.id.to_string() }
            }
            Timer::Persisted(conn) => TimerKind::PersistedAck { client: client(conn) },
            Timer::Silence(conn) => TimerKind::Silence { client: client(conn) },
            Timer::Beat(conn) => TimerKind::Heartbeat { client: client(conn) },
            Timer::Action(number) => TimerKind::Action { number },
            Timer::Statistics => TimerKind::Statistics,
            Timer::LogWrite => TimerKind::LogWrite,
            Timer::Replay(_) => TimerKind::Replay,
            Timer::Slow(conn) => TimerKind::SlowClient { client: client(conn) },
            Timer::Replicate(index) => TimerKind::Replication { destination: self.destination_name(index)? },
            Timer::Transfer(index) => {
                TimerKind::QueueTransfer { queue: self.queues.get(index)?.name.to_string() }
            }
            Timer::Durable(conn) => TimerKind::Durable { client: client(conn) },
        };
        Some(NextTimer { at, kind })
    }

    /// Every lease and every message that ends by time, and whatever else a queue waits for.
    pub(super) fn queue_timers(&self, index: usize, first: Time) -> Vec<NextTimer> {
        let Some(queue) = self.queues.get(index) else { return Vec::new() };
        let ends = |message: &QueueMessage| match message.lease {
            Some(lease) => lease.until,
            None => message.expires,
        };
        let mut times: Vec<Time> = queue.messages().filter_map(|(_, message)| ends(message)).collect();
        times.push(first);
        times.sort_unstable();
        times.dedup();
        let of = |at: Time| {
            let due = queue.messages().filter(move |(_, message)| ends(message) == Some(at));
            let due: Vec<TimerKind> =
                due.map(|(_, message)| self.queue_message_timer(queue, message)).collect();
            let other = due.is_empty().then(|| self.queue_timer_kind(queue, at));
            due.into_iter().chain(other).map(move |kind| NextTimer { at, kind })
        };
        times.into_iter().flat_map(of).collect()
    }

    fn queue_message_timer(&self, queue: &Queue, message: &QueueMessage) -> TimerKind {
        let (name, bookmark) = (queue.name.to_string(), message.entry.bookmark.to_string());
        let Some(lease) = message.lease else { return TimerKind::QueueExpiration { queue: name, bookmark } };
        let holder = self.connections.get(&lease.holder.conn);
        let client = holder.map_or_else(String::new, |connection| connection.client_name.to_string());
        TimerKind::Lease { queue: name, bookmark, client }
    }

    fn queue_timer_kind(&self, queue: &Queue, at: Time) -> TimerKind {
        let name = queue.name.to_string();
        if let Some(message) = queue.lease_ends_at(at) {
            return self.queue_message_timer(queue, message);
        }
        match queue.expires_at(at) {
            Some(message) => {
                TimerKind::QueueExpiration { queue: name, bookmark: message.entry.bookmark.to_string() }
            }
            None => TimerKind::DeferredAck { queue: name },
        }
    }
}
