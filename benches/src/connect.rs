//! Connecting: from nothing to a subscription, with our client and with a bare socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
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
}

impl Door {
    /// Listens.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("an address").to_string();
        spawn(move || {
            for mut stream in listener.incoming().flatten() {
                stream.set_nodelay(true).expect("TCP_NODELAY");
                answer(&mut stream, 2);
                // Until the other end is gone.
                let _ = stream.read(&mut [0]);
            }
        });
        Self { address }
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
        self.with(connections, || Client::builder("bench"))
    }

    /// The same on a loop that runs already: without the start of a thread.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn on_a_loop(&self, connections: usize) -> Duration {
        let event_loop = EventLoop::new().expect("a thread");
        self.with(connections, || Client::builder("bench").event_loop(&event_loop))
    }

    fn with(&self, connections: usize, builder: impl Fn() -> ClientBuilder) -> Duration {
        let uri = self.uri();
        let others = threads();
        middle(connections, || {
            // The end of a thread takes a processor from whatever comes next.
            while threads() > others {
                std::hint::spin_loop();
            }
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
        middle(connections, || {
            let began = Instant::now();
            let mut socket = TcpStream::connect(&self.address).expect("loopback");
            socket.set_nodelay(true).expect("TCP_NODELAY");
            ask(&mut socket, r#"{"c":"logon","cid":"1","client_name":"bench","a":"processed"}"#);
            ask(&mut socket, r#"{"c":"subscribe","cid":"2","sub_id":"2","t":"orders","a":"processed"}"#);
            began.elapsed()
        })
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

fn middle(count: usize, once: impl FnMut() -> Duration) -> Duration {
    let mut taken: Vec<Duration> = std::iter::repeat_with(once).take(count).collect();
    taken.sort_unstable();
    taken[count / 2]
}
