//! The order of records: `/f ASC, /g DESC`.
//!
//! Owns a total order of values. The comparison of expressions is none: a string that is a
//! number compares with other strings as text, and with numbers as a number.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cmp::Ordering;

use super::Document;
use super::error::FilterError;
use super::lexer::{Lexer, Token};
use super::path::Path;
use super::value::{Field, Number, Value};

/// By which fields records are ordered (server.md 3.8).
///
/// Numbers come before NaN, NaN before strings, strings before NULL; `DESC` turns all of
/// that around (OBY-02, inferred). Of several values at a path the first counts.
///
/// ```
/// use amps_testkit::filter::{JsonDocument, OrderBy};
///
/// let order = OrderBy::parse("/p DESC, /id")?;
/// let mut records = [r#"{"p":9,"id":2}"#, r#"{"p":10,"id":3}"#, r#"{"id":4}"#, r#"{"p":9,"id":1}"#];
/// records.sort_by_cached_key(|body| order.key(&JsonDocument::new(body.as_bytes())));
/// assert_eq!(records, [r#"{"id":4}"#, r#"{"p":10,"id":3}"#, r#"{"p":9,"id":1}"#, r#"{"p":9,"id":2}"#]);
/// # Ok::<(), amps_testkit::filter::FilterError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBy(Vec<(Path, Direction)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

impl OrderBy {
    /// Parses a list such as `/f ASC, /g DESC`; `ASC` may be left out.
    ///
    /// # Errors
    ///
    /// The list is empty, or something in it is no field with a direction.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut lexer = Lexer::new(text);
        let mut fields = Vec::new();
        loop {
            let (token, offset, _) = lexer.next()?;
            let Token::Path(path) = token else {
                return Err(FilterError::BadPath { offset, expected: "a field like /name" });
            };
            let (mut token, mut offset, _) = lexer.next()?;
            let mut direction = Direction::Ascending;
            if let Token::Name(word) = token {
                direction = match word {
                    _ if word.eq_ignore_ascii_case("ASC") => Direction::Ascending,
                    _ if word.eq_ignore_ascii_case("DESC") => Direction::Descending,
                    _ => return Err(FilterError::BadPath { offset, expected: "ASC or DESC" }),
                };
                (token, offset, _) = lexer.next()?;
            }
            fields.push((path, direction));
            match token {
                Token::End => return Ok(Self(fields)),
                Token::Symbol(",") => {}
                _ => return Err(FilterError::BadPath { offset, expected: "ASC, DESC or ','" }),
            }
        }
    }

    /// The fields of the list, in order; true for `DESC`.
    pub fn fields(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.0.iter().map(|(path, direction)| (path, *direction == Direction::Descending))
    }

    /// What decides the place of a record among others: to sort many, take the key of each
    /// once. Keys of different lists do not compare in a meaningful way.
    pub fn key(&self, document: &dyn Document) -> SortKey {
        let mut found = Vec::new();
        let parts = self.0.iter().map(|(path, direction)| {
            found.clear();
            document.look_up(path, &mut found);
            Part { rank: Rank::of(found.drain(..).next().unwrap_or(Field::NULL)), direction: *direction }
        });
        SortKey(parts.collect())
    }

    /// The order of two records; equal ones differ in other fields at most.
    pub fn compare(&self, left: &dyn Document, right: &dyn Document) -> Ordering {
        self.key(left).cmp(&self.key(right))
    }
}

/// The values by which a record is ordered; see [`OrderBy::key`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    rank: Rank,
    direction: Direction,
}

impl Ord for Part {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.rank.cmp(&other.rank);
        if self.direction == Direction::Descending { order.reverse() } else { order }
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A value in the total order.
#[derive(Clone, Debug)]
enum Rank {
    Number(Number),
    Nan,
    String(Vec<u8>),
    Null,
}

impl Rank {
    fn of(field: Field<'_>) -> Self {
        match field.value() {
            Value::Null => Self::Null,
            Value::String(_) => Self::String(field.into_text().into_owned()),
            value if value.is_nan() => Self::Nan,
            value => value.number().map_or(Self::Null, Self::Number),
        }
    }

    fn place(&self) -> u8 {
        match self {
            Self::Number(_) => 0,
            Self::Nan => 1,
            Self::String(_) => 2,
            Self::Null => 3,
        }
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => compare_numbers(*left, *right),
            (Self::String(left), Self::String(right)) => left.cmp(right),
            (left, right) => left.place().cmp(&right.place()),
        }
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

/// Exact, unlike a comparison of floats: two integers that become the same float are not
/// equal, and so neither can both be equal to that float.
fn compare_numbers(left: Number, right: Number) -> Ordering {
    match (left, right) {
        (Number::Integer(left), Number::Integer(right)) => left.cmp(&right),
        (Number::Integer(left), Number::Float(right)) => compare_with_float(left, right),
        (Number::Float(left), Number::Integer(right)) => compare_with_float(right, left).reverse(),
        (Number::Float(left), Number::Float(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates far beyond every integer here")]
fn compare_with_float(integer: i128, float: f64) -> Ordering {
    let whole = float.trunc();
    integer.cmp(&(whole as i128)).then_with(|| whole.partial_cmp(&float).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_and_floats_compare_exactly() {
        let beyond = 9_007_199_254_740_993_i128; // 2^53 + 1: no float
        let float = 9_007_199_254_740_992.0;
        assert_eq!(compare_with_float(beyond, float), Ordering::Greater);
        assert_eq!(compare_with_float(beyond - 1, float), Ordering::Equal);
        assert_eq!(compare_with_float(-1, -0.5), Ordering::Less);
        assert_eq!(compare_with_float(0, -0.5), Ordering::Greater);
        assert_eq!(compare_with_float(3, f64::INFINITY), Ordering::Less);
        assert_eq!(compare_with_float(3, f64::NEG_INFINITY), Ordering::Greater);
    }

    fn rank() -> impl Strategy<Value = Rank> {
        prop_oneof![
            prop::sample::select(vec![0_i128, 1, -1, 1 << 53, (1 << 53) + 1, i128::from(u64::MAX)])
                .prop_map(|integer| Rank::Number(Number::Integer(integer))),
            prop::sample::select(vec![0.0, -0.0, 0.5, 9_007_199_254_740_992.0, f64::INFINITY])
                .prop_map(|float| Rank::Number(Number::Float(float))),
            Just(Rank::Nan),
            Just(Rank::Null),
            "[19]{1,2}".prop_map(|text| Rank::String(text.into_bytes())),
        ]
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in rank(), b in rank(), c in rank()) {
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}
