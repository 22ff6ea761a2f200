//! The port of a server that does not listen for a while.
//!
//! Owns the reservation: a socket that is bound and does not listen. Whoever connects is refused,
//! and the system gives the port to nobody else.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Keeps a port for as long as it lives.
#[derive(Debug)]
pub(crate) struct Reservation(#[expect(dead_code, reason = "it is there to be there")] Socket);

impl Reservation {
    /// `None` if somebody has the port.
    pub(crate) fn of(addr: SocketAddr) -> Option<Self> {
        Self::made(addr).ok().map(|(reservation, _)| reservation)
    }

    /// With the address that it keeps: a free port, if none was given.
    ///
    /// # Errors
    /// Somebody has the port.
    pub(crate) fn made(addr: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // On Windows this option would let others take the port.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(addr);
        Ok((Self(socket), bound))
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::FakeServer;

    #[test]
    fn a_server_that_does_not_accept_keeps_its_port() {
        let server = FakeServer::builder().start().unwrap();
        let addr = server.addr();
        server.stop_accepting();
        let other = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)).unwrap();
        assert_eq!(other.bind(&addr.into()).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        server.resume_accepting().unwrap();
        TcpStream::connect(addr).unwrap();
    }

    /// The loop may be some turns away from closing what it listens on.
    #[test]
    fn a_transport_that_is_disabled_keeps_its_port_and_can_be_enabled_at_once() {
        let server = FakeServer::builder().start().unwrap();
        let (addr, name) = (server.addr(), server.listeners()[0].name.clone());
        for _ in 0..20 {
            let _busy: Vec<_> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
            assert!(server.disable_transport(&name));
            let other = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)).unwrap();
            assert_eq!(other.bind(&addr.into()).unwrap_err().kind(), ErrorKind::AddrInUse);
            assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            assert!(server.enable_transport(&name).unwrap());
        }
    }

    /// They may be accepted while the listener is being closed.
    #[test]
    fn nobody_who_comes_back_at_once_stays_on_a_transport_that_is_disabled() {
        let server = FakeServer::builder().start().unwrap();
        let (addr, name) = (server.addr(), server.listeners()[0].name.clone());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut connections = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    connections.extend(TcpStream::connect(addr));
                    if connections.len() > 100 {
                        connections.clear();
                    }
                }
            });
            for _ in 0..50 {
                while server.connections().is_empty() {}
                server.disable_transport(&name);
                let left = server.connections().len();
                server.enable_transport(&name).unwrap();
                if left > 0 {
                    stop.store(true, Ordering::Relaxed);
                }
                assert_eq!(left, 0);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
