//! What the tests share: a machine that reports all it gets and does what it is told, and
//! plain blocking peers. Time limits are bounds for failure only; nothing waits for time to pass.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use amps_transport::{
    CloseReason, ConnId, ConnectError, EventLoop, Input, Layers, ListenerId, Machine, MachineHandle, Sink,
    SocketOptions, Target, Time,
};
use bytes::BytesMut;

/// Longer than anything takes, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// An input, to be looked at by the test.
#[derive(Debug)]
pub(crate) enum Event {
    Connected { conn: ConnId, local: Option<SocketAddr>, peer: Option<SocketAddr> },
    ConnectFailed { conn: ConnId, error: ConnectError },
    Accepted { conn: ConnId, listener: ListenerId, peer: Option<SocketAddr> },
    Received { conn: ConnId, bytes: Vec<u8> },
    Writable { conn: ConnId },
    Closed { conn: ConnId, reason: CloseReason },
    Timer,
}

/// What a test has the machine do with its sink.
pub(crate) type Order = Box<dyn FnOnce(&mut Probe, &mut dyn Sink) + Send>;

type OnReceived = Box<dyn FnMut(ConnId, &mut BytesMut, &mut dyn Sink) + Send>;

pub(crate) struct Probe {
    events: Sender<Event>,
    pub(crate) deadline: Option<Time>,
    on_received: OnReceived,
}

impl Machine for Probe {
    type Note = Order;

    fn handle<S: Sink>(&mut self, _now: Time, input: Input<'_, Order>, sink: &mut S) {
        let event = match input {
            Input::Connected { conn, local, peer } => Event::Connected { conn, local, peer },
            Input::ConnectFailed { conn, error } => Event::ConnectFailed { conn, error },
            Input::Accepted { conn, listener, peer } => Event::Accepted { conn, listener, peer },
            Input::Received { conn, bytes } => {
                let before = bytes.to_vec();
                (self.on_received)(conn, bytes, sink);
                let taken = before.len() - bytes.len();
                Event::Received { conn, bytes: before[..taken].to_vec() }
            }
            Input::Writable { conn } => Event::Writable { conn },
            Input::Closed { conn, reason } => Event::Closed { conn, reason },
            Input::Timer => {
                self.deadline = None;
                Event::Timer
            }
            Input::Note(order) => return order(self, sink),
        };
        // A test that has seen enough does not listen any more.
        let _ = self.events.send(event);
    }

    fn deadline(&self) -> Option<Time> {
        self.deadline
    }
}

/// A machine on a loop, and what it reports.
pub(crate) struct Bench {
    pub(crate) handle: MachineHandle<Probe>,
    pub(crate) events: Receiver<Event>,
}

impl Bench {
    /// A machine on a loop of its own that takes all bytes.
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_, bytes, _| bytes.clear())
    }

    /// A machine on a loop of its own.
    pub(crate) fn with(
        name: &str,
        on_received: impl FnMut(ConnId, &mut BytesMut, &mut dyn Sink) + Send + 'static,
    ) -> Self {
        Self::on(&EventLoop::start(name).unwrap(), on_received)
    }

    /// One more machine on a loop.
    pub(crate) fn on(
        event_loop: &EventLoop<Probe>,
        on_received: impl FnMut(ConnId, &mut BytesMut, &mut dyn Sink) + Send + 'static,
    ) -> Self {
        let (sender, events) = channel();
        let probe = Probe { events: sender, deadline: None, on_received: Box::new(on_received) };
        Self { handle: event_loop.add(probe), events }
    }

    /// Has the machine do something.
    pub(crate) fn order(&self, order: impl FnOnce(&mut Probe, &mut dyn Sink) + Send + 'static) {
        assert!(self.handle.post(Box::new(order)));
    }

    /// Has the machine compute something, and waits for the result.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Probe, &mut dyn Sink) -> T + Send + 'static,
    ) -> T {
        let (sender, answer) = channel();
        self.order(move |probe, sink| sender.send(question(probe, sink)).unwrap());
        answer.recv_timeout(LIMIT).expect("the machine answers")
    }

    pub(crate) fn next(&self) -> Event {
        self.events.recv_timeout(LIMIT).expect("something happens")
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.handle.listen(loopback(), SocketOptions::default()).unwrap().1
    }

    pub(crate) fn listen_with(&self, layers: Layers) -> SocketAddr {
        self.handle.listen_with(loopback(), SocketOptions::default(), layers).unwrap().1
    }

    #[cfg(unix)]
    pub(crate) fn listen_unix(&self, path: &std::path::Path) {
        self.handle.listen_unix(path, Layers::new()).unwrap();
    }

    pub(crate) fn try_next(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// The next bytes, so many of them.
    pub(crate) fn received(&self, count: usize) -> Vec<u8> {
        let mut received = Vec::new();
        while received.len() < count {
            match self.next() {
                Event::Received { bytes, .. } => received.extend(bytes),
                Event::Writable { .. } => {}
                other => panic!("{other:?} instead of bytes"),
            }
        }
        received
    }

    /// A connection that the machine accepted.
    pub(crate) fn accepted(&self) -> ConnId {
        match self.next() {
            Event::Accepted { conn, .. } => conn,
            other => panic!("{other:?} instead of Accepted"),
        }
    }

    /// A listening machine's connection with a blocking peer.
    pub(crate) fn pair(&self) -> (ConnId, TcpStream) {
        let peer = connect(self.listen());
        (self.accepted(), peer)
    }

    pub(crate) fn connect(&self, target: Target) -> ConnId {
        self.ask(move |_, sink| sink.connect(target))
    }

    /// Waits for the end of `conn`, and returns all bytes that came before it.
    pub(crate) fn until_closed(&self, wanted: ConnId) -> (Vec<u8>, CloseReason) {
        let mut received = Vec::new();
        loop {
            match self.next() {
                Event::Received { conn, bytes } if conn == wanted => received.extend(bytes),
                Event::Closed { conn, reason } if conn == wanted => return (received, reason),
                Event::Writable { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn target(address: SocketAddr) -> Target {
    Target::tcp(address.ip().to_string(), address.port(), LIMIT)
}

/// A blocking peer.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    bounded(TcpStream::connect(address).unwrap())
}

/// A blocking peer that was connected to.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    bounded(listener.accept().unwrap().0)
}

fn bounded(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

pub(crate) fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Waits for something from a blocking peer.
pub(crate) fn read_some(stream: &mut TcpStream) {
    assert!(stream.read(&mut [0; 1000]).unwrap() > 0);
}

/// Bytes that show every loss and every exchange.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut numbers = Numbers(length as u64);
    (0..length).map(|_| numbers.next() as u8).collect()
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }
}

/// Waits until something holds that another thread brings about.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "it never happened");
        std::thread::yield_now();
    }
}
