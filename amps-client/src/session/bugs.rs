//! Bugs that can be planted to test the simulator.

/// Realistic mistakes, all off. Only the hidden feature `simulation` can turn them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bugs {
    /// Acknowledgements of a lost connection are sent on the next one.
    pub(crate) ack_survives_reconnect: bool,
    /// Each acknowledgement starts the batch's timer anew.
    pub(crate) ack_timer_restarts: bool,
    /// The granted backlog does not bound the batch.
    pub(crate) batch_above_backlog: bool,
}
