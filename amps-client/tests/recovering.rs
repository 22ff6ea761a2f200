//! Losing connections, and coming back.

mod common;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use amps_client::{ClientBuilder, CommandKind, ConnectionState, ErrorKind, RawMessage, Reconnect};
use common::{PATIENCE, Peer, aside, bookmarks, errors, placed, plain, states};

fn quick() -> Reconnect {
    Reconnect::new().initial(Duration::from_millis(10)).jitter(0.0)
}

/// A client that reconnects, without heartbeats in the way.
fn resilient(peer: &Peer) -> ClientBuilder {
    peer.client("c").reconnect(quick()).heartbeat(Duration::ZERO)
}

/// C-1-5-3
#[test]
fn without_a_policy_the_client_stays_disconnected_and_may_connect_again() {
    let peer = Peer::new();
    let (builder, states) = states(peer.client("c"));
    let (client, line) = peer.connect(builder);
    drop(line);
    for expected in [ConnectionState::Connected, ConnectionState::LoggedOn, ConnectionState::Disconnected] {
        assert_eq!(states.recv_timeout(PATIENCE).unwrap(), expected);
    }
    assert_eq!(client.publish("t", b"x").unwrap_err().kind(), ErrorKind::Disconnected);
    let again = client.clone();
    let connecting = aside(move || again.connect());
    let mut line = peer.accept_logon();
    connecting.join().unwrap().unwrap();
    client.publish("t", b"x").unwrap();
    line.expect(CommandKind::Publish);
}

/// Whoever has no room for it could not stop it: what holds a client back is in force once it is logged on.
#[test]
fn what_comes_before_the_logon_is_answered_belongs_to_nobody() {
    let peer = Peer::new();
    let (tell, told) = channel();
    let listens = move |message: &RawMessage<&[u8]>| _ = tell.send(message.data().to_vec());
    let (client, mut line) = peer.connect(resilient(&peer).on_unexpected(listens));
    let (mut stream, placing) =
        placed(&mut line, move || client.subscribe("t").resume_silently().start().unwrap());
    let id = placing.sub_id().unwrap().to_string();
    drop(line);
    let mut line = peer.accept();
    let logon = line.expect(CommandKind::Logon);
    line.send(&plain(&id, "t", "too early"));
    line.send(&plain(&format!("{id},{id}"), "t", "also"));
    line.ack_with(&logon, r#","client_name":"c","version":"5.3.5.0""#);
    let again = line.expect(CommandKind::Subscribe);
    line.ack(&again);
    line.send(&plain(&id, "t", "in time"));
    assert_eq!(stream.next().unwrap().unwrap().data(), b"in time");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [&b"too early"[..], b"also"]);
}

/// C-7-1-2
#[test]
fn subscriptions_are_placed_again_in_order_with_all_their_options() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(resilient(&peer));
    let subscriber = client.clone();
    let starting = aside(move || {
        let one = subscriber.subscribe("q").max_backlog(10).filter("/a = 'x\"y'").start().unwrap();
        let two = subscriber.subscribe("^t.*").options("timestamp,no_sowkey").on_message(|_| Ok(())).unwrap();
        let three = subscriber.subscribe("gone").no_resubscribe().start().unwrap();
        (one, two, three)
    });
    let before: Vec<_> = (0..3).map(|_| line.grant(5)).collect();
    let (_one, _two, mut three) = starting.join().unwrap();
    drop(line);
    let mut line = peer.accept_logon();
    for original in &before[..2] {
        let again = line.expect(CommandKind::Subscribe);
        assert_eq!(again.sub_id(), original.sub_id());
        assert_eq!(again.topic(), original.topic());
        assert_eq!(again.filter(), original.filter());
        assert_eq!(again.options(), original.options());
        assert_ne!(again.command_id(), original.command_id());
    }
    assert_eq!(three.next().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    assert!(three.next().is_none());
}

