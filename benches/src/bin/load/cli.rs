//! The command line: what can be asked for, and the defaults.
//!
//! Owns that a mistake is one line. Options exist only where they mean something.

use std::process::ExitCode;

use amps_client::{Client, ClientBuilder};
use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;

use crate::failure::Failure;
use crate::{conns, pingpong, publish, receive, sow};

/// The largest body that is published. Servers take less.
const MAX_SIZE: usize = 1 << 30;

/// Each is kept.
const MAX_ROUNDS: i64 = 100_000_000;

/// Puts load on any AMPS server, and prints one line of JSON about it.
///
/// sub and queue wait for what others publish, so that the receiver alone is measured; run `load pub` beside them.
/// sow queries what is in the topic, and repeats the query until --n records came. pub, pingpong and conns need
/// nobody else.
///
/// sub, queue, sow and pub print msgs_per_s, body_MBps (1,000,000 bytes of bodies), cpu_ns_per_msg (all threads,
/// user and system together), maxrss_mb (1,048,576 bytes) and allocs_per_msg. The clock of sub, queue and sow runs
/// from the first message to the last that counts, that of pub from the first publish to the answer to its flush.
/// pingpong prints p50_us p90_us p99_us p999_us mean_us max_us and cpu_us_per_round, after 1,000 rounds to warm up.
/// conns prints rss_kb rss_kb_per_client threads connect_logon_us_each.
///
/// Exit status: 0 it ran; 1 something else failed; 2 a mistake on the command line; 3 no connection, or it was
/// lost; 4 the server refused.
#[derive(Parser, Debug)]
#[command(name = "load", version, verbatim_doc_comment, arg_required_else_help = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Subscribes, and receives what others publish
    Sub(Sub),
    /// Publishes on one thread, as fast as it goes
    Pub(Pub),
    /// Publishes, waits until the message comes back, and publishes the next
    Pingpong(Pingpong),
    /// Consumes a queue that others fill; each message is acknowledged
    Queue(Queue),
    /// Queries a topic, again and again until --n records came
    Sow(Sow),
    /// Connects many clients on one loop thread, and reads what memory they take. When no messages come from
    /// elsewhere, one more client publishes them for a while
    Conns(Conns),
}

impl Command {
    /// Does what is asked, and returns the line to print.
    pub(crate) fn run(&self) -> Result<Value, Failure> {
        match self {
            Self::Sub(options) => receive::run_sub(options),
            Self::Pub(options) => publish::run(options),
            Self::Pingpong(options) => pingpong::run(options),
            Self::Queue(options) => receive::run_queue(options),
            Self::Sow(options) => sow::run(options),
            Self::Conns(options) => conns::run(options),
        }
    }
}

/// Where, and what about.
#[derive(Args, Debug)]
pub(crate) struct Server {
    /// The server: HOST:PORT for plain TCP and messages of JSON, or a connection string such as
    /// tcp://user:password@localhost:9007/amps/json
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9007", value_parser = address)]
    pub(crate) addr: String,
    /// The topic, or the queue
    #[arg(long, value_name = "TOPIC", default_value = "load", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topic: String,
    /// Print READY on stderr when the subscription is acknowledged; without a subscription (pub, sow), when logged
    /// on; with many (conns), when all are
    #[arg(long)]
    ready: bool,
}

impl Server {
    /// A client in the making. Its name is this process's alone: servers end the older of two.
    pub(crate) fn client(&self, part: &str) -> ClientBuilder {
        Client::builder(format!("load-{part}-{}", std::process::id())).server(&self.addr)
    }

    /// Connects and logs on.
    pub(crate) fn connect(&self, part: &str) -> Result<Client, Failure> {
        Ok(self.client(part).connect()?)
    }

    /// From here on publishers may begin.
    pub(crate) fn ready(&self) {
        if self.ready {
            eprintln!("READY");
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Sub {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Messages to receive
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) n: u64,
    /// Bytes that bodies are expected to have; a note on stderr tells if they have not
    #[arg(long, value_name = "BYTES")]
    pub(crate) size: Option<u64>,
    /// How messages are taken
    #[arg(long, value_enum, default_value_t = Mode::Handler)]
    pub(crate) mode: Mode,
}

#[derive(Args, Debug)]
pub(crate) struct Pub {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Messages to publish
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) n: u64,
    /// Bytes of each body; from 17 on it is JSON with an id that counts, so that a topic with the key /id
    /// has a record for each
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = size)]
    pub(crate) size: usize,
}

