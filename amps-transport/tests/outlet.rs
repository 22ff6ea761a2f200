//! Threads write straight into a socket, and are told when a full one takes bytes again.

mod common;

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::thread;

use amps_transport::{Outlet, Written};
use bytes::BytesMut;
use common::{Bench, Event, connect};

/// What the writers share: bytes in the order in which they were put in.
struct Writer {
    buffer: BytesMut,
    outlet: Outlet,
}

#[test]
fn all_bytes_arrive_in_order_past_a_peer_that_stops_reading() {
    const THREADS: u32 = 4;
    const MESSAGES: u32 = 50_000;

    let bench = Bench::new("outlet");
    let mut peer = connect(bench.listen());
    let conn = bench.accepted();
    let outlet = bench.ask(move |_, sink| sink.outlet(conn)).unwrap();
    let writer = Arc::new(Mutex::new(Writer { buffer: BytesMut::new(), outlet }));

    // Nobody reads yet: the socket fills up.
    let mut was_full = false;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let writer = Arc::clone(&writer);
            thread::spawn(move || {
                let mut was_full = false;
                for message in 0..MESSAGES {
                    let Writer { buffer, outlet } = &mut *writer.lock().unwrap();
                    buffer.extend_from_slice(&thread.to_be_bytes());
                    buffer.extend_from_slice(&message.to_be_bytes());
                    buffer.extend_from_slice(&[0x55; 120]);
                    was_full |= outlet.try_write(buffer).unwrap() == Written::Full;
                }
                was_full
            })
        })
        .collect();
    for thread in threads {
        was_full |= thread.join().unwrap();
    }
    assert!(was_full, "25 MB are more than the socket's buffers hold");

    let reader = thread::spawn(move || {
        let mut next = [0; THREADS as usize];
        let mut message = [0; 128];
        for _ in 0..THREADS * MESSAGES {
            peer.read_exact(&mut message).unwrap();
            let thread = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
            assert_eq!(u32::from_be_bytes(message[4..8].try_into().unwrap()), next[thread]);
            next[thread] += 1;
        }
    });
    // From now on only `Writable` makes it go on.
    loop {
        let Writer { buffer, outlet } = &mut *writer.lock().unwrap();
        if outlet.try_write(buffer).unwrap() == Written::All {
            break;
        }
        assert!(matches!(bench.next(), Event::Writable { conn: writable } if writable == conn));
    }
    reader.join().unwrap();
}

#[test]
fn a_flush_that_was_asked_for_comes() {
    let bench = Bench::new("flush");
    let (conn, _peer) = bench.pair();
    let outlet = bench.ask(move |_, sink| sink.outlet(conn)).unwrap();
    for _ in 0..100 {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| outlet.request_flush());
            }
        });
        assert!(matches!(bench.next(), Event::Writable { conn: writable } if writable == conn));
        // All three came before the next note, and may have been one or more.
        bench.ask(|_, _| ());
        while bench.events.try_recv().is_ok() {}
    }
}

/// `send` reports how much waits, and `Writable` comes when everything is gone.
#[test]
fn sent_bytes_that_the_socket_did_not_take() {
    const LENGTH: usize = 20_000_000;
    let bench = Bench::new("unsent");
    let (conn, peer) = bench.pair();
    bench.order(move |_, sink| sink.send(conn, &common::pattern(LENGTH)));
    assert!(bench.ask(move |_, sink| sink.unsent(conn)) > 0);
    let reader = thread::spawn(move || {
        let mut received = vec![0; LENGTH];
        (&peer).read_exact(&mut received).unwrap();
        (received, peer)
    });
    assert!(matches!(bench.next(), Event::Writable { conn: writable } if writable == conn));
    assert_eq!(bench.ask(move |_, sink| sink.unsent(conn)), 0);
    let (received, _peer) = reader.join().unwrap();
    assert!(received == common::pattern(LENGTH));
}
