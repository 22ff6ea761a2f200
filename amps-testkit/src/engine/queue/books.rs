//! Whether a queue's books agree with each other.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;

use super::Queue;

impl Queue {
    /// Every contradiction in the queue's books, for tests.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (position, message) in &self.messages {
            let place = self.place_of(*position);
            let states = [
                self.available.contains(&place),
                message.lease.is_some(),
                self.barriers.contains(position),
                self.inactive.contains(position),
                self.elsewhere.contains(position),
            ];
            if states.iter().filter(|state| **state).count() != 1 {
                found.push(format!("message {position} is in several states, or none: {states:?}"));
            }
            if self.by_bookmark.get(&message.entry.bookmark) != Some(position) {
                found.push(format!("message {position} cannot be found by its bookmark"));
            }
        }
        let waiting = self.available.len() + self.barriers.len() + self.inactive.len() + self.elsewhere.len();
        if self.messages.len() != waiting + self.leased {
            found.push("available and leased do not add up".to_owned());
        }
        if self.held.values().map(BTreeSet::len).sum::<usize>() != self.leased {
            found.push("the holders do not hold what is leased".to_owned());
        }
        found
    }
}
