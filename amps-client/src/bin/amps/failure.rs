//! What went wrong, as one line and an exit status.
//!
//! Owns the classes of failures, and that no line shows a password.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use amps_client::{DisconnectCause, Error, ErrorKind};

/// Something else: a file that cannot be read to its end, a capture that is damaged, a store in trouble.
pub(crate) const OTHER: u8 = 1;
/// The command line asks for what cannot be.
pub(crate) const USAGE: u8 = 2;
/// No connection, or it was lost.
pub(crate) const CONNECTION: u8 = 3;
/// The server refused the logon, the command, or messages.
pub(crate) const REFUSED: u8 = 4;
/// It took too long.
pub(crate) const TIMED_OUT: u8 = 5;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With all that was asked for, or with all that stdout wanted.
    Done,
    /// By a signal.
    Signalled(i32),
}

/// Why a command ended early: a line for people, a status for scripts.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    pub(crate) fn new(status: u8, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }

    /// What clap says, without its pictures.
    pub(crate) fn of_usage(error: &clap::Error, arguments: &[OsString]) -> Self {
        let mut text = error.render().to_string();
        for argument in arguments {
            let argument = argument.to_string_lossy();
            text = text.replace(&*argument, &without_secret(&argument));
        }
        let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
        let said: Vec<&str> = said.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
        let line = said.join(" ");
        let line = line.strip_prefix("error: ").unwrap_or(&line);
        Self::usage(format!("{line}; 'amps help' lists commands and options"))
    }

    /// A file that is named on the command line cannot be opened.
    pub(crate) fn unopened(path: &std::path::Path, error: &io::Error) -> Self {
        Self::usage(format!("cannot read {}: {error}; check the name", path.display()))
    }

    pub(crate) const fn status(&self) -> u8 {
        self.status
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The same with words in front.
    pub(crate) fn within(self, what: &str) -> Self {
        Self { text: format!("{what}: {}", self.text), ..self }
    }

    /// Says it on stderr.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("amps: {}", one_line(&self.text));
        ExitCode::from(self.status)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(status_of(&error), error.to_string())
    }
}

fn status_of(error: &Error) -> u8 {
    if let Error::Disconnected { cause: DisconnectCause::GaveUp(inner) } = error {
        return status_of(inner);
    }
    match error {
        Error::LogonRefused { .. } | Error::LogonRetries { .. } | Error::Refused { .. } => REFUSED,
        Error::Store(_) => OTHER,
        _ => match error.kind() {
            ErrorKind::InvalidArgument
            | ErrorKind::InvalidUri
            | ErrorKind::InvalidTransportOptions
            | ErrorKind::TransportType
            | ErrorKind::Usage => USAGE,
            ErrorKind::TimedOut | ErrorKind::Full => TIMED_OUT,
            _ if error.is_command() => REFUSED,
            _ if error.is_connection() => CONNECTION,
            _ => OTHER,
        },
    }
}

/// Words of servers and systems may break lines, and terminals; an error does not.
pub(crate) fn one_line(text: &str) -> String {
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An argument without what may be a password: what is between the first colon, behind a scheme, and the last `@`.
fn without_secret(argument: &str) -> String {
    let Some(at) = argument.rfind('@') else { return argument.to_owned() };
    let begin = argument.find("://").map_or(0, |scheme| scheme + 3);
    let colon = argument.get(begin..at).and_then(|user| user.find(':'));
    match (colon.map(|colon| begin + colon), argument.get(at..)) {
        (Some(colon), Some(rest)) => format!("{}:***{rest}", argument.get(..colon).unwrap_or_default()),
        _ => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        assert_eq!(without_secret("tcp://ann:s3:c@r et@h:9007/amps"), "tcp://ann:***@h:9007/amps");
        assert_eq!(without_secret("--server=ann:secret@host:9007"), "--server=ann:***@host:9007");
        assert_eq!(without_secret("ann@host:9007"), "ann@host:9007");
        assert_eq!(without_secret("tcp://host:9007"), "tcp://host:9007");
    }

    #[test]
    fn what_a_server_says_cannot_forge_a_line() {
        assert_eq!(one_line("bad\nfilter\u{1b}[2J\n"), "bad filter [2J");
    }

    #[test]
    fn each_class_has_its_status() {
        let refused = Error::Refused {
            action: "sow".into(),
            class: amps_client::ReasonClass::of("x"),
            reason: "x".into(),
        };
        assert_eq!(status_of(&refused), REFUSED);
        let gave_up = Error::Disconnected { cause: DisconnectCause::GaveUp(Box::new(refused)) };
        assert_eq!(status_of(&gave_up), REFUSED);
        assert_eq!(status_of(&Error::Disconnected { cause: DisconnectCause::NeverConnected }), CONNECTION);
        assert_eq!(status_of(&Error::InvalidArgument("x".into())), USAGE);
        let late = Error::TimedOut { action: "sow".into(), after: std::time::Duration::ZERO };
        assert_eq!(status_of(&late), TIMED_OUT);
    }
}
