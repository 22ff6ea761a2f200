//! One table of the state of the world: its records, their keys, and when they expire
//! (server.md 4.1, 4.7).
//!
//! Owns the records and nothing of who looks at them. A table is one topic, or all topics that
//! match a pattern; each of those is a topic of its own. Invariants: a record is found by topic
//! and key, by the order of its insertion, and, if it expires, by its time; a record that is
//! replaced keeps its place in the order.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::MessageId;
use amps_transport::Time;

use super::enrich::Enrichment;
use super::history::{History, Point};
use crate::engine::config::{ConfigError, RecoveryPoint, SowConfig, SowExpiration};
use crate::engine::filter::{Language, Path};
use crate::engine::format::Format;
use crate::engine::queue::Queue;
use crate::engine::reasons::Reason;
use crate::engine::topic::{TopicPattern, TopicReading, TypeId};
use crate::engine::txlog::generated_key;

/// A record at one moment. It never changes: an update makes a new one.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) topic: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) body: Arc<[u8]>,
    pub(crate) correlation: Option<Box<[u8]>>,
    pub(crate) publisher: Arc<str>,
    pub(crate) bookmark: Option<MessageId>,
    pub(crate) updated: Time,
    pub(crate) expires: Option<Time>,
}

impl Record {
    /// The same record with another body.
    pub(crate) fn with_body(&self, body: Arc<[u8]>) -> Self {
        Self {
            topic: Arc::clone(&self.topic),
            key: Arc::clone(&self.key),
            body,
            correlation: self.correlation.clone(),
            publisher: Arc::clone(&self.publisher),
            bookmark: self.bookmark,
            updated: self.updated,
            expires: self.expires,
        }
    }
}

/// How the records of a table are read.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    /// The fields that make the key; none if publishers choose it.
    pub(crate) keys: Vec<Path>,
    pub(crate) resource: Resource,
}

/// What entitlements to records are about.
#[derive(Clone, Debug)]
pub(crate) enum Resource {
    /// The topic.
    Topic,
    /// The container of topics that match a pattern, by its name (SOW-08).
    Container(Arc<str>),
    /// Nothing: the records were computed of what the reader may see.
    Computed,
}

impl Layout {
    /// What entitlements to a record of this topic are about, if to anything.
    pub(crate) fn resource_of<'a>(&'a self, topic: &'a str) -> Option<&'a str> {
        match &self.resource {
            Resource::Topic => Some(topic),
            Resource::Container(name) => Some(name),
            Resource::Computed => None,
        }
    }
}

/// Where a record stands in the order of insertion.
pub(crate) type Order = u64;

/// A topic with a state of the world.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: Arc<str>,
    pub(crate) message_type: TypeId,
    pub(crate) layout: Arc<Layout>,
    /// It follows other topics: nobody publishes to it.
    pub(crate) is_derived: bool,
    /// It shows what can be seen of this queue, to views and aggregates only: the topic itself is
    /// the queue's.
    pub(crate) queue: Option<usize>,
    /// Its records outlive a restart even if they are not logged.
    pub(crate) persists: bool,
    /// What was there before a restart is not wanted (SOW-10).
    pub(crate) starts_empty: bool,
    /// What is added to messages that are published here.
    pub(crate) enrichment: Option<Arc<Enrichment>>,
    /// Its past states, if they are kept.
    pub(crate) history: Option<History>,
    pattern: TopicPattern,
    /// `None` if each topic is a domain of its own.
    domain: Option<Arc<str>>,
    expiration: SowExpiration,
    records: BTreeMap<Order, Arc<Record>>,
    by_key: BTreeMap<(Arc<str>, Arc<str>), Order>,
    expirations: BTreeSet<(Time, Order)>,
    inserted: Order,
}

