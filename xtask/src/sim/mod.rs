//! `cargo xtask sim`: client session, server engine and network in one seeded world.
//!
//! There are three plays. In "programs" (`programs/`) applications do anything with a state of the world;
//! in "durable" (`durable/`) stores stand against processes and servers that die.
//! Each seed of the third is one run of the scenario "queue workers": a publisher, some workers of
//! different habits and one server share a network on which at least three faults take
//! effect. Referees read the frames on every wire and compare them with what the
//! applications saw and asked for; they believe no counter of the client. A broken promise
//! ends the run with its seed; the same seed replays the same run, to the byte.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod actions;
mod campaign;
mod command_line;
mod durable;
mod faults;
mod gatekeeper;
mod ledger;
mod model;
mod planted;
mod programs;
mod report;
mod scenario;
mod setup;
mod tally;
mod verdict;
mod watch;

pub use amps_client::simulation::Bugs;
pub use campaign::{Campaign, Summary};
pub use command_line::main;
pub use planted::Planted;
pub use report::{Coverage, FaultKind, Outcome, STATES, Violation};

/// Runs one seed; with `tracing`, the outcome tells what happened.
///
/// # Errors
/// The scenario cannot be set up, which no seed should bring about.
///
/// ```
/// use xtask::sim::{Bugs, run_seed};
///
/// let outcome = run_seed(7, Bugs::default(), false)?;
/// assert!(outcome.violation.is_none(), "{:?}", outcome.violation);
/// assert!(outcome.coverage.messages >= 200);
/// # Ok::<(), String>(())
/// ```
pub fn run_seed(seed: u64, bugs: Bugs, tracing: bool) -> Result<Outcome, String> {
    scenario::run(seed, bugs, tracing)
}

/// What is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Play {
    /// A queue, its publisher and its workers.
    #[default]
    Workers,
    /// Applications that do anything with a state of the world.
    Programs,
    /// Stores, processes that end, servers that die and replicate.
    Durable,
}

impl Play {
    /// Every play.
    pub const ALL: [Self; 3] = [Self::Workers, Self::Programs, Self::Durable];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Programs => "programs",
            Self::Durable => "durable",
        }
    }

    /// The faults that have to occur in it, given some hundred seeds.
    pub const fn faults(self) -> &'static [FaultKind] {
        match self {
            Self::Workers => &FaultKind::WORKERS,
            Self::Programs => &programs::FAULTS,
            Self::Durable => &durable::FAULTS,
        }
    }
}

/// Runs one seed of a play; with `tracing`, the outcome tells what happened.
///
/// # Errors
/// As [`run_seed`].
pub fn play_seed(play: Play, seed: u64, bugs: Bugs, tracing: bool) -> Result<Outcome, String> {
    match play {
        Play::Workers => scenario::run(seed, bugs, tracing),
        Play::Programs => programs::run(seed, bugs, tracing),
        Play::Durable => durable::run(seed, bugs, tracing),
    }
}
