//! An executor in a few lines, and what cancels a future wherever it can be cancelled.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::PATIENCE;

/// Counts how often it was woken; a thread waits for that.
#[derive(Default)]
pub struct Bell {
    woken: Mutex<usize>,
    rung: Condvar,
    pub total: AtomicUsize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.total.fetch_add(1, Ordering::SeqCst);
        *self.woken.lock().unwrap() += 1;
        self.rung.notify_all();
    }
}

impl Bell {
    /// Waits until it was woken since the last time.
    pub fn wait(&self) {
        let woken = self.woken.lock().unwrap();
        let (mut woken, timeout) =
            self.rung.wait_timeout_while(woken, PATIENCE, |woken| *woken == 0).unwrap();
        assert!(!timeout.timed_out(), "nobody wakes the future");
        *woken = 0;
    }
}

/// Drives a future to its end; it is woken, or this fails.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => bell.wait(),
        }
    }
}

/// Where a future is dropped.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// After so many polls.
    pub polls: usize,
    /// Only when it was woken once more: what it waits for is there, and it has not looked.
    pub woken: bool,
}

/// Makes a future again and again, polls it 0, 1, 2, … times, and drops it, until one comes to its end. `after`
/// checks what is left behind. Returns how many were dropped before their end.
pub fn cancel_everywhere<F: Future>(mut make: impl FnMut() -> F, mut after: impl FnMut(Cut)) -> usize {
    let mut dropped = 0;
    for polls in 0.. {
        for woken in [false, true] {
            let ended = cancel_at(make(), Cut { polls, woken });
            after(Cut { polls, woken });
            if ended {
                return dropped;
            }
            dropped += 1;
        }
    }
    dropped
}

fn cancel_at<F: Future>(future: F, cut: Cut) -> bool {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut ended = false;
    {
        let mut future: Pin<Box<F>> = Box::pin(future);
        for poll in 0..cut.polls {
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                ended = true;
                break;
            }
            if poll + 1 < cut.polls || cut.woken {
                bell.wait();
            }
        }
    }
    drop(waker);
    // Whoever took the waker to call it may still be about to let it go.
    super::until("that all wakers are gone", || Arc::strong_count(&bell) == 1);
    ended
}
