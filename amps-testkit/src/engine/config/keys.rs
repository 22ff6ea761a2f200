//! The names under which switches and refusal texts are set from a command line.
//!
//! Owns the one table of these names: what is set, what is listed and what is documented all
//! come from it (server.md 0.5 and 11).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::Interval;

use super::super::reasons::Reason;
use super::super::switches::{
    AfterEnd, DeltaNull, DuplicateAck, LeaseHeader, MaxCancels, NanComparison, NullLogic, PageOrder,
    PublishCommand, QueueTopic, ReturnPosition, SowTimestamp, Switches, UnknownOptions, UnloggedBookmark,
    Unordered, UntypedCompare,
};
use super::Config;

/// What goes before the key of a refusal text.
const REASON_PREFIX: &str = "reason.";

/// A value by its name, and what it does.
type Choice = (&'static str, fn(&mut Switches));

struct Switch {
    key: &'static str,
    /// The field of [`Switches`]; the tests compare it with the source.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the tests compare the fields"))]
    field: &'static str,
    about: &'static str,
    choices: &'static [Choice],
}

macro_rules! switch {
    ($key:literal, $field:ident, $about:literal, [$($name:literal => $value:expr),+ $(,)?]) => {
        Switch {
            key: $key,
            field: stringify!($field),
            about: $about,
            choices: &[$(($name, |switches| switches.$field = $value)),+],
        }
    };
    ($key:literal, $field:ident, $about:literal) => {
        switch!($key, $field, $about, ["true" => true, "false" => false])
    };
}

const SWITCHES: &[Switch] = &[
    switch!(
        "logon.required_ack",
        logon_required_ack,
        "a command before the logon gets a failure ack before the connection is closed"
    ),
    switch!("logon.close_on_failure", close_on_refused_logon, "a refused logon closes the connection"),
    switch!("ack.processed_sub_id", processed_sub_id, "the processed ack of a subscribe carries sub_id"),
    switch!(
        "wire.publish_cmd",
        publish_command,
        "how deliveries spell their command",
        ["p" => PublishCommand::Short, "publish" => PublishCommand::Long]
    ),
    switch!(
        "wire.sow_ts",
        sow_timestamp,
        "where a query says when records were updated",
        ["record" => SowTimestamp::Record, "frame" => SowTimestamp::Frame]
    ),
    switch!(
        "delta.no_empties_keys",
        no_empties_keys,
        "no_empties leaves the key fields of a delta where they are"
    ),
    switch!(
        "page.order",
        page_order,
        "in which order the frames of one change of a page are sent",
        ["oof-first" => PageOrder::OutFirst, "publish-first" => PageOrder::InFirst]
    ),
    switch!(
        "sow.topn_round_to_batch",
        round_top_n,
        "top_n of a query is rounded up to a multiple of its batch size"
    ),
    switch!("wire.publish_msg_len", publish_length, "deliveries carry l"),
    switch!(
        "queue.max_cancels",
        max_cancels,
        "which cancel removes a message: the one that reaches MaxCancels, or the next",
        ["reach" => MaxCancels::Reach, "exceed" => MaxCancels::Exceed]
    ),
    switch!("queue.expire_leased", expire_leased, "a message may expire while it is leased"),
    switch!(
        "queue.lp_without_lease",
        lease_without_period,
        "lp of at-least-once queues without a lease period",
        ["far-future" => LeaseHeader::FarFuture, "absent" => LeaseHeader::Absent]
    ),
    switch!(
        "queue.lp_at_most_once",
        lease_at_most_once,
        "lp of at-most-once queues",
        ["far-future" => LeaseHeader::FarFuture, "absent" => LeaseHeader::Absent]
    ),
    switch!(
        "queue.topic_header",
        queue_topic,
        "the topic that a queue delivery names",
        ["queue" => QueueTopic::Queue, "underlying" => QueueTopic::Underlying]
    ),
    switch!(
        "queue.return_position",
        return_position,
        "where a returned message goes",
        ["original" => ReturnPosition::Original, "tail" => ReturnPosition::Tail]
    ),
    switch!("heartbeat.only_beat", heartbeat_only_beat, "only heartbeat commands count as life"),
    switch!(
        "dup.ack",
        duplicate_ack,
        "what the publisher of a duplicate is told",
        ["success" => DuplicateAck::Success, "reason" => DuplicateAck::Reason]
    ),
    switch!("dup.failed_advances", failed_advances, "a sequenced publish that failed counts as seen"),
    switch!(
        "delta.null",
        delta_null,
        "what a null in a delta does to the stored value",
        ["keep" => DeltaNull::Keep, "set-null" => DeltaNull::SetNull]
    ),
    switch!("topics.internal_in_regex", internal_in_regex, ".* receives /AMPS traffic too"),
    switch!(
        "options.unknown",
        unknown_options,
        "what becomes of a command with an unknown option",
        ["ignore" => UnknownOptions::Ignore, "reject" => UnknownOptions::Reject]
    ),
    switch!(
        "bookmark.unlogged",
        bookmark_unlogged,
        "a bookmark subscription to one topic that is not logged",
        ["error" => UnloggedBookmark::Error, "live" => UnloggedBookmark::Live]
    ),
    switch!(
        "bookmark.after_end",
        bookmark_after_end,
        "what becomes of a bookmark subscription that has got all it asked for",
        ["silent" => AfterEnd::Silent, "remove" => AfterEnd::Remove]
    ),
    switch!(
        "expr.null_logic",
        null_logic,
        "what AND and OR make of NULL",
        ["amps" => NullLogic::Amps, "sql" => NullLogic::Sql]
    ),
    switch!(
        "expr.nan",
        nan,
        "what a comparison makes of NaN",
        ["always-false" => NanComparison::AlwaysFalse, "ieee" => NanComparison::Ieee]
    ),
    switch!(
        "expr.untyped_string_compare",
        untyped_string_compare,
        "how a number of FIX, NVFIX or XML meets a string",
        ["text" => UntypedCompare::Text, "number" => UntypedCompare::Number]
    ),
    switch!(
        "ack.from_client",
        accept_client_ack,
        "an ack command from a client acknowledges a queue message"
    ),
    switch!(
        "sow.unordered",
        unordered,
        "the order of what a query was not told to order; shuffle(SEED) for another seed than 0",
        ["insertion" => Unordered::Insertion, "shuffle" => Unordered::Shuffle(0)]
    ),
];

/// A switch with values of its own; `set` gives nothing for a value that is none.
struct Open {
    key: &'static str,
    about: &'static str,
    default: &'static str,
    expected: &'static str,
    set: fn(&mut Switches, &str) -> Option<()>,
}

const OPEN: &[Open] = &[
    Open {
        key: "bookmark.persisted_interval",
        about: "how often bookmark subscriptions are told what is durable",
        default: "ack-conflation",
        expected: "ack-conflation, or an interval such as 500ms",
        set: |switches, value| {
            let own = if value == "ack-conflation" { None } else { Some(interval(value)?) };
            switches.bookmark_persisted_interval = own;
            Some(())
        },
    },
    Open {
        key: "queue.transfer_delay",
        about: "how long the owner of a queue message keeps it that another instance would deliver",
        default: "0s",
        expected: "an interval such as 500ms",
        set: |switches, value| {
            switches.transfer_delay = interval(value)?;
            Some(())
        },
    },
    Open {
        key: "conflation.auto_interval",
        about: "how long conflation=auto holds updates back while the client is behind",
        default: "100ms",
        expected: "an interval such as 100ms",
        set: |switches, value| {
            switches.auto_conflation = interval(value)?;
            Some(())
        },
    },
    Open {
        key: "bookmark.hash",
        about: "the first part of the bookmarks of a client, as CLIENT:NUMBER; repeatable",
        default: "",
        expected: "CLIENT:NUMBER",
        set: |switches, value| {
            let (client, hash) = value.rsplit_once(':')?;
            switches.bookmark_hash.insert(client.to_owned(), hash.parse().ok()?);
            Some(())
        },
    },
];

fn interval(text: &str) -> Option<Duration> {
    text.parse::<Interval>().ok().map(Interval::duration)
}

const REASONS: &[(&str, Reason)] = &[
    ("auth_failure", Reason::AuthFailure),
    ("not_entitled", Reason::NotEntitled),
    ("bad_filter", Reason::BadFilter),
    ("bad_regex", Reason::BadRegex),
    ("invalid_topic", Reason::InvalidTopic),
    ("name_in_use", Reason::NameInUse),
    ("logon_required", Reason::LogonRequired),
    ("duplicate_logon", Reason::DuplicateLogon),
    ("sub_exists", Reason::SubscriptionExists),
    ("invalid_sub_id", Reason::InvalidSubId),
    ("invalid_bookmark", Reason::InvalidBookmark),
    ("bookmark_not_found", Reason::BookmarkNotFound),
    ("invalid_orderby", Reason::InvalidOrderBy),
    ("bad_sow_key", Reason::BadSowKey),
    ("parse_error", Reason::ParseError),
    ("invalid_options", Reason::InvalidOptions),
    ("invalid_message_type", Reason::InvalidMessageType),
    ("unknown_command", Reason::UnknownCommand),
    ("duplicate", Reason::Duplicate),
    ("default_auth", Reason::AuthenticationDisabled),
];

/// Something that [`Config::set`] sets by name.
///
/// ```
/// use amps_testkit::Setting;
///
/// let settings = Setting::all();
/// let tail = settings.iter().find(|setting| setting.key == "queue.return_position").unwrap();
/// assert_eq!(tail.values, ["original", "tail"]);
/// assert_eq!(tail.default, "original");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// The values that it can have; empty where any text will do.
    pub values: Vec<&'static str>,
    /// The value that it has unless it is set.
    pub default: String,
    /// What it decides.
    pub about: &'static str,
}

