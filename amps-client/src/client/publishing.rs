//! Publishing.

use std::sync::Arc;
use std::time::Duration;

use amps_transport::Time;

use super::{Client, check_topic};
use crate::error::{Error, Result};
use crate::publish::{PublishOptions, Publishing, Receipt};
use crate::session::outbound::Outbound;
use crate::session::shared::Urgency;

impl Client {
    /// Publishes a message. Returns as soon as it is encoded and, as a rule, written; it does
    /// not wait for the server. The [`Receipt`] tells what became of it and may be ignored.
    ///
    /// While more than `ClientBuilder::send_limit` bytes wait because the server does not take
    /// them, this blocks, up to `ClientBuilder::publish_timeout`; on the loop it fails at once.
    ///
    /// # Errors
    /// `Disconnected` without a connection, `Full` as above, `InvalidArgument` if the message is
    /// too large. In each case nothing was sent.
    pub fn publish(&self, topic: &str, data: impl AsRef<[u8]>) -> Result<Receipt> {
        self.publish_one(&Publishing::new(topic, data.as_ref()))
    }

    /// As [`publish`](Self::publish), for a message that expires; AMPS counts whole seconds,
    /// a fraction is rounded up.
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
        let data = serde_json::to_vec(value)
            .map_err(|error| Error::InvalidArgument(format!("publish: the value is not JSON: {error}")))?;
        self.publish(topic, data)
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

    fn publish_one(&self, publishing: &Publishing<'_>) -> Result<Receipt> {
        check_topic("publish", publishing.topic)?;
        let inner = &*self.inner;
        let now = inner.clock.now();
        let result = match inner.shared.act_publish(now, |outbound| outbound.publish(now, publishing)) {
            Err(error @ Error::Full { .. }) => self.until_room(now, error, |now| {
                inner.shared.act_publish(now, |outbound| outbound.publish(now, publishing))
            }),
            result => result,
        };
        result.map(|(generation, end)| Receipt::new(Arc::clone(&inner.shared), generation, end))
    }

    /// Does what may find that too much waits to be sent, and then waits for room.
    pub(crate) fn with_room<T>(&self, mut f: impl FnMut(Time, &mut Outbound) -> Result<T>) -> Result<T> {
        let inner = &*self.inner;
        let mut once = |now| inner.shared.act(now, Urgency::Gather, |outbound| f(now, outbound));
        let now = inner.clock.now();
        match once(now) {
            Err(error @ Error::Full { .. }) => self.until_room(now, error, once),
            result => result,
        }
    }

    fn until_room<T>(&self, began: Time, full: Error, mut again: impl FnMut(Time) -> Result<T>) -> Result<T> {
        let inner = &*self.inner;
        let give_up = began + inner.publish_timeout;
        let mut error = full;
        loop {
            let now = inner.clock.now();
            if now >= give_up || inner.handle.is_loop_thread() {
                return Err(error);
            }
            // The server may take nothing because nothing is taken from it.
            self.may_be_answered()?;
            inner.shared.wait_for_room(give_up - now);
            match again(inner.clock.now()) {
                Err(full @ Error::Full { .. }) => error = full,
                result => return result,
            }
        }
    }
}
