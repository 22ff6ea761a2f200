//! Lists of bookmarks: `12|5|,7|1|`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use bstr::BStr;
use bytes::Bytes;
use nom::bytes::complete::take_till;

use super::error::{BookmarkError, BookmarkFault};
use super::id::MessageId;
use super::{Bookmark, Position};

/// Bookmarks to begin a replay at, of which the server takes the one that comes first in
/// its log. Usually one message bookmark per publisher.
///
/// A list holds one message of each publisher: of two it keeps the lower, so that nothing
/// is skipped (protocol.md 9.3). Entries keep the order in which they, or their
/// publishers, came. A message bookmark without its last bar gets it (B-6); all else stays
/// as it was. It is *not* the list of an acknowledgement of queue messages, which names
/// many messages of one publisher.
///
/// ```
/// use amps_protocol::{BookmarkList, MessageId};
///
/// let mut list: BookmarkList = "12|5|, 7|1|".parse()?;
/// list.insert(MessageId { publisher: 12, sequence: 3 });
/// list.insert(MessageId { publisher: 7, sequence: 9 });
/// assert_eq!(list.to_string(), "12|3|,7|1|");
/// # Ok::<(), amps_protocol::BookmarkError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BookmarkList {
    entries: Vec<Bookmark>,
    /// Where each entry lies, so that long lists cost no quadratic time.
    index: BTreeMap<Key, usize>,
}

/// What two entries of a list may not have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Publisher(u64),
    Other(Bookmark),
}

impl BookmarkList {
    /// A list without entries.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), index: BTreeMap::new() }
    }

    /// Reads a comma list. White space around entries is dropped (B-8).
    ///
    /// # Errors
    /// An entry is empty, is MOST_RECENT, or holds a byte that no bookmark has.
    pub fn parse(text: &[u8]) -> Result<Self, BookmarkError> {
        let mut list = Self::new();
        let mut rest = text;
        loop {
            let offset = text.len() - rest.len();
            let (after, entry) = take_till::<_, _, ()>(|byte| byte == b',')(rest).unwrap_or((&[], rest));
            let blanks = entry.len() - entry.trim_ascii_start().len();
            let entry = entry.trim_ascii();
            check(entry).map_err(|error| error.shifted(offset + blanks))?;
            list.put(entry.into());
            match after.split_first() {
                Some((_comma, more)) => rest = more,
                None => return Ok(list),
            }
        }
    }

    /// Adds a bookmark. Of two messages of one publisher the lower stays.
    ///
    /// # Errors
    /// The bookmark is empty, is MOST_RECENT, or holds a byte that would end it early.
    pub fn push(&mut self, bookmark: Bookmark) -> Result<(), BookmarkError> {
        check(bookmark.as_bytes())?;
        self.put(bookmark);
        Ok(())
    }

    /// Adds a message bookmark. Of two of one publisher the lower stays.
    pub fn insert(&mut self, id: MessageId) {
        self.put(id.into());
    }

    /// Adds every entry of another list, as [`push`](Self::push) does.
    pub fn merge(&mut self, other: &Self) {
        for bookmark in other {
            self.put(bookmark.clone());
        }
    }

    /// The message of one publisher, if the list has one.
    pub fn get(&self, publisher: u64) -> Option<MessageId> {
        self.entries.get(*self.index.get(&Key::Publisher(publisher))?)?.message_id()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry. Such a list cannot be sent.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Bookmark> {
        self.entries.iter()
    }

    /// The list as it stands on the wire, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().enumerate().flat_map(|(i, entry)| {
            let comma: &[u8] = if i > 0 { b"," } else { b"" };
            [comma, entry.as_bytes()]
        })
    }

    /// Adds an entry that was checked.
    pub(super) fn put(&mut self, mut bookmark: Bookmark) {
        let position = bookmark.position();
        if matches!(position, Position::Message(_) | Position::Now) && !bookmark.as_bytes().ends_with(b"|") {
            bookmark = Bookmark(Bytes::from([bookmark.as_bytes(), b"|"].concat()));
        }
        let key = match position {
            Position::Message(id) => Key::Publisher(id.publisher),
            _ => Key::Other(bookmark.clone()),
        };
        let Some(old) = self.index.get(&key).and_then(|&at| self.entries.get_mut(at)) else {
            self.index.insert(key, self.entries.len());
            self.entries.push(bookmark);
            return;
        };
        if let (Some(new_id), Some(old_id)) = (bookmark.message_id(), old.message_id()) {
            if new_id.sequence < old_id.sequence {
                *old = bookmark;
            }
        }
    }
}

