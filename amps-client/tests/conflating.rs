//! Client-side conflation (client.md 4.5).

mod common;

use amps_client::{Client, CommandKind, Subscription};
use common::{Line, Peer, aside};

fn keyed(sid: &str, topic: &str, key: &str, body: &str) -> String {
    format!(r#"{{"c":"p","t":"{topic}","sids":"{sid}","k":"{key}","l":{}}}{body}"#, body.len())
}

/// A conflating stream of `t` and of a marker behind it, by which a test knows that the rest
/// has come.
fn conflating(peer: &Peer) -> (Client, Line, Subscription, String, Subscription, String) {
    let (client, mut line) = peer.connect(peer.client("c"));
    let mut place = |topic: &'static str, conflates: bool| {
        let other = client.clone();
        let subscribing = aside(move || {
            let described = other.subscribe(topic);
            if conflates { described.conflate().start() } else { described.start() }
        });
        let subscribe = line.expect(CommandKind::Subscribe);
        line.ack(&subscribe);
        (subscribing.join().unwrap().unwrap(), subscribe.sub_id().unwrap().to_string())
    };
    let (stream, sid) = place("t", true);
    let (marker, marker_id) = place("marker", false);
    (client, line, stream, sid, marker, marker_id)
}

fn bodies(stream: &mut Subscription) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(message) = stream.next_within(std::time::Duration::ZERO).unwrap() {
        bodies.push(String::from_utf8(message.data().to_vec()).unwrap());
    }
    bodies
}

/// C-4-5-1 C-4-5-2 C-4-5-3
#[test]
fn the_newest_of_each_record_is_read_in_the_place_of_the_oldest() {
    let peer = Peer::new();
    let (_client, mut line, mut stream, sid, mut marker, marker_id) = conflating(&peer);
    line.send_all(&[
        keyed(&sid, "t", "A", "A1"),
        keyed(&sid, "t", "B", "B1"),
        keyed(&sid, "t", "A", "A2"),
        common::plain(&sid, "t", "no key"),
        common::plain(&sid, "t", "no key"),
        keyed(&sid, "u", "A", "of another topic"),
        common::plain(&marker_id, "marker", ""),
    ]);
    marker.next().unwrap().unwrap();
    assert_eq!(stream.depth(), 5);
    assert_eq!(bodies(&mut stream), ["A2", "B1", "no key", "no key", "of another topic"]);
    line.send_all(&[keyed(&sid, "t", "A", "A3"), common::plain(&marker_id, "marker", "")]);
    marker.next().unwrap().unwrap();
    assert_eq!(bodies(&mut stream), ["A3"]);
}

/// CC-7, CC-8
#[test]
fn nothing_replaces_across_the_end_of_a_result_and_out_of_focus_does() {
    let peer = Peer::new();
    let (_client, mut line, mut stream, sid, mut marker, marker_id) = conflating(&peer);
    let oof = format!(r#"{{"c":"oof","t":"t","sids":"{sid}","k":"A","reason":"deleted","l":3}}oof"#);
    line.send_all(&[
        keyed(&sid, "t", "A", "A1"),
        format!(r#"{{"c":"group_end","sub_id":"{sid}"}}"#),
        keyed(&sid, "t", "A", "A2"),
        oof,
        common::plain(&marker_id, "marker", ""),
    ]);
    marker.next().unwrap().unwrap();
    assert_eq!(bodies(&mut stream), ["A1", "", "oof"]);
}

/// CC-9: what replaces needs no room.
#[test]
fn a_replacement_does_not_count() {
    let peer = Peer::new();
    let (_client, mut line, mut stream, sid, mut marker, marker_id) = conflating(&peer);
    stream.set_max_depth(3);
    let mut frames: Vec<String> =
        (0..100).map(|n| keyed(&sid, "t", ["A", "B"][n % 2], &n.to_string())).collect();
    frames.push(common::plain(&marker_id, "marker", ""));
    line.send_all(&frames);
    marker.next().unwrap().unwrap();
    assert_eq!(stream.depth(), 2);
    assert_eq!(bodies(&mut stream), ["98", "99"]);
}

/// Replacements need no place, but bytes: they are bounded all the same.
#[test]
fn replacements_that_grow_hold_the_server_back() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (full, is_full) = std::sync::mpsc::channel();
    client.on_slow_consumer(move |_| _ = full.send(()));
    let other = client.clone();
    let subscribing = aside(move || other.subscribe("t").conflate().max_bytes(50_000).start().unwrap());
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let mut stream = subscribing.join().unwrap();
    let sid = subscribe.sub_id().unwrap().to_string();
    let large = "x".repeat(10_000);
    let keys: Vec<String> = (0..10).map(|n| format!("K{n}")).collect();
    let mut frames: Vec<String> = keys.iter().map(|key| keyed(&sid, "t", key, "small")).collect();
    frames.extend(keys.iter().map(|key| keyed(&sid, "t", key, &large)));
    line.send_all(&frames);
    is_full.recv_timeout(common::PATIENCE).unwrap();
    assert_eq!(stream.depth(), 10);
    // Everything is there in the end, the newest of each.
    let mut seen = std::collections::BTreeMap::new();
    while seen.values().filter(|size| **size == 10_000).count() < 10 {
        let message = stream.next().unwrap().unwrap();
        seen.insert(message.sow_key().unwrap().to_string(), message.data().len());
    }
}
