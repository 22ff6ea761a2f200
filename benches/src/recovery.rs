//! Recovery: how long a client with many subscriptions takes from the new connection until all of them are
//! placed again.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use amps_client::{Client, ConnectionState, HandlerSubscription, Reconnect};
use amps_testkit::{Drop, FakeServer, JournalMode};

/// Nothing takes this long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client with subscriptions at a server that goes away and comes back.
pub struct Recovery {
    server: FakeServer,
    _client: Client,
    _subscriptions: Vec<HandlerSubscription>,
    states: Receiver<(ConnectionState, Instant)>,
    delay: Arc<AtomicU64>,
}

impl Recovery {
    /// Places so many subscriptions, at the server itself or by way of a link that can be slow.
    ///
    /// # Panics
    /// When loopback does not work.
    pub fn new(subscriptions: usize, by_link: bool) -> Self {
        let server = FakeServer::builder().journal(JournalMode::Off).start().expect("the server starts");
        let delay = Arc::new(AtomicU64::new(0));
        let uri = match by_link {
            true => format!("tcp://{}/amps/json", link(server.addr(), Arc::clone(&delay))),
            false => server.uri("json"),
        };
        let (sender, states) = channel();
        let policy =
            Reconnect::new().initial(Duration::from_millis(1)).max(Duration::from_millis(20)).jitter(0.0);
        let client = Client::builder("recovery")
            .server(uri)
            .reconnect(policy)
            .on_state(move |state| _ = sender.send((state, Instant::now())))
            .connect()
            .expect("the client connects");
        let place = |number| {
            let subscribe = client.subscribe(format!("orders-{number}")).filter("/id > 10");
            subscribe.on_message(|_| Ok(())).expect("the server places it")
        };
        let subscriptions = (0..subscriptions).map(place).collect();
        Self { server, _client: client, _subscriptions: subscriptions, states, delay }
    }

    /// The link holds every chunk back for so long, in each direction, from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.delay.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The server goes away and comes back: the time from the connection to the last subscription.
    ///
    /// # Panics
    /// When the client does not recover.
    pub fn run(&self) -> Duration {
        while self.states.try_recv().is_ok() {}
        self.server.stop_accepting();
        self.server.drop_connection("recovery", Drop::Reset);
        self.until(ConnectionState::Disconnected);
        self.server.resume_accepting().expect("the port is still its own");
        let mut began = self.until(ConnectionState::Connected);
        loop {
            match self.states.recv_timeout(PATIENCE).expect("the client recovers") {
                // A link takes connections while there is no server.
                (ConnectionState::Connected, at) => began = at,
                (ConnectionState::Resubscribed, at) => return at - began,
                _ => {}
            }
        }
    }

    fn until(&self, wanted: ConnectionState) -> Instant {
        loop {
            let (state, at) = self.states.recv_timeout(PATIENCE).expect("the client recovers");
            if state == wanted {
                return at;
            }
        }
    }
}

/// An address from where bytes go on to another, each chunk held back by so many microseconds per direction.
fn link(to: SocketAddr, delay: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            // Without a server the connection ends.
            let Ok(far) = TcpStream::connect(to) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                let _ = to.set_nodelay(true);
                forward(from, to, Arc::clone(&delay));
            }
        }
    });
    address
}

/// One direction: a thread reads and says when each chunk is due, another waits for that and writes.
fn forward(mut from: TcpStream, mut to: TcpStream, delay: Arc<AtomicU64>) {
    let (sender, chunks) = channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let due = Instant::now() + Duration::from_micros(delay.load(Ordering::Relaxed));
            if sender.send((due, buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, chunk) in chunks {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&chunk).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
