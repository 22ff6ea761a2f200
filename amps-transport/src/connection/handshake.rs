//! Connections that are being made: one attempt after the other, until one succeeds.
//!
//! Invariant: a connection in the phase `Connecting` waits for exactly one of these: its
//! resolver, or the end of one handshake; and it has a deadline for it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::{Attempt, Connection, Connections, Phase, Progress, slot_of, token_of};
use crate::connect;
use crate::error::ConnectError;
use crate::machine::{Address, ConnId, CustomStream, Target};
use crate::outlet::Outlet;
use crate::stream::{Handshake, Socket, Stream};

impl Connections {
    pub(super) fn begin_connecting(&mut self, conn: ConnId, target: &Target) {
        let signals = Arc::clone(&self.signals);
        let Some(Connection { phase: Phase::Connecting { plan, .. }, .. }) = self.get(conn) else { return };
        let deadline = plan.deadline();
        if let Address::Custom { connector, host, port } = &target.address {
            let (connector, host, port, timeout) =
                (Arc::clone(connector), host.clone(), *port, target.timeout);
            let work = move || connector.connect(&host, port, timeout);
            match connect::make(conn, work, signals) {
                Ok(()) => self.set_deadline(conn, Some(deadline)),
                Err(error) => {
                    plan.failed(error);
                    self.give_up(conn);
                }
            }
        } else if let Address::Unix(path) = &target.address {
            let attempt = connect::begin_unix(path);
            self.set_deadline(conn, Some(deadline));
            self.attempted(conn, attempt);
        } else if let Some(address) = plan.literal() {
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

    /// A connector of the application has answered.
    pub(crate) fn made(&mut self, conn: ConnId, made: io::Result<Box<dyn CustomStream>>) {
        self.attempted(conn, made.map(|stream| Socket::Custom(Mutex::new(stream))));
    }

    /// The only attempt that there is has begun.
    fn attempted(&mut self, conn: ConnId, attempt: io::Result<Socket>) {
        let registered =
            attempt.and_then(|mut socket| socket.register(&self.registry, token_of(conn)).map(|()| socket));
        let Some(Connection { phase: Phase::Connecting { plan, attempt }, .. }) = self.get(conn) else {
            return;
        };
        match registered {
            Ok(socket) => *attempt = Attempt::Socket(socket),
            Err(error) => {
                plan.failed(error);
                self.give_up(conn);
            }
        }
    }

    pub(super) fn try_next_address(&mut self, conn: ConnId) {
        let now = self.clock.now();
        loop {
            let Some(connection) = self.slots.get_mut(slot_of(conn)) else { return };
            let Phase::Connecting { plan, attempt } = &mut connection.phase else { return };
            *attempt = Attempt::Asked;
            let Some((address, until)) = plan.next_attempt(now) else { break };
            let begun = connect::begin(address, &plan.target().socket)
                .and_then(|mut begun| begun.register(&self.registry, token_of(conn)).map(|()| begun));
            match begun {
                Ok(begun) => {
                    *attempt = Attempt::Socket(begun);
                    return self.set_deadline(conn, Some(until));
                }
                Err(error) => plan.failed(error),
            }
        }
        self.give_up(conn);
    }

    /// No further attempt: the machine is told the last error.
    fn give_up(&mut self, conn: ConnId) {
        self.set_deadline(conn, None);
        let Some(connection) = self.get(conn) else { return };
        let nothing = Phase::ConnectFailed(ConnectError::NoAddress { host: String::new() });
        if let Phase::Connecting { plan, .. } = std::mem::replace(&mut connection.phase, nothing) {
            connection.phase = Phase::ConnectFailed(plan.into_error());
        }
        self.make_ready(conn);
    }

    /// Looks how an attempt is doing.
    pub(crate) fn check_handshake(&mut self, conn: ConnId, scratch: &mut [u8]) -> Progress {
        let signals = Arc::clone(&self.signals);
        let Some(connection) = self.get(conn) else { return Progress::Nothing };
        let Phase::Connecting { plan, attempt } = &mut connection.phase else { return Progress::Nothing };
        let mut outcome = None;
        if let Attempt::Socket(socket) = attempt {
            match connect::outcome(socket) {
                None => return Progress::Nothing,
                Some(Err(error)) => outcome = Some(Err(error)),
                Some(Ok(())) => {
                    let Attempt::Socket(socket) = std::mem::replace(attempt, Attempt::Asked) else {
                        return Progress::Nothing;
                    };
                    let target = plan.target();
                    match Stream::new(socket, &target.layers, target.address.host()) {
                        Ok(stream) => *attempt = Attempt::Layers(stream),
                        Err(error) => outcome = Some(Err(error.into())),
                    }
                }
            }
        }
        if let Attempt::Layers(stream) = attempt {
            outcome = match stream.handshake(scratch) {
                Ok(Handshake::Done) => Some(Ok(())),
                Ok(Handshake::Waits) => None,
                Ok(Handshake::GoesOn) => {
                    self.make_ready(conn);
                    return Progress::Nothing;
                }
                Err(error) => Some(Err(error)),
            };
        }
        match (outcome, std::mem::replace(attempt, Attempt::Asked)) {
            (None, unfinished) => {
                *attempt = unfinished;
                Progress::Nothing
            }
            (Some(Ok(())), Attempt::Layers(stream)) => {
                let (local, peer) = stream.addresses();
                connection.phase = Phase::Open(Outlet::new(conn, stream, signals));
                connection.deadline = None;
                // The event that told of the end of the handshake may be the only one for
                // bytes that came right behind it.
                self.make_ready(conn);
                self.write_out(conn);
                Progress::Established { local, peer }
            }
            (Some(Err(error)), _) => {
                plan.failed(error);
                self.try_next_address(conn);
                Progress::Nothing
            }
            (Some(Ok(())), _) => Progress::Nothing,
        }
    }
}
