//! The receiving end of a link: what other instances logged happens here too.
//!
//! Owns how an entry is taken in (HA-05, HA-06, HA-08): in the order of its arrival, under the
//! bookmark that it has, with its final body, once.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::sync::Arc;

use amps_protocol::{MessageId, OofReason};
use amps_transport::{CloseMode, ConnId, Sink, Time};

use super::frames::Frame;
use crate::engine::Engine;
use crate::engine::log_record::{LogRecord, LoggedMessage};
use crate::engine::publish::Publication;
use crate::engine::sow::{Change, Record};
use crate::engine::txlog::{Deletion, Durability, Entry, Position, Via};

/// An instance that replicates to this one.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// Its name, once it has said so.
    pub(super) instance: Option<String>,
    /// What was taken and not confirmed: the position there, and the end of the log here.
    applied: VecDeque<(Position, Position)>,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Engine {
    /// A source says something.
    pub(super) fn take_from_upstream<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        frame: Frame,
        sink: &mut S,
    ) {
        let Some(upstream) = self.replication.upstreams.get_mut(&conn) else { return };
        upstream.received += 1;
        let known = upstream.instance.clone();
        match (frame, known) {
            (Frame::Greeting(greeting), None) => {
                if greeting.instance == self.config.instance {
                    let text = format!("this instance is called {} too", greeting.instance);
                    self.send_on_link(conn, &Frame::Refused(text), sink);
                    sink.close(conn, CloseMode::Flush);
                    self.replication.upstreams.remove(&conn);
                    return;
                }
                self.welcome_upstream(conn, &greeting.instance, greeting.group, sink);
            }
            (Frame::Entry { position, record }, Some(_)) => {
                self.apply(now, record, sink);
                let end = self.log.end();
                if let Some(upstream) = self.replication.upstreams.get_mut(&conn) {
                    upstream.applied.push_back((position, end));
                }
            }
            (Frame::Complete, Some(instance)) => {
                self.replication.complete.insert(instance);
                // Every peer sends back; so many names are all of them (PAIR-03, inferred).
                if self.replication.complete.len() >= self.replication.destinations.len() {
                    self.replication.accepting = true;
                }
            }
            _ => {
                sink.close(conn, CloseMode::Abort);
                if let Some(upstream) = self.replication.upstreams.remove(&conn) {
                    self.forget_upstream(&upstream);
                }
            }
        }
    }

    fn welcome_upstream<S: Sink>(&mut self, conn: ConnId, instance: &str, group: String, sink: &mut S) {
        let earlier = |upstream: &Upstream| upstream.instance.as_deref() == Some(instance);
        let ghosts: Vec<ConnId> =
            self.replication.upstreams.iter().filter(|(_, other)| earlier(other)).map(|(c, _)| *c).collect();
        for ghost in ghosts {
            sink.close(ghost, CloseMode::Abort);
            if let Some(upstream) = self.replication.upstreams.remove(&ghost) {
                self.forget_upstream(&upstream);
            }
        }
        let answer = self.greeting(self.log.sequences().collect());
        self.send_on_link(conn, &Frame::Greeting(answer), sink);
        if let Some(upstream) = self.replication.upstreams.get_mut(&conn) {
            upstream.instance = Some(instance.to_owned());
            upstream.sent += 1;
        }
        self.replication.groups.insert(instance.to_owned(), group);
        // What it owns can be asked for now.
        for (index, queue) in self.queues.iter_mut().enumerate() {
            queue.forget_asked(instance);
            self.dirty.insert(index);
        }
    }

    /// A source is gone, and with it what it was asked for.
    pub(super) fn forget_upstream(&mut self, upstream: &Upstream) {
        let Some(instance) = &upstream.instance else { return };
        for (index, queue) in self.queues.iter_mut().enumerate() {
            queue.forget_asked(instance);
            self.dirty.insert(index);
        }
    }

    /// Tells sources what is written here.
    pub(in crate::engine) fn confirm_to_upstreams<S: Sink>(&mut self, sink: &mut S) {
        let written = self.log.horizon(Durability::Persisted);
        let mut due = Vec::new();
        for (conn, upstream) in &mut self.replication.upstreams {
            let mut last = None;
            while upstream.applied.front().is_some_and(|(_, end)| *end <= written) {
                last = upstream.applied.pop_front().map(|(position, _)| position);
            }
            if let Some(position) = last {
                upstream.sent += 1;
                due.push((*conn, position));
            }
        }
        for (conn, position) in due {
            self.send_on_link(conn, &Frame::Confirmed(position), sink);
        }
    }

    fn apply<S: Sink>(&mut self, now: Time, record: LogRecord, sink: &mut S) {
        match record {
            LogRecord::Message(message) => self.take_message(now, message, sink),
            LogRecord::Deletion { bookmark, message_type, records, via, .. } => {
                self.take_deletion(now, bookmark, &message_type, records, via, sink);
            }
            LogRecord::Departure { queue, message_type, bookmark, via, .. } => {
                if let Some(index) = self.queue_named(&queue, &message_type) {
                    self.take_departure(now, index, bookmark, via);
                }
            }
            LogRecord::Transfer { queue, message_type, bookmark, owner, turn, via, .. } => {
                if let Some(index) = self.queue_named(&queue, &message_type) {
                    self.take_transfer(now, index, bookmark, (&owner, turn), via);
                }
            }
            LogRecord::Kept { .. }
            | LogRecord::Dropped { .. }
            | LogRecord::Sequence(_)
            | LogRecord::Truncation(_)
            | LogRecord::Reset => {}
        }
    }

    fn take_message<S: Sink>(&mut self, now: Time, message: LoggedMessage, sink: &mut S) {
        let MessageId { publisher, sequence } = message.bookmark;
        if !self.log.advance(publisher, sequence) {
            return;
        }
        let entry = self.entry(LoggedMessage { at: now, ..message });
        let route = self.route(entry.message_type, entry.topic.as_bytes());
        // A topic that is not logged here is passed on without a bookmark.
        let bookmark = route.logged.then_some(entry.bookmark);
        let table = route.table.filter(|&table| !self.sow[table].is_derived);
        let record = table.and_then(|table| Some((table, self.replica(table, &entry, bookmark)?)));
        self.published += 1;
        let entry = match record {
            Some((index, record)) => {
                let old = self.sow[index].put(Arc::clone(&record));
                self.arm_sow(index);
                let change = Change::Published { old: old.as_ref(), new: &record };
                self.changed(now, index, &change, sink);
                Entry { key: Some(Arc::clone(&record.key)), ..entry }
            }
            None => {
                let publication = Publication {
                    message_type: entry.message_type,
                    delta: false,
                    body: &entry.body,
                    key: None,
                    correlation: entry.correlation.as_deref(),
                    expiration: entry.expiration,
                    publisher: Arc::clone(&entry.publisher),
                    bookmark,
                };
                self.pass_on(now, &route, &publication, sink);
                entry
            }
        };
        if route.logged {
            let entry = Arc::new(entry);
            self.enter_queues(now, &route, &entry);
            self.log.append(entry);
        }
    }

    /// The record of a message that was enriched where it was published; `None` if it has no
    /// key.
    fn replica(&self, table: usize, entry: &Entry, bookmark: Option<MessageId>) -> Option<Arc<Record>> {
        let table = &self.sow[table];
        let key = match &entry.key {
            Some(key) => Arc::clone(key),
            None => table.key_of(&entry.topic, &entry.body, None).ok()?,
        };
        Some(Arc::new(Record {
            topic: Arc::clone(&entry.topic),
            key,
            body: Arc::clone(&entry.body),
            correlation: entry.correlation.clone(),
            publisher: Arc::clone(&entry.publisher),
            bookmark,
            updated: entry.at,
            expires: table.expiry(entry.happened(), entry.expiration),
        }))
    }

    fn take_deletion<S: Sink>(
        &mut self,
        now: Time,
        bookmark: MessageId,
        message_type: &str,
        records: Vec<(String, String)>,
        via: Option<Via>,
        sink: &mut S,
    ) {
        if !self.log.advance(bookmark.publisher, bookmark.sequence) {
            return;
        }
        let message_type = self.types.id(message_type);
        let records: Vec<(Arc<str>, Arc<str>)> =
            records.into_iter().map(|(topic, key)| (topic.into(), key.into())).collect();
        for (topic, key) in &records {
            let Some(table) = self.table_of(message_type, topic) else { continue };
            if let Some(record) = self.sow[table].remove(topic, key) {
                self.arm_sow(table);
                let change = Change::Left { record: &record, reason: OofReason::Deleted };
                self.changed(now, table, &change, sink);
            }
        }
        let via = via.map(Arc::new);
        self.log.append_deletion(Deletion { bookmark, message_type, at: now, records, via });
    }

    /// A message left a queue elsewhere. If it has not come yet, that is remembered.
    fn take_departure(&mut self, now: Time, index: usize, bookmark: MessageId, via: Option<Via>) {
        let queue = &mut self.queues[index];
        if queue.position_of(bookmark).is_none() {
            if bookmark.sequence > self.log.highest(bookmark.publisher) {
                queue.defer(bookmark, now);
                self.log.append_departure(index, bookmark, now, via.map(Arc::new));
            }
            return;
        }
        let Some(holder) = queue.depart_elsewhere(bookmark, now) else { return };
        self.free_backlog(holder);
        self.dirty.insert(index);
        self.log.append_departure(index, bookmark, now, via.map(Arc::new));
    }
}
