//! Holds the decoder against the naive one, on one frame or batch.

use amps_protocol::{AckTypes, CommandKind, Field, Message, Status};
use bytes::Bytes;

use super::{Fields, number, records};

/// Compares both decoders on one frame; panics with the frame where they differ.
pub(crate) fn compare(frame: &[u8]) {
    match (Message::decode(frame), super::decode(frame)) {
        (Ok(message), Ok((fields, body))) => {
            compare_fields(&message, &fields, Field::ALL);
            assert_eq!(message.data(), &frame[body..], "{}", shown(frame));
        }
        (Err(error), Err(offset)) => assert_eq!(error.offset, offset, "{error}: {}", shown(frame)),
        (Ok(_), Err(offset)) => panic!("decoded, but malformed at {offset}: {}", shown(frame)),
        (Err(error), Ok(_)) => panic!("{error}, but decoded naively: {}", shown(frame)),
    }
}

/// The frame in readable form, without the middle of a long one.
fn shown(frame: &[u8]) -> String {
    match frame.len() {
        0..400 => frame.escape_ascii().to_string(),
        length => format!(
            "{} … {} ({length} bytes)",
            frame[..100].escape_ascii(),
            frame[length - 200..].escape_ascii()
        ),
    }
}

fn compare_fields(message: &Message<impl AsRef<[u8]>>, naive: &Fields, compared: &[Field]) {
    let frame = message.frame();
    let expected = |field: Field| {
        let found = naive.iter().find(|(key, _)| key == field.key());
        found.map(|(_, value)| &value[..])
    };
    for &field in compared {
        let found = message.get(field).map(|text| &**text);
        assert_eq!(found, expected(field), "{field:?}: {}", shown(frame));
        if let Some(text) = found {
            assert_eq!(message.number(field), number(text), "{field:?} as a number");
        }
    }
    let command = expected(Field::Command).map_or(CommandKind::Missing, CommandKind::from_token);
    let acks = expected(Field::AckType).map_or(AckTypes::NONE, AckTypes::parse);
    let status = expected(Field::Status).map(Status::from_token);
    let found = (message.command(), message.acks(), message.status());
    assert_eq!(found, (command, acks, status), "{}", shown(frame));
}

/// Compares the records of one `sow` frame, borrowed, shared and copied; other frames have none.
pub(crate) fn compare_records(frame: &[u8]) {
    let Ok(message) = Message::decode(Bytes::copy_from_slice(frame)) else { return };
    let Some((expected, stop)) = records::decode(frame) else {
        assert_eq!(message.records().count(), 0, "{}", shown(frame));
        return;
    };
    let mut found = message.records();
    let mut shared = message.clone().into_records();
    for (i, (fields, data)) in expected.iter().enumerate() {
        let (Some(Ok(borrowed)), Some(Ok(shared))) = (found.next(), shared.next()) else {
            panic!("record {i} is missing: {}", shown(frame));
        };
        let compared = Field::ALL;
        compare_fields(&borrowed, fields, compared);
        // The others differ in whose bytes they are, not in how they are read: a few will do.
        if i < 3 {
            let copied = borrowed.to_owned();
            compare_fields(&copied, fields, compared);
            compare_fields(&shared, fields, compared);
            assert_eq!(copied.data(), *data, "copy of record {i}: {}", shown(frame));
        }
        assert_eq!(borrowed.data(), *data, "record {i}: {}", shown(frame));
        assert_eq!(shared.data(), *data, "shared record {i}: {}", shown(frame));
    }
    let rest = (found.next(), shared.next());
    match (stop, &rest) {
        (None, (None, None)) => {}
        (Some(offset), (Some(Err(left)), Some(Err(right)))) => {
            assert_eq!(left, right);
            assert_eq!((left.record, left.offset), (expected.len(), offset), "{left}: {}", shown(frame));
            assert!(found.next().is_none() && shared.next().is_none());
        }
        _ => panic!("{rest:?}, but stops at {stop:?}: {}", shown(frame)),
    }
}
