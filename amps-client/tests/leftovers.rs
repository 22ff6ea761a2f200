//! What no subscription takes, and writes that the server refuses (client.md 3.9, 3.11).

mod common;

use std::sync::mpsc::channel;

use amps_client::{AckType, Command, CommandKind, ErrorKind};
use common::{PATIENCE, Peer, errors, placed, plain, sid, unexpected};

/// The frame of an acknowledgement that a write was not persisted.
fn refused_write(cid: Option<&str>, reason: &str, sequence: u64) -> String {
    let cid = cid.map(|cid| format!(r#""cid":"{cid}","#)).unwrap_or_default();
    format!(r#"{{"c":"ack",{cid}"a":"persisted","s":{sequence},"status":"failure","reason":"{reason}"}}"#)
}

/// C-3-9-1
#[test]
fn a_message_for_nobody_goes_to_the_listener_for_unexpected_ones() {
    let peer = Peer::new();
    let (builder, unexpected) = unexpected(peer.client("c"));
    let (_client, mut line) = peer.connect(builder);
    line.send(r#"{"c":"p","t":"t","sub_id":"99","l":1}a"#);
    line.send(&plain("98,97", "t", "b"));
    line.send(&plain("96", "t", "end"));
    for expected in ["p t a", "p t b", "p t end"] {
        assert_eq!(unexpected.recv_timeout(PATIENCE).unwrap(), expected, "each of them once");
    }
}

/// C-3-9-2 C-3-11-2
#[test]
fn a_refused_write_that_nobody_listens_for_is_unexpected() {
    let peer = Peer::new();
    let (sender, acks) = channel();
    let (client, mut line) = peer.connect(peer.client("c").on_unexpected(move |ack| {
        _ = sender.send((ack.command(), ack.reason().map(ToString::to_string), ack.sequence()));
    }));
    client.perform(&Command::publish("t").data("x").sequence(3).ack(AckType::Persisted)).unwrap();
    let publish = line.expect(CommandKind::Publish);
    let cid = publish.command_id().unwrap().to_string();
    let expected = (CommandKind::Ack, Some("not entitled".to_owned()), Some(3));
    line.send(&refused_write(Some(&cid), "not entitled", 3));
    assert_eq!(acks.recv_timeout(PATIENCE).unwrap(), expected);
    // Conflated ones bear no command id.
    line.send(&refused_write(None, "not entitled", 3));
    assert_eq!(acks.recv_timeout(PATIENCE).unwrap(), expected);
}

/// WF-2, and WF-7: what is stored already is no failure.
#[test]
fn refused_writes_go_to_their_listener_and_duplicates_to_nobody() {
    let peer = Peer::new();
    let (builder, unexpected) = unexpected(peer.client("c"));
    let (sender, failures) = channel();
    let builder = builder.on_failed_write(move |failure| {
        let ack = failure.ack().command();
        _ = sender.send((failure.sequence(), failure.reason(), failure.class(), ack));
    });
    let (_client, mut line) = peer.connect(builder);
    line.send(r#"{"c":"ack","a":"persisted","s":2,"status":"success"}"#);
    line.send(&refused_write(None, "duplicate", 3));
    line.send(&refused_write(None, "not entitled", 4));
    let class = amps_client::ReasonClass::NotEntitled;
    let expected = (Some(4), "not entitled".to_owned(), class, CommandKind::Ack);
    assert_eq!(failures.recv_timeout(PATIENCE).unwrap(), expected);
    line.send(&plain("99", "t", "end"));
    assert_eq!(unexpected.recv_timeout(PATIENCE).unwrap(), "p t end");
    assert!(failures.try_recv().is_err());
}

/// C-3-9-3
#[test]
fn who_watches_a_kind_of_message_takes_none_of_them_away() {
    let peer = Peer::new();
    let (sender, seen) = channel();
    let publishes = sender.clone();
    let builder = peer.client("c");
    let builder = builder
        .on_kind(CommandKind::Ack, move |ack| {
            _ = sender.send((ack.command(), ack.command_id().map(ToString::to_string)));
        })
        .on_kind(CommandKind::Publish, move |message| _ = publishes.send((message.command(), None)));
    let (client, mut line) = peer.connect(builder);
    let (mut stream, subscribe) = placed(&mut line, move || client.subscribe("t").start().unwrap());
    let acknowledged = (CommandKind::Ack, subscribe.command_id().map(ToString::to_string));
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), acknowledged);
    line.send(&plain(&sid(&subscribe), "t", "x"));
    assert_eq!(stream.next().unwrap().unwrap().data(), b"x");
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (CommandKind::Publish, None));
}

/// UM-4: a listener's own failure is reported, and what comes next is looked at.
#[test]
fn a_listener_that_panics_is_reported_and_called_again() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c"));
    let (sender, calls) = channel();
    let builder = builder.on_unexpected(move |message| {
        _ = sender.send(message.data().to_vec());
        assert!(message.data() != b"first", "a bug in the listener");
    });
    let (_client, mut line) = peer.connect(builder);
    for body in ["first", "second"] {
        line.send(&plain("99", "t", body));
        assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), body.as_bytes());
    }
    let error = reported.recv_timeout(PATIENCE).unwrap();
    assert_eq!(error.kind(), ErrorKind::MessageHandler);
    assert!(error.to_string().contains("a bug in the listener"), "{error}");
    assert!(reported.try_recv().is_err());
}
