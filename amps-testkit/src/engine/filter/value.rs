//! Values: their types, conversions, comparison and arithmetic, and the [`Dialect`]
//! that holds every choice the documentation of AMPS leaves open.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ast::{Comparison, Operator};

/// The rules that are inferred rather than documented, each in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// `expr.null_logic`: what `AND` and `OR` make of NULL.
    pub null_logic: NullLogic,
    /// `expr.nan`: what a comparison makes of NaN.
    pub nan: NanComparison,
    /// `expr.untyped_string_compare`: how the text of an untyped format meets a string.
    pub untyped_string_compare: UntypedCompare,
}

/// What `AND` and `OR` make of NULL.
///
/// ```
/// use amps_testkit::{NullLogic, Switches};
///
/// assert_eq!(Switches::default().null_logic, NullLogic::Amps);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NullLogic {
    /// The left operand decides: NULL on the left is NULL, whatever is on the right.
    #[default]
    Amps,
    /// The symmetric three-valued logic of SQL.
    Sql,
}

/// What a comparison makes of NaN.
///
/// ```
/// use amps_testkit::{NanComparison, Switches};
///
/// assert_eq!(Switches::default().nan, NanComparison::AlwaysFalse);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NanComparison {
    /// Every comparison with NaN is false, `!=` too.
    #[default]
    AlwaysFalse,
    /// As IEEE 754: false, but `!=` is true.
    Ieee,
}

/// How a number in an untyped format (FIX, NVFIX, XML) is compared with a string.
///
/// ```
/// use amps_testkit::{Switches, UntypedCompare};
///
/// assert_eq!(Switches::default().untyped_string_compare, UntypedCompare::Text);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UntypedCompare {
    /// Byte by byte, with the text the message had: `34=7` does not equal `'07'`.
    #[default]
    Text,
    /// As a number, as for a typed format.
    Number,
}

/// What an expression evaluates to.
///
/// ```
/// use amps_testkit::Value;
///
/// assert_eq!(Value::string(b"".as_slice()), Value::Null); // there are no empty strings
/// assert_eq!(Value::Bool(true).into_text().as_ref(), b"1");
/// assert_eq!(Value::string(b"0".as_slice()).truth(), Some(false));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value; an empty string is this too.
    Null,
    /// A boolean, which counts as 1 or 0.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An integer above the largest signed one.
    UInt(u64),
    /// A floating-point number, NaN included.
    Float(f64),
    /// Bytes, not necessarily UTF-8, never empty.
    String(Cow<'a, [u8]>),
}

impl<'a> Value<'a> {
    /// A string, or NULL if it is empty (TYP-02).
    pub fn string(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Null } else { Self::String(bytes) }
    }

    /// Whether the value is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether the value is the float that is no number.
    pub fn is_nan(&self) -> bool {
        matches!(self, Self::Float(float) if float.is_nan())
    }

    /// Truth as an operand of `AND`, `OR`, `NOT` and `IF` (LOG-03); nothing for NULL.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            other => other.number().map(|number| match number {
                Number::Integer(integer) => integer != 0,
                Number::Float(float) => float != 0.0 && !float.is_nan(),
            }),
        }
    }

    /// The value as a number (TYP-06): NaN for a string that is none, nothing for NULL.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(Number::Integer(i128::from(*value))),
            Self::Int(value) => Some(Number::Integer(i128::from(*value))),
            Self::UInt(value) => Some(Number::Integer(i128::from(*value))),
            Self::Float(value) => Some(Number::Float(*value)),
            Self::String(bytes) => Some(parse_number(bytes).unwrap_or(Number::Float(f64::NAN))),
        }
    }

    /// The value written out; NULL is empty, a boolean is `1` or `0`.
    pub fn into_text(self) -> Cow<'a, [u8]> {
        match self {
            Self::Null => Cow::Borrowed(&[]),
            Self::Bool(value) => Cow::Borrowed(if value { b"1" } else { b"0" }),
            Self::Int(value) => Cow::Owned(value.to_string().into_bytes()),
            Self::UInt(value) => Cow::Owned(value.to_string().into_bytes()),
            Self::Float(value) => Cow::Owned(value.to_string().into_bytes()),
            Self::String(bytes) => bytes,
        }
    }

    /// The same value, borrowing nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::UInt(value) => Value::UInt(value),
            Self::Float(value) => Value::Float(value),
            Self::String(bytes) => Value::String(Cow::Owned(bytes.into_owned())),
        }
    }
}

