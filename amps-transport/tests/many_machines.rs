//! Many machines and many connections share one thread.

mod common;

use std::io::{Read, Write};

use amps_transport::EventLoop;
use common::{Bench, connect, pattern};

#[cfg(target_os = "linux")]
fn threads_named(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|comm| comm.trim() == name).count()
}

#[test]
fn two_hundred_machines_on_one_thread() {
    let event_loop = EventLoop::start("crowd").unwrap();
    let benches: Vec<_> = (0..200)
        .map(|_| Bench::on(&event_loop, |conn, bytes, sink| sink.send(conn, &bytes.split())))
        .collect();
    let mut peers: Vec<_> = benches.iter().map(|bench| connect(bench.listen())).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.write_all(&pattern(number)).unwrap();
    }
    for (number, peer) in peers.iter_mut().enumerate() {
        let mut back = vec![0; number];
        peer.read_exact(&mut back).unwrap();
        assert!(back == pattern(number));
    }
    #[cfg(target_os = "linux")]
    assert_eq!(threads_named("crowd"), 1);
}

#[test]
fn four_hundred_connections_of_one_machine() {
    let bench = Bench::with("server", |conn, bytes, sink| sink.send(conn, &bytes.split()));
    let address = bench.listen();
    let mut peers: Vec<_> = (0..400).map(|_| connect(address)).collect();
    for round in 1..20 {
        for peer in &mut peers {
            peer.write_all(&pattern(round)).unwrap();
        }
        for peer in &mut peers {
            let mut back = vec![0; round];
            peer.read_exact(&mut back).unwrap();
            assert!(back == pattern(round));
        }
    }
}