#[derive(Args, Debug)]
pub(crate) struct Pingpong {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Rounds that count, behind those that warm up
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=MAX_ROUNDS))]
    pub(crate) n: u32,
    /// Bytes of each body
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = size)]
    pub(crate) size: usize,
    /// Who publishes the next message
    #[arg(long, value_enum, default_value_t = Turn::Inline)]
    pub(crate) mode: Turn,
}

#[derive(Args, Debug)]
pub(crate) struct Queue {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Messages to consume
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) n: u64,
    /// Bytes that bodies are expected to have; a note on stderr tells if they have not
    #[arg(long, value_name = "BYTES")]
    pub(crate) size: Option<u64>,
    /// How messages are taken
    #[arg(long, value_enum, default_value_t = Mode::Handler)]
    pub(crate) mode: Mode,
    /// Unacknowledged messages to ask for at a time; the server may grant fewer
    #[arg(long, value_name = "B", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) backlog: u32,
    /// Acknowledgements in one batch; never more than the backlog that was granted
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = positive)]
    pub(crate) ack_batch: usize,
}

#[derive(Args, Debug)]
pub(crate) struct Sow {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Records to receive
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) n: u64,
    /// Bytes that records are expected to have; a note on stderr tells if they have not
    #[arg(long, value_name = "BYTES")]
    pub(crate) size: Option<u64>,
    /// How records are taken
    #[arg(long, value_enum, default_value_t = Mode::Handler)]
    pub(crate) mode: Mode,
    /// Records in one message of the result
    #[arg(long, value_name = "B", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) batch_size: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Conns {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Clients; the limit of descriptors is raised for them as far as the system allows
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) n: u32,
    /// Messages that each client receives before memory is read
    #[arg(long, value_name = "M", default_value_t = 10)]
    pub(crate) traffic: u64,
    /// Bytes of each body, where this program publishes
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = size)]
    pub(crate) size: usize,
}

/// How messages are taken.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// A function on the client's loop thread
    Handler,
    /// An iterator on the main thread
    Iterator,
    /// A stream of futures on the main thread, with an executor that does nothing else
    Stream,
}

/// Who publishes the next message.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Turn {
    /// The handler, on the loop thread
    Inline,
    /// The main thread, told by the handler through a channel
    Channel,
    /// The main thread, which reads an iterator
    Iterator,
}

/// The command line of this process, or how it ends without one.
pub(crate) fn parse() -> Result<Command, ExitCode> {
    match Cli::try_parse() {
        Ok(cli) => Ok(cli.command),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // Where nobody reads it, it need not be said.
            let _ = error.print();
            Err(ExitCode::SUCCESS)
        }
        Err(error) => Err(Failure::Mistake(one_line(&error.to_string())).report()),
    }
}

/// What is wrong, without the usage below it.
fn one_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let told: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    format!("{}; load --help lists what there is", told.join(" "))
}

fn address(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) && !host.contains('/')
    });
    if !valid {
        return Err("expected HOST:PORT, such as localhost:9007, or a connection string".into());
    }
    Ok(format!("tcp://{text}/amps/json"))
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if size <= MAX_SIZE => Ok(size),
        Ok(size) => Err(format!("{size} is more than {MAX_SIZE}")),
        Err(error) => Err(format!("{error}")),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected 1 or more".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_address_becomes_a_connection_string() {
        assert_eq!(address("localhost:9007").unwrap(), "tcp://localhost:9007/amps/json");
        assert_eq!(address("[::1]:9007").unwrap(), "tcp://[::1]:9007/amps/json");
        assert_eq!(address("tcp://a:1/amps/fix").unwrap(), "tcp://a:1/amps/fix");
        for wrong in ["localhost", ":9007", "localhost:", "localhost:0", "localhost:70000", "a/b:1"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_exist_only_where_they_mean_something() {
        for wrong in [
            ["load", "sub", "--backlog", "10"],
            ["load", "pub", "--mode", "handler"],
            ["load", "queue", "--batch-size", "10"],
            ["load", "sow", "--traffic", "10"],
            ["load", "pingpong", "--mode", "handler"],
            ["load", "conns", "--ack-batch", "10"],
        ] {
            let text = one_line(&Cli::try_parse_from(wrong).unwrap_err().to_string());
            assert!(text.starts_with("unexpected argument") || text.starts_with("invalid value"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}
