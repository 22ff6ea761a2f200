//! The functions: their names, how many arguments they take, and what they compute.
//!
//! `IF`, `COALESCE`, the `ARRAY_*` and the `REGEXP_*` functions see more than the first
//! element of their evaluated arguments, so the evaluator computes those.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;

use super::Context;
use super::like;
use super::time;
use super::value::{Field, Number, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    If,
    Coalesce,
    Concat,
    Upper,
    Lower,
    Instr,
    InstrIgnoreCase,
    StrEqualIgnoreCase,
    Substr,
    Reverse,
    Length,
    Replace,
    RegexpReplace,
    RegexpMatch,
    Abs,
    Round,
    Crc32,
    ArrayCount,
    ArrayMin,
    ArrayMax,
    ArraySum,
    ArrayToString,
    StrFTime,
    StrPTime,
    UnixTimestamp,
    TopicName,
    MessageSize,
    CorrelationId,
    Bookmark,
    SowKey,
    LastUpdated,
    ClientName,
    InstanceName,
    GroupName,
    GeoDistance,
    TrueValue,
    FalseValue,
    NanValue,
    CharValue,
}

impl Function {
    /// Whether the same message always gives the same result (SUB-10).
    pub(super) fn is_deterministic(self) -> bool {
        self != Self::UnixTimestamp
    }
}

/// A function and how it may be called.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) function: Function,
    pub(super) least: usize,
    pub(super) most: usize,
}

const ANY: usize = usize::MAX;

const fn signature(name: &'static str, function: Function, least: usize, most: usize) -> Signature {
    Signature { name, function, least, most }
}

static SIGNATURES: [Signature; 39] = [
    signature("IF", Function::If, 3, 3),
    signature("COALESCE", Function::Coalesce, 1, ANY),
    signature("CONCAT", Function::Concat, 1, ANY),
    signature("UPPER", Function::Upper, 1, 1),
    signature("LOWER", Function::Lower, 1, 1),
    signature("INSTR", Function::Instr, 2, 2),
    signature("INSTR_I", Function::InstrIgnoreCase, 2, 2),
    signature("STREQUAL_I", Function::StrEqualIgnoreCase, 2, 2),
    signature("SUBSTR", Function::Substr, 2, 3),
    signature("REVERSE", Function::Reverse, 1, 1),
    signature("LENGTH", Function::Length, 1, 1),
    signature("REPLACE", Function::Replace, 3, 3),
    signature("REGEXP_REPLACE", Function::RegexpReplace, 3, 3),
    signature("REGEXP_MATCH", Function::RegexpMatch, 2, 2),
    signature("ABS", Function::Abs, 1, 1),
    signature("ROUND", Function::Round, 1, 2),
    signature("CRC32", Function::Crc32, 1, 1),
    signature("ARRAY_COUNT", Function::ArrayCount, 1, 1),
    signature("ARRAY_MIN", Function::ArrayMin, 1, 1),
    signature("ARRAY_MAX", Function::ArrayMax, 1, 1),
    signature("ARRAY_SUM", Function::ArraySum, 1, 1),
    signature("ARRAY_TO_STRING", Function::ArrayToString, 3, 3),
    signature("STRFTIME", Function::StrFTime, 2, 2),
    signature("STRPTIME", Function::StrPTime, 2, 2),
    signature("UNIX_TIMESTAMP", Function::UnixTimestamp, 0, 0),
    signature("TOPIC_NAME", Function::TopicName, 0, 0),
    signature("MESSAGE_SIZE", Function::MessageSize, 0, 0),
    signature("CORRELATION_ID", Function::CorrelationId, 0, 0),
    signature("BOOKMARK", Function::Bookmark, 0, 0),
    signature("SOW_KEY", Function::SowKey, 0, 0),
    signature("LAST_UPDATED", Function::LastUpdated, 0, 0),
    signature("CLIENT_NAME", Function::ClientName, 0, 0),
    signature("AMPS_INSTANCE_NAME", Function::InstanceName, 0, 0),
    signature("AMPS_GROUP_NAME", Function::GroupName, 0, 0),
    signature("GEO_DISTANCE", Function::GeoDistance, 4, 4),
    signature("TRUE_VALUE", Function::TrueValue, 0, 0),
    signature("FALSE_VALUE", Function::FalseValue, 0, 0),
    signature("NAN_VALUE", Function::NanValue, 0, 0),
    signature("CHAR_VALUE", Function::CharValue, 1, 1),
];

/// The function of this name, in any case (EXP-02).
pub(super) fn find(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.name.eq_ignore_ascii_case(name))
}

/// Computes a function of the first elements of its arguments.
pub(super) fn call<'e>(function: Function, arguments: Vec<Field<'e>>, context: &Context<'e>) -> Field<'e> {
    if function == Function::Concat {
        let texts: Vec<Cow<'e, [u8]>> = arguments.into_iter().map(Field::into_text).collect();
        return Field::string(texts.concat());
    }
    if arguments.is_empty() {
        return constant(function, context).into();
    }
    if function == Function::GeoDistance {
        return geo_distance(&arguments).into();
    }
    let mut arguments = arguments.into_iter();
    let first = arguments.next().unwrap_or(Field::NULL);
    let rest = [arguments.next(), arguments.next()];
    match function {
        Function::Abs | Function::Round | Function::CharValue => {
            let [places, _] = rest;
            numeric(function, first.value(), places.as_ref().map(Field::value)).into()
        }
        _ => textual(function, first, rest).unwrap_or(Value::Null).into(),
    }
}

