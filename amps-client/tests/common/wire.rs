//! The accepting end of a connection that blocks, by any way that a client can take: a socket, and the layers of
//! `amps-transport` on it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use amps_transport::{Layer, LayerState};
use bytes::{Buf, BytesMut};

use super::way::{Carrier, Way};

pub enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub fn bind(way: Way) -> Self {
        match way.carrier {
            Carrier::Unix => Self::file(),
            _ => Self::Tcp(TcpListener::bind("127.0.0.1:0").unwrap()),
        }
    }

    #[cfg(unix)]
    fn file() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("amps-client-{}-{number}.sock", std::process::id()));
        Self::Unix(UnixListener::bind(&path).unwrap(), path)
    }

    #[cfg(not(unix))]
    fn file() -> Self {
        panic!("this system has no socket files")
    }

    pub fn uri(&self, way: Way) -> String {
        way.complete(match self {
            Self::Tcp(listener) => format!("{}://{}/amps/json", way.scheme(), listener.local_addr().unwrap()),
            #[cfg(unix)]
            Self::Unix(_, path) => format!("unix://localhost:0/amps/json?path={}", path.display()),
        })
    }

    /// The next connection, if there is one; the socket blocks.
    pub fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
            #[cfg(unix)]
            Self::Unix(listener, _) => {
                listener.set_nonblocking(true)?;
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                Ok(Socket::Unix(stream))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Self::Unix(_, path) = self {
            let _gone = std::fs::remove_file(path);
        }
    }
}

pub enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The same call for each kind.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($stream) => $call,
            #[cfg(unix)]
            Socket::Unix($stream) => $call,
        }
    };
}

struct Level {
    layer: Box<dyn Layer>,
    input: BytesMut,
    state: Option<LayerState>,
}

pub struct Wire {
    socket: Socket,
    /// The one next to the socket first.
    levels: Vec<Level>,
    /// Decoded, and not read.
    plain: BytesMut,
    /// Encoded, and not taken by the socket.
    waiting: BytesMut,
    /// A layer says that nothing more comes.
    over: bool,
    finished: bool,
}

impl Wire {
    /// Puts the layers of a way on a socket, and waits until they are ready.
    pub fn open(socket: Socket, way: Way, patience: Duration) -> io::Result<Self> {
        let level = |layer| Level { layer, input: BytesMut::new(), state: None };
        let layers = way.layers();
        let levels = layers.iter().map(|layer| layer.make("").map(level)).collect::<Result<_, _>>()?;
        let (plain, waiting) = (BytesMut::new(), BytesMut::new());
        let mut wire = Self { socket, levels, plain, waiting, over: false, finished: false };
        wire.set_read_timeout(Some(patience))?;
        wire.pump()?;
        while wire.levels.iter().any(|level| level.state != Some(LayerState::Ready)) {
            if wire.read_more()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(wire)
    }

    /// What was received goes up as far as it can.
    fn pump(&mut self) -> io::Result<()> {
        loop {
            let (mut at, mut progress) = (0, false);
            while at < self.levels.len() {
                let (lower, upper) = self.levels.split_at_mut(at + 1);
                let level = &mut lower[at];
                let above = upper.first_mut().map_or(&mut self.plain, |next| &mut next.input);
                let (mut answer, before) = (BytesMut::new(), level.input.len());
                let mut state = match level.state {
                    Some(state) => Ok(state),
                    None => level.layer.start(&mut answer),
                };
                if before > 0 && level.state != Some(LayerState::Ended) {
                    state = level.layer.receive(&mut level.input, above, &mut answer);
                }
                progress |= level.input.len() < before;
                level.state = state.as_ref().ok().copied();
                self.encode(at, answer)?;
                self.flush_waiting()?;
                match state? {
                    LayerState::Transparent => {
                        let input = self.levels.remove(at).input;
                        let above = self.levels.get_mut(at).map_or(&mut self.plain, |next| &mut next.input);
                        above.extend_from_slice(&input);
                        progress = true;
                    }
                    LayerState::Handshaking => break,
                    LayerState::Ready => at += 1,
                    LayerState::Ended => {
                        self.over = true;
                        at += 1;
                    }
                }
            }
            if !progress {
                return Ok(());
            }
        }
    }

    /// Brings down what the level `at` has made, to wait for the socket.
    fn encode(&mut self, at: usize, mut bytes: BytesMut) -> io::Result<()> {
        // When the client has ended a layer, nobody listens to those above it.
        let over = self.levels[..at].iter().any(|level| level.state == Some(LayerState::Ended));
        if bytes.is_empty() || over {
            return Ok(());
        }
        for level in self.levels[..at].iter_mut().rev() {
            let mut next = BytesMut::new();
            level.layer.send(&bytes, &mut next)?;
            bytes = next;
        }
        self.waiting.extend_from_slice(&bytes);
        Ok(())
    }

    fn flush_waiting(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let count = either!(&mut self.socket, stream => stream.write(&self.waiting))?;
            self.waiting.advance(count);
        }
        Ok(())
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut part = [0; 16 * 1024];
        let count = either!(&mut self.socket, stream => stream.read(&mut part))?;
        let lowest = self.levels.first_mut().map_or(&mut self.plain, |level| &mut level.input);
        lowest.extend_from_slice(&part[..count]);
        self.pump()?;
        Ok(count)
    }

    /// Every layer says that this side ends.
    fn finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        for at in (0..self.levels.len()).rev() {
            let mut last = BytesMut::new();
            self.levels[at].layer.finish(&mut last);
            self.encode(at, last)?;
        }
        self.flush_waiting()
    }

    /// Ends the way to the client, and leaves the other open.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.finish()?;
        either!(&self.socket, stream => stream.shutdown(Shutdown::Write))
    }

    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        either!(&self.socket, stream => stream.set_read_timeout(timeout))
    }

    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        either!(&self.socket, stream => stream.set_write_timeout(timeout))
    }

    /// The addresses of this side and of the other.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        match &self.socket {
            Socket::Tcp(stream) => (stream.local_addr().unwrap(), stream.peer_addr().unwrap()),
            #[cfg(unix)]
            Socket::Unix(_) => panic!("a socket file has no addresses"),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.plain.is_empty() && !self.over {
            if self.read_more()? == 0 {
                return Ok(0);
            }
        }
        let count = self.plain.len().min(out.len());
        self.plain.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

impl Write for Wire {
    /// Takes all of it, or fails and takes nothing: what the socket does not take at once waits for the next call.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.levels.is_empty() {
            return either!(&mut self.socket, stream => stream.write(bytes));
        }
        self.flush_waiting()?;
        self.encode(self.levels.len(), bytes.into())?;
        match self.flush_waiting() {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(error),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_waiting()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The client may be gone, and may have forgotten to read.
        let _timeout = self.set_write_timeout(Some(Duration::from_millis(100)));
        let _gone = self.finish();
    }
}
