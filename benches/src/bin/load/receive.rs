//! `load sub` and `load queue`: receives what others publish.
//!
//! Owns the three ways to take messages. Messages beyond the last that counts are left alone; those of a queue go
//! back to it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc::channel;

use amps_client::futures_core::Stream as _;
use amps_client::{Client, Message, Subscribe, Subscription};
use serde_json::Value;

use crate::cli::{Mode, Queue, Server, Sub};
use crate::failure::Failure;
use crate::meter::{Measured, Meter};

pub(crate) fn run_sub(options: &Sub) -> Result<Value, Failure> {
    let client = options.server.connect("sub")?;
    let subscribe = client.subscribe(&options.server.topic);
    let intake = Intake { client: &client, server: &options.server, queue: false };
    Ok(intake.run(subscribe, options.mode, options.n)?.report(options.size))
}

pub(crate) fn run_queue(options: &Queue) -> Result<Value, Failure> {
    let client = options.server.connect("queue")?;
    let subscribe = client
        .subscribe(&options.server.topic)
        .max_backlog(options.backlog)
        .ack_batch_size(options.ack_batch)
        .auto_ack(true);
    let intake = Intake { client: &client, server: &options.server, queue: true };
    Ok(intake.run(subscribe, options.mode, options.n)?.report(options.size))
}

/// One run of one subscription.
struct Intake<'a> {
    client: &'a Client,
    server: &'a Server,
    /// Messages are leased, and to be acknowledged.
    queue: bool,
}

impl Intake<'_> {
    fn run(&self, subscribe: Subscribe, mode: Mode, count: u64) -> Result<Measured, Failure> {
        let meter = Meter::new(count);
        match mode {
            Mode::Handler => self.handler(subscribe, meter),
            Mode::Iterator => self.iterator(self.started(subscribe)?, meter),
            Mode::Stream => pollster::block_on(self.stream(self.started(subscribe)?, meter)),
        }
    }

    fn started(&self, subscribe: Subscribe) -> Result<Subscription, Failure> {
        let subscription = subscribe.start()?;
        self.server.ready();
        Ok(subscription)
    }

    fn handler(&self, subscribe: Subscribe, mut meter: Meter) -> Result<Measured, Failure> {
        let (done, finished) = channel();
        let (queue, mut measured) = (self.queue, false);
        let handler = move |message: &Message<&[u8]>| {
            if measured {
                // Leaves it to the queue.
                message.keep_lease();
                return Ok(());
            }
            if let Some(result) = meter.see(message.data().len()) {
                measured = true;
                // Before the subscription is ended by who waits for this.
                if queue {
                    message.ack();
                }
                done.send(result)?;
            }
            Ok(())
        };
        let subscription = subscribe.on_message(handler)?;
        self.server.ready();
        // A connection that is lost takes the handler with it, and its end of the channel.
        let result = finished.recv().map_err(|_| Failure::of_ended(self.client));
        subscription.unsubscribe();
        result
    }

    fn iterator(&self, subscription: Subscription, mut meter: Meter) -> Result<Measured, Failure> {
        for message in subscription {
            let message = message?;
            if let Some(result) = meter.see(message.data().len()) {
                if self.queue {
                    // By itself that would happen when the next one is asked for.
                    message.ack();
                }
                return Ok(result);
            }
        }
        Err(Failure::of_ended(self.client))
    }

    async fn stream(&self, subscription: Subscription, mut meter: Meter) -> Result<Measured, Failure> {
        let mut stream = pin!(subscription.into_stream());
        while let Some(message) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
            let message = message?;
            let result = meter.see(message.data().len());
            if self.queue {
                // A stream never acknowledges by itself.
                message.ack();
            }
            if let Some(result) = result {
                return Ok(result);
            }
        }
        Err(Failure::of_ended(self.client))
    }
}
