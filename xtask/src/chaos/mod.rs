//! `cargo xtask chaos`: a publisher, a subscriber and a server, killed without warning again and again.
//!
//! Owns the course of a run: which process dies when, and what a run adds up to. What must hold is in
//! `ledger.rs`, what the processes do in `parts.rs`. The stores are files, so is the server's log; whoever is
//! killed comes back and goes on with its file. In the end everything that was accepted has arrived.

mod ledger;
mod parts;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use amps_testkit::sim::Rng;
use ledger::{InFlight, Ledger};

use crate::process::{Heard, Process, Said, free_address};

const TOPIC: &str = "orders";

/// What has not happened by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// The latest kill after work has begun again.
const LATEST: Duration = Duration::from_millis(50);

/// So many kills in a hundred do not wait until work has begun again: they meet a recovery.
const EARLY_PERCENT: u64 = 20;

/// In so many of a hundred kills something was in flight, or the run has shown little.
const LEAST_IN_FLIGHT_PERCENT: u32 = 80;

/// A share of fewer kills says nothing: chance decides.
const ENOUGH_KILLS: u32 = 100;

/// When the stores force what they write onto the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Every ten milliseconds. What was handed to the system outlives the process: a message once its receipt
    /// says that it is stored, a discard once its call has returned.
    Interval,
    /// Before a publish leaves and before `discard` returns.
    EveryWrite,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interval => "interval",
            Self::EveryWrite => "every-write",
        })
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Interval, Self::EveryWrite];
        all.into_iter().find(|policy| policy.to_string() == text).ok_or_else(|| {
            format!("there is no policy \"{text}\"; write interval or every-write, or leave it out for both")
        })
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// This program, which plays the parts too: `cargo xtask`'s own.
    pub program: PathBuf,
    /// How often a process is killed.
    pub kills: u32,
    /// Who is killed, and when.
    pub seed: u64,
    /// Of both stores.
    pub policy: Policy,
}

/// What a run adds up to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    policy: Policy,
    seed: u64,
    /// Of the publisher, the subscriber and the server.
    pub kills: [u32; 3],
    /// Messages of which a store had said that it keeps them.
    pub accepted: u64,
    /// Different messages that arrived.
    pub received: u64,
    /// How often one arrived again.
    pub repeated: u64,
    /// Kills when something was in flight, and when each kind of it was.
    pub in_flight: u32,
    kinds: [u32; 3],
    early: u32,
    took: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, seed, kills, kinds, early, took, .. } = self;
        let total: u32 = kills.iter().sum();
        writeln!(
            f,
            "chaos, stores forced by {policy}, seed {seed}: {total} kills in {:.1} s",
            took.as_secs_f64()
        )?;
        let [publisher, subscriber, server] = kills;
        writeln!(
            f,
            "  killed:     publisher {publisher}, subscriber {subscriber}, server {server}; and {early} more while they recovered"
        )?;
        let (accepted, received, repeated) = (self.accepted, self.received, self.repeated);
        writeln!(f, "  messages:   {accepted} accepted, {received} received, {repeated} repeated")?;
        let [unpersisted, on_the_way, open] = kinds;
        write!(
            f,
            "  in flight:  at {} kills ({} %): unpersisted at {unpersisted}, accepted and not received at \
             {on_the_way}, received and not discarded at {open}",
            self.in_flight,
            self.in_flight * 100 / total.max(1),
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Publisher,
    Subscriber,
    Server,
}

const ALL: [Who; 3] = [Who::Publisher, Who::Subscriber, Who::Server];

impl Chaos {
    /// Plays the run.
    ///
    /// # Errors
    /// The first violation of a promise, or why there was no run. The files are left where they are then.
    pub fn run(&self) -> Result<Summary, String> {
        let directory =
            tempfile::Builder::new().prefix("chaos-").tempdir().map_err(|error| error.to_string())?;
        let began = Instant::now();
        let result = Run::begin(self, directory.path()).and_then(|run| run.play(self, began));
        result.map_err(|violation| {
            let files = directory.keep();
            let (policy, seed, files) = (self.policy, self.seed, files.display());
            format!("chaos, stores forced by {policy}, seed {seed}: {violation}\nthe files are in {files}")
        })
    }
}

