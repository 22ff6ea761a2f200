//! Topics that nobody publishes to: views and conflated topics (server.md 4.12).
//!
//! Owns the step from a change of a source to a change of what is derived from it. A derived
//! topic is a table like any other, so that queries, windows and whatever else works on tables
//! works on it; it may be the source of another. In one step of the engine everything that
//! follows from a message has happened before the next is looked at (ORD-03).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::OofReason;
use amps_transport::{Sink, Time};

use super::change::Change;
use super::groups::{Grouping, Groups, key_of};
use super::table::{Record, Table};
use crate::engine::Engine;
use crate::engine::config::{Config, ConfigError, ConflatedTopicConfig, ViewConfig, ViewSource};
use crate::engine::filter::{Path, Projection};
use crate::engine::selector::{Facts, Selector};
use crate::engine::timers::Timer;
use crate::engine::topic::MessageTypes;

/// A topic that follows another.
#[derive(Debug)]
pub(crate) struct Derived {
    source: usize,
    target: usize,
    how: How,
}

impl Derived {
    /// The table that it fills.
    pub(crate) const fn target(&self) -> usize {
        self.target
    }
}

#[derive(Debug)]
enum How {
    View(Groups),
    Conflated(Copy),
}

/// What a conflated topic has not shown yet.
#[derive(Debug)]
struct Copy {
    interval: Duration,
    filter: Option<Selector>,
    /// Records that changed, with the end of their interval.
    due: BTreeSet<(Time, u64)>,
    by_order: BTreeMap<u64, Arc<str>>,
    waiting: BTreeSet<Arc<str>>,
    next: u64,
}

/// Adds the tables of views and conflated topics behind those that they follow.
pub(crate) fn derive(
    config: &Config,
    types: &mut MessageTypes,
    tables: &mut Vec<Table>,
) -> Result<Vec<Derived>, ConfigError> {
    let mut derived = Vec::new();
    let mut views: Vec<&ViewConfig> = config.views.iter().collect();
    let mut copies: Vec<&ConflatedTopicConfig> = config.conflated_topics.iter().collect();
    // One may follow another, in any order of the configuration.
    loop {
        let left = views.len() + copies.len();
        let mut waiting = Vec::new();
        for view in views {
            match source_of(view, types, tables)? {
                Some(source) => derived.push(add_view(view, source, types, tables)?),
                None => waiting.push(view),
            }
        }
        views = waiting;
        let mut waiting = Vec::new();
        for copy in copies {
            let message_type = types.id(&copy.message_type);
            let source = tables
                .iter()
                .position(|table| table.message_type == message_type && *table.name == *copy.underlying);
            match source {
                Some(source) => derived.push(add_copy(copy, source, tables)?),
                None => waiting.push(copy),
            }
        }
        copies = waiting;
        if views.is_empty() && copies.is_empty() {
            return Ok(derived);
        }
        if views.len() + copies.len() == left {
            let missing = views.first().map(|view| (view.name.clone(), first_topic(view)));
            let missing = missing.or_else(|| copies.first().map(|c| (c.name.clone(), c.underlying.clone())));
            let (topic, source) = missing.unwrap_or_default();
            return Err(ConfigError::NoSource { topic, underlying: source });
        }
    }
}

fn first_topic(view: &ViewConfig) -> String {
    match &view.source {
        ViewSource::Topic(topic) => topic.clone(),
        ViewSource::Joins(joins) => joins.first().map(|join| join.left.topic.clone()).unwrap_or_default(),
    }
}

/// The table that a view is over; `None` if it is not there (yet).
fn source_of(
    view: &ViewConfig,
    types: &mut MessageTypes,
    tables: &[Table],
) -> Result<Option<usize>, ConfigError> {
    match &view.source {
        ViewSource::Topic(topic) => {
            let of_type = types.id(&view.message_type);
            let named = |table: &&Table| *table.name == **topic;
            let same_type = tables.iter().position(|table| named(&table) && table.message_type == of_type);
            Ok(same_type.or_else(|| tables.iter().position(|table| named(&table))))
        }
        ViewSource::Joins(_) => {
            Err(ConfigError::Unsupported { topic: view.name.clone(), what: "views over joined topics" })
        }
    }
}

fn add_view(
    view: &ViewConfig,
    source: usize,
    types: &mut MessageTypes,
    tables: &mut Vec<Table>,
) -> Result<Derived, ConfigError> {
    let wrong = |fault: String| ConfigError::View { topic: view.name.clone(), fault };
    let projections = view
        .projection
        .iter()
        .map(|text| Projection::parse(text).map_err(|fault| wrong(format!("field \"{text}\": {fault}"))))
        .collect::<Result<_, _>>()?;
    let by: Vec<Path> = view
        .grouping
        .iter()
        .map(|text| Path::parse(text).map_err(|fault| wrong(format!("group \"{text}\": {fault}"))))
        .collect::<Result<_, _>>()?;
    let filter = view.filter.as_ref().map(|text| Selector::parse(text)).transpose();
    let filter = filter.map_err(|fault| wrong(format!("filter: {fault}")))?;
    let message_type = types.id(&view.message_type);
    let format = types.format(message_type).clone();
    tables.push(Table::derived(&view.name, message_type, format, by.clone()));
    let groups = Groups::new(Arc::new(Grouping { projections, by, filter }));
    Ok(Derived { source, target: tables.len() - 1, how: How::View(groups) })
}

