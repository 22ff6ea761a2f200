//! The referee of the queue as a whole, on one server or on a pair.
//!
//! It sees what servers deliver, what their logs say has left the queue, and which
//! acknowledgements clients were told are persisted. A message belongs to one consumer at a time
//! wherever it is connected (P1), and what left the queue stays away from it.
//!
//! Two things are excused, and counted: that two consumers have a message that two servers took from
//! its publisher, neither knowing of the other; and that a message comes again although its acknowledgement was
//! reported, because that was in a log that was lost, and in no other, or, where publishers do
//! not wait for the other server or were told by a logon, in a log that has not reached the server which
//! delivers it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};

use amps_testkit::MessageId;
use amps_transport::{ConnId, Time};

use super::super::watch::Breach;

/// A lease that a server gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) message: MessageId,
    /// The server's end.
    pub(super) conn: ConnId,
    pub(super) until: Time,
}

/// What the logs say of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logs {
    /// It has left the queue of the server that delivers it.
    pub(super) departed_here: bool,
    /// It has left the queue of the other server.
    pub(super) departed_elsewhere: bool,
    /// Both servers took it from its publisher, who changed servers before the first had passed it on:
    /// it belongs to both of them.
    pub(super) published_twice: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// The last lease of each message.
    holds: BTreeMap<MessageId, Hold>,
    /// What was reported as acknowledged; `true`: every server has to know it.
    acknowledged: BTreeMap<MessageId, bool>,
    /// What had left the queue by a log that was lost, and by no other.
    lost: BTreeSet<MessageId>,
    /// What came again for a reason that excuses it.
    pub(super) excused: BTreeSet<MessageId>,
    /// What two consumers had at once because it belonged to two servers.
    pub(super) shared: BTreeSet<MessageId>,
}

impl Jobs {
    /// A server has delivered a message.
    ///
    /// # Errors
    /// Somebody else has it (P1), or it had left the queue.
    pub(super) fn delivered(
        &mut self,
        now: Time,
        hold: Hold,
        logs: Logs,
        is_open: impl Fn(ConnId) -> bool,
    ) -> Result<(), Breach> {
        let message = hold.message;
        if logs.departed_here {
            return Err(("engine", format!("{message} was delivered again after it had left the queue")));
        }
        if let Some(old) = self.holds.insert(message, hold) {
            let is_held = old.until > now && is_open(old.conn);
            if is_held && logs.published_twice {
                self.shared.insert(message);
            } else if is_held {
                let text = format!("{message} went to {:?} while {old:?} is in force", hold.conn);
                return Err(("P1", text));
            }
        }
        let Some(everywhere) = self.acknowledged.get(&message) else { return Ok(()) };
        if self.lost.contains(&message) || (!everywhere && logs.departed_elsewhere) {
            self.excused.insert(message);
            return Ok(());
        }
        Err(("P2", format!("{message} came again, but its acknowledgement was reported as persisted")))
    }

    /// A log says that a message has left the queue: nobody holds it any more.
    pub(super) fn departed(&mut self, message: MessageId) {
        self.holds.remove(&message);
    }

    /// A client was told that its acknowledgement is persisted.
    pub(super) fn acknowledged(&mut self, message: MessageId, everywhere: bool) {
        *self.acknowledged.entry(message).or_default() |= everywhere;
    }

    /// A log was lost, and by it, these had left the queue.
    pub(super) fn lost(&mut self, messages: Vec<MessageId>) {
        self.lost.extend(messages);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MESSAGE: MessageId = MessageId { publisher: 1, sequence: 7 };
    const NOWHERE: Logs = Logs { departed_here: false, departed_elsewhere: false, published_twice: false };
    const ELSEWHERE: Logs = Logs { departed_elsewhere: true, ..NOWHERE };

    fn hold(conn: u64, seconds: u64) -> Hold {
        Hold { message: MESSAGE, conn: ConnId(conn), until: Time::EPOCH + Duration::from_secs(seconds) }
    }

    #[test]
    fn a_message_is_held_by_one_until_its_lease_or_its_connection_ends_or_it_leaves() {
        let at = |seconds| Time::EPOCH + Duration::from_secs(seconds);
        let mut jobs = Jobs::default();
        assert!(jobs.delivered(at(0), hold(1, 10), NOWHERE, |_| true).is_ok());
        assert!(jobs.delivered(at(10), hold(2, 20), NOWHERE, |_| true).is_ok(), "the lease is over");
        assert!(jobs.delivered(at(11), hold(3, 21), NOWHERE, |_| false).is_ok(), "so is the connection");
        let (promise, _) = jobs.delivered(at(12), hold(4, 22), NOWHERE, |_| true).unwrap_err();
        assert_eq!(promise, "P1");
        let twice = Logs { published_twice: true, ..NOWHERE };
        assert!(jobs.delivered(at(12), hold(4, 22), twice, |_| true).is_ok());
        assert_eq!(jobs.shared.len(), 1);
        jobs.departed(MESSAGE);
        let gone = Logs { departed_here: true, ..NOWHERE };
        assert_eq!(jobs.delivered(at(13), hold(5, 23), gone, |_| true).unwrap_err().0, "engine");
    }

    #[test]
    fn only_a_lost_log_or_one_that_is_ahead_excuses_what_comes_again() {
        let again = |jobs: &mut Jobs, logs| jobs.delivered(Time::EPOCH, hold(1, 0), logs, |_| true).is_ok();
        let mut jobs = Jobs::default();
        jobs.acknowledged(MESSAGE, false);
        assert!(!again(&mut jobs, NOWHERE), "no log has it");
        assert!(again(&mut jobs, ELSEWHERE));
        assert_eq!(jobs.excused.len(), 1);
        jobs.acknowledged(MESSAGE, true);
        assert!(!again(&mut jobs, ELSEWHERE), "both had to know");
        jobs.lost(vec![MESSAGE]);
        assert!(again(&mut jobs, NOWHERE));
    }
}
