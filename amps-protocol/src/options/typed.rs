//! Getters and setters of the documented options.
//!
//! A getter gives `None` for an option that is not there and an error for one whose value
//! cannot be used. A setter replaces what was there, and returns the list for the next.

use alloc::string::{String, ToString};
use core::str::FromStr;

use super::Options;
use super::list::{FieldList, Projection, SelectList};
use super::name::OptionName;
use super::value::{BookmarkNotFound, Conflation, Interval, OptionValueError, Rate, ValueFault};

macro_rules! flags {
    ($($(#[$doc:meta])* $get:ident / $set:ident => $name:ident;)*) => {
        impl Options {
            $(
                /// Whether the option is there that
                $(#[$doc])*
                pub fn $get(&self) -> bool {
                    self.contains(OptionName::$name.token())
                }

                /// Asks, or ceases to ask, with the option that
                $(#[$doc])*
                pub fn $set(&mut self, on: bool) -> &mut Self {
                    self.switch(OptionName::$name, on)
                }
            )*
        }
    };
}

flags! {
    /// puts bookmarks on deliveries (`bookmark`), which does not start a replay.
    bookmark / set_bookmark => Bookmark;
    /// gives a message back to its queue (`cancel`).
    cancel / set_cancel => Cancel;
    /// expires a queue message now (`expire`).
    expire / set_expire => Expire;
    /// delivers only what every synchronous replica has (`fully_durable`).
    fully_durable / set_fully_durable => FullyDurable;
    /// delivers before messages are persisted, once the replay is over (`live`).
    live / set_live => Live;
    /// suppresses deltas in which nothing changed (`no_empties`).
    no_empties / set_no_empties => NoEmpties;
    /// leaves record keys out (`no_sowkey`).
    no_sow_key / set_no_sow_key => NoSowKey;
    /// takes the topic literally (`non_regex_topic`).
    non_regex_topic / set_non_regex_topic => NonRegexTopic;
    /// tells when records leave the focus (`oof`).
    oof / set_oof => Oof;
    /// enters a replay paused, or pauses existing ones (`pause`).
    pause / set_pause => Pause;
    /// replaces the subscription that has this id (`replace`).
    replace / set_replace => Replace;
    /// resumes paused replays together (`resume`).
    resume / set_resume => Resume;
    /// includes key fields in deltas (`send_keys`).
    send_keys / set_send_keys => SendKeys;
    /// puts times on deliveries (`timestamp`).
    timestamp / set_timestamp => Timestamp;
}

macro_rules! values {
    ($($(#[$doc:meta])* $get:ident / $set:ident => $name:ident: $type:ty;)*) => {
        impl Options {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// The option is there without a value, or with one that cannot be used.
                pub fn $get(&self) -> Result<Option<$type>, OptionValueError> {
                    self.typed(OptionName::$name)
                }

                #[doc = concat!("Sets the option that [`", stringify!($get), "`](Self::", stringify!($get), ") reads.")]
                pub fn $set(&mut self, value: $type) -> &mut Self {
                    self.put(OptionName::$name.token(), Some(value.to_string()));
                    self
                }
            )*
        }
    };
}

values! {
    /// How often the server sends conflated `persisted` acknowledgements of publishes
    /// (`ack_conflation`); it takes 1 s if not told.
    ack_conflation / set_ack_conflation => AckConflation: Interval;
    /// What a replay does when none of its bookmarks is in the log (`bookmark_not_found`);
    /// `now` if not told.
    bookmark_not_found / set_bookmark_not_found => BookmarkNotFound: BookmarkNotFound;
    /// How often at most one key is updated (`conflation`); without bound if not told.
    conflation / set_conflation => Conflation: Conflation;
    /// What identifies a message for conflation (`conflation_key`); the record key if not
    /// told.
    conflation_key / set_conflation_key => ConflationKey: FieldList;
    /// The keys of an aggregation (`grouping`).
    grouping / set_grouping => Grouping: FieldList;
    /// How far to extend the lease of a queue message (`lease_extension`).
    lease_extension / set_lease_extension => LeaseExtension: Interval;
    /// The asked or granted backlog of a queue subscription, in messages (`max_backlog`);
    /// 1 if not told.
    max_backlog / set_max_backlog => MaxBacklog: u32;
    /// The fields of an aggregation (`projection`).
    projection / set_projection => Projection: Projection;
    /// How fast a replay may go (`rate`); as fast as it can if not told.
    rate / set_rate => Rate: Rate;
    /// The longest silence in a replay at a multiple of its original speed
    /// (`rate_max_gap`).
    rate_max_gap / set_rate_max_gap => RateMaxGap: Interval;
    /// The fields to deliver (`select`); all if not told.
    select / set_select => Select: SelectList;
    /// How many records to skip (`skip_n`); none if not told.
    skip_n / set_skip_n => SkipN: u64;
    /// How many records to return at most (`top_n`); all if not told.
    top_n / set_top_n => TopN: u64;
}

impl Options {
    /// Whether the server is asked to show binary message types readably: `pretty=true`,
    /// or the name alone.
    ///
    /// # Errors
    /// The option has a value other than `true` and `false`.
    pub fn pretty(&self) -> Result<bool, OptionValueError> {
        let name = OptionName::Pretty;
        match self.entry(name.token()).map(|entry| entry.value.as_deref()) {
            None | Some(Some("false")) => Ok(false),
            Some(None | Some("true")) => Ok(true),
            Some(Some(value)) => Err(unusable(name, value, ValueFault::new(0, "true or false"))),
        }
    }

    /// Asks for `pretty=true`, or ceases to.
    pub fn set_pretty(&mut self, on: bool) -> &mut Self {
        let name = OptionName::Pretty.token();
        if on {
            self.put(name, Some("true".into()));
        } else {
            self.remove(name);
        }
        self
    }

    fn switch(&mut self, name: OptionName, on: bool) -> &mut Self {
        if on {
            self.put(name.token(), None);
        } else {
            self.remove(name.token());
        }
        self
    }

    pub(super) fn typed<T: OptionValue>(&self, name: OptionName) -> Result<Option<T>, OptionValueError> {
        let Some(entry) = self.entry(name.token()) else { return Ok(None) };
        let Some(value) = entry.value.as_deref() else {
            return Err(unusable(name, "", ValueFault::new(0, "a value after '='")));
        };
        T::read(value).map(Some).map_err(|fault| unusable(name, value, fault))
    }
}

fn unusable(option: OptionName, value: &str, fault: ValueFault) -> OptionValueError {
    OptionValueError { option, value: String::from(value), fault }
}

/// The value of an option, as it is read.
pub(super) trait OptionValue: Sized {
    fn read(text: &str) -> Result<Self, ValueFault>;
}

macro_rules! option_values {
    ($($type:ty),*) => {
        $(impl OptionValue for $type {
            fn read(text: &str) -> Result<Self, ValueFault> {
                text.parse()
            }
        })*
    };
}

option_values!(Interval, Rate, Conflation, BookmarkNotFound, FieldList, SelectList, Projection);

impl OptionValue for u64 {
    fn read(text: &str) -> Result<Self, ValueFault> {
        count(text)
    }
}

impl OptionValue for u32 {
    fn read(text: &str) -> Result<Self, ValueFault> {
        count(text)
    }
}

/// Digits only: the sign that Rust's own parser takes is none of AMPS.
fn count<T: FromStr>(text: &str) -> Result<T, ValueFault> {
    match text.bytes().position(|byte| !byte.is_ascii_digit()) {
        Some(offset) => Err(ValueFault::new(offset, "a count")),
        None if text.is_empty() => Err(ValueFault::new(0, "a count")),
        None => text.parse().map_err(|_| ValueFault::new(0, "a smaller count")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_value_is_an_error_and_an_absent_one_is_not() {
        assert_eq!(Options::new().max_backlog(), Ok(None));
        for (text, offset) in
            [("max_backlog", 0), ("max_backlog=", 0), ("max_backlog=+5", 0), ("max_backlog=5x", 1)]
        {
            assert_eq!(Options::parse(text).max_backlog().unwrap_err().fault.offset, offset, "{text}");
        }
        assert!(Options::parse("max_backlog=4294967296").max_backlog().is_err());
        assert!(Options::parse("conflation=often").conflation().is_err());
        assert!(Options::parse("select=/a").select().is_err());
    }

    #[test]
    fn flags_come_and_go() {
        let mut options = Options::new();
        options.set_oof(true).set_live(true).set_oof(false);
        assert_eq!((options.oof(), options.live(), options.to_string().as_str()), (false, true, "live"));
    }

    #[test]
    fn pretty_is_true_by_name_alone() {
        assert_eq!(Options::parse("pretty").pretty(), Ok(true));
        assert_eq!(Options::parse("pretty=false").pretty(), Ok(false));
        assert!(Options::parse("pretty=maybe").pretty().is_err());
        assert_eq!(Options::new().set_pretty(true).to_string(), "pretty=true");
    }
}
