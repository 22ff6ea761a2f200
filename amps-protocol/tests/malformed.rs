//! Inputs that must fail, with the error that says why, and inputs that must not.
//!
//! What `data/malformed.txt` can express stands there; the rest follows here.

mod common;

use amps_protocol::{
    CommandKind, CompositeReader, Endpoint, EndpointError, Field, FixReader, FrameDecoder, Message,
    NvfixReader, Scheme, next_frame,
};
use bytes::BytesMut;
use common::bytes_of;

struct Case {
    id: &'static str,
    kind: &'static str,
    outcome: &'static str,
    input: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("data/malformed.txt").lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("  I ") {
            Some(input) => cases.last_mut().unwrap().input = bytes_of(input),
            None => {
                let (head, outcome) = line.split_once(" => ").unwrap_or_else(|| panic!("{line}"));
                let [id, kind, _rule] = head.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
                cases.push(Case { id, kind, outcome, input: Vec::new() });
            }
        }
    }
    cases
}

fn cases_of(kind: &str) -> Vec<Case> {
    let cases: Vec<_> = cases().into_iter().filter(|case| case.kind == kind).collect();
    assert!(!cases.is_empty(), "no case of kind {kind}");
    cases
}

/// `malformed FAULT at OFFSET`, or the fields that `asked` names, as they came out.
fn header_outcome(frame: &[u8], asked: &str) -> String {
    let message = match Message::decode(frame) {
        Ok(message) => message,
        Err(error) => return format!("malformed {:?} at {}", error.fault, error.offset),
    };
    let mut outcome = String::from("decodes");
    for word in asked.split(' ').skip(1) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let found = match key {
            "command" => format!("command={:?}", message.command()),
            "body" => format!("body={}", message.data().len()),
            _ => field_outcome(&message, key.trim_start_matches('-'), value),
        };
        outcome = outcome + " " + &found;
    }
    outcome
}

/// `key=value` or `-key`. The value is spelt as the case spells it, if it is the same.
fn field_outcome(message: &Message<&[u8]>, key: &str, expected: &str) -> String {
    let field = Field::from_key(key.as_bytes()).unwrap_or_else(|| panic!("no field {key}"));
    let is_number = matches!(field, Field::Sequence | Field::BatchSize | Field::Expiration | Field::Length);
    let value = if is_number {
        message.number(field).map(|number| number.to_string().into_bytes())
    } else {
        message.get(field).map(|text| text.to_vec())
    };
    match value {
        None => format!("-{key}"),
        Some(value) if value == bytes_of(expected) => format!("{key}={expected}"),
        Some(value) => format!("{key}={}", value.escape_ascii()),
    }
}

fn stream_outcome(stream: &[u8]) -> String {
    let mut stream = BytesMut::from(stream);
    match FrameDecoder::default().decode(&mut stream) {
        Ok(None) => "nothing delivered".into(),
        Ok(Some(frame)) => format!("delivered {frame:?}"),
        Err(error) => format!("too long {}", announced(&error)),
    }
}

fn sow_outcome(frame: &[u8]) -> String {
    let message = Message::decode(frame).unwrap();
    assert_eq!(message.command(), CommandKind::Sow);
    let records: Vec<_> = message.records().collect();
    let good = records.iter().filter(|record| record.is_ok()).count();
    match records.last() {
        Some(Err(error)) => {
            format!("record {} at {}: {:?}, after {good} records", error.record, error.offset, error.fault)
        }
        _ => format!("{good} records"),
    }
}

fn composite_outcome(body: &[u8]) -> String {
    let mut reader = CompositeReader::new(body);
    match reader.find_map(Result::err) {
        Some(error) => format!(
            "part {} at {}: {:?}, after {} parts",
            error.part,
            error.offset,
            error.fault,
            reader.parts_read()
        ),
        None => format!("{} parts", reader.parts_read()),
    }
}

fn announced(error: &amps_protocol::FrameError) -> u64 {
    match error.fault {
        amps_protocol::FrameFault::TooLong(fault) => fault.length,
        fault => panic!("{fault}"),
    }
}

