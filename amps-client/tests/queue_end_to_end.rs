//! The client and the fake server together, over real sockets.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc::channel};
use std::time::{Duration, Instant};

use amps_client::{Client, ConnectionState, ErrorKind, Reconnect, SowDelete};
use amps_testkit::{Drop, FakeServer, QueueConfig};
use common::PATIENCE;

fn client(server: &FakeServer, name: &str) -> Client {
    common::client(name)
        .server(common::uri(server))
        .reconnect(Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0))
        .connect()
        .unwrap()
}

/// Waits until something holds that another thread brings about.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} never happened");
        std::thread::yield_now();
    }
}

fn feed(server: &FakeServer, count: u32) {
    for id in 1..=count {
        server.publish("work", format!(r#"{{"id":{id},"even":{}}}"#, id % 2 == 0)).unwrap();
    }
}

#[test]
fn a_lease_that_ends_gives_the_message_to_another() {
    let lease = Duration::from_secs(30);
    let queue = QueueConfig::new("work").lease(lease).max_backlog(1);
    let server = common::fake_server().queue(queue).virtual_clock().start().unwrap();
    let (one, two) = (client(&server, "one"), client(&server, "two"));
    let mut first = one.subscribe("work").start().unwrap();
    feed(&server, 1);
    let held = first.next().unwrap().unwrap();
    let mut second = two.subscribe("work").start().unwrap();
    assert!(second.next_within(Duration::from_millis(20)).unwrap().is_none());
    // The first cannot take another while it holds one.
    server.advance(lease);
    let again = std::iter::from_fn(|| {
        for work in [&mut second, &mut first] {
            if let Some(message) = work.next_within(Duration::from_millis(20)).unwrap() {
                return Some(message);
            }
        }
        None
    })
    .next()
    .unwrap();
    assert_eq!(again.bookmark(), held.bookmark());
    again.ack();
    until("the acknowledgement", || server.queue("work").unwrap().counters.acknowledged == 1);
}

#[test]
fn every_message_is_processed_once_while_connections_are_cut_at_random_moments() {
    let queue = QueueConfig::new("work").lease(Duration::from_secs(600)).max_backlog(20);
    let server = common::fake_server().queue(queue).start().unwrap();
    let total = 5000;
    let seen = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let clients: Vec<Client> = (0..3)
        .map(|i| {
            let client = common::client(format!("worker-{i}"))
                .server(common::uri(&server))
                .reconnect(Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0))
                .ack_batch_size(7)
                .ack_timeout(Duration::from_millis(20))
                .connect()
                .unwrap();
            let seen = Arc::clone(&seen);
            client
                .subscribe("work")
                .max_backlog(20)
                .auto_ack(true)
                .on_message(move |message| {
                    let text = String::from_utf8_lossy(message.data()).into_owned();
                    *seen.lock().unwrap().entry(text).or_default() += 1;
                    Ok(())
                })
                .unwrap();
            client
        })
        .collect();
    feed(&server, total);
    for round in 0..9 {
        let target = (round + 1) * total as usize / 10;
        until("progress", || seen.lock().unwrap().len() >= target);
        let how = if round % 2 == 0 { Drop::Fin } else { Drop::Reset };
        server.drop_connection(&format!("worker-{}", round % 3), how);
    }
    until("the end", || seen.lock().unwrap().len() == total as usize);
    until("an empty queue", || {
        let queue = server.queue("work").unwrap();
        queue.counters.acknowledged == u64::from(total)
    });
    for client in &clients {
        client.close().unwrap();
    }
}

#[test]
fn a_server_that_comes_back_empty_is_served_again() {
    let queue = QueueConfig::new("work").max_backlog(10);
    let server = common::fake_server().queue(queue).start().unwrap();
    let (sender, states) = channel();
    let client = common::client("survivor")
        .server(common::uri(&server))
        .reconnect(Reconnect::new().initial(Duration::from_millis(5)))
        .on_state(move |state| _ = sender.send(state))
        .connect()
        .unwrap();
    let mut work = client.subscribe("work").max_backlog(10).auto_ack(true).start().unwrap();
    while states.recv_timeout(PATIENCE).unwrap() != ConnectionState::Resubscribed {}
    feed(&server, 3);
    assert!(work.next().unwrap().unwrap().is_leased());
    server.restart_empty();
    while states.recv_timeout(PATIENCE).unwrap() != ConnectionState::Resubscribed {}
    client.publish("work", "after the restart").unwrap();
    // What was unread came from leases of the old server, and is gone with it.
    assert_eq!(work.next().unwrap().unwrap().data(), b"after the restart");
}

#[test]
fn a_message_that_is_cancelled_too_often_leaves_the_queue() {
    let queue = QueueConfig::new("work").max_backlog(1).max_cancels(2);
    let server = common::fake_server().queue(queue).start().unwrap();
    let client = client(&server, "canceller");
    let mut work = client.subscribe("work").start().unwrap();
    feed(&server, 2);
    for _ in 0..2 {
        let message = work.next().unwrap().unwrap();
        assert!(message.data().starts_with(br#"{"id":1,"#));
        message.cancel();
    }
    let next = work.next().unwrap().unwrap();
    assert!(next.data().starts_with(br#"{"id":2,"#));
    next.expire();
    until("both are gone", || {
        let queue = server.queue("work").unwrap();
        queue.available.is_empty() && queue.leased.is_empty()
    });
}

#[test]
fn filters_choose_what_a_worker_takes_and_what_is_deleted() {
    let server = common::fake_server().queue(QueueConfig::new("work").max_backlog(100)).start().unwrap();
    let client = client(&server, "chooser");
    let bad = client.subscribe("work").filter("/id ==").start().unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::BadFilter);
    feed(&server, 10);
    client.sow_delete(&SowDelete::by_filter("work", "/id > 8")).unwrap();
    let mut work = client.subscribe("work").filter("/even").max_backlog(100).auto_ack(true).start().unwrap();
    assert_eq!(work.granted_backlog(), Some(100));
    let ids: Vec<u8> = work.by_ref().take(4).map(|m| m.unwrap().data()[6]).collect();
    assert_eq!(ids, b"2468");
    assert!(work.next_within(Duration::from_millis(20)).unwrap().is_none());
    drop(work);
    until("the odd ones wait", || server.queue("work").unwrap().available.len() == 4);
}

/// C-10-5-2
#[test]
fn a_second_client_of_the_same_name_takes_the_place_of_the_first() {
    let server = common::fake_server().queue(QueueConfig::new("work")).start().unwrap();
    let (sender, states) = channel();
    let first = common::client("twin")
        .server(common::uri(&server))
        .on_state(move |state| _ = sender.send(state))
        .connect()
        .unwrap();
    let _second = common::client("twin").server(common::uri(&server)).connect().unwrap();
    while states.recv_timeout(PATIENCE).unwrap() != ConnectionState::Disconnected {}
    assert!(!first.is_connected());
}

#[test]
fn a_refused_logon_and_wrong_credentials_are_typed() {
    let server = common::fake_server().refuse_logon("not entitled").start().unwrap();
    let error = common::client("c").server(common::uri(&server)).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotEntitled);

    let server = common::fake_server().credentials("ada", "s3cret").start().unwrap();
    let uri = |who: &str| common::with_user(&common::uri(&server), who);
    let error = common::client("c").server(uri("ada:wrong")).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    common::client("c").server(uri("ada:s3cret")).connect().unwrap();
}

#[test]
fn close_leaves_nothing_leased_behind() {
    let server = common::fake_server().queue(QueueConfig::new("work").max_backlog(50)).start().unwrap();
    let client = common::client("closer").server(common::uri(&server)).ack_batch_size(50).connect().unwrap();
    let (sender, processed) = channel();
    client
        .subscribe("work")
        .max_backlog(50)
        .auto_ack(true)
        .on_message(move |_| Ok(sender.send(())?))
        .unwrap();
    feed(&server, 200);
    for _ in 0..120 {
        processed.recv_timeout(PATIENCE).unwrap();
    }
    client.close().unwrap();
    let done = 120 + processed.try_iter().count() as u64;
    let queue = server.queue("work").unwrap();
    assert_eq!(queue.counters.acknowledged, done, "what was processed was acknowledged");
    assert!(queue.leased.is_empty());
    assert_eq!(queue.available.len() as u64, 200 - done);
}

#[test]
fn an_extended_lease_lasts_longer_and_is_still_acknowledged() {
    let queue = QueueConfig::new("work").lease(Duration::from_secs(10)).max_backlog(1);
    let server = common::fake_server().queue(queue).virtual_clock().start().unwrap();
    let client = client(&server, "slow");
    let mut work = client.subscribe("work").start().unwrap();
    feed(&server, 1);
    let message = work.next().unwrap().unwrap();
    server.advance(Duration::from_secs(8));
    message.ack_with(&amps_client::AckOption::ExtendLease(Duration::from_secs(10)));
    client.flush(PATIENCE).unwrap();
    server.advance(Duration::from_secs(8));
    assert_eq!(server.queue("work").unwrap().leased.len(), 1, "the first lease would be over");
    message.ack();
    until("the acknowledgement", || server.queue("work").unwrap().counters.acknowledged == 1);
}
