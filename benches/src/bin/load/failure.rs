//! What can go wrong, as one line and an exit status.
//!
//! Owns the sorting of the client's errors into statuses. Never retries anything.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use amps_client::{Client, DisconnectCause, Error};

const OTHER: u8 = 1;
const MISTAKE: u8 = 2;
const NO_CONNECTION: u8 = 3;
const REFUSED: u8 = 4;

/// How long a client that lost its connection may take to say why.
const EXPLAIN_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Mistake(String),
    #[error(transparent)]
    Client(#[from] Error),
    #[error("the subscription ended before its messages had come")]
    Ended,
    #[error("the topic \"{0}\" has no records; publish some, for example with load pub")]
    NoRecords(String),
    #[error("nothing came on the topic \"{topic}\" for {after:?}; what is published there has to come back")]
    Silence { topic: String, after: Duration },
    #[error("the system said no: {0}")]
    System(#[from] nix::Error),
    #[error("{clients} clients need {needed} descriptors, but the limit is {limit}; raise it with ulimit -n")]
    Descriptors { clients: u64, needed: u64, limit: u64 },
    #[error("stdout: {0}")]
    Output(#[source] io::Error),
}

impl Failure {
    /// Why the messages of `client` ended: its connection's cause, if it has none any more.
    pub(crate) fn of_ended(client: &Client) -> Self {
        client.flush(EXPLAIN_WITHIN).map_or_else(Self::Client, |()| Self::Ended)
    }

    fn status(&self) -> u8 {
        match self {
            Self::Mistake(_) => MISTAKE,
            Self::Client(error) => of_client(error),
            _ => OTHER,
        }
    }

    /// Says it on stderr, on one line.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
        ExitCode::from(self.status())
    }
}

fn of_client(error: &Error) -> u8 {
    match error {
        Error::InvalidArgument(_) | Error::Endpoint(_) | Error::Unavailable { .. } | Error::TooLarge(_) => {
            MISTAKE
        }
        Error::LogonRefused { .. }
        | Error::LogonRetries { .. }
        | Error::Authenticator { .. }
        | Error::Refused { .. }
        | Error::TryAgain { .. } => REFUSED,
        Error::Disconnected { cause: DisconnectCause::GaveUp(error) } => of_client(error),
        Error::Connect(_)
        | Error::NoServer { .. }
        | Error::Disconnected { .. }
        | Error::TimedOut { .. }
        | Error::Full { .. } => NO_CONNECTION,
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refuses_is_not_what_it_does_not_answer() {
        let silent = Error::TimedOut { action: "logon".into(), after: Duration::from_secs(1) };
        assert_eq!(Failure::Client(silent.clone()).status(), NO_CONNECTION);
        let gave_up = Error::Disconnected { cause: DisconnectCause::GaveUp(Box::new(silent)) };
        assert_eq!(of_client(&gave_up), NO_CONNECTION);
        let refused = Error::TryAgain { action: "subscribe".into() };
        assert_eq!(of_client(&refused), REFUSED);
        let gave_up = Error::Disconnected { cause: DisconnectCause::GaveUp(Box::new(refused)) };
        assert_eq!(of_client(&gave_up), REFUSED);
        assert_eq!(of_client(&Error::InvalidArgument("port".into())), MISTAKE);
        assert_eq!(Failure::NoRecords("orders".into()).status(), OTHER);
    }
}
