//! Places in a server's log: bookmarks, ranges of them, and moments.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use amps_client::{Command, bookmarks};
//!
//! let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
//! let replay = Command::subscribe("orders").bookmark(bookmarks::at(an_hour_ago).to_string());
//! # let _ = replay;
//! let range: bookmarks::BookmarkRange = "[20200604T000000:20200605T000000)".parse()?;
//! assert_eq!(range.end_edge(), bookmarks::RangeEdge::Excluded);
//! # Ok::<(), bookmarks::BookmarkError>(())
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

pub use amps_protocol::{
    Bookmark, BookmarkError, BookmarkFault, BookmarkList, BookmarkRange, MessageId, Position, RangeEdge,
    ReplayFrom, format_timestamp, parse_timestamp,
};

/// Where the subscription left off, as a bookmark: the recovery point of the client's
/// [bookmark store](crate::BookmarkStore), or the beginning of the log if the store knows nothing of the
/// subscription, or there is no store. The client resolves it; servers never see it.
pub const MOST_RECENT: &str = "recent";

/// The bookmark of a moment, such as `20150102T123500Z`: in UTC, with a fraction only if the
/// moment has one, rounded down to the microsecond. A moment before 1970 counts as 1970, one
/// after 2554 as that.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
///
/// let moment = UNIX_EPOCH + Duration::from_secs(1_420_202_100);
/// assert_eq!(amps_client::bookmarks::at(moment).to_string(), "20150102T123500Z");
/// ```
pub fn at(moment: SystemTime) -> Bookmark {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    Bookmark::at(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