impl Setting {
    /// Every setting: first the switches, then the texts of refusals.
    pub fn all() -> Vec<Self> {
        let open = OPEN.iter().map(|open| Self {
            key: open.key.to_owned(),
            values: Vec::new(),
            default: open.default.to_owned(),
            about: open.about,
        });
        let switches = SWITCHES.iter().map(|switch| Self {
            key: switch.key.to_owned(),
            values: switch.choices.iter().map(|(name, _)| *name).collect(),
            default: switch.default().to_owned(),
            about: switch.about,
        });
        let texts = Config::default().reasons;
        let reasons = REASONS.iter().map(|(key, reason)| Self {
            key: format!("{REASON_PREFIX}{key}"),
            values: Vec::new(),
            default: texts.text(*reason).to_owned(),
            about: "the text of this refusal",
        });
        switches.chain(open).chain(reasons).collect()
    }
}

impl Switch {
    /// The choice that changes nothing.
    fn default(&self) -> &'static str {
        let unchanged = |(_, choose): &&Choice| {
            let mut switches = Switches::default();
            choose(&mut switches);
            switches == Switches::default()
        };
        self.choices.iter().find(unchanged).map_or("", |(name, _)| *name)
    }
}

/// Why a setting could not be set.
///
/// ```
/// use amps_testkit::Config;
///
/// let error = Config::default().set("queue.return_position", "middle").unwrap_err();
/// assert_eq!(error.to_string(), "queue.return_position is one of original, tail, not \"middle\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// There is no setting of this name.
    #[error("there is no setting \"{key}\"; the closest is {closest}")]
    Key {
        /// The name.
        key: String,
        /// The name that looks most like it.
        closest: String,
    },
    /// The value is not of the kind that the setting wants.
    #[error("{key} is {expected}, not \"{value}\"")]
    Malformed {
        /// The setting.
        key: String,
        /// The value.
        value: String,
        /// What it wants.
        expected: &'static str,
    },
    /// The setting cannot have this value.
    #[error("{key} is one of {values}, not \"{value}\"")]
    Value {
        /// The setting.
        key: String,
        /// The value.
        value: String,
        /// What it can be.
        values: String,
    },
}

