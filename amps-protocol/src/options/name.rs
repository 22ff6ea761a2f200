//! The table of documented options (protocol.md 6.2), and the only place that holds it.

use crate::command::CommandKind;

/// What kind of value an option has.
///
/// ```
/// use amps_protocol::{OptionKind, OptionName};
/// assert_eq!(OptionName::TopN.kind(), OptionKind::Count);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptionKind {
    /// None: the name alone says it.
    Flag,
    /// `true` or `false`; the name alone means `true`.
    Switch,
    /// An unsigned decimal.
    Count,
    /// An [`Interval`](crate::Interval).
    Interval,
    /// A [`Rate`](crate::Rate).
    Rate,
    /// A [`Conflation`](crate::Conflation).
    Conflation,
    /// A [`BookmarkNotFound`](crate::BookmarkNotFound).
    BookmarkNotFound,
    /// A [`FieldList`](crate::FieldList).
    Fields,
    /// A [`SelectList`](crate::SelectList).
    Select,
    /// A [`Projection`](crate::Projection).
    Projection,
    /// Seconds, positional: see [`HeartbeatRequest`](crate::HeartbeatRequest).
    Heartbeat,
}

/// What a bookmark in the command means for an option.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BookmarkUse {
    /// Nothing.
    Any,
    /// The option is one of replays.
    Required,
    /// The option is none of bookmark subscriptions; historical queries may have it.
    NotOnSubscriptions,
}

const S: u16 = 1;
const D: u16 = 1 << 1;
const Q: u16 = 1 << 2;
const QS: u16 = 1 << 3;
const QD: u16 = 1 << 4;
const DEL: u16 = 1 << 5;
const LG: u16 = 1 << 6;
const HB: u16 = 1 << 7;
const ACK: u16 = 1 << 8;
const EVERY: u16 = !0;

const fn bit(command: CommandKind) -> u16 {
    match command {
        CommandKind::Subscribe => S,
        CommandKind::DeltaSubscribe => D,
        CommandKind::Sow => Q,
        CommandKind::SowAndSubscribe => QS,
        CommandKind::SowAndDeltaSubscribe => QD,
        CommandKind::SowDelete => DEL,
        CommandKind::Logon => LG,
        CommandKind::Heartbeat => HB,
        CommandKind::Ack => ACK,
        _ => 0,
    }
}

struct Row {
    token: &'static str,
    kind: OptionKind,
    commands: u16,
    bookmark: BookmarkUse,
}

macro_rules! option_table {
    ($($(#[$doc:meta])* $name:ident = $token:literal, $kind:ident, $commands:expr, $bookmark:ident;)*) => {
        /// A documented option.
        ///
        /// ```
        /// use amps_protocol::{CommandKind, OptionName};
        ///
        /// assert_eq!(OptionName::from_token("top_n"), Some(OptionName::TopN));
        /// assert!(OptionName::TopN.applies_to(CommandKind::Sow, false));
        /// assert!(!OptionName::TopN.applies_to(CommandKind::Subscribe, false));
        /// assert!(OptionName::Live.applies_to(CommandKind::Subscribe, true));
        /// assert!(!OptionName::Live.applies_to(CommandKind::Subscribe, false));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum OptionName {
            $($(#[$doc])* $name,)*
        }

        impl OptionName {
            /// Every documented option, in the order of the alphabet.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        token: $token,
                        kind: OptionKind::$kind,
                        commands: $commands,
                        bookmark: BookmarkUse::$bookmark,
                    },)*
                }
            }
        }
    };
}

