//! The hand-offs between threads in every order that their steps can take: `cargo xtask loom`.
//!
//! What is missed shows itself as threads that wait for each other for ever, which ends a model. `loom` takes the
//! strictest order of atomics (`SeqCst`) for a weaker one: what is waited for lies behind a lock here, as it does in
//! the client.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use amps_protocol::{Header, Message as Raw};
use amps_transport::Time;
use bytes::Bytes;
use loom::future::block_on;
use loom::thread;

use crate::error::Error;
use crate::parked::Parked;
use crate::session::room::Room;
use crate::session::waiter::{Done, Reply, Waiter};
use crate::stream::{Entry, Item, Limits, Pushed, StreamQueue, Taken, WhenFull};
use crate::sync::{AtomicBool, Mutex, Ordering};

fn done(granted: u32) -> Done {
    Done { granted_backlog: Some(granted), ..Done::default() }
}

#[test]
fn a_thread_that_waits_for_its_answer_gets_it() {
    loom::model(|| {
        let waiter = Arc::new(Waiter::default());
        let session = Arc::clone(&waiter);
        let answers = thread::spawn(move || session.complete(Ok(done(7))));
        assert_eq!(waiter.wait(None).unwrap().unwrap(), done(7));
        answers.join().unwrap();
        assert!(waiter.take().is_none(), "an answer is taken once");
    });
}

#[test]
fn a_future_that_waits_for_its_answer_gets_it() {
    loom::model(|| {
        let waiter = Arc::new(Waiter::default());
        let session = Arc::clone(&waiter);
        let answers = thread::spawn(move || session.complete(Ok(done(7))));
        let answer = block_on(poll_fn(|cx| waiter.poll(cx.waker())));
        assert_eq!(answer.unwrap(), done(7));
        answers.join().unwrap();
    });
}

#[test]
fn an_answer_that_comes_while_the_loop_ends_is_one_answer() {
    loom::model(|| {
        let waiter = Arc::new(Waiter::default());
        let (session, lost) = (Arc::clone(&waiter), Reply::from(Arc::clone(&waiter)));
        let answers = thread::spawn(move || session.complete(Ok(done(7))));
        let ends = thread::spawn(move || drop(lost));
        match waiter.wait(None).unwrap() {
            Ok(answer) => assert_eq!(answer, done(7)),
            Err(error) => assert!(matches!(error, Error::Usage(_)), "{error}"),
        }
        answers.join().unwrap();
        ends.join().unwrap();
        assert!(waiter.take().is_none(), "the second is dropped");
    });
}

#[test]
fn a_thread_that_waits_for_room_hears_of_each_change() {
    loom::model(|| {
        let shared = Arc::new((Mutex::new(false), Room::default()));
        let other = Arc::clone(&shared);
        let changes = thread::spawn(move || {
            *other.0.lock().unwrap() = true;
            other.1.notify_threads();
        });
        let (state, room) = &*shared;
        let waits = room.enter();
        let mut there = state.lock().unwrap();
        while !*there {
            there = room.wait(there, None);
        }
        drop((there, waits));
        changes.join().unwrap();
    });
}

