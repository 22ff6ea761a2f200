//! The handle's way to clock and transports, and the end of a server.

use std::time::{Duration, Instant};

use amps_transport::Time;

use super::{FakeServer, StartError};
use crate::clock::NextTimer;
use crate::shell::{Note, Script};

/// The server did not come to rest in time.
///
/// ```
/// use amps_testkit::FakeServer;
/// use std::time::Duration;
///
/// let server = FakeServer::builder().start()?;
/// server.settle(Duration::from_secs(5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server is still busy after {waited:?}")]
pub struct SettleTimeout {
    /// How long it was waited for, in real time.
    pub waited: Duration,
}

impl FakeServer {
    /// Waits until everything that clients have sent so far is processed, and everything that
    /// follows is handed to the sockets. Of a client in the same process, that is what it wrote
    /// before this call. What waits for the server's clock keeps waiting.
    ///
    /// # Errors
    /// It takes longer than `timeout` of real time; 5 s is much.
    pub fn settle(&self, timeout: Duration) -> Result<(), SettleTimeout> {
        let deadline = Instant::now() + timeout;
        let mut before = None;
        // The sockets are asked between one note and the next.
        loop {
            self.handed_over();
            let inputs = self.ask(|done| Note::Script(Script::Inputs(done)));
            if inputs.is_none() || inputs == before {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(SettleTimeout { waited: timeout });
            }
            before = inputs;
        }
    }

    /// Moves the virtual clock to a time, as [`advance`](Self::advance) does. It never goes back.
    pub fn set_time(&self, to: Time) {
        self.ask(|done| Note::Script(Script::SetTime(to, done)));
        self.handed_over();
    }

    /// What the clock will do next, and when.
    pub fn next_timer(&self) -> Option<NextTimer> {
        self.ask(|done| Note::Script(Script::NextTimer(done))).flatten()
    }

    /// Closes a listener by the name of its transport, and its connections; see
    /// [`listeners`](Self::listeners). The port stays its own. Returns `false` if there is no such transport.
    pub fn disable_transport(&self, name: &str) -> bool {
        let mut found = false;
        for bound in self.lock_listeners().iter_mut().filter(|bound| bound.listen.name() == name) {
            found = true;
            if let Some(id) = bound.id.take() {
                self.machine.stop_listening(id);
                // It is closed when its port can be kept. Before that, those who are dropped may be back.
                self.keep_port(bound);
                self.ask(|done| Note::Script(Script::DropListener(id, done)));
            }
        }
        self.handed_over();
        found
    }

    /// Opens a listener again that was disabled, or closed by
    /// [`stop_accepting`](Self::stop_accepting), on the same port. Returns `false` if there is no
    /// such transport.
    ///
    /// # Errors
    /// Another process has taken the port.
    pub fn enable_transport(&self, name: &str) -> Result<bool, StartError> {
        let mut found = false;
        for bound in self.lock_listeners().iter_mut().filter(|bound| bound.listen.name() == name) {
            found = true;
            if bound.id.is_none() {
                bound.reserved = None;
                bound.listen.transport.disabled = false;
                *bound = self.open(bound.addr, &bound.listen)?;
            }
        }
        Ok(found)
    }

    /// What the end of this server has to complain of.
    pub(super) fn complaints(&self) -> Vec<String> {
        // A test that fails has its reason already.
        if std::thread::panicking() {
            return Vec::new();
        }
        let mut complaints = Vec::new();
        if self.rules.verify_on_drop {
            complaints.extend(self.verify().err().map(|unmet| unmet.to_string()));
        }
        if self.rules.leaks {
            let leaked: Vec<String> = self.connections().iter().map(name).collect();
            if !leaked.is_empty() {
                complaints.push(format!("connections were left open: {}", leaked.join(", ")));
            }
        }
        complaints
    }
}

/// Makes the test fail.
#[expect(clippy::panic, reason = "a test that asked for it has to fail, and a drop has no result")]
pub(super) fn complain(complaints: &[String]) {
    if !complaints.is_empty() {
        panic!("{}", complaints.join("\n"));
    }
}

fn name(connection: &crate::ConnectionSnapshot) -> String {
    match &connection.client_name {
        Some(client) => format!("{} ({client})", connection.index),
        None => connection.index.to_string(),
    }
}
