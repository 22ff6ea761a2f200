//! Threads and futures that wait until something about the connection changes, and how they are told.
//!
//! Owns that no change is missed. What they wait for lies behind a lock of somebody else's.

use std::sync::PoisonError;
use std::task::Poll;
use std::time::Duration;

use crate::parked::Parked;
use crate::sync::{AtomicUsize, Condvar, MutexGuard, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Room {
    changed: Condvar,
    /// Threads that wait for that: to wake nobody costs a system call all the same. Whoever waits counts itself
    /// before it takes the lock to look whether it has to; so whoever changes something under the lock sees it.
    waiters: AtomicUsize,
    /// Futures that wait for the same.
    parked: Parked,
}

impl Room {
    /// This thread is about to wait: called before it takes the lock to look whether it has to.
    pub(crate) fn enter(&self) -> Waits<'_> {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        Waits(&self.waiters)
    }

    /// Tells the threads that wait. May be done under the lock.
    pub(crate) fn notify_threads(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.changed.notify_all();
        }
    }

    /// Tells the futures that wait: without the lock, for a waker is user code.
    pub(crate) fn wake_futures(&self) {
        self.parked.wake();
    }

    /// Waits, as a future: `look` is asked now, and again after each change. Dropped, it leaves nothing behind.
    pub(crate) fn until<T>(&self, look: impl FnMut() -> Poll<T>) -> impl Future<Output = T> {
        self.parked.until(look)
    }

    /// Waits for a change, at most `span`. Also returns without one.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, span: Option<Duration>) -> MutexGuard<'a, T> {
        match span {
            None => self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(span) => self.changed.wait_timeout(guard, span).unwrap_or_else(PoisonError::into_inner).0,
        }
    }
}

/// A thread that waits, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
