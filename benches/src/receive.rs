//! Receiving: how long it takes until so many messages were seen.

use std::fmt;
use std::future::poll_fn;
use std::hint::black_box;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use amps_client::futures_core::Stream as _;
use amps_client::{Client, HandlerSubscription, MessageStream, Subscription};
use amps_protocol::{Header, LENGTH_PREFIX, Message, next_frame};

use bytes::{Buf, BytesMut};
use mio::{Events, Interest, Poll, Token};

use crate::peer::{Flood, sub_id};

const READ: usize = 64 * 1024;

/// Floor (a): a read loop that only cuts frames. Floor (b): the same, with a nom decode and a
/// bare callback for each.
#[derive(Debug)]
pub struct Floor {
    flood: Flood,
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Floor {
    /// Connects.
    pub fn new() -> Self {
        Self::of(Flood::for_socket(), 0)
    }

    /// Connects to a peer that expects no commands, whose largest message takes so many bytes.
    pub fn of(flood: Flood, largest: usize) -> Self {
        let stream = flood.connect();
        Self { flood, stream, buffer: vec![0; 2 * READ + largest], filled: 0 }
    }

    /// Cuts `messages` frames and nothing else.
    pub fn cut(&mut self, messages: usize) -> Duration {
        self.run(messages, |frame| {
            black_box(frame.len());
        })
    }

    /// Cuts batches, decodes each of their records, calls back.
    pub fn records(&mut self, records: usize) -> Duration {
        let mut callback = |record: &Message<&[u8]>| {
            black_box(record.data().len());
        };
        let callback: &mut dyn FnMut(&Message<&[u8]>) = &mut callback;
        self.run_units(records, |frame| {
            let batch = Message::decode(frame).expect("a batch");
            batch.records().map(|record| callback(&record.expect("a record"))).count()
        })
    }

    /// Cuts, decodes, calls back.
    pub fn decode(&mut self, messages: usize) -> Duration {
        let mut callback = |message: &Message<&[u8]>| {
            black_box(message.data().len());
        };
        let callback: &mut dyn FnMut(&Message<&[u8]>) = &mut callback;
        self.run(messages, |frame| {
            if let Ok(message) = Message::decode(frame) {
                callback(&message);
            }
        })
    }

    fn run(&mut self, messages: usize, mut each: impl FnMut(&[u8])) -> Duration {
        self.run_units(messages, |frame| {
            each(frame);
            1
        })
    }

    /// As [`decode`](Self::decode), the way an event loop has to: it waits for events, takes what there is into a
    /// scratch buffer, and copies that behind what was left. What that costs is no floor, but explains one.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn decode_by_events(&mut self, messages: usize) -> Duration {
        let mut poll = Poll::new().expect("a poller");
        self.stream.set_nonblocking(true).expect("a socket");
        let socket = self.stream.try_clone().expect("a socket");
        let mut socket = mio::net::TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(0), Interest::READABLE).expect("a poller");
        let (mut events, mut scratch) = (Events::with_capacity(8), vec![0; READ]);
        let (mut block, mut seen) = (BytesMut::with_capacity(READ), 0);
        let mut callback = |message: &Message<&[u8]>| {
            black_box(message.data().len());
        };
        let callback: &mut dyn FnMut(&Message<&[u8]>) = &mut callback;
        let began = Instant::now();
        self.flood.send(messages);
        while seen < messages {
            poll.poll(&mut events, None).expect("events");
            loop {
                let count = match socket.read(&mut scratch) {
                    Ok(count) => count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("a socket: {error}"),
                };
                assert!(count > 0, "the peer has gone after {seen} of {messages}");
                block.extend_from_slice(&scratch[..count]);
                while let Ok(Some(total)) = next_frame(&block, usize::MAX) {
                    callback(&Message::decode(&block[LENGTH_PREFIX..total]).expect("a header"));
                    block.advance(total);
                    seen += 1;
                }
                if count < scratch.len() {
                    break;
                }
            }
        }
        let took = began.elapsed();
        poll.registry().deregister(&mut socket).expect("a poller");
        self.stream.set_nonblocking(false).expect("a socket");
        took
    }

    /// `each` says how many units a frame held.
    fn run_units(&mut self, messages: usize, mut each: impl FnMut(&[u8]) -> usize) -> Duration {
        let began = Instant::now();
        self.flood.send(messages);
        let mut seen = 0;
        while seen < messages {
            let count = self.stream.read(&mut self.buffer[self.filled..]).expect("a socket");
            assert!(count > 0, "the peer has gone after {seen} of {messages}");
            self.filled += count;
            let mut at = 0;
            while let Ok(Some(total)) = next_frame(&self.buffer[at..self.filled], usize::MAX) {
                seen += each(&self.buffer[at + LENGTH_PREFIX..at + total]);
                at += total;
            }
            self.buffer.copy_within(at..self.filled, 0);
            self.filled -= at;
        }
        began.elapsed()
    }
}

