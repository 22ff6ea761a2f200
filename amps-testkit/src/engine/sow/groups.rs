//! Records in groups, and one result per group (server.md 4.11).
//!
//! Owns which records belong to which group, and in which order they were processed last. It
//! knows nothing of who looks at the results. Invariants: a record is in at most one group, a group
//! without records does not exist, and what is remembered of a group is what its rows together make.
//! A change costs what its record costs, unless it takes away what only the other rows can replace.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use amps_transport::Time;

use super::change::Change;
use super::join::{RowDocument, Source};
use super::table::{Layout, Record};
use crate::engine::filter::{Accumulator, Context, Document, Field, Path, Projection};
use crate::engine::format::{Format, Select};
use crate::engine::selector::{Facts, Selector};
use crate::engine::txlog::generated_key;

/// What is computed, and of what.
#[derive(Debug)]
pub(crate) struct Grouping {
    pub(crate) projections: Vec<Projection>,
    pub(crate) by: Vec<Path>,
    /// Which records count.
    pub(crate) filter: Option<Selector>,
    /// What of them may be seen: nothing else is computed with. `None` if that is everything.
    pub(crate) visible: Option<Select>,
}

/// The values of the grouping fields, as text.
pub(crate) type GroupKey = Vec<Vec<u8>>;

/// What one result is computed of, among others.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    One(Arc<Record>),
    /// A record of each topic of a join, as far as there is one.
    Joined(Box<[Option<Arc<Record>>]>),
}

impl Row {
    pub(crate) fn records(&self) -> impl Iterator<Item = Option<&Arc<Record>>> {
        let (one, joined) = match self {
            Self::One(record) => (Some(Some(record)), &[][..]),
            Self::Joined(records) => (None, &records[..]),
        };
        one.into_iter().chain(joined.iter().map(Option::as_ref))
    }
}

/// How rows are read.
#[derive(Clone, Copy)]
pub(crate) enum Sources<'s> {
    One(&'s Format),
    Joined(&'s [Source]),
}

impl Sources<'_> {
    /// Shows a row as one document.
    fn show(&self, row: &Row, see: &mut dyn FnMut(&dyn Document)) {
        match (self, row) {
            (Sources::One(format), Row::One(record)) => see(&format.read(&record.body)),
            (Sources::Joined(sources), row) => see(&RowDocument::of(sources, row)),
            // A view is of one kind or the other.
            (Sources::One(_), Row::Joined(_)) => {}
        }
    }
}

/// The groups of one source.
#[derive(Debug)]
pub(crate) struct Groups {
    grouping: Arc<Grouping>,
    members: BTreeMap<GroupKey, Group>,
    places: BTreeMap<(Arc<str>, Arc<str>), (GroupKey, u64)>,
    processed: u64,
}

/// The rows of one group, and what is known of them all.
#[derive(Debug)]
struct Group {
    rows: BTreeMap<u64, Row>,
    /// For each projection. They know the row too that was processed last, be it gone meanwhile
    /// (AGG-02).
    accumulators: Vec<Accumulator>,
}

impl Groups {
    pub(crate) const fn new(grouping: Arc<Grouping>) -> Self {
        Self { grouping, members: BTreeMap::new(), places: BTreeMap::new(), processed: 0 }
    }

    /// Takes a change in. Returns the groups that it concerns, the one that a record leaves
    /// first (AGG-06).
    pub(crate) fn apply(&mut self, now: Time, layout: &Layout, change: &Change<'_>) -> Vec<GroupKey> {
        let record = change.record();
        let before = self.take_out(&layout.format, record);
        let after = match change.left() {
            None => self.add(now, layout, record),
            Some(_) => None,
        };
        let mut concerned: Vec<GroupKey> = before.into_iter().chain(after).collect();
        concerned.dedup();
        concerned
    }

