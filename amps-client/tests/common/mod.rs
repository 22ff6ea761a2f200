//! A scripted peer: the test plays the server, frame by frame, on a real socket.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "a module of every test file, each of which uses a part of it"
)]

use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use amps_client::{Client, ClientBuilder, CommandKind, ConnectionState, Error};
use amps_protocol::{FrameDecoder, Message};
use bytes::BytesMut;

// Those of the transport's own tests.
#[path = "../../../amps-transport/tests/certificates/mod.rs"]
pub mod certificates;

pub mod executor;
mod way;
pub use way::{ROOTS, Way, client, fake_server, plain_fake_server, roots, stays_plain, uri, with_user};

mod wire;
pub use wire::{Listener, Wire};

/// No answer within this time is a failed test; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Peer {
    listener: Listener,
    way: Way,
}

impl Peer {
    pub fn new() -> Self {
        Self::by(Way::of_this_run())
    }

    /// One that is reached by plain TCP in every run, and why.
    pub fn plain(why: &str) -> Self {
        stays_plain(why);
        Self::by(Way::PLAIN)
    }

    /// One that is reached by plain TCP where this run's way is such a one, and why.
    pub fn unless(such: impl FnOnce(Way) -> bool, why: &str) -> Self {
        if such(Way::of_this_run()) { Self::plain(why) } else { Self::new() }
    }

    fn by(way: Way) -> Self {
        Self { listener: Listener::bind(way), way }
    }

    pub fn uri(&self) -> String {
        self.listener.uri(self.way)
    }

    pub fn client(&self, name: &str) -> ClientBuilder {
        let builder = if self.way == Way::PLAIN { Client::builder(name) } else { client(name) };
        builder.server(self.uri())
    }

