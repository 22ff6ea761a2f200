//! `amps-testkit`: a fake AMPS server as a process.
//!
//! Owns the command line, the one line per listener on stdout, and the exit codes (CI-06): 0
//! for an orderly stop, 1 when the engine or the system failed, 2 for a configuration error, 3 when
//! an address cannot be bound, 4 when a client broke a rule under `--strict`, 5 when the data
//! directory cannot be used.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use amps_testkit::{
    ConfigFile, ConfigFileError, ConfigReader, DestinationConfig, FakeServer, FakeServerBuilder, Finding,
    FindingKind, JournalMode, QueueConfig, SAMPLE_CONFIG, SetError, Setting, SowConfig, StartError, SyncMode,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

mod tls;

const FAILED: u8 = 1;
const CONFIG_ERROR: u8 = 2;
const BIND_FAILURE: u8 = 3;
const STRICT_VIOLATION: u8 = 4;
const DATA_FAILURE: u8 = 5;

/// The configuration that is read from stdin.
const STDIN: &str = "-";

/// A fake AMPS server for tests.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM, SIGINT, or POST /stop of the control port.
    #[command(after_long_help = settings())]
    Serve(Box<Serve>),
    /// Say what the server makes of an AMPS configuration file.
    Verify(Verify),
    /// Print a commented AMPS configuration to begin with.
    SampleConfig,
}

#[derive(Args)]
struct Serve {
    /// An AMPS configuration file, or - for stdin. Its transports listen on loopback, on the
    /// ports and socket files that it says; what the flags below name is added to it
    #[arg(value_name = "CONFIG.xml")]
    config: Option<String>,
    #[command(flatten)]
    variables: Variables,
    /// The transports of the file listen on free ports, and on socket files among the temporary ones
    #[arg(long, requires = "config")]
    free_ports: bool,
    /// Where to listen, such as tcp://127.0.0.1:0/amps or, for one message type only,
    /// tcp://127.0.0.1:9007/amps/json; also tcps, ws and wss, and unix:///path/to.sock
    /// [default: tcp://127.0.0.1:9007/amps, unless a file is given]
    #[arg(long, value_name = "URI")]
    listen: Vec<String>,
    #[command(flatten)]
    tls: tls::Options,
    /// A topic that remembers the last message of each key
    #[arg(long, value_name = "TOPIC:KEY[,KEY]", value_parser = sow)]
    sow: Vec<SowConfig>,
    /// A queue, and the topic or regular expression that feeds it
    #[arg(long, value_name = "NAME[:UNDERLYING]", value_parser = queue)]
    queue: Vec<QueueConfig>,
    /// Topics with a transaction log [default: all, unless a file is given]
    #[arg(long, value_name = "TOPIC_REGEX")]
    txlog: Vec<String>,
    /// How long a message of a --queue is leased, in seconds [default: for ever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    lease: Option<Duration>,
    /// The most unacknowledged messages per subscription of a --queue
    #[arg(long, value_name = "N", default_value_t = 1)]
    max_backlog: u32,
    /// Keep the transaction log in this directory, and begin with what it holds [default: none]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The name of the instance [default: amps-testkit, or what the file says]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where other instances connect that replicate to this one, such as tcp://127.0.0.1:0
    #[arg(long, value_name = "URI")]
    replication_listen: Vec<String>,
    /// Another instance that gets what is logged here; publishers wait for it
    #[arg(long, value_name = "HOST:PORT")]
    replicate_to: Vec<String>,
    /// Publishers do not wait for what --replicate-to names
    #[arg(long, requires = "replicate_to")]
    replicate_async: bool,
    /// Clients are let in only when every instance of --replicate-to has sent back what it has
    #[arg(long)]
    catch_up_first: bool,
    /// HTTP and JSON for tests in any language, such as 127.0.0.1:0; GET / there lists what there
    /// is, and shows a page in a browser. Everything that happens is kept in a journal [default: none]
    #[arg(long, value_name = "HOST:PORT")]
    control: Option<String>,
    /// Time stands still at 2026-01-01T00:00:00Z
    #[arg(long)]
    virtual_clock: bool,
    /// Do what a real server may do but seldom does: results in any order, output in pieces,
    /// queue messages twice, late acks
    #[arg(long, value_name = "SEED")]
    chaos: Option<u64>,
    /// What chance is drawn from, where something is left to it
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Unknown elements of the file are errors, and a client that breaks a rule makes the exit
    /// code 4
    #[arg(long)]
    strict: bool,
    /// A switch, or the text of a refusal; --help lists them
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// What to write to stderr
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Level::Info)]
    log: Level,
}

