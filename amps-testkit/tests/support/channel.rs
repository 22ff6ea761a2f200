//! A client's end of a connection that blocks, by any way that the server can be reached: a socket, and the layers
//! of `amps-transport` on it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use amps_testkit::{FakeServer, Listening};
use amps_transport::{Layer, LayerState, Layers, Preflight};
use bytes::BytesMut;

use super::raw_client::{PATIENCE, framed};

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Tcp,
    Preflight,
    #[cfg(unix)]
    Unix,
    #[cfg(feature = "tls")]
    Tcps,
    #[cfg(feature = "zlib")]
    Zlib,
    #[cfg(feature = "websocket")]
    Ws,
    #[cfg(all(feature = "tls", feature = "websocket"))]
    Wss,
    /// All of the layers that frames can have below them.
    #[cfg(all(feature = "tls", feature = "zlib"))]
    TcpsPreflightZlib,
}

/// The ways of this build.
pub(crate) const WAYS: &[Way] = &[
    Way::Tcp,
    Way::Preflight,
    #[cfg(unix)]
    Way::Unix,
    #[cfg(feature = "tls")]
    Way::Tcps,
    #[cfg(feature = "zlib")]
    Way::Zlib,
    #[cfg(feature = "websocket")]
    Way::Ws,
    #[cfg(all(feature = "tls", feature = "websocket"))]
    Way::Wss,
    #[cfg(all(feature = "tls", feature = "zlib"))]
    Way::TcpsPreflightZlib,
];

impl Way {
    /// What the server listens on.
    pub(crate) const fn address(self) -> &'static str {
        match self {
            Self::Tcp | Self::Preflight => "tcp://127.0.0.1:0/amps",
            #[cfg(unix)]
            Self::Unix => "unix://",
            #[cfg(feature = "tls")]
            Self::Tcps => "tcps://127.0.0.1:0/amps",
            #[cfg(feature = "zlib")]
            Self::Zlib => "tcp://127.0.0.1:0/amps",
            #[cfg(feature = "websocket")]
            Self::Ws => "ws://127.0.0.1:0/amps",
            #[cfg(all(feature = "tls", feature = "websocket"))]
            Self::Wss => "wss://127.0.0.1:0/amps",
            #[cfg(all(feature = "tls", feature = "zlib"))]
            Self::TcpsPreflightZlib => "tcps://127.0.0.1:0/amps",
        }
    }

    fn layers(self, server: &FakeServer) -> Layers {
        let authority = server.addr().to_string();
        let preflight = || Arc::new(Preflight::new(&authority, "/amps").unwrap());
        #[cfg(feature = "tls")]
        let tls = || {
            let roots = server.ca_pem().unwrap();
            Arc::new(amps_transport::TlsClient::builder().roots_pem(roots).build().unwrap())
        };
        #[cfg(feature = "websocket")]
        let web_socket = || Arc::new(amps_transport::WebSocket::new(&authority, "/amps").unwrap());
        match self {
            Self::Tcp => vec![],
            Self::Preflight => vec![preflight()],
            #[cfg(unix)]
            Self::Unix => vec![],
            #[cfg(feature = "tls")]
            Self::Tcps => vec![tls()],
            #[cfg(feature = "zlib")]
            Self::Zlib => vec![Arc::new(amps_transport::Zlib::new())],
            #[cfg(feature = "websocket")]
            Self::Ws => vec![web_socket()],
            #[cfg(all(feature = "tls", feature = "websocket"))]
            Self::Wss => vec![tls(), web_socket()],
            #[cfg(all(feature = "tls", feature = "zlib"))]
            Self::TcpsPreflightZlib => vec![tls(), preflight(), Arc::new(amps_transport::Zlib::new())],
        }
    }
}

pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    pub(crate) fn connect(listening: &Listening) -> io::Result<Self> {
        match (listening.addr, &listening.path) {
            (Some(addr), _) => {
                let socket = TcpStream::connect(addr)?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(socket))
            }
            (None, path) => Self::file(path.as_deref().unwrap()),
        }
    }

    #[cfg(unix)]
    fn file(path: &Path) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::Unix(socket))
    }

    #[cfg(not(unix))]
    fn file(_: &Path) -> io::Result<Self> {
        unreachable!("nobody listens there")
    }

    fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
            #[cfg(unix)]
            Self::Unix(socket) => socket.shutdown(Shutdown::Both),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(out),
            #[cfg(unix)]
            Self::Unix(socket) => socket.read(out),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            #[cfg(unix)]
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Level {
    layer: Box<dyn Layer>,
    input: BytesMut,
    state: Option<LayerState>,
}

