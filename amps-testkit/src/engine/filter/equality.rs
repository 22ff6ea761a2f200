//! What a filter cannot be true without: that a field equals one of some literals.
//!
//! Owns the question which filters a message can satisfy at all, so that of many filters only
//! few are evaluated. It never decides: what it lets through is evaluated as always.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::Filter;
use super::ast::{Comparison, Expr, Version};
use super::path::Path;
use super::value::{Field, parse_number};

/// A value as it can be looked up. Values that compare as equal have a key in common, whatever
/// their types are (CMP-02, TYP-09); some that do not, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ValueKey {
    /// The bits of the number as a float.
    Number(u64),
    Text(Box<[u8]>),
}

impl ValueKey {
    /// The keys of a value; none for NULL and NaN, which equal nothing.
    pub(crate) fn of(field: &Field<'_>) -> impl Iterator<Item = Self> + use<> {
        let value = field.value();
        let number = match value {
            super::Value::String(text) => parse_number(text),
            value => value.number(),
        };
        let number = number.map(super::value::Number::float).filter(|number| !number.is_nan());
        // Zero has two spellings.
        let number = number.map(|number| Self::Number((number + 0.0).to_bits()));
        let text = field.clone().text().map(|text| Self::Text(text.as_ref().into()));
        number.into_iter().chain(text)
    }
}

impl Filter {
    /// A field, and the values of which it must have one for the filter to be true; `None` if
    /// the filter does not begin with such a condition.
    pub(crate) fn equality(&self) -> Option<(&Path, Vec<ValueKey>)> {
        equality(&self.0.expr)
    }
}

fn equality(expr: &Expr) -> Option<(&Path, Vec<ValueKey>)> {
    match expr {
        Expr::And(operands) => operands.iter().find_map(equality),
        Expr::Compare { comparison: Comparison::Equal, left, right } => match (&**left, &**right) {
            (Expr::Path { path, version: Version::Current }, Expr::Literal(literal))
            | (Expr::Literal(literal), Expr::Path { path, version: Version::Current }) => {
                Some((path, ValueKey::of(literal).collect()))
            }
            _ => None,
        },
        Expr::In { subject, members } => {
            let Expr::Path { path, version: Version::Current } = &**subject else { return None };
            let keys = members.iter().map(|member| match member {
                Expr::Literal(literal) => Some(ValueKey::of(literal)),
                _ => None,
            });
            Some((path, keys.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_condition_that_must_hold_counts() {
        let found = |text: &str| {
            let filter = Filter::parse(text).unwrap();
            filter.equality().map(|(path, keys)| (path.to_string(), keys.len()))
        };
        assert_eq!(found("/a = 1"), Some(("/a".into(), 2)));
        assert_eq!(found("'x' = /a"), Some(("/a".into(), 1)));
        assert_eq!(found("/b > 1 AND (/c < 2 AND /a = '7')"), Some(("/a".into(), 2)));
        assert_eq!(found("/a IN ('x', 'y')"), Some(("/a".into(), 2)));
        assert_eq!(found("/a = NULL"), Some(("/a".into(), 0)));
        for text in ["/a = 1 OR /b = 2", "NOT /a = 1", "/a != 1", "/a = /b", "/a IN (/b)", "/a > 1"] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
