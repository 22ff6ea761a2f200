//! What ends a command before its work is done: signals, a time limit, a stdout that nobody reads.
//!
//! Owns the threads that watch for these, and what they wake. Whoever waits tells how to be woken; whoever does not
//! wait looks from time to time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After a signal, a command that does not come to its end by itself is ended.
const GRACE: Duration = Duration::from_secs(5);

/// Why to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Signal(i32),
    /// Nobody reads stdout any more.
    OutputGone,
    /// The time of `--timeout` is over.
    TimedOut,
}

/// The exit status that a signal asks for.
pub(crate) fn status_of(signal: i32) -> u8 {
    u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX)
}

type Waker = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    cause: Option<Cause>,
    waker: Option<Waker>,
    finished: bool,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    began: Instant,
    deadline: Option<Instant>,
}

/// Shared by the command and those who watch.
#[derive(Clone)]
pub(crate) struct Stop(Arc<Inner>);

impl Stop {
    /// Begins to watch for SIGINT and SIGTERM; the time limit counts from now.
    pub(crate) fn watch(timeout: Option<Duration>) -> Self {
        let began = Instant::now();
        let deadline = timeout.and_then(|timeout| began.checked_add(timeout));
        let state = Mutex::new(State::default());
        let stop = Self(Arc::new(Inner { state, changed: Condvar::new(), began, deadline }));
        stop.watch_signals();
        stop
    }

    pub(crate) fn began(&self) -> Instant {
        self.0.began
    }

    /// Why to stop, if there is a reason.
    pub(crate) fn cause(&self) -> Option<Cause> {
        let overdue = self.0.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.lock().cause.or_else(|| overdue.then_some(Cause::TimedOut))
    }

    /// What is left of the time limit.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// What is left of the time limit, or `otherwise` if that is less or there is none.
    pub(crate) fn at_most(&self, otherwise: Duration) -> Duration {
        self.remaining().map_or(otherwise, |left| left.min(otherwise))
    }

    /// Says what wakes the command; once. In place of what was said before.
    pub(crate) fn wake_by(&self, waker: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.cause.is_some() {
            drop(state);
            return waker();
        }
        state.waker = Some(Box::new(waker));
    }

    /// The command does not wait, or knows how to end its waiting.
    pub(crate) fn wake_nobody(&self) {
        let waker = self.lock().waker.take();
        drop(waker);
    }

    /// There is a reason to stop. The first counts.
    pub(crate) fn stop(&self, cause: Cause) {
        let mut state = self.lock();
        if state.cause.is_some() {
            return;
        }
        state.cause = Some(cause);
        let waker = state.waker.take();
        self.0.changed.notify_all();
        drop(state);
        if let Some(waker) = waker {
            waker();
        }
    }

    /// Waits until a moment, or until there is a reason to stop.
    pub(crate) fn wait_until(&self, moment: Instant) {
        let mut state = self.lock();
        while state.cause.is_none() {
            let left = moment.saturating_duration_since(Instant::now()).min(self.at_most(Duration::MAX));
            if left.is_zero() {
                return;
            }
            state = self.wait(state, left);
        }
    }

    /// Nothing needs to be ended any more.
    pub(crate) fn finished(&self) {
        self.lock().finished = true;
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.0.changed.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends the process if the command has not come to its end within the grace.
    #[cfg(unix)]
    fn insist(&self, signal: i32) {
        let until = Instant::now() + GRACE;
        let mut state = self.lock();
        while !state.finished {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                eprintln!("amps: ended by a signal, with work unfinished");
                std::process::exit(i32::from(status_of(signal)));
            }
            state = self.wait(state, left);
        }
    }

    #[cfg(unix)]
    fn watch_signals(&self) {
        use signal_hook::consts::{SIGINT, SIGTERM};
        use signal_hook::iterator::Signals;

        // Without, signals do what they do by default.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
        let stop = self.clone();
        let watching = move || {
            let mut first = true;
            for signal in signals.forever() {
                if !first {
                    // Asked twice: at once.
                    std::process::exit(i32::from(status_of(signal)));
                }
                first = false;
                let insisting = stop.clone();
                let insist = move || insisting.insist(signal);
                let _ = std::thread::Builder::new().name("amps-grace".into()).spawn(insist);
                stop.stop(Cause::Signal(signal));
            }
        };
        let _ = std::thread::Builder::new().name("amps-signals".into()).spawn(watching);
    }

    #[cfg(not(unix))]
    fn watch_signals(&self) {
        let _ = GRACE;
    }

    /// Begins to watch whether somebody reads stdout: who waits for messages would not notice before the next one.
    #[cfg(target_os = "linux")]
    pub(crate) fn watch_output(&self) {
        use rustix::event::{PollFd, PollFlags, poll};

        let stop = self.clone();
        let watching = move || {
            let stdout = std::io::stdout();
            let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
            loop {
                match poll(&mut polled, None) {
                    Err(rustix::io::Errno::INTR) => {}
                    Ok(_) if polled.iter().any(|fd| fd.revents().intersects(PollFlags::ERR)) => {
                        return stop.stop(Cause::OutputGone);
                    }
                    // A terminal that hung up, or nothing that can be watched.
                    _ => return,
                }
            }
        };
        let _ = std::thread::Builder::new().name("amps-output".into()).spawn(watching);
    }

    /// Elsewhere the next write notices.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn watch_output(&self) {}
}
