//! Conflated subscriptions: at most one update per key and interval (server.md 2.10).
//!
//! Owns what is held back. The first update of a key starts its interval; those that follow
//! take its place; at the end of the interval what is held is sent and forgotten. Query results
//! are never conflated.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::OofReason;
use amps_transport::{Sink, Time};

use super::Engine;
use super::fan_out::{News, Role};
use super::filter::Path;
use super::selector::Facts;
use super::sow::{Layout, Record, Resource};
use super::subscription::SubKey;
use super::switches::DeltaNull;
use super::timers::Timer;
use super::txlog::Entry;

/// What identifies the updates that take each other's place.
#[derive(Clone, Debug)]
pub(crate) enum ConflationKey {
    /// The record key.
    Record,
    /// The values of these fields.
    Fields(Vec<Path>),
}

/// How long updates are held back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rhythm {
    Every(Duration),
    /// Not at all, as long as the client takes what it is sent; else so long (CNF-08, inferred).
    Auto(Duration),
}

/// What a conflated subscription holds back.
#[derive(Debug)]
pub(crate) struct Conflated {
    rhythm: Rhythm,
    /// The client had not taken all that it was sent before the present step.
    is_behind: bool,
    key: ConflationKey,
    held: BTreeMap<Vec<u8>, Held>,
    due: BTreeSet<(Time, u64)>,
    by_order: BTreeMap<u64, Vec<u8>>,
    /// What the subscriber received last of each key; kept only if it hears of records that
    /// leave its focus.
    received: BTreeMap<Vec<u8>, Arc<Record>>,
    next: u64,
}

/// One update that waits.
#[derive(Debug)]
struct Held {
    layout: Arc<Layout>,
    /// The time and the bookmark are those of the first update (CNF-04).
    record: Arc<Record>,
    /// The changes of the interval, for those who want changes only.
    delta: Option<Vec<u8>>,
    left: Option<OofReason>,
}

impl Conflated {
    pub(crate) const fn new(rhythm: Rhythm, key: ConflationKey) -> Self {
        Self {
            rhythm,
            is_behind: false,
            key,
            held: BTreeMap::new(),
            due: BTreeSet::new(),
            by_order: BTreeMap::new(),
            received: BTreeMap::new(),
            next: 0,
        }
    }

    /// Whether it matters if the client is behind.
    pub(crate) const fn is_auto(&self) -> bool {
        matches!(self.rhythm, Rhythm::Auto(_))
    }

    const fn interval(&self) -> Duration {
        match self.rhythm {
            Rhythm::Every(interval) => interval,
            Rhythm::Auto(interval) if self.is_behind => interval,
            Rhythm::Auto(_) => Duration::ZERO,
        }
    }

    /// Whether nothing tells which other messages a message takes the place of: then it takes
    /// none's.
    fn is_alone(&self, record_key: &str) -> bool {
        matches!(self.key, ConflationKey::Record) && record_key.is_empty()
    }

    fn key_of(&self, facts: Facts<'_>, record_key: &str) -> Vec<u8> {
        let mut key = facts.topic.as_bytes().to_vec();
        match &self.key {
            ConflationKey::Record => {
                key.push(0x1f);
                key.extend_from_slice(record_key.as_bytes());
            }
            ConflationKey::Fields(paths) => {
                for text in facts.format.key_texts(facts.body, paths).unwrap_or_default() {
                    key.push(0x1f);
                    key.extend_from_slice(&text);
                }
            }
        }
        key
    }

    fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Notes what the subscriber already has: the result of its query.
    pub(crate) fn has_received(&mut self, layout: &Layout, record: &Arc<Record>) {
        let document = layout.format.read(&record.body);
        let key = self.key_of(Facts::of_record(record, layout, &document), &record.key);
        self.received.insert(key, Arc::clone(record));
    }

    fn put(&mut self, now: Time, key: Vec<u8>, mut update: Held) {
        let interval = self.interval();
        match self.held.get_mut(&key) {
            Some(held) => {
                if let (Some(earlier), Some(later)) = (&held.delta, &update.delta) {
                    let merged = held.layout.format.merge(earlier, later, DeltaNull::SetNull);
                    update.delta = Some(merged);
                } else {
                    update.delta = None;
                }
                let (updated, bookmark) = (held.record.updated, held.record.bookmark);
                let record = update.record.with_body(Arc::clone(&update.record.body));
                update.record = Arc::new(Record { updated, bookmark, ..record });
                *held = update;
            }
            None => {
                self.next += 1;
                self.due.insert((now + interval, self.next));
                self.by_order.insert(self.next, key.clone());
                self.held.insert(key, update);
            }
        }
    }

