//! Scripted faults, as a client sees them on its socket.

mod support;

use std::time::Duration;

use amps_protocol::{AckType, CommandKind};
use amps_testkit::{
    Action, FakeServer, Fault, HeaderTest, HowClosed, JournalMode, JournalQuery, Lasting, Matcher,
    QueueConfig, Trigger, Unfinished, What,
};
use support::data_dir::DataDir;
use support::raw_client::{PATIENCE, RawClient, framed};

const SECOND: Duration = Duration::from_secs(1);
const FLUSH: &str = r#"{"c":"flush","cid":"f","a":"processed"}"#;

fn server(fault: Fault) -> FakeServer {
    FakeServer::builder().virtual_clock().journal(JournalMode::All).fault(fault).start().unwrap()
}

/// What the journal says of the faults that fired.
fn firings(server: &FakeServer) -> Vec<String> {
    let told = |entry: &amps_testkit::Entry| match &entry.what {
        What::Fault(firing) => Some(firing.to_string()),
        _ => None,
    };
    server.journal().iter().filter_map(told).collect()
}

fn subscribed(server: &FakeServer, name: &str, topic: &str) -> RawClient {
    let mut client = RawClient::named(server, name);
    let subscribe = r#"{"c":"subscribe","cid":"sub","sub_id":"s","t":"TOPIC","a":"processed"}"#;
    let ack = client.ask(&subscribe.replace("TOPIC", topic));
    assert!(ack.contains("\"success\""), "{ack}");
    client
}

fn deliveries() -> Trigger {
    Trigger::outbound_matching(Matcher::command(CommandKind::Publish))
}

// --- Endings -----------------------------------------------------------------------------

