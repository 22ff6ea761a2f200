//! Publishing: log, queues, plain subscriptions, acks (server.md 2.2, 2.3, 2.7, 5.5).
//!
//! Owns the order of steps of one publish, and the conflation of `persisted` acks: at most
//! one timer per connection, which covers everything up to the highest sequence number.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use amps_protocol::{AckType, CommandKind, Message, MessageId, Status};
use amps_transport::{ConnId, Sink, Time};

use super::Engine;
use super::audience::{Audience, ByConnection};
use super::fan_out::News;
use super::filter::Context;
use super::outside::{NotPublished, PublishOptions, Published};
use super::reasons::Reason;
use super::reply::{AckFrame, Refusal};
use super::selector::{Facts, holds};
use super::sow::{Change, Incoming, Record, resource_in};
use super::subscription::{SubKey, text};
use super::switches::DuplicateAck;
use super::timers::Timer;
use super::topic::{INTERNAL, Route, TypeId};
use super::txlog::{Entry, name_hash};

/// Publishes here are accepted and dropped (TOP-07).
const DEVNULL: &str = "/AMPS/devnull";

/// A message on its way in.
pub(super) struct Publication<'a> {
    pub(super) message_type: TypeId,
    /// Only what changes in its record.
    pub(super) delta: bool,
    pub(super) body: &'a [u8],
    /// The record key, where publishers choose it.
    pub(super) key: Option<&'a [u8]>,
    pub(super) correlation: Option<&'a [u8]>,
    pub(super) expiration: Option<u64>,
    pub(super) publisher: Arc<str>,
    /// Present if the topic is logged.
    pub(super) bookmark: Option<MessageId>,
}

