//! What the text of a refusal means, and why records leave focus.
//!
//! The exact strings of a server are not published; this table is our best knowledge
//! (protocol.md 5.6) and the only place that holds it.

use alloc::string::String;

/// The class of a refusal. The text that it was read from is always kept beside it.
///
/// ```
/// use amps_protocol::ReasonClass;
/// assert_eq!(ReasonClass::of("bad filter near '&&'"), ReasonClass::BadFilter);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReasonClass {
    /// Credentials rejected.
    Authentication,
    /// No permission.
    NotEntitled,
    /// The filter does not parse.
    BadFilter,
    /// The topic's regular expression does not compile.
    BadRegexTopic,
    /// The record key is missing or wrong.
    BadSowKey,
    /// The topic does not support the operation.
    InvalidTopic,
    /// The client name is taken.
    NameInUse,
    /// The subscription id is taken.
    SubscriptionAlreadyExists,
    /// The message was stored before: not an error for a publisher.
    Duplicate,
    /// An option is malformed or contradicts another.
    InvalidOptions,
    /// The bookmark is malformed or not in the log.
    InvalidBookmark,
    /// No such subscription.
    InvalidSubscription,
    /// The connection does not take this message type.
    MessageType,
    /// A command came before the logon.
    NotLoggedOn,
    /// No refusal at all: a remark that a success may bear.
    NoFailure,
    /// Anything else.
    Command,
}

/// Lower case. An entry may be a whole reason, its beginning, or a part of it.
const TABLE: &[(&str, ReasonClass)] = &[
    ("authentication disabled", ReasonClass::NoFailure),
    ("auth failure", ReasonClass::Authentication),
    ("authentication failed", ReasonClass::Authentication),
    ("not entitled", ReasonClass::NotEntitled),
    ("bad filter", ReasonClass::BadFilter),
    ("bad regex topic", ReasonClass::BadRegexTopic),
    ("bad regex", ReasonClass::BadRegexTopic),
    ("bad sow key", ReasonClass::BadSowKey),
    ("invalid topic", ReasonClass::InvalidTopic),
    ("no topic", ReasonClass::InvalidTopic),
    ("client name in use", ReasonClass::NameInUse),
    ("name in use", ReasonClass::NameInUse),
    ("subscription already exists", ReasonClass::SubscriptionAlreadyExists),
    ("already exists", ReasonClass::SubscriptionAlreadyExists),
    ("subid in use", ReasonClass::SubscriptionAlreadyExists),
    ("duplicate logon attempt", ReasonClass::Command),
    ("duplicate", ReasonClass::Duplicate),
    ("invalid options", ReasonClass::InvalidOptions),
    ("invalid bookmark", ReasonClass::InvalidBookmark),
    ("bookmark not found", ReasonClass::InvalidBookmark),
    ("invalid subscription id", ReasonClass::InvalidSubscription),
    ("invalid sub_id", ReasonClass::InvalidSubscription),
    ("invalid subid", ReasonClass::InvalidSubscription),
    ("invalid message type", ReasonClass::MessageType),
    ("message type", ReasonClass::MessageType),
    ("logon required", ReasonClass::NotLoggedOn),
    ("unknown command", ReasonClass::Command),
    ("no such client", ReasonClass::Command),
    ("batch size too large", ReasonClass::Command),
    ("sync replication failed", ReasonClass::Command),
    ("replica rejected", ReasonClass::Command),
];

/// Whole words at the beginning only: they are too short to be looked for inside a sentence.
const WORDS: &[(&str, ReasonClass)] =
    &[("auth", ReasonClass::Authentication), ("entitlement", ReasonClass::NotEntitled)];

impl ReasonClass {
    /// Classifies a reason: exact match, else the longest entry that it begins with, else
    /// the longest entry that it contains, else [`ReasonClass::Command`].
    ///
    /// ```
    /// use amps_protocol::ReasonClass;
    /// assert_eq!(ReasonClass::of("Not Entitled"), ReasonClass::NotEntitled);
    /// assert_eq!(ReasonClass::of("weird new thing"), ReasonClass::Command);
    /// // A message's own text will do as it comes.
    /// assert_eq!(ReasonClass::of(b"auth: bad token"), ReasonClass::Authentication);
    /// ```
    pub fn of(reason: impl AsRef<[u8]>) -> Self {
        let reason: String = String::from_utf8_lossy(reason.as_ref()).trim().to_lowercase();
        let exact = TABLE.iter().chain(WORDS).find(|(text, _)| *text == reason);
        let begins_with = |word: &str| {
            let rest = reason.strip_prefix(word);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        let longest = |fits: &dyn Fn(&str) -> bool| {
            TABLE.iter().filter(|(text, _)| fits(text)).max_by_key(|(text, _)| text.len())
        };
        exact
            .or_else(|| longest(&|text| reason.starts_with(text)))
            .or_else(|| WORDS.iter().find(|(word, _)| begins_with(word)))
            .or_else(|| longest(&|text| reason.contains(text)))
            .map_or(Self::Command, |(_, class)| *class)
    }
}

/// Why a record left the focus of a subscription: the `reason` of an `oof` message
/// (protocol.md 7.6). The text is kept in the message.
///
/// ```
/// use amps_protocol::OofReason;
///
/// assert_eq!(OofReason::of(b"match"), OofReason::Match);
/// assert_eq!(OofReason::of(b"evicted"), OofReason::Other);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OofReason {
    /// The record was deleted. The body is its last state.
    Deleted,
    /// The record expired. The body is its last state.
    Expired,
    /// It no longer matches the filter or the page. The body is its new state.
    Match,
    /// The subscriber may no longer see it. The body is its last state.
    Entitlement,
    /// A word that this crate does not know.
    Other,
}

