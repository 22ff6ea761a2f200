//! What a test sees of a server (OBS-04), puts in place (OBS-05), and publishes (OBS-06) without a
//! client.

mod support;

use std::time::Duration;

use amps_testkit::{
    Action, FakeServer, Fault, Lasting, LogRecord, MessageId, PublishOptions, QueueConfig, Reason,
    ReplaySnapshot, SeedError, SeedMessage, ServerState, SowConfig, SowExpiration, TimerKind, Trigger,
    ViewConfig, ViewSource,
};
use amps_transport::Time;
use serde_json::json;
use support::raw_client::RawClient;

const SECOND: Duration = Duration::from_secs(1);

fn subscribe(client: &mut RawClient, id: &str, topic: &str, more: &str) -> String {
    client
        .ask(&format!(r#"{{"c":"subscribe","cid":"c","sub_id":"{id}","t":"{topic}","a":"processed"{more}}}"#))
}

fn busy_server() -> FakeServer {
    FakeServer::builder()
        .virtual_clock()
        .sow(SowConfig::new("orders").key("/id").expiration(SowExpiration::Enabled))
        .queue(QueueConfig::new("work").underlying("jobs").lease(30 * SECOND).expiration(90 * SECOND))
        .start()
        .unwrap()
}

/// OBS-04
#[test]
fn the_state_has_everything_at_one_moment() {
    let server = busy_server();
    let mut client = RawClient::named(&server, "app");
    client.ask(r#"{"c":"heartbeat","cid":"h","o":"start,10","a":"processed"}"#);
    subscribe(&mut client, "s", "work", r#","o":"max_backlog=5,timestamp","f":"/n > 0""#);
    client.send(r#"{"c":"publish","s":7,"t":"orders","e":60,"x":"mark"}{"id":1}"#);
    for n in [1, 2, 0] {
        server.publish("jobs", format!("{{\"n\":{n}}}")).unwrap();
    }
    client.receive();

    let state = server.state();
    assert_eq!((state.now, state.virtual_clock), (server.now(), true));
    let [connection] = &state.connections[..] else { panic!("{state:?}") };
    assert_eq!(connection.client_name.as_deref(), Some("app"));
    assert_eq!((&*connection.user, &*connection.message_type), ("", "json"));
    assert_eq!((connection.heartbeat, connection.pending_bytes), (Some(10 * SECOND), 0));
    let [subscription] = &connection.subscriptions[..] else { panic!("{state:?}") };
    assert_eq!((&*subscription.options, subscription.leased), ("max_backlog=5,timestamp", 1));
    assert_eq!((subscription.filter.as_deref(), subscription.replay), (Some("/n > 0"), None));
    assert_eq!(server.subscriptions(), connection.subscriptions);

    let [topic] = &state.topics[..] else { panic!("{state:?}") };
    assert_eq!((&*topic.name, topic.records, topic.logged), ("orders", 1, true));
    let [record] = &state.records[..] else { panic!("{state:?}") };
    assert_eq!((record.expires, record.updated), (Some(state.now + 60 * SECOND), state.now));
    assert_eq!((&*record.publisher, record.correlation.as_deref()), ("app", Some(&b"mark"[..])));
    assert_eq!(server.sow("orders"), state.records);

    assert_eq!((state.log.len(), state.queues.len()), (4, 1));
    let work = &state.queues[0];
    assert_eq!((work.leased.len(), work.available.len()), (1, 2));
    assert_eq!(work.leased[0].holder.as_deref(), Some("app"));
    let known = |client: &str| state.sequences.iter().find(|known| known.client.as_deref() == Some(client));
    assert_eq!(known("app").unwrap().sequence, 7);

    // The lease, the record, and the messages that wait; the heartbeat comes first.
    let kinds: Vec<String> = state.timers.iter().map(|timer| timer.kind.to_string()).collect();
    let expected = [
        "a heartbeat for app is due",
        "the lease of",
        "a record of orders",
        "expires in work",
        "expires in work",
    ];
    let due = state.timers.iter().filter(|timer| !matches!(timer.kind, TimerKind::PersistedAck { .. }));
    let due: Vec<String> = due.map(|timer| timer.kind.to_string()).collect();
    assert_eq!(due.len(), expected.len(), "{kinds:?}");
    for (kind, part) in due.iter().zip(expected) {
        assert!(kind.contains(part), "{kinds:?}");
    }
    assert!(state.timers.is_sorted_by_key(|timer| timer.at));
    assert_eq!(server.next_timer().as_ref(), state.timers.first());

    let written = state.to_json();
    assert_eq!(written["now"], "20260101T000000.000000Z");
    assert_eq!(written["connections"][0]["heartbeat"], "10s");
    assert_eq!(written["connections"][0]["subscriptions"][0]["options"], "max_backlog=5,timestamp");
    assert_eq!(written["records"][0]["expires"], "20260101T000100.000000Z");
    assert_eq!(written["queues"][0]["leased"][0]["lease_end"], "20260101T000030.000000Z");
    assert_eq!(written["log"][0]["body"], "{\"id\":1}");
    assert_eq!(written["counters"]["published"], json!(4));
}

/// OBS-04
#[test]
fn two_looks_at_a_server_at_rest_are_the_same() {
    let server = busy_server();
    let _client = RawClient::named(&server, "app");
    server.publish("jobs", "{}").unwrap();
    assert_eq!(server.state(), server.state());
    assert_ne!(server.state(), ServerState::default());
}

/// OBS-04
#[test]
fn what_a_connection_has_not_taken_is_pending() {
    let server = FakeServer::builder().start().unwrap();
    let mut client = RawClient::named(&server, "app");
    subscribe(&mut client, "s", "T", "");
    let stalled = Fault::when(Trigger::any_outbound()).then(Action::StallWrites(Lasting::UntilRemoved));
    let fault = server.add_fault(stalled).unwrap();
    server.publish("T", "a body").unwrap();
    assert!(server.connections()[0].pending_bytes > "a body".len());
    assert!(server.remove_fault(fault));
    assert!(client.receive().ends_with("a body"));
    assert_eq!(server.connections()[0].pending_bytes, 0);
}

/// OBS-04
#[test]
fn a_bookmark_subscription_shows_where_it_stands() {
    let server = FakeServer::builder().virtual_clock().start().unwrap();
    let mut client = RawClient::named(&server, "app");
    server.publish("T", "1").unwrap();
    let first = server.logged_messages()[0].bookmark;
    subscribe(&mut client, "s", "T", r#","bm":"0""#);
    client.receive();
    client.quiet();
    let replay = |remaining, paused| Some(ReplaySnapshot { after: Some(first), remaining, paused });
    assert_eq!(server.subscriptions()[0].replay, replay(0, false));
    client.ask(r#"{"c":"subscribe","cid":"p","sub_id":"s","o":"pause","a":"processed"}"#);
    server.publish("T", "2").unwrap();
    server.publish("T", "3").unwrap();
    assert_eq!(server.subscriptions()[0].replay, replay(2, true));
}

/// OBS-05
#[test]
fn seeded_records_are_there_before_anybody_connects() {
    let by_kind = ViewConfig::new("by-kind", ViewSource::Topic("orders".into()))
        .group_by("/kind")
        .field("/kind")
        .field("COUNT(/id) AS /n");
    let server = FakeServer::builder()
        .virtual_clock()
        .sow(SowConfig::new("orders").key("/id").expiration(SowExpiration::Enabled))
        .sow(SowConfig::new("chosen"))
        .view(by_kind)
        .start()
        .unwrap();
    let minute_ago = server.now() - 60 * SECOND;
    for id in 1..=2 {
        let record = SeedMessage::new("orders", format!("{{\"id\":{id},\"kind\":\"a\"}}"));
        assert_eq!(server.seed_record(record.at(minute_ago).expiration(90)).unwrap().bookmark, None);
    }
    server
        .seed_record(SeedMessage::new("chosen", "x").key("k").publisher("app").correlation("mark"))
        .unwrap();
    assert!(server.log().is_empty(), "a record alone is not logged");
    assert_eq!(server.sow("orders")[0].updated, minute_ago);
    assert_eq!(server.sow("by-kind")[0].body, br#"{"kind":"a","n":2}"#);
    assert_eq!((&*server.sow("chosen")[0].key, &*server.sow("chosen")[0].publisher), ("k", "app"));

    let mut client = RawClient::named(&server, "app");
    client.send(r#"{"c":"sow","query_id":"q","t":"orders"}"#);
    assert!(client.receive().contains("group_begin"));
    assert!(client.receive().contains(r#"{"id":1,"kind":"a"}"#));
    server.advance(30 * SECOND);
    assert!(server.sow("orders").is_empty(), "their 90 s are over");

    let topic = || "T".to_owned();
    assert_eq!(server.seed_record(SeedMessage::new("T", "1")), Err(SeedError::NoRecords { topic: topic() }));
    let keyless = server.seed_record(SeedMessage::new("chosen", "x")).unwrap_err();
    assert!(keyless.to_string().contains("bad sow key"), "{keyless}");
    let future = SeedMessage::new("chosen", "x").key("k").at(server.now() + SECOND);
    assert!(matches!(server.seed_record(future), Err(SeedError::Time { .. })));
}

/// OBS-05
#[test]
fn a_seeded_log_has_the_times_and_bookmarks_of_choice_and_is_replayed() {
    let server = FakeServer::builder().virtual_clock().start().unwrap();
    let at = |seconds: u64| server.now() - Duration::from_secs(seconds);
    let chosen = MessageId { publisher: 42, sequence: 9 };
    let entry = |body: &str| SeedMessage::new("T", body);
    let entries = [
        entry("one").publisher("app").sequence(3).at(at(20)),
        entry("two").bookmark(chosen).at(at(10)),
        entry("three"),
    ];
    let seeded = server.seed_log(entries).unwrap();
    assert_eq!(seeded[1].bookmark, Some(chosen));
    let logged = server.logged_messages();
    assert_eq!(logged.iter().map(|message| message.at).collect::<Vec<_>>(), [at(20), at(10), at(0)]);

    let mut client = RawClient::named(&server, "app");
    subscribe(&mut client, "s", "T", r#","bm":"42|9|""#);
    assert!(client.receive().ends_with("three"), "it begins behind the bookmark");
    // The publisher's next number has to be above the seeded one.
    client.send(r#"{"c":"publish","s":3,"t":"T","a":"persisted"}again"#);
    client.quiet();
    assert_eq!(server.logged_messages().len(), 3);

    let wrong = |entry: SeedMessage| server.seed_log([entry]).unwrap_err();
    assert!(matches!(wrong(entry("x").at(at(5))), SeedError::Time { .. }), "it would be out of order");
    assert!(matches!(wrong(entry("x").at(server.now() + SECOND)), SeedError::Time { .. }));
    assert_eq!(wrong(entry("x").bookmark(chosen)), SeedError::Sequence { sequence: 9, known: 9 });
    assert_eq!(server.logged_messages().len(), 3);
}

/// OBS-05
#[test]
fn a_topic_without_a_log_cannot_have_a_past() {
    let server = FakeServer::builder().txlog("^logged").start().unwrap();
    server.seed_log([SeedMessage::new("logged", "1")]).unwrap();
    let error = server.seed_log([SeedMessage::new("other", "1")]).unwrap_err();
    assert_eq!(error, SeedError::NotLogged { topic: "other".into() });
}

/// OBS-05
#[test]
fn seeded_queue_messages_expire_from_their_time_on_and_are_delivered() {
    let server = busy_server();
    let minute_ago = server.now() - 60 * SECOND;
    server.seed_queue_message(SeedMessage::new("work", "{\"n\":1}").at(minute_ago)).unwrap();
    server.seed_queue_message(SeedMessage::new("work", "{\"n\":2}")).unwrap();
    server.advance(30 * SECOND);
    let work = server.queue("work").unwrap();
    assert_eq!(work.available.len(), 1, "the first was 90 s old");
    let mut client = RawClient::named(&server, "app");
    subscribe(&mut client, "s", "work", "");
    assert!(client.receive().ends_with("{\"n\":2}"));
    let error = server.seed_queue_message(SeedMessage::new("jobs", "1")).unwrap_err();
    assert_eq!(error.to_string(), "there is no queue \"jobs\"; configure it");
}

/// OBS-05
#[test]
fn a_client_is_told_the_sequence_number_that_was_set() {
    let server = FakeServer::builder().start().unwrap();
    server.set_sequence("app", 41).unwrap();
    let mut client = RawClient::connect(&server);
    assert!(client.log_on("app").contains("\"s\":41"));
    client.send(r#"{"c":"publish","s":41,"t":"T"}old"#);
    client.send(r#"{"c":"publish","s":42,"t":"T"}new"#);
    client.quiet();
    assert!(matches!(&server.log()[..], [LogRecord::Message(message)] if message.body == b"new"));
    assert_eq!(server.set_sequence("app", 1), Err(SeedError::Sequence { sequence: 1, known: 42 }));
}

/// OBS-06
#[test]
fn the_server_publishes_in_anybodys_name() {
    let server = busy_server();
    let mut client = RawClient::named(&server, "app");
    subscribe(&mut client, "s", "orders", "");
    let options = PublishOptions {
        publisher: Some("other".into()),
        sequence: Some(5),
        correlation: Some(b"mark".to_vec()),
        expiration: Some(60),
        ..PublishOptions::default()
    };
    let published = server.publish_as("orders", r#"{"id":1,"n":1}"#, &options).unwrap();
    assert_eq!(published.bookmark.unwrap().sequence, 5);
    assert!(client.receive().contains(r#""x":"mark""#));
    let delta = PublishOptions { delta: true, sequence: Some(6), ..options.clone() };
    server.publish_as("orders", r#"{"id":1,"n":2}"#, &delta).unwrap();
    assert!(client.receive().ends_with(r#"{"id":1,"n":2}"#));
    let record = &server.sow("orders")[0];
    assert_eq!((&*record.publisher, record.expires), ("other", Some(server.now() + 60 * SECOND)));
    // Its bookmarks are those that it would have itself.
    let mut other = RawClient::connect(&server);
    assert!(other.log_on("other").contains("\"s\":6"));

    let refused = server.publish_as("orders", "{}", &options).unwrap_err();
    assert_eq!(refused.reason, Reason::Duplicate);
    let refused = server.publish_as("/AMPS/Anything", "{}", &PublishOptions::default()).unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidTopic);
    assert!(refused.to_string().contains("a topic of the server's own"), "{refused}");
    let refused = server.publish("/AMPS/Anything", "{}").unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidTopic);
    let fix = PublishOptions { message_type: Some("fix".into()), ..PublishOptions::default() };
    server.publish_as("orders", "1=2\u{1}", &fix).unwrap();
    assert_eq!(server.sow("orders").len(), 1, "the topic of another message type is another topic");
    client.quiet();
}

#[test]
fn a_seed_of_the_past_is_of_the_past_in_the_log_of_a_real_clock_too() {
    let server = FakeServer::builder().start().unwrap();
    let long_ago = Time::from_unix_nanos(1_000_000_000);
    server.seed_log([SeedMessage::new("T", "1").at(long_ago)]).unwrap();
    server.publish("T", "2").unwrap();
    let logged = server.logged_messages();
    assert_eq!(logged[0].at, long_ago);
    assert!(logged[1].at > long_ago);
}

/// TYP-01: values are bytes, whatever they mean.
#[test]
fn keys_that_are_no_utf_8_are_told_apart() {
    let server = FakeServer::builder()
        .sow(SowConfig::new("T").key("/id").message_type("nvfix"))
        .view(
            ViewConfig::new("V", ViewSource::Topic("T".into()))
                .message_type("nvfix")
                .field("/id")
                .field("COUNT(/id) AS /n")
                .group_by("/id"),
        )
        .start()
        .unwrap();
    let nvfix = PublishOptions { message_type: Some("nvfix".into()), ..PublishOptions::default() };
    for id in [b'\xe8', b'\xe9', b'\xe8'] {
        server.publish_as("T", [b"id=", &[id][..], b"\x01"].concat(), &nvfix).unwrap();
    }
    assert_eq!((server.sow("T").len(), server.sow("V").len()), (2, 2));
}

/// TOP-08
#[test]
fn the_server_publishes_to_no_view() {
    let server = FakeServer::builder()
        .sow(SowConfig::new("orders").key("/id"))
        .view(
            ViewConfig::new("totals", ViewSource::Topic("orders".into()))
                .group_by("/s")
                .field("SUM(/n) AS /n"),
        )
        .start()
        .unwrap();
    let refused = server.publish("totals", r#"{"s":1}"#).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "not published: invalid topic: totals follows other topics and is not published to"
    );
    assert!(server.sow("totals").is_empty());
}
