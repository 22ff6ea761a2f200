//! What the text of a refusal means.
//!
//! The exact strings of a server are not published; this table is our best knowledge
//! (protocol.md 5.6) and the only place that holds it.

use alloc::string::String;

/// The class of a refusal. The text that it was read from is always kept beside it.
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
    /// Anything else.
    Command,
}

/// Lower case. An entry may be a whole reason, its beginning, or a part of it.
const TABLE: &[(&str, ReasonClass)] = &[
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
];

/// Exact only: these words are too short to be looked for inside a sentence.
const EXACT: &[(&str, ReasonClass)] =
    &[("auth", ReasonClass::Authentication), ("entitlement", ReasonClass::NotEntitled)];

impl ReasonClass {
    /// Classifies a reason: exact match, else the longest entry that it begins with, else
    /// the longest entry that it contains, else [`ReasonClass::Command`].
    ///
    /// ```
    /// use amps_protocol::ReasonClass;
    /// assert_eq!(ReasonClass::of("Not Entitled"), ReasonClass::NotEntitled);
    /// assert_eq!(ReasonClass::of("weird new thing"), ReasonClass::Command);
    /// ```
    pub fn of(reason: &str) -> Self {
        let reason: String = reason.trim().to_lowercase();
        let exact = TABLE.iter().chain(EXACT).find(|(text, _)| *text == reason);
        let longest = |fits: &dyn Fn(&str) -> bool| {
            TABLE.iter().filter(|(text, _)| fits(text)).max_by_key(|(text, _)| text.len())
        };
        exact
            .or_else(|| longest(&|text| reason.starts_with(text)))
            .or_else(|| longest(&|text| reason.contains(text)))
            .map_or(Self::Command, |(_, class)| *class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_entry_decides() {
        assert_eq!(ReasonClass::of("duplicate logon attempt"), ReasonClass::Command);
        assert_eq!(ReasonClass::of("duplicate"), ReasonClass::Duplicate);
        assert_eq!(ReasonClass::of("Bad Filter near '&&'"), ReasonClass::BadFilter);
        assert_eq!(ReasonClass::of("the client name in use by u2"), ReasonClass::NameInUse);
        assert_eq!(ReasonClass::of("auth"), ReasonClass::Authentication);
        assert_eq!(ReasonClass::of("authored elsewhere"), ReasonClass::Command);
    }
}
