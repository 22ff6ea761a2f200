//! From a publish to the own handler and back again: a peer that echoes, our client, and bare sockets.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::spawn;
use std::time::{Duration, Instant};

use amps_client::Client;
use amps_protocol::{CommandKind, Field, FrameWriter};
use bytes::BytesMut;

use crate::peer::answer;
use crate::system::on_processor;

/// Bytes of each body.
pub const SIZE: usize = 200;

/// Who runs where, and how they wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The processor of whoever is measured.
    pub ours: usize,
    /// That of the peer.
    pub theirs: usize,
    /// Nobody sleeps.
    pub spins: bool,
}

/// Reads until there is something, or the end: by sleeping, or by asking again and again.
fn read(socket: &mut TcpStream, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(out) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
            read => return read,
        }
    }
}

/// Reads so many bytes.
fn read_all(socket: &mut TcpStream, out: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < out.len() {
        match read(socket, &mut out[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(())
}

/// A publish, as long as what the client writes, and a delivery of it.
fn frames() -> (BytesMut, BytesMut) {
    let (mut publish, mut delivery) = (BytesMut::new(), BytesMut::new());
    FrameWriter::new(&mut publish, CommandKind::Publish).text(Field::Topic, "orders").finish(&[b'x'; SIZE]);
    let delivered = FrameWriter::new(&mut delivery, CommandKind::Publish).text(Field::Topic, "orders");
    delivered.text(Field::SubIds, "1").finish(&[b'x'; SIZE]);
    (publish, delivery)
}

/// A peer that answers each publish with its delivery.
fn echo(place: Place, commands: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("an address").to_string();
    on_processor(place.theirs, || {
        spawn(move || -> io::Result<()> {
            let (mut socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            answer(&mut socket, commands);
            socket.set_nonblocking(place.spins)?;
            let (publish, delivery) = frames();
            let mut buffer = vec![0; publish.len()];
            loop {
                read_all(&mut socket, &mut buffer)?;
                socket.write_all(&delivery)?;
            }
        });
    });
    address
}

/// How long each of so many round trips takes over bare sockets, in order of time.
///
/// # Panics
/// When loopback does not work.
pub fn bare(place: Place, rounds: usize) -> Vec<Duration> {
    let address = echo(place, 0);
    on_processor(place.ours, || {
        let mut socket = TcpStream::connect(address).expect("loopback");
        socket.set_nodelay(true).expect("TCP_NODELAY");
        socket.set_nonblocking(place.spins).expect("a socket");
        let (publish, delivery) = frames();
        let mut buffer = vec![0; delivery.len()];
        let once = || {
            let began = Instant::now();
            socket.write_all(&publish).expect("a socket");
            read_all(&mut socket, &mut buffer).expect("an answer");
            began.elapsed()
        };
        sorted(std::iter::repeat_with(once).take(rounds + WARM_UP).collect())
    })
}

/// The same with our client, which publishes from its handler.
///
/// # Panics
/// When loopback does not work.
pub fn ours(place: Place, rounds: usize) -> Vec<Duration> {
    let address = echo(place, 2);
    let connect = || {
        let builder = Client::builder("bench").server(format!("tcp://{address}/amps/json"));
        builder.busy_poll(place.spins).connect().expect("a connection")
    };
    let client = on_processor(place.ours, connect);
    let (done, finished) = channel();
    let (publisher, body) = (client.clone(), [b'x'; SIZE]);
    let (mut taken, mut began) = (Vec::with_capacity(rounds + WARM_UP), Instant::now());
    let handler = move |_: &amps_client::Message<&[u8]>| {
        taken.push(began.elapsed());
        if taken.len() == rounds + WARM_UP {
            done.send(std::mem::take(&mut taken))?;
            return Ok(());
        }
        began = Instant::now();
        publisher.publish("orders", body)?;
        Ok(())
    };
    let _subscription = client.subscribe("orders").sub_id("1").on_message(handler).expect("a subscription");
    client.publish("orders", [b'x'; SIZE]).expect("a publish");
    let taken = finished.recv().expect("all rounds");
    client.abort();
    sorted(taken)
}

/// Rounds before those that count.
const WARM_UP: usize = 1000;

fn sorted(mut taken: Vec<Duration>) -> Vec<Duration> {
    taken.drain(..WARM_UP.min(taken.len()));
    taken.sort_unstable();
    taken
}

/// A percentile of times in order, in microseconds.
pub fn percentile(sorted: &[Duration], percent: f64) -> f64 {
    let at = ((sorted.len() as f64 - 1.0) * percent / 100.0).round() as usize;
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}
