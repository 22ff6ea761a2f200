//! Listening sockets.
//!
//! Owns the table of a loop's listeners and their setup. Invariants: a listener is bound and
//! registered on its caller's thread, so that the caller learns of every error; the loop
//! accepts once when it takes the listener over, because connections may have come before.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
#[cfg(unix)]
use mio::net::UnixListener;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Type};

use crate::connect::{apply_buffer_sizes, apply_options, check_options};
use crate::layer::Layers;
use crate::machine::{ListenerId, SocketOptions};
use crate::stream::Socket;
use crate::time::Time;

/// As many as may wait between two turns; the system cuts it down to its own limit.
const BACKLOG: i32 = 4096;

/// When to accept again after the system ran out of descriptors or memory.
const RETRY_TIME: Duration = Duration::from_millis(50);

/// How many connections may be accepted before others get their turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Marks the tokens of listeners.
const LISTENER: usize = 1 << (usize::BITS - 1);

pub(crate) struct Listener {
    pub(crate) owner: usize,
    pub(crate) socket: Listening,
    pub(crate) options: SocketOptions,
    pub(crate) layers: Layers,
    /// Accept again at this time, event or not.
    retry_at: Option<Time>,
}

/// A listening socket.
pub(crate) enum Listening {
    Tcp(TcpListener),
    /// And its file, which goes with it.
    #[cfg(unix)]
    Unix(UnixListener, std::path::PathBuf),
}

impl Listening {
    fn accept(&self, options: &SocketOptions) -> io::Result<(Option<Socket>, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                let set_up = apply_options(&SockRef::from(&stream), options).is_ok();
                Ok((set_up.then_some(Socket::Tcp(stream)), Some(peer)))
            }
            #[cfg(unix)]
            Self::Unix(listener, _) => Ok((Some(Socket::Unix(listener.accept()?.0)), None)),
        }
    }
}

#[cfg(unix)]
impl Drop for Listening {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Somebody may have removed it already.
            let _gone = std::fs::remove_file(path);
        }
    }
}

/// Binds and registers a socket file. One that is left over, to which nobody listens, is replaced.
#[cfg(unix)]
pub(crate) fn open_unix(
    path: &std::path::Path,
    id: ListenerId,
    registry: &Registry,
) -> io::Result<Listening> {
    let bind = || UnixListener::bind(path);
    let mut listener = match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = std::fs::metadata(path)
                .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()));
            if !is_socket || std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            bind()?
        }
        other => other?,
    };
    registry.register(&mut listener, token_of(id), Interest::READABLE)?;
    Ok(Listening::Unix(listener, path.to_owned()))
}

/// Binds and registers a listener.
pub(crate) fn open(
    address: SocketAddr,
    options: &SocketOptions,
    id: ListenerId,
    registry: &Registry,
) -> io::Result<(Listening, SocketAddr)> {
    check_options(options)?;
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // On Windows this option would let two listeners share a port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    apply_buffer_sizes(&SockRef::from(&socket), options)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let mut listener = TcpListener::from_std(socket.into());
    let bound = listener.local_addr()?;
    registry.register(&mut listener, token_of(id), Interest::READABLE)?;
    Ok((Listening::Tcp(listener), bound))
}

/// The listeners of one loop.
#[derive(Default)]
pub(crate) struct Listeners {
    open: HashMap<u64, Listener>,
}

impl Listeners {
    pub(crate) fn add(
        &mut self,
        id: ListenerId,
        owner: usize,
        socket: Listening,
        options: SocketOptions,
        layers: Layers,
    ) {
        self.open.insert(id.0, Listener { owner, socket, options, layers, retry_at: None });
    }

    pub(crate) fn close(&mut self, id: ListenerId, owner: usize) {
        if self.open.get(&id.0).is_some_and(|listener| listener.owner == owner) {
            self.open.remove(&id.0);
        }
    }

    pub(crate) fn close_all_of(&mut self, owner: usize) {
        self.open.retain(|_, listener| listener.owner != owner);
    }

    /// Accepts what waits. A connection that fails while it is being set up is the peer's
    /// affair, and not reported.
    pub(crate) fn accept(&mut self, id: ListenerId, now: Time) -> Vec<(Socket, Option<SocketAddr>)> {
        let mut accepted = Vec::new();
        let Some(listener) = self.open.get_mut(&id.0) else { return accepted };
        listener.retry_at = None;
        while accepted.len() < ACCEPTS_PER_TURN {
            match listener.socket.accept(&listener.options) {
                Ok((Some(socket), peer)) => accepted.push((socket, peer)),
                Ok((None, _)) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return accepted,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // Those that wait have had their event, so there will be no other.
                    _ => {
                        listener.retry_at = Some(now + RETRY_TIME);
                        return accepted;
                    }
                },
            }
        }
        listener.retry_at = Some(now);
        accepted
    }

    /// When some listener wants to accept without an event.
    pub(crate) fn earliest_retry(&self) -> Option<Time> {
        self.open.values().filter_map(|listener| listener.retry_at).min()
    }

    /// The listeners whose time has come.
    pub(crate) fn due(&self, now: Time) -> Vec<ListenerId> {
        let due = self.open.iter().filter(|(_, listener)| listener.retry_at.is_some_and(|at| at <= now));
        due.map(|(id, _)| ListenerId(*id)).collect()
    }

    pub(crate) fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.open.get(&id.0)
    }
}

fn token_of(id: ListenerId) -> Token {
    Token(LISTENER | id.0 as usize)
}

/// The listener that a token names, if it names one.
pub(crate) fn listener_of(token: Token) -> Option<ListenerId> {
    (token.0 & LISTENER != 0).then_some(ListenerId((token.0 & !LISTENER) as u64))
}
