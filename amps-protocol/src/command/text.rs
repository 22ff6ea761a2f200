//! Text that a command holds: borrowed while it is built and encoded, owned while it is kept.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bstr::{BStr, BString};

/// A byte string, UTF-8 by convention, borrowed or owned.
///
/// Setters of [`Command`](crate::Command) take anything that turns into one.
///
/// ```
/// use amps_protocol::Text;
///
/// let borrowed = Text::from("orders");
/// let owned = Text::from(String::from("orders"));
/// assert_eq!(borrowed, owned);
/// assert_eq!(borrowed.as_bytes(), b"orders");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(Cow<'a, [u8]>);

impl Text<'_> {
    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is nothing in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }

    /// The same text, borrowed.
    pub fn borrow(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }
}

impl AsRef<[u8]> for Text<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(BStr::new(&self.0), f)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(BStr::new(&self.0), f)
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

macro_rules! from_borrowed {
    ($($type:ty),*) => {
        $(impl<'a> From<&'a $type> for Text<'a> {
            #[inline]
            fn from(text: &'a $type) -> Self {
                Self(Cow::Borrowed(text.as_ref()))
            }
        })*
    };
}

from_borrowed!(str, String, [u8], Vec<u8>, BStr, BString);

impl<'a, const N: usize> From<&'a [u8; N]> for Text<'a> {
    fn from(text: &'a [u8; N]) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Text<'_> {
    fn from(text: Vec<u8>) -> Self {
        Self(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, BStr>> for Text<'a> {
    fn from(text: Cow<'a, BStr>) -> Self {
        match text {
            Cow::Borrowed(text) => Self(Cow::Borrowed(text)),
            Cow::Owned(text) => Self(Cow::Owned(text.into())),
        }
    }
}

/// Text that shows itself only when asked by name.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret<'a>(pub(super) Text<'a>);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn whatever_turns_into_text_is_the_same_text() {
        let all = [
            Text::from("orders"),
            Text::from(b"orders"),
            Text::from(&b"orders"[..]),
            Text::from(String::from("orders")),
            Text::from(Vec::from("orders")),
            Text::from(BStr::new("orders")),
            Text::from(Cow::Borrowed(BStr::new("orders"))),
            Text::from(Cow::<BStr>::Owned("orders".into())),
        ];
        for text in &all {
            assert_eq!(text, &all[0]);
            assert_eq!(text.borrow(), text.clone().into_owned());
            assert!(*text == "orders" && *text == *"orders" && !text.is_empty());
        }
        assert_eq!(Text::from(&String::from("orders")), Text::from(&BString::from("orders")));
        assert!(Text::default().is_empty());
    }

    #[test]
    fn text_shows_itself_and_a_secret_does_not() {
        let text = Text::from(b"a\xff\"");
        assert_eq!(format!("{text} {text:?}"), "a\u{fffd}\" \"a\\xff\\\"\"");
        assert_eq!(format!("{:?}", Secret(text)), "<hidden>");
    }
}
