//! Where a dialogue is played: a server, however it is reached.

use std::time::Duration;

use amps_testkit::{Direction, LogCut, LoggedMessage, QueueSnapshot, RaceOrder, Side};

/// A server under test. Connections are numbered from 0 in the order of `connect`.
pub(crate) trait Stage {
    fn connect(&mut self);
    /// Sends bytes, and returns when the server has taken `frames` more whole frames.
    fn send(&mut self, conn: usize, bytes: &[u8], frames: usize);
    /// The next frame from the server, without its prefix; `None` at the end of the stream.
    fn receive(&mut self, conn: usize) -> Option<Vec<u8>>;
    fn disconnect(&mut self, conn: usize);
    /// Why the server says that the connection ended.
    fn close_reason(&mut self, conn: usize) -> String;
    fn advance(&mut self, by: Duration);
    fn publish(&mut self, topic: &str, body: &str);
    fn queue(&mut self, name: &str) -> QueueSnapshot;
    /// Ends every connection, and starts the server anew with what it kept.
    fn restart(&mut self);
    fn hold_durability(&mut self, held: bool);
    fn truncate(&mut self, cut: LogCut);
    fn log(&mut self) -> Vec<LoggedMessage>;
    /// Of a pair: the server that `connect` and what names no connection is about from now on.
    fn turn_to(&mut self, _side: Side) {}
    /// Does something to a pair.
    fn change(&mut self, change: &PairChange) {
        panic!("{change:?}: there is only one server");
    }
    /// Whether a client that connects now is turned away.
    fn refuses_clients(&mut self) -> bool {
        panic!("there is only one server");
    }
}

/// What can be done to a pair of servers.
#[derive(Clone, Debug)]
pub(crate) enum PairChange {
    Partition,
    Heal,
    Pause(Direction),
    Resume(Direction),
    Deliver(Direction, usize),
    Downgrade(Direction),
    Upgrade(Direction),
    Lag(Direction, Duration),
    Kill { side: Side, keep_log: bool },
    Stop(Side),
    Restart { side: Side, early: bool },
    Proxied { side: Side, queue: String, on: bool },
    Race { order: RaceOrder, topic: String, on_a: String, on_b: String },
}
