//! Content filters over published messages.
//!
//! Owns the bridge between a message and the expression language; the language itself knows
//! nothing of the engine, and the format of the body is `format`'s business.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::MessageId;
use amps_transport::Time;

use super::filter::{Context, Filter};
use super::format::{Body, Format};
use super::sow::Record;
use super::txlog::Entry;

/// What a filter can see of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) topic: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) correlation: Option<&'a [u8]>,
    pub(crate) bookmark: Option<MessageId>,
    pub(crate) publisher: &'a str,
    pub(crate) format: &'a Format,
    /// The body, read as its message type.
    pub(crate) document: &'a Body<'a>,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(entry: &'a Entry, format: &'a Format, document: &'a Body<'a>) -> Self {
        Self {
            format,
            topic: &entry.topic,
            body: &entry.body,
            correlation: entry.correlation.as_deref(),
            bookmark: Some(entry.bookmark),
            publisher: &entry.publisher,
            document,
        }
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn of_record(record: &'a Record, format: &'a Format, document: &'a Body<'a>) -> Self {
        Self {
            format,
            topic: &record.topic,
            body: &record.body,
            correlation: record.correlation.as_deref(),
            bookmark: record.bookmark,
            publisher: &record.publisher,
            document,
        }
    }
}

/// A content filter.
#[derive(Clone, Debug)]
pub(crate) struct Selector(Filter);

impl Selector {
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Filter::parse(text).map(Self).map_err(|error| error.to_string())
    }

    pub(crate) fn matches(&self, facts: Facts<'_>, now: Time) -> bool {
        let now = Duration::from_nanos(now.as_unix_nanos());
        let bookmark = facts.bookmark.map_or_else(String::new, |bookmark| bookmark.to_string());
        let context = Context {
            topic: facts.topic,
            bookmark: &bookmark,
            message_size: facts.body.len() as u64,
            correlation_id: facts.correlation.unwrap_or_default(),
            now,
            last_updated: Some(now),
            client_name: facts.publisher,
            ..Context::default()
        };
        self.0.matches(facts.document, &context)
    }

    pub(crate) fn is_deterministic(&self) -> bool {
        self.0.is_deterministic()
    }

    pub(crate) fn text(&self) -> &str {
        self.0.text()
    }
}
