//! What the fake server carries: each case is one kind of work over loopback, with raw sockets
//! at the other end, so that what is measured is the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{scope, spawn};
use std::time::{Duration, Instant};

use amps_protocol::{FrameDecoder, Message};
use amps_testkit::{FakeServer, FakeServerBuilder, JournalMode, QueueConfig, SowConfig};
use bytes::BytesMut;

/// A body of 128 bytes with a field to filter and to key by.
fn body(number: u64) -> String {
    let start = format!(r#"{{"id":{number},"price":99.125,"venue":"XNYS","note":""#);
    let filler = 126 - start.len();
    format!("{start}{}\"}}", "x".repeat(filler))
}

/// A frame with its length.
fn frame(header: &str, body: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(header.len() + body.len()).expect("small").to_be_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// A raw connection that has logged on.
pub struct Peer {
    stream: TcpStream,
    decoder: FrameDecoder,
    bytes: BytesMut,
}

impl Peer {
    /// Connects and logs on.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn connect(server: &FakeServer, name: &str) -> Self {
        let stream = TcpStream::connect(server.addr()).expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let mut peer = Self { stream, decoder: FrameDecoder::new(1 << 26), bytes: BytesMut::new() };
        let logon =
            format!(r#"{{"c":"logon","cid":"1","client_name":"{name}","mt":"json","a":"processed"}}"#);
        peer.write(&frame(&logon, ""));
        peer.skip(1);
        peer
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Places a command and waits for so many frames in answer.
    fn command(&mut self, header: &str, answers: usize) {
        self.write(&frame(header, ""));
        self.skip(answers);
    }

    /// Reads frames and hands them on, until that says that it was enough; `false` if the server
    /// has closed before.
    fn read(&mut self, mut enough: impl FnMut(&[u8]) -> bool) -> bool {
        loop {
            while let Some(message) = self.decoder.decode(&mut self.bytes).expect("frames") {
                if enough(&message) {
                    return true;
                }
            }
            let start = self.bytes.len();
            self.bytes.resize(start + 256 * 1024, 0);
            let count = self.stream.read(&mut self.bytes[start..]).unwrap_or(0);
            self.bytes.truncate(start + count);
            if count == 0 {
                return false;
            }
        }
    }

    fn skip(&mut self, mut frames: usize) {
        if frames > 0 {
            let all = self.read(|_| {
                frames -= 1;
                frames == 0
            });
            assert!(all, "the server has closed");
        }
    }
}

fn server(builder: FakeServerBuilder) -> FakeServer {
    builder.journal(JournalMode::Off).start().expect("the server starts")
}

/// Publishes of one topic, 500 to a chunk, with ids that repeat every `distinct`.
fn chunks(topic: &str, count: u64, distinct: u64) -> Vec<Vec<u8>> {
    let header = format!(r#"{{"c":"p","t":"{topic}"}}"#);
    let of_chunk = |chunk: u64| (0..500).flat_map(move |n| [chunk * 500 + n]);
    (0..count.min(distinct.max(500)).div_ceil(500))
        .map(|chunk| of_chunk(chunk).flat_map(|n| frame(&header, &body(n % distinct))).collect())
        .collect()
}

/// How long it takes until `count` messages of a publisher have arrived at a subscriber.
fn arrive(server: &FakeServer, mut subscriber: Peer, count: u64) -> Duration {
    let mut publisher = Peer::connect(server, "publisher");
    let chunks = chunks("orders", count, 1000);
    let begin = Instant::now();
    scope(|scope| {
        scope.spawn(move || {
            for number in 0..count / 500 {
                publisher.write(&chunks[usize::try_from(number).expect("small") % chunks.len()]);
            }
        });
        subscriber.skip(usize::try_from(count / 500 * 500).expect("small"));
    });
    begin.elapsed()
}

/// One publisher, one subscriber: how long it takes until `count` messages have arrived.
///
/// # Panics
/// When something is lost.
pub fn one_to_one(builder: FakeServerBuilder, count: u64) -> Duration {
    let server = server(builder);
    let mut subscriber = Peer::connect(&server, "subscriber");
    subscriber.command(r#"{"c":"subscribe","cid":"2","sub_id":"s","t":"orders","a":"processed"}"#, 1);
    arrive(&server, subscriber, count)
}

/// The same without a server that keeps anything.
pub fn plain(count: u64) -> Duration {
    one_to_one(FakeServer::builder().no_txlog(), count)
}

/// The same with a topic in the state of the world and in the log.
pub fn kept(count: u64) -> Duration {
    one_to_one(FakeServer::builder().sow(SowConfig::new("orders").key("/id")), count)
}

/// `count` publishes past 1,000 subscriptions of which each wants one value of a field.
///
/// # Panics
/// When something is lost.
pub fn many_values(count: u64) -> Duration {
    many_filters(count, |number| format!("/id = {number} AND /venue = 'XNYS'"))
}

/// The same with filters that no index helps with.
///
/// # Panics
/// When something is lost.
pub fn many_ranges(count: u64) -> Duration {
    many_filters(count, |number| format!("/id >= {number} AND /id < {}", number + 1))
}

fn many_filters(count: u64, filter: impl Fn(u64) -> String) -> Duration {
    let server = server(FakeServer::builder().no_txlog());
    let mut subscriber = Peer::connect(&server, "subscriber");
    for number in 0..1000 {
        let filter = filter(number);
        let header = format!(
            r#"{{"c":"subscribe","cid":"2","sub_id":"s{number}","t":"orders","f":"{filter}","a":"processed"}}"#
        );
        subscriber.command(&header, 1);
    }
    arrive(&server, subscriber, count)
}

/// A state of the world of `records` small records: how much memory it takes, and how long a
/// query with an equality filter over it.
///
/// # Panics
/// When something is lost.
pub fn big_table(records: u64) -> (u64, Duration) {
    let server = server(FakeServer::builder().no_txlog().sow(SowConfig::new("orders").key("/id")));
    let before = resident();
    let mut publisher = Peer::connect(&server, "publisher");
    let mut bytes = Vec::new();
    for number in 0..records {
        bytes.extend(frame(
            r#"{"c":"p","t":"orders"}"#,
            &format!(r#"{{"id":{number},"side":"buy","qty":{}}}"#, number % 97),
        ));
        if bytes.len() > 128 * 1024 {
            publisher.write(&bytes);
            bytes.clear();
        }
    }
    publisher.write(&bytes);
    publisher.command(r#"{"c":"flush","cid":"f","a":"processed"}"#, 1);
    let taken = resident() - before;
    let begin = Instant::now();
    let filter = format!("/id = {}", records / 2);
    publisher.command(&format!(r#"{{"c":"sow","cid":"q","query_id":"q","t":"orders","f":"{filter}"}}"#), 3);
    (taken, begin.elapsed())
}

/// A queue with four consumers that acknowledge in batches of 100.
///
/// # Panics
/// When something is lost.
pub fn queue(count: u64) -> Duration {
    let server = server(FakeServer::builder().queue(QueueConfig::new("work").max_backlog(1000)));
    let mut publisher = Peer::connect(&server, "publisher");
    let consumers: Vec<Peer> = (0..4)
        .map(|number| {
            let mut consumer = Peer::connect(&server, &format!("consumer-{number}"));
            let subscribe = r#"{"c":"subscribe","cid":"2","sub_id":"s","t":"work","o":"max_backlog=1000","a":"processed"}"#;
            consumer.command(subscribe, 1);
            consumer
        })
        .collect();
    let chunks = chunks("work", count, 1000);
    let sent = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let workers: Vec<_> = consumers
        .into_iter()
        .map(|mut consumer| {
            let sent = Arc::clone(&sent);
            spawn(move || {
                let mut pending: Vec<String> = Vec::new();
                let mut writer = consumer.stream.try_clone().expect("a second handle");
                // Ends when the server does.
                consumer.read(|message| {
                    let message = Message::decode(message).expect("a message");
                    if let Some(bookmark) = message.bookmark() {
                        pending.push(String::from_utf8_lossy(bookmark).into_owned());
                    }
                    if pending.len() < 100 {
                        return false;
                    }
                    let list = pending.join(",");
                    sent.fetch_add(100, Ordering::Relaxed);
                    pending.clear();
                    writer
                        .write_all(&frame(&format!(r#"{{"c":"sow_delete","t":"work","bm":"{list}"}}"#), ""))
                        .is_err()
                });
            })
        })
        .collect();
    for number in 0..count / 500 {
        publisher.write(&chunks[usize::try_from(number).expect("small") % chunks.len()]);
    }
    let wanted = count / 500 * 500;
    // What is left over of a batch is never acknowledged. To look at the queue costs time.
    while sent.load(Ordering::Relaxed) + 400 < wanted {
        std::thread::sleep(Duration::from_millis(1));
    }
    while server.queue("work").is_none_or(|queue| queue.counters.acknowledged + 400 < wanted) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let taken = begin.elapsed();
    drop(server);
    for worker in workers {
        let _ended = worker.join();
    }
    taken
}

/// So many connections that do nothing: the memory that they take, and the threads.
///
/// # Panics
/// When loopback does not work.
pub fn idle(connections: u32) -> (u64, u64) {
    let server = server(FakeServer::builder());
    let (before, threads) = (resident(), status("Threads:"));
    let peers: Vec<TcpStream> = (0..connections)
        .map(|number| {
            let mut peer = Peer::connect(&server, &format!("idle-{number}"));
            peer.bytes = BytesMut::new();
            peer.stream
        })
        .collect();
    let taken = (resident().saturating_sub(before), status("Threads:").saturating_sub(threads));
    drop(peers);
    taken
}

/// From nothing to a server that answers.
///
/// # Panics
/// When loopback does not work.
pub fn start() -> Duration {
    let begin = Instant::now();
    let server = server(FakeServer::builder());
    let _peer = Peer::connect(&server, "first");
    begin.elapsed()
}

/// Bytes of memory in use.
fn resident() -> u64 {
    status("VmRSS:") * 1024
}

fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
