//! What the processes do that are killed: the publisher and the subscriber.
//!
//! Owns what they say: each line is written before anything else happens, so that it survives its process.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use amps_client::bookmarks::MOST_RECENT;
use amps_client::{
    Client, ClientBuilder, ConnectionState, FileBookmarkStore, FilePublishStore, Message, Reconnect,
    SyncPolicy,
};
use amps_testkit::sim::Rng;

use super::ledger::Id;
use super::{Policy, TOPIC};
use crate::process::{listen, say};

/// Nothing takes this long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two bursts of a thread.
const PAUSE: Duration = Duration::from_millis(2);

/// How often the publisher looks whether everything is persisted.
const LOOK: Duration = Duration::from_micros(500);

/// How a store is used.
struct Habits {
    sync: SyncPolicy,
    /// Threads that publish, and how many messages one publishes before it waits until they are stored.
    publishers: u32,
    burst: u64,
    /// Threads that discard, and how many messages one has in hand.
    workers: usize,
    in_hand: usize,
}

/// With a force for each message, many threads share one. Otherwise a few write by themselves.
fn habits(policy: Policy) -> Habits {
    match policy {
        Policy::Interval => Habits {
            sync: SyncPolicy::Interval(Duration::from_millis(10)),
            publishers: 2,
            burst: 8,
            workers: 3,
            in_hand: 2,
        },
        Policy::EveryWrite => {
            Habits { sync: SyncPolicy::EveryWrite, publishers: 4, burst: 1, workers: 12, in_hand: 1 }
        }
    }
}

fn client(name: &str, uri: &str) -> ClientBuilder {
    let reconnect = Reconnect::new().initial(Duration::from_millis(2)).max(Duration::from_millis(20));
    Client::builder(name).server(uri).reconnect(reconnect).connect_deadline(PATIENCE).on_state(|state| {
        if state == ConnectionState::Resubscribed {
            say("up");
        }
    })
}

/// Publishes until it is told to stop; then waits until the server has everything.
///
/// Says `up` when it is connected and has recovered, `a THREAD FIRST COUNT UNPERSISTED` when the store has as
/// many messages from this one on, `u 0` when the server has all of them, and `stopped` at the end.
pub(super) fn publish(uri: &str, store: &str, policy: Policy, life: u32) -> Result<(), String> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    listen(move |line| match line {
        Some(_) => stopping.store(true, Ordering::Relaxed),
        None => exit(0),
    })?;
    let Habits { sync, publishers, burst, .. } = habits(policy);
    let store = FilePublishStore::builder(store).sync(sync).open().map_err(|error| error.to_string())?;
    let client =
        client("chaos-publisher", uri).publish_store(store).connect().map_err(|error| error.to_string())?;
    let publish = |thread: u32| -> Result<(), amps_client::Error> {
        let mut next = 1;
        while !stop.load(Ordering::Relaxed) {
            let mut last = None;
            for sequence in next..next + burst {
                let id = Id { life, thread, sequence };
                last = Some(client.publish(TOPIC, id.body())?);
            }
            if let Some(last) = last {
                last.wait_stored(PATIENCE)?;
            }
            let unpersisted = client.publish_store().map_or(0, |store| store.unpersisted);
            say(&format!("a {thread} {next} {burst} {unpersisted}"));
            next += burst;
            thread::sleep(PAUSE);
        }
        Ok(())
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let unpersisted = client.publish_store().map_or(0, |store| store.unpersisted);
                if last != 0 && unpersisted == 0 {
                    say("u 0");
                }
                last = unpersisted;
                thread::sleep(LOOK);
            }
        });
        let threads: Vec<_> = (0..publishers).map(|thread| scope.spawn(move || publish(thread))).collect();
        let result = threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())));
        done.store(true, Ordering::Relaxed);
        result
    })
    .map_err(|error| format!("publish: {error}"))?;
    client.flush(PATIENCE).map_err(|error| format!("flush: {error}"))?;
    say("stopped");
    loop {
        thread::park();
    }
}

/// Receives and discards until stdin ends.
///
/// Says `up` as the publisher does, `r MESSAGE BOOKMARK` for each message that came, `t MESSAGE` before it discards
/// one, and `d MESSAGE` when that has returned.
pub(super) fn subscribe(uri: &str, store: &str, policy: Policy, life: u32) -> Result<(), String> {
    listen(|line| {
        if line.is_none() {
            exit(0);
        }
    })?;
    let Habits { sync, workers, in_hand, .. } = habits(policy);
    let store = FileBookmarkStore::builder(store).sync(sync).open().map_err(|error| error.to_string())?;
    let client =
        client("chaos-subscriber", uri).bookmark_store(store).connect().map_err(|error| error.to_string())?;
    let messages = client.bookmark_subscribe(TOPIC, MOST_RECENT).sub_id("chaos").start();
    let messages = messages.map_err(|error| format!("subscribe: {error}"))?;
    say("up");

    // Small, so that most of what came and is not discarded is still in the stream.
    let (sender, work) = sync_channel::<(Id, Message)>(64);
    let work = Arc::new(Mutex::new(work));
    let (broken, trouble) = channel();
    for worker in 0..workers {
        let (work, broken) = (Arc::clone(&work), broken.clone());
        let rng = Rng::new(u64::from(life) << 8 | worker as u64);
        thread::spawn(move || {
            if let Err(error) = discard(&work, in_hand, rng) {
                let _ = broken.send(error);
            }
        });
    }
    for message in messages {
        let message = message.map_err(|error| format!("the stream says: {error}"))?;
        let id = Id::from_body(message.data()).ok_or("a message that nobody here has published")?;
        let bookmark = message.bookmark().map(ToString::to_string).unwrap_or_default();
        say(&format!("r {id} {bookmark}"));
        if let Ok(error) = trouble.try_recv() {
            return Err(format!("discard: {error}"));
        }
        sender.send((id, message)).map_err(|_| "nobody discards any more")?;
    }
    Err("the stream has ended".to_owned())
}

/// Discards what comes, in any order among the few that are in hand, and all when nothing comes.
fn discard(
    work: &Mutex<Receiver<(Id, Message)>>,
    in_hand: usize,
    mut rng: Rng,
) -> Result<(), amps_client::Error> {
    let mut open: Vec<(Id, Message)> = Vec::new();
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PAUSE);
        let until = match next {
            Ok(next) => {
                open.push(next);
                in_hand.saturating_sub(1)
            }
            Err(RecvTimeoutError::Timeout) => 0,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        while open.len() > until {
            let (id, message) = open.swap_remove(rng.below(open.len() as u64) as usize);
            say(&format!("t {id}"));
            message.discard()?;
            say(&format!("d {id}"));
        }
    }
}
