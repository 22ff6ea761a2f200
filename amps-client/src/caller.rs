//! A number for each thread that calls, so that the pure halves can tell callers apart.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// The number of this thread; never 0.
pub(crate) fn current() -> u64 {
    CURRENT.with(|current| {
        if current.get() == 0 {
            current.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        current.get()
    })
}
