//! The lock around the outbound half, and who writes when.
//!
//! The thread that makes a frame writes it, if nobody else is writing: no hop to the loop.
//! The system call happens outside the lock. When frames come back to back, they are left to
//! gather, and the loop is asked to write them soon; the thread itself writes again once
//! 32 KiB have gathered.

use std::sync::{OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use amps_transport::{ConnId, Sink, Time};

use super::outbound::{Ended, Outbound};
use super::publisher::Publisher;
use super::room::Room;
use super::wire::{COALESCE_BYTES, Chunk};
use crate::error::Result;
use crate::lease::LeaseWatch;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// Two frames closer together than this are "back to back".
const BURST_GAP: Duration = Duration::from_micros(20);

/// So many frames back to back are a burst.
const BURST_LENGTH: u32 = 4;

/// Sees what is written.
type Tap = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Everything that the threads of one client share.
pub(crate) struct Shared {
    outbound: Mutex<Guarded>,
    /// Told when bytes left the queue, or the connection changed.
    room: Room,
    /// There are effects that the session has not applied yet.
    changed: AtomicBool,
    /// Publishes wait for company, or did not long ago.
    holding: AtomicBool,
    /// The loop is running user code and cannot be relied on to write soon.
    busy: AtomicBool,
    /// Makes the loop look at the session's timers and effects again.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Sees what is written, before it is.
    tap: OnceLock<Tap>,
    /// Notices leases that ended too early.
    pub(crate) leases: LeaseWatch,
    /// So many bytes fit into the socket of a simulator at a time.
    #[cfg(feature = "simulation")]
    socket: OnceLock<usize>,
}

struct Guarded {
    outbound: Outbound,
    last_write: Time,
    burst: u32,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// How soon frames must be on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Now.
    Now,
    /// Now, unless frames come back to back.
    Gather,
}

impl Shared {
    pub(crate) fn new(outbound: Outbound) -> Self {
        let guarded = Guarded { outbound, last_write: Time::EPOCH, burst: 0 };
        Self {
            outbound: Mutex::new(guarded),
            room: Room::default(),
            changed: AtomicBool::new(false),
            holding: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            wake: OnceLock::new(),
            tap: OnceLock::new(),
            leases: LeaseWatch::default(),
            #[cfg(feature = "simulation")]
            socket: OnceLock::new(),
        }
    }

    /// The driver takes so many bytes at a time; once.
    #[cfg(feature = "simulation")]
    pub(crate) fn set_socket(&self, bytes: usize) {
        let _ = self.socket.set(bytes);
    }

    /// What a driver without outlets takes at a time.
    fn socket(&self) -> usize {
        #[cfg(feature = "simulation")]
        if let Some(bytes) = self.socket.get() {
            return *bytes;
        }
        usize::MAX
    }

    /// Sets how the loop is woken; once.
    pub(crate) fn on_wake(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let _ = self.wake.set(wake);
    }

    /// Sets who sees what is written; once.
    pub(crate) fn on_write(&self, tap: Tap) {
        let _ = self.tap.set(tap);
    }

    /// Shows bytes on their first way out. One writer is at work at a time, so that they come
    /// in the order of the wire.
    fn show(&self, chunk: &Chunk) {
        if let Some(tap) = self.tap.get().filter(|_| chunk.fresh) {
            tap(&chunk.bytes);
        }
    }

    /// Whether somebody changed what the session has to know; asked between two messages.
    #[inline]
    pub(crate) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire) && self.changed.swap(false, Ordering::AcqRel)
    }

    /// The loop enters or leaves user code: meanwhile nothing is left for it to write.
    #[inline]
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
        if busy && self.holding.load(Ordering::Relaxed) {
            self.holding.store(false, Ordering::Relaxed);
            let mut guard = self.lock();
            guard.outbound.written();
            self.write_out(guard);
        }
    }

    /// Uses the outbound half from any thread, then writes what came of it.
    pub(crate) fn act<T>(&self, now: Time, urgency: Urgency, f: impl FnOnce(&mut Outbound) -> T) -> T {
        let mut guard = self.lock();
        let before = guard.outbound.deadline();
        let result = f(&mut guard.outbound);
        let changed = guard.outbound.has_effects();
        if changed {
            self.changed.store(true, Ordering::Release);
        }
        let wake = changed || guard.outbound.is_draining() || earlier(guard.outbound.deadline(), before);
        let _told_at_the_end = guard.outbound.take_ended();
        self.write(guard, now, urgency);
        if wake {
            self.wake();
        }
        result
    }

    /// As [`act`](Self::act), for acknowledgements: they come back to back, and move no timer
    /// but their own.
    pub(crate) fn act_timed<T>(&self, now: Time, f: impl FnOnce(&mut Outbound) -> T) -> T {
        let mut guard = self.lock();
        let before = guard.outbound.ack_timer();
        let result = f(&mut guard.outbound);
        let wake = guard.outbound.is_draining() || earlier(guard.outbound.ack_timer(), before);
        self.write(guard, now, Urgency::Gather);
        if wake {
            self.wake();
        }
        result
    }

    /// As [`act`](Self::act), for acknowledgements of handlers: no timer and no effect can have changed. What time
    /// it is matters only where a batch begins or is written: most of the time it merely grows.
    pub(crate) fn act_quietly<T, C: FnMut() -> Time>(
        &self,
        mut now: C,
        f: impl FnOnce(&mut Outbound, &mut C) -> T,
    ) -> T {
        let mut guard = self.lock();
        let result = f(&mut guard.outbound, &mut now);
        guard.outbound.line.fill();
        if guard.outbound.line.wire.queued() > 0 {
            self.write(guard, now(), Urgency::Gather);
        }
        result
    }

    /// As [`act`](Self::act), for publishes: no timer and no effect can have changed, and they may be made to wait
    /// for more.
    pub(crate) fn act_publish<T>(&self, now: Time, f: impl FnOnce(&mut Outbound) -> T) -> T {
        let mut guard = self.lock();
        let waiting = guard.outbound.line.wire.queued();
        let result = f(&mut guard.outbound);
        // The loop would write them in time, if it were not at work.
        let busy = self.busy.load(Ordering::Relaxed);
        match guard.outbound.may_gather(now, waiting).filter(|_| !busy) {
            None => self.write(guard, now, Urgency::Gather),
            Some(first) => {
                self.holding.store(true, Ordering::Relaxed);
                drop(guard);
                if first {
                    self.wake();
                }
            }
        }
        result
    }

    /// Uses the outbound half without writing: reads, and what the session does on the loop.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Outbound) -> T) -> T {
        self.with_ended(f).0
    }

    /// As [`with`](Self::with); callers whose commands ended are told when the second part is dropped.
    pub(crate) fn with_ended<T>(&self, f: impl FnOnce(&mut Outbound) -> T) -> (T, Ended) {
        let mut guard = self.lock();
        let result = f(&mut guard.outbound);
        (result, guard.outbound.take_ended())
    }

    /// Waits until bytes have left the queue, the connection changed, or `span` passed.
    pub(crate) fn wait_for_room(&self, span: Duration) {
        let _waits = self.room.enter();
        let guard = self.lock();
        let outbound = &guard.outbound;
        if outbound.is_up() && outbound.line.wire.queued() >= outbound.limits().queue {
            drop(self.room.wait(guard, Some(span)));
        }
    }

    /// Waits until the socket has taken everything, the connection is lost, or `span` passed.
    pub(crate) fn wait_until_written(&self, span: Duration) {
        let _waits = self.room.enter();
        let began = Instant::now();
        let mut guard = self.lock();
        while guard.outbound.line.wire.queued() > 0 {
            let Some(left) = span.checked_sub(began.elapsed()) else { return };
            guard = self.room.wait(guard, Some(left));
        }
    }

    /// Tells whoever waits that something changed. Without the lock: a waker is user code.
    pub(crate) fn notify_room(&self) {
        self.room.notify_threads();
        self.room.wake_futures();
    }

    /// Waits, as a future, for what [`notify_room`](Self::notify_room) tells: `look` is asked now, and again
    /// after each change. Dropped, it leaves nothing behind.
    pub(crate) fn until<T>(&self, look: impl FnMut() -> Poll<T>) -> impl Future<Output = T> {
        self.room.until(look)
    }

    pub(crate) fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// Writes what waits, from the loop: through the outlet if the driver has threads, into
    /// the sink if it has not.
    pub(crate) fn write_from_loop<S: Sink>(&self, conn: Option<ConnId>, sink: &mut S) {
        let mut guard = self.lock();
        guard.burst = 0;
        // Publishes that may still wait for company do so.
        if guard.outbound.waits_for_company() {
            return;
        }
        if guard.outbound.outlet.is_some() {
            self.write_out(guard);
        } else if let Some(conn) = conn {
            drop(guard);
            self.send_all(conn, self.socket(), sink);
        }
    }

    /// Gives what the socket has not taken yet to the loop, which sends it before it closes.
    pub(crate) fn hand_over<S: Sink>(&self, conn: ConnId, sink: &mut S) {
        self.lock().outbound.line.wire.unblock();
        self.send_all(conn, usize::MAX, sink);
    }

    /// Puts what waits into the sink, as far as there is room. Whoever sees it does so without the lock.
    fn send_all<S: Sink>(&self, conn: ConnId, mut room: usize, sink: &mut S) {
        let next = || self.lock().outbound.line.take();
        while let Some(mut chunk) = next() {
            self.show(&chunk);
            let piece = chunk.bytes.split_to(room.min(chunk.bytes.len()));
            room -= piece.len();
            sink.send(conn, &piece);
            self.lock().outbound.line.wire.put_back(chunk);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut guard: MutexGuard<'_, Guarded>, now: Time, urgency: Urgency) {
        guard.outbound.line.fill();
        let waiting = guard.outbound.line.wire.queued();
        if waiting == 0 {
            return;
        }
        // What is being sent takes publishes along that wait for company.
        guard.outbound.written();
        guard.burst = if now - guard.last_write < BURST_GAP { guard.burst + 1 } else { 0 };
        guard.last_write = now;
        let gather = urgency == Urgency::Gather && !self.busy.load(Ordering::Relaxed);
        if gather && guard.burst >= BURST_LENGTH && waiting < COALESCE_BYTES {
            if let Some(outlet) = &guard.outbound.outlet {
                outlet.request_flush();
                return;
            }
        }
        self.write_out(guard);
    }

    /// Writes until nothing waits, the socket is full, or another writer is at work.
    fn write_out<'a>(&'a self, guard: MutexGuard<'a, Guarded>) {
        // Who has found no room would wake itself for ever if nothing had to leave for that.
        if self.write_out_as_far_as_it_goes(guard) {
            self.room.wake_futures();
        }
    }

    /// Whether something left.
    fn write_out_as_far_as_it_goes<'a>(&'a self, mut guard: MutexGuard<'a, Guarded>) -> bool {
        let mut left = false;
        let Some(outlet) = guard.outbound.outlet.clone() else { return left };
        guard.outbound.written();
        let generation = guard.outbound.connection();
        while let Some(mut chunk) = guard.outbound.line.take() {
            drop(guard);
            self.show(&chunk);
            let size = chunk.bytes.len();
            let written = outlet.try_write(&mut chunk.bytes);
            left |= chunk.bytes.len() < size;
            guard = self.lock();
            if guard.outbound.connection() != generation {
                // The connection was lost meanwhile, and its bytes with it.
                return left;
            }
            // An error is reported by the loop as the loss of the connection; until then the
            // rest stays where it is, as if the socket were full.
            let failed = written.is_err();
            guard.outbound.line.wire.put_back(chunk);
            self.room.notify_threads();
            if failed {
                return left;
            }
        }
        // What waited for what is written now is the loop's business.
        if guard.outbound.may_go_on() {
            drop(guard);
            self.wake();
        }
        left
    }

    /// The publish store has come on: sends what may leave now, and wakes who waits for that.
    pub(crate) fn store_progressed(&self) {
        let mut guard = self.lock();
        self.room.notify_threads();
        guard.outbound.line.fill();
        self.write_out(guard);
        self.room.wake_futures();
    }

    /// Waits until something that the publish store keeps may leave, or is as safe as it
    /// promises to be: whichever `done` asks for. `false` after `span`.
    ///
    /// # Errors
    /// The store is in trouble, or closed without the message.
    pub(crate) fn await_store(
        &self,
        span: Option<Duration>,
        number: u64,
        done: impl Fn(&Publisher, u64) -> bool,
    ) -> Result<bool> {
        let give_up = span.and_then(|span| Instant::now().checked_add(span));
        let _waits = self.room.enter();
        let mut guard = self.lock();
        loop {
            if let Poll::Ready(result) = guard.outbound.store_poll(number, &done) {
                return result.map(|()| true);
            }
            let left = give_up.map(|give_up| give_up.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            guard = self.room.wait(guard, left);
        }
    }

    /// Waits until the store has forgotten something, at most `span`.
    pub(crate) fn await_persisted(&self, span: Duration) {
        let _waits = self.room.enter();
        drop(self.room.wait(self.lock(), Some(span)));
    }
}

fn earlier(new: Option<Time>, old: Option<Time>) -> bool {
    match (new, old) {
        (Some(new), Some(old)) => new < old,
        (Some(_), None) => true,
        (None, _) => false,
    }
}
