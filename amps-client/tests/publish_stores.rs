//! What is published with a store: numbers, what a server has, and what is sent again.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amps_client::{
    AckType, Client, ClientBuilder, Command, CommandKind, ConnectionState, ErrorKind, MemoryPublishStore,
    PublishState, Receipt, Reconnect, SowDelete,
};
use amps_protocol::Message;
use amps_testkit::Drop;
use common::{Line, PATIENCE, Peer, aside, bookmarks, errors, placed, states, until};

fn stored(peer: &Peer) -> ClientBuilder {
    let policy = Reconnect::new().initial(Duration::from_millis(10)).jitter(0.0);
    peer.client("c").reconnect(policy).heartbeat(Duration::ZERO).publish_store(MemoryPublishStore::new())
}

fn sequence(message: &Message) -> u64 {
    message.sequence().unwrap_or_else(|| panic!("no sequence number: {message:?}"))
}

/// The server has persisted everything up to a number.
fn persisted(line: &mut Line, number: u64) {
    line.send(&format!(r#"{{"c":"ack","a":"persisted","s":{number},"status":"success"}}"#));
}

fn refused(line: &mut Line, number: u64, reason: &str) {
    line.send(&format!(
        r#"{{"c":"ack","a":"persisted","s":{number},"status":"failure","reason":"{reason}"}}"#
    ));
}

/// Accepts a connection of which the server has everything up to `has`.
fn back(peer: &Peer, has: u64) -> Line {
    let mut line = peer.accept();
    let logon = line.expect(CommandKind::Logon);
    line.ack_with(&logon, &format!(r#","s":{has},"version":"5.3.5.0""#));
    line
}

fn publish(client: &Client, count: u64) -> Vec<Receipt> {
    (1..=count).map(|n| client.publish("t", format!("{{\"n\":{n}}}")).unwrap()).collect()
}

/// Has a client delete something, and agrees.
fn delete(client: &Client, line: &mut Line) -> Message {
    let deleter = client.clone();
    let deleting = aside(move || deleter.sow_delete(&SowDelete::by_filter("t", "/id = 1")));
    let delete = line.expect(CommandKind::SowDelete);
    let cid = delete.command_id().unwrap();
    line.send(&format!(r#"{{"c":"ack","cid":"{cid}","a":"stats","status":"success","records_deleted":1}}"#));
    assert_eq!(deleting.join().unwrap().unwrap().records_deleted, 1);
    delete
}

/// C-1-5-2
#[test]
fn a_publish_bears_a_number_and_asks_when_it_is_persisted() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    let receipts = publish(&client, 2);
    for expected in [1, 2] {
        let frame = line.expect(CommandKind::Publish);
        assert_eq!(sequence(&frame), expected);
        assert!(frame.acks().contains(AckType::Persisted) && !frame.acks().contains(AckType::Processed));
    }
    assert_eq!(receipts.iter().map(Receipt::sequence).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_eq!(receipts[1].state(), PublishState::Written);
    persisted(&mut line, 2);
    until("both are persisted", || receipts[1].state() == PublishState::Persisted);
}

/// C-7-7-1 C-4-4-5
#[test]
fn deletes_and_publishes_share_one_count() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    client.publish("t", "1").unwrap();
    assert_eq!(sequence(&line.expect(CommandKind::Publish)), 1);
    let delete = delete(&client, &mut line);
    assert_eq!((delete.command(), sequence(&delete)), (CommandKind::SowDelete, 2));
    assert!(delete.acks().contains(AckType::Persisted));
    client.publish("t", "3").unwrap();
    assert_eq!(sequence(&line.expect(CommandKind::Publish)), 3);
}

/// C-7-7-2
#[test]
fn without_a_store_nothing_has_a_number() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let receipt = client.publish("t", "1").unwrap();
    assert_eq!(receipt.sequence(), None);
    assert_eq!(line.expect(CommandKind::Publish).sequence(), None);
    let delete = delete(&client, &mut line);
    assert_eq!(delete.sequence(), None);
}

/// C-7-7-3
#[test]
fn a_number_of_the_applications_own_moves_the_count() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    client.perform(&Command::publish("t").data("x").sequence(100)).unwrap();
    client.publish("t", "y").unwrap();
    for expected in [100, 101] {
        assert_eq!(sequence(&line.expect(CommandKind::Publish)), expected);
    }
    let error = client.perform(&Command::publish("t").data("z").sequence(101)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "given out already: {error}");
}

/// C-7-8-1
#[test]
fn what_is_persisted_leaves_the_store() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    publish(&client, 3);
    persisted(&mut line, 2);
    until("two have left", || client.publish_store().unwrap().unpersisted == 1);
    let status = client.publish_store().unwrap();
    assert_eq!((status.lowest_unpersisted, status.last_persisted, status.last_sequence), (Some(3), 2, 3));
    // Numbers that are not kept are in order.
    persisted(&mut line, 9);
    until("all have left", || client.publish_store().unwrap().unpersisted == 0);
}

/// C-7-8-2
#[test]
fn a_reconnect_sends_what_the_server_does_not_have() {
    let peer = Peer::new();
    let (client, line) = peer.connect(stored(&peer));
    publish(&client, 3);
    drop(line);
    let mut line = back(&peer, 1);
    for expected in [2, 3] {
        let frame = line.expect(CommandKind::Publish);
        assert_eq!((sequence(&frame), frame.data()), (expected, format!("{{\"n\":{expected}}}").as_bytes()));
    }
    client.publish("t", "new").unwrap();
    assert_eq!(sequence(&line.expect(CommandKind::Publish)), 4);
}

/// C-7-8-5
#[test]
fn a_store_that_may_not_grow_holds_the_publisher_back() {
    let peer = Peer::new();
    let allowed = Arc::new(AtomicBool::new(false));
    let (asked, proposals) = channel();
    let (may, asked) = (Arc::clone(&allowed), Mutex::new(asked));
    let (client, mut line) = peer.connect(stored(&peer).on_store_growth(300, move |bytes| {
        let _ = asked.lock().unwrap().send(bytes);
        may.load(Ordering::Relaxed)
    }));
    let body = "x".repeat(80);
    let publisher = client.clone();
    let publishing = aside(move || {
        for _ in 0..4 {
            publisher.publish("t", &body).unwrap();
        }
    });
    for _ in 0..2 {
        line.expect(CommandKind::Publish);
    }
    assert_eq!(proposals.recv_timeout(PATIENCE).unwrap(), 600);
    assert!(!publishing.is_finished());
    persisted(&mut line, 2);
    for _ in 0..2 {
        line.expect(CommandKind::Publish);
    }
    publishing.join().unwrap();
    allowed.store(true, Ordering::Relaxed);
    client.publish("t", "y".repeat(200)).unwrap();
    assert!(client.publish_store().unwrap().capacity >= 600);
}

#[test]
fn a_handler_is_not_held_back_by_a_full_store() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer).on_store_growth(100, |_| false));
    let (publisher, (told, tells)) = (client.clone(), channel());
    let subscriber = client.clone();
    let ((), sub) = placed(&mut line, move || {
        let subscription = subscriber.subscribe("t").on_message(move |_| {
            let outcomes: Vec<_> = (0..5)
                .map(|_| publisher.publish("out", "z".repeat(60)).map_err(|error| error.kind()))
                .map(|outcome| outcome.map(drop))
                .collect();
            told.send(outcomes)?;
            Ok(())
        });
        std::mem::forget(subscription.unwrap());
    });
    line.send(&common::plain(&common::sid(&sub), "t", "{}"));
    let outcomes = tells.recv_timeout(PATIENCE).unwrap();
    assert!(outcomes.contains(&Err(ErrorKind::Usage)), "at once, not after a wait: {outcomes:?}");
    client.abort();
}

