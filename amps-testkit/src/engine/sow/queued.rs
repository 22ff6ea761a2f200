//! Queues as sources of views and aggregates (server.md 6.2, VIEW-01, AGG-01, Q-15).
//!
//! Owns the tables of what can be seen of queues. Such a table follows its queue when the step is
//! over that changed it: what came and was leased in one step was never to be seen (inferred).
//! Nobody subscribes to these tables, and looking at them leases nothing.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::OofReason;
use amps_transport::{Sink, Time};

use super::change::Change;
use super::table::{Record, Table};
use crate::engine::Engine;
use crate::engine::queue::QueueMessage;
use crate::engine::topic::TypeId;
use crate::engine::txlog::Entry;

impl Engine {
    /// The table of what can be seen of a queue, which is there from now on.
    pub(in crate::engine) fn table_of_queue(&mut self, message_type: TypeId, name: &str) -> Option<usize> {
        let named =
            |queue: &crate::engine::queue::Queue| queue.message_type == message_type && *queue.name == *name;
        let index = self.queues.iter().position(named)?;
        if let Some(known) = self.sow.iter().position(|table| table.queue == Some(index)) {
            return Some(known);
        }
        let queue = &mut self.queues[index];
        let mut table = Table::of_queue(index, queue);
        for message in queue.begin_browsing() {
            table.put(Arc::new(record_of(message)));
        }
        self.sow.push(table);
        Some(self.sow.len() - 1)
    }

    /// What can be seen of a queue changed: whoever computes with it is told.
    pub(in crate::engine) fn show_queue<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        let stirred = self.queues[index].take_stirred();
        if stirred.is_empty() {
            return;
        }
        let Some(table) = self.sow.iter().position(|table| table.queue == Some(index)) else { return };
        for entry in stirred {
            let seen = self.queues[index].browse(entry.bookmark).map(record_of).map(Arc::new);
            let known = self.sow[table].get(&entry.topic, &key_of(&entry)).cloned();
            match (seen, known) {
                (Some(new), None) => {
                    self.sow[table].put(Arc::clone(&new));
                    self.queue_changed(now, table, &Change::Published { old: None, new: &new }, sink);
                }
                (None, Some(record)) => {
                    self.sow[table].remove(&record.topic, &record.key);
                    let change = Change::Left { record: &record, reason: OofReason::Deleted };
                    self.queue_changed(now, table, &change, sink);
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    fn queue_changed<S: Sink>(&mut self, now: Time, table: usize, change: &Change<'_>, sink: &mut S) {
        self.tell_watchers(now, table, change, sink);
        self.follow_up(now, table, change, sink);
    }
}

/// A queue message is called by its bookmark.
fn key_of(entry: &Entry) -> Arc<str> {
    entry.bookmark.to_string().into()
}

fn record_of(message: &QueueMessage) -> Record {
    let entry = &message.entry;
    Record {
        topic: Arc::clone(&entry.topic),
        key: key_of(entry),
        body: Arc::clone(&entry.body),
        correlation: entry.correlation.clone(),
        publisher: Arc::clone(&entry.publisher),
        bookmark: Some(entry.bookmark),
        updated: entry.at,
        expires: None,
    }
}
