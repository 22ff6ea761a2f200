//! Receiving by every way: a peer that floods a client through TLS, zlib, WebSocket, a Unix socket or
//! nothing, and what the libraries behind that take without us.

use std::fmt;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::spawn;
use std::time::{Duration, Instant};

use amps_client::Client;
use amps_client::transport::TlsClient;
use amps_protocol::{LENGTH_PREFIX, Message, next_frame};
use amps_transport::{
    EventLoop, Input, Layer, Machine, MachineHandle, MakeLayer, Sink, Target, Time, TlsServer,
    WebSocketServer, Zlib,
};
use bytes::{Buf, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::peer::{HEADER, answer};
use crate::receive::Counting;

/// So many messages are prepared, and sent again and again.
pub const CHUNK: usize = 1000;

/// How bytes go from the peer to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A TCP socket, and nothing else.
    Tcp,
    /// A Unix socket.
    Unix,
    /// TLS 1.3.
    Tls,
    /// A compressed stream.
    Zlib,
    /// A WebSocket, one message in each.
    WebSocket,
}

/// Certificates for this machine, made once.
fn certificates() -> &'static (TlsServer, String) {
    static MADE: OnceLock<(TlsServer, String)> = OnceLock::new();
    MADE.get_or_init(|| {
        let (server, ca) = TlsServer::self_signed(["localhost", "127.0.0.1"]).expect("a certificate");
        (server, ca.as_str().to_owned())
    })
}

/// [`CHUNK`] messages, whose bodies are lines of the flights, as many as fill `size` bytes.
pub fn chunk(size: usize) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/flights.jsonl");
    let flights = std::fs::read_to_string(path).expect("the flights");
    let mut lines = flights.lines().cycle();
    let mut chunk = Vec::new();
    for number in 0..CHUNK {
        // As in a log: each message has its own bookmark, time and key.
        let header = HEADER
            .replace("|1234|", &format!("|{}|", 1_000_000 + number))
            .replace(".123456Z", &format!(".{:06}Z", number * 997 % 1_000_000))
            .replace(
                "1234567890123456789",
                &format!("{}", (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4),
            );
        let mut body = Vec::with_capacity(size);
        while body.len() < size {
            body.extend_from_slice(lines.next().unwrap_or_default().as_bytes());
        }
        body.truncate(size);
        chunk.extend_from_slice(&((header.len() + body.len()) as u32).to_be_bytes());
        chunk.extend_from_slice(header.as_bytes());
        chunk.extend_from_slice(&body);
    }
    chunk
}

/// What a compressed stream begins with, up to a point at which nothing before it counts.
fn stream_head() -> Vec<u8> {
    let mut head = Vec::with_capacity(64);
    let mut deflate = Compress::new(Compression::new(6), true);
    deflate.compress_vec(&[], &mut head, FlushCompress::Full).expect("room");
    head
}

/// The same bytes as a part of a compressed stream that may stand anywhere in one, any number of times.
pub fn compressed(chunk: &[u8]) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::new(6), true);
    // The header of the stream, and a point at which nothing before it counts.
    let mut out = Vec::with_capacity(chunk.len() + 1024);
    deflate.compress_vec(&[], &mut out, FlushCompress::Full).expect("room");
    let start = out.len();
    deflate.compress_vec(chunk, &mut out, FlushCompress::Full).expect("room");
    assert_eq!(deflate.total_in(), chunk.len() as u64, "all of it is compressed");
    out.split_off(start)
}

/// A socket behind a layer of the accepting side.
struct Layered<S> {
    socket: S,
    layer: Box<dyn Layer>,
    input: BytesMut,
    plain: BytesMut,
}

impl<S: Read + Write> Read for Layered<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.plain.is_empty() {
            let mut buffer = [0; 16 * 1024];
            let count = self.socket.read(&mut buffer)?;
            if count == 0 {
                return Ok(0);
            }
            self.input.extend_from_slice(&buffer[..count]);
            let mut said = BytesMut::new();
            self.layer.receive(&mut self.input, &mut self.plain, &mut said)?;
            self.socket.write_all(&said)?;
        }
        let count = self.plain.len().min(out.len());
        self.plain.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

impl<S: Write> Write for Layered<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = BytesMut::new();
        self.layer.send(bytes, &mut wire)?;
        self.socket.write_all(&wire)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Messages of one size, for whoever connects by one way.
pub struct Peer {
    uri: String,
    address: String,
    orders: Sender<usize>,
}

