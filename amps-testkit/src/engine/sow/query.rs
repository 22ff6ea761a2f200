//! Queries: which records, in which order, in which frames (server.md 4.2, 4.3).
//!
//! Owns the shape of a result: group markers around `sow` frames of at most as many records
//! as asked for, never of two topics. A query is one step of the engine, so its result is one
//! moment, and nothing of a later moment can come between its frames.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use amps_protocol::{AckType, CommandKind, Field, FrameWriter, Message, OofReason, format_timestamp};
use amps_transport::{ConnId, Sink, Time};

use super::aggregate::Aggregate;
use super::history::Point;
use super::table::{Layout, Record, Resource, Table};
use crate::engine::Engine;
use crate::engine::reasons::Reason;
use crate::engine::reply::{AckFrame, Refusal};
use crate::engine::request::{QueryRequest, Request, changes_by_itself};
use crate::engine::selector::{Facts, Selector};
use crate::engine::subscription::{Shape, SubKey, Subscription};
use crate::engine::switches::SowTimestamp;
use crate::engine::topic::{TopicPattern, TypeId};

/// What a query found.
#[derive(Debug, Default)]
struct Found {
    /// In the order of delivery, cut as asked.
    rows: Vec<Row>,
    /// Records of all topics that match.
    examined: u64,
    /// Those that satisfy the filter, before any were cut.
    matched: u64,
}

#[derive(Debug)]
struct Row {
    layout: Arc<Layout>,
    record: Arc<Record>,
}

impl Engine {
    /// The table that keeps a topic.
    pub(in crate::engine) fn table_of(&self, message_type: TypeId, topic: &str) -> Option<usize> {
        self.sow.iter().position(|table| table.message_type == message_type && table.covers(topic))
    }

    /// The topics of a message type; queues are none.
    fn tables_of(&self, message_type: TypeId) -> impl Iterator<Item = &Table> {
        self.sow.iter().filter(move |table| table.queue.is_none() && table.message_type == message_type)
    }

