//! Records in groups, and one result per group (server.md 4.11).
//!
//! Owns which records belong to which group, and in which order they were processed last. It
//! knows nothing of who looks at the results. Invariant: a record is in at most one group, and
//! a group without records does not exist.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use amps_transport::Time;

use super::change::Change;
use super::join::{RowDocument, Source};
use super::table::{Layout, Record};
use crate::engine::filter::{Context, Document, Field, Path, Projection};
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

/// The groups of one source.
#[derive(Debug)]
pub(crate) struct Groups {
    grouping: Arc<Grouping>,
    members: BTreeMap<GroupKey, BTreeMap<u64, Row>>,
    /// The row of each group that was processed last, be it gone meanwhile (AGG-02).
    last: BTreeMap<GroupKey, Row>,
    places: BTreeMap<(Arc<str>, Arc<str>), (GroupKey, u64)>,
    processed: u64,
}

impl Groups {
    pub(crate) const fn new(grouping: Arc<Grouping>) -> Self {
        Self {
            grouping,
            members: BTreeMap::new(),
            last: BTreeMap::new(),
            places: BTreeMap::new(),
            processed: 0,
        }
    }

    /// Takes a change in. Returns the groups that it concerns, the one that a record leaves
    /// first (AGG-06).
    pub(crate) fn apply(&mut self, now: Time, layout: &Layout, change: &Change<'_>) -> Vec<GroupKey> {
        let record = change.record();
        let before = self.take_out(record);
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
        let place = self.put(&group, Row::One(record));
        self.places.insert(name, (group.clone(), place));
        Some(group)
    }

    fn take_out(&mut self, record: &Arc<Record>) -> Option<GroupKey> {
        let (group, place) = self.places.remove(&name_of(record))?;
        self.take(&group, place);
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
    pub(crate) fn put(&mut self, group: &GroupKey, row: Row) -> u64 {
        self.processed += 1;
        self.last.insert(group.clone(), row.clone());
        self.members.entry(group.clone()).or_default().insert(self.processed, row);
        self.processed
    }

    /// Takes a row out of its group.
    pub(crate) fn take(&mut self, group: &GroupKey, place: u64) {
        if let Some(members) = self.members.get_mut(group) {
            members.remove(&place);
            if members.is_empty() {
                self.members.remove(group);
                self.last.remove(group);
            }
        }
    }

    /// Every group, in the order of its values.
    pub(crate) fn keys(&self) -> Vec<GroupKey> {
        self.members.keys().cloned().collect()
    }

    /// The result of a group as a record of `topic`; `None` if it has no records any more.
    pub(crate) fn result(
        &self,
        group: &GroupKey,
        topic: &Arc<str>,
        sources: Sources<'_>,
        target: &Format,
        now: Time,
    ) -> Option<Arc<Record>> {
        let members = self.members.get(group)?;
        let projections = &self.grouping.projections;
        let mut accumulators: Vec<_> = projections.iter().map(Projection::accumulator).collect();
        let context = Context::default();
        let last = self.last.get(group).map(|row| (row, true));
        for (row, only_last) in members.values().map(|row| (row, false)).chain(last) {
            let mut add = |document: &dyn Document| {
                for (projection, accumulator) in projections.iter().zip(&mut accumulators) {
                    match only_last {
                        true => projection.add_last(accumulator, document, &context),
                        false => projection.add(accumulator, document, &context),
                    }
                }
            };
            match (sources, row) {
                (Sources::One(format), Row::One(record)) => add(&format.read(&record.body)),
                (Sources::Joined(sources), row) => add(&RowDocument::of(sources, row)),
                // A view is of one kind or the other.
                (Sources::One(_), Row::Joined(_)) => {}
            }
        }
        let fields: Vec<(Path, Field<'_>)> = projections
            .iter()
            .zip(&accumulators)
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