pub(crate) struct Channel {
    pub(crate) socket: Socket,
    levels: Vec<Level>,
    plain: BytesMut,
    over: bool,
    /// How many bytes are given to the socket at a time.
    bytes_per_write: usize,
}

impl Channel {
    /// To the first listener of a server, which listens on the address of that way.
    pub(crate) fn open(way: Way, server: &FakeServer, bytes_per_write: usize) -> io::Result<Self> {
        Self::with(&server.listeners()[0], &way.layers(server), bytes_per_write)
    }

    pub(crate) fn with(listening: &Listening, layers: &Layers, bytes_per_write: usize) -> io::Result<Self> {
        let socket = Socket::connect(listening)?;
        let host = listening.addr.map(|addr| addr.ip().to_string()).unwrap_or_default();
        let level = |layer: Box<dyn Layer>| Level { layer, input: BytesMut::new(), state: None };
        let levels = layers.iter().map(|layer| layer.make(&host).map(level)).collect::<Result<_, _>>()?;
        let mut channel = Self { socket, levels, plain: BytesMut::new(), over: false, bytes_per_write };
        channel.pump()?;
        while channel.levels.iter().any(|level| level.state != Some(LayerState::Ready)) {
            if channel.read_more()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(channel)
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
                if before > 0 {
                    state = level.layer.receive(&mut level.input, above, &mut answer);
                }
                progress |= level.input.len() < before;
                level.state = state.as_ref().ok().copied();
                self.send_below(at, answer)?;
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

    /// What a layer has made goes out, through those below it.
    fn send_below(&mut self, at: usize, mut bytes: BytesMut) -> io::Result<()> {
        // When the server has ended a layer, nobody listens to those above it.
        let over = self.levels[..at].iter().any(|level| level.state == Some(LayerState::Ended));
        if bytes.is_empty() || over {
            return Ok(());
        }
        for level in self.levels[..at].iter_mut().rev() {
            let mut next = BytesMut::new();
            level.layer.send(&bytes, &mut next)?;
            bytes = next;
        }
        bytes.chunks(self.bytes_per_write).try_for_each(|piece| self.socket.write_all(piece))
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut part = [0; 16 * 1024];
        let count = if self.over { 0 } else { self.socket.read(&mut part)? };
        let lowest = self.levels.first_mut().map_or(&mut self.plain, |level| &mut level.input);
        lowest.extend_from_slice(&part[..count]);
        self.pump()?;
        Ok(count)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send_below(self.levels.len(), bytes.into())
    }

    /// The next frame without its length; `None` at the end of the stream.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(length) = self.plain.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)
            {
                if self.plain.len() >= 4 + length {
                    return Ok(Some(self.plain.split_to(4 + length)[4..].to_vec()));
                }
            }
            match self.read_more() {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// How many bytes have come that are no frame yet.
    pub(crate) fn unread(&self) -> usize {
        self.plain.len()
    }

    /// A frame, and the answer to it.
    pub(crate) fn ask(&mut self, frame: &str) -> String {
        self.send(&framed(frame)).unwrap();
        String::from_utf8(self.receive().unwrap().expect("an answer")).unwrap()
    }

    pub(crate) fn log_on(&mut self, name: &str) -> String {
        self.ask(
            &r#"{"c":"logon","cid":"1","client_name":"NAME","mt":"json","a":"processed"}"#
                .replace("NAME", name),
        )
    }

    /// Ends the connection as a well-behaved client does.
    pub(crate) fn finish(&mut self) {
        for at in (0..self.levels.len()).rev() {
            let mut last = BytesMut::new();
            self.levels[at].layer.finish(&mut last);
            // The server may be gone.
            let _closed = self.send_below(at, last);
        }
        let _closed = self.socket.shutdown();
    }
}
