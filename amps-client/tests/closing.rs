//! Orderly ends.

mod common;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use amps_client::{CommandKind, ConnectionState, ErrorKind};
use common::{PATIENCE, Peer, aside, bookmarks};

/// C-5-3-11: `close` finishes and reports (R8).
#[test]
fn close_finishes_the_work_in_hand_then_acknowledges_then_unsubscribes() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(100).ack_timeout(Duration::from_secs(3600));
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("q").max_backlog(10).auto_ack(true).start().unwrap());
    let sub = line.grant(10);
    let mut work = starting.join().unwrap();
    line.deliver(&sub, "q", 1..=3);
    let first = work.next().unwrap().unwrap();
    let closer = client.clone();
    let closing = aside(move || closer.close());
    let seeing_off = aside(move || line.see_off());
    // The consumer goes on reading what it has, then the stream ends.
    drop(first);
    assert_eq!(work.by_ref().map(Result::unwrap).filter(amps_client::Message::is_leased).count(), 2);
    closing.join().unwrap().unwrap();
    let seen = seeing_off.join().unwrap();
    let kinds: Vec<_> = seen.iter().map(amps_client::RawMessage::command).collect();
    use CommandKind as K;
    assert_eq!(kinds, [K::Subscribe, K::SowDelete, K::Unsubscribe, K::Flush]);
    let quiet = seen[0].options().unwrap().to_string();
    assert!(quiet.contains("replace") && quiet.contains("max_backlog=0"), "{quiet}");
    assert_eq!(bookmarks(&seen[1]), "7|1|,7|2|,7|3|");
    assert_eq!(client.publish("t", b"x").unwrap_err().kind(), ErrorKind::Disconnected);
}

#[test]
fn close_reports_what_it_could_not_finish() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("q").max_backlog(10).start().unwrap());
    let sub = line.grant(10);
    let mut work = starting.join().unwrap();
    line.deliver(&sub, "q", 1..=2);
    let held = work.next().unwrap().unwrap();
    work.next().unwrap().unwrap().ack();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|2|");
    let seeing_off = aside(move || line.see_off());
    let error = client.close_within(Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unfinished);
    assert!(error.to_string().contains("1 messages"), "{error}");
    held.ack();
    let acked: Vec<String> = seeing_off
        .join()
        .unwrap()
        .iter()
        .filter(|f| f.command() == CommandKind::SowDelete)
        .map(bookmarks)
        .collect();
    assert!(acked.is_empty(), "nothing is acknowledged after the end");
}

#[test]
fn close_ends_in_time_even_if_the_server_answers_nothing() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("q").max_backlog(10).start().unwrap());
    line.grant(10);
    let mut work = starting.join().unwrap();
    let began = Instant::now();
    let reading = aside(move || work.next().is_none());
    let _ = client.close_within(Duration::from_millis(100));
    assert!(began.elapsed() < PATIENCE);
    assert!(reading.join().unwrap(), "a waiting reader is let go");
    assert!(!line.rest().is_empty());
}

#[test]
fn close_ends_a_reconnect_in_progress() {
    let peer = Peer::new();
    let policy =
        amps_client::Reconnect::new().initial(Duration::from_secs(3600)).max(Duration::from_secs(3600));
    let (sender, states) = channel();
    let builder = peer.client("c").reconnect(policy).on_state(move |state| _ = sender.send(state));
    let (client, line) = peer.connect(builder);
    drop(line);
    drop(peer);
    while states.recv_timeout(PATIENCE).unwrap() != ConnectionState::Disconnected {}
    client.close().unwrap();
    assert_eq!(states.recv_timeout(PATIENCE).unwrap(), ConnectionState::Shutdown);
    client.close().unwrap();
}

#[test]
fn abort_ends_streams_with_an_error_and_writes_nothing_more() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(10).ack_timeout(Duration::from_secs(3600));
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("q").max_backlog(10).start().unwrap());
    let sub = line.grant(10);
    let mut work = starting.join().unwrap();
    line.deliver(&sub, "q", [1]);
    work.next().unwrap().unwrap().ack();
    client.abort();
    assert_eq!(work.next().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    assert!(work.next().is_none());
    assert!(line.rest().is_empty());
    drop(work);
    let connecting = aside(move || client.connect());
    let _line = peer.accept_logon();
    connecting.join().unwrap().unwrap();
}

/// C-3-8-3
#[test]
fn no_disconnect_handler_runs_for_a_close() {
    let peer = Peer::new();
    let (sender, called) = channel();
    let builder = peer.client("c").on_disconnect(move |_, _| {
        sender.send(()).unwrap();
        Ok(())
    });
    let (client, line) = peer.connect(builder);
    let seeing_off = aside(move || line.see_off());
    client.close().unwrap();
    seeing_off.join().unwrap();
    drop(client);
    assert!(called.recv_timeout(PATIENCE).is_err(), "the handler was dropped without a call");
}

#[test]
fn a_second_close_joins_the_first_and_loses_nothing() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(100).ack_timeout(Duration::from_secs(3600));
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("q").max_backlog(10).start().unwrap());
    let sub = line.grant(10);
    let mut work = starting.join().unwrap();
    line.deliver(&sub, "q", 1..=3);
    let messages: Vec<_> = work.by_ref().take(3).map(Result::unwrap).collect();
    messages[..2].iter().for_each(amps_client::Message::ack);
    let closers: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            aside(move || client.close())
        })
        .collect();
    let quiet = line.expect(CommandKind::Subscribe);
    line.ack(&quiet);
    messages[2].ack();
    let seen = line.see_off();
    assert_eq!(bookmarks(&seen[0]), "7|1|,7|2|,7|3|");
    for closer in closers {
        closer.join().unwrap().unwrap();
    }
}

/// C-3-12-2 C-3-12-3
#[test]
fn a_client_says_once_that_nothing_follows() {
    let peer = Peer::new();
    let (sender, states) = channel();
    let (client, line) = peer.connect(peer.client("c").on_state(move |state| _ = sender.send(state)));
    let seeing_off = aside(move || line.see_off());
    client.close().unwrap();
    client.close().unwrap();
    drop(client);
    seeing_off.join().unwrap();
    use ConnectionState as S;
    assert_eq!(states.iter().collect::<Vec<_>>(), [S::Connected, S::LoggedOn, S::Disconnected, S::Shutdown]);
}
