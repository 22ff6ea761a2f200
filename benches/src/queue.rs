//! A queue: a server that leases as far as the backlog goes, our consumer, and a bare loop that does the same.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use amps_client::{Client, HandlerSubscription};
use amps_protocol::{LENGTH_PREFIX, Message, next_frame};

use crate::content;
use crate::peer::answer;

/// Sends leased messages, never more than the backlog beyond what was acknowledged.
#[derive(Debug)]
pub struct Lender {
    uri: String,
    address: String,
    orders: Sender<usize>,
    settled: Receiver<()>,
}

impl Lender {
    /// Waits for one connection, answers so many commands, and then for orders.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new(commands: usize, backlog: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address").to_string();
        let (orders, ordered) = channel::<usize>();
        let (settle, settled) = channel();
        spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            answer(&mut stream, commands);
            let mut lending = Lending::new(stream, backlog);
            for messages in ordered {
                if lending.lend(messages).is_none() || settle.send(()).is_err() {
                    return;
                }
            }
        });
        Self { uri: format!("tcp://{address}/amps/json"), address, orders, settled }
    }

    /// The connection string.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Has so many messages delivered; returns when all are acknowledged.
    pub fn run(&self, messages: usize) -> Duration {
        let began = Instant::now();
        self.orders.send(messages).expect("a server");
        self.settled.recv().expect("all messages, acknowledged");
        began.elapsed()
    }
}

/// The server's side of one consumer.
struct Lending {
    stream: TcpStream,
    /// Twice the backlog, so that any part of it of that length is in one piece.
    frames: Vec<u8>,
    frame: usize,
    backlog: usize,
    at: usize,
    buffer: Vec<u8>,
    filled: usize,
}

impl Lending {
    fn new(stream: TcpStream, backlog: usize) -> Self {
        let mut frames = Vec::new();
        for number in (0..backlog).chain(0..backlog) {
            content::leased(number, &mut frames);
        }
        let frame = frames.len() / (2 * backlog);
        Self { stream, frames, frame, backlog, at: 0, buffer: vec![0; 256 * 1024], filled: 0 }
    }

    /// Leases as many as the backlog allows until so many are acknowledged.
    fn lend(&mut self, messages: usize) -> Option<()> {
        let (mut sent, mut acknowledged) = (0, 0);
        while acknowledged < messages {
            let count = (self.backlog - (sent - acknowledged)).min(messages - sent);
            if count > 0 {
                let start = self.at * self.frame;
                self.stream.write_all(&self.frames[start..start + count * self.frame]).ok()?;
                self.at = (self.at + count) % self.backlog;
                sent += count;
            }
            acknowledged += self.acknowledged()?;
        }
        Some(())
    }

    /// How many bookmarks the next frames name.
    fn acknowledged(&mut self) -> Option<usize> {
        let count = self.stream.read(&mut self.buffer[self.filled..]).ok().filter(|count| *count > 0)?;
        self.filled += count;
        let (mut at, mut bookmarks) = (0, 0);
        while let Ok(Some(total)) = next_frame(&self.buffer[at..self.filled], 1 << 20) {
            let frame = &self.buffer[at + LENGTH_PREFIX..at + total];
            if let Some(list) = Message::decode(frame).ok()?.bookmark() {
                bookmarks += 1 + memchr::memchr_iter(b',', list).count();
            }
            at += total;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        Some(bookmarks)
    }
}

/// Our consumer, with a handler, acknowledging by itself.
#[derive(Debug)]
pub struct Consumer {
    lender: Lender,
    _client: Client,
    _subscription: HandlerSubscription,
}

impl Consumer {
    /// Connects and subscribes.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new(backlog: usize, batch: usize) -> Self {
        let lender = Lender::new(2, backlog);
        let (client, subscription) = consume(lender.uri(), backlog, batch);
        Self { lender, _client: client, _subscription: subscription }
    }

    /// Processes so many messages, until all are acknowledged.
    pub fn run(&mut self, messages: usize) -> Duration {
        self.lender.run(messages)
    }
}

/// A consumer of the queue at `uri`.
///
/// # Panics
/// When the server refuses it.
pub fn consume(uri: &str, backlog: usize, batch: usize) -> (Client, HandlerSubscription) {
    let client = Client::builder("bench").server(uri).auto_ack(true).ack_batch_size(batch);
    let client = client.connect().expect("a connection");
    let described = client.subscribe("orders").sub_id("1").max_backlog(backlog as u32);
    let subscription = described
        .on_message(|message| {
            black_box(message.data().len());
            Ok(())
        })
        .expect("a subscription");
    (client, subscription)
}

/// Floor: a loop that cuts frames and sends the acknowledgements that the consumer would send.
#[derive(Debug)]
pub struct Floor {
    lender: Lender,
    stream: TcpStream,
    ack: Vec<u8>,
    batch: usize,
}

impl Floor {
    /// Connects.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new(backlog: usize, batch: usize) -> Self {
        let lender = Lender::new(0, backlog);
        let stream = TcpStream::connect(&lender.address).expect("loopback");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let bookmarks = vec!["14223183437845374372|1000000|"; batch].join(",");
        let header = format!(r#"{{"c":"sow_delete","t":"orders","bm":"{bookmarks}"}}"#);
        let mut ack = (header.len() as u32).to_be_bytes().to_vec();
        ack.extend_from_slice(header.as_bytes());
        Self { lender, stream, ack, batch }
    }

    /// Takes so many messages, a multiple of the batch.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn run(&mut self, messages: usize) -> Duration {
        let Self { lender, stream, ack, batch } = self;
        let mut socket = stream.try_clone().expect("a socket");
        let (ack, batch) = (ack.clone(), *batch);
        let consumer = spawn(move || {
            let mut buffer = vec![0; 128 * 1024];
            let (mut filled, mut seen) = (0, 0);
            while seen < messages {
                let count = socket.read(&mut buffer[filled..]).expect("a socket");
                assert!(count > 0, "the peer has gone after {seen} of {messages}");
                filled += count;
                let mut at = 0;
                while let Ok(Some(total)) = next_frame(&buffer[at..filled], 1 << 20) {
                    black_box(&buffer[at + LENGTH_PREFIX..at + total]);
                    at += total;
                    seen += 1;
                    if seen % batch == 0 {
                        socket.write_all(&ack).expect("a socket");
                    }
                }
                buffer.copy_within(at..filled, 0);
                filled -= at;
            }
        });
        let took = lender.run(messages);
        consumer.join().expect("a consumer");
        took
    }
}
