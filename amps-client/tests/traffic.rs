//! Raw bytes, and the thread that receives them (client.md 10.1, 10.4).

mod common;

use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amps_client::{ClientBuilder, CommandKind, Direction, ErrorKind, Hook, Reconnect};
use common::{PATIENCE, Peer, Way, aside, errors, placed, plain, sid, states, until};

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
    let in_parts = |way: Way| way.web_socket() || way.pieces;
    let peer = Peer::unless(in_parts, "it is about what a read brings");
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
    let peer = Peer::unless(|way| way.pieces, "it is about what one read brings");
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

/// What the peer finds of publishes, one read at a time.
fn reads(line: &mut common::Line, until: usize) -> Vec<usize> {
    use std::io::Read;
    let (mut lengths, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    while lengths.iter().sum::<usize>() < until {
        lengths.push(line.stream.read(&mut buffer).unwrap());
    }
    lengths
}

/// C-10-4-2
#[test]
fn publishes_are_gathered_for_as_long_as_the_application_says() {
    let peer = Peer::unless(|way| way.pieces, "it is about what one read brings");
    let (client, mut line) = peer.connect(peer.client("c"));
    let within = Duration::from_secs(1);
    client.set_publish_batching(64 * 1024, within);
    let began = std::time::Instant::now();
    let receipts: Vec<_> = (1..=3).map(|n| client.publish("t", n.to_string()).unwrap()).collect();
    // The shortest form of a publish, with its length.
    let one = 4 + br#"{"c":"p","t":"t"}1"#.len();
    assert_eq!(reads(&mut line, 3 * one), [3 * one], "one segment");
    assert!(began.elapsed() >= within);
    until("they are written", || receipts.iter().all(|r| r.state() == amps_client::PublishState::Written));

    // Enough of them go at once, and whatever else is sent takes them along, in order.
    client.set_publish_batching(1000, Duration::from_secs(3600));
    client.publish("t", "x".repeat(1000)).unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data().len(), 1000);
    for n in 1..=3 {
        client.publish("t", n.to_string()).unwrap();
    }
    let subscribing = client.clone();
    let subscribing = aside(move || subscribing.subscribe("t").start().map(drop));
    for n in 1..=3 {
        assert_eq!(line.expect(CommandKind::Publish).data(), n.to_string().as_bytes());
    }
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    subscribing.join().unwrap().unwrap();
    line.expect(CommandKind::Unsubscribe);
    client.publish("t", "last").unwrap();
    drop(client);
    assert_eq!(line.expect(CommandKind::Publish).data(), b"last", "the end takes them along too");
}

/// What is no publish goes out at once, in a burst as well, and takes along what waits.
#[test]
fn a_burst_of_other_commands_does_not_wait_for_publishes() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    client.set_publish_batching(1 << 20, Duration::from_secs(3600));
    // From several threads, so that frames come as close together as they can.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let client = &client;
            scope.spawn(move || {
                for n in 0..1000 {
                    if n % 50 == 0 {
                        client.publish("t", n.to_string()).unwrap();
                    }
                    client.ack("q", &format!("{thread}|{n}|")).unwrap();
                }
            });
        }
    });
    let mut counts = (0, 0);
    while counts != (4 * 20, 4 * 1000) {
        match line.next().unwrap().command() {
            CommandKind::Publish => counts.0 += 1,
            CommandKind::SowDelete => counts.1 += 1,
            other => panic!("{other:?}"),
        }
    }
}

/// Without a setting, publishes that come back to back gather by themselves, and a command that
/// is no publish comes behind them.
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

/// C-10-4-3: on a thread where it may wait, and in order.
#[test]
fn work_that_was_put_off_while_disconnected_runs_once_the_client_is_recovered() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0);
    let (builder, states) = states(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    let (builder, reported) = errors(builder);
    let (client, mut line) = peer.connect(builder);
    let other = client.clone();
    let (_stream, _) = placed(&mut line, move || other.subscribe("t").start().unwrap());
    drop(line);
    let mut line = peer.accept();
    let logon = line.expect(CommandKind::Logon);
    let (sender, done) = channel();
    let second = sender.clone();
    client.when_recovered(move |client| sender.send(("first", client.flush(PATIENCE).is_ok())).unwrap());
    client.when_recovered(|_| panic!("a bug in what was put off"));
    client.when_recovered(move |client| second.send(("third", client.is_connected())).unwrap());
    line.ack(&logon);
    let again = line.expect(CommandKind::Subscribe);
    // Connected, but not recovered: what is put off now waits as well.
    until("the connection", || client.is_connected());
    let (sender, late) = channel();
    client.when_recovered(move |_| sender.send(()).unwrap());
    assert!(line.within(Duration::from_millis(30)).is_empty() && late.try_recv().is_err());
    line.ack(&again);
    let flush = line.expect(CommandKind::Flush);
    assert!(states.try_iter().any(|state| state == amps_client::ConnectionState::Resubscribed));
    line.ack(&flush);
    for expected in ["first", "third"] {
        assert_eq!(done.recv_timeout(PATIENCE).unwrap(), (expected, true));
    }
    late.recv_timeout(PATIENCE).unwrap();
    let mut told = std::iter::from_fn(|| reported.recv_timeout(PATIENCE).ok());
    assert!(told.any(|error| error.to_string().contains("a bug in what was put off")));
    // On a client that is recovered it runs now.
    let (sender, now) = channel();
    client.when_recovered(move |_| sender.send(()).unwrap());
    now.recv_timeout(PATIENCE).unwrap();
}

/// What the loop sends by itself takes along what waits: acknowledgements in time, beats, and
/// all that an orderly end says.
#[test]
fn what_the_loop_sends_does_not_wait_for_publishes() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(10).ack_timeout(Duration::from_millis(500));
    let (client, mut line) = peer.connect(builder.heartbeat(Duration::from_secs(1)));
    let start = line.expect(CommandKind::Heartbeat);
    line.ack(&start);
    client.set_publish_batching(1 << 20, Duration::from_secs(3600));
    // The batch of acknowledgements has its own time.
    client.ack("q", "7|1|").unwrap();
    client.publish("t", "behind an acknowledgement that waits").unwrap();
    line.expect(CommandKind::Publish);
    line.expect(CommandKind::SowDelete);
    line.send(r#"{"c":"heartbeat"}"#);
    // A beat is due in a second.
    client.publish("t", "a sign of life").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"a sign of life");
    client.publish("t", "last").unwrap();
    let closing = aside(move || client.close());
    let rest = line.see_off();
    closing.join().unwrap().unwrap();
    let kinds: Vec<_> = rest
        .iter()
        .map(amps_client::RawMessage::command)
        .filter(|kind| *kind != CommandKind::Heartbeat)
        .collect();
    assert_eq!(kinds, [CommandKind::Publish, CommandKind::Flush]);
}
