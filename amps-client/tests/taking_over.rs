//! Messages that go over from one taker to another, and what becomes of those in between.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::{Context, Waker};

use amps_client::{Command, CommandKind, ErrorKind, Subscription, WhenFull};
use common::{Line, PATIENCE, Peer, aside, leased, plain};

fn ack(command: &amps_protocol::Message) -> String {
    let cid = command.command_id().unwrap();
    format!(r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"success"}}"#)
}

fn subscribed(line: &mut Line, client: &amps_client::Client) -> Subscription {
    let other = client.clone();
    let subscribing = aside(move || other.subscribe("t").sub_id("S").max_backlog(10).start().unwrap());
    line.grant(10);
    subscribing.join().unwrap()
}

/// What comes before the server agrees is the old taker's, what comes after is the new one's, also within one
/// read.
#[test]
fn a_read_is_divided_where_the_server_agreed() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let mut old = subscribed(&mut line, &client);
    let (sender, seen) = channel();
    let other = client.clone();
    let replacing = aside(move || {
        let command = Command::subscribe("t").sub_id("S").filter("/a = 1").max_backlog(10).replace();
        other.execute_with(&command, move |message| Ok(sender.send(message.data().to_vec())?))
    });
    let replace = line.expect(CommandKind::Subscribe);
    line.send_all(&[leased("S", "t", 1), ack(&replace), leased("S", "t", 2)]);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), br#"{"id":2}"#);
    assert_eq!(old.next().unwrap().unwrap().data(), br#"{"id":1}"#);
    assert!(old.next().is_none());
    replacing.join().unwrap().unwrap();
}

/// The old handle ends nothing that is not its own any more, and gives back what it has not read.
#[test]
fn dropping_the_old_handle_gives_back_its_leases_and_ends_nothing() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let old = subscribed(&mut line, &client);
    let other = client.clone();
    let replacing = aside(move || {
        other
            .execute(&Command::subscribe("t").sub_id("S").filter("/a = 1").max_backlog(10).replace())
            .unwrap()
    });
    let replace = line.expect(CommandKind::Subscribe);
    line.send_all(&[leased("S", "t", 1), ack(&replace)]);
    let mut new = replacing.join().unwrap();
    common::until("an unread message", || old.depth() == 1);
    drop(old);
    let given_back = line.expect(CommandKind::SowDelete);
    assert_eq!(
        (given_back.bookmark().unwrap(), given_back.options().unwrap()),
        ("7|1|".into(), "cancel".into())
    );
    line.send(&leased("S", "t", 2));
    assert_eq!(new.next().unwrap().unwrap().data(), br#"{"id":2}"#);
    drop(new);
    assert_eq!(line.expect(CommandKind::Unsubscribe).sub_id().unwrap(), "S");
}

#[test]
fn a_replacement_that_nobody_waits_for_leaves_the_messages_where_they_were() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let mut old = subscribed(&mut line, &client);
    let replacing = client.execute_future(&Command::subscribe("t").sub_id("S").max_backlog(10).replace());
    let replace = line.expect(CommandKind::Subscribe);
    drop(replacing);
    line.send_all(&[ack(&replace), leased("S", "t", 1)]);
    assert_eq!(old.next().unwrap().unwrap().data(), br#"{"id":1}"#);
}

#[test]
fn replacing_what_was_ended_meanwhile_is_an_error_and_no_stream_without_end() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let old = subscribed(&mut line, &client);
    let other = client.clone();
    let replacing = aside(move || {
        other.execute(&Command::subscribe("t").sub_id("S").max_backlog(10).replace()).map(drop)
    });
    let replace = line.expect(CommandKind::Subscribe);
    drop(old);
    line.expect(CommandKind::Unsubscribe);
    line.send(&ack(&replace));
    assert_eq!(replacing.join().unwrap().unwrap_err().kind(), ErrorKind::InvalidSubscription);
}