fn add_copy(
    copy: &ConflatedTopicConfig,
    source: usize,
    tables: &mut Vec<Table>,
) -> Result<Derived, ConfigError> {
    let filter = copy.filter.as_ref().map(|text| Selector::parse(text)).transpose();
    let filter = filter.map_err(|fault| ConfigError::View { topic: copy.name.clone(), fault })?;
    let (message_type, layout) = (tables[source].message_type, Arc::clone(&tables[source].layout));
    tables.push(Table::derived(&copy.name, message_type, layout.format.clone(), layout.keys.clone()));
    let copy = Copy {
        interval: copy.interval,
        filter,
        due: BTreeSet::new(),
        by_order: BTreeMap::new(),
        waiting: BTreeSet::new(),
        next: 0,
    };
    Ok(Derived { source, target: tables.len() - 1, how: How::Conflated(copy) })
}

impl Engine {
    /// What follows from a change of a table.
    pub(in crate::engine) fn follow_up<S: Sink>(
        &mut self,
        now: Time,
        table: usize,
        change: &Change<'_>,
        sink: &mut S,
    ) {
        for index in 0..self.derived.len() {
            if self.derived[index].source != table {
                continue;
            }
            let format = self.sow[table].layout.format.clone();
            let derived = &mut self.derived[index];
            let target = derived.target;
            match &mut derived.how {
                How::View(groups) => {
                    let concerned = groups.apply(now, &format, change);
                    for group in concerned {
                        self.recompute(now, index, target, &group, &format, sink);
                    }
                }
                How::Conflated(copy) => {
                    copy.wait(now, &change.record().key);
                    let deadline = copy.due.first().map(|(at, _)| *at);
                    self.timers.set(Timer::Derived(index), deadline);
                }
            }
        }
    }

    fn recompute<S: Sink>(
        &mut self,
        now: Time,
        index: usize,
        target: usize,
        group: &super::groups::GroupKey,
        source: &crate::engine::format::Format,
        sink: &mut S,
    ) {
        let table = &self.sow[target];
        let name = Arc::clone(&table.name);
        let How::View(groups) = &self.derived[index].how else { return };
        match groups.result(group, &name, source, &table.layout.format, now) {
            Some(record) => self.show(now, target, &record, sink),
            None => self.withdraw(now, target, &name, &key_of(group, &name), sink),
        }
    }

    /// The intervals of a conflated topic end: it shows what its source has now.
    pub(in crate::engine) fn derived_timer<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        loop {
            let Derived { source, target, how: How::Conflated(copy) } = &mut self.derived[index] else {
                return;
            };
            let (source, target) = (*source, *target);
            let Some(key) = copy.take_due(now) else { break };
            let table = &self.sow[source];
            let topic = Arc::clone(&table.name);
            let name = Arc::clone(&self.sow[target].name);
            let record = table.get(&topic, &key).filter(|record| copy.takes(record, table, now));
            match record {
                Some(record) => {
                    let record = Arc::new(Record {
                        topic: name,
                        key,
                        body: Arc::clone(&record.body),
                        correlation: record.correlation.clone(),
                        publisher: Arc::clone(&record.publisher),
                        bookmark: None,
                        updated: record.updated,
                        expires: None,
                    });
                    self.show(now, target, &record, sink);
                }
                None => self.withdraw(now, target, &name, &key, sink),
            }
        }
        if let How::Conflated(copy) = &self.derived[index].how {
            let deadline = copy.due.first().map(|(at, _)| *at);
            self.timers.set(Timer::Derived(index), deadline);
        }
    }

    /// A derived record is there, or is new.
    fn show<S: Sink>(&mut self, now: Time, target: usize, record: &Arc<Record>, sink: &mut S) {
        let old = self.sow[target].put(Arc::clone(record));
        let change = Change::Published { old: old.as_ref(), new: record };
        self.changed(now, target, &change, sink);
    }

    /// A derived record is there no more.
    fn withdraw<S: Sink>(
        &mut self,
        now: Time,
        target: usize,
        topic: &Arc<str>,
        key: &Arc<str>,
        sink: &mut S,
    ) {
        if let Some(record) = self.sow[target].remove(topic, key) {
            let change = Change::Left { record: &record, reason: OofReason::Deleted };
            self.changed(now, target, &change, sink);
        }
    }
}

impl Copy {
    fn wait(&mut self, now: Time, key: &Arc<str>) {
        if self.waiting.insert(Arc::clone(key)) {
            self.next += 1;
            self.due.insert((now + self.interval, self.next));
            self.by_order.insert(self.next, Arc::clone(key));
        }
    }

    fn take_due(&mut self, now: Time) -> Option<Arc<str>> {
        let &(at, order) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, order));
        let key = self.by_order.remove(&order)?;
        self.waiting.remove(&key);
        Some(key)
    }

    fn takes(&self, record: &Record, table: &Table, now: Time) -> bool {
        let format = &table.layout.format;
        let document = format.read(&record.body);
        let facts = Facts::of_record(record, format, &document);
        self.filter.as_ref().is_none_or(|filter| filter.matches(facts, now))
    }
}
