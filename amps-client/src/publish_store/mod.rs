//! Publish stores: what was published, until the server has it.
//!
//! A client that has one numbers its publishes, deletes and acknowledgements, keeps each until
//! the server says that it is persisted or refused, and sends after a reconnect what the server
//! does not have. See `ClientBuilder::publish_store`.

use std::sync::Arc;

use crate::store_error::StoreError;

#[cfg(test)]
mod crashes;
mod explain;
pub(crate) use explain::explainer;
mod file;
pub use file::{FilePublishStore, FilePublishStoreBuilder};
mod hybrid;
pub use hybrid::{HybridPublishStore, HybridPublishStoreBuilder};
mod memory;
pub use memory::MemoryPublishStore;
mod places;

/// Keeps messages until the server has them.
///
/// The client calls it with its own lock held, one call at a time, in the order of the
/// messages: a call must not wait for long and must not call the client. What takes time
/// (syncing a file, asking a database) belongs on a thread of the store's own, which says by
/// [`Progress`] how far it has come; meanwhile [`may_leave`](Self::may_leave) keeps back what
/// must not be on its way yet.
///
/// Sequence numbers ascend and may have gaps. A number that was given out once must never be
/// given out again, also after a crash: a server drops what bears a number that it has seen.
/// A store that outlives its process therefore makes durable, ahead of time, up to where
/// numbers may be in use, and reports that by [`Attached::last_used`].
///
/// The feature `testing` has a suite that checks a store against all of this.
pub trait PublishStore: Send + 'static {
    /// The client takes the store, before any other call. Whoever else waits for the store is
    /// told by `progress`.
    ///
    /// # Errors
    /// The store cannot be used by a client of this name.
    fn attach(&mut self, client: &str, progress: Progress) -> Result<Attached, StoreError>;

    /// Keeps a message: `frame` is everything that a server needs, without its length prefix.
    /// `sequence` is larger than any before.
    ///
    /// # Errors
    /// It was not kept, and nothing was changed.
    fn append(&mut self, sequence: u64, frame: &[u8]) -> Result<(), StoreError>;

    /// The server needs nothing up to this number any more. Numbers that are not kept, also
    /// larger than any, are in order.
    ///
    /// # Errors
    /// They are forgotten all the same, but may be back after a restart.
    fn discard_up_to(&mut self, sequence: u64) -> Result<(), StoreError>;

    /// The server will never take the message of this number, while something before it is still needed: it
    /// stays until it is discarded, but must not be sent again, not even after a restart.
    ///
    /// # Errors
    /// After a restart it may be sent again. So it may with a store that keeps no such notes, which is the default.
    fn refuse(&mut self, sequence: u64) -> Result<(), StoreError> {
        let _ = sequence;
        Ok(())
    }

    /// What [`refuse`](Self::refuse) was called for, also before a restart, and is still kept; in any order.
    fn refused(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Shows what is kept, in ascending order, from the number `from` on, until `visit` returns
    /// `false`.
    ///
    /// # Errors
    /// Something that is kept cannot be read.
    fn read(&mut self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError>;

    /// How many messages are kept.
    fn len(&self) -> usize;

    /// Whether nothing is kept.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the frames that are kept.
    fn bytes(&self) -> u64;

    /// The lowest number that is kept.
    fn lowest(&self) -> Option<u64>;

    /// Messages up to this number may be sent now.
    fn may_leave(&self) -> u64 {
        u64::MAX
    }

    /// Messages up to this number are kept as safely as this store promises.
    fn safe(&self) -> u64 {
        u64::MAX
    }

    /// Why nothing becomes safe any more, as long as that is so.
    fn trouble(&self) -> Option<StoreError> {
        None
    }

    /// The client is done with the store: makes everything as durable as it can be.
    ///
    /// # Errors
    /// Not everything that is kept outlives the process.
    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What a store knows when a client takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// No number up to this one may be used again.
    pub last_used: u64,
    /// Everything up to this number was persisted by a server, or refused.
    pub last_persisted: u64,
}

/// How a store tells its client that [`may_leave`](PublishStore::may_leave),
/// [`safe`](PublishStore::safe) or [`trouble`](PublishStore::trouble) has changed.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn() + Send + Sync>);

impl Progress {
    /// For tests of stores: calls this whenever there is progress.
    pub fn new(told: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    /// Something has changed. Call it from a thread of the store's own, with no lock held that
    /// any method of the store takes: the client asks the store at once.
    pub fn made(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

/// When what a file store writes is forced onto the disk.
///
/// Whichever is chosen, what is published is handed to the system soon after it was accepted, by a thread of
/// the store's own, which may have to wait until the disk is done with a force, and what is discarded from a
/// bookmark store before `discard` returns: it outlives the process from then on. Being forced onto the
/// disk, it also outlives the machine's failure. By default publish stores use an interval of 10
/// milliseconds: what a failing machine takes along is what was published in so short a time
/// and had not reached a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Whenever the system sees fit. A publish leaves at once.
    Never,
    /// At least this often, while something is written. A publish leaves at once.
    Interval(std::time::Duration),
    /// Before a publish leaves, and before a call returns that changes a store. Calls of many
    /// threads share one force.
    EveryWrite,
}
