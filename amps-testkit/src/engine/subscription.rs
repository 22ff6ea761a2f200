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
use super::conflation::Conflated;
use super::format::Select;
use super::queue::{Member, Unsuccessful};
use super::reasons::Reason;
use super::reply::{AckFrame, Refusal};
use super::request::{QueryRequest, Request};
use super::selector::Selector;
use super::sow::{Aggregate, Page};
use super::status::About;
use super::timers::Timer;
use super::topic::{TopicPattern, TypeId};

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
    pub(crate) shape: Shape,
    /// How its query was ordered and cut.
    pub(crate) cut: Cut,
    /// It is a window over an ordered result.
    pub(crate) page: Option<Page>,
    /// It gets results over groups of records.
    pub(crate) aggregate: Option<Aggregate>,
    /// It gets at most one update per key and interval.
    pub(crate) conflated: Option<Conflated>,
    /// The granted backlog; `None` if no queue is covered.
    pub(crate) backlog: Option<u32>,
    pub(crate) leased: u32,
    /// It follows the log, and gets nothing in any other way.
    pub(crate) replays: bool,
}

/// What a subscription wants its messages to hold, and of which changes it wants to hear.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    pub(crate) timestamp: bool,
    pub(crate) bookmark: bool,
    pub(crate) no_sowkey: bool,
    /// It hears when a record leaves its focus.
    pub(crate) oof: bool,
    pub(crate) select: Option<Arc<Select>>,
    /// It gets what changed instead of the whole.
    pub(crate) delta: Option<Delta>,
}

/// How changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    /// Updates that change nothing are left out.
    pub(crate) no_empties: bool,
    /// Key fields come along.
    pub(crate) keys: bool,
}

/// Which of the options of a query were given that say which part of the result is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    top: bool,
    skip: bool,
    order: bool,
}

impl Cut {
    const fn of(query: &QueryRequest) -> Self {
        Self { top: query.top_n.is_some(), skip: query.skips, order: query.order.is_some() }
    }

    const fn is_page(self) -> bool {
        self.top && self.skip
    }

    /// Whether everything is there that was there.
    const fn has_all_of(self, old: Self) -> bool {
        self.top >= old.top && self.skip >= old.skip && self.order >= old.order
    }
}

/// What may take the place of what (REP-04, AGG-03, PAG-05).
fn check_replacement(old: &Subscription, new: &Request, cut: Cut) -> Result<(), Refusal> {
    let refused = |detail: &str| Err(Refusal::because(Reason::InvalidOptions, detail.to_owned()));
    // Of every subscription, says the user guide, not of pages alone.
    if !cut.has_all_of(old.cut) {
        return refused("of top_n, skip_n and orderby, what the subscription had its replacement has too");
    }
    let same_topic = old.pattern.text() == new.pattern.text();
    if old.page.is_some() && !(cut.is_page() && same_topic) {
        return refused("what replaces a paginated subscription has a page too, and the same topic");
    }
    if old.aggregate.is_none() && new.aggregation.is_none() {
        return Ok(());
    }
    let text = |selector: &Option<Selector>| selector.as_ref().and_then(|s| s.text().map(str::to_owned));
    let settled = same_topic
        && text(&old.selector) == text(&new.selector)
        && computed(&Options::parse(&old.options)) == computed(&new.options)
        && old.shape.asks_as(&new.shape);
    if old.aggregate.is_some() && new.aggregation.is_some() && settled {
        return Ok(());
    }
    refused("of a subscription to results over groups only the page can be replaced")
}

/// The options that make the results, as they were written.
fn computed(options: &Options) -> [Option<String>; 2] {
    ["projection", "grouping"].map(|name| options.get(name).map(ToString::to_string))
}

impl Shape {
    /// Whether its messages are the same, and tell of the same changes.
    fn asks_as(&self, other: &Self) -> bool {
        let plain = |shape: &Self| {
            (shape.timestamp, shape.bookmark, shape.no_sowkey, shape.oof, shape.delta, shape.select.is_none())
        };
        plain(self) == plain(other)
    }
}

impl Subscription {
    /// Whether another queue message may be delivered.
    pub(crate) fn has_room(&self) -> bool {
        self.backlog.is_some_and(|backlog| self.leased < backlog)
    }

    /// Whether it looks at whole topics, and not at one message at a time.
    pub(crate) const fn is_watcher(&self) -> bool {
        self.page.is_some() || self.aggregate.is_some()
    }

    pub(crate) const fn delta(&self) -> Option<Delta> {
        self.shape.delta
    }
}

