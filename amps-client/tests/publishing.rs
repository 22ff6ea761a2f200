//! Publishing: the frame, and what happens when the server does not take what is sent.

mod common;

use std::time::{Duration, Instant};

use amps_client::{CommandKind, ErrorKind, PublishState};
use common::{PATIENCE, Peer, Way, aside, leased};

/// C-1-5-1 C-5-1-2
#[test]
fn a_publish_asks_for_nothing_and_adds_nothing() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let receipt = client.publish("work", br#"{"id":1}"#).unwrap();
    let publish = line.expect(CommandKind::Publish);
    assert_eq!(publish.frame(), br#"{"c":"p","t":"work"}{"id":1}"#);
    assert_eq!(receipt.state(), PublishState::Written);
    client.publish_expiring("work", "x", Duration::from_millis(1500)).unwrap();
    assert_eq!(line.expect(CommandKind::Publish).expiration(), Some(2));
}

#[test]
fn publishes_of_many_threads_never_interleave_and_keep_their_order() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let publishing = aside(move || {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let client = &client;
                scope.spawn(move || {
                    for i in 0..5000 {
                        client.publish("t", format!("{thread}:{i}")).unwrap();
                    }
                });
            }
        });
        client
    });
    let mut next = [0; 4];
    for _ in 0..20_000 {
        let publish = line.expect(CommandKind::Publish);
        let text = String::from_utf8(publish.data().to_vec()).unwrap();
        let (thread, i) = text.split_once(':').unwrap();
        let thread: usize = thread.parse().unwrap();
        assert_eq!(i.parse::<i32>().unwrap(), next[thread]);
        next[thread] += 1;
    }
    drop(publishing.join().unwrap());
}

#[test]
fn a_server_that_stops_reading_holds_the_publisher_back_and_loses_nothing() {
    let peer = Peer::new();
    let limit = 256 * 1024;
    let (client, mut line) = peer.connect(peer.client("c").send_limit(limit));
    let message = vec![b'x'; 10_000];
    let publisher = client.clone();
    let count = 2000;
    let publishing = aside(move || {
        let receipts: Vec<_> = (0..count).map(|_| publisher.publish("t", &message).unwrap()).collect();
        receipts.last().unwrap().clone()
    });
    // The peer begins to read only now and then: the publisher must wait, not fail.
    for _ in 0..count {
        assert_eq!(line.expect(CommandKind::Publish).data().len(), 10_000);
    }
    assert_eq!(publishing.join().unwrap().state(), PublishState::Written);
}

#[test]
fn a_full_queue_fails_after_the_timeout() {
    let peer = Peer::unless(Way::compressed, "sockets have to fill, and what is so plain compresses well");
    let builder = peer.client("c").send_limit(64 * 1024).publish_timeout(Duration::from_millis(50));
    let (client, _line) = peer.connect(builder);
    // The peer reads nothing: the sockets fill, then the queue.
    let began = Instant::now();
    let error = loop {
        if let Err(error) = client.publish("t", vec![b'x'; 60_000]) {
            break error;
        }
        assert!(began.elapsed() < PATIENCE);
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(began.elapsed() >= Duration::from_millis(50));
    let queued = client.publish("t", b"x").unwrap_err().to_string();
    assert!(queued.contains("65536"), "{queued}");
}

/// On the loop, which would have to make the room, a publish does not wait: if it did, this would not end in time.
#[test]
fn a_full_queue_fails_at_once_in_a_handler() {
    let peer = Peer::unless(Way::compressed, "sockets have to fill, and what is so plain compresses well");
    let builder = peer.client("c").send_limit(64 * 1024).publish_timeout(10 * PATIENCE);
    let (client, mut line) = peer.connect(builder);
    let (sender, receiver) = std::sync::mpsc::channel();
    let (inside, subscriber) = (client.clone(), client.clone());
    let starting = aside(move || {
        let publish = move |_: &amps_client::Message<&[u8]>| {
            let error = loop {
                if let Err(error) = inside.publish("t", vec![b'x'; 60_000]) {
                    break error;
                }
            };
            Ok(sender.send(error.kind())?)
        };
        subscriber.subscribe("q").on_message(publish).unwrap()
    });
    let sub = line.grant(1);
    starting.join().unwrap();
    line.send(&leased(&sub.sub_id().unwrap().to_string(), "q", 1));
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), ErrorKind::Full);
    client.abort();
}

#[test]
fn what_a_lost_connection_took_with_it_is_known() {
    let peer = Peer::unless(Way::compressed, "sockets have to fill, and what is so plain compresses well");
    let builder = peer.client("c").publish_timeout(Duration::ZERO).send_limit(1 << 20);
    let (client, line) = peer.connect(builder);
    let mut receipts = Vec::new();
    while let Ok(receipt) = client.publish("t", vec![b'x'; 60_000]) {
        receipts.push(receipt);
    }
    let last = receipts.last().unwrap();
    assert_eq!(last.state(), PublishState::Queued);
    drop(line);
    let began = Instant::now();
    while client.is_connected() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    assert_eq!(last.state(), PublishState::Lost);
    assert_eq!(receipts[0].state(), PublishState::Written);
    assert_eq!(client.publish("t", b"x").unwrap_err().kind(), ErrorKind::Disconnected);
}

#[test]
fn the_last_drop_writes_what_is_buffered() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let count = 5000;
    for i in 0..count {
        client.publish("t", format!("{i}")).unwrap();
    }
    drop(client);
    let all = line.rest();
    assert_eq!(all.len(), count);
}
