//! A bookmark store in memory, and what all stores that keep trackers have in common.
//!
//! Owns the trackers of all subscriptions, each behind a lock of its own, and tells a recovery
//! point adapter, if there is one, what has moved.

use std::fmt;

use super::adapter::{RecoveryPointAdapter, StoredPoint};
use super::tracker::{Note, Tracker};
use super::{Arrival, BookmarkStore, RecoveryPoint};
use crate::bookmarks::MessageId;
use crate::store_error::StoreError;