/// C-7-8-6
#[test]
fn a_server_that_lags_is_refused_where_that_is_asked_for() {
    let [ahead, behind] = [Peer::new(), Peer::new()];
    let policy = Reconnect::new().initial(Duration::from_millis(10)).jitter(0.0);
    let builder = ahead.client("c").server(behind.uri()).reconnect(policy).heartbeat(Duration::ZERO);
    let (builder, errors) =
        errors(builder.publish_store(MemoryPublishStore::new()).error_on_publish_gap(true));
    let (client, mut line) = ahead.connect(builder);
    publish(&client, 10);
    persisted(&mut line, 10);
    until("all is persisted", || client.publish_store().unwrap().unpersisted == 0);
    drop(line);
    let mut refused = back(&behind, 5);
    assert!(refused.next().is_none(), "it is left");
    let _line = back(&ahead, 10);
    until("the client is back", || client.is_connected());
    let kinds: Vec<_> = errors.try_iter().map(|error| error.kind()).collect();
    assert!(kinds.contains(&ErrorKind::PublishStoreGap), "{kinds:?}");
}

/// C-7-8-7
#[test]
fn an_acknowledgement_that_was_on_its_way_is_sent_again() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("q").max_backlog(5).start().unwrap());
    let sub = line.grant(5);
    let mut work = starting.join().unwrap();
    line.deliver(&sub, "q", [1]);
    work.next().unwrap().unwrap().ack();
    let ack = line.expect(CommandKind::SowDelete);
    assert_eq!((sequence(&ack), bookmarks(&ack)), (1, "7|1|".into()));
    drop(line);
    let mut line = back(&peer, 0);
    let again = line.expect(CommandKind::SowDelete);
    assert_eq!((sequence(&again), bookmarks(&again)), (1, "7|1|".into()));
    line.grant(5);
}

