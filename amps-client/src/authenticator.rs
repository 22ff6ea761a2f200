//! Credentials: what a site makes of a user's name and password.
//!
//! An authenticator may ask other systems and take its time, so it runs on a thread of its
//! own, never on the event loop; what it says comes back to the session as a note.

use std::fmt;
use std::sync::Arc;

/// Why an authenticator could not say what to log on with.
pub type AuthenticatorError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the credentials of a logon, for instance a token from a ticket service.
///
/// Without one, the user and the password of the connection string are sent as they are.
/// Called on a thread of its own, for each logon, also those of a reconnect. It may block, but not for longer
/// than [`ClientBuilder::connect_timeout`](crate::ClientBuilder::connect_timeout), or the attempt has failed.
///
/// ```
/// use amps_client::{Authenticator, AuthenticatorError, Client};
/// # use amps_testkit::{Authentication, FakeServer};
///
/// struct Tickets;
///
/// impl Authenticator for Tickets {
///     fn authenticate(&self, user: &str, _password: &str) -> Result<String, AuthenticatorError> {
///         Ok(format!("ticket for {user}"))
///     }
///     fn retry(&self, user: &str, challenge: &str) -> Result<String, AuthenticatorError> {
///         Ok(format!("answer of {user} to {challenge}"))
///     }
/// }
/// # let users = [("ann".to_owned(), "ticket for ann".to_owned())];
/// # let server = FakeServer::builder().authentication(Authentication::Passwords(users.into())).start()?;
/// # let uri = server.uri("json").replace("tcp://", "tcp://ann@");
///
/// let client = Client::builder("desk-7").server(&uri).authenticator(Tickets).connect()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Authenticator: Send + Sync + 'static {
    /// The password or token for the first logon of a connection. User and password are those
    /// of the connection string; empty where it has none.
    ///
    /// # Errors
    /// Nothing is sent then, and the attempt fails with
    /// [`ErrorKind::Authentication`](crate::ErrorKind::Authentication).
    fn authenticate(&self, user: &str, password: &str) -> Result<String, AuthenticatorError>;

    /// The password or token for another logon, because the server asked for one. User and
    /// password are what the server said, a challenge for instance; those of the logon before
    /// where it said nothing. At most three times for each connection.
    ///
    /// # Errors
    /// As for [`authenticate`](Self::authenticate).
    fn retry(&self, user: &str, password: &str) -> Result<String, AuthenticatorError>;

    /// The logon succeeded, with these. Called once for each connection.
    fn completed(&self, user: &str, password: &str, reason: &str) {
        let _ = (user, password, reason);
    }
}

/// What an authenticator is asked.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) step: Step,
    pub(crate) user: String,
    pub(crate) password: String,
    /// What the server said when the logon succeeded.
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    First,
    Retry,
    Completed,
}

impl Question {
    /// Asks; the answer of `Completed` is of no interest.
    pub(crate) fn ask(&self, authenticator: &dyn Authenticator) -> Answer {
        let password = match self.step {
            Step::First => authenticator.authenticate(&self.user, &self.password),
            Step::Retry => authenticator.retry(&self.user, &self.password),
            Step::Completed => {
                authenticator.completed(&self.user, &self.password, &self.reason);
                Ok(String::new())
            }
        };
        Answer { user: self.user.clone(), password: password.map_err(Arc::from) }
    }
}

impl fmt::Debug for Question {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("step", &self.step).field("user", &self.user).finish_non_exhaustive()
    }
}

/// What an authenticator said.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) user: String,
    pub(crate) password: Result<String, Arc<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Debug for Answer {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self.password.as_ref().map(|_| "..");
        f.debug_struct("Answer").field("user", &self.user).field("password", &outcome).finish()
    }
}
