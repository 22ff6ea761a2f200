//! A reader that is stopped in the middle and goes on where it was: `cargo run -p amps-client --example
//! resumable_subscriber`.
//!
//! A bookmark subscription replays a topic's log. The bookmark store remembers, in a file, which messages the
//! application is done with: it says so by `discard`. The next process, with the same file and the same ids, begins
//! behind them; nothing is skipped, and what was read but not discarded comes again.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use amps_client::bookmarks::MOST_RECENT;
use amps_client::{Client, FileBookmarkStore, Reconnect};
use amps_testkit::FakeServer;

fn main() -> Result<(), Box<dyn Error>> {
    let server = FakeServer::builder().txlog("orders").start()?;
    let uri = server.uri("json");
    let directory = tempfile::tempdir()?; // An application has a directory that stays.
    let file = directory.path().join("auditor.bookmarks");

    let desk = Client::builder("desk").server(&uri).connect()?;
    for id in 1..=10 {
        desk.publish("orders", format!("order {id}"))?;
    }
    desk.flush(Duration::from_secs(10))?;

    let first = audit(&uri, &file, 4)?;
    println!("the first process was done with {first:?}, and had read one more when it ended");
    let second = audit(&uri, &file, 5)?;
    println!("the second process went on with {second:?}");

    let all: Vec<_> = first.into_iter().chain(second).collect();
    let expected: Vec<_> = (1..=9).map(|id| format!("order {id}")).collect();
    if all != expected {
        return Err("something was skipped, or came twice".into());
    }
    desk.close()?;
    Ok(())
}

/// One life of the application: it is done with `count` messages, reads another, and ends before it is done with that.
fn audit(uri: &str, file: &Path, count: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let client = Client::builder("auditor")
        .server(uri)
        .reconnect(Reconnect::new())
        .bookmark_store(FileBookmarkStore::open(file)?)
        .connect()?;
    let mut done = Vec::new();
    for message in client.bookmark_subscribe("orders", MOST_RECENT).sub_id("audit-1").start()? {
        let message = message?;
        if done.len() == count {
            break;
        }
        done.push(message.data_str()?.to_owned());
        message.discard()?;
    }
    client.abort(); // As a process that is stopped: nothing is finished, nothing is said.
    Ok(done)
}