/// The functions without arguments.
fn constant<'e>(function: Function, context: &Context<'e>) -> Value<'e> {
    let text = |text: &'e [u8]| Value::string(text);
    match function {
        Function::UnixTimestamp => Value::Float(context.now.as_secs_f64()),
        Function::LastUpdated => Value::Float(context.last_updated.unwrap_or(context.now).as_secs_f64()),
        Function::TopicName => text(context.topic.as_bytes()),
        Function::MessageSize => Number::Integer(i128::from(context.message_size)).into(),
        Function::CorrelationId => text(context.correlation_id),
        Function::Bookmark => {
            context.bookmark.map_or(Value::Null, |b| Value::string(b.to_string().into_bytes()))
        }
        Function::SowKey => text(context.sow_key.as_bytes()),
        Function::ClientName => text(context.client_name.as_bytes()),
        Function::InstanceName => text(context.instance_name.as_bytes()),
        Function::TrueValue => Value::Bool(true),
        Function::FalseValue => Value::Bool(false),
        Function::NanValue => Value::Float(f64::NAN),
        _ => Value::Null,
    }
}

/// The functions of a number: NULL of NULL, NaN of what is no number.
fn numeric(function: Function, operand: &Value<'_>, places: Option<&Value<'_>>) -> Value<'static> {
    let Some(number) = operand.number() else { return Value::Null };
    match (function, number) {
        (Function::Abs, Number::Integer(integer)) => Number::Integer(integer.abs()).into(),
        (Function::Abs, Number::Float(float)) => Value::Float(float.abs()),
        (Function::CharValue, number) => match number.integer().map(u8::try_from) {
            Some(Ok(byte)) => Value::string(vec![byte]),
            _ => Value::Null,
        },
        (_, number) => match places.map(|places| places.number().and_then(Number::integer)) {
            Some(None) => Value::Null,
            None => round(number, 0),
            Some(Some(places)) => round(number, places),
        },
    }
}

/// The radius of a sphere of the earth's volume, in metres.
const EARTH_RADIUS: f64 = 6_371_000.8;

/// The way along a great circle, in metres, between two points given as latitude and
/// longitude in degrees (the order and the unit are inferred, server.md 11, row 30).
fn geo_distance(arguments: &[Field<'_>]) -> Value<'static> {
    let mut degrees = [0.0; 4];
    for (degrees, argument) in degrees.iter_mut().zip(arguments) {
        let Some(number) = argument.value().number() else { return Value::Null };
        *degrees = number.float();
    }
    let [latitude, longitude, other_latitude, other_longitude] = degrees.map(f64::to_radians);
    let half_sine = |angle: f64| (angle / 2.0).sin().powi(2);
    let haversine = half_sine(other_latitude - latitude)
        + latitude.cos() * other_latitude.cos() * half_sine(other_longitude - longitude);
    Value::Float(2.0 * EARTH_RADIUS * haversine.sqrt().clamp(0.0, 1.0).asin())
}

/// Half away from zero; a negative number of places rounds before the point.
fn round(number: Number, places: i64) -> Value<'static> {
    let Number::Float(float) = number else {
        return if places >= 0 { number.into() } else { round(Number::Float(number.float()), places) };
    };
    let scale = 10_f64.powi(i32::try_from(places.clamp(-400, 400)).unwrap_or(0));
    let rounded = (float * scale).round() / scale;
    Value::Float(if rounded.is_finite() || !float.is_finite() {
        rounded
    } else if places > 0 {
        float
    } else {
        0.0
    })
}

/// The functions of strings: `None` is NULL, which is what they make of NULL (STR-04).
fn textual<'e>(function: Function, first: Field<'e>, rest: [Option<Field<'e>>; 2]) -> Option<Value<'e>> {
    let [second, third] = rest;
    let subject = first.text()?;
    Some(match function {
        Function::Upper => Value::string(subject.to_ascii_uppercase()),
        Function::Lower => Value::string(subject.to_ascii_lowercase()),
        Function::Reverse => Value::string(subject.iter().rev().copied().collect::<Vec<u8>>()),
        Function::Length => integer(subject.len()),
        Function::Crc32 => Value::Int(i64::from(crc32(&subject))),
        Function::Instr => position(&subject, &second?.text()?),
        Function::InstrIgnoreCase => {
            position(&subject.to_ascii_lowercase(), &second?.text()?.to_ascii_lowercase())
        }
        Function::StrEqualIgnoreCase => Value::Bool(subject.eq_ignore_ascii_case(&second?.text()?)),
        Function::Replace => {
            let (from, to) = (second?.into_text(), third?.into_text());
            Value::string(like::replace(&subject, &from, &to))
        }
        Function::Substr => {
            let start = second?.value().number()?.integer()?.max(1) - 1;
            let length = match third {
                None => i64::MAX,
                Some(length) => length.value().number()?.integer()?.max(0),
            };
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            Value::string(subject.iter().skip(start).take(length).copied().collect::<Vec<u8>>())
        }
        Function::StrFTime => Value::string(time::format(&subject, second?.value().number()?.float())?),
        Function::StrPTime => Value::Float(time::parse(&subject, &second?.text()?)?),
        _ => Value::Null,
    })
}

fn position(text: &[u8], part: &[u8]) -> Value<'static> {
    integer(like::find(text, part).map_or(0, |start| start + 1))
}

pub(super) fn integer(number: usize) -> Value<'static> {
    i64::try_from(number).map_or(Value::Null, Value::Int)
}

/// The CRC-32 of zlib.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
