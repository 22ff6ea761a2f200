//! Views over several topics: left outer joins, kept up to date (server.md VIEW-02).
//!
//! Owns which records stand in a row together. A row begins with a record of the first topic;
//! of each other topic it has a record whose fields agree, or nothing. What is computed of the
//! rows is the business of `groups`. Invariant: for every record of the first topic the rows
//! are those that a join of all records as they are would give, and `interest` tells for every
//! record that could join who looked for it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::groups::{GroupKey, Groups, Row, Sources};
use super::table::{Layout, Record, Table};
use crate::engine::config::{Join, JoinField};
use crate::engine::filter::{Document, Field, Path};
use crate::engine::format::{Body, Format};

/// The topic and the key of a record.
type Name = (Arc<str>, Arc<str>);

/// Values that have to agree, as text; `None` for NULL.
type Values = Vec<Option<Vec<u8>>>;

/// One of the topics of a join.
#[derive(Debug)]
pub(crate) struct Source {
    /// The table that it is kept in.
    pub(crate) table: usize,
    message_type: String,
    topic: String,
    layout: Arc<Layout>,
    /// What has to agree; nothing for the first topic.
    on: Vec<On>,
    /// Its records by the values of their side of `on`.
    by_values: BTreeMap<Values, BTreeMap<Name, Arc<Record>>>,
}

/// A field of an earlier topic, and the field of this one that it equals.
#[derive(Debug)]
struct On {
    left: usize,
    left_field: Path,
    right_field: Path,
}

/// A record of the first topic, and what came of it.
#[derive(Debug)]
struct Root {
    record: Arc<Record>,
    rows: Vec<(GroupKey, u64)>,
    /// The values that were looked for, by topic.
    looked_for: BTreeSet<(usize, Values)>,
}

/// The rows of a view over several topics.
#[derive(Debug)]
pub(crate) struct Joined {
    sources: Vec<Source>,
    /// NULL agrees with NULL.
    nulls_agree: bool,
    groups: Groups,
    roots: BTreeMap<Name, Root>,
    interest: BTreeMap<(usize, Values), BTreeSet<Name>>,
}

impl Joined {
    /// # Errors
    /// The joins do not hang together, or a field is none.
    pub(crate) fn new(
        joins: &[Join],
        mut table_of: impl FnMut(&JoinField) -> Option<usize>,
        type_of: impl Fn(usize) -> String,
        tables: &[Table],
        groups: Groups,
        nulls_agree: bool,
    ) -> Result<Self, String> {
        let mut sources: Vec<Source> = Vec::new();
        let mut source = |side: &JoinField| {
            let table = table_of(side).ok_or_else(|| format!("there is no topic \"{}\"", side.topic))?;
            let layout = Arc::clone(&tables[table].layout);
            let (message_type, topic) = (type_of(table), side.topic.clone());
            Ok::<_, String>(Source {
                table,
                message_type,
                topic,
                layout,
                on: Vec::new(),
                by_values: BTreeMap::new(),
            })
        };
        let field = |text: &str| Path::parse(text).map_err(|fault| format!("join field \"{text}\": {fault}"));
        let mut waiting: Vec<&Join> = joins.iter().collect();
        for join in joins {
            let sides = source(&join.left).ok().zip(source(&join.right).ok());
            if sides.is_some_and(|(left, right)| left.table == right.table) {
                let topic = &join.left.topic;
                return Err(format!(
                    "\"{topic}\" is joined with itself, but of each topic there is one record in a row; write a \
                     view of \"{topic}\" with the fields that are wanted, and join \"{topic}\" with that"
                ));
            }
        }
        if let Some(first) = waiting.first() {
            sources.push(source(&first.left)?);
        }
        // A join may stand in front of the one that it hangs on.
        while !waiting.is_empty() {
            let known = |sources: &[Source], side: &JoinField| {
                sources.iter().position(|s| s.topic == side.topic && side.names(&s.message_type))
            };
            let Some(next) = waiting.iter().position(|join| known(&sources, &join.left).is_some()) else {
                let topic = waiting.first().map_or("", |join| &join.left.topic);
                return Err(format!(
                    "the topic \"{topic}\" is joined to none of the others; put the joins in one chain"
                ));
            };
            let join = waiting.remove(next);
            let Some(left) = known(&sources, &join.left) else { continue };
            let on =
                On { left, left_field: field(&join.left.field)?, right_field: field(&join.right.field)? };
            match known(&sources, &join.right) {
                Some(right) if right > left => sources[right].on.push(on),
                Some(_) => {
                    let (left, right) = (&join.left.topic, &join.right.topic);
                    return Err(format!(
                        "\"{left}\" and \"{right}\" are joined in a circle; turn the sides round"
                    ));
                }
                None => {
                    let mut right = source(&join.right)?;
                    right.on.push(on);
                    sources.push(right);
                }
            }
        }
        Ok(Self { sources, nulls_agree, groups, roots: BTreeMap::new(), interest: BTreeMap::new() })
    }

    /// The groups of its rows, and how those are read.
    pub(crate) fn groups(&mut self) -> (&mut Groups, &[Source]) {
        (&mut self.groups, &self.sources)
    }

