//! A bell: somebody waits, somebody else says that it is worth looking again.
//!
//! Owns a count and the threads that wait for it to change; it knows nothing of what happened.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rung from one thread, heard by another.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: Mutex<u64>,
    changed: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// Asks again after every ring until the answer is yes; `false` if it was not within
    /// `patience`.
    pub(crate) fn wait_until(&self, patience: Duration, mut answer: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + patience;
        loop {
            let heard = *self.rings.lock().unwrap_or_else(PoisonError::into_inner);
            if answer() {
                return true;
            }
            let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
            while *rings == heard {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                rings = self.changed.wait_timeout(rings, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn whoever_waits_asks_again_when_it_rings() {
        let (bell, done) = (Arc::new(Bell::default()), Arc::new(AtomicBool::new(false)));
        let ringer = {
            let (bell, done) = (Arc::clone(&bell), Arc::clone(&done));
            std::thread::spawn(move || {
                bell.ring();
                done.store(true, Ordering::SeqCst);
                bell.ring();
            })
        };
        assert!(bell.wait_until(Duration::from_secs(60), || done.load(Ordering::SeqCst)));
        ringer.join().unwrap();
        assert!(!bell.wait_until(Duration::ZERO, || false));
    }
}
