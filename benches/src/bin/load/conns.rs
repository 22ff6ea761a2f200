//! `load conns`: what many clients on one loop thread take.
//!
//! Owns who publishes: whoever does; and when nobody does, one more client of this program, which is gone before
//! memory is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use amps_client::{Client, EventLoop};
use serde_json::{Value, json};

use crate::body::Body;
use crate::cli::Conns;
use crate::failure::Failure;
use crate::meter::rounded;
use crate::system;

/// How long nothing may come before this program publishes.
const QUIET: Duration = Duration::from_millis(200);

/// How long nothing may come after it has.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the server may take to process what was published.
const FLUSH_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn run(options: &Conns) -> Result<Value, Failure> {
    let count = u64::from(options.n);
    // One more for who publishes.
    system::allow_clients(count + 1)?;
    let shared = EventLoop::new()?;
    let bare = benches::system::rss_kb();
    let began = Instant::now();
    let clients: Vec<Client> = (0..options.n)
        .map(|number| options.server.client(&format!("conns-{number}")).event_loop(&shared).connect())
        .collect::<Result<_, _>>()?;
    let connected = began.elapsed();

    let crowd = Crowd::subscribe(&clients, options)?;
    options.server.ready();
    if options.traffic > 0 {
        crowd.wait(&shared)?;
    }
    let (rss, threads) = (benches::system::rss_kb(), benches::system::threads());
    drop(clients);
    let clients = f64::from(options.n);
    Ok(json!({
        "rss_kb": rss,
        "rss_kb_per_client": rounded(rss.saturating_sub(bare) as f64 / clients, 3),
        "threads": threads,
        "connect_logon_us_each": rounded(connected.as_secs_f64() * 1e6 / clients, 3),
    }))
}

/// Everyone who waits for messages.
struct Crowd<'a> {
    options: &'a Conns,
    clients: &'a [Client],
    /// What each has received.
    received: Arc<[AtomicU64]>,
    /// Told by each that has received enough.
    satisfied: Receiver<()>,
}

impl<'a> Crowd<'a> {
    fn subscribe(clients: &'a [Client], options: &'a Conns) -> Result<Self, Failure> {
        let received: Arc<[AtomicU64]> = clients.iter().map(|_| AtomicU64::new(0)).collect();
        let (enough, satisfied) = channel();
        let traffic = options.traffic;
        for (number, client) in clients.iter().enumerate() {
            let (received, enough) = (Arc::clone(&received), enough.clone());
            client.subscribe(&options.server.topic).on_message(move |_| {
                let Some(received) = received.get(number) else { return Ok(()) };
                if received.fetch_add(1, Ordering::Relaxed) + 1 == traffic {
                    enough.send(())?;
                }
                Ok(())
            })?;
        }
        Ok(Self { options, clients, received, satisfied })
    }

    /// Until each has received enough.
    fn wait(&self, shared: &EventLoop) -> Result<(), Failure> {
        let mut hungry = self.clients.len();
        let mut patience = QUIET;
        let mut seen = 0;
        while hungry > 0 {
            match self.satisfied.recv_timeout(patience) {
                Ok(()) => hungry -= 1,
                // All handlers are gone, and with them their connections.
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost()),
                Err(RecvTimeoutError::Timeout) => {
                    if self.clients.iter().any(|client| !client.is_connected()) {
                        return Err(self.lost());
                    }
                    let before = std::mem::replace(&mut seen, self.total());
                    if seen > before {
                        continue;
                    }
                    if patience == PATIENCE {
                        let topic = self.options.server.topic.clone();
                        return Err(Failure::Silence { topic, after: PATIENCE });
                    }
                    self.publish(shared)?;
                    patience = PATIENCE;
                }
            }
        }
        Ok(())
    }

    /// What is missing, to all of them.
    fn publish(&self, shared: &EventLoop) -> Result<(), Failure> {
        let least = self.received.iter().map(|count| count.load(Ordering::Relaxed)).min().unwrap_or(0);
        let client = self.options.server.client("conns-publisher").event_loop(shared).connect()?;
        let mut body = Body::new(self.options.size);
        for _ in least..self.options.traffic {
            client.publish(&self.options.server.topic, body.bytes())?;
            body.advance();
        }
        client.flush(FLUSH_WITHIN)?;
        // It waits until the loop has let go of it: its memory is nobody's share.
        client.close()?;
        Ok(())
    }

    fn total(&self) -> u64 {
        self.received.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn lost(&self) -> Failure {
        let lost = self.clients.iter().find(|client| !client.is_connected());
        lost.map_or(Failure::Ended, Failure::of_ended)
    }
}