/// A value with what a message adds to it: its spelling, and whether its format has types.
#[derive(Clone, Debug, PartialEq)]
pub struct Field<'a> {
    value: Value<'a>,
    /// The spelling of a number that came from a message: `99.50` (TYP-08).
    spelling: Option<Cow<'a, [u8]>>,
    untyped: bool,
}

impl<'a> Field<'a> {
    /// No value.
    pub const NULL: Self = Field { value: Value::Null, spelling: None, untyped: false };

    /// A value without a spelling of its own.
    pub fn new(value: Value<'a>) -> Self {
        Field { value, spelling: None, untyped: false }
    }

    /// A string, or NULL if it is empty.
    pub fn string(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::new(Value::string(bytes))
    }

    /// A number of a typed format, spelled as the message spelled it.
    pub fn number(spelling: &'a [u8]) -> Self {
        match parse_number(spelling) {
            Some(number) => {
                Field { value: number.into(), spelling: Some(Cow::Borrowed(spelling)), untyped: false }
            }
            None => Self::string(spelling),
        }
    }

    /// A value of an untyped format: a number if its text is one (TYP-09).
    pub fn untyped(text: &'a [u8]) -> Self {
        Field { untyped: true, ..Self::number(text) }
    }

    /// The value.
    pub fn value(&self) -> &Value<'a> {
        &self.value
    }

    /// The value alone.
    pub fn into_value(self) -> Value<'a> {
        self.value
    }

    /// The value written out, as the message wrote it where it came from one.
    pub fn into_text(self) -> Cow<'a, [u8]> {
        match self.spelling {
            Some(spelling) => spelling,
            None => self.value.into_text(),
        }
    }

    /// The same field, borrowing nothing.
    pub fn into_owned(self) -> Field<'static> {
        Field {
            value: self.value.into_owned(),
            spelling: self.spelling.map(|spelling| Cow::Owned(spelling.into_owned())),
            untyped: self.untyped,
        }
    }

    /// How the message spelled the number, if one did.
    pub fn spelling(&self) -> Option<&[u8]> {
        self.spelling.as_deref()
    }

    /// Whether the value is of a format without types: its text may look like a number
    /// and be none.
    pub fn is_untyped(&self) -> bool {
        self.untyped
    }

    /// The text, nothing for NULL.
    pub(super) fn text(self) -> Option<Cow<'a, [u8]>> {
        if self.value.is_null() { None } else { Some(self.into_text()) }
    }
}

impl<'a> From<Value<'a>> for Field<'a> {
    fn from(value: Value<'a>) -> Self {
        Field::new(value)
    }
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Ordered(Ordering),
    /// One of them is NULL.
    Null,
    /// One of them is NaN.
    Nan,
}

