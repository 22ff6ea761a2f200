//! Publishing: how long it takes until so many messages were taken in by the other end.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;
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
            self.stream.write_all(&batch).expect("a socket");
        }
        self.sponge.wait();
        began.elapsed()
    }
}

/// So far apart are calls that are alone.
const APART: Duration = Duration::from_micros(100);

const IN_TURN: usize = 500;

/// How long a bare write of one frame takes, and a publish, each in the middle of so many: in turn, some hundreds of
/// each, so that a machine that becomes slower does so for both.
///
/// # Panics
/// When the other end has gone.
pub fn calls(floor: &mut Floor, publisher: &Publisher, calls: usize) -> [Duration; 2] {
    let Floor { sponge, stream, frame } = floor;
    let mut taken = [Vec::with_capacity(calls), Vec::with_capacity(calls)];
    while taken[1].len() < calls {
        for _ in 0..IN_TURN {
            taken[0].push(alone(sponge, frame.len(), || stream.write_all(frame).expect("a socket")));
        }
        for _ in 0..IN_TURN {
            taken[1].push(alone(&publisher.sponge, publisher.frame, || {
                publisher.client.publish("orders", BODY).expect("taken");
            }));
        }
    }
    taken.map(|mut taken| {
        taken.sort_unstable();
        taken[taken.len() / 2]
    })
}

/// How long a call takes that writes one frame, after the other end has taken the one before.
fn alone(sponge: &Sponge, frame: usize, call: impl FnOnce()) -> Duration {
    sponge.expect(frame);
    let began = Instant::now();
    call();
    let took = began.elapsed();
    // A thread that has slept finds its caches used by others: that is not what a call costs. And what follows at
    // once may be gathered with others, which is no call that writes.
    sponge.spin();
    while began.elapsed() < APART {
        std::hint::spin_loop();
    }
    took
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
            self.client.publish("orders", BODY).expect("taken");
        }
        self.sponge.wait();
        began.elapsed()
    }

    /// Publishes from so many threads; returns how long that took, and the share of its messages that the slowest
    /// thread had published when the first was done.
    pub fn burst_of(&mut self, threads: usize, messages: usize) -> (Duration, f64) {
        let each = messages / threads;
        let (progress, first) =
            ((0..threads).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>(), AtomicUsize::new(0));
        let began = Instant::now();
        self.sponge.expect(each * threads * self.frame);
        scope(|scope| {
            for own in &progress {
                let (client, all, first) = (&self.client, &progress, &first);
                scope.spawn(move || {
                    for _ in 0..each {
                        client.publish("orders", BODY).expect("taken");
                        own.fetch_add(1, Ordering::Relaxed);
                    }
                    let least = all.iter().map(|count| count.load(Ordering::Relaxed)).min().unwrap_or(0);
                    // Only the first one counts.
                    _ = first.compare_exchange(0, least.max(1), Ordering::Relaxed, Ordering::Relaxed);
                });
            }
        });
        self.sponge.wait();
        (began.elapsed(), first.into_inner() as f64 / each as f64)
    }

    /// Publishes bursts of so many messages; returns how long after the last publish of each began the other end had
    /// it, in order of time.
    pub fn last_of_bursts(&mut self, bursts: usize, length: usize) -> Vec<Duration> {
        let burst = |_| {
            self.sponge.expect(length * self.frame);
            for _ in 1..length {
                self.client.publish("orders", BODY).expect("taken");
            }
            let began = Instant::now();
            self.client.publish("orders", BODY).expect("taken");
            self.sponge.wait() - began
        };
        let mut taken: Vec<Duration> = (0..bursts).map(burst).collect();
        taken.sort_unstable();
        taken
    }

    /// Publishes `messages` messages, each after the other end has taken the one before.
    pub fn single(&mut self, messages: usize) -> Duration {
        let began = Instant::now();
        for _ in 0..messages {
            self.sponge.expect(self.frame);
            self.client.publish("orders", BODY).expect("taken");
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
