//! Which topics a subscription, a queue or a log covers.
//!
//! Owns the reading of topic names as literals or patterns (server.md 2.1), and the cache of
//! [`Route`]s: for every topic published to, who is concerned. The cache is dropped whenever
//! a subscription changes.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use fancy_regex::Regex;

use super::audience::Audience;
use super::config::{BUILT_IN_TYPES, MessageLayout, MessageTypeConfig};
use super::format::Format;
use super::subscription::SubKey;

/// Routes kept before the cache starts anew.
const MAX_ROUTES: usize = 65_536;

/// Topics of the server's own.
pub(crate) const INTERNAL: &str = "/AMPS";

/// A message type, numbered in the order of appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeId(pub(crate) usize);

/// The names of the message types seen so far, and how their bodies are read. What clients say adds
/// none: they name those that are built in, or that the configuration speaks of.
#[derive(Debug, Default)]
pub(crate) struct MessageTypes(Vec<(String, Format)>);

impl MessageTypes {
    /// The type that somebody names who does not configure the server; `None` if there is none of
    /// that name.
    pub(crate) fn known(&mut self, name: &str) -> Option<TypeId> {
        let is_known = BUILT_IN_TYPES.contains(&name) || self.0.iter().any(|(known, _)| known == name);
        is_known.then(|| self.id(name))
    }

    pub(crate) fn id(&mut self, name: &str) -> TypeId {
        let known = self.0.iter().position(|(known, _)| known == name);
        TypeId(known.unwrap_or_else(|| {
            self.0.push((name.to_owned(), Format::of(name)));
            self.0.len() - 1
        }))
    }

    /// Adds a type that is not built in, or changes one that is.
    pub(crate) fn define(&mut self, config: &MessageTypeConfig) {
        let mut parts = |names: &[String]| {
            let ids: Vec<TypeId> = names.iter().map(|name| self.id(name)).collect();
            ids.into_iter().map(|id| self.format(id).clone()).collect()
        };
        let format = match config.layout() {
            MessageLayout::Json => Format::Json,
            MessageLayout::JsonLast => Format::JsonLast,
            MessageLayout::Fix { separator } => Format::Fix { separator: *separator },
            MessageLayout::Nvfix { separator } => Format::Nvfix { separator: *separator },
            MessageLayout::Xml => Format::Xml,
            MessageLayout::CompositeLocal(names) => Format::CompositeLocal(parts(names)),
            MessageLayout::CompositeGlobal(names) => Format::CompositeGlobal(parts(names)),
            MessageLayout::Opaque => Format::Opaque,
        };
        let id = self.id(config.name());
        if let Some((_, known)) = self.0.get_mut(id.0) {
            *known = format;
        }
    }

    /// Every type seen so far.
    pub(crate) fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        (0..self.0.len()).map(TypeId)
    }

    pub(crate) fn name(&self, id: TypeId) -> &str {
        self.0.get(id.0).map_or("", |(name, _)| name)
    }

    pub(crate) fn format(&self, id: TypeId) -> &Format {
        self.0.get(id.0).map_or(&Format::Opaque, |(_, format)| format)
    }
}

/// A topic name as somebody who receives writes it.
#[derive(Clone, Debug)]
pub(crate) enum TopicPattern {
    Literal(Arc<str>),
    Pattern {
        regex: Regex,
        /// Whether it may match topics of the server's own (TOP-07).
        internal: bool,
    },
}

/// How a topic name is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicReading {
    /// A pattern if it contains a character that has a meaning in patterns (TOP-02).
    Guess,
    /// A name, whatever it contains (TOP-04, TOP-05).
    Literal,
}

impl TopicPattern {
    /// # Errors
    /// What the regular expression compiler says.
    pub(crate) fn parse(text: &str, reading: TopicReading, all_internal: bool) -> Result<Self, String> {
        if reading == TopicReading::Literal || !has_metacharacter(text) {
            return Ok(Self::Literal(text.into()));
        }
        let regex = Regex::new(text).map_err(|error| error.to_string())?;
        let internal = all_internal || text.starts_with(INTERNAL) || text.starts_with("^/AMPS");
        Ok(Self::Pattern { regex, internal })
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Literal(name) => **name == *topic,
            Self::Pattern { internal: false, .. } if topic.starts_with(INTERNAL) => false,
            // A pattern that exhausts its backtracking budget does not match.
            Self::Pattern { regex, .. } => regex.is_match(topic).unwrap_or(false),
        }
    }

    pub(crate) const fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Literal(name) => name,
            Self::Pattern { regex, .. } => regex.as_str(),
        }
    }
}

fn has_metacharacter(text: &str) -> bool {
    text.contains(['^', '$', '.', '*', '?', '+', '(', ')', '[', ']', '{', '}', '|', '\\'])
}

/// Who is concerned by a publish to one topic.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) topic: Arc<str>,
    /// What the right to publish here is about.
    pub(crate) entitled: Arc<str>,
    /// The transaction log covers the topic.
    pub(crate) logged: bool,
    /// The table that keeps the message.
    pub(crate) table: Option<usize>,
    /// Indices of the queues that the message enters.
    pub(crate) queues: Vec<usize>,
    /// Subscriptions that hold updates back, in the order of creation.
    pub(crate) conflated: Vec<SubKey>,
    /// Plain subscriptions.
    pub(crate) audience: Audience,
}

impl Route {
    /// Whether no subscription is concerned, queues and windows apart.
    pub(crate) fn is_unheard(&self) -> bool {
        self.audience.is_empty() && self.conflated.is_empty()
    }
}

/// The routes found so far.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    by_type: Vec<BTreeMap<Vec<u8>, Arc<Route>>>,
    count: usize,
}

impl Routes {
    pub(crate) fn get(&self, message_type: TypeId, topic: &[u8]) -> Option<Arc<Route>> {
        self.by_type.get(message_type.0)?.get(topic).cloned()
    }

    pub(crate) fn insert(&mut self, message_type: TypeId, topic: &[u8], route: Arc<Route>) {
        if self.count >= MAX_ROUTES {
            self.clear();
        }
        if self.by_type.len() <= message_type.0 {
            self.by_type.resize_with(message_type.0 + 1, BTreeMap::new);
        }
        if let Some(routes) = self.by_type.get_mut(message_type.0) {
            routes.insert(topic.to_vec(), route);
            self.count += 1;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.by_type.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composite_is_made_of_types_before_it() {
        let mut types = MessageTypes::default();
        types.define(&MessageTypeConfig::new("piped", MessageLayout::Nvfix { separator: b'|' }));
        let parts = vec!["json".to_owned(), "piped".to_owned()];
        types.define(&MessageTypeConfig::new("both", MessageLayout::CompositeLocal(parts)));
        let id = types.id("both");
        let Format::CompositeLocal(parts) = types.format(id) else { panic!("no composite") };
        assert!(matches!(parts[..], [Format::Json, Format::Nvfix { separator: b'|' }]));
    }
}
