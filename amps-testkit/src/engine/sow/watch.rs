//! Subscriptions that look at whole topics: windows, results over groups, and windows over those
//! (server.md 4.5, 4.11).
//!
//! Owns which of them look at which table, and how one is opened. What a change means to them is
//! the business of `aggregate` and `page`. Invariant: exactly the live subscriptions with a page
//! or an aggregate are listed, each under the table that it looks at.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use amps_transport::{Sink, Time};

use super::aggregate::Aggregate;
use super::change::Change;
use super::groups::Grouping;
use super::page::Page;
use super::table::{Layout, Record, Table};
use crate::engine::Engine;
use crate::engine::request::QueryRequest;
use crate::engine::selector::Facts;
use crate::engine::subscription::{SubKey, Subscription};

/// Who looks at which table.
#[derive(Debug, Default)]
pub(crate) struct Watchers(BTreeMap<usize, BTreeSet<SubKey>>);

impl Watchers {
    fn add(&mut self, table: usize, key: SubKey) {
        self.0.entry(table).or_default().insert(key);
    }

    /// A subscription looks at nothing any more.
    pub(crate) fn remove(&mut self, key: SubKey) {
        self.0.retain(|_, keys| {
            keys.remove(&key);
            !keys.is_empty()
        });
    }

    /// In the order of creation.
    fn of(&self, table: usize) -> Vec<SubKey> {
        self.0.get(&table).into_iter().flatten().copied().collect()
    }
}

/// What a subscription that looks at a topic begins with.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) layout: Arc<Layout>,
    /// What it shows, and the one before did not; with a page in the order of the window.
    pub(super) fresh: Vec<Arc<Record>>,
    /// What the one before showed, and it does not.
    pub(super) left: Vec<Arc<Record>>,
    /// How many results there are, with what the window does not show.
    pub(super) matched: u64,
}

impl Engine {
    /// A record changed: whoever looks at its topic is told.
    pub(in crate::engine) fn tell_watchers<S: Sink>(
        &mut self,
        now: Time,
        table: usize,
        change: &Change<'_>,
        sink: &mut S,
    ) {
        for key in self.watchers.of(table) {
            let Some(subscription) = self.subscriptions.get(&key) else { continue };
            if subscription.aggregate.is_some() {
                self.follow(now, key, change, sink);
            } else if subscription.pattern.matches(&change.record().topic) {
                let layout = Arc::clone(&self.sow[table].layout);
                self.turn_page(now, key, &layout, change, sink);
            }
        }
    }

    /// Lets a subscription look at its topic from now on, if it asked for a page or for results
    /// over groups. `before` is the one that it replaces.
    pub(super) fn open(
        &mut self,
        now: Time,
        key: SubKey,
        query: &QueryRequest,
        aggregation: Option<(usize, Arc<Grouping>)>,
        before: Option<&Subscription>,
    ) -> Option<Opened> {
        let subscription = self.subscriptions.get_mut(&key)?;
        let (topic, selector) = (subscription.pattern.text(), subscription.selector.as_ref());
        let (table, records, layout) = match aggregation {
            Some((table, grouping)) => {
                let aggregate = Aggregate::over(now, &self.sow[table], topic, None, grouping);
                let (results, layout) = (aggregate.results(), Arc::clone(aggregate.layout()));
                subscription.aggregate = Some(aggregate);
                (table, results, layout)
            }
            None if query.is_page() => {
                let message_type = subscription.message_type;
                let of_topic = |table: &Table| table.message_type == message_type && table.covers(topic);
                let index = self.sow.iter().position(of_topic)?;
                let table = &self.sow[index];
                let wanted = |record: &&Arc<Record>| {
                    let document = table.layout.format.read(&record.body);
                    let facts = Facts::of_record(record, &table.layout, &document);
                    *record.topic == *topic && selector.is_none_or(|selector| selector.matches(facts, now))
                };
                let records = table.records().filter(wanted).cloned().collect();
                (index, records, Arc::clone(&table.layout))
            }
            None => return None,
        };
        let matched = records.len() as u64;
        let shown = if query.is_page() {
            let page = Page::over(query, &layout, &records);
            let shown = page.shown().cloned().collect();
            subscription.page = Some(page);
            shown
        } else {
            records
        };
        self.watchers.add(table, key);
        self.routes.clear();
        let known = before.map(|old| known_by(now, old, &self.sow[table])).unwrap_or_default();
        let names = |records: &[Arc<Record>]| -> BTreeSet<Arc<str>> {
            records.iter().map(|record| Arc::clone(&record.key)).collect()
        };
        let (in_new, in_old) = (names(&shown), names(&known));
        let without = |records: Vec<Arc<Record>>, names: &BTreeSet<Arc<str>>| {
            records.into_iter().filter(|record| !names.contains(&record.key)).collect()
        };
        let (fresh, left) = (without(shown, &in_old), without(known, &in_new));
        Some(Opened { layout, fresh, left, matched })
    }
}

/// What a subscription was shown that is replaced (REP-03).
fn known_by(now: Time, old: &Subscription, table: &Table) -> Vec<Arc<Record>> {
    match (&old.page, &old.aggregate) {
        (Some(page), _) => page.shown().cloned().collect(),
        (None, Some(aggregate)) => aggregate.results(),
        (None, None) => {
            let in_scope = |record: &&Arc<Record>| {
                let document = table.layout.format.read(&record.body);
                let facts = Facts::of_record(record, &table.layout, &document);
                let wanted = old.selector.as_ref().is_none_or(|selector| selector.matches(facts, now));
                wanted && old.pattern.matches(&record.topic)
            };
            table.records().filter(in_scope).cloned().collect()
        }
    }
}
