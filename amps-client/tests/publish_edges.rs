//! Publishing with and without a store, where a server or an application does something unusual.

mod common;

use std::time::Duration;

use amps_client::{
    AckType, Client, ClientBuilder, Command, CommandKind, ErrorKind, MemoryPublishStore, PublishState,
    Reconnect,
};
use common::{Line, PATIENCE, Peer, aside, errors, until};

fn reconnecting(peer: &Peer) -> ClientBuilder {
    let policy = Reconnect::new().initial(Duration::from_millis(10)).jitter(0.0);
    peer.client("c").reconnect(policy).heartbeat(Duration::ZERO)
}

fn stored(peer: &Peer) -> ClientBuilder {
    reconnecting(peer).publish_store(MemoryPublishStore::new())
}

fn persisted(line: &mut Line, number: u64) {
    line.send(&format!(r#"{{"c":"ack","a":"persisted","s":{number},"status":"success"}}"#));
}

fn publish(client: &Client, count: u64) {
    for n in 1..=count {
        client.publish("t", format!("{n}")).unwrap();
    }
}

#[test]
fn a_refusal_of_what_was_never_published_drops_nothing() {
    let peer = Peer::new();
    let (builder, _errors) = errors(stored(&peer));
    let (client, mut line) = peer.connect(builder);
    publish(&client, 3);
    for number in [0, 50, u64::MAX] {
        line.send(&format!(
            r#"{{"c":"ack","a":"persisted","s":{number},"status":"failure","reason":"not entitled"}}"#
        ));
    }
    persisted(&mut line, 1);
    until("the first is persisted", || client.publish_store().unwrap().last_persisted >= 1);
    assert_eq!(client.publish_store().unwrap().unpersisted, 2);
}

#[test]
fn a_server_that_is_ahead_moves_the_numbers_and_is_reported() {
    let peer = Peer::new();
    let (builder, errors) = errors(stored(&peer));
    let (client, mut line) = peer.connect(builder);
    publish(&client, 3);
    persisted(&mut line, 9);
    until("all have left", || client.publish_store().unwrap().unpersisted == 0);
    assert_eq!(errors.recv_timeout(PATIENCE).unwrap().kind(), ErrorKind::Store);
    let receipt = client.publish("t", "new").unwrap();
    assert_eq!(receipt.sequence(), Some(10), "it would count as a duplicate");
    assert_ne!(receipt.state(), PublishState::Persisted);
    persisted(&mut line, 10);
    receipt.wait_persisted(PATIENCE).unwrap();
    assert_eq!(client.publish_store().unwrap().unpersisted, 0);
}

#[test]
fn the_last_number_of_all_is_survived() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    let receipt = client.publish("t", "1").unwrap();
    let waiting = aside({
        let receipt = receipt.clone();
        move || receipt.wait_persisted(PATIENCE)
    });
    persisted(&mut line, u64::MAX);
    waiting.join().unwrap().unwrap();
    assert_eq!(client.publish("t", "2").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(client.is_connected());
}

#[test]
fn what_no_store_keeps_is_not_published_by_a_later_connection() {
    let peer = Peer::new();
    let (client, line) = peer.connect(reconnecting(&peer));
    drop(line);
    until("the loss is noticed", || !client.is_connected());
    for command in [
        Command::publish("t").data("1"),
        Command::publish("t").data("2").ack(AckType::Persisted),
        Command::delta_publish("t").data("3").ack(AckType::Processed),
    ] {
        assert_eq!(client.execute(&command).map(drop).unwrap_err().kind(), ErrorKind::Disconnected);
    }
    let mut line = peer.accept_logon();
    until("it is back", || client.is_connected());
    client.publish("t", "4").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"4");
}
