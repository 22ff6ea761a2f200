//! The golden vectors of whole frames and bodies in hex.
//!
//! X05 to X08 are what compression and WebSocket put on the wire; here only as much of them
//! is checked as needs neither.

mod common;

use std::collections::BTreeMap;

use amps_protocol::{
    CommandKind, CompositeReader, Field, FixReader, FrameDecoder, FrameFault, FrameTooLong, Frames,
    LENGTH_PREFIX, Message, NvfixReader,
};
use bytes::{Bytes, BytesMut};

/// The vectors by id.
fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let mut vectors = BTreeMap::new();
    let mut id = "";
    for line in include_str!("data/frames.txt").lines() {
        if let Some(hex) = line.strip_prefix("  X ") {
            let bytes = hex.split(' ').map(|digits| u8::from_str_radix(digits, 16).unwrap());
            vectors.entry(id).or_insert_with(Vec::new).extend(bytes);
        } else if line.starts_with('X') {
            id = line.split(' ').next().unwrap();
        }
    }
    assert_eq!(vectors.len(), 10);
    vectors
}

/// Header and body of a vector that is given as text.
fn text_vector(id: &str) -> Vec<u8> {
    let all = include_str!("data/vectors.txt");
    let lines = all.lines().skip_while(|line| !line.starts_with(id)).skip(1);
    let mut frame = Vec::new();
    for line in lines.take_while(|line| line.starts_with("  ")) {
        match line.split_at(4) {
            ("  H ", header) => frame.extend_from_slice(header.as_bytes()),
            ("  B ", body) => frame.extend(common::bytes_of(body)),
            _ => {}
        }
    }
    assert!(!frame.is_empty(), "{id}");
    frame
}

/// Every frame of a stream, which must end with a whole one.
fn frames(stream: &[u8]) -> Vec<Bytes> {
    let mut stream = BytesMut::from(stream);
    let mut decoder = FrameDecoder::default();
    let frames = std::iter::from_fn(|| decoder.decode(&mut stream).unwrap()).collect();
    assert!(stream.is_empty(), "{stream:?} is left");
    frames
}

#[test]
fn frames_in_hex_hold_what_the_text_vectors_hold() {
    let vectors = vectors();
    assert_eq!(frames(&vectors["X01"]), [text_vector("V03")]);
    assert_eq!(frames(&vectors["X02"]), [text_vector("V56")]);
    let beat = Message::decode(frames(&vectors["X02"]).remove(0)).unwrap();
    assert_eq!(beat.command(), CommandKind::Heartbeat);
    assert!(beat.data().is_empty());
}

#[test]
fn a_zero_length_frame_is_stepped_over() {
    let vectors = vectors();
    assert_eq!(frames(&vectors["X03"]), frames(&vectors["X02"]));
}

#[test]
fn a_composite_body_is_cut_into_its_parts() {
    let message = Message::decode(frames(&vectors()["X04"]).remove(0)).unwrap();
    assert_eq!(message.command(), CommandKind::Publish);
    assert_eq!(message.get(Field::Topic).unwrap(), "blobs");
    assert_eq!(LENGTH_PREFIX + message.header().body_offset(), 25, "counted from the prefix on");
    let parts = CompositeReader::new(message.data()).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(parts, [&b"{\"id\":7}"[..], b"", b"\x00\xff\x10"]);
}

#[test]
fn fix_and_nvfix_bodies_are_cut_into_their_fields() {
    let vectors = vectors();
    let mut fix = FixReader::new(&vectors["X09"]);
    let fields: Vec<_> = fix.by_ref().collect();
    assert_eq!(fields, [(35, &b"D"[..]), (55, b"IBM"), (44, b"")]);
    assert_eq!(fix.skipped(), 0);
    let mut nvfix = NvfixReader::new(&vectors["X10"]);
    let fields: Vec<_> = nvfix.by_ref().collect();
    assert_eq!(fields, [(&b"symbol"[..], &b"IBM"[..]), (b"note", b"a=b")]);
    assert_eq!(nvfix.skipped(), 0);
}

#[test]
fn websocket_messages_hold_one_frame_with_or_without_its_prefix() {
    let vectors = vectors();
    for (id, payload) in [("X07", text_vector("V56")), ("X08", vectors["X02"].clone())] {
        let [kind, length, inside @ ..] = &vectors[id][..] else { panic!("{id} is too short") };
        assert_eq!(*kind, 0x82, "{id}: final and binary");
        assert_eq!(usize::from(*length), inside.len(), "{id}: unmasked, and its length fits seven bits");
        assert_eq!(inside, payload, "{id}");
    }
}

#[test]
fn compressed_vectors_inflate_to_frames_as_one_stream() {
    let vectors = vectors();
    let mut inflate = flate2::Decompress::new(true);
    let mut stream = BytesMut::new();
    for id in ["X05", "X06"] {
        let mut plain = vec![0; 100];
        let before = inflate.total_out();
        inflate.decompress(&vectors[id], &mut plain, flate2::FlushDecompress::Sync).unwrap();
        plain.truncate((inflate.total_out() - before) as usize);
        stream.extend_from_slice(&plain);
    }
    assert_eq!(stream, [&vectors["X02"][..], &vectors["X01"]].concat());
    let mut decoder = FrameDecoder::default();
    let beat = Message::decode(decoder.decode(&mut stream).unwrap().unwrap()).unwrap();
    assert_eq!(beat.command(), CommandKind::Heartbeat);
    let publish = Message::decode(decoder.decode(&mut stream).unwrap().unwrap()).unwrap();
    assert_eq!((publish.command(), publish.data()), (CommandKind::Publish, &b"0\x01"[..]));
    decoder.finish(&stream).unwrap();
}

#[test]
fn the_frames_of_a_capture_have_their_places_and_a_limit() {
    let vectors = vectors();
    let capture = [&vectors["X02"][..], &vectors["X03"][..]].concat();
    let found: Vec<_> = Frames::new(&capture).collect::<Result<_, _>>().unwrap();
    let [beat, other] = found[..] else { panic!("{found:?}") };
    assert_eq!((beat.offset, beat.bytes), (0, &capture[4..vectors["X02"].len()]));
    assert_eq!(other.bytes, beat.bytes);
    assert_eq!(other.offset + 4 + other.bytes.len(), capture.len(), "the empty frame is left out");
    let refused = Frames::with_limit(&capture, 3).next().unwrap().unwrap_err();
    assert_eq!(refused.offset, 0);
    assert!(matches!(refused.fault, FrameFault::TooLong(FrameTooLong { limit: 3, .. })));
}
