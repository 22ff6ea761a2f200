//! Why a text is not a filter, in one sentence that names the place.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

/// Why a text was rejected as a filter. Offsets count bytes from the start of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// Something else should be here.
    #[error("expected {expected} near {found} at offset {offset}{}", Hint(hint))]
    Unexpected {
        /// Where.
        offset: usize,
        /// What would have been right.
        expected: &'static str,
        /// What is there, in quotes, or "the end of the text".
        found: String,
        /// What was probably meant; may be empty.
        hint: &'static str,
    },
    /// A string has no closing quote.
    #[error("the string that starts at offset {offset} has no closing quote")]
    UnterminatedString {
        /// Where it starts.
        offset: usize,
    },
    /// Digits that are no number.
    #[error("'{text}' at offset {offset} is not a number")]
    BadNumber {
        /// Where.
        offset: usize,
        /// The text.
        text: String,
    },
    /// A malformed identifier.
    #[error("expected {expected} in the identifier at offset {offset}")]
    BadPath {
        /// Where.
        offset: usize,
        /// What would have been right.
        expected: &'static str,
    },
    /// No such function, or one that this server does not have.
    #[error("unknown function '{name}' at offset {offset}")]
    UnknownFunction {
        /// Where.
        offset: usize,
        /// Its name as written.
        name: String,
    },
    /// An aggregate, which has no meaning for a single message.
    #[error("aggregate function '{name}' at offset {offset} is for projections, a filter cannot use it")]
    Aggregate {
        /// Where.
        offset: usize,
        /// Its name as written.
        name: String,
    },
    /// An aggregate of aggregates.
    #[error("aggregate function '{name}' at offset {offset} is inside another one")]
    NestedAggregate {
        /// Where.
        offset: usize,
        /// Its name as written.
        name: String,
    },
    /// A function inside an aggregate that gives another value each time it is called.
    #[error("function '{name}' at offset {offset} changes without an update, an aggregate cannot use it")]
    Unsteady {
        /// Where.
        offset: usize,
        /// Its name as written.
        name: String,
    },
    /// Too few or too many arguments.
    #[error("function {name} at offset {offset} takes {expected}, not {found}")]
    ArgumentCount {
        /// Where.
        offset: usize,
        /// Its name.
        name: String,
        /// How many arguments it takes, in words.
        expected: String,
        /// How many there are.
        found: usize,
    },
    /// A regular expression that does not compile.
    #[error("the pattern at offset {offset} is not a regular expression: {reason}")]
    BadPattern {
        /// Where.
        offset: usize,
        /// What the regular expression engine says.
        reason: String,
    },
    /// Valid in AMPS, but not in a filter, nor in preprocessing.
    #[error("{what} at offset {offset} cannot be used in a filter or in preprocessing")]
    NotInFilters {
        /// Where.
        offset: usize,
        /// What it is.
        what: &'static str,
    },
    /// Nested too deeply.
    #[error("the expression is nested more than {limit} levels deep at offset {offset}")]
    TooDeep {
        /// Where.
        offset: usize,
        /// How deep it may be.
        limit: usize,
    },
    /// Too long.
    #[error("the expression is {length} bytes long, the limit is {limit}")]
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
}

struct Hint<'a>(&'a str);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(out, " ({})", self.0) }
    }
}
