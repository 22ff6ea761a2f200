//! Publishing what must not be lost, while the server goes away and comes back: `cargo run -p amps-client --example
//! durable_publisher`.
//!
//! A publish store keeps each message until the server has persisted it. What a server may have missed is sent again,
//! and what it has already it knows by its sequence number: each order arrives once. The store is a file, so the same
//! holds if this process dies and is started again with the same name and the same file.

use std::error::Error;
use std::time::Duration;

use amps_client::{Client, ConnectionState, FilePublishStore, Reconnect, SyncPolicy};
use amps_testkit::FakeServer;

const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let server = FakeServer::builder().txlog("orders").start()?;
    let directory = tempfile::tempdir()?; // An application has a directory that stays.
    let store = FilePublishStore::builder(directory.path().join("order-entry.publish"))
        // A publish counts when it is on the disk; `Interval`, the default, is faster and trusts the machine.
        .sync(SyncPolicy::EveryWrite)
        .open()?;
    let (lost, losses) = std::sync::mpsc::channel();
    let client = Client::builder("order-entry")
        .server(server.uri("json"))
        .publish_store(store)
        .reconnect(Reconnect::new().initial(Duration::from_millis(10)))
        .on_failed_write(|refused| eprintln!("the server refused an order: {refused:?}"))
        .on_state(move |state| {
            if state == ConnectionState::Disconnected {
                let _nobody_may_listen_any_more = lost.send(());
            }
        })
        .connect()?;

    // The server takes these, but dies before it has said that it has them.
    server.hold_durability(true);
    for id in 1..=50 {
        client.publish("orders", format!("{{\"id\":{id}}}"))?;
    }
    server.stop_accepting();
    server.restart();
    losses.recv_timeout(PATIENCE)?;
    println!("the server is gone; it had confirmed none of 50 orders");

    // Nobody is there: the orders are kept.
    let mut last = None;
    for id in 51..=100 {
        last = Some(client.publish("orders", format!("{{\"id\":{id}}}"))?);
    }
    let kept = client.publish_store().ok_or("there is no store")?.unpersisted;
    println!("50 more were accepted meanwhile: {kept} are in the store");

    server.hold_durability(false);
    server.resume_accepting()?;
    last.ok_or("nothing was published")?.wait_persisted(PATIENCE)?;
    let kept = client.publish_store().ok_or("there is no store")?.unpersisted;
    println!("the server is back and has confirmed the last one: {kept} are in the store");
    client.close()?;

    let logged: Vec<_> = server.logged_messages().into_iter().map(|message| message.body).collect();
    let expected: Vec<_> = (1..=100).map(|id| format!("{{\"id\":{id}}}").into_bytes()).collect();
    println!("in the server's log there are {} orders", logged.len());
    if logged != expected {
        return Err("not each order arrived once and in order".into());
    }
    println!("each order is there once, in the order in which it was published");
    Ok(())
}
