//! What a server refuses: the caller's error, its kind, and that the client goes on
//! (client.md 3.1, 3.2, 11).

mod common;

use amps_client::{AckType, Client, Command, CommandKind, Error, ErrorKind};
use common::{Line, Peer, aside, placed, sid};

/// The error of a subscribe that is refused with this reason.
fn refusal(client: &Client, line: &mut Line, reason: &str) -> Error {
    let subscriber = client.clone();
    let subscribing = aside(move || subscriber.subscribe("t").start().map(drop).unwrap_err());
    let subscribe = line.expect(CommandKind::Subscribe);
    line.refuse(&subscribe, reason);
    subscribing.join().unwrap()
}

/// C-3-1-1
#[test]
fn a_refused_query_is_the_callers_error_and_the_client_goes_on() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let querying = client.clone();
    let querying = aside(move || querying.sow("no-sow").start().map(drop).unwrap_err());
    let query = line.expect(CommandKind::Sow);
    line.refuse(&query, "invalid topic");
    let error = querying.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidTopic);
    assert!(error.is_command() && !error.is_connection() && !error.is_timeout() && !error.is_retryable());
    client.publish("t", "still here").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"still here");
}

/// C-3-1-2
#[test]
fn a_connection_that_is_lost_ends_a_waiting_command() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").command_timeout(None));
    let subscribing = aside(move || client.subscribe("t").start().map(drop).unwrap_err());
    line.expect(CommandKind::Subscribe);
    drop(line);
    let error = subscribing.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.is_connection() && error.is_retryable());
}

/// C-3-2-1: the reasons of protocol.md 5.6 as client.md 11 lists them.
#[test]
fn every_reason_has_its_kind() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    use ErrorKind as K;
    for (reason, kind) in [
        ("auth failure", K::Authentication),
        ("authentication failed", K::Authentication),
        ("bad filter", K::BadFilter),
        ("bad regex", K::BadRegexTopic),
        ("bad regex topic", K::BadRegexTopic),
        ("bad sow key", K::BadSowKey),
        ("client name in use", K::NameInUse),
        ("name in use", K::NameInUse),
        ("invalid options", K::InvalidOptions),
        ("invalid bookmark", K::InvalidBookmark),
        ("bookmark not found", K::InvalidBookmark),
        ("invalid subscription id", K::InvalidSubscription),
        ("invalid sub_id", K::InvalidSubscription),
        // R14.
        ("invalid subId", K::InvalidSubscription),
        ("invalid topic", K::InvalidTopic),
        ("logon required", K::NotLoggedOn),
        ("invalid message type", K::MessageType),
        ("message type not supported", K::MessageType),
        ("not entitled", K::NotEntitled),
        ("subscription already exists", K::SubscriptionAlreadyExists),
        ("already exists", K::SubscriptionAlreadyExists),
        ("subid in use", K::SubscriptionAlreadyExists),
        ("duplicate", K::Command),
        ("", K::Command),
    ] {
        let error = refusal(&client, &mut line, reason);
        assert_eq!(error.kind(), kind, "{reason}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert!(client.is_connected());
}

/// C-3-1-3 C-11-1 C-11-2
#[test]
fn a_reason_is_recognised_in_any_case_and_kept_if_it_is_not() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    assert_eq!(refusal(&client, &mut line, "Not Entitled").kind(), ErrorKind::NotEntitled);
    assert_eq!(refusal(&client, &mut line, "  BAD FILTER: near '=='").kind(), ErrorKind::BadFilter);
    let error = refusal(&client, &mut line, "weird new thing");
    assert_eq!(error.kind(), ErrorKind::Command);
    assert!(error.is_command());
    assert!(error.to_string().contains("weird new thing"), "{error}");
}

/// XR-2, XR-3
#[test]
fn a_command_that_the_server_wants_again_is_told_apart() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let performing = aside(move || client.perform(&Command::flush()).unwrap_err());
    let flush = line.expect(CommandKind::Flush);
    let cid = flush.command_id().unwrap();
    line.send(&format!(r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"retry"}}"#));
    let error = performing.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::RetryOperation);
    assert!(error.is_retryable());
}

/// MO-9: an acknowledgement that the application asked for is turned into the same errors.
#[test]
fn an_acknowledgement_in_a_stream_is_turned_into_the_error_that_it_means() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let publish = Command::publish("t").data("x").ack(AckType::Persisted);
    let mut acks = client.execute(&publish).unwrap();
    let publish = line.expect(CommandKind::Publish);
    let cid = publish.command_id().unwrap();
    line.send(&format!(
        r#"{{"c":"ack","cid":"{cid}","a":"persisted","status":"failure","reason":"not entitled"}}"#
    ));
    let ack = acks.next().unwrap().unwrap();
    assert_eq!(ack.command(), CommandKind::Ack);
    assert_eq!(ack.result().unwrap_err().kind(), ErrorKind::NotEntitled);
    assert!(acks.next().is_none());
}

/// CF-5: the server knows better than the client which ids are taken.
#[test]
fn an_id_that_the_server_holds_taken_leaves_others_alone() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let (mut first, subscribe) = placed(&mut line, move || other.subscribe("t").start().unwrap());
    let error = refusal(&client, &mut line, "subscription already exists");
    assert_eq!(error.kind(), ErrorKind::SubscriptionAlreadyExists);
    line.send(&common::plain(&sid(&subscribe), "t", "x"));
    assert_eq!(first.next().unwrap().unwrap().data(), b"x");
}
