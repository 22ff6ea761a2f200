//! Past states of a topic (server.md 4.8).
//!
//! Owns the versions of records that can still be queried. With a granularity, a version is saved
//! when it arrives, if it is the first of its record, or the first since a multiple of the
//! granularity; others are forgotten when the next one comes (HIS-02; that the multiples are the
//! same for all records is inferred). Deletes are always saved. What a query does not show because
//! it was not saved, a replay that continues the query does (HIS-04).
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

/// A record as it was from some time on.
#[derive(Debug)]
struct Version {
    /// `None`: it was deleted.
    record: Option<Arc<Record>>,
    from: Moment,
    /// It stays when the next one comes.
    saved: bool,
    /// The first version after it that was not saved, and is forgotten.
    missed: Option<Moment>,
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
        let (record, step) = (change.record(), self.step());
        let versions = self.versions.entry(Arc::clone(&record.key)).or_default();
        if versions.back().is_some_and(|last| !last.saved) {
            let forgotten = versions.pop_back();
            if let Some(last) = versions.back_mut() {
                last.missed = last.missed.or(forgotten.map(|version| version.from));
            }
        }
        let record = change.left().is_none().then(|| Arc::clone(record));
        let saved = versions.back().is_none_or(|last| {
            let is_later = last.from.time.as_unix_nanos() / step < at.time.as_unix_nanos() / step;
            is_later || record.is_none() || last.record.is_none()
        });
        // Without a granularity everything is saved, however fast it comes.
        let saved = saved || self.granularity.is_zero();
        versions.push_back(Version { record, from: at, saved, missed: None });
        forget(versions, self.window, at.time);
        if versions.is_empty() {
            self.versions.remove(&change.record().key);
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

    /// The granularity in nanoseconds.
    fn step(&self) -> u64 {
        u64::try_from(self.granularity.as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// The records as they were saved; none if that is too long ago.
    pub(crate) fn records_at(&self, point: Point, now: Time) -> impl Iterator<Item = &Arc<Record>> {
        self.versions_at(point, now).filter_map(|version| version.record.as_ref())
    }

    /// Where in the log the first change is that was made by then, and that a query as of then
    /// does not show.
    pub(crate) fn missed_at(&self, point: Point, now: Time) -> Option<Position> {
        let missed = self.versions_at(point, now).filter_map(|version| version.missed);
        missed.filter(|missed| point.has_seen(*missed)).map(|missed| missed.position).min()
    }

    fn versions_at(&self, point: Point, now: Time) -> impl Iterator<Item = &Version> {
        let known = point.time() + self.window >= now;
        let versions = self.versions.values().filter(move |_| known);
        versions
            .filter_map(move |versions| versions.iter().rev().find(|version| point.has_seen(version.from)))
    }
}

/// Drops what no query can ask for any more: as of the oldest point of the window, and of every
/// later one, another version is the last.
fn forget(versions: &mut VecDeque<Version>, window: Duration, now: Time) {
    let is_old = |version: &Version| version.from.time + window < now;
    // What was not saved goes when the next one comes, and the one before is the last again.
    while versions.get(1).is_some_and(|next| next.saved && is_old(next)) {
        versions.pop_front();
    }
    if versions.len() == 1 && versions.front().is_some_and(|only| only.record.is_none() && is_old(only)) {
        versions.clear();
    }
}