    pub(in crate::engine) fn sow_command<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        let read = self.read_request(now, conn, message).and_then(|request| {
            let query = self.read_query(now, message, &request, None)?;
            if request.pattern.is_literal() && !self.can_be_queried(&request) {
                let topic = request.pattern.text();
                let detail = format!("\"{topic}\" keeps no state of the world");
                return Err(Refusal::because(Reason::InvalidTopic, detail));
            }
            Ok((request, query))
        });
        let (request, query) = match read {
            Ok(read) => read,
            Err(refusal) => return self.refuse(now, conn, message, refusal, sink),
        };
        let ack = AckFrame { query_id: Some(&query.query_id), ..AckFrame::new() };
        self.acknowledge(now, conn, message, ack, sink);
        let found = match &request.aggregation {
            Some((source, grouping)) => {
                let (table, topic) = (&self.sow[*source], request.pattern.text());
                let aggregate = Aggregate::over(now, table, topic, query.as_of, Arc::clone(grouping));
                self.found_groups(aggregate.results(), aggregate.layout(), &query)
            }
            None => {
                let selector = request.selector.as_ref();
                self.find(now, &request.pattern, request.message_type, selector, &query, None)
            }
        };
        self.send_result(now, conn, message, &request.shape, None, &query, &found, sink);
    }

    /// A query and a subscription at one moment: what is published later comes after the
    /// result, and nothing of it is in the result (SAS-01).
    pub(in crate::engine) fn sow_and_subscribe<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        let id = self.subscription_id(message);
        let placed = self.read_request(now, conn, message).and_then(|mut request| {
            let query = self.read_query(now, message, &request, Some(&id))?;
            let replay = request.replay.take();
            self.check_page(&request, &query, replay.is_some())?;
            let aggregation = request.aggregation.clone();
            let replays = replay.is_some();
            let (key, old) =
                self.register(now, conn, Arc::clone(&id), request, Some(&query), replays, sink)?;
            Ok((query, key, old, aggregation, replay))
        });
        let (query, key, old, aggregation, replay) = match placed {
            Ok(placed) => placed,
            Err(refusal) => return self.refuse(now, conn, message, refusal, sink),
        };
        self.report_subscription(now, conn, message, key);
        let Some(subscription) = self.subscriptions.get(&key) else { return };
        let (pattern, selector) = (subscription.pattern.clone(), subscription.selector.clone());
        let (message_type, shape) = (subscription.message_type, subscription.shape.clone());
        let sub_id = Arc::clone(&subscription.id);
        let ack = AckFrame { query_id: Some(&query.query_id), ..AckFrame::new() };
        let max_backlog = subscription.backlog;
        let named = self.config.switches.processed_sub_id.then_some(&*sub_id);
        self.acknowledge(now, conn, message, AckFrame { sub_id: named, max_backlog, ..ack }, sink);
        let found = match aggregation {
            None => self.find(now, &pattern, message_type, selector.as_ref(), &query, old.as_ref()),
            Some(_) => Found::default(),
        };
        if let Some(subscription) = self.subscriptions.get_mut(&key).filter(|s| s.shape.oof) {
            if let Some(conflated) = &mut subscription.conflated {
                found.rows.iter().for_each(|row| conflated.has_received(&row.layout, &row.record));
            }
        }
        let replaced = old.is_some();
        if let Some(opened) = self.open(now, key, &query, aggregation, old.as_ref()) {
            let found = self.found_by(opened.fresh, &opened.layout, opened.matched, &query, &found);
            self.send_result(now, conn, message, &shape, Some(&sub_id), &query, &found, sink);
            for record in opened.left.iter().filter(|_| shape.oof) {
                self.send_out_of_focus(now, conn, key, &opened.layout, record, OofReason::Match, sink);
            }
            return;
        }
        self.send_result(now, conn, message, &shape, Some(&sub_id), &query, &found, sink);
        if let Some(old) = old.filter(|_| shape.oof) {
            self.tell_what_left(now, conn, key, &old, sink);
        }
        self.place_replay(now, key, message, replay, replaced, sink);
    }

    /// What a paginated subscription must have (PAG-01, PAG-06).
    fn check_page(&self, request: &Request, query: &QueryRequest, replays: bool) -> Result<(), Refusal> {
        if !query.is_page() {
            return Ok(());
        }
        let refused = |reason, detail: &str| Err(Refusal::because(reason, detail.to_owned()));
        if request.selector.as_ref().is_some_and(|selector| !selector.is_deterministic()) {
            return Err(changes_by_itself());
        }
        if replays {
            return refused(Reason::InvalidOptions, "a page shows records, and has no place in the log");
        }
        if request.conflation.is_some() {
            return refused(Reason::InvalidOptions, "a paginated subscription is not conflated");
        }
        if !request.pattern.is_literal() {
            return refused(Reason::InvalidTopic, "a paginated subscription is to one topic");
        }
        let topic = request.pattern.text();
        if request.aggregation.is_none() && self.table_of(request.message_type, topic).is_none() {
            return refused(
                Reason::InvalidTopic,
                "a page is of records that have a key, and this topic keeps none",
            );
        }
        Ok(())
    }

    fn can_be_queried(&self, request: &Request) -> bool {
        let topic = request.pattern.text();
        self.table_of(request.message_type, topic).is_some() || self.is_queue(request.message_type, topic)
    }

    pub(in crate::engine) fn is_queue(&self, message_type: TypeId, topic: &str) -> bool {
        self.queues.iter().any(|queue| queue.message_type == message_type && *queue.name == *topic)
    }

    /// What a subscription to results, or to a page, begins with.
    fn found_by(
        &mut self,
        fresh: Vec<Arc<Record>>,
        layout: &Arc<Layout>,
        matched: u64,
        query: &QueryRequest,
        found: &Found,
    ) -> Found {
        if !query.is_page() {
            return self.found_groups(fresh, layout, query);
        }
        let row = |record| Row { layout: Arc::clone(layout), record };
        let rows = fresh.into_iter().map(row).collect();
        // Of results over groups nothing was found in the topic itself.
        Found { rows, examined: found.examined.max(matched), matched }
    }

    /// The results of groups, ordered and cut as asked.
    fn found_groups(
        &mut self,
        results: Vec<Arc<Record>>,
        layout: &Arc<Layout>,
        query: &QueryRequest,
    ) -> Found {
        let mut sorted: Vec<_> = results
            .into_iter()
            .map(|record| {
                let order = query.order.as_ref().map(|order| order.key(&layout.format.read(&record.body)));
                (order, Row { layout: Arc::clone(layout), record })
            })
            .collect();
        let matched = sorted.len() as u64;
        if query.order.is_none() {
            self.scripted.chance().arrange(&mut sorted);
        }
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        let rows = sorted.into_iter().map(|(_, row)| row).skip(query.skip_n);
        Found { rows: rows.take(query.top_n.unwrap_or(usize::MAX)).collect(), examined: matched, matched }
    }

    /// `before` is the subscription that this one replaces: what it had in scope is left out
    /// (REP-03).
    fn find(
        &mut self,
        now: Time,
        pattern: &TopicPattern,
        message_type: TypeId,
        selector: Option<&Selector>,
        query: &QueryRequest,
        before: Option<&Subscription>,
    ) -> Found {
        let mut found = Found::default();
        let known = |facts: Facts<'_>| {
            before.is_some_and(|old| {
                old.pattern.matches(facts.topic)
                    && old.selector.as_ref().is_none_or(|s| s.matches(facts, now))
            })
        };
        let mut sorted = Vec::new();
        for table in self.tables_of(message_type) {
            for record in records_of(table, pattern, query.as_of, now) {
                let document = table.layout.format.read(&record.body);
                let facts = Facts::of_record(record, &table.layout, &document);
                // What may not be seen is not counted either.
                found.examined += u64::from(selector.is_none_or(|selector| selector.allows(facts, now)));
                if query.keys.as_ref().is_some_and(|keys| !keys.iter().any(|key| **key == *record.key)) {
                    continue;
                }
                if !selector.is_none_or(|selector| selector.matches(facts, now)) {
                    continue;
                }
                found.matched += 1;
                if !known(facts) {
                    let order = query.order.as_ref().map(|order| order.key(&document));
                    sorted
                        .push((order, Row { layout: Arc::clone(&table.layout), record: Arc::clone(record) }));
                }
            }
        }
        self.find_queued(now, pattern, message_type, selector, &mut found, &mut sorted, query);
        if query.order.is_some() {
            // Ties by record key, so that results are stable (OBY-02).
            sorted.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.record.key.cmp(&y.record.key)));
        } else {
            self.scripted.chance().arrange(&mut sorted);
            group_topics(&mut sorted);
        }
        let top = query.top_n.unwrap_or(usize::MAX);
        found.rows = sorted.into_iter().map(|(_, row)| row).skip(query.skip_n).take(top).collect();
        found
    }

    /// What waits in queues can be looked at, and nothing more.
    #[expect(clippy::too_many_arguments, reason = "a part of `find`, with its variables")]
    fn find_queued(
        &self,
        now: Time,
        pattern: &TopicPattern,
        message_type: TypeId,
        selector: Option<&Selector>,
        found: &mut Found,
        sorted: &mut Vec<(Option<crate::engine::filter::SortKey>, Row)>,
        query: &QueryRequest,
    ) {
        for queue in &self.queues {
            if queue.message_type != message_type || !pattern.matches(&queue.name) || query.keys.is_some() {
                continue;
            }
            let layout = Layout { format: queue.format.clone(), keys: Vec::new(), resource: Resource::Topic };
            let layout = Arc::new(layout);
            for message in queue.browsable() {
                let entry = &message.entry;
                let document = queue.format.read(&entry.body);
                let facts = Facts::of(entry, &queue.format, &document).read_as(&queue.name);
                found.examined += u64::from(selector.is_none_or(|selector| selector.allows(facts, now)));
                if !selector.is_none_or(|selector| selector.matches(facts, now)) {
                    continue;
                }
                found.matched += 1;
                let record = Record {
                    topic: Arc::clone(&queue.name),
                    key: "".into(),
                    body: Arc::clone(&entry.body),
                    correlation: entry.correlation.clone(),
                    publisher: Arc::clone(&entry.publisher),
                    bookmark: Some(entry.bookmark),
                    updated: entry.at,
                    expires: None,
                };
                let order = query.order.as_ref().map(|order| order.key(&document));
                sorted.push((order, Row { layout: Arc::clone(&layout), record: Arc::new(record) }));
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "who asked, how, and what was found")]
    fn send_result<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        shape: &Shape,
        sub_id: Option<&str>,
        query: &QueryRequest,
        found: &Found,
        sink: &mut S,
    ) {
        let id = &*query.query_id;
        self.send_group(now, conn, CommandKind::GroupBegin, id, sink);
        let mut sequence = 0;
        let mut rest = &found.rows[..];
        while let Some(first) = rest.first() {
            let topic = &first.record.topic;
            let same = rest.iter().take(query.batch).take_while(|row| row.record.topic == *topic).count();
            let (batch, others) = rest.split_at(same);
            sequence += 1;
            self.put_batch(conn, shape, sub_id, id, sequence, batch);
            self.transmit(now, conn, sink);
            rest = others;
        }
        self.send_group(now, conn, CommandKind::GroupEnd, id, sink);
        let ack = AckFrame { query_id: Some(id), ..AckFrame::new() };
        self.acknowledge_as(now, conn, message, AckType::Completed, ack, sink);
        let stats = AckFrame {
            topic_matches: Some(found.examined),
            matches: Some(found.matched),
            returned: Some(found.rows.len() as u64),
            ..ack
        };
        self.acknowledge_as(now, conn, message, AckType::Stats, stats, sink);
    }

    fn send_group<S: Sink>(&mut self, now: Time, conn: ConnId, kind: CommandKind, id: &str, sink: &mut S) {
        FrameWriter::new(&mut self.out, kind).text(Field::QueryId, id).finish(b"");
        self.transmit(now, conn, sink);
    }

    fn put_batch(
        &mut self,
        conn: ConnId,
        shape: &Shape,
        sub_id: Option<&str>,
        id: &str,
        sequence: u64,
        batch: &[Row],
    ) {
        let Some(first) = batch.first() else { return };
        let per_record = self.config.switches.sow_timestamp == SowTimestamp::Record;
        let newest =
            batch.iter().map(|row| row.record.updated).max().filter(|_| shape.timestamp && !per_record);
        let newest = newest.map(|at| format_timestamp(at.as_unix_nanos()).to_string());
        let mut out = std::mem::take(&mut self.out);
        let mut writer = FrameWriter::new(&mut out, CommandKind::Sow)
            .text(Field::Topic, first.record.topic.as_bytes())
            .maybe_text(Field::SubId, sub_id)
            .text(Field::QueryId, id)
            .number(Field::BatchSize, batch.len() as u64)
            .number(Field::GroupSequence, sequence)
            .maybe_text(Field::Timestamp, newest)
            .records();
        for Row { layout, record } in batch {
            let resource = layout.resource_of(&record.topic);
            let select = shape.select.as_deref();
            let body = self.shown(conn, resource, &layout.format, &record.body, select);
            let key = Some(&*record.key).filter(|key| !key.is_empty() && !shape.no_sowkey);
            let timestamp = (shape.timestamp && per_record)
                .then(|| format_timestamp(record.updated.as_unix_nanos()).to_string());
            writer
                .record()
                .maybe_text(Field::SowKey, key)
                .maybe_text(Field::CorrelationId, record.correlation.as_deref())
                .maybe_text(Field::Timestamp, timestamp)
                .data(&body);
        }
        // Only a batch of more than 4 GiB could fail; it is then not sent at all.
        let _ = writer.finish();
        self.out = out;
    }

    /// Records that the replaced subscription had in focus, and this one has not (REP-03).
    fn tell_what_left<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        key: SubKey,
        old: &Subscription,
        sink: &mut S,
    ) {
        let Some(new) = self.subscriptions.get(&key) else { return };
        let in_scope = |subscription: &Subscription, facts: Facts<'_>| {
            subscription.pattern.matches(facts.topic)
                && subscription.selector.as_ref().is_none_or(|selector| selector.matches(facts, now))
        };
        let mut left = Vec::new();
        for table in self.tables_of(new.message_type) {
            for record in table.records() {
                let document = table.layout.format.read(&record.body);
                let facts = Facts::of_record(record, &table.layout, &document);
                if in_scope(old, facts) && !in_scope(new, facts) {
                    left.push((Arc::clone(&table.layout), Arc::clone(record)));
                }
            }
        }
        for (layout, record) in left {
            self.send_out_of_focus(now, conn, key, &layout, &record, OofReason::Match, sink);
        }
    }
}

fn records_of<'t>(
    table: &'t Table,
    pattern: &'t TopicPattern,
    as_of: Option<Point>,
    now: Time,
) -> impl Iterator<Item = &'t Arc<Record>> {
    let all = table.only_topic().map(|topic| pattern.matches(topic));
    table.records_at(as_of, now).filter(move |record| all.unwrap_or_else(|| pattern.matches(&record.topic)))
}

/// Puts the records of one topic together, topics in the order of their first record.
fn group_topics<K>(rows: &mut [(K, Row)]) {
    let mut places: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for (_, row) in rows.iter() {
        let next = places.len();
        places.entry(Arc::clone(&row.record.topic)).or_insert(next);
    }
    if places.len() > 1 {
        rows.sort_by_key(|(_, row)| places.get(&row.record.topic).copied());
    }
}
