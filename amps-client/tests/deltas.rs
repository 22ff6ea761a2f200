//! Partial updates, out and in (client.md 6).

mod common;

use std::time::Duration;

use amps_client::{Command, CommandKind, PublishOptions, Reconnect};
use amps_testkit::SowConfig;
use common::{PATIENCE, Peer, placed};

/// C-6-1-1
#[test]
fn a_delta_subscription_is_no_query() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (_stream, command) =
        placed(&mut line, move || client.delta_subscribe("T").filter("/id > 0").start().unwrap());
    assert_eq!(command.command(), CommandKind::DeltaSubscribe);
    assert_eq!(command.filter().unwrap(), "/id > 0");
    assert!(command.query_id().is_none() && command.batch_size().is_none());
}

/// C-6-1-2
#[test]
fn a_query_with_a_delta_subscription_has_both_ids_and_a_batch_size() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (_stream, command) = placed(&mut line, move || client.sow_and_delta_subscribe("T").start().unwrap());
    assert_eq!(command.command(), CommandKind::SowAndDeltaSubscribe);
    assert!(command.query_id().is_some() && command.sub_id().is_some());
    assert_eq!(command.batch_size(), Some(10));
}

/// C-6-1-3
#[test]
fn a_delta_subscription_stays_one_across_a_reconnect() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0);
    let (client, mut line) = peer.connect(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    let other = client.clone();
    let (_one, first) = placed(&mut line, move || other.delta_subscribe("T").start().unwrap());
    let other = client.clone();
    let (_two, second) = placed(&mut line, move || other.sow_and_delta_subscribe("T").start().unwrap());
    drop(line);
    let mut line = peer.accept_logon();
    for before in [first, second] {
        let again = line.expect(before.command());
        assert_eq!((again.sub_id(), again.query_id()), (before.sub_id(), before.query_id()));
    }
    drop(client);
}

/// C-6-2-1
#[test]
fn a_delta_publish_asks_for_nothing() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    client.delta_publish("T", r#"{"id":1,"price":2}"#).unwrap();
    client.perform(&Command::delta_publish("T").data(r#"{"id":1,"price":2}"#)).unwrap();
    for _ in 0..2 {
        let delta = line.expect(CommandKind::DeltaPublish);
        assert_eq!(delta.frame(), br#"{"c":"delta_publish","t":"T"}{"id":1,"price":2}"#);
    }
}

/// C-6-2-2
#[test]
fn a_delta_publish_may_name_its_record() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    client.perform(&Command::delta_publish("T").sow_key("K").data("x")).unwrap();
    let options = PublishOptions::new().sow_key("K").expiration(Duration::from_secs(3));
    client.delta_publish_with("T", "x", &options).unwrap();
    common::executor::block_on(client.delta_publish_with_future("T", "x", &options)).unwrap();
    assert_eq!(line.expect(CommandKind::DeltaPublish).sow_key().unwrap(), "K");
    for _ in 0..2 {
        let delta = line.expect(CommandKind::DeltaPublish);
        assert_eq!((delta.sow_key().unwrap(), delta.expiration()), ("K".into(), Some(3)));
    }
}

/// DS-2: what is delivered is what the server made of it.
#[test]
fn only_what_changed_is_delivered() {
    let server = common::fake_server().sow(SowConfig::new("prices").key("/id")).start().unwrap();
    let client = common::client("c").server(common::uri(&server)).connect().unwrap();
    client.publish("prices", r#"{"id":1,"bid":10,"ask":11}"#).unwrap();
    client.flush(PATIENCE).unwrap();
    let mut deltas = client.delta_subscribe("prices").start().unwrap();
    client.delta_publish("prices", r#"{"id":1,"ask":12}"#).unwrap();
    let delta = String::from_utf8(deltas.next().unwrap().unwrap().data().to_vec()).unwrap();
    assert!(delta.contains(r#""ask":12"#) && !delta.contains("bid"), "{delta}");
    let merged = String::from_utf8(server.sow("prices")[0].body.clone()).unwrap();
    assert!(merged.contains(r#""ask":12"#) && merged.contains(r#""bid":10"#), "{merged}");
}
