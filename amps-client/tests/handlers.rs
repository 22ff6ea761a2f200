//! Handlers: when and where they run, how they fail, how they end (client.md 0.4, 2.4, 3.3, 3.10).

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use amps_client::{AckType, CommandKind, ErrorKind, Reconnect};
use common::{PATIENCE, Peer, aside, errors, placed, plain, sid, unexpected};

fn here() -> ThreadId {
    std::thread::current().id()
}

/// C-0-4-1
#[test]
fn a_message_for_two_subscriptions_runs_both_handlers_each_for_its_own() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (sender, calls) = channel();
    for (id, topic) in [("A", "a"), ("B", "b")] {
        let (client, sender) = (client.clone(), sender.clone());
        placed(&mut line, move || {
            let handler = move |message: &amps_client::Message<&[u8]>| {
                sender.send((id, message.subscription_id(), message.to_owned().subscription_id()))?;
                Ok(())
            };
            client.subscribe(topic).sub_id(id).on_message(handler).unwrap()
        });
    }
    line.send(&plain("A,B", "t", "x"));
    line.send(&plain("B", "t", "end"));
    let calls: Vec<_> = (0..3).map(|_| calls.recv_timeout(PATIENCE).unwrap()).collect();
    let expected = ["A", "B", "B"].map(|id| (id, id.to_owned(), id.to_owned()));
    assert_eq!(calls, expected);
}

/// C-0-4-3
#[test]
fn an_acknowledgement_of_nobodys_command_runs_no_handler() {
    let peer = Peer::new();
    let (sender, acks) = channel();
    let builder = peer.client("c").on_kind(CommandKind::Ack, move |ack| _ = sender.send(ack.sequence()));
    let (client, mut line) = peer.connect(builder);
    let (sender, calls) = channel();
    let other = client.clone();
    let (_placed, subscribe) = placed(&mut line, move || {
        other
            .execute_with(&amps_client::Command::subscribe("t").ack(AckType::Persisted), move |message| {
                Ok(sender.send((message.command(), message.data().to_vec()))?)
            })
            .unwrap()
    });
    line.send(r#"{"c":"ack","a":"persisted","s":5,"status":"success"}"#);
    line.send(&plain(&sid(&subscribe), "t", "x"));
    assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), (CommandKind::Publish, b"x".to_vec()));
    assert!(calls.try_recv().is_err());
    assert!(acks.try_iter().any(|sequence| sequence == Some(5)), "who watches acknowledgements sees it");
}

/// C-2-4-1
#[test]
fn a_handler_is_installed_once_the_server_has_agreed() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let placing = aside(move || {
        let placed = client.subscribe("t").on_message(|_| Ok(())).unwrap();
        (placed.sub_id(), Instant::now(), client)
    });
    let subscribe = line.expect(CommandKind::Subscribe);
    assert!(line.within(Duration::from_millis(200)).is_empty());
    let answered = Instant::now();
    line.ack(&subscribe);
    let (id, returned, _client) = placing.join().unwrap();
    assert!(returned >= answered);
    assert_eq!(id, sid(&subscribe));
}

/// C-2-4-2
#[test]
fn handlers_of_one_client_run_on_one_thread_one_at_a_time() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (sender, calls) = channel();
    let inside = Arc::new(AtomicBool::new(false));
    let mut ids = Vec::new();
    for topic in ["a", "b"] {
        let (client, sender, inside) = (client.clone(), sender.clone(), Arc::clone(&inside));
        let (_, subscribe) = placed(&mut line, move || {
            let handler = move |_: &amps_client::Message<&[u8]>| {
                let alone = !inside.swap(true, Ordering::SeqCst);
                std::thread::yield_now();
                inside.store(false, Ordering::SeqCst);
                sender.send((here(), alone))?;
                Ok(())
            };
            client.subscribe(topic).on_message(handler).unwrap()
        });
        ids.push(sid(&subscribe));
    }
    let both = ids.join(",");
    line.send_all(&(0..100).map(|_| plain(&both, "t", "x")).collect::<Vec<_>>());
    let calls: Vec<_> = (0..200).map(|_| calls.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(calls.iter().all(|(thread, alone)| *alone && *thread == calls[0].0 && *thread != here()));
}

