//! `sow_delete` on queues: done, give back, expire now, hold longer (server.md 6.6).
//!
//! Owns the rules of who may acknowledge what. Acknowledging what is not there is never an
//! error; if it never was there, the acknowledgement is remembered.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::{AckType, Message, MessageId, Options};
use amps_transport::{ConnId, Sink, Time};

use super::Engine;
use super::config::{Leasing, Semantics};
use super::lint::Lint;
use super::queue::{ExpiryReason, Unsuccessful};
use super::reasons::Reason;
use super::reply::{AckFrame, Refusal};
use super::selector::{Facts, Selector};
use super::subscription::text;
use super::txlog::{Deletion, Position};

/// What is to become of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    Cancel,
    Expire,
    Extend(Duration),
}

/// Which messages are meant.
enum Selection {
    Bookmarks(Vec<MessageId>),
    Matching(Selector),
}

struct Request {
    queue: usize,
    selection: Selection,
    verdict: Verdict,
}

impl Engine {
    pub(super) fn sow_delete<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        let request = match self.read_sow_delete(now, conn, message) {
            Ok(Some(request)) => request,
            Ok(None) => return self.delete_records(now, conn, message, sink),
            Err(refusal) => return self.fail_sequenced(now, conn, message, refusal, sink),
        };
        if self.is_duplicate(conn, message) {
            return self.acknowledge_duplicate(now, conn, message, sink);
        }
        let count = match request.selection {
            Selection::Bookmarks(bookmarks) => {
                let judge = |bookmark: MessageId| {
                    self.judge_bookmark(now, conn, request.queue, bookmark, request.verdict)
                };
                bookmarks.into_iter().map(judge).filter(|&done| done).count()
            }
            Selection::Matching(selector) => {
                let matching = self.matching(now, request.queue, &selector);
                let judge = |position| self.judge(now, conn, request.queue, position, request.verdict);
                matching.into_iter().map(judge).filter(|&done| done).count()
            }
        };
        self.dirty.insert(request.queue);
        self.log_acknowledgement(now, conn, message, request.queue);
        self.acknowledge(
            now,
            conn,
            message,
            AckFrame { sequence: message.sequence(), ..AckFrame::new() },
            sink,
        );
        let stats = AckFrame { deleted: Some(count as u64), ..AckFrame::new() };
        self.acknowledge_as(now, conn, message, AckType::Stats, stats, sink);
        self.acknowledge_persisted(now, conn, message, true, sink);
    }

    /// An acknowledgement that bears a sequence number is in the log under that number (server.md Q-44),
    /// behind what it made leave the queue: the number is known wherever that is (DUP-04), and is
    /// persisted when that is.
    fn log_acknowledgement(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>, queue: usize) {
        if message.sequence().is_none_or(|sequence| sequence == 0) || !self.log.exists() {
            return;
        }
        let Some(bookmark) = self.delete_bookmark(conn, message) else { return };
        self.log_departures(now, queue);
        let message_type = self.queues[queue].message_type;
        self.log.append_deletion(Deletion {
            bookmark,
            message_type,
            at: now,
            records: Vec::new(),
            via: None,
        });
    }

    /// `None` if the topic is no queue.
    fn read_sow_delete(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
    ) -> Result<Option<Request>, Refusal> {
        let message_type = self.connections.get(&conn).map(|connection| connection.message_type);
        let topic = text(message.topic().map(|topic| &**topic));
        let named =
            |queue: &super::queue::Queue| *queue.name == *topic && Some(queue.message_type) == message_type;
        let Some(queue) = self.queues.iter().position(named) else { return Ok(None) };
        let rights = self.connections.get(&conn).and_then(|connection| connection.rights.clone());
        if rights.as_ref().is_some_and(|rights| rights.read(&topic).is_none()) {
            return Err(Reason::NotEntitled.into());
        }
        let selection = match (message.bookmark(), message.filter()) {
            (Some(list), None) => Selection::Bookmarks(self.read_bookmarks(now, conn, list)),
            (None, Some(filter)) => {
                let filter = Selector::parse(&text(Some(filter)), &self.language)
                    .map_err(|fault| Refusal::because(Reason::BadFilter, fault))?;
                // What may not be read is not acknowledged.
                let readable = Selector::within(Some(filter.clone()), rights);
                Selection::Matching(readable.unwrap_or(filter))
            }
            _ => return Err(Reason::InvalidOptions.into()),
        };
        let verdict = read_verdict(&text(message.options().map(|o| &**o)))?;
        Ok(Some(Request { queue, selection, verdict }))
    }

    /// Bookmarks that are none are noted, and otherwise ignored.
    fn read_bookmarks(&mut self, now: Time, conn: ConnId, list: &[u8]) -> Vec<MessageId> {
        let mut bookmarks = Vec::new();
        for text in list.split(|&byte| byte == b',') {
            match MessageId::parse(text) {
                Ok(bookmark) => bookmarks.push(bookmark),
                Err(_) => {
                    let note =
                        format!("acknowledged '{}', which is no bookmark", String::from_utf8_lossy(text));
                    self.note(now, conn, Lint::AckOfUnknownBookmark, note);
                }
            }
        }
        bookmarks
    }

    /// Whether a client may see a message of a queue. What it may not see is not there for it.
    fn may_see(&self, now: Time, conn: ConnId, index: usize, position: Position) -> bool {
        let rights = self.connections.get(&conn).and_then(|connection| connection.rights.clone());
        let Some(selector) = Selector::within(None, rights) else { return true };
        let queue = &self.queues[index];
        let Some(message) = queue.message(position) else { return false };
        let document = queue.format.read(&message.entry.body);
        let facts = Facts::of(&message.entry, &queue.format, &document).read_as(&queue.name);
        selector.allows(facts, now)
    }

    fn matching(&self, now: Time, queue: usize, selector: &Selector) -> Vec<Position> {
        let queue = &self.queues[queue];
        let matches = |(position, message): (Position, &super::queue::QueueMessage)| {
            let document = queue.format.read(&message.entry.body);
            selector
                .matches(Facts::of(&message.entry, &queue.format, &document).read_as(&queue.name), now)
                .then_some(position)
        };
        queue.active_messages().filter_map(matches).collect()
    }

    fn judge_bookmark(
        &mut self,
        now: Time,
        conn: ConnId,
        index: usize,
        bookmark: MessageId,
        verdict: Verdict,
    ) -> bool {
        let position = self.queues[index].position_of(bookmark);
        if let Some(position) = position.filter(|&position| self.may_see(now, conn, index, position)) {
            return self.judge(now, conn, index, position, verdict);
        }
        let queue = &mut self.queues[index];
        if queue.config.semantics == Semantics::AtMostOnce {
            let leasing = queue.config.leasing;
            let allowed = |holder: super::queue::Holder| leasing == Leasing::Sublet || holder.conn == conn;
            let holder = queue.acknowledge_sent(bookmark, allowed);
            self.free_backlog(holder);
            return holder.is_some();
        }
        let never_seen = bookmark.sequence > self.log.highest(bookmark.publisher);
        if verdict == Verdict::Done {
            if never_seen {
                queue.defer(bookmark, now);
            }
            // It is logged as any other: a restart must not forget it, and another instance, which has
            // the message, hears of it.
            if self.log.exists() && self.log.find(bookmark).is_none() {
                self.log.append_departure(index, bookmark, now, None);
            }
        }
        if self.scripted.chance().is_acknowledged_again(bookmark) {
            return false;
        }
        let note = format!("acknowledged {bookmark}, which is not in the queue");
        self.note(now, conn, Lint::AckOfUnknownBookmark, note);
        false
    }

    /// Does what the client asked with one message; `false` if it may not, or to no effect.
    fn judge(&mut self, now: Time, conn: ConnId, index: usize, position: Position, verdict: Verdict) -> bool {
        let queue = &mut self.queues[index];
        let lease = queue.lease_of(position);
        let foreign = lease.is_some_and(|lease| lease.holder.conn != conn);
        if foreign && queue.config.leasing == Leasing::Strict {
            return false;
        }
        match verdict {
            Verdict::Done => {
                let holder = queue.acknowledge(position, now);
                self.free_backlog(holder);
                true
            }
            Verdict::Cancel => {
                let (holder, expired) = queue.give_back(position, Unsuccessful::Cancelled, now);
                self.free_backlog(holder);
                self.bury(index, expired);
                holder.is_some()
            }
            Verdict::Expire => {
                let holder = queue.end_lease(position);
                let expired = queue.expire(position, ExpiryReason::ForcedExpire, now);
                self.free_backlog(holder);
                self.bury(index, expired);
                true
            }
            Verdict::Extend(period) => {
                queue.extend(position, now + period);
                false
            }
        }
    }
}

fn read_verdict(options: &str) -> Result<Verdict, Refusal> {
    let options = Options::parse(options);
    let extension = options.lease_extension().map_err(|_| Reason::InvalidOptions)?.map(Duration::from);
    match (options.cancel(), options.expire(), extension) {
        (false, false, None) => Ok(Verdict::Done),
        (true, false, None) => Ok(Verdict::Cancel),
        (false, true, None) => Ok(Verdict::Expire),
        (false, false, Some(period)) => Ok(Verdict::Extend(period)),
        _ => Err(Reason::InvalidOptions.into()),
    }
}