/// C-6-2-3
#[test]
fn a_delta_is_sent_again_as_a_delta_and_in_order() {
    let peer = Peer::new();
    let (client, line) = peer.connect(stored(&peer));
    client.publish("t", "1").unwrap();
    client.delta_publish("t", "2").unwrap();
    drop(line);
    let mut line = back(&peer, 0);
    assert_eq!(sequence(&line.expect(CommandKind::Publish)), 1);
    assert_eq!(sequence(&line.expect(CommandKind::DeltaPublish)), 2);
}

/// C-3-11-1
#[test]
fn a_refused_write_is_told_once_with_what_it_was() {
    let peer = Peer::new();
    let (told, failures) = channel();
    let told = Mutex::new(told);
    let (client, mut line) = peer.connect(stored(&peer).on_failed_write(move |failure| {
        let original = failure.original().unwrap();
        let what = (original.topic().unwrap().to_string(), original.data().to_vec());
        let _ = told.lock().unwrap().send((failure.sequence(), failure.reason(), what));
    }));
    let receipts = publish(&client, 5);
    persisted(&mut line, 2);
    refused(&mut line, 3, "not entitled");
    persisted(&mut line, 5);
    until("the store is empty", || client.publish_store().unwrap().unpersisted == 0);
    let failures: Vec<_> = failures.try_iter().collect();
    let what = ("t".to_owned(), br#"{"n":3}"#.to_vec());
    assert_eq!(failures, [(Some(3), "not entitled".to_owned(), what)]);
    let fates: Vec<_> = receipts.iter().map(Receipt::state).collect();
    let mut expected = [PublishState::Persisted; 5];
    expected[2] = PublishState::Refused;
    assert_eq!(fates, expected);
    assert_eq!(receipts[2].wait_persisted(PATIENCE).unwrap_err().kind(), ErrorKind::NotEntitled);
}

/// C-3-11-3
#[test]
fn what_the_server_has_already_is_no_failure() {
    let peer = Peer::new();
    let (told, failures) = channel();
    let told = Mutex::new(told);
    let (client, mut line) = peer.connect(stored(&peer).on_failed_write(move |failure| {
        let _ = told.lock().unwrap().send(failure.sequence());
    }));
    publish(&client, 1);
    refused(&mut line, 1, "duplicate");
    until("the store is empty", || client.publish_store().unwrap().unpersisted == 0);
    assert!(failures.try_recv().is_err());
}

/// C-7-9-1
#[test]
fn a_flush_waits_until_everything_before_it_is_persisted() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    publish(&client, 3);
    let flusher = client.clone();
    let flushing = aside(move || flusher.flush(PATIENCE));
    for _ in 0..3 {
        line.expect(CommandKind::Publish);
    }
    persisted(&mut line, 2);
    assert!(line.within(Duration::from_millis(100)).is_empty(), "no flush is written");
    assert!(!flushing.is_finished());
    client.publish("t", "later").unwrap();
    persisted(&mut line, 3);
    flushing.join().unwrap().unwrap();
    assert_eq!(client.publish_store().unwrap().unpersisted, 1, "what came later is not waited for");
    let error = client.flush(Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// C-7-9-2
#[test]
fn without_a_store_a_flush_asks_the_server() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let flusher = client.clone();
    let (result, flush) = placed(&mut line, move || flusher.flush(PATIENCE));
    result.unwrap();
    assert_eq!(flush.command(), CommandKind::Flush);
    assert!(flush.acks().contains(AckType::Processed));
}

/// C-7-9-3
#[test]
fn a_flush_ends_while_others_publish() {
    let server = common::fake_server().start().unwrap();
    let uri = common::uri(&server);
    let builder = common::client("c").server(&uri).publish_store(MemoryPublishStore::new());
    // Never more ahead of the server than this: a flush waits for what is ahead of it.
    let builder = builder.on_store_growth(64 << 10, |_| false);
    let client = builder.ack_conflation(Duration::from_millis(1)).connect().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (publisher, stop) = (client.clone(), Arc::clone(&done));
    let publishing = aside(move || {
        while !stop.load(Ordering::Relaxed) {
            // The server may be slower than this thread, and what waits is waited for.
            if publisher.publish_store().unwrap().unpersisted < 1000 {
                publisher.publish("t", "{}").unwrap();
            }
        }
    });
    for _ in 0..5 {
        client.flush(PATIENCE).unwrap();
    }
    done.store(true, Ordering::Relaxed);
    publishing.join().unwrap();
}

/// C-7-4-1
#[test]
fn what_was_kept_comes_after_heartbeats_and_before_subscriptions() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(10)).jitter(0.0);
    let builder = peer.client("c").reconnect(policy).heartbeat(Duration::from_secs(600));
    let builder = builder.publish_store(MemoryPublishStore::new());
    let connecting = aside(move || builder.connect().unwrap());
    let mut line = peer.accept_logon();
    let client = connecting.join().unwrap();
    let beat = line.expect(CommandKind::Heartbeat);
    line.ack(&beat);
    let subscriber = client.clone();
    let (_sub, _) = placed(&mut line, move || subscriber.subscribe("t").start().unwrap());
    publish(&client, 5);
    persisted(&mut line, 2);
    until("two are persisted", || client.publish_store().unwrap().unpersisted == 3);
    drop(line);
    let mut line = back(&peer, 2);
    line.expect(CommandKind::Heartbeat);
    for expected in [3, 4, 5] {
        assert_eq!(sequence(&line.expect(CommandKind::Publish)), expected);
    }
    line.expect(CommandKind::Subscribe);
}