#[test]
fn a_queue_stream_goes_on_without_its_unread_leases_and_without_a_notice() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(resilient(&peer));
    let starting = aside(move || client.subscribe("q").max_backlog(10).start().unwrap());
    let sub = line.grant(10);
    let mut work = starting.join().unwrap();
    line.deliver(&sub, "q", 1..=3);
    let first = work.next().unwrap().unwrap();
    drop(line);
    let mut line = peer.accept_logon();
    let sub = line.grant(10);
    line.deliver(&sub, "q", [1, 9]);
    // 2 and 3 were unread: the server has them again, and gives them to whom it likes.
    let data: Vec<_> = (0..2).map(|_| work.next().unwrap().unwrap().data().to_vec()).collect();
    assert_eq!(data, [br#"{"id":1}"#, br#"{"id":9}"#]);
    first.ack();
    assert!(
        line.within(Duration::from_millis(60)).is_empty(),
        "a lease of the old connection is not acknowledged"
    );
}

#[test]
fn pending_acknowledgements_die_with_their_connection() {
    let peer = Peer::new();
    let (client, mut line) =
        peer.connect(resilient(&peer).ack_batch_size(10).ack_timeout(Duration::from_millis(30)));
    let starting = aside(move || client.subscribe("q").max_backlog(10).start().unwrap());
    let sub = line.grant(10);
    let mut work = starting.join().unwrap();
    line.deliver(&sub, "q", 1..=5);
    let old: Vec<_> = work.by_ref().take(5).map(Result::unwrap).collect();
    drop(line);
    let mut line = peer.accept_logon();
    let sub = line.grant(10);
    for message in &old {
        message.ack();
    }
    line.deliver(&sub, "q", [7]);
    work.next().unwrap().unwrap().ack();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|7|", "only the new lease is acknowledged");
}

/// C-5-3-10
#[test]
fn acknowledgements_that_wait_when_the_connection_is_lost_are_never_sent() {
    let peer = Peer::new();
    let builder = resilient(&peer).ack_batch_size(10).ack_timeout(Duration::from_secs(3600));
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("q").max_backlog(10).start().unwrap());
    let sub = line.grant(10);
    let mut work = starting.join().unwrap();
    line.deliver(&sub, "q", 1..=5);
    for message in work.by_ref().take(5) {
        message.unwrap().ack();
    }
    drop(line);
    let mut line = peer.accept_logon();
    let sub = line.grant(10);
    line.deliver(&sub, "q", [7]);
    work.next().unwrap().unwrap().ack();
    client.flush_acks();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|7|");
}

/// C-2-3-6: streams go on after a reconnect (R2).
#[test]
fn a_plain_stream_yields_one_notice_and_goes_on() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(resilient(&peer));
    let starting = aside(move || {
        let loud = client.subscribe("t").start().unwrap();
        let silent = client.subscribe("t").resume_silently().start().unwrap();
        (loud, silent)
    });
    for _ in 0..2 {
        let subscribe = line.expect(CommandKind::Subscribe);
        line.ack(&subscribe);
    }
    let (mut loud, mut silent) = starting.join().unwrap();
    drop(line);
    let mut line = peer.accept_logon();
    let subs: Vec<_> = (0..2).map(|_| line.expect(CommandKind::Subscribe)).collect();
    for sub in &subs {
        line.ack(sub);
    }
    let ids = format!("{},{}", subs[0].sub_id().unwrap(), subs[1].sub_id().unwrap());
    line.send(&plain(&ids, "t", "after"));
    assert_eq!(loud.next().unwrap().unwrap_err().kind(), ErrorKind::Resumed);
    assert_eq!(loud.next().unwrap().unwrap().data(), b"after");
    assert_eq!(silent.next().unwrap().unwrap().data(), b"after");
}

#[test]
fn a_resubscription_that_is_refused_ends_that_subscription_and_no_other() {
    let peer = Peer::new();
    let (builder, reported) = errors(resilient(&peer));
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let starting = aside(move || {
        (
            subscriber.subscribe("a").start().unwrap(),
            subscriber.subscribe("b").resume_silently().start().unwrap(),
        )
    });
    line.grant(1);
    line.grant(1);
    let (mut a, mut b) = starting.join().unwrap();
    drop(line);
    let mut line = peer.accept_logon();
    let (first, second) = (line.expect(CommandKind::Subscribe), line.expect(CommandKind::Subscribe));
    line.refuse(&first, "not entitled");
    line.ack(&second);
    line.send(&plain(&second.sub_id().unwrap().to_string(), "b", "still here"));
    assert_eq!(a.next().unwrap().unwrap_err().kind(), ErrorKind::NotEntitled);
    assert!(a.next().is_none());
    assert_eq!(b.next().unwrap().unwrap().data(), b"still here");
    assert!(client.is_connected());
    let kinds: Vec<_> = reported.try_iter().map(|error| error.kind()).collect();
    assert!(kinds.contains(&ErrorKind::NotEntitled), "{kinds:?}");
}

