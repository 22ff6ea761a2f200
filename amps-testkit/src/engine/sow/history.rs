//! Past states of a topic (server.md 4.8).
//!
//! Owns the versions of records that can still be queried. With a granularity, a version is kept
//! if it was the present one at a multiple of it, and a query is answered as of the last such
//! moment: the state that it tells is then exactly the one that a replay from there continues
//! (HIS-02, HIS-04; that the moments are the same for all records is inferred).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use amps_transport::Time;

use super::change::Change;
use super::table::Record;
use crate::engine::config::SowHistory;
use crate::engine::txlog::Position;

/// Changes after which what is too old is looked for in all records.
const SWEEP: u32 = 1024;

/// When something changed: the time, and where the log ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) time: Time,
    pub(crate) position: Position,
}

/// A point in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// With everything that was stamped with this time or before.
    Time(Time),
    /// With the message at this place of the log, which was stamped so.
    Message(Position, Time),
}

impl Point {
    /// Whether a change was made by then.
    fn has_seen(self, change: Moment) -> bool {
        match self {
            Self::Time(time) => change.time <= time,
            Self::Message(position, _) => change.position <= position,
        }
    }

    /// For sorting by time.
    pub(crate) const fn order(self) -> (Time, Option<Position>) {
        match self {
            Self::Time(time) => (time, None),
            Self::Message(position, time) => (time, Some(position)),
        }
    }

    pub(crate) const fn time(self) -> Time {
        match self {
            Self::Time(time) | Self::Message(_, time) => time,
        }
    }
}

/// A record as it was for some time.
#[derive(Debug)]
struct Version {
    record: Arc<Record>,
    from: Moment,
    /// `None` if it is the present one.
    until: Option<Moment>,
}

/// The versions of the records of one topic, by record key.
#[derive(Debug)]
pub(crate) struct History {
    window: Duration,
    granularity: Duration,
    versions: BTreeMap<Arc<str>, VecDeque<Version>>,
    changes: u32,
}

impl History {
    pub(crate) const fn new(config: SowHistory) -> Self {
        let SowHistory { window, granularity } = config;
        Self { window, granularity, versions: BTreeMap::new(), changes: 0 }
    }

    /// Takes down what happened to a record.
    pub(crate) fn note(&mut self, change: &Change<'_>, at: Moment) {
        let record = change.record();
        let versions = self.versions.entry(Arc::clone(&record.key)).or_default();
        if let Some(last) = versions.back_mut().filter(|last| last.until.is_none()) {
            last.until = Some(at);
            if !spans_boundary(self.granularity, last.from.time, at.time) {
                versions.pop_back();
            }
        }
        if change.left().is_none() {
            versions.push_back(Version { record: Arc::clone(record), from: at, until: None });
        }
        forget(versions, self.window, at.time);
        if versions.is_empty() {
            self.versions.remove(&record.key);
        }
        self.changes += 1;
        if self.changes >= SWEEP {
            self.changes = 0;
            let window = self.window;
            self.versions.retain(|_, versions| {
                forget(versions, window, at.time);
                !versions.is_empty()
            });
        }
    }

    /// The last point at or before this one that can be queried.
    pub(crate) fn saved_point(&self, point: Point) -> Point {
        match u64::try_from(self.granularity.as_nanos()) {
            Ok(0) | Err(_) => point,
            Ok(granularity) => {
                let nanos = point.time().as_unix_nanos();
                Point::Time(Time::from_unix_nanos(nanos - nanos % granularity))
            }
        }
    }

    /// The records as they were; none if that is too long ago.
    pub(crate) fn records_at(&self, point: Point, now: Time) -> impl Iterator<Item = &Arc<Record>> {
        let known = point.time() + self.window >= now;
        let point = self.saved_point(point);
        let present = move |version: &&Version| {
            point.has_seen(version.from) && !version.until.is_some_and(|until| point.has_seen(until))
        };
        let versions = self.versions.values().filter(move |_| known);
        versions
            .filter_map(move |versions| versions.iter().rev().find(present))
            .map(|version| &version.record)
    }
}

/// Whether a version that lived from one time to another was there at a moment that is kept.
fn spans_boundary(granularity: Duration, from: Time, until: Time) -> bool {
    let Ok(granularity) = u64::try_from(granularity.as_nanos()) else { return false };
    if granularity == 0 {
        return true;
    }
    // The first multiple that is not before it began.
    let first = from.as_unix_nanos().div_ceil(granularity).saturating_mul(granularity);
    first < until.as_unix_nanos()
}

fn forget(versions: &mut VecDeque<Version>, window: Duration, now: Time) {
    let is_old = |version: &Version| version.until.is_some_and(|until| until.time + window < now);
    while versions.front().is_some_and(is_old) {
        versions.pop_front();
    }
}
