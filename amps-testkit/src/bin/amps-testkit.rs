//! `amps-testkit serve`: a fake AMPS server as a process.
//!
//! Owns the command line, the one line per listener on stdout, and the exit codes: 0 for an
//! orderly stop, 2 for a configuration error, 3 when an address cannot be bound.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use amps_testkit::{FakeServer, FakeServerBuilder, JournalMode, QueueConfig, StartError};
use clap::{Args, Parser, Subcommand, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const CONFIG_ERROR: u8 = 2;
const BIND_FAILURE: u8 = 3;
const DATA_FAILURE: u8 = 4;

/// A fake AMPS server for tests.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Where to listen, such as tcp://127.0.0.1:0/amps or, for one message type only,
    /// tcp://127.0.0.1:9007/amps/json [default: tcp://127.0.0.1:9007/amps]
    #[arg(long, value_name = "URI")]
    listen: Vec<String>,
    /// A queue, and the topic or regular expression that feeds it
    #[arg(long, value_name = "NAME[:UNDERLYING]")]
    queue: Vec<String>,
    /// Topics with a transaction log [default: all]
    #[arg(long, value_name = "TOPIC_REGEX")]
    txlog: Vec<String>,
    /// How long a queue message is leased, in seconds [default: for ever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    lease: Option<Duration>,
    /// The most unacknowledged messages per queue subscription
    #[arg(long, value_name = "N", default_value_t = 1)]
    max_backlog: u32,
    /// Keep the transaction log in this directory, and begin with what it holds [default: none]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to write to stderr
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Level::Info)]
    log: Level,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Level {
    Error,
    Info,
}

fn main() -> ExitCode {
    let Command::Serve(options) = Cli::parse().command;
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            eprintln!("amps-testkit: {message}");
            ExitCode::from(code)
        }
    }
}

struct Failure {
    code: u8,
    message: String,
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match error {
            StartError::Config(_) | StartError::Address { .. } => CONFIG_ERROR,
            StartError::Data { .. } => DATA_FAILURE,
            _ => BIND_FAILURE,
        };
        Self { code, message: error.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { code: 1, message: error.to_string() }
    }
}

fn serve(options: &Serve) -> Result<(), Failure> {
    // Before the ready line, so that a signal sent on it is not missed.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let server = builder(options).start()?;
    announce(&server)?;
    let stopped_by = signals.forever().next();
    if options.log >= Level::Info {
        let name = stopped_by.and_then(signal_hook::low_level::signal_name).unwrap_or("a signal");
        eprintln!("amps-testkit: stopped by {name}");
    }
    Ok(())
}

fn builder(options: &Serve) -> FakeServerBuilder {
    // Nobody can look at the journal of a process.
    let mut builder = FakeServer::builder().journal(JournalMode::Off);
    if options.listen.is_empty() {
        builder = builder.listen("tcp://127.0.0.1:9007/amps");
    }
    for uri in &options.listen {
        builder = builder.listen(uri);
    }
    for topics in &options.txlog {
        builder = builder.txlog(topics);
    }
    if let Some(dir) = &options.data {
        builder = builder.data_dir(dir);
    }
    for queue in &options.queue {
        builder = builder.queue(queue_config(queue, options));
    }
    builder
}

fn queue_config(text: &str, options: &Serve) -> QueueConfig {
    let mut queue = match text.split_once(':') {
        Some((name, underlying)) => QueueConfig::new(name).underlying(underlying),
        None => QueueConfig::new(text),
    };
    if let Some(lease) = options.lease {
        queue = queue.lease(lease);
    }
    queue.max_backlog(options.max_backlog)
}

/// One line per listener: `ready NAME URI`.
fn announce(server: &FakeServer) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for listening in server.listeners() {
        writeln!(stdout, "ready {} {}", listening.name, listening.uri)?;
    }
    stdout.flush()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("'{text}' is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
