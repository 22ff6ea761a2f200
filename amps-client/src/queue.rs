//! Removing messages from a queue by hand.

use amps_protocol::Delete;

use crate::error::{Error, Result};
use crate::session::acks::AckOption;
use crate::session::commands::QueueDelete;

/// Which messages to remove from a queue, by bookmarks or by filter; see
/// [`Client::sow_delete`](crate::Client::sow_delete).
///
/// For normal processing prefer `Message::ack`, which batches and works inside handlers.
/// This is for operations on many messages at once, also ones that this client never
/// received:
///
/// ```
/// use amps_client::{AckOption, SowDelete};
///
/// let pending = SowDelete::by_filter("orders", "/id = '7' AND /status != 'cancel'")
///     .option(AckOption::Expire);
/// # let _ = pending;
/// ```
#[derive(Clone, Debug)]
pub struct SowDelete {
    topic: String,
    what: What,
    option: Option<AckOption>,
}

#[derive(Clone, Debug)]
enum What {
    Bookmarks(Vec<String>),
    Filter(String),
}

impl SowDelete {
    /// The messages with these bookmarks.
    pub fn by_bookmarks<S: Into<String>>(
        topic: impl Into<String>,
        bookmarks: impl IntoIterator<Item = S>,
    ) -> Self {
        let bookmarks = bookmarks.into_iter().map(Into::into).collect();
        Self { topic: topic.into(), what: What::Bookmarks(bookmarks), option: None }
    }

    /// Every message that matches the filter, leased or not, as far as the queue's leasing
    /// model allows. `1=1` matches all.
    pub fn by_filter(topic: impl Into<String>, filter: impl Into<String>) -> Self {
        Self { topic: topic.into(), what: What::Filter(filter.into()), option: None }
    }

    /// Cancels or expires the messages instead of acknowledging them.
    #[must_use]
    pub fn option(mut self, option: AckOption) -> Self {
        self.option = Some(option);
        self
    }

    pub(crate) fn to_queue_delete(&self) -> Result<QueueDelete> {
        let empty = match &self.what {
            What::Bookmarks(bookmarks) => bookmarks.iter().all(String::is_empty),
            What::Filter(filter) => filter.trim().is_empty(),
        };
        if empty {
            let advice = "sow_delete: give bookmarks or a filter; the filter 1=1 removes everything";
            return Err(Error::InvalidArgument(advice.into()));
        }
        let action = self.option.as_ref().map(AckOption::action).unwrap_or_default();
        let what = match &self.what {
            What::Bookmarks(bookmarks) => Delete::messages(bookmarks, action),
            What::Filter(filter) => Delete::Filter { filter: filter.clone().into(), action },
        };
        Ok(QueueDelete { topic: self.topic.clone(), what })
    }
}
