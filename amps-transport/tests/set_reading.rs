//! A machine that stops reading holds its peer back.

mod common;

use std::io::Write;
use std::sync::mpsc::channel;
use std::thread;

use amps_transport::CloseReason;
use common::{Bench, Event, LIMIT, pattern};

#[test]
fn the_peer_is_held_back_until_reading_goes_on() {
    const LENGTH: usize = 30_000_000;
    let bench = Bench::new("held-back");
    let (conn, mut peer) = bench.pair();
    bench.ask(move |_, sink| sink.set_reading(conn, false));
    let (progress_sender, progress) = channel();
    let writer = thread::spawn(move || {
        for piece in pattern(LENGTH).chunks(100_000) {
            peer.write_all(piece).unwrap();
            progress_sender.send(()).unwrap();
        }
    });
    progress.recv_timeout(LIMIT).unwrap();
    bench.ask(|_, _| ());
    assert!(bench.events.try_recv().is_err(), "nothing is received while reading is off");
    assert!(!writer.is_finished(), "the socket's buffers do not hold all");

    bench.order(move |_, sink| sink.set_reading(conn, true));
    let (received, reason) = bench.until_closed(conn);
    writer.join().unwrap();
    assert!(received == pattern(LENGTH));
    assert!(matches!(reason, CloseReason::EndOfStream));
}

/// Takes four bytes and pauses. What it left is offered when reading goes on, though nothing
/// new arrives.
#[test]
fn what_was_left_is_offered_again() {
    let bench = Bench::with("left-over", |conn, bytes, sink| {
        if bytes.len() >= 4 {
            let _ = bytes.split_to(4);
            sink.set_reading(conn, false);
        }
    });
    let (conn, mut peer) = bench.pair();
    peer.write_all(&pattern(400)).unwrap();
    let mut received = Vec::<u8>::new();
    while received.len() < 400 {
        match bench.next() {
            Event::Received { bytes, .. } => {
                received.extend(&bytes);
                if !bytes.is_empty() {
                    bench.order(move |_, sink| sink.set_reading(conn, true));
                }
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(received, pattern(400));
}

/// The end of the stream is seen when reading goes on, after the bytes in front of it.
#[test]
fn an_end_that_came_meanwhile() {
    let bench = Bench::new("paused-end");
    let (conn, mut peer) = bench.pair();
    bench.ask(move |_, sink| sink.set_reading(conn, false));
    peer.write_all(b"last words").unwrap();
    drop(peer);
    bench.order(move |_, sink| sink.set_reading(conn, true));
    let (received, reason) = bench.until_closed(conn);
    assert_eq!(received, b"last words");
    assert!(matches!(reason, CloseReason::EndOfStream));
}

/// A machine may stop and go on within one call. What it left comes before the end.
#[test]
fn what_was_left_comes_before_the_end_of_the_stream() {
    let bench = Bench::with("on-and-off", |conn, bytes, sink| {
        let _ = bytes.split_to(bytes.len().min(4));
        sink.set_reading(conn, false);
        sink.set_reading(conn, true);
    });
    let (conn, mut peer) = bench.pair();
    peer.write_all(&pattern(4000)).unwrap();
    drop(peer);
    let (received, reason) = bench.until_closed(conn);
    assert_eq!(received, pattern(4000));
    assert!(matches!(reason, CloseReason::EndOfStream));
}
