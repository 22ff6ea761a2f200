//! Connecting: from nothing to a subscription, with our client and with a bare socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use amps_client::{Client, ClientBuilder, EventLoop};
use amps_protocol::{LENGTH_PREFIX, next_frame};

use crate::peer::{answer, framed};
use crate::system::threads;

/// Accepts one connection after the other, and answers two commands of each.
#[derive(Debug)]
pub struct Door {
    address: String,
    /// Told whenever it is about to accept.
    open: Receiver<()>,
    /// Threads of this process without any client's.
    threads: Option<u64>,
}

impl Door {
    /// Listens.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address").to_string();
        let (opens, open) = channel();
        spawn(move || {
            while opens.send(()).is_ok() {
                let Ok((mut stream, _)) = listener.accept() else { return };
                stream.set_nodelay(true).expect("TCP_NODELAY");
                answer(&mut stream, 2);
                // Until the other end is gone.
                let _ = stream.read(&mut [0]);
            }
        });
        Self { address, open, threads: threads() }
    }

    /// The connection string.
    pub fn uri(&self) -> String {
        format!("tcp://{}/amps/json", self.address)
    }

    /// The middle of so many connections of our client.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn ours(&self, connections: usize) -> Duration {
        self.with(connections, self.threads, || Client::builder("bench"))
    }

    /// The same on a loop that runs already: without the start of a thread.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn on_a_loop(&self, connections: usize) -> Duration {
        let event_loop = EventLoop::new().expect("a thread");
        let and_this = self.threads.map(|threads| threads + 1);
        self.with(connections, and_this, || Client::builder("bench").event_loop(&event_loop))
    }

    fn with(
        &self,
        connections: usize,
        threads_at_rest: Option<u64>,
        builder: impl Fn() -> ClientBuilder,
    ) -> Duration {
        let uri = self.uri();
        self.middle(connections, threads_at_rest, || {
            let began = Instant::now();
            let client = builder().server(&uri).connect().expect("a connection");
            let subscription = client.subscribe("orders").on_message(|_| Ok(())).expect("a subscription");
            let took = began.elapsed();
            client.abort();
            drop(subscription);
            took
        })
    }

    /// The middle of so many bare connections, each with two round trips.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn bare(&self, connections: usize) -> Duration {
        self.middle(connections, self.threads, || {
            let began = Instant::now();
            let mut socket = TcpStream::connect(&self.address).expect("loopback");
            socket.set_nodelay(true).expect("TCP_NODELAY");
            ask(&mut socket, r#"{"c":"logon","cid":"1","client_name":"bench","a":"processed"}"#);
            ask(&mut socket, r#"{"c":"subscribe","cid":"2","sub_id":"2","t":"orders","a":"processed"}"#);
            began.elapsed()
        })
    }

    /// The middle of so many. Each begins when the one before has left nothing: its thread has ended, and the peer
    /// waits for the next. None of that is counted.
    fn middle(
        &self,
        count: usize,
        threads_at_rest: Option<u64>,
        mut once: impl FnMut() -> Duration,
    ) -> Duration {
        let mut taken: Vec<Duration> = Vec::with_capacity(count);
        while taken.len() < count {
            self.open.recv().expect("a peer");
            while threads() > threads_at_rest {
                std::hint::spin_loop();
            }
            taken.push(once());
        }
        taken.sort_unstable();
        taken[count / 2]
    }
}

impl Default for Door {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a command, and reads its answer.
fn ask(socket: &mut TcpStream, header: &str) {
    socket.write_all(&framed(header)).expect("a socket");
    let (mut buffer, mut filled) = ([0; 1024], 0);
    while !matches!(next_frame(&buffer[..filled], 1024), Ok(Some(LENGTH_PREFIX..))) {
        filled += socket.read(&mut buffer[filled..]).expect("an answer");
    }
}