option_table! {
    /// `ack_conflation`: how often a server sends conflated `persisted` acknowledgements
    /// of publishes; 1 s by default.
    AckConflation = "ack_conflation", Interval, LG, Any;
    /// `beat`: refreshes the heartbeat timer.
    Beat = "beat", Flag, HB, Any;
    /// `bookmark`: puts bookmarks on deliveries, without a replay.
    Bookmark = "bookmark", Flag, S | D | QS | QD, Any;
    /// `bookmark_not_found`: what to do when none of the bookmarks is in the log; `now` by
    /// default.
    BookmarkNotFound = "bookmark_not_found", BookmarkNotFound, S, Required;
    /// `cancel`: gives a message back to its queue.
    Cancel = "cancel", Flag, DEL, Any;
    /// `conflation`: at most one update per key and interval; `none` by default.
    Conflation = "conflation", Conflation, S | D | QS | QD, Any;
    /// `conflation_key`: what identifies a message for conflation; the record key by
    /// default.
    ConflationKey = "conflation_key", Fields, S | D | QS | QD, Any;
    /// `expire`: expires a queue message now.
    Expire = "expire", Flag, DEL, Any;
    /// `fully_durable`: delivers only what every synchronous replica has.
    FullyDurable = "fully_durable", Flag, S, Required;
    /// `grouping`: the keys of an aggregation.
    Grouping = "grouping", Fields, Q | QS | QD, NotOnSubscriptions;
    /// `lease_extension`: extends the lease of a queue message instead of ending it.
    LeaseExtension = "lease_extension", Interval, DEL, Any;
    /// `live`: after the replay, delivers before messages are persisted.
    Live = "live", Flag, S | D | QS | QD, Required;
    /// `max_backlog`: most unacknowledged queue messages at a time; 1 by default. In the
    /// acknowledgement of a subscription, what was granted.
    MaxBacklog = "max_backlog", Count, S | D | ACK, Any;
    /// `no_empties`: suppresses deltas in which nothing changed.
    NoEmpties = "no_empties", Flag, D | QD, Any;
    /// `no_sowkey`: leaves record keys out.
    NoSowKey = "no_sowkey", Flag, S | D | Q | QS | QD, Any;
    /// `non_regex_topic`: takes the topic literally.
    NonRegexTopic = "non_regex_topic", Flag, S | D | Q | QS | QD, Any;
    /// `none`: no options. Never written.
    None = "none", Flag, EVERY, Any;
    /// `oof`: tells when records leave the focus of a subscription.
    Oof = "oof", Flag, S | D | Q | QS | QD, NotOnSubscriptions;
    // Pausing what exists takes its `sub_id` and no bookmark (vector V21), so that these
    // two are not bound to one, whatever the column of the table says.
    /// `pause`: enters a replay paused, or pauses existing ones.
    Pause = "pause", Flag, S | D | QS, Any;
    /// `pretty`: asks the server to show binary message types readably.
    Pretty = "pretty", Switch, LG, Any;
    /// `projection`: the fields of an aggregation.
    Projection = "projection", Projection, Q | QS | QD, NotOnSubscriptions;
    /// `rate`: how fast a replay may go.
    Rate = "rate", Rate, S | D | QS, Required;
    /// `rate_max_gap`: longest silence in a replay at a multiple of its original speed.
    RateMaxGap = "rate_max_gap", Interval, S, Required;
    /// `replace`: replaces the subscription that has this id.
    Replace = "replace", Flag, S | D | Q | QS | QD, Any;
    /// `resume`: resumes paused replays together.
    Resume = "resume", Flag, S | D | QS, Any;
    /// `select`: the fields to deliver.
    Select = "select", Select, S | Q | QS | QD, Any;
    /// `send_keys`: includes key fields in deltas.
    SendKeys = "send_keys", Flag, D | Q | QS | QD, Any;
    /// `skip_n`: records to skip; needs `top_n`.
    SkipN = "skip_n", Count, Q | QS | QD, Any;
    /// `start`: arms the heartbeat.
    Start = "start", Heartbeat, HB, Any;
    /// `stop`: ends heartbeating.
    Stop = "stop", Flag, HB, Any;
    /// `timestamp`: puts times on deliveries.
    Timestamp = "timestamp", Flag, S | D | Q | QS | QD, Any;
    /// `top_n`: most records to return.
    TopN = "top_n", Count, Q | QS | QD, Any;
}

impl OptionName {
    /// The name as it is written.
    pub const fn token(self) -> &'static str {
        self.row().token
    }

    /// The option of this name, which is lower case (O-7).
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL
            .binary_search_by(|name| name.token().cmp(token))
            .ok()
            .and_then(|at| Self::ALL.get(at))
            .copied()
    }

    /// What kind of value it has.
    pub const fn kind(self) -> OptionKind {
        self.row().kind
    }

    /// Whether the option may stand in such a command, with or without a bookmark.
    pub const fn applies_to(self, command: CommandKind, has_bookmark: bool) -> bool {
        if !self.known_to(command) {
            return false;
        }
        match self.bookmark_use() {
            BookmarkUse::Any => true,
            BookmarkUse::Required => has_bookmark,
            BookmarkUse::NotOnSubscriptions => !has_bookmark || matches!(command, CommandKind::Sow),
        }
    }

    pub(super) const fn known_to(self, command: CommandKind) -> bool {
        let commands = self.row().commands;
        commands == EVERY || commands & bit(command) != 0
    }

    pub(super) const fn bookmark_use(self) -> BookmarkUse {
        self.row().bookmark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_every_name_is_found() {
        assert!(OptionName::ALL.is_sorted_by_key(|name| name.token()));
        assert_eq!(OptionName::ALL.len(), 32, "the rows of protocol.md 6.2");
        for &name in OptionName::ALL {
            assert_eq!(OptionName::from_token(name.token()), Some(name));
        }
        assert_eq!(OptionName::from_token("TOP_N"), None);
    }
}
