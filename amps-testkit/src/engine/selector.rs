//! Content filters over published messages.
//!
//! Owns the bridge between a message and the expression language; the language itself knows
//! nothing of the engine.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_transport::Time;

use super::txlog::{BookmarkId, Entry};

/// What a filter can see of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) topic: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) correlation: Option<&'a [u8]>,
    pub(crate) bookmark: Option<BookmarkId>,
    pub(crate) publisher: &'a str,
    pub(crate) json: bool,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(entry: &'a Entry, json: bool) -> Self {
        Self {
            topic: &entry.topic,
            body: &entry.body,
            correlation: entry.correlation.as_deref(),
            bookmark: Some(entry.bookmark),
            publisher: &entry.publisher,
            json,
        }
    }
}

/// A content filter.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    text: String,
}

impl Selector {
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.to_owned() })
    }

    pub(crate) fn matches(&self, facts: Facts<'_>, now: Time) -> bool {
        let _not_yet = (&self.text, facts, now);
        true
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
