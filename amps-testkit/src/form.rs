//! Reading what is scripted in JSON: faults, and what frames are meant.
//!
//! Owns the errors, which name the key, and the spelling of spans, bytes and times. It knows no
//! fault and no frame.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::{format_timestamp, parse_timestamp};
use amps_transport::Time;
use serde_json::{Map, Value, json};

use crate::similar;

/// What is wrong with a fault or a matcher, in its JSON form or as it was built.
///
/// ```
/// use amps_testkit::Fault;
/// use serde_json::json;
///
/// let error = Fault::from_json(&json!({"wenn": {"outbound": 3}, "then": "swallow"})).unwrap_err();
/// assert_eq!(error.key(), "wenn");
/// assert_eq!(error.to_string(), "wenn: there is no such key; the closest is \"when\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {fault}")]
pub struct FaultError {
    key: String,
    fault: String,
}

impl FaultError {
    pub(crate) fn new(key: impl Into<String>, fault: impl Into<String>) -> Self {
        Self { key: key.into(), fault: fault.into() }
    }

    /// The same, for what stands at `at`.
    pub(crate) fn within(self, at: &str) -> Self {
        if at.is_empty() { self } else { Self { key: format!("{at}.{}", self.key), ..self } }
    }

    /// The key that is wrong, with those around it: `when.inbound.header`.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// An object whose keys are all known.
pub(crate) struct Form<'v> {
    at: &'v str,
    members: &'v Map<String, Value>,
}

impl<'v> Form<'v> {
    pub(crate) fn read(at: &'v str, value: &'v Value, known: &[&str]) -> Result<Self, FaultError> {
        let members = value.as_object().ok_or_else(|| wrong(at, value, "an object"))?;
        let form = Self { at, members };
        match members.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(FaultError::new(form.path(key), unknown("key", key, known))),
            None => Ok(form),
        }
    }

    pub(crate) fn path(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    /// What `read` makes of a member; `None` if it is absent.
    pub(crate) fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str, &'v Value) -> Result<T, FaultError>,
    ) -> Result<Option<T>, FaultError> {
        self.members.get(key).map(|value| read(&self.path(key), value)).transpose()
    }

    pub(crate) fn need<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str, &'v Value) -> Result<T, FaultError>,
    ) -> Result<T, FaultError> {
        self.get(key, read)?.ok_or_else(|| FaultError::new(self.path(key), "it is missing"))
    }
}

/// A word alone, or an object with one member: what is chosen among many, and its value.
pub(crate) fn choice<'v>(
    at: &str,
    value: &'v Value,
    known: &[&str],
) -> Result<(&'v str, Option<&'v Value>), FaultError> {
    let (word, value) = match value {
        Value::String(word) => (word, None),
        Value::Object(members) if members.len() == 1 => match members.iter().next() {
            Some((word, value)) => (word, Some(value)),
            None => return Err(wrong(at, value, "one of its kind")),
        },
        _ => return Err(wrong(at, value, "a word, or an object with one member")),
    };
    if known.contains(&word.as_str()) {
        return Ok((word, value));
    }
    Err(FaultError::new(at, unknown("kind", word, known)))
}

fn unknown(what: &str, written: &str, known: &[&str]) -> String {
    match similar(written, known.iter().copied()) {
        Some(closest) if what == "key" => format!("there is no such key; the closest is \"{closest}\""),
        Some(closest) => format!("there is no \"{written}\"; the closest is \"{closest}\""),
        None => format!("there is no \"{written}\"; write one of {}", known.join(", ")),
    }
}

pub(crate) fn wrong(at: &str, value: &Value, expected: &str) -> FaultError {
    FaultError::new(at, format!("expected {expected}, found {value}"))
}

pub(crate) fn text(at: &str, value: &Value) -> Result<String, FaultError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(at, value, "a text"))
}

pub(crate) fn number(at: &str, value: &Value) -> Result<u64, FaultError> {
    value.as_u64().ok_or_else(|| wrong(at, value, "a number, 0 or more"))
}

pub(crate) fn size(at: &str, value: &Value) -> Result<usize, FaultError> {
    usize::try_from(number(at, value)?).map_err(|_| wrong(at, value, "a smaller number"))
}