impl Engine {
    pub(super) fn subscribe<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        if self.control_replays(now, conn, message, sink) {
            return;
        }
        let registered = self.read_request(now, conn, message).and_then(|mut request| {
            let id = self.subscription_id(message);
            let replay = request.replay.take();
            Ok((self.register(now, conn, id, request, None, replay.is_some(), sink)?, replay))
        });
        let ((key, old), replay) = match registered {
            Ok(registered) => registered,
            Err(refusal) => return self.refuse(now, conn, message, refusal, sink),
        };
        self.report_subscription(now, conn, message, key);
        self.confirm_subscription(now, conn, message, key, sink);
        self.place_replay(now, key, message, replay, old.is_some(), sink);
    }

    pub(super) fn report_subscription(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        key: SubKey,
    ) {
        let Some(subscription) = self.subscriptions.get(&key) else { return };
        let id = Arc::clone(&subscription.id);
        let about = About { command: Some(message), sub_id: Some(&id), ..About::default() };
        self.report(now, conn, message.command().token(), about);
    }

    /// The `processed` ack of a command that placed a subscription.
    pub(super) fn confirm_subscription<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        key: SubKey,
        sink: &mut S,
    ) {
        let Some(subscription) = self.subscriptions.get(&key) else { return };
        let id = Arc::clone(&subscription.id);
        let max_backlog = subscription.backlog;
        let sub_id = self.config.switches.processed_sub_id.then_some(&*id);
        self.acknowledge(now, conn, message, AckFrame { sub_id, max_backlog, ..AckFrame::new() }, sink);
    }

    /// Puts a subscription in place, or another in the place of one with its id. Returns the
    /// one that was replaced.
    ///
    /// # Errors
    /// The id is taken, or its subscription cannot be replaced by this one.
    #[expect(clippy::too_many_arguments, reason = "who, what, and how")]
    pub(super) fn register<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        id: Arc<str>,
        request: Request,
        query: Option<&QueryRequest>,
        replays: bool,
        sink: &mut S,
    ) -> Result<(SubKey, Option<Subscription>), Refusal> {
        let Some(connection) = self.connections.get(&conn) else { return Err(Reason::LogonRequired.into()) };
        let existing = connection.subscriptions.get(&id).copied();
        let cut = query.map(Cut::of).unwrap_or_default();
        if let Some(key) = existing {
            if !request.replaces {
                return Err(Reason::SubscriptionExists.into());
            }
            if let Some(old) = self.subscriptions.get(&key) {
                check_replacement(old, &request, cut)?;
            }
            // What it holds back is sent first (REP-06).
            self.release_all(now, key, sink);
        }
        let key = match existing {
            Some(key) => key,
            None => self.new_key(),
        };
        // What follows the log, or computes results, takes nothing out of queues.
        let covered = match replays || request.aggregation.is_some() {
            true => Vec::new(),
            false => self.queues_covered(&request.pattern, request.message_type),
        };
        let granted = covered.iter().map(|&queue| self.queues[queue].config.subscription_backlog).min();
        let subscription = Subscription {
            conn,
            id: Arc::clone(&id),
            message_type: request.message_type,
            selector: request.selector,
            shape: request.shape,
            cut,
            page: None,
            aggregate: None,
            conflated: request.conflation.map(|(rhythm, key)| Conflated::new(rhythm, key)),
            options: request.options.to_string().into(),
            pattern: request.pattern,
            backlog: granted.map(|limit| limit.min(request.backlog)),
            // Replacing keeps the leases.
            leased: self.subscriptions.get(&key).map_or(0, |old| old.leased),
            replays,
        };
        match subscription.conflated.as_ref().is_some_and(Conflated::is_auto) {
            true => self.automatic.insert(key),
            false => self.automatic.remove(&key),
        };
        let old = self.subscriptions.insert(key, subscription);
        if old.as_ref().is_some_and(Subscription::is_watcher) {
            self.watchers.remove(key);
        }
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.subscriptions.insert(id, key);
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
        Ok((key, old))
    }

    pub(super) fn subscription_id(&mut self, message: &Message<&[u8]>) -> Arc<str> {
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

    pub(super) fn queues_covered(&self, pattern: &TopicPattern, message_type: TypeId) -> Vec<usize> {
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
        let about = About { sub_id: Some(&subscription.id), ..About::default() };
        self.report(now, subscription.conn, "unsubscribe", about);
        if subscription.is_watcher() {
            self.watchers.remove(key);
        }
        self.automatic.remove(&key);
        self.timers.set(Timer::Conflation(key), None);
        if let Some(connection) = self.connections.get_mut(&subscription.conn) {
            connection.subscriptions.remove(&subscription.id);
        }
        self.end_replay(key);
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
