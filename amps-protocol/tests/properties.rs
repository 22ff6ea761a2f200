//! Properties: what is encoded decodes to the same values, chunking never matters, and no
//! bytes whatever make the decoder panic.

use amps_protocol::{
    AckType, AckTypes, CommandKind, Endpoint, Field, FrameDecoder, FrameWriter, HeartbeatRequest, Message,
    Options, ReasonClass, format_timestamp, parse_timestamp,
};
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;

fn ack_types() -> impl Strategy<Value = AckTypes> {
    vec(
        prop_oneof![
            Just(AckType::Received),
            Just(AckType::Processed),
            Just(AckType::Persisted),
            Just(AckType::Completed),
            Just(AckType::Stats)
        ],
        0..3,
    )
    .prop_map(|acks| acks.into_iter().fold(AckTypes::NONE, AckTypes::with))
}

prop_compose! {
    fn command()(
        topic in vec(any::<u8>(), 0..40),
        bookmark in proptest::option::of("[0-9|,]{1,60}"),
        filter in proptest::option::of(vec(any::<u8>(), 0..300)),
        sub_id in "[a-z0-9]{1,8}",
        sequence in proptest::option::of(any::<u64>()),
        acks in ack_types(),
        body in vec(any::<u8>(), 0..200),
    ) -> Command {
        Command { topic, bookmark, filter, sub_id, sequence, acks, body }
    }
}

#[derive(Debug)]
struct Command {
    topic: Vec<u8>,
    bookmark: Option<String>,
    filter: Option<Vec<u8>>,
    sub_id: String,
    sequence: Option<u64>,
    acks: AckTypes,
    body: Vec<u8>,
}

impl Command {
    fn encode(&self, out: &mut BytesMut) {
        FrameWriter::new(out, CommandKind::SowDelete)
            .maybe_number(Field::Sequence, self.sequence)
            .maybe_text(Field::Bookmark, self.bookmark.as_ref())
            .text(Field::Topic, &self.topic)
            .text(Field::SubId, &self.sub_id)
            .maybe_text(Field::Filter, self.filter.as_ref())
            .acks(self.acks)
            .finish(&self.body);
    }

    fn assert_decoded(&self, message: &Message<impl AsRef<[u8]>>) {
        assert_eq!(message.command(), CommandKind::SowDelete);
        assert_eq!(message.topic().map(|t| t.to_vec()), Some(self.topic.clone()));
        assert_eq!(message.bookmark().map(ToString::to_string), self.bookmark);
        assert_eq!(message.filter().map(|f| f.to_vec()), self.filter);
        assert_eq!(message.sub_id().unwrap(), self.sub_id.as_str());
        assert_eq!(message.sequence(), self.sequence);
        assert_eq!(message.acks(), self.acks);
        assert_eq!(message.data(), self.body);
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same_values(command in command()) {
        let mut stream = BytesMut::new();
        command.encode(&mut stream);
        let frame = FrameDecoder::default().decode(&mut stream).unwrap().unwrap();
        prop_assert!(stream.is_empty());
        let message = Message::decode(frame).unwrap();
        command.assert_decoded(&message);
        command.assert_decoded(&message.to_owned());
    }

    #[test]
    fn any_chunking_of_a_stream_gives_the_same_frames(
        commands in vec(command(), 1..8),
        cuts in vec(1usize..50, 1..200),
    ) {
        let mut stream = BytesMut::new();
        for command in &commands {
            command.encode(&mut stream);
        }
        let mut decoder = FrameDecoder::default();
        let mut received = BytesMut::new();
        let mut seen = 0;
        let mut cuts = cuts.into_iter().cycle();
        while !stream.is_empty() {
            let cut = cuts.next().unwrap().min(stream.len());
            received.extend_from_slice(&stream.split_to(cut));
            while let Some(frame) = decoder.decode(&mut received).unwrap() {
                commands[seen].assert_decoded(&Message::decode(frame).unwrap());
                seen += 1;
            }
        }
        prop_assert_eq!(seen, commands.len());
        prop_assert!(received.is_empty());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        poke(&bytes);
    }

    #[test]
    fn nearly_valid_headers_never_panic(
        text in r#"[{][ ,]{0,2}("[a-z_]{0,4}(\\u?[0-9a-f]{0,4})?"[ :]{0,2}("[^"]{0,6}"|[0-9a-z.-]{0,4}|[\[{]),?){0,6}[}]?.{0,5}"#,
    ) {
        poke(text.as_bytes());
    }

    #[test]
    fn text_parsers_never_panic(text in any::<String>()) {
        let options = Options::parse(&text);
        prop_assert_eq!(Options::parse(&options.to_string()), Options::parse(&Options::parse(&options.to_string()).to_string()));
        let _ = HeartbeatRequest::parse(&text);
        let _ = ReasonClass::of(&text);
        let _ = text.parse::<Endpoint>();
        let _ = format!("tcp://{text}").parse::<Endpoint>();
        let _ = parse_timestamp(text.as_bytes());
    }

    #[test]
    fn printed_options_parse_back(names in vec("[a-z_]{1,8}", 0..5), values in vec("[0-9a-z/]{0,5}", 5)) {
        let mut options = Options::new();
        for (name, value) in names.iter().zip(&values) {
            options.set(name, value);
        }
        prop_assert_eq!(Options::parse(&options.to_string()), options);
    }

    #[test]
    fn timestamps_survive_a_round_trip_to_the_microsecond(nanos in any::<u64>()) {
        let text = format_timestamp(nanos).to_string();
        prop_assert_eq!(parse_timestamp(text.as_bytes()), Some(nanos / 1000 * 1000));
    }
}

/// Decodes, and touches every field of what came out.
fn poke(bytes: &[u8]) {
    let mut stream = BytesMut::from(bytes);
    let _ = FrameDecoder::new(1 << 16).decode(&mut stream);
    if let Ok(message) = Message::decode(bytes) {
        for &field in Field::ALL {
            let _ = (message.get(field), message.number(field), message.flag(field));
        }
        let _ = (message.data(), message.length_mismatch(), format!("{message:?}"));
    }
}
