//! Who gets which queue message (server.md 6.4, 6.5, 6.7).
//!
//! Owns the dispatch algorithm and the count of what each subscription has in hand. It takes
//! the oldest available message that any subscription with room matches, and gives it to the
//! one that fairness picks, until nothing moves. Each filter looks at each message once: a
//! member's cursor remembers how far it has looked.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use amps_protocol::{CommandKind, Field, FrameWriter, format_timestamp};
use amps_transport::{ConnId, Sink, Time};

use super::Engine;
use super::action::Happening;
use super::config::{Fairness, Semantics};
use super::queue::{ExpiryReason, Holder, Member, Place, Queue, Unsuccessful};
use super::selector::Facts;
use super::subscription::{SubKey, Subscription};
use super::switches::{LeaseHeader, QueueTopic};
use super::timers::Timer;
use super::txlog::{Entry, Position};

/// `lp` of a lease that does not end.
const FAR_FUTURE: &str = "99991231T235959.000000Z";

impl Engine {
    /// Delivers all that can be delivered, publishes what expired, and shows what was logged
    /// to those who follow the log.
    pub(super) fn settle<S: Sink>(&mut self, now: Time, sink: &mut S) {
        loop {
            while let Some(queue) = self.dirty.pop_first() {
                self.dispatch(queue, now, sink);
                self.log_departures(now, queue);
                self.settle_ownership(now, queue, sink);
                self.show_queue(now, queue, sink);
                self.timers.set(Timer::Queue(queue), self.queues[queue].deadline());
            }
            if !self.run_action(now, sink) {
                break;
            }
        }
        self.publish_status(now, sink);
        self.replicate(now, sink);
        self.follow_log(now, sink);
    }

    fn dispatch<S: Sink>(&mut self, queue: usize, now: Time, sink: &mut S) {
        loop {
            if let Some(entry) = self.queues[queue].take_barrier(now) {
                self.send_barrier(now, queue, &entry, sink);
            } else if let Some((position, sub)) = pick(&mut self.queues[queue], &self.subscriptions, now) {
                self.deliver(queue, position, sub, now, sink);
            } else {
                return;
            }
        }
    }

    fn deliver<S: Sink>(&mut self, index: usize, position: Position, sub: SubKey, now: Time, sink: &mut S) {
        let Some(conn) = self.subscriptions.get(&sub).map(|subscription| subscription.conn) else { return };
        let scripted = self.scripted_lease(now, conn);
        let Some(subscription) = self.subscriptions.get_mut(&sub) else { return };
        let holder = Holder { sub, conn: subscription.conn };
        let Some((entry, mut until)) = self.queues[index].deliver(position, holder, now) else { return };
        if let Some(end) = scripted.filter(|end| self.queues[index].extend(position, *end)) {
            until = Some(end);
        }
        subscription.leased += 1;
        self.delivered += 1;
        let Some(subscription) = self.subscriptions.get(&sub) else { return };
        let queue = &self.queues[index];
        let select = subscription.shape.select.as_deref();
        let body = self.shown(holder.conn, Some(&queue.name), &queue.format, &entry.body, select);
        let switches = &self.config.switches;
        let lease = match (until, queue.config.semantics) {
            (Some(at), _) => Some(format_timestamp(at.as_unix_nanos()).to_string()),
            (None, Semantics::AtLeastOnce) => far_future(switches.lease_without_period),
            (None, Semantics::AtMostOnce) => far_future(switches.lease_at_most_once),
        };
        let topic = match switches.queue_topic {
            QueueTopic::Queue => &queue.name,
            QueueTopic::Underlying => &entry.topic,
        };
        let timestamp =
            subscription.shape.timestamp.then(|| format_timestamp(entry.at.as_unix_nanos()).to_string());
        FrameWriter::new(&mut self.out, CommandKind::Publish)
            .text(Field::Bookmark, entry.bookmark.to_string())
            .text(Field::Topic, topic.as_bytes())
            .text(Field::SubIds, subscription.id.as_bytes())
            .maybe_text(Field::CorrelationId, entry.correlation.as_deref())
            .maybe_text(Field::Lease, lease)
            .maybe_text(Field::Timestamp, timestamp)
            .maybe_number(Field::Length, switches.publish_length.then_some(body.len() as u64))
            .finish(&body);
        self.transmit(now, holder.conn, sink);
        self.deliver_again(index, position, now);
    }