#[derive(Args)]
struct Verify {
    /// The file, or - for stdin
    #[arg(value_name = "CONFIG.xml")]
    config: String,
    #[command(flatten)]
    variables: Variables,
}

#[derive(Args)]
struct Variables {
    /// What ${NAME} in the file stands for, whatever the environment says
    #[arg(short = 'D', long = "define", value_name = "NAME=VALUE", value_parser = pair)]
    define: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    /// Also what of the file is ignored
    Debug,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(options) => serve(*options),
        Command::Verify(options) => verify(&options),
        Command::SampleConfig => io::stdout().write_all(SAMPLE_CONFIG.as_bytes()).map_err(Failure::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, messages }) => {
            for message in messages {
                eprintln!("amps-testkit: {message}");
            }
            ExitCode::from(code)
        }
    }
}

struct Failure {
    code: u8,
    messages: Vec<String>,
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::File(error) => error.into(),
            #[cfg(feature = "tls")]
            StartError::Tls { .. } => Self { code: CONFIG_ERROR, messages: vec![error.to_string()] },
            StartError::Config(_) | StartError::Address { .. } => {
                Self { code: CONFIG_ERROR, messages: vec![error.to_string()] }
            }
            StartError::Data { .. } => Self { code: DATA_FAILURE, messages: vec![error.to_string()] },
            _ => Self { code: BIND_FAILURE, messages: vec![error.to_string()] },
        }
    }
}

impl From<ConfigFileError> for Failure {
    fn from(error: ConfigFileError) -> Self {
        let errors = error.findings().iter().filter(|finding| finding.kind == FindingKind::Error);
        Self { code: CONFIG_ERROR, messages: errors.map(with_severity).collect() }
    }
}

impl From<SetError> for Failure {
    fn from(error: SetError) -> Self {
        Self { code: CONFIG_ERROR, messages: vec![format!("--set: {error}")] }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { code: FAILED, messages: vec![error.to_string()] }
    }
}

fn with_severity(finding: &Finding) -> String {
    format!("{}: {finding}", finding.kind.severity())
}

fn serve(options: Serve) -> Result<(), Failure> {
    // Before the ready line, so that a signal sent on it is not missed.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (strict, level) = (options.strict, options.log);
    let ca_out = options.tls.ca_out.clone();
    let server = builder(options)?.start()?;
    tls::export(&server, ca_out.as_deref())?;
    announce(&server)?;
    let handle = signals.handle();
    let signal = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let signal = signals.forever().next();
            server.request_stop();
            signal
        });
        server.wait_for_stop();
        handle.close();
        waiting.join().ok().flatten()
    });
    if level >= Level::Info {
        let name = signal.and_then(signal_hook::low_level::signal_name).unwrap_or("the control port");
        eprintln!("amps-testkit: stopped by {name}");
    }
    if !server.is_running() {
        let message = "the server has failed: its engine has panicked".to_owned();
        return Err(Failure { code: FAILED, messages: vec![message] });
    }
    if strict { violations(&server) } else { Ok(()) }
}