impl Table {
    pub(crate) fn new(
        config: &SowConfig,
        message_type: TypeId,
        format: Format,
        language: &Language,
    ) -> Result<Self, ConfigError> {
        let key = |text: &String| {
            Path::parse(text).map_err(|fault| ConfigError::Key {
                topic: config.name.clone(),
                key: text.clone(),
                fault: fault.to_string(),
            })
        };
        if config.history.is_some() {
            let wrong =
                |fault: &str| ConfigError::Topic { topic: config.name.clone(), fault: fault.to_owned() };
            if config.expiration != SowExpiration::Disabled {
                return Err(wrong("a topic with history cannot expire; disable the expiration"));
            }
            if config.pattern.is_some() {
                return Err(wrong("a topic with a pattern cannot have a history; remove one"));
            }
        }
        let pattern = match &config.pattern {
            None => TopicPattern::Literal(config.name.as_str().into()),
            Some(regex) => TopicPattern::parse(regex, TopicReading::Guess, false).map_err(|fault| {
                ConfigError::Pattern { what: "topic pattern", pattern: regex.clone(), fault }
            })?,
        };
        Ok(Self {
            name: config.name.as_str().into(),
            message_type,
            layout: Arc::new(Layout {
                format,
                keys: config.keys.iter().map(key).collect::<Result<_, _>>()?,
                resource: match pattern {
                    TopicPattern::Literal(_) => Resource::Topic,
                    TopicPattern::Pattern { .. } => Resource::Container(config.name.as_str().into()),
                },
            }),
            is_derived: false,
            queue: None,
            persists: !config.transient,
            starts_empty: config.transient && config.recovery_point == RecoveryPoint::Now,
            enrichment: (!config.preprocessing.is_empty() || !config.enrichment.is_empty())
                .then(|| Enrichment::new(config, language).map(Arc::new))
                .transpose()?,
            history: config.history.map(History::new),
            pattern,
            domain: config.domain.as_deref().map(Into::into),
            expiration: config.expiration,
            records: BTreeMap::new(),
            by_key: BTreeMap::new(),
            expirations: BTreeSet::new(),
            inserted: 0,
        })
    }

    /// A topic that follows others, and is published to by nobody.
    pub(crate) fn derived(name: &str, message_type: TypeId, format: Format, keys: Vec<Path>) -> Self {
        Self {
            name: name.into(),
            message_type,
            layout: Arc::new(Layout { format, keys, resource: Resource::Topic }),
            is_derived: true,
            queue: None,
            persists: false,
            starts_empty: false,
            enrichment: None,
            history: None,
            pattern: TopicPattern::Literal(name.into()),
            domain: None,
            expiration: SowExpiration::Disabled,
            records: BTreeMap::new(),
            by_key: BTreeMap::new(),
            expirations: BTreeSet::new(),
            inserted: 0,
        }
    }

    /// What can be seen of a queue. A message keeps the topic that it was published to, and is read
    /// as the queue's.
    pub(crate) fn of_queue(index: usize, queue: &Queue) -> Self {
        let table = Self::derived(&queue.name, queue.message_type, queue.format.clone(), Vec::new());
        let resource = Resource::Container(Arc::clone(&queue.name));
        let layout = Layout { format: queue.format.clone(), keys: Vec::new(), resource };
        Self { queue: Some(index), layout: Arc::new(layout), ..table }
    }

    /// The same as a container of all topics that match.
    pub(crate) fn containing(self, pattern: TopicPattern) -> Self {
        let layout = Layout {
            format: self.layout.format.clone(),
            keys: self.layout.keys.clone(),
            resource: Resource::Container(Arc::clone(&self.name)),
        };
        Self { layout: Arc::new(layout), pattern, ..self }
    }

    /// Whether messages published to this topic are kept here.
    pub(crate) fn covers(&self, topic: &str) -> bool {
        self.queue.is_none() && self.pattern.matches(topic)
    }

