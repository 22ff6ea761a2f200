//! Checks for stores of your own.
//!
//! A store that you write is as good as what it promises: [`PublishStore`](crate::PublishStore) and
//! [`BookmarkStore`](crate::BookmarkStore) say what that is, and the suites here check it, the way
//! the stores of this crate are checked. Each takes a closure that makes or opens stores, and returns the first rule that
//! is broken, with what was seen. None of them panics, and none takes longer than some seconds as long as the store
//! answers.
//!
//! | The store | Suites |
//! |---|---|
//! | keeps messages in memory | [`check_publish_store`] |
//! | keeps messages beyond the process | that, and [`check_durable_publish_store`] |
//! | keeps in memory what was processed | [`check_bookmark_store`] |
//! | keeps it beyond the process | that, and [`check_durable_bookmark_store`] |
//! | keeps recovery points only beyond the process | [`check_bookmark_store`] and [`check_recovery_points`] |
//!
//! Suites for stores that outlive the process open several, at *places* which they name with a short word of small
//! letters and dashes: a file of that name in an empty directory, a table, a key. At each place there is nothing at
//! first, and a store that is opened there again finds what the one before has left.
//!
//! Enabled by the feature `testing`; put it among your `dev-dependencies`.
//!
//! ```
//! use amps_client::testing::{check_durable_publish_store, check_publish_store};
//! use amps_client::{FilePublishStore, MemoryPublishStore};
//!
//! check_publish_store(|| Ok(MemoryPublishStore::new()))?;
//!
//! let directory = tempfile::tempdir()?;
//! check_durable_publish_store(|place| FilePublishStore::open(directory.path().join(place)))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

mod bookmarks;
pub use bookmarks::check_bookmark_store;
mod durable_bookmarks;
pub use durable_bookmarks::{check_durable_bookmark_store, check_recovery_points};
mod durable_publishes;
pub use durable_publishes::check_durable_publish_store;
mod model;
mod publishes;
pub use publishes::check_publish_store;

/// The client that takes the stores.
const CLIENT: &str = "conformance";

/// A rule that a store has broken.
///
/// ```
/// use amps_client::testing::check_bookmark_store;
/// use amps_client::{MemoryBookmarkStore, StoreError};
///
/// assert!(check_bookmark_store(|| Ok(MemoryBookmarkStore::new())).is_ok());
/// let refuses = || Err::<MemoryBookmarkStore, _>(StoreError::Closed);
/// let violation = check_bookmark_store(refuses).unwrap_err();
/// assert_eq!(violation.rule(), "a store can be made, and a client can take it");
/// assert!(violation.seen().contains("closed"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    rule: &'static str,
    seen: String,
}

impl Violation {
    fn new(rule: &'static str, seen: impl Into<String>) -> Self {
        Self { rule, seen: seen.into() }
    }

    /// The rule, as a sentence.
    pub const fn rule(&self) -> &'static str {
        self.rule
    }

    /// What was seen instead.
    pub fn seen(&self) -> &str {
        &self.seen
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken rule: {}; seen: {}", self.rule, self.seen)
    }
}

impl std::error::Error for Violation {}

/// Errors that a store must not return here.
trait Expect<T> {
    /// The value; or the rule is broken.
    fn or_broken(self, rule: &'static str, call: &str) -> Result<T, Violation>;
}

impl<T> Expect<T> for Result<T, crate::StoreError> {
    fn or_broken(self, rule: &'static str, call: &str) -> Result<T, Violation> {
        self.map_err(|error| Violation::new(rule, format!("{call} failed: {error}")))
    }
}

/// The rule is broken unless this is so.
fn holds(fact: bool, rule: &'static str, seen: impl FnOnce() -> String) -> Result<(), Violation> {
    if fact { Ok(()) } else { Err(Violation::new(rule, seen())) }
}

/// Numbers that are the same in every run (a linear congruential generator).
struct Draw(u64);

impl Draw {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}