    /// On a server that makes the most of at-least-once delivery, a lease may be lost as soon as
    /// it began, as if its instance had failed: then the message is delivered once more, to
    /// whoever is next (server.md 8.6, inferred).
    fn deliver_again(&mut self, index: usize, position: Position, now: Time) {
        let queue = &mut self.queues[index];
        let limit = queue.config.max_deliveries;
        let first = queue.message(position).filter(|m| m.lease.is_some() && m.deliveries == 1);
        let Some(bookmark) = first.map(|message| message.entry.bookmark).filter(|_| limit != 1) else {
            return;
        };
        if !self.scripted.chance().delivers_again(bookmark) {
            return;
        }
        let (holder, expired) = queue.give_back(position, Unsuccessful::HolderLeft, now);
        self.free_backlog(holder);
        self.bury(index, expired);
    }

    /// A barrier goes to every subscription whose filter it matches, whatever its backlog, and
    /// nobody acknowledges it.
    fn send_barrier<S: Sink>(&mut self, now: Time, index: usize, entry: &Entry, sink: &mut S) {
        let queue = &self.queues[index];
        let document = queue.format.read(&entry.body);
        let facts = Facts::of(entry, &queue.format, &document).read_as(&queue.name);
        let mut audience: BTreeMap<ConnId, Vec<Arc<str>>> = BTreeMap::new();
        for subscription in queue.members.keys().filter_map(|key| self.subscriptions.get(key)) {
            if subscription.selector.as_ref().is_none_or(|selector| selector.matches(facts, now)) {
                audience.entry(subscription.conn).or_default().push(Arc::clone(&subscription.id));
            }
        }
        let topic = match self.config.switches.queue_topic {
            QueueTopic::Queue => Arc::clone(&queue.name),
            QueueTopic::Underlying => Arc::clone(&entry.topic),
        };
        for (conn, ids) in audience {
            self.delivered += 1;
            let queue = &self.queues[index];
            let body = self.shown(conn, Some(&queue.name), &queue.format, &entry.body, None);
            let length = self.config.switches.publish_length.then_some(body.len() as u64);
            FrameWriter::new(&mut self.out, CommandKind::Publish)
                .text(Field::Bookmark, entry.bookmark.to_string())
                .text(Field::Topic, topic.as_bytes())
                .list(Field::SubIds, ids.iter().map(|id| id.as_bytes()))
                .maybe_text(Field::CorrelationId, entry.correlation.as_deref())
                .maybe_number(Field::Length, length)
                .finish(&body);
            self.transmit(now, conn, sink);
        }
    }

    /// A message is off a subscription's backlog: other queues may use the room.
    pub(super) fn free_backlog(&mut self, holder: Option<Holder>) {
        let Some(holder) = holder else { return };
        let Some(subscription) = self.subscriptions.get_mut(&holder.sub) else { return };
        subscription.leased = subscription.leased.saturating_sub(1);
        for (index, queue) in self.queues.iter().enumerate() {
            if queue.members.contains_key(&holder.sub) {
                self.dirty.insert(index);
            }
        }
    }

    /// A message expired: somebody may want to know.
    pub(super) fn bury(&mut self, queue: usize, expired: Option<(Arc<Entry>, ExpiryReason)>) {
        let Some((entry, reason)) = expired else { return };
        let (name, message_type) = (Arc::clone(&self.queues[queue].name), entry.message_type);
        self.has_expired(message_type, &name, reason, || Happening {
            body: Arc::clone(&entry.body),
            correlation: entry.correlation.clone(),
            client_name: entry.publisher.to_string(),
            bookmark: entry.bookmark.to_string(),
            ..Happening::default()
        });
    }

