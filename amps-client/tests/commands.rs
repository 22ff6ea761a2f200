//! Commands that wait: answers, time-outs, and what may come too late.

mod common;

use std::time::{Duration, Instant};

use amps_client::{AckType, Client, Command, CommandKind, ErrorKind, Subscription};
use common::{Peer, aside, placed, plain, sid, unexpected};

/// C-3-4-1
#[test]
fn a_subscribe_that_nobody_answers_times_out_and_is_taken_back() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscriber = client.clone();
    let timeout = Duration::from_millis(100);
    let began = Instant::now();
    let subscribing =
        aside(move || subscriber.subscribe("t").timeout(timeout).start().map(drop).unwrap_err());
    let subscribe = line.expect(CommandKind::Subscribe);
    let error = subscribing.join().unwrap();
    assert!(began.elapsed() >= timeout);
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.to_string().split(':').next().unwrap(), "subscribe \"t\"");
    let unsubscribe = line.expect(CommandKind::Unsubscribe);
    assert_eq!(unsubscribe.sub_id(), subscribe.sub_id());
    // The late answer is nobody's business.
    line.ack(&subscribe);
    client.publish("t", b"x").unwrap();
    line.expect(CommandKind::Publish);
}

#[test]
fn a_time_out_comes_even_while_a_handler_holds_the_loop() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscriber = client.clone();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (entered, entering) = std::sync::mpsc::channel();
    let starting = aside(move || {
        let hold = move |_: &amps_client::Message<&[u8]>| {
            entered.send(())?;
            held.recv()?;
            Ok(())
        };
        subscriber.subscribe("q").on_message(hold).unwrap()
    });
    let sub = line.grant(1);
    starting.join().unwrap();
    line.deliver(&sub, "q", [1]);
    entering.recv_timeout(common::PATIENCE).unwrap();
    let error = client.flush(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    release.send(()).unwrap();
}

/// C-0-4-2 C-2-1-3
#[test]
fn the_answer_and_messages_in_one_segment_all_arrive() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let reading = aside(move || {
        let work = client.subscribe("t").start().unwrap();
        work.take(3).map(|message| message.unwrap().data().to_vec()).collect::<Vec<_>>()
    });
    let sub = line.expect(CommandKind::Subscribe);
    let (cid, sid) = (sub.command_id().unwrap(), sub.sub_id().unwrap().to_string());
    let mut frames = vec![format!(r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"success"}}"#)];
    frames.extend(["1", "2", "3"].map(|body| plain(&sid, "t", body)));
    line.send_all(&frames);
    assert_eq!(reading.join().unwrap(), [b"1", b"2", b"3"]);
}

#[test]
fn one_message_for_several_subscriptions_reaches_each_once() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let starting =
        aside(move || (client.subscribe("a").start().unwrap(), client.subscribe("b").start().unwrap()));
    let subs: Vec<_> = (0..2)
        .map(|_| {
            let sub = line.expect(CommandKind::Subscribe);
            line.ack(&sub);
            sub.sub_id().unwrap().to_string()
        })
        .collect();
    let (mut a, mut b) = starting.join().unwrap();
    line.send(&plain(&format!("{}, {},{},99", subs[0], subs[1], subs[0]), "t", "x"));
    line.send(&plain(&format!("{},{}", subs[1], subs[0]), "t", "end"));
    for stream in [&mut a, &mut b] {
        let data: Vec<_> = stream.take(2).map(|message| message.unwrap().data().to_vec()).collect();
        assert_eq!(data, [b"x".to_vec(), b"end".to_vec()]);
    }
}

#[test]
fn a_subscription_id_in_use_is_refused_and_the_first_lives_on() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("t").sub_id("mine").start().unwrap());
    let sub = line.expect(CommandKind::Subscribe);
    assert_eq!(sub.sub_id().unwrap(), "mine");
    line.ack(&sub);
    let mut first = starting.join().unwrap();
    let error = client.subscribe("u").sub_id("mine").start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SubscriptionAlreadyExists);
    line.send(&plain("mine", "t", "x"));
    assert_eq!(first.next().unwrap().unwrap().data(), b"x");
}

#[test]
fn a_handler_is_dropped_when_its_subscription_ends() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (alive, dropped) = std::sync::mpsc::channel::<()>();
    let subscriber = client.clone();
    let starting = aside(move || {
        subscriber
            .subscribe("t")
            .on_message(move |_| {
                let _ = &alive;
                Ok(())
            })
            .unwrap()
    });
    let sub = line.expect(CommandKind::Subscribe);
    line.ack(&sub);
    let subscription = starting.join().unwrap();
    subscription.unsubscribe();
    line.expect(CommandKind::Unsubscribe);
    let gone = dropped.recv_timeout(common::PATIENCE);
    assert_eq!(gone, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    subscription.unsubscribe();
    client.publish("t", b"x").unwrap();
    line.expect(CommandKind::Publish);
}

