//! A decoder that remembers headers agrees with one that does not, whatever comes after what.

use amps_protocol::{Field, Message, MessageDecoder};
use proptest::prelude::*;

/// Everything that can be asked of a message.
fn all(message: &Message<&[u8]>) -> Vec<String> {
    let mut all: Vec<String> = Field::ALL.iter().map(|field| format!("{:?}", message.get(*field))).collect();
    all.push(format!("{message:?} {:?} {:?} {:?}", message.acks(), message.status(), message.data()));
    all
}

fn agree(decoder: &mut MessageDecoder, frame: &[u8]) {
    let (told, plain) = (decoder.decode(frame), Message::decode(frame));
    match (told, plain) {
        (Ok(told), Ok(plain)) => {
            assert_eq!(all(&told), all(&plain), "{}", frame.escape_ascii());
            let mut records = decoder.records(&told, None);
            for expected in plain.records() {
                match (records.next().unwrap(), expected) {
                    (Ok(record), Ok(expected)) => {
                        assert_eq!(all(&record), all(&expected), "{}", frame.escape_ascii());
                    }
                    (record, expected) => assert_eq!(record.map(drop), expected.map(drop)),
                }
            }
            assert!(records.next().is_none());
            decoder.recycle(records);
        }
        (told, plain) => assert_eq!(told.map(drop), plain.map(drop), "{}", frame.escape_ascii()),
    }
}

/// Headers of which many have the same shape as one before.
fn headers() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        6 => "\"[a-c0-9|,}{ ]{0,3}\"",
        4 => "[0-9]{1,2}",
        1 => Just("null".to_owned()),
        1 => "\"[a\\\\\\\\\"]{1,2}\"",
        1 => "[a-f0-9.]{1,2}",
    ];
    let key = prop::sample::select(vec![
        "t", "sids", "bm", "k", "l", "x", "e", "user_id", "status", "a", "c", "new",
    ]);
    let member = (key, value).prop_map(|(key, value)| format!(",\"{key}\":{value}"));
    let command = prop::sample::select(vec!["p", "sow", "ack", "oof"]);
    (command, prop::collection::vec(member, 0..4))
        .prop_map(|(command, members)| format!("{{\"c\":\"{command}\"{}}}", members.concat()))
}

/// Frames, some of them with records.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let record = (headers(), 0..3_usize).prop_map(|(header, body)| {
        format!("{},\"l\":{body}}}{}", header.trim_end_matches('}'), "x".repeat(body))
    });
    (headers(), prop::collection::vec(record, 0..4))
        .prop_map(|(header, records)| (header + &records.concat()).into_bytes())
}

proptest! {
    #[test]
    fn whatever_comes_after_what(frames in prop::collection::vec(frames(), 1..40)) {
        let mut decoder = MessageDecoder::new();
        for frame in frames {
            agree(&mut decoder, &frame);
        }
    }

    /// The nearest to a known shape is that shape with another byte, or more or fewer.
    #[test]
    fn a_byte_more_or_less(
        frame in frames(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..60),
    ) {
        let mut decoder = MessageDecoder::new();
        for (at, byte, how) in changes {
            for _ in 0..3 {
                agree(&mut decoder, &frame);
            }
            let mut changed = frame.clone();
            let at = at.index(changed.len());
            match how {
                0 => changed[at] = byte,
                1 => changed[at] = b"\"\\}{,0"[usize::from(byte) % 6],
                2 => changed.insert(at, byte),
                _ => changed.truncate(at),
            }
            agree(&mut decoder, &changed);
        }
    }
}
