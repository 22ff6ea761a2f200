//! Futures that wait for room, or for the publish store, beside the threads that do.
//!
//! Owns their wakers, and nothing else: what they wait for is looked at by whoever waits. A waker is user
//! code, so that none is called with a lock held.

use std::future::poll_fn;
use std::sync::PoisonError;
use std::task::{Poll, Waker};

use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    /// How many wait: to wake nobody costs one load.
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Parked {
    /// Wakes all. Each looks again, and waits again if it has to.
    pub(crate) fn wake(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let woken = std::mem::take(&mut self.lock().wakers);
        for (_, waker) in woken {
            waker.wake();
        }
    }

    /// Asks `look` until it has an answer: first when polled, then after each [`wake`](Self::wake). Its waker is
    /// there before `look` is asked, so that no change is missed, and is gone with the future.
    pub(crate) fn until<T>(&self, mut look: impl FnMut() -> Poll<T>) -> impl Future<Output = T> {
        let mut seat = None;
        poll_fn(move |cx| {
            seat.get_or_insert_with(|| Seat::take(self)).sit(cx.waker());
            let looked = look();
            if looked.is_ready() {
                seat = None;
            }
            looked
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One future's place.
struct Seat<'a> {
    parked: &'a Parked,
    number: u64,
}

impl<'a> Seat<'a> {
    fn take(parked: &'a Parked) -> Self {
        parked.count.fetch_add(1, Ordering::SeqCst);
        let mut state = parked.lock();
        state.last += 1;
        Self { parked, number: state.last }
    }

    fn sit(&self, waker: &Waker) {
        let mut waker = waker.clone();
        let mut state = self.parked.lock();
        match state.wakers.iter_mut().find(|(number, _)| *number == self.number) {
            // The old one is let go without the lock: it may be the last of its task, whose end is user code.
            Some((_, old)) => std::mem::swap(old, &mut waker),
            None => return state.wakers.push((self.number, waker)),
        }
        drop(state);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut state = self.parked.lock();
        let at = state.wakers.iter().position(|(number, _)| *number == self.number);
        let waker = at.map(|at| state.wakers.swap_remove(at));
        drop(state);
        // It may be the last of its task, whose end is user code as well.
        drop(waker);
        self.parked.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_future_looks_again_when_it_is_woken_and_leaves_nothing_behind() {
        let parked = Parked::default();
        let counts = Arc::new(Counts::default());
        let waker = Waker::from(Arc::clone(&counts));
        let mut context = Context::from_waker(&waker);
        let there = Cell::new(false);
        {
            let mut waits = pin!(parked.until(|| if there.get() { Poll::Ready(7) } else { Poll::Pending }));
            assert!(waits.as_mut().poll(&mut context).is_pending());
            parked.wake();
            assert_eq!(counts.0.load(Ordering::SeqCst), 1);
            assert!(waits.as_mut().poll(&mut context).is_pending());
            there.set(true);
            assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(7));
        }
        {
            there.set(false);
            let mut dropped = pin!(parked.until(|| if there.get() { Poll::Ready(7) } else { Poll::Pending }));
            assert!(dropped.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(parked.count.load(Ordering::SeqCst), 0);
        drop(waker);
        assert_eq!(Arc::strong_count(&counts), 1, "no waker is kept");
    }
}
