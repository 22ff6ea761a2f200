//! What is sent comes back, in whatever pieces it travels.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use common::{Bench, Numbers, accept, connect, pattern, target};

fn echo() -> Bench {
    Bench::with("echo", |conn, bytes, sink| sink.send(conn, &bytes.split()))
}

/// Writes in pieces of sizes given by `piece`, and compares what comes back.
fn exchange(peer: &TcpStream, length: usize, mut piece: impl FnMut() -> usize + Send) {
    let sent = pattern(length);
    let mut back = vec![0; length];
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
                (&mut &*peer).write_all(now).unwrap();
                rest = later;
            }
        });
        (&mut &*peer).read_exact(&mut back).unwrap();
    });
    assert!(sent == back);
}

#[test]
fn single_bytes() {
    let bench = echo();
    exchange(&connect(bench.listen()), 2_000, || 1);
}

#[test]
fn random_pieces() {
    let bench = echo();
    let address = bench.listen();
    let mut numbers = Numbers(7);
    for _ in 0..30 {
        let length = 1 + numbers.below(300_000);
        let limit = 1 + numbers.below(100_000);
        let mut sizes = Numbers(length as u64);
        exchange(&connect(address), length, || sizes.below(limit));
    }
}

#[test]
fn more_than_all_buffers_hold() {
    let bench = echo();
    exchange(&connect(bench.listen()), 20_000_000, || 1_000_000);
}

/// Takes only whole frames: a length byte, and that many bytes. The rest stays and is
/// offered again in front of what comes next.
#[test]
fn frames_cut_everywhere() {
    let bench = Bench::with("frames", |conn, bytes, sink| {
        while let Some(&length) = bytes.first() {
            let whole = 1 + usize::from(length);
            if bytes.len() < whole {
                break;
            }
            // Frozen, as a machine does that hands messages on without copying them.
            sink.send(conn, &bytes.split_to(whole).freeze());
        }
    });
    let peer = connect(bench.listen());
    let mut stream = Vec::new();
    for length in 0..=255_u8 {
        stream.push(length);
        stream.extend((0..length).map(|i| i ^ length));
    }
    for size in [1, 2, 3, 7, 64, 255, 256, 257, 10_000, stream.len()] {
        let mut back = vec![0; stream.len()];
        thread::scope(|scope| {
            scope.spawn(|| stream.chunks(size).for_each(|piece| (&mut &peer).write_all(piece).unwrap()));
            (&mut &peer).read_exact(&mut back).unwrap();
        });
        assert!(stream == back, "pieces of {size}");
    }
}

/// One message larger than every buffer arrives whole.
#[test]
fn one_huge_frame() {
    const LENGTH: usize = 10_000_000;
    let bench = Bench::with("huge", |conn, bytes, sink| {
        if bytes.len() >= LENGTH {
            sink.send(conn, &bytes.split());
        }
    });
    exchange(&connect(bench.listen()), LENGTH, || 65_536);
}

/// The blocks that a machine keeps are not written over by later reads.
#[test]
fn kept_messages_stay_as_they_were() {
    let (kept_sender, kept) = std::sync::mpsc::channel();
    let bench = Bench::with("keep", move |conn, bytes, sink| {
        sink.send(conn, bytes);
        kept_sender.send(bytes.split().freeze()).unwrap();
    });
    let mut sizes = Numbers(3);
    exchange(&connect(bench.listen()), 1_000_000, || sizes.below(3_000));
    bench.handle.remove_and_wait();
    let kept: Vec<_> = kept.iter().collect();
    assert!(kept.concat() == pattern(1_000_000));
}

#[test]
fn a_machine_that_connects() {
    let listener = std::net::TcpListener::bind(common::loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let bench = echo();
    let conn = bench.connect(target(address));
    let peer = accept(&listener);
    match bench.next() {
        common::Event::Connected { conn: connected, local, peer: other } => {
            assert_eq!(connected, conn);
            assert_eq!(local, peer.peer_addr().ok());
            assert_eq!(other, Some(address));
        }
        other => panic!("{other:?} instead of Connected"),
    }
    exchange(&peer, 500_000, || 10_000);
}