impl Peer {
    /// Waits for one connection by this way, and for orders. `commands` are answered first.
    ///
    /// # Panics
    /// When loopback does not work.
    fn start(way: Way, directory: &Path, commands: usize, chunk: Vec<u8>) -> Self {
        let (orders, ordered) = channel();
        if way == Way::Unix {
            let path = directory.join(format!("{}.sock", chunk.len()));
            let listener = UnixListener::bind(&path).expect("a socket file");
            spawn(move || {
                let (socket, _) = listener.accept().expect("a connection");
                flood(way, socket, commands, &ordered, &chunk)
            });
            let uri = format!("unix://localhost:0/amps/json?path={}", path.display());
            return Self { uri, address: String::new(), orders };
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address").to_string();
        spawn(move || {
            let (socket, _) = listener.accept().expect("a connection");
            socket.set_nodelay(true).expect("TCP_NODELAY");
            flood(way, socket, commands, &ordered, &chunk)
        });
        let (scheme, parameters) = match way {
            Way::Tls => ("tcps", ""),
            Way::WebSocket => ("ws", ""),
            Way::Zlib => ("tcp", "?compression=zlib"),
            Way::Tcp | Way::Unix => ("tcp", ""),
        };
        Self { uri: format!("{scheme}://{address}/amps/json{parameters}"), address, orders }
    }
}

/// Answers, and sends as many messages as are ordered, a multiple of [`CHUNK`].
fn flood<S: Read + Write>(
    way: Way,
    socket: S,
    commands: usize,
    ordered: &Receiver<usize>,
    chunk: &[u8],
) -> io::Result<()> {
    let layered = |socket, layer: Result<Box<dyn Layer>, _>| {
        let layer = layer.expect("a layer");
        Layered { socket, layer, input: BytesMut::new(), plain: BytesMut::new() }
    };
    match way {
        Way::Tcp | Way::Unix => {
            let mut socket = socket;
            answer(&mut socket, commands);
            repeat(&mut socket, ordered, chunk)
        }
        Way::Tls => {
            let mut stream = layered(socket, certificates().0.make(""));
            if commands == 0 {
                // Whoever connects says something when it is ready.
                stream.read_exact(&mut [0])?;
            }
            answer(&mut stream, commands);
            for messages in ordered {
                for _ in 0..messages / CHUNK {
                    // Whole records, as a server that has much to say writes them.
                    for part in chunk.chunks(64 * 1024) {
                        stream.write_all(part)?;
                    }
                }
            }
            Ok(())
        }
        Way::Zlib => {
            let mut stream = layered(socket, Zlib::new().make(""));
            answer(&mut stream, commands);
            if commands == 0 {
                // The layer has said nothing, and so not begun its stream.
                stream.socket.write_all(&stream_head())?;
            }
            repeat(&mut stream.socket, ordered, &compressed(chunk))
        }
        Way::WebSocket => {
            let mut stream = layered(socket, WebSocketServer::new().make(""));
            answer(&mut stream, commands);
            let mut wire = BytesMut::new();
            stream.layer.send(chunk, &mut wire)?;
            repeat(&mut stream.socket, ordered, &wire)
        }
    }
}

fn repeat(socket: &mut impl Write, ordered: &Receiver<usize>, bytes: &[u8]) -> io::Result<()> {
    for messages in ordered {
        for _ in 0..messages / CHUNK {
            socket.write_all(bytes)?;
        }
    }
    Ok(())
}

/// A client that receives by one way, with a handler.
pub struct Receiving {
    peer: Peer,
    counting: Counting,
}

impl Receiving {
    /// Connects and subscribes; messages have bodies of so many bytes.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new(way: Way, directory: &Path, size: usize) -> Self {
        let peer = Peer::start(way, directory, 2, chunk(size));
        let mut builder = Client::builder("bench").server(&*peer.uri);
        if way == Way::Tls {
            let roots = certificates().1.clone();
            builder = builder.tls(TlsClient::builder().roots_pem(roots).build().expect("roots"));
        }
        Self { peer, counting: Counting::begin(builder.connect().expect("a connection")) }
    }

    /// Receives `messages` messages, a multiple of [`CHUNK`].
    pub fn run(&mut self, messages: usize) -> Duration {
        self.counting.run(messages, || _ = self.peer.orders.send(messages))
    }
}

impl fmt::Debug for Receiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving").field("uri", &self.peer.uri).finish_non_exhaustive()
    }
}

/// The transport alone, compressed: an event loop whose machine counts bytes, and knows nothing of AMPS.
pub struct Inflating {
    peer: Peer,
    machine: MachineHandle<CountsBytes>,
    _event_loop: EventLoop<CountsBytes>,
    reached: Receiver<()>,
    chunk_len: usize,
}

struct CountsBytes {
    /// Negative as long as bytes are here before the note that expects them.
    left: isize,
    /// Until the connection ends.
    reach: Option<Sender<()>>,
}

impl CountsBytes {
    fn count(&mut self, change: isize) {
        self.left += change;
        if self.left == 0 {
            self.tell();
        }
    }

    fn tell(&self) {
        _ = self.reach.as_ref().map(|reach| reach.send(()));
    }
}

enum Order {
    Connect(Target),
    Expect(isize),
}

impl Machine for CountsBytes {
    type Note = Order;