impl Config {
    /// Sets a switch, or the text of a refusal, by its name; [`Setting::all`] lists them.
    ///
    /// ```
    /// use amps_testkit::{Config, Reason, ReturnPosition};
    ///
    /// let mut config = Config::default();
    /// config.set("queue.return_position", "tail")?;
    /// config.set("reason.bad_filter", "syntax error")?;
    /// assert_eq!(config.switches.return_position, ReturnPosition::Tail);
    /// assert_eq!(config.reasons.text(Reason::BadFilter), "syntax error");
    /// # Ok::<(), amps_testkit::SetError>(())
    /// ```
    ///
    /// # Errors
    /// There is no such setting, or it cannot have this value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SetError> {
        if let Some(unordered) = seeded(key, value) {
            self.switches.unordered = unordered;
            return Ok(());
        }
        if let Some(switch) = SWITCHES.iter().find(|switch| switch.key == key) {
            let Some((_, choose)) = switch.choices.iter().find(|(name, _)| *name == value) else {
                let values: Vec<&str> = switch.choices.iter().map(|(name, _)| *name).collect();
                let (key, value) = (key.to_owned(), value.to_owned());
                return Err(SetError::Value { key, value, values: values.join(", ") });
            };
            choose(&mut self.switches);
            return Ok(());
        }
        if let Some(open) = OPEN.iter().find(|open| open.key == key) {
            let (key, value) = (key.to_owned(), value.to_owned());
            return (open.set)(&mut self.switches, &value).ok_or(SetError::Malformed {
                key,
                value,
                expected: open.expected,
            });
        }
        let name = key.strip_prefix(REASON_PREFIX);
        let reason = name.and_then(|name| REASONS.iter().find(|(known, _)| *known == name));
        let Some((_, reason)) = reason else {
            let known: Vec<String> = Setting::all().into_iter().map(|setting| setting.key).collect();
            let closest = crate::closest(key, known.iter().map(String::as_str)).unwrap_or_default();
            return Err(SetError::Key { key: key.to_owned(), closest: closest.to_owned() });
        };
        self.reasons = std::mem::take(&mut self.reasons).with(*reason, value);
        Ok(())
    }
}