/// Whether `left comparison right` holds (CMP-01 to CMP-05).
pub(super) fn holds(comparison: Comparison, left: &Field<'_>, right: &Field<'_>, dialect: Dialect) -> bool {
    let order = match relate(left, right, dialect) {
        Relation::Ordered(order) => order,
        Relation::Null => return false,
        Relation::Nan => return comparison == Comparison::NotEqual && dialect.nan == NanComparison::Ieee,
    };
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

/// The order of two values: strings byte by byte, otherwise as numbers, and a string
/// that is no number after every number.
pub(super) fn relate(left: &Field<'_>, right: &Field<'_>, dialect: Dialect) -> Relation {
    let (left_number, right_number) = match (&left.value, &right.value) {
        (Value::Null, _) | (_, Value::Null) => return Relation::Null,
        (Value::String(left), Value::String(right)) => return Relation::Ordered(left.cmp(right)),
        (Value::String(text), other) => {
            if let Some(spelling) = kept_text(right, left, dialect) {
                return Relation::Ordered(text.as_ref().cmp(spelling));
            }
            match parse_number(text) {
                Some(number) => (Some(number), other.number()),
                None if other.is_nan() => return Relation::Nan,
                None => return Relation::Ordered(Ordering::Greater),
            }
        }
        (_, Value::String(_)) => {
            return match relate(right, left, dialect) {
                Relation::Ordered(order) => Relation::Ordered(order.reverse()),
                other => other,
            };
        }
        (left, right) => (left.number(), right.number()),
    };
    match (left_number, right_number) {
        (Some(Number::Integer(left)), Some(Number::Integer(right))) => Relation::Ordered(left.cmp(&right)),
        (Some(left), Some(right)) => {
            left.float().partial_cmp(&right.float()).map_or(Relation::Nan, Relation::Ordered)
        }
        _ => Relation::Null,
    }
}

/// The spelling to compare with a string instead of the number, if the rules want that.
fn kept_text<'f>(number: &'f Field<'_>, string: &Field<'_>, dialect: Dialect) -> Option<&'f [u8]> {
    if number.untyped && !string.untyped && dialect.untyped_string_compare == UntypedCompare::Text {
        number.spelling.as_deref()
    } else {
        None
    }
}

/// A number before it is given one of the two integer types; an integer is always
/// between the least signed and the greatest unsigned one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "promotion to float is meant to round")]
    pub(super) fn float(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }

    /// The number cut to an integer, clamped; NaN is nothing.
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
    pub(super) fn integer(self) -> Option<i64> {
        match self {
            Self::Integer(integer) => {
                Some(i64::try_from(integer).unwrap_or(if integer < 0 { i64::MIN } else { i64::MAX }))
            }
            Self::Float(float) if float.is_nan() => None,
            Self::Float(float) => Some(float as i64),
        }
    }
}

impl From<Number> for Value<'_> {
    fn from(number: Number) -> Self {
        match number {
            Number::Float(float) => Self::Float(float),
            Number::Integer(integer) => {
                if let Ok(signed) = i64::try_from(integer) {
                    Self::Int(signed)
                } else if let Ok(unsigned) = u64::try_from(integer) {
                    Self::UInt(unsigned)
                } else {
                    Self::Float(number.float())
                }
            }
        }
    }
}

/// `left operator right`: NULL if either is (ARI-01), NaN for a division by zero and a
/// float where integers overflow (ARI-03).
pub(super) fn arithmetic(operator: Operator, left: &Value<'_>, right: &Value<'_>) -> Value<'static> {
    let (Some(left), Some(right)) = (left.number(), right.number()) else { return Value::Null };
    if let (Number::Integer(left), Number::Integer(right)) = (left, right) {
        let exact = match operator {
            Operator::Add => left.checked_add(right),
            Operator::Subtract => left.checked_sub(right),
            Operator::Multiply => left.checked_mul(right),
            Operator::Divide if right != 0 => left.checked_div(right),
            Operator::Modulo if right != 0 => left.checked_rem(right),
            Operator::Divide | Operator::Modulo => return Value::Float(f64::NAN),
        };
        if let Some(exact) = exact {
            return Number::Integer(exact).into();
        }
    }
    let (left, right) = (left.float(), right.float());
    Value::Float(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide | Operator::Modulo if right == 0.0 => f64::NAN,
        Operator::Divide => left / right,
        Operator::Modulo => left % right,
    })
}

/// A number in the syntax of a literal, with a sign and blanks around it allowed.
pub(super) fn parse_number(text: &[u8]) -> Option<Number> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None; // "inf" and "nan" are words here
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if let Ok(integer) = text.parse::<i128>() {
            if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&integer) {
                return Some(Number::Integer(integer));
            }
        }
    }
    text.parse().ok().map(Number::Float)
}
