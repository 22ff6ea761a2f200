//! Changing a live subscription (client.md 2.2).

mod common;

use std::sync::mpsc::channel;
use std::time::Duration;

use amps_client::{AckType, Command, CommandKind, ErrorKind, Reconnect};
use common::{PATIENCE, Peer, aside, plain};

/// C-2-2-1 C-2-2-3
#[test]
fn a_replaced_filter_keeps_the_subscription_and_outlives_a_reconnect() {
    let peer = Peer::new();
    let (client, mut line) =
        peer.connect(peer.client("c").reconnect(Reconnect::default()).heartbeat(Duration::ZERO));
    let subscribing = aside(move || client.subscribe("t").sub_id("S1").oof().start().map(|s| (client, s)));
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let (client, mut stream) = subscribing.join().unwrap().unwrap();

    let replacing = aside(move || {
        stream.replace_filter("/id < 5").unwrap();
        stream.next().unwrap().unwrap();
        stream
    });
    let replace = line.expect(CommandKind::Subscribe);
    assert_eq!((replace.sub_id().unwrap(), replace.filter().unwrap()), ("S1".into(), "/id < 5".into()));
    assert_eq!(replace.options().unwrap(), "oof,replace");
    assert!(replace.acks().contains(AckType::Processed));
    assert_ne!(replace.command_id(), subscribe.command_id());
    line.ack(&replace);
    line.send(&plain("S1", "t", "1"));
    let stream = replacing.join().unwrap();
    assert_eq!(stream.command().unwrap().get_filter(), Some("/id < 5"));

    drop(line);
    let mut line = peer.accept_logon();
    let again = line.expect(CommandKind::Subscribe);
    assert_eq!((again.sub_id().unwrap(), again.filter().unwrap()), ("S1".into(), "/id < 5".into()));
    assert_eq!(again.options().unwrap(), "oof");
    drop(client);
}

/// C-2-2-2
#[test]
fn a_refused_replacement_changes_nothing() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (sender, bodies) = channel();
    let subscribing = aside(move || {
        let placed = client.subscribe("t").filter("/id > 0").on_message(move |message| {
            sender.send(message.data().to_vec())?;
            Ok(())
        });
        (client, placed.unwrap())
    });
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let (_client, placed) = subscribing.join().unwrap();
    let replacing = aside(move || (placed.replace_filter("/id <"), placed));
    let replace = line.expect(CommandKind::Subscribe);
    line.refuse(&replace, "bad filter");
    let (refused, placed) = replacing.join().unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::BadFilter);
    assert_eq!(placed.command().unwrap().get_filter(), Some("/id > 0"));
    line.send(&plain(&subscribe.sub_id().unwrap().to_string(), "t", "still"));
    assert_eq!(bodies.recv_timeout(PATIENCE).unwrap(), b"still");
}

/// RF-2: the new handler takes over with the server's word, and the old one is let go.
#[test]
fn a_new_handler_takes_over_once_the_server_has_agreed() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (old, of_old) = channel();
    let (new, of_new) = channel();
    let other = client.clone();
    let subscribing = aside(move || {
        other
            .subscribe("t")
            .sub_id("S")
            .on_message(move |message| Ok(old.send(message.data().to_vec())?))
            .unwrap()
    });
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let _placed = subscribing.join().unwrap();
    let replacing = aside(move || {
        let command = Command::subscribe("t").sub_id("S").filter("/a = 1").replace();
        client
            .execute_with(&command, move |message| Ok(new.send(message.data().to_vec())?))
            .map(|p| (client, p))
    });
    let replace = line.expect(CommandKind::Subscribe);
    line.send(&plain("S", "t", "before"));
    assert_eq!(of_old.recv_timeout(PATIENCE).unwrap(), b"before");
    line.ack(&replace);
    line.send(&plain("S", "t", "after"));
    assert_eq!(of_new.recv_timeout(PATIENCE).unwrap(), b"after");
    let (_client, placed) = replacing.join().unwrap().unwrap();
    assert_eq!(placed.sub_id(), "S");
    assert!(of_old.recv_timeout(PATIENCE).is_err(), "what the old handler held is gone");
}

/// C-3-4-4
#[test]
fn a_replacement_that_times_out_leaves_the_subscription_alone() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").command_timeout(Some(Duration::from_millis(50))));
    let subscribing = aside(move || client.subscribe("t").timeout(PATIENCE).start().map(|s| (client, s)));
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let (client, mut stream) = subscribing.join().unwrap().unwrap();
    assert_eq!(stream.replace_filter("/id < 5").unwrap_err().kind(), ErrorKind::TimedOut);
    line.expect(CommandKind::Subscribe);
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
    line.send(&plain(&subscribe.sub_id().unwrap().to_string(), "t", "flows"));
    assert_eq!(stream.next().unwrap().unwrap().data(), b"flows");
}

#[test]
fn what_is_not_there_cannot_be_replaced() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let error = client.execute(&Command::subscribe("t").sub_id("nobody").replace()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSubscription);
    let error = client.execute(&Command::subscribe("t").replace()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
}
