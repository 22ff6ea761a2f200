//! Commands: what is built is what goes over the wire, and what is read is what was built.

use amps_protocol::{
    AckType, AckTypes, Command, CommandError, CommandKind, Delete, EncodeError, Field, FrameDecoder,
    FrameTooLong, HeartbeatRequest, Id, Interval, Message, Options, QueueAction, ReplayFrom, Text,
};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

mod common;
#[path = "common/golden.rs"]
mod golden;
use golden::vectors;

fn read(header: &str) -> Result<Command<'static>, CommandError> {
    let message = Message::decode(header.as_bytes()).unwrap();
    Command::read(&message).map(Command::into_owned)
}

#[test]
fn every_command_among_the_vectors_is_read_and_written_back_byte_for_byte() {
    let mut commands = 0;
    for vector in vectors().iter().filter(|vector| vector.from_client && !vector.decode_only) {
        let message = Message::decode(Bytes::copy_from_slice(&vector.frame)).unwrap();
        let command = Command::read(&message).unwrap_or_else(|error| panic!("{}: {error}", vector.id));
        let mut out = BytesMut::new();
        command.encode(&mut out).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out[4..]),
            String::from_utf8_lossy(&vector.frame),
            "{} differs",
            vector.id
        );
        assert_eq!(out[..4], vector.prefix.to_be_bytes());
        commands += 1;
    }
    assert_eq!(commands, 29);
}

#[test]
fn what_servers_send_is_no_command() {
    for vector in vectors().iter().filter(|vector| !vector.from_client) {
        let message = Message::decode(&vector.frame[..]).unwrap();
        match message.command() {
            // Deliveries and beats look like what clients send.
            CommandKind::Publish | CommandKind::Heartbeat => {}
            CommandKind::Sow => assert!(Command::read(&message).is_ok(), "a batch names topic and query"),
            kind => {
                let refused = Command::read(&message).unwrap_err();
                assert_eq!(refused, CommandError::FromServer { kind }, "{}", vector.id);
            }
        }
    }
}

