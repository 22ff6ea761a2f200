//! Many seeds on several threads, and the command line that asks for them.
//!
//! Threads share nothing but the number of the next seed, so the result for a seed does not
//! depend on them; of several failures the lowest seed is reported.
#![expect(
    clippy::disallowed_methods,
    reason = "how long a campaign takes is measured, outside of what is simulated"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::report::{Coverage, Outcome};
use super::{Bugs, Play, play_seed};

/// Lines of trace that a report shows.
const REPORTED_LINES: usize = 40;

/// From so many seeds on, every fault and every state must have occurred.
const COVERS_FROM: u64 = 200;

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

/// What the command line may say.
#[derive(Debug, Default)]
struct Options {
    campaign: Campaign,
    seed: Option<u64>,
    trace: bool,
    bug: Option<String>,
    expect_within: Option<u64>,
}

const USAGE: &str = "cargo xtask sim [--programs] [--seeds N] [--start S] [--threads N] [--seed N [--trace]]
                [--bug ack-survives-reconnect|ack-timer-restarts|batch-above-backlog|
                       replacement-forgotten|waiter-forgotten]
                [--expect-found-within N]";

fn parse(parser: &mut lexopt::Parser) -> Result<Options, lexopt::Error> {
    use lexopt::prelude::{Long, ValueExt};
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seeds") => options.campaign.seeds = parser.value()?.parse()?,
            Long("start") => options.campaign.start = parser.value()?.parse()?,
            Long("threads") => options.campaign.threads = parser.value()?.parse()?,
            Long("seed") => options.seed = Some(parser.value()?.parse()?),
            Long("trace") => options.trace = true,
            Long("programs") => options.campaign.play = Play::Programs,
            Long("durable") => options.campaign.play = Play::Durable,
            Long("expect-found-within") => options.expect_within = Some(parser.value()?.parse()?),
            Long("bug") => {
                let name = parser.value()?.string()?;
                let bugs = &mut options.campaign.bugs;
                match name.as_str() {
                    "ack-survives-reconnect" => bugs.ack_survives_reconnect = true,
                    "ack-timer-restarts" => bugs.ack_timer_restarts = true,
                    "batch-above-backlog" => bugs.batch_above_backlog = true,
                    "replacement-forgotten" => bugs.replacement_forgotten = true,
                    "waiter-forgotten" => bugs.waiter_forgotten = true,
                    _ => return Err(format!("no such bug: {name}\n{USAGE}").into()),
                }
                options.bug = Some(name);
            }
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    Ok(options)
}

/// Runs the command line.
///
/// # Errors
/// What to print before exiting with a failure.
pub fn main(parser: &mut lexopt::Parser) -> Result<(), String> {
    let mut options = parse(parser).map_err(|error| error.to_string())?;
    if let Some(seed) = options.seed {
        let outcome = play_seed(options.campaign.play, seed, options.campaign.bugs, true)?;
        if options.trace {
            outcome.trace.iter().for_each(|line| println!("{line}"));
        }
        println!("{}", outcome.coverage);
        println!("seed {seed}: digest {:016x}", outcome.digest);
        return match &outcome.violation {
            Some(_) => Err(report(options.campaign.play, &outcome, options.bug.as_deref())),
            None => Ok(()),
        };
    }
    if let Some(within) = options.expect_within {
        options.campaign.seeds = within;
    }
    let began = Instant::now();
    let summary = options.campaign.run()?;
    let took = began.elapsed().as_secs_f64();
    println!("{}", summary.coverage);
    println!("{} seeds in {took:.1} s, {:.0} per second", summary.runs, summary.runs as f64 / took.max(1e-9));
    match (&options.bug, &summary.failure) {
        (Some(bug), Some(outcome)) => {
            println!(
                "{bug} was found by seed {}:\n{}",
                outcome.seed,
                report(options.campaign.play, outcome, Some(bug))
            );
            Ok(())
        }
        (Some(bug), None) => Err(format!("{bug} was not found within {} seeds", summary.runs)),
        (None, Some(outcome)) => Err(report(options.campaign.play, outcome, None)),
        (None, None) if options.campaign.play == Play::Programs => Ok(()),
        (None, None) => match summary
            .coverage
            .hole(options.campaign.play.faults())
            .filter(|_| summary.runs >= COVERS_FROM)
        {
            Some(hole) => Err(format!("{} seeds, but {hole}", summary.runs)),
            None => Ok(()),
        },
    }
}

/// A broken promise, with what led to it and how to see it again.
fn report(play: Play, outcome: &Outcome, bug: Option<&str>) -> String {
    let mut text = String::new();
    for line in outcome.trace.iter().rev().take(REPORTED_LINES).rev() {
        let cut = line.char_indices().nth(300).map_or(line.len(), |(at, _)| at);
        text.push_str("  ");
        text.push_str(&line[..cut]);
        text.push('\n');
    }
    let violation = outcome.violation.as_ref().map_or_else(String::new, ToString::to_string);
    let with = bug.map_or_else(String::new, |bug| format!(" --bug {bug}"));
    let play = match play {
        Play::Workers => "",
        Play::Programs => " --programs",
        Play::Durable => " --durable",
    };
    format!(
        "{text}seed {}: {violation}\nreplay it: cargo xtask sim{play} --seed {}{with} --trace",
        outcome.seed, outcome.seed
    )
}
