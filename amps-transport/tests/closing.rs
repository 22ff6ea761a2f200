//! Closing from this side: everything first, or at once.

mod common;

use std::io::Read;
use std::thread;

use amps_transport::{CloseMode, CloseReason};
use bytes::BytesMut;
use common::{Bench, LIMIT, pattern, read_to_end};

#[test]
fn flush_sends_all_that_is_buffered() {
    let bench = Bench::new("close-flush");
    for length in [0, 10, 100_000, 10_000_000] {
        let (conn, peer) = bench.pair();
        // Runs beside, for the socket does not hold so much.
        let reader = thread::spawn(move || read_to_end(&peer));
        bench.order(move |_, sink| {
            sink.send(conn, &pattern(length));
            sink.close(conn, CloseMode::Flush);
            sink.send(conn, b"too late");
        });
        assert!(reader.join().unwrap() == pattern(length), "{length} bytes");
    }
    bench.ask(|_, _| ());
    assert!(bench.events.try_recv().is_err(), "no input names a closed connection");
}

/// Input that nobody reads must not turn the orderly end into a reset.
#[test]
fn flush_past_a_peer_that_goes_on_sending() {
    let bench = Bench::new("close-chatter");
    let (conn, peer) = bench.pair();
    let talker = peer.try_clone().unwrap();
    let talking = thread::spawn(move || {
        let chatter = [7; 10_000];
        while std::io::Write::write_all(&mut &talker, &chatter).is_ok() {}
    });
    bench.order(move |_, sink| {
        sink.send(conn, &pattern(1_000_000));
        sink.close(conn, CloseMode::Flush);
    });
    let mut received = vec![0; 1_000_000];
    (&peer).read_exact(&mut received).unwrap();
    assert!(received == pattern(1_000_000));
    assert_eq!((&peer).read(&mut [0]).unwrap(), 0);
    peer.shutdown(std::net::Shutdown::Both).unwrap();
    talking.join().unwrap();
}

/// A peer that never reads holds a closing connection for no longer than its second.
#[test]
fn flush_gives_up() {
    let bench = Bench::new("close-stuck");
    let (conn, _peer) = bench.pair();
    bench.order(move |_, sink| sink.send(conn, &pattern(30_000_000)));
    let start = std::time::Instant::now();
    bench.handle.remove_and_wait();
    assert!(start.elapsed() < LIMIT);
    assert!(!bench.handle.post(Box::new(|_, _| ())));
}

#[test]
fn abort_drops_what_is_buffered() {
    let bench = Bench::new("close-abort");
    let (conn, peer) = bench.pair();
    let outlet = bench.ask(move |_, sink| sink.outlet(conn)).unwrap();
    bench.order(move |_, sink| {
        sink.send(conn, &pattern(30_000_000));
    });
    bench.order(move |_, sink| sink.close(conn, CloseMode::Abort));
    bench.ask(|_, _| ());
    let mut received = Vec::new();
    // With a reset or an end, but much earlier than all bytes are there.
    let _ = (&peer).read_to_end(&mut received);
    assert!(received.len() < 30_000_000);
    let error = outlet.try_write(&mut BytesMut::from(&b"x"[..]));
    assert!(matches!(error, Err(CloseReason::ThisSide)));
    assert!(bench.events.try_recv().is_err());
}

#[test]
fn a_reset_fails_the_peers_reads_and_drops_what_is_buffered() {
    let bench = Bench::new("close-reset");
    let (conn, peer) = bench.pair();
    bench.order(move |_, sink| sink.close(conn, CloseMode::Reset));
    bench.ask(|_, _| ());
    let error = (&peer).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(bench.events.try_recv().is_err());
}