#[test]
fn the_data_file_holds_every_input_of_the_specification_once() {
    let cases = cases();
    for number in 1..=15 {
        let id = format!("N{number:02}");
        assert_eq!(cases.iter().filter(|case| case.id == id).count(), 1, "{id}");
    }
    let kinds = ["stream", "header", "sow", "composite", "fix", "nvfix"];
    assert!(cases.iter().all(|case| kinds.contains(&case.kind)));
}

#[test]
fn headers_fail_or_decode_as_written_down() {
    for Case { id, outcome, input, .. } in cases_of("header") {
        assert_eq!(header_outcome(&input, outcome), outcome, "{id}");
    }
}

#[test]
fn a_malformed_header_says_in_words_what_was_expected_and_where() {
    let text = Message::decode(&b"{\"c\":}"[..]).unwrap_err().to_string();
    assert_eq!(text, "malformed header at byte 5, field \"c\": expected a value after ':'");
}

#[test]
fn streams_deliver_nothing_or_are_refused_as_written_down() {
    for Case { id, outcome, input, .. } in cases_of("stream") {
        assert_eq!(stream_outcome(&input), outcome, "{id}");
    }
}

#[test]
fn batches_fail_or_are_cut_into_records_as_written_down() {
    for Case { id, outcome, input, .. } in cases_of("sow") {
        assert_eq!(sow_outcome(&input), outcome, "{id}");
    }
}

#[test]
fn composite_bodies_fail_or_are_cut_as_written_down() {
    for Case { id, outcome, input, .. } in cases_of("composite") {
        assert_eq!(composite_outcome(&input), outcome, "{id}");
    }
}

#[test]
fn fix_and_nvfix_bodies_never_fail_and_count_what_they_skip() {
    for Case { id, outcome, input, .. } in cases_of("fix") {
        let mut reader = FixReader::new(&input);
        let fields = reader.by_ref().count();
        assert_eq!(format!("{fields} fields, {} skipped", reader.skipped()), outcome, "{id}");
    }
    for Case { id, outcome, input, .. } in cases_of("nvfix") {
        let mut reader = NvfixReader::new(&input);
        let fields = reader.by_ref().count();
        assert_eq!(format!("{fields} fields, {} skipped", reader.skipped()), outcome, "{id}");
    }
}