impl Engine {
    pub(super) fn publish_command<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        let Some(connection) = self.connections.get(&conn) else { return };
        let message_type = connection.message_type;
        let sequence = message.sequence().filter(|&sequence| sequence > 0);
        let route = match self.publish_route(message_type, message.topic().map(|topic| &**topic)) {
            Ok(route) => route,
            Err(refusal) => return self.fail_sequenced(now, conn, message, refusal, sink),
        };
        if !self.may_publish(now, conn, &route, message) {
            return self.fail_sequenced(now, conn, message, Reason::NotEntitled.into(), sink);
        }
        let Some(Connected { publisher, hash, server_hash }) = self.publisher(conn) else { return };
        let bookmark = match (route.logged, sequence) {
            (false, _) => None,
            (true, Some(sequence)) => {
                if !self.log.advance(hash, sequence) {
                    return self.acknowledge_duplicate(now, conn, message, sink);
                }
                Some(MessageId { publisher: hash, sequence })
            }
            (true, None) => Some(self.server_bookmark(server_hash)),
        };
        let publication = Publication {
            message_type,
            delta: message.command() == CommandKind::DeltaPublish,
            body: message.data(),
            key: message.sow_key().map(|key| &**key),
            correlation: message.correlation_id().map(|x| &**x),
            expiration: message.expiration(),
            publisher,
            bookmark,
        };
        match self.spread(now, &route, publication, sink) {
            Ok(()) => self.acknowledge_publish(now, conn, message, route.logged, sink),
            Err(refusal) => self.fail_sequenced(now, conn, message, refusal, sink),
        }
    }

    /// Whether the publisher may write this message, as it came in (ENT-04).
    fn may_publish(&self, now: Time, conn: ConnId, route: &Route, message: &Message<&[u8]>) -> bool {
        let Some(connection) = self.connections.get(&conn) else { return false };
        let Some(rights) = &connection.rights else { return true };
        let Some(right) = rights.write(&route.entitled) else { return false };
        let Some(filter) = right.filter else { return true };
        let format = self.types.format(connection.message_type);
        let document = format.read(message.data());
        let facts = Facts {
            format,
            topic: &route.topic,
            resource: Some(&route.entitled),
            body: message.data(),
            correlation: message.correlation_id().map(|x| &**x),
            bookmark: None,
            publisher: &connection.client_name,
            updated: None,
            document: &document,
        };
        holds(filter, facts, now)
    }

    /// Publishes on behalf of the server.
    ///
    /// # Errors
    /// A publish of that kind would be refused, or the server was [halted](Self::halt).
    pub fn publish<S: Sink>(
        &mut self,
        now: Time,
        message_type: &str,
        topic: &str,
        body: &[u8],
        sink: &mut S,
    ) -> Result<Published, NotPublished> {
        let options = PublishOptions { message_type: Some(message_type.to_owned()), ..Default::default() };
        self.publish_as(now, topic, body, &options, sink)
    }

    #[expect(clippy::too_many_arguments, reason = "what, where, and how")]
    pub(super) fn publish_synthetic<S: Sink>(
        &mut self,
        now: Time,
        message_type: TypeId,
        topic: &str,
        body: &[u8],
        correlation: Option<&[u8]>,
        delta: bool,
        sink: &mut S,
    ) {
        // Nobody publishes to views and copies, the server's own actions neither (TOP-08).
        let Ok(route) = self.publish_route(message_type, Some(topic.as_bytes())) else {
            self.refusals += 1;
            return;
        };
        let publisher: Arc<str> = self.config.instance.as_str().into();
        let bookmark = route.logged.then(|| self.own_bookmark());
        let publication = Publication {
            message_type,
            delta,
            body,
            key: None,
            correlation,
            expiration: None,
            publisher,
            bookmark,
        };
        // The server's own messages have nobody to tell of a failure.
        let _ = self.spread(now, &route, publication, sink);
    }

    /// What names a delete in the log.
    pub(super) fn delete_bookmark(&mut self, conn: ConnId, message: &Message<&[u8]>) -> Option<MessageId> {
        let Connected { hash, server_hash, .. } = self.publisher(conn)?;
        match message.sequence().filter(|&sequence| sequence > 0) {
            Some(sequence) => Some(MessageId { publisher: hash, sequence }),
            None => Some(self.server_bookmark(server_hash)),
        }
    }

    /// The next bookmark of what the server itself does.
    pub(super) fn own_bookmark(&mut self) -> MessageId {
        self.server_bookmark(name_hash(&format!("@{}", self.config.instance)))
    }

    pub(super) fn server_bookmark(&mut self, publisher: u64) -> MessageId {
        // After a restart the numbers of earlier lives are known to the log only.
        let known = self.server_sequence.max(self.log.highest(publisher));
        self.server_sequence = known.saturating_add(1);
        self.log.advance(publisher, self.server_sequence);
        MessageId { publisher, sequence: self.server_sequence }
    }

    fn publisher(&self, conn: ConnId) -> Option<Connected> {
        let connection = self.connections.get(&conn)?;
        let identity = connection.identity.as_ref()?;
        let publisher = Arc::clone(&connection.client_name);
        Some(Connected { publisher, hash: identity.hash, server_hash: identity.server_hash })
    }

    pub(super) fn publish_route(
        &mut self,
        message_type: TypeId,
        topic: Option<&[u8]>,
    ) -> Result<Arc<Route>, Refusal> {
        let topic = topic.filter(|topic| !topic.is_empty()).ok_or(Reason::InvalidTopic)?;
        if topic.starts_with(INTERNAL.as_bytes()) && topic != DEVNULL.as_bytes() {
            let detail = format!("{} is a topic of the server's own", text(Some(topic)));
            return Err(Refusal::because(Reason::InvalidTopic, detail));
        }
        let route = self.route(message_type, topic);
        if route.table.is_some_and(|table| self.sow[table].is_derived) {
            let detail = format!("{} follows other topics and is not published to", route.topic);
            return Err(Refusal::because(Reason::InvalidTopic, detail));
        }
        Ok(route)
    }

    /// State of the world, everybody who listens, log, queues (PUB-01 to PUB-03).
    ///
    /// # Errors
    /// The message has no record key, or could not be read for it; nothing was done.
    pub(super) fn spread<S: Sink>(
        &mut self,
        now: Time,
        route: &Route,
        publication: Publication<'_>,
        sink: &mut S,
    ) -> Result<(), Refusal> {
        let correlation = || publication.correlation.map(Into::into);
        let (body, key, correlation) = match route.table {
            Some(table) => {
                let record = self.keep(now, table, route, &publication, sink)?;
                self.trigger(now, route, &publication, &record.body);
                (Arc::clone(&record.body), Some(Arc::clone(&record.key)), record.correlation.clone())
            }
            None => {
                self.published += 1;
                self.pass_on(now, route, &publication, sink);
                self.trigger(now, route, &publication, publication.body);
                if publication.bookmark.is_none() {
                    return Ok(());
                }
                (publication.body.into(), None, correlation())
            }
        };
        let Some(bookmark) = publication.bookmark else { return Ok(()) };
        let entry = Arc::new(Entry {
            position: self.log.end(),
            bookmark,
            message_type: publication.message_type,
            topic: Arc::clone(&route.topic),
            body,
            key,
            correlation,
            publisher: publication.publisher,
            at: now,
            expiration: publication.expiration,
            via: None,
        });
        self.enter_queues(now, route, &entry);
        self.log.append(entry);
        Ok(())
    }

    /// What was published may make the server act.
    fn trigger(&mut self, now: Time, route: &Route, publication: &Publication<'_>, body: &[u8]) {
        if self.actions.is_empty() {
            return;
        }
        let format = self.types.format(publication.message_type).clone();
        let document = format.read(body);
        let facts = Facts {
            format: &format,
            topic: &route.topic,
            resource: Some(&route.entitled),
            body,
            correlation: publication.correlation,
            bookmark: publication.bookmark,
            publisher: &publication.publisher,
            updated: None,
            document: &document,
        };
        self.was_published(now, publication.message_type, facts);
    }

    /// To a topic without a state of the world: it is told and not kept.
    pub(super) fn pass_on<S: Sink>(
        &mut self,
        now: Time,
        route: &Route,
        publication: &Publication<'_>,
        sink: &mut S,
    ) {
        if route.is_unheard() || *route.topic == *DEVNULL {
            return;
        }
        let format = self.types.format(publication.message_type).clone();
        let document = format.read(publication.body);
        let facts = Facts {
            format: &format,
            topic: &route.topic,
            resource: Some(&route.entitled),
            body: publication.body,
            correlation: publication.correlation,
            bookmark: publication.bookmark,
            publisher: &publication.publisher,
            updated: None,
            document: &document,
        };
        let news = News { key: None, layout: None, old: None, new: Some(facts), left: None };
        self.fan_out(now, route, &news, sink);
    }

    /// To a topic with a state of the world: it becomes a record.
    fn keep<S: Sink>(
        &mut self,
        now: Time,
        index: usize,
        route: &Route,
        publication: &Publication<'_>,
        sink: &mut S,
    ) -> Result<Arc<Record>, Refusal> {
        let table = &mut self.sow[index];
        let layout = Arc::clone(&table.layout);
        let enrichment = table.enrichment.clone();
        let context = Incoming {
            topic: &route.topic,
            body: publication.body,
            correlation: publication.correlation,
            publisher: &publication.publisher,
            instance: &self.config.instance,
        }
        .context(now);
        let incoming = match &enrichment {
            Some(enrichment) => enrichment.preprocess(&layout.format, publication.body, context),
            None => Cow::Borrowed(publication.body),
        };
        let key = table.key_of(&route.topic, &incoming, publication.key)?;
        let old = table.get(&route.topic, &key).cloned();
        let incoming = match &enrichment {
            Some(enrichment) => {
                let previous = old.as_ref().map(|record| &*record.body);
                let context = Context { sow_key: &key, ..context };
                enrichment.enrich(&layout.format, incoming, previous, context)
            }
            None => incoming,
        };
        let body: Arc<[u8]> = match &old {
            Some(old) if publication.delta => {
                layout.format.merge(&old.body, &incoming, self.config.switches.delta_null).into()
            }
            _ => incoming.into(),
        };
        // A delta keeps the mark of the record unless it brings its own (DEL-06).
        let correlation = publication.correlation.map(Into::into);
        let inherited = || old.as_ref().filter(|_| publication.delta).and_then(|old| old.correlation.clone());
        let record = Arc::new(Record {
            topic: Arc::clone(&route.topic),
            key,
            body,
            correlation: correlation.or_else(inherited),
            publisher: Arc::clone(&publication.publisher),
            bookmark: publication.bookmark,
            updated: now,
            expires: table.expiry(now, publication.expiration),
        });
        table.put(Arc::clone(&record));
        self.arm_sow(index);
        self.published += 1;
        let change = Change::Published { old: old.as_ref(), new: &record };
        self.changed(now, index, &change, sink);
        Ok(record)
    }

    fn acknowledge_publish<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        logged: bool,
        sink: &mut S,
    ) {
        if message.acks().is_empty() {
            return;
        }
        let ack = AckFrame { sequence: message.sequence(), ..AckFrame::new() };
        self.acknowledge_as(now, conn, message, AckType::Processed, ack, sink);
        self.acknowledge_as(now, conn, message, AckType::Completed, ack, sink);
        self.acknowledge_persisted(now, conn, message, logged, sink);
    }

    /// Conflated where the topic is logged and the publisher counts; else at once.
    pub(super) fn acknowledge_persisted<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        logged: bool,
        sink: &mut S,
    ) {
        if !message.acks().contains(AckType::Persisted) {
            return;
        }
        let sequence = message.sequence().filter(|&sequence| sequence > 0);
        if logged && sequence.is_some() {
            return self.persisted_is_due(now, conn, sink);
        }
        if logged && self.wait_for_durability(conn, message.command_id().map(|id| &**id)) {
            return;
        }
        let ack = AckFrame { sequence, ..AckFrame::new() };
        self.acknowledge_as(now, conn, message, AckType::Persisted, ack, sink);
    }

    fn persisted_is_due<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        let Some(connection) = self.connections.get(&conn) else { return };
        if connection.ack_conflation.is_zero() {
            return self.send_conflated(now, conn, sink);
        }
        let timer = Timer::Persisted(conn);
        if !self.timers.is_set(timer) {
            self.timers.set(timer, Some(now + connection.ack_conflation));
        }
    }

    /// One ack for every sequence number so far that is durable (PUB-23).
    pub(super) fn send_conflated<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        self.timers.set(Timer::Persisted(conn), None);
        let Some(Connected { hash, .. }) = self.publisher(conn) else { return };
        let sequence = self.log.highest_durable(hash);
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if sequence < self.log.highest(hash) {
            self.unconfirmed.insert(conn);
            if sequence <= connection.acknowledged {
                return;
            }
        }
        connection.acknowledged = sequence;
        let bookmark = Some(MessageId { publisher: hash, sequence });
        let ack = AckFrame { sequence: Some(sequence), bookmark, ..AckFrame::new() };
        self.send_ack(now, conn, AckType::Persisted, ack, sink);
    }

    pub(super) fn flush_conflated<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        if self.timers.is_set(Timer::Persisted(conn)) {
            self.send_conflated(now, conn, sink);
        }
    }

    pub(super) fn acknowledge_duplicate<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        match self.config.switches.duplicate_ack {
            DuplicateAck::Success => self.acknowledge_publish(now, conn, message, true, sink),
            DuplicateAck::Reason => self.fail_sequenced(now, conn, message, Reason::Duplicate.into(), sink),
        }
    }

    /// A publish, or a delete, fails: what came before succeeds first (PUB-24).
    pub(super) fn fail_sequenced<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        refusal: Refusal,
        sink: &mut S,
    ) {
        let reason = self.config.reasons.text(refusal.reason).to_owned();
        self.refuse(now, conn, message, refusal, sink);
        let sequence = message.sequence().filter(|&sequence| sequence > 0);
        if sequence.is_some() && message.acks().contains(AckType::Persisted) {
            self.flush_conflated(now, conn, sink);
            let ack =
                AckFrame { sequence, status: Status::Failure, reason: Some(&reason), ..AckFrame::new() };
            self.acknowledge_as(now, conn, message, AckType::Persisted, ack, sink);
        }
        if let (Some(sequence), true) = (sequence, self.config.switches.failed_advances) {
            if let Some(Connected { hash, .. }) = self.publisher(conn) {
                self.log.advance(hash, sequence);
            }
        }
    }

    pub(super) fn flush<S: Sink>(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>, sink: &mut S) {
        let acks = message.acks();
        if acks.contains(AckType::Persisted) || acks.contains(AckType::Completed) {
            self.flush_conflated(now, conn, sink);
        }
        for kind in [AckType::Processed, AckType::Persisted, AckType::Completed] {
            let waits = kind == AckType::Persisted
                && acks.contains(kind)
                && self.wait_for_durability(conn, message.command_id().map(|id| &**id));
            if !waits {
                self.acknowledge_as(now, conn, message, kind, AckFrame::new(), sink);
            }
        }
    }

    /// Whom a publish to `topic` concerns. A queue's own name stands for its target.
    pub(super) fn route(&mut self, message_type: TypeId, topic: &[u8]) -> Arc<Route> {
        if let Some(route) = self.routes.get(message_type, topic) {
            return route;
        }
        let name = text(Some(topic));
        let of_type = |queue: &&super::queue::Queue| queue.message_type == message_type;
        let target = self.queues.iter().filter(of_type).find(|queue| *queue.name == *name).map(|queue| {
            let config = &queue.config;
            config.publish_target.as_deref().unwrap_or(config.underlying_topic()).to_owned()
        });
        // To write to a queue is a right of its own, whatever the target is.
        let entitled: Arc<str> = match &target {
            Some(_) => name.as_str().into(),
            None => resource_in(&self.sow, message_type, &name).into(),
        };
        let name: Arc<str> = target.unwrap_or(name).into();
        let is_queue = self.queues.iter().filter(of_type).any(|queue| queue.name == name);
        let entered = |(_, queue): &(usize, &super::queue::Queue)| {
            queue.message_type == message_type && queue.underlying.matches(&name)
        };
        let route = Arc::new(Route {
            logged: self.log.covers(message_type, &name),
            table: self.table_of(message_type, &name),
            queues: self.queues.iter().enumerate().filter(entered).map(|(index, _)| index).collect(),
            // Where queue and topic share a name, its subscriptions are the queue's.
            conflated: if is_queue { Vec::new() } else { self.conflated(message_type, &name) },
            audience: if is_queue { Audience::default() } else { self.audience(message_type, &name) },
            entitled,
            topic: name,
        });
        self.routes.insert(message_type, topic, Arc::clone(&route));
        route
    }

    fn conflated(&self, message_type: TypeId, topic: &str) -> Vec<SubKey> {
        let holds = |subscription: &super::subscription::Subscription| {
            subscription.conflated.is_some()
                && !subscription.replays
                && subscription.message_type == message_type
                && subscription.pattern.matches(topic)
        };
        self.subscriptions.iter().filter(|(_, s)| holds(s)).map(|(key, _)| *key).collect()
    }

    fn audience(&self, message_type: TypeId, topic: &str) -> Audience {
        let mut audience = ByConnection::new();
        let mut places: BTreeMap<ConnId, usize> = BTreeMap::new();
        for (&key, subscription) in &self.subscriptions {
            let special =
                subscription.is_watcher() || subscription.conflated.is_some() || subscription.replays;
            if special || subscription.message_type != message_type || !subscription.pattern.matches(topic) {
                continue;
            }
            let place = *places.entry(subscription.conn).or_insert(audience.len());
            match audience.get_mut(place) {
                Some((_, keys)) => keys.push(key),
                None => audience.push((subscription.conn, vec![key])),
            }
        }
        Audience::new(audience, |key| self.subscriptions.get(&key))
    }
}

/// Who publishes.
struct Connected {
    publisher: Arc<str>,
    hash: u64,
    server_hash: u64,
}