/// C-3-12-1
#[test]
fn a_full_recovery_goes_through_every_state_in_order() {
    let server = common::fake_server().start().unwrap();
    let uri = common::uri(&server);
    let policy = Reconnect::new().initial(Duration::from_millis(1)).jitter(0.0);
    let builder = common::client("c").server(&uri).reconnect(policy).heartbeat(Duration::from_secs(600));
    let (builder, states) = states(builder.publish_store(MemoryPublishStore::new()));
    let client = builder.connect().unwrap();
    let expect = |expected: &[ConnectionState]| {
        for state in expected {
            assert_eq!(states.recv_timeout(PATIENCE).unwrap(), *state);
        }
    };
    use ConnectionState as S;
    let full = [S::Connected, S::LoggedOn, S::HeartbeatInitiated, S::PublishReplayed, S::Resubscribed];
    expect(&full);
    let _sub = client.subscribe("t").start().unwrap();
    server.drop_connection("c", Drop::Reset);
    expect(&[S::Disconnected]);
    expect(&full);
    assert!(states.try_recv().is_err());
}

/// C-7-4-2
#[test]
fn numbers_ascend_on_every_connection_while_a_thread_publishes() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    let done = Arc::new(AtomicBool::new(false));
    let (publisher, stop) = (client.clone(), Arc::clone(&done));
    let publishing = aside(move || {
        while !stop.load(Ordering::Relaxed) {
            publisher.publish("t", "{}").unwrap();
        }
    });
    let mut has = 0;
    for round in 0..4 {
        let mut last = has;
        for i in 0..500 {
            let number = sequence(&line.expect(CommandKind::Publish));
            assert_eq!(number, last + 1, "round {round}");
            last = number;
            if i == 200 {
                persisted(&mut line, last);
                has = last;
            }
        }
        drop(line);
        line = back(&peer, has);
    }
    done.store(true, Ordering::Relaxed);
    drop(line);
    publishing.join().unwrap();
    client.abort();
}

