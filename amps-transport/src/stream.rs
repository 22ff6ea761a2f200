//! A socket with the layers on it, as the loop and other threads use it.
//!
//! Invariants: without layers every call is the socket's own. With layers, `write` takes
//! bytes only when everything that was encoded before is with the socket, so at most one part
//! waits here; whoever hears that the socket is writable brings that out first. A call reads the
//! socket a bounded number of times, whatever comes of it; and nothing is read while much that
//! the layers have answered waits for the socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use mio::event::Source;
use mio::net::TcpStream;
#[cfg(unix)]
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::connection::READS_PER_TURN;
use crate::layer::{LayerError, Layers};
use crate::machine::CustomStream;
use crate::stack::Stack;

/// Nothing is read while more than this waits for the socket: a peer that has the layers answer, and does not read
/// the answers, is held back.
const MOST_ON_WIRE: usize = 1 << 20;

/// How far the layers' handshakes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Done,
    /// An event will tell when it goes on.
    Waits,
    /// It could go on, but others come first.
    GoesOn,
}

/// A connected socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    Custom(Mutex<Box<dyn CustomStream>>),
}

impl Socket {
    fn read(&self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).read(out),
            #[cfg(unix)]
            Self::Unix(stream) => (&mut &*stream).read(out),
            Self::Custom(stream) => lock(stream).read(out),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).write(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => (&mut &*stream).write(bytes),
            Self::Custom(stream) => lock(stream).write(bytes),
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interest),
            #[cfg(unix)]
            Self::Unix(stream) => stream.register(registry, token, interest),
            Self::Custom(stream) => {
                stream.get_mut().unwrap_or_else(PoisonError::into_inner).register(registry, token, interest)
            }
        }
    }

    pub(crate) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        match self {
            Self::Tcp(stream) => (stream.local_addr().ok(), stream.peer_addr().ok()),
            #[cfg(unix)]
            Self::Unix(_) => (None, None),
            Self::Custom(_) => (None, None),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(how),
            Self::Custom(stream) => lock(stream).shutdown(how),
        }
    }
}

/// The system waits in `close` until what was sent has arrived, even if the socket does not block, and the one who
/// closes may be the loop. Without lingering it sends the rest in the background.
impl Drop for Socket {
    fn drop(&mut self) {
        let Self::Tcp(stream) = self else { return };
        let socket = SockRef::from(&*stream);
        if socket.linger().is_ok_and(|linger| linger.is_some_and(|linger| !linger.is_zero())) {
            // It fails if the connection is gone, and then there is nothing to wait for.
            let _gone = socket.set_linger(None);
        }
    }
}

pub(crate) struct Stream {
    socket: Socket,
    layers: Option<Box<Layered>>,
}

struct Layered {
    stack: Mutex<Stack>,
    /// No layer is left, and nothing waits: the socket can be used as if there had been none.
    bare: AtomicBool,
    /// Somebody wanted to write before the layers were ready, and waits for that.
    early: AtomicBool,
    /// Nothing was read because too much waits for the socket.
    held: AtomicBool,
}

impl Layered {
    /// The stack, unless nothing of it is left: whoever had the lock before may just have found that out.
    fn lock(&self) -> Option<MutexGuard<'_, Stack>> {
        let stack = lock(&self.stack);
        (!self.bare.load(Ordering::Acquire)).then_some(stack)
    }
}

