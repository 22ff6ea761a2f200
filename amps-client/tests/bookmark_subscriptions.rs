//! Replays with a bookmark store: where they begin, what is new, and how far they are.

mod common;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use amps_client::bookmarks::{MOST_RECENT, MessageId};
use amps_client::{
    AckType, AckTypes, AfterRefusal, Arrival, BookmarkStore, Client, ClientBuilder, Command, CommandKind,
    ErrorKind, MemoryBookmarkStore, RawMessage, Reconnect, RecoveryPoint, RecoveryPointAdapter, StoreError,
    StoredPoint, Subscription,
};
use amps_protocol::Message;
use amps_testkit::Drop;
use common::{Line, PATIENCE, Peer, aside, errors, placed, unexpected, until};

fn id(publisher: u64, sequence: u64) -> MessageId {
    MessageId { publisher, sequence }
}

/// A client that reconnects at once, and its store.
fn resilient(peer: &Peer) -> (ClientBuilder, Arc<MemoryBookmarkStore>) {
    let store = Arc::new(MemoryBookmarkStore::new());
    let policy = Reconnect::new().initial(Duration::from_millis(10)).jitter(0.0);
    let builder = peer.client("c").reconnect(policy).heartbeat(Duration::ZERO);
    (builder.shared_bookmark_store(Arc::clone(&store) as Arc<dyn BookmarkStore>), store)
}

fn duplicates(builder: ClientBuilder) -> (ClientBuilder, Receiver<String>) {
    let (sender, receiver) = channel();
    let listener = move |message: &RawMessage<&[u8]>| {
        _ = sender.send(message.bookmark().map(ToString::to_string).unwrap_or_default());
    };
    (builder.on_duplicate(listener), receiver)
}

fn logged(sid: &str, bookmark: &str) -> String {
    format!(r#"{{"c":"p","bm":"{bookmark}","t":"t","sids":"{sid}","l":2}}{{}}"#)
}

/// An acknowledgement that says how far the log of a replay is.
fn progress(line: &mut Line, command: &Message, kind: &str, bookmark: &str) {
    let (cid, sub) = (command.command_id().unwrap(), command.sub_id().unwrap());
    line.send(&format!(
        r#"{{"c":"ack","cid":"{cid}","sub_id":"{sub}","bm":"{bookmark}","a":"{kind}","status":"success"}}"#
    ));
}

fn replay(client: &Client, line: &mut Line, bookmark: &'static str) -> (Subscription, Message) {
    let client = client.clone();
    placed(line, move || client.bookmark_subscribe("t", bookmark).sub_id("S").start().unwrap())
}

fn bm(command: &Message) -> String {
    command.bookmark().unwrap().to_string()
}

fn options(command: &Message) -> String {
    command.options().map(ToString::to_string).unwrap_or_default()
}

/// C-7-10-1
#[test]
fn most_recent_of_an_empty_store_is_the_beginning() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let (_sub, command) = replay(&client, &mut line, MOST_RECENT);
    assert_eq!(bm(&command), "0");
    assert_eq!(options(&command), "");
}

#[test]
fn most_recent_without_a_store_is_the_beginning() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (_sub, command) = replay(&client, &mut line, MOST_RECENT);
    assert_eq!(bm(&command), "0", "the word itself never goes on the wire");
    assert!(!command.acks().contains(AckType::Persisted));
}

/// C-7-10-2
#[test]
fn most_recent_is_the_recovery_point_of_the_store() {
    let peer = Peer::new();
    let (builder, store) = resilient(&peer);
    for message in [id(1, 5), id(2, 9)] {
        assert_eq!(store.arrived("S", message).unwrap(), Arrival::New);
        store.discard("S", message).unwrap();
    }
    let (client, mut line) = peer.connect(builder);
    let (_sub, command) = replay(&client, &mut line, MOST_RECENT);
    assert_eq!(bm(&command), "1|5|,2|9|");
    assert_eq!(options(&command), "bookmark_not_found=epoch", "a server that knows neither skips nothing");
}

