//! Decoded messages: what their getters give, and what they show of themselves.

use std::time::Duration;

use amps_protocol::{
    AckType, CommandKind, Field, FrameWriter, Frames, Header, LeaseEnd, Message, OofReason, Records,
    ServerVersion, Status,
};
use bytes::{Bytes, BytesMut};

const BATCH: &str = r#"{"c":"sow","t":"orders","query_id":"1","bs":2}{"k":"7","l":8}{"id":7}{"k":"8","ts":"20260102T030405Z","l":8}{"id":8}"#;

fn decode(frame: &str) -> Message<&[u8]> {
    Message::decode(frame.as_bytes()).unwrap()
}

#[test]
fn a_delivery_goes_to_sids_and_where_there_are_none_to_sub_id() {
    let ids = |frame: &str| decode(frame).ids().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(ids(r#"{"c":"p","t":"o","sub_id":"9","sids":"1, 4,1"}"#), ["1", "4"]);
    assert_eq!(ids(r#"{"c":"p","t":"o","sub_id":"9,8","sids":""}"#), ["9", "8"]);
    assert!(ids(r#"{"c":"p","t":"o"}"#).is_empty());
}

#[test]
fn times_are_values_where_they_can_be_read_and_text_in_any_case() {
    let message = decode(r#"{"c":"p","t":"q","lp":"19700101T000002Z","ts":"19700101T000001.5Z"}"#);
    assert_eq!(message.lease_end(), Some(LeaseEnd::At(2_000_000_000)));
    assert_eq!(message.unix_nanos(), Some(1_500_000_000));
    let relative = decode(r#"{"c":"p","t":"q","lp":"30000ms"}"#);
    assert_eq!(relative.lease_end(), Some(LeaseEnd::In(Duration::from_secs(30))));
    assert_eq!(relative.unix_nanos(), None);
    let odd = decode(r#"{"c":"p","t":"q","lp":"soon","ts":"now"}"#);
    assert_eq!((odd.lease_end(), odd.unix_nanos()), (None, None));
    assert_eq!((odd.lease().unwrap(), odd.timestamp().unwrap()), ("soon".into(), "now".into()));
    assert_eq!(decode("{}").lease_end(), None);
}

#[test]
fn a_reason_means_something_else_in_an_oof_than_in_an_acknowledgement() {
    let left = decode(r#"{"c":"oof","t":"o","k":"1","reason":"expired"}"#);
    assert_eq!(left.oof_reason(), Some(OofReason::Expired));
    assert_eq!(decode(r#"{"c":"oof","t":"o"}"#).oof_reason(), None);
    let refused = decode(r#"{"c":"ack","a":"processed","status":"failure","reason":"expired"}"#);
    assert_eq!(refused.oof_reason(), None);
    assert_eq!(refused.reason().unwrap(), "expired");
}

#[test]
fn a_logon_is_answered_with_a_version() {
    let answer =
        decode(r#"{"c":"ack","cid":"0","a":"processed","status":"success","version":"5.3.5.0.1.a"}"#);
    assert!(answer.is_ack(AckType::Processed) && !answer.is_ack(AckType::Persisted));
    assert_eq!(answer.status(), Some(Status::Success));
    assert_eq!(answer.server_version(), Some(ServerVersion::new(5, 3, 5, 0)));
    assert_eq!(decode(r#"{"c":"ack","version":"develop"}"#).server_version(), None);
    assert_eq!(decode(r#"{"c":"ack"}"#).server_version(), None);
    assert!(!decode(r#"{"c":"p","a":"processed"}"#).is_ack(AckType::Processed), "that is a command");
}

#[test]
fn flags_are_true_in_any_case_and_written_bare() {
    let mut out = BytesMut::new();
    FrameWriter::new(&mut out, CommandKind::Subscribe)
        .flag(Field::SendOof, true)
        .flag(Field::SendMatchingIds, false)
        .finish(b"");
    assert_eq!(&out[4..], br#"{"c":"subscribe","send_oof":true,"send_matching_ids":false}"#);
    let message = Message::decode(&out[4..]).unwrap();
    assert_eq!(message.flag(Field::SendOof), Some(true));
    assert_eq!(message.flag(Field::SendMatchingIds), Some(false));
    assert_eq!(message.flag(Field::SendKeys), None);
    assert_eq!(decode(r#"{"send_oof":"TRUE"}"#).flag(Field::SendOof), Some(true));
}

#[test]
fn null_takes_back_what_was_said_before() {
    let frame = r#"{"c":"ack","a":"processed","status":"success","t":"x","s":7,"k":"\u0031",
        "c":null,"a":null,"status":null,"t":null,"s":null,"k":null}"#;
    let message = decode(frame);
    assert_eq!((message.command(), message.status()), (CommandKind::Missing, None));
    assert!(message.acks().is_empty());
    assert!(Field::ALL.iter().all(|&field| message.get(field).is_none()));
}

#[test]
fn a_wrong_length_is_noticed_but_on_a_batch_where_it_is_that_of_a_record() {
    assert!(decode(r#"{"c":"p","l":3}{}"#).length_mismatch());
    assert!(!decode(r#"{"c":"p","l":2}{}"#).length_mismatch());
    assert!(!decode(r#"{"c":"p"}{}"#).length_mismatch());
    assert!(!decode(r#"{"c":"sow","l":3}{"l":2}{}"#).length_mismatch());
}

// ----- an index and a frame that do not belong together -----------------------------------

#[test]
fn the_index_of_another_frame_gives_nonsense_but_never_panics() {
    let records: Vec<_> = decode(BATCH).records().map(|record| record.unwrap().into_parts().1).collect();
    let (_, batch) = decode(BATCH).into_parts();
    let (_, escaped) = decode(r#"{"c":"p","t":"a\"b","x":"1"}body"#).into_parts();
    for header in records.iter().chain([&batch, &escaped]) {
        for frame in
            ["", "{", "hello", r#"{"c":"p"}"#, r#"{"c":"p","t":"x"}{}{}"#, &BATCH[..60], &BATCH[20..]]
        {
            let message = Message::from_parts(frame.as_bytes(), header.clone());
            for &field in Field::ALL {
                let _ = (message.get(field), message.number(field), message.flag(field));
            }
            let records: Vec<_> = message.records().take(100).collect();
            assert!(records.len() < 100);
            let _ = (message.data(), message.ids().count(), message.members().count());
            let _ = (format!("{message:?}"), message.to_owned());
        }
    }
}

#[test]
fn a_copy_is_independent_and_says_the_same() {
    for record in decode(BATCH).records() {
        let record = record.unwrap();
        let copy = record.to_owned();
        assert_eq!(format!("{copy:?}"), format!("{record:?}"));
        assert_eq!(copy.data(), record.data());
        assert_eq!(format!("{:?}", copy.to_owned()), format!("{record:?}"), "also a copy of the copy");
    }
    let plain = decode(r#"{"c":"p","t":"a\"b"}body"#);
    assert_eq!((plain.to_owned().topic(), plain.to_owned().data()), (plain.topic(), plain.data()));
}

// ----- what is shown ----------------------------------------------------------------------

#[test]
fn a_message_shows_its_fields_and_the_length_of_its_body() {
    for (frame, shown) in [
        (
            r#"{"c":"logon","cid":"0","client_name":"worker","user_id":"ada","pw":"s3cret","a":"processed"}"#,
            r#"Message { c: "logon", cid: "0", client_name: "worker", user_id: "ada", pw: <hidden>, a: "processed", body: 0 bytes }"#,
        ),
        (
            r#"{"c":"publish","t":"orders","s":7}{"id":1}"#,
            r#"Message { c: "p", s: "7", t: "orders", body: 8 bytes }"#,
        ),
        (
            r#"{"c":"ack","a":"persisted","status":"timed out","s":9}"#,
            r#"Message { c: "ack", s: "9", a: "persisted", status: "timed out", body: 0 bytes }"#,
        ),
        (r#"{"c":"tele\tport","t":"\u0001"}"#, r#"Message { c: "tele\tport", t: "\x01", body: 0 bytes }"#),
        ("{}", r#"Message { c: "", body: 0 bytes }"#),
        (BATCH, r#"Message { c: "sow", t: "orders", query_id: "1", bs: "2", body: 70 bytes }"#),
    ] {
        assert_eq!(format!("{:?}", decode(frame)), shown);
    }
    let records: Vec<_> = decode(BATCH).records().map(|record| format!("{:?}", record.unwrap())).collect();
    assert_eq!(
        records,
        [
            r#"Message { c: "sow", t: "orders", query_id: "1", bs: "2", k: "7", l: "8", body: 8 bytes }"#,
            r#"Message { c: "sow", t: "orders", query_id: "1", bs: "2", k: "8", ts: "20260102T030405Z", l: "8", body: 8 bytes }"#,
        ]
    );
}

#[test]
fn nothing_that_holds_a_password_shows_it() {
    // Also where `Debug` would show bytes as numbers.
    let leaks = |shown: &str| shown.contains("s3cret") || shown.contains("115, 51, 99");
    assert!(leaks(&format!("{:?}", b"s3cret")));
    for pw in [
        r#""pw":"s3cret""#,
        r#""password":"s3cret""#,
        r#""p\u0077":"s3cret""#,
        r#""pw":"\u00733cret""#,
        r#""pw":s3cret"#,
    ] {
        let frame = format!(r#"{{"c":"logon","client_name":"w",{pw},"user_id":"u"}}"#);
        let message = decode(&frame);
        assert_eq!(message.get(Field::Password).unwrap(), "s3cret", "{pw}");
        let value = message.members().find(|member| member.field == Some(Field::Password)).unwrap().value;
        assert_eq!(&**value, b"s3cret", "it stays accessible");

        let mut stream = BytesMut::new();
        let writer = FrameWriter::new(&mut stream, CommandKind::Logon).text(Field::Password, "s3cret");
        let writing = format!("{writer:?}");
        writer.finish(b"");
        let batch = format!(r#"{{"c":"sow",{pw}}}{{{pw},"l":0}}"#);
        let batch = Message::decode(Bytes::from(batch)).unwrap();
        for shown in [
            format!("{message:?} {:?} {:?}", message.to_owned(), message.header()),
            format!("{:?} {:?}", message.members(), message.members().collect::<Vec<_>>()),
            format!("{:?} {:?}", Frames::new(&stream), Frames::new(&stream).collect::<Vec<_>>()),
            format!("{:?} {:?}", batch.records(), batch.records().collect::<Vec<_>>()),
            format!("{:?}", batch.into_records()),
            writing,
        ] {
            assert!(!leaks(&shown), "{shown}");
        }
    }
}

#[test]
fn what_goes_over_frames_and_records_shows_where_it_stands() {
    let mut stream = BytesMut::new();
    FrameWriter::new(&mut stream, CommandKind::Heartbeat).finish(b"");
    let mut frames = Frames::new(&stream);
    assert_eq!(format!("{frames:?}"), "Frames(at 0, 21 bytes remain)");
    assert_eq!(format!("{:?}", frames.next().unwrap().unwrap()), "Frame(17 bytes at 0)");
    assert_eq!(format!("{frames:?}"), "Frames(at 21, 0 bytes remain)");
    let batch = decode(BATCH);
    let mut records: Records<'_> = batch.records();
    records.next();
    assert_eq!(format!("{records:?}"), "Records(1 read, 47 bytes remain)");
    let shared = Message::decode(Bytes::from_static(BATCH.as_bytes())).unwrap().into_records();
    assert_eq!(format!("{shared:?}"), "SharedRecords(0 read, 70 bytes remain)");
    let mut members = batch.members();
    members.next();
    assert_eq!(
        format!("{:?}", members.next().unwrap()),
        r#"Member { key: "t", field: Some(Topic), value: "orders", quoted: true }"#
    );
    let mut header = Header::default();
    header.decode(BATCH.as_bytes()).unwrap();
    assert_eq!(format!("{header:?}"), "Header { command: Sow, body_offset: 46 }");
}

#[test]
fn a_tool_passes_on_members_that_it_does_not_know() {
    let frame = br#"{"c":"p","t":"o","new \"key\"":"a\"b","n":1.5}body"#;
    let message = Message::decode(&frame[..]).unwrap();
    let mut out = BytesMut::new();
    let mut writer = FrameWriter::new(&mut out, message.command()).text(Field::Topic, "o");
    for member in message.members().filter(|member| member.field.is_none()) {
        writer = writer.other(&member.key, &member.value, member.quoted);
    }
    writer.finish(message.data());
    assert_eq!(&out[4..], frame);
}

#[test]
fn a_fault_in_a_record_names_the_field_where_it_is_known() {
    let fault = |frame: &str| {
        let batch = Message::decode(frame.as_bytes()).unwrap();
        batch.records().next().unwrap().unwrap_err().to_string()
    };
    assert_eq!(
        fault(r#"{"c":"sow"}{"k":}"#),
        "malformed sow batch at byte 16, record 0: field \"k\": expected a value after ':'"
    );
    assert_eq!(
        fault(r#"{"c":"sow"}{k:1}"#),
        "malformed sow batch at byte 12, record 0: expected a quoted field name or '}'"
    );
}
