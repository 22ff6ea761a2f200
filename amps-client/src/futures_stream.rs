//! A subscription as a `futures` stream, for any runtime.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::error::Result;
use crate::message::Message;
use crate::subscription::{Polled, Subscription};

/// The messages of a subscription as a [`Stream`]; made by [`Subscription::into_stream`].
///
/// It yields what the iterator yields, errors that do not end it included. Dropping it ends
/// the subscription.
///
/// Polling it is safe to cancel: a poll that is pending has taken nothing out, and a future of the next message that
/// is dropped loses none. It is as bounded as the iterator: when the task is slow and the stream is full
/// ([`Subscribe::max_depth`](crate::Subscribe::max_depth),
/// [`ClientBuilder::stream_limit`](crate::ClientBuilder::stream_limit)), the client stops reading its socket, or what
/// else [`Subscribe::when_full`](crate::Subscribe::when_full) says.
///
/// A stream never acknowledges by itself, also where auto-ack is on: combinators ask for the
/// next message before the last one is done with. Call `Message::ack`, or work through
/// [`Message::guard`](crate::Message::guard), which gives a message back to its queue if the
/// work is dropped.
///
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
/// use amps_client::{Client, futures_core::Stream};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .queue(amps_testkit::QueueConfig::new("work")).start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("worker").server(&uri).connect()?;
/// let mut work = pin!(client.subscribe("work").max_backlog(10).start()?.into_stream());
/// client.publish("work", r#"{"id":1}"#)?;
/// // A runtime does this:
/// let mut context = Context::from_waker(Waker::noop());
/// let message = loop {
///     if let Poll::Ready(next) = work.as_mut().poll_next(&mut context) {
///         break next.expect("the stream goes on")?;
///     }
/// };
/// let message = message.guard();
/// assert_eq!(message.data(), br#"{"id":1}"#);
/// message.done();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MessageStream {
    subscription: Subscription,
}

impl MessageStream {
    pub(crate) const fn new(subscription: Subscription) -> Self {
        Self { subscription }
    }

    /// The subscription behind it, for what it can do besides.
    pub const fn subscription(&self) -> &Subscription {
        &self.subscription
    }
}

impl Stream for MessageStream {
    type Item = Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.subscription.poll(cx.waker()) {
            Some(Polled::Message(message)) => Poll::Ready(Some(Ok(message))),
            Some(Polled::Error(error)) => Poll::Ready(Some(Err(error))),
            Some(Polled::Ended) => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for MessageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageStream").field(&self.subscription).finish()
    }
}
