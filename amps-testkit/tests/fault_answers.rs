//! Scripted faults in what the server answers, keeps and leases.

mod support;

use std::time::Duration;

use amps_protocol::{AckType, CommandKind};
use amps_testkit::{Action, FakeServer, Fault, HeaderTest, Matcher, QueueConfig, Trigger, What};
use support::data_dir::DataDir;
use support::faulty::{firings, server, subscribed};
use support::raw_client::{PATIENCE, RawClient};

const SECOND: Duration = Duration::from_secs(1);

// --- Answers -----------------------------------------------------------------------------

#[test]
fn a_logon_is_refused_as_told_and_the_connection_closed_or_not() {
    for close in [true, false] {
        let reason = "on holiday".to_owned();
        let server = server(Fault::when(Trigger::Logon).then(Action::RefuseLogon { reason, close }));
        let mut client = RawClient::connect(&server);
        let ack = client.log_on("a");
        assert!(ack.contains("failure") && ack.contains("on holiday"), "{ack}");
        if close {
            client.ends();
        } else {
            assert!(client.log_on("a").contains("success"));
        }
    }
}

#[test]
fn a_logon_is_challenged_as_often_as_told() {
    let challenge = Action::Challenge(vec!["one".to_owned(), "two".to_owned()]);
    let server = server(Fault::when(Trigger::accept(1)).then(challenge));
    let mut client = RawClient::connect(&server);
    for nonce in ["one", "two"] {
        let ack = client.log_on("a");
        assert!(ack.contains("\"retry\"") && ack.contains(&format!("\"pw\":\"{nonce}\"")), "{ack}");
    }
    assert!(client.log_on("a").contains("success"));
}

#[test]
fn a_logon_is_refused_as_if_its_name_were_taken() {
    let server = server(Fault::when(Trigger::Logon).then(Action::NameInUse));
    let mut client = RawClient::connect(&server);
    assert!(client.log_on("a").contains("name in use"));
    client.ends();
    let closed = server.wait_for(|entry| matches!(entry.what, What::Closed(_)), 1, PATIENCE).unwrap();
    assert!(closed[0].to_string().contains("name in use"));
}

#[test]
fn a_command_fails_and_has_no_effect() {
    let subscribe = Trigger::inbound_matching(Matcher::command(CommandKind::Subscribe));
    let server = server(Fault::when(subscribe).then(Action::Fail("not today".to_owned())));
    let mut client = RawClient::named(&server, "a");
    let command = r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"T","a":"processed"}"#;
    let ack = client.ask(command);
    assert!(ack.contains("\"failure\"") && ack.contains("not today"), "{ack}");
    assert!(server.connections()[0].subscriptions.is_empty());
    assert!(client.ask(command).contains("success"));
    assert_eq!(server.count(&Matcher::command(CommandKind::Subscribe)), 2, "the journal has both");
}

