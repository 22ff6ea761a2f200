//! A record changes: it is published, deleted, or its time is up (server.md 2.2, 4.1, 4.4,
//! 4.7, 4.9).
//!
//! Owns the step from an event to the [`Change`] of a record. Who hears of it is the business
//! of `fan_out`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::OofReason;
use amps_transport::{Sink, Time};

use super::table::Record;
use crate::engine::Engine;
use crate::engine::fan_out::News;
use crate::engine::selector::Facts;
use crate::engine::timers::Timer;

/// Why a record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Deleted,
    Expired,
}

impl Cause {
    /// What subscriptions with the record in focus are told.
    pub(crate) const fn reason(self) -> OofReason {
        match self {
            Self::Deleted => OofReason::Deleted,
            Self::Expired => OofReason::Expired,
        }
    }
}

impl Engine {
    /// Records whose time is up leave.
    pub(in crate::engine) fn sow_timer<S: Sink>(&mut self, now: Time, table: usize, sink: &mut S) {
        while let Some(record) = self.sow[table].take_expired(now) {
            self.record_left(now, table, &record, Cause::Expired, sink);
        }
        self.arm_sow(table);
    }

    pub(in crate::engine) fn arm_sow(&mut self, table: usize) {
        self.timers.set(Timer::Sow(table), self.sow[table].deadline());
    }

    /// A record is gone: whoever had it in focus hears of it.
    pub(in crate::engine) fn record_left<S: Sink>(
        &mut self,
        now: Time,
        table: usize,
        record: &Arc<Record>,
        cause: Cause,
        sink: &mut S,
    ) {
        let layout = Arc::clone(&self.sow[table].layout);
        let route = self.route(self.sow[table].message_type, record.topic.as_bytes());
        let document = layout.format.read(&record.body);
        let news = News {
            key: Some(&record.key),
            layout: Some(&layout),
            old: Some(Facts::of_record(record, &layout.format, &document)),
            new: None,
            left: Some(cause.reason()),
        };
        self.fan_out(now, &route, &news, sink);
    }
}
