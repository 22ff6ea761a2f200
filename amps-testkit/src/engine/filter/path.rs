//! Identifiers: where a field is.
//!
//! Owns the parsed form of an identifier and its text; finding the field is the business of
//! the formats.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::str::FromStr;

use super::error::FilterError;
use super::lexer::{self, Lexer, Token};

/// Where a field is: `/legs/px[1]` is the steps `legs` and `px[1]`.
///
/// ```
/// use amps_testkit::filter::Path;
///
/// let path = Path::parse("[orders]./legs/px[1]")?;
/// assert_eq!(path.qualifier().unwrap().topic.as_ref(), "orders");
/// assert_eq!(path.steps()[1].index, Some(1));
/// assert_eq!(path.to_string(), "[orders]./legs/px[1]");
/// assert_eq!(Path::parse("[/my field]")?.to_string(), "[/my field]");
/// # Ok::<(), amps_testkit::filter::FilterError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    qualifier: Option<Box<Qualifier>>,
    steps: Vec<Step>,
}

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// The name as written; an XML attribute keeps its `@`.
    pub name: Box<str>,
    /// `[n]`: only the n-th (from zero) of the values found so far.
    pub index: Option<usize>,
}

/// Whose field a [`Path`] of a view means: `[topic].` or `[type].[topic].` in front of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Qualifier {
    /// The message type, where both are given.
    pub message_type: Option<Box<str>>,
    /// The topic.
    pub topic: Box<str>,
}

impl Path {
    /// Parses a single identifier, in brackets or not, and nothing else.
    ///
    /// # Errors
    ///
    /// The text is no identifier, or something follows it.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut lexer = Lexer::new(text);
        match lexer.next()? {
            (Token::Path(path), ..) => match lexer.next()? {
                (Token::End, ..) => Ok(path),
                (_, offset, _) => Err(FilterError::BadPath { offset, expected: "nothing more" }),
            },
            (_, offset, _) => Err(FilterError::BadPath { offset, expected: "a field like /name" }),
        }
    }

    /// Steps are never empty: the lexer sees to that.
    pub(super) fn new(qualifier: Option<Box<Qualifier>>, steps: Vec<Step>) -> Self {
        Self { qualifier, steps }
    }

    /// The steps, outermost first; never empty.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whose field is meant, if the path says so.
    pub fn qualifier(&self) -> Option<&Qualifier> {
        self.qualifier.as_deref()
    }
}

impl FromStr for Path {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(qualifier) = &self.qualifier {
            if let Some(message_type) = &qualifier.message_type {
                write!(out, "[{message_type}].")?;
            }
            write!(out, "[{}].", qualifier.topic)?;
        }
        let bracketed = !self.steps.iter().all(|step| lexer::is_step_name(&step.name));
        if bracketed {
            out.write_str("[")?;
        }
        for (position, step) in self.steps.iter().enumerate() {
            write!(out, "/{}", step.name)?;
            if bracketed && position + 1 == self.steps.len() {
                out.write_str("]")?;
            }
            if let Some(index) = step.index {
                write!(out, "[{index}]")?;
            }
        }
        Ok(())
    }
}