#[test]
fn an_unknown_command_keeps_its_word() {
    let unknown = Message::decode(&br#"{"c":"teleport"}"#[..]).unwrap();
    assert_eq!(unknown.get(Field::Command).unwrap(), "teleport");
}

#[test]
fn an_absurd_length_is_refused_before_anything_is_reserved() {
    let mut stream = BytesMut::from(&b"\xff\xff\xff\xff"[..]);
    let before = stream.capacity();
    let error = FrameDecoder::default().decode(&mut stream).unwrap_err();
    assert_eq!((error.offset, announced(&error)), (0, u64::from(u32::MAX)));
    assert_eq!(stream.capacity(), before);
    assert_eq!(next_frame(b"\0\0\0\x10{\"c\":", 1 << 20), Ok(None), "an incomplete frame is no error");
}

#[test]
fn a_value_beyond_64_kib_is_still_found() {
    let long = "x".repeat(70_000);
    let frame = format!(r#"{{"c":"p","f":"{long}","t":"after","bm":"1|2|"}}body"#);
    let message = Message::decode(frame.as_bytes()).unwrap();
    assert_eq!(message.filter().unwrap().len(), 70_000);
    assert_eq!(message.topic().unwrap(), "after");
    assert_eq!(message.bookmark().unwrap(), "1|2|");
    assert_eq!(message.data(), b"body");
}

#[test]
fn debug_output_never_shows_a_password() {
    let logon = Message::decode(&br#"{"c":"logon","user_id":"u","pw":"s3cret"}"#[..]).unwrap();
    let text = format!("{logon:?}");
    assert!(text.contains("<hidden>") && !text.contains("s3cret"), "{text}");
    let endpoint: Endpoint = "tcp://u:s3cret@h:1/amps/json".parse().unwrap();
    assert!(!format!("{endpoint:?} {endpoint}").contains("s3cret"));
}

#[test]
fn connection_strings_are_read_as_written() {
    let endpoint: Endpoint =
        "ws://u%40corp:p%3Aw@[::1]:9007/west/amps/json?&tcp_nodelay=Yes&tcp_sndbuf=9".parse().unwrap();
    assert_eq!(endpoint.scheme, Scheme::Ws);
    assert_eq!(endpoint.user.as_deref(), Some("u@corp"));
    assert_eq!(endpoint.password.as_ref().unwrap().reveal(), "p:w");
    assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 9007));
    assert_eq!(endpoint.prefix, ["west"]);
    assert_eq!(endpoint.options.nodelay, Some(true));
    assert_eq!(endpoint.options.send_buffer, Some(9));
    assert_eq!(
        endpoint.to_string(),
        "ws://u%40corp:***@[::1]:9007/west/amps/json?tcp_sndbuf=9&tcp_nodelay=true"
    );
    let plain: Endpoint = "tcp://h:1/amps".parse().unwrap();
    assert_eq!((plain.message_type, plain.user, plain.password), (None, None, None));
    let socket: Endpoint = "unix://localhost:0/amps/json?path=/run/amps.sock".parse().unwrap();
    assert_eq!(socket.options.path.as_deref(), Some("/run/amps.sock"));
}

#[test]
fn wrong_connection_strings_say_what_is_wrong() {
    let parse = |text: &str| text.parse::<Endpoint>().unwrap_err();
    assert!(matches!(parse("foo://h:1/amps/json"), EndpointError::UnknownScheme { .. }));
    for text in ["", "tcp:///", "tcp://h/amps", "tcp://h:x/amps", "tcp://h:0/amps", "tcp://[::1/amps", "h:1"]
    {
        assert!(matches!(parse(text), EndpointError::Syntax { .. }), "{text}: {}", parse(text));
    }
    assert!(matches!(parse("tcp://h:1/fix/json"), EndpointError::UnsupportedProtocol { .. }));
    assert!(matches!(parse("tcp://h:1/amps/json/x"), EndpointError::Syntax { .. }));
    let unknown = parse("tcp://h:1/amps?tcp_nodleay=true");
    assert_eq!(
        unknown.to_string(),
        "unknown parameter \"tcp_nodleay\" in the connection string; check its spelling"
    );
    assert!(matches!(parse("tcp://h:1/amps?tcp_sndbuf=abc"), EndpointError::BadValue { .. }));
    assert!(matches!(
        parse("tcp://h:1/amps?bind=1.2.3.4&bind=1.2.3.4"),
        EndpointError::RepeatedParameter { .. }
    ));
    assert!(matches!(parse("ws://h:1/amps?compression=zlib"), EndpointError::NotApplicable { .. }));
    for prefixed in ["tcp://h:1/fix/amps", "tcp://h:1/west/amps/json", "unix://h:1/fix/amps/json?path=/x"] {
        assert!(matches!(parse(prefixed), EndpointError::UnsupportedProtocol { .. }), "{prefixed}");
    }
    assert!("tcp://h:1/west/amps/json?http_preflight=true".parse::<Endpoint>().is_ok());
    for careless in ["ada:s3cret/x@localhost:9007/amps", "ada:s3cret?x@localhost:9007/amps"] {
        let error = parse(&format!("tcp://{careless}"));
        assert!(matches!(error, EndpointError::Syntax { offset: 6, .. }), "{error}");
        assert!(error.to_string().contains("%2F"), "{error}");
    }
    for careless in ["u:12/s3cret@h:1/fix/json", "u:12/s3cret?x@h:9007/amps", "u:1/amps/a?s3cret@h:9/amps"] {
        let leak = parse(&format!("tcp://{careless}")).to_string();
        assert!(!leak.contains("s3cret"), "{leak}");
    }
}