/// C-7-10-3
#[test]
fn a_client_with_a_store_asks_how_far_the_server_is() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let (_sub, command) = replay(&client, &mut line, "0");
    for kind in [AckType::Processed, AckType::Persisted, AckType::Completed] {
        assert!(command.acks().contains(kind), "{command:?}");
    }
    let plain = client.clone();
    let (_plain, command) = placed(&mut line, move || plain.subscribe("t").start().unwrap());
    assert!(!command.acks().contains(AckType::Persisted), "no bookmark, no replay");
    let (client, mut line) = peer.connect(peer.client("d"));
    let (_sub, command) = replay(&client, &mut line, "0");
    assert!(!command.acks().contains(AckType::Persisted), "no store");
}

/// C-7-11-1 C-7-11-4
#[test]
fn a_reconnect_goes_on_behind_what_was_discarded() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (builder, repeated) = duplicates(builder);
    let (client, mut line) = peer.connect(builder);
    let (mut sub, _) = replay(&client, &mut line, "0");
    line.send_all(&[1, 2, 3].map(|n| logged("S", &format!("7|{n}|"))));
    let messages: Vec<_> = sub.by_ref().take(3).map(Result::unwrap).collect();
    messages[0].discard().unwrap();
    messages[2].discard().unwrap();
    drop(line);
    let mut line = peer.accept_logon();
    let again = line.expect(CommandKind::Subscribe);
    assert_eq!(bm(&again), "7|1|", "the second is open");
    assert_eq!(options(&again), "bookmark_not_found=epoch");
    line.ack(&again);
    line.send_all(&[2, 3, 4].map(|n| logged("S", &format!("7|{n}|"))));
    let next = sub.next().unwrap().unwrap();
    assert_eq!(next.bookmark().unwrap().to_string(), "7|4|", "no gap, no notice, nothing twice");
    for expected in ["7|2|", "7|3|"] {
        assert_eq!(repeated.recv_timeout(PATIENCE).unwrap(), expected);
    }
    messages[1].discard().unwrap();
    drop(line);
    let mut line = peer.accept_logon();
    assert_eq!(bm(&line.expect(CommandKind::Subscribe)), "7|3|", "the fourth is open");
}

/// C-7-11-3
#[test]
fn a_message_that_was_delivered_comes_once() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (builder, repeated) = duplicates(builder);
    let (client, mut line) = peer.connect(builder);
    let (seen, messages) = channel();
    let subscriber = client.clone();
    let placing = aside(move || {
        subscriber.bookmark_subscribe("t", "0").sub_id("S").on_message(move |message| {
            seen.send(message.bookmark().unwrap().to_string())?;
            Ok(())
        })
    });
    let command = line.expect(CommandKind::Subscribe);
    line.ack(&command);
    let _sub = placing.join().unwrap().unwrap();
    line.send_all(&["7|1|", "7|1|", "7|2|"].map(|bookmark| logged("S", bookmark)));
    assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), "7|1|");
    assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), "7|2|");
    assert_eq!(repeated.recv_timeout(PATIENCE).unwrap(), "7|1|");
}

