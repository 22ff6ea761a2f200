//! Holds the decoder against the naive one, on one frame.

use amps_protocol::{AckTypes, CommandKind, Field, Message, Status};

/// Compares both decoders on one frame; panics with the frame where they differ.
pub(crate) fn compare(frame: &[u8]) {
    match (Message::decode(frame), super::decode(frame)) {
        (Ok(message), Ok((fields, body))) => {
            compare_fields(&message, &fields);
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

fn compare_fields(message: &Message<&[u8]>, naive: &[(String, Vec<u8>)]) {
    let frame = message.frame();
    let expected = |field: Field| {
        let found = naive.iter().find(|(key, _)| key == field.key());
        found.map(|(_, value)| &value[..])
    };
    for &field in Field::ALL {
        // These three are compared by what they mean.
        if matches!(field, Field::Command | Field::AckType | Field::Status) {
            continue;
        }
        let found = message.get(field).map(|text| &**text);
        assert_eq!(found, expected(field), "{field:?}: {}", shown(frame));
        assert_eq!(message.number(field), expected(field).and_then(number), "{field:?} as a number");
    }
    if words_are_read(frame) {
        let command = expected(Field::Command).map_or(CommandKind::Missing, CommandKind::from_token);
        let acks = expected(Field::AckType).map_or(AckTypes::NONE, AckTypes::parse);
        let status = expected(Field::Status).map(Status::from_token);
        let found = (message.command(), message.acks(), message.status());
        assert_eq!(found, (command, acks, status), "{}", shown(frame));
    }
}

/// Whether command, acknowledgements and status come out as D-6 asks. The decoder reads these
/// three words before it undoes escapes, so not where there could be any.
pub(crate) fn words_are_read(frame: &[u8]) -> bool {
    !frame.contains(&b'\\')
}

/// D-13: digits alone, and no more than 64 bits of them.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