impl Default for Floor {
    fn default() -> Self {
        Self::new()
    }
}

/// Our handler, on the client's event loop.
#[derive(Debug)]
pub struct Handler {
    flood: Flood,
    counting: Counting,
}

impl Handler {
    /// Connects and subscribes.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new() -> Self {
        Self::of(Flood::for_client())
    }

    /// Connects to a peer that answers two commands, and subscribes.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn of(flood: Flood) -> Self {
        let client = Client::builder("bench").server(flood.uri()).connect().expect("a connection");
        Self { flood, counting: Counting::begin(client) }
    }

    /// Receives `messages` messages.
    pub fn run(&mut self, messages: usize) -> Duration {
        self.counting.run(messages, || self.flood.send(messages))
    }
}

impl Default for Handler {
    fn default() -> Self {
        Self::new()
    }
}

/// A handler that counts down, and says when it is done.
#[derive(Debug)]
pub(crate) struct Counting {
    _client: Client,
    _subscription: HandlerSubscription,
    target: Sender<usize>,
    reached: Receiver<()>,
}

impl Counting {
    /// Subscribes.
    ///
    /// # Panics
    /// When the server refuses.
    pub(crate) fn begin(client: Client) -> Self {
        let (target, targets) = channel::<usize>();
        let (reach, reached) = channel();
        let mut left = 0;
        let handler = move |message: &amps_client::Message<&[u8]>| {
            black_box(message.data().len());
            if left == 0 {
                left = targets.recv()?;
            }
            left -= 1;
            if left == 0 {
                reach.send(())?;
            }
            Ok(())
        };
        let subscription =
            client.subscribe("orders").sub_id("1").on_message(handler).expect("a subscription");
        Self { _client: client, _subscription: subscription, target, reached }
    }

    /// How long it takes until so many messages were seen, which `send` asks for.
    pub(crate) fn run(&self, messages: usize, send: impl FnOnce()) -> Duration {
        let began = Instant::now();
        self.target.send(messages).expect("a handler");
        send();
        self.reached.recv().expect("all messages");
        began.elapsed()
    }
}

/// Our iterator, on the calling thread.
#[derive(Debug)]
pub struct Stream {
    flood: Flood,
    subscription: Subscription,
}

impl Stream {
    /// Connects and subscribes.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new() -> Self {
        let flood = Flood::for_client();
        let client = Client::builder("bench").server(flood.uri()).connect().expect("a connection");
        let subscription = client.subscribe("orders").sub_id("1").start().expect("a subscription");
        Self { flood, subscription }
    }

    /// Receives `messages` messages.
    pub fn run(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        self.flood.send(messages);
        for _ in 0..messages {
            let message = self.subscription.next().expect("all messages").expect("a message");
            black_box(message.data().len());
        }
        began.elapsed()
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

/// Our stream of a runtime, on the plainest of executors.
pub struct Futures {
    flood: Flood,
    stream: MessageStream,
}

impl Futures {
    /// Connects and subscribes.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new() -> Self {
        let flood = Flood::for_client();
        let client = Client::builder("bench").server(flood.uri()).connect().expect("a connection");
        let subscription = client.subscribe("orders").sub_id("1").start().expect("a subscription");
        Self { flood, stream: subscription.into_stream() }
    }

    /// Receives `messages` messages.
    pub fn run(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        self.flood.send(messages);
        pollster::block_on(async {
            for _ in 0..messages {
                let next = poll_fn(|context| Pin::new(&mut self.stream).poll_next(context)).await;
                let message = next.expect("all messages").expect("a message");
                black_box(message.data().len());
            }
        });
        began.elapsed()
    }
}

impl Default for Futures {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Futures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Futures").finish_non_exhaustive()
    }
}

/// What one read brought, decoded: where each message lies, and its index.
type Block = (Vec<u8>, Vec<(usize, usize, Header)>);

/// Floor (c): one thread reads, cuts and decodes, and hands over one block per read; another walks through it.
#[derive(Debug)]
pub struct Handoff {
    flood: Flood,
    blocks: Receiver<Block>,
}

impl Handoff {
    /// Connects.
    pub fn new() -> Self {
        let flood = Flood::for_socket();
        let mut stream = flood.connect();
        let (hand, blocks) = channel();
        spawn(move || {
            let (mut scratch, mut rest, mut usual) = (vec![0; READ], Vec::new(), 0);
            while let Ok(count @ 1..) = stream.read(&mut scratch) {
                let mut block = Vec::with_capacity(rest.len() + count);
                block.append(&mut rest);
                block.extend_from_slice(&scratch[..count]);
                let (mut at, mut items) = (0, Vec::with_capacity(usual));
                while let Ok(Some(total)) = next_frame(&block[at..], READ) {
                    let mut header = Header::default();
                    header.decode(&block[at + LENGTH_PREFIX..at + total]).expect("a header");
                    items.push((at + LENGTH_PREFIX, at + total, header));
                    at += total;
                }
                rest.extend_from_slice(&block[at..]);
                usual = items.len() + items.len() / 8;
                if hand.send((block, items)).is_err() {
                    return;
                }
            }
        });
        Self { flood, blocks }
    }