#[test]
fn ac_ci_05_a_frame_is_cut_after_exactly_so_many_bytes() {
    let server = server(Fault::when(Trigger::outbound(3)).on_client("^app").once().then(Action::drop_mid_frame(7)));
    let mut client = RawClient::named(&server, "app-1");
    client.ask(FLUSH);
    client.send(FLUSH);
    let expected = framed(r#"{"c":"ack","cid":"f","a":"processed","status":"success"}"#);
    assert_eq!(client.rest(), (expected[..7].to_vec(), false));
    let expected = "fault 1, outbound frame 3, ack cid=f: drop the connection 7 bytes into the frame";
    assert_eq!(firings(&server), [expected]);
    assert!(server.unused_faults().is_empty());
    assert!(server.connections().is_empty(), "the engine knows that it is gone");
}

#[test]
fn a_connection_is_dropped_in_an_orderly_way_or_with_a_reset() {
    for (how, reset) in [(HowClosed::Fin, false), (HowClosed::Rst, true)] {
        let server = server(Fault::when(Trigger::inbound(2)).then(Action::DropConnection(how)));
        let mut client = RawClient::named(&server, "a");
        client.send(FLUSH);
        assert_eq!(client.rest(), (Vec::new(), reset));
        RawClient::named(&server, "b").quiet();
    }
}

#[test]
fn a_connection_is_dropped_when_it_is_accepted() {
    let server = server(Fault::when(Trigger::accept(2)).then(Action::DropConnection(HowClosed::Fin)));
    let mut first = RawClient::named(&server, "a");
    RawClient::connect(&server).ends();
    first.quiet();
    RawClient::named(&server, "c").quiet();
}

#[test]
fn a_frame_that_is_shorter_than_it_says_is_never_whole() {
    let answer = framed(r#"{"c":"ack","cid":"f","a":"processed","status":"success"}"#);
    let mut announced = answer.clone();
    announced[3] += 5;
    for then in [Unfinished::Close, Unfinished::Stall] {
        let server = server(Fault::when(Trigger::outbound(2)).then(Action::TruncateLength { extra: 5, then }));
        let mut client = RawClient::named(&server, "a");
        client.send(FLUSH);
        assert_eq!(client.take(announced.len()), announced);
        if then == Unfinished::Stall {
            client.send(FLUSH);
            server.settle(PATIENCE).unwrap();
            assert!(server.remove_fault(server.faults()[0].id));
            assert_eq!(client.take(answer.len()), answer, "what was held back comes when it is removed");
        } else {
            client.ends();
        }
    }
}

#[test]
fn a_fault_fires_after_so_many_bytes() {
    let server = server(Fault::when(Trigger::OutboundByte(10)).then(Action::DropConnection(HowClosed::Fin)));
    let mut client = RawClient::connect(&server);
    client.send(r#"{"c":"logon","cid":"1","client_name":"a","mt":"json","a":"processed"}"#);
    let (bytes, reset) = client.rest();
    assert_eq!((bytes.len(), reset), (10, false));
    assert_eq!(firings(&server), ["fault 1, after 10 outbound bytes: drop the connection (fin)"]);
}

// --- Time --------------------------------------------------------------------------------

#[test]
fn an_outbound_frame_is_held_and_what_follows_queues_behind_it() {
    let server = server(Fault::when(deliveries()).then(Action::Delay(SECOND)));
    let mut client = subscribed(&server, "a", "T");
    server.publish("T", "1");
    server.publish("T", "2");
    client.send(FLUSH);
    server.settle(PATIENCE).unwrap();
    assert_eq!(server.next_timer().unwrap().at, server.now() + SECOND);
    server.advance(SECOND);
    assert!(client.receive().ends_with("}1"));
    assert!(client.receive().ends_with("}2"));
    assert!(client.receive().contains("\"cid\":\"f\""));
}

#[test]
fn an_inbound_frame_is_held_and_what_follows_queues_behind_it() {
    let publishes = Trigger::inbound_matching(Matcher::command(CommandKind::Publish).topic("T"));
    let server = server(Fault::when(publishes).then(Action::Delay(SECOND)));
    let mut client = RawClient::named(&server, "a");
    client.send(r#"{"c":"publish","t":"T"}1"#);
    client.send(r#"{"c":"publish","t":"U"}2"#);
    client.send(FLUSH);
    server.settle(PATIENCE).unwrap();
    assert_eq!(server.counters().published, 0);
    server.advance(SECOND);
    assert!(client.receive().contains("\"cid\":\"f\""));
    assert_eq!(server.counters().published, 2);
    let topics: Vec<_> = server.logged_messages().into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["T", "U"]);
}

#[test]
fn delays_and_leases_end_in_the_order_of_their_times() {
    let server = FakeServer::builder()
        .virtual_clock()
        .queue(QueueConfig::new("work").lease(2 * SECOND))
        .fault(Fault::when(deliveries()).then(Action::Delay(SECOND)))
        .start()
        .unwrap();
    let mut client = RawClient::named(&server, "a");
    client.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","a":"processed"}"#);
    server.publish("work", "1");
    server.advance(5 * SECOND);
    let leases: Vec<String> = (0..3).map(|_| client.receive()).collect();
    for (delivery, end) in leases.iter().zip(["000002", "000004", "000006"]) {
        assert!(delivery.contains(&format!("\"lp\":\"20260101T{end}")), "{delivery}");
    }
}

#[test]
fn writing_stops_for_a_while_or_until_the_fault_is_removed() {
    for lasting in [Lasting::For(SECOND), Lasting::UntilRemoved] {
        let server = server(Fault::when(Trigger::inbound(2)).then(Action::StallWrites(lasting)));
        let mut client = RawClient::named(&server, "a");
        client.send(FLUSH);
        server.settle(PATIENCE).unwrap();
        client.0.set_nonblocking(true).unwrap();
        let nothing = std::io::Read::read(&mut client.0, &mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        client.0.set_nonblocking(false).unwrap();
        match lasting {
            Lasting::For(span) => server.advance(span),
            Lasting::UntilRemoved => assert!(server.remove_fault(server.faults()[0].id)),
        }
        assert!(client.receive().contains("\"cid\":\"f\""));
    }
}

/// AC-CI-14
#[test]
fn ac_ci_14_a_client_whose_writes_block_goes_on_and_loses_nothing() {
    const BODIES: usize = 160;
    let server = server(Fault::when(Trigger::Logon).then(Action::StallReads(Lasting::UntilRemoved)));
    let mut client = RawClient::named(&server, "a");
    let body = "x".repeat(64 << 10);
    let mut bytes: Vec<u8> =
        (0..BODIES).flat_map(|_| framed(&format!(r#"{{"c":"publish","t":"T"}}{body}"#))).collect();
    bytes.extend(framed(FLUSH));
    // Writes until they would block: nothing is read on the other side.
    client.0.set_nonblocking(true).unwrap();
    let mut written = 0;
    loop {
        match std::io::Write::write(&mut client.0, &bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(written < bytes.len(), "10 MB went into the buffers of two sockets");
    }
    assert_eq!(server.counters().published, 0);
    assert!(server.remove_fault(server.faults()[0].id));
    client.0.set_nonblocking(false).unwrap();
    std::io::Write::write_all(&mut client.0, &bytes[written..]).unwrap();
    assert!(client.receive().contains("\"cid\":\"f\""));
    assert_eq!(server.counters().published, BODIES as u64);
}

#[test]
fn the_clock_sets_faults_off() {
    let server = server(Fault::when(Trigger::After(SECOND)).times(2).then(Action::inject(r#"{"c":"x1"}"#)));
    let at = server.now() + 5 * SECOND;
    server.add_fault(Fault::when(Trigger::At(at)).then(Action::DropConnection(HowClosed::Fin))).unwrap();
    let mut client = RawClient::named(&server, "a");
    assert_eq!(server.next_timer().unwrap().at, server.now() + SECOND);
    assert_eq!(
        server.next_timer().unwrap().kind.to_string(),
        "fault 1 fires: inject a frame of 10 bytes"
    );
    server.advance(4 * SECOND);
    assert_eq!([client.receive(), client.receive()], [r#"{"c":"x1"}"#, r#"{"c":"x1"}"#]);
    client.quiet();
    server.set_time(at);
    client.ends();
}

#[test]
fn chance_is_drawn_from_the_seed() {
    let losses = |seed: u64| {
        let fault = Fault::when(Trigger::Probability(0.5)).on_topic("T").always().then(Action::Swallow);
        let server = FakeServer::builder().virtual_clock().seed(seed).fault(fault).start().unwrap();
        let mut client = RawClient::named(&server, "a");
        client.ask(r#"{"c":"subscribe","cid":"1","t":"^T$","sub_id":"s","a":"processed"}"#);
        (0..32).for_each(|n| server.publish("T", n.to_string()));
        client.send(FLUSH);
        let mut received = Vec::new();
        loop {
            let frame = client.receive();
            match frame.rsplit_once('}') {
                Some((_, body)) if !body.is_empty() => received.push(body.to_owned()),
                _ => return received,
            }
        }
    };
    let received = losses(1);
    assert!((1..32).contains(&received.len()), "{received:?}");
    assert_eq!(received, losses(1));
    assert_ne!(received, losses(2));
}

// --- Bytes -------------------------------------------------------------------------------

#[test]
fn bytes_are_altered_inserted_and_sent_again() {
    let plain = framed(r#"{"c":"ack","cid":"f","a":"processed","status":"success"}"#);
    let sent = |action: Action, length: usize| {
        let server = server(Fault::when(Trigger::outbound(2)).then(action));
        let mut client = RawClient::named(&server, "a");
        client.send(FLUSH);
        client.take(length)
    };
    let mut altered = plain.clone();
    altered[5..7].copy_from_slice(b"XY");
    let corrupt = Action::Corrupt { offset: 5, bytes: b"XY".to_vec() };
    assert_eq!(sent(corrupt, plain.len()), altered);

    let garbage = sent(Action::Garbage(9), 9 + plain.len());
    assert_eq!(garbage[9..], plain);
    assert_eq!(garbage, sent(Action::Garbage(9), 9 + plain.len()), "it is drawn from the seed");

    assert_eq!(sent(Action::Duplicate(2), 3 * plain.len()), plain.repeat(3));

    let inject = framed(r#"{"c":"heartbeat"}"#);
    let injected = sent(Action::inject(r#"{"c":"heartbeat"}"#), inject.len() + plain.len());
    assert_eq!(injected, [inject, plain].concat());
}

#[test]
fn a_header_is_replaced_and_the_body_stays() {
    let server = server(Fault::when(deliveries()).then(Action::BadHeader(r#"{"c":"#.to_owned())));
    let mut client = subscribed(&server, "a", "T");
    server.publish("T", r#"{"id":1}"#);
    assert_eq!(client.receive(), r#"{"c":{"id":1}"#);
}

#[test]
fn a_window_of_frames_is_reordered() {
    let server = server(Fault::when(deliveries()).then(Action::Reorder { window: 4, acks_only: false }));
    let mut client = subscribed(&server, "a", "T");
    (1..=4).for_each(|n| server.publish("T", n.to_string()));
    let mut bodies: Vec<char> = (0..4).filter_map(|_| client.receive().chars().last()).collect();
    assert_ne!(bodies, ['1', '2', '3', '4']);
    bodies.sort_unstable();
    assert_eq!(bodies, ['1', '2', '3', '4']);
}

/// AC-CI-07
#[test]
fn ac_ci_07_reordered_acks_still_name_their_commands() {
    let server = server(Fault::when(Trigger::outbound(2)).then(Action::reorder_acks(4)));
    let mut client = RawClient::named(&server, "a");
    for n in 1..=4 {
        // The third fails, and only the third.
        let filter = if n == 3 { r#","f":"/a &&""# } else { "" };
        client.send(&format!(r#"{{"c":"subscribe","cid":"{n}","t":"T{n}","a":"processed"{filter}}}"#));
    }
    let acks: Vec<String> = (0..4).map(|_| client.receive()).collect();
    let number = |ack: &String| (1..=4).find(|n| ack.contains(&format!("\"cid\":\"{n}\""))).unwrap();
    let order: Vec<i32> = acks.iter().map(number).collect();
    assert_ne!(order, [1, 2, 3, 4]);
    for ack in &acks {
        assert_eq!(ack.contains("failure"), number(ack) == 3, "{ack}");
    }
    assert_eq!(server.connections()[0].subscriptions.len(), 3);
}

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

/// AC-CI-15
#[test]
fn ac_ci_15_a_server_without_heartbeats_is_left_and_the_journal_shows_why() {
    let beats = Trigger::outbound_matching(Matcher::command(CommandKind::Heartbeat));
    let server = server(Fault::when(beats).always().then(Action::Swallow));
    let mut client = RawClient::named(&server, "a");
    assert!(client.ask(r#"{"c":"heartbeat","cid":"1","o":"start,1","a":"processed"}"#).contains("success"));
    server.advance(2 * SECOND);
    // A client that heard nothing for two intervals takes the server for dead.
    client.quiet();
    drop(client);
    RawClient::named(&server, "a").quiet();
    let fired = firings(&server);
    assert_eq!(fired, ["fault 1, outbound heartbeat: swallow the frame"; 2]);
    let logons = server.commands(&Matcher::command(CommandKind::Logon).client("^a$|^$"));
    let journal = server.journal();
    let connected = journal.iter().filter(|entry| matches!(entry.what, What::LoggedOn));
    assert_eq!((connected.count(), logons.len()), (2, journal.count(&Matcher::command(CommandKind::Logon).client("a"))));
}

// --- Acks --------------------------------------------------------------------------------

fn publish(client: &mut RawClient, sequence: u64) {
    client.send(&format!(r#"{{"c":"p","t":"T","s":{sequence},"a":"processed,persisted"}}{sequence}"#));
    assert!(client.receive().contains("processed"));
}

/// AC-CI-08
#[test]
fn ac_ci_08_persisted_acks_are_left_out_until_they_are_released() {
    let hold = Fault::when(Trigger::Logon).then(Action::HoldPersisted);
    let left_out = Trigger::outbound_matching(Matcher::any().header("a", HeaderTest::Contains("persisted".into())));
    let swallow = Fault::when(left_out).always().then(Action::SwallowAck(AckType::Persisted));
    for fault in [hold, swallow] {
        let server = FakeServer::builder().virtual_clock().fault(fault).start().unwrap();
        let mut client = RawClient::named(&server, "a");
        // What a publisher keeps until it is told that it is safe.
        let mut store = vec![1, 2, 3];
        for sequence in store.clone() {
            publish(&mut client, sequence);
            server.advance(SECOND);
        }
        client.quiet();
        assert_eq!(store.len(), 3);
        server.add_fault(Fault::when(Trigger::After(Duration::ZERO)).then(Action::ReleasePersisted)).unwrap();
        let ack = client.receive();
        assert!(ack.contains("\"persisted\"") && ack.contains("\"s\":3"), "{ack}");
        store.retain(|sequence| *sequence > 3);
        assert!(store.is_empty());
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
        client.send(&format!(r#"{{"c":"p","t":"T","s":{sequence},"cid":"{sequence}","a":"persisted"}}{sequence}"#));
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
        server.publish("T", n.to_string());
        server.publish("U", "-");
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
    server.publish("work", "1");
    assert!(client.receive().contains("\"lp\":\"20260101T000001"));
    server.advance(SECOND);
    assert!(client.receive().contains("\"lp\":\"20260101T000031"), "only the next one");
}

// --- The script --------------------------------------------------------------------------

#[test]
fn a_fault_concerns_only_what_it_names() {
    let injected = |text: &str| Action::inject(format!(r#"{{"c":"{text}"}}"#));
    let server = FakeServer::builder()
        .virtual_clock()
        .listen("127.0.0.1:0")
        .listen("tcp://127.0.0.1:0/amps/json")
        .fault(Fault::when(Trigger::any_inbound()).on_transport("json-tcp").then(injected("x1")))
        .fault(Fault::when(Trigger::any_inbound()).on_connection(1).then(injected("x2")))
        .fault(Fault::when(Trigger::any_inbound()).on_client("^b$").then(injected("x3")))
        .fault(Fault::when(Trigger::any_inbound()).on_sub_id("s").then(injected("x4")))
        .fault(Fault::when(Trigger::any_inbound()).on_topic("T").then(injected("x5")))
        .start()
        .unwrap();
    let mut first = RawClient::named(&server, "a");
    first.quiet();
    let mut second = RawClient::connect(&server);
    assert_eq!(second.log_on("b"), r#"{"c":"x2"}"#);
    assert_eq!(second.receive(), r#"{"c":"x3"}"#);
    assert!(second.receive().contains("success"));
    assert_eq!(first.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"U","a":"processed"}"#), r#"{"c":"x4"}"#);
    assert!(first.receive().contains("success"));
    assert_eq!(first.ask(r#"{"c":"subscribe","cid":"1","sub_id":"u","t":"T","a":"processed"}"#), r#"{"c":"x5"}"#);
    assert!(first.receive().contains("success"));
    let unused: Vec<u64> = server.unused_faults().iter().map(|status| status.id.0).collect();
    assert_eq!(unused, [1], "nobody came in by that transport");
}

#[test]
fn a_fault_fires_so_many_times() {
    let server = server(Fault::when(Trigger::any_outbound()).on_client("a").times(2).then(Action::Duplicate(1)));
    let mut client = RawClient::named(&server, "a");
    client.receive();
    client.send(FLUSH);
    client.receive();
    client.receive();
    client.quiet();
    assert_eq!(server.faults()[0].fired, 2);
}

#[test]
fn a_fault_that_cannot_fire_is_refused() {
    let wrong = Fault::when(Trigger::Logon).on_client("(").then(Action::Swallow);
    let error = FakeServer::builder().fault(wrong.clone()).start().unwrap_err();
    assert!(error.to_string().starts_with("a fault cannot be: scope.client: \"(\""), "{error}");
    let server = FakeServer::builder().start().unwrap();
    assert!(server.add_fault(wrong).is_err());
    assert!(server.faults().is_empty());
}

/// AC-CI-04
#[test]
fn ac_ci_04_a_hundred_runs_of_one_seed_are_the_same_to_the_byte() {
    let run = |seed: u64| {
        let server = FakeServer::builder()
            .virtual_clock()
            .seed(seed)
            .journal(JournalMode::All)
            .fault(Fault::when(deliveries()).always().then(Action::Reorder { window: 5, acks_only: false }))
            .fault(Fault::when(Trigger::Probability(0.2)).always().then(Action::Garbage(3)))
            .fault(Fault::when(Trigger::Probability(0.1)).on_topic("T").always().then(Action::Duplicate(1)))
            .start()
            .unwrap();
        let mut client = RawClient::connect(&server);
        client.send(r#"{"c":"logon","cid":"1","client_name":"a","mt":"json","a":"processed"}"#);
        client.send(r#"{"c":"subscribe","cid":"2","sub_id":"s","t":"T","a":"processed"}"#);
        server.settle(PATIENCE).unwrap();
        (0..10).for_each(|n| server.publish("T", n.to_string()));
        server.advance(SECOND);
        server.settle(PATIENCE).unwrap();
        let mut journal = Vec::new();
        server.journal_json_lines(&mut journal).unwrap();
        drop(server);
        (journal, client.rest().0)
    };
    let first = run(7);
    assert!(first.1.len() > 500);
    for _ in 1..100 {
        let again = run(7);
        assert_eq!(String::from_utf8_lossy(&again.0), String::from_utf8_lossy(&first.0));
        assert_eq!(again.1, first.1);
    }
    assert_ne!(run(8).1, first.1);
}

#[test]
fn a_flaky_server_loses_connections_and_nothing_else() {
    let faults = Fault::flaky(3);
    assert_eq!(faults, Fault::flaky(3));
    assert_ne!(faults, Fault::flaky(4));
    let server = FakeServer::builder().seed(3).faults(faults).start().unwrap();
    let mut done = 0;
    let mut connections = 0;
    // Each attempt goes on until its connection is cut.
    while done < 500 {
        connections += 1;
        let mut client = RawClient::connect(&server);
        client.send(r#"{"c":"logon","cid":"1","client_name":"a","mt":"json","a":"processed"}"#);
        while let Some(frame) = client.try_receive() {
            assert!(frame.contains("success"), "{frame}");
            done += 1;
            if done >= 500 {
                break;
            }
            client.send_if_open(FLUSH);
        }
    }
    assert!(connections > 1, "none was cut");
}
