//! Packet captures (server.md OBS-09): the journal as one, and one as a script.
//!
//! Owns what a capture says: conversations of clients with a server, frame by frame, and how they are
//! played. `write` makes a file of them, `read` reads one; neither looks into frames, but for who of two
//! ends logs on.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use amps_transport::Time;

mod read;
mod write;
pub use read::CaptureError;
pub(crate) use write::write;

/// The longest frame that is read from a server while a capture is played.
const MAX_FRAME: usize = 1 << 28;

/// What was recorded of clients and a server: to be looked at, or played again.
///
/// It is read from a file of the classic format (`.pcap`), as
/// [`FakeServer::journal_pcap`](crate::FakeServer::journal_pcap), `tcpdump` and others write it.
///
/// ```
/// use amps_protocol::{AckType, Command};
/// use amps_testkit::{Capture, FakeServer, JournalMode};
/// use std::{io::Write, net::TcpStream, time::Duration};
///
/// let server = FakeServer::builder().journal(JournalMode::All).virtual_clock().start()?;
/// let (mut client, mut logon) = (TcpStream::connect(server.addr())?, bytes::BytesMut::new());
/// Command::logon(1, "app").message_type("json").ask(1, AckType::Processed).encode(&mut logon)?;
/// client.write_all(&logon)?;
/// server.settle(Duration::from_secs(5))?;
///
/// let mut file = Vec::new();
/// server.journal_pcap(&mut file)?;
/// let capture = Capture::parse(&file)?;
/// assert_eq!(capture.turns().len(), 2, "a logon and its ack");
/// let other = FakeServer::builder().virtual_clock().start()?;
/// let answers = capture.play(other.addr(), Duration::from_secs(5))?;
/// assert_eq!(answers, [capture.turns()[1].frame.clone()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    turns: Vec<Turn>,
}

/// One frame of a [`Capture`].
///
/// ```
/// use amps_testkit::Turn;
/// use amps_transport::Time;
///
/// let turn = Turn { time: Time::EPOCH, connection: 0, from_client: true, closes: false, frame: b"{}".to_vec() };
/// assert!(turn.from_client);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// When its last byte was recorded.
    pub time: Time,
    /// The connection, counted from 0 in the order in which they begin in the capture.
    pub connection: usize,
    /// Whether the client sent it; else the server did.
    pub from_client: bool,
    /// Whether it ends its side of the connection, and is no frame.
    pub closes: bool,
    /// The frame, without its length.
    pub frame: Vec<u8>,
}

/// A capture could not be played to its end.
///
/// ```
/// use amps_testkit::Capture;
/// use std::{net::TcpListener, time::Duration};
///
/// let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
/// assert!(Capture::default().play(nobody, Duration::from_secs(5)).is_ok(), "there is nothing to play");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("turn {turn}, on connection {connection}, was not taken or did not come: {source}")]
pub struct PlayError {
    /// The number of the turn, from 0.
    pub turn: usize,
    /// Its connection.
    pub connection: usize,
    /// What the system said; `TimedOut` or `WouldBlock` if the server was silent.
    pub source: io::Error,
}

impl Capture {
    /// Reads a capture. What is not TCP is passed over, and so is a conversation that was under way
    /// already: its frames cannot be told apart.
    ///
    /// # Errors
    /// It is no capture of this format, packets are missing within a conversation, or one carries something
    /// else than frames.
    pub fn parse(bytes: &[u8]) -> Result<Self, CaptureError> {
        read::turns(bytes).map(|turns| Self { turns })
    }

    /// Every frame, in the order in which they were whole, and the ends of connections among them.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Does what the clients did, with a connection for each of theirs: sends what they sent, and waits for
    /// one frame wherever they got one. Returns what came, in that order, whatever it was; times of the
    /// capture are not kept.
    ///
    /// # Errors
    /// The server closes, or sends nothing within `timeout` of real time where it did in the capture.
    pub fn play(&self, server: SocketAddr, timeout: Duration) -> Result<Vec<Vec<u8>>, PlayError> {
        let mut connections: Vec<Option<TcpStream>> = Vec::new();
        let mut received = Vec::new();
        for (number, turn) in self.turns.iter().enumerate() {
            let failed = |source| PlayError { turn: number, connection: turn.connection, source };
            while connections.len() <= turn.connection {
                let stream = TcpStream::connect_timeout(&server, timeout).map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                stream.set_read_timeout(Some(timeout)).map_err(failed)?;
                stream.set_write_timeout(Some(timeout)).map_err(failed)?;
                connections.push(Some(stream));
            }
            let Some(place) = connections.get_mut(turn.connection) else { continue };
            if turn.closes {
                // What the server does of its own accord it does again.
                if let Some(stream) = place.take_if(|_| turn.from_client) {
                    stream.shutdown(std::net::Shutdown::Both).or_else(not_connected).map_err(failed)?;
                }
                continue;
            }
            let Some(stream) = place else { continue };
            if turn.from_client {
                stream.write_all(&framed(&turn.frame)).map_err(failed)?;
            } else {
                received.push(receive(stream).map_err(failed)?);
            }
        }
        Ok(received)
    }
}

/// The other side was quicker.
fn not_connected(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }
}

fn framed(frame: &[u8]) -> Vec<u8> {
    // A frame that was read is not longer.
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], frame].concat()
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let length = u32::from_be_bytes(prefix) as usize;
    if length > MAX_FRAME {
        let text = format!("a frame of {length} bytes was announced; expected at most {MAX_FRAME}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // Nothing is reserved because of an announced length.
    let mut frame = Vec::new();
    stream.take(length as u64).read_to_end(&mut frame)?;
    if frame.len() == length { Ok(frame) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