    /// Receives `messages` messages.
    pub fn run(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        self.flood.send(messages);
        let mut seen = 0;
        while seen < messages {
            let (bytes, items) = self.blocks.recv().expect("a block");
            for (start, end, header) in items {
                let message = Message::from_parts(&bytes[start..end], header);
                black_box(message.data().len());
                seen += 1;
            }
        }
        began.elapsed()
    }
}

impl Default for Handoff {
    fn default() -> Self {
        Self::new()
    }
}

/// The records of a query, to a handler.
#[derive(Debug)]
pub struct Records {
    flood: Flood,
    _client: Client,
    _query: HandlerSubscription,
    target: Arc<AtomicUsize>,
    reached: Receiver<()>,
}

impl Records {
    /// Connects and asks.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new() -> Self {
        let flood = Flood::of_records();
        let client = Client::builder("bench").server(flood.uri()).connect().expect("a connection");
        let (target, (reach, reached)) = (Arc::new(AtomicUsize::new(0)), channel());
        let left = Arc::clone(&target);
        let query = client.sow("orders").query_id("1").on_message(move |record| {
            black_box(record.data().len());
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                reach.send(())?;
            }
            Ok(())
        });
        Self { flood, _client: client, _query: query.expect("a query"), target, reached }
    }

    /// Receives so many records.
    pub fn run(&mut self, records: usize) -> Duration {
        self.target.store(records, Ordering::Relaxed);
        let began = Instant::now();
        self.flood.send(records);
        self.reached.recv().expect("all messages");
        began.elapsed()
    }
}

impl Default for Records {
    fn default() -> Self {
        Self::new()
    }
}

/// Many handlers on one client, to which messages come in turn.
#[derive(Debug)]
pub struct Routed {
    flood: Flood,
    _client: Client,
    target: Arc<AtomicUsize>,
    reached: Receiver<()>,
}

impl Routed {
    /// Connects and places so many subscriptions, of which so many get messages.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new(subscriptions: usize, targets: usize) -> Self {
        let flood = Flood::for_subscriptions(subscriptions, targets);
        let client = Client::builder("bench").server(flood.uri()).connect().expect("a connection");
        let target = Arc::new(AtomicUsize::new(0));
        let (reach, reached) = channel();
        for number in 0..subscriptions {
            let (target, reach) = (Arc::clone(&target), reach.clone());
            let handler = move |message: &amps_client::Message<&[u8]>| {
                black_box(message.data().len());
                if target.fetch_sub(1, Ordering::Relaxed) == 1 {
                    reach.send(())?;
                }
                Ok(())
            };
            let described = client.subscribe("orders").sub_id(sub_id(number));
            described.on_message(handler).expect("a subscription");
        }
        Self { flood, _client: client, target, reached }
    }

    /// Receives `messages` messages.
    pub fn run(&mut self, messages: usize) -> Duration {
        self.target.store(messages, Ordering::Relaxed);
        let began = Instant::now();
        self.flood.send(messages);
        self.reached.recv().expect("all messages");
        began.elapsed()
    }
}

/// A conflating iterator, read at the end.
#[derive(Debug)]
pub struct Conflating {
    flood: Flood,
    subscription: Subscription,
    seen: Receiver<()>,
    target: Arc<AtomicUsize>,
    _client: Client,
}

impl Conflating {
    /// Connects and subscribes.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new() -> Self {
        Self::of(Flood::for_client())
    }

    /// Connects to a peer that answers two commands, and subscribes.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn of(flood: Flood) -> Self {
        let target = Arc::new(AtomicUsize::new(0));
        let (reach, seen) = channel();
        let counted = Arc::clone(&target);
        let client = Client::builder("bench").server(flood.uri()).connect().expect("a connection");
        // Counts what comes, before it goes where it belongs.
        client.on_kind(amps_client::CommandKind::Publish, move |_| {
            if counted.fetch_sub(1, Ordering::Relaxed) == 1 {
                let _ = reach.send(());
            }
        });
        let subscription = client.subscribe("orders").sub_id("1").conflate().start().expect("a subscription");
        Self { flood, subscription, seen, target, _client: client }
    }

    /// Receives `messages` messages of one record, and reads the last.
    pub fn run(&mut self, messages: usize) -> Duration {
        self.target.store(messages, Ordering::Relaxed);
        let began = Instant::now();
        self.flood.send(messages);
        self.seen.recv().expect("all messages");
        let took = began.elapsed();
        while let Ok(Some(message)) = self.subscription.next_within(Duration::ZERO) {
            black_box(message.data().len());
        }
        took
    }
}

impl Default for Conflating {
    fn default() -> Self {
        Self::new()
    }
}
