//! The other end: a peer that writes as fast as the socket takes it, and one that reads.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::spawn;
use std::time::Instant;

use amps_protocol::{FrameDecoder, Message, next_frame};
use bytes::BytesMut;

use crate::content::{self, CHUNK};

/// The header of every message that the flood consists of.
pub const HEADER: &str = r#"{"c":"p","t":"orders","sids":"1","bm":"14223183437845374372|1234|","ts":"20261121T014300.123456Z","k":"1234567890123456789","l":128}"#;

/// Its body: 128 bytes of JSON.
pub const BODY: &str = r#"{"id":1234567,"side":"buy","price":99.125,"quantity":1500,"venue":"XNYS","account":"A-1029","note":"day order, no conditions.."}"#;

/// Accepts one connection and floods it with pre-encoded messages when told to.
#[derive(Debug)]
pub struct Flood {
    uri: String,
    address: String,
    orders: Sender<usize>,
}

impl Flood {
    /// A peer for a client: answers its logon and its subscribe, then waits for orders.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn for_client() -> Self {
        Self::of(2, content::to_subscriptions(&["1".into()]), CHUNK)
    }

    /// A peer that answers so many commands first; bodies have so many bytes.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn of_size(commands: usize, size: usize, per_chunk: usize) -> Self {
        Self::of(commands, content::of_size(size, per_chunk), per_chunk)
    }

    /// The same with the records of a query's result.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn of_records() -> Self {
        Self::of(2, content::records(), CHUNK)
    }

    /// The same with publishes of so many records in turn.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn of_keys(keys: usize) -> Self {
        Self::of(2, content::of_keys(keys), CHUNK.max(keys))
    }

    /// A peer for a client with so many subscriptions, `sub_id` says which. Messages go to `targets` of them
    /// in turn, at most 1,000.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn for_subscriptions(count: usize, targets: usize) -> Self {
        let step = count.div_ceil(targets.clamp(1, CHUNK));
        let ids: Vec<String> = (0..count).step_by(step).map(sub_id).collect();
        Self::of(1 + count, content::to_subscriptions(&ids), CHUNK)
    }

    /// A peer for a bare socket: waits for orders at once.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn for_socket() -> Self {
        Self::of(0, content::to_subscriptions(&["1".into()]), CHUNK)
    }

    /// A peer that answers so many commands, and then sends `chunk`, in which there are so many messages.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn of(commands: usize, chunk: Vec<u8>, per_chunk: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address").to_string();
        let (orders, ordered) = channel();
        spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            answer(&mut stream, commands);
            for messages in ordered {
                for _ in 0..messages / per_chunk {
                    if stream.write_all(&chunk).is_err() {
                        return;
                    }
                }
            }
        });
        Self { uri: format!("tcp://{address}/amps/json"), address, orders }
    }

    /// The connection string.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A bare connection.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("loopback")
    }

    /// Has so many messages sent, a multiple of what is in one chunk.
    ///
    /// # Panics
    /// When the connection has ended.
    pub fn send(&self, messages: usize) {
        self.orders.send(messages).expect("a peer");
    }
}

/// The id of one of many subscriptions; all are of one length.
pub(crate) fn sub_id(number: usize) -> String {
    format!("s{number:06}")
}

/// Answers the first `commands` commands with success.
pub(crate) fn answer(stream: &mut (impl Read + Write), commands: usize) {
    let mut received = BytesMut::new();
    let mut buffer = [0; 4096];
    let mut answered = 0;
    while answered < commands {
        let count = stream.read(&mut buffer).expect("a command");
        received.extend_from_slice(&buffer[..count]);
        while let Some(frame) = FrameDecoder::default().decode(&mut received).expect("a frame") {
            let command = Message::decode(frame).expect("a header");
            let cid = command.command_id().expect("a command id");
            let ack = format!(r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"success"}}"#);
            stream.write_all(&framed(&ack)).expect("a socket");
            answered += 1;
        }
    }
}

/// A header behind its length, in one piece, as servers write it: two would wake whoever reads twice.
pub(crate) fn framed(header: &str) -> Vec<u8> {
    let mut frame = (header.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(header.as_bytes());
    frame
}

/// Accepts one connection and reads it as fast as it can; tells when so many publishes came.
#[derive(Debug)]
pub struct Sponge {
    uri: String,
    address: String,
    expect: Sender<usize>,
    reached: Receiver<Instant>,
}

impl Sponge {
    /// A peer for a client: answers its logon, then reads.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn for_client() -> Self {
        Self::start(true)
    }

    /// A peer for a bare socket.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn for_socket() -> Self {
        Self::start(false)
    }

    /// A peer for a client that publishes with sequence numbers, counted from 1 without a gap: answers its
    /// logon, counts frames instead of bytes, and says after every 1,000, and at the end, that they are persisted.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn for_publisher() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address").to_string();
        let (expect, expected) = channel::<usize>();
        let (reach, reached) = channel();
        spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            answer(&mut stream, 1);
            let mut buffer = vec![0; 256 * 1024];
            let (mut filled, mut count, mut told) = (0, 0, 0);
            for frames in expected {
                let goal = count + frames;
                while count < goal {
                    match stream.read(&mut buffer[filled..]) {
                        Ok(read @ 1..) => filled += read,
                        _ => return,
                    }
                    let mut at = 0;
                    while let Ok(Some(total)) = next_frame(&buffer[at..filled], 1 << 20) {
                        at += total;
                        count += 1;
                    }
                    buffer.copy_within(at..filled, 0);
                    filled -= at;
                    if count >= told + CHUNK || count == goal {
                        told = count;
                        let ack = format!(r#"{{"c":"ack","a":"persisted","s":{count},"status":"success"}}"#);
                        if stream.write_all(&framed(&ack)).is_err() {
                            return;
                        }
                    }
                }
                let _ = reach.send(Instant::now());
            }
        });
        Self { uri: format!("tcp://{address}/amps/json"), address, expect, reached }
    }

    fn start(handshake: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address").to_string();
        let (expect, expected) = channel::<usize>();
        let (reach, reached) = channel();
        spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            if handshake {
                answer(&mut stream, 1);
            }
            let mut buffer = vec![0; 256 * 1024];
            for bytes in expected {
                let mut left = bytes;
                while left > 0 {
                    match stream.read(&mut buffer) {
                        Ok(count @ 1..) => left = left.saturating_sub(count),
                        _ => return,
                    }
                }
                let _ = reach.send(Instant::now());
            }
        });
        Self { uri: format!("tcp://{address}/amps/json"), address, expect, reached }
    }

    /// The connection string.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A bare connection.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("loopback");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream
    }

    /// Announces how many bytes come next.
    ///
    /// # Panics
    /// When the connection has ended.
    pub fn expect(&self, bytes: usize) {
        self.expect.send(bytes).expect("a peer");
    }

    /// Waits without sleeping until they have come.
    pub fn spin(&self) {
        while let Err(TryRecvError::Empty) = self.reached.try_recv() {
            std::hint::spin_loop();
        }
    }

    /// Waits until they have come, and says when that was.
    ///
    /// # Panics
    /// When the connection ends before.
    pub fn wait(&self) -> Instant {
        self.reached.recv().expect("all of it")
    }
}