#[test]
fn ids_that_are_left_out_are_filled_in_as_a_server_does() {
    let Ok(Command::SowAndSubscribe(both)) = read(r#"{"c":"sow_and_subscribe","cid":"7","t":"o"}"#) else {
        panic!("not read")
    };
    assert_eq!((both.get_sub_id(), both.get_query_id()), (&Id::number(7), &Id::number(7)));
    let Ok(Command::SowAndSubscribe(both)) =
        read(r#"{"c":"sow_and_subscribe","cid":"7","t":"o","sub_id":"s"}"#)
    else {
        panic!("not read")
    };
    assert_eq!(both.get_query_id().as_bytes(), b"s");
    let error = read(r#"{"c":"subscribe","t":"o"}"#).unwrap_err();
    assert_eq!(error, CommandError::MissingField { kind: CommandKind::Subscribe, field: Field::SubId });
}

#[test]
fn what_cannot_be_carried_out_says_why() {
    for (header, text) in [
        ("{}", "the header has no command: expected the field \"c\""),
        (r#"{"c":"teleport"}"#, "unknown command \"teleport\""),
        (r#"{"c":"ack","t":"q","bm":"1|2|"}"#, "\"ack\" is sent by servers, not by clients"),
        (r#"{"c":"p"}"#, "p lacks the field \"t\""),
        (r#"{"c":"logon","cid":"0"}"#, "logon lacks the field \"client_name\""),
        (r#"{"c":"unsubscribe"}"#, "unsubscribe lacks the field \"sub_id\""),
        (r#"{"c":"subscribe","t":"o","o":"pause"}"#, "subscribe lacks the field \"sub_id\""),
        (r#"{"c":"flush"}"#, "flush lacks the field \"cid\""),
        (
            r#"{"c":"sow_delete","t":"o","f":"1=1","sow_keys":"1"}"#,
            "sow_delete says in 2 ways what it deletes; expected one of \"f\", \"sow_keys\", \"bm\" and a body",
        ),
        (
            r#"{"c":"sow_delete","t":"o"}"#,
            "sow_delete says in 0 ways what it deletes; expected one of \"f\", \"sow_keys\", \"bm\" and a body",
        ),
        (
            r#"{"c":"heartbeat","o":"hop"}"#,
            "the field \"o\" of heartbeat is \"hop\"; expected start,SECONDS, beat or stop",
        ),
    ] {
        assert_eq!(read(header).unwrap_err().to_string(), text);
    }
    for (header, beginning) in [
        (r#"{"c":"subscribe","t":"o","sub_id":"a,b"}"#, "the field \"sub_id\" of subscribe: "),
        (r#"{"c":"subscribe","t":"o","sub_id":"1","bm":"recent"}"#, "the field \"bm\" of subscribe: "),
        (r#"{"c":"subscribe","t":"o","sub_id":"1","o":"select=[/a"}"#, "the field \"o\" of subscribe: "),
    ] {
        let error = read(header).unwrap_err().to_string();
        assert!(error.starts_with(beginning), "{error}");
    }
}

#[test]
fn a_bookmark_tells_a_subscription_that_begins_paused_from_a_pause() {
    let begins_paused = read(r#"{"c":"subscribe","t":"o","sub_id":"1","bm":"0","o":"pause"}"#).unwrap();
    assert!(matches!(begins_paused, Command::Subscribe(_)), "{begins_paused:?}");
    let pause = read(r#"{"c":"subscribe","t":"o","sub_id":"1,2","o":"pause"}"#).unwrap();
    let Command::ReplayControl(pause) = pause else { panic!("{pause:?}") };
    assert_eq!(pause.get_sub_ids(), [Id::number(1), Id::number(2)]);
    assert!(!pause.resumes());
}

#[test]
fn a_limit_without_a_replay_is_dropped_as_it_limits_nothing() {
    let Ok(Command::Subscribe(subscribe)) = read(r#"{"c":"subscribe","t":"o","sub_id":"1","top_n":5}"#)
    else {
        panic!("not read")
    };
    assert_eq!(subscribe, Command::subscribe("o", 1));
}

#[test]
fn a_command_above_the_limit_leaves_the_buffer_as_it_was() {
    let mut out = BytesMut::from(&b"before"[..]);
    let command = Command::from(Command::publish("orders").data(vec![0; 100]));
    let error = command.encode_within(&mut out, 64).unwrap_err();
    assert_eq!(error, EncodeError::TooLong(FrameTooLong { length: 122, limit: 64 }));
    assert_eq!(&out[..], b"before");
}

#[test]
fn debug_shows_a_command_readably_and_no_password() {
    let logon = Command::from(Command::logon(0, "worker").user_id("ada").password("s3cret"));
    let text = format!("{logon:?}");
    assert!(text.contains("worker") && text.contains("ada"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let Command::Logon(logon) = logon else { panic!() };
    assert_eq!(logon.reveal_password(), Some(&b"s3cret"[..]));
}

#[test]
fn what_was_built_can_be_asked_for() {
    let replay = ReplayFrom::epoch();
    let subscribe = Command::subscribe("o", 1)
        .filter("/a = 1")
        .replay(replay.clone())
        .options(Options::parse("oof"))
        .ask(7, AckType::Processed);
    assert_eq!(subscribe.get_topic(), "o");
    assert_eq!(subscribe.get_sub_id(), &Id::number(1));
    assert_eq!(subscribe.get_filter().unwrap(), &Text::from("/a = 1"));
    assert_eq!(subscribe.get_replay(), Some(&replay));
    assert!(subscribe.get_options().oof());
    let command = Command::from(subscribe);
    assert_eq!(command.command_id(), Some(&Id::number(7)));
    assert_eq!(command.acks(), AckType::Processed.into());
    assert_eq!(command.kind(), CommandKind::Subscribe);

    let publish = Command::publish("o").data("{}");
    assert_eq!((publish.get_topic(), publish.get_data()), (&"o".into(), &"{}".into()));
    assert_eq!((Command::from(publish).command_id(), AckTypes::NONE), (None, AckTypes::default()));

    let logon = Command::logon(0, "worker").user_id("ada");
    assert_eq!((logon.get_client_name(), logon.get_user_id()), (&"worker".into(), Some(&"ada".into())));
    assert_eq!(logon.reveal_password(), None);

    let ended = Command::unsubscribe([1, 2]).and_queries([3]);
    assert_eq!((ended.ends_all(), ended.get_sub_ids()), (false, &[Id::number(1), Id::number(2)][..]));
    assert_eq!(ended.get_query_ids(), [Id::number(3)]);
    let ended = Command::unsubscribe_all();
    assert!(ended.ends_all() && ended.get_sub_ids().is_empty() && ended.get_query_ids().is_empty());

    assert_eq!(Command::heartbeat(HeartbeatRequest::Beat).get_request(), HeartbeatRequest::Beat);
    let delete = Command::sow_delete("o", Delete::keys(["1", "2"]));
    assert_eq!(delete.get_what(), &Delete::Keys("1,2".into()));
}

#[test]
fn each_family_encodes_itself_as_the_command_that_it_becomes() {
    macro_rules! alike {
        ($($family:expr),* $(,)?) => {
            $(
                let family = $family;
                let (mut own, mut general) = (BytesMut::new(), BytesMut::new());
                let length = family.encode(&mut own).unwrap();
                let too_long = FrameTooLong { length: length as u64 - 4, limit: 3 };
                let error = family.encode_within(&mut own, 3).unwrap_err();
                assert_eq!(error, EncodeError::TooLong(too_long));
                assert_eq!(Command::from(family).encode(&mut general), Ok(length));
                assert_eq!(own, general);
            )*
        };
    }
    alike!(
        Command::logon(9, "w"),
        Command::publish("o"),
        Command::subscribe("o", 1),
        Command::pause("o", [1]),
        Command::sow("o", 1),
        Command::sow_and_subscribe("o", 1),
        Command::sow_and_delta_subscribe("o", 1),
        Command::sow_delete("o", Delete::all()),
        Command::unsubscribe_all(),
        Command::flush(1, AckType::Completed),
        Command::heartbeat(HeartbeatRequest::Stop),
        Command::start_timer(1),
    );
}

#[test]
fn what_every_server_would_refuse_is_not_sent() {
    let refused = |command: Command<'_>| {
        let mut out = BytesMut::from(&b"before"[..]);
        let error = command.encode(&mut out).unwrap_err();
        assert_eq!(&out[..], b"before", "{command:?}");
        error.to_string()
    };
    let nothing = "cannot send sow_delete: it does not say what to delete";
    for what in [
        Delete::keys::<&str>([]),
        Delete::messages::<&str>([], QueueAction::Cancel),
        Delete::filter(""),
        Delete::Data("".into()),
    ] {
        assert_eq!(refused(Command::sow_delete("o", what).into()), nothing);
    }
    for (command, text) in [
        (Command::publish("").into(), "cannot send p: it has no topic"),
        (Command::subscribe("", 1).into(), "cannot send subscribe: it has no topic"),
        (Command::sow("", 1).into(), "cannot send sow: it has no topic"),
        (Command::logon(1, "").into(), "cannot send logon: it has no client name"),
        (Command::pause::<u64>("o", []).into(), "cannot send subscribe: it names no subscription"),
        (
            Command::unsubscribe::<u64>([]).into(),
            "cannot send unsubscribe: it names neither subscription nor query",
        ),
        (
            Command::flush(1, AckTypes::NONE).into(),
            "cannot send flush: it asks for no acknowledgement, so nothing would come of it",
        ),
        (
            Command::subscribe("o", 1).replay_at_most(ReplayFrom::now(), 5).into(),
            "cannot send subscribe: a replay that begins at NOW has nothing that could be limited",
        ),
        (
            Command::publish("o").ask_persisted().into(),
            "cannot send p: an acknowledgement needs a command id or a sequence number to be known by",
        ),
    ] {
        assert_eq!(refused(command), text);
    }
}

#[test]
fn every_getter_tells_what_its_setter_was_told() {
    let publish = Command::publish("o").sequence(3).expiration(4).sow_key("k").correlation_id("x");
    let publish = publish.ask(7, AckType::Processed);
    assert_eq!((publish.get_sequence(), publish.get_expiration()), (Some(3), Some(4)));
    assert_eq!((publish.get_sow_key(), publish.get_correlation_id()), (Some(&"k".into()), Some(&"x".into())));
    assert_eq!(publish.get_command_id(), Some(&Id::number(7)));
    assert_eq!(publish.get_acks(), AckType::Processed.into());
    let sow =
        Command::sow("o", 1).order_by("/a").batch_size(5).top_n(6).sow_keys("k").as_of(ReplayFrom::now());
    assert_eq!((sow.get_order_by(), sow.get_sow_keys()), (Some(&"/a".into()), Some(&"k".into())));
    assert_eq!((sow.get_batch_size(), sow.get_top_n()), (Some(5), Some(6)));
    assert_eq!(sow.get_as_of(), Some(&ReplayFrom::now()));
    let both = Command::sow_and_subscribe("o", 1).replay(ReplayFrom::epoch());
    assert_eq!(both.get_replay(), Some(&ReplayFrom::epoch()));
    let both = both.order_by("/a").batch_size(5).top_n(6).sow_keys("k");
    assert_eq!((both.get_order_by(), both.get_sow_keys()), (Some(&"/a".into()), Some(&"k".into())));
    assert_eq!((both.get_batch_size(), both.get_top_n()), (Some(5), Some(6)));
    let both = Command::sow_and_delta_subscribe("o", 1).order_by("/a").batch_size(5).top_n(6).sow_keys("k");
    assert_eq!((both.get_order_by(), both.get_sow_keys()), (Some(&"/a".into()), Some(&"k".into())));
    assert_eq!((both.get_batch_size(), both.get_top_n()), (Some(5), Some(6)));
    assert_eq!(Command::sow_delete("o", Delete::all()).sequence(8).get_sequence(), Some(8));
    let limited = Command::subscribe("o", 1).replay_at_most(ReplayFrom::epoch(), 9);
    assert_eq!(limited.get_top_n(), Some(9));
    let logon = Command::logon(1, "w").message_type("json").correlation_id("x").version("v");
    assert_eq!((logon.get_message_type(), logon.get_version()), (Some(&"json".into()), Some(&"v".into())));
    assert_eq!(logon.get_correlation_id(), Some(&"x".into()));
    let timer = Command::start_timer(1).topic("o").options(Options::parse("a"));
    assert_eq!((timer.get_topic(), timer.get_options().len()), (Some(&"o".into()), 1));
}

#[test]
fn fields_of_old_clients_are_read_as_the_options_that_they_became() {
    let header =
        r#"{"c":"sow","cid":"1","t":"o","send_oof":true,"send_keys":"TRUE","send_empty":false,"skip_n":4}"#;
    let Ok(Command::Sow(sow)) = read(header) else { panic!("not read") };
    assert_eq!(sow.get_options().to_string(), "oof,send_keys,no_empties,skip_n=4");
    let Ok(Command::Heartbeat(start)) = read(r#"{"c":"heartbeat","heartbeat":"start","timeout_interval":5}"#)
    else {
        panic!("not read")
    };
    assert_eq!(start.get_request(), HeartbeatRequest::Start(5));
    let Ok(Command::Heartbeat(beat)) = read(r#"{"c":"heartbeat","heartbeat":"beat"}"#) else {
        panic!("not read")
    };
    assert_eq!(beat.get_request(), HeartbeatRequest::Beat);
}

#[test]
fn an_option_with_a_value_where_none_belongs_is_not_taken_for_the_bare_one() {
    let Ok(Command::SowDelete(delete)) = read(r#"{"c":"sow_delete","t":"q","bm":"1|2|","o":"cancel=no"}"#)
    else {
        panic!("not read")
    };
    let other = QueueAction::Other(Options::parse("cancel=no"));
    assert_eq!(*delete.get_what(), Delete::messages(["1|2|"], other));
    let paused = read(r#"{"c":"subscribe","t":"o","sub_id":"1","o":"pause=1"}"#).unwrap();
    assert!(matches!(paused, Command::Subscribe(_)), "{paused:?}");
}

#[test]
fn every_record_is_a_filter_and_options_without_a_name_here_are_kept() {
    assert_eq!(Delete::all(), Delete::Filter { filter: "1=1".into(), action: QueueAction::Acknowledge });
    let header = r#"{"c":"sow_delete","bm":"1|2|","t":"q","o":"new_way=3,cancel"}"#;
    let Ok(Command::SowDelete(delete)) = read(header) else { panic!("not read") };
    let action = QueueAction::Other(Options::parse("new_way=3,cancel"));
    assert_eq!(delete.get_what(), &Delete::messages(["1|2|"], action));
    let mut out = BytesMut::new();
    delete.encode(&mut out).unwrap();
    assert_eq!(&out[4..], header.as_bytes());
}

#[test]
fn every_setter_writes_its_field_and_the_field_is_read_back() {
    let now = ReplayFrom::now;
    for (command, header) in [
        (
            Command::from(
                Command::logon(9, "w")
                    .user_id("u")
                    .password("p")
                    .message_type("json")
                    .correlation_id("Eg==")
                    .version("1"),
            ),
            r#"{"c":"logon","cid":"9","client_name":"w","user_id":"u","pw":"p","mt":"json","x":"Eg==","a":"processed","version":"1"}"#,
        ),
        (
            Command::delta_publish("o").sequence(7).expiration(9).sow_key("k").correlation_id("Eg==").into(),
            r#"{"c":"delta_publish","s":7,"t":"o","e":9,"k":"k","x":"Eg=="}"#,
        ),
        (
            Command::publish("o").sequence(2).ask_persisted().into(),
            r#"{"c":"p","s":2,"t":"o","a":"persisted"}"#,
        ),
        (Command::publish("o").sequence(0).into(), r#"{"c":"p","t":"o"}"#),
        (
            Command::publish("o").ask_persisted().ask(5, AckType::Processed).into(),
            r#"{"c":"p","cid":"5","t":"o","a":"processed,persisted"}"#,
        ),
        (
            Command::delta_subscribe("o", 1).filter("").replay_at_most(ReplayFrom::epoch(), 5).into(),
            r#"{"c":"delta_subscribe","bm":"0","t":"o","sub_id":"1","top_n":5}"#,
        ),
        (
            Command::subscribe("o", 1).replay_at_most(now(), 5).replay(now()).into(),
            r#"{"c":"subscribe","bm":"0|1|","t":"o","sub_id":"1"}"#,
        ),
        (Command::pause("o", [1, 2]).into(), r#"{"c":"subscribe","t":"o","sub_id":"1,2","o":"pause"}"#),
        (Command::resume("o", [3]).into(), r#"{"c":"subscribe","t":"o","sub_id":"3","o":"resume"}"#),
        (
            Command::sow("o", 1)
                .as_of(now())
                .filter("/a")
                .order_by("/b")
                .batch_size(10)
                .top_n(0)
                .sow_keys("k")
                .into(),
            r#"{"c":"sow","bm":"0|1|","t":"o","query_id":"1","f":"/a","orderby":"/b","bs":10,"top_n":0,"sow_keys":"k"}"#,
        ),
        (
            Command::sow_and_subscribe("o", 1).query(2).replay(now()).into(),
            r#"{"c":"sow_and_subscribe","bm":"0|1|","t":"o","sub_id":"1","query_id":"2"}"#,
        ),
        (
            Command::sow_and_delta_subscribe("o", 1).query(2).batch_size(3).into(),
            r#"{"c":"sow_and_delta_subscribe","t":"o","sub_id":"1","query_id":"2","bs":3}"#,
        ),
        (
            Command::sow_delete("o", Delete::Keys("k".into())).sequence(3).ask_persisted().into(),
            r#"{"c":"sow_delete","s":3,"t":"o","sow_keys":"k","a":"persisted"}"#,
        ),
        (
            Command::unsubscribe([1]).and_queries([2]).into(),
            r#"{"c":"unsubscribe","sub_id":"1","query_id":"2"}"#,
        ),
        (Command::cancel_queries([1, 2]).into(), r#"{"c":"unsubscribe","query_id":"1,2"}"#),
        (Command::flush(1, AckType::Completed).into(), r#"{"c":"flush","cid":"1","a":"completed"}"#),
        (Command::heartbeat(HeartbeatRequest::Start(5)).into(), r#"{"c":"heartbeat","o":"start,5"}"#),
        (
            Command::start_timer(1).topic("o").options(Options::parse("a=1")).into(),
            r#"{"c":"start_timer","cid":"1","t":"o","o":"a=1"}"#,
        ),
        (Command::stop_timer(1).into(), r#"{"c":"stop_timer","cid":"1"}"#),
    ] {
        let mut out = BytesMut::new();
        command.encode(&mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out[4..]), header);
        let again = read(header).unwrap();
        assert_eq!(again, command);
        assert_eq!((again.command_id(), again.acks()), (command.command_id(), command.acks()));
    }
}

#[test]
fn what_becomes_of_queue_messages_is_said_by_at_most_one_option() {
    let minute = Interval::from(std::time::Duration::from_secs(60));
    for (action, options) in [
        (QueueAction::Acknowledge, ""),
        (QueueAction::Cancel, r#","o":"cancel""#),
        (QueueAction::Expire, r#","o":"expire""#),
        (QueueAction::ExtendLease(minute), r#","o":"lease_extension=1m""#),
        (QueueAction::Other(Options::parse("new_way")), r#","o":"new_way""#),
    ] {
        let messages = Command::sow_delete("q", Delete::messages(["1|2|"], action.clone()));
        let filtered = Command::sow_delete("q", Delete::Filter { filter: "/a = 1".into(), action });
        for (delete, header) in [
            (messages, format!(r#"{{"c":"sow_delete","bm":"1|2|","t":"q"{options}}}"#)),
            (filtered, format!(r#"{{"c":"sow_delete","t":"q","f":"/a = 1"{options}}}"#)),
        ] {
            let mut out = BytesMut::new();
            delete.encode(&mut out).unwrap();
            assert_eq!(String::from_utf8_lossy(&out[4..]), header);
            assert_eq!(read(&header).unwrap(), Command::from(delete));
        }
    }
}

// ----- any command whatever ---------------------------------------------------------------

fn text() -> impl Strategy<Value = Text<'static>> {
    prop_oneof![vec(any::<u8>(), 1..30), "[ -~]{1,40}".prop_map(String::into_bytes)].prop_map(Text::from)
}

fn id() -> impl Strategy<Value = Id<'static>> {
    prop_oneof![
        any::<u64>().prop_map(Id::number),
        vec(any::<u8>(), 1..10).prop_filter_map("no id", |text| Id::text(text).ok()),
    ]
}

fn acks() -> impl Strategy<Value = AckTypes> {
    let kinds = [
        AckType::Received,
        AckType::Parsed,
        AckType::Processed,
        AckType::Persisted,
        AckType::Completed,
        AckType::Stats,
    ];
    any::<[bool; 6]>().prop_map(move |chosen| {
        kinds.into_iter().zip(chosen).filter(|(_, c)| *c).fold(AckTypes::NONE, |all, (ack, _)| all.with(ack))
    })
}

fn replay() -> impl Strategy<Value = ReplayFrom> {
    prop_oneof![
        Just(ReplayFrom::epoch()),
        Just(ReplayFrom::now()),
        any::<u64>().prop_map(ReplayFrom::at),
        vec((any::<u64>(), any::<u64>()), 1..4).prop_map(|ids| {
            let list: Vec<_> = ids.iter().map(|(p, s)| format!("{p}|{s}|")).collect();
            list.join(",").parse().unwrap()
        }),
        Just("[20200604T000000:20200605T000000)".parse().unwrap()),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    vec(
        prop_oneof![
            Just("oof".to_owned()),
            Just("select=[-/,+/id]".to_owned()),
            any::<u32>().prop_map(|n| format!("top_n={n}")),
            "[a-z][a-z_]{0,7}=[a-z0-9./]{1,8}",
        ],
        0..4,
    )
    .prop_map(|all| Options::try_parse(all.join(",")).unwrap())
}

fn delete() -> impl Strategy<Value = Delete<'static>> {
    let action = prop_oneof![
        Just(QueueAction::Acknowledge),
        Just(QueueAction::Cancel),
        Just(QueueAction::Expire),
        (1u64..100_000)
            .prop_map(|s| QueueAction::ExtendLease(Interval::from(std::time::Duration::from_secs(s)))),
    ]
    .boxed();
    prop_oneof![
        (text(), action.clone()).prop_map(|(filter, action)| Delete::Filter { filter, action }),
        text().prop_map(Delete::Keys),
        text().prop_map(Delete::Data),
        (vec("[0-9]{1,20}[|][0-9]{1,20}[|]", 1..4), action)
            .prop_map(|(bookmarks, action)| Delete::messages(bookmarks, action)),
    ]
}

fn publish() -> impl Strategy<Value = Command<'static>> {
    let rare = (option::of(any::<u64>()), option::of(text()), option::of(text()));
    let ask = option::of((id(), acks()));
    (any::<bool>(), text(), vec(any::<u8>(), 0..200), any::<u64>(), rare, ask).prop_map(
        |(delta, topic, data, sequence, (expiration, key, mark), ask)| {
            let mut publish = if delta { Command::delta_publish(topic) } else { Command::publish(topic) };
            publish = publish.data(data).sequence(sequence);
            if let Some(seconds) = expiration {
                publish = publish.expiration(seconds);
            }
            if let Some(key) = key {
                publish = publish.sow_key(key);
            }
            if let Some(mark) = mark {
                publish = publish.correlation_id(mark);
            }
            match ask {
                Some((id, acks)) => publish.ask(id, acks).into(),
                None if sequence > 0 => publish.ask_persisted().into(),
                None => publish.into(),
            }
        },
    )
}

fn subscribe() -> impl Strategy<Value = Command<'static>> {
    let replay = option::of((replay(), option::of(any::<u64>())));
    (any::<bool>(), text(), id(), option::of(text()), replay, options(), (id(), acks())).prop_map(
        |(delta, topic, sub_id, filter, replay, options, (cid, acks))| {
            let subscribe = if delta {
                Command::delta_subscribe(topic, sub_id)
            } else {
                Command::subscribe(topic, sub_id)
            };
            let subscribe = match replay {
                Some((from, Some(limit))) if from != ReplayFrom::now() => {
                    subscribe.replay_at_most(from, limit)
                }
                Some((from, Some(_))) => subscribe.replay(from),
                Some((from, None)) => subscribe.replay(from),
                None => subscribe,
            };
            subscribe.filter(filter.unwrap_or_default()).options(options).ask(cid, acks).into()
        },
    )
}

fn query() -> impl Strategy<Value = Command<'static>> {
    let texts = (option::of(text()), option::of(text()), option::of(text()));
    let numbers = (any::<u64>(), any::<u64>());
    (0..3, text(), (id(), id()), texts, numbers, option::of(replay()), options(), acks()).prop_map(
        |(form, topic, (sub, query), (filter, order, keys), (batch, top), replay, options, acks)| {
            macro_rules! finish {
                ($command:expr) => {
                    $command
                        .filter(filter.unwrap_or_default())
                        .order_by(order.unwrap_or_default())
                        .sow_keys(keys.unwrap_or_default())
                        .batch_size(batch)
                        .top_n(top)
                        .options(options)
                        .ask(9, acks)
                        .into()
                };
            }
            match (form, replay) {
                (0, Some(replay)) => finish!(Command::sow(topic, query).as_of(replay)),
                (0, None) => finish!(Command::sow(topic, query)),
                (1, Some(replay)) => {
                    finish!(Command::sow_and_subscribe(topic, sub).query(query).replay(replay))
                }
                (1, None) => finish!(Command::sow_and_subscribe(topic, sub)),
                _ => finish!(Command::sow_and_delta_subscribe(topic, sub).query(query)),
            }
        },
    )
}

fn around() -> impl Strategy<Value = Command<'static>> {
    let request = prop_oneof![
        any::<u64>().prop_map(HeartbeatRequest::Start),
        Just(HeartbeatRequest::Beat),
        Just(HeartbeatRequest::Stop)
    ];
    prop_oneof![
        (vec(text(), 6), options(), id(), acks()).prop_map(|(t, options, cid, acks)| {
            let [name, user, password, mark, version, kind] = <[Text<'_>; 6]>::try_from(t).unwrap();
            let logon = Command::logon(cid, name).user_id(user).password(password).correlation_id(mark);
            logon.version(version).message_type(kind).options(options).ask(1, acks).into()
        }),
        (text(), vec(id(), 1..4), any::<bool>(), id(), acks()).prop_map(
            |(topic, mut ids, resume, cid, acks)| {
                ids.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
                ids.dedup();
                let control = if resume { Command::resume(topic, ids) } else { Command::pause(topic, ids) };
                control.ask(cid, acks).into()
            }
        ),
        (text(), delete(), any::<u64>(), option::of((id(), acks()))).prop_map(
            |(topic, what, sequence, ask)| {
                let delete = Command::sow_delete(topic, what).sequence(sequence);
                match ask {
                    Some((id, acks)) => delete.ask(id, acks).into(),
                    None => delete.ask_persisted().into(),
                }
            }
        ),
        (id(), id(), any::<bool>()).prop_map(|(a, b, all)| {
            let ended = if all { Command::unsubscribe_all() } else { Command::unsubscribe([a]) };
            ended.and_queries([b]).into()
        }),
        id().prop_map(|id| Command::cancel_queries([id]).into()),
        (id(), acks()).prop_map(|(id, acks)| { Command::flush(id, acks.with(AckType::Processed)).into() }),
        (request, id(), acks()).prop_map(|(r, id, acks)| Command::heartbeat(r).ask(id, acks).into()),
        (id(), text(), options()).prop_map(|(id, t, o)| Command::start_timer(id).topic(t).options(o).into()),
        id().prop_map(|id| Command::stop_timer(id).into()),
    ]
}

proptest! {
    #[test]
    fn any_command_is_read_as_it_was_built(
        commands in vec(prop_oneof![publish(), subscribe(), query(), around()], 1..6),
    ) {
        let mut stream = BytesMut::new();
        for command in &commands {
            let before = stream.len();
            prop_assert_eq!(command.encode(&mut stream).unwrap(), stream.len() - before);
        }
        for command in &commands {
            let frame = FrameDecoder::default().decode(&mut stream).unwrap().unwrap();
            let message = Message::decode(frame).unwrap();
            prop_assert_eq!(message.command(), command.kind());
            prop_assert_eq!(message.acks(), command.acks());
            prop_assert_eq!(message.command_id().map(|id| &**id), command.command_id().map(Id::as_bytes));
            prop_assert_eq!(&Command::read(&message).unwrap(), command);
            prop_assert_eq!(&Command::read(&message).unwrap().into_owned(), command);
        }
        prop_assert!(stream.is_empty());
    }
}
