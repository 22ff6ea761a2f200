//! Where the server may do one thing or another, and chance decides (server.md 8.6).
//!
//! Owns what is drawn: the order of what nobody ordered (QRY-06), and, on a server that makes
//! the most of its freedom, which queue messages are delivered once more. Everything is drawn
//! from seeds of the configuration, so equal inputs give equal outputs.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;

use amps_protocol::MessageId;

use super::config::Config;
use super::switches::Unordered;
use crate::sim::Rng;

/// One delivery in so many is followed by another of the same message.
const DELIVERED_AGAIN: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Chance {
    order: Option<Rng>,
    again: Option<Rng>,
    /// What was delivered once more, and not acknowledged once more.
    spare: BTreeSet<MessageId>,
}

impl Chance {
    pub(super) fn new(config: &Config) -> Self {
        let order = match config.switches.unordered {
            Unordered::Insertion => None,
            Unordered::Shuffle(seed) => Some(Rng::new(seed)),
        };
        Self { order, again: config.chaos.map(Rng::new), spare: BTreeSet::new() }
    }

    /// Puts what may come in any order into one.
    pub(super) fn arrange<T>(&mut self, items: &mut [T]) {
        let Some(rng) = &mut self.order else { return };
        for last in (1..items.len()).rev() {
            items.swap(last, rng.below(last as u64 + 1) as usize);
        }
    }

    /// Whether a message that was delivered is delivered once more.
    pub(super) fn delivers_again(&mut self, bookmark: MessageId) -> bool {
        let again = self.again.as_mut().is_some_and(|rng| rng.below(DELIVERED_AGAIN) == 0);
        again && self.spare.insert(bookmark)
    }

    /// Whether a message may be acknowledged that is not there any more, because it was delivered
    /// twice.
    pub(super) fn is_acknowledged_again(&mut self, bookmark: MessageId) -> bool {
        self.spare.remove(&bookmark)
    }
}
