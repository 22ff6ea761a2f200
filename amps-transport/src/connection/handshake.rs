//! Connections that are being made: one attempt after the other, until one succeeds.
//!
//! Invariant: a connection in the phase `Connecting` waits for exactly one of these: its
//! resolver, or the end of one handshake; and it has a deadline for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::Interest;

use super::{Connection, Connections, Phase, Progress, slot_of, token_of};
use crate::connect;
use crate::error::ConnectError;
use crate::machine::{ConnId, Target};
use crate::outlet::Outlet;

impl Connections {
    pub(super) fn begin_connecting(&mut self, conn: ConnId, target: &Target) {
        let signals = Arc::clone(&self.signals);
        let Some(Connection { phase: Phase::Connecting { plan, .. }, .. }) = self.get(conn) else { return };
        let deadline = plan.deadline();
        if let Some(address) = plan.literal() {
            plan.resolved(Ok(vec![address]));
            self.try_next_address(conn);
        } else {
            match connect::resolve(conn, target, signals) {
                Ok(()) => self.set_deadline(conn, Some(deadline)),
                Err(error) => {
                    plan.failed(error);
                    self.try_next_address(conn);
                }
            }
        }
    }

    /// The resolver has answered.
    pub(crate) fn resolved(&mut self, conn: ConnId, found: io::Result<Vec<SocketAddr>>) {
        if let Some(Connection { phase: Phase::Connecting { plan, .. }, .. }) = self.get(conn) {
            plan.resolved(found);
            self.try_next_address(conn);
        }
    }

    pub(super) fn try_next_address(&mut self, conn: ConnId) {
        let now = self.clock.now();
        loop {
            let Some(connection) = self.slots.get_mut(slot_of(conn)) else { return };
            let Phase::Connecting { plan, stream } = &mut connection.phase else { return };
            *stream = None;
            let Some((address, until)) = plan.next_attempt(now) else { break };
            let attempt = connect::begin(address, &plan.target().socket).and_then(|mut begun| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.registry.register(&mut begun, token_of(conn), interest).map(|()| begun)
            });
            match attempt {
                Ok(begun) => {
                    *stream = Some(begun);
                    return self.set_deadline(conn, Some(until));
                }
                Err(error) => plan.failed(error),
            }
        }
        self.set_deadline(conn, None);
        let Some(connection) = self.get(conn) else { return };
        let nothing = Phase::ConnectFailed(ConnectError::NoAddress { host: String::new() });
        if let Phase::Connecting { plan, .. } = std::mem::replace(&mut connection.phase, nothing) {
            connection.phase = Phase::ConnectFailed(plan.into_error());
        }
        self.make_ready(conn);
    }

    /// Looks how a handshake is doing.
    pub(crate) fn check_handshake(&mut self, conn: ConnId) -> Progress {
        let signals = Arc::clone(&self.signals);
        let Some(connection) = self.get(conn) else { return Progress::Nothing };
        let Phase::Connecting { plan, stream } = &mut connection.phase else { return Progress::Nothing };
        let Some(outcome) = stream.as_ref().and_then(connect::outcome) else { return Progress::Nothing };
        match (outcome, stream.take()) {
            (Ok(()), Some(stream)) => {
                let (local, peer) = (stream.local_addr().ok(), stream.peer_addr().ok());
                connection.phase = Phase::Open(Outlet::new(conn, stream, signals));
                connection.deadline = None;
                // The event that told of the end of the handshake may be the only one for
                // bytes that came right behind it.
                self.make_ready(conn);
                self.write_out(conn);
                Progress::Established { local, peer }
            }
            (Err(error), _) => {
                plan.failed(error);
                self.try_next_address(conn);
                Progress::Nothing
            }
            (Ok(()), None) => Progress::Nothing,
        }
    }
}