/// C-7-11-5
#[test]
fn what_is_persisted_counts_once_nothing_before_it_is_open() {
    let peer = Peer::new();
    let (builder, store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let (mut sub, command) = replay(&client, &mut line, "0");
    progress(&mut line, &command, "persisted", "9|50|");
    line.send(&logged("S", "7|1|"));
    let first = sub.next().unwrap().unwrap();
    assert_eq!(store.recovery_point("S").bookmark, "0", "while it replays, the server may be ahead of it");
    progress(&mut line, &command, "completed", "7|1|");
    progress(&mut line, &command, "persisted", "9|100|");
    line.send(&logged("S", "7|2|"));
    let second = sub.next().unwrap().unwrap();
    assert!(!store.recovery_point("S").bookmark.contains("9|100|"), "the first is open");
    first.discard().unwrap();
    let point = store.recovery_point("S").bookmark;
    assert!(point.contains("9|100|") && point.contains("7|1|"), "{point}");
    second.discard().unwrap();
}

#[test]
fn a_fully_durable_replay_believes_one_acknowledgement_less() {
    let peer = Peer::new();
    let (builder, store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let command = Command::subscribe("t").bookmark("0").sub_id("S").fully_durable();
    let subscriber = client.clone();
    let (_sub, command) = placed(&mut line, move || subscriber.execute(&command).unwrap());
    progress(&mut line, &command, "completed", "7|1|");
    progress(&mut line, &command, "persisted", "7|5|");
    progress(&mut line, &command, "persisted", "7|9|");
    until("the first acknowledgement counts", || store.recovery_point("S").bookmark == "7|5|");
}

#[test]
fn from_now_on_means_the_same_place_after_a_reconnect() {
    for (place, expected) in [(r#","bm":"7|41|""#, "7|41|"), ("", "0")] {
        let peer = Peer::new();
        let (builder, store) = resilient(&peer);
        let (client, mut line) = peer.connect(builder);
        let (_sub, command) = replay(&client, &mut line, "0|1|");
        assert_eq!(bm(&command), "0|1|");
        let cid = command.command_id().unwrap();
        line.send(&format!(
            r#"{{"c":"ack","cid":"{cid}","sub_id":"S"{place},"a":"completed","status":"success"}}"#
        ));
        until("the place is known", || store.recovery_point("S").bookmark == expected);
        drop(line);
        let mut line = peer.accept_logon();
        let again = line.expect(CommandKind::Subscribe);
        assert_eq!(bm(&again), expected, "nothing that was published meanwhile is skipped");
    }
}

#[test]
fn a_replay_from_now_on_that_was_lost_before_anybody_said_where_says_so() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let (mut sub, _) = replay(&client, &mut line, "0|1|");
    drop(line);
    let mut line = peer.accept_logon();
    let again = line.expect(CommandKind::Subscribe);
    assert_eq!(bm(&again), "0|1|");
    line.ack(&again);
    assert_eq!(sub.next().unwrap().unwrap_err().kind(), ErrorKind::Resumed);
}

#[test]
fn a_range_and_a_limited_replay_begin_again_where_they_began() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let commands = [
        Command::subscribe("t").sub_id("A").bookmark("[7|1|:7|9|)"),
        Command::subscribe("t").sub_id("B").bookmark("0").top_n(5),
    ];
    let mut subs = Vec::new();
    for (command, sid) in commands.into_iter().zip(["A", "B"]) {
        let client = client.clone();
        let (mut sub, _) = placed(&mut line, move || client.execute(&command).unwrap());
        line.send(&logged(sid, "7|1|"));
        sub.next().unwrap().unwrap().discard().unwrap();
        subs.push(sub);
    }
    drop(line);
    let mut line = peer.accept_logon();
    assert_eq!(bm(&line.expect(CommandKind::Subscribe)), "[7|1|:7|9|)");
    assert_eq!(bm(&line.expect(CommandKind::Subscribe)), "0");
}

#[test]
fn an_old_server_that_may_know_nothing_replays_from_the_start() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let (mut sub, command) = replay(&client, &mut line, "20200101T000000");
    line.send(&logged("S", "7|1|"));
    sub.next().unwrap().unwrap().discard().unwrap();
    let old = |peer: &Peer| {
        let mut line = peer.accept();
        let logon = line.expect(CommandKind::Logon);
        line.ack_with(&logon, r#","version":"5.3.3.0""#);
        line
    };
    drop(line);
    let mut line = old(&peer);
    let again = line.expect(CommandKind::Subscribe);
    assert_eq!((bm(&again), options(&again)), ("20200101T000000".into(), String::new()));
    line.ack(&again);
    progress(&mut line, &again, "completed", "7|1|");
    progress(&mut line, &again, "persisted", "7|1|");
    line.send(&logged("S", "7|2|"));
    sub.next().unwrap().unwrap().discard().unwrap();
    drop(line);
    let mut line = old(&peer);
    let again = line.expect(CommandKind::Subscribe);
    assert!(bm(&again).contains("7|1|"), "what every replica has is known there too: {again:?}");
    assert_eq!(options(&again), "", "an option that it does not know would be refused");
    drop(command);
}

#[test]
fn without_a_store_a_replay_begins_again_at_its_bookmark_and_says_so() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(10)).jitter(0.0);
    let (client, mut line) = peer.connect(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    let (mut sub, _) = replay(&client, &mut line, "7|1|");
    drop(line);
    let mut line = peer.accept_logon();
    let again = line.expect(CommandKind::Subscribe);
    assert_eq!(bm(&again), "7|1|");
    line.ack(&again);
    assert_eq!(sub.next().unwrap().unwrap_err().kind(), ErrorKind::Resumed);
}