/// C-2-4-3
#[test]
fn a_handler_is_let_go_with_its_subscription() {
    let peer = Peer::new();
    let (builder, unexpected) = unexpected(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let (sender, calls) = channel::<()>();
    let other = client.clone();
    let (placed, subscribe) =
        placed(&mut line, move || other.subscribe("t").on_message(move |_| Ok(sender.send(())?)).unwrap());
    client.unsubscribe(&placed.sub_id()).unwrap();
    line.expect(CommandKind::Unsubscribe);
    line.send(&plain(&sid(&subscribe), "t", "late"));
    assert_eq!(unexpected.recv_timeout(PATIENCE).unwrap(), "p t late");
    assert_eq!(calls.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(placed.sub_id(), "");
}

/// C-2-5-4: the thread stays across reconnects (R7).
#[test]
fn a_handler_runs_on_the_same_thread_after_a_reconnect() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0);
    let (client, mut line) = peer.connect(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    let (sender, threads) = channel();
    let (_client, subscribe) = placed(&mut line, move || {
        client.subscribe("t").on_message(move |_| Ok(sender.send(here())?)).unwrap();
        client
    });
    line.send(&plain(&sid(&subscribe), "t", "before"));
    let before = threads.recv_timeout(PATIENCE).unwrap();
    drop(line);
    let mut line = peer.accept_logon();
    let again = line.expect(CommandKind::Subscribe);
    line.ack(&again);
    line.send(&plain(&sid(&again), "t", "after"));
    assert_eq!(threads.recv_timeout(PATIENCE).unwrap(), before);
}

/// C-3-3-1
#[test]
fn a_failed_handler_is_reported_and_delivery_goes_on() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let (sender, calls) = channel();
    let (_client, subscribe) = placed(&mut line, move || {
        let handler = move |message: &amps_client::Message<&[u8]>| {
            sender.send(message.data().to_vec())?;
            if message.data() == b"2" { Err("the second is bad".into()) } else { Ok(()) }
        };
        client.subscribe("t").on_message(handler).unwrap();
        client
    });
    let id = sid(&subscribe);
    line.send_all(&["1", "2", "3"].map(|body| plain(&id, "t", body)));
    let bodies: Vec<_> = (0..3).map(|_| calls.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(bodies, [b"1", b"2", b"3"]);
    let error = reported.recv_timeout(PATIENCE).unwrap();
    assert_eq!(error.kind(), ErrorKind::MessageHandler);
    assert!(error.to_string().contains("the second is bad"), "{error}");
    assert!(reported.try_recv().is_err(), "once");
}

/// C-3-10-1
#[test]
fn the_error_of_a_handler_is_reported_on_the_thread_that_receives() {
    let peer = Peer::new();
    let (sender, threads) = channel();
    let of_listener = sender.clone();
    let (client, mut line) = peer.connect(peer.client("c").on_error(move |_| _ = of_listener.send(here())));
    let (_client, subscribe) = placed(&mut line, move || {
        let handler = move |_: &amps_client::Message<&[u8]>| {
            sender.send(here())?;
            Err("bad".into())
        };
        client.subscribe("t").on_message(handler).unwrap();
        client
    });
    line.send(&plain(&sid(&subscribe), "t", "x"));
    let handler = threads.recv_timeout(PATIENCE).unwrap();
    assert_eq!(threads.recv_timeout(PATIENCE).unwrap(), handler);
}

/// C-3-10-2
#[test]
fn an_error_listener_that_panics_does_not_stop_deliveries() {
    let peer = Peer::new();
    let reports = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reports);
    let builder = peer.client("c").on_error(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        panic!("a bug in the listener")
    });
    let (client, mut line) = peer.connect(builder);
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let (seen, (sender, third)) = (Arc::clone(&bodies), channel());
    let (client, subscribe) = placed(&mut line, move || {
        let handler = move |message: &amps_client::Message<&[u8]>| {
            seen.lock().unwrap().push(message.data().to_vec());
            match message.data() {
                b"3" => Ok(sender.send(())?),
                _ => Err("bad".into()),
            }
        };
        client.subscribe("t").on_message(handler).unwrap();
        client
    });
    let id = sid(&subscribe);
    line.send_all(&["1", "2", "3"].map(|body| plain(&id, "t", body)));
    third.recv_timeout(PATIENCE).unwrap();
    assert_eq!(*bodies.lock().unwrap(), [b"1", b"2", b"3"]);
    assert_eq!(reports.load(Ordering::SeqCst), 2);
    assert!(client.is_connected());
}
