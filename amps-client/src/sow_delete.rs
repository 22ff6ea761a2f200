//! Deleting records, and removing messages from a queue by hand.

use bytes::Bytes;

use crate::command::Command;
use crate::session::acks::AckOption;

/// What to delete: records of the state of the world by filter, by record keys or by data; or
/// messages of a queue by filter or by bookmarks. See [`Client::sow_delete`](crate::Client::sow_delete).
///
/// Keys and data are quick; a filter is evaluated for every record of the topic.
///
/// ```
/// use amps_client::{AckOption, Client, SowDelete};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .sow(amps_testkit::SowConfig::new("vans").key("/id")).start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("dispatch").server(&uri).connect()?;
/// for id in 1..=3 {
///     client.publish("vans", format!("{{\"id\":{id}}}"))?;
/// }
/// assert_eq!(client.sow_delete(&SowDelete::by_filter("vans", "/id > 2"))?.records_deleted, 1);
/// assert_eq!(client.sow_delete(&SowDelete::by_data("vans", r#"{"id":2}"#))?.records_deleted, 1);
/// assert_eq!(client.sow_delete(&SowDelete::by_filter("vans", "1=1"))?.records_deleted, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// For the normal processing of a queue prefer `Message::ack`, which batches and works inside
/// handlers. This is for operations on many messages at once, also ones that this client
/// never received:
///
/// ```
/// # use amps_client::{AckOption, SowDelete};
/// let stale = SowDelete::by_filter("orders", "/id = '7' AND /status != 'cancel'")
///     .option(AckOption::Expire);
/// # let _ = stale;
/// ```
#[derive(Clone, Debug)]
pub struct SowDelete(Command);

/// What a delete counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteStats {
    /// Records deleted.
    pub records_deleted: u64,
    /// Records that matched.
    pub matches: u64,
    /// Records looked at.
    pub topic_matches: u64,
}

impl SowDelete {
    /// The messages of a queue with these bookmarks.
    pub fn by_bookmarks<S: AsRef<str>>(
        topic: impl Into<String>,
        bookmarks: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut list = String::new();
        for bookmark in bookmarks {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(bookmark.as_ref());
        }
        Self(Command::sow_delete(topic).bookmark(list))
    }

    /// Every record or message that matches the filter; of a queue leased ones too, as far as
    /// its leasing model allows. `1=1` matches all.
    pub fn by_filter(topic: impl Into<String>, filter: impl Into<String>) -> Self {
        Self(Command::sow_delete(topic).filter(filter))
    }

    /// The records with these keys: those that messages bear, not values of fields.
    pub fn by_keys<S: Into<String>>(topic: impl Into<String>, keys: impl IntoIterator<Item = S>) -> Self {
        Self(Command::sow_delete(topic).sow_keys(keys))
    }

    /// The record that a publish of this message would have updated.
    pub fn by_data(topic: impl Into<String>, data: impl AsRef<[u8]>) -> Self {
        Self(Command::sow_delete(topic).data(Bytes::copy_from_slice(data.as_ref())))
    }

    /// Cancels or expires the messages of a queue instead of acknowledging them.
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "a builder takes what it is given, as its neighbours do"
    )]
    pub fn option(self, option: AckOption) -> Self {
        Self(self.0.options(&option.options().to_string()))
    }

    /// Waits so long for the server, instead of the client's setting.
    #[must_use]
    pub fn timeout(self, timeout: std::time::Duration) -> Self {
        Self(self.0.timeout(timeout))
    }

    pub(crate) const fn command(&self) -> &Command {
        &self.0
    }
}