/// The one value that has a number in it: `shuffle(7)`.
fn seeded(key: &str, value: &str) -> Option<Unordered> {
    let seed = value.strip_prefix("shuffle(")?.strip_suffix(')')?;
    if key == "sow.unordered" { seed.parse().ok().map(Unordered::Shuffle) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCHES_SOURCE: &str = include_str!("../switches.rs");
    const REASONS_SOURCE: &str = include_str!("../reasons.rs");

    #[test]
    fn every_field_of_the_switches_has_a_key_and_the_docs_name_it() {
        let (_, body) = SWITCHES_SOURCE.split_once("pub struct Switches {").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let fields: Vec<&str> = body
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
            // What is no choice among a few has no place on a command line.
            .filter(|(_, kind)| !kind.contains('<') && !kind.contains("Duration"))
            .map(|(field, _)| field)
            .collect();
        for field in &fields {
            assert!(SWITCHES.iter().any(|switch| switch.field == *field), "{field} has no key");
        }
        assert_eq!(fields.len(), SWITCHES.len());
        for switch in SWITCHES {
            let in_docs = body.contains(&format!("/// `{}`", switch.key));
            assert!(in_docs, "the docs of {} do not name {}", switch.field, switch.key);
            assert!(!switch.default().is_empty(), "{} has no value for its default", switch.key);
        }
    }

    #[test]
    fn every_reason_has_a_key() {
        let (_, body) = REASONS_SOURCE.split_once("pub enum Reason {").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let variants = body.lines().filter(|line| !line.trim().starts_with("///") && line.ends_with(','));
        assert_eq!(variants.count(), REASONS.len());
    }

    #[test]
    fn every_choice_can_be_set_and_changes_something_unless_it_is_the_default() {
        for setting in Setting::all() {
            for value in &setting.values {
                let mut config = Config::default();
                config.set(&setting.key, value).unwrap();
                let changed = config.switches != Switches::default();
                assert_eq!(changed, *value != setting.default, "{} = {value}", setting.key);
            }
        }
    }

    #[test]
    fn a_shuffle_can_have_a_seed() {
        let mut config = Config::default();
        config.set("sow.unordered", "shuffle(7)").unwrap();
        assert_eq!(config.switches.unordered, Unordered::Shuffle(7));
        for value in ["shuffle(x)", "shuffle(", "shuffle()"] {
            let error = Config::default().set("sow.unordered", value).unwrap_err();
            assert!(error.to_string().contains("is one of insertion, shuffle, not"), "{error}");
        }
        assert!(Config::default().set("delta.null", "shuffle(7)").is_err());
    }

    #[test]
    fn a_mistyped_key_is_told_the_closest_one() {
        let error = Config::default().set("queue.max_cancel", "reach").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no setting \"queue.max_cancel\"; the closest is queue.max_cancels"
        );
        let error = Config::default().set("reason.bad_fliter", "x").unwrap_err();
        assert!(error.to_string().ends_with("the closest is reason.bad_filter"), "{error}");
    }
}
