//! `cargo xtask sim`: what may be asked for, and what is printed.
#![expect(
    clippy::disallowed_methods,
    reason = "how long a campaign takes is measured, outside of what is simulated"
)]

use std::path::PathBuf;
use std::time::Instant;

use super::planted::Planted;
use super::tally::Tally;
use super::{Bugs, Campaign, Outcome, Play, Summary, play_seed};

/// Lines of trace that a report shows.
const REPORTED_LINES: usize = 40;

/// From so many seeds on, every fault and every state must have occurred.
const COVERS_FROM: u64 = 300;

/// Seeds within which each planted mistake has to be found.
const FOUND_WITHIN: u64 = 1000;

/// A campaign writes down how far it is after so many seeds.
const NOTED_EVERY: u64 = 2000;

/// Where a campaign tells what it did.
const REPORT: &str = "docs/RELIABILITY.md";

const USAGE: &str = "cargo xtask sim [--workers | --programs | --durable] [options]

Without a play the seeds are shared out: half of them to durable, a quarter to each other play.

  --seeds N         how many seeds (2000)
  --start S         the first of them (0)
  --threads N       on how many threads (one for each processor)
  --seed N          replays one seed of a play  [--trace]
  --bug NAME        plants a mistake, in the play that has to find it  [--expect-found-within N]
  --bugs            plants each mistake in turn, and prints the first seed that finds it
  --campaign FILE   goes on where FILE says that earlier runs have stopped, by --seeds N, and
                    writes the totals into docs/RELIABILITY.md";

