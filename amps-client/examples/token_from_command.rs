//! Logging on with a token that a command prints: `cargo run -p amps-client --example token_from_command`.
//!
//! Kerberos tickets, OAuth access tokens and the like come from a program, often a script of the site. `TokenCommand`
//! runs it when a logon needs a token, keeps the token until shortly before it expires, and asks for another one when the
//! server wants that. What the program prints is a token and the seconds for which it is valid, in one line:
//! `TOKEN 3600`; a tool that prints more, or less, needs a script around it that does. The command here is this
//! program itself with the argument `issue`.

use std::error::Error;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use amps_client::{Authenticator, AuthenticatorError, Client, ConnectionState, Reconnect};
use amps_testkit::{Action, FakeServer, Fault, Trigger};

/// Below the client's connect timeout of 10 s, so that the error says what was slow.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(8);

/// A token that is about to expire is as good as none: the logon takes some time.
const SPARE: Duration = Duration::from_secs(30);

/// Tokens by a command.
struct TokenCommand {
    program: PathBuf,
    args: Vec<String>,
    cached: Mutex<Option<Token>>,
}

/// A token and its end. Without `Debug`: it can never be printed by mistake.
struct Token {
    text: String,
    expires: Instant,
}

impl TokenCommand {
    fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = String>) -> Self {
        Self { program: program.into(), args: args.into_iter().collect(), cached: Mutex::new(None) }
    }

    fn cached(&self) -> MutexGuard<'_, Option<Token>> {
        // What is kept is whole at any time, whoever panicked.
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the command, which has to end in time. What it prints appears in no error.
    fn fetch(&self) -> Result<Token, AuthenticatorError> {
        let name = self.program.display();
        let mut command = Command::new(&self.program);
        // What it has to complain about it says on our stderr.
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        let mut stdout = child.stdout.take().ok_or("the command has no output")?;
        let (told, tells) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = stdout.read_to_string(&mut text).map(|_| text);
            let _the_caller_may_have_given_up = told.send(read);
        });
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        let read = tells.recv_timeout(COMMAND_TIMEOUT);
        // It may have closed its output and go on all the same.
        let status = loop {
            match child.try_wait()? {
                Some(status) if read.is_ok() => break status,
                _ if read.is_err() || Instant::now() > deadline => {
                    child.kill()?;
                    child.wait()?;
                    return Err(format!("{name} did not end within {COMMAND_TIMEOUT:?}").into());
                }
                _ => std::thread::park_timeout(Duration::from_millis(1)),
            }
        };
        if !status.success() {
            return Err(format!("{name} failed: {status}").into());
        }
        let text = read?.map_err(|error| format!("the output of {name} cannot be read: {error}"))?;
        let mut words = text.split_whitespace();
        let (Some(token), Some(seconds), None) = (words.next(), words.next(), words.next()) else {
            return Err(format!("{name} did not print a token and its seconds").into());
        };
        let valid =
            seconds.parse().map_err(|_| format!("{name} printed no number of seconds after the token"))?;
        Ok(Token { text: token.to_owned(), expires: Instant::now() + Duration::from_secs(valid) })
    }
}

impl Authenticator for TokenCommand {
    fn authenticate(&self, _user: &str, _password: &str) -> Result<String, AuthenticatorError> {
        let mut cached = self.cached();
        match &*cached {
            Some(token) if token.expires > Instant::now() + SPARE => Ok(token.text.clone()),
            _ => Ok(cached.insert(self.fetch()?).text.clone()),
        }
    }

    /// The server did not like the token, or wants another one: what is cached is worth nothing any more.
    fn retry(&self, _user: &str, _challenge: &str) -> Result<String, AuthenticatorError> {
        Ok(self.cached().insert(self.fetch()?).text.clone())
    }
}

impl fmt::Debug for TokenCommand {
    /// Without the token, and without the arguments, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCommand").field("program", &self.program).finish_non_exhaustive()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [issue, count] = &args[..] {
        if issue == "issue" {
            return issue_token(Path::new(count));
        }
    }
    let directory = tempfile::tempdir()?;
    let count = directory.path().join("count");
    let issue = ["issue".to_owned(), count.display().to_string()];
    let tokens = TokenCommand::new(std::env::current_exe()?, issue);
    println!("{tokens:?}");

    // The server accepts the second token only, and says so to the first logon.
    let server = FakeServer::builder().credentials("ann", "token-2").start()?;
    server
        .add_fault(Fault::when(Trigger::Logon).once().then(Action::Challenge(vec!["expired".to_owned()])))?;
    let (connected, connections) = channel();
    let client = Client::builder("desk-7")
        .server(server.uri("json").replace("tcp://", "tcp://ann@"))
        .authenticator(tokens)
        .reconnect(Reconnect::new().initial(Duration::from_millis(10)))
        .on_state(move |state| {
            if state == ConnectionState::LoggedOn {
                let _nobody_may_listen_any_more = connected.send(());
            }
        })
        .connect()?;
    connections.recv_timeout(Duration::from_secs(10))?;
    println!("logged on; tokens fetched: {}", std::fs::read_to_string(&count)?);

    server.drop_connection("desk-7", amps_testkit::Drop::Reset);
    connections.recv_timeout(Duration::from_secs(10))?;
    let fetched = std::fs::read_to_string(&count)?;
    println!("the connection broke, and the client logged on again; tokens fetched: {fetched}");
    client.close()?;
    if fetched == "2" { Ok(()) } else { Err("the token was not kept".into()) }
}

/// What a ticket service does: the next token, valid for an hour.
fn issue_token(count: &Path) -> Result<(), Box<dyn Error>> {
    let before: u32 = std::fs::read_to_string(count).map_or(Ok(0), |text| text.parse())?;
    std::fs::write(count, (before + 1).to_string())?;
    println!("token-{} 3600", before + 1);
    Ok(())
}
