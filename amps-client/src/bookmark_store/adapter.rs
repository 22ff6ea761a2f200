//! Recovery points outside this process.
//!
//! Owns the trait of those who keep them (client.md 7.12) and what they are told. Keeps nothing
//! itself.

use std::sync::Arc;

use super::RecoveryPoint;
use crate::bookmarks::MessageId;
use crate::store_error::StoreError;

/// Where a subscription has to begin, as somebody else keeps it.
///
/// It is a value of the moment in which it was handed over. There is no second kind that looks
/// up the newest place when it is read: whoever passes on fewer points than it is given keeps
/// the newest of each subscription ([`ConflatingRecoveryPointAdapter`] does), which comes to the
/// same and needs no lock of the store.
///
/// ```
/// use amps_client::StoredPoint;
///
/// let point = StoredPoint { sub_id: "orders-1".to_owned(), bookmark: "7|12|,9|3|".to_owned() };
/// assert!(point.recovery_point().progress);
/// let start = StoredPoint { sub_id: "orders-1".to_owned(), bookmark: "20240101T000000".to_owned() };
/// assert!(!start.recovery_point().progress);
/// ```
///
/// [`ConflatingRecoveryPointAdapter`]: super::ConflatingRecoveryPointAdapter
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPoint {
    /// Of which subscription.
    pub sub_id: String,
    /// A bookmark, a list of them joined by commas, or a moment.
    pub bookmark: String,
}

impl StoredPoint {
    /// What it means to a store: message bookmarks are progress, anything else is where the
    /// subscription began.
    pub fn recovery_point(&self) -> RecoveryPoint {
        /// "From now on" looks like a message, and is none (protocol.md 9.1).
        const NOW: MessageId = MessageId { publisher: 0, sequence: 1 };
        let mut entries = self.bookmark.split(',').map(|entry| MessageId::parse(entry.as_bytes()));
        let progress = entries.all(|entry| entry.is_ok_and(|message| message != NOW));
        RecoveryPoint { bookmark: self.bookmark.clone(), progress }
    }
}

/// Keeps the newest recovery point of each subscription in a place of its own choosing: a
/// database, a topic of the server, a file.
///
/// A store that is given one (`MemoryBookmarkStore::with_adapter`) begins with what it recovers,
/// and tells it whatever changes. A restart from there is approximate: nothing is missed, but
/// messages that were discarded behind the recovery point are delivered again.
///
/// [`update`](Self::update) is called with a lock of that subscription held, at the same time
/// from several threads for different subscriptions, and never for the same one. It must not
/// call the store, nor the client that has it. Whoever takes long puts a
/// [`ConflatingRecoveryPointAdapter`](super::ConflatingRecoveryPointAdapter) in front.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use amps_client::bookmarks::MessageId;
/// use amps_client::{BookmarkStore, MemoryBookmarkStore, RecoveryPointAdapter, StoreError, StoredPoint};
///
/// /// Stands for a table of a database.
/// #[derive(Default)]
/// struct Table(Mutex<Vec<StoredPoint>>);
///
/// impl RecoveryPointAdapter for Table {
///     fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
///         Ok(self.0.lock().unwrap().clone())
///     }
///     fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
///         let mut rows = self.0.lock().unwrap();
///         rows.retain(|row| row.sub_id != point.sub_id);
///         rows.push(point);
///         Ok(())
///     }
///     fn purge(&self) -> Result<(), StoreError> {
///         self.0.lock().unwrap().clear();
///         Ok(())
///     }
///     fn purge_sub(&self, sub_id: &str) -> Result<(), StoreError> {
///         self.0.lock().unwrap().retain(|row| row.sub_id != sub_id);
///         Ok(())
///     }
/// }
///
/// let table = Arc::new(Table::default());
/// table.update(StoredPoint { sub_id: "s".to_owned(), bookmark: "7|12|".to_owned() })?;
///
/// let store = MemoryBookmarkStore::new().with_adapter(Arc::clone(&table));
/// store.attach("client-1")?;
/// assert_eq!(store.recovery_point("s").bookmark, "7|12|");
/// let message = MessageId { publisher: 7, sequence: 13 };
/// store.arrived("s", message)?;
/// store.discard("s", message)?;
/// assert_eq!(table.recovered()?[0].bookmark, "7|13|");
/// # Ok::<(), amps_client::StoreError>(())
/// ```
pub trait RecoveryPointAdapter: Send + Sync + 'static {
    /// What was kept, one point per subscription. Asked once, before anything else.
    ///
    /// # Errors
    /// It cannot be read. The client does not start from nothing instead.
    fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError>;

    /// This is where the subscription has to begin now. Only the newest point of each
    /// subscription has to be kept.
    ///
    /// # Errors
    /// It was not kept.
    fn update(&self, point: StoredPoint) -> Result<(), StoreError>;

    /// Forgets everything.
    ///
    /// # Errors
    /// Something may come back.
    fn purge(&self) -> Result<(), StoreError>;

    /// Forgets one subscription.
    ///
    /// # Errors
    /// It may come back.
    fn purge_sub(&self, sub_id: &str) -> Result<(), StoreError>;

    /// Gives back what room it can.
    ///
    /// # Errors
    /// It could not. Nothing is lost.
    fn prune(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Nothing more will come. Makes everything as durable as it can be.
    ///
    /// # Errors
    /// Something was not kept.
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<A: RecoveryPointAdapter + ?Sized> RecoveryPointAdapter for Arc<A> {
    fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
        (**self).recovered()
    }

    fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
        (**self).update(point)
    }

    fn purge(&self) -> Result<(), StoreError> {
        (**self).purge()
    }

    fn purge_sub(&self, sub_id: &str) -> Result<(), StoreError> {
        (**self).purge_sub(sub_id)
    }

    fn prune(&self) -> Result<(), StoreError> {
        (**self).prune()
    }

    fn close(&self) -> Result<(), StoreError> {
        (**self).close()
    }
}
