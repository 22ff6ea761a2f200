//! The handle's way to the control port, and the wish to stop that may come from there.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::FakeServer;
use crate::shell::Note;

/// Somebody wants the server to stop.
#[derive(Debug, Default)]
pub(super) struct StopSignal {
    wanted: Mutex<bool>,
    changed: Condvar,
}

impl FakeServer {
    /// Where the control port listens, if there is one.
    pub fn control_addr(&self) -> Option<SocketAddr> {
        Some(self.owned.as_ref()?.control.as_ref()?.addr())
    }

    /// The URI of the control port, `http://127.0.0.1:PORT`, if there is one.
    pub fn control_uri(&self) -> Option<String> {
        self.control_addr().map(|addr| format!("http://{addr}"))
    }

    /// Waits until somebody wants the server to stop: `POST /stop` of the control port, or
    /// another thread by [`request_stop`](Self::request_stop). The server goes on until it is
    /// dropped.
    ///
    /// ```
    /// use amps_testkit::FakeServer;
    ///
    /// let server = FakeServer::builder().start()?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| server.request_stop());
    ///     server.wait_for_stop();
    /// });
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn wait_for_stop(&self) {
        let wanted = self.stop.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.stop.changed.wait_while(wanted, |wanted| !*wanted);
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets [`wait_for_stop`](Self::wait_for_stop) return, now or whenever it is called.
    pub fn request_stop(&self) {
        *self.stop.wanted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
    }

    /// Whether the server still works. It does until it is dropped, unless its engine has panicked,
    /// be it in a function that the test has registered: then it answers nobody, and whatever is
    /// asked of it here is answered with nothing.
    ///
    /// ```
    /// let server = amps_testkit::FakeServer::builder().start()?;
    /// assert!(server.is_running());
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn is_running(&self) -> bool {
        self.inspect(|_, _| ()).is_some()
    }

    /// Says what is left to say, and closes every connection and listener.
    pub(crate) fn close_all(&self) {
        self.stop_accepting();
        self.machine.post(Note::Stop);
        self.handed_over();
    }

    /// A handle that can do everything, and ends nothing when it is dropped.
    pub(super) fn for_control(&self) -> Self {
        Self {
            machine: self.machine.clone(),
            listeners: Arc::clone(&self.listeners),
            ca: self.ca.clone(),
            journal: Arc::clone(&self.journal),
            rules: self.rules,
            stop: Arc::clone(&self.stop),
            owned: None,
        }
    }
}
