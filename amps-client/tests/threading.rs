//! What may be called from inside a handler (client.md 2.5): each call works there, or is
//! refused at once; none waits for ever, and a refused one writes nothing.

mod common;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amps_client::{
    AckOption, AckType, Client, Command, CommandKind, ConnectionState, Direction, ErrorKind, Hook, Message,
    PublishOptions, Result, SowDelete, Subscription,
};
use amps_testkit::{QueueConfig, SowConfig};
use common::{PATIENCE, Peer, aside, placed, plain, sid};

type Outcome = std::result::Result<(), ErrorKind>;

/// A call, under its name.
type Call<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);

/// What a call said, without its value.
fn outcome<T>(result: Result<T>) -> Outcome {
    result.map(drop).map_err(|error| error.kind())
}

/// Runs `calls` inside a handler of a client. The first message makes it happen; that the
/// second is delivered too shows that deliveries go on. Returns what the calls said, and what
/// was written.
fn inside(
    calls: impl FnOnce(&Client, &Message<&[u8]>) -> Vec<(&'static str, Outcome)> + Send + 'static,
) -> (Vec<(&'static str, Outcome)>, Vec<CommandKind>) {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").command_timeout(None));
    let (sender, outcomes) = channel();
    let (second, done) = channel();
    let other = client.clone();
    let placing = aside(move || {
        let (inside, mut calls) = (other.clone(), Some(calls));
        let handler = move |message: &Message<&[u8]>| {
            match calls.take() {
                Some(calls) => sender.send(calls(&inside, message))?,
                None => second.send(())?,
            }
            Ok(())
        };
        other.subscribe("q").max_backlog(10).on_message(handler).unwrap();
    });
    let subscribe = line.grant(10);
    placing.join().unwrap();
    line.deliver(&subscribe, "q", [1]);
    let outcomes = outcomes.recv_timeout(PATIENCE).unwrap();
    line.deliver(&subscribe, "q", [2]);
    done.recv_timeout(PATIENCE).unwrap();
    // Everything that was written before this.
    client.publish("end", "").unwrap();
    let mut written = Vec::new();
    loop {
        let frame = line.next().unwrap();
        if frame.topic().is_some_and(|topic| topic == "end") {
            return (outcomes, written);
        }
        written.push(frame.command());
    }
}

/// C-2-5-1: every call that waits for the server is refused at once, and none is written.
#[test]
fn calls_that_wait_are_refused_in_a_handler() {
    let (outcomes, written) = inside(|client, _| {
        let calls: Vec<Call<'_>> = vec![
            ("sow", Box::new(|| client.sow("t").start().map(drop))),
            ("sow with a handler", Box::new(|| client.sow("t").on_message(|_| Ok(())).map(drop))),
            ("subscribe", Box::new(|| client.subscribe("t").start().map(drop))),
            ("subscribe with a handler", Box::new(|| client.subscribe("t").on_message(|_| Ok(())).map(drop))),
            (
                "subscribe with a handler aside",
                Box::new(|| client.subscribe("t").on_message_aside(|_| Ok(())).map(drop)),
            ),
            ("delta_subscribe", Box::new(|| client.delta_subscribe("t").start().map(drop))),
            ("sow_and_subscribe", Box::new(|| client.sow_and_subscribe("t").start().map(drop))),
            ("sow_and_delta_subscribe", Box::new(|| client.sow_and_delta_subscribe("t").start().map(drop))),
            (
                "sow_delete by filter",
                Box::new(|| client.sow_delete(&SowDelete::by_filter("t", "1=1")).map(drop)),
            ),
            ("sow_delete by keys", Box::new(|| client.sow_delete(&SowDelete::by_keys("t", ["1"])).map(drop))),
            ("sow_delete by data", Box::new(|| client.sow_delete(&SowDelete::by_data("t", "{}")).map(drop))),
            (
                "sow_delete by bookmarks",
                Box::new(|| client.sow_delete(&SowDelete::by_bookmarks("q", ["7|1|"])).map(drop)),
            ),
            ("flush", Box::new(|| client.flush(PATIENCE))),
            ("execute", Box::new(|| client.execute(&Command::subscribe("t")).map(drop))),
            (
                "execute a delete",
                Box::new(|| client.execute(&Command::sow_delete("q").bookmark("7|1|")).map(drop)),
            ),
            ("execute_with", Box::new(|| client.execute_with(&Command::sow("t"), |_| Ok(())).map(drop))),
            ("perform a delete", Box::new(|| client.perform(&Command::sow_delete("q").bookmark("7|1|")))),
            ("perform a flush", Box::new(|| client.perform(&Command::flush()))),
            (
                "an unsubscribe that waits",
                Box::new(|| client.perform(&Command::unsubscribe("9").ack(AckType::Processed))),
            ),
            ("a command of a newer server", Box::new(|| client.perform(&Command::new("future").topic("t")))),
            ("connect to another", Box::new(|| client.connect_to(["tcp://127.0.0.1:9/amps/json"]))),
            ("close within", Box::new(|| client.close_within(Duration::ZERO))),
            ("connect", Box::new(|| client.connect())),
            ("logon", Box::new(|| client.perform(&Command::new("logon")))),
            ("close", Box::new(|| client.close())),
        ];
        calls.into_iter().map(|(name, call)| (name, outcome(call()))).collect()
    });
    for (name, outcome) in outcomes {
        assert_eq!(outcome, Err(ErrorKind::Usage), "{name}");
    }
    assert_eq!(written, []);
}

/// C-2-5-2: what does not wait works, and is on its way before the handler returns.
#[test]
fn calls_that_do_not_wait_work_in_a_handler() {
    let (outcomes, written) = inside(|client, message| {
        let send = |command: Command| outcome(client.send(&command));
        let perform = |command: Command| outcome(client.perform(&command));
        let mut said = vec![
            ("publish", outcome(client.publish("t", "x"))),
            ("delta_publish", outcome(client.delta_publish("t", "x"))),
            ("publish_with", outcome(client.publish_with("t", "x", &PublishOptions::new().sow_key("k")))),
            ("perform a publish", perform(Command::publish("t").data("x"))),
            ("execute a publish", outcome(client.execute(&Command::publish("t").data("x")))),
            ("unsubscribe", outcome(client.unsubscribe("nobody"))),
            ("send", send(Command::subscribe("t"))),
            (
                "perform without acknowledgements",
                perform(Command::sow_delete("q").bookmark("1|1|").no_acks()),
            ),
            ("ack by name", outcome(client.ack("q", "7|8|"))),
            ("ack with an option", outcome(client.ack_with("q", "7|9|", &AckOption::Cancel))),
        ];
        message.ack();
        client.flush_acks();
        said.push(("ack", Ok(())));
        said
    });
    for (name, outcome) in outcomes {
        assert_eq!(outcome, Ok(()), "{name}");
    }
    use CommandKind as K;
    let publishes = [K::Publish, K::DeltaPublish, K::Publish, K::Publish, K::Publish];
    let others = [K::Unsubscribe, K::Subscribe, K::SowDelete, K::SowDelete, K::SowDelete, K::SowDelete];
    assert_eq!(written, [&publishes[..], &others[..]].concat());
}

/// Getters and setters, of the client and of what is installed on it.
#[test]
fn getters_and_setters_work_in_a_handler() {
    let (outcomes, written) = inside(|client, message| {
        assert_eq!(client.name(), "c");
        assert!(client.is_connected() && client.peer().is_some() && client.state().is_some());
        assert_eq!(client.stats().logons, 1);
        client.set_auto_ack(false);
        client.set_ack_batch_size(5);
        client.set_ack_timeout(Duration::from_secs(3));
        client.set_max_depth(0);
        client.set_publish_batching(0, Duration::ZERO);
        client.when_recovered(|_| ());
        assert_eq!((client.ack_batch_size(), client.ack_timeout()), (5, Duration::from_secs(3)));
        let listener = client.on_state(|_| ());
        assert!(client.remove_state_listener(listener));
        client.on_error(|_| ());
        client.on_unexpected(|_| ());
        client.on_duplicate(|_| ());
        client.on_failed_write(|_| ());
        client.on_kind(CommandKind::Oof, |_| ());
        client.on_traffic(|_, _| ());
        client.on_slow_consumer(|_| ());
        client.on_connection_start(|| ());
        client.on_connection_end(|| ());
        client.remove_hook(Hook::Traffic);
        assert!(!message.subscription_id().is_empty() && message.is_leased() && message.result().is_ok());
        message.keep_lease();
        vec![("on_disconnect", outcome(client.on_disconnect(|_, _| Ok(()))))]
    });
    assert_eq!(outcomes, [("on_disconnect", Ok(()))]);
    assert_eq!(written, []);
}

/// The rest of the table: a stream of the same client is read where it holds something, and
/// refused where it would wait; what is live cannot be replaced.
#[test]
fn a_stream_is_not_waited_for_in_a_handler_of_its_own_client() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let (mut stream, of_stream) = placed(&mut line, move || other.subscribe("s").start().unwrap());
    let (sender, outcomes) = channel();
    let (_placed, of_handler) = placed(&mut line, move || {
        let handler = move |_: &Message<&[u8]>| {
            let kinds = |stream: &mut Subscription| stream.next().map(|item| outcome(item.map(drop)));
            let first = kinds(&mut stream);
            let second = kinds(&mut stream);
            let within = outcome(stream.next_within(PATIENCE));
            let replaced = outcome(stream.replace_filter("/a = 1"));
            sender.send((first, second, within, replaced))?;
            Ok(())
        };
        client.subscribe("h").on_message(handler).unwrap()
    });
    line.send(&plain(&sid(&of_stream), "s", "is there"));
    line.send(&plain(&sid(&of_handler), "h", "go"));
    let (first, second, within, replaced) = outcomes.recv_timeout(PATIENCE).unwrap();
    // Both frames may have come in one read: what a read brings reaches a stream at its end.
    let usage = Err(ErrorKind::Usage);
    assert!(matches!(first, Some(Ok(()))) || first == Some(usage), "{first:?}");
    assert_eq!((second, within, replaced), (Some(usage), usage, usage));
}

