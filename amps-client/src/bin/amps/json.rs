//! Whole messages as JSON, one per line.
//!
//! Owns the names of the members, and how a body of any kind becomes one: JSON stays what it is, text becomes a string,
//! anything else Base64, with `"encoding":"base64"` beside it.

use amps_client::RawMessage;
use amps_protocol::Field;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;

use crate::template::word;

/// What keeps its secret.
const HIDDEN: &str = "<hidden>";

/// Appends a message: its header in the order of the protocol, then its body.
pub(crate) fn write<B: AsRef<[u8]>>(message: &RawMessage<B>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"command\":");
    string(&word(message), out);
    for &field in Field::ALL.iter().filter(|field| !matches!(field, Field::Command | Field::Length)) {
        if let Some(value) = message.get(field) {
            member(name_of(field), out);
            match message.number(field).filter(|_| field.is_number()) {
                Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
                None if field == Field::Password => string(HIDDEN, out),
                None => string(&String::from_utf8_lossy(value), out),
            }
        }
    }
    body(message.data(), out);
    out.push(b'}');
}

/// `,"length":…,"data":…`.
pub(crate) fn body(data: &[u8], out: &mut Vec<u8>) {
    member("length", out);
    out.extend_from_slice(data.len().to_string().as_bytes());
    if data.is_empty() {
        return;
    }
    if serde_json::from_slice::<IgnoredAny>(data).is_ok() {
        member("data", out);
        // Line breaks occur between its tokens only; as it is else, so that no number changes.
        out.extend(data.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        return;
    }
    match std::str::from_utf8(data) {
        Ok(text) => {
            member("data", out);
            string(text, out);
        }
        Err(_) => {
            out.extend_from_slice(b",\"encoding\":\"base64\"");
            member("data", out);
            string(&STANDARD.encode(data), out);
        }
    }
}

/// The names that `--format` has for a field, else the longest of those that the protocol knows.
fn name_of(field: Field) -> &'static str {
    match field {
        Field::SowKey => "sowkey",
        Field::Version => "version",
        _ => field.keys().iter().copied().max_by_key(|key| key.len()).unwrap_or_default(),
    }
}

pub(crate) fn member(name: &str, out: &mut Vec<u8>) {
    out.push(b',');
    string(name, out);
    out.push(b':');
}

pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    // A string always has a form in JSON, and memory takes it.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line(frame: &[u8]) -> String {
        let mut out = Vec::new();
        write(&RawMessage::decode(frame).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn value(frame: &[u8]) -> Value {
        serde_json::from_str(&line(frame)).unwrap()
    }

    #[test]
    fn the_header_has_readable_names_and_numbers() {
        let frame = br#"{"c":"p","t":"orders","bm":"7|1|","k":"9","e":5,"lp":"L","user_id":"ann","x":"YQ=="}{"id":1}"#;
        assert_eq!(
            value(frame),
            json!({"command": "publish", "topic": "orders", "bookmark": "7|1|", "sowkey": "9", "expiration": 5,
                "lease_period": "L", "user_id": "ann", "correlation_id": "YQ==", "length": 8, "data": {"id": 1}})
        );
    }

    #[test]
    fn bodies_of_any_kind_stay_on_one_line() {
        assert_eq!(value(b"{\"c\":\"p\"}{\"a\":\r\n [1,\n2]}")["data"], json!({"a": [1, 2]}));
        assert_eq!(value(b"{\"c\":\"p\"}35=8\x01\n")["data"], "35=8\u{1}\n");
        let binary = value(b"{\"c\":\"p\"}\xff\x00");
        assert_eq!((&binary["data"], &binary["encoding"]), (&json!("/wA="), &json!("base64")));
        assert!(value(b"{\"c\":\"p\"}").get("data").is_none());
        assert!(!line(b"{\"c\":\"p\"}{\"a\":\n1}").contains('\n'));
    }

    #[test]
    fn no_number_changes_and_no_password_shows() {
        let long = "123456789012345678901234567890.10";
        assert!(line(format!("{{\"c\":\"p\"}}{long}").as_bytes()).contains(long));
        assert!(!line(br#"{"c":"logon","pw":"s3cret"}"#).contains("s3cret"));
    }
}