    /// Leases, messages and deferred acks whose time is up.
    pub(super) fn queue_timer(&mut self, now: Time, index: usize) {
        self.dirty.insert(index);
        while let Some(position) = self.queues[index].lease_due(now) {
            let (holder, expired) = self.queues[index].give_back(position, Unsuccessful::TimedOut, now);
            self.free_backlog(holder);
            self.bury(index, expired);
        }
        while let Some(position) = self.queues[index].expiration_due(now) {
            let holder = self.queues[index].end_lease(position);
            self.free_backlog(holder);
            let expired = self.queues[index].expire(position, ExpiryReason::TimeLimit, now);
            self.bury(index, expired);
        }
        self.queues[index].forget_due(now);
    }
}

fn far_future(header: LeaseHeader) -> Option<String> {
    (header == LeaseHeader::FarFuture).then(|| FAR_FUTURE.to_owned())
}

/// The oldest message that somebody can take, and who takes it.
fn pick(
    queue: &mut Queue,
    subscriptions: &BTreeMap<SubKey, Subscription>,
    now: Time,
) -> Option<(Position, SubKey)> {
    if !queue.can_deliver() {
        return None;
    }
    let mut candidates: Vec<(SubKey, &Subscription)> = Vec::new();
    let mut oldest: Option<Place> = None;
    let keys: Vec<SubKey> = queue.members.keys().copied().collect();
    for key in keys {
        let Some(subscription) = subscriptions.get(&key).filter(|subscription| subscription.has_room())
        else {
            continue;
        };
        let Some(place) = next_match(queue, key, subscription, now) else { continue };
        if oldest.is_none_or(|oldest| place < oldest) {
            oldest = Some(place);
            candidates.clear();
        }
        if oldest == Some(place) {
            candidates.push((key, subscription));
        }
    }
    choose(queue.fairness, &candidates, queue.last_served)
        .zip(oldest)
        .map(|(sub, place)| (place.position, sub))
}

/// The oldest available message that a subscription matches.
fn next_match(queue: &mut Queue, key: SubKey, subscription: &Subscription, now: Time) -> Option<Place> {
    let Some(selector) = &subscription.selector else { return queue.oldest_available() };
    let member = *queue.members.get(&key)?;
    if let Some(position) = member.confirmed.filter(|&position| queue.is_available(position)) {
        return Some(position);
    }
    let found = queue.find_available(member.cursor, |entry| {
        let document = queue.format.read(&entry.body);
        selector.matches(Facts::of(entry, &queue.format, &document).read_as(&queue.name), now)
    });
    let cursor = found.unwrap_or(queue.end());
    queue.members.insert(key, Member { cursor, confirmed: found, ..member });
    found
}

/// Candidates are in the order of subscription.
fn choose(
    fairness: Fairness,
    candidates: &[(SubKey, &Subscription)],
    last_served: Option<SubKey>,
) -> Option<SubKey> {
    let first = candidates.first()?;
    let chosen = match fairness {
        Fairness::Fast => first,
        Fairness::RoundRobin => candidates.iter().find(|(key, _)| Some(*key) > last_served).unwrap_or(first),
        // Of equal shares, `min_by` takes the first.
        Fairness::Proportional => candidates.iter().min_by(|(_, a), (_, b)| share_order(a, b))?,
    };
    Some(chosen.0)
}

/// Compares leased / backlog without dividing.
fn share_order(a: &Subscription, b: &Subscription) -> std::cmp::Ordering {
    let share = |x: &Subscription, y: &Subscription| u64::from(x.leased) * u64::from(y.backlog.unwrap_or(1));
    share(a, b).cmp(&share(b, a))
}
