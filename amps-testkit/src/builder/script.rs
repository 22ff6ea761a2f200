//! Describing what a test wants beyond a real server: faults, chance, time, and strictness.

use std::time::Duration;

use amps_transport::Time;

use super::FakeServerBuilder;
use crate::engine::Unordered;
use crate::fault::{Action, Fault, Trigger};
use crate::sim::Rng;

/// How long `persisted` acks are gathered where they may come late: as long as a client's
/// patience with a publish commonly lasts (inferred).
const CHAOS_ACK_CONFLATION: Duration = Duration::from_secs(5);

/// Sizes of pieces that follow each other.
const PIECES: usize = 8;

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

    /// Makes the most of what a real server may do differently from one time to the next
    /// (server.md 8.6): what no query ordered comes in another order each time, output in pieces,
    /// some queue messages are delivered twice unless they are delivered at most once, views are
    /// 20 ms behind, and `persisted` acks wait for 5 s. All of it is drawn from the seed: the same
    /// seed and the same inputs give the same frames.
    ///
    /// The pieces are a fault, which [`FakeServer::faults`](crate::FakeServer::faults) shows.
    ///
    /// ```
    /// use amps_testkit::FakeServer;
    ///
    /// let server = FakeServer::builder().chaos(7).start()?;
    /// assert_eq!(server.faults().len(), 1);
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn chaos(mut self, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        self.config.switches.unordered = Unordered::Shuffle(rng.next_u64());
        self.config.chaos = Some(rng.next_u64());
        self.config.ack_conflation = CHAOS_ACK_CONFLATION;
        let sizes = (0..PIECES).map(|_| rng.between(1, 40) as usize).collect();
        let pieces = Action::PartialWrites { sizes, gap: Duration::ZERO };
        self.plan.seed = rng.next_u64();
        self.fault(Fault::when(Trigger::any_accept()).always().then(pieces))
    }

    /// Opens the control port: HTTP and JSON, for those who do not write Rust (server.md 8.5). An
    /// address of loopback such as `127.0.0.1:0`; [`FakeServer::control_uri`] says which it became.
    /// In a browser it shows a page.
    ///
    /// ```
    /// use amps_testkit::FakeServer;
    ///
    /// let server = FakeServer::builder().control("127.0.0.1:0").start()?;
    /// assert!(server.control_uri().unwrap().starts_with("http://127.0.0.1:"));
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    ///
    /// [`FakeServer::control_uri`]: crate::FakeServer::control_uri
    pub fn control(mut self, address: impl Into<String>) -> Self {
        self.plan.control = Some(address.into());
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
