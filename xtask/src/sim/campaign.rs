//! Many seeds on several threads.
//!
//! Threads share nothing but the number of the next seed, so the result for a seed does not
//! depend on them; of several failures the lowest seed is reported.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::report::{Coverage, Outcome};
use super::{Bugs, Play, play_seed};

/// Which seeds to run, and how.
///
/// ```
/// use xtask::sim::Campaign;
///
/// let summary = Campaign { start: 0, seeds: 3, ..Campaign::default() }.run()?;
/// assert_eq!(summary.runs, 3);
/// assert!(summary.failure.is_none());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub start: u64,
    /// How many.
    pub seeds: u64,
    /// On how many threads.
    pub threads: usize,
    /// Mistakes to make on purpose.
    pub bugs: Bugs,
    /// What is played.
    pub play: Play,
}

impl Default for Campaign {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { start: 0, seeds: 2000, threads, bugs: Bugs::default(), play: Play::default() }
    }
}

/// How a campaign went.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub runs: u64,
    /// What they reached together.
    pub coverage: Coverage,
    /// The lowest seed that broke a promise, replayed with its trace.
    pub failure: Option<Outcome>,
}

impl Campaign {
    /// Runs until the seeds are done or one has failed.
    ///
    /// # Errors
    /// The scenario cannot be set up.
    pub fn run(&self) -> Result<Summary, String> {
        let next = AtomicU64::new(self.start);
        let stop = AtomicBool::new(false);
        let end = self.start.saturating_add(self.seeds);
        let work = || -> Result<Summary, String> {
            let mut summary = Summary::default();
            while !stop.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    break;
                }
                let outcome = play_seed(self.play, seed, self.bugs, false)?;
                summary.runs += 1;
                summary.coverage.add(&outcome.coverage);
                if outcome.violation.is_some() {
                    stop.store(true, Ordering::Relaxed);
                    summary.failure = Some(outcome);
                }
            }
            Ok(summary)
        };
        let parts: Vec<Result<Summary, String>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.max(1)).map(|_| scope.spawn(work)).collect();
            let crashed = || Err("a simulation thread panicked".to_owned());
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| crashed())).collect()
        });
        let mut summary = Summary::default();
        let mut failed: Option<u64> = None;
        for part in parts {
            let part = part?;
            summary.runs += part.runs;
            summary.coverage.add(&part.coverage);
            failed = failed.into_iter().chain(part.failure.map(|outcome| outcome.seed)).min();
        }
        if let Some(seed) = failed {
            summary.failure = Some(play_seed(self.play, seed, self.bugs, true)?);
        }
        Ok(summary)
    }
}