/// C-3-7-2: and the last state says that everything is as it was (ST-2, ST-4).
#[test]
fn the_states_of_a_reconnect_come_in_order() {
    let peer = Peer::new();
    let (builder, states) = states(peer.client("c").reconnect(quick()).heartbeat(Duration::from_secs(5)));
    let (client, mut line) = peer.connect(builder);
    use ConnectionState as S;
    let start = line.expect(CommandKind::Heartbeat);
    assert_eq!(start.options().unwrap(), "start,5");
    line.ack(&start);
    let fully = [S::Connected, S::LoggedOn, S::HeartbeatInitiated, S::Resubscribed];
    for expected in fully {
        assert_eq!(states.recv_timeout(PATIENCE).unwrap(), expected);
    }
    let subscriber = client.clone();
    let (_stream, _) = placed(&mut line, move || subscriber.subscribe("t").start().unwrap());
    drop(line);
    let mut line = peer.accept_logon();
    let (start, again) = (line.expect(CommandKind::Heartbeat), line.expect(CommandKind::Subscribe));
    // Whichever is answered first.
    line.ack(&again);
    line.ack(&start);
    assert_eq!(states.recv_timeout(PATIENCE).unwrap(), S::Disconnected);
    for expected in fully {
        assert_eq!(states.recv_timeout(PATIENCE).unwrap(), expected);
    }
    assert!(states.try_recv().is_err());
}

#[test]
fn the_next_server_is_tried_when_one_fails() {
    let (first, second) = (Peer::new(), Peer::new());
    let builder = common::client("c").servers([first.uri(), second.uri()]).reconnect(quick());
    let (client, line) = first.connect(builder);
    drop(line);
    let mut line = second.accept_logon();
    line.expect(CommandKind::Heartbeat);
    assert!(client.is_connected());
}

/// C-11-3
#[test]
fn a_logon_refused_by_one_server_leads_to_the_next() {
    let (first, second) = (Peer::new(), Peer::new());
    let builder = common::client("c").servers([first.uri(), second.uri()]).reconnect(quick());
    let connecting = aside(move || builder.connect());
    let mut line = first.accept();
    let logon = line.expect(CommandKind::Logon);
    line.refuse(&logon, "auth failure");
    let _line = second.accept_logon();
    connecting.join().unwrap().unwrap();
}

#[test]
fn connect_gives_up_after_its_deadline_and_names_the_last_error() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let builder = common::client("c").server(format!("tcp://{unused}/amps/json"));
    let began = Instant::now();
    let error =
        builder.reconnect(quick()).connect_deadline(Duration::from_millis(150)).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("was refused"), "{error}");
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[test]
fn an_outage_beyond_the_policys_limit_ends_subscriptions() {
    let peer = Peer::new();
    let policy = quick().give_up_after(Duration::from_millis(100));
    let (builder, reported) = errors(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    let (client, mut line) = peer.connect(builder);
    let starting = aside(move || client.subscribe("q").start().unwrap());
    line.grant(1);
    let mut work = starting.join().unwrap();
    drop(line);
    drop(peer);
    assert_eq!(work.next().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    assert!(work.next().is_none());
    assert!(reported.recv_timeout(PATIENCE).is_ok());
}

/// C-7-6-2
#[test]
fn a_command_under_way_fails_when_the_connection_is_lost() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(resilient(&peer).retry_on_disconnect(false));
    let subscriber = client.clone();
    let subscribing = aside(move || subscriber.subscribe("t").start().map(drop).unwrap_err());
    line.expect(CommandKind::Subscribe);
    drop(line);
    assert_eq!(subscribing.join().unwrap().kind(), ErrorKind::Disconnected);
    let mut line = peer.accept_logon();
    assert!(line.within(Duration::from_millis(50)).is_empty(), "what failed is not placed again");
    drop(client);
}

/// C-3-8-1
#[test]
fn a_disconnect_handler_reconnects_and_subscribes_anew() {
    let peer = Peer::new();
    let (sender, receiver) = channel();
    let builder = peer.client("c").on_disconnect(move |client, error| {
        sender.send(error.kind()).unwrap();
        client.connect()?;
        client.subscribe("again").on_message(|_| Ok(()))?;
        Ok(())
    });
    let (client, line) = peer.connect(builder);
    drop(line);
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), ErrorKind::Disconnected);
    let mut line = peer.accept_logon();
    let subscribe = line.grant(1);
    assert_eq!(subscribe.topic().unwrap(), "again");
    assert!(client.is_connected());
}

