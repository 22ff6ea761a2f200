//! Bookmark stores: how far each replay was processed.
//!
//! A client that has one knows which messages of its bookmark subscriptions the application is
//! done with (`Message::discard`), resumes each subscription behind
//! them, and recognises what it has delivered before. See
//! `ClientBuilder::bookmark_store`.

use crate::bookmarks::MessageId;
use crate::store_error::StoreError;

mod adapter;
pub use adapter::{RecoveryPointAdapter, StoredPoint};
mod conflating;
pub use conflating::ConflatingRecoveryPointAdapter;
mod file;
pub(crate) use file::explainer;
pub use file::{FileBookmarkStore, FileBookmarkStoreBuilder};
mod memory;
pub use memory::MemoryBookmarkStore;
mod ring;
pub use ring::RingBookmarkStore;
mod sow;
pub use sow::SowRecoveryPointAdapter;
mod tracker;

/// Whether a message is new to its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It goes to the application.
    New,
    /// It was discarded before, or delivered before in this run: the application is not
    /// bothered with it again.
    Duplicate,
}

/// Where a subscription has to begin so that nothing is missed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryPoint {
    /// A bookmark, a list of them joined by commas, or a moment, as a server takes it; empty if
    /// nothing is known of the subscription.
    pub bookmark: String,
    /// Whether it follows from what was discarded or persisted, and is not merely where the
    /// subscription began.
    pub progress: bool,
}

/// Keeps, for each subscription id, what of its replay was processed.
///
/// Messages arrive in the order of the server's log. Applications discard them in any order.
/// The recovery point moves only over the contiguous run of discarded messages at the front:
/// while the first message is open it stays before it, whatever was discarded behind it.
///
/// A message is a duplicate if it was discarded (it lies at or before the last discarded
/// message of its publisher within that run, or was discarded by itself), or if it arrived
/// before in this run. It is none merely because a later message of its publisher was seen.
///
/// A `persisted` bookmark never discards anything. It joins the recovery point once every
/// message that arrived before it is discarded. The recovery point lists, for each publisher,
/// the later of the last discarded message of that run and the last such persisted bookmark; and
/// the last persisted bookmark in any case, because the server that takes over may know
/// nothing later.
///
/// A store that outlives its process belongs to one client, by name, and to one process at a time. After a
/// restart nothing is open: what was not discarded comes again and is new, what was discarded is known. How many of the
/// last discards a crash may take with it is the store's to say ([`FileBookmarkStore`]: none whose call has returned); it
/// never brings the recovery point beyond what was discarded.
///
/// Methods are called from any thread, also at the same time, and some with a lock of the client held
/// (`recovery_point` is, while a subscription is placed): they must not call the client. What `recovery_point`, `discard` and `arrived` cost
/// does not depend on how many messages are open. The feature `testing` has suites that check a store against all
/// of this.
pub trait BookmarkStore: Send + Sync + 'static {
    /// The client takes the store, before any other call. A store is one client's: two that shared one would take
    /// each other's subscriptions for their own where these have the same id.
    ///
    /// # Errors
    /// The store cannot be used by a client of this name.
    fn attach(&self, client: &str) -> Result<(), StoreError>;

    /// A subscription begins at a place that the application has named, as a server takes it: this is
    /// its recovery point as long as nothing better is known. If anything is known of the
    /// subscription already, nothing changes.
    ///
    /// # Errors
    /// It is noted for this run, and may be forgotten after a restart.
    fn begin(&self, sub: &str, from: &str) -> Result<(), StoreError>;

    /// Another subscriber takes the place of the last one under this id: what arrived and is not discarded comes
    /// again, and is new. Everything else stays as it is.
    ///
    /// # Errors
    /// Nothing has changed.
    fn new_subscriber(&self, sub: &str) -> Result<(), StoreError>;

    /// A message came. One that is [`Arrival::New`] is open from now on.
    ///
    /// Nothing of it has to outlive the process: it comes again after a restart if it is not discarded.
    ///
    /// # Errors
    /// It cannot be told whether the message is new. The client takes it for new.
    fn arrived(&self, sub: &str, message: MessageId) -> Result<Arrival, StoreError>;

    /// The application is done with a message. Without effect for a message that is not open.
    ///
    /// # Errors
    /// It is noted for this run, and may be forgotten after a restart.
    fn discard(&self, sub: &str, message: MessageId) -> Result<(), StoreError>;

    /// The server has persisted everything up to here, which need not be a message of this
    /// subscription.
    ///
    /// # Errors
    /// It is noted for this run, and may be forgotten after a restart.
    fn persisted(&self, sub: &str, last: MessageId) -> Result<(), StoreError>;

    /// Where the subscription has to begin.
    fn recovery_point(&self, sub: &str) -> RecoveryPoint;

    /// The first message that arrived and is not discarded.
    fn oldest_open(&self, sub: &str) -> Option<MessageId>;

    /// How many messages have arrived and are not discarded.
    fn open_messages(&self, sub: &str) -> usize;

    /// Forgets everything.
    ///
    /// # Errors
    /// It is forgotten for this run, and may be back after a restart.
    fn purge(&self) -> Result<(), StoreError>;

    /// Forgets everything about one subscription.
    ///
    /// # Errors
    /// It is forgotten for this run, and may be back after a restart.
    fn purge_sub(&self, sub: &str) -> Result<(), StoreError>;

    /// The client is done with the store: makes everything as durable as it can be.
    ///
    /// # Errors
    /// Not everything outlives the process.
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