#[test]
fn a_frame_is_swallowed_on_its_way_in_or_out() {
    let publishes = Trigger::inbound_matching(Matcher::command(CommandKind::Publish).body_filter("/id = 1"));
    let server = server(Fault::when(publishes).then(Action::Swallow));
    server.add_fault(Fault::when(Trigger::outbound(1)).on_topic("T").then(Action::Swallow)).unwrap();
    let mut client = subscribed(&server, "a", "T");
    for id in 1..=3 {
        client.send(&format!(r#"{{"c":"publish","t":"T"}}{{"id":{id}}}"#));
    }
    assert!(client.receive().ends_with(r#"{"id":3}"#));
    assert_eq!(server.counters().published, 2);
    assert_eq!(server.count(&Matcher::command(CommandKind::Publish)), 3);
}

/// The server's half of what a client is to notice by itself; that it does is a test of the client's.
#[test]
fn heartbeats_are_swallowed_and_the_journal_shows_it() {
    let beats = Trigger::outbound_matching(Matcher::command(CommandKind::Heartbeat));
    let server = server(Fault::when(beats).always().then(Action::Swallow));
    let mut client = RawClient::named(&server, "a");
    assert!(client.ask(r#"{"c":"heartbeat","cid":"1","o":"start,1","a":"processed"}"#).contains("success"));
    server.advance(2 * SECOND);
    client.quiet();
    drop(client);
    RawClient::named(&server, "a").quiet();
    let fired = firings(&server);
    assert_eq!(fired, ["fault 1, outbound heartbeat: swallow the frame"; 2]);
    let logons = Matcher::command(CommandKind::Logon).client("^a$");
    let beats = Matcher::command(CommandKind::Heartbeat).sent();
    server.in_order(&[logons.clone(), beats, logons]).unwrap();
}

// --- Acks --------------------------------------------------------------------------------

fn publish(client: &mut RawClient, sequence: u64) {
    client.send(&format!(r#"{{"c":"p","t":"T","s":{sequence},"a":"processed,persisted"}}{sequence}"#));
    assert!(client.receive().contains("processed"));
}

/// The server's half of what a publisher's store is to endure.
#[test]
fn persisted_acks_are_left_out_until_they_are_released() {
    let hold = Fault::when(Trigger::Logon).then(Action::HoldPersisted);
    let left_out =
        Trigger::outbound_matching(Matcher::any().header("a", HeaderTest::Contains("persisted".into())));
    let swallow = Fault::when(left_out).always().then(Action::SwallowAck(AckType::Persisted));
    for fault in [hold, swallow] {
        let server = FakeServer::builder().virtual_clock().fault(fault).start().unwrap();
        let mut client = RawClient::named(&server, "a");
        for sequence in 1..=3 {
            publish(&mut client, sequence);
            server.advance(SECOND);
        }
        client.quiet();
        server.add_fault(Fault::when(Trigger::After(Duration::ZERO)).then(Action::ReleasePersisted)).unwrap();
        let ack = client.receive();
        assert!(ack.contains("\"persisted\"") && ack.contains("\"s\":3"), "{ack}");
        assert!(server.remove_fault(server.faults()[0].id));
        publish(&mut client, 4);
        server.advance(SECOND);
        assert!(client.receive().contains("\"s\":4"));
    }
}

#[test]
fn one_ack_of_one_command_is_left_out() {
    let publishes = Trigger::inbound_matching(Matcher::command(CommandKind::Subscribe).header_is("cid", "2"));
    let server = server(Fault::when(publishes).then(Action::SwallowAck(AckType::Processed)));
    let mut client = RawClient::named(&server, "a");
    for cid in 1..=3 {
        client.send(&format!(r#"{{"c":"subscribe","cid":"{cid}","t":"T{cid}","a":"processed"}}"#));
    }
    assert!(client.receive().contains("\"cid\":\"1\""));
    assert!(client.receive().contains("\"cid\":\"3\""));
    assert_eq!(server.connections()[0].subscriptions.len(), 3, "the command was carried out");
}

#[test]
fn one_sequence_number_fails_between_others_that_succeed() {
    let failure = Action::PersistedFailure { sequence: 2, reason: "no disk".to_owned() };
    let server = server(Fault::when(Trigger::Logon).then(failure));
    let mut client = RawClient::named(&server, "a");
    for sequence in 1..=3 {
        client.send(&format!(
            r#"{{"c":"p","t":"T","s":{sequence},"cid":"{sequence}","a":"persisted"}}{sequence}"#
        ));
    }
    for (sequence, outcome) in [("\"s\":1", "success"), ("\"s\":2", "no disk")] {
        let ack = client.receive();
        assert!(ack.contains(sequence) && ack.contains(outcome), "{ack}");
    }
    client.quiet();
    server.advance(SECOND);
    let last = client.receive();
    assert!(last.contains("\"s\":3") && last.contains("success"), "{last}");
    let bodies: Vec<_> = server.logged_messages().into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, [b"1", b"3"]);
}

// --- Log and leases ----------------------------------------------------------------------

fn bookmark(frame: &str) -> String {
    let after = frame.split("\"bm\":\"").nth(1).unwrap_or_else(|| panic!("no bookmark: {frame}"));
    after.split('"').next().unwrap().to_owned()
}

fn replay(client: &mut RawClient, from: &str) {
    let subscribe = r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"T","bm":"FROM","a":"processed"}"#;
    assert!(client.ask(&subscribe.replace("FROM", from)).contains("success"));
}

#[test]
fn a_replay_begins_earlier_than_it_asks() {
    let server = server(Fault::when(Trigger::accept(2)).then(Action::ReplayDuplicates(2)));
    for n in 1..=4 {
        server.publish("T", n.to_string()).unwrap();
        server.publish("U", "-").unwrap();
    }
    let mut first = RawClient::named(&server, "a");
    replay(&mut first, "0");
    let bookmarks: Vec<String> = (0..4).map(|_| bookmark(&first.receive())).collect();
    let mut second = RawClient::named(&server, "b");
    replay(&mut second, &bookmarks[2]);
    for n in [2, 3, 4] {
        assert!(second.receive().ends_with(&format!("}}{n}")));
    }
    drop(second);
    let mut third = RawClient::named(&server, "c");
    replay(&mut third, &bookmarks[2]);
    assert!(third.receive().ends_with("}4"), "it was once");
}

/// AC-CI-11
#[test]
fn ac_ci_11_a_server_that_lost_entries_does_not_know_their_bookmarks() {
    for in_file in [true, false] {
        let data = DataDir::new();
        let builder = FakeServer::builder().virtual_clock();
        let builder = if in_file { builder.data_dir(data.path()) } else { builder };
        let lose = Fault::when(Trigger::After(Duration::ZERO)).then(Action::LoseEntries(2));
        let server = builder.fault(lose).start().unwrap();
        let mut publisher = RawClient::named(&server, "p");
        (1..=4).for_each(|sequence| publish(&mut publisher, sequence));
        let mut reader = RawClient::named(&server, "a");
        replay(&mut reader, "0");
        let bookmarks: Vec<String> = (0..4).map(|_| bookmark(&reader.receive())).collect();

        server.restart();
        assert_eq!(server.data_error(), None);
        publisher.rest();
        assert_eq!(server.logged_messages().len(), 2);
        // The publisher is told what the server has, and sends the rest again.
        let mut publisher = RawClient::connect(&server);
        assert!(publisher.log_on("p").contains("\"s\":2"));
        // BS-04: an unknown bookmark means NOW, a known one what follows it.
        let mut reader = RawClient::named(&server, "a");
        replay(&mut reader, &bookmarks[3]);
        let mut other = RawClient::named(&server, "b");
        replay(&mut other, &bookmarks[0]);
        assert!(other.receive().ends_with("}2"));
        publish(&mut publisher, 3);
        assert!(reader.receive().ends_with("}3"), "nothing of what was before");
        assert!(other.receive().ends_with("}3"));
        server.restart();
        assert_eq!(server.logged_messages().len(), 3, "it loses entries once");
    }
}

#[test]
fn the_next_lease_is_shorter() {
    let server = FakeServer::builder()
        .virtual_clock()
        .queue(QueueConfig::new("work").lease(Duration::from_secs(30)))
        .fault(Fault::when(Trigger::Logon).then(Action::LeaseShort(SECOND)))
        .start()
        .unwrap();
    let mut client = RawClient::named(&server, "a");
    client.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","a":"processed"}"#);
    server.publish("work", "1").unwrap();
    assert!(client.receive().contains("\"lp\":\"20260101T000001"));
    server.advance(SECOND);
    assert!(client.receive().contains("\"lp\":\"20260101T000031"), "only the next one");
}
