//! Which server to try, and when to give up.
//!
//! Owns two rules. At the start each server is tried once: a script wants to know soon that nobody is there. Later, a
//! lost connection is made again for as long as the command runs, unless every server refuses the logon.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amps_client::{ConnectionInfo, Error, Server, ServerChooser};

struct State {
    current: usize,
    /// Attempts that failed in a row.
    failed: usize,
    /// Logons that were refused in a row.
    refused: usize,
    connected_once: bool,
    last: Option<Error>,
}

/// The servers of the command line.
#[derive(Clone)]
pub(crate) struct Servers {
    uris: Arc<[String]>,
    state: Arc<Mutex<State>>,
}

impl Servers {
    pub(crate) fn new(uris: Vec<String>) -> Self {
        let state = State { current: 0, failed: 0, refused: 0, connected_once: false, last: None };
        Self { uris: uris.into(), state: Arc::new(Mutex::new(state)) }
    }

    /// What the last attempt that failed said.
    pub(crate) fn last_error(&self) -> Option<Error> {
        self.lock().last.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerChooser for Servers {
    fn current(&self) -> Option<Server> {
        let state = self.lock();
        let all = self.uris.len();
        let exhausted = state.refused >= all || (!state.connected_once && state.failed >= all);
        if exhausted {
            return None;
        }
        self.uris.get(state.current % all.max(1)).map(Server::new)
    }

    fn report_failure(&self, error: &Error, _: &ConnectionInfo) {
        let mut state = self.lock();
        state.current += 1;
        state.failed += 1;
        let refused = matches!(error, Error::LogonRefused { .. } | Error::LogonRetries { .. });
        state.refused = if refused { state.refused + 1 } else { 0 };
        state.last = Some(error.clone());
    }

    fn report_success(&self, _: &ConnectionInfo) {
        let mut state = self.lock();
        (state.failed, state.refused, state.connected_once) = (0, 0, true);
    }

    fn error(&self) -> String {
        self.lock().last.as_ref().map_or_else(|| "no server was given".to_owned(), ToString::to_string)
    }
}
