//! The transaction log: what was published to logged topics, in the one order of the instance.
//!
//! Owns the entries, their bookmarks, and per publisher the highest sequence number seen
//! (server.md 5). Invariants: positions only grow; a sequence number is logged at most once.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use amps_protocol::MessageId;
use amps_transport::Time;

use super::config::{ConfigError, LogTopics};
use super::topic::{TopicPattern, TopicReading, TypeId};

/// A place in the order of everything that was published.
pub(crate) type Position = u64;

/// The hash of a client name in its bookmarks: FNV-1a with 64 bits, never zero (BMK-03).
pub(crate) fn name_hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}

/// One message, as it was published.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) bookmark: MessageId,
    pub(crate) message_type: TypeId,
    pub(crate) topic: Arc<str>,
    pub(crate) body: Arc<[u8]>,
    pub(crate) correlation: Option<Box<[u8]>>,
    pub(crate) publisher: Arc<str>,
    pub(crate) at: Time,
    /// Seconds to live, as the publisher said; 0 means for ever.
    pub(crate) expiration: Option<u64>,
}

/// The transaction log.
#[derive(Debug)]
pub(crate) struct TxLog {
    topics: Option<Vec<TopicPattern>>,
    entries: Vec<Arc<Entry>>,
    next: Position,
    /// Per name hash. Client names and server-made publishers alike.
    highest: BTreeMap<u64, u64>,
}

impl TxLog {
    pub(crate) fn new(topics: &LogTopics) -> Result<Self, ConfigError> {
        let topics = match topics {
            LogTopics::None => None,
            LogTopics::Matching(patterns) => {
                Some(patterns.iter().map(|pattern| log_pattern(pattern)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self { topics, entries: Vec::new(), next: 0, highest: BTreeMap::new() })
    }

    /// Whether there is a log at all.
    pub(crate) const fn exists(&self) -> bool {
        self.topics.is_some()
    }

    pub(crate) fn covers(&self, topic: &str) -> bool {
        self.topics.iter().flatten().any(|pattern| pattern.matches(topic))
    }

    /// The highest sequence number of a publisher; 0 if it never published.
    pub(crate) fn highest(&self, publisher: u64) -> u64 {
        self.highest.get(&publisher).copied().unwrap_or(0)
    }

    /// Remembers a sequence number; `false` if it, or a higher one, was seen before.
    pub(crate) fn advance(&mut self, publisher: u64, sequence: u64) -> bool {
        let highest = self.highest.entry(publisher).or_insert(0);
        let new = sequence > *highest;
        *highest = (*highest).max(sequence);
        new
    }

    pub(crate) fn next_position(&mut self) -> Position {
        self.next += 1;
        self.next
    }

    pub(crate) fn append(&mut self, entry: Arc<Entry>) {
        self.entries.push(entry);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn log_pattern(pattern: &str) -> Result<TopicPattern, ConfigError> {
    TopicPattern::parse(pattern, TopicReading::Guess, false).map_err(|fault| ConfigError::Pattern {
        what: "transaction log topic",
        pattern: pattern.to_owned(),
        fault,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(name_hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(name_hash("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
