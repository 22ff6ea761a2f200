//! When each machine wants to be called.
//!
//! Owns one entry (time, slot) for each machine with a deadline. Machines move their deadlines with nearly every call,
//! mostly to a later time; so an entry may be earlier than the deadline, never later, and is put right when it comes
//! first. Then a turn of the loop costs the same however many machines there are, up to a logarithm.

use std::collections::BTreeSet;

use crate::time::Time;

#[derive(Default)]
pub(crate) struct Timetable {
    entries: BTreeSet<(Time, usize)>,
    /// By slot, the time of its entry.
    planned: Vec<Option<Time>>,
}

impl Timetable {
    /// The machine in this slot has another deadline, or none.
    #[inline]
    pub(crate) fn set(&mut self, slot: usize, deadline: Option<Time>) {
        let Some(at) = deadline.filter(|at| *at != Time::NEVER) else { return };
        if self.planned(slot).is_none_or(|planned| at < planned) {
            self.plan(slot, Some(at));
        }
    }

    /// There is no machine in this slot any more.
    pub(crate) fn remove(&mut self, slot: usize) {
        self.plan(slot, None);
    }

    /// The earliest deadline. `actual` says the deadline of a slot.
    pub(crate) fn earliest(&mut self, actual: impl Fn(usize) -> Option<Time>) -> Option<Time> {
        while let Some(&(at, slot)) = self.entries.first() {
            match actual(slot).filter(|deadline| *deadline != Time::NEVER) {
                Some(deadline) if deadline <= at => return Some(at),
                later => self.plan(slot, later),
            }
        }
        None
    }

    /// Takes out whoever has the earliest deadline, if that is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Time, actual: impl Fn(usize) -> Option<Time>) -> Option<usize> {
        self.earliest(actual).filter(|at| *at <= now)?;
        let (_, slot) = self.entries.pop_first()?;
        if let Some(planned) = self.planned.get_mut(slot) {
            *planned = None;
        }
        Some(slot)
    }

    fn planned(&self, slot: usize) -> Option<Time> {
        self.planned.get(slot).copied().flatten()
    }

    fn plan(&mut self, slot: usize, at: Option<Time>) {
        if self.planned.len() <= slot {
            self.planned.resize(slot + 1, None);
        }
        let Some(planned) = self.planned.get_mut(slot) else { return };
        if let Some(old) = std::mem::replace(planned, at) {
            self.entries.remove(&(old, slot));
        }
        self.entries.extend(at.map(|at| (at, slot)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_unix_nanos(nanos)
    }

    /// Machines and what they want, as the driver keeps them.
    #[derive(Default)]
    struct Machines {
        deadlines: Vec<Option<Time>>,
        table: Timetable,
    }

    impl Machines {
        fn set(&mut self, slot: usize, deadline: Option<Time>) {
            if self.deadlines.len() <= slot {
                self.deadlines.resize(slot + 1, None);
            }
            self.deadlines[slot] = deadline;
            self.table.set(slot, deadline);
        }

        fn earliest(&mut self) -> Option<Time> {
            self.table.earliest(|slot| self.deadlines[slot])
        }

        fn pop_due(&mut self, now: Time) -> Option<usize> {
            self.table.pop_due(now, |slot| self.deadlines[slot])
        }
    }

    #[test]
    fn due_machines_come_in_order_and_later_ones_stay() {
        let mut machines = Machines::default();
        for (slot, nanos) in [30, 10, 20].into_iter().enumerate() {
            machines.set(slot, Some(at(nanos)));
        }
        assert_eq!(machines.earliest(), Some(at(10)));
        assert_eq!(machines.pop_due(at(20)), Some(1));
        assert_eq!(machines.pop_due(at(20)), Some(2));
        assert_eq!(machines.pop_due(at(20)), None);
        assert_eq!(machines.earliest(), Some(at(30)));
    }

    #[test]
    fn a_deadline_moves_both_ways_and_never_leaves_two_entries() {
        let mut machines = Machines::default();
        for round in 0..1000 {
            machines.set(0, Some(at(1_000_000 + round)));
            machines.set(0, Some(at(500 + round)));
            machines.set(0, Some(at(1_000_001 + round)));
            assert_eq!(machines.earliest(), Some(at(1_000_001 + round)));
            assert_eq!(machines.pop_due(at(1_000_000 + round)), None);
            assert_eq!(machines.table.entries.len(), 1);
        }
    }

    #[test]
    fn no_deadline_is_never_due() {
        let mut machines = Machines::default();
        machines.set(0, Some(at(10)));
        machines.set(1, Some(Time::NEVER));
        machines.set(0, None);
        assert_eq!(machines.earliest(), None);
        assert_eq!(machines.pop_due(Time::NEVER), None);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut machines = Machines::default();
        machines.set(0, Some(at(10)));
        machines.set(1, Some(at(20)));
        machines.table.remove(0);
        assert_eq!(machines.pop_due(at(30)), Some(1));
        assert_eq!(machines.pop_due(at(30)), None);
    }
}
