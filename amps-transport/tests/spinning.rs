//! A loop that never sleeps does all that one does that sleeps.

mod common;

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

use amps_transport::{Clock, CloseMode, CloseReason, EventLoop, Idle};
use common::{Bench, Event, LIMIT, Probe, pattern, read_to_end};

fn spinning(name: &str, clock: Clock) -> EventLoop<Probe> {
    EventLoop::start_idling(name, clock, Idle::Spin).unwrap()
}

#[test]
fn timers_are_served_and_never_early() {
    let clock = Clock::new();
    let bench = Bench::on(&spinning("spin-timer", clock), |_, _, _| ());
    for micros in [0, 1, 500, 1_500, 20_000] {
        let due = clock.now() + Duration::from_micros(micros);
        bench.order(move |probe, _| probe.deadline = Some(due));
        assert!(matches!(bench.next(), Event::Timer));
        assert!(clock.now() >= due);
    }
}

#[test]
fn signals_of_other_threads_are_taken() {
    let bench = Bench::on(&spinning("spin-notes", Clock::new()), |_, _, _| ());
    let (sender, arrived) = channel();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (handle, sender) = (bench.handle.clone(), sender.clone());
            scope.spawn(move || {
                for number in 0..500 {
                    let sender = sender.clone();
                    assert!(handle.post(Box::new(move |_, _| sender.send((thread, number)).unwrap())));
                }
            });
        }
    });
    drop(sender);
    let mut next = [0; 4];
    while let Ok((thread, number)) = arrived.recv_timeout(LIMIT) {
        assert_eq!(next[thread], number, "in the order of its thread");
        next[thread] += 1;
    }
    assert_eq!(next, [500; 4]);
}

#[test]
fn bytes_come_and_go_and_a_connection_is_closed() {
    let bench = Bench::on(&spinning("spin-bytes", Clock::new()), |conn, bytes, sink| {
        sink.send(conn, bytes);
        bytes.clear();
    });
    let (conn, mut peer) = bench.pair();
    for length in [1, 1_000, 100_000] {
        peer.write_all(&pattern(length)).unwrap();
        assert!(bench.received(length) == pattern(length), "{length} bytes");
        let mut echo = vec![0; length];
        std::io::Read::read_exact(&mut peer, &mut echo).unwrap();
        assert!(echo == pattern(length), "{length} bytes");
    }
    // Closed by this side, and by the other.
    bench.order(move |_, sink| {
        sink.send(conn, b"end");
        sink.close(conn, CloseMode::Flush);
    });
    assert_eq!(read_to_end(&peer), b"end");
    let (conn, peer) = bench.pair();
    drop(peer);
    let (received, reason) = bench.until_closed(conn);
    assert!(received.is_empty() && matches!(reason, CloseReason::EndOfStream), "{reason:?}");
}

#[test]
fn it_ends_with_the_last_handle() {
    let event_loop = spinning("spin-mortal", Clock::new());
    let bench = Bench::on(&event_loop, |_, _, _| ());
    let (_conn, peer) = bench.pair();
    drop(event_loop);
    bench.ask(|_, _| ());
    drop(bench.handle);
    // The machine goes, with its end of the events, and so does its connection.
    while bench.events.recv_timeout(LIMIT).is_ok() {}
    assert_eq!(bench.events.try_recv().unwrap_err(), std::sync::mpsc::TryRecvError::Disconnected);
    assert_eq!(read_to_end(&peer), b"");
    #[cfg(target_os = "linux")]
    common::until(|| {
        !std::fs::read_dir("/proc/self/task").unwrap().any(|task| {
            let comm = std::fs::read_to_string(task.unwrap().path().join("comm"));
            comm.is_ok_and(|comm| comm.trim() == "spin-mortal")
        })
    });
}

/// The state of the loop's thread while nothing happens: one that sleeps is found asleep, sooner or later.
#[cfg(target_os = "linux")]
#[test]
fn it_does_not_sleep() {
    let idler = |idle| {
        let bench = Bench::on(&EventLoop::start_idling("idler", Clock::new(), idle).unwrap(), |_, _, _| ());
        let thread = bench.ask(|_, _| std::fs::read_link("/proc/thread-self").unwrap());
        let stat = std::path::Path::new("/proc").join(thread).join("stat");
        let is_asleep = move || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with('S')
        };
        (bench, is_asleep)
    };
    let (_sleeper, is_asleep) = idler(Idle::Sleep);
    common::until(is_asleep);
    // It may wait for a lock now and then.
    let (_spinner, is_asleep) = idler(Idle::Spin);
    let asleep = (0..2000).filter(|_| is_asleep()).count();
    assert!(asleep < 1000, "{asleep} times of 2000");
}
