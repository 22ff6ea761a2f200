//! The handle's way to the links to other instances, and a server that ends and begins again.

use std::net::SocketAddr;
use std::time::Duration;

use super::{FakeServer, StartError};
use crate::engine::{Exchanges, LinkChange, LinkSnapshot};
use crate::shell::Note;

impl FakeServer {
    /// Where other instances connect, if [anywhere](crate::FakeServerBuilder::replication_listen).
    pub fn replication_addr(&self) -> Option<SocketAddr> {
        self.lock_listeners().iter().find(|bound| bound.listen.replication)?.at.addr()
    }

    /// The links to the instances that this one replicates to, in the order of the
    /// configuration.
    pub fn links(&self) -> Vec<LinkSnapshot> {
        self.inspect(|engine, _| engine.links()).unwrap_or_default()
    }

    /// Changes the link to a destination; `false` if there is no destination of that name.
    pub fn change_link(&self, destination: &str, change: LinkChange) -> bool {
        let destination = destination.to_owned();
        let known = self.ask(|done| Note::ChangeLink(destination, change, done));
        self.handed_over();
        known.unwrap_or_default()
    }

    /// Connects links that are not connected at once, instead of after a while.
    pub fn connect_links(&self) {
        self.ask(Note::ConnectLinks);
        self.handed_over();
    }

    /// Whether what is logged is sent to destinations at once (`true`, the default), or only
    /// while the clock is being moved (PAIR-08): [`advance`](Self::advance) by nothing will do.
    pub fn auto_replication(&self, on: bool) {
        self.ask(|done| Note::AutoReplication(on, done));
        self.handed_over();
    }

    /// Takes over (`true`) messages of a queue whose owner is not connected, as soon as somebody
    /// here would have them; `false` if there is no such queue.
    pub fn proxied_transfer(&self, queue: &str, on: bool) -> bool {
        let queue = queue.to_owned();
        let known = self.ask(|done| Note::ProxiedTransfer(queue, on, done));
        self.handed_over();
        known.unwrap_or_default()
    }

    /// Whether clients are let in; see [`FakeServerBuilder::early_accept`](crate::FakeServerBuilder::early_accept).
    pub fn is_accepting(&self) -> bool {
        self.inspect(|engine, _| engine.is_accepting()).unwrap_or_default()
    }

    pub(crate) fn exchanges(&self) -> Exchanges {
        self.inspect(|engine, _| engine.exchanges()).unwrap_or_default()
    }

    /// Moves the virtual clock, and lets what is due wait for [`advance`](Self::advance).
    pub(crate) fn move_clock(&self, by: Duration) {
        self.ask(|done| Note::MoveClock(by, done));
    }

    pub(crate) fn halt(&self, orderly: bool) {
        self.stop_accepting();
        self.ask(|done| Note::Halt { orderly, done });
        self.handed_over();
    }

    /// # Errors
    /// Another process has taken a port.
    pub(crate) fn end_halt(&self, early: bool) -> Result<(), StartError> {
        self.ask(|done| Note::EndHalt { early, done });
        self.resume_accepting()?;
        self.handed_over();
        Ok(())
    }
}
