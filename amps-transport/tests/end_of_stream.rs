//! However a peer ends a connection, its bytes come first, and then one `Closed`.

mod common;

use std::io::Write;
use std::net::Shutdown;

use amps_transport::{CloseReason, Outlet};
use bytes::BytesMut;
use common::{Bench, LIMIT, connect, pattern};
use socket2::SockRef;

#[test]
fn data_right_in_front_of_the_end() {
    let bench = Bench::new("fin");
    let address = bench.listen();
    for length in [0, 1, 1_000, 65_535, 65_536, 65_537, 131_072, 3_000_000] {
        let mut peer = connect(address);
        peer.write_all(&pattern(length)).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let conn = bench.accepted();
        let (received, reason) = bench.until_closed(conn);
        assert!(received == pattern(length), "{length} bytes");
        assert!(matches!(reason, CloseReason::EndOfStream));
        // The socket is not left half open.
        assert_eq!(common::read_to_end(&peer), b"");
    }
}

#[test]
fn reset() {
    let bench = Bench::new("reset");
    let (conn, peer) = bench.pair();
    SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(peer);
    let (_, reason) = bench.until_closed(conn);
    assert!(matches!(reason, CloseReason::Reset), "{reason:?}");
}

#[test]
fn a_writer_learns_of_the_end() {
    let bench = Bench::new("late-writer");
    let (conn, peer) = bench.pair();
    let outlet: Outlet = bench.ask(move |_, sink| sink.outlet(conn)).unwrap();
    assert!(outlet.is_open());
    drop(peer);
    bench.until_closed(conn);
    assert!(!outlet.is_open());
    let mut buffer = BytesMut::from(&b"too late"[..]);
    assert!(matches!(outlet.try_write(&mut buffer), Err(CloseReason::EndOfStream)));
    assert_eq!(&buffer[..], b"too late");
    outlet.request_flush();
    assert!(bench.ask(move |_, sink| sink.outlet(conn)).is_none());
}

/// The failure is found by a writer on another thread: the machine gets one `Closed`, too.
#[test]
fn a_failed_write_closes_once() {
    let bench = Bench::new("failed-write");
    let (conn, peer) = bench.pair();
    let outlet = bench.ask(move |_, sink| {
        sink.set_reading(conn, false);
        sink.outlet(conn).unwrap()
    });
    SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(peer);
    let give_up = std::time::Instant::now() + LIMIT;
    while outlet.try_write(&mut BytesMut::from(&b"anybody there?"[..])).is_ok() {
        assert!(std::time::Instant::now() < give_up);
        std::thread::yield_now();
    }
    let (_, reason) = bench.until_closed(conn);
    assert!(matches!(reason, CloseReason::Reset), "{reason:?}");
    bench.ask(|_, _| ());
    assert!(bench.events.try_recv().is_err());
}
