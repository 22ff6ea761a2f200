//! Raw bytes, and the thread that receives them (client.md 10.1, 10.4).

mod common;

use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amps_client::{ClientBuilder, CommandKind, Direction, ErrorKind, Hook, Reconnect};
use common::{PATIENCE, Peer, aside, errors, placed, plain, sid, until};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// Records both ways; every inbound call is told too.
fn tapped(builder: ClientBuilder) -> (ClientBuilder, Bytes, Bytes, Receiver<usize>) {
    let (out, inbound) = (Bytes::default(), Bytes::default());
    let (sender, calls) = channel();
    let (to, from) = (Arc::clone(&out), Arc::clone(&inbound));
    let builder = builder.on_traffic(move |direction, bytes| match direction {
        Direction::Outbound => to.lock().unwrap().extend_from_slice(bytes),
        Direction::Inbound => {
            from.lock().unwrap().extend_from_slice(bytes);
            _ = sender.send(bytes.len());
        }
    });
    (builder, out, inbound, calls)
}

/// C-10-1-1: from the logon on, length prefixes included, whoever wrote it.
#[test]
fn the_bytes_shown_are_the_bytes_that_the_server_receives() {
    let peer = Peer::new();
    let (builder, out, _, _) = tapped(peer.client("c"));
    let connecting = aside(move || builder.connect());
    let mut line = peer.accept();
    let logon = line.expect(CommandKind::Logon);
    line.ack(&logon);
    let client = connecting.join().unwrap().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let client = &client;
            scope.spawn(move || {
                (0..500).for_each(|n| drop(client.publish("t", format!("{thread} {n}")).unwrap()));
            });
        }
    });
    drop(client);
    let mut received = (logon.frame().len() as u32).to_be_bytes().to_vec();
    received.extend_from_slice(logon.frame());
    for frame in line.rest() {
        received.extend_from_slice(&(frame.frame().len() as u32).to_be_bytes());
        received.extend_from_slice(frame.frame());
    }
    assert!(*out.lock().unwrap() == received, "what was shown differs from what was received");
}

/// C-10-1-2
#[test]
fn what_is_received_is_shown_as_it_is_read_and_not_twice() {
    let peer = Peer::new();
    let (builder, _, inbound, calls) = tapped(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let (mut stream, subscribe) = placed(&mut line, move || client.subscribe("t").start().unwrap());
    inbound.lock().unwrap().clear();
    calls.try_iter().for_each(drop);
    let frame = plain(&sid(&subscribe), "t", "in two pieces");
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(frame.as_bytes());
    let (first, second) = bytes.split_at(20);
    line.stream.write_all(first).unwrap();
    assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), 20);
    line.stream.write_all(second).unwrap();
    assert_eq!(stream.next().unwrap().unwrap().data(), b"in two pieces");
    assert_eq!(*inbound.lock().unwrap(), bytes);
}

/// C-10-1-3
#[test]
fn a_traffic_listener_that_panics_stops_no_traffic() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c"));
    let (client, mut line) = peer.connect(builder.on_traffic(|_, _| panic!("a bug in the listener")));
    client.publish("t", "out").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"out");
    let other = client.clone();
    let (mut stream, subscribe) = placed(&mut line, move || other.subscribe("t").start().unwrap());
    line.send(&plain(&sid(&subscribe), "t", "in"));
    assert_eq!(stream.next().unwrap().unwrap().data(), b"in");
    let error = reported.recv_timeout(PATIENCE).unwrap();
    assert_eq!(error.kind(), ErrorKind::MessageHandler);
    assert!(error.to_string().contains("a bug in the listener"), "{error}");
    client.remove_hook(Hook::Traffic);
    reported.try_iter().for_each(drop);
    client.publish("t", "quiet").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"quiet");
    assert!(reported.try_recv().is_err());
}

/// An answer to what comes in does not wait for the listener that gives it.
#[test]
fn a_traffic_listener_may_publish_in_answer_to_what_comes_in() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let own = client.clone();
    client.on_traffic(move |direction, bytes| {
        if direction == Direction::Inbound {
            own.publish("log", bytes).unwrap();
        }
    });
    line.send(r#"{"c":"heartbeat"}"#);
    assert_eq!(line.expect(CommandKind::Publish).data(), b"\0\0\0\x11{\"c\":\"heartbeat\"}");
    client.remove_hook(Hook::Traffic);
}

/// C-10-4-1: on the thread that later runs handlers; that thread stays (R7).
#[test]
fn the_hooks_of_the_thread_run_once_for_each_connection() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0);
    let (sender, calls) = channel();
    let [starts, ends, handled] = [(); 3].map(|()| sender.clone());
    drop(sender);
    let here = || std::thread::current().id();
    let builder = peer.client("c").reconnect(policy).heartbeat(Duration::ZERO);
    let builder = builder
        .on_connection_start(move || _ = starts.send(("start", here())))
        .on_connection_end(move || _ = ends.send(("end", here())));
    let (client, mut line) = peer.connect(builder);
    let other = client.clone();
    let (_placed, subscribe) = placed(&mut line, move || {
        other.subscribe("t").on_message(move |_| Ok(handled.send(("handle", here()))?)).unwrap()
    });
    line.send(&plain(&sid(&subscribe), "t", "x"));
    let next = || calls.recv_timeout(PATIENCE).unwrap();
    let (first, thread) = next();
    assert_eq!((first, next()), ("start", ("handle", thread)));
    drop(line);
    let mut line = peer.accept_logon();
    let again = line.expect(CommandKind::Subscribe);
    line.ack(&again);
    line.send(&plain(&sid(&again), "t", "y"));
    assert_eq!([next(), next(), next()], [("end", thread), ("start", thread), ("handle", thread)]);
    client.abort();
    assert_eq!(next(), ("end", thread));
    assert!(calls.try_recv().is_err());
}

/// RX2-2
#[test]
fn a_hook_of_the_thread_that_panics_is_reported() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c"));
    let (client, line) = peer.connect(
        builder.on_connection_start(|| panic!("no processor")).on_connection_end(|| panic!("nor here")),
    );
    assert!(client.is_connected());
    let error = reported.recv_timeout(PATIENCE).unwrap();
    assert!(error.to_string().contains("no processor"), "{error}");
    drop(line);
    until("the loss", || !client.is_connected());
    let errors = [(); 2].map(|()| reported.recv_timeout(PATIENCE).unwrap().to_string());
    assert!(errors.iter().any(|error| error.contains("nor here")), "{errors:?}");
}

/// RX2-5: publishes gather by themselves when they come back to back, and a command that is no
/// publish comes behind them.
#[test]
fn publishes_that_gather_precede_the_next_command() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    for round in 0..50 {
        for n in 0..20 {
            client.publish("t", format!("{round} {n}")).unwrap();
        }
        client.unsubscribe("nobody").unwrap();
    }
    for round in 0..50 {
        for n in 0..20 {
            assert_eq!(line.expect(CommandKind::Publish).data(), format!("{round} {n}").as_bytes());
        }
        line.expect(CommandKind::Unsubscribe);
    }
}
