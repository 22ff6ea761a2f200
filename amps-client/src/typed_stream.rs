//! A typed subscription as a `futures` stream.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::futures_stream::MessageStream;
use crate::typed::{Typed, TypedError, read};

/// A subscription as a [`Stream`] of values; made by [`TypedSubscription::into_stream`] or
/// [`MessageStream::typed`].
///
/// It yields what [`TypedSubscription`] yields, and acknowledges nothing by itself, as [`MessageStream`] says.
/// Polling it is safe to cancel: no message is taken out by a poll that is pending. Dropping it ends the
/// subscription.
///
/// [`TypedSubscription`]: crate::TypedSubscription
/// [`TypedSubscription::into_stream`]: crate::TypedSubscription::into_stream
///
/// ```
/// use std::pin::pin;
/// use amps_client::{Client, futures_core::Stream};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .queue(amps_testkit::QueueConfig::new("orders")).start()?;
/// # let uri = server.uri("json");
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Order { id: u64 }
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let client = Client::builder("desk-7").server(&uri).connect_future().await?;
/// let orders = client.subscribe("orders").start_future().await?;
/// let mut orders = pin!(orders.into_stream().typed::<Order>());
/// client.publish_json("orders", &Order { id: 7 })?;
/// // `StreamExt::next` of the crate `futures` does this:
/// let order = std::future::poll_fn(|cx| orders.as_mut().poll_next(cx)).await.unwrap()?;
/// assert_eq!(order.value.id, 7);
/// order.message.ack();
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TypedStream<T> {
    stream: MessageStream,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> TypedStream<T> {
    pub(crate) const fn new(stream: MessageStream) -> Self {
        Self { stream, values: PhantomData }
    }

    /// The stream behind it, for what it can do besides.
    pub const fn stream(&self) -> &MessageStream {
        &self.stream
    }

    /// The stream behind it, as it was.
    pub fn into_inner(self) -> MessageStream {
        self.stream
    }
}

impl<T: DeserializeOwned> Stream for TypedStream<T> {
    type Item = Result<Typed<T>, TypedError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let item = match Pin::new(&mut self.stream).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => read(message),
                Poll::Ready(Some(Err(error))) => Some(Err(error.into())),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            };
            if item.is_some() {
                return Poll::Ready(item);
            }
        }
    }
}

impl MessageStream {
    /// Reads every message as a `T`; see [`TypedStream`].
    pub fn typed<T: DeserializeOwned>(self) -> TypedStream<T> {
        TypedStream::new(self)
    }
}

impl<T> fmt::Debug for TypedStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedStream").field(&self.stream).finish()
    }
}