    /// What is held of a key is not to be sent after all. The next update begins an interval.
    fn drop_held(&mut self, key: &[u8]) {
        if self.held.remove(key).is_some() {
            let order = self.by_order.iter().find(|(_, held)| **held == *key).map(|(order, _)| *order);
            self.by_order.retain(|other, _| Some(*other) != order);
            self.due.retain(|(_, other)| Some(*other) != order);
        }
    }

    fn take_due(&mut self, now: Time) -> Option<(Vec<u8>, Option<Held>)> {
        let &(at, order) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, order));
        let key = self.by_order.remove(&order)?;
        let held = self.held.remove(&key);
        Some((key, held))
    }
}

impl Engine {
    /// Holds the news back for a conflated subscription.
    pub(super) fn hold<S: Sink>(
        &mut self,
        now: Time,
        key: SubKey,
        role: Role,
        news: &News<'_>,
        sink: &mut S,
    ) {
        let subscription = self.subscriptions.get(&key);
        let conflated = subscription.and_then(|subscription| subscription.conflated.as_ref());
        if conflated.is_some_and(|conflated| conflated.is_alone(news.key.unwrap_or_default())) {
            // A pattern may cover topics whose messages have no key (CNF-01, inferred).
            if let Some(conn) = subscription.map(|subscription| subscription.conn) {
                return self.tell(now, conn, key, news, sink);
            }
        }
        self.put_aside(now, key, role, news);
        self.release(now, key, sink);
    }

    /// Notes which clients have not taken what they were sent: before the step that sends them
    /// more, when the driver has had its chance to write.
    pub(super) fn look_at_consumers<S: Sink>(&mut self, sink: &S) {
        for key in &self.automatic {
            let Some(subscription) = self.subscriptions.get_mut(key) else { continue };
            let is_behind = sink.unsent(subscription.conn) > 0;
            if let Some(conflated) = &mut subscription.conflated {
                conflated.is_behind = is_behind;
            }
        }
    }

    /// Sees to it that what is held is sent when its interval ends.
    pub(super) fn arm_conflation(&mut self, key: SubKey) {
        let deadline = self.subscriptions.get(&key).and_then(|s| s.conflated.as_ref()?.deadline());
        self.timers.set(Timer::Conflation(key), deadline);
    }

    /// Holds a message of a replay back. Its interval is one of the time when it was published
    /// (CNF-07): what ended before is sent first.
    pub(super) fn hold_replayed<S: Sink>(
        &mut self,
        now: Time,
        key: SubKey,
        entry: &Entry,
        resource: &str,
        sink: &mut S,
    ) {
        self.release_until(now, entry.at, key, sink);
        let format = self.types.format(entry.message_type).clone();
        let layout =
            Arc::new(Layout { format, keys: Vec::new(), resource: Resource::Container(resource.into()) });
        let document = layout.format.read(&entry.body);
        let facts = Facts::of(entry, &layout.format, &document).read_as(resource);
        let news = News {
            key: entry.key.as_deref(),
            layout: Some(&layout),
            old: None,
            new: Some(facts),
            left: None,
        };
        self.put_aside(entry.at, key, Role::Whole, &news);
        self.release_until(now, entry.at, key, sink);
    }

