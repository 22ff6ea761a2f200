//! The sink that a machine on an event loop gets.
//!
//! Owns nothing: it lends the loop's connections to one machine for one call, and makes sure
//! that the machine reaches no connection but its own.

use std::sync::Arc;

use crate::connection::Connections;
use crate::machine::{CloseMode, ConnId, Sink, Target};
use crate::mailbox::Presence;
use crate::outlet::Outlet;

pub(crate) struct LoopSink<'a> {
    pub(crate) connections: &'a mut Connections,
    /// The slot of the machine that is being called.
    pub(crate) owner: usize,
    pub(crate) presence: &'a Arc<Presence>,
}

impl Sink for LoopSink<'_> {
    fn connect(&mut self, target: Target) -> ConnId {
        self.connections.command_connect(self.owner, self.presence, target)
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.connections.command_send(self.owner, conn, bytes);
    }

    fn close(&mut self, conn: ConnId, mode: CloseMode) {
        self.connections.command_close(self.owner, conn, mode);
    }

    fn set_reading(&mut self, conn: ConnId, on: bool) {
        self.connections.command_set_reading(self.owner, conn, on);
    }

    /// `None` until the connection is established.
    fn outlet(&mut self, conn: ConnId) -> Option<Outlet> {
        self.connections.outlet(self.owner, conn)
    }

    fn unsent(&self, conn: ConnId) -> usize {
        self.connections.unsent(self.owner, conn)
    }
}
