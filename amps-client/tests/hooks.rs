//! Hooks: set, replaced and removed at any time, and contained when they panic (client.md 12).

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use amps_client::{
    Authenticator, AuthenticatorError, Client, Command, CommandKind, ErrorKind, Hook, Message, WhenFull,
};
use common::{Line, PATIENCE, Peer, aside, placed, plain, sid};

type Calls = Sender<(&'static str, u8)>;

/// Sets every hook that traffic reaches, each under its name and the generation `who`.
fn set_all(client: &Client, calls: &Calls, who: u8) {
    let tell = |name: &'static str| {
        let calls = calls.clone();
        move || _ = calls.send((name, who))
    };
    let (unexpected, failed, kind, error, slow) =
        (tell("unexpected"), tell("failed write"), tell("kind"), tell("error"), tell("slow"));
    client.on_unexpected(move |_| unexpected());
    client.on_failed_write(move |_| failed());
    client.on_kind(CommandKind::Oof, move |_| kind());
    client.on_error(move |_| error());
    client.on_slow_consumer(move |_| slow());
    let traffic = tell("traffic");
    client.on_traffic(move |_, bytes| {
        if bytes.ends_with(b"marked") {
            traffic();
        }
    });
}

/// Makes each hook that was set run once, in this order, then shows that all is well.
fn provoke(client: &Client, line: &mut Line, failing: &str, full: &str) {
    line.send(r#"{"c":"oof","t":"t","sids":"99"}"#);
    line.send(r#"{"c":"ack","a":"persisted","s":1,"status":"failure","reason":"not entitled"}"#);
    line.send(&plain(failing, "t", "fails"));
    line.send(&plain(full, "t", "fills"));
    line.send(&plain(full, "t", "has no place"));
    // The stream ends by its policy: that it does is the sign that everything was seen.
    assert_eq!(line.expect(CommandKind::Unsubscribe).sub_id().unwrap(), full);
    client.publish("t", "marked").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"marked");
}

fn failing_handler(client: &Client, line: &mut Line) -> String {
    let client = client.clone();
    let fails = |_: &Message<&[u8]>| Err("it fails".into());
    sid(&placed(line, move || client.subscribe("t").on_message(fails).unwrap()).1)
}

fn short_stream(client: &Client, line: &mut Line) -> (amps_client::Subscription, String) {
    let client = client.clone();
    let (stream, command) =
        placed(line, move || client.subscribe("t").max_depth(1).when_full(WhenFull::Fail).start().unwrap());
    let id = sid(&command);
    (stream, id)
}

fn sorted(calls: &Receiver<(&'static str, u8)>) -> Vec<(&'static str, u8)> {
    let mut calls: Vec<_> = calls.try_iter().collect();
    calls.sort_unstable();
    calls
}

/// C-12-1: and removed, none of them sees anything.
#[test]
fn a_hook_that_is_replaced_sees_nothing_more() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let failing = failing_handler(&client, &mut line);
    let (sender, calls) = channel();
    for who in 1..=3 {
        set_all(&client, &sender, who);
        let (_stream, full) = short_stream(&client, &mut line);
        provoke(&client, &mut line, &failing, &full);
        let seen = sorted(&calls);
        let expected =
            ["error", "failed write", "kind", "slow", "traffic", "unexpected"].map(|name| (name, who));
        assert_eq!(seen, expected);
    }
    for hook in [
        Hook::Unexpected,
        Hook::FailedWrites,
        Hook::Messages(CommandKind::Oof),
        Hook::Errors,
        Hook::SlowConsumer,
        Hook::Traffic,
    ] {
        client.remove_hook(hook);
    }
    let (_stream, full) = short_stream(&client, &mut line);
    provoke(&client, &mut line, &failing, &full);
    assert_eq!(sorted(&calls), []);
}

/// A stream that blocks tells who listens for slow consumers, once for each time that it is
/// full; the listener is replaced and removed like any other.
#[test]
fn the_listener_for_slow_consumers_is_replaced_and_removed() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (sender, calls) = channel();
    let other = client.clone();
    let (mut stream, command) = placed(&mut line, move || other.subscribe("t").max_depth(2).start().unwrap());
    let id = sid(&command);
    let mut fill = |line: &mut Line, wait: &dyn Fn()| {
        line.send_all(&["1", "2", "3"].map(|body| plain(&id, "t", body)));
        wait();
        for _ in 0..3 {
            stream.next().unwrap().unwrap();
        }
        // What comes behind the messages comes after everything that they caused.
        let other = client.clone();
        let flushing = aside(move || other.flush(PATIENCE));
        let flush = line.expect(CommandKind::Flush);
        line.ack(&flush);
        flushing.join().unwrap().unwrap();
    };
    for who in 1..=2 {
        let sender = sender.clone();
        client.on_slow_consumer(move |event| _ = sender.send((who, event.depth)));
        fill(&mut line, &|| assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), (who, 2)));
        assert!(calls.try_iter().all(|told| told == (who, 2)));
    }
    client.remove_hook(Hook::SlowConsumer);
    fill(&mut line, &|| ());
    assert!(calls.try_recv().is_err());
}