    /// Takes a change of a record of a table in; `new` is the record from now on. Returns the
    /// groups that it concerns, in the order in which they were left and entered.
    pub(crate) fn apply(
        &mut self,
        table: usize,
        old: Option<&Arc<Record>>,
        new: Option<&Arc<Record>>,
    ) -> Vec<GroupKey> {
        let mut concerned = Vec::new();
        let Some(name) = new.or(old).map(|record| name_of(record)) else { return concerned };
        let mut roots: BTreeSet<Name> = BTreeSet::new();
        for index in 0..self.sources.len() {
            if self.sources[index].table != table {
                continue;
            }
            if index == 0 {
                roots.insert(name.clone());
                continue;
            }
            let source = &mut self.sources[index];
            if let Some(record) = old {
                let values = source.own_values(record);
                if let Some(records) = source.by_values.get_mut(&values) {
                    records.remove(&name);
                    if records.is_empty() {
                        source.by_values.remove(&values);
                    }
                }
                roots.extend(self.interest.get(&(index, values)).into_iter().flatten().cloned());
            }
            if let Some(record) = new {
                let values = source.own_values(record);
                source.by_values.entry(values.clone()).or_default().insert(name.clone(), Arc::clone(record));
                roots.extend(self.interest.get(&(index, values)).into_iter().flatten().cloned());
            }
        }
        let is_root = self.sources.first().is_some_and(|source| source.table == table);
        for root in roots {
            let record = match is_root && root == name {
                true => new.cloned(),
                false => self.roots.get(&root).map(|root| Arc::clone(&root.record)),
            };
            self.replace(root, record, &mut concerned);
        }
        let mut seen = BTreeSet::new();
        concerned.retain(|group: &GroupKey| seen.insert(group.clone()));
        concerned
    }

    /// Joins a record of the first topic anew.
    fn replace(&mut self, name: Name, record: Option<Arc<Record>>, concerned: &mut Vec<GroupKey>) {
        if let Some(root) = self.roots.remove(&name) {
            for (group, place) in root.rows {
                self.groups.take(&group, place, Sources::Joined(&self.sources));
                concerned.push(group);
            }
            for looked_for in root.looked_for {
                if let Some(interested) = self.interest.get_mut(&looked_for) {
                    interested.remove(&name);
                    if interested.is_empty() {
                        self.interest.remove(&looked_for);
                    }
                }
            }
        }
        let Some(record) = record else { return };
        let mut looked_for = BTreeSet::new();
        let mut rows: Vec<Vec<Option<Arc<Record>>>> = vec![vec![Some(Arc::clone(&record))]];
        for index in 1..self.sources.len() {
            rows = rows.into_iter().flat_map(|row| self.extend(index, &row, &mut looked_for)).collect();
        }
        let mut placed = Vec::new();
        for row in rows {
            let row = Row::Joined(row.into());
            let document = RowDocument::of(&self.sources, &row);
            let group = self.groups.key_of(&document);
            drop(document);
            let place = self.groups.put(&group, row, Sources::Joined(&self.sources));
            concerned.push(group.clone());
            placed.push((group, place));
        }
        for wanted in &looked_for {
            self.interest.entry(wanted.clone()).or_default().insert(name.clone());
        }
        self.roots.insert(name, Root { record, rows: placed, looked_for });
    }

    /// The rows that a row becomes with the next topic.
    fn extend(
        &self,
        index: usize,
        row: &[Option<Arc<Record>>],
        looked_for: &mut BTreeSet<(usize, Values)>,
    ) -> Vec<Vec<Option<Arc<Record>>>> {
        let source = &self.sources[index];
        let values: Values = source
            .on
            .iter()
            .map(|on| {
                let record = row.get(on.left)?.as_ref()?;
                value(&self.sources[on.left].layout.format, record, &on.left_field)
            })
            .collect();
        let joinable = self.nulls_agree || values.iter().all(Option::is_some);
        let found = source.by_values.get(&values).filter(|_| joinable);
        if joinable {
            looked_for.insert((index, values));
        }
        match found {
            Some(records) => records.values().map(|record| with(row, Some(Arc::clone(record)))).collect(),
            None => vec![with(row, None)],
        }
    }
}

impl Source {
    /// The values of this side of what has to agree.
    fn own_values(&self, record: &Record) -> Values {
        self.on.iter().map(|on| value(&self.layout.format, record, &on.right_field)).collect()
    }
}

fn with(row: &[Option<Arc<Record>>], next: Option<Arc<Record>>) -> Vec<Option<Arc<Record>>> {
    row.iter().cloned().chain([next]).collect()
}

fn name_of(record: &Record) -> Name {
    (Arc::clone(&record.topic), Arc::clone(&record.key))
}

/// A field as text; `None` if it is NULL.
fn value(format: &Format, record: &Record, path: &Path) -> Option<Vec<u8>> {
    let document = format.read(&record.body);
    let mut found = Vec::new();
    document.look_up(path, &mut found);
    let field = found.into_iter().next()?;
    (!field.value().is_null()).then(|| field.into_text().into_owned())
}

/// A row as one document: whose field is meant is said in front of it. Without that, it is the
/// first topic's (inferred).
pub(crate) struct RowDocument<'r> {
    parts: Vec<(&'r Source, Option<Body<'r>>)>,
}

impl<'r> RowDocument<'r> {
    pub(crate) fn of(sources: &'r [Source], row: &'r Row) -> Self {
        let part = |(source, record): (&'r Source, Option<&'r Arc<Record>>)| {
            (source, record.map(|record| source.layout.format.read(&record.body)))
        };
        Self { parts: sources.iter().zip(row.records()).map(part).collect() }
    }
}

impl Document for RowDocument<'_> {
    fn look_up<'a>(&'a self, path: &Path, found: &mut Vec<Field<'a>>) {
        let meant = |source: &Source| {
            path.qualifier().is_none_or(|qualifier| {
                let of_type =
                    qualifier.message_type.as_deref().is_none_or(|name| name == source.message_type);
                *qualifier.topic == *source.topic && of_type
            })
        };
        let part = self.parts.iter().find(|(source, _)| meant(source));
        if let Some((_, Some(body))) = part {
            body.look_up(path, found);
        }
    }
}
