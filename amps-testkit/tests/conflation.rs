//! `conflation=auto` (server.md CNF-08): a client that takes what it is sent is sent everything at
//! once, and one that is behind gets one update per key and interval.

mod support;

use std::time::Duration;

use amps_protocol::Message;
use amps_testkit::{FakeServer, SowConfig};
use support::in_process::InProcess;
use support::stage::Stage;

const PUBLISHER: usize = 0;
const CONSUMER: usize = 1;

fn send(stage: &mut InProcess, conn: usize, header: &str, body: &str) {
    let text = format!("{header}{body}");
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    stage.send(conn, &bytes, 1);
}

fn publish(stage: &mut InProcess, version: u32) {
    send(stage, PUBLISHER, r#"{"c":"publish","t":"prices"}"#, &format!(r#"{{"id":1,"v":{version}}}"#));
}

/// The bodies that the consumer was sent since it last looked.
fn received(stage: &mut InProcess) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(frame) = stage.poll(CONSUMER) {
        let message = Message::decode(&frame[..]).unwrap();
        bodies.push(String::from_utf8(message.data().to_vec()).unwrap());
    }
    bodies
}

#[test]
fn a_client_that_is_behind_gets_one_update_per_interval() {
    let builder = FakeServer::builder().sow(SowConfig::new("prices").key("/id"));
    let builder = builder.set("conflation.auto_interval", "200ms").unwrap();
    let mut stage = InProcess::start(builder, None);
    stage.be_slow();
    for (conn, name) in [(PUBLISHER, "p"), (CONSUMER, "c")] {
        stage.connect();
        send(&mut stage, conn, &format!(r#"{{"c":"logon","mt":"json","client_name":"{name}"}}"#), "");
    }
    send(&mut stage, CONSUMER, r#"{"c":"subscribe","sub_id":"s","t":"prices","o":"conflation=auto"}"#, "");
    assert_eq!(received(&mut stage), [""; 0]);
    // It has taken everything: the first goes out at once, and waits there.
    publish(&mut stage, 1);
    assert!(stage.waiting(CONSUMER) > 0);
    for version in 2..=4 {
        publish(&mut stage, version);
    }
    assert_eq!(received(&mut stage), [r#"{"id":1,"v":1}"#]);
    stage.advance(Duration::from_millis(199));
    assert_eq!(received(&mut stage), [""; 0]);
    stage.advance(Duration::from_millis(1));
    assert_eq!(received(&mut stage), [r#"{"id":1,"v":4}"#]);
    publish(&mut stage, 5);
    assert_eq!(received(&mut stage), [r#"{"id":1,"v":5}"#]);
}
