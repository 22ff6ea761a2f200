//! The command line: commands, options, and their help.
//!
//! Owns names and words. The names are those of `spark` where it has them; what values mean is checked where they are
//! used, unless a single value shows it.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::escapes::Delimiter;
use crate::template::Template;

/// What an exit status means.
pub(crate) const STATUS: &[(&str, &str)] = &[
    ("0", "All was done, or stdout wanted no more"),
    ("1", "Something else failed, such as a damaged capture, or a store"),
    ("2", "The command line is wrong, or names a file that cannot be read"),
    ("3", "No connection, or it was lost"),
    ("4", "The server refused the logon, the command, or messages"),
    ("5", "It took too long"),
    ("130", "Ended by SIGINT"),
    ("143", "Ended by SIGTERM"),
];

/// What the environment says.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("AMPS_PASSWORD", "The password, unless the server's string or --password-file has one"),
    ("NO_COLOR", "If set, nothing is coloured"),
];

/// Lines to begin with.
pub(crate) const EXAMPLES: &[&str] = &[
    "amps ping --server localhost:9007",
    "amps publish --server localhost:9007 --topic orders --file orders.json",
    "amps sow --server localhost:9007 --topic orders --filter \"/qty > 100\" --json",
    "amps subscribe --server localhost:9007 --topic work --ack --backlog 10 --count 100",
    "amps subscribe --server main:9007 --server backup:9007 --topic orders --store orders.bookmarks",
];

/// What help says behind the options.
fn more_help() -> String {
    let rows = |rows: &[(&str, &str)]| -> String {
        rows.iter().map(|(name, text)| format!("  {name:<14} {text}\n")).collect()
    };
    let examples: String = EXAMPLES.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "Exit status:\n{}\nEnvironment:\n{}\nExamples:\n{examples}\nOptions may have one dash, as with spark: -server, -topic.",
        rows(STATUS),
        rows(ENVIRONMENT)
    )
}

/// AMPS on the command line: publish, subscribe, query, delete, drain queues, read captures
#[derive(Parser, Debug)]
#[command(name = "amps", version, after_help = more_help())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Connect, log on, and say so
    Ping(Ping),
    /// Publish messages from a file or from stdin, one per line
    Publish(Box<Publish>),
    /// Print the messages of a topic or a queue
    Subscribe(Box<Subscribe>),
    /// Print the records of a topic, as they are now
    Sow(Box<Sow>),
    /// Print the records of a topic, then what is published to it
    #[command(name = "sow_and_subscribe", alias = "sow-and-subscribe")]
    SowAndSubscribe(Box<SowAndSubscribe>),
    /// Delete records of a topic, or messages of a queue
    #[command(name = "sow_delete", alias = "sow-delete")]
    SowDelete(Box<SowDelete>),
    /// Show what a capture of AMPS traffic holds
    Decode(Decode),
    /// Print the completions for a shell
    Completions(Completions),
    /// Print the manual page, or one of a command
    Man(Man),
}

