//! Losing a connection on a client without a reconnect policy (client.md 3.5, 3.8).

mod common;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use amps_client::{CommandKind, ConnectionState, ErrorKind};
use common::{PATIENCE, Peer, Way, aside, errors, states, until};

/// C-3-5-1
#[test]
fn a_lost_connection_is_told_once_and_another_may_be_made() {
    let peer = Peer::new();
    let (builder, states) = states(peer.client("c"));
    let (builder, reported) = errors(builder);
    let (client, mut line) = peer.connect(builder);
    let waiting = client.clone();
    let waiting = aside(move || waiting.subscribe("t").start().map(drop).unwrap_err());
    line.expect(CommandKind::Subscribe);
    drop(line);
    assert_eq!(waiting.join().unwrap().kind(), ErrorKind::Disconnected);
    use ConnectionState as S;
    for expected in [S::Connected, S::LoggedOn, S::Disconnected] {
        assert_eq!(states.recv_timeout(PATIENCE).unwrap(), expected);
    }
    assert_eq!(client.state(), Some(S::Disconnected));
    assert_eq!(client.flush(PATIENCE).unwrap_err().kind(), ErrorKind::Disconnected);
    let again = client.clone();
    let connecting = aside(move || again.connect());
    let mut line = peer.accept_logon();
    connecting.join().unwrap().unwrap();
    for expected in [S::Connected, S::LoggedOn] {
        assert_eq!(states.recv_timeout(PATIENCE).unwrap(), expected);
    }
    client.publish("t", "again").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"again");
    assert!(states.try_recv().is_err());
    assert_eq!(reported.try_iter().count(), 1);
}

/// C-3-5-2: many threads find a broken connection, and the application hears of it once.
#[test]
fn a_loss_that_many_threads_notice_is_one_disconnect() {
    let peer = Peer::new();
    let (builder, states) = states(peer.client("c"));
    let (builder, reported) = errors(builder);
    let (client, line) = peer.connect(builder);
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            aside(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = client.publish("t", [b'x'; 1000]) {
                        failures.push(error.kind());
                        break;
                    }
                }
                failures
            })
        })
        .collect();
    // The rest of what was sent is never read: the end is a reset, seen by writers and reader.
    drop(line);
    until("the disconnect", || !client.is_connected());
    for publisher in publishers {
        assert_eq!(publisher.join().unwrap(), [ErrorKind::Disconnected]);
    }
    stop.store(true, Ordering::Relaxed);
    client.close().unwrap();
    drop(client);
    let states: Vec<_> = states.iter().collect();
    use ConnectionState as S;
    assert_eq!(states, [S::Connected, S::LoggedOn, S::Disconnected, S::Shutdown]);
    assert_eq!(reported.iter().count(), 1);
}

/// C-3-5-3
#[test]
fn a_malformed_frame_is_one_disconnect_of_its_own_kind() {
    for bytes in [&b"\0\0\0\x06{\"c\":}"[..], b"\0\0\0\x05hello", b"\xff\xff\xff\xff"] {
        let peer = Peer::unless(Way::web_socket, "a WebSocket message is a whole frame");
        let (builder, states) = states(peer.client("c"));
        let (builder, reported) = errors(builder);
        let (client, mut line) = peer.connect(builder);
        line.stream.write_all(bytes).unwrap();
        let error = reported.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Stream), "{error}");
        assert!(error.is_connection());
        assert!(line.next().is_none(), "the client closes");
        drop(client);
        let states: Vec<_> = states.iter().collect();
        use ConnectionState as S;
        assert_eq!(states[..3], [S::Connected, S::LoggedOn, S::Disconnected]);
        assert!(!states[3..].contains(&S::Disconnected));
        assert_eq!(reported.iter().count(), 0);
    }
}

/// RD-3, RD-6: while a disconnect handler works, others get an error; its own failed attempt
/// does not call it again.
#[test]
fn a_disconnect_handler_is_not_called_for_its_own_attempts() {
    let peer = Peer::new();
    let (sender, calls) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let builder = peer.client("c").on_disconnect(move |client, error| {
        sender.send(error.kind()).unwrap();
        wait.recv().unwrap();
        let failed = client.connect().unwrap_err();
        sender.send(failed.kind()).unwrap();
        client.connect()
    });
    let (client, line) = peer.connect(builder);
    drop(line);
    assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), ErrorKind::Disconnected);
    assert_eq!(client.publish("t", "x").unwrap_err().kind(), ErrorKind::Disconnected);
    go_on.send(()).unwrap();
    let mut line = peer.accept();
    let logon = line.expect(CommandKind::Logon);
    line.refuse(&logon, "not now");
    assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), ErrorKind::Command);
    let _line = peer.accept_logon();
    until("the reconnect", || client.is_connected());
    assert!(calls.try_recv().is_err());
}
