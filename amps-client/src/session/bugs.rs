//! Bugs that can be planted to test the simulator.

/// Realistic mistakes, all off. Only the hidden feature `simulation` can turn them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "simulation"), expect(unreachable_pub, reason = "public to the simulator only"))]
pub struct Bugs {
    /// Acknowledgements of a lost connection are sent on the next one.
    pub ack_survives_reconnect: bool,
    /// Each acknowledgement starts the batch's timer anew.
    pub ack_timer_restarts: bool,
    /// The granted backlog does not bound the batch.
    pub batch_above_backlog: bool,
    /// What a subscription was replaced by is not what is placed again.
    pub replacement_forgotten: bool,
    /// A command whose connection is lost is left to wait.
    pub waiter_forgotten: bool,
    /// What is published without a connection has a number, and is not kept.
    pub store_forgets_while_offline: bool,
    /// A replay begins one message too late.
    pub replay_off_by_one: bool,
    /// What the server persisted is forgotten together with the message behind it.
    pub discards_one_too_many: bool,
}