    fn put_aside(&mut self, now: Time, key: SubKey, role: Role, news: &News<'_>) {
        let Some(facts) = news.new.or(news.old) else { return };
        let Some(subscription) = self.subscriptions.get(&key) else { return };
        let (select, delta) = (subscription.shape.select.as_deref(), subscription.shape.delta);
        let cut = |facts: Facts<'_>| {
            self.shown(subscription.conn, facts.resource, facts.format, facts.body, select).into_owned()
        };
        let difference = news.layout.zip(news.old).filter(|_| role == Role::Delta).map(|(layout, old)| {
            let with_keys = delta.is_none_or(|delta| delta.keys);
            layout.format.difference(&cut(old), &cut(facts), &layout.keys, with_keys)
        });
        // Only changes of what is shown count (SEL-07).
        if difference.as_ref().is_some_and(|d| !d.changed) && delta.is_some_and(|delta| delta.no_empties) {
            return;
        }
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let wants_oof = subscription.shape.oof;
        let Some(conflated) = &mut subscription.conflated else { return };
        let record_key = news.key.unwrap_or_default();
        let conflation_key = conflated.key_of(facts, record_key);
        let record = Arc::new(Record {
            topic: facts.topic.into(),
            key: record_key.into(),
            body: facts.body.into(),
            correlation: facts.correlation.map(Into::into),
            publisher: facts.publisher.into(),
            bookmark: facts.bookmark,
            updated: now,
            expires: None,
        });
        let layout = news.layout.map_or_else(
            || {
                let format = facts.format.clone();
                Arc::new(Layout { format, keys: Vec::new(), resource: Resource::Topic })
            },
            Arc::clone,
        );
        let held = Held { layout, record, delta: None, left: None };
        match role {
            Role::Leaves | Role::Lost => match conflated.received.get(&conflation_key) {
                // What it never had cannot leave (CNF-05).
                None => conflated.drop_held(&conflation_key),
                Some(known) => {
                    let hidden = Some(OofReason::Entitlement).filter(|_| role == Role::Lost);
                    let left = hidden.or(news.left).or(Some(OofReason::Match));
                    let record = Arc::clone(known);
                    conflated.put(now, conflation_key, Held { record, left, ..held });
                }
            },
            Role::Delta => {
                let delta = difference.map(|difference| difference.body);
                conflated.put(now, conflation_key, Held { delta, ..held });
            }
            Role::Whole => conflated.put(now, conflation_key, held),
        }
        if !wants_oof {
            conflated.received.clear();
        }
    }

    /// Intervals end: what they held is sent.
    pub(super) fn release<S: Sink>(&mut self, now: Time, key: SubKey, sink: &mut S) {
        self.release_until(now, now, key, sink);
        self.arm_conflation(key);
    }

    /// Sends what is held whose interval ends by then.
    fn release_until<S: Sink>(&mut self, now: Time, until: Time, key: SubKey, sink: &mut S) {
        loop {
            let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
            let (conn, wants_oof) = (subscription.conn, subscription.shape.oof);
            let Some(conflated) = &mut subscription.conflated else { return };
            let Some((name, held)) = conflated.take_due(until) else { break };
            let Some(held) = held else { continue };
            if held.left.is_some() {
                conflated.received.remove(&name);
            } else if wants_oof {
                conflated.received.insert(name, Arc::clone(&held.record));
            }
            self.send_held(now, conn, key, &held, sink);
        }
    }

    /// Sends what is held at once: the subscription is about to be replaced (REP-06).
    pub(super) fn release_all<S: Sink>(&mut self, now: Time, key: SubKey, sink: &mut S) {
        let Some(conflated) = self.subscriptions.get_mut(&key).and_then(|s| s.conflated.as_mut()) else {
            return;
        };
        let orders: Vec<u64> = conflated.due.iter().map(|(_, order)| *order).collect();
        conflated.due = orders.into_iter().map(|order| (now, order)).collect();
        self.release(now, key, sink);
    }

    fn send_held<S: Sink>(
        &mut self,
        now: Time,
        conn: amps_transport::ConnId,
        key: SubKey,
        held: &Held,
        sink: &mut S,
    ) {
        let record = &held.record;
        if let Some(reason) = held.left {
            return self.send_out_of_focus(now, conn, key, &held.layout, record, reason, sink);
        }
        let format = &held.layout.format;
        let document = format.read(&record.body);
        let facts = Facts::of_record(record, &held.layout, &document);
        let news = News {
            key: Some(&*record.key).filter(|key| !key.is_empty()),
            layout: Some(&held.layout),
            old: None,
            new: Some(facts),
            left: None,
        };
        let select = self.selected(&[key]);
        let body = match &held.delta {
            Some(delta) => Cow::Borrowed(&**delta),
            None => self.shown(conn, facts.resource, format, &record.body, select.as_ref()),
        };
        self.send_body(now, record.updated, conn, &[key], &news, facts, &body, sink);
    }
}