/// Half of the kills with each policy, or all with one.
///
/// # Errors
/// As [`Chaos::run`].
pub fn run(kills: u32, seed: u64, policy: Option<Policy>) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let policies = match policy {
        Some(policy) => vec![(policy, kills)],
        None => vec![(Policy::Interval, kills.div_ceil(2)), (Policy::EveryWrite, kills / 2)],
    };
    for (policy, kills) in policies {
        let summary = Chaos { program: program.clone(), kills, seed, policy }.run()?;
        println!("{summary}");
    }
    Ok(())
}

/// What a process that plays a part does: `publisher|subscriber URI STORE POLICY LIFE`.
///
/// # Errors
/// Whatever ends it; whoever started it is told.
pub(crate) fn play_part(args: &[&str]) -> Result<(), String> {
    let &[part, uri, store, policy, life] = args else { return Err(format!("no such part: {args:?}")) };
    let (policy, life) = (policy.parse()?, life.parse().map_err(|_| "a life is a number")?);
    match part {
        "publisher" => parts::publish(uri, store, policy, life),
        "subscriber" => parts::subscribe(uri, store, policy, life),
        other => Err(format!("no such part: {other}")),
    }
}

/// A process and what is known of it.
struct Actor {
    args: Vec<String>,
    process: Process,
    life: u32,
    /// It has said that it has recovered since it, or the server, began.
    up: bool,
}

struct Run<'a> {
    program: &'a Path,
    rng: Rng,
    /// In the order of [`ALL`].
    actors: [Actor; 3],
    sender: Sender<Heard<Who>>,
    heard: Receiver<Heard<Who>>,
    ledger: Ledger,
    /// Something was accepted since everybody has recovered.
    works: bool,
    stopped: bool,
    dying: Option<Who>,
}

impl<'a> Run<'a> {
    fn begin(chaos: &'a Chaos, directory: &Path) -> Result<Self, String> {
        let address = free_address()?;
        let (sender, heard) = channel();
        let file = |name: &str| directory.join(name).display().to_string();
        let start = |who: Who| {
            let args: Vec<String> = match who {
                Who::Server => ["server", &address, &file("log")].map(str::to_owned).to_vec(),
                who => {
                    let (part, store) = match who {
                        Who::Publisher => ("publisher", file("publishes")),
                        _ => ("subscriber", file("bookmarks")),
                    };
                    vec![
                        part.to_owned(),
                        format!("tcp://{address}/amps/json"),
                        store,
                        chaos.policy.to_string(),
                    ]
                }
            };
            let process =
                Process::start(&chaos.program, &with_life(&args, who, 1), (who, 1), sender.clone())?;
            Ok::<_, String>(Actor { args, process, life: 1, up: false })
        };
        // The server first, so that the others do not begin with a wait.
        let server = start(Who::Server)?;
        let actors = [start(Who::Publisher)?, start(Who::Subscriber)?, server];
        let mut ledger = Ledger::new();
        ledger.subscriber_begins();
        let (program, rng) = (&*chaos.program, Rng::new(chaos.seed));
        Ok(Self { program, rng, actors, sender, heard, ledger, works: false, stopped: false, dying: None })
    }

    fn play(mut self, chaos: &Chaos, began: Instant) -> Result<Summary, String> {
        let (mut kills, mut kinds, mut in_flight, mut early) = ([0; 3], [0; 3], 0, 0);
        for number in 1..=chaos.kills {
            while number > 1 && self.rng.chance(EARLY_PERCENT) {
                early += 1;
                self.kill_one(number)?;
            }
            self.until("everybody has recovered and something is accepted", |run| run.works)
                .map_err(|error| format!("before kill {number}: {error}"))?;
            let (at, found) = self.kill_one(number)?;
            kills[at] += 1;
            in_flight += u32::from(found.any());
            for (count, kind) in kinds.iter_mut().zip([found.unpersisted, found.on_the_way, found.open]) {
                *count += u32::from(kind > 0);
            }
        }
        self.until("everybody has recovered after the last kill", |run| run.works)?;
        let publisher = &mut self.actors[Who::Publisher as usize].process;
        publisher.tell("stop").map_err(|error| format!("stop the publisher: {error}"))?;
        self.until("P9: everything accepted has come and is discarded", |run| {
            run.stopped && run.ledger.is_done()
        })?;
        self.ledger.close()?;
        if chaos.kills >= ENOUGH_KILLS && in_flight * 100 < chaos.kills * LEAST_IN_FLIGHT_PERCENT {
            return Err(format!("something was in flight at {in_flight} of {} kills only", chaos.kills));
        }
        let Ledger { accepted, received, repeated, .. } = self.ledger;
        for Actor { process, .. } in self.actors {
            process.end().map_err(|error| format!("the end of a process: {error}"))?;
        }
        let (policy, seed, took) = (chaos.policy, chaos.seed, began.elapsed());
        Ok(Summary { policy, seed, kills, accepted, received, repeated, in_flight, kinds, early, took })
    }

