//! Scripted faults, as a client sees them on its socket.

mod support;

use std::time::Duration;

use amps_protocol::CommandKind;
use amps_testkit::{
    Action, FakeServer, Fault, HowClosed, JournalMode, Lasting, Matcher, QueueConfig, Trigger, Unfinished,
};
use support::faulty::{firings, server, subscribed};
use support::raw_client::{PATIENCE, RawClient, framed};

const SECOND: Duration = Duration::from_secs(1);
const FLUSH: &str = r#"{"c":"flush","cid":"f","a":"processed"}"#;

fn deliveries() -> Trigger {
    Trigger::outbound_matching(Matcher::command(CommandKind::Publish))
}

// --- Endings -----------------------------------------------------------------------------

/// AC-CI-05
#[test]
fn ac_ci_05_a_frame_is_cut_after_exactly_so_many_bytes() {
    let server =
        server(Fault::when(Trigger::outbound(3)).on_client("^app").once().then(Action::drop_mid_frame(7)));
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
        let server =
            server(Fault::when(Trigger::outbound(2)).then(Action::TruncateLength { extra: 5, then }));
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
    server.publish("T", "1").unwrap();
    server.publish("T", "2").unwrap();
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
    server.publish("work", "1").unwrap();
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
    assert_eq!(server.next_timer().unwrap().kind.to_string(), "fault 1 fires: inject a frame of 10 bytes");
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
        (0..32).for_each(|n| _ = server.publish("T", n.to_string()).unwrap());
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
    server.publish("T", r#"{"id":1}"#).unwrap();
    assert_eq!(client.receive(), r#"{"c":{"id":1}"#);
}

#[test]
fn a_window_of_frames_is_reordered() {
    let server = server(Fault::when(deliveries()).then(Action::Reorder { window: 4, acks_only: false }));
    let mut client = subscribed(&server, "a", "T");
    (1..=4).for_each(|n| _ = server.publish("T", n.to_string()).unwrap());
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
    assert_eq!(
        first.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"U","a":"processed"}"#),
        r#"{"c":"x4"}"#
    );
    assert!(first.receive().contains("success"));
    assert_eq!(
        first.ask(r#"{"c":"subscribe","cid":"1","sub_id":"u","t":"T","a":"processed"}"#),
        r#"{"c":"x5"}"#
    );
    assert!(first.receive().contains("success"));
    let unused: Vec<u64> = server.unused_faults().iter().map(|status| status.id.0).collect();
    assert_eq!(unused, [1], "nobody came in by that transport");
}

#[test]
fn a_fault_fires_so_many_times() {
    let server =
        server(Fault::when(Trigger::any_outbound()).on_client("a").times(2).then(Action::Duplicate(1)));
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
        (0..10).for_each(|n| _ = server.publish("T", n.to_string()).unwrap());
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

/// FLT-01: what is done to frames on their way out is nothing to the engine.
#[test]
fn the_engine_does_not_notice_what_happens_to_what_it_sent() {
    let play = |action: Option<Action>| {
        let server = FakeServer::builder().virtual_clock().queue(QueueConfig::new("work")).start().unwrap();
        let mut client = RawClient::named(&server, "a");
        for (cid, topic) in [(1, "T"), (2, "work")] {
            client.ask(&format!(
                r#"{{"c":"subscribe","cid":"{cid}","sub_id":"{cid}","t":"{topic}","a":"processed"}}"#
            ));
        }
        if let Some(action) = action {
            server.add_fault(Fault::when(Trigger::any_outbound()).always().then(action)).unwrap();
        }
        for n in 0..4 {
            server.publish("T", n.to_string()).unwrap();
            server.publish("work", n.to_string()).unwrap();
        }
        server.advance(SECOND);
        let connections = server.connections().into_iter().map(|connection| connection.subscriptions);
        (server.counters(), server.logged_messages(), server.queue("work"), connections.collect::<Vec<_>>())
    };
    let undisturbed = play(None);
    for action in [
        Action::TruncateLength { extra: 1, then: Unfinished::Stall },
        Action::Delay(SECOND),
        Action::StallReads(Lasting::UntilRemoved),
        Action::StallWrites(Lasting::UntilRemoved),
        Action::partial_writes([2]),
        Action::Coalesce(2),
        Action::Throttle(50),
        Action::Corrupt { offset: 0, bytes: vec![0xff; 8] },
        Action::Garbage(5),
        Action::BadHeader("{".to_owned()),
        Action::Swallow,
        Action::Duplicate(1),
        Action::Reorder { window: 3, acks_only: false },
        Action::inject("{}"),
    ] {
        assert_eq!(play(Some(action.clone())), undisturbed, "{action}");
    }
}