/// How to reach a server.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// The server: [USER[:PASSWORD]@]HOST[:PORT], or a whole connection string such as
    /// tcp://localhost:9007/amps/json. Several are tried in turn, also after a connection was lost
    #[arg(long, value_name = "SERVER", required = true, action = ArgAction::Append)]
    pub(crate) server: Vec<String>,
    /// The message type, unless a connection string says it [default: json]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) message_type: Option<String>,
    /// Encrypt the connection: yes or no, true or false, 1 or 0
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false",
        hide_default_value = true, hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub(crate) secure: bool,
    /// The scheme of the connection, such as tcps or wss, unless a connection string says it; goes before --secure
    #[arg(long, value_name = "SCHEME")]
    pub(crate) urischeme: Option<String>,
    /// Parameters of the connection, such as tcp_nodelay=true&tcp_sndbuf=65536
    #[arg(long, value_name = "PARAMETERS")]
    pub(crate) uriopts: Option<String>,
    /// The protocol, of which there is one
    #[arg(long, value_name = "PROTOCOL", alias = "prot", hide = true, value_parser = protocol)]
    pub(crate) proto: Option<String>,
    /// Trust the certificates in this PEM file instead of the platform's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Read the password from this file; a line break at its end does not count
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// The client name [default: one of its own for each run; with --store, made of the file's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// End after this time, such as 30, 0.5 or 500ms: with status 5, unless all was done before
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct Ping {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Where messages come from.
#[derive(Args, Debug)]
pub(crate) struct Input {
    /// Read from this file instead of stdin. In a ZIP archive, which cannot come from a pipe, the messages are the
    /// files 1, 2, 3 and so on
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// What stands between messages: a byte as a decimal number, or text with \n, \t, \0, \x1f. Not given, a message
    /// is a line, which may end with \r\n
    #[arg(long, value_name = "DELIMITER", value_parser = Delimiter::parse, allow_hyphen_values = true)]
    pub(crate) delimiter: Option<Delimiter>,
}

#[derive(Args, Debug)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The topic
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) input: Input,
    /// Messages per second; 0.25 is one in four seconds [default: as fast as possible]
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Publish updates of records: only their keys and what changes
    #[arg(long)]
    pub(crate) delta: bool,
    /// Publish everything to this server as well
    #[arg(long, value_name = "SERVER")]
    pub(crate) copy: Option<String>,
}

/// Which messages.
#[derive(Args, Debug)]
pub(crate) struct Selection {
    /// The topic, or a regular expression of topics
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Only what matches, such as "/region = 'EU' AND /qty > 100"
    #[arg(long, value_name = "FILTER", allow_hyphen_values = true)]
    pub(crate) filter: Option<String>,
    /// Further options of the command, such as oof,timestamp
    #[arg(long, value_name = "OPTIONS")]
    pub(crate) options: Option<String>,
}

