//! The mistakes that can be planted, by name, and the play that is to find each.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::{Bugs, Play};

/// A mistake that can be planted.
///
/// ```
/// use xtask::sim::{Bugs, Planted};
///
/// let planted = Planted::named("replay-off-by-one").unwrap();
/// let mut bugs = Bugs::default();
/// (planted.plant)(&mut bugs);
/// assert!(bugs.replay_off_by_one);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// Its name on the command line.
    pub name: &'static str,
    /// Where it has to show.
    pub play: Play,
    /// Plants it.
    pub plant: fn(&mut Bugs),
}

impl Planted {
    /// Every mistake.
    pub const ALL: [Self; 21] = [
        Self::new("ack-survives-reconnect", Play::Workers, |bugs| bugs.ack_survives_reconnect = true),
        Self::new("ack-timer-restarts", Play::Workers, |bugs| bugs.ack_timer_restarts = true),
        Self::new("batch-above-backlog", Play::Workers, |bugs| bugs.batch_above_backlog = true),
        Self::new("replacement-forgotten", Play::Programs, |bugs| bugs.replacement_forgotten = true),
        Self::new("waiter-forgotten", Play::Programs, |bugs| bugs.waiter_forgotten = true),
        Self::new("store-forgets-while-offline", Play::Durable, |bugs| {
            bugs.store_forgets_while_offline = true;
        }),
        Self::new("replay-off-by-one", Play::Durable, |bugs| bugs.replay_off_by_one = true),
        Self::new("discards-one-too-many", Play::Durable, |bugs| bugs.discards_one_too_many = true),
        Self::new("unacknowledged-not-resent", Play::Durable, |bugs| bugs.unacknowledged_not_resent = true),
        Self::new("new-overtakes-replay", Play::Durable, |bugs| bugs.new_overtakes_replay = true),
        Self::new("blocks-ignored", Play::Durable, |bugs| bugs.blocks_ignored = true),
        Self::new("refused-not-removed", Play::Durable, |bugs| bugs.refused_not_removed = true),
        Self::new("wait-ends-at-reconnect", Play::Durable, |bugs| bugs.wait_ends_at_reconnect = true),
        Self::new("resubscribes-in-reverse", Play::Durable, |bugs| bugs.resubscribes_in_reverse = true),
        Self::new("not-found-left-out", Play::Durable, |bugs| bugs.not_found_left_out = true),
        Self::new("discard-counts-as-prefix", Play::Durable, |bugs| bugs.discard_counts_as_prefix = true),
        Self::new("delivered-again", Play::Durable, |bugs| bugs.delivered_again = true),
        Self::new("leaves-before-commit", Play::Durable, |bugs| bugs.leaves_before_commit = true),
        Self::new("stored-too-early", Play::Durable, |bugs| bugs.stored_too_early = true),
        Self::new("acks-left-out-of-replay", Play::Durable, |bugs| bugs.acks_left_out_of_replay = true),
        Self::new("stale-acks-stored", Play::Durable, |bugs| bugs.stale_acks_stored = true),
    ];

    const fn new(name: &'static str, play: Play, plant: fn(&mut Bugs)) -> Self {
        Self { name, play, plant }
    }

    /// The mistake of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|planted| planted.name == name)
    }
}