/// Whether a bookmark may be sent as an entry of a list or a range.
fn check(entry: &[u8]) -> Result<(), BookmarkError> {
    if entry.is_empty() {
        return Err(BookmarkError::new(0, BookmarkFault::Empty));
    }
    // The word is the client's own; on the wire it would mean nothing (protocol.md 9.2).
    if ["recent", "most_recent"].iter().any(|word| entry.eq_ignore_ascii_case(word.as_bytes())) {
        return Err(BookmarkError::new(0, BookmarkFault::MostRecent));
    }
    let forbidden =
        |&byte: &u8| byte <= b' ' || byte == 0x7f || matches!(byte, b',' | b':' | b'[' | b']' | b'(' | b')');
    match entry.iter().position(forbidden) {
        Some(offset) => Err(BookmarkError::new(offset, BookmarkFault::ForbiddenByte)),
        None => Ok(()),
    }
}

impl<'a> IntoIterator for &'a BookmarkList {
    type Item = &'a Bookmark;
    type IntoIter = core::slice::Iter<'a, Bookmark>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Extend<MessageId> for BookmarkList {
    fn extend<T: IntoIterator<Item = MessageId>>(&mut self, ids: T) {
        for id in ids {
            self.insert(id);
        }
    }
}

impl FromIterator<MessageId> for BookmarkList {
    fn from_iter<T: IntoIterator<Item = MessageId>>(ids: T) -> Self {
        let mut list = Self::new();
        list.extend(ids);
        list
    }
}

impl TryFrom<Bookmark> for BookmarkList {
    type Error = BookmarkError;

    fn try_from(bookmark: Bookmark) -> Result<Self, BookmarkError> {
        let mut list = Self::new();
        list.push(bookmark)?;
        Ok(list)
    }
}

impl FromStr for BookmarkList {
    type Err = BookmarkError;

    fn from_str(text: &str) -> Result<Self, BookmarkError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for BookmarkList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().try_for_each(|piece| fmt::Display::fmt(BStr::new(piece), f))
    }
}

impl fmt::Debug for BookmarkList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BookmarkList({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn printed(text: &str) -> alloc::string::String {
        text.parse::<BookmarkList>().unwrap().to_string()
    }

    #[test]
    fn one_entry_per_publisher_is_kept_the_lower_one_in_the_place_of_the_first() {
        assert_eq!(printed("1|5|,2|9|,1|3|,2|10|"), "1|3|,2|9|");
        assert_eq!(printed("1|2|3|,1|2|3|,0,0"), "1|2|3|,0");
    }

    #[test]
    fn now_is_not_a_message_of_publisher_0() {
        assert_eq!(printed("0|1,0|5|,0|1|"), "0|1|,0|5|");
    }

    #[test]
    fn faults_are_found_where_they_are() {
        for (text, offset, fault) in [
            ("", 0, BookmarkFault::Empty),
            ("1|2|,", 5, BookmarkFault::Empty),
            ("1|2|, Recent", 6, BookmarkFault::MostRecent),
            ("1|2|,MOST_RECENT", 5, BookmarkFault::MostRecent),
            ("1|2|,[3|4|", 5, BookmarkFault::ForbiddenByte),
            ("1|2|, a b", 7, BookmarkFault::ForbiddenByte),
        ] {
            assert_eq!(text.parse::<BookmarkList>(), Err(BookmarkError { offset, fault }), "{text}");
        }
    }
}
