//! The deadlines of connections and listeners.
//!
//! Owns a heap of (time, who). Invariant: an entry counts only if its owner still has that
//! very deadline; all others are leftovers of deadlines that were moved or cancelled, and are
//! thrown away when they reach the top. So moving a deadline costs one push, no search.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Time;

#[derive(Default)]
pub(crate) struct Deadlines<W: Ord> {
    heap: BinaryHeap<Reverse<(Time, W)>>,
}

impl<W: Ord + Copy> Deadlines<W> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new() }
    }

    pub(crate) fn push(&mut self, at: Time, who: W) {
        self.heap.push(Reverse((at, who)));
    }

    /// The earliest deadline that `counts`.
    pub(crate) fn earliest(&mut self, counts: impl Fn(W, Time) -> bool) -> Option<Time> {
        while let Some(&Reverse((at, who))) = self.heap.peek() {
            if counts(who, at) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes out the earliest deadline that is not after `now` and `counts`.
    pub(crate) fn pop_due(&mut self, now: Time, counts: impl Fn(W, Time) -> bool) -> Option<W> {
        let at = self.earliest(counts)?;
        if at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, who))| who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_unix_nanos(nanos)
    }

    #[test]
    fn due_entries_come_in_order_and_later_ones_stay() {
        let mut deadlines = Deadlines::new();
        for nanos in [30, 10, 20] {
            deadlines.push(at(nanos), nanos);
        }
        assert_eq!(deadlines.earliest(|_, _| true), Some(at(10)));
        assert_eq!(deadlines.pop_due(at(20), |_, _| true), Some(10));
        assert_eq!(deadlines.pop_due(at(20), |_, _| true), Some(20));
        assert_eq!(deadlines.pop_due(at(20), |_, _| true), None);
        assert_eq!(deadlines.earliest(|_, _| true), Some(at(30)));
    }

    #[test]
    fn a_moved_deadline_leaves_nothing_behind() {
        let mut deadlines = Deadlines::new();
        deadlines.push(at(10), 1);
        deadlines.push(at(50), 1);
        let counts = |_, time| time == at(50);
        assert_eq!(deadlines.earliest(counts), Some(at(50)));
        assert_eq!(deadlines.pop_due(at(49), counts), None);
        assert_eq!(deadlines.pop_due(at(50), counts), Some(1));
        assert_eq!(deadlines.earliest(|_, _| true), None);
    }
}
