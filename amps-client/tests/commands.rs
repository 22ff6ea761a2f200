//! Commands that wait: answers, time-outs, and what may come too late.

mod common;

use std::time::{Duration, Instant};

use amps_client::{CommandKind, ErrorKind};
use common::{Peer, aside, plain};

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
