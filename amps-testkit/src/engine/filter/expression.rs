//! Expressions that make a field: of enrichment, of preprocessing, of a priority.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::sync::Arc;

use super::ast::Expr;
use super::error::FilterError;
use super::eval::Evaluation;
use super::language::Language;
use super::parser::{self, Place};
use super::path::Path;
use super::value::{Dialect, Field};
use super::{Context, Document};

/// A compiled expression whose value is wanted, not only its truth. Unlike a filter it may
/// look at the record that a message replaces (`/a OF PREVIOUS`), and at a named topic
/// (`[orders]./a`). A clone shares what was compiled.
///
/// ```
/// use amps_testkit::filter::{Context, Expression, JsonDocument};
///
/// let (total, field) = Expression::parse_as("COALESCE(/n OF PREVIOUS, 0) + /n AS /total")?;
/// let (old, new) = (JsonDocument::new(br#"{"n":2}"#), JsonDocument::new(br#"{"n":3}"#));
/// let context = Context { previous: Some(&old), ..Context::default() };
/// assert_eq!(total.evaluate(&new, &context).into_text().as_ref(), b"5");
/// assert_eq!(field.to_string(), "/total");
/// # Ok::<(), amps_testkit::filter::FilterError>(())
/// ```
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    expr: Expr,
    dialect: Dialect,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// Says where the text stops being an expression, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Self::parse_in(text, &Language::default())
    }

    /// As [`Expression::parse`], in a language.
    ///
    /// # Errors
    ///
    /// As [`Expression::parse`].
    pub fn parse_in(text: &str, language: &Language) -> Result<Self, FilterError> {
        let (expr, _) = parser::parse(text, Place::Field, language)?;
        Ok(Self::of(text, expr, language))
    }

    /// Compiles `expression AS /field`; a field alone keeps its name.
    ///
    /// # Errors
    ///
    /// As [`Expression::parse`].
    pub fn parse_as(text: &str) -> Result<(Self, Path), FilterError> {
        let language = Language::default();
        let (expr, field) = parser::parse_field(text, Place::Field, &language)?;
        Ok((Self::of(text, expr, &language), field))
    }

    fn of(text: &str, expr: Expr, language: &Language) -> Self {
        Self(Arc::new(Compiled { text: text.into(), expr, dialect: language.dialect }))
    }

    /// The value; the first one where a path has many.
    pub fn evaluate<'a>(&'a self, document: &'a dyn Document, context: &Context<'a>) -> Field<'a> {
        Evaluation { document, context: *context, dialect: self.0.dialect, slots: &[] }.scalar(&self.0.expr)
    }

    /// The text this was parsed from.
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

/// An expression with the field that gets its value: one line of an enrichment.
///
/// ```
/// use amps_testkit::filter::Assignment;
///
/// let total = Assignment::parse("/n + COALESCE(/n OF PREVIOUS, 0) AS /total HINT OPTIONAL")?;
/// assert_eq!((total.field.to_string().as_str(), total.optional), ("/total", true));
/// # Ok::<(), amps_testkit::filter::FilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Makes the value.
    pub expression: Expression,
    /// Gets the value.
    pub field: Path,
    /// `HINT OPTIONAL`: the field is not written if the value is `NULL`.
    pub optional: bool,
    /// `HINT SET_CURRENT`: later expressions see the new value.
    pub set_current: bool,
}

impl Assignment {
    /// Reads `expression AS /field`, with hints if there are any.
    ///
    /// # Errors
    ///
    /// As [`Expression::parse`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Self::parse_in(text, &Language::default())
    }

    /// As [`Assignment::parse`], in a language.
    ///
    /// # Errors
    ///
    /// As [`Expression::parse`].
    pub fn parse_in(text: &str, language: &Language) -> Result<Self, FilterError> {
        Self::of(text, Place::Field, language)
    }

    /// As [`Assignment::parse_in`], of one message: without the record that it replaces.
    ///
    /// # Errors
    ///
    /// As [`Expression::parse`], and for `OF PREVIOUS`.
    pub fn parse_alone(text: &str, language: &Language) -> Result<Self, FilterError> {
        Self::of(text, Place::Filter, language)
    }

    fn of(text: &str, place: Place, language: &Language) -> Result<Self, FilterError> {
        let (expr, field, hints) = parser::parse_hinted(text, place, language)?;
        let expression = Expression::of(text, expr, language);
        Ok(Self { expression, field, optional: hints.optional, set_current: hints.set_current })
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Expression").field(&self.text()).finish()
    }
}
