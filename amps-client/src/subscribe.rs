//! Describing and placing a subscription.

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::Options;

use crate::client::{Client, check_topic};
use crate::dispatcher::{HandlerResult, Target};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::session::outbound::Outbound;
use crate::session::subscription::{SubKey, SubscribeSpec};
use crate::stream::StreamQueue;
use crate::subscription::{HandlerSubscription, Subscription};

/// A subscription in the making; [`start`](Self::start) gives an iterator,
/// [`on_message`](Self::on_message) installs a handler.
#[must_use = "a subscription is placed by `start` or `on_message`"]
#[derive(Debug)]
pub struct Subscribe {
    client: Client,
    spec: SubscribeSpec,
    timeout: Option<Duration>,
    resume_silently: bool,
}

impl Subscribe {
    pub(crate) fn new(client: Client, topic: String) -> Self {
        let timeout = client.inner().command_timeout;
        let auto_ack = client.inner().auto_ack;
        let spec = SubscribeSpec { topic, auto_ack, resubscribe: true, ..SubscribeSpec::default() };
        Self { client, spec, timeout, resume_silently: false }
    }

    /// Receives only messages that match, for example `/region = 'EU' AND /qty > 100`. The
    /// server evaluates it; the client sends it as it is.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.spec.filter = Some(filter.into());
        self
    }

    /// Sets any option by name, for example `option("conflation", "250ms")`.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.spec.options.set(name, value);
        self
    }

    /// Sets options as one text, for example `no_sowkey,timestamp`; replaces earlier ones of
    /// the same names.
    pub fn options(mut self, text: &str) -> Self {
        for (name, value) in Options::parse(text).iter() {
            match value {
                Some(value) => self.spec.options.set(name, value),
                None => self.spec.options.flag(name),
            }
        }
        self
    }

    /// How many unacknowledged messages of a queue to accept at a time. Without it the
    /// server gives one at a time. The server may grant less.
    pub fn max_backlog(mut self, messages: u32) -> Self {
        self.spec.options.set("max_backlog", messages);
        self
    }

    /// Acknowledges leased messages by itself: with a handler once it has returned `Ok` (an
    /// error or a panic cancels the message), with an iterator when the next message is asked
    /// for. Default: what the client was built with, which is off.
    ///
    /// The last message read from an iterator is acknowledged by the next call of `next`,
    /// also one that finds nothing; dropping the iterator leaves it to the server.
    pub fn auto_ack(mut self, on: bool) -> Self {
        self.spec.auto_ack = on;
        self
    }

    /// Acknowledgements per batch for this subscription, instead of the client's setting.
    pub fn ack_batch_size(mut self, messages: usize) -> Self {
        self.spec.ack_batch_size = Some(messages);
        self
    }

    /// Sets the subscription id; by default the client assigns one. It must be unique on the
    /// client and must not contain a comma.
    pub fn sub_id(mut self, id: impl Into<String>) -> Self {
        self.spec.sub_id = Some(id.into());
        self
    }

    /// Ends the subscription at a disconnect, even if the client reconnects.
    pub fn no_resubscribe(mut self) -> Self {
        self.spec.resubscribe = false;
        self
    }

    /// Goes on after a reconnect without the notice
    /// [`ErrorKind::Resumed`](crate::ErrorKind::Resumed) that messages may be missing. Streams
    /// of queues never yield it: the server delivers again what was lost.
    pub fn resume_silently(mut self) -> Self {
        self.resume_silently = true;
        self
    }

    /// How long to wait for the server's answer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Places the subscription and returns its messages as an iterator.
    ///
    /// # Errors
    /// The server refuses it (`BadFilter`, `InvalidTopic`, …), `Disconnected`, `TimedOut`
    /// (the subscription is then taken back), `InvalidArgument`, or `Usage` on the loop.
    pub fn start(self) -> Result<Subscription> {
        let queue = Arc::new(StreamQueue::new(self.client.inner().stream_limit));
        let (silent, auto_ack) = (self.resume_silently, self.spec.auto_ack);
        let target = Target::Stream { queue: Arc::clone(&queue), silent };
        let client = self.client.clone();
        let key = self.place(|_| target)?;
        Ok(Subscription::new(client, key, queue, auto_ack))
    }

    /// Places the subscription and calls `handler` for every message, on the client's event
    /// loop, one at a time, possibly before this returns.
    ///
    /// While a handler runs, nothing else is received on that loop, so it should be quick. An
    /// error or a panic is reported to the client's error listener and delivery goes on; with
    /// [`auto_ack`](Self::auto_ack) the message is returned to its queue.
    ///
    /// A handler that holds a clone of its own client keeps that client alive: it ends by
    /// `close` or `unsubscribe` then, and not by dropping the last clone outside.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn on_message(
        self,
        handler: impl FnMut(&Message<&[u8]>) -> HandlerResult + Send + 'static,
    ) -> Result<HandlerSubscription> {
        let client = self.client.clone();
        let key = self.place(|sub| Target::Handler { sub, handler: Box::new(handler) })?;
        Ok(HandlerSubscription::new(client, key))
    }

    fn place(self, target: impl FnOnce(String) -> Target) -> Result<SubKey> {
        self.client.may_wait("subscribe")?;
        self.check()?;
        let Self { client, spec, timeout, .. } = self;
        let inner = client.inner();
        let key = inner.shared.with(Outbound::reserve);
        let id = spec.sub_id.clone().unwrap_or_else(|| key.to_string());
        // Before the command is written, so that no message finds nobody.
        inner.targets.add(key, target(id));
        let placed = client
            .command(timeout, |outbound, now, waiter| outbound.subscribe(now, key, spec, timeout, waiter));
        match placed {
            Ok(_) => Ok(key),
            Err(error) => {
                // The target was for nothing.
                inner.shared.act(inner.clock.now(), crate::session::shared::Urgency::Now, |outbound| {
                    outbound.forget(key);
                });
                Err(error)
            }
        }
    }

    fn check(&self) -> Result<()> {
        let controls = |text: &str| text.chars().any(char::is_control);
        check_topic("subscribe", &self.spec.topic)?;
        if let Some(id) = &self.spec.sub_id {
            if id.is_empty() || id == "all" || id.contains(',') || controls(id) {
                let text = "subscribe: a subscription id must not be empty, \"all\", or contain a comma";
                return Err(Error::InvalidArgument(text.into()));
            }
        }
        Ok(())
    }
}
