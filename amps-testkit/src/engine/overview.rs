//! What a page shows of an engine: of everything the first few, and how many there are in all.
//!
//! Owns the bounds. A look costs what is shown, and a step for each connection and each topic; it walks through no
//! records, no queue and no log. Texts of clients are cut, so that what is shown is never long.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::net::SocketAddr;

use amps_transport::{ConnId, Time};

use super::Engine;
use super::queue::{Queue, QueueMessage, Tally};
use super::subscription::{SubKey, Subscription};
use super::txlog::Item;

/// The most of what a page shows: rows of each kind, and leases of each queue.
const MOST_ROWS: usize = 100;
const MOST_QUEUES: usize = 50;
const MOST_LEASES: usize = 10;
/// The most leases of all queues together.
const MOST_LEASES_OF_ALL: usize = 100;
const MOST_LOGGED: usize = 20;

/// So many subscriptions of a queue are asked for their backlogs.
const MOST_ASKED: usize = 200;

/// The most bytes of a name, and of a body, before it is cut.
const LONGEST_TEXT: usize = 200;
const LONGEST_BODY: usize = 120;

/// Some of many.
#[derive(Clone, Debug)]
pub(crate) struct Part<T> {
    pub(crate) shown: Vec<T>,
    /// How many there are, with those that are not shown.
    pub(crate) total: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct ConnectionRow {
    pub(crate) index: u64,
    pub(crate) client: Option<String>,
    pub(crate) user: String,
    pub(crate) message_type: String,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) since: Time,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) pending_bytes: usize,
    pub(crate) subscriptions: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct SubscriptionRow {
    pub(crate) connection: Option<u64>,
    pub(crate) client: String,
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) filter: Option<String>,
    pub(crate) options: String,
    pub(crate) backlog: Option<u32>,
    pub(crate) leased: u32,
    /// Items of the log that it has not looked at, if it follows that, and whether it is paused.
    pub(crate) replay: Option<(u64, bool)>,
}

/// The topics with a state of the world.
#[derive(Clone, Debug)]
pub(crate) struct TopicsPart {
    pub(crate) topics: Part<TopicRow>,
    /// The records of all of them.
    pub(crate) records: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct TopicRow {
    pub(crate) name: String,
    pub(crate) message_type: String,
    pub(crate) records: usize,
    pub(crate) derived: bool,
    pub(crate) logged: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct QueueRow {
    pub(crate) name: String,
    pub(crate) tally: Tally,
    pub(crate) consumers: usize,
    /// What its subscriptions have in hand, of this and other queues, and may have; `None` if there are too many
    /// to ask.
    pub(crate) backlog: Option<(u64, u64)>,
    pub(crate) entered: u64,
    pub(crate) delivered: u64,
    pub(crate) acknowledged: u64,
    pub(crate) expired_leases: u64,
    pub(crate) leases: Part<LeaseRow>,
}

#[derive(Clone, Debug)]
pub(crate) struct LeaseRow {
    pub(crate) bookmark: String,
    pub(crate) holder: Option<String>,
    pub(crate) sub_id: Option<String>,
    pub(crate) until: Option<Time>,
    pub(crate) deliveries: u32,
    pub(crate) body: Excerpt,
}

/// An item of the transaction log.
#[derive(Clone, Debug)]
pub(crate) struct LogRow {
    pub(crate) what: &'static str,
    pub(crate) position: u64,
    pub(crate) at: Time,
    pub(crate) bookmark: String,
    /// The topic, or the queue.
    pub(crate) topic: String,
    /// Who did it, or who owns it now.
    pub(crate) by: String,
    pub(crate) body: Option<Excerpt>,
}

/// The beginning of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    /// The length of the whole, in bytes.
    pub(crate) length: usize,
}

impl Excerpt {
    /// What is not UTF-8 is replaced.
    pub(crate) fn of(body: &[u8]) -> Self {
        // One byte more: whether there is more, is seen by `shortened`.
        let begin = body.get(..=LONGEST_BODY).unwrap_or(body);
        Self { text: shortened(&String::from_utf8_lossy(begin), LONGEST_BODY), length: body.len() }
    }
}

/// A text of a client, cut where it is too long to be shown.
pub(crate) fn cut(text: &str) -> String {
    shortened(text, LONGEST_TEXT)
}

fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    format!("{}\u{2026}", text.get(..end).unwrap_or_default())
}

impl Engine {
    /// The oldest connections; `unsent` says what each has not taken yet.
    pub(crate) fn connection_rows(&self, unsent: &dyn Fn(ConnId) -> usize) -> Part<ConnectionRow> {
        let mut all: Vec<_> = self.connections.iter().collect();
        all.sort_unstable_by_key(|(_, connection)| connection.index);
        let row = |(conn, connection): &(&ConnId, &super::Connection)| ConnectionRow {
            index: connection.index,
            client: connection.is_ready().then(|| cut(&connection.client_name)),
            user: connection.identity.as_ref().map_or_else(String::new, |identity| cut(&identity.user)),
            message_type: cut(self.types.name(connection.message_type)),
            peer: connection.peer,
            since: connection.since,
            received: connection.received,
            sent: connection.sent,
            pending_bytes: unsent(**conn),
            subscriptions: connection.subscriptions.len(),
        };
        Part { shown: all.iter().take(MOST_ROWS).map(row).collect(), total: all.len() }
    }

