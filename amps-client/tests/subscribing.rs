//! Subscribing, filters, regular expressions over topics, and ends (client.md 2.1, 2.7, 2.8).

mod common;

use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use amps_client::{AckType, CommandKind, ErrorKind, Reconnect};
use common::{PATIENCE, Peer, aside, bookmarks, leased, placed, plain, sid, unexpected, until};

/// C-2-1-1
#[test]
fn a_filter_is_sent_as_it_is() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (_stream, subscribe) =
        placed(&mut line, move || client.subscribe("t").filter("/id > 100").start().unwrap());
    assert_eq!(subscribe.command(), CommandKind::Subscribe);
    assert_eq!(subscribe.filter().unwrap(), "/id > 100");
    assert_eq!(subscribe.topic().unwrap(), "t");
    assert!(subscribe.acks().contains(AckType::Processed));
    assert_eq!(subscribe.sub_id(), subscribe.command_id(), "the command gives its id (CF-2)");
}

/// C-2-1-2
#[test]
fn messages_of_a_refused_subscription_are_nobodys() {
    let peer = Peer::new();
    let (builder, unexpected) = unexpected(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let (sender, calls) = channel();
    let subscribing = aside(move || {
        let refused = client.subscribe("t").filter("/id ==").on_message(move |_| Ok(sender.send(())?));
        (refused.map(drop), client)
    });
    let subscribe = line.expect(CommandKind::Subscribe);
    line.refuse(&subscribe, "bad filter");
    let (refused, _client) = subscribing.join().unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::BadFilter);
    line.send(&plain(&sid(&subscribe), "t", "late"));
    assert_eq!(unexpected.recv_timeout(PATIENCE).unwrap(), "p t late");
    assert_eq!(calls.try_recv(), Err(TryRecvError::Disconnected), "not called, and let go");
}

/// C-2-7-1
#[test]
fn a_regular_expression_is_sent_as_it_is_and_messages_bear_their_own_topic() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (stream, subscribe) = placed(&mut line, move || client.subscribe("^client.*").start().unwrap());
    assert_eq!(subscribe.topic().unwrap(), "^client.*");
    let id = sid(&subscribe);
    line.send_all(&[plain(&id, "client1", "a"), plain(&id, "clientX", "b")]);
    let came: Vec<_> = stream
        .take(2)
        .map(|message| message.map(|m| (m.topic().unwrap().to_string(), m.data().to_vec())).unwrap())
        .collect();
    assert_eq!(came, [("client1".into(), b"a".to_vec()), ("clientX".into(), b"b".to_vec())]);
}

/// C-2-7-2
#[test]
fn a_malformed_regular_expression_is_told_apart() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    for reason in ["bad regex topic", "bad regex"] {
        let subscriber = client.clone();
        let subscribing = aside(move || subscriber.subscribe("^client(").start().map(drop).unwrap_err());
        let subscribe = line.expect(CommandKind::Subscribe);
        line.refuse(&subscribe, reason);
        assert_eq!(subscribing.join().unwrap().kind(), ErrorKind::BadRegexTopic);
    }
}

/// C-2-7-3
#[test]
fn queue_messages_of_several_topics_are_acknowledged_topic_by_topic() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(10).ack_timeout(Duration::ZERO);
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let subscribing = aside(move || subscriber.subscribe("^Q.$").max_backlog(10).start().unwrap());
    let subscribe = line.grant(10);
    let stream = subscribing.join().unwrap();
    let id = sid(&subscribe);
    line.send_all(&[leased(&id, "Q1", 1), leased(&id, "Q2", 2)]);
    for message in stream.take(2) {
        message.unwrap().ack();
    }
    client.flush_acks();
    let frames = [line.expect(CommandKind::SowDelete), line.expect(CommandKind::SowDelete)];
    let of = |topic: &str| frames.iter().find(|f| f.topic().is_some_and(|t| t == topic)).map(bookmarks);
    assert_eq!((of("Q1").unwrap(), of("Q2").unwrap()), ("7|1|".into(), "7|2|".into()));
}

/// C-2-8-1
#[test]
fn unsubscribing_is_one_frame_and_what_comes_late_is_nobodys() {
    let peer = Peer::new();
    let (builder, unexpected) = unexpected(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let (sender, calls) = channel::<Vec<u8>>();
    let other = client.clone();
    let (_placed, subscribe) = placed(&mut line, move || {
        other.subscribe("t").on_message(move |message| Ok(sender.send(message.data().to_vec())?)).unwrap()
    });
    let id = sid(&subscribe);
    line.send(&plain(&id, "t", "early"));
    assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), b"early");
    client.unsubscribe(&id).unwrap();
    let unsubscribe = line.expect(CommandKind::Unsubscribe);
    assert_eq!(unsubscribe.sub_id().unwrap(), id.as_str());
    assert!(unsubscribe.acks().is_empty());
    line.send(&plain(&id, "t", "late"));
    assert_eq!(unexpected.recv_timeout(PATIENCE).unwrap(), "p t late");
    assert_eq!(calls.try_recv(), Err(TryRecvError::Disconnected));
    // An id that nobody knows is the server's business (UN-6).
    client.unsubscribe("nobody").unwrap();
    assert_eq!(line.expect(CommandKind::Unsubscribe).sub_id().unwrap(), "nobody");
}

/// C-2-8-2
#[test]
fn everything_can_be_ended_at_once() {
    let peer = Peer::new();
    let (builder, unexpected) = unexpected(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let (sender, calls) = channel::<()>();
    let mut ids = Vec::new();
    for topic in ["a", "b"] {
        let (other, sender) = (client.clone(), sender.clone());
        let (_placed, subscribe) = placed(&mut line, move || {
            other.subscribe(topic).on_message(move |_| Ok(sender.send(())?)).unwrap()
        });
        ids.push(sid(&subscribe));
    }
    drop(sender);
    let other = client.clone();
    let (mut stream, _) = placed(&mut line, move || other.subscribe("c").start().unwrap());
    client.unsubscribe_all().unwrap();
    assert_eq!(line.expect(CommandKind::Unsubscribe).sub_id().unwrap(), "all");
    line.send_all(&ids.iter().map(|id| plain(id, "t", "late")).collect::<Vec<_>>());
    for _ in &ids {
        assert_eq!(unexpected.recv_timeout(PATIENCE).unwrap(), "p t late");
    }
    assert_eq!(calls.try_recv(), Err(TryRecvError::Disconnected), "not one call");
    assert!(stream.next().is_none());
}

/// C-2-8-4
#[test]
fn what_is_ended_while_disconnected_is_not_placed_again() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0);
    let (client, mut line) = peer.connect(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    let mut kept = Vec::new();
    for id in ["S", "T"] {
        let other = client.clone();
        kept.push(placed(&mut line, move || other.subscribe("t").sub_id(id).start().unwrap()).0);
    }
    drop(line);
    // A connection whose logon nobody has answered yet is none.
    let mut line = peer.accept();
    let logon = line.expect(CommandKind::Logon);
    until("the disconnect", || !client.is_connected());
    client.unsubscribe("S").unwrap();
    line.ack(&logon);
    assert_eq!(line.expect(CommandKind::Subscribe).sub_id().unwrap(), "T");
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
    assert!(kept[0].next().is_none());
}
