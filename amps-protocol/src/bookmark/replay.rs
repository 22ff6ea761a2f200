//! Where a replay begins: the `bm` field of a bookmark subscription.

use core::fmt;
use core::str::FromStr;

use bstr::BStr;

use super::error::BookmarkError;
use super::id::MessageId;
use super::list::BookmarkList;
use super::range::{BookmarkRange, opening};
use super::{Bookmark, Position};

/// Where a bookmark subscription begins, and for a range also where it ends: what may be
/// sent in `bm`.
///
/// MOST_RECENT is none of it: which messages an application has seen is known to its
/// bookmark store alone, so that the store must turn it into a list, or into
/// [`epoch`](Self::epoch), before anything is sent (protocol.md 9.2).
///
/// ```
/// use amps_protocol::{BookmarkFault, Position, ReplayFrom};
///
/// assert_eq!(ReplayFrom::epoch().to_string(), "0");
/// assert_eq!(ReplayFrom::now().position(), Some(Position::Now));
/// assert_eq!(ReplayFrom::at(1_420_202_100_000_000_000).to_string(), "20150102T123500Z");
///
/// let resume: ReplayFrom = "12|5|, 7|1".parse()?;
/// assert_eq!(resume.to_string(), "12|5|,7|1|");
/// assert!("[0:20200605T000000)".parse::<ReplayFrom>()?.range().is_some());
///
/// let error = "recent".parse::<ReplayFrom>().unwrap_err();
/// assert_eq!(error.fault, BookmarkFault::MostRecent);
/// # Ok::<(), amps_protocol::BookmarkError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ReplayFrom(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// Never empty.
    List(BookmarkList),
    Range(BookmarkRange),
}

impl ReplayFrom {
    /// From the start of the log.
    pub fn epoch() -> Self {
        Self::only(Bookmark::epoch())
    }

    /// Nothing old: only what is published from now on.
    pub fn now() -> Self {
        Self::only(Bookmark::now())
    }

    /// From a moment on, in nanoseconds since the Unix epoch, rounded down to the
    /// microsecond.
    pub fn at(unix_nanos: u64) -> Self {
        Self::only(Bookmark::at(unix_nanos))
    }

    /// Reads a bookmark, a list or a range. Forms that this crate does not know are taken
    /// as they are, for the server to judge.
    ///
    /// # Errors
    /// The text is empty or MOST_RECENT, or a range lacks a part.
    pub fn parse(text: &[u8]) -> Result<Self, BookmarkError> {
        Ok(Self(match opening(text.trim_ascii()) {
            Ok(_) => Form::Range(BookmarkRange::parse(text)?),
            Err(_) => Form::List(BookmarkList::parse(text)?),
        }))
    }

    /// The bookmarks, of which the server takes the earliest; `None` for a range.
    pub const fn list(&self) -> Option<&BookmarkList> {
        match &self.0 {
            Form::List(list) => Some(list),
            Form::Range(_) => None,
        }
    }

    /// The range, if it is one.
    pub const fn range(&self) -> Option<&BookmarkRange> {
        match &self.0 {
            Form::List(_) => None,
            Form::Range(range) => Some(range),
        }
    }

    /// What the one bookmark says; `None` for a range and for a list of several.
    pub fn position(&self) -> Option<Position> {
        let mut entries = self.list()?.iter();
        match (entries.next(), entries.next()) {
            (Some(only), None) => Some(only.position()),
            _ => None,
        }
    }

    /// The value as it stands on the wire, piece by piece, for encoders that neither
    /// allocate nor format.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let list = self.list().into_iter().flat_map(BookmarkList::pieces);
        list.chain(self.range().into_iter().flat_map(BookmarkRange::pieces))
    }

    /// Of a bookmark that needs no check.
    fn only(bookmark: Bookmark) -> Self {
        let mut list = BookmarkList::new();
        list.put(bookmark);
        Self(Form::List(list))
    }
}

impl From<MessageId> for ReplayFrom {
    /// After this message.
    fn from(id: MessageId) -> Self {
        Self::only(id.into())
    }
}

impl From<BookmarkList> for ReplayFrom {
    /// An empty list, which a store has that knows nothing yet, means the start of the log.
    fn from(list: BookmarkList) -> Self {
        if list.is_empty() { Self::epoch() } else { Self(Form::List(list)) }
    }
}

impl From<BookmarkRange> for ReplayFrom {
    fn from(range: BookmarkRange) -> Self {
        Self(Form::Range(range))
    }
}

impl TryFrom<Bookmark> for ReplayFrom {
    type Error = BookmarkError;

    fn try_from(bookmark: Bookmark) -> Result<Self, BookmarkError> {
        BookmarkList::try_from(bookmark).map(Self::from)
    }
}

impl FromStr for ReplayFrom {
    type Err = BookmarkError;

    fn from_str(text: &str) -> Result<Self, BookmarkError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for ReplayFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().try_for_each(|piece| fmt::Display::fmt(BStr::new(piece), f))
    }
}

impl fmt::Debug for ReplayFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplayFrom({self})")
    }
}
