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
    /// What was sent on a lost connection, and not acknowledged, is not sent again.
    pub unacknowledged_not_resent: bool,
    /// What is published while a replay is under way goes out before its end.
    pub new_overtakes_replay: bool,
    /// Numbers that an earlier process had reserved are given out again.
    pub blocks_ignored: bool,
    /// What the server refused stays where it is.
    pub refused_not_removed: bool,
    /// Who waits until something is persisted is told of a lost connection.
    pub wait_ends_at_reconnect: bool,
    /// Subscriptions are placed again in any order but that in which they were placed.
    pub resubscribes_in_reverse: bool,
    /// A server that knows none of the bookmarks is not told to begin with the first message.
    pub not_found_left_out: bool,
    /// A replay leaves out what settles queue messages: their leases ended with the connection.
    pub acks_left_out_of_replay: bool,
    /// What is acknowledged after its connection was lost goes into the publish store all the same.
    pub stale_acks_stored: bool,
    /// A store takes everything before a discarded message for discarded.
    #[cfg(feature = "simulation")]
    pub discard_counts_as_prefix: bool,
    /// A store forgets what was delivered and is not discarded.
    #[cfg(feature = "simulation")]
    pub delivered_again: bool,
    /// A store lets messages go that are not on the disk yet.
    #[cfg(feature = "simulation")]
    pub leaves_before_commit: bool,
    /// A store says of messages that they are safe before they are.
    #[cfg(feature = "simulation")]
    pub stored_too_early: bool,
}
