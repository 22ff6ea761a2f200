//! From the options to a connection.
//!
//! Owns where passwords come from, the client's name, and what is said of lost connections.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use amps_client::transport::TlsClient;
use amps_client::{
    Authenticator, AuthenticatorError, Client, ClientBuilder, ConnectionState, Error, Reconnect,
};

use crate::failure::{CONNECTION, Failure, TIMED_OUT};
use crate::options::Connection;
use crate::server::connection_string;
use crate::servers::Servers;
use crate::stop::{Cause, Stop};

/// The environment variable for passwords.
const PASSWORD: &str = "AMPS_PASSWORD";

/// How long a server may take to answer, unless `--timeout` is shorter.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long the orderly end of a connection may take.
const CLOSING: Duration = Duration::from_secs(5);
/// The same after a reason to stop.
const CLOSING_SOON: Duration = Duration::from_secs(2);

/// A connection, and what is asked of it beside the options of the command line.
pub(crate) struct Link {
    pub(crate) client: Client,
    /// It is being closed: nobody wants to hear of that.
    closing: Arc<AtomicBool>,
    /// How the connection was lost, where it is not made again.
    lost: Arc<Mutex<Option<Error>>>,
}

/// What a command wants of its connection.
pub(crate) struct Wish<'a> {
    /// The option that names the servers.
    pub(crate) option: &'static str,
    pub(crate) servers: &'a [String],
    /// A lost connection is made again, also where there is one server only.
    pub(crate) lasting: bool,
    /// The client's name, unless `--name` says one; else one of its own.
    pub(crate) name: Option<String>,
}

impl Link {
    /// Connects to the servers of `--server`.
    pub(crate) fn open(options: &Connection, stop: &Stop) -> Result<Self, Failure> {
        let wish = Wish { option: "--server", servers: &options.server, lasting: false, name: None };
        Self::open_with(wish, options, stop, |builder| builder)
    }

