//! Aggregated queries and subscriptions: a result per group, kept up to date (server.md 4.11).
//!
//! Owns what each aggregated subscription was told last. Its groups are its own: two
//! subscriptions share nothing but the records.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use amps_protocol::OofReason;
use amps_transport::{Sink, Time};

use super::change::Change;
use super::groups::{Grouping, Groups, Sources, key_of};
use super::history::Point;
use super::table::{Layout, Record, Resource, Table};
use crate::engine::Engine;
use crate::engine::fan_out::News;
use crate::engine::selector::Facts;
use crate::engine::subscription::SubKey;

/// The groups of one subscription, and the results that it knows.
#[derive(Debug)]
pub(crate) struct Aggregate {
    source_layout: Arc<Layout>,
    topic: Arc<str>,
    /// Only records of this topic count, where the table has those of many.
    only: Option<Arc<str>>,
    groups: Groups,
    /// How a result is read: its key is made of the grouping fields.
    layout: Arc<Layout>,
    results: BTreeMap<Arc<str>, Arc<Record>>,
}

impl Aggregate {
    /// The groups of all records that there are, or were.
    pub(crate) fn over(
        now: Time,
        table: &Table,
        topic: &str,
        as_of: Option<Point>,
        grouping: Arc<Grouping>,
    ) -> Self {
        let only: Option<Arc<str>> = table.only_topic().is_none().then(|| topic.into());
        let format = &table.layout.format;
        let keys = grouping.by.clone();
        // What the reader may not see did not come into the results.
        let layout = Layout { format: format.clone(), keys, resource: Resource::Computed };
        let mut groups = Groups::new(grouping);
        let counts = |record: &&Arc<Record>| only.as_ref().is_none_or(|only| record.topic == *only);
        for record in table.records_at(as_of, now).filter(counts) {
            groups.add(now, &table.layout, record);
        }
        let topic: Arc<str> = topic.into();
        let found = groups.keys();
        let results =
            found.iter().filter_map(|group| groups.result(group, &topic, Sources::One(format), format, now));
        let results: BTreeMap<_, _> = results.map(|record| (Arc::clone(&record.key), record)).collect();
        Self {
            source_layout: Arc::clone(&table.layout),
            topic,
            only,
            groups,
            layout: Arc::new(layout),
            results,
        }
    }

    pub(crate) const fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Every result, in the order of the values of the groups.
    pub(crate) fn results(&self) -> Vec<Arc<Record>> {
        let keys = self.groups.keys();
        keys.iter().filter_map(|group| self.results.get(&key_of(group, &self.topic)).cloned()).collect()
    }
}

impl Engine {
    /// A record changed: the results of a subscription over its topic follow.
    pub(super) fn follow<S: Sink>(&mut self, now: Time, key: SubKey, change: &Change<'_>, sink: &mut S) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let (conn, wants_oof) = (subscription.conn, subscription.shape.oof);
        let is_page = subscription.page.is_some();
        let Some(aggregate) = &mut subscription.aggregate else { return };
        if aggregate.only.as_ref().is_some_and(|only| change.record().topic != *only) {
            return;
        }
        let layout = Arc::clone(&aggregate.layout);
        let format = &layout.format;
        let mut told = Vec::new();
        for group in aggregate.groups.apply(now, &aggregate.source_layout, change) {
            let new = aggregate.groups.result(&group, &aggregate.topic, Sources::One(format), format, now);
            let name = key_of(&group, &aggregate.topic);
            let old = match &new {
                Some(record) => aggregate.results.insert(name, Arc::clone(record)),
                None => aggregate.results.remove(&name),
            };
            told.push((old, new));
        }
        for (old, new) in told {
            match (old, new) {
                (old, Some(new)) if is_page => {
                    let change = Change::Published { old: old.as_ref(), new: &new };
                    self.turn_page(now, key, &layout, &change, sink);
                }
                (Some(old), None) if is_page => {
                    let change = Change::Left { record: &old, reason: OofReason::Deleted };
                    self.turn_page(now, key, &layout, &change, sink);
                }
                (old, Some(new)) => {
                    let former = old.as_ref().map(|old| (old, format.read(&old.body)));
                    let document = format.read(&new.body);
                    let news = News {
                        key: Some(&new.key),
                        layout: Some(&layout),
                        old: former.as_ref().map(|(old, body)| Facts::of_record(old, &layout, body)),
                        new: Some(Facts::of_record(&new, &layout, &document)),
                        left: None,
                    };
                    self.tell(now, conn, key, &news, sink);
                }
                (Some(old), None) if wants_oof => {
                    self.send_out_of_focus(now, conn, key, &layout, &old, OofReason::Deleted, sink);
                }
                _ => {}
            }
        }
    }
}
