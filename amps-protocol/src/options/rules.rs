//! Which options a command may have, and which go together (protocol.md 6.2, 6.3).
//!
//! A check before sending; the server is the judge. Unknown options are never a problem
//! (O-9), and what depends on other fields of the command is not looked at: that a plain
//! query with `skip_n` needs an order (OP-1), or what a replacement must repeat (OP-2).

use alloc::string::ToString;
use alloc::vec::Vec;

use super::heartbeat::HeartbeatRequest;
use super::list::{FieldList, Projection, SelectList};
use super::name::{BookmarkUse, OptionKind, OptionName};
use super::parse::{OptionsError, OptionsFault};
use super::value::{BookmarkNotFound, Conflation, Interval, OptionValueError, Rate, ValueFault};
use super::{Entry, Options};
use crate::command::CommandKind;

/// Why a server would refuse the options of a command.
///
/// ```
/// use amps_protocol::{CommandKind, OptionName, OptionProblem, Options};
///
/// let options = Options::parse("live,rate=2X");
/// let problem = options.check(CommandKind::Subscribe, true).unwrap_err();
/// assert_eq!(problem, OptionProblem::Excludes { option: OptionName::Live, other: OptionName::Rate });
/// assert_eq!(problem.to_string(), "the options \"live\" and \"rate\" exclude each other; leave one out");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionProblem {
    /// The printed list would not be read as it was meant. The offset counts from the
    /// beginning of the option.
    #[error(transparent)]
    Malformed(#[from] OptionsError),
    /// The command does not have this option.
    #[error("the command \"{}\" does not have the option \"{}\"; leave it out", .command.token(), .option.token())]
    NotApplicable {
        /// The option.
        option: OptionName,
        /// The command.
        command: CommandKind,
    },
    /// The option is one of bookmark subscriptions.
    #[error("the option \"{}\" needs a bookmark in the command", .option.token())]
    NeedsBookmark {
        /// The option.
        option: OptionName,
    },
    /// The option is none of bookmark subscriptions.
    #[error("a bookmark subscription does not have the option \"{}\"; leave one of the two out", .option.token())]
    NotWithBookmark {
        /// The option.
        option: OptionName,
    },
    /// The value cannot be used, or is missing.
    #[error(transparent)]
    Value(#[from] OptionValueError),
    /// The option has a value, but takes none.
    #[error("the option \"{}\" takes no value; write its name alone", .option.token())]
    UnexpectedValue {
        /// The option.
        option: OptionName,
    },
    /// Two options that exclude each other.
    #[error("the options \"{}\" and \"{}\" exclude each other; leave one out", .option.token(), .other.token())]
    Excludes {
        /// The one.
        option: OptionName,
        /// The other.
        other: OptionName,
    },
    /// An option without one that it needs.
    #[error("the option \"{}\" needs the option \"{}\"", .option.token(), .needs.token())]
    Needs {
        /// The option that is there.
        option: OptionName,
        /// The option that is not.
        needs: OptionName,
    },
    /// The options of a `heartbeat` command are none of its instructions.
    #[error("the options of a heartbeat must be \"start,N\" with N in seconds, \"beat\" or \"stop\"")]
    Heartbeat,
}

/// Pairs that exclude each other. `live` by the table; an acknowledgement has one option
/// at most by QA-1.
const EXCLUSIVE: &[(OptionName, OptionName)] = &[
    (OptionName::Live, OptionName::Rate),
    (OptionName::Live, OptionName::Pause),
    (OptionName::Live, OptionName::Resume),
    (OptionName::Cancel, OptionName::Expire),
    (OptionName::Cancel, OptionName::LeaseExtension),
    (OptionName::Expire, OptionName::LeaseExtension),
];

/// Options that need another.
const NEEDS: &[(OptionName, OptionName)] = &[
    (OptionName::ConflationKey, OptionName::Conflation),
    (OptionName::Grouping, OptionName::Projection),
    (OptionName::Projection, OptionName::Grouping),
    (OptionName::RateMaxGap, OptionName::Rate),
    (OptionName::SkipN, OptionName::TopN),
];

impl Options {
    /// Whether these options may stand in such a command, with or without a bookmark.
    ///
    /// # Errors
    /// The first of the [`problems`](Self::problems).
    pub fn check(&self, command: CommandKind, has_bookmark: bool) -> Result<(), OptionProblem> {
        self.problems(command, has_bookmark).into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything that is wrong with these options in such a command: first what concerns
    /// one option, in their order, then how they combine.
    ///
    /// ```
    /// use amps_protocol::{CommandKind, Options};
    ///
    /// let options = Options::parse("skip_n=5,oof=yes,something_new=1");
    /// let problems = options.problems(CommandKind::Sow, false);
    /// assert_eq!(problems.len(), 2, "a value too many, and no top_n: {problems:?}");
    /// ```
    pub fn problems(&self, command: CommandKind, has_bookmark: bool) -> Vec<OptionProblem> {
        if command == CommandKind::Heartbeat && !self.is_empty() {
            let understood = HeartbeatRequest::parse(&self.to_string()).is_some();
            return if understood { Vec::new() } else { [OptionProblem::Heartbeat].into() };
        }
        let mut problems = Vec::new();
        for entry in &self.entries {
            problems.extend(malformed(entry).map(OptionProblem::Malformed));
            if let Some(option) = OptionName::from_token(&entry.name) {
                problems.extend(misplaced(option, command, has_bookmark));
                problems.extend(self.misused(option, entry));
            }
        }
        let has = |option: OptionName| self.contains(option.token());
        for &(option, other) in EXCLUSIVE.iter().filter(|(one, other)| has(*one) && has(*other)) {
            problems.push(OptionProblem::Excludes { option, other });
        }
        for &(option, needs) in NEEDS.iter().filter(|(option, needs)| has(*option) && !has(*needs)) {
            problems.push(OptionProblem::Needs { option, needs });
        }
        problems
    }

    /// What is wrong with the value of one option.
    fn misused(&self, option: OptionName, entry: &Entry) -> Option<OptionProblem> {
        let checked = match option.kind() {
            OptionKind::Flag => {
                return entry.value.is_some().then_some(OptionProblem::UnexpectedValue { option });
            }
            OptionKind::Heartbeat => return None,
            OptionKind::Switch => self.pretty().map(drop),
            OptionKind::Count if option == OptionName::MaxBacklog => self.typed::<u32>(option).map(drop),
            OptionKind::Count => self.typed::<u64>(option).map(drop),
            OptionKind::Interval => self.typed::<Interval>(option).map(drop),
            OptionKind::Rate => self.typed::<Rate>(option).map(drop),
            OptionKind::Conflation => self.typed::<Conflation>(option).map(drop),
            OptionKind::BookmarkNotFound => self.typed::<BookmarkNotFound>(option).map(drop),
            OptionKind::Fields => self.typed::<FieldList>(option).and_then(|fields| {
                not_empty(option, entry, fields.is_some_and(|fields| fields.iter().next().is_none()))
            }),
            OptionKind::Select => self.typed::<SelectList>(option).and_then(|fields| {
                not_empty(option, entry, fields.is_some_and(|fields| fields.iter().next().is_none()))
            }),
            OptionKind::Projection => self.typed::<Projection>(option).and_then(|fields| {
                not_empty(option, entry, fields.is_some_and(|fields| fields.iter().next().is_none()))
            }),
        };
        checked.err().map(OptionProblem::Value)
    }
}

fn not_empty(option: OptionName, entry: &Entry, empty: bool) -> Result<(), OptionValueError> {
    if !empty {
        return Ok(());
    }
    let value = entry.value.clone().unwrap_or_default();
    Err(OptionValueError { option, value, fault: ValueFault::new(1, "at least one field") })
}

fn misplaced(option: OptionName, command: CommandKind, has_bookmark: bool) -> Option<OptionProblem> {
    if option.applies_to(command, has_bookmark) {
        return None;
    }
    Some(match option.bookmark_use() {
        _ if !option.known_to(command) => OptionProblem::NotApplicable { option, command },
        BookmarkUse::NotOnSubscriptions => OptionProblem::NotWithBookmark { option },
        _ => OptionProblem::NeedsBookmark { option },
    })
}

/// Whether an option, printed, would be read as another one, as several, or as none.
fn malformed(entry: &Entry) -> Option<OptionsError> {
    let alone = Options { entries: [entry.clone()].into() };
    let printed = alone.to_string();
    match Options::try_parse(&printed) {
        Ok(read) if read == alone => None,
        Ok(_) => {
            let offset = printed.find(',').unwrap_or(entry.name.len());
            Some(OptionsError { offset, fault: OptionsFault::BareComma })
        }
        Err(error) => Some(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, command: CommandKind, has_bookmark: bool) -> Vec<OptionProblem> {
        Options::parse(text).problems(command, has_bookmark)
    }

    #[test]
    fn a_value_that_holds_a_comma_is_found_before_it_is_sent() {
        let mut options = Options::new();
        options.set("new_option", "a,b");
        let error = OptionsError { offset: 12, fault: OptionsFault::BareComma };
        assert_eq!(options.check(CommandKind::Sow, false), Err(OptionProblem::Malformed(error)));
        options.set("new_option", "[a,b]");
        assert_eq!(options.check(CommandKind::Sow, false), Ok(()));
    }

    #[test]
    fn a_missing_companion_is_named() {
        for (text, needs) in [
            ("conflation_key=[/a]", OptionName::Conflation),
            ("grouping=[/a]", OptionName::Projection),
            ("projection=[/a AS /b]", OptionName::Grouping),
            ("skip_n=3", OptionName::TopN),
        ] {
            let problem = problems(text, CommandKind::SowAndSubscribe, false);
            assert!(
                matches!(problem[..], [OptionProblem::Needs { needs: n, .. }] if n == needs),
                "{problem:?}"
            );
        }
        assert_eq!(problems("rate_max_gap=5s", CommandKind::Subscribe, true).len(), 1);
        assert_eq!(problems("rate_max_gap=5s,rate=2X", CommandKind::Subscribe, true), []);
    }

    #[test]
    fn an_acknowledgement_has_one_option() {
        assert_eq!(problems("cancel", CommandKind::SowDelete, true), []);
        assert_eq!(problems("cancel,expire", CommandKind::SowDelete, true).len(), 1);
        assert_eq!(problems("lease_extension=1m,expire", CommandKind::SowDelete, true).len(), 1);
    }

    #[test]
    fn what_a_bookmark_forbids_is_allowed_on_a_historical_query() {
        let option = OptionName::Oof;
        assert_eq!(problems("oof", CommandKind::Sow, true), []);
        assert_eq!(
            problems("oof", CommandKind::SowAndSubscribe, true),
            [OptionProblem::NotWithBookmark { option }]
        );
        let option = OptionName::FullyDurable;
        assert_eq!(
            problems("fully_durable", CommandKind::Subscribe, false),
            [OptionProblem::NeedsBookmark { option }]
        );
    }

    #[test]
    fn heartbeat_options_are_judged_as_one_instruction() {
        for text in ["start,5", "beat", "stop", ""] {
            assert_eq!(problems(text, CommandKind::Heartbeat, false), [], "{text}");
        }
        for text in ["start", "beat,5", "oof"] {
            assert_eq!(problems(text, CommandKind::Heartbeat, false), [OptionProblem::Heartbeat], "{text}");
        }
    }
}
