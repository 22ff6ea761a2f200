//! The referee of what one client publishes by way of a store (P5).
//!
//! It knows which numbers the application was given and how safe the store said they were, sees
//! which numbers leave on which connection, and what servers report. It is kept across the lives
//! of the client's process.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};

use super::super::watch::Breach;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In order: nothing is lost.
    Orderly,
    /// It is killed.
    Killed,
    /// The machine fails.
    PowerCut,
}

/// A number that was given out.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// What was published under it; `None` for what settles queue messages.
    pub(super) id: Option<u32>,
    /// The server is going to refuse it.
    pub(super) refusable: bool,
    /// It outlives the process, so the store said.
    survives_kill: bool,
    /// It outlives the machine's failure, so the store said.
    survives_power: bool,
    /// Its process ended before that was said: it may be gone.
    pub(super) doubtful: bool,
    /// A server told the client that it has it, or has refused it.
    pub(super) reported: bool,
    pub(super) refused: bool,
    /// Whose logs have it by that: the server, and which life its log was in when the connection began.
    pub(super) by: Vec<(usize, usize)>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) numbers: BTreeMap<u64, Kept>,
    /// What bore each number on the wire, ever.
    wire: BTreeMap<u64, u64>,
    /// The last number on the present connection.
    last: u64,
    pub(super) reported: u64,
    /// The store keeps things in memory: nothing outlives the process.
    pub(super) volatile: bool,
    /// Refused, which the store has noted unless its process died at once.
    refused_here: BTreeSet<u64>,
    /// What left was on the disk.
    pub(super) forced_first: bool,
}

impl Ledger {
    /// The application published, and was given a number.
    pub(super) fn accepted(&mut self, number: u64, id: u32, refusable: bool) -> Result<(), Breach> {
        let known = self.numbers.get(&number).is_some_and(|kept| !kept.doubtful);
        if known || self.wire.contains_key(&number) {
            return Err(("P5", format!("number {number} was given out twice, now to message {id}")));
        }
        if let Some((later, _)) = self.numbers.range(number..).find(|(_, kept)| !kept.doubtful) {
            return Err(("P5", format!("number {number} was given out after {later}")));
        }
        let kept = Kept { id: Some(id), refusable, survives_kill: self.volatile, ..Kept::default() };
        self.numbers.insert(number, kept);
        Ok(())
    }

    /// A numbered command leaves the client.
    pub(super) fn sent(&mut self, number: u64, payload: u64) -> Result<(), Breach> {
        if self.refused_here.contains(&number) {
            return Err(("P5", format!("number {number} was sent again after it had been refused")));
        }
        if self.wire.insert(number, payload).is_some_and(|before| before != payload) {
            return Err(("P5", format!("number {number} was used twice, for different commands")));
        }
        if number <= self.last {
            return Err(("P5", format!("number {number} was sent after {} on one connection", self.last)));
        }
        let missed =
            self.numbers.range(self.last + 1..number).find(|(_, kept)| !kept.doubtful && !kept.reported);
        if let Some((missed, kept)) = missed {
            let text = format!("number {missed} ({kept:?}) had to be sent before {number}, and was not");
            return Err(("P5", text));
        }
        self.last = number;
        let (volatile, forced_first) = (self.volatile, self.forced_first);
        let kept = self.numbers.entry(number).or_default();
        kept.survives_kill |= volatile | forced_first;
        kept.survives_power |= forced_first;
        Ok(())
    }

    /// The client was told that a server has everything up to a number. `took` says what those
    /// have really seen that this has to be true of.
    pub(super) fn reported(
        &mut self,
        upto: u64,
        by: &[(usize, usize)],
        took: impl Fn(u64) -> bool,
    ) -> Result<(), Breach> {
        for (number, kept) in self.numbers.range_mut(..=upto).filter(|(_, kept)| !kept.reported) {
            (kept.reported, kept.by) = (true, by.to_vec());
            if !kept.doubtful && !kept.refusable && !took(*number) {
                let text =
                    format!("number {number} ({kept:?}) was reported persisted by {upto}, and never sent");
                return Err(("P5", text));
            }
        }
        self.reported = self.reported.max(upto);
        Ok(())
    }

    /// One server alone has told the client that it has a message, or the client does not know that it was there.
    pub(super) fn is_with_one(&self, number: u64) -> bool {
        self.numbers.get(&number).is_some_and(|kept| kept.doubtful || kept.by.len() == 1)
    }

    /// The client was told that a server has refused one.
    pub(super) fn refused(&mut self, number: u64) -> Result<(), Breach> {
        match self.numbers.get_mut(&number) {
            Some(kept) if kept.refusable || kept.id.is_none() => {
                (kept.reported, kept.refused) = (true, true);
                self.refused_here.insert(number);
                Ok(())
            }
            other => Err(("P5", format!("number {number} ({other:?}) was refused without a reason"))),
        }
    }

    /// The store says that these are safe now, as it promises.
    pub(super) fn note_safe(&mut self, is_safe: impl Fn(u64) -> bool) {
        for (number, kept) in self.numbers.iter_mut().filter(|(_, kept)| !kept.survives_kill) {
            if is_safe(*number) {
                kept.survives_kill = true;
                kept.survives_power |= self.forced_first;
            }
        }
    }

    /// Everything so far was forced onto the disk.
    pub(super) fn all_forced(&mut self) {
        for kept in self.numbers.values_mut() {
            (kept.survives_kill, kept.survives_power) = (true, true);
        }
    }

    pub(super) fn connected(&mut self) {
        self.last = 0;
    }

    /// The process ended.
    pub(super) fn ended(&mut self, end: End) {
        for kept in self.numbers.values_mut() {
            let survives = match end {
                End::Orderly => !self.volatile,
                End::Killed => kept.survives_kill && !self.volatile,
                End::PowerCut => kept.survives_power && !self.volatile,
            };
            kept.doubtful |= !survives;
        }
        self.last = 0;
        if end != End::Orderly {
            self.refused_here.clear();
        }
    }

    /// A number that no server has dealt with as far as the client knows.
    pub(super) fn open(&self) -> Option<u64> {
        self.numbers.iter().find(|(_, kept)| !kept.reported && !kept.doubtful).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_two() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.accepted(1, 10, false).unwrap();
        ledger.accepted(2, 11, true).unwrap();
        ledger
    }

    #[test]
    fn a_report_is_believed_of_what_was_taken_only() {
        let mut ledger = with_two();
        assert!(ledger.reported(1, &[(0, 0)], |_| false).is_err());
        let mut ledger = with_two();
        assert!(ledger.reported(1, &[(0, 0)], |number| number == 1).is_ok());
        assert_eq!((ledger.open(), &*ledger.numbers[&1].by), (Some(2), &[(0, 0)][..]));
    }

    #[test]
    fn a_refusal_is_of_one_message_that_was_to_be_refused() {
        let mut ledger = with_two();
        assert!(ledger.refused(1).is_err());
        assert!(ledger.refused(2).is_ok());
        assert_eq!(ledger.open(), Some(1), "what was before it waits for a report");
    }
}