#[test]
fn a_thread_that_never_read_its_full_stream_is_warned_and_a_future_never_is() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").command_timeout(None));
    let other = client.clone();
    let (full, is_full) = channel();
    client.on_slow_consumer(move |_| _ = full.send(()));
    let consuming = aside(move || {
        let stream = other.subscribe("t").max_depth(2).start().unwrap();
        is_full.recv_timeout(PATIENCE).unwrap();
        let refused = other.flush(PATIENCE).unwrap_err().kind();
        let mut starting = pin!(other.subscribe("u").start_future());
        let waits = starting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        drop(stream);
        (refused, waits)
    });
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let sid = subscribe.sub_id().unwrap().to_string();
    line.send_all(&(1..=5).map(|n| plain(&sid, "t", &n.to_string())).collect::<Vec<_>>());
    assert_eq!(consuming.join().unwrap(), (ErrorKind::Usage, true));
}

#[test]
fn a_stream_that_fails_when_full_does_not_fail_before() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let subscribing =
        aside(move || other.subscribe("t").max_depth(1).when_full(WhenFull::Fail).start().unwrap());
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let mut stream = subscribing.join().unwrap();
    let sid = subscribe.sub_id().unwrap().to_string();
    for n in 0..20 {
        line.send(&plain(&sid, "t", &n.to_string()));
        assert_eq!(stream.next().unwrap().unwrap().data(), n.to_string().as_bytes());
    }
    line.send_all(&[plain(&sid, "t", "a"), plain(&sid, "t", "b")]);
    line.expect(CommandKind::Unsubscribe);
}

/// The server agreed, and then nobody took the messages: the subscription ends, and stops nobody.
#[test]
fn a_replacement_that_is_dropped_after_the_answer_ends_the_subscription() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let mut old = subscribed(&mut line, &client);
    let replacing = client.execute_future(&Command::subscribe("t").sub_id("S").max_backlog(10).replace());
    let replace = line.expect(CommandKind::Subscribe);
    line.send(&ack(&replace));
    // The old stream ends when the messages have gone over.
    assert!(old.next().is_none());
    drop(replacing);
    assert_eq!(line.expect(CommandKind::Unsubscribe).sub_id().unwrap(), "S");
}

/// Only what it asks for changes, if nobody takes the messages over.
#[test]
fn a_change_without_a_taker_leaves_auto_ack_as_it_was() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let subscribing = aside(move || {
        other.subscribe("t").sub_id("S").max_backlog(10).auto_ack(true).on_message(|_| Ok(())).unwrap()
    });
    line.grant(10);
    let _placed = subscribing.join().unwrap();
    let other = client.clone();
    let performing = aside(move || {
        other.perform(&Command::subscribe("t").sub_id("S").filter("/a = 1").max_backlog(10).replace())
    });
    let replace = line.expect(CommandKind::Subscribe);
    assert_eq!(replace.filter().unwrap(), "/a = 1");
    line.send_all(&[ack(&replace), leased("S", "t", 1)]);
    performing.join().unwrap().unwrap();
    assert_eq!(line.expect(CommandKind::SowDelete).bookmark().unwrap(), "7|1|");
}

/// What another thread closes gives its unread messages back, also when its subscription goes on elsewhere.
#[test]
fn closing_the_old_stream_gives_back_what_is_unread() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let old = subscribed(&mut line, &client);
    let closer = old.closer();
    let other = client.clone();
    let replacing =
        aside(move || other.execute(&Command::subscribe("t").sub_id("S").max_backlog(10).replace()).unwrap());
    let replace = line.expect(CommandKind::Subscribe);
    line.send_all(&[leased("S", "t", 1), ack(&replace)]);
    let _new = replacing.join().unwrap();
    common::until("an unread message", || old.depth() == 1);
    closer.close();
    let given_back = line.expect(CommandKind::SowDelete);
    assert_eq!(
        (given_back.bookmark().unwrap(), given_back.options().unwrap()),
        ("7|1|".into(), "cancel".into())
    );
}

/// The old handle of a handler ends nothing that is not its own any more.
#[test]
fn an_old_handler_handle_ends_nothing() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let subscribing = aside(move || other.subscribe("t").sub_id("S").on_message(|_| Ok(())).unwrap());
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let old = subscribing.join().unwrap();
    let other = client.clone();
    let replacing = aside(move || {
        other.execute_with(&Command::subscribe("t").sub_id("S").replace(), |_| Ok(())).unwrap()
    });
    let replace = line.expect(CommandKind::Subscribe);
    line.ack(&replace);
    let new = replacing.join().unwrap();
    old.unsubscribe();
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
    new.unsubscribe();
    line.expect(CommandKind::Unsubscribe);
}
