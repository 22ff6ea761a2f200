//! Describing what a test wants beyond a real server: faults, chance, time, and strictness.

use amps_transport::Time;

use super::FakeServerBuilder;
use crate::fault::Fault;

impl FakeServerBuilder {
    /// Adds a scripted fault. One that cannot fire, such as for a pattern that does not compile,
    /// is an error of [`Self::start`].
    pub fn fault(mut self, fault: Fault) -> Self {
        self.plan.faults.push(fault);
        self
    }

    /// Adds scripted faults, such as [`Fault::flaky`].
    pub fn faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.plan.faults.extend(faults);
        self
    }

    /// What chance is drawn from: the same seed and the same inputs give the same frames.
    /// Default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.plan.seed = seed;
        self
    }

    /// As [`virtual_clock`](Self::virtual_clock), from another time on.
    pub fn virtual_clock_at(mut self, start: Time) -> Self {
        self.plan.clock = Some(start);
        self
    }

    /// What clients should not have done makes [`FakeServer::verify`](crate::FakeServer::verify)
    /// fail: every finding of a kind for which [`Lint::is_violation`](crate::Lint::is_violation)
    /// holds. The journal is kept even if [`journal`](Self::journal) says that it is off.
    pub fn strict(mut self) -> Self {
        self.plan.rules.strict = true;
        self
    }

    /// A server that is dropped while clients are connected panics, so that the test fails that
    /// leaks connections.
    pub fn strict_shutdown(mut self) -> Self {
        self.plan.rules.leaks = true;
        self
    }

    /// A server that is dropped panics if [`FakeServer::verify`](crate::FakeServer::verify) has
    /// something to say; unless its thread panics already.
    pub fn verify_on_drop(mut self) -> Self {
        self.plan.rules.verify_on_drop = true;
        self
    }
}
