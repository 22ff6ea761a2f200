//! However a peer ends a connection, its bytes come first, and then one `Closed`.

mod common;

use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc::channel;

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

/// Makes a peer.
type Connect = Box<dyn Fn() -> Box<dyn Ending>>;

/// The ways by which a peer can be connected, each as a machine's bench, and how to make a peer.
fn ways(name: &str) -> Vec<(Bench, Connect)> {
    let tcp = Bench::new(name);
    let address = tcp.listen();
    let by_tcp: Connect = Box::new(move || Box::new(connect(address)));
    let mut ways = vec![(tcp, by_tcp)];
    #[cfg(unix)]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let unix = Bench::new(name);
        unix.listen_unix(&path);
        let by_unix: Connect = Box::new(move || {
            // The file lives as long as somebody may connect.
            let path = directory.path().join("socket");
            Box::new(std::os::unix::net::UnixStream::connect(path).unwrap())
        });
        ways.push((unix, by_unix));
    }
    ways
}

/// A peer that can end what it writes.
trait Ending: Write {
    fn end(&self);
}

impl Ending for std::net::TcpStream {
    fn end(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

#[cfg(unix)]
impl Ending for std::os::unix::net::UnixStream {
    fn end(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

/// A short read says that there is nothing more for now; the end has an event of its own.
#[test]
fn the_end_comes_after_a_short_read() {
    for (bench, connect) in ways("late-end") {
        for length in 1..50 {
            let mut peer = connect();
            let conn = bench.accepted();
            peer.write_all(&pattern(length)).unwrap();
            assert!(bench.received(length) == pattern(length));
            // The loop is done with that read when it answers.
            bench.ask(|_, _| ());
            peer.end();
            let (received, reason) = bench.until_closed(conn);
            assert!(received.is_empty() && matches!(reason, CloseReason::EndOfStream), "{reason:?}");
        }
    }
}

/// One event tells of the data and of the end: behind a short read there is the end, and nothing else will tell.
#[test]
fn the_end_comes_together_with_the_data() {
    for (bench, connect) in ways("joint-end") {
        for length in 1..50 {
            let mut peer = connect();
            let conn = bench.accepted();
            // The loop sees neither before both are there.
            let (go_on, waits) = channel::<()>();
            let (says, held) = channel();
            bench.order(move |_, _| {
                says.send(()).unwrap();
                let _ = waits.recv_timeout(LIMIT);
            });
            held.recv_timeout(LIMIT).unwrap();
            peer.write_all(&pattern(length)).unwrap();
            peer.end();
            drop(go_on);
            let (received, reason) = bench.until_closed(conn);
            assert!(received == pattern(length), "{length} bytes");
            assert!(matches!(reason, CloseReason::EndOfStream), "{reason:?}");
        }
    }
}

/// The same for a connection that is read again after a pause, without any event.
#[test]
fn the_end_waits_with_the_data_while_nobody_reads() {
    for (bench, connect) in ways("paused-end") {
        let mut peer = connect();
        let conn = bench.accepted();
        bench.ask(move |_, sink| sink.set_reading(conn, false));
        peer.write_all(&pattern(100)).unwrap();
        peer.end();
        bench.order(move |_, sink| sink.set_reading(conn, true));
        let (received, reason) = bench.until_closed(conn);
        assert!(received == pattern(100) && matches!(reason, CloseReason::EndOfStream), "{reason:?}");
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
