//! Paginated subscriptions: a window over an ordered result that is kept up to date
//! (server.md 4.5).
//!
//! Owns the windows. The subscriber sees the world as if only the records of its window
//! existed: what enters is published, what leaves is out of focus, what happens outside is
//! silent. The window is computed anew for each change of the topic.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::OofReason;
use amps_transport::{ConnId, Sink, Time};

use super::change::Change;
use super::table::{Record, Table};
use crate::engine::Engine;
use crate::engine::fan_out::News;
use crate::engine::filter::OrderBy;
use crate::engine::selector::{Facts, Selector};
use crate::engine::subscription::SubKey;
use crate::engine::switches::PageOrder;

/// A window over the records of one topic.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) order: Option<OrderBy>,
    pub(crate) skip: usize,
    pub(crate) size: usize,
    /// As the subscriber knows it, in order.
    pub(crate) window: Vec<Arc<Record>>,
}

impl Page {
    /// The records that the window shows.
    pub(crate) fn look(&self, table: &Table, selector: Option<&Selector>, now: Time) -> Vec<Arc<Record>> {
        let format = &table.layout.format;
        let mut matching: Vec<_> = table
            .records()
            .filter_map(|record| {
                let document = format.read(&record.body);
                let facts = Facts::of_record(record, &table.layout, &document);
                let wanted = selector.is_none_or(|selector| selector.matches(facts, now));
                wanted.then(|| (self.order.as_ref().map(|order| order.key(&document)), Arc::clone(record)))
            })
            .collect();
        // By record key where nothing else decides (PAG-01).
        matching.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.key.cmp(&y.key)));
        matching.into_iter().map(|(_, record)| record).skip(self.skip).take(self.size).collect()
    }
}

impl Engine {
    /// A record changed: windows over its topic move.
    pub(in crate::engine) fn turn_pages<S: Sink>(
        &mut self,
        now: Time,
        index: usize,
        change: &Change<'_>,
        sink: &mut S,
    ) {
        let topic = &change.record().topic;
        let paged = |key: &SubKey| {
            self.subscriptions.get(key).is_some_and(|s| {
                s.page.is_some() && s.message_type == self.sow[index].message_type && s.pattern.matches(topic)
            })
        };
        let keys: Vec<SubKey> = self.subscriptions.keys().filter(|key| paged(key)).copied().collect();
        for key in keys {
            self.turn_page(now, index, key, change, sink);
        }
    }

    fn turn_page<S: Sink>(
        &mut self,
        now: Time,
        index: usize,
        key: SubKey,
        change: &Change<'_>,
        sink: &mut S,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let Some(page) = &mut subscription.page else { return };
        let shown = page.look(&self.sow[index], subscription.selector.as_ref(), now);
        let before = std::mem::replace(&mut page.window, shown.clone());
        let (conn, wants_oof) = (subscription.conn, subscription.shape.oof);
        let layout = Arc::clone(&self.sow[index].layout);
        let is_allowed = |record: &Record| {
            let document = layout.format.read(&record.body);
            let facts = Facts::of_record(record, &layout, &document);
            subscription.selector.as_ref().is_none_or(|selector| selector.allows(facts, now))
        };
        let hidden = change.left().is_none() && !is_allowed(change.record());
        let shows = |window: &[Arc<Record>], key: &str| window.iter().any(|record| *record.key == *key);
        let changed = change.record();
        let in_first = self.config.switches.page_order == PageOrder::InFirst;
        if in_first {
            self.tell_what_enters(now, index, (conn, key), change, &before, &shown, sink);
        }
        // What leaves comes first, each in the order of its window (PAG-04).
        for record in before.iter().filter(|record| wants_oof && !shows(&shown, &record.key)) {
            let is_changed = record.key == changed.key;
            let (reason, state) = match (is_changed, change.left()) {
                (true, Some(reason)) => (reason, Arc::clone(record)),
                // Its last visible state: it may not be seen any more (OOF-01).
                (true, None) if hidden => (OofReason::Entitlement, Arc::clone(record)),
                (true, None) => (OofReason::Match, Arc::clone(changed)),
                (false, _) => (OofReason::Match, Arc::clone(record)),
            };
            self.send_out_of_focus(now, conn, key, &layout, &state, reason, sink);
        }
        if !in_first {
            self.tell_what_enters(now, index, (conn, key), change, &before, &shown, sink);
        }
    }

    /// Tells a subscription of the records that its window did not show before, or that changed.
    #[expect(clippy::too_many_arguments, reason = "a part of `turn_page`, with its variables")]
    fn tell_what_enters<S: Sink>(
        &mut self,
        now: Time,
        index: usize,
        (conn, key): (ConnId, SubKey),
        change: &Change<'_>,
        before: &[Arc<Record>],
        shown: &[Arc<Record>],
        sink: &mut S,
    ) {
        let layout = Arc::clone(&self.sow[index].layout);
        let changed = change.record();
        for record in shown {
            let known = before.iter().any(|other| *other.key == *record.key);
            let updated = record.key == changed.key && change.left().is_none();
            if known && !updated {
                continue;
            }
            let document = layout.format.read(&record.body);
            let old = change.old().filter(|_| known);
            let former = old.map(|old| (old, layout.format.read(&old.body)));
            let news = News {
                key: Some(&record.key),
                layout: Some(&layout),
                old: former.as_ref().map(|(old, body)| Facts::of_record(old, &layout, body)),
                new: Some(Facts::of_record(record, &layout, &document)),
                left: None,
            };
            self.tell(now, conn, key, &news, sink);
        }
    }
}