    fn handle<S: Sink>(&mut self, _now: Time, input: Input<'_, Order>, sink: &mut S) {
        match input {
            Input::Note(Order::Connect(target)) => {
                sink.connect(target);
            }
            Input::Note(Order::Expect(bytes)) => self.count(bytes),
            Input::Connected { .. } => self.tell(),
            Input::Closed { .. } => self.reach = None,
            Input::Received { bytes, .. } => {
                let count = bytes.len() as isize;
                bytes.clear();
                self.count(-count);
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

impl Inflating {
    /// Connects.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new(directory: &Path, size: usize) -> Self {
        let chunk = chunk(size);
        let chunk_len = chunk.len();
        let peer = Peer::start(Way::Zlib, directory, 0, chunk);
        let event_loop = EventLoop::start("count").expect("a thread");
        let (reach, reached) = channel();
        let machine = event_loop.add(CountsBytes { left: 0, reach: Some(reach) });
        let (host, port) = peer.address.rsplit_once(':').expect("an address");
        let port = port.parse().expect("a port");
        let target = Target::tcp(host, port, Duration::from_secs(10));
        machine.post(Order::Connect(Target { layers: vec![Arc::new(Zlib::new())], ..target }));
        reached.recv().expect("a connection");
        Self { peer, machine, _event_loop: event_loop, reached, chunk_len }
    }

    /// Receives what so many messages are.
    ///
    /// # Panics
    /// When the connection ends.
    pub fn run(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        self.machine.post(Order::Expect((messages / CHUNK * self.chunk_len) as isize));
        let _ = self.peer.orders.send(messages);
        self.reached.recv().expect("a connection");
        began.elapsed()
    }
}

impl fmt::Debug for Inflating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflating").finish_non_exhaustive()
    }
}

/// A bare loop over rustls and a socket: reads and does nothing with it.
pub struct BareTls {
    peer: Peer,
    stream: StreamOwned<ClientConnection, TcpStream>,
    chunk_len: usize,
    buffer: Vec<u8>,
}

impl BareTls {
    /// Connects.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new(directory: &Path, size: usize) -> Self {
        let chunk = chunk(size);
        let chunk_len = chunk.len();
        let peer = Peer::start(Way::Tls, directory, 0, chunk);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(certificates().1.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let socket = TcpStream::connect(&peer.address).expect("loopback");
        let mut stream = StreamOwned::new(session, socket);
        stream.write_all(b"!").expect("a handshake");
        Self { peer, stream, chunk_len, buffer: vec![0; 64 * 1024] }
    }

    /// Reads what so many messages are.
    pub fn run(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        let _ = self.peer.orders.send(messages);
        let mut left = messages / CHUNK * self.chunk_len;
        while left > 0 {
            match self.stream.read(&mut self.buffer) {
                Ok(count @ 1..) => left = left.saturating_sub(black_box(count)),
                _ => break,
            }
        }
        began.elapsed()
    }
}

impl fmt::Debug for BareTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareTls").finish_non_exhaustive()
    }
}

/// flate2 alone: the same compressed bytes, in memory, decompressed into a buffer that nobody reads.
#[derive(Debug)]
pub struct BareZlib {
    inflate: Decompress,
    chunk: Vec<u8>,
    buffer: Vec<u8>,
}

impl BareZlib {
    /// For messages with bodies of so many bytes.
    ///
    /// # Panics
    /// If flate2 does not work.
    pub fn new(size: usize) -> Self {
        let mut inflate = Decompress::new(true);
        inflate.decompress(&stream_head(), &mut [0; 64], FlushDecompress::None).expect("a header");
        Self { inflate, chunk: compressed(&chunk(size)), buffer: vec![0; 32 * 1024] }
    }

    /// Decompresses what so many messages are.
    ///
    /// # Panics
    /// If flate2 does not work.
    pub fn run(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        self.inflate(messages, |made| {
            black_box(made);
        });
        began.elapsed()
    }

    /// The same, and cuts and decodes the messages, for a bare callback.
    ///
    /// # Panics
    /// If flate2 does not work.
    pub fn decode(&mut self, messages: usize) -> Duration {
        let mut callback = |message: &Message<&[u8]>| {
            black_box(message.data().len());
        };
        let callback: &mut dyn FnMut(&Message<&[u8]>) = &mut callback;
        let began = Instant::now();
        let mut rest = BytesMut::new();
        self.inflate(messages, |made| {
            rest.extend_from_slice(made);
            while let Ok(Some(total)) = next_frame(&rest, usize::MAX) {
                if let Ok(message) = Message::decode(&rest[LENGTH_PREFIX..total]) {
                    callback(&message);
                }
                rest.advance(total);
            }
        });
        began.elapsed()
    }

    fn inflate(&mut self, messages: usize, mut each: impl FnMut(&[u8])) {
        for _ in 0..messages / CHUNK {
            let mut left = &self.chunk[..];
            loop {
                let before = (self.inflate.total_in(), self.inflate.total_out());
                self.inflate.decompress(left, &mut self.buffer, FlushDecompress::None).expect("a stream");
                left = &left[(self.inflate.total_in() - before.0) as usize..];
                let made = (self.inflate.total_out() - before.1) as usize;
                each(&self.buffer[..made]);
                if left.is_empty() && made < self.buffer.len() {
                    break;
                }
            }
        }
    }
}