/// What is printed, and how much of it.
#[derive(Args, Debug)]
pub(crate) struct Printing {
    /// What to print of a message, with {bookmark} {command} {correlation_id} {data} {expiration} {lease_period}
    /// {length} {sowkey} {user_id} {timestamp} {topic}, and \n, \t, \x1f [default: {data}]
    #[arg(long, value_name = "TEMPLATE", value_parser = Template::parse, allow_hyphen_values = true)]
    pub(crate) format: Option<Template>,
    /// Print whole messages as JSON, one per line
    #[arg(long, conflicts_with_all = ["format", "delimiter"])]
    pub(crate) json: bool,
    /// What to print behind each message: a byte as a decimal number, or text with \n, \t, \0 [default: \n]
    #[arg(long, value_name = "DELIMITER", value_parser = Delimiter::parse, allow_hyphen_values = true)]
    pub(crate) delimiter: Option<Delimiter>,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Publish everything to this server as well
    #[arg(long, value_name = "SERVER")]
    pub(crate) copy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

/// How a query is answered.
#[derive(Args, Debug)]
pub(crate) struct Query {
    /// The order of the records, such as "/price DESC"
    #[arg(long, value_name = "ORDER", allow_hyphen_values = true)]
    pub(crate) orderby: Option<String>,
    /// The most records to return
    #[arg(long, value_name = "N")]
    pub(crate) topn: Option<u64>,
    /// Records per message of the result
    #[arg(long, value_name = "N")]
    pub(crate) batchsize: Option<u64>,
}

/// How a queue is drained.
#[derive(Args, Debug)]
pub(crate) struct Draining {
    /// Acknowledge each message of a queue, once stdout has taken it
    #[arg(long)]
    pub(crate) ack: bool,
    /// Unacknowledged messages of a queue at a time
    #[arg(long, value_name = "N", alias = "max_backlog", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) backlog: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) printing: Printing,
    #[command(flatten)]
    pub(crate) draining: Draining,
    /// Only what changed of each record
    #[arg(long)]
    pub(crate) delta: bool,
    /// Begin at this place of the transaction log: epoch, now, recent, a bookmark, or a moment such as
    /// 20240131T143000Z
    #[arg(long, value_name = "BOOKMARK")]
    pub(crate) bookmark: Option<String>,
    /// Keep in this file what stdout has taken, and go on behind it: after a lost connection, and next time
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ack", "delta"])]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Sow {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) printing: Printing,
    #[command(flatten)]
    pub(crate) query: Query,
    /// The records as they were at this moment or bookmark
    #[arg(long, value_name = "BOOKMARK")]
    pub(crate) bookmark: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct SowAndSubscribe {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) printing: Printing,
    #[command(flatten)]
    pub(crate) query: Query,
    #[command(flatten)]
    pub(crate) draining: Draining,
    /// After the records, only what changed of each
    #[arg(long)]
    pub(crate) delta: bool,
    /// The records as they were at this moment or bookmark, and everything since
    #[arg(long, value_name = "BOOKMARK")]
    pub(crate) bookmark: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct SowDelete {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The topic, or the queue
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Delete what matches; 1=1 matches everything
    #[arg(long, value_name = "FILTER", conflicts_with_all = ["keys", "file"], allow_hyphen_values = true)]
    pub(crate) filter: Option<String>,
    /// Delete the records with these keys, separated by commas: those that {sowkey} shows
    #[arg(long, value_name = "KEYS", conflicts_with = "file")]
    pub(crate) keys: Option<String>,
    /// Delete the records that the messages in this file would update, a message per line, or a ZIP archive; - is
    /// stdin, which is also read if nothing says what to delete and it is no terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// What stands between the messages of --file
    #[arg(long, value_name = "DELIMITER", value_parser = Delimiter::parse, conflicts_with_all = ["filter", "keys"],
        allow_hyphen_values = true)]
    pub(crate) delimiter: Option<Delimiter>,
    /// Print what was counted as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Decode {
    /// The capture: one direction of a connection as it went over the socket, each frame behind its length, with or
    /// without the HTTP preamble of a preflight; stdin if not given, or -
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print whole frames as JSON, one per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print bodies as well
    #[arg(long, conflicts_with = "json")]
    pub(crate) body: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The command; the program itself if not given
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) command: Option<String>,
    /// Write the pages of the program and of all commands into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Seconds, or a number with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("the unit is none of ms, s, m and h".into()),
    };
    let number: f64 = number.parse().map_err(|_| "it is no number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "it is no length of time".into())
}

/// `spark` also writes the protocol `json`, and speaks the older protocols of AMPS.
fn protocol(text: &str) -> Result<String, String> {
    match text {
        "amps" | "json" => Ok(text.to_owned()),
        _ => Err(format!("the protocol is amps; for messages of a type, write --type {text}")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| "it must be a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The options of all commands, by their long names.
    fn options() -> BTreeSet<String> {
        let mut cli = Cli::command();
        cli.build();
        let commands = cli.get_subcommands().filter(|command| command.get_name() != "help");
        let options = commands.flat_map(clap::Command::get_arguments).filter(|option| !option.is_hide_set());
        let names = options.filter_map(clap::Arg::get_long).filter(|name| *name != "help");
        names.map(ToOwned::to_owned).collect()
    }

    #[test]
    fn the_guide_names_every_option_and_every_command_and_no_other() {
        let page = include_str!("../../guide/command_line.md");
        let words = page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        let mut named: BTreeSet<String> = words
            .filter_map(|word| word.strip_prefix("--").or_else(|| word.strip_prefix('-')))
            .filter(|word| {
                let of_others = ["features", "path", "authenticator", "proto", "prot", "z"];
                !word.is_empty() && !of_others.contains(word)
            })
            .map(ToOwned::to_owned)
            .collect();
        // Those of `spark` stand there with one dash, others with two.
        named.remove("-");
        named.retain(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
        assert_eq!(named, options());
        for command in Cli::command().get_subcommands() {
            assert!(page.contains(&format!("`{}`", command.get_name())), "{}", command.get_name());
        }
    }

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "-1", "5x", "ms", "inf"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
