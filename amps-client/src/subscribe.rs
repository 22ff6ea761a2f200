//! Describing a subscription or a query.

use std::time::Duration;

use crate::client::Client;
use crate::command::Command;
use crate::dispatcher::HandlerResult;
use crate::error::Result;
use crate::message::Message;
use crate::placement::{Placement, Starting};
use crate::stream::WhenFull;
use crate::subscription::{HandlerSubscription, Subscription};

/// What subscriptions and queries have in common.
macro_rules! common {
    ($name:ident) => {
        impl $name {
            /// Describes what [`Command`] describes, with everything that it has.
            pub(crate) fn of(client: Client, command: Command) -> Self {
                Self(Placement::new(client, command))
            }

            fn change(mut self, change: impl FnOnce(Command) -> Command) -> Self {
                self.0.spec.command = change(self.0.spec.command);
                self
            }

            /// Receives only messages that match, for example `/region = 'EU' AND /qty > 100`. The
            /// server evaluates it; the client sends it as it is.
            pub fn filter(self, filter: impl Into<String>) -> Self {
                self.change(|command| command.filter(filter))
            }

            /// Sets any option by name, for example `option("conflation", "250ms")`.
            pub fn option(self, name: &str, value: &str) -> Self {
                self.change(|command| command.option(name, value))
            }

            /// Sets options as one text, for example `no_sowkey,timestamp`; replaces earlier ones of
            /// the same names.
            pub fn options(self, text: &str) -> Self {
                let mut more = self;
                for (name, value) in amps_protocol::Options::parse(text).iter() {
                    more = match value {
                        Some(value) => more.change(|command| command.option(name, value)),
                        None => more.change(|command| command.flag(name)),
                    };
                }
                more
            }

            /// The fields to deliver, such as `[/id,/price]`, or `[-/,+/id]` for only one.
            pub fn select(self, fields: &str) -> Self {
                self.change(|command| command.select(fields))
            }

            /// The order of the records, such as `/price DESC`.
            pub fn order_by(self, order: impl Into<String>) -> Self {
                self.change(|command| command.order_by(order))
            }

            /// The most records to return. Default: all.
            pub fn top_n(self, records: u64) -> Self {
                self.change(|command| command.top_n(records))
            }

            /// How many records to skip; needs `top_n` and `order_by`.
            pub fn skip_n(self, records: u64) -> Self {
                self.change(|command| command.skip_n(records))
            }

            /// Records per message of the result: 10 if not told, at most 10,000. One for very
            /// large records, 50 to 100 for small ones; measure.
            pub fn batch_size(self, records: u64) -> Self {
                self.change(|command| command.batch_size(records))
            }

            /// Where a replay, or the past that a query asks for, begins; see
            /// [`Command::bookmark`].
            pub fn bookmark(self, bookmark: impl Into<String>) -> Self {
                self.change(|command| command.bookmark(bookmark))
            }

            /// Asks for an acknowledgement, which is delivered like a message.
            pub fn ack(self, ack: amps_protocol::AckType) -> Self {
                self.change(|command| command.ack(ack))
            }

            /// How long to wait for the server's answer.
            pub fn timeout(self, timeout: Duration) -> Self {
                self.change(|command| command.timeout(timeout))
            }

            /// Unread messages that the stream holds at most, instead of
            /// `ClientBuilder::max_depth`; 0 for any number.
            pub fn max_depth(mut self, messages: usize) -> Self {
                self.0.max_depth = Some(messages);
                self
            }

            /// Unread bytes that the stream holds at most, instead of
            /// `ClientBuilder::stream_limit`.
            pub fn max_bytes(mut self, bytes: usize) -> Self {
                self.0.max_bytes = Some(bytes);
                self
            }

            /// What happens when the stream is full. Default: the client stops reading.
            pub fn when_full(mut self, policy: WhenFull) -> Self {
                self.0.when_full = policy;
                self
            }

            /// As [`Subscription::conflate`], from the first message on.
            pub fn conflate(mut self) -> Self {
                self.0.conflates = true;
                self
            }

            /// Sends the command, waits until the server has accepted it, and returns the
            /// messages as an iterator.
            ///
            /// # Errors
            /// The server refuses it (`BadFilter`, `InvalidTopic`, …), `Disconnected`, `TimedOut`
            /// (it is then taken back), `InvalidArgument`, or `Usage` on the loop.
            pub fn start(self) -> Result<Subscription> {
                self.0.start()
            }

            /// As [`start`](Self::start), for async code: the command is written now, and the
            /// future waits for the server. It never blocks: where too much waits to be sent, the answer
            /// is `Full`. Safe to cancel: dropping it takes the command back; see [`Starting`].
            pub fn start_future(self) -> Starting {
                self.0.start_future()
            }

            /// Sends the command, waits until the server has accepted it, and calls `handler` for
            /// every message, on the client's event loop, one at a time, possibly before this
            /// returns.
            ///
            /// While a handler runs, nothing else is received on that loop, so it should be quick. An
            /// error or a panic is reported to the client's error listener and delivery goes on; with
            /// auto-ack the message is returned to its queue.
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
                self.0.handle(Box::new(handler))
            }

            /// As [`on_message`](Self::on_message), for async code, in the way of
            /// [`start_future`](Self::start_future). The handler may be called before the future is done.
            pub fn on_message_future(
                self,
                handler: impl FnMut(&Message<&[u8]>) -> HandlerResult + Send + 'static,
            ) -> Starting<HandlerSubscription> {
                self.0.handle_future(Box::new(handler))
            }

            /// As [`on_message`](Self::on_message), with a thread of the handler's own: it may take
            /// its time and wait for the server, and nothing else waits for it. What it has not
            /// come to yet is bounded as for a stream: see [`max_depth`](Self::max_depth). The
            /// thread ends with the subscription, and keeps the client alive until then: end it by
            /// `unsubscribe` or `close`, not by dropping the last clone.
            ///
            /// # Errors
            /// As for [`start`](Self::start), and if the system has no thread left.
            pub fn on_message_aside(
                self,
                handler: impl FnMut(&Message) -> HandlerResult + Send + 'static,
            ) -> Result<HandlerSubscription> {
                self.0.handle_aside(handler)
            }

            /// As [`on_message_aside`](Self::on_message_aside), for async code, in the way of
            /// [`start_future`](Self::start_future). The thread starts once the server has agreed.
            ///
            /// # Errors
            /// As for `on_message_aside`.
            pub fn on_message_aside_future(
                self,
                handler: impl FnMut(&Message) -> HandlerResult + Send + 'static,
            ) -> impl Future<Output = Result<HandlerSubscription>> + Send {
                self.0.handle_aside_future(handler)
            }
        }
    };
}

