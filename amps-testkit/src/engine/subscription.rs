//! Subscriptions: subscribe, replace, unsubscribe (server.md 2.5, 2.6, 6.3).
//!
//! Owns the table of subscriptions. Invariants: keys grow in the order of creation, and a
//! replaced subscription keeps its key (REP-06); a connection's table of ids and this table
//! name the same subscriptions; `leased` is the number of messages that all queues together
//! count as unacknowledged on the subscription.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::{Field, Message, Options};
use amps_transport::{ConnId, Sink, Time};

use super::Engine;
use super::queue::{Member, Unsuccessful};
use super::reasons::Reason;
use super::reply::{AckFrame, Refusal};
use super::selector::Selector;
use super::switches::UnknownOptions;
use super::topic::{TopicPattern, TopicReading, TypeId};

/// Names a subscription for as long as it lives; ordered by creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SubKey(pub(crate) u64);

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) conn: ConnId,
    pub(crate) id: Arc<str>,
    pub(crate) message_type: TypeId,
    pub(crate) pattern: TopicPattern,
    pub(crate) selector: Option<Selector>,
    pub(crate) options: Arc<str>,
    pub(crate) wants_timestamp: bool,
    pub(crate) wants_bookmark: bool,
    /// The granted backlog; `None` if no queue is covered.
    pub(crate) backlog: Option<u32>,
    pub(crate) leased: u32,
}

impl Subscription {
    /// Whether another queue message may be delivered.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog.is_some_and(|backlog| self.leased < backlog)
    }
}

/// Options that a `subscribe` understands, or may carry without effect in this server.
const KNOWN_OPTIONS: &[&str] = &[
    "max_backlog",
    "replace",
    "non_regex_topic",
    "bookmark",
    "timestamp",
    "no_empties",
    "send_keys",
    "no_sowkey",
    "live",
    "fully_durable",
];

/// What a `subscribe` asks for, checked.
struct Request {
    id: Arc<str>,
    pattern: TopicPattern,
    selector: Option<Selector>,
    options: Options,
    backlog: u32,
}

