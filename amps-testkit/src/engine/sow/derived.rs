//! Topics that nobody publishes to: views and conflated topics (server.md 4.12).
//!
//! Owns the step from a change of a source to a change of what is derived from it. A derived
//! topic is a table like any other, so that queries, windows and whatever else works on tables
//! works on it; it may be the source of another. In one step of the engine everything that
//! follows from a message has happened before the next is looked at (ORD-03).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::OofReason;
use amps_transport::{Sink, Time};

use super::change::Change;
use super::enrich::{Enrichment, Incoming};
use super::groups::{Grouping, Groups, Sources, key_of};
use super::join::Joined;
use super::table::{Record, Table};
use crate::engine::Engine;
use crate::engine::config::{Config, ConfigError, ConflatedTopicConfig, JoinField, ViewConfig, ViewSource};
use crate::engine::filter::{Context, Language, Path, Projection};
use crate::engine::queue::Queue;
use crate::engine::selector::{Facts, Selector};
use crate::engine::timers::Timer;
use crate::engine::topic::{MessageTypes, TopicPattern, TopicReading, TypeId};

/// A topic that follows another.
#[derive(Debug)]
pub(crate) struct Derived {
    sources: Vec<usize>,
    /// What a view has computed and not shown yet, where views may be late.
    late: VecDeque<(Time, Outcome)>,
    target: usize,
    how: How,
}

impl Derived {
    /// The table that it fills.
    pub(crate) const fn target(&self) -> usize {
        self.target
    }
}

/// What became of a group.
#[derive(Debug)]
enum Outcome {
    Shown(Arc<Record>),
    /// Its record with this key is there no more.
    Gone(Arc<str>),
}

#[derive(Debug)]
enum How {
    View(Groups),
    Joined(Joined),
    Conflated(Copy),
}

/// How long views are behind in a server that makes the most of its freedom (inferred).
const LATE: Duration = Duration::from_millis(20);

/// The topic and the key of a record.
type Name = (Arc<str>, Arc<str>);

/// What a conflated topic has not shown yet.
#[derive(Debug)]
struct Copy {
    interval: Duration,
    /// How the copies of the topics of a container are called.
    names: Option<TopicFormat>,
    enrichment: Enrichment,
    filter: Option<Selector>,
    /// Records that changed, with the end of their interval.
    due: BTreeSet<(Time, u64)>,
    by_order: BTreeMap<u64, Name>,
    /// Why each is gone from the source, if it is.
    waiting: BTreeMap<Name, Option<OofReason>>,
    next: u64,
}

/// Adds the tables of views and conflated topics behind those that they follow.
pub(crate) fn derive(
    config: &Config,
    types: &mut MessageTypes,
    tables: &mut Vec<Table>,
    queues: &mut [Queue],
) -> Result<Vec<Derived>, ConfigError> {
    let language = config.language();
    show_queues(config, types, tables, queues);
    let mut derived = Vec::new();
    let mut views: Vec<&ViewConfig> = config.views.iter().collect();
    let mut copies: Vec<&ConflatedTopicConfig> = config.conflated_topics.iter().collect();
    // One may follow another, in any order of the configuration.
    loop {
        let left = views.len() + copies.len();
        let mut waiting = Vec::new();
        for view in views {
            match sources_of(view, types, tables) {
                Some(sources) => derived.push(add_view(view, sources, types, tables, &language)?),
                None => waiting.push(view),
            }
        }
        views = waiting;
        let mut waiting = Vec::new();
        for copy in copies {
            let message_type = types.id(&copy.message_type);
            let source = tables
                .iter()
                .position(|table| table.message_type == message_type && table.is_named(&copy.underlying));
            match source {
                Some(source) => derived.push(add_copy(copy, source, tables, &language)?),
                None => waiting.push(copy),
            }
        }
        copies = waiting;
        if views.is_empty() && copies.is_empty() {
            return Ok(derived);
        }
        if views.len() + copies.len() == left {
            let missing = views.first().map(|view| (view.name.clone(), missing_topic(view, types, tables)));
            let missing = missing.or_else(|| copies.first().map(|c| (c.name.clone(), c.underlying.clone())));
            let (topic, source) = missing.unwrap_or_default();
            return Err(ConfigError::NoSource { topic, underlying: source });
        }
    }
}

