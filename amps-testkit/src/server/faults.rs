//! The handle's way to the scripted faults.

use super::FakeServer;
use crate::fault::{Fault, FaultId, FaultStatus};
use crate::form::FaultError;
use crate::shell::{Note, Script};

impl FakeServer {
    /// Adds a scripted fault. When this returns it is in force; connections, frames and time
    /// count from now on.
    ///
    /// # Errors
    /// It cannot fire; see [`Fault::check`].
    pub fn add_fault(&self, fault: Fault) -> Result<FaultId, FaultError> {
        fault.check()?;
        let id = self.ask(|done| Note::Script(Script::AddFault(Box::new(fault), done)));
        self.handed_over();
        Ok(id.unwrap_or(FaultId(0)))
    }

    /// Takes a fault away, and ends what it does lastingly: stalls, pieces, throttles and acks
    /// that it holds. Returns `false` if there is no such fault.
    pub fn remove_fault(&self, id: FaultId) -> bool {
        let found = self.ask(|done| Note::Script(Script::RemoveFault(id, done)));
        self.handed_over();
        found.unwrap_or_default()
    }

    /// The faults, in the order in which they were added, with those that have fired for the last
    /// time.
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.ask(|done| Note::Script(Script::Faults(done))).unwrap_or_default()
    }

    /// The faults that have not fired although they were to fire once, or so many times.
    pub fn unused_faults(&self) -> Vec<FaultStatus> {
        let mut faults = self.faults();
        faults.retain(FaultStatus::is_unused);
        faults
    }
}