/// What the command line may say.
#[derive(Debug)]
struct Options {
    campaign: Campaign,
    play: Option<Play>,
    seed: Option<u64>,
    trace: bool,
    bug: Option<Planted>,
    all_bugs: bool,
    state: Option<PathBuf>,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Options, lexopt::Error> {
    use lexopt::prelude::{Long, ValueExt};
    let mut options = Options {
        campaign: Campaign::default(),
        play: None,
        seed: None,
        trace: false,
        bug: None,
        all_bugs: false,
        state: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seeds" | "expect-found-within") => options.campaign.seeds = parser.value()?.parse()?,
            Long("start") => options.campaign.start = parser.value()?.parse()?,
            Long("threads") => options.campaign.threads = parser.value()?.parse()?,
            Long("seed") => options.seed = Some(parser.value()?.parse()?),
            Long("trace") => options.trace = true,
            Long("workers") => options.play = Some(Play::Workers),
            Long("programs") => options.play = Some(Play::Programs),
            Long("durable") => options.play = Some(Play::Durable),
            Long("bugs") => options.all_bugs = true,
            Long("campaign") => options.state = Some(parser.value()?.into()),
            Long("bug") => {
                let name = parser.value()?.string()?;
                let known = || Planted::ALL.map(|planted| planted.name).join(", ");
                let Some(planted) = Planted::named(&name) else {
                    return Err(format!("no such bug: {name}; there are {}", known()).into());
                };
                (planted.plant)(&mut options.campaign.bugs);
                options.bug = Some(planted);
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
    let options = parse(parser).map_err(|error| error.to_string())?;
    let play = options.play.or(options.bug.map(|bug| bug.play));
    if options.all_bugs {
        return find_all(options.campaign);
    }
    if let Some(seed) = options.seed {
        let play = play.unwrap_or_default();
        let outcome = play_seed(play, seed, options.campaign.bugs, true)?;
        if options.trace {
            outcome.trace.iter().for_each(|line| println!("{line}"));
        }
        println!("{}", outcome.coverage);
        println!("seed {seed}: digest {:016x}", outcome.digest);
        return match &outcome.violation {
            Some(_) => Err(report(play, &outcome, options.bug)),
            None => Ok(()),
        };
    }
    if let Some(bug) = options.bug {
        let campaign = Campaign { play: play.unwrap_or_default(), ..options.campaign };
        let summary = campaign.run()?;
        return match &summary.failure {
            Some(outcome) => {
                let (name, seed) = (bug.name, outcome.seed);
                println!("{name} was found by seed {seed}:\n{}", report(campaign.play, outcome, Some(bug)));
                Ok(())
            }
            None => Err(format!("{} was not found within {} seeds", bug.name, summary.runs)),
        };
    }
    let shares = shares(play, options.campaign.seeds);
    if let Some(state) = options.state {
        let mut tally = Tally::read(&state)?;
        for (play, seeds) in shares {
            go_on(&mut tally, &state, play, seeds, options.campaign.threads)?;
        }
        return tally.publish(REPORT.as_ref());
    }
    for (play, seeds) in shares {
        let summary = timed(Campaign { play, seeds, ..options.campaign })?;
        if let Some(outcome) = &summary.failure {
            return Err(report(play, outcome, None));
        }
        let hole = summary.coverage.hole(play.faults()).filter(|_| summary.runs >= COVERS_FROM);
        if let Some(hole) = hole.filter(|_| play != Play::Programs) {
            return Err(format!("{} seeds of {}, but {hole}", summary.runs, play.name()));
        }
    }
    Ok(())
}

/// How many seeds each play gets.
fn shares(play: Option<Play>, seeds: u64) -> Vec<(Play, u64)> {
    match play {
        Some(play) => vec![(play, seeds)],
        None => Play::ALL
            .map(|play| (play, if play == Play::Durable { seeds - seeds / 4 * 2 } else { seeds / 4 }))
            .into(),
    }
}

fn timed(campaign: Campaign) -> Result<Summary, String> {
    let began = Instant::now();
    let summary = campaign.run()?;
    let took = began.elapsed().as_secs_f64();
    println!("== {}\n{}", campaign.play.name(), summary.coverage);
    println!("{} seeds in {took:.1} s, {:.0} per second", summary.runs, summary.runs as f64 / took.max(1e-9));
    Ok(summary)
}

/// Plants every mistake in turn.
fn find_all(campaign: Campaign) -> Result<(), String> {
    let mut missed = Vec::new();
    println!("{:<28} {:<9} {:>5}  broken", "mistake", "play", "seed");
    for planted in Planted::ALL {
        let mut bugs = Bugs::default();
        (planted.plant)(&mut bugs);
        let campaign = Campaign { play: planted.play, bugs, start: 0, seeds: FOUND_WITHIN, ..campaign };
        let failure = campaign.run()?.failure;
        let (name, play) = (planted.name, planted.play.name());
        match failure.as_ref().and_then(|outcome| Some((outcome.seed, outcome.violation.as_ref()?))) {
            Some((seed, violation)) => {
                println!("{name:<28} {play:<9} {seed:>5}  {}: {}", violation.promise, violation.text);
            }
            None => missed.push(name),
        }
    }
    if missed.is_empty() {
        return Ok(());
    }
    Err(format!("not found within {FOUND_WITHIN} seeds: {}", missed.join(", ")))
}

/// Adds so many seeds of a play to what was run before.
fn go_on(
    tally: &mut Tally,
    state: &std::path::Path,
    play: Play,
    seeds: u64,
    threads: usize,
) -> Result<(), String> {
    let mut left = seeds;
    while left > 0 {
        let seeds = left.min(NOTED_EVERY);
        left -= seeds;
        let start = tally.next(play);
        let summary = timed(Campaign { start, seeds, threads, play, bugs: Bugs::default() })?;
        tally.add(play, seeds, &summary);
        tally.write(state)?;
        if let Some(outcome) = &summary.failure {
            tally.publish(REPORT.as_ref())?;
            return Err(report(play, outcome, None));
        }
    }
    Ok(())
}

/// A broken promise, with what led to it and how to see it again.
fn report(play: Play, outcome: &Outcome, bug: Option<Planted>) -> String {
    let mut text = String::new();
    for line in outcome.trace.iter().rev().take(REPORTED_LINES).rev() {
        let cut = line.char_indices().nth(300).map_or(line.len(), |(at, _)| at);
        text.push_str("  ");
        text.push_str(&line[..cut]);
        text.push('\n');
    }
    let violation = outcome.violation.as_ref().map_or_else(String::new, ToString::to_string);
    let with = bug.map_or_else(String::new, |bug| format!(" --bug {}", bug.name));
    format!(
        "{text}seed {seed}: {violation}\nreplay it: cargo xtask sim --{play} --seed {seed}{with} --trace",
        seed = outcome.seed,
        play = play.name()
    )
}
