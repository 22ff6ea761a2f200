//! A query and its subscription begin at one moment, whatever is published meanwhile.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use amps_protocol::{CommandKind, Message};
use amps_testkit::{FakeServer, SowConfig};
use serde_json::{Value, json};
use support::raw_client::{RawClient, framed};

const KEYS: u64 = 50;
const SUBSCRIPTIONS: usize = 100;
/// Updates that each subscription sees before it ends.
const SEEN: usize = 200;

/// AC-SOW-08
#[test]
fn a_result_and_its_stream_have_no_gap_and_no_duplicate() {
    let server = FakeServer::builder().sow(SowConfig::new("items").key("/id")).start().unwrap();
    let done = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| publish(&server, &done));
        let mut reader = RawClient::named(&server, "reader");
        for number in 0..SUBSCRIPTIONS {
            follow(&mut reader, number);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Counts every key up, as fast as the server takes it and no faster: what waits in sockets is
/// short.
fn publish(server: &FakeServer, done: &AtomicBool) {
    let mut writer = RawClient::named(server, "writer");
    let mut n: u64 = 0;
    while !done.load(Ordering::Relaxed) {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            let frame = format!(r#"{{"c":"p","t":"items"}}{}"#, json!({"id": n % KEYS, "n": n / KEYS}));
            bytes.extend(framed(&frame));
            n += 1;
        }
        writer.0.write_all(&bytes).unwrap();
        writer.ask(r#"{"c":"flush","cid":"f","a":"processed"}"#);
    }
}

/// Each key goes on exactly where the result left it.
fn follow(reader: &mut RawClient, number: usize) {
    let command = json!({
        "c": "sow_and_subscribe", "cid": "q", "sub_id": number.to_string(), "t": "items", "bs": 10, "a": "processed"
    });
    reader.send(&command.to_string());
    let mut known: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut complete, mut seen) = (false, 0);
    while seen < SEEN {
        let frame = reader.receive();
        let message = Message::decode(frame.as_bytes()).unwrap();
        let read = |data: &[u8]| {
            let body: Value = serde_json::from_slice(data).unwrap();
            (body["id"].as_u64().unwrap(), body["n"].as_u64().unwrap())
        };
        match message.command() {
            CommandKind::Sow => {
                for record in message.records() {
                    let (id, n) = read(record.unwrap().data());
                    assert_eq!(known.insert(id, n), None, "{id} stands in the result twice");
                }
            }
            CommandKind::GroupEnd => complete = true,
            CommandKind::Publish => {
                assert!(complete, "an update came within the result");
                let (id, n) = read(message.data());
                // The first message of a key is new, any other follows the last.
                match known.insert(id, n) {
                    Some(last) => assert_eq!(n, last + 1, "of {id}"),
                    None => assert_eq!(n, 0, "of {id}"),
                }
                seen += 1;
            }
            _ => {}
        }
    }
    let end = json!({"c": "unsubscribe", "cid": "u", "sub_id": number.to_string(), "a": "processed"});
    reader.send(&end.to_string());
    // What was under way still comes.
    while Message::decode(reader.receive().as_bytes()).unwrap().command() != CommandKind::Ack {}
}
