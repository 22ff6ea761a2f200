//! A record changes: it is published, deleted, or its time is up (server.md 2.2, 4.1, 4.4,
//! 4.7, 4.9).
//!
//! Owns the step from an event to the [`Change`] of a record, and the order in which it is
//! told: plain subscriptions, then those that look at whole topics. Who hears what is the business
//! of `fan_out` and `watch`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::OofReason;
use amps_transport::{Sink, Time};

use super::history::Moment;
use super::table::Record;
use crate::engine::Engine;
use crate::engine::action::Happening;
use crate::engine::fan_out::News;
use crate::engine::queue::ExpiryReason;
use crate::engine::selector::Facts;
use crate::engine::timers::Timer;

/// What happened to a record.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    /// It was published: for the first time, or anew.
    Published { old: Option<&'a Arc<Record>>, new: &'a Arc<Record> },
    /// It is gone.
    Left { record: &'a Arc<Record>, reason: OofReason },
}

impl<'a> Change<'a> {
    /// The record as it is, or was at last.
    pub(crate) const fn record(&self) -> &'a Arc<Record> {
        match self {
            Self::Published { new, .. } => new,
            Self::Left { record, .. } => record,
        }
    }

    /// The record as it was before.
    pub(crate) const fn old(&self) -> Option<&'a Arc<Record>> {
        match self {
            Self::Published { old, .. } => *old,
            Self::Left { record, .. } => Some(record),
        }
    }

    /// Why it is gone, if it is.
    pub(crate) const fn left(&self) -> Option<OofReason> {
        match self {
            Self::Published { .. } => None,
            Self::Left { reason, .. } => Some(*reason),
        }
    }
}

impl Engine {
    /// Records whose time is up leave.
    pub(in crate::engine) fn sow_timer<S: Sink>(&mut self, now: Time, table: usize, sink: &mut S) {
        while let Some(record) = self.sow[table].take_expired(now) {
            let change = Change::Left { record: &record, reason: OofReason::Expired };
            self.changed(now, table, &change, sink);
            let message_type = self.sow[table].message_type;
            self.has_expired(message_type, &record.topic, ExpiryReason::TimeLimit, || Happening {
                body: Arc::clone(&record.body),
                correlation: record.correlation.clone(),
                client_name: record.publisher.to_string(),
                ..Happening::default()
            });
        }
        self.arm_sow(table);
    }

    pub(in crate::engine) fn arm_sow(&mut self, table: usize) {
        self.timers.set(Timer::Sow(table), self.sow[table].deadline());
    }

    /// Tells of a change that was made.
    pub(in crate::engine) fn changed<S: Sink>(
        &mut self,
        now: Time,
        table: usize,
        change: &Change<'_>,
        sink: &mut S,
    ) {
        let record = change.record();
        if let Some(history) = &mut self.sow[table].history {
            history.note(change, Moment { time: now, position: self.log.end() });
        }
        self.note_kept(now, table, change);
        let route = self.route(self.sow[table].message_type, record.topic.as_bytes());
        if !route.is_unheard() {
            let layout = Arc::clone(&self.sow[table].layout);
            let former = change.old().map(|old| (old, layout.format.read(&old.body)));
            let document = layout.format.read(&record.body);
            let new = Facts::of_record(record, &layout, &document);
            let news = News {
                key: Some(&record.key),
                layout: Some(&layout),
                old: former.as_ref().map(|(old, body)| Facts::of_record(old, &layout, body)),
                new: change.left().is_none().then_some(new),
                left: change.left(),
            };
            self.fan_out(now, &route, &news, sink);
        }
        self.tell_watchers(now, table, change, sink);
        if !self.derived.is_empty() {
            self.follow_up(now, table, change, sink);
        }
    }
}