impl OofReason {
    const ALL: [Self; 4] = [Self::Deleted, Self::Expired, Self::Match, Self::Entitlement];

    /// The word on the wire; the empty string for [`OofReason::Other`].
    pub const fn token(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Match => "match",
            Self::Entitlement => "entitlement",
            Self::Other => "",
        }
    }

    /// Reads the word on the wire, in any case; `delete` is understood beside `deleted`.
    pub fn of(reason: &[u8]) -> Self {
        let reason = reason.trim_ascii();
        if reason.eq_ignore_ascii_case(b"delete") {
            return Self::Deleted;
        }
        let known = Self::ALL.into_iter().find(|known| reason.eq_ignore_ascii_case(known.token().as_bytes()));
        known.unwrap_or(Self::Other)
    }

    /// Whether the body is the record's new state, which no longer matches, and not its
    /// last one.
    pub const fn bears_new_state(self) -> bool {
        matches!(self, Self::Match)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_its_class() {
        use ReasonClass as C;
        for (reason, class) in [
            ("authentication disabled", C::NoFailure),
            ("auth failure", C::Authentication),
            ("authentication failed", C::Authentication),
            ("auth", C::Authentication),
            ("not entitled", C::NotEntitled),
            ("entitlement", C::NotEntitled),
            ("bad filter", C::BadFilter),
            ("bad regex topic", C::BadRegexTopic),
            ("bad regex", C::BadRegexTopic),
            ("invalid topic", C::InvalidTopic),
            ("no topic", C::InvalidTopic),
            ("name in use", C::NameInUse),
            ("subscription already exists", C::SubscriptionAlreadyExists),
            ("already exists", C::SubscriptionAlreadyExists),
            ("subid in use", C::SubscriptionAlreadyExists),
            ("duplicate", C::Duplicate),
            ("duplicate logon attempt", C::Command),
            ("invalid options", C::InvalidOptions),
            ("invalid bookmark", C::InvalidBookmark),
            ("bookmark not found", C::InvalidBookmark),
            ("invalid subscription id", C::InvalidSubscription),
            ("invalid sub_id", C::InvalidSubscription),
            ("no such client", C::Command),
            ("invalid message type", C::MessageType),
            ("unknown command", C::Command),
            ("logon required", C::NotLoggedOn),
            ("batch size too large", C::Command),
            ("sync replication failed", C::Command),
            ("replica rejected", C::Command),
        ] {
            assert_eq!(ReasonClass::of(reason), class, "{reason}");
            assert!(TABLE.iter().chain(WORDS).any(|(text, _)| *text == reason), "{reason} has no row");
        }
    }

    #[test]
    fn every_reason_of_an_oof_goes_both_ways() {
        for reason in OofReason::ALL {
            assert_eq!(OofReason::of(reason.token().to_uppercase().as_bytes()), reason);
            assert_eq!(reason.bears_new_state(), reason == OofReason::Match);
        }
        assert_eq!(OofReason::of(b" delete "), OofReason::Deleted);
        assert_eq!((OofReason::of(b""), OofReason::Other.token()), (OofReason::Other, ""));
    }

    #[test]
    fn the_longest_entry_decides() {
        assert_eq!(ReasonClass::of("duplicate logon attempt"), ReasonClass::Command);
        assert_eq!(ReasonClass::of("duplicate"), ReasonClass::Duplicate);
        assert_eq!(ReasonClass::of("Bad Filter near '&&'"), ReasonClass::BadFilter);
        assert_eq!(ReasonClass::of("the client name in use by u2"), ReasonClass::NameInUse);
        assert_eq!(ReasonClass::of("auth"), ReasonClass::Authentication);
        assert_eq!(ReasonClass::of("entitlement reset"), ReasonClass::NotEntitled);
        assert_eq!(ReasonClass::of("authored elsewhere"), ReasonClass::Command);
    }
}