    /// Connects as it is wished.
    pub(crate) fn open_with(
        wish: Wish<'_>,
        options: &Connection,
        stop: &Stop,
        more: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, Failure> {
        let Wish { option, servers, lasting, name } = wish;
        let uris: Vec<String> = servers
            .iter()
            .map(|server| connection_string(server, options))
            .collect::<Result<_, _>>()
            .map_err(|failure: Failure| failure.within(option))?;
        let reconnects = lasting || uris.len() > 1;
        let name = options.name.clone().or(name).unwrap_or_else(unique_name);
        let patience = stop.at_most(PATIENCE);
        let mut builder = Client::builder(name)
            .connect_deadline(patience)
            .command_timeout(Some(patience))
            .publish_timeout(patience);
        if let Some(password) = password(options.password_file.as_deref())? {
            builder = builder.authenticator(FromOutside(password));
        }
        if let Some(path) = &options.ca {
            let tls = TlsClient::builder().roots_file(path).build();
            builder = builder.tls(tls.map_err(|error| Failure::usage(format!("--ca: {error}")))?);
        }
        let servers = Servers::new(uris.clone());
        let closing = Arc::new(AtomicBool::new(false));
        let lost = Arc::<Mutex<Option<Error>>>::default();
        builder = if reconnects {
            let quiet = Arc::clone(&closing);
            let up = Mutex::new(None);
            let says = move |state| tell(state, &up, &quiet);
            builder.server_chooser(servers.clone()).reconnect(Reconnect::new()).on_state(says)
        } else {
            let loses = Arc::clone(&lost);
            // Whoever waits for the server need not wait any longer.
            builder.servers(uris).on_disconnect(move |client, error| {
                *loses.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                client.abort();
                Ok(())
            })
        };
        let client = more(builder).build()?;
        let aborting = client.clone();
        stop.wake_by(move || aborting.abort());
        let connected = client.connect();
        stop.wake_nobody();
        let link = Self { client, closing, lost };
        match connected {
            Ok(()) => Ok(link),
            Err(error) => Err(not_connected(error, &servers, stop)),
        }
    }

    /// Whether the connection was lost, and is not made again.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The reason for an error: that the connection was lost, if it was.
    pub(crate) fn reason(&self, error: Error) -> Error {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(error)
    }

    /// Ends the connection in an orderly way.
    pub(crate) fn close(&self, stop: &Stop) -> Result<(), Failure> {
        self.closing.store(true, Ordering::Relaxed);
        // Also when the time is over: acknowledgements are not left behind.
        let within = if stop.cause().is_some() { CLOSING_SOON } else { stop.at_most(CLOSING) };
        Ok(self.client.close_within(within)?)
    }
}

/// What a failure to connect means. Its class is the connection's, however long it took, but for refusals, and where
/// `--timeout` was the reason.
fn not_connected(error: Error, servers: &Servers, stop: &Stop) -> Failure {
    match stop.cause() {
        Some(Cause::Signal(_) | Cause::OutputGone) => Failure::new(CONNECTION, "stopped while it connected"),
        Some(Cause::TimedOut) => Failure::new(TIMED_OUT, format!("not connected in time: {error}")),
        None => {
            let failure = Failure::from(servers.last_error().unwrap_or(error));
            if failure.status() == TIMED_OUT { Failure::new(CONNECTION, failure.text()) } else { failure }
        }
    }
}

/// Says on stderr, once each, that a connection was lost, and that there is one again. Until there was one, the outcome
/// says everything.
fn tell(state: ConnectionState, up: &Mutex<Option<bool>>, quiet: &AtomicBool) {
    if quiet.load(Ordering::Relaxed) {
        return;
    }
    let mut up = up.lock().unwrap_or_else(PoisonError::into_inner);
    match (state, *up) {
        (ConnectionState::LoggedOn, before) => {
            if before == Some(false) {
                eprintln!("amps: connected again");
            }
            *up = Some(true);
        }
        (ConnectionState::Disconnected, Some(true)) => {
            eprintln!("amps: the connection was lost; trying again");
            *up = Some(false);
        }
        _ => {}
    }
}

/// A name that no other run has: servers keep sequence numbers by name.
fn unique_name() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("amps-{}-{:x}", std::process::id(), since.as_nanos())
}

/// The name that goes with a store: the same at every start.
pub(crate) fn name_of_store(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let kept: String = stem.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    format!("amps-{kept}")
}

/// The password that the connection string does not say.
fn password(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(path) = file else {
        // What is no text cannot be sent either.
        return Ok(std::env::var(PASSWORD).ok().filter(|password| !password.is_empty()));
    };
    let text = fs::read_to_string(path).map_err(|error| Failure::unopened(path, &error))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.chars().any(char::is_control) {
        return Err(Failure::usage(format!(
            "--password-file: {} does not hold one line with a password",
            path.display()
        )));
    }
    Ok(Some(password.to_owned()))
}

/// Gives the password from a file or the environment, unless the connection string has one.
struct FromOutside(String);

impl Authenticator for FromOutside {
    fn authenticate(&self, _user: &str, password: &str) -> Result<String, AuthenticatorError> {
        Ok(if password.is_empty() { self.0.clone() } else { password.to_owned() })
    }

    fn retry(&self, _user: &str, _challenge: &str) -> Result<String, AuthenticatorError> {
        Ok(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_files_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        for text in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(password(Some(&path)).unwrap().unwrap(), "s3cret");
        }
        for text in ["", "\n", "two\nlines\n"] {
            fs::write(&path, text).unwrap();
            let failure = password(Some(&path)).unwrap_err();
            assert!(!failure.text().contains("two"), "{failure:?}");
        }
    }

    #[test]
    fn names_differ_unless_a_store_has_to_know_them_again() {
        assert_ne!(unique_name(), unique_name());
        assert_eq!(name_of_store(Path::new("/var/lib/my orders.bm")), "amps-my-orders");
    }
}
