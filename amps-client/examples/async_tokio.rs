//! A typed queue worker as a task of tokio: `cargo run -p amps-client --features async,json --example async_tokio`.
//!
//! A queue is a stream of values. A guard acknowledges a message when the work on it is done, and gives it back when the
//! task fails or is cancelled half-way. The server is embedded: the orders are made up, and on a real queue this would
//! take those of others.

use std::error::Error;
use std::time::Duration;

use amps_client::{Client, Reconnect, Typed, TypedError};
use amps_testkit::{FakeServer, QueueConfig};
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt;

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: u32,
    qty: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = FakeServer::builder().queue(QueueConfig::new("orders").max_backlog(10)).start()?;
    let client = Client::builder("order-worker-1")
        .server(server.uri("json"))
        .reconnect(Reconnect::new())
        .ack_batch_size(5)
        .connect_future()
        .await?;

    let desk = client.clone();
    let publishing = tokio::spawn(async move {
        for id in 1..=20 {
            if id == 13 {
                desk.publish_future("orders", "this is no order").await?;
            }
            desk.publish_future("orders", serde_json::to_vec(&Order { id, qty: 10 * id })?).await?;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    });

    let mut orders =
        client.subscribe("orders").max_backlog(10).start_future().await?.into_stream().typed::<Order>();
    let (mut count, mut total) = (0, 0);
    while count < 20 {
        match orders.next().await.ok_or("the subscription has ended")? {
            Ok(Typed { value, message }) => {
                let message = message.guard();
                total += settle(&value).await;
                count += 1;
                message.done();
            }
            Err(TypedError::Unreadable(unreadable)) => {
                println!("set aside: {unreadable}");
                unreadable.into_message().expire(); // It leaves the queue, as expired.
            }
            Err(error) => return Err(error.into()),
        }
    }
    drop(orders);
    publishing.await?.map_err(|error| error.to_string())?;
    client.close_future(Duration::from_secs(5)).await?;
    println!("{count} orders, {total} pieces");
    Ok(())
}

/// What the application does with an order; anything that is awaited here lets other tasks go on.
async fn settle(order: &Order) -> u32 {
    tokio::task::yield_now().await;
    order.qty
}
