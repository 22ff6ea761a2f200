//! Bookmarks: positions in a server's transaction log.

use alloc::string::String;
use core::fmt;

/// A bookmark, opaque: the very bytes that the server sent, to be sent back unchanged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark(String);

impl Bookmark {
    /// The start of the log.
    pub const EPOCH: &'static str = "0";
    /// Only what is published from now on.
    pub const NOW: &'static str = "0|1|";

    /// Takes a bookmark as received, or as stored by an application.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for Bookmark {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<&str> for Bookmark {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bookmark({})", self.0)
    }
}
