//! A loop that a calling thread runs before it has its own.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use amps_transport::{Clock, EventLoop, Idle, MachineHandle};
use common::{Bench, Event, LIMIT, Probe, connect};

fn prepare() -> (EventLoop<Probe>, amps_transport::Prepared<Probe>) {
    EventLoop::prepare("prepared", Clock::new(), Idle::Sleep).unwrap()
}

#[test]
fn the_calling_thread_is_the_loops_until_it_is_done() {
    let (event_loop, mut prepared) = prepare();
    let bench = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, handle) = (Arc::clone(&calls), bench.handle.clone());
    let here = thread::current().id();
    bench.order(move |_, _| {
        assert_eq!(thread::current().id(), here);
        assert!(handle.is_loop_thread());
        counted.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(calls.load(Ordering::SeqCst), 0, "nobody runs it");
    assert!(!bench.handle.is_loop_thread());

    // Nothing else ever happens on it: it has to look before it sleeps.
    prepared.run_until(|| calls.load(Ordering::SeqCst) == 1);
    assert!(!bench.handle.is_loop_thread() && !event_loop.is_current_thread());

    prepared.start().unwrap();
    assert_ne!(bench.ask(|_, _| thread::current().id()), here);
    bench.handle.remove_and_wait();
}

#[test]
fn what_comes_while_nobody_runs_it_is_not_lost() {
    let (event_loop, mut prepared) = prepare();
    let bench = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    let address = bench.listen();
    let before = connect(address);
    prepared.run_until(|| true);
    let between = connect(address);
    let (asked, answered) = std::sync::mpsc::channel();
    bench.order(move |_, _| asked.send(()).unwrap());
    prepared.start().unwrap();
    answered.recv_timeout(LIMIT).unwrap();
    for _ in 0..2 {
        assert!(matches!(bench.next(), Event::Accepted { .. }));
    }
    drop((before, between));
}

#[test]
fn others_reach_it_and_its_timers_go_while_a_caller_runs_it() {
    let (event_loop, mut prepared) = prepare();
    let bench = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    let reached = Arc::new(AtomicUsize::new(0));
    let (handle, counted) = (bench.handle.clone(), Arc::clone(&reached));
    let clock = event_loop.clock();
    let other = thread::spawn(move || {
        for _ in 0..100 {
            let counted = Arc::clone(&counted);
            assert!(handle.post(Box::new(move |probe, _| {
                counted.fetch_add(1, Ordering::SeqCst);
                probe.deadline = Some(clock.now() + Duration::from_millis(1));
            })));
        }
    });
    let mut timer = false;
    prepared.run_until(|| {
        timer |= matches!(bench.try_next(), Some(Event::Timer));
        timer && reached.load(Ordering::SeqCst) == 100
    });
    other.join().unwrap();
    prepared.start().unwrap();
    bench.handle.remove_and_wait();
}

#[test]
fn its_thread_waits_until_it_is_wanted() {
    let (event_loop, mut prepared) = prepare();
    let bench = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    for _ in 0..2 {
        prepared.spawn().unwrap();
    }
    let (sender, asked) = std::sync::mpsc::channel();
    bench.order(move |_, _| sender.send(thread::current().id()).unwrap());
    let mut by = None;
    prepared.run_until(|| {
        by = asked.try_recv().ok();
        by.is_some()
    });
    assert_eq!(by, Some(thread::current().id()));
    prepared.start().unwrap();
    assert_ne!(bench.ask(|_, _| thread::current().id()), thread::current().id());
}

#[test]
fn one_that_never_starts_ends_as_a_loop_does() {
    let (event_loop, mut prepared) = prepare();
    prepared.spawn().unwrap();
    let bench = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    let address = bench.listen();
    let peer = connect(address);
    drop(prepared);
    assert!(!bench.handle.post(Box::new(|_, _| {})), "it is gone");
    // Nobody waits for it in vain.
    bench.handle.remove_and_wait();
    drop(peer);
}

/// Waits for another machine when it goes.
struct Last(MachineHandle<Probe>);

impl Drop for Last {
    fn drop(&mut self) {
        assert!(self.0.is_loop_thread());
        self.0.remove_and_wait();
    }
}

#[test]
fn a_destructor_that_waits_for_another_machine_of_the_loop_does_not_hang_it() {
    let (event_loop, mut prepared) = prepare();
    let kept = Arc::new(Mutex::new(None));
    let with = Arc::clone(&kept);
    let first = Bench::on(&event_loop, move |_, bytes, _| {
        let _kept = &with;
        bytes.clear();
    });
    let second = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    *kept.lock().unwrap() = Some(Last(second.handle.clone()));
    drop(kept);
    prepared.run_until(|| true);
    drop(prepared);
    assert!(!first.handle.post(Box::new(|_, _| {})) && !second.handle.post(Box::new(|_, _| {})));
}