    /// Whether this is the topic of that name, and no queue.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.queue.is_none() && *self.name == *name
    }

    /// Whether this is one topic, and which.
    pub(crate) fn only_topic(&self) -> Option<&Arc<str>> {
        match &self.pattern {
            TopicPattern::Literal(name) => Some(name),
            TopicPattern::Pattern { .. } => None,
        }
    }

    /// The key of the record that a message belongs to.
    ///
    /// # Errors
    /// Publishers have to choose it and this one has not, or the body cannot be read.
    pub(crate) fn key_of(&self, topic: &str, body: &[u8], chosen: Option<&[u8]>) -> Result<Arc<str>, Reason> {
        let Layout { format, keys, .. } = &*self.layout;
        if keys.is_empty() {
            let chosen = chosen.filter(|key| !key.is_empty()).ok_or(Reason::BadSowKey)?;
            return Ok(String::from_utf8_lossy(chosen).into());
        }
        let texts = format.key_texts(body, keys).ok_or(Reason::ParseError)?;
        let domain = self.domain.as_deref().unwrap_or(topic);
        Ok(generated_key(domain, &texts))
    }

    pub(crate) fn get(&self, topic: &Arc<str>, key: &Arc<str>) -> Option<&Arc<Record>> {
        let order = self.by_key.get(&(Arc::clone(topic), Arc::clone(key)))?;
        self.records.get(order)
    }

    /// When a record expires that is published now (EXPI-01, EXPI-02).
    pub(crate) fn expiry(&self, now: Time, seconds: Option<u64>) -> Option<Time> {
        let own = seconds.map(Duration::from_secs);
        match (self.expiration, own) {
            (SowExpiration::Disabled, _) | (_, Some(Duration::ZERO)) | (SowExpiration::Enabled, None) => None,
            (_, Some(own)) => Some(now + own),
            (SowExpiration::After(period), None) => Some(now + period),
        }
    }

    /// Stores a record; returns the one that it replaces.
    pub(crate) fn put(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        let name = (Arc::clone(&record.topic), Arc::clone(&record.key));
        let order = *self.by_key.entry(name).or_insert_with(|| {
            self.inserted += 1;
            self.inserted
        });
        if let Some(at) = record.expires {
            self.expirations.insert((at, order));
        }
        let expires = record.expires;
        let old = self.records.insert(order, record);
        if let Some(at) = old.as_ref().and_then(|old| old.expires).filter(|at| Some(*at) != expires) {
            self.expirations.remove(&(at, order));
        }
        old
    }

    /// Removes a record.
    pub(crate) fn remove(&mut self, topic: &Arc<str>, key: &Arc<str>) -> Option<Arc<Record>> {
        let order = self.by_key.remove(&(Arc::clone(topic), Arc::clone(key)))?;
        let record = self.records.remove(&order)?;
        if let Some(at) = record.expires {
            self.expirations.remove(&(at, order));
        }
        Some(record)
    }

    /// The next record whose time is up, removed.
    pub(crate) fn take_expired(&mut self, now: Time) -> Option<Arc<Record>> {
        let &(_, order) = self.expirations.first().filter(|(at, _)| *at <= now)?;
        let record = Arc::clone(self.records.get(&order)?);
        self.remove(&record.topic, &record.key)
    }

    /// When the next record expires.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.expirations.first().map(|(at, _)| *at)
    }

    /// Every record, in the order of insertion.
    pub(crate) fn records(&self) -> impl DoubleEndedIterator<Item = &Arc<Record>> {
        self.records.values()
    }

    /// Every record as it was at some point, where that is known, else as it is.
    pub(crate) fn records_at(&self, point: Option<Point>, now: Time) -> impl Iterator<Item = &Arc<Record>> {
        let past = self.history.as_ref().zip(point).map(|(history, point)| history.records_at(point, now));
        let present = past.is_none().then(|| self.records());
        past.into_iter().flatten().chain(present.into_iter().flatten())
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }
}

/// What entitlements to a topic are about: the container that it is in, or itself (SOW-08).
pub(crate) fn resource_in<'a>(tables: &'a [Table], message_type: TypeId, topic: &'a str) -> &'a str {
    let table = tables.iter().find(|table| table.message_type == message_type && table.covers(topic));
    table.and_then(|table| table.layout.resource_of(topic)).unwrap_or(topic)
}
