//! Deleting records (server.md 4.6).
//!
//! Owns the three forms of `sow_delete` on topics with a state of the world: by filter, by
//! keys, by a message. What acknowledges queue messages is in `acknowledge`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use amps_protocol::{AckType, Message, MessageId, OofReason, SowKeys};
use amps_transport::{ConnId, Sink, Time};

use super::change::Change;
use super::enrich::Incoming;
use super::table::{Record, Table, resource_in};
use crate::engine::Engine;
use crate::engine::entitlement::Rights;
use crate::engine::reasons::Reason;
use crate::engine::reply::{AckFrame, Refusal};
use crate::engine::selector::{Facts, Selector, holds};
use crate::engine::subscription::text;
use crate::engine::topic::{TopicPattern, TopicReading, TypeId};
use crate::engine::txlog::Deletion;

/// Where a message would be stored: the table, the topic and the key.
type Named = (usize, Arc<str>, Arc<str>);

/// Which records go.
enum Which {
    Matching(Selector),
    Keys(Vec<String>),
    /// Those that this message would be stored in.
    Of(Vec<Named>),
}

struct Request {
    message_type: TypeId,
    pattern: TopicPattern,
    tables: Vec<usize>,
    which: Which,
}

impl Engine {
    pub(in crate::engine) fn delete_records<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        let request = match self.read_delete(now, conn, message) {
            Ok(request) => request,
            Err(refusal) => return self.fail_sequenced(now, conn, message, refusal, sink),
        };
        let logged = self.is_logged(&request);
        if logged && self.is_duplicate(conn, message) {
            return self.acknowledge_duplicate(now, conn, message, sink);
        }
        let ack = AckFrame { sequence: message.sequence(), ..AckFrame::new() };
        self.acknowledge(now, conn, message, ack, sink);
        let (mut examined, mut gone) = (0, Vec::new());
        for &index in &request.tables {
            let table = &self.sow[index];
            let rights = self.connections.get(&conn).and_then(|connection| connection.rights.as_ref());
            let may =
                |record: &Arc<Record>| rights.is_none_or(|rights| may_delete(rights, table, record, now));
            let of_topic = |record: &&Arc<Record>| request.pattern.matches(&record.topic);
            // To count them takes a look at each.
            if message.acks().contains(AckType::Stats) {
                examined += table.records().filter(of_topic).filter(|record| may(record)).count() as u64;
            }
            let mut doomed = chosen(index, table, &request, now);
            doomed.retain(may);
            gone.extend(doomed.into_iter().map(|record| (index, record)));
        }
        let bookmark = self.delete_bookmark(conn, message).filter(|_| logged);
        self.remove(now, request.message_type, &gone, bookmark, sink);
        let count = Some(gone.len() as u64);
        let by_filter = matches!(request.which, Which::Matching(_));
        if by_filter {
            self.acknowledge_as(now, conn, message, AckType::Completed, AckFrame::new(), sink);
        }
        let stats =
            AckFrame { topic_matches: Some(examined), matches: count, deleted: count, ..AckFrame::new() };
        self.acknowledge_as(now, conn, message, AckType::Stats, stats, sink);
        self.acknowledge_persisted(now, conn, message, logged, sink);
    }

    /// Deletes on behalf of the server.
    pub(in crate::engine) fn delete_matching<S: Sink>(
        &mut self,
        now: Time,
        message_type: TypeId,
        pattern: &TopicPattern,
        filter: &Selector,
        sink: &mut S,
    ) {
        let mut gone = Vec::new();
        for (index, table) in self.sow.iter().enumerate() {
            if table.is_derived || table.message_type != message_type {
                continue;
            }
            let matching = table.records().filter(|record| {
                let document = table.layout.format.read(&record.body);
                let facts = Facts::of_record(record, &table.layout, &document);
                pattern.matches(&record.topic) && filter.matches(facts, now)
            });
            gone.extend(matching.map(|record| (index, Arc::clone(record))));
        }
        let logged = gone.iter().any(|(_, record)| self.log.covers(message_type, &record.topic));
        let bookmark = logged.then(|| self.own_bookmark());
        self.remove(now, message_type, &gone, bookmark, sink);
    }

    /// Records leave; where there is a bookmark, that is logged.
    fn remove<S: Sink>(
        &mut self,
        now: Time,
        message_type: TypeId,
        gone: &[(usize, Arc<Record>)],
        bookmark: Option<MessageId>,
        sink: &mut S,
    ) {
        for (index, record) in gone {
            self.sow[*index].remove(&record.topic, &record.key);
            self.arm_sow(*index);
            self.changed(now, *index, &Change::Left { record, reason: OofReason::Deleted }, sink);
        }
        if let Some(bookmark) = bookmark {
            let records = gone.iter().map(|(_, r)| (Arc::clone(&r.topic), Arc::clone(&r.key))).collect();
            self.log.append_deletion(Deletion { bookmark, message_type, at: now, records, via: None });
        }
    }

    fn read_delete(&self, now: Time, conn: ConnId, message: &Message<&[u8]>) -> Result<Request, Refusal> {
        let message_type = self.connections.get(&conn).map(|connection| connection.message_type);
        let topic = text(message.topic().map(|topic| &**topic));
        let reading = if self.config.regex_topics { TopicReading::Guess } else { TopicReading::Literal };
        let pattern = TopicPattern::parse(&topic, reading, false)
            .map_err(|fault| Refusal::because(Reason::BadRegex, fault))?;
        let covered = |table: &Table| {
            !table.is_derived
                && match (&pattern, table.only_topic()) {
                    (TopicPattern::Literal(name), _) => table.covers(name),
                    (_, Some(topic)) => pattern.matches(topic),
                    (_, None) => true,
                }
        };
        let tables: Vec<usize> = (0..self.sow.len())
            .filter(|&index| Some(self.sow[index].message_type) == message_type && covered(&self.sow[index]))
            .collect();
        let Some(&first) = tables.first() else {
            return Err(Refusal::because(
                Reason::InvalidTopic,
                format!("\"{topic}\" keeps no state of the world"),
            ));
        };
        let rights = self.connections.get(&conn).and_then(|connection| connection.rights.as_ref());
        let resource = resource_in(&self.sow, self.sow[first].message_type, &topic);
        if pattern.is_literal() && rights.is_some_and(|rights| rights.write(resource).is_none()) {
            return Err(Reason::NotEntitled.into());
        }
        let body = message.data();
        let which = match (message.filter(), message.sow_keys(), message.bookmark(), body.is_empty()) {
            (Some(filter), None, None, true) => Which::Matching(
                Selector::parse(&text(Some(filter)), &self.language)
                    .map_err(|fault| Refusal::because(Reason::BadFilter, fault))?,
            ),
            (None, Some(keys), None, true) => {
                Which::Keys(SowKeys::new(keys).map(|key| text(Some(key))).collect())
            }
            (None, None, None, _) => Which::Of(self.read_named(now, conn, message, &pattern, &tables)?),
            // Only queues know bookmarks.
            (None, None, Some(_), true) => return Err(Reason::InvalidTopic.into()),
            _ => {
                let detail = "it says in several ways what to delete".to_owned();
                return Err(Refusal::because(Reason::InvalidOptions, detail));
            }
        };
        let message_type = self.sow[first].message_type;
        Ok(Request { message_type, pattern, tables, which })
    }

    /// The records that a message would be stored in, had it been published to each of these topics
    /// (DEL-21, DEL-24).
    fn read_named(
        &self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        pattern: &TopicPattern,
        tables: &[usize],
    ) -> Result<Vec<Named>, Refusal> {
        let mut named = Vec::new();
        let mut refused = None;
        for &index in tables {
            let table = &self.sow[index];
            let topics: BTreeSet<Arc<str>> = match (pattern, table.only_topic()) {
                (TopicPattern::Literal(topic), _) | (_, Some(topic)) => [Arc::clone(topic)].into(),
                (_, None) => {
                    let of_topic = |record: &&Arc<Record>| pattern.matches(&record.topic);
                    table.records().filter(of_topic).map(|record| Arc::clone(&record.topic)).collect()
                }
            };
            for topic in topics {
                let body = match &table.enrichment {
                    Some(enrichment) => {
                        let incoming = Incoming {
                            topic: &topic,
                            body: message.data(),
                            correlation: message.correlation_id().map(|x| &**x),
                            publisher: self.connections.get(&conn).map_or("", |c| &c.client_name),
                            instance: &self.config.instance,
                        };
                        enrichment.preprocess(&table.layout.format, message.data(), incoming.context(now))
                    }
                    None => Cow::Borrowed(message.data()),
                };
                match table.key_of(&topic, &body, message.sow_key().map(|key| &**key)) {
                    Ok(key) => named.push((index, topic, key)),
                    Err(reason) => refused = Some(reason),
                }
            }
        }
        // A topic whose keys publishers choose is no obstacle to the others.
        match refused {
            Some(reason) if named.is_empty() => Err(reason.into()),
            _ => Ok(named),
        }
    }

    fn is_logged(&self, request: &Request) -> bool {
        request.tables.iter().any(|&index| {
            let table = &self.sow[index];
            let covers = |topic: &str| self.log.covers(table.message_type, topic);
            table.only_topic().is_some_and(|topic| covers(topic)) || covers(&table.name)
        })
    }

    /// Deletes take part in the publisher's sequence (PUB-22).
    pub(in crate::engine) fn is_duplicate(&mut self, conn: ConnId, message: &Message<&[u8]>) -> bool {
        let Some(sequence) = message.sequence().filter(|&sequence| sequence > 0) else { return false };
        let identity = self.connections.get(&conn).and_then(|connection| connection.identity.as_ref());
        let Some(hash) = identity.map(|identity| identity.hash) else { return false };
        !self.log.advance(hash, sequence)
    }
}

