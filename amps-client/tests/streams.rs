//! Streams: how they end, how much they hold, and what happens when they are full (client.md 2.3).

mod common;

use std::time::{Duration, Instant};

use amps_client::{AckType, Command, CommandKind, ErrorKind, WhenFull};
use common::{PATIENCE, Peer, Way, aside, plain};

/// A batch of records of the topic `t`, with the keys and bodies `from..=to`.
fn batch(query: &str, numbers: std::ops::RangeInclusive<u32>) -> String {
    let mut frame = format!(r#"{{"c":"sow","t":"t","query_id":"{query}","bs":{}}}"#, numbers.clone().count());
    for n in numbers {
        let body = format!(r#"{{"id":{n}}}"#);
        frame += &format!(r#"{{"k":"{n}","l":{}}}{body}"#, body.len());
    }
    frame
}

/// C-2-3-1 C-4-1-1 C-4-1-2: a query brings each record as a message of its own, and ends.
#[test]
fn a_query_yields_its_records_between_delimiters_and_ends() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let querying = aside(move || client.sow("t").filter("/id > 0").start().map(|records| (client, records)));
    let query = line.expect(CommandKind::Sow);
    assert_eq!((query.batch_size(), query.top_n()), (Some(10), None));
    assert!(query.acks().contains(AckType::Processed) && query.acks().contains(AckType::Completed));
    let id = query.query_id().unwrap().to_string();
    assert!(query.sub_id().is_none());
    line.ack(&query);
    line.send_all(&[
        format!(r#"{{"c":"group_begin","query_id":"{id}"}}"#),
        batch(&id, 1..=3),
        format!(r#"{{"c":"group_end","query_id":"{id}"}}"#),
        format!(r#"{{"c":"ack","cid":"{id}","a":"completed","status":"success"}}"#),
    ]);
    let (client, records) = querying.join().unwrap().unwrap();
    let messages: Vec<_> = records.map(Result::unwrap).collect();
    let kinds: Vec<_> = messages.iter().map(|message| message.command()).collect();
    let record = CommandKind::Sow;
    assert_eq!(kinds, [CommandKind::GroupBegin, record, record, record, CommandKind::GroupEnd]);
    let keys: Vec<_> = messages.iter().filter_map(|message| message.sow_key()).collect();
    assert_eq!(keys, ["1", "2", "3"]);
    assert_eq!(messages[2].data(), br#"{"id":2}"#);
    assert_eq!(messages[2].topic().unwrap(), "t");
    // Nothing was left to end.
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
}

/// MS-4: an acknowledgement that was asked for is part of the result.
#[test]
fn a_query_waits_for_the_statistics_that_were_asked_for() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let querying = aside(move || {
        let records = client.execute(&Command::sow("t").ack(AckType::Stats)).unwrap();
        records.map(|message| message.unwrap().command()).collect::<Vec<_>>()
    });
    let query = line.expect(CommandKind::Sow);
    let id = query.query_id().unwrap().to_string();
    line.ack(&query);
    line.send(&format!(r#"{{"c":"group_begin","query_id":"{id}"}}"#));
    line.send(&format!(r#"{{"c":"group_end","query_id":"{id}"}}"#));
    line.send(&format!(r#"{{"c":"ack","cid":"{id}","a":"stats","status":"success","matches":0}}"#));
    let kinds = querying.join().unwrap();
    assert_eq!(kinds, [CommandKind::GroupBegin, CommandKind::GroupEnd, CommandKind::Ack]);
}

/// C-2-3-2
#[test]
fn a_timeout_does_not_end_a_stream() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscribing = aside(move || client.subscribe("t").start());
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let mut stream = subscribing.join().unwrap().unwrap();
    stream.set_timeout(Some(Duration::from_millis(50)));
    let began = Instant::now();
    assert_eq!(stream.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(began.elapsed() >= Duration::from_millis(50));
    stream.set_timeout(Some(PATIENCE));
    line.send(&plain(&subscribe.sub_id().unwrap().to_string(), "t", "later"));
    assert_eq!(stream.next().unwrap().unwrap().data(), b"later");
}

/// C-2-3-3: what a full stream holds back is looked at once it was read.
#[test]
fn a_stream_holds_no_more_than_its_depth_and_everything_behind_waits() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let subscribing = aside(move || other.subscribe("t").max_depth(2).start());
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let mut stream = subscribing.join().unwrap().unwrap();
    let subscribing = aside(move || client.subscribe("u").start().map(|stream| (client, stream)));
    let second = line.expect(CommandKind::Subscribe);
    line.ack(&second);
    let (client, mut behind) = subscribing.join().unwrap().unwrap();

    let (sid, other) = (subscribe.sub_id().unwrap().to_string(), second.sub_id().unwrap().to_string());
    let mut frames: Vec<String> = (1..=5).map(|n| plain(&sid, "t", &n.to_string())).collect();
    frames.push(plain(&other, "u", "behind"));
    line.send_all(&frames);
    for expected in 1..=5 {
        let message = stream.next().unwrap().unwrap();
        assert_eq!(message.data(), expected.to_string().as_bytes());
        assert!(stream.depth() <= 2);
        if expected < 3 {
            // Three more have to be read before its turn comes; there is room for two.
            assert_eq!(behind.next_within(Duration::ZERO).unwrap().map(|m| m.data().to_vec()), None);
        }
    }
    assert_eq!(behind.next().unwrap().unwrap().data(), b"behind");
    drop(client);
}

/// A depth limit holds in the middle of a batch as well, and no record is lost or repeated.
#[test]
fn a_bounded_query_takes_a_batch_piece_by_piece() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let querying = aside(move || client.sow("t").max_depth(3).batch_size(1000).start());
    let query = line.expect(CommandKind::Sow);
    let id = query.query_id().unwrap().to_string();
    line.ack(&query);
    let mut records = querying.join().unwrap().unwrap();
    line.send(&format!(r#"{{"c":"group_begin","query_id":"{id}"}}"#));
    line.send(&batch(&id, 1..=1000));
    line.send(&batch(&id, 1001..=1001));
    line.send(&format!(r#"{{"c":"group_end","query_id":"{id}"}}"#));
    let mut keys = Vec::new();
    while let Some(message) = records.next() {
        let message = message.unwrap();
        assert!(records.depth() <= 3, "{} unread", records.depth());
        keys.extend(message.sow_key().map(ToString::to_string));
    }
    assert_eq!(keys, (1..=1001).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// C-2-3-4
#[test]
fn what_was_received_is_read_before_the_disconnect() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscribing = aside(move || client.subscribe("t").start().map(|stream| (client, stream)));
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let (_client, mut stream) = subscribing.join().unwrap().unwrap();
    let sid = subscribe.sub_id().unwrap().to_string();
    line.send_all(&(1..=3).map(|n| plain(&sid, "t", &n.to_string())).collect::<Vec<_>>());
    drop(line);
    for n in 1..=3 {
        assert_eq!(stream.next().unwrap().unwrap().data(), n.to_string().as_bytes());
    }
    assert_eq!(stream.next().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    assert!(stream.next().is_none());
    assert!(stream.next().is_none());
}

/// C-2-3-5 C-8-3-3
#[test]
fn dropping_a_stream_ends_its_subscription_once() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let subscribing = aside(move || other.subscribe("t").start());
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    drop(subscribing.join().unwrap().unwrap());
    let unsubscribe = line.expect(CommandKind::Unsubscribe);
    assert_eq!(unsubscribe.sub_id(), subscribe.sub_id());
    assert!(unsubscribe.acks().is_empty());
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
}

#[test]
fn a_query_that_is_dropped_early_is_cancelled() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let querying = aside(move || client.sow("t").start().map(|stream| (client, stream)));
    let query = line.expect(CommandKind::Sow);
    line.ack(&query);
    let (_client, records) = querying.join().unwrap().unwrap();
    drop(records);
    let cancel = line.expect(CommandKind::Unsubscribe);
    assert_eq!(cancel.query_id(), query.query_id());
}

/// MS-15
#[test]
fn another_thread_ends_a_stream_that_waits() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscribing = aside(move || client.subscribe("t").start().map(|stream| (client, stream)));
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let (_client, mut stream) = subscribing.join().unwrap().unwrap();
    let closer = stream.closer();
    let reading = aside(move || stream.next().is_none());
    closer.close();
    assert!(reading.join().unwrap());
    assert_eq!(line.expect(CommandKind::Unsubscribe).sub_id(), subscribe.sub_id());
}

/// A consumer that waits for an answer while its own full stream stops the socket would wait
/// for ever.
#[test]
fn waiting_behind_ones_own_full_stream_is_an_error_and_not_a_hang() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").command_timeout(None));
    let consuming = aside(move || {
        let mut stream = client.subscribe("t").max_depth(2).start().unwrap();
        let first = stream.next().unwrap().unwrap();
        assert_eq!(first.data(), b"1");
        let error = client.flush(PATIENCE).unwrap_err();
        // Read, and it can be answered.
        for _ in 0..4 {
            stream.next().unwrap().unwrap();
        }
        client.flush(PATIENCE).unwrap();
        error.kind()
    });
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let sid = subscribe.sub_id().unwrap().to_string();
    line.send_all(&(1..=5).map(|n| plain(&sid, "t", &n.to_string())).collect::<Vec<_>>());
    // Whether the first flush was written depends on whether the stream was full by then.
    loop {
        let flush = line.next().unwrap();
        if flush.command() != CommandKind::Flush {
            break;
        }
        line.ack(&flush);
    }
    assert_eq!(consuming.join().unwrap(), ErrorKind::Usage);
}

#[test]
fn a_stream_that_is_to_fail_when_it_is_full_ends_with_what_it_holds() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscribing = aside(move || {
        client.subscribe("t").max_depth(3).when_full(WhenFull::Fail).start().map(|s| (client, s))
    });
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let (_client, mut stream) = subscribing.join().unwrap().unwrap();
    let sid = subscribe.sub_id().unwrap().to_string();
    line.send_all(&(1..=9).map(|n| plain(&sid, "t", &n.to_string())).collect::<Vec<_>>());
    assert_eq!(line.expect(CommandKind::Unsubscribe).sub_id(), subscribe.sub_id());
    for n in 1..=3 {
        assert_eq!(stream.next().unwrap().unwrap().data(), n.to_string().as_bytes());
    }
    assert_eq!(stream.next().unwrap().unwrap_err().kind(), ErrorKind::Full);
    assert!(stream.next().is_none());
}

#[test]
fn a_stream_tells_how_far_behind_its_reader_is() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscribing = aside(move || client.subscribe("t").start().map(|s| (client, s)));
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let (_client, mut stream) = subscribing.join().unwrap().unwrap();
    assert_eq!(stream.oldest_age(), None);
    let began = Instant::now();
    let sid = subscribe.sub_id().unwrap().to_string();
    line.send_all(&[plain(&sid, "t", "1"), plain(&sid, "t", "2")]);
    common::until("two messages", || stream.depth() == 2);
    stream.next().unwrap().unwrap();
    assert!(stream.oldest_age().unwrap() <= began.elapsed());
    stream.next().unwrap().unwrap();
    assert_eq!((stream.depth(), stream.oldest_age()), (0, None));
}

/// C-10-6-3
#[test]
fn a_stream_that_nobody_reads_holds_the_server_back() {
    let slow = |way: Way| way.compressed() || way.pieces;
    let peer = Peer::unless(slow, "sockets have to fill, and what is so plain compresses well");
    let (client, mut line) = peer.connect(peer.client("c"));
    let subscribing = aside(move || client.subscribe("t").max_depth(10).start().unwrap());
    let subscribe = line.expect(CommandKind::Subscribe);
    line.ack(&subscribe);
    let mut stream = subscribing.join().unwrap();
    let message = plain(&subscribe.sub_id().unwrap().to_string(), "t", &"x".repeat(10_000));
    let total = 8_000;
    let (sender, held) = std::sync::mpsc::channel();
    let writing = aside(move || {
        // As much as 80 MB, which no socket takes; a write that is held back is told.
        let mut frame = (message.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(message.as_bytes());
        line.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        for _ in 0..total {
            let mut rest = &frame[..];
            while !rest.is_empty() {
                match std::io::Write::write(&mut line.stream, rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(_) => _ = sender.send(()),
                }
            }
        }
        line
    });
    held.recv_timeout(PATIENCE).unwrap();
    common::until("a full stream", || stream.depth() == 10);
    for read in 0..total {
        assert_eq!(stream.next().unwrap().unwrap().data().len(), 10_000, "{read}");
        assert!(stream.depth() <= 10);
    }
    drop(writing.join().unwrap());
}

#[test]
fn who_has_read_a_full_stream_or_dropped_it_may_wait_again_at_once() {
    let server = common::fake_server().start().unwrap();
    let client = common::client("c").server(common::uri(&server)).connect().unwrap();
    let mut stream = client.subscribe("t").max_depth(2).start().unwrap();
    for _ in 0..100 {
        for _ in 0..2 {
            client.publish("t", "1").unwrap();
        }
        assert_eq!(stream.by_ref().take(2).filter(Result::is_ok).count(), 2);
        client.flush(PATIENCE).unwrap();
    }
    for _ in 0..20 {
        let mut stream = client.subscribe("u").max_depth(1).start().unwrap();
        for _ in 0..2 {
            client.publish("u", "1").unwrap();
        }
        assert!(stream.next().unwrap().is_ok());
        while stream.depth() == 0 {
            std::thread::yield_now();
        }
        drop(stream);
        client.flush(PATIENCE).unwrap();
    }
}
