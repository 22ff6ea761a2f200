//! Commands that nobody answers in time (client.md 3.4). The plain case is in `commands.rs`,
//! that of a replacement in `replacing.rs`.

mod common;

use std::sync::mpsc::{TryRecvError, channel};
use std::time::{Duration, Instant};

use amps_client::{CommandKind, ErrorKind, Reconnect};
use common::{PATIENCE, Peer, plain, sid, unexpected};

const SHORT: Duration = Duration::from_millis(50);

/// C-3-4-2
#[test]
fn a_query_that_nobody_answers_is_taken_back_by_its_query_id() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let began = Instant::now();
    let error = client.sow("t").timeout(SHORT).start().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.is_timeout() && began.elapsed() >= SHORT);
    let query = line.expect(CommandKind::Sow);
    let cancel = line.expect(CommandKind::Unsubscribe);
    assert!(query.query_id().is_some());
    assert_eq!(cancel.query_id(), query.query_id());

    // What has both ids is taken back by both.
    let error = client.sow_and_subscribe("t").timeout(SHORT).start().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let both = line.expect(CommandKind::SowAndSubscribe);
    assert_eq!(line.expect(CommandKind::Unsubscribe).sub_id(), both.sub_id());
}

/// C-3-4-3
#[test]
fn what_comes_after_the_time_out_reaches_no_handler() {
    let peer = Peer::new();
    let (builder, unexpected) = unexpected(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let (sender, calls) = channel::<()>();
    let placing = client.subscribe("t").timeout(SHORT).on_message(move |_| Ok(sender.send(())?));
    assert_eq!(placing.map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
    let subscribe = line.expect(CommandKind::Subscribe);
    line.expect(CommandKind::Unsubscribe);
    line.ack(&subscribe);
    line.send(&plain(&sid(&subscribe), "t", "late"));
    // The late answer is consumed in silence, the late message is not.
    assert_eq!(unexpected.recv_timeout(PATIENCE).unwrap(), "p t late");
    assert_eq!(calls.try_recv(), Err(TryRecvError::Disconnected));
    // Nor does a late refusal disturb anybody.
    let placing = client.subscribe("t").timeout(SHORT).start();
    assert_eq!(placing.map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
    let subscribe = line.expect(CommandKind::Subscribe);
    line.expect(CommandKind::Unsubscribe);
    line.refuse(&subscribe, "bad filter");
    line.send(&plain("99", "t", "end"));
    assert_eq!(unexpected.recv_timeout(PATIENCE).unwrap(), "p t end");
    assert!(client.is_connected());
}

/// TO-8
#[test]
fn what_timed_out_is_not_placed_again_after_a_reconnect() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0);
    let (client, mut line) = peer.connect(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    assert!(client.subscribe("t").timeout(SHORT).start().is_err());
    line.expect(CommandKind::Subscribe);
    drop(line);
    let mut line = peer.accept_logon();
    common::until("the reconnect", || client.is_connected());
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
}

/// TO-7
#[test]
fn a_publish_does_not_wait_whatever_its_timeout() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let publish = amps_client::Command::publish("t").data("x").timeout(Duration::ZERO);
    client.perform(&publish).unwrap();
    assert!(client.execute(&publish).unwrap().next().is_none());
    assert_eq!(line.expect(CommandKind::Publish).data(), b"x");
    assert_eq!(line.expect(CommandKind::Publish).data(), b"x");
}