fn builder(options: Serve) -> Result<FakeServerBuilder, Failure> {
    // Without a control port nobody can look at the journal, except for what breaks a rule.
    let journal = match (&options.control, options.strict) {
        (Some(_), _) => JournalMode::All,
        (None, true) => JournalMode::Commands,
        (None, false) => JournalMode::Off,
    };
    let mut builder = FakeServer::builder().journal(journal).seed(options.seed);
    if let Some(path) = &options.config {
        let file = read(path, &options.variables, options.strict)?;
        for finding in file.findings() {
            let level = if finding.kind == FindingKind::Ignored { Level::Debug } else { Level::Warn };
            if options.log >= level {
                eprintln!("amps-testkit: {}", with_severity(finding));
            }
        }
        builder = builder.config(file);
        if !options.free_ports {
            builder = builder.keep_ports();
        }
    } else if options.listen.is_empty() {
        builder = builder.listen("tcp://127.0.0.1:9007/amps");
    }
    builder = options.tls.listen(builder, options.listen)?;
    for topics in options.txlog {
        builder = builder.txlog(topics);
    }
    if let Some(dir) = &options.data {
        builder = builder.data_dir(dir);
    }
    if let Some(name) = options.name {
        builder = builder.instance(name);
    }
    for uri in options.replication_listen {
        builder = builder.replication_listen(uri);
    }
    let mode = if options.replicate_async { SyncMode::Async } else { SyncMode::Sync };
    for address in options.replicate_to {
        let destination = DestinationConfig::new(&address).address(&address).mode(mode);
        builder = builder.replicate_to(destination);
    }
    builder = builder.early_accept(!options.catch_up_first);
    for topic in options.sow {
        builder = builder.sow(topic);
    }
    for mut queue in options.queue {
        if let Some(lease) = options.lease {
            queue = queue.lease(lease);
        }
        builder = builder.queue(queue.max_backlog(options.max_backlog));
    }
    // Before the switches, so that one of them can be set otherwise.
    if let Some(seed) = options.chaos {
        builder = builder.chaos(seed);
    }
    if let Some(address) = &options.control {
        builder = builder.control(address);
    }
    for (key, value) in &options.set {
        builder = builder.set(key, value)?;
    }
    Ok(if options.virtual_clock { builder.virtual_clock() } else { builder })
}

fn read(path: &str, variables: &Variables, strict: bool) -> Result<ConfigFile, Failure> {
    let mut reader = ConfigReader::new().strict(strict);
    for (name, value) in &variables.define {
        reader = reader.define(name, value);
    }
    if path != STDIN {
        return Ok(reader.read(path)?);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(reader.parse("stdin", &text)?)
}

/// One line per listener, and one for the control port: `ready NAME URI`.
fn announce(server: &FakeServer) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for listening in server.listeners().into_iter().filter(|listening| !listening.disabled) {
        writeln!(stdout, "ready {} {}", listening.name, listening.uri)?;
    }
    if let Some(uri) = server.control_uri() {
        writeln!(stdout, "ready control {uri}")?;
    }
    stdout.flush()
}

/// What clients did that they should not have done, as far as the journal goes back.
fn violations(server: &FakeServer) -> Result<(), Failure> {
    let findings = server.lint().into_iter().filter(|finding| finding.kind.is_violation());
    let messages: Vec<String> = findings.map(|finding| format!("strict: {finding}")).collect();
    if messages.is_empty() { Ok(()) } else { Err(Failure { code: STRICT_VIOLATION, messages }) }
}

fn verify(options: &Verify) -> Result<(), Failure> {
    let file = read(&options.config, &options.variables, true)?;
    file.verify()?;
    let mut stdout = io::stdout().lock();
    for finding in file.findings() {
        writeln!(stdout, "{}", with_severity(finding))?;
    }
    writeln!(stdout, "accepted")?;
    Ok(())
}

/// What `--set` can set.
fn settings() -> String {
    let mut text = "Settings (--set KEY=VALUE), the default first:\n".to_owned();
    for setting in Setting::all() {
        let others = setting.values.iter().filter(|value| **value != setting.default);
        let values: Vec<&str> = [setting.default.as_str()].into_iter().chain(others.copied()).collect();
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {} = {}\n      {}", setting.key, values.join(" | "), setting.about);
    }
    text
}

fn sow(text: &str) -> Result<SowConfig, String> {
    let parts = text.split_once(':').filter(|(topic, _)| !topic.is_empty());
    let (topic, keys) = parts.ok_or("write TOPIC:KEY, such as orders:/id")?;
    keys.split(',').try_fold(SowConfig::new(topic), |topic, key| {
        let sound = key.starts_with('/') && key.len() > 1;
        sound.then(|| topic.key(key)).ok_or_else(|| format!("the key '{key}' has to be written as /field"))
    })
}

fn queue(text: &str) -> Result<QueueConfig, String> {
    let (name, underlying) = match text.split_once(':') {
        Some((name, underlying)) => (name, Some(underlying)),
        None => (text, None),
    };
    if name.is_empty() || underlying == Some("") {
        return Err("write NAME or NAME:UNDERLYING, such as work:jobs".to_owned());
    }
    let queue = QueueConfig::new(name);
    Ok(underlying.into_iter().fold(queue, QueueConfig::underlying))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("'{text}' is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
