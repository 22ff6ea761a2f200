//! Messages: what they say, and how long they live (client.md 2.6).

mod common;

use std::sync::mpsc::channel;
use std::time::Duration;

use amps_client::{CommandKind, OofReason};
use common::{PATIENCE, Peer, aside, bookmarks, placed, plain, sid};

/// C-2-6-1
#[test]
fn a_copy_outlives_the_buffer_that_its_message_came_in() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (sender, kept) = channel();
    let (_client, subscribe) = placed(&mut line, move || {
        let mut count = 0;
        let mut first = None;
        let handler = move |message: &amps_client::Message<&[u8]>| {
            first.get_or_insert_with(|| message.to_owned());
            count += 1;
            if count == 10_001 {
                sender.send(first.take())?;
            }
            Ok(())
        };
        client.subscribe("t").on_message(handler).unwrap();
        client
    });
    let id = sid(&subscribe);
    line.send(&format!(r#"{{"c":"p","bm":"1|2|","t":"kept","sids":"{id}","l":9}}the first"#));
    let filler: Vec<String> = (0..10_000).map(|n| plain(&id, "other", &format!("filler {n}"))).collect();
    line.send_all(&filler);
    let first = kept.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(first.topic().unwrap(), "kept");
    assert_eq!(first.bookmark().unwrap(), "1|2|");
    assert_eq!(first.data(), b"the first");
    assert_eq!(first.data_str(), Ok("the first"));
}

/// C-2-6-2
#[test]
fn what_a_message_does_not_bear_is_none() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (mut stream, subscribe) = placed(&mut line, move || client.subscribe("t").start().unwrap());
    line.send(&plain(&sid(&subscribe), "t", "x"));
    let message = stream.next().unwrap().unwrap();
    assert_eq!(message.sow_key(), None);
    assert!(message.bookmark().is_none() && message.correlation_id().is_none() && message.reason().is_none());
    assert!(message.sequence().is_none() && message.expiration().is_none() && message.status().is_none());
    assert!(!message.is_leased());
    assert!(message.result().is_ok());
}

/// C-2-6-3
#[test]
fn a_record_that_left_the_focus_says_why() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (mut stream, subscribe) = placed(&mut line, move || client.subscribe("t").oof().start().unwrap());
    let id = sid(&subscribe);
    let body = r#"{"id":1}"#;
    line.send(&format!(
        r#"{{"c":"oof","t":"t","k":"17","sids":"{id}","reason":"match","l":{}}}{body}"#,
        body.len()
    ));
    let message = stream.next().unwrap().unwrap();
    assert_eq!(message.command(), CommandKind::Oof);
    assert_eq!((message.reason().unwrap(), message.oof_reason()), ("match".into(), Some(OofReason::Match)));
    assert_eq!((message.sow_key().unwrap(), message.data()), ("17".into(), body.as_bytes()));
}

/// C-2-6-4
#[test]
fn a_copy_is_acknowledged_on_the_connection_that_delivered_it_from_any_thread() {
    let (peer, another) = (Peer::new(), Peer::new());
    let (client, mut line) = peer.connect(peer.client("c"));
    let (_other_client, mut other_line) = another.connect(another.client("d"));
    let (sender, copies) = channel();
    let placing = aside(move || {
        let handler = move |message: &amps_client::Message<&[u8]>| Ok(sender.send(message.to_owned())?);
        client.subscribe("q").max_backlog(10).on_message(handler).unwrap();
        client
    });
    let subscribe = line.grant(10);
    let _client = placing.join().unwrap();
    line.deliver(&subscribe, "q", [1]);
    let copy = copies.recv_timeout(PATIENCE).unwrap();
    aside(move || copy.ack()).join().unwrap();
    let ack = line.expect(CommandKind::SowDelete);
    assert_eq!((ack.topic().unwrap(), bookmarks(&ack).as_str()), ("q".into(), "7|1|"));
    assert!(other_line.within(Duration::from_millis(30)).is_empty());
}