/// Adds tables of what can be seen of the queues that views are over (VIEW-01).
fn show_queues(config: &Config, types: &MessageTypes, tables: &mut Vec<Table>, queues: &mut [Queue]) {
    let sides: Vec<JoinField> = config.views.iter().flat_map(sides).collect();
    for (index, queue) in queues.iter_mut().enumerate() {
        let type_name = types.name(queue.message_type);
        let is_source = sides.iter().any(|side| *side.topic == *queue.name && side.names(type_name));
        let same = |table: &Table| table.name == queue.name && table.message_type == queue.message_type;
        // A topic with a state of the world goes before a queue of its name.
        if is_source && !tables.iter().any(same) {
            tables.push(Table::of_queue(index, queue));
            let _ = queue.begin_browsing();
        }
    }
}

/// # Errors
/// There is a topic, a view or a conflated topic of this name already.
fn refuse_second(tables: &[Table], name: &str, message_type: TypeId) -> Result<(), ConfigError> {
    let taken = tables.iter().any(|table| *table.name == *name && table.message_type == message_type);
    if taken { Err(ConfigError::TopicTwice { topic: name.to_owned() }) } else { Ok(()) }
}

/// The first topic of a view that is not there.
fn missing_topic(view: &ViewConfig, types: &mut MessageTypes, tables: &[Table]) -> String {
    let sides = sides(view);
    let missing = sides.iter().find(|side| table_of(view, side, types, tables).is_none());
    missing.or(sides.first()).map(|side| side.topic.clone()).unwrap_or_default()
}

/// The topics that a view is over, as far as it names them.
fn sides(view: &ViewConfig) -> Vec<JoinField> {
    match &view.source {
        ViewSource::Topic(topic) => vec![JoinField::new(topic, "")],
        ViewSource::Joins(joins) => {
            joins.iter().flat_map(|join| [join.left.clone(), join.right.clone()]).collect()
        }
    }
}

/// The table of a topic that a view is over: of the type that it names, else of the view's own,
/// else of any.
fn table_of(
    view: &ViewConfig,
    side: &JoinField,
    types: &mut MessageTypes,
    tables: &[Table],
) -> Option<usize> {
    let named = |table: &Table| *table.name == *side.topic;
    let of_type = |name: &str, types: &mut MessageTypes| {
        let id = types.id(name);
        tables.iter().position(|table| named(table) && table.message_type == id)
    };
    match &side.message_type {
        Some(name) => of_type(name, types),
        None => of_type(&view.message_type, types).or_else(|| tables.iter().position(named)),
    }
}

/// The tables that a view is over; `None` if one is not there (yet).
fn sources_of(view: &ViewConfig, types: &mut MessageTypes, tables: &[Table]) -> Option<Vec<usize>> {
    sides(view).iter().map(|side| table_of(view, side, types, tables)).collect()
}

fn add_view(
    view: &ViewConfig,
    sources: Vec<usize>,
    types: &mut MessageTypes,
    tables: &mut Vec<Table>,
    language: &Language,
) -> Result<Derived, ConfigError> {
    let wrong = |fault: String| ConfigError::Topic { topic: view.name.clone(), fault };
    let projections = view
        .projection
        .iter()
        .map(|text| {
            Projection::parse_in(text, language).map_err(|fault| wrong(format!("field \"{text}\": {fault}")))
        })
        .collect::<Result<_, _>>()?;
    let by: Vec<Path> = view
        .grouping
        .iter()
        .map(|text| Path::parse(text).map_err(|fault| wrong(format!("group \"{text}\": {fault}"))))
        .collect::<Result<_, _>>()?;
    let filter = view.filter.as_ref().map(|text| Selector::parse_steady(text, language)).transpose();
    let filter = filter.map_err(|fault| wrong(format!("filter: {fault}")))?;
    let message_type = types.id(&view.message_type);
    let format = types.format(message_type).clone();
    let groups = Groups::new(Arc::new(Grouping { projections, by: by.clone(), filter, visible: None }));
    let how = match &view.source {
        ViewSource::Topic(_) => How::View(groups),
        ViewSource::Joins(joins) => {
            if view.filter.is_some() {
                return Err(wrong("a view over several topics has no filter".to_owned()));
            }
            let of = sides(view).into_iter().zip(sources.iter().copied()).collect::<Vec<_>>();
            let table_of = |side: &JoinField| of.iter().find(|(s, _)| s == side).map(|(_, table)| *table);
            let type_of = |table: usize| types.name(tables[table].message_type).to_owned();
            let nulls_agree = view.join_null_equivalency;
            How::Joined(Joined::new(joins, table_of, type_of, tables, groups, nulls_agree).map_err(wrong)?)
        }
    };
    refuse_second(tables, &view.name, message_type)?;
    tables.push(Table::derived(&view.name, message_type, format, by));
    Ok(Derived { sources, late: VecDeque::new(), target: tables.len() - 1, how })
}

