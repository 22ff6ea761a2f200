//! How other threads reach an event loop.
//!
//! Owns three things: [`Signals`], the loop's door bell, which says *what* wants attention
//! and wakes the loop; [`Mailbox`], the notes posted to one machine; and [`Presence`], by
//! which a thread learns that a machine and its sockets are gone.
//!
//! Invariants:
//! - The waker is used only when the list of signals goes from empty to non-empty, and never
//!   by the loop's own thread, nor while no thread runs the loop: it looks at the list before it goes to sleep.
//! - A mailbox raises its signal only when it goes from empty to non-empty.
//! - After `end` or `close` nothing is stored any more, so nothing can be stored in vain.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use crate::machine::{ConnId, CustomStream};

/// Names a machine among all machines that one loop ever had.
pub(crate) type MachineId = u64;

/// What wants the attention of the loop.
pub(crate) enum Signal {
    /// The queue of controls is not empty.
    Controls,
    /// A machine's mailbox is not empty.
    Mail(MachineId),
    /// A machine's deadline may have changed.
    AskDeadline(MachineId),
    /// Somebody asked for `Writable`.
    Flush(ConnId),
    /// Writing failed on another thread; the outlet knows why.
    Failed(ConnId),
    /// A helper thread has resolved the name that a connection goes to.
    Resolved(ConnId, io::Result<Vec<SocketAddr>>),
    /// A helper thread has made the stream of a connection, in the application's way.
    Made(ConnId, io::Result<Box<dyn CustomStream>>),
    /// The last handle is gone.
    Stop,
}

/// The loop's door bell.
pub(crate) struct Signals {
    raised: Mutex<Raised>,
    waker: Waker,
    /// The number of the thread that runs the loop now; 0 while none does.
    thread: AtomicU64,
}

#[derive(Default)]
struct Raised {
    ended: bool,
    signals: Vec<Signal>,
}

impl Signals {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { raised: Mutex::default(), waker, thread: AtomicU64::new(0) }
    }

    /// The calling thread runs the loop from now on, until what is returned is dropped.
    pub(crate) fn run_here(self: &Arc<Self>) -> RunsHere {
        self.thread.store(thread_number(), Ordering::Relaxed);
        RunsHere(Arc::clone(self))
    }

    /// Exact for the thread that asks: what another one stores meanwhile is not its number.
    pub(crate) fn is_loop_thread(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == thread_number()
    }

    /// Adds a signal, and wakes the loop if it may be asleep.
    pub(crate) fn raise(&self, signal: Signal) {
        let mut raised = lock(&self.raised);
        if raised.ended {
            return;
        }
        let edge = raised.signals.is_empty();
        raised.signals.push(signal);
        drop(raised);
        // Whoever begins to run the loop looks at the list first.
        let thread = self.thread.load(Ordering::Relaxed);
        if edge && thread != 0 && thread != thread_number() {
            // It fails only if the loop's poller is broken, and then the loop has ended.
            let _nobody_to_wake = self.waker.wake();
        }
    }

    /// Moves all signals to `into`, which has to be empty: its memory is used for the next ones.
    pub(crate) fn take(&self, into: &mut Vec<Signal>) {
        std::mem::swap(&mut lock(&self.raised).signals, into);
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.raised).signals.is_empty()
    }

    /// Nothing is stored from now on.
    pub(crate) fn end(&self) {
        let mut raised = lock(&self.raised);
        raised.ended = true;
        raised.signals.clear();
    }
}

/// A thread runs the loop, until this is dropped.
pub(crate) struct RunsHere(Arc<Signals>);

impl Drop for RunsHere {
    fn drop(&mut self) {
        self.0.thread.store(0, Ordering::Relaxed);
    }
}

/// The part of a machine that its handles share with the loop.
pub(crate) struct Mailbox<N> {
    pub(crate) id: MachineId,
    signals: Arc<Signals>,
    notes: Mutex<Notes<N>>,
    deadline_asked: AtomicBool,
    gone: Arc<Gone>,
}

struct Notes<N> {
    closed: bool,
    waiting: VecDeque<N>,
}

impl<N> Mailbox<N> {
    /// A mailbox, and the presence that the machine's parts hold.
    pub(crate) fn new(id: MachineId, signals: Arc<Signals>) -> (Self, Arc<Presence>) {
        let gone = Arc::new(Gone::default());
        let notes = Mutex::new(Notes { closed: false, waiting: VecDeque::new() });
        let presence = Arc::new(Presence(Arc::clone(&gone)));
        (Self { id, signals, notes, deadline_asked: AtomicBool::new(false), gone }, presence)
    }

    /// Adds a note; `false` if the machine is gone.
    pub(crate) fn post(&self, note: N) -> bool {
        let mut notes = lock(&self.notes);
        if notes.closed {
            return false;
        }
        let edge = notes.waiting.is_empty();
        notes.waiting.push_back(note);
        drop(notes);
        if edge {
            self.signals.raise(Signal::Mail(self.id));
        }
        true
    }

    /// Moves all notes to `into`, which has to be empty: its memory is used for the next ones.
    pub(crate) fn take(&self, into: &mut VecDeque<N>) {
        std::mem::swap(&mut lock(&self.notes).waiting, into);
    }

    /// Refuses notes from now on. Those that wait can still be taken.
    pub(crate) fn close(&self) {
        lock(&self.notes).closed = true;
    }

    /// Drops the notes that nobody will take any more; whoever waits for an answer to one
    /// learns by its destructor that none comes.
    pub(crate) fn discard(&self) {
        let waiting = std::mem::take(&mut lock(&self.notes).waiting);
        // Foreign destructors, outside the lock.
        drop(waiting);
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.notes).closed
    }

    /// Makes the loop ask the machine for its deadline.
    pub(crate) fn ask_deadline(&self) {
        if !self.deadline_asked.swap(true, Ordering::AcqRel) {
            self.signals.raise(Signal::AskDeadline(self.id));
        }
    }

    /// The loop is about to ask. It has to call this before it asks, so that a later change
    /// raises a new signal.
    pub(crate) fn deadline_is_asked(&self) {
        self.deadline_asked.store(false, Ordering::Release);
    }

    pub(crate) fn wait_until_gone(&self) {
        let mut gone = lock(&self.gone.flag);
        while !*gone {
            gone = self.gone.changed.wait(gone).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[derive(Default)]
struct Gone {
    flag: Mutex<bool>,
    changed: Condvar,
}

/// Held by a machine's slot and by each of its connections; when the last holder lets go,
/// whoever waits for the machine to be gone is told.
pub(crate) struct Presence(Arc<Gone>);

impl Drop for Presence {
    fn drop(&mut self) {
        *lock(&self.0.flag) = true;
        self.0.changed.notify_all();
    }
}

/// A number of the calling thread, that no other has, and that is not 0.
#[inline]
fn thread_number() -> u64 {
    thread_local! {
        static OWN: Cell<u64> = const { Cell::new(0) };
    }
    OWN.with(|own| match own.get() {
        0 => first_number(own),
        number => number,
    })
}

#[cold]
fn first_number(own: &Cell<u64>) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    own.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
    own.get()
}

/// No code that can panic runs under these locks, so a poisoned one is still sound.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
