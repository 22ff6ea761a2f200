//! Input made to hurt: large, repetitive, nested. Each is taken in one pass; a quadratic one
//! would keep these tests busy for minutes.

use amps_protocol::{
    CommandKind, DEFAULT_MAX_INBOUND, DEFAULT_MAX_OUTBOUND, Field, HeaderFault, Message, Options,
};
use bytes::Bytes;

#[test]
fn the_limits_are_what_the_documentation_says() {
    assert_eq!(DEFAULT_MAX_INBOUND, 268_435_456);
    assert_eq!(DEFAULT_MAX_OUTBOUND, 209_715_200);
}

#[test]
fn a_hundred_thousand_repeated_keys_are_read_and_the_last_one_counts() {
    for member in [r#""t":"a\"b","#, r#""t":"x","#, r#""reason":"no","#, r#""zz":1,"#] {
        let mut frame = String::from(r#"{"c":"p","#);
        frame.push_str(&member.repeat(100_000));
        frame.push_str(r#""t":"last"}body"#);
        let message = Message::decode(frame.as_bytes()).unwrap();
        assert_eq!(message.topic().unwrap(), "last");
        assert_eq!(message.data(), b"body");
        assert_eq!(message.members().count(), 100_002);
        assert!(format!("{message:?}").len() < 1_000, "it shows each field once");
    }
}

#[test]
fn nesting_is_refused_at_its_first_level_however_deep() {
    let frame = format!(r#"{{"c":"p","t":{}"#, "[".repeat(1_000_000));
    let error = Message::decode(frame.as_bytes()).unwrap_err();
    assert_eq!((error.offset, error.fault), (13, HeaderFault::NestedValue));
}

#[test]
fn the_records_of_a_batch_share_what_its_header_holds() {
    let topic = "\\n".repeat(60_000);
    let mut frame = format!(r#"{{"c":"sow","t":"{topic}"}}"#);
    frame.push_str(&r#"{"k":"1","l":0}"#.repeat(20_000));
    let batch = Message::decode(Bytes::from(frame)).unwrap();
    let first = batch.records().next().unwrap().unwrap();
    // As many copies of the topic as records would be 1.2 GB.
    let records: Vec<_> = batch.clone().into_records().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.len(), 20_000);
    let place = |message: &Message<&[u8]>| message.get(Field::Topic).unwrap().as_ptr();
    let other = batch.records().last().unwrap().unwrap();
    assert_eq!(place(&first), place(&other), "one copy for all");
}

#[test]
fn a_record_is_no_batch_whatever_its_data_looks_like() {
    let frame = br#"{"c":"sow","t":"o","bs":1}{"k":"1","zz":"?","l":24}{"k":"evil","l":4}{"a"}{}"#;
    let batch = Message::decode(&frame[..]).unwrap();
    let record = batch.records().next().unwrap().unwrap();
    assert!(record.is_record() && !batch.is_record());
    assert_eq!(record.command(), CommandKind::Sow);
    assert_eq!(record.records().count(), 0);
    let keys: Vec<String> = record.members().map(|member| member.key.to_string()).collect();
    assert_eq!(keys, ["c", "t", "bs", "k", "zz", "l"], "those of the batch, then its own");
    let lone = Message::decode(&br#"{"c":"sow","k":"1","l":14}{"k":"x","l":1"#[..]).unwrap();
    let record = lone.records().next().unwrap().unwrap();
    assert_eq!((record.data(), record.records().count()), (&br#"{"k":"x","l":1"#[..], 0));
}

#[test]
fn ten_thousand_options_are_read() {
    let list: Vec<String> = (0..50_000).map(|n| format!("name_{n}=[{n}]")).collect();
    let options = Options::try_parse(list.join(",")).unwrap();
    assert_eq!(options.len(), 50_000);
    assert_eq!(options.get("name_49999"), Some("[49999]"));
}

#[test]
fn a_body_is_shared_and_not_copied() {
    let frame = Bytes::from_static(br#"{"c":"p","t":"o"}{"id":1}"#);
    let message = Message::decode(frame.clone()).unwrap();
    let body = message.data_bytes();
    assert_eq!(body, message.data());
    assert_eq!(body.as_ptr(), frame[17..].as_ptr());
}
