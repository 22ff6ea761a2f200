//! The referee of what one queue worker acknowledges (P1).
//!
//! It knows which leases the application was given, on which connection, and which of them it
//! was done with while that connection lived. Each of those may be acknowledged once: directly on its
//! own connection, or by way of a publish store under one number, which may be sent again on any other.
//! It is kept across the lives of the worker's process, as its store is.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use amps_testkit::MessageId;
use amps_transport::ConnId;

use super::super::watch::Breach;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// By message: the connections of the leases that the application is done with and that were not
    /// acknowledged yet.
    open: BTreeMap<MessageId, VecDeque<ConnId>>,
    /// What the present connection leases to the worker, and it did not acknowledge yet.
    held: BTreeSet<MessageId>,
    /// What each number of the store acknowledges, until a server reports it.
    numbered: BTreeMap<u64, BTreeSet<MessageId>>,
    /// Up to here, numbers were reported.
    reported: u64,
}

impl Asks {
    /// A message reaches the worker with a lease.
    pub(super) fn leased(&mut self, message: MessageId) {
        self.held.insert(message);
    }

    /// The application is done with a lease of this connection, which lives.
    pub(super) fn done(&mut self, message: MessageId, conn: ConnId) {
        self.open.entry(message).or_default().push_back(conn);
    }

    /// An acknowledgement is on the wire.
    ///
    /// # Errors
    /// Nothing was processed that it could be about (P1).
    pub(super) fn sent(&mut self, message: MessageId, number: Option<u64>, on: ConnId) -> Result<(), Breach> {
        self.held.remove(&message);
        if let Some(number) = number {
            let again = number <= self.reported
                || self.numbered.get(&number).is_some_and(|known| known.contains(&message));
            if again {
                return Ok(());
            }
            self.numbered.entry(number).or_default().insert(message);
        }
        let asked = self.open.entry(message).or_default();
        let found = match number {
            Some(_) => asked.pop_front(),
            None => asked.iter().position(|conn| *conn == on).and_then(|at| asked.remove(at)),
        };
        match found {
            Some(_) => Ok(()),
            None => Err((
                "P1",
                format!("{message} was acknowledged on {on:?}, where no lease of it was processed"),
            )),
        }
    }

    /// A server has everything up to a number. Returns what is acknowledged by that, but for numbers that were `lost`
    /// with a process: nobody has sent them.
    pub(super) fn reported(&mut self, upto: u64, lost: impl Fn(u64) -> bool) -> Vec<MessageId> {
        self.reported = self.reported.max(upto);
        let later = self.numbered.split_off(&upto.saturating_add(1));
        let over = std::mem::replace(&mut self.numbered, later);
        over.into_iter().filter(|(number, _)| !lost(*number)).flat_map(|(_, messages)| messages).collect()
    }

    /// The connection is over. Returns whether anything was leased on it.
    pub(super) fn disconnected(&mut self) -> bool {
        !std::mem::take(&mut self.held).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: MessageId = MessageId { publisher: 1, sequence: 7 };

    #[test]
    fn a_lease_is_acknowledged_once_and_on_its_own_connection() {
        let mut asks = Asks::default();
        assert!(asks.sent(MESSAGE, None, ConnId(1)).is_err(), "nobody was done with it");
        asks.done(MESSAGE, ConnId(1));
        assert!(asks.sent(MESSAGE, None, ConnId(2)).is_err(), "it is another connection's");
        assert!(asks.sent(MESSAGE, None, ConnId(1)).is_ok());
        assert!(asks.sent(MESSAGE, None, ConnId(1)).is_err(), "it is the second time");
    }

    #[test]
    fn what_a_store_keeps_is_sent_again_under_its_number_and_no_other() {
        let mut asks = Asks::default();
        asks.done(MESSAGE, ConnId(1));
        assert!(asks.sent(MESSAGE, Some(3), ConnId(1)).is_ok());
        assert!(asks.sent(MESSAGE, Some(3), ConnId(2)).is_ok());
        assert!(asks.sent(MESSAGE, Some(4), ConnId(2)).is_err());
        let mut asks = Asks::default();
        asks.done(MESSAGE, ConnId(1));
        assert!(asks.sent(MESSAGE, Some(3), ConnId(1)).is_ok());
        assert_eq!(asks.reported(2, |_| false), []);
        assert_eq!(asks.reported(3, |_| false), [MESSAGE]);
        assert_eq!(asks.reported(9, |_| false), []);
        let mut asks = Asks::default();
        asks.done(MESSAGE, ConnId(1));
        assert!(asks.sent(MESSAGE, Some(3), ConnId(1)).is_ok());
        assert_eq!(asks.reported(9, |number| number == 3), [], "it went down with its process");
    }

    #[test]
    fn what_is_leased_when_a_connection_ends_is_told_once() {
        let mut asks = Asks::default();
        asks.leased(MESSAGE);
        assert!(asks.disconnected());
        assert!(!asks.disconnected());
        asks.leased(MESSAGE);
        asks.done(MESSAGE, ConnId(1));
        assert!(asks.sent(MESSAGE, None, ConnId(1)).is_ok());
        assert!(!asks.disconnected(), "it was acknowledged");
    }
}