impl Stream {
    /// Puts layers on a socket.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub(crate) fn new(socket: Socket, layers: &Layers, host: &str) -> Result<Self, LayerError> {
        if layers.is_empty() {
            return Ok(Self { socket, layers: None });
        }
        let stack = Mutex::new(Stack::new(layers, host)?);
        let [bare, early, held] = [const { AtomicBool::new(false) }; 3];
        let layered = Layered { stack, bare, early, held };
        Ok(Self { socket, layers: Some(Box::new(layered)) })
    }

    /// Whether the layers have become ready for a writer who was too early. The socket tells nobody.
    pub(crate) fn take_awaited_readiness(&self) -> bool {
        let Some(layers) = self.layers.as_ref().filter(|layers| layers.early.load(Ordering::Acquire)) else {
            return false;
        };
        lock(&layers.stack).is_ready() && layers.early.swap(false, Ordering::AcqRel)
    }

    /// The stack, as long as there is something between the socket and the machine.
    fn stack(&self) -> Option<(&Layered, MutexGuard<'_, Stack>)> {
        let layers = self.layers.as_ref().filter(|layers| !layers.bare.load(Ordering::Acquire))?;
        Some((layers, layers.lock()?))
    }

    /// The name of a layer whose handshake has not ended.
    pub(crate) fn shaking_hands(&self) -> Option<&'static str> {
        self.stack().and_then(|(_, stack)| if stack.is_over() { None } else { stack.unready() })
    }

    /// Whether there are layers at all.
    pub(crate) fn has_layers(&self) -> bool {
        self.layers.is_some()
    }

    /// Whether reading was held back, and need not be any more.
    pub(crate) fn take_release(&self) -> bool {
        let Some(layers) = self.layers.as_ref().filter(|layers| layers.held.load(Ordering::Acquire)) else {
            return false;
        };
        lock(&layers.stack).wire().len() <= MOST_ON_WIRE && layers.held.swap(false, Ordering::AcqRel)
    }

    /// Whether a read of so many bytes, where more had fitted, has emptied the socket: only without layers, which
    /// have bytes of their own, and where the system tells of whatever comes later by another event. Only TCP, for
    /// reading from a Unix socket stops behind a message with ancillary data. TCP stops in front of urgent data, which
    /// AMPS does not have: what waits behind such a mark would be read with whatever comes next.
    pub(crate) fn is_emptied_by(&self, count: usize, room: usize) -> bool {
        let bare = self.layers.is_none() && matches!(self.socket, Socket::Tcp(_));
        bare && count < room && cfg!(any(target_os = "linux", target_os = "android"))
    }

    /// Appends decoded bytes to `out`, and returns how many; 0 at the end of the stream.
    ///
    /// # Errors
    /// As a socket that does not block, and what a layer says. `Interrupted` if nothing came of what was read:
    /// there may be more.
    pub(crate) fn read(&self, scratch: &mut [u8], out: &mut BytesMut) -> io::Result<usize> {
        let Some((layers, mut stack)) = self.stack() else { return self.read_bare(scratch, out) };
        for has_read in [false, true] {
            let read = stack.read(out);
            // Input that was left earlier may have been answered only now.
            let brought_out = self.bring_out(&mut stack);
            let count = read?;
            if count > 0 {
                return Ok(count);
            }
            brought_out?;
            if stack.is_bare() {
                layers.bare.store(true, Ordering::Release);
                drop(stack);
                return self.read_bare(scratch, out);
            }
            if has_read {
                break;
            }
            if stack.wire().len() > MOST_ON_WIRE && !stack.is_over() {
                // The socket has just refused the rest, so there will be an event.
                layers.held.store(true, Ordering::Release);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = if stack.is_over() { 0 } else { self.socket.read(scratch)? };
            if count == 0 {
                stack.end()?;
                return Ok(0);
            }
            let bytes = scratch.get(..count).unwrap_or_default();
            let received = stack.receive(bytes);
            // An alert goes out although the connection ends with this; if it cannot, what the layer says still
            // tells more.
            let brought_out = self.bring_out(&mut stack);
            received?;
            brought_out?;
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    fn read_bare(&self, scratch: &mut [u8], out: &mut BytesMut) -> io::Result<usize> {
        let count = self.socket.read(scratch)?;
        out.extend_from_slice(scratch.get(..count).unwrap_or_default());
        Ok(count)
    }

    /// Encodes and writes; returns how much was taken.
    ///
    /// # Errors
    /// `WouldBlock` if nothing was taken; and as for `read`.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some((layers, mut stack)) = self.stack() else { return self.socket.write(bytes) };
        if !self.bring_out(&mut stack)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if !stack.is_ready() {
            layers.early.store(true, Ordering::Release);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = stack.send(bytes)?;
        self.bring_out(&mut stack)?;
        Ok(count)
    }

    /// Brings out what was encoded; whether everything is with the socket now, and more can be written.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        let Some((_, mut stack)) = self.stack() else { return Ok(true) };
        Ok(self.bring_out(&mut stack)? && stack.is_ready())
    }

    fn bring_out(&self, stack: &mut Stack) -> io::Result<bool> {
        let wire = stack.wire();
        while !wire.is_empty() {
            match self.socket.write(wire) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => wire.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Goes on with the handshakes of the layers.
    ///
    /// # Errors
    /// What a layer, or the socket, says.
    pub(crate) fn handshake(&self, scratch: &mut [u8]) -> io::Result<Handshake> {
        let Some((_, mut stack)) = self.stack() else { return Ok(Handshake::Done) };
        for _ in 0..READS_PER_TURN {
            let brought_out = self.bring_out(&mut stack);
            if stack.is_ready() {
                return brought_out.map(|_| Handshake::Done);
            }
            if stack.wire().len() > MOST_ON_WIRE {
                return brought_out.map(|_| Handshake::Waits);
            }
            let read = if stack.is_over() { Ok(0) } else { self.socket.read(scratch) };
            match read {
                Ok(0) => {
                    stack.end()?;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(count) => {
                    let received = stack.receive(scratch.get(..count).unwrap_or_default());
                    if received.is_err() {
                        // An alert goes out; if it cannot, what the layer says still tells more.
                        let _as_far_as_possible = self.bring_out(&mut stack);
                    }
                    received?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What could not be sent matters only now: a peer that does not listen may have said why.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return brought_out.map(|_| Handshake::Waits);
                }
                // A peer that closes without having read everything, as one does that expects another protocol.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    stack.end()?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Handshake::GoesOn)
    }

    /// Ends the layers in an orderly way, then this direction of the socket; whether that is done.
    ///
    /// # Errors
    /// What a layer, or the socket, says.
    pub(crate) fn finish(&self) -> io::Result<bool> {
        if let Some((_, mut stack)) = self.stack() {
            stack.finish()?;
            if !self.bring_out(&mut stack)? {
                return Ok(false);
            }
        }
        self.socket.shutdown(Shutdown::Write).map(|()| true)
    }

    /// Reads what comes by the wire, for nobody.
    pub(crate) fn read_raw(&self, scratch: &mut [u8]) -> io::Result<usize> {
        self.socket.read(scratch)
    }

    pub(crate) fn shut_down(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Both)
    }

    pub(crate) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        self.socket.addresses()
    }

    /// Closing then resets the connection, where there is such a thing.
    pub(crate) fn reset_when_closed(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            #[cfg(unix)]
            Socket::Unix(_) => Ok(()),
            Socket::Custom(_) => Ok(()),
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests;