/// C-7-10-4
#[test]
fn several_replays_are_resumed_by_one_command() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let _subs = ["A", "B"].map(|id| {
        let client = client.clone();
        placed(&mut line, move || client.bookmark_subscribe("t", "0").sub_id(id).start().unwrap()).0
    });
    let resumer = client.clone();
    let (result, frame) = placed(&mut line, move || resumer.resume(["A", "B"]));
    result.unwrap();
    assert_eq!(frame.sub_id().unwrap().to_string(), "A,B");
    assert_eq!(options(&frame), "resume");
    assert_eq!(frame.topic().unwrap().to_string(), "t");
    let error = client.pause(["nobody"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSubscription);
}

/// C-7-10-5
#[test]
fn what_was_resumed_together_is_so_again_after_a_reconnect() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let mut subs = ["A", "B", "C"].map(|id| {
        let command = Command::subscribe("t").bookmark("0").sub_id(id).pause();
        let client = client.clone();
        placed(&mut line, move || client.execute(&command).unwrap()).0
    });
    let resumer = client.clone();
    placed(&mut line, move || resumer.resume(["A", "B"]).unwrap());
    line.send_all(&[logged("A", "7|3|"), logged("B", "7|1|"), logged("B", "8|5|")]);
    for sub in &mut subs[..1] {
        sub.next().unwrap().unwrap().discard().unwrap();
    }
    for _ in 0..2 {
        subs[1].next().unwrap().unwrap().discard().unwrap();
    }
    drop(line);
    let mut line = peer.accept_logon();
    for (id, bookmark) in [("A", "7|1|,8|5|"), ("B", "7|1|,8|5|"), ("C", "0")] {
        let again = line.expect(CommandKind::Subscribe);
        assert_eq!(again.sub_id().unwrap().to_string(), id);
        assert!(options(&again).contains("pause"), "{again:?}");
        let mut entries: Vec<String> = bm(&again).split(',').map(str::to_owned).collect();
        entries.sort();
        assert_eq!(entries.join(","), bookmark);
    }
    let resume = line.expect(CommandKind::Subscribe);
    assert_eq!((resume.sub_id().unwrap().to_string(), options(&resume)), ("A,B".into(), "resume".into()));
    assert!(line.within(Duration::from_millis(50)).is_empty(), "C stays paused");
}

/// C-7-10-6
#[test]
fn live_and_rate_exclude_each_other() {
    let peer = Peer::new();
    let (client, _line) = peer.connect(peer.client("c"));
    let command = Command::subscribe("t").bookmark("0").options("live,rate=100");
    assert_eq!(client.execute(&command).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// C-7-5-2
#[test]
fn the_application_decides_what_becomes_of_a_refused_subscription() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (builder, errors) = errors(builder);
    let builder = builder.on_failed_resubscription(|command, error| {
        assert_eq!(error.kind(), ErrorKind::NotEntitled);
        match command.get_topic() {
            Some("next") => AfterRefusal::NextServer,
            _ => AfterRefusal::EndSubscription,
        }
    });
    let (client, mut line) = peer.connect(builder);
    let mut subs: Vec<Subscription> = ["ends", "next"]
        .into_iter()
        .map(|topic| {
            let client = client.clone();
            placed(&mut line, move || client.subscribe(topic).start().unwrap()).0
        })
        .collect();
    drop(line);
    let mut line = peer.accept_logon();
    let first = line.expect(CommandKind::Subscribe);
    let second = line.expect(CommandKind::Subscribe);
    line.refuse(&first, "not entitled");
    line.refuse(&second, "not entitled");
    assert!(line.next().is_none(), "the connection is given up");
    let mut line = peer.accept_logon();
    let again = line.expect(CommandKind::Subscribe);
    assert_eq!(again.topic().unwrap().to_string(), "next", "what ended is not tried again");
    line.ack(&again);
    assert_eq!(subs[0].next().unwrap().unwrap_err().kind(), ErrorKind::NotEntitled);
    assert_eq!(subs[1].next().unwrap().unwrap_err().kind(), ErrorKind::Resumed);
    let kinds: Vec<_> = errors.try_iter().map(|error| error.kind()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == ErrorKind::NotEntitled).count(), 2, "{kinds:?}");
}

