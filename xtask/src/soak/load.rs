//! The clients of a soak: what each of them does, and what keeps them busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use amps_client::bookmarks::MOST_RECENT;
use amps_client::{
    Client, Error, EventLoop, HandlerSubscription, MemoryBookmarkStore, MemoryPublishStore, Reconnect,
};

use crate::served::QUEUE;

/// Loops that clients share. One client in [`ALONE`] has its own.
const LOOPS: usize = 8;
const ALONE: usize = 25;

/// Topics that are replayed, and those that are just listened to.
const TOPICS: usize = 25;

/// Messages of a client that may wait for the server.
const MOST_UNPERSISTED: usize = 100;

/// Between two bursts, and messages in a burst.
const PAUSE: Duration = Duration::from_millis(10);
const BURST: usize = 20;

/// All clients, and the thread that publishes with those that do.
pub(super) struct Load {
    clients: Vec<Client>,
    _subscriptions: Vec<HandlerSubscription>,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    publishing: JoinHandle<Result<u64, Error>>,
}

impl Load {
    /// Connects so many clients: in turn a publisher with a store, a replay with a store, a queue
    /// consumer, a plain subscriber.
    ///
    /// # Errors
    /// One of them cannot connect or subscribe.
    pub(super) fn begin(uri: &str, count: usize) -> Result<Self, Error> {
        let loops = (0..LOOPS).map(|_| EventLoop::new()).collect::<Result<Vec<_>, _>>()?;
        let received = Arc::new(AtomicU64::new(0));
        let (mut clients, mut publishers, mut subscriptions) = (Vec::new(), Vec::new(), Vec::new());
        for (number, shared) in (0..count).zip(loops.iter().cycle()) {
            let reconnect = Reconnect::new().initial(Duration::from_millis(10)).max(Duration::from_secs(1));
            let mut builder = Client::builder(format!("soak-{number}")).server(uri).reconnect(reconnect);
            if number % ALONE != 0 {
                builder = builder.event_loop(shared);
            }
            let counter = Arc::clone(&received);
            let count = move || _ = counter.fetch_add(1, Ordering::Relaxed);
            let topic = number / 4 % TOPICS;
            let client = match number % 4 {
                0 => {
                    let client = builder.publish_store(MemoryPublishStore::new()).connect()?;
                    publishers.push(client.clone());
                    client
                }
                1 => {
                    let client = builder.bookmark_store(MemoryBookmarkStore::new()).connect()?;
                    let replay = client.bookmark_subscribe(format!("orders-{topic}"), MOST_RECENT);
                    subscriptions.push(replay.sub_id("orders").on_message(move |message| {
                        count();
                        Ok(message.discard()?)
                    })?);
                    client
                }
                2 => {
                    let client = builder.connect()?;
                    let work = client.subscribe(QUEUE).max_backlog(10).auto_ack(true);
                    subscriptions.push(work.on_message(move |_| {
                        count();
                        Ok(())
                    })?);
                    client
                }
                _ => {
                    let client = builder.connect()?;
                    let ticks = client.subscribe(format!("ticks-{topic}")).resume_silently();
                    subscriptions.push(ticks.on_message(move |_| {
                        count();
                        Ok(())
                    })?);
                    client
                }
            };
            clients.push(client);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let publishing = thread::spawn(move || publish(&publishers, &stopping));
        Ok(Self { clients, _subscriptions: subscriptions, received, stop, publishing })
    }

    /// Messages that have arrived.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Logons, but for the first of each client.
    pub(super) fn reconnects(&self) -> u64 {
        reconnects(&self.clients)
    }

    /// Stops publishing, waits until the server has everything, and closes. Returns how many messages were
    /// published, and how many reconnects there were.
    ///
    /// # Errors
    /// Something was not published, or not persisted, or a client cannot close.
    pub(super) fn end(self, patience: Duration) -> Result<(u64, u64), String> {
        let Self { clients, stop, publishing, .. } = self;
        stop.store(true, Ordering::Relaxed);
        let published = publishing.join().map_err(|_| "the thread that publishes has panicked")?;
        let published = published.map_err(|error| format!("publish: {error}"))?;
        for client in &clients {
            let name = client.name();
            client.flush(patience).map_err(|error| format!("flush of {name}: {error}"))?;
        }
        let reconnects = reconnects(&clients);
        for client in &clients {
            let name = client.name();
            client.close_within(patience).map_err(|error| format!("close of {name}: {error}"))?;
        }
        Ok((published, reconnects))
    }
}

fn reconnects(clients: &[Client]) -> u64 {
    clients.iter().map(|client| client.stats().logons.saturating_sub(1)).sum()
}

/// Publishes at a steady rate, with each client in turn; a machine that is busy elsewhere lowers it.
fn publish(publishers: &[Client], stop: &AtomicBool) -> Result<u64, Error> {
    let (mut published, mut turn) = (0, publishers.iter().cycle());
    while !stop.load(Ordering::Relaxed) {
        for client in (0..BURST).map_while(|_| turn.next()) {
            // Stores would grow because the server is slow, and not because something leaks.
            if client.publish_store().is_some_and(|store| store.unpersisted >= MOST_UNPERSISTED) {
                continue;
            }
            let topic = published as usize % TOPICS;
            let body = format!(r#"{{"id":{published},"note":"{:0>64}"}}"#, "");
            match published % 5 {
                0 => client.publish(QUEUE, &body)?,
                1 => client.publish(&format!("ticks-{}", published as usize / 5 % TOPICS), &body)?,
                _ => client.publish(&format!("orders-{topic}"), &body)?,
            };
            published += 1;
        }
        thread::sleep(PAUSE);
    }
    Ok(published)
}
