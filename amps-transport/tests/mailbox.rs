//! Notes from many threads.

mod common;

use std::sync::mpsc::{Sender, channel};
use std::thread;

use amps_transport::{EventLoop, Input, Machine, Sink, Time};
use common::LIMIT;

struct Reporter(Sender<(usize, usize)>);

impl Machine for Reporter {
    type Note = (usize, usize);

    fn handle<S: Sink>(&mut self, _now: Time, input: Input<'_, Self::Note>, _sink: &mut S) {
        if let Input::Note(note) = input {
            self.0.send(note).unwrap();
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

#[test]
fn the_notes_of_each_thread_arrive_in_order() {
    const THREADS: usize = 8;
    const NOTES: usize = 20_000;
    let (sender, notes) = channel();
    let handle = EventLoop::start("mailbox").unwrap().add(Reporter(sender));
    let posters: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = handle.clone();
            thread::spawn(move || (0..NOTES).for_each(|number| assert!(handle.post((thread, number)))))
        })
        .collect();
    let mut next = [0; THREADS];
    for _ in 0..THREADS * NOTES {
        let (thread, number) = notes.recv_timeout(LIMIT).unwrap();
        assert_eq!(number, next[thread]);
        next[thread] += 1;
    }
    posters.into_iter().for_each(|poster| poster.join().unwrap());
}

#[test]
fn notes_posted_before_the_removal_are_delivered() {
    const NOTES: usize = 10_000;
    let (sender, notes) = channel();
    let handle = EventLoop::start("last-notes").unwrap().add(Reporter(sender));
    for number in 0..NOTES {
        assert!(handle.post((0, number)));
    }
    handle.remove_and_wait();
    assert!(!handle.post((0, 0)));
    assert_eq!(notes.iter().count(), NOTES);
}

#[test]
fn one_note_at_a_time_always_wakes_the_loop() {
    let (sender, notes) = channel();
    let handle = EventLoop::start("single-notes").unwrap().add(Reporter(sender));
    for number in 0..20_000 {
        assert!(handle.post((0, number)));
        assert_eq!(notes.recv_timeout(LIMIT).unwrap(), (0, number));
    }
}