/// C-12-2
#[test]
fn a_panic_in_any_hook_is_survived_by_the_connection() {
    struct Panics;
    impl Authenticator for Panics {
        fn authenticate(&self, _: &str, _: &str) -> Result<String, AuthenticatorError> {
            Ok("token".into())
        }
        fn retry(&self, _: &str, _: &str) -> Result<String, AuthenticatorError> {
            Ok("token".into())
        }
        fn completed(&self, _: &str, _: &str, _: &str) {
            panic!("completed")
        }
    }
    let peer = Peer::new();
    let (sender, calls) = channel();
    let told = |name: &'static str| {
        let sender: Calls = sender.clone();
        move || {
            _ = sender.send((name, 0));
            panic!("{name}");
        }
    };
    let (state, start, kind, unexpected, failed, error) =
        (told("state"), told("start"), told("kind"), told("unexpected"), told("failed write"), told("error"));
    let builder = peer.client("c").authenticator(Panics);
    let builder = builder
        .on_state(move |_| state())
        .on_connection_start(start)
        .on_kind(CommandKind::Oof, move |_| kind())
        .on_unexpected(move |_| unexpected())
        .on_failed_write(move |_| failed())
        .on_error(move |_| error())
        .on_duplicate(|_| panic!("duplicate"))
        .on_slow_consumer(|_| panic!("slow"))
        .on_traffic(|_, _| panic!("traffic"));
    let (client, mut line) = peer.connect(builder);
    let failing = failing_handler(&client, &mut line);
    let (mut stream, full) = short_stream(&client, &mut line);
    provoke(&client, &mut line, &failing, &full);
    assert_eq!(stream.next().unwrap().unwrap().data(), b"fills");
    let other = client.clone();
    let (mut slow, command) = placed(&mut line, move || other.subscribe("t").max_depth(1).start().unwrap());
    line.send(&plain(&sid(&command), "t", "last"));
    assert_eq!(slow.next().unwrap().unwrap().data(), b"last");
    assert!(client.is_connected());
    let mut names: Vec<_> = calls.try_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["error", "failed write", "kind", "start", "state", "unexpected"]);
}

/// XP-3: an authenticator that panics fails its logon and nothing else.
#[test]
fn an_authenticator_that_panics_fails_the_logon() {
    struct Panics;
    impl Authenticator for Panics {
        fn authenticate(&self, _: &str, _: &str) -> Result<String, AuthenticatorError> {
            panic!("no ticket")
        }
        fn retry(&self, _: &str, _: &str) -> Result<String, AuthenticatorError> {
            panic!("no ticket")
        }
    }
    let peer = Peer::new();
    let builder = peer.client("c").authenticator(Panics);
    let connecting = aside(move || builder.connect().map(drop).unwrap_err());
    let mut line = peer.accept();
    assert!(line.next().is_none());
    assert_eq!(connecting.join().unwrap().kind(), ErrorKind::Authentication);
}

/// XP-3: a disconnect handler that panics leaves the client disconnected and usable.
#[test]
fn a_disconnect_handler_that_panics_is_reported() {
    let peer = Peer::new();
    let (builder, reported) = common::errors(peer.client("c"));
    let (client, line) = peer.connect(builder.on_disconnect(|_, _| panic!("no way back")));
    drop(line);
    let errors = [(); 2].map(|()| reported.recv_timeout(PATIENCE).unwrap());
    assert_eq!(errors[1].kind(), ErrorKind::MessageHandler);
    assert!(errors[1].to_string().contains("no way back"), "{}", errors[1]);
    let again = client.clone();
    let connecting = aside(move || again.connect());
    let mut line = peer.accept_logon();
    connecting.join().unwrap().unwrap();
    let flushing = aside(move || client.perform(&Command::flush().timeout(Duration::from_secs(20))));
    let flush = line.expect(CommandKind::Flush);
    line.ack(&flush);
    flushing.join().unwrap().unwrap();
}

/// C-12-1: those that hear of connections; each loss calls only what was set last.
#[test]
fn hooks_for_connections_are_replaced_and_removed() {
    let peer = Peer::new();
    let client = peer.client("c").build().unwrap();
    let (sender, calls) = channel();
    let set = |who: u8| {
        let tell = |name: &'static str| {
            let calls: Calls = sender.clone();
            move || _ = calls.send((name, who))
        };
        let (start, end, state, lost) = (tell("start"), tell("end"), tell("state"), tell("lost"));
        client.on_connection_start(start);
        client.on_connection_end(end);
        client.remove_hook(Hook::States);
        client.on_state(move |_| state());
        let disconnect = move |_: &Client, _: &amps_client::Error| {
            lost();
            Ok(())
        };
        client.on_disconnect(disconnect).unwrap();
    };
    let connect_and_lose = || {
        let connecting = client.clone();
        let connecting = aside(move || connecting.connect());
        drop(peer.accept_logon());
        connecting.join().unwrap().unwrap();
        common::until("the loss", || !client.is_connected());
    };
    for who in 1..=2 {
        set(who);
        connect_and_lose();
        // Connected, logged on, disconnected; the handler has a thread of its own.
        let mut seen: Vec<_> = (0..6).map(|_| calls.recv_timeout(PATIENCE).unwrap()).collect();
        seen.sort_unstable();
        let expected = ["end", "lost", "start", "state", "state", "state"].map(|name| (name, who));
        assert_eq!(seen, expected);
    }
    for hook in [Hook::ConnectionStart, Hook::ConnectionEnd, Hook::States, Hook::Disconnect] {
        client.remove_hook(hook);
    }
    connect_and_lose();
    client.close().unwrap();
    assert_eq!(sorted(&calls), []);
}
