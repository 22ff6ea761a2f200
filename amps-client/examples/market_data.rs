//! The newest price of each symbol, for a reader who is slow: `cargo run -p amps-client --features json --example
//! market_data`.
//!
//! A query with a subscription gives the table as it is, then every change. With conflation, a change that arrives while
//! an older one of the same symbol is still unread takes its place: a screen that draws ten times a second never
//! falls behind a feed that says more. The server is embedded: the quotes are invented, and belong on no other.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use amps_client::{Client, CommandKind};
use amps_testkit::{FakeServer, SowConfig};
use serde::{Deserialize, Serialize};

const PATIENCE: Duration = Duration::from_secs(10);
const SYMBOLS: [&str; 3] = ["IBM", "MSFT", "SAP"];

#[derive(Serialize, Deserialize)]
struct Quote {
    symbol: String,
    cents: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = FakeServer::builder().sow(SowConfig::new("prices").key("/symbol")).start()?;
    let uri = server.uri("json");

    let feed = Client::builder("feed").server(&uri).connect()?;
    let publish = |cents| {
        SYMBOLS.iter().try_for_each(|symbol| {
            feed.publish_json("prices", &Quote { symbol: (*symbol).to_owned(), cents }).map(drop)
        })
    };
    publish(10_000)?;
    feed.flush(PATIENCE)?;

    let screen = Client::builder("screen").server(&uri).connect()?;
    let mut quotes = screen.sow_and_subscribe("prices").conflate().start()?;
    let mut table = BTreeMap::new();
    for message in quotes.by_ref() {
        let message = message?;
        match message.command() {
            CommandKind::GroupEnd => break, // The table is complete; what follows are changes.
            CommandKind::Sow => {
                let quote: Quote = message.json()?;
                table.insert(quote.symbol, quote.cents);
            }
            _ => {}
        }
    }
    println!("the table as it was: {table:?}");

    // While the screen is busy drawing, the market goes on.
    (10_001..=11_000).try_for_each(publish)?;
    feed.flush(PATIENCE)?;
    // Everything that the server sent before its answer has arrived.
    screen.flush(PATIENCE)?;

    let unread = quotes.depth();
    for message in quotes.by_ref().take(unread) {
        let message = message?;
        let quote: Quote = message.json()?;
        table.insert(quote.symbol, quote.cents);
    }
    println!("3000 changes later, {unread} messages to read: {table:?}");
    if unread != SYMBOLS.len() || table.values().any(|cents| *cents != 11_000) {
        return Err("the reader has not seen exactly the newest price of each symbol".into());
    }
    drop(quotes);
    screen.close()?;
    feed.close()?;
    Ok(())
}