#[test]
fn a_new_subscriber_gets_what_the_last_one_left_and_nothing_of_its_connection() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (builder, strays) = unexpected(builder);
    let (client, mut line) = peer.connect(builder);
    let (mut sub, _) = replay(&client, &mut line, MOST_RECENT);
    line.send_all(&[1, 2, 3].map(|n| logged("S", &format!("7|{n}|"))));
    sub.next().unwrap().unwrap().discard().unwrap();
    let left = sub.next().unwrap().unwrap();
    drop(sub);
    line.expect(CommandKind::Unsubscribe);
    let subscriber = client.clone();
    let starting =
        aside(move || subscriber.bookmark_subscribe("t", MOST_RECENT).sub_id("S").start().unwrap());
    let again = line.expect(CommandKind::Subscribe);
    assert_eq!(bm(&again), "7|1|");
    // The server had not heard of the end yet.
    line.send(&logged("S", "7|4|"));
    line.ack(&again);
    let mut sub = starting.join().unwrap();
    line.send_all(&[2, 3, 4].map(|n| logged("S", &format!("7|{n}|"))));
    let bookmarks: Vec<String> =
        sub.by_ref().take(3).map(|message| message.unwrap().bookmark().unwrap().to_string()).collect();
    assert_eq!(bookmarks, ["7|2|", "7|3|", "7|4|"]);
    assert_eq!(strays.recv_timeout(PATIENCE).unwrap(), "p t {}");
    left.discard().unwrap();
}

/// C-3-9-4
#[test]
fn a_replay_goes_on_across_servers_without_a_gap() {
    let server = common::fake_server().txlog("orders").start().unwrap();
    let uri = common::uri(&server);
    let store = Arc::new(MemoryBookmarkStore::new());
    let policy = Reconnect::new().initial(Duration::from_millis(1)).jitter(0.0);
    let client = common::client("reader")
        .server(&uri)
        .reconnect(policy.clone())
        .shared_bookmark_store(Arc::clone(&store) as Arc<dyn BookmarkStore>)
        .connect()
        .unwrap();
    let publisher = common::client("writer").server(&uri).connect().unwrap();
    let mut orders = client.bookmark_subscribe("orders", MOST_RECENT).sub_id("orders-1").start().unwrap();
    let mut seen = Vec::new();
    for round in 0..5 {
        for n in 0..20 {
            publisher.publish("orders", format!("{{\"id\":{}}}", round * 20 + n)).unwrap();
        }
        publisher.flush(PATIENCE).unwrap();
        for _ in 0..15 {
            let message = orders.next().unwrap().unwrap();
            seen.push(message.data_str().unwrap().to_owned());
            message.discard().unwrap();
        }
        server.drop_connection("reader", Drop::Reset);
    }
    while seen.len() < 100 {
        let message = orders.next().unwrap().unwrap();
        seen.push(message.data_str().unwrap().to_owned());
        message.discard().unwrap();
    }
    let expected: Vec<String> = (0..100).map(|n| format!("{{\"id\":{n}}}")).collect();
    assert_eq!(seen, expected);
}

/// A store that can note nothing.
struct Broken;