/// Whether the rights of a user cover a record as it is stored (ENT-04).
fn may_delete(rights: &Rights, table: &Table, record: &Record, now: Time) -> bool {
    let layout = &table.layout;
    let right = layout.resource_of(&record.topic).and_then(|resource| rights.write(resource));
    let Some(right) = right else { return false };
    let document = layout.format.read(&record.body);
    right.filter.is_none_or(|filter| holds(filter, Facts::of_record(record, layout, &document), now))
}

fn chosen(index: usize, table: &Table, request: &Request, now: Time) -> Vec<Arc<Record>> {
    if let Which::Of(named) = &request.which {
        let here = named.iter().filter(|(table, ..)| *table == index);
        return here.filter_map(|(_, topic, key)| table.get(topic, key).cloned()).collect();
    }
    let of_topic = |record: &&Arc<Record>| request.pattern.matches(&record.topic);
    let wanted = |record: &&Arc<Record>| match &request.which {
        Which::Keys(keys) => keys.iter().any(|key| **key == *record.key),
        Which::Matching(selector) => {
            let document = table.layout.format.read(&record.body);
            selector.matches(Facts::of_record(record, &table.layout, &document), now)
        }
        Which::Of(_) => false,
    };
    table.records().filter(of_topic).filter(wanted).cloned().collect()
}