#[test]
fn waiting_without_a_sensible_limit_is_waiting_without_limit() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let flusher = client.clone();
    let flushing = aside(move || flusher.flush(Duration::MAX));
    let flush = line.expect(CommandKind::Flush);
    line.ack(&flush);
    flushing.join().unwrap().unwrap();
    let starting = aside(move || client.subscribe("t").start().unwrap());
    let sub = line.grant(1);
    let mut work = starting.join().unwrap();
    line.send(&plain(&sub.sub_id().unwrap().to_string(), "t", "x"));
    assert_eq!(work.next_within(Duration::MAX).unwrap().unwrap().data(), b"x");
}

#[test]
fn an_id_that_the_application_chose_is_not_given_out_again() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let starting = aside(move || {
        let chosen = client.subscribe("t").sub_id("5").start().unwrap();
        let others: Vec<_> = (0..5).map(|_| client.subscribe("t").start().unwrap()).collect();
        (chosen, others)
    });
    let mut ids: Vec<String> = (0..6).map(|_| line.grant(1).sub_id().unwrap().to_string()).collect();
    starting.join().unwrap();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

/// C-8-1-1
#[test]
fn a_later_value_of_an_option_replaces_an_earlier_one() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let command = Command::subscribe("T").max_backlog(5).max_backlog(7);
    let (_stream, subscribe) = placed(&mut line, move || client.execute(&command).unwrap());
    assert_eq!(subscribe.options().unwrap(), "max_backlog=7");
}

/// C-8-1-2
#[test]
fn a_command_of_a_newer_server_is_sent_and_its_acknowledgement_ends_it() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let executing = aside(move || {
        let command = Command::new("future_cmd").topic("T").ack(AckType::Processed);
        client.execute(&command).unwrap().map(|message| message.unwrap().command()).collect::<Vec<_>>()
    });
    let command = line.next().unwrap();
    assert!(command.frame().starts_with(br#"{"c":"future_cmd","#), "{command:?}");
    assert_eq!(command.topic().unwrap(), "T");
    line.ack(&command);
    // What the application asks for is its own to see as well (CK-1).
    assert_eq!(executing.join().unwrap(), [CommandKind::Ack]);
}

/// C-8-1-3
#[test]
fn a_filter_is_escaped_on_its_way_and_arrives_as_it_was() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let filter = r#"/name = "a\b" OR /path LIKE '\\server'"#;
    let (_stream, subscribe) =
        placed(&mut line, move || client.subscribe("T").filter(filter).start().unwrap());
    assert_eq!(subscribe.filter().unwrap(), filter);
    // As any parser of JSON reads it.
    let json: serde_json::Value = serde_json::from_slice(subscribe.frame()).unwrap();
    assert_eq!(json["f"], filter);
}

/// C-8-1-4
#[test]
fn a_command_is_executed_again_under_another_id() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let mut streams = Vec::new();
    let command = Command::subscribe("T").filter("/a = 1");
    let [first, second] = [(); 2].map(|()| {
        let (client, command) = (client.clone(), command.clone());
        let (stream, frame) = placed(&mut line, move || client.execute(&command).unwrap());
        streams.push(stream);
        frame
    });
    assert_ne!(first.command_id(), second.command_id());
    assert_ne!(first.sub_id(), second.sub_id());
    assert_eq!(command, Command::subscribe("T").filter("/a = 1"));
}

/// C-8-2-1
#[test]
fn executing_a_publish_returns_at_once_and_brings_nothing() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let mut stream = client.execute(&Command::publish("T").data("x")).unwrap();
    assert!(stream.next().is_none());
    drop(stream);
    assert_eq!(line.expect(CommandKind::Publish).frame(), br#"{"c":"p","t":"T"}x"#);
    client.publish("T", "next").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"next", "nothing was there to be ended");
}

