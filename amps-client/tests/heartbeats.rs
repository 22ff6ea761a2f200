//! Heartbeats: noticing a dead server, and showing life.

mod common;

use std::time::{Duration, Instant};

use amps_client::{CommandKind, ErrorKind};
use common::{PATIENCE, Peer, aside, errors};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn heartbeats_are_started_after_the_logon_in_whole_seconds() {
    let peer = Peer::new();
    let (_client, mut line) = peer.connect(peer.client("c").heartbeat(Duration::from_millis(1200)));
    let start = line.expect(CommandKind::Heartbeat);
    assert_eq!(start.options().unwrap(), "start,2");
    assert!(!start.acks().is_empty());
}

#[test]
fn without_a_setting_there_are_none_and_a_reconnect_policy_turns_them_on() {
    let peer = Peer::new();
    let (_client, mut line) = peer.connect(peer.client("c"));
    assert!(line.within(Duration::from_millis(50)).is_empty());
    let (_client, mut line) = peer.connect(peer.client("d").reconnect(Default::default()));
    assert_eq!(line.expect(CommandKind::Heartbeat).options().unwrap(), "start,30");
}

/// C-3-6-1 C-3-6-2
#[test]
fn a_silent_server_is_given_up_after_two_intervals() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c").heartbeat(SECOND));
    let (client, mut line) = peer.connect(builder);
    let began = Instant::now();
    let start = line.expect(CommandKind::Heartbeat);
    assert_eq!(start.options().unwrap(), "start,1");
    line.ack(&start);
    let error = reported.recv_timeout(PATIENCE).unwrap();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.to_string().contains("heartbeats"), "{error}");
    assert!(began.elapsed() >= 2 * SECOND, "{:?}", began.elapsed());
    assert!(!client.is_connected());
    let beats = line.rest();
    assert!(!beats.is_empty(), "the client showed life meanwhile");
    assert!(beats.iter().all(|beat| beat.options().unwrap() == "beat" && beat.command_id().is_none()));
}

/// C-3-6-3
#[test]
fn a_heartbeat_of_the_server_is_answered_and_keeps_the_connection() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c").heartbeat(SECOND));
    let (client, mut line) = peer.connect(builder);
    let start = line.expect(CommandKind::Heartbeat);
    line.ack(&start);
    // Whatever comes is a sign of life.
    for sign in [r#"{"c":"heartbeat"}"#, r#"{"c":"p","sids":"9"}"#].iter().cycle().take(5) {
        let beat = line.expect(CommandKind::Heartbeat);
        assert_eq!(beat.options().unwrap(), "beat");
        line.send(sign);
    }
    assert!(client.is_connected());
    assert!(reported.try_recv().is_err());
}

/// C-3-6-4: its thread is the one that beats, so no beat is due meanwhile (R6).
#[test]
fn a_slow_handler_is_not_mistaken_for_a_silent_server() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c").heartbeat(SECOND));
    let (client, mut line) = peer.connect(builder);
    let start = line.expect(CommandKind::Heartbeat);
    line.ack(&start);
    let subscriber = client.clone();
    let (done, handled) = std::sync::mpsc::channel();
    let starting = aside(move || {
        let slow = move |_: &amps_client::Message<&[u8]>| {
            // Longer than the server may be silent.
            std::thread::park_timeout(Duration::from_millis(2600));
            done.send(())?;
            Ok(())
        };
        subscriber.subscribe("q").on_message(slow).unwrap()
    });
    let sub = line.grant(1);
    starting.join().unwrap();
    line.deliver(&sub, "q", [1]);
    // What a healthy server sends meanwhile waits in the socket until the handler is done.
    for _ in 0..3 {
        line.send(r#"{"c":"heartbeat"}"#);
    }
    handled.recv_timeout(PATIENCE).unwrap();
    line.send(r#"{"c":"heartbeat"}"#);
    line.expect(CommandKind::Heartbeat);
    assert!(client.is_connected());
    assert!(reported.try_recv().is_err());
}

#[test]
fn a_server_that_refuses_heartbeats_is_not_expected_to_send_them() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c").heartbeat(SECOND));
    let (client, mut line) = peer.connect(builder);
    let start = line.expect(CommandKind::Heartbeat);
    line.refuse(&start, "not today");
    assert_eq!(reported.recv_timeout(PATIENCE).unwrap().kind(), ErrorKind::Command);
    assert!(line.within(Duration::from_millis(2600)).is_empty(), "no beats either");
    assert!(client.is_connected());
}

/// HB-7
#[test]
fn the_rhythm_is_changed_while_connected_and_for_the_next_connection() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    client.set_heartbeat(Duration::from_millis(4500), None).unwrap();
    let start = line.expect(CommandKind::Heartbeat);
    assert_eq!(start.options().unwrap(), "start,5");
    line.ack(&start);
    client.set_heartbeat(Duration::ZERO, None).unwrap();
    assert_eq!(line.expect(CommandKind::Heartbeat).options().unwrap(), "stop");
    client.abort();
    client.set_heartbeat(Duration::from_secs(7), None).unwrap();
    let connecting = aside(move || client.connect().map(|()| client));
    let mut line = peer.accept_logon();
    let _client = connecting.join().unwrap().unwrap();
    assert_eq!(line.expect(CommandKind::Heartbeat).options().unwrap(), "start,7");
}
