//! Inputs that must fail, with the error that says why, and inputs that must not.

use amps_protocol::{
    CommandKind, Endpoint, EndpointError, Field, FrameDecoder, HeaderFault, Message, Scheme, next_frame,
};
use bytes::BytesMut;

fn fault(frame: &str) -> (usize, HeaderFault) {
    let error = Message::decode(frame.as_bytes()).unwrap_err();
    (error.offset, error.fault)
}

#[test]
fn malformed_headers_name_the_place_and_the_fault() {
    assert_eq!(fault("hello"), (0, HeaderFault::NoHeader));
    assert_eq!(fault(""), (0, HeaderFault::NoHeader));
    assert_eq!(fault(r#"{"c":"p","t":"x""#), (16, HeaderFault::MissingClosingBrace));
    assert_eq!(fault(r#"{"c":"p","t":"x}"#), (13, HeaderFault::UnterminatedString));
    assert_eq!(fault(r#"{"c":"p","t":"x\"#), (13, HeaderFault::UnterminatedString));
    assert_eq!(fault(r#"{"c" "p"}"#), (4, HeaderFault::ExpectedColon));
    assert_eq!(fault(r#"{"c":}"#), (5, HeaderFault::ExpectedValue));
    assert_eq!(fault(r#"{"c":"p","t":{"a":1}}"#), (13, HeaderFault::NestedValue));
    assert_eq!(fault(r#""c":"p"}"#), (0, HeaderFault::MissingOpeningBrace));
    assert_eq!(fault(r#"{c:"p"}"#), (1, HeaderFault::ExpectedFieldName));
    let text = Message::decode(&b"{\"c\":}"[..]).unwrap_err().to_string();
    assert_eq!(text, "malformed header at byte 5, field \"c\": expected a value after ':'");
}

#[test]
fn headers_without_a_known_command_are_not_malformed() {
    assert_eq!(Message::decode(&b"{}"[..]).unwrap().command(), CommandKind::Missing);
    let unknown = Message::decode(&br#"{"c":"teleport"}"#[..]).unwrap();
    assert_eq!(unknown.command(), CommandKind::Unknown);
    assert_eq!(unknown.get(Field::Command).unwrap(), "teleport");
}

#[test]
fn unusable_numbers_count_as_absent_and_the_last_field_wins() {
    for text in ["-1", "18446744073709551616", "1.5", "1e3", "\"\"", "null"] {
        let frame = format!(r#"{{"c":"p","t":"x","s":{text}}}"#);
        assert_eq!(Message::decode(frame.as_bytes()).unwrap().sequence(), None, "{text}");
    }
    let largest = br#"{"c":"p","s":18446744073709551615}"#;
    assert_eq!(Message::decode(&largest[..]).unwrap().sequence(), Some(u64::MAX));
    assert_eq!(Message::decode(&br#"{"c":"p","c":"ack"}"#[..]).unwrap().command(), CommandKind::Ack);
    let twice = Message::decode(&br#"{"t":"a\"","t":"b","topic":"c","cid":"1","cid":""}"#[..]).unwrap();
    assert_eq!(twice.topic().unwrap(), "c");
    assert_eq!(twice.command_id(), None, "an empty identifier counts as absent");
}

#[test]
fn an_absurd_length_is_refused_before_anything_is_reserved() {
    let mut stream = BytesMut::from(&b"\xff\xff\xff\xff"[..]);
    let before = stream.capacity();
    let error = FrameDecoder::default().decode(&mut stream).unwrap_err();
    assert_eq!(error.length, u64::from(u32::MAX));
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
        "tcp://u%40corp:p%3Aw@[::1]:9007/west/amps/json?&tcp_nodelay=Yes&tcp_sndbuf=9".parse().unwrap();
    assert_eq!(endpoint.scheme, Scheme::Tcp);
    assert_eq!(endpoint.user.as_deref(), Some("u@corp"));
    assert_eq!(endpoint.password.as_ref().unwrap().reveal(), "p:w");
    assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 9007));
    assert_eq!(endpoint.prefix, ["west"]);
    assert_eq!(endpoint.options.nodelay, Some(true));
    assert_eq!(endpoint.options.send_buffer, Some(9));
    assert_eq!(endpoint.to_string(), "tcp://u@corp:***@[::1]:9007/west/amps/json");
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
    for careless in ["u:12/s3cret@h:1/fix/json", "u:12/s3cret?x@h:9007/amps", "u:1/amps/a?s3cret@h:9/amps"] {
        let leak = parse(&format!("tcp://{careless}")).to_string();
        assert!(!leak.contains("s3cret"), "{leak}");
    }
}
