//! Receiving: how long it takes until so many messages were seen.

use std::hint::black_box;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use amps_client::{Client, HandlerSubscription, Subscription};
use amps_protocol::{LENGTH_PREFIX, Message, next_frame};

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
        let flood = Flood::for_socket();
        let stream = flood.connect();
        Self { flood, stream, buffer: vec![0; 2 * READ], filled: 0 }
    }

    /// Cuts `messages` frames and nothing else.
    pub fn cut(&mut self, messages: usize) -> Duration {
        self.run(messages, |frame| {
            black_box(frame.len());
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
        let began = Instant::now();
        self.flood.send(messages);
        let mut seen = 0;
        while seen < messages {
            let count = self.stream.read(&mut self.buffer[self.filled..]).unwrap_or(0);
            self.filled += count;
            let mut at = 0;
            while let Ok(Some(total)) = next_frame(&self.buffer[at..self.filled], READ) {
                each(&self.buffer[at + LENGTH_PREFIX..at + total]);
                at += total;
                seen += 1;
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
        let flood = Flood::for_client();
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
        let _ = self.target.send(messages);
        send();
        let _ = self.reached.recv();
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
        for message in self.subscription.by_ref().take(messages).flatten() {
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
        let _ = self.reached.recv();
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
        let flood = Flood::for_client();
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
        let _ = self.seen.recv();
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
