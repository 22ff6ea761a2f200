//! Listening to what becomes of a connection (client.md 3.12). What the states are, and their
//! order, is in `recovering.rs` and `closing.rs`.

mod common;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amps_client::{Client, CommandKind, ConnectionState, ErrorKind, Hook, Reconnect};
use common::{PATIENCE, Peer, aside, placed, states, until};

/// C-3-12-4: and the reconnect completes.
#[test]
fn a_listener_that_would_wait_is_refused_and_holds_nothing_up() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0);
    let (builder, states) = states(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    let (client, mut line) = peer.connect(builder);
    let other = client.clone();
    let (_stream, _) = placed(&mut line, move || other.subscribe("t").start().unwrap());
    let (sender, kinds) = channel();
    let inside = client.clone();
    client.on_state(move |state| {
        if state == ConnectionState::LoggedOn {
            _ = sender.send(inside.sow("t").start().map(drop).unwrap_err().kind());
        }
    });
    use ConnectionState as S;
    for expected in [S::Connected, S::LoggedOn, S::Resubscribed] {
        assert_eq!(states.recv_timeout(PATIENCE).unwrap(), expected);
    }
    drop(line);
    let mut line = peer.accept_logon();
    assert_eq!(kinds.recv_timeout(PATIENCE).unwrap(), ErrorKind::Usage);
    let again = line.expect(CommandKind::Subscribe);
    line.ack(&again);
    for expected in [S::Disconnected, S::Connected, S::LoggedOn, S::Resubscribed] {
        assert_eq!(states.recv_timeout(PATIENCE).unwrap(), expected);
    }
    client.remove_hook(Hook::States);
}

/// ST-1
#[test]
fn listeners_are_called_in_the_order_in_which_they_were_added_until_they_are_removed() {
    let peer = Peer::new();
    let client = peer.client("c").build().unwrap();
    let calls: Arc<Mutex<Vec<(u8, ConnectionState)>>> = Arc::default();
    let add = |name: u8| {
        let calls = Arc::clone(&calls);
        client.on_state(move |state| calls.lock().unwrap().push((name, state)))
    };
    let (_first, second, _third) = (add(1), add(2), add(3));
    assert!(client.remove_state_listener(second));
    assert!(!client.remove_state_listener(second));
    assert_eq!(client.state(), None);
    let connecting = client.clone();
    let connecting = aside(move || connecting.connect());
    let _line = peer.accept_logon();
    connecting.join().unwrap().unwrap();
    use ConnectionState as S;
    let expected = [(1, S::Connected), (3, S::Connected), (1, S::LoggedOn), (3, S::LoggedOn)];
    assert_eq!(*calls.lock().unwrap(), expected);
    assert_eq!(client.state(), Some(S::LoggedOn));
    client.remove_hook(Hook::States);
    client.abort();
    assert_eq!(calls.lock().unwrap().len(), 4);
}

/// ST-6
#[test]
fn an_attempt_that_fails_after_it_reached_the_server_says_both() {
    let peer = Peer::new();
    let (builder, states) = states(peer.client("c"));
    let connecting = aside(move || builder.connect().map(drop).unwrap_err());
    let mut line = peer.accept();
    let logon = line.expect(CommandKind::Logon);
    line.refuse(&logon, "not entitled");
    assert_eq!(connecting.join().unwrap().kind(), ErrorKind::NotEntitled);
    let states: Vec<_> = states.iter().collect();
    use ConnectionState as S;
    assert_eq!(states[..2], [S::Connected, S::Disconnected]);
    assert!(!states[2..].contains(&S::Disconnected));
}

/// C-12-3: every getter and setter, from a listener for every state; nothing waits for a lock.
#[test]
fn a_state_listener_may_use_every_getter_and_setter() {
    let peer = Peer::new();
    let client = peer.client("c").build().unwrap();
    let (sender, calls) = channel();
    let inside = client.clone();
    let other: Arc<Mutex<Option<Client>>> = Arc::new(Mutex::new(Some(inside)));
    let held = Arc::clone(&other);
    client.on_state(move |state| {
        let Some(client) = held.lock().unwrap().clone() else { return };
        _ = (client.name(), client.is_connected(), client.peer(), client.state(), client.stats());
        client.set_auto_ack(true);
        client.set_ack_batch_size(client.ack_batch_size() + 1);
        client.set_ack_timeout(client.ack_timeout() + Duration::from_secs(1));
        client.set_max_depth(7);
        client.flush_acks();
        let listener = client.on_state(|_| ());
        client.remove_state_listener(listener);
        client.on_error(|_| ());
        client.on_unexpected(|_| ());
        client.on_duplicate(|_| ());
        client.on_failed_write(|_| ());
        client.on_kind(CommandKind::Ack, |_| ());
        client.on_traffic(|_, _| ());
        client.on_slow_consumer(|_| ());
        client.on_connection_start(|| ());
        client.on_connection_end(|| ());
        client.on_disconnect(|_, _| Ok(())).unwrap();
        for hook in [Hook::Errors, Hook::Traffic, Hook::Disconnect, Hook::Messages(CommandKind::Ack)] {
            client.remove_hook(hook);
        }
        _ = format!("{client:?}");
        _ = sender.send(state);
    });
    let connecting = client.clone();
    let connecting = aside(move || connecting.connect());
    let line = peer.accept_logon();
    connecting.join().unwrap().unwrap();
    assert_eq!(client.ack_batch_size(), 3);
    drop(line);
    until("the loss", || !client.is_connected());
    use ConnectionState as S;
    for expected in [S::Connected, S::LoggedOn, S::Disconnected] {
        assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), expected);
    }
    *other.lock().unwrap() = None;
}