/// A future does not wait where it is made: the command is written, and taken back if nobody
/// wants its answer.
#[test]
fn futures_may_be_made_in_a_handler() {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    let (outcomes, written) = inside(|client, _| {
        let poll = |starting: amps_client::Starting| {
            let mut starting = Box::pin(starting);
            match starting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => outcome(result).and(Err(ErrorKind::Command)),
                Poll::Pending => Ok(()),
            }
        };
        vec![
            ("start_future", poll(client.subscribe("t").start_future())),
            ("execute_future", poll(client.execute_future(&Command::sow("t")))),
        ]
    });
    assert_eq!(outcomes, [("start_future", Ok(())), ("execute_future", Ok(()))]);
    use CommandKind as K;
    assert_eq!(written, [K::Subscribe, K::Unsubscribe, K::Sow, K::Unsubscribe]);
}

/// LC-10: what is ended inside a handler, its own subscription and its own client included.
#[test]
fn subscriptions_are_ended_and_clients_dropped_inside_a_handler() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let (streams, commands): (Vec<_>, Vec<_>) = (0..3)
        .map(|_| {
            let other = other.clone();
            placed(&mut line, move || other.subscribe("s").start().unwrap())
        })
        .unzip();
    drop(other);
    let (placed_one, of_one) = {
        let client = client.clone();
        placed(&mut line, move || client.subscribe("one").on_message(|_| Ok(())).unwrap())
    };
    let (sender, done) = channel();
    let mut holds = Some((client.clone(), streams, placed_one));
    let (placed_own, own) = placed(&mut line, move || {
        let handler = move |_: &Message<&[u8]>| {
            if let Some((client, mut streams, one)) = holds.take() {
                streams.pop().unwrap().close();
                streams.pop().unwrap().closer().close();
                drop(streams);
                one.unsubscribe();
                // Nobody else has this client any more.
                drop((client, one));
            }
            Ok(sender.send(())?)
        };
        client.subscribe("own").on_message(handler).unwrap()
    });
    let ids: Vec<_> = commands.iter().rev().chain([&of_one]).map(sid).collect();
    drop(placed_own);
    line.send(&plain(&sid(&own), "own", "go"));
    done.recv_timeout(PATIENCE).unwrap();
    let rest = line.rest();
    let ended: Vec<_> =
        rest.iter().filter(|frame| frame.command() == CommandKind::Unsubscribe).map(sid).collect();
    assert_eq!(ended, ids);
    assert_eq!(rest.len(), ids.len(), "nothing else, and the connection is closed");
}