    /// Adds a record, if it counts. Returns its group.
    pub(crate) fn add(&mut self, now: Time, layout: &Layout, record: &Arc<Record>) -> Option<GroupKey> {
        let format = &layout.format;
        let document = format.read(&record.body);
        let facts = Facts::of_record(record, layout, &document);
        if !self.grouping.filter.as_ref().is_none_or(|filter| filter.matches(facts, now)) {
            return None;
        }
        let record = match &self.grouping.visible {
            Some(select) => Arc::new(record.with_body(format.permit(&record.body, select).into())),
            None => Arc::clone(record),
        };
        let group = format.key_texts(&record.body, &self.grouping.by)?;
        let name = name_of(&record);
        let place = self.put(&group, Row::One(record), Sources::One(format));
        self.places.insert(name, (group.clone(), place));
        Some(group)
    }

    fn take_out(&mut self, format: &Format, record: &Arc<Record>) -> Option<GroupKey> {
        let (group, place) = self.places.remove(&name_of(record))?;
        self.take(&group, place, Sources::One(format));
        Some(group)
    }

    /// The group of a row that is read as this document.
    pub(crate) fn key_of(&self, document: &dyn Document) -> GroupKey {
        let text = |path: &Path| {
            let mut found = Vec::new();
            document.look_up(path, &mut found);
            found.into_iter().next().unwrap_or(Field::NULL).into_text().into_owned()
        };
        self.grouping.by.iter().map(text).collect()
    }

    /// Puts a row into its group, behind those that were there before. Returns its place.
    pub(crate) fn put(&mut self, group: &GroupKey, row: Row, sources: Sources<'_>) -> u64 {
        self.processed += 1;
        let projections = &self.grouping.projections;
        let group = self.members.entry(group.clone()).or_insert_with(|| Group {
            rows: BTreeMap::new(),
            accumulators: projections.iter().map(Projection::accumulator).collect(),
        });
        sources.show(&row, &mut |document| {
            for (projection, accumulator) in projections.iter().zip(&mut group.accumulators) {
                projection.add(accumulator, document, &Context::default());
            }
        });
        group.rows.insert(self.processed, row);
        self.processed
    }

    /// Takes a row out of its group.
    pub(crate) fn take(&mut self, key: &GroupKey, place: u64, sources: Sources<'_>) {
        let Some(group) = self.members.get_mut(key) else { return };
        let Some(row) = group.rows.remove(&place) else { return };
        if group.rows.is_empty() {
            self.members.remove(key);
            return;
        }
        sources.show(&row, &mut |document| {
            for (projection, accumulator) in self.grouping.projections.iter().zip(&mut group.accumulators) {
                projection.remove(accumulator, document, &Context::default());
            }
        });
    }

    /// Every group, in the order of its values.
    pub(crate) fn keys(&self) -> Vec<GroupKey> {
        self.members.keys().cloned().collect()
    }

    /// The result of a group as a record of `topic`; `None` if it has no records any more.
    pub(crate) fn result(
        &mut self,
        group: &GroupKey,
        topic: &Arc<str>,
        sources: Sources<'_>,
        target: &Format,
        now: Time,
    ) -> Option<Arc<Record>> {
        let Group { rows, accumulators } = self.members.get_mut(group)?;
        let projections = &self.grouping.projections;
        for (projection, accumulator) in projections.iter().zip(accumulators.iter_mut()) {
            if accumulator.is_stale() {
                let each =
                    |see: &mut dyn FnMut(&dyn Document)| rows.values().for_each(|row| sources.show(row, see));
                projection.renew(accumulator, each, &Context::default());
            }
        }
        let fields: Vec<(Path, Field<'_>)> = projections
            .iter()
            .zip(&*accumulators)
            .map(|(projection, accumulator)| (projection.field().clone(), projection.finish(accumulator)))
            .collect();
        Some(Arc::new(Record {
            topic: Arc::clone(topic),
            key: key_of(group, topic),
            body: target.compose(&fields).into(),
            // Nobody published it (DEL-07).
            correlation: None,
            publisher: "".into(),
            bookmark: None,
            updated: now,
            expires: None,
        }))
    }
}

fn name_of(record: &Record) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&record.topic), Arc::clone(&record.key))
}

/// The record key of a group.
pub(crate) fn key_of(group: &GroupKey, topic: &str) -> Arc<str> {
    generated_key(topic, group)
}