/// A subscription in the making; [`start`](Self::start) gives an iterator,
/// [`on_message`](Self::on_message) installs a handler.
#[must_use = "a subscription is placed by `start` or `on_message`"]
#[derive(Clone, Debug)]
pub struct Subscribe(Placement);

common!(Subscribe);

impl Subscribe {
    /// Whether messages that are not read yet may be replaced.
    #[cfg(feature = "json")]
    pub(crate) const fn conflates(&self) -> bool {
        self.0.conflates
    }

    /// How many unacknowledged messages of a queue to accept at a time. Without it the
    /// server gives one at a time. The server may grant less.
    pub fn max_backlog(self, messages: u32) -> Self {
        self.change(|command| command.max_backlog(messages))
    }

    /// Acknowledges leased messages by itself: with a handler once it has returned `Ok` (an
    /// error or a panic cancels the message), with an iterator when the next message is asked
    /// for. Default: what the client was built with, which is off.
    ///
    /// The last message read from an iterator is acknowledged by the next call of `next`,
    /// also one that finds nothing; dropping the iterator leaves it to the server.
    pub fn auto_ack(mut self, on: bool) -> Self {
        self.0.spec.auto_ack = on;
        self
    }

    /// Acknowledgements per batch for this subscription, instead of the client's setting.
    pub fn ack_batch_size(mut self, messages: usize) -> Self {
        self.0.spec.ack_batch_size = Some(messages);
        self
    }

    /// Sets the subscription id; by default the client assigns one. It must be unique on the
    /// client and must not contain a comma.
    pub fn sub_id(self, id: impl Into<String>) -> Self {
        self.change(|command| command.sub_id(id))
    }

    /// Tells when a record leaves the focus of the subscription: such messages are of the kind
    /// `Oof` and say why.
    pub fn oof(self) -> Self {
        self.change(Command::oof)
    }

    /// Has the server hold updates back, and send at most the last one of each interval for
    /// each record.
    pub fn conflation(self, interval: Duration) -> Self {
        self.change(|command| command.conflation(interval))
    }

    /// Ends the subscription at a disconnect, even if the client reconnects.
    pub fn no_resubscribe(mut self) -> Self {
        self.0.spec.resubscribe = false;
        self
    }

    /// Goes on after a reconnect without the notice
    /// [`ErrorKind::Resumed`](crate::ErrorKind::Resumed) that messages may be missing. Streams
    /// of queues never yield it: the server delivers again what was lost.
    pub fn resume_silently(mut self) -> Self {
        self.0.silent = true;
        self
    }
}

/// A query in the making; [`start`](Self::start) gives an iterator,
/// [`on_message`](Self::on_message) installs a handler.
///
/// The result comes between a `GroupBegin` and a `GroupEnd` message; then the iterator ends.
#[must_use = "a query is sent by `start` or `on_message`"]
#[derive(Clone, Debug)]
pub struct Sow(Placement);

common!(Sow);

impl Sow {
    /// Sets the query id; by default the client assigns one.
    pub fn query_id(self, id: impl Into<String>) -> Self {
        self.change(|command| command.query_id(id))
    }

    /// Only the records with these keys: those that messages bear, not values of fields.
    pub fn sow_keys<S: Into<String>>(self, keys: impl IntoIterator<Item = S>) -> Self {
        self.change(|command| command.sow_keys(keys))
    }
}