fn add_copy(
    copy: &ConflatedTopicConfig,
    source: usize,
    tables: &mut Vec<Table>,
    language: &Language,
) -> Result<Derived, ConfigError> {
    let wrong = |fault: &str| ConfigError::Topic { topic: copy.name.clone(), fault: fault.to_owned() };
    let filter = copy.filter.as_ref().map(|text| Selector::parse_steady(text, language)).transpose();
    let filter = filter.map_err(|fault| wrong(&fault))?;
    let source_table = &tables[source];
    let (message_type, layout) = (source_table.message_type, Arc::clone(&source_table.layout));
    let table = Table::derived(&copy.name, message_type, layout.format.clone(), layout.keys.clone());
    let (table, names) = match (source_table.only_topic(), &copy.topic_format) {
        (Some(_), None) => (table, None),
        (None, Some(format)) => {
            let names = TopicFormat::parse(format).map_err(wrong)?;
            let pattern = names.pattern().map_err(|fault| wrong(&fault))?;
            (table.containing(pattern), Some(names))
        }
        (Some(_), Some(_)) => {
            return Err(wrong("a topic format goes with an underlying topic that is a pattern; remove it"));
        }
        (None, None) => {
            return Err(wrong("its underlying topic is a pattern; write a topic format such as %n-C"));
        }
    };
    refuse_second(tables, &copy.name, message_type)?;
    tables.push(table);
    let copy = Copy {
        interval: copy.interval,
        names,
        enrichment: Enrichment::of_copies(&copy.name, &copy.enrichment, language)?,
        filter,
        due: BTreeSet::new(),
        by_order: BTreeMap::new(),
        waiting: BTreeMap::new(),
        next: 0,
    };
    Ok(Derived {
        sources: vec![source],
        late: VecDeque::new(),
        target: tables.len() - 1,
        how: How::Conflated(copy),
    })
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
            if !self.derived[index].sources.contains(&table) {
                continue;
            }
            let layout = Arc::clone(&self.sow[table].layout);
            let derived = &mut self.derived[index];
            let target = derived.target;
            match &mut derived.how {
                How::View(groups) => {
                    let concerned = groups.apply(now, &layout, change);
                    for group in concerned {
                        self.recompute(now, index, target, &group, &layout.format, sink);
                    }
                }
                How::Joined(joined) => {
                    let new = Some(change.record()).filter(|_| change.left().is_none());
                    for group in joined.apply(table, change.old(), new) {
                        self.recompute(now, index, target, &group, &layout.format, sink);
                    }
                }
                How::Conflated(copy) => {
                    copy.wait(now, change);
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
        let (groups, sources) = match &mut self.derived[index].how {
            How::View(groups) => (groups, Sources::One(source)),
            How::Joined(joined) => {
                let (groups, sources) = joined.groups();
                (groups, Sources::Joined(sources))
            }
            How::Conflated(_) => return,
        };
        let result = match groups.result(group, &name, sources, &table.layout.format, now) {
            Some(record) => Outcome::Shown(record),
            None => Outcome::Gone(key_of(group, &name)),
        };
        if self.config.chaos.is_none() {
            return self.bring_out(now, target, result, sink);
        }
        self.derived[index].late.push_back((now + LATE, result));
        if !self.timers.is_set(Timer::Derived(index)) {
            self.timers.set(Timer::Derived(index), Some(now + LATE));
        }
    }

    fn bring_out<S: Sink>(&mut self, now: Time, target: usize, result: Outcome, sink: &mut S) {
        match result {
            Outcome::Shown(record) => self.show(now, target, &record, sink),
            Outcome::Gone(key) => {
                let name = Arc::clone(&self.sow[target].name);
                self.withdraw(now, target, &name, &key, OofReason::Deleted, sink);
            }
        }
    }

    /// Results of a view come out that were held back, in their order.
    fn bring_out_late<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        loop {
            let Derived { late, target, .. } = &mut self.derived[index];
            if late.front().is_none_or(|(at, _)| *at > now) {
                break;
            }
            let (Some((_, result)), target) = (late.pop_front(), *target) else { break };
            self.bring_out(now, target, result, sink);
        }
        let deadline = self.derived[index].late.front().map(|(at, _)| *at);
        self.timers.set(Timer::Derived(index), deadline);
    }

    /// The intervals of a conflated topic end: it shows what its source has now.
    pub(in crate::engine) fn derived_timer<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        loop {
            let Derived { sources, target, how, .. } = &mut self.derived[index];
            let How::Conflated(copy) = how else {
                return self.bring_out_late(now, index, sink);
            };
            let (Some(&source), target) = (sources.first(), *target) else { return };
            let Some(((topic, key), gone)) = copy.take_due(now) else { break };
            let table = &self.sow[source];
            let name = match &copy.names {
                Some(names) => names.name(&topic),
                None => Arc::clone(&self.sow[target].name),
            };
            let record = table.get(&topic, &key).filter(|record| copy.takes(record, table, now));
            match record {
                Some(record) => {
                    let previous = self.sow[target].get(&name, &key);
                    let incoming = Incoming {
                        topic: &name,
                        body: &record.body,
                        correlation: record.correlation.as_deref(),
                        publisher: &record.publisher,
                        instance: &self.config.instance,
                    };
                    let body = copy.enrichment.enrich(
                        &table.layout.format,
                        Cow::Borrowed(&*record.body),
                        previous.map(|record| &*record.body),
                        Context { sow_key: &key, ..incoming.context(now) },
                    );
                    let body = match body {
                        Cow::Borrowed(_) => Arc::clone(&record.body),
                        Cow::Owned(body) => body.into(),
                    };
                    let copied = record.with_body(body);
                    let copied = Record { topic: name, bookmark: None, expires: None, ..copied };
                    self.show(now, target, &Arc::new(copied), sink);
                }
                // What is there and not shown does not match the filter any more (OOF-01).
                None => {
                    let reason = gone.unwrap_or(OofReason::Match);
                    self.withdraw(now, target, &name, &key, reason, sink);
                }
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
        reason: OofReason,
        sink: &mut S,
    ) {
        if let Some(record) = self.sow[target].remove(topic, key) {
            let change = Change::Left { record: &record, reason };
            self.changed(now, target, &change, sink);
        }
    }
}

impl Copy {
    fn wait(&mut self, now: Time, change: &Change<'_>) {
        let record = change.record();
        let name = (Arc::clone(&record.topic), Arc::clone(&record.key));
        if self.waiting.insert(name.clone(), change.left()).is_none() {
            self.next += 1;
            self.due.insert((now + self.interval, self.next));
            self.by_order.insert(self.next, name);
        }
    }

    /// The next record whose interval is over, and why it is gone from the source, if it is.
    fn take_due(&mut self, now: Time) -> Option<(Name, Option<OofReason>)> {
        let &(at, order) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, order));
        let name = self.by_order.remove(&order)?;
        let gone = self.waiting.remove(&name)?;
        Some((name, gone))
    }

    fn takes(&self, record: &Record, table: &Table, now: Time) -> bool {
        let document = table.layout.format.read(&record.body);
        let facts = Facts::of_record(record, &table.layout, &document);
        self.filter.as_ref().is_none_or(|filter| filter.matches(facts, now))
    }
}

/// How the copies of the topics of a container are called: `%n` stands for the original's name.
#[derive(Clone, Debug)]
struct TopicFormat {
    before: String,
    after: String,
}

impl TopicFormat {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (before, after) =
            text.split_once("%n").ok_or("its topic format lacks %n, which stands for the original's name")?;
        Ok(Self { before: before.to_owned(), after: after.to_owned() })
    }

    fn name(&self, topic: &str) -> Arc<str> {
        format!("{}{topic}{}", self.before, self.after).into()
    }

    /// Every name that it can make.
    fn pattern(&self) -> Result<TopicPattern, String> {
        let (before, after) = (fancy_regex::escape(&self.before), fancy_regex::escape(&self.after));
        TopicPattern::parse(&format!("^{before}.+{after}$"), TopicReading::Guess, false)
    }
}