/// C-3-8-2
#[test]
fn a_failing_disconnect_handler_is_reported() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c"));
    let builder = builder.on_disconnect(|client, _| client.connect_to(["nonsense"]));
    let (client, line) = peer.connect(builder);
    drop(line);
    let errors: Vec<_> = (0..2).map(|_| reported.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Disconnected), "{errors:?}");
    assert!(errors[1].to_string().contains("connection string"), "{}", errors[1]);
    assert!(!client.is_connected());
    assert_eq!(client.publish("t", b"x").unwrap_err().kind(), ErrorKind::Disconnected);
}

/// C-3-7-3
#[test]
fn a_listener_that_panics_stops_nothing() {
    let peer = Peer::new();
    let (builder, reported) = errors(resilient(&peer));
    let (client, line) = peer.connect(builder.on_state(|_| panic!("bug in the listener")));
    assert!(client.is_connected());
    drop(line);
    let _line = peer.accept_logon();
    let kinds: Vec<_> = (0..2).map(|_| reported.recv_timeout(PATIENCE).unwrap().kind()).collect();
    assert!(kinds.contains(&ErrorKind::MessageHandler), "{kinds:?}");
}

#[test]
fn connect_begins_anew_after_a_failed_one() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let policy = Reconnect::new().initial(Duration::from_secs(3600)).max(Duration::from_secs(3600));
    let client = common::client("c")
        .server(format!("tcp://{unused}/amps/json"))
        .reconnect(policy.give_up_after(Duration::from_secs(7200)))
        .connect_deadline(Duration::from_millis(50))
        .build()
        .unwrap();
    assert_eq!(client.connect().unwrap_err().kind(), ErrorKind::TimedOut);
    // Now somebody listens, and the next attempt is made at once.
    let listener = std::net::TcpListener::bind(unused).unwrap();
    let connecting = aside(move || client.connect().map(drop).unwrap_err());
    drop(listener.accept().unwrap());
    assert_ne!(connecting.join().unwrap().kind(), ErrorKind::Usage);
}

#[test]
fn acknowledging_by_hand_while_reconnecting_does_nothing() {
    let peer = Peer::new();
    let (client, line) = peer.connect(resilient(&peer));
    drop(line);
    let began = Instant::now();
    while client.is_connected() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    client.ack("q", "7|1|").unwrap();
    let mut line = peer.accept_logon();
    assert!(line.within(Duration::from_millis(50)).is_empty());
}

/// A recovery takes a few round trips, however many subscriptions there are: the server that answers none before
/// it has seen them all would wait for ever for a client that waits for each answer (R13).
#[test]
fn a_thousand_subscriptions_are_placed_again_without_waiting_for_an_answer() {
    const MANY: usize = 1_000;
    let peer = Peer::new();
    let (builder, states) = states(resilient(&peer));
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let starting = aside(move || {
        let start = |number| subscriber.subscribe(format!("t{number}")).start().unwrap();
        (0..MANY).map(start).collect::<Vec<_>>()
    });
    let placed: Vec<_> = (0..MANY).map(|_| line.grant(1)).collect();
    let _subscriptions = starting.join().unwrap();
    drop(line);
    while states.recv_timeout(PATIENCE).unwrap() != ConnectionState::Disconnected {}

    let mut line = peer.accept_logon();
    let again: Vec<_> = (0..MANY).map(|_| line.expect(CommandKind::Subscribe)).collect();
    for (before, again) in placed.iter().zip(&again) {
        assert_eq!((again.sub_id(), again.topic()), (before.sub_id(), before.topic()));
    }
    again.iter().for_each(|subscribe| line.ack(subscribe));
    while states.recv_timeout(PATIENCE).unwrap() != ConnectionState::Resubscribed {}
}
