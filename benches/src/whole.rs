//! A whole client for instruction counts: its peer is another process, so that what is counted is the client.
//!
//! A peer sends faster than a client that is being counted can read, so that every read is a full one, and a count
//! repeats within a per cent.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use amps_client::{Client, PublishState, Receipt};

use crate::crowd;
use crate::peer::{BODY, Flood, Sponge};
use crate::queue::{Lender, consume};
use crate::receive::Counting;

/// Messages of one repetition.
pub const UNITS: usize = 100;

const BACKLOG: usize = 1000;

/// A name, the kind of peer, and the work for so many messages.
pub type Case = (&'static str, &'static str, fn(&mut Apart, usize));

/// What can be counted: its name, the peer that it needs, and the work for so many messages.
pub const CASES: &[Case] = &[
    ("route and deliver", "flood", handler),
    ("hand to a stream", "flood", stream),
    ("deliver records", "records", records),
    ("encode and enqueue", "sponge", publish),
    ("lease and ack", "lender", acknowledge),
];

/// A peer in a process of its own.
#[derive(Debug)]
pub struct Apart {
    child: Child,
    orders: ChildStdin,
    said: BufReader<ChildStdout>,
    uri: String,
}

impl Apart {
    /// Starts it, by calling this very program with `peer KIND`.
    ///
    /// # Panics
    /// When processes cannot be started.
    pub fn start(kind: &str) -> Self {
        let own = std::env::current_exe().expect("a path");
        let command =
            Command::new(own).args(["peer", kind]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = command.expect("a process");
        let (orders, said) = child.stdin.take().zip(child.stdout.take()).expect("pipes");
        let (mut said, mut uri) = (BufReader::new(said), String::new());
        said.read_line(&mut uri).expect("an address");
        Self { child, orders, said, uri: uri.trim().to_owned() }
    }

    fn order(&mut self, messages: usize) {
        let _ = writeln!(self.orders, "{messages}");
    }

    fn wait(&mut self) {
        let _ = self.said.read_line(&mut String::new());
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side of [`Apart`]: takes orders from the standard input until that ends.
///
/// # Errors
/// There is no such peer.
pub fn serve(kind: &str) -> Result<(), String> {
    match kind {
        "flood" => obey(&Flood::for_client(), Flood::uri, Flood::send),
        "records" => obey(&Flood::of_records(), Flood::uri, Flood::send),
        "lender" => obey(&Lender::new(2, BACKLOG), Lender::uri, |lender, messages| _ = lender.run(messages)),
        "sponge" => obey(&Sponge::for_client(), Sponge::uri, |sponge, bytes| {
            sponge.expect(bytes);
            _ = sponge.wait();
        }),
        other => {
            let clients = other.strip_prefix("crowd:").and_then(|count| count.parse().ok());
            crowd::serve(clients.ok_or_else(|| format!("no peer \"{other}\""))?);
        }
    }
    Ok(())
}

/// What so many clients take, as numbers in one line: KiB, KiB per client, per cent of a processor.
pub fn crowd(clients: usize) -> String {
    let mut peer = Apart::start(&format!("crowd:{clients}"));
    let uri = peer.uri.clone();
    let (memory, each, share) = crowd::measure(&uri, clients, |seconds| {
        peer.order(seconds);
        peer.wait();
    });
    format!("{memory} {each:.3} {share:.3}")
}

fn obey<P>(peer: &P, uri: fn(&P) -> &str, mut run: impl FnMut(&P, usize)) {
    println!("{}", uri(peer));
    for order in std::io::stdin().lines() {
        let Some(count) = order.ok().and_then(|order| order.parse().ok()) else { return };
        run(peer, count);
        println!("done");
    }
    let _ = std::io::stdin().read(&mut [0]);
}

fn connect(peer: &Apart) -> Client {
    Client::builder("bench").server(&*peer.uri).connect().expect("a connection")
}

fn handler(peer: &mut Apart, messages: usize) {
    let counting = Counting::begin(connect(peer));
    counting.run(messages, || peer.order(messages));
}

fn stream(peer: &mut Apart, messages: usize) {
    let client = connect(peer);
    let subscription = client.subscribe("orders").sub_id("1").start().expect("a subscription");
    peer.order(messages);
    for message in subscription.take(messages).flatten() {
        black_box(message.data().len());
    }
}

fn records(peer: &mut Apart, messages: usize) {
    let client = connect(peer);
    let (reach, reached) = channel();
    let mut left = messages;
    let handler = move |message: &amps_client::Message<&[u8]>| {
        black_box(message.data().len());
        left -= 1;
        if left == 0 {
            reach.send(())?;
        }
        Ok(())
    };
    let _query = client.sow("orders").query_id("1").on_message(handler).expect("a query");
    peer.order(messages);
    let _ = reached.recv();
}

fn publish(peer: &mut Apart, messages: usize) {
    let client = connect(peer);
    // Until it is killed.
    peer.order(usize::MAX);
    for _ in 0..messages / BURST {
        // Gathered, whatever the clock says: under a tool that counts everything is slow.
        client.set_publish_batching(1 << 20, Duration::from_secs(3600));
        let last = publish_all(&client, BURST);
        // Which writes what is there. What did not fit into the socket would be moved about.
        client.set_publish_batching(0, Duration::ZERO);
        while last.state() == PublishState::Queued {
            std::thread::yield_now();
        }
    }
    client.abort();
}

/// Publishes that go out together. With more, the count would be that of moving buffers that grow.
const BURST: usize = 50;

/// What the publishing thread does is counted by this name: what the loop does meanwhile is chance.
#[inline(never)]
fn publish_all(client: &Client, messages: usize) -> Receipt {
    for _ in 1..messages {
        client.publish("orders", BODY).expect("taken");
    }
    client.publish("orders", BODY).expect("taken")
}

fn acknowledge(peer: &mut Apart, messages: usize) {
    let (_client, _subscription) = consume(&peer.uri, BACKLOG, 100);
    peer.order(messages);
    peer.wait();
}
