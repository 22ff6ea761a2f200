//! One connection that never pauses starves neither timers nor other connections.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use amps_transport::{Clock, EventLoop};
use common::{Bench, Event, connect};

#[test]
fn a_flood_leaves_time_for_others() {
    let clock = Clock::new();
    let event_loop = EventLoop::start_with("fair", clock).unwrap();
    let flooded = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    let echo = Bench::on(&event_loop, |conn, bytes, sink| sink.send(conn, &bytes.split()));
    let mut peer = connect(echo.listen());

    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let mut flood = connect(flooded.listen());
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let bytes = vec![1; 1 << 20];
                while !stop.load(Ordering::Relaxed) {
                    flood.write_all(&bytes).unwrap();
                }
                flood.shutdown(Shutdown::Both).unwrap();
            })
        })
        .collect();
    // Nobody looks at what the flood brings.
    drop(flooded.events);

    for _ in 0..50 {
        echo.order(move |probe, _| probe.deadline = Some(clock.now() + Duration::from_millis(1)));
        peer.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
        while !matches!(echo.next(), Event::Timer) {}
    }
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
}
