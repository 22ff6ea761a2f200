//! Which leases of one subscription are settled.
//!
//! Every leased message that reaches the application gets a number, counted from 0 on each
//! connection. Owns "at most once per lease" (promise P1): a number can be settled once.
//! Memory is one bit per message between the oldest open lease and the newest; a lease that
//! stays open for very long moves to a sparse set, so that it does not pin the window.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeSet, VecDeque};

/// Words of 64 leases that the dense window may span.
const MAX_WORDS: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// Leases below `base * 64` are settled, but for those in `stragglers`.
    base: u64,
    settled: VecDeque<u64>,
    stragglers: BTreeSet<u64>,
    count: u64,
}

impl Leases {
    /// Settles a lease; `false` if it was settled before.
    pub(crate) fn settle(&mut self, number: u64) -> bool {
        let word = number / 64;
        let fresh = match word.checked_sub(self.base) {
            None => self.stragglers.remove(&number),
            Some(index) => {
                let index = self.reach(index);
                let bit = 1 << (number % 64);
                let fresh = self.settled[index] & bit == 0;
                self.settled[index] |= bit;
                fresh
            }
        };
        while self.settled.front() == Some(&u64::MAX) {
            self.settled.pop_front();
            self.base += 1;
        }
        self.count += u64::from(fresh);
        fresh
    }

    /// Whether a lease was settled.
    pub(crate) fn is_settled(&self, number: u64) -> bool {
        match (number / 64).checked_sub(self.base) {
            None => !self.stragglers.contains(&number),
            Some(index) => {
                let word = usize::try_from(index).ok().and_then(|index| self.settled.get(index));
                word.is_some_and(|word| word >> (number % 64) & 1 == 1)
            }
        }
    }

    /// How many leases were settled.
    pub(crate) const fn settled(&self) -> u64 {
        self.count
    }

    /// Makes the window long enough for the word at `index`, and returns where it lies now.
    fn reach(&mut self, index: u64) -> usize {
        let mut index = index;
        while index >= self.settled.len() as u64 {
            if self.settled.len() == MAX_WORDS {
                let oldest = self.settled.pop_front().unwrap_or(u64::MAX);
                let first = self.base * 64;
                self.stragglers.extend((0..64).filter(|bit| oldest >> bit & 1 == 0).map(|bit| first + bit));
                self.base += 1;
                index -= 1;
            } else {
                self.settled.push_back(0);
            }
        }
        index as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_settled_once_in_any_order() {
        let mut leases = Leases::default();
        for number in (0..1000).rev() {
            assert!(!leases.is_settled(number));
            assert!(leases.settle(number));
            assert!(leases.is_settled(number));
            assert!(!leases.settle(number));
        }
        assert_eq!(leases.settled(), 1000);
        assert!(leases.settled.len() < 2);
    }

    #[test]
    fn one_lease_that_stays_open_does_not_pin_the_window() {
        let mut leases = Leases::default();
        for number in 1..10_000_000 {
            leases.settle(number);
        }
        assert!(leases.settled.len() <= MAX_WORDS);
        assert!(leases.settle(0));
        assert!(!leases.settle(0));
        assert!(leases.stragglers.is_empty());
    }
}