impl BookmarkStore for Broken {
    fn attach(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
    fn begin(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
    fn new_subscriber(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
    fn arrived(&self, _: &str, _: MessageId) -> Result<Arrival, StoreError> {
        Err(StoreError::other("the disk is gone"))
    }
    fn discard(&self, _: &str, _: MessageId) -> Result<(), StoreError> {
        Err(StoreError::other("the disk is gone"))
    }
    fn persisted(&self, _: &str, _: MessageId) -> Result<(), StoreError> {
        Ok(())
    }
    fn recovery_point(&self, _: &str) -> RecoveryPoint {
        RecoveryPoint::default()
    }
    fn oldest_open(&self, _: &str) -> Option<MessageId> {
        None
    }
    fn open_messages(&self, _: &str) -> usize {
        0
    }
    fn purge(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn purge_sub(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// C-3-10-3
#[test]
fn a_store_in_trouble_is_reported_and_delivery_goes_on() {
    let peer = Peer::new();
    let (builder, errors) = errors(peer.client("c").bookmark_store(Broken));
    let (client, mut line) = peer.connect(builder);
    let (mut sub, _) = replay(&client, &mut line, "0");
    line.send(&logged("S", "7|1|"));
    let message = sub.next().unwrap().unwrap();
    assert_eq!(errors.recv_timeout(PATIENCE).unwrap().kind(), ErrorKind::Store);
    assert_eq!(message.discard().unwrap_err().kind(), ErrorKind::Store, "whoever discards is told");
}

/// C-5-1-1
#[test]
fn what_comes_twice_without_a_replay_is_delivered_twice() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("q").max_backlog(5).start().unwrap());
    let command = line.grant(5);
    let mut work = starting.join().unwrap();
    for _ in 0..2 {
        line.deliver(&command, "q", [1]);
        assert_eq!(work.next().unwrap().unwrap().bookmark().unwrap().to_string(), "7|1|");
    }
}

/// C-8-3-1
#[test]
fn the_application_sees_the_acknowledgements_that_it_asked_for_only() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let (told, seen) = channel();
    let command = Command::subscribe("t").bookmark("0").sub_id("S").ack(AckType::Completed);
    let subscriber = client.clone();
    let (sub, command) = placed(&mut line, move || {
        subscriber.execute_with(&command, move |message| {
            told.send((message.command(), message.acks()))?;
            Ok(())
        })
    });
    let _sub = sub.unwrap();
    let expected = [AckType::Completed, AckType::Persisted, AckType::Processed].into_iter();
    assert_eq!(command.acks(), expected.fold(AckTypes::NONE, AckTypes::with));
    progress(&mut line, &command, "persisted", "7|1|");
    progress(&mut line, &command, "completed", "7|1|");
    line.send(&logged("S", "7|2|"));
    let first = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(first, (CommandKind::Ack, AckType::Completed.into()));
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().0, CommandKind::Publish);
}

/// C-7-12-1
#[test]
fn a_replay_begins_where_an_adapter_says() {
    struct Row;
    impl RecoveryPointAdapter for Row {
        fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
            Ok(vec![StoredPoint { sub_id: "S".into(), bookmark: "1|5|".into() }])
        }
        fn update(&self, _: StoredPoint) -> Result<(), StoreError> {
            Ok(())
        }
        fn purge(&self) -> Result<(), StoreError> {
            Ok(())
        }
        fn purge_sub(&self, _: &str) -> Result<(), StoreError> {
            Ok(())
        }
    }
    let peer = Peer::new();
    let builder = peer.client("c").bookmark_store(MemoryBookmarkStore::new().with_adapter(Row));
    let (client, mut line) = peer.connect(builder);
    let (_sub, command) = replay(&client, &mut line, MOST_RECENT);
    assert_eq!(bm(&command), "1|5|");
}

#[test]
fn what_conflation_drops_does_not_hold_the_recovery_point_back() {
    let peer = Peer::new();
    let (builder, store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let (mut sub, _) = placed(&mut line, move || {
        subscriber.bookmark_subscribe("t", "0").sub_id("S").conflate().start().unwrap()
    });
    let record = |n: u64| format!(r#"{{"c":"p","bm":"7|{n}|","t":"t","k":"1","sids":"S","l":2}}{{}}"#);
    line.send_all(&[1, 2, 3].map(record));
    until("the last has taken the others' place", || store.oldest_open("S") == Some(id(7, 3)));
    assert_eq!(store.recovery_point("S").bookmark, "7|2|", "what came last is open");
    let newest = sub.next().unwrap().unwrap();
    newest.discard().unwrap();
    assert_eq!(store.recovery_point("S").bookmark, "7|3|");
}

#[test]
fn a_replay_of_which_nothing_is_acknowledged_is_delivered_all_the_same() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let command = Command::subscribe("t").bookmark("0").sub_id("S").no_acks();
    let mut sub = client.execute(&command).unwrap();
    assert!(line.expect(CommandKind::Subscribe).acks().is_empty());
    line.send(&logged("S", "7|1|"));
    assert_eq!(sub.next().unwrap().unwrap().bookmark().unwrap().to_string(), "7|1|");
}
