//! A queue worker, end to end: 20,000 flight records are published to a topic that a queue
//! collects; four workers consume the queue with smart pipelining and batched
//! acknowledgements, and compute delay statistics per origin. Meanwhile one worker's
//! connection is cut twice, one lease expires, and one worker gives some messages back.
//!
//! ```text
//! cargo run --release --example queue_worker                       # against a fake server inside
//! cargo run --release --example queue_worker -- --server tcp://localhost:9007/amps/json
//! ```
//!
//! It ends with exit status 0 only if no record was lost and all of that really happened.

mod feeder;
mod ledger;
mod options;
mod report;
mod tap;
mod worker;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amps_testkit::{FakeServer, QueueConfig};
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::feeder::Feeder;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::worker::{Role, Worker};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const FLIGHTS: &str = include_str!("../../../data/flights.jsonl");

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("queue_worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, BoxError> {
    let records: Vec<&'static str> = FLIGHTS.lines().take(options.records).collect();
    let server = if options.server.is_empty() { Some(start_fake_server(options)?) } else { None };
    let servers = server.as_ref().map_or_else(|| options.server.clone(), |server| vec![server.uri("json")]);
    let ledger = Arc::new(Ledger::new(records.len()));

    let feeder = Feeder::connect(&servers)?;
    let workers = (1..=options.workers)
        .map(|number| Worker::start(options, &servers, number, &ledger))
        .collect::<Result<Vec<_>, _>>()?;
    let feeder = feeder.start(&options.topic, records, &ledger);
    let began = Instant::now();

    let finished = watch(options, &ledger, &workers);
    ledger.stop();
    feeder.join().map_err(|_| "the feeder panicked")??;
    let rows = workers.into_iter().map(Worker::join).collect::<Result<Vec<_>, _>>()?;
    if !finished {
        eprintln!("queue_worker: nothing moved for {} s, giving up", options.patience);
    }
    Ok(report::print(&rows, &ledger, ledger.busy_since(began)) && finished)
}

fn start_fake_server(options: &Options) -> Result<FakeServer, BoxError> {
    let queue = QueueConfig::new(&options.queue)
        .underlying(&options.topic)
        .lease(Duration::from_millis(options.lease_ms))
        .max_backlog(options.backlog);
    Ok(FakeServer::builder().queue(queue).start()?)
}

/// Watches until every record is processed and a lease has expired, and cuts one worker's
/// connection twice on the way, the second time once the first is recovered from; `false` if
/// nothing moves any more.
fn watch(options: &Options, ledger: &Ledger, workers: &[Worker]) -> bool {
    let bar = progress_bar(ledger.len());
    let mut cuts = [ledger.len() / 4, ledger.len() / 2].into_iter().peekable();
    let victim = workers.iter().find(|worker| worker.role() == Role::Cut);
    let mut done = 0;
    let mut last = (ledger.activity(), Instant::now());
    let finished = loop {
        let processed = ledger.processed();
        bar.set_position(processed as u64);
        let recovered = victim.is_none_or(|victim| victim.reconnects() >= done);
        if recovered && cuts.peek().is_some_and(|at| processed >= *at) && victim.is_some_and(Worker::cut) {
            cuts.next();
            done += 1;
        }
        let complete = processed == ledger.len() && !ledger.awaits_expiry();
        if complete && cuts.peek().is_none() && recovered {
            break true;
        }
        let activity = ledger.activity();
        if activity != last.0 {
            last = (activity, Instant::now());
        } else if last.1.elapsed() > Duration::from_secs(options.patience) {
            break false;
        }
        ledger.wait_for_activity(activity, Duration::from_millis(20));
    };
    bar.finish_and_clear();
    finished
}

fn progress_bar(length: usize) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} records, {rate}/s, {elapsed}") {
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.0}", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar
}
