//! Two servers that replicate to each other, of which one is killed: `cargo run -p amps-client --example failover_pair`.
//!
//! A client that knows both, with stores and a reconnect policy, goes on at the other one: what it published is there
//! once, and what it reads goes on without a gap. `Pair` is such an installation within a test.

use std::error::Error;
use std::time::Duration;

use amps_client::bookmarks::MOST_RECENT;
use amps_client::{Client, MemoryBookmarkStore, MemoryPublishStore, Reconnect, Subscription};
use amps_testkit::{Direction, FakeServer, Pair, Side};

const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let pair = Pair::start(FakeServer::builder().txlog("orders"))?;
    let client = Client::builder("desk")
        .servers([pair.server(Side::A).uri("json"), pair.server(Side::B).uri("json")])
        .reconnect(Reconnect::new().initial(Duration::from_millis(10)))
        .publish_store(MemoryPublishStore::new())
        .bookmark_store(MemoryBookmarkStore::new())
        .connect()?;
    let mut orders = client.bookmark_subscribe("orders", MOST_RECENT).sub_id("desk-orders").start()?;

    publish(&client, 1..=10)?;
    let mut seen = read(&mut orders, 5)?;
    println!("on {}: published 1 to 10, done with 1 to {}", place(&client)?, seen.len());

    pair.kill(Side::A, true);
    // B confirms nothing that A has to have as well, until it is told not to wait for A: in a real installation by
    // an action of the configuration, or by the administrator.
    pair.downgrade(Direction::BToA);
    publish(&client, 11..=20)?;
    client.flush(PATIENCE)?; // Until the server that is left has everything.
    seen.extend(read(&mut orders, 15)?);
    println!("A is killed. On {}: published 11 to 20, done with 6 to {}", place(&client)?, seen.len());

    pair.restart(Side::A)?;
    client.close()?;
    let expected: Vec<_> = (1..=20).map(|id| format!("order {id}")).collect();
    for side in [Side::A, Side::B] {
        let logged: Vec<_> =
            pair.server(side).logged_messages().into_iter().map(|logged| logged.body).collect();
        println!("in the log of {side:?}: {} orders", logged.len());
        if logged.len() != expected.len()
            || logged.iter().zip(&expected).any(|(is, was)| is != was.as_bytes())
        {
            return Err(format!("{side:?} has not each order once").into());
        }
    }
    if seen != expected {
        return Err("the reader missed something, or read it twice".into());
    }
    Ok(())
}

fn publish(client: &Client, ids: std::ops::RangeInclusive<u32>) -> Result<(), amps_client::Error> {
    for id in ids {
        client.publish("orders", format!("order {id}"))?;
    }
    Ok(())
}

fn read(orders: &mut Subscription, count: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let mut done = Vec::new();
    for message in orders.take(count) {
        let message = message?;
        done.push(message.data_str()?.to_owned());
        message.discard()?;
    }
    Ok(done)
}

/// Which server the client is connected to.
fn place(client: &Client) -> Result<String, Box<dyn Error>> {
    Ok(client.connection_info().ok_or("there is no connection")?.uri().to_owned())
}
