//! An orderly end: stop deliveries, finish what is in hand, acknowledge it, then close.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_transport::{CloseMode, Sink, Time};

use super::app::App;
use super::inbound::Session;
use super::waiter::{Done, Reply, Waiter};
use crate::error::{Error, Result};

/// The longest that the server's last confirmation is waited for.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The server was asked to deliver no more.
    Stopping,
    /// What was delivered is being processed and settled.
    Finishing,
    /// Everything was sent; the server was asked to confirm.
    Confirming,
}

#[derive(Debug)]
pub(crate) struct Drain {
    step: Step,
    deadline: Time,
    /// Everybody who asked for the close.
    replies: Vec<Reply>,
    confirmed: Arc<Waiter>,
    unacknowledged: u64,
}

impl Drain {
    pub(crate) fn new(deadline: Time, waiter: Reply) -> Self {
        let replies = vec![waiter];
        Self { step: Step::Stopping, deadline, replies, confirmed: Arc::default(), unacknowledged: 0 }
    }

    /// Somebody else asks for the same; the earlier deadline counts.
    pub(crate) fn join(&mut self, deadline: Time, waiter: Reply) {
        self.deadline = self.deadline.min(deadline);
        self.replies.push(waiter);
    }

    /// The connection was lost meanwhile.
    pub(crate) fn fail(self, error: &Error) {
        for reply in &self.replies {
            reply.complete(Err(error.clone()));
        }
    }

    pub(crate) fn deadline(&self) -> Time {
        self.deadline
    }

    /// Tells the callers how it went.
    pub(crate) fn finish(self, unacknowledged: u64, unpersisted: usize) {
        let outcome = outcome(self.unacknowledged.max(unacknowledged), unpersisted);
        for reply in &self.replies {
            reply.complete(outcome.clone());
        }
    }
}

/// What the caller of a close is told.
pub(super) fn outcome(unacknowledged: u64, unpersisted: usize) -> Result<Done> {
    match (unacknowledged, unpersisted) {
        (0, 0) => Ok(Done::default()),
        _ => Err(Error::Unfinished { unacknowledged, unpersisted }),
    }
}

impl<A: App> Session<A> {
    /// Goes on with an orderly close, as far as it can at this moment.
    pub(super) fn advance_drain<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let Some(drain) = &mut self.drain else { return };
        let late = drain.deadline <= now;
        if drain.step == Step::Stopping && (late || self.shared.with(|o| o.deliveries_stopped())) {
            drain.step = Step::Finishing;
            for key in self.routes.iter().map(|route| route.key).collect::<Vec<_>>() {
                self.app.draining(key);
            }
        }
        let in_hand = self.in_hand();
        let Some(drain) = &mut self.drain else { return };
        if drain.step == Step::Finishing && (late || in_hand == 0) {
            drain.step = Step::Confirming;
            drain.unacknowledged = in_hand;
            // What a store keeps is worth all the time that was given.
            let stores = self.shared.with(|outbound| outbound.store_status().is_some());
            drain.deadline = match (late, stores) {
                (true, _) => now,
                (false, true) => drain.deadline,
                (false, false) => drain.deadline.min(now + CONFIRM_WITHIN),
            };
            let confirmed = Arc::clone(&drain.confirmed);
            self.shared.with(|outbound| outbound.finish_drain(now, None, &confirmed));
            self.apply_effects();
        }
        let Some(drain) = &mut self.drain else { return };
        if drain.step == Step::Confirming && (drain.deadline <= now || drain.confirmed.take().is_some()) {
            self.shut(CloseMode::Flush, sink);
        }
    }
}
