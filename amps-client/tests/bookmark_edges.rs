//! Replays with a bookmark store, where something is out of the ordinary.

mod common;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use amps_client::bookmarks::{MOST_RECENT, MessageId};
use amps_client::{
    AckType, BookmarkStore, Client, ClientBuilder, Command, CommandKind, ErrorKind, FileBookmarkStore,
    MemoryBookmarkStore, Reconnect, Subscription,
};
use amps_protocol::Message;
use common::{Line, PATIENCE, Peer, aside, placed, until};

/// A client that reconnects at once, and its store.
fn resilient(peer: &Peer) -> (ClientBuilder, Arc<MemoryBookmarkStore>) {
    let store = Arc::new(MemoryBookmarkStore::new());
    let policy = Reconnect::new().initial(Duration::from_millis(10)).jitter(0.0);
    let builder = peer.client("c").reconnect(policy).heartbeat(Duration::ZERO);
    (builder.shared_bookmark_store(Arc::clone(&store) as Arc<dyn BookmarkStore>), store)
}

fn logged(bookmark: &str) -> String {
    format!(r#"{{"c":"p","bm":"{bookmark}","t":"t","sids":"S","k":"key","l":2}}{{}}"#)
}

fn replay(client: &Client, line: &mut Line, bookmark: &'static str) -> (Subscription, Message) {
    let client = client.clone();
    placed(line, move || client.bookmark_subscribe("t", bookmark).sub_id("S").start().unwrap())
}

fn id(sequence: u64) -> MessageId {
    MessageId { publisher: 7, sequence }
}

#[test]
fn a_replay_that_asks_for_no_acknowledgement_is_delivered() {
    let peer = Peer::new();
    let (builder, store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let command = Command::subscribe("t").bookmark("0").sub_id("S").no_acks();
    let mut sub = client.execute(&command).unwrap();
    line.expect(CommandKind::Subscribe);
    line.send(&logged("7|1|"));
    let message = sub.next_within(PATIENCE).unwrap().expect("it is delivered");
    message.discard().unwrap();
    assert_eq!(store.recovery_point("S").bookmark, "7|1|");
}

#[test]
fn a_refused_second_subscriber_takes_nothing_from_the_first() {
    let peer = Peer::new();
    let (builder, store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let (mut sub, _) = replay(&client, &mut line, "0");
    line.send_all(&[logged("7|1|"), logged("7|2|")]);
    let first = sub.next().unwrap().unwrap();
    let second = sub.next().unwrap().unwrap();
    let refused = client.bookmark_subscribe("t", MOST_RECENT).sub_id("S").start().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::SubscriptionAlreadyExists);
    assert_eq!(store.oldest_open("S"), Some(id(1)));
    second.discard().unwrap();
    assert_eq!(store.recovery_point("S").bookmark, "0", "the first is open");
    first.discard().unwrap();
    assert_eq!(store.recovery_point("S").bookmark, "7|2|");
}

#[test]
fn discarding_what_is_no_message_of_the_log_discards_none() {
    let peer = Peer::new();
    let (builder, store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let (told, seen) = channel();
    let command = Command::subscribe("t").bookmark("0").sub_id("S").ack(AckType::Completed);
    let subscriber = client.clone();
    let (sub, command) = placed(&mut line, move || {
        subscriber.execute_with(&command, move |message| {
            if message.command() == CommandKind::Ack {
                message.discard()?;
                told.send(())?;
            }
            Ok(())
        })
    });
    let _sub = sub.unwrap();
    line.send(&logged("7|1|"));
    let cid = command.command_id().unwrap();
    line.send(&format!(
        r#"{{"c":"ack","cid":"{cid}","sub_id":"S","bm":"7|1|","a":"completed","status":"success"}}"#
    ));
    seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(store.oldest_open("S"), Some(id(1)), "the message is still in somebody's hands");
}

#[test]
fn a_conflating_replay_is_done_with_what_was_replaced() {
    let peer = Peer::new();
    let (builder, store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let (mut sub, _) = replay(&client, &mut line, "0");
    sub.conflate();
    let other = logged("7|4|").replace("key", "other");
    line.send_all(&[logged("7|1|"), logged("7|2|"), logged("7|3|"), other]);
    until("the last has come", || sub.depth() == 2);
    assert_eq!(store.oldest_open("S"), Some(id(3)), "nobody is ever going to discard the others");
    for bookmark in ["7|3|", "7|4|"] {
        let message = sub.next().unwrap().unwrap();
        assert_eq!(message.bookmark().unwrap().to_string(), bookmark);
        message.discard().unwrap();
        assert_eq!(store.recovery_point("S").bookmark, bookmark);
    }
}

#[test]
fn where_it_left_off_never_goes_on_the_wire() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let commands =
        [Command::sow("t").bookmark(MOST_RECENT), Command::subscribe("t").bookmark("7|1|, recent")];
    for command in commands {
        assert_eq!(client.execute(&command).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    client.abort();
    assert!(line.rest().is_empty());
}

#[test]
fn a_subscription_that_becomes_a_replay_can_be_discarded() {
    let peer = Peer::new();
    let (builder, store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder);
    let plain = client.clone();
    let (mut sub, _) =
        placed(&mut line, move || plain.execute(&Command::subscribe("t").sub_id("S")).unwrap());
    let replacement = Command::subscribe("t").sub_id("S").bookmark("0");
    let (sub_back, _) = placed(&mut line, move || {
        sub.replace(&replacement).unwrap();
        sub
    });
    sub = sub_back;
    line.send(&logged("7|1|"));
    sub.next().unwrap().unwrap().discard().unwrap();
    assert_eq!(store.recovery_point("S").bookmark, "7|1|");
}

#[test]
fn a_new_subscriber_gets_what_was_under_way_to_the_last_one() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let ((at, hold), (go_on, released)) = (channel(), channel());
    let released = std::sync::Mutex::new(released);
    // The loop is at work on a message while another thread ends its subscription.
    let builder = builder.on_kind(CommandKind::Publish, move |message| {
        if message.data() == b"held" {
            at.send(()).unwrap();
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
    });
    let (client, mut line) = peer.connect(builder);
    let (sub, _) = replay(&client, &mut line, "0");
    line.send(r#"{"c":"p","bm":"7|1|","t":"t","sids":"S","l":4}held"#);
    hold.recv_timeout(PATIENCE).unwrap();
    drop(sub);
    line.expect(CommandKind::Unsubscribe);
    let subscriber = client.clone();
    let starting =
        aside(move || subscriber.bookmark_subscribe("t", MOST_RECENT).sub_id("S").start().unwrap());
    let again = line.expect(CommandKind::Subscribe);
    go_on.send(()).unwrap();
    line.ack(&again);
    let mut sub = starting.join().unwrap();
    line.send(&logged("7|1|"));
    let message = sub.next_within(PATIENCE).unwrap().expect("nobody has seen it");
    assert_eq!(message.bookmark().unwrap().to_string(), "7|1|");
}

#[test]
fn a_replay_that_asks_for_no_acknowledgement_lasts_when_it_had_to_wait() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, line) = peer.connect(builder.command_timeout(Some(Duration::from_millis(100))));
    drop(line);
    until("the loss is noticed", || !client.is_connected());
    let command = Command::subscribe("t").bookmark("0").sub_id("S").no_acks();
    let mut sub = client.execute(&command).unwrap();
    let mut line = peer.accept_logon();
    line.expect(CommandKind::Subscribe);
    assert!(line.within(Duration::from_millis(300)).is_empty(), "it is not ended for want of an answer");
    line.send(&logged("7|1|"));
    assert!(sub.next_within(PATIENCE).unwrap().is_some());
}

#[test]
fn an_id_that_was_made_up_means_nothing_to_the_next_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.bookmarks");
    let run = |topic: &'static str, expected: &str, number: u64| {
        let peer = Peer::new();
        let builder = peer.client("c").bookmark_store(FileBookmarkStore::open(&path).unwrap());
        let (client, mut line) = peer.connect(builder);
        let subscriber = client.clone();
        let (mut sub, command) =
            placed(&mut line, move || subscriber.bookmark_subscribe(topic, MOST_RECENT).start().unwrap());
        assert_eq!(command.bookmark().unwrap().to_string(), expected);
        let sid = command.sub_id().unwrap().to_string();
        line.send(&logged(&format!("7|{number}|")).replace("\"S\"", &format!("\"{sid}\"")));
        let message = sub.next_within(PATIENCE).unwrap().expect("it is new to this topic");
        message.discard().unwrap();
        sid
    };
    let first = run("orders", "0", 9);
    let second = run("trades", "0", 3);
    assert_eq!(first, second, "the same number for something else");
}

#[test]
fn a_long_recovery_point_fits_whatever_may_be_published() {
    let peer = Peer::new();
    let (builder, _store) = resilient(&peer);
    let (client, mut line) = peer.connect(builder.max_message(200));
    let (mut sub, _) = replay(&client, &mut line, "0");
    let frames: Vec<String> = (1..=40).map(|n| logged(&format!("{}|1|", n * 1_000_000))).collect();
    line.send_all(&frames);
    for message in sub.by_ref().take(40) {
        message.unwrap().discard().unwrap();
    }
    drop(line);
    let mut line = peer.accept_logon();
    let again = line.expect(CommandKind::Subscribe);
    assert_eq!(again.bookmark().unwrap().to_string().split(',').count(), 40);
    drop(sub);
    line.expect(CommandKind::Unsubscribe);
    let _placed = replay(&client, &mut line, MOST_RECENT);
}