/// C-7-4-3
#[test]
fn a_replay_that_was_cut_off_begins_anew() {
    let peer = Peer::new();
    let (client, line) = peer.connect(stored(&peer));
    publish(&client, 4);
    drop(line);
    let mut line = back(&peer, 0);
    assert_eq!(sequence(&line.expect(CommandKind::Publish)), 1);
    drop(line);
    let mut line = back(&peer, 0);
    for expected in 1..=4 {
        assert_eq!(sequence(&line.expect(CommandKind::Publish)), expected);
    }
}

/// C-7-5-1
#[test]
fn handlers_and_streams_are_placed_again_in_order() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    let mut before = Vec::new();
    let subscriber = client.clone();
    let starting = aside(move || {
        let one = subscriber.subscribe("one").on_message(|_| Ok(())).unwrap();
        let two = subscriber.subscribe("two").on_message(|_| Ok(())).unwrap();
        let three = subscriber.subscribe("three").start().unwrap();
        (one, two, three)
    });
    for _ in 0..3 {
        let command = line.expect(CommandKind::Subscribe);
        line.ack(&command);
        before.push(common::sid(&command));
    }
    let _subs = starting.join().unwrap();
    drop(line);
    let mut line = back(&peer, 0);
    let after: Vec<String> = (0..3).map(|_| common::sid(&line.expect(CommandKind::Subscribe))).collect();
    assert_eq!(after, before);
    assert!(line.within(Duration::from_millis(50)).is_empty());
}

/// C-7-5-4
#[test]
fn a_replacement_is_placed_again_without_that_option() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    let subscriber = client.clone();
    let (sub, command) = placed(&mut line, move || subscriber.subscribe("t").sub_id("S").start().unwrap());
    let replace = Command::subscribe("t").options("replace,oof").sub_id("S");
    let replacer = client.clone();
    let (_, replaced) = placed(&mut line, move || replacer.perform(&replace).unwrap());
    assert!(replaced.options().unwrap().to_string().contains("replace"));
    drop((line, command));
    let mut line = back(&peer, 0);
    assert_eq!(line.expect(CommandKind::Subscribe).options().unwrap().to_string(), "oof");
    drop(sub);
}

/// C-7-6-1
#[test]
fn a_command_without_an_answer_is_sent_again() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(stored(&peer));
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("t").on_message(|_| Ok(())).map(drop));
    let first = line.expect(CommandKind::Subscribe);
    drop(line);
    let mut line = back(&peer, 0);
    let again = line.expect(CommandKind::Subscribe);
    assert_eq!(common::sid(&again), common::sid(&first));
    line.ack(&again);
    starting.join().unwrap().unwrap();
    let rest = line.within(Duration::from_millis(50));
    assert!(rest.iter().all(|message| message.command() != CommandKind::Subscribe), "once: {rest:?}");
}

/// C-7-6-3
#[test]
fn a_command_that_waits_for_a_server_times_out() {
    let peer = Peer::new();
    let (builder, states) = states(stored(&peer));
    let (client, line) = peer.connect(builder);
    drop((line, peer));
    while states.recv_timeout(PATIENCE).unwrap() != ConnectionState::Disconnected {}
    let error = client.subscribe("t").timeout(Duration::from_millis(50)).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}
