//! Which messages a server has refused, for receipts that ask later.
//!
//! Owns the numbers, as stretches without gaps, and the newest reasons. What is bounded, the oldest leave.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, VecDeque};

/// Refused messages of which receipts can still tell why.
const REASONS: usize = 1024;

/// Stretches of refused messages of which receipts can still tell that they were refused.
const STRETCHES: usize = 1 << 16;

/// What is said of older ones.
const FORGOTTEN: &str = "the server refused it, and a thousand others since";

#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// First and last numbers.
    stretches: BTreeMap<u64, u64>,
    /// With the server's words.
    reasons: VecDeque<(u64, String)>,
}

impl Refusals {
    pub(super) fn note(&mut self, number: u64, reason: String) {
        if self.reasons.len() == REASONS {
            self.reasons.pop_front();
        }
        self.reasons.push_back((number, reason));
        match self.stretches.range_mut(..=number).next_back() {
            Some((_, last)) if last.saturating_add(1) >= number => *last = number.max(*last),
            _ => drop(self.stretches.insert(number, number)),
        }
        if self.stretches.len() > STRETCHES {
            self.stretches.pop_first();
        }
    }

    /// Why a message was refused, if it was.
    pub(super) fn reason(&self, number: u64) -> Option<&str> {
        let (_, last) = self.stretches.range(..=number).next_back()?;
        let reason = self.reasons.iter().find(|(refused, _)| *refused == number);
        (number <= *last).then(|| reason.map_or(FORGOTTEN, |(_, reason)| reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_remembered_longer_than_reasons() {
        let mut refusals = Refusals::default();
        let refused = |number: u64| number % 7 != 3;
        for number in (1..=3000).filter(|number| refused(*number)) {
            refusals.note(number, format!("reason {number}"));
        }
        for number in 1..=3000 {
            assert_eq!(refusals.reason(number).is_some(), refused(number), "{number}");
        }
        assert_eq!(refusals.reason(3000), Some("reason 3000"));
        assert_eq!(refusals.reason(1), Some(FORGOTTEN));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_are_forgotten() {
        let mut refusals = Refusals::default();
        (0..STRETCHES as u64 + 10).for_each(|n| refusals.note(2 * n + 1, String::new()));
        assert_eq!((refusals.stretches.len(), refusals.reasons.len()), (STRETCHES, REASONS));
        assert_eq!((refusals.reason(1), refusals.reason(21).is_some()), (None, true));
    }
}
