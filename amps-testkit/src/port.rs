//! The port of a server that does not listen for a while.
//!
//! Owns the reservation: a socket that is bound and does not listen. Whoever connects is refused,
//! and the system gives the port to nobody else.

use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Keeps a port for as long as it lives.
#[derive(Debug)]
pub(crate) struct Reservation(#[expect(dead_code, reason = "it is there to be there")] Socket);

impl Reservation {
    /// `None` if somebody has the port.
    pub(crate) fn of(addr: SocketAddr) -> Option<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)).ok()?;
        // On Windows this option would let others take the port.
        #[cfg(not(windows))]
        socket.set_reuse_address(true).ok()?;
        socket.bind(&addr.into()).ok()?;
        Some(Self(socket))
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;

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
}
