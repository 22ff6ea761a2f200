//! Timers come when they are due and not before, and an idle loop sleeps.

mod common;

use std::time::Duration;

use amps_transport::{Clock, EventLoop};
use common::{Bench, Event};

#[test]
fn a_timer_is_never_early() {
    let clock = Clock::new();
    let bench = Bench::on(&EventLoop::start_with("timer", clock).unwrap(), |_, _, _| ());
    for micros in [0, 1, 500, 1_500, 20_000] {
        let due = clock.now() + Duration::from_micros(micros);
        bench.order(move |probe, _| probe.deadline = Some(due));
        assert!(matches!(bench.next(), Event::Timer));
        assert!(clock.now() >= due);
    }
}

/// A deadline made earlier behind the loop's back counts once the loop is told.
#[test]
fn a_deadline_made_earlier_by_another_thread() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Sender, channel};

    use amps_transport::{Input, Machine, Sink, Time};

    struct Patient(Arc<AtomicBool>, Sender<()>);
    impl Machine for Patient {
        type Note = ();
        fn handle<S: Sink>(&mut self, _now: Time, input: Input<'_, ()>, _sink: &mut S) {
            if matches!(input, Input::Timer) {
                self.0.store(false, Ordering::SeqCst);
                self.1.send(()).unwrap();
            }
        }
        fn deadline(&self) -> Option<Time> {
            self.0.load(Ordering::SeqCst).then_some(Time::EPOCH)
        }
    }

    let due = Arc::new(AtomicBool::new(false));
    let (sender, timers) = channel();
    let handle = EventLoop::start("patient").unwrap().add(Patient(Arc::clone(&due), sender));
    for _ in 0..100 {
        due.store(true, Ordering::SeqCst);
        handle.wake();
        timers.recv_timeout(common::LIMIT).unwrap();
    }
}

/// Counts how often the loop's thread went to sleep while it had nothing to do.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_loop_does_not_wake() {
    let clock = Clock::new();
    let bench = Bench::on(&EventLoop::start_with("idle-loop", clock).unwrap(), |_, _, _| ());
    let address = bench.listen();
    let _peers: Vec<_> = (0..100)
        .map(|_| {
            let peer = common::connect(address);
            bench.accepted();
            peer
        })
        .collect();
    let own_switches = |_: &mut common::Probe, _: &mut dyn amps_transport::Sink| {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    let before = bench.ask(own_switches);
    let due = clock.now() + Duration::from_millis(300);
    bench.order(move |probe, _| probe.deadline = Some(due));
    assert!(matches!(bench.next(), Event::Timer));
    let after = bench.ask(own_switches);
    assert!(after - before < 20, "{} wake-ups", after - before);
}
