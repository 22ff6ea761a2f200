//! Publishing.

use std::task::Poll;
use std::time::Duration;

use amps_transport::Time;

use super::{Client, check_topic};
use crate::error::{Error, Result};
use crate::publish::{PublishOptions, Publishing, Receipt};
use crate::session::outbound::{Outbound, Published};
use crate::session::publisher::Publisher;
use crate::session::shared::Urgency;
use crate::trace::PublishSpan;

/// How long the application's refusal to let a store grow holds (PS-14).
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Client {
    /// Publishes a message. Returns as soon as it is encoded and, as a rule, written; it does
    /// not wait for the server. The [`Receipt`] tells what became of it and may be ignored.
    ///
    /// While more than `ClientBuilder::send_limit` bytes wait because the server does not take
    /// them, this blocks, up to `ClientBuilder::publish_timeout`; on the loop it fails at once.
    ///
    /// With a publish store the message is kept, also while a reconnect is under way, and sent
    /// until the server has persisted or refused it. Nothing blocks then but a store that may
    /// not grow ([`ClientBuilder::on_store_growth`](crate::ClientBuilder::on_store_growth)), and one
    /// that commits each message to the disk before it may leave: not on the loop, where
    /// [`Receipt::wait_stored`] waits for that.
    ///
    /// # Errors
    /// `Disconnected` without a connection, unless a publish store keeps it for the reconnect that is
    /// under way; `Full` as above; `InvalidArgument` if the message is too large; `Store` if the
    /// store cannot keep it. In each case nothing was sent, but that a message which the disk
    /// did not take in time may still go out once it does.
    pub fn publish(&self, topic: &str, data: impl AsRef<[u8]>) -> Result<Receipt> {
        self.publish_one(&Publishing::new(topic, data.as_ref()))
    }

    /// As [`publish`](Self::publish), for a message that expires; AMPS counts whole seconds,
    /// a fraction is rounded up. For async code there is [`publish_with_future`](Self::publish_with_future), with
    /// [`PublishOptions::expiration`].
    ///
    /// # Errors
    /// As for `publish`.
    pub fn publish_expiring(&self, topic: &str, data: impl AsRef<[u8]>, after: Duration) -> Result<Receipt> {
        self.publish_with(topic, data, &PublishOptions::new().expiration(after))
    }

    /// As [`publish`](Self::publish), with an expiration, a record key or a mark of your own.
    ///
    /// # Errors
    /// As for `publish`.
    pub fn publish_with(
        &self,
        topic: &str,
        data: impl AsRef<[u8]>,
        options: &PublishOptions,
    ) -> Result<Receipt> {
        options.check()?;
        let publishing = Publishing { options: Some(options), ..Publishing::new(topic, data.as_ref()) };
        self.publish_one(&publishing)
    }

    /// As [`publish`](Self::publish), with a value as JSON.
    ///
    /// # Errors
    /// As for `publish`, and `InvalidArgument` for a value that JSON cannot express.
    #[cfg(feature = "json")]
    pub fn publish_json<T: serde::Serialize + ?Sized>(&self, topic: &str, value: &T) -> Result<Receipt> {
        self.publish(topic, json_of(value)?)
    }

    /// As [`publish_json`](Self::publish_json), for async code; see [`publish_future`](Self::publish_future).
    ///
    /// # Errors
    /// As for `publish_future`, and `InvalidArgument` for a value that JSON cannot express.
    #[cfg(feature = "json")]
    pub async fn publish_json_future<T: serde::Serialize + ?Sized>(
        &self,
        topic: &str,
        value: &T,
    ) -> Result<Receipt> {
        self.publish_future(topic, json_of(value)?).await
    }

    /// Publishes a partial update of a record: the key fields, and those that change. As
    /// [`publish`](Self::publish) in all else.
    ///
    /// # Errors
    /// As for `publish`.
    pub fn delta_publish(&self, topic: &str, data: impl AsRef<[u8]>) -> Result<Receipt> {
        self.publish_one(&Publishing { delta: true, ..Publishing::new(topic, data.as_ref()) })
    }

    /// As [`delta_publish`](Self::delta_publish), with an expiration, a record key or a mark.
    ///
    /// # Errors
    /// As for `publish`.
    pub fn delta_publish_with(
        &self,
        topic: &str,
        data: impl AsRef<[u8]>,
        options: &PublishOptions,
    ) -> Result<Receipt> {
        options.check()?;
        let bare = Publishing::new(topic, data.as_ref());
        self.publish_one(&Publishing { delta: true, options: Some(options), ..bare })
    }

    /// As [`publish`](Self::publish), for async code: where that would block its thread, this waits, and for as
    /// long as it takes; a runtime has timers. An `on_store_growth` that has refused is asked again when the
    /// store has room for something.
    ///
    /// Lazy: nothing is published before it is polled. Safe to cancel: dropped while it waits for room, nothing
    /// was published; dropped later, with a store that commits each message to the disk before it may leave, the
    /// message is kept and will be sent.
    ///
    /// ```
    /// # let server = amps_testkit::FakeServer::builder().start()?;
    /// # let uri = server.uri("json");
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let client = amps_client::Client::builder("desk-7").server(&uri).connect_future().await?;
    /// client.publish_future("orders", r#"{"id":1}"#).await?;
    /// # client.close_future(std::time::Duration::from_secs(5)).await?;
    /// # assert_eq!(client.stats().published, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for `publish`, but for `Full`.
    pub async fn publish_future(&self, topic: &str, data: impl AsRef<[u8]>) -> Result<Receipt> {
        self.publish_soon(&Publishing::new(topic, data.as_ref())).await
    }

    /// As [`publish_future`](Self::publish_future), with an expiration, a record key or a mark of your own.
    ///
    /// # Errors
    /// As for `publish_future`.
    pub async fn publish_with_future(
        &self,
        topic: &str,
        data: impl AsRef<[u8]>,
        options: &PublishOptions,
    ) -> Result<Receipt> {
        options.check()?;
        let publishing = Publishing { options: Some(options), ..Publishing::new(topic, data.as_ref()) };
        self.publish_soon(&publishing).await
    }

    /// As [`delta_publish`](Self::delta_publish), for async code; see [`publish_future`](Self::publish_future).
    ///
    /// # Errors
    /// As for `publish_future`.
    pub async fn delta_publish_future(&self, topic: &str, data: impl AsRef<[u8]>) -> Result<Receipt> {
        self.publish_soon(&Publishing { delta: true, ..Publishing::new(topic, data.as_ref()) }).await
    }

    /// As [`delta_publish_with`](Self::delta_publish_with), for async code; see
    /// [`publish_future`](Self::publish_future).
    ///
    /// # Errors
    /// As for `publish_future`.
    pub async fn delta_publish_with_future(
        &self,
        topic: &str,
        data: impl AsRef<[u8]>,
        options: &PublishOptions,
    ) -> Result<Receipt> {
        options.check()?;
        let bare = Publishing::new(topic, data.as_ref());
        self.publish_soon(&Publishing { delta: true, options: Some(options), ..bare }).await
    }

    async fn publish_soon(&self, publishing: &Publishing<'_>) -> Result<Receipt> {
        check_topic("publish", publishing.topic)?;
        let inner = &*self.inner;
        let shared = &inner.shared;
        let span = PublishSpan::new(self.name(), publishing.topic, publishing.data.len());
        let published = shared.until(|| {
            loop {
                let now = inner.clock.now();
                let publish = || shared.act_publish(now, |outbound| outbound.publish(now, publishing));
                let published = span.within(publish);
                match published {
                    Err(Error::StoreFull { proposed, .. }) if inner.hooks.may_grow(proposed) => {
                        shared.with(|outbound| outbound.grow_store(proposed));
                    }
                    Err(Error::Full { .. } | Error::StoreFull { .. }) => return Poll::Pending,
                    result => return Poll::Ready(result),
                }
            }
        });
        let published = published.await?;
        if let Some(number) = published.number.filter(|_| published.held) {
            let look = || shared.with(|outbound| outbound.store_poll(number, Publisher::may_leave));
            shared.until(look).await?;
        }
        Ok(Receipt::new(&self.inner, published))
    }

    fn publish_one(&self, publishing: &Publishing<'_>) -> Result<Receipt> {
        let span = PublishSpan::new(self.name(), publishing.topic, publishing.data.len());
        span.within(|| self.publish_now(publishing))
    }

    #[inline]
    fn publish_now(&self, publishing: &Publishing<'_>) -> Result<Receipt> {
        check_topic("publish", publishing.topic)?;
        let inner = &*self.inner;
        let now = inner.clock.now();
        let result = match inner.shared.act_publish(now, |outbound| outbound.publish(now, publishing)) {
            Err(error @ (Error::Full { .. } | Error::StoreFull { .. })) => {
                self.until_room(now, error, |now| {
                    inner.shared.act_publish(now, |outbound| outbound.publish(now, publishing))
                })
            }
            result => result,
        };
        let published = result?;
        self.until_it_leaves(published)?;
        Ok(Receipt::new(&self.inner, published))
    }

    /// Waits until a message that is kept may leave, if the store wants that: then it is on
    /// the disk. Not on the loop, which others wait for.
    fn until_it_leaves(&self, published: Published) -> Result<()> {
        let Some(number) = published.number.filter(|_| published.held) else { return Ok(()) };
        let inner = &*self.inner;
        if inner.handle.is_loop_thread() {
            return Ok(());
        }
        inner.shared.await_store(None, number, Publisher::may_leave).map(drop)
    }

    /// Does what may find that too much waits to be sent, and then waits for room.
    pub(crate) fn with_room<T>(&self, mut f: impl FnMut(Time, &mut Outbound) -> Result<T>) -> Result<T> {
        let inner = &*self.inner;
        let mut once = |now| inner.shared.act(now, Urgency::Gather, |outbound| f(now, outbound));
        let now = inner.clock.now();
        match once(now) {
            Err(error @ (Error::Full { .. } | Error::StoreFull { .. })) => self.until_room(now, error, once),
            result => result,
        }
    }

    /// As [`with_room`](Self::with_room); for a future, which no thread waits for (`caller` 0), it fails at once.
    pub(crate) fn with_room_for<T>(
        &self,
        caller: u64,
        mut f: impl FnMut(Time, &mut Outbound) -> Result<T>,
    ) -> Result<T> {
        if caller != 0 {
            return self.with_room(f);
        }
        let now = self.inner.clock.now();
        self.inner.shared.act(now, Urgency::Gather, |outbound| f(now, outbound))
    }

    fn until_room<T>(&self, began: Time, full: Error, mut again: impl FnMut(Time) -> Result<T>) -> Result<T> {
        let inner = &*self.inner;
        let give_up = began + inner.publish_timeout;
        let on_loop = inner.handle.is_loop_thread();
        let mut error = full;
        loop {
            let left = give_up - inner.clock.now();
            match error {
                Error::StoreFull { proposed, .. } if inner.hooks.may_grow(proposed) => {
                    inner.shared.with(|outbound| outbound.grow_store(proposed));
                }
                // Here nobody could hear that the server has something (PS-16).
                Error::StoreFull { .. } if on_loop => {
                    return Err(Error::Usage(
                        "the publish store is full, and on the event loop nothing can make room; publish from another thread, or let the store grow",
                    ));
                }
                _ if on_loop || left.is_zero() => return Err(error),
                _ => {
                    // The server may take nothing because nothing is taken from it.
                    self.may_be_answered()?;
                    match error {
                        Error::StoreFull { .. } => inner.shared.await_persisted(left.min(ASK_AGAIN_AFTER)),
                        _ => inner.shared.wait_for_room(left),
                    }
                }
            }
            match again(inner.clock.now()) {
                Err(full @ (Error::Full { .. } | Error::StoreFull { .. })) => error = full,
                result => return result,
            }
        }
    }
}

#[cfg(feature = "json")]
fn json_of<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::InvalidArgument(format!("publish: the value is not JSON: {error}")))
}
