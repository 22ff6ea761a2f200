//! `load sow`: queries a topic again and again, until so many records came.
//!
//! Owns the repetition. The time between two queries counts, so a topic with at least as many records as are asked
//! for is measured best.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc::channel;

use amps_client::futures_core::Stream as _;
use amps_client::{Client, CommandKind, Message, Sow, Subscription};
use serde_json::Value;

use crate::cli::{self, Mode};
use crate::failure::Failure;
use crate::meter::{Measured, Meter};

/// How a query ended.
enum Outcome {
    /// With the last record that counts.
    Measured(Measured),
    /// Before that.
    Short(Meter),
}

pub(crate) fn run(options: &cli::Sow) -> Result<Value, Failure> {
    let client = options.server.connect("sow")?;
    let topic = options.server.topic.as_str();
    options.server.ready();
    let mut meter = Meter::new(options.n);
    loop {
        let before = meter.seen();
        let sow = client.sow(topic).batch_size(options.batch_size);
        let outcome = match options.mode {
            Mode::Handler => handler(&client, sow, meter)?,
            Mode::Iterator => iterator(sow.start()?, meter)?,
            Mode::Stream => pollster::block_on(stream(sow.start()?, meter))?,
        };
        meter = match outcome {
            Outcome::Measured(measured) => return Ok(measured.report(options.size)),
            Outcome::Short(meter) if meter.seen() == before => {
                return Err(Failure::NoRecords(topic.to_owned()));
            }
            Outcome::Short(meter) => meter,
        };
    }
}

/// Records, and not what stands around them.
fn is_record<B: AsRef<[u8]>>(message: &Message<B>) -> bool {
    !matches!(message.command(), CommandKind::GroupBegin | CommandKind::GroupEnd | CommandKind::Ack)
}

fn handler(client: &Client, sow: Sow, meter: Meter) -> Result<Outcome, Failure> {
    let (done, finished) = channel();
    let mut running = Some(meter);
    let handler = move |message: &Message<&[u8]>| {
        let Some(meter) = &mut running else { return Ok(()) };
        if is_record(message) {
            if let Some(result) = meter.see(message.data().len()) {
                running = None;
                done.send(Outcome::Measured(result))?;
            }
        } else if message.command() == CommandKind::GroupEnd {
            if let Some(meter) = running.take() {
                done.send(Outcome::Short(meter))?;
            }
        }
        Ok(())
    };
    let query = sow.on_message(handler)?;
    // A connection that is lost takes the handler with it, and its end of the channel.
    let outcome = finished.recv().map_err(|_| Failure::of_ended(client))?;
    if matches!(outcome, Outcome::Measured(_)) {
        query.unsubscribe();
    }
    Ok(outcome)
}

fn iterator(query: Subscription, mut meter: Meter) -> Result<Outcome, Failure> {
    for message in query {
        let message = message?;
        if let Some(result) = is_record(&message).then(|| meter.see(message.data().len())).flatten() {
            return Ok(Outcome::Measured(result));
        }
    }
    Ok(Outcome::Short(meter))
}

async fn stream(query: Subscription, mut meter: Meter) -> Result<Outcome, Failure> {
    let mut stream = pin!(query.into_stream());
    while let Some(message) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        let message = message?;
        if let Some(result) = is_record(&message).then(|| meter.see(message.data().len())).flatten() {
            return Ok(Outcome::Measured(result));
        }
    }
    Ok(Outcome::Short(meter))
}