/// `abort` is the way to end a client from inside (R8).
#[test]
fn a_client_is_ended_from_inside_by_abort() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let (sender, aborted) = channel();
    let (_placed, subscribe) = placed(&mut line, move || {
        let inside = other.clone();
        let handler = move |_: &Message<&[u8]>| {
            inside.abort();
            Ok(sender.send(())?)
        };
        other.subscribe("t").on_message(handler).unwrap()
    });
    line.send(&plain(&sid(&subscribe), "t", "go"));
    aborted.recv_timeout(PATIENCE).unwrap();
    assert!(line.next().is_none(), "closed, without another frame");
    assert!(!client.is_connected());
}

/// C-2-5-3 C-5-5-3: another client is another thread.
#[test]
fn a_handler_waits_for_another_client_and_not_for_its_own() {
    let server = common::fake_server()
        .queue(QueueConfig::new("Q").max_backlog(10))
        .sow(SowConfig::new("vans").key("/id"))
        .start()
        .unwrap();
    let [a, b] = ["a", "b"].map(|name| common::client(name).server(common::uri(&server)).connect().unwrap());
    a.publish("vans", r#"{"id":7}"#).unwrap();
    a.flush(PATIENCE).unwrap();
    let (sender, outcomes) = channel();
    let own = a.clone();
    a.subscribe("Q")
        .max_backlog(10)
        .on_message(move |message| {
            let bookmark = message.bookmark().unwrap().to_string();
            let delete = Command::sow_delete("Q").bookmark(bookmark);
            let refused = outcome(own.perform(&delete));
            let done = outcome(b.perform(&delete));
            let deleted = b.sow_delete(&SowDelete::by_filter("vans", "/id = 7"))?.records_deleted;
            Ok(sender.send((refused, done, deleted))?)
        })
        .unwrap();
    server.publish("Q", r#"{"id":1}"#).unwrap();
    assert_eq!(outcomes.recv_timeout(PATIENCE).unwrap(), (Err(ErrorKind::Usage), Ok(()), 1));
}

/// Clients of one loop share its thread, so that waiting for either of them would be waiting
/// for oneself.
#[test]
fn clients_that_share_a_loop_do_not_wait_for_each_other() {
    let server = common::fake_server().start().unwrap();
    let event_loop = amps_client::EventLoop::new().unwrap();
    let connect =
        |name| common::client(name).server(common::uri(&server)).event_loop(&event_loop).connect().unwrap();
    let (a, b) = (connect("a"), connect("b"));
    let (sender, outcomes) = channel();
    a.subscribe("t")
        .on_message(move |_| {
            let waits = outcome(b.flush(PATIENCE));
            let does_not = outcome(b.publish("elsewhere", "x"));
            Ok(sender.send((waits, does_not))?)
        })
        .unwrap();
    a.publish("t", "go").unwrap();
    assert_eq!(outcomes.recv_timeout(PATIENCE).unwrap(), (Err(ErrorKind::Usage), Ok(())));
}

/// The other places where user code runs on the loop are bound by the same rules.
#[test]
fn listeners_on_the_loop_are_refused_as_handlers_are() {
    let peer = Peer::new();
    let (sender, outcomes) = channel();
    let itself: Arc<Mutex<Option<Client>>> = Arc::default();
    let builder = peer.client("c");
    let call = |name: &'static str| {
        let (itself, sender) = (Arc::clone(&itself), sender.clone());
        move || {
            let client = itself.lock().unwrap().clone();
            if let Some(client) = client {
                _ = sender.send((name, outcome(client.flush(PATIENCE)), outcome(client.publish("t", name))));
            }
        }
    };
    let (unexpected, kind, failed, error, traffic) =
        (call("unexpected"), call("kind"), call("failed write"), call("error"), call("traffic"));
    let builder = builder
        .on_unexpected(move |_| unexpected())
        .on_kind(CommandKind::Oof, move |_| kind())
        .on_failed_write(move |_| failed())
        .on_error(move |_| error());
    let (client, mut line) = peer.connect(builder);
    *itself.lock().unwrap() = Some(client.clone());
    line.send(r#"{"c":"oof","t":"t","sids":"99"}"#);
    line.send(r#"{"c":"ack","a":"persisted","s":1,"status":"failure","reason":"not entitled"}"#);
    for name in ["kind", "unexpected", "failed write"] {
        assert_eq!(outcomes.recv_timeout(PATIENCE).unwrap(), (name, Err(ErrorKind::Usage), Ok(())));
        assert_eq!(line.expect(CommandKind::Publish).data(), name.as_bytes());
    }
    // The listener for traffic sees bytes that come; it must not be the cause of more.
    let once = Mutex::new(Some(traffic));
    client.on_traffic(move |direction, _| {
        if let Some(call) = once.lock().unwrap().take_if(|_| direction == Direction::Inbound) {
            call();
        }
    });
    line.send(r#"{"c":"heartbeat"}"#);
    assert_eq!(outcomes.recv_timeout(PATIENCE).unwrap(), ("traffic", Err(ErrorKind::Usage), Ok(())));
    drop(line);
    let (name, flushed, published) = outcomes.recv_timeout(PATIENCE).unwrap();
    assert_eq!((name, flushed, published), ("error", Err(ErrorKind::Usage), Err(ErrorKind::Disconnected)));
    *itself.lock().unwrap() = None;
}

/// Until the logon is answered the thread that connects does the work; from then on the loop has its own.
#[test]
fn states_come_from_the_thread_that_connects_and_then_from_the_loops() {
    let peer = Peer::new();
    let (sender, states) = channel();
    let heard = move |state| sender.send((state, std::thread::current().id())).unwrap();
    let (client, line) = peer.connect(peer.client("c").on_state(heard));
    let next = || states.recv_timeout(PATIENCE).unwrap();
    let (_, connecting) = next();
    loop {
        let (state, thread) = next();
        assert_eq!(thread, connecting, "{state:?}");
        if state == ConnectionState::LoggedOn {
            break;
        }
    }
    drop(line);
    loop {
        let (state, thread) = next();
        if state == ConnectionState::Disconnected {
            assert!(thread != connecting && thread != std::thread::current().id());
            break;
        }
    }
    assert!(!client.is_connected());
}