    pub fn accept(&self) -> Line {
        let began = Instant::now();
        loop {
            match self.listener.accept() {
                Ok(socket) => {
                    let stream = Wire::open(socket, self.way, PATIENCE).unwrap();
                    return Line { stream, received: BytesMut::new() };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(began.elapsed() < PATIENCE, "nobody connects");
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Accepts a connection and answers its logon.
    pub fn accept_logon(&self) -> Line {
        let mut line = self.accept();
        let logon = line.expect(CommandKind::Logon);
        line.send(&format!(
            r#"{{"c":"ack","cid":"{}","s":0,"bm":"7|0|","client_name":"c","a":"processed","status":"success","version":"5.3.5.0"}}"#,
            logon.command_id().unwrap()
        ));
        line
    }

    /// Connects a client and gives both ends.
    pub fn connect(&self, builder: ClientBuilder) -> (Client, Line) {
        let connecting = spawn(move || builder.connect());
        let line = self.accept_logon();
        (connecting.join().unwrap().unwrap(), line)
    }
}

pub struct Line {
    pub stream: Wire,
    received: BytesMut,
}

impl Line {
    /// Sends a header and body as one frame.
    pub fn send(&mut self, frame: &str) {
        let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(frame.as_bytes());
        self.stream.write_all(&bytes).unwrap();
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends several frames in one write.
    pub fn send_all(&mut self, frames: &[String]) {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            bytes.extend_from_slice(frame.as_bytes());
        }
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next frame, or `None` at the end of the stream.
    pub fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(frame) = FrameDecoder::default().decode(&mut self.received).unwrap() {
                return Some(Message::decode(frame).unwrap());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no frame came: {error}"),
            }
        }
    }

    /// The next frame, which must be of this kind.
    pub fn expect(&mut self, kind: CommandKind) -> Message {
        let message = self.next().expect("a frame, not the end of the stream");
        assert_eq!(message.command(), kind, "{message:?}");
        message
    }

    /// Everything until the end of the stream.
    pub fn rest(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// What came within `span`, which must be a span of silence otherwise.
    pub fn within(&mut self, span: Duration) -> Vec<Message> {
        let until = Instant::now() + span;
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = FrameDecoder::default().decode(&mut self.received).unwrap() {
                frames.push(Message::decode(frame).unwrap());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return frames;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return frames,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn ack(&mut self, command: &Message) {
        self.ack_with(command, "");
    }

    /// Acknowledges a command; `more` is further header members, each with its comma in front.
    pub fn ack_with(&mut self, command: &Message, more: &str) {
        let cid = command.command_id().unwrap();
        self.send(&format!(r#"{{"c":"ack","cid":"{cid}"{more},"a":"processed","status":"success"}}"#));
    }

    pub fn refuse(&mut self, command: &Message, reason: &str) {
        let cid = command.command_id().unwrap();
        self.send(&format!(
            r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"failure","reason":"{reason}"}}"#
        ));
    }

    /// Answers the next command, a subscribe, and returns it.
    pub fn grant(&mut self, backlog: u32) -> Message {
        let subscribe = self.expect(CommandKind::Subscribe);
        self.ack_with(&subscribe, &format!(r#","o":"max_backlog={backlog}""#));
        subscribe
    }

    /// Delivers leased messages `from..=to` of a queue in one write.
    pub fn deliver(&mut self, sub: &Message, topic: &str, numbers: impl IntoIterator<Item = u32>) {
        let sid = sub.sub_id().unwrap().to_string();
        let frames: Vec<String> = numbers.into_iter().map(|n| leased(&sid, topic, n)).collect();
        self.send_all(&frames);
    }

    /// Answers the orderly end of a client: every command that asks for an acknowledgement,
    /// until the stream ends. Returns what came.
    pub fn see_off(mut self) -> Vec<Message> {
        let mut seen = Vec::new();
        while let Some(message) = self.next() {
            if !message.acks().is_empty() {
                let granted = message.options().is_some_and(|o| o.to_string().contains("max_backlog"));
                self.ack_with(&message, if granted { r#","o":"max_backlog=0""# } else { "" });
            }
            seen.push(message);
        }
        seen
    }
}

/// A leased message with the bookmark `7|n|`.
pub fn leased(sid: &str, topic: &str, n: u32) -> String {
    let body = format!(r#"{{"id":{n}}}"#);
    format!(
        r#"{{"c":"p","bm":"7|{n}|","t":"{topic}","sids":"{sid}","lp":"20990909T172019.976304Z","l":{}}}{body}"#,
        body.len()
    )
}

/// A plain message.
pub fn plain(sid: &str, topic: &str, body: &str) -> String {
    format!(r#"{{"c":"p","t":"{topic}","sids":"{sid}","l":{}}}{body}"#, body.len())
}

/// Runs `f` on another thread, so that the test can play the peer meanwhile.
pub fn aside<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn(f)
}

/// Collects what a client reports.
pub fn errors(builder: ClientBuilder) -> (ClientBuilder, Receiver<Error>) {
    let (sender, receiver) = channel();
    (builder.on_error(move |error| _ = sender.send(error.clone())), receiver)
}

pub fn bookmarks(message: &Message) -> String {
    message.bookmark().unwrap().to_string()
}

/// Runs `f` on another thread, acknowledges the command that it sends, and gives both.
pub fn placed<T: Send + 'static>(line: &mut Line, f: impl FnOnce() -> T + Send + 'static) -> (T, Message) {
    let placing = aside(f);
    let command = line.next().expect("a command, not the end of the stream");
    line.ack(&command);
    (placing.join().unwrap(), command)
}

/// The subscription id of a command.
pub fn sid(command: &Message) -> String {
    command.sub_id().unwrap().to_string()
}

/// Collects the states that a client goes through.
pub fn states(builder: ClientBuilder) -> (ClientBuilder, Receiver<ConnectionState>) {
    let (sender, receiver) = channel();
    (builder.on_state(move |state| _ = sender.send(state)), receiver)
}

/// Collects what no subscription of a client takes, as `command topic data`.
pub fn unexpected(builder: ClientBuilder) -> (ClientBuilder, Receiver<String>) {
    let (sender, receiver) = channel();
    let listener = move |message: &Message<&[u8]>| {
        let topic = message.topic().map(ToString::to_string).unwrap_or_default();
        let data = String::from_utf8_lossy(message.data());
        _ = sender.send(format!("{} {topic} {data}", message.command().token()));
    };
    (builder.on_unexpected(listener), receiver)
}

/// Waits until something holds that another thread brings about.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} never happened");
        std::thread::yield_now();
    }
}
