//! The sending half of a connection, for threads other than the loop's.
//!
//! Owns the socket, which it shares with the loop. Invariants:
//! - The socket is shut down before the loop forgets it, and its file descriptor is closed
//!   only with the last [`Outlet`]; so a late writer gets an error and can never reach
//!   another connection that happens to get the same descriptor.
//! - The first reason for the end of the connection is kept, and it is what every writer sees.
//! - `Full` is reported only after the flag that makes the loop deliver `Writable` is set
//!   and the socket refused bytes *after* that; so the wake-up cannot be lost.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Buf, BytesMut};

use crate::error::CloseReason;
use crate::machine::ConnId;
use crate::mailbox::{Signal, Signals};
use crate::stream::Stream;

/// What became of an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after `Full` the rest has to be written when `Writable` comes"]
pub enum Written {
    /// The socket took every byte.
    All,
    /// The socket is full and the buffer holds the rest. The loop delivers
    /// [`Input::Writable`](crate::Input::Writable) as soon as the socket takes bytes again.
    Full,
}

/// The sending half of a connection: any thread writes with it straight into the socket,
/// without a detour by the event loop.
///
/// A clone is another handle to the same connection. Writers have to agree among themselves
/// who writes when (by a lock around their buffer); the outlet does not keep the bytes of two
/// concurrent writers apart. When the connection has ended, every write fails with the reason.
#[derive(Clone)]
pub struct Outlet {
    shared: Arc<Shared>,
}

struct Shared {
    conn: ConnId,
    stream: Stream,
    signals: Arc<Signals>,
    /// Set once the connection has ended, for whatever reason.
    ended: OnceLock<CloseReason>,
    /// A writer waits for `Writable`.
    full: AtomicBool,
    /// A `Flush` signal is on its way.
    flush_asked: AtomicBool,
}

impl Outlet {
    pub(crate) fn new(conn: ConnId, stream: Stream, signals: Arc<Signals>) -> Self {
        let shared = Shared {
            conn,
            stream,
            signals,
            ended: OnceLock::new(),
            full: AtomicBool::new(false),
            flush_asked: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Writes from the front of `buffer` as much as the socket takes now, and removes from
    /// `buffer` what it took. Never blocks.
    ///
    /// After [`Written::Full`] the machine gets [`Input::Writable`](crate::Input::Writable)
    /// when it is worth while to try again (and, rarely, once more than needed).
    ///
    /// # Errors
    ///
    /// The reason for the connection's end, if it has ended or ends by this write. In the
    /// latter case the machine gets `Closed` too. `buffer` keeps what was not taken; how much
    /// of the rest has reached the peer is unknown.
    pub fn try_write(&self, buffer: &mut BytesMut) -> Result<Written, CloseReason> {
        let mut announced = false;
        while !buffer.is_empty() {
            if let Some(reason) = self.shared.ended.get() {
                return Err(reason.clone());
            }
            match self.shared.stream.write(buffer) {
                Ok(0) => return Err(self.fail(io::ErrorKind::WriteZero.into())),
                Ok(taken) => buffer.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if announced {
                        return Ok(Written::Full);
                    }
                    // The socket may have become writable between its refusal and this
                    // announcement, and the loop may already have seen (and dismissed) that
                    // event. One more attempt settles it.
                    self.shared.full.store(true, Ordering::SeqCst);
                    announced = true;
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(Written::All)
    }

    /// Makes the loop deliver [`Input::Writable`](crate::Input::Writable) soon. Calls that
    /// come before it is delivered are one. Does nothing once the connection has ended.
    pub fn request_flush(&self) {
        if self.is_open() && !self.shared.flush_asked.swap(true, Ordering::AcqRel) {
            self.shared.signals.raise(Signal::Flush(self.shared.conn));
        }
    }

    /// Whether the connection has not ended yet, as far as this side knows.
    pub fn is_open(&self) -> bool {
        self.shared.ended.get().is_none()
    }

    fn fail(&self, error: io::Error) -> CloseReason {
        let first = self.shared.ended.set(CloseReason::from_io(error)).is_ok();
        if first {
            self.shared.signals.raise(Signal::Failed(self.shared.conn));
        }
        self.ended().unwrap_or(CloseReason::Reset)
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.shared.stream
    }

    /// Why the connection has ended, if it has.
    pub(crate) fn ended(&self) -> Option<CloseReason> {
        self.shared.ended.get().cloned()
    }

    /// Whether a writer waits for `Writable`; it does not wait any more after this call.
    pub(crate) fn take_full(&self) -> bool {
        // Almost always false, and a load is cheaper than a swap.
        self.shared.full.load(Ordering::SeqCst) && self.shared.full.swap(false, Ordering::SeqCst)
    }

    /// The loop is about to deliver the `Writable` that was asked for.
    pub(crate) fn flush_is_served(&self) {
        self.shared.flush_asked.store(false, Ordering::Release);
    }

    /// From now on every write of other threads fails.
    pub(crate) fn end(&self, reason: CloseReason) {
        let _an_earlier_reason_wins = self.shared.ended.set(reason);
    }

    /// Ends the outlet and the connection itself.
    pub(crate) fn shut_down(&self, reason: CloseReason) {
        self.end(reason);
        // It fails if the connection is down already, which is just what is wanted.
        let _already_down = self.shared.stream.shut_down();
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("conn", &self.shared.conn).field("open", &self.is_open()).finish()
    }
}