    /// The oldest subscriptions.
    pub(crate) fn subscription_rows(&self) -> Part<SubscriptionRow> {
        let row = |(key, subscription): (&SubKey, &Subscription)| {
            let connection = self.connections.get(&subscription.conn);
            SubscriptionRow {
                connection: connection.map(|connection| connection.index),
                client: connection.map_or_else(String::new, |connection| cut(&connection.client_name)),
                id: cut(&subscription.id),
                topic: cut(subscription.pattern.text()),
                filter: subscription.selector.as_ref().and_then(|selector| selector.text()).map(cut),
                options: cut(&subscription.options),
                backlog: subscription.backlog,
                leased: subscription.leased,
                replay: self.replay_of(*key).map(|replay| (replay.remaining, replay.paused)),
            }
        };
        let shown = self.subscriptions.iter().take(MOST_ROWS).map(row).collect();
        Part { shown, total: self.subscriptions.len() }
    }

    /// The first topics of the configuration.
    pub(crate) fn topic_rows(&self) -> TopicsPart {
        let row = |table: &super::Table| TopicRow {
            name: cut(&table.name),
            message_type: cut(self.types.name(table.message_type)),
            records: table.len(),
            derived: table.is_derived,
            logged: !table.is_derived && self.log.covers(table.message_type, &table.name),
        };
        let shown = self.topic_tables().take(MOST_ROWS).map(row).collect();
        let lengths = self.topic_tables().map(super::Table::len);
        let (total, records) = lengths.fold((0, 0), |(total, records), length| (total + 1, records + length));
        TopicsPart { topics: Part { shown, total }, records }
    }

    /// The first queues of the configuration.
    pub(crate) fn queue_rows(&self) -> Part<QueueRow> {
        let mut left = MOST_LEASES_OF_ALL;
        let row = |queue| {
            let row = self.queue_row(queue, left.min(MOST_LEASES));
            left -= row.leases.shown.len();
            row
        };
        Part { shown: self.queues.iter().take(MOST_QUEUES).map(row).collect(), total: self.queues.len() }
    }

    fn queue_row(&self, queue: &Queue, most_leases: usize) -> QueueRow {
        let tally = queue.tally();
        let members = queue.members.keys().filter_map(|key| self.subscriptions.get(key));
        let backlog = (queue.members.len() <= MOST_ASKED).then(|| {
            members.fold((0, 0), |(used, granted), member| {
                (used + u64::from(member.leased), granted + u64::from(member.backlog.unwrap_or(0)))
            })
        });
        let shown =
            queue.leased_messages().take(most_leases).map(|message| self.lease_row(message)).collect();
        QueueRow {
            name: cut(&queue.name),
            tally,
            consumers: queue.members.len(),
            backlog,
            entered: queue.counters.entered,
            delivered: queue.counters.delivered,
            acknowledged: queue.counters.acknowledged,
            expired_leases: queue.counters.expired_leases,
            leases: Part { shown, total: tally.leased },
        }
    }

    fn lease_row(&self, message: &QueueMessage) -> LeaseRow {
        let holder = message.lease.map(|lease| lease.holder);
        let connection = holder.and_then(|holder| self.connections.get(&holder.conn));
        let subscription = holder.and_then(|holder| self.subscriptions.get(&holder.sub));
        LeaseRow {
            bookmark: message.entry.bookmark.to_string(),
            holder: connection.map(|connection| cut(&connection.client_name)),
            sub_id: subscription.map(|subscription| cut(&subscription.id)),
            until: message.lease.and_then(|lease| lease.until),
            deliveries: message.deliveries,
            body: Excerpt::of(&message.entry.body),
        }
    }

    /// The last items of the transaction log, the newest first; `None` if there is no log.
    pub(crate) fn log_rows(&self) -> Option<Part<LogRow>> {
        if !self.log.exists() {
            return None;
        }
        let (first, end) = (self.log.first(), self.log.end());
        let last = self.log.items().rev().zip((first..end).rev()).take(MOST_LOGGED);
        let shown = last.map(|(item, position)| self.log_row(item, position)).collect();
        Some(Part { shown, total: usize::try_from(end - first).unwrap_or(usize::MAX) })
    }

    fn log_row(&self, item: &Item, position: u64) -> LogRow {
        let queue = |index: usize| self.queues.get(index).map_or_else(String::new, |queue| cut(&queue.name));
        let (what, topic, by, body) = match item {
            Item::Message(entry) => {
                ("message", cut(&entry.topic), cut(&entry.publisher), Some(Excerpt::of(&entry.body)))
            }
            Item::Deletion(deletion) => {
                let first = deletion.records.first().map_or_else(String::new, |(topic, _)| cut(topic));
                let count = format!("{} records", deletion.records.len());
                ("deletion", first, String::new(), Some(Excerpt { length: 0, text: count }))
            }
            Item::Departure(departure) => ("departure", queue(departure.queue), String::new(), None),
            Item::Transfer(transfer) => ("transfer", queue(transfer.queue), cut(&transfer.owner), None),
        };
        LogRow { what, position, at: item.at(), bookmark: item.subject().to_string(), topic, by, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_two_characters() {
        assert_eq!(cut(&"x".repeat(LONGEST_TEXT)), "x".repeat(LONGEST_TEXT));
        let long = format!("{}\u{e4}\u{e4}", "x".repeat(LONGEST_TEXT - 1));
        assert_eq!(cut(&long), format!("{}\u{2026}", "x".repeat(LONGEST_TEXT - 1)));
        let body = vec![b'y'; 1 << 20];
        let excerpt = Excerpt::of(&body);
        assert_eq!(excerpt.text, format!("{}\u{2026}", "y".repeat(LONGEST_BODY)));
        assert_eq!(excerpt.length, 1 << 20);
        assert_eq!(Excerpt::of(b"\xff<").text, "\u{fffd}<");
        assert_eq!(Excerpt::of(&body[..LONGEST_BODY]).text, "y".repeat(LONGEST_BODY));
    }
}
