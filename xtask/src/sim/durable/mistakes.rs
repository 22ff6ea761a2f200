//! Stores that make mistakes on purpose, around those that ship.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_client::simulation::Bugs;
use amps_client::{BookmarkStore, PublishStore};

/// A publish store, with the mistakes that are switched on.
pub(super) fn publish_store(store: impl PublishStore, _bugs: Bugs) -> Box<dyn PublishStore> {
    Box::new(store)
}

/// A bookmark store, with the mistakes that are switched on.
pub(super) fn bookmark_store(store: impl BookmarkStore, _bugs: Bugs) -> Arc<dyn BookmarkStore> {
    Arc::new(store)
}