/// C-8-2-2
#[test]
fn what_is_sent_as_it_is_asks_for_nothing_and_goes_to_nobody() {
    let peer = Peer::new();
    let (builder, unexpected) = unexpected(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    client.send(&Command::subscribe("T").sub_id("S")).unwrap();
    let subscribe = line.expect(CommandKind::Subscribe);
    assert!(subscribe.acks().is_empty());
    line.send(&plain("S", "T", "x"));
    assert_eq!(unexpected.recv_timeout(common::PATIENCE).unwrap(), "p T x");
}

/// C-8-2-3
#[test]
fn a_named_method_and_its_command_write_the_same() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    type Place = Box<dyn FnOnce(&Client) -> Subscription + Send>;
    let pairs: [(Place, Command); 5] = [
        (Box::new(|c| c.subscribe("T").start().unwrap()), Command::subscribe("T")),
        (Box::new(|c| c.delta_subscribe("T").start().unwrap()), Command::delta_subscribe("T")),
        (Box::new(|c| c.sow("T").top_n(3).start().unwrap()), Command::sow("T").top_n(3)),
        (
            Box::new(|c| c.sow_and_subscribe("T").oof().start().unwrap()),
            Command::sow_and_subscribe("T").oof(),
        ),
        (
            Box::new(|c| c.sow_and_delta_subscribe("T").filter("/a").start().unwrap()),
            Command::sow_and_delta_subscribe("T").filter("/a"),
        ),
    ];
    let mut streams = Vec::new();
    for (method, command) in pairs {
        let other = client.clone();
        let (stream, by_name) = placed(&mut line, move || method(&other));
        streams.push(stream);
        let other = client.clone();
        let (stream, by_command) = placed(&mut line, move || other.execute(&command).unwrap());
        streams.push(stream);
        let without_ids = |frame: &amps_protocol::Message| {
            let id = frame.command_id().unwrap().to_string();
            String::from_utf8_lossy(frame.frame()).replace(&format!("\"{id}\""), "ID")
        };
        assert_eq!(without_ids(&by_name), without_ids(&by_command));
    }
}

/// C-8-3-2
#[test]
fn a_delete_whose_messages_nobody_wants_waits_until_it_was_processed() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let performing = aside(move || client.perform(&Command::sow_delete("q").bookmark("7|1|")));
    let delete = line.expect(CommandKind::SowDelete);
    assert_eq!(delete.acks(), AckType::Processed.into());
    assert!(line.within(Duration::from_millis(30)).is_empty() && !performing.is_finished());
    line.ack(&delete);
    performing.join().unwrap().unwrap();
}

/// CK-1, CK-2: what the application asks for joins what the client needs, and it alone is
/// delivered.
#[test]
fn acknowledgements_that_were_asked_for_are_delivered_and_others_are_not() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let command = Command::subscribe("T").ack(AckType::Completed);
    let (mut stream, subscribe) = placed(&mut line, move || client.execute(&command).unwrap());
    assert_eq!(subscribe.acks(), amps_client::AckTypes::from(AckType::Processed).with(AckType::Completed));
    let cid = subscribe.command_id().unwrap();
    line.send(&format!(r#"{{"c":"ack","cid":"{cid}","a":"completed","status":"success"}}"#));
    line.send(&plain(&sid(&subscribe), "T", "x"));
    let ack = stream.next().unwrap().unwrap();
    assert!(ack.command() == CommandKind::Ack && ack.is_ack(AckType::Completed));
    assert_eq!(stream.next().unwrap().unwrap().data(), b"x");
}

/// CK-3
#[test]
fn a_command_that_asks_for_nothing_does_not_wait_and_its_refusal_is_unexpected() {
    let peer = Peer::new();
    let (builder, unexpected) = unexpected(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    client.perform(&Command::sow_delete("q").filter("/a").command_id("mine").no_acks()).unwrap();
    let delete = line.expect(CommandKind::SowDelete);
    assert!(delete.acks().is_empty());
    line.refuse(&delete, "bad filter");
    assert_eq!(unexpected.recv_timeout(common::PATIENCE).unwrap(), "ack  ");
}

/// C-8-4-1
#[test]
fn a_timer_is_started_without_a_topic() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    client.perform(&Command::start_timer("T1")).unwrap();
    let start = line.expect(CommandKind::StartTimer);
    assert_eq!(start.command_id().unwrap(), "T1");
    assert!(start.topic().is_none() && start.acks().is_empty());
}

/// C-8-4-2
#[test]
fn the_statistics_of_a_timer_are_delivered() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let stopping = aside(move || {
        let stats = client.execute(&Command::stop_timer("T1").ack(AckType::Stats)).unwrap();
        stats.map(|ack| ack.unwrap().is_ack(AckType::Stats)).collect::<Vec<_>>()
    });
    let stop = line.expect(CommandKind::StopTimer);
    assert!(stop.topic().is_none() && stop.acks().contains(AckType::Stats));
    line.ack(&stop);
    line.send(r#"{"c":"ack","cid":"T1","a":"stats","status":"success"}"#);
    assert_eq!(stopping.join().unwrap(), [true]);
}

/// C-8-4-3
#[test]
fn a_timer_needs_a_connection() {
    let client = common::client("c").server("tcp://127.0.0.1:9/amps/json").build().unwrap();
    for timer in [Command::start_timer("T1"), Command::stop_timer("T1")] {
        assert_eq!(client.perform(&timer).unwrap_err().kind(), ErrorKind::Disconnected);
        assert_eq!(client.execute(&timer).map(drop).unwrap_err().kind(), ErrorKind::Disconnected);
    }
}
