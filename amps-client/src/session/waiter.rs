//! The place where a caller waits for the end of its command.
//!
//! Owns promise P7's second half: a result is put in at most once and taken at most once.

use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sow_delete::DeleteStats;
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};

/// What the end of a command tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// The backlog that the server granted, if the command was a subscribe to a queue.
    pub(crate) granted_backlog: Option<u32>,
    /// What a delete counted.
    pub(crate) deleted: DeleteStats,
}

/// The session's end of a caller's wait. Lost unanswered, for instance in the mailbox of a loop
/// that ended, it tells the caller so.
#[derive(Debug)]
pub(crate) struct Reply(Arc<Waiter>);

impl Reply {
    pub(crate) fn complete(&self, result: Result<Done>) {
        self.0.complete(result);
    }
}

impl From<Arc<Waiter>> for Reply {
    fn from(waiter: Arc<Waiter>) -> Self {
        Self(waiter)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// So long a thread looks again and again before it sleeps: to wake it takes tens of microseconds on a virtual machine,
/// and a server that is near has answered by then. Others run meanwhile if they want to.
const LOOK_FIRST: Duration = Duration::from_micros(if cfg!(amps_loom) { 0 } else { 100 });

/// One command's result, before and after it is there.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    slot: Mutex<Slot>,
    filled: Condvar,
    /// The result has been put in.
    completed: AtomicBool,
    /// Who waits, as far as that matters: 0 for nobody in particular.
    caller: u64,
}

#[derive(Debug, Default)]
struct Slot {
    result: Option<Result<Done>>,
    /// A future that waits.
    waker: Option<Waker>,
    /// Threads that sleep: to wake nobody costs a system call all the same.
    sleeping: usize,
    /// How often somebody tried to put a result in. More than once is a bug of ours.
    completions: u32,
}

impl Waiter {
    /// For a thread that will wait.
    pub(crate) fn of(caller: u64) -> Self {
        Self { caller, ..Self::default() }
    }

    /// The thread that waits; 0 if it is none.
    pub(crate) const fn caller(&self) -> u64 {
        self.caller
    }

    /// Puts the result in and wakes the caller. Later calls change nothing.
    pub(crate) fn complete(&self, result: Result<Done>) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.completions += 1;
        if slot.completions == 1 {
            slot.result = Some(result);
            self.completed.store(true, Ordering::Release);
            let (sleeping, waker) = (slot.sleeping > 0, slot.waker.take());
            // Whoever is woken takes the lock at once.
            drop(slot);
            if sleeping {
                self.filled.notify_all();
            }
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Whether the result has been put in.
    pub(crate) fn is_completed(&self) -> bool {
        self.completed.load(Ordering::Acquire)
    }

    /// Takes the result, or has the future woken when it is there.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Result<Done>> {
        let waker = waker.clone();
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let (polled, old) = match slot.result.take() {
            Some(result) => (Poll::Ready(result), Some(waker)),
            None => (Poll::Pending, slot.waker.replace(waker)),
        };
        // It may be the last of its task, whose end is user code.
        drop(slot);
        drop(old);
        polled
    }

    /// The future that waited is gone: its waker, and the task behind it, go as well.
    pub(crate) fn forget_waker(&self) {
        let waker = self.slot.lock().unwrap_or_else(PoisonError::into_inner).waker.take();
        drop(waker);
    }

    /// Ends the command if nothing has ended it: whoever could is gone.
    fn abandon(&self) {
        let open = self.slot.lock().unwrap_or_else(PoisonError::into_inner).completions == 0;
        if open {
            self.complete(Err(Error::Usage("the event loop of this client has ended")));
        }
    }

    /// Takes the result if it is there.
    pub(crate) fn take(&self) -> Option<Result<Done>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).result.take()
    }

    #[cfg(feature = "simulation")]
    /// How often the command was ended; the simulator asserts that it is at most once.
    pub(crate) fn completions(&self) -> u32 {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).completions
    }

    /// Waits for the result, at most until `give_up`.
    pub(crate) fn wait(&self, give_up: Option<Duration>) -> Option<Result<Done>> {
        // Beyond what the clock can express is without limit.
        let give_up = give_up.and_then(|span| Instant::now().checked_add(span));
        let began = Instant::now();
        let look = give_up.is_none_or(|give_up| give_up > began + LOOK_FIRST);
        while look && !self.is_completed() && began.elapsed() < LOOK_FIRST {
            std::thread::yield_now();
        }
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = slot.result.take() {
                return Some(result);
            }
            let left = match give_up {
                None => None,
                Some(give_up) => Some(give_up.checked_duration_since(Instant::now())?),
            };
            slot.sleeping += 1;
            slot = match left {
                None => self.filled.wait(slot).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.filled.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            slot.sleeping -= 1;
        }
    }
}
