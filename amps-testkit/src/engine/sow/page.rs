//! Paginated subscriptions: a window over an ordered result that is kept up to date
//! (server.md 4.5).
//!
//! Owns the windows. The subscriber sees the world as if only the records of its window
//! existed: what enters is published, what leaves is out of focus, what happens outside is
//! silent. The result is that of a topic, or of groups of its records.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::OofReason;
use amps_transport::{ConnId, Sink, Time};

use super::change::Change;
use super::ranked::{Ranked, Turn};
use super::table::{Layout, Record};
use crate::engine::Engine;
use crate::engine::fan_out::News;
use crate::engine::filter::OrderBy;
use crate::engine::request::QueryRequest;
use crate::engine::selector::{Facts, Selector};
use crate::engine::subscription::SubKey;
use crate::engine::switches::PageOrder;

/// A window over the records of one topic, as the subscriber knows it.
#[derive(Debug)]
pub(crate) struct Page {
    order: Option<OrderBy>,
    ranked: Ranked,
}

impl Page {
    /// The window that a query asks for, over all records that it matches.
    pub(super) fn over(query: &QueryRequest, layout: &Layout, records: &[Arc<Record>]) -> Self {
        let ranked = Ranked::new(query.skip_n, query.top_n.unwrap_or(usize::MAX));
        let mut page = Self { order: query.order.clone(), ranked };
        records.iter().for_each(|record| page.put(layout, record));
        let _ = page.ranked.turn("");
        page
    }

    /// The records in the window, in order.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.ranked.shown()
    }

    fn put(&mut self, layout: &Layout, record: &Arc<Record>) {
        let order = self.order.as_ref().map(|order| order.key(&layout.format.read(&record.body)));
        self.ranked.insert(order, Arc::clone(record));
    }

    /// Takes a change in. A filter that follows the clock was refused (SUB-10), so what matched
    /// before still does.
    fn apply(
        &mut self,
        now: Time,
        layout: &Layout,
        selector: Option<&Selector>,
        change: &Change<'_>,
    ) -> Turn {
        let record = change.record();
        self.ranked.remove(&record.key);
        let document = layout.format.read(&record.body);
        let facts = Facts::of_record(record, layout, &document);
        if change.left().is_none() && selector.is_none_or(|selector| selector.matches(facts, now)) {
            self.put(layout, record);
        }
        self.ranked.turn(&record.key)
    }
}

impl Engine {
    /// A record changed: a window over its topic moves.
    pub(super) fn turn_page<S: Sink>(
        &mut self,
        now: Time,
        key: SubKey,
        layout: &Arc<Layout>,
        change: &Change<'_>,
        sink: &mut S,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        // The filter of results over groups was about what they are computed of (AGG-03).
        let selector = subscription.selector.as_ref().filter(|_| subscription.aggregate.is_none());
        let Some(page) = &mut subscription.page else { return };
        let turn = page.apply(now, layout, selector, change);
        let (conn, wants_oof) = (subscription.conn, subscription.shape.oof);
        let changed = change.record();
        let document = layout.format.read(&changed.body);
        let facts = Facts::of_record(changed, layout, &document);
        let hidden = change.left().is_none() && selector.is_some_and(|selector| !selector.allows(facts, now));
        let in_first = self.config.switches.page_order == PageOrder::InFirst;
        if in_first {
            self.tell_what_enters(now, layout, (conn, key), change, &turn, sink);
        }
        // What leaves comes first, each in the order of its window (PAG-04).
        for record in turn.left.iter().filter(|_| wants_oof) {
            let is_changed = record.key == changed.key;
            let (reason, state) = match (is_changed, change.left()) {
                (true, Some(reason)) => (reason, record),
                // Its last visible state: it may not be seen any more (OOF-01).
                (true, None) if hidden => (OofReason::Entitlement, record),
                (true, None) => (OofReason::Match, changed),
                (false, _) => (OofReason::Match, record),
            };
            self.send_out_of_focus(now, conn, key, layout, state, reason, sink);
        }
        if !in_first {
            self.tell_what_enters(now, layout, (conn, key), change, &turn, sink);
        }
    }

    /// Tells a subscription of the records that its window did not show before, or that changed.
    fn tell_what_enters<S: Sink>(
        &mut self,
        now: Time,
        layout: &Arc<Layout>,
        (conn, key): (ConnId, SubKey),
        change: &Change<'_>,
        turn: &Turn,
        sink: &mut S,
    ) {
        let entered = turn.entered.iter().map(|record| (record, None));
        // A record that stays leaves no room for others to enter.
        let stayed = turn.stayed.iter().map(|record| (record, change.old()));
        for (record, old) in entered.chain(stayed) {
            let document = layout.format.read(&record.body);
            let former = old.map(|old| (old, layout.format.read(&old.body)));
            let news = News {
                key: Some(&record.key),
                layout: Some(layout),
                old: former.as_ref().map(|(old, body)| Facts::of_record(old, layout, body)),
                new: Some(Facts::of_record(record, layout, &document)),
                left: None,
            };
            self.tell(now, conn, key, &news, sink);
        }
    }
}