impl Engine {
    pub(super) fn subscribe<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        let request = match self.read_subscribe(now, conn, message) {
            Ok(request) => request,
            Err(refusal) => return self.refuse(now, conn, message, refusal, sink),
        };
        let Some(connection) = self.connections.get(&conn) else { return };
        let message_type = connection.message_type;
        let key = match connection.subscriptions.get(&request.id) {
            Some(&key) => key,
            None => self.new_key(),
        };
        let covered = self.queues_covered(&request.pattern, message_type);
        let granted = covered.iter().map(|&queue| self.queues[queue].config.subscription_backlog).min();
        let subscription = Subscription {
            conn,
            id: Arc::clone(&request.id),
            message_type,
            selector: request.selector,
            wants_timestamp: request.options.contains("timestamp"),
            wants_bookmark: request.options.contains("bookmark"),
            options: request.options.to_string().into(),
            pattern: request.pattern,
            backlog: granted.map(|limit| limit.min(request.backlog)),
            // Replacing keeps the leases.
            leased: self.subscriptions.get(&key).map_or(0, |old| old.leased),
        };
        let granted = subscription.backlog;
        self.subscriptions.insert(key, subscription);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.subscriptions.insert(Arc::clone(&request.id), key);
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            if covered.contains(&index) {
                queue.members.insert(key, Member::default());
                self.dirty.insert(index);
            } else {
                queue.members.remove(&key);
            }
        }
        self.routes.clear();
        let sub_id = self.config.switches.processed_sub_id.then_some(&*request.id);
        self.acknowledge(
            now,
            conn,
            message,
            AckFrame { sub_id, max_backlog: granted, ..AckFrame::new() },
            sink,
        );
    }

    fn read_subscribe(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
    ) -> Result<Request, Refusal> {
        let options = Options::parse(&text(message.options().map(|o| &**o)));
        self.check_options(now, conn, &options, KNOWN_OPTIONS)?;
        let topic = match message.topic() {
            Some(topic) if !topic.is_empty() => text(Some(topic)),
            _ => return Err(Reason::InvalidTopic.into()),
        };
        let literal = options.contains("non_regex_topic") || !self.config.regex_topics;
        let reading = if literal { TopicReading::Literal } else { TopicReading::Guess };
        let pattern = TopicPattern::parse(&topic, reading, self.config.switches.internal_in_regex)
            .map_err(|fault| Refusal::because(Reason::BadRegex, fault))?;
        let selector = match message.filter() {
            Some(filter) if !filter.is_empty() => {
                let parsed = Selector::parse(&text(Some(filter)));
                Some(parsed.map_err(|fault| Refusal::because(Reason::BadFilter, fault))?)
            }
            _ => None,
        };
        let backlog = match options.get("max_backlog") {
            Some(number) => number.parse().map_err(|_| {
                Refusal::because(Reason::InvalidOptions, format!("max_backlog={number} is not a number"))
            })?,
            None => 1,
        };
        let id = self.subscription_id(message);
        let exists = self.connections.get(&conn).is_some_and(|c| c.subscriptions.contains_key(&id));
        if exists && !options.contains("replace") {
            return Err(Reason::SubscriptionExists.into());
        }
        Ok(Request { id, pattern, selector, options, backlog })
    }

    /// Notes the options that the server does not know, or refuses them.
    fn check_options(
        &mut self,
        now: Time,
        conn: ConnId,
        options: &Options,
        known: &[&str],
    ) -> Result<(), Refusal> {
        let unknown: Vec<_> =
            options.iter().map(|(name, _)| name).filter(|name| !known.contains(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let note = format!("unknown option: {}", unknown.join(", "));
        match self.config.switches.unknown_options {
            UnknownOptions::Ignore => {
                self.note(now, conn, note);
                Ok(())
            }
            UnknownOptions::Reject => Err(Refusal::because(Reason::InvalidOptions, note)),
        }
    }

    fn subscription_id(&mut self, message: &Message<&[u8]>) -> Arc<str> {
        match message.sub_id().or_else(|| message.command_id()).filter(|id| !id.is_empty()) {
            Some(id) => text(Some(id)).into(),
            None => {
                self.generated_ids += 1;
                format!("auto-{}", self.generated_ids).into()
            }
        }
    }

    fn new_key(&mut self) -> SubKey {
        self.next_sub += 1;
        SubKey(self.next_sub)
    }

    fn queues_covered(&self, pattern: &TopicPattern, message_type: TypeId) -> Vec<usize> {
        let covers =
            |queue: &super::queue::Queue| queue.message_type == message_type && pattern.matches(&queue.name);
        self.queues.iter().enumerate().filter(|(_, queue)| covers(queue)).map(|(index, _)| index).collect()
    }

    pub(super) fn unsubscribe<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        if message.sub_id().is_none() && message.query_id().is_none() {
            return self.refuse(now, conn, message, Reason::InvalidSubId.into(), sink);
        }
        for key in self.named_subscriptions(conn, &text(message.sub_id().map(|id| &**id))) {
            self.end_subscription(now, key);
        }
        self.acknowledge(now, conn, message, AckFrame::new(), sink);
    }

    /// The subscriptions of a comma list, or all of them.
    fn named_subscriptions(&self, conn: ConnId, list: &str) -> Vec<SubKey> {
        let Some(connection) = self.connections.get(&conn) else { return Vec::new() };
        let named = list.split(',').map(str::trim);
        if named.clone().any(|id| id == "all") {
            return connection.subscriptions.values().copied().collect();
        }
        named.filter_map(|id| connection.subscriptions.get(id).copied()).collect()
    }

    /// Removes a subscription and returns its leases.
    pub(super) fn end_subscription(&mut self, now: Time, key: SubKey) {
        let Some(subscription) = self.subscriptions.remove(&key) else { return };
        if let Some(connection) = self.connections.get_mut(&subscription.conn) {
            connection.subscriptions.remove(&subscription.id);
        }
        self.routes.clear();
        for index in 0..self.queues.len() {
            let queue = &mut self.queues[index];
            if queue.members.remove(&key).is_none() && subscription.leased == 0 {
                continue;
            }
            queue.forget_sent(key);
            self.dirty.insert(index);
            for position in queue.held_by(key) {
                let (_, expired) = self.queues[index].give_back(position, Unsuccessful::HolderLeft, now);
                self.bury(index, expired);
            }
        }
    }
}

/// A header field as text; what is not UTF-8 is replaced, for nothing here could match it.
pub(super) fn text(field: Option<&[u8]>) -> String {
    String::from_utf8_lossy(field.unwrap_or_default()).into_owned()
}

/// The value of a field, or nothing.
pub(super) fn field_text(message: &Message<&[u8]>, field: Field) -> String {
    text(message.get(field).map(|value| &**value))
}