pub(crate) fn flag(at: &str, value: &Value) -> Result<bool, FaultError> {
    value.as_bool().ok_or_else(|| wrong(at, value, "true or false"))
}

pub(crate) fn list<T>(
    at: &str,
    value: &Value,
    read: impl Fn(&str, &Value) -> Result<T, FaultError>,
) -> Result<Vec<T>, FaultError> {
    value.as_array().ok_or_else(|| wrong(at, value, "a list"))?.iter().map(|value| read(at, value)).collect()
}

/// The units of spans, the largest first, in nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A span such as `"1500ms"`.
pub(crate) fn span(at: &str, value: &Value) -> Result<Duration, FaultError> {
    let read = |text: &str| {
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        Some(Duration::from_nanos(digits.parse::<u64>().ok()?.checked_mul(*nanos)?))
    };
    let span = value.as_str().and_then(read);
    span.ok_or_else(|| wrong(at, value, "a span such as \"1500ms\" (with h, m, s, ms, us or ns)"))
}

pub(crate) fn span_to_json(span: Duration) -> Value {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let unit = UNITS.iter().find(|(_, size)| nanos % size == 0);
    let (name, size) = unit.copied().unwrap_or(("ns", 1));
    json!(format!("{}{name}", nanos / size))
}

/// Text, or `{"hex": "00ff"}`.
pub(crate) fn bytes(at: &str, value: &Value) -> Result<Vec<u8>, FaultError> {
    if let Some(text) = value.as_str() {
        return Ok(text.as_bytes().to_vec());
    }
    let expected = "a text, or {\"hex\": \"00ff\"}";
    let digits = value.get("hex").and_then(Value::as_str).ok_or_else(|| wrong(at, value, expected))?;
    let pair = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    };
    digits.as_bytes().chunks(2).map(pair).collect::<Option<_>>().ok_or_else(|| wrong(at, value, expected))
}

pub(crate) fn bytes_to_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({"hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()}),
    }
}

/// A time as AMPS writes it, or nanoseconds since 1970.
pub(crate) fn time(at: &str, value: &Value) -> Result<Time, FaultError> {
    let nanos = value.as_u64().or_else(|| parse_timestamp(value.as_str()?.as_bytes()));
    let expected = "a time such as \"20260101T000030Z\", or nanoseconds since 1970";
    nanos.map(Time::from_unix_nanos).ok_or_else(|| wrong(at, value, expected))
}

pub(crate) fn time_to_json(time: Time) -> Value {
    let nanos = time.as_unix_nanos();
    let written = format_timestamp(nanos).to_string();
    if parse_timestamp(written.as_bytes()) == Some(nanos) { json!(written) } else { json!(nanos) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_bytes_and_times_are_read_as_they_were_written() {
        for span_ in [0, 1, 1_500, 2_000_000, 90_000_000_000, 7_200_000_000_000].map(Duration::from_nanos) {
            assert_eq!(span("x", &span_to_json(span_)), Ok(span_));
        }
        for bytes_ in [&b"text"[..], b"\xff\0", b""] {
            assert_eq!(bytes("x", &bytes_to_json(bytes_)).unwrap(), bytes_);
        }
        for nanos in [0, 1, 1_767_225_600_000_000_000] {
            let time_ = Time::from_unix_nanos(nanos);
            assert_eq!(time("x", &time_to_json(time_)), Ok(time_));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |error: FaultError| error.to_string();
        assert!(message(span("a.b", &json!("5")).unwrap_err()).starts_with("a.b: expected a span"));
        assert!(span("x", &json!("99999999999999999999s")).is_err());
        assert!(bytes("x", &json!({"hex": "0"})).is_err());
        assert!(bytes("x", &json!({"hex": "zz"})).is_err());
        assert!(time("x", &json!("yesterday")).is_err());
        assert!(message(choice("then", &json!("swalow"), &["swallow"]).unwrap_err()).contains("swallow"));
        assert!(choice("then", &json!({"a": 1, "b": 2}), &["a", "b"]).is_err());
        assert!(choice("then", &json!({}), &["a"]).is_err());
    }
}
