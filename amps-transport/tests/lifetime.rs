//! How machines and loops come to their end.

mod common;

use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::thread::ThreadId;

use amps_transport::{EventLoop, Input, Machine, Sink, SocketOptions, Time};
use common::{Bench, LIMIT, connect, loopback, read_to_end};

/// Tells where it was dropped.
struct Mortal(Sender<ThreadId>);

impl Machine for Mortal {
    type Note = Sender<ThreadId>;

    fn handle<S: Sink>(&mut self, _now: Time, input: Input<'_, Self::Note>, _sink: &mut S) {
        if let Input::Note(whereabouts) = input {
            whereabouts.send(std::thread::current().id()).unwrap();
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.0.send(std::thread::current().id()).unwrap();
    }
}

#[test]
fn the_loop_ends_with_its_last_handle() {
    let event_loop = EventLoop::start("mortal-loop").unwrap();
    let (sender, death) = channel();
    let handle = event_loop.add(Mortal(sender));
    let (_, address) = handle.listen(loopback(), SocketOptions::default()).unwrap();
    let peer = connect(address);
    let (whereabouts, thread) = channel();
    handle.post(whereabouts);
    let thread = thread.recv_timeout(LIMIT).unwrap();

    drop(event_loop);
    let other = handle.clone();
    drop(handle);
    let (whereabouts, answer) = channel();
    assert!(other.post(whereabouts), "one handle is left");
    answer.recv_timeout(LIMIT).unwrap();

    drop(other);
    assert_eq!(death.recv_timeout(LIMIT).unwrap(), thread, "dropped on the loop's thread");
    // Either in good order or, if the loop ended before it accepted, by a reset.
    let _ = std::io::Read::read(&mut &peer, &mut [0]);
    #[cfg(target_os = "linux")]
    {
        let give_up = std::time::Instant::now() + LIMIT;
        let exists = || {
            std::fs::read_dir("/proc/self/task").unwrap().any(|task| {
                let comm = std::fs::read_to_string(task.unwrap().path().join("comm"));
                comm.is_ok_and(|comm| comm.trim() == "mortal-loop")
            })
        };
        while exists() {
            assert!(std::time::Instant::now() < give_up, "the thread ends");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_removed_machine_leaves_nothing_open() {
    let event_loop = EventLoop::start("removal").unwrap();
    let bench = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    let address = bench.listen();
    let peers: Vec<_> = (0..20).map(|_| connect(address)).collect();
    for _ in &peers {
        bench.accepted();
    }
    bench.handle.remove_and_wait();
    for peer in &peers {
        assert_eq!(read_to_end(peer), b"");
    }
    assert!(TcpStream::connect(address).is_err(), "the listener is closed");
    assert!(bench.handle.listen(loopback(), SocketOptions::default()).is_err());
    assert!(!bench.handle.post(Box::new(|_, _| ())));
    bench.handle.remove_and_wait();

    // The loop goes on for others.
    Bench::on(&event_loop, |_, _, _| ()).ask(|_, _| ());
}

#[test]
fn what_was_sent_before_the_removal_arrives() {
    let bench = Bench::new("removal-flush");
    let (conn, peer) = bench.pair();
    bench.order(move |_, sink| sink.send(conn, &common::pattern(5_000_000)));
    let reader = std::thread::spawn(move || read_to_end(&peer));
    bench.handle.remove_and_wait();
    assert!(reader.join().unwrap() == common::pattern(5_000_000));
}

#[test]
fn removal_from_the_loops_own_thread_does_not_wait() {
    let bench = Bench::new("own-removal");
    assert!(!bench.handle.is_loop_thread());
    let handle = bench.handle.clone();
    let was_loop_thread = bench.ask(move |_, _| {
        handle.remove_and_wait();
        handle.is_loop_thread()
    });
    assert!(was_loop_thread);
    bench.handle.remove_and_wait();
}

#[test]
fn a_listener_that_is_stopped() {
    let bench = Bench::new("stop-listening");
    let (id, address) = bench.handle.listen(loopback(), SocketOptions::default()).unwrap();
    let _peer = connect(address);
    let conn = bench.accepted();
    bench.handle.stop_listening(id);
    bench.ask(|_, _| ());
    assert!(TcpStream::connect(address).is_err());
    // What it has accepted stays.
    assert!(bench.ask(move |_, sink| sink.outlet(conn)).is_some());
}
