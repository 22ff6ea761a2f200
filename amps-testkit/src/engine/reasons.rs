//! The texts of refusals.
//!
//! Owns the one table of reason strings (server.md 0.5); the rest of the engine names a
//! [`Reason`] and never a text.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

/// Why something was refused, or (one of them) why a logon succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// Credentials rejected.
    AuthFailure,
    /// No permission.
    NotEntitled,
    /// The filter does not parse.
    BadFilter,
    /// The topic's regular expression does not compile.
    BadRegex,
    /// The topic is missing, or does not suit the command.
    InvalidTopic,
    /// Another user has the client name.
    NameInUse,
    /// A command came before the logon.
    LogonRequired,
    /// A second logon.
    DuplicateLogon,
    /// A new subscription has the id of a live one.
    SubscriptionExists,
    /// An unsubscribe without a usable id.
    InvalidSubId,
    /// A bookmark that is none.
    InvalidBookmark,
    /// No bookmark is in the log, and the subscription asked to fail then.
    BookmarkNotFound,
    /// An order that does not parse.
    InvalidOrderBy,
    /// A record key that is missing, or not of this topic.
    BadSowKey,
    /// A body that had to be read and could not be.
    ParseError,
    /// Options that contradict each other, or are malformed.
    InvalidOptions,
    /// A logon with a message type that is missing or not accepted.
    InvalidMessageType,
    /// A command that the server does not know.
    UnknownCommand,
    /// A publish with a sequence number that was seen before.
    Duplicate,
    /// Why every logon succeeds under the default authentication.
    AuthenticationDisabled,
}

impl Reason {
    const fn default_text(self) -> &'static str {
        match self {
            Self::AuthFailure => "auth failure",
            Self::NotEntitled => "not entitled",
            Self::BadFilter => "bad filter",
            Self::BadRegex => "bad regex topic",
            Self::InvalidTopic => "invalid topic",
            Self::NameInUse => "name in use",
            Self::LogonRequired => "logon required",
            Self::DuplicateLogon => "duplicate logon attempt",
            Self::SubscriptionExists => "subscription already exists",
            Self::InvalidSubId => "invalid subId",
            Self::InvalidBookmark => "invalid bookmark",
            Self::BookmarkNotFound => "bookmark not found",
            Self::InvalidOrderBy => "invalid orderby",
            Self::BadSowKey => "bad sow key",
            Self::ParseError => "parse error",
            Self::InvalidOptions => "invalid options",
            Self::InvalidMessageType => "invalid message type",
            Self::UnknownCommand => "unknown command",
            Self::Duplicate => "duplicate",
            Self::AuthenticationDisabled => "authentication disabled",
        }
    }
}

/// The texts that go over the wire as `reason`.
///
/// ```
/// use amps_testkit::{Reason, Reasons};
///
/// let reasons = Reasons::default().with(Reason::BadFilter, "syntax error");
/// assert_eq!(reasons.text(Reason::BadFilter), "syntax error");
/// assert_eq!(reasons.text(Reason::NameInUse), "name in use");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons(BTreeMap<Reason, String>);

impl Reasons {
    /// Replaces one text.
    #[must_use]
    pub fn with(mut self, reason: Reason, text: impl Into<String>) -> Self {
        self.0.insert(reason, text.into());
        self
    }

    /// The text of a reason.
    pub fn text(&self, reason: Reason) -> &str {
        self.0.get(&reason).map_or_else(|| reason.default_text(), String::as_str)
    }
}