    /// Kills one of the processes, a little later.
    fn kill_one(&mut self, number: u32) -> Result<(usize, InFlight), String> {
        let delay = self.rng.span(Duration::ZERO, LATEST);
        self.hear_for(delay)?;
        let at = self.rng.below(ALL.len() as u64) as usize;
        let found =
            self.kill(ALL[at]).map_err(|error| format!("at kill {number} ({:?}): {error}", ALL[at]))?;
        Ok((at, found))
    }

    /// Kills a process, hears what it has said before, and starts it again. Returns what was in flight when
    /// it was killed.
    fn kill(&mut self, who: Who) -> Result<InFlight, String> {
        self.hear_for(Duration::ZERO)?;
        let found = self.ledger.in_flight();
        self.dying = Some(who);
        let actor = &mut self.actors[who as usize];
        actor.process.kill().map_err(|error| format!("kill: {error}"))?;
        self.until("the end of its words", |run| run.dying.is_none())?;
        match who {
            Who::Publisher => self.ledger.publisher_begins(),
            Who::Subscriber => self.ledger.subscriber_begins(),
            Who::Server => self.actors.iter_mut().for_each(|actor| actor.up = false),
        }
        self.works = false;
        let actor = &mut self.actors[who as usize];
        actor.up = false;
        actor.life += 1;
        let args = with_life(&actor.args, who, actor.life);
        actor.process = Process::start(self.program, &args, (who, actor.life), self.sender.clone())?;
        Ok(found)
    }

    /// Hears until something holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            if !self.hear(deadline)? {
                let up: Vec<_> = ALL.iter().zip(&self.actors).map(|(who, actor)| (who, actor.up)).collect();
                return Err(format!(
                    "after {PATIENCE:?} it is still not so that {what}; recovered: {up:?}; {}",
                    self.ledger.missing()
                ));
            }
        }
        Ok(())
    }

    fn hear_for(&mut self, span: Duration) -> Result<(), String> {
        let deadline = Instant::now() + span;
        while self.hear(deadline)? {}
        Ok(())
    }

    /// Hears one thing; `false` if there was none up to the deadline.
    fn hear(&mut self, deadline: Instant) -> Result<bool, String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let Heard { who, life, said } = match self.heard.recv_timeout(left) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(false),
        };
        let Said::Line(line) = said else {
            return if self.dying == Some(who) {
                self.dying = None;
                Ok(true)
            } else {
                Err(format!("the {who:?} has ended by itself"))
            };
        };
        let words: Vec<&str> = line.split(' ').collect();
        let (&first, rest) = words.split_first().ok_or("an empty line")?;
        match first {
            "a" => {
                self.ledger.accepted(life, rest)?;
                self.works |= self.actors.iter().all(|actor| actor.up);
            }
            "u" => self.ledger.persisted(),
            "r" => self.ledger.came(life, rest)?,
            "t" => self.ledger.taken(rest)?,
            "d" => self.ledger.discarded(life, rest)?,
            "up" | "ready" => self.actors[who as usize].up = true,
            "stopped" => self.stopped = true,
            _ => return Err(format!("the {who:?} says: {line}")),
        }
        Ok(true)
    }
}

/// What a process is started with: those that have a name of their own in messages are told it.
fn with_life(args: &[String], who: Who, life: u32) -> Vec<String> {
    let mut args = args.to_vec();
    if who != Who::Server {
        args.push(life.to_string());
    }
    args
}
