//! The golden vectors: every one decodes, and every one that an encoder may write is
//! written back byte for byte.

mod common;
#[path = "common/golden.rs"]
mod golden;
use golden::vectors;

use amps_protocol::{
    AckType, CommandKind, Field, FrameDecoder, FrameWriter, Message, MessageDecoder, Status,
};
use bytes::{Bytes, BytesMut};

fn decode(id: &str) -> Message {
    let vector = vectors().into_iter().find(|vector| vector.id == id).unwrap();
    Message::decode(Bytes::from(vector.frame)).unwrap()
}

/// Writes a decoded message again, field by field, through the public encoder.
fn encode(message: &Message) -> BytesMut {
    let mut out = BytesMut::new();
    let mut writer = FrameWriter::new(&mut out, message.command());
    for &field in Field::ALL {
        writer = match field {
            Field::Command => writer,
            Field::AckType => writer.acks(message.acks()),
            Field::Status => writer.maybe_text(field, message.status().map(Status::token)),
            _ if field.is_number() => writer.maybe_number(field, message.number(field)),
            _ => writer.maybe_text(field, message.get(field)),
        };
    }
    writer.finish(message.data());
    out
}

#[test]
fn every_vector_decodes_and_its_prefix_is_its_length() {
    for vector in vectors() {
        assert_eq!(vector.prefix as usize, vector.frame.len(), "{}", vector.id);
        let message = Message::decode(&vector.frame[..]).unwrap_or_else(|e| panic!("{}: {e}", vector.id));
        assert!(
            !matches!(message.command(), CommandKind::Missing | CommandKind::Unknown),
            "{}: {message:?}",
            vector.id
        );
        assert!(!message.length_mismatch(), "{}: {message:?}", vector.id);
        let from_servers_only = matches!(
            message.command(),
            CommandKind::Ack
                | CommandKind::Sow
                | CommandKind::GroupBegin
                | CommandKind::GroupEnd
                | CommandKind::Oof
        );
        // V25 asks for a query; V61 is another client's way to settle a queue message.
        let asked = ["V25", "V61"].contains(&vector.id.as_str());
        assert!(!vector.from_client || !from_servers_only || asked, "{}: {message:?}", vector.id);
    }
}

#[test]
fn every_encodable_vector_is_written_back_byte_for_byte() {
    for vector in vectors().iter().filter(|vector| !vector.decode_only) {
        let message = Message::decode(Bytes::copy_from_slice(&vector.frame)).unwrap();
        let again = encode(&message);
        let expected = [&vector.prefix.to_be_bytes()[..], &vector.frame[..]].concat();
        assert_eq!(
            String::from_utf8_lossy(&again),
            String::from_utf8_lossy(&expected),
            "{} differs",
            vector.id
        );
    }
}

#[test]
fn all_vectors_in_one_stream_come_out_the_same_at_every_chunk_size() {
    let vectors = vectors();
    let stream: Vec<u8> =
        vectors.iter().flat_map(|v| [&v.prefix.to_be_bytes()[..], &v.frame[..]].concat()).collect();
    for chunk in 1..64 {
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for part in stream.chunks(chunk) {
            buffer.extend_from_slice(part);
            while let Some(frame) = FrameDecoder::default().decode(&mut buffer).unwrap() {
                frames.push(frame);
            }
        }
        assert!(buffer.is_empty());
        assert!(frames.iter().eq(vectors.iter().map(|v| &v.frame)), "chunks of {chunk}");
    }
}

#[test]
fn what_the_vectors_say_comes_out() {
    let traced = decode("V02");
    assert_eq!(traced.number(Field::Sequence), Some(0));
    assert_eq!(traced.bookmark().unwrap(), "7094790850998930143|0|");
    assert_eq!(traced.status(), Some(Status::Success));
    assert_eq!(traced.reason().unwrap(), "authentication disabled");
    assert_eq!(decode("V03").data(), b"0\x01");
    assert_eq!(decode("V05").data(), br#"{ "id" : 1, "message" : "Hello, World!" }"#);
    assert_eq!(decode("V13").sub_ids().unwrap(), "1,4,9");
    let escapes = decode("V14");
    assert_eq!(escapes.topic().unwrap(), "a\\b");
    assert_eq!(escapes.filter().unwrap(), "/n = \"x\t\u{1}\"");
    assert_eq!(decode("V41").options().unwrap(), "max_backlog=5");
    assert_eq!(decode("V42").lease().unwrap(), "20250909T172019.976304Z");
    assert!(decode("V47").is_ack(AckType::Persisted));
    let long_names = decode("V58");
    assert_eq!(long_names.command(), CommandKind::Ack);
    assert_eq!(long_names.command_id().unwrap(), "7");
    assert_eq!(long_names.version().unwrap(), "5.3.5.0");
    let tolerated = decode("V59");
    assert_eq!(tolerated.topic().unwrap(), "orders");
    assert_eq!(tolerated.sequence(), Some(10));
    assert_eq!(tolerated.lease(), None);
    assert_eq!(tolerated.data(), b" {\"id\":1}");
    let other_client = decode("V60");
    assert_eq!(other_client.filter().unwrap(), "/id > 10");
    assert_eq!(other_client.options().unwrap(), "replace");
    assert_eq!(&**decode("V63").topic().unwrap(), b"\xf0\x9f\x98\x80\x5c\x71");
}

/// Each after each: what a decoder remembers of one vector never shows in another.
#[test]
fn vectors_decode_the_same_in_any_company() {
    let frames: Vec<Vec<u8>> = vectors().into_iter().map(|vector| vector.frame).collect();
    let mut decoder = MessageDecoder::new();
    for (first, second) in frames.iter().flat_map(|first| frames.iter().map(move |second| (first, second))) {
        for frame in [first, second] {
            let (told, plain) = (decoder.decode(frame).unwrap(), Message::decode(&frame[..]).unwrap());
            assert_eq!(format!("{told:?}"), format!("{plain:?}"));
        }
    }
}