/// As `loom::model`, with threads that are interrupted up to three times: with three of them, all orders take hours.
fn model_of_many(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

#[test]
fn threads_and_futures_that_wait_for_the_same_all_hear_of_it() {
    model_of_many(|| {
        let shared = Arc::new((Mutex::new(false), Room::default()));
        let other = Arc::clone(&shared);
        let sleeps = thread::spawn(move || {
            let _waits = other.1.enter();
            let mut there = other.0.lock().unwrap();
            while !*there {
                there = other.1.wait(there, None);
            }
        });
        let other = Arc::clone(&shared);
        let changes = thread::spawn(move || {
            *other.0.lock().unwrap() = true;
            other.1.notify_threads();
            other.1.wake_futures();
        });
        let (state, room) = &*shared;
        let look = || if *state.lock().unwrap() { Poll::Ready(()) } else { Poll::Pending };
        block_on(room.until(look));
        sleeps.join().unwrap();
        changes.join().unwrap();
    });
}

/// Waits until the number behind a lock has come as far.
fn reach(shared: &(Mutex<u32>, Parked), far: u32) {
    let look = || if *shared.0.lock().unwrap() >= far { Poll::Ready(()) } else { Poll::Pending };
    block_on(shared.1.until(look));
}

fn rise(shared: &(Mutex<u32>, Parked), far: u32) {
    for _ in 0..far {
        *shared.0.lock().unwrap() += 1;
        shared.1.wake();
    }
}

#[test]
fn a_parked_future_misses_no_change() {
    loom::model(|| {
        let shared = Arc::new((Mutex::new(0), Parked::default()));
        let other = Arc::clone(&shared);
        let changes = thread::spawn(move || rise(&other, 2));
        reach(&shared, 2);
        changes.join().unwrap();
    });
}

#[test]
fn two_parked_futures_miss_no_change() {
    model_of_many(|| {
        let shared = Arc::new((Mutex::new(0), Parked::default()));
        let (other, third) = (Arc::clone(&shared), Arc::clone(&shared));
        let changes = thread::spawn(move || rise(&other, 1));
        let second = thread::spawn(move || reach(&third, 1));
        reach(&shared, 1);
        changes.join().unwrap();
        second.join().unwrap();
    });
}

fn stream(bytes: usize) -> Arc<StreamQueue> {
    Arc::new(StreamQueue::new(Limits { bytes, depth: usize::MAX, when_full: WhenFull::Block }, 0))
}

/// A read that brought one message.
fn read(queue: &StreamQueue, text: &'static [u8]) -> Pushed {
    let item = Item { start: 0, end: text.len(), own: text.len(), header: Header::default(), lease: None };
    queue.push(Bytes::from_static(text), vec![item], Time::EPOCH)
}

fn text(taken: Taken) -> Option<Vec<u8>> {
    match taken {
        Taken::Entry(Entry::Block(block)) => Some(block.bytes.to_vec()),
        Taken::Entry(Entry::Single(single)) => Some(single.message.frame().to_vec()),
        Taken::Entry(Entry::Notice(error)) => Some(error.to_string().into_bytes()),
        Taken::Ended(_) => None,
        Taken::TimedOut => panic!("it was to wait"),
    }
}

#[test]
fn a_stream_brings_everything_in_order_and_then_ends() {
    loom::model(|| {
        let queue = stream(usize::MAX);
        let source = Arc::clone(&queue);
        let brings = thread::spawn(move || {
            read(&source, b"first");
            let single = Raw::from_parts(Bytes::from_static(b"second"), Header::default());
            source.push_single(single, None, Time::EPOCH);
            source.end(None);
        });
        assert_eq!(text(queue.take(None)).unwrap(), b"first");
        assert_eq!(text(queue.take(None)).unwrap(), b"second");
        assert_eq!(text(queue.take(None)), None);
        brings.join().unwrap();
    });
}

#[cfg(feature = "async")]
#[test]
fn a_task_that_reads_a_stream_is_woken_for_everything() {
    loom::model(|| {
        let queue = stream(usize::MAX);
        let source = Arc::clone(&queue);
        let brings = thread::spawn(move || {
            read(&source, b"first");
            source.notice(Error::Usage("second"));
            source.end(None);
        });
        let next = || block_on(poll_fn(|cx| queue.poll_take(cx.waker()).map_or(Poll::Pending, Poll::Ready)));
        assert_eq!(text(next()).unwrap(), b"first");
        assert!(text(next()).unwrap().ends_with(b"second"));
        assert_eq!(text(next()), None);
        brings.join().unwrap();
    });
}

#[test]
fn a_stream_that_is_full_goes_on_once_it_was_read() {
    loom::model(|| {
        // Half of it is less than a message.
        let queue = stream(1);
        let (source, resumed) = (Arc::clone(&queue), Arc::new(AtomicBool::new(false)));
        let brings = thread::spawn(move || assert!(matches!(read(&source, b"first"), Pushed::Full(1))));
        let reader = (Arc::clone(&queue), Arc::clone(&resumed));
        let reads = thread::spawn(move || {
            assert_eq!(text(reader.0.take(None)).unwrap(), b"first");
            reader.1.store(reader.0.read(1, usize::MAX), Ordering::SeqCst);
        });
        brings.join().unwrap();
        reads.join().unwrap();
        assert!(resumed.load(Ordering::SeqCst), "whoever is held back is told to go on");
    });
}

#[test]
fn what_comes_to_a_stream_that_nobody_reads_is_returned_or_gone_and_never_waits() {
    loom::model(|| {
        let queue = stream(1);
        let source = Arc::clone(&queue);
        let brings = thread::spawn(move || {
            let pushed = read(&source, b"first");
            assert!(matches!(pushed, Pushed::Full(1) | Pushed::Returned(_)), "{pushed:?}");
        });
        assert!(queue.discard(), "more could have come");
        brings.join().unwrap();
        assert_eq!(queue.depth(), 0);
        assert_eq!(text(queue.take(None)), None);
    });
}
