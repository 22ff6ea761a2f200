//! What a test asks of a server, expects of clients, and learns of what they did wrong.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use amps_protocol::CommandKind;
use amps_testkit::{
    Action, ConfigFile, FakeServer, Fault, HeaderTest, JournalMode, JournalQuery, Lint, Matcher, QueueConfig,
    TimerKind, Trigger,
};
use amps_transport::Time;
use support::raw_client::{PATIENCE, RawClient, framed};

const SECOND: Duration = Duration::from_secs(1);

fn publishes(topic: &str) -> Matcher {
    Matcher::command(CommandKind::Publish).topic(topic)
}

fn publish(client: &mut RawClient, topic: &str, body: &str) {
    client.send(&format!(r#"{{"c":"publish","t":"{topic}"}}{body}"#));
}

/// AC-CI-01
#[test]
fn ac_ci_01_two_servers_have_ports_of_their_own_and_are_ready() {
    let servers = [(); 2].map(|()| FakeServer::builder().listen("127.0.0.1:0").start().unwrap());
    assert_ne!(servers[0].addr().port(), servers[1].addr().port());
    for server in &servers {
        assert_ne!(server.addr().port(), 0);
        RawClient::named(server, "a").quiet();
    }
}

/// AC-CI-03
#[test]
fn ac_ci_03_a_lease_ends_to_the_millisecond_of_the_virtual_clock() {
    let queue = QueueConfig::new("work").lease(30 * SECOND);
    let server = FakeServer::builder().virtual_clock().queue(queue).start().unwrap();
    let mut client = RawClient::named(&server, "a");
    client.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","a":"processed"}"#);
    server.publish("work", "1").unwrap();
    let first = client.receive();
    server.advance(Duration::from_millis(29_999));
    client.quiet();
    server.advance(Duration::from_millis(1));
    // It is in the socket's buffer by now.
    client.0.set_nonblocking(true).unwrap();
    assert!(client.0.peek(&mut [0]).is_ok());
    client.0.set_nonblocking(false).unwrap();
    assert_ne!(client.receive(), first);
}

/// AC-CI-09
#[test]
fn ac_ci_09_what_is_missing_is_named_with_what_came_instead() {
    let server = FakeServer::builder().start().unwrap();
    server.expect(publishes("T")).times(2);
    server.expect(Matcher::command(CommandKind::Logon));
    server.expect(Matcher::command(CommandKind::SowDelete)).never();
    let mut client = RawClient::named(&server, "a");
    publish(&mut client, "T", "1");
    publish(&mut client, "U", "2");
    let unmet = server.verify().unwrap_err().to_string();
    for part in [
        "1 expectation is not met:",
        "p with topic \"T\": expected 2, received 1: 1 short",
        "this is one",
        "topic: expected \"T\", found \"U\"",
    ] {
        assert!(unmet.contains(part), "{part}: {unmet}");
    }
    publish(&mut client, "T", "3");
    server.verify().unwrap();
    publish(&mut client, "T", "4");
    let unmet = server.verify().unwrap_err().to_string();
    assert!(unmet.contains("expected 2, received 3: 1 too many"), "{unmet}");
}

#[test]
fn what_nobody_expects_fails_if_the_test_says_so() {
    let server = FakeServer::builder().start().unwrap();
    server.expect(publishes("T")).at_least(1);
    server.expect_nothing_else();
    let mut client = RawClient::named(&server, "a");
    publish(&mut client, "T", "1");
    publish(&mut client, "T", "2");
    server.verify().unwrap();
    publish(&mut client, "U", "3");
    let unmet = server.verify().unwrap_err();
    assert_eq!(unmet.unexpected().len(), 1);
    assert!(unmet.to_string().contains("nobody expected:"), "{unmet}");
}

#[test]
fn expectations_count_on_when_the_journal_is_full() {
    let server = FakeServer::builder().journal_cap(3).start().unwrap();
    server.expect(publishes("T")).times(50);
    let mut client = RawClient::named(&server, "a");
    (0..50).for_each(|n| publish(&mut client, "T", &n.to_string()));
    server.verify().unwrap();
    assert!(server.journal_dropped() > 0);
}

#[test]
#[should_panic(expected = "expected 1 or more, received 0")]
fn a_server_that_is_dropped_says_what_is_missing_if_asked() {
    let server = FakeServer::builder().verify_on_drop().start().unwrap();
    server.expect(publishes("T"));
}

#[test]
#[should_panic(expected = "the test's own reason")]
fn a_test_that_panics_keeps_its_own_reason() {
    let server = FakeServer::builder().verify_on_drop().strict_shutdown().start().unwrap();
    let _client = RawClient::named(&server, "a");
    server.expect(publishes("T"));
    panic!("the test's own reason");
}

#[test]
#[should_panic(expected = "connections were left open: 1 (b)")]
fn a_leaked_connection_fails_the_test_that_wants_that() {
    let server = FakeServer::builder().strict_shutdown().start().unwrap();
    drop(RawClient::named(&server, "a"));
    server.wait_for(|entry| entry.to_string().contains("closed"), 1, PATIENCE).unwrap();
    let _leaked = RawClient::named(&server, "b");
    drop(server);
}

#[test]
fn the_journal_answers_questions() {
    let server = FakeServer::builder().journal(JournalMode::All).virtual_clock().start().unwrap();
    let mut client = RawClient::named(&server, "a");
    for (topic, body) in [("T", r#"{"id":1}"#), ("U", r#"{"id":2}"#), ("T", r#"{"id":3}"#)] {
        publish(&mut client, topic, body);
    }
    assert_eq!(server.wait_for_commands(&publishes("T"), 2, PATIENCE).unwrap().len(), 2);
    assert_eq!((server.count(&publishes("T")), server.commands(&publishes("U")).len()), (2, 1));
    assert_eq!(server.last(&publishes("T")).unwrap().received().unwrap().data(), br#"{"id":3}"#);
    let with_id = |id: u64| Matcher::any().body_filter(format!("/id = {id}"));
    server.in_order(&[with_id(1), with_id(2), with_id(3)]).unwrap();
    let error = server.in_order(&[with_id(2), with_id(1)]).unwrap_err();
    assert_eq!(error.place(), 1);
    assert!(error.to_string().starts_with("number 2 did not come: any frame with a body where /id = 1"));
    server.never(&publishes("V")).unwrap();
    let unwanted = server.never(&publishes("U")).unwrap_err();
    assert_eq!(unwanted.entry().received().unwrap().topic().unwrap(), "U");
    assert_eq!(server.count(&Matcher::command(CommandKind::Ack).sent()), 1);
    let journal = server.journal();
    assert_eq!(journal[..2].count(&publishes("T")), 0, "a part of it can be asked, too");
}

#[test]
fn the_journal_is_written_as_json_lines_without_passwords() {
    let server = FakeServer::builder()
        .journal(JournalMode::All)
        .virtual_clock()
        .credentials("u", "secret")
        .fault(Fault::when(Trigger::Logon).then(Action::inject(r#"{"c":"heartbeat"}"#)))
        .start()
        .unwrap();
    let mut client = RawClient::connect(&server);
    client.ask(r#"{"c":"logon","cid":"1","client_name":"a","user_id":"u","pw":"secret","mt":"json","a":"processed"}"#);
    assert!(client.receive().contains("success"));
    client.ask(r#"{"c":"subscribe","cid":"2","t":"T","o":"frobnicate","a":"processed"}"#);
    let mut lines = Vec::new();
    server.journal_json_lines(&mut lines).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    assert!(!lines.contains("secret"), "{lines}");
    let entries: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = entries.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    let expected =
        ["accepted", "fault", "sent", "received", "logged_on", "sent", "received", "noted", "sent"];
    assert_eq!(kinds, expected, "{lines}");
    assert_eq!(entries[3]["header"]["pw"], "<hidden>");
    assert_eq!(entries[1]["cause"], "logon");
    assert_eq!(entries[7]["kind"], "unknown_option");
}

// --- Rules -------------------------------------------------------------------------------

fn findings(server: &FakeServer) -> Vec<Lint> {
    server.settle(PATIENCE).unwrap();
    server.lint().into_iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_chain_of_actions_without_an_end_is_ended_and_named_and_nobody_elses() {
    let file = r#"<AMPSConfig><Name>a</Name>
        <Transports><Transport><Name>t</Name><Type>tcp</Type><InetAddr>0</InetAddr><Protocol>amps</Protocol></Transport></Transports>
        <Actions><Action>
            <On><Module>amps-action-on-publish-message</Module>
                <Options><MessageType>json</MessageType><Topic>gone</Topic><Filter>/n = 0</Filter></Options></On>
            <Do><Module>amps-action-do-publish-message</Module>
                <Options><MessageType>json</MessageType><Topic>gone</Topic><Data>{{AMPS_DATA}}</Data></Options></Do>
        </Action></Actions></AMPSConfig>"#;
    let server = FakeServer::builder()
        .config(ConfigFile::parse("loop.xml", file).unwrap())
        .txlog(".*")
        .queue(QueueConfig::new("work").expiration(Duration::from_secs(10)).dead_letter("gone"))
        .virtual_clock()
        .start()
        .unwrap();
    let mut client = RawClient::named(&server, "a");
    // More than one chain may do.
    let jobs = 0..=10_000;
    let publishes = jobs.clone().flat_map(|n| framed(&format!(r#"{{"c":"p","t":"work"}}{{"n":{n}}}"#)));
    client.0.write_all(&publishes.collect::<Vec<u8>>()).unwrap();
    client.quiet();
    server.advance(Duration::from_secs(10));

    let mut letters = std::collections::BTreeMap::<u64, u64>::new();
    for message in server.logged_messages().into_iter().filter(|message| message.topic == "gone") {
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        *letters.entry(body["n"].as_u64().unwrap()).or_default() += 1;
    }
    assert!(jobs.clone().skip(1).all(|n| letters.get(&n) == Some(&1)), "each other job has its letter");
    let found = server.lint();
    assert_eq!(found.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [Lint::EndlessActions]);
    let named = "loop.xml:3: Action: when \"gone\" is published to (/n = 0): publish to \"gone\"";
    assert!(found[0].text.ends_with(named), "{}", found[0]);
    assert!(found[0].to_string().contains(": endless_actions: 10000 actions"), "{}", found[0]);
}

/// Few links do where each doubles the message.
#[test]
fn actions_that_make_a_message_grow_without_end_are_ended() {
    let file = r#"<AMPSConfig>
        <Name>loop</Name>
        <Transports><Transport><Name>t</Name><Type>tcp</Type><InetAddr>0</InetAddr><Protocol>amps</Protocol></Transport></Transports>
        <Actions><Action>
            <On><Module>amps-action-on-publish-message</Module>
                <Options><MessageType>json</MessageType><Topic>T</Topic></Options></On>
            <Do><Module>amps-action-do-publish-message</Module>
                <Options><MessageType>json</MessageType><Topic>T</Topic><Data>{{AMPS_DATA}}{{AMPS_DATA}}</Data></Options></Do>
        </Action></Actions></AMPSConfig>"#;
    let server = FakeServer::builder().config(ConfigFile::parse("loop.xml", file).unwrap()).start().unwrap();
    server.publish("T", r#"{"id":1}"#).unwrap();
    let found = server.lint();
    assert_eq!(found.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [Lint::EndlessActions]);
    server.publish("U", "1").unwrap();
    assert!(server.is_running());
}

#[test]
fn each_kind_of_finding_is_found() {
    let queue = QueueConfig::new("work");
    let server = FakeServer::builder().virtual_clock().queue(queue).start().unwrap();
    let mut client = RawClient::connect(&server);
    client.send(r#"{"c":"logon","cid":"1","client_name":"a","mt":"json"}"#);
    assert_eq!(findings(&server), [Lint::MissingLogonAck]);
    client.send(r#"{"c":"subscribe","sub_id":"s","t":"T"}"#);
    client.ask(r#"{"c":"subscribe","cid":"2","t":"U","o":"frobnicate","a":"processed"}"#);
    client.ask(r#"{"c":"subscribe","cid":"3","t":"U","f":"/a &&","a":"processed"}"#);
    client.send(r#"{"c":"p","t":"U","s":1}"#);
    client.send(r#"{"c":"p","t":"U","x":"no spaces"}"#);
    client.send(r#"{"c":"p","t":"U","k":"a-b"}"#);
    client.send(r#"{"c":"sow_delete","t":"work","bm":"1|1|"}"#);
    client.send(r#"{"c":"sow_delete","t":"work","bm":"nonsense"}"#);
    client.send(r#"{"c":"heartbeat","cid":"4","o":"start,10"}"#);
    let expected = [
        Lint::MissingLogonAck,
        Lint::SubscriptionWithoutProcessed,
        Lint::UnknownOption,
        Lint::Refused,
        Lint::PublishWithoutSequence,
        Lint::NotBase64,
        Lint::NotBase64,
        Lint::AckOfUnknownBookmark,
        Lint::AckOfUnknownBookmark,
    ];
    assert_eq!(findings(&server), expected);
    // Half of the time that it has is no more than it should take.
    for (wait, late) in [(10, false), (11, true)] {
        server.advance(10 * SECOND);
        server.advance(wait * SECOND);
        client.send(r#"{"c":"heartbeat","o":"beat"}"#);
        let found = findings(&server).contains(&Lint::HeartbeatLate);
        assert_eq!(found, late);
    }
    let kinds = Lint::ALL.map(Lint::as_str);
    assert!(kinds.iter().enumerate().all(|(place, kind)| !kinds[..place].contains(kind)));
}

/// AC-CI-16, for a server in a test; that of the process is in `binary.rs`.
#[test]
fn ac_ci_16_a_strict_server_fails_for_an_acknowledgement_of_nothing() {
    for (strict, mode) in
        [(true, JournalMode::Commands), (true, JournalMode::Off), (false, JournalMode::Commands)]
    {
        let builder = FakeServer::builder().queue(QueueConfig::new("work")).journal(mode);
        let server = if strict { builder.strict() } else { builder }.start().unwrap();
        let mut client = RawClient::named(&server, "a");
        client.send(r#"{"c":"subscribe","sub_id":"s","t":"work"}"#);
        server.verify().unwrap();
        client.send(r#"{"c":"sow_delete","t":"work","bm":"1|1|"}"#);
        let verdict = server.verify();
        if strict {
            let unmet = verdict.unwrap_err();
            assert_eq!(unmet.findings()[0].kind, Lint::AckOfUnknownBookmark);
            assert!(unmet.to_string().contains("acknowledged 1|1|, which is not in the queue"), "{unmet}");
        } else {
            verdict.unwrap();
        }
    }
}

// --- Clock and transports ----------------------------------------------------------------

#[test]
fn the_clock_starts_where_it_is_told_and_is_set() {
    let start = Time::from_unix_nanos(1_000_000_000_000_000_000);
    let queue = QueueConfig::new("work").lease(30 * SECOND);
    let server = FakeServer::builder().virtual_clock_at(start).virtual_clock().queue(queue).start().unwrap();
    assert_eq!((server.now(), server.next_timer()), (start, None));
    let mut client = RawClient::named(&server, "a");
    client.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","a":"processed"}"#);
    server.publish("work", "1").unwrap();
    let next = server.next_timer().unwrap();
    assert_eq!(next.at, start + 30 * SECOND);
    assert!(matches!(next.kind, TimerKind::Lease { ref client, .. } if client == "a"), "{}", next.kind);
    client.send(r#"{"c":"heartbeat","cid":"2","o":"start,10","a":"processed"}"#);
    server.settle(PATIENCE).unwrap();
    assert_eq!(server.next_timer().unwrap().kind, TimerKind::Heartbeat { client: "a".to_owned() });
    server.set_time(start + 20 * SECOND);
    assert_eq!(server.now(), start + 20 * SECOND);
    server.set_time(start);
    assert_eq!(server.now(), start + 20 * SECOND, "it does not go back");
}

#[test]
fn a_server_settles_when_everything_sent_is_processed() {
    let server = FakeServer::builder().start().unwrap();
    let mut client = RawClient::named(&server, "a");
    let body = "x".repeat(100_000);
    for n in 1..=40 {
        publish(&mut client, "T", &body);
        if n % 10 == 0 {
            server.settle(PATIENCE).unwrap();
            assert_eq!(server.counters().published, n);
        }
    }
}

/// CI-09
#[test]
fn a_transport_that_is_disabled_closes_its_connections_and_nobody_elses() {
    let server =
        FakeServer::builder().listen("127.0.0.1:0").listen("tcp://127.0.0.1:0/amps/json").start().unwrap();
    let json = server.listeners()[1].clone();
    let mut any = RawClient::named(&server, "a");
    let mut other = RawClient(TcpStream::connect(json.addr.unwrap()).unwrap());
    assert!(other.log_on("b").contains("success"));
    assert!(!server.disable_transport("nonsense"));
    assert!(server.disable_transport(&json.name));
    other.ends();
    let closed = server.wait_for(|entry| entry.to_string().contains("closed"), 1, PATIENCE).unwrap();
    assert_eq!(closed[0].client.as_deref(), Some("b"));
    any.quiet();
    assert!(TcpStream::connect(json.addr.unwrap()).is_err());
    assert!(server.enable_transport(&json.name).unwrap());
    assert!(RawClient(TcpStream::connect(json.addr.unwrap()).unwrap()).log_on("b").contains("success"));
}

#[test]
fn a_matcher_of_headers_finds_what_clients_ask_for() {
    let server = FakeServer::builder().start().unwrap();
    let mut client = RawClient::named(&server, "a");
    client.ask(r#"{"c":"subscribe","cid":"1","t":"T","o":"timestamp","a":"processed"}"#);
    let with = |test| Matcher::command(CommandKind::Subscribe).header("o", test);
    assert_eq!(server.count(&with(HeaderTest::Contains("time".to_owned()))), 1);
    assert_eq!(server.count(&with(HeaderTest::Present)), 1);
    assert_eq!(server.count(&with(HeaderTest::Absent)), 0);
    assert_eq!(server.count(&with(HeaderTest::Equals("oof".to_owned()))), 0);
}
