//! Content filters over published messages.
//!
//! Owns the bridge between a message and the expression language; the language itself knows
//! nothing of the engine, and the format of the body is `format`'s business.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::MessageId;
use amps_transport::Time;

use super::entitlement::Rights;
use super::filter::{Context, Document, Filter, Language, Path, ValueKey};
use super::format::{Body, Format, Select};
use super::sow::{Layout, Record};
use super::txlog::Entry;

/// What is wrong with a filter that follows the clock, where that cannot be (SUB-10).
pub(crate) const UNSTEADY: &str = "its result may change without an update, by a function such as \
    UNIX_TIMESTAMP; compare fields of the message instead (SUB-10)";

/// What a filter can see of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) topic: &'a str,
    /// What entitlements are about: the topic, the container of topics, or the queue that it is
    /// read from. `None` if it was computed of what the reader may see.
    pub(crate) resource: Option<&'a str>,
    pub(crate) body: &'a [u8],
    pub(crate) correlation: Option<&'a [u8]>,
    pub(crate) bookmark: Option<MessageId>,
    pub(crate) publisher: &'a str,
    /// When the record was updated; `None` for a message that is on its way.
    pub(crate) updated: Option<Time>,
    pub(crate) format: &'a Format,
    /// The body, read as its message type.
    pub(crate) document: &'a dyn Document,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(entry: &'a Entry, format: &'a Format, document: &'a Body<'a>) -> Self {
        Self {
            format,
            topic: &entry.topic,
            resource: Some(&entry.topic),
            body: &entry.body,
            correlation: entry.correlation.as_deref(),
            bookmark: Some(entry.bookmark),
            publisher: &entry.publisher,
            updated: None,
            document,
        }
    }
}

impl<'a> Facts<'a> {
    /// The same message, read under another name: from a queue, or in a container of topics.
    pub(crate) const fn read_as(self, resource: &'a str) -> Self {
        Self { resource: Some(resource), ..self }
    }

    pub(crate) fn of_record(record: &'a Record, layout: &'a Layout, document: &'a Body<'a>) -> Self {
        Self {
            format: &layout.format,
            topic: &record.topic,
            resource: layout.resource_of(&record.topic),
            body: &record.body,
            correlation: record.correlation.as_deref(),
            bookmark: record.bookmark,
            publisher: &record.publisher,
            updated: Some(record.updated),
            document,
        }
    }
}

/// Which messages somebody wants, and may have.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    filter: Option<Filter>,
    rights: Option<Arc<Rights>>,
}

impl Selector {
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn parse(text: &str, language: &Language) -> Result<Self, String> {
        let filter = Filter::parse_in(text, language).map_err(|error| error.to_string())?;
        Ok(Self { filter: Some(filter), rights: None })
    }

    /// As [`Self::parse`], for what has to give the same result for a message each time (SUB-10).
    ///
    /// # Errors
    /// As [`Self::parse`], and if the result may change without an update.
    pub(crate) fn parse_steady(text: &str, language: &Language) -> Result<Self, String> {
        let selector = Self::parse(text, language)?;
        match selector.is_deterministic() {
            true => Ok(selector),
            false => Err(UNSTEADY.to_owned()),
        }
    }

    /// What a user with these rights may have of it; `None` if that is everything.
    pub(crate) fn within(filter: Option<Self>, rights: Option<Arc<Rights>>) -> Option<Self> {
        match (filter, rights) {
            (None, None) => None,
            (filter, rights) => Some(Self { filter: filter.and_then(|selector| selector.filter), rights }),
        }
    }

    /// Whether a message is wanted, and allowed.
    pub(crate) fn matches(&self, facts: Facts<'_>, now: Time) -> bool {
        self.allows(facts, now) && self.filter.as_ref().is_none_or(|filter| holds(filter, facts, now))
    }

    /// Whether a message may be seen, wanted or not (ENT-03).
    pub(crate) fn allows(&self, facts: Facts<'_>, now: Time) -> bool {
        let (Some(rights), Some(resource)) = (&self.rights, facts.resource) else { return true };
        let right = rights.read(resource);
        right.is_some_and(|right| right.filter.is_none_or(|filter| holds(filter, facts, now)))
    }

    /// The fields of a topic that may be seen; `None` if those are all.
    pub(crate) fn visible_of(&self, resource: &str) -> Option<&Select> {
        self.rights.as_ref()?.read(resource)?.select
    }

    pub(crate) fn is_deterministic(&self) -> bool {
        self.filter.as_ref().is_none_or(Filter::is_deterministic)
    }

    /// A field, and the values of which it must have one for a message to be wanted.
    pub(crate) fn equality(&self) -> Option<(&Path, Vec<ValueKey>)> {
        self.filter.as_ref()?.equality()
    }

    /// The text of the filter, if there is one.
    pub(crate) fn text(&self) -> Option<&str> {
        self.filter.as_ref().map(Filter::text)
    }
}

/// Whether a filter holds for a message.
pub(crate) fn holds(filter: &Filter, facts: Facts<'_>, now: Time) -> bool {
    let now = Duration::from_nanos(now.as_unix_nanos());
    let context = Context {
        topic: facts.topic,
        bookmark: facts.bookmark,
        message_size: facts.body.len() as u64,
        correlation_id: facts.correlation.unwrap_or_default(),
        now,
        last_updated: Some(facts.updated.map_or(now, |at| Duration::from_nanos(at.as_unix_nanos()))),
        client_name: facts.publisher,
        ..Context::default()
    };
    filter.matches(facts.document, &context)
}
