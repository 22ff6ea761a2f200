//! Publishing: how long it takes until so many messages were taken in by the other end.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use amps_client::{Client, ClientBuilder};
use amps_protocol::{CommandKind, Field, FrameWriter};
use bytes::BytesMut;

use crate::peer::{BODY, Sponge};

/// Length of one publish on the wire.
fn frame() -> BytesMut {
    let mut out = BytesMut::new();
    FrameWriter::new(&mut out, CommandKind::Publish).text(Field::Topic, "orders").finish(BODY.as_bytes());
    out
}

/// Floor: pre-encoded frames, so many of them in each system call.
#[derive(Debug)]
pub struct Floor {
    sponge: Sponge,
    stream: TcpStream,
    frame: BytesMut,
}

impl Floor {
    /// Connects.
    pub fn new() -> Self {
        let sponge = Sponge::for_socket();
        let stream = sponge.connect();
        Self { sponge, stream, frame: frame() }
    }

    /// Writes `messages` frames, `per_write` in each system call.
    pub fn run(&mut self, messages: usize, per_write: usize) -> Duration {
        let batch = self.frame.repeat(per_write);
        let began = Instant::now();
        self.sponge.expect(messages / per_write * batch.len());
        for _ in 0..messages / per_write {
            let _ = self.stream.write_all(&batch);
        }
        self.sponge.wait();
        began.elapsed()
    }
}

impl Default for Floor {
    fn default() -> Self {
        Self::new()
    }
}

/// Our `publish`.
#[derive(Debug)]
pub struct Publisher {
    sponge: Sponge,
    client: Client,
    frame: usize,
}

impl Publisher {
    /// Connects.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new() -> Self {
        let sponge = Sponge::for_client();
        let client = Client::builder("bench").server(sponge.uri()).connect().expect("a connection");
        Self { sponge, client, frame: frame().len() }
    }

    /// Publishes `messages` messages back to back.
    pub fn burst(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        self.sponge.expect(messages * self.frame);
        for _ in 0..messages {
            let _ = self.client.publish("orders", BODY);
        }
        self.sponge.wait();
        began.elapsed()
    }

    /// Publishes `messages` messages, each after the other end has taken the one before.
    pub fn single(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        for _ in 0..messages {
            self.sponge.expect(self.frame);
            let _ = self.client.publish("orders", BODY);
            self.sponge.wait();
        }
        began.elapsed()
    }
}

/// Our `publish`, with or without a publish store, to a server that counts and confirms.
#[derive(Debug)]
pub struct Confirmed {
    sponge: Sponge,
    client: Client,
}

impl Confirmed {
    /// Connects. `store` gives the client what it keeps its messages in.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new(store: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        let sponge = Sponge::for_publisher();
        let client = store(Client::builder("bench").server(sponge.uri())).connect().expect("a connection");
        Self { sponge, client }
    }

    /// Publishes `messages` messages back to back, until the other end has all of them.
    ///
    /// # Panics
    /// When a message is refused.
    pub fn burst(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        self.sponge.expect(messages);
        for _ in 0..messages {
            self.client.publish("orders", BODY).expect("taken");
        }
        self.sponge.wait();
        began.elapsed()
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}
