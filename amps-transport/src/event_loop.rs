//! The handles to an event loop and to the machines on it.
//!
//! Owns what the handles share with the loop's thread. Invariant: the thread lives as long as
//! some [`EventLoop`] or [`MachineHandle`] does, for each holds the [`Guard`] whose end stops
//! the loop; the thread itself does not.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use mio::{Poll, Registry, Waker};

use crate::driver::{Driver, Turns, WAKER};
use crate::layer::Layers;
use crate::listener::{self, Listening};
use crate::machine::{ListenerId, Machine, SocketOptions};
use crate::mailbox::{MachineId, Mailbox, Presence, Signal, Signals, lock};
use crate::time::Clock;

/// What an event loop does while nothing happens.
///
/// ```
/// use std::sync::mpsc::{Sender, channel};
///
/// use amps_transport::{Clock, EventLoop, Idle, Input, Machine, Sink, Time};
///
/// /// Passes on what it is told.
/// struct Relay(Sender<u32>);
///
/// impl Machine for Relay {
///     type Note = u32;
///     fn handle<S: Sink>(&mut self, _now: Time, input: Input<'_, u32>, _sink: &mut S) {
///         if let Input::Note(number) = input {
///             let _ = self.0.send(number);
///         }
///     }
///     fn deadline(&self) -> Option<Time> {
///         None
///     }
/// }
///
/// assert_eq!(Idle::default(), Idle::Sleep);
/// // It takes a processor until the last handle is gone.
/// let event_loop = EventLoop::start_idling("fast", Clock::new(), Idle::Spin)?;
/// let (sender, numbers) = channel();
/// let relay = event_loop.add(Relay(sender));
/// assert!(relay.post(7));
/// assert_eq!(numbers.recv(), Ok(7));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idle {
    /// It sleeps until something happens. To be woken on another processor takes some microseconds, on a virtual
    /// machine tens of them.
    #[default]
    Sleep,
    /// It looks again at once: nothing is faster, and it takes the whole of one processor for ever.
    Spin,
}

/// A handle to an event loop: one thread that drives any number of [`Machine`]s and all of
/// their sockets. Before it starts, another thread may run the loop: [`EventLoop::prepare`].
///
/// A clone is another handle to the same loop. The thread ends when all handles to the loop
/// and all [`MachineHandle`]s of its machines are gone. The machines are then dropped, on the
/// loop's thread, and their connections closed as by [`MachineHandle::remove`]. A machine
/// that itself holds such a handle keeps its loop alive until it is removed.
pub struct EventLoop<M: Machine> {
    guard: Arc<Guard<M>>,
}

impl<M: Machine + Send + 'static> EventLoop<M> {
    /// Starts a loop on a new thread of that name.
    ///
    /// # Errors
    ///
    /// If the system gives no poller (usually: too many open files) or no thread.
    pub fn start(thread_name: &str) -> io::Result<Self> {
        Self::start_with(thread_name, Clock::new())
    }

    /// Starts a loop that takes the time from `clock`, so that several loops have one time.
    ///
    /// # Errors
    ///
    /// As for [`EventLoop::start`].
    pub fn start_with(thread_name: &str, clock: Clock) -> io::Result<Self> {
        Self::start_idling(thread_name, clock, Idle::Sleep)
    }

    /// Starts a loop that does as `idle` says while nothing happens.
    ///
    /// # Errors
    ///
    /// As for [`EventLoop::start`].
    pub fn start_idling(thread_name: &str, clock: Clock, idle: Idle) -> io::Result<Self> {
        let (event_loop, prepared) = Self::prepare(thread_name, clock, idle)?;
        prepared.start()?;
        Ok(event_loop)
    }

    /// Makes a loop that does not run yet: it gets its thread by [`Prepared::start`], and before that the calling
    /// thread can run it, in [`Prepared::run_until`]. Who connects that way waits neither until a new thread runs, nor
    /// until it is woken by it.
    ///
    /// ```
    /// use std::sync::mpsc::{Sender, channel};
    /// use std::thread::{self, ThreadId};
    ///
    /// use amps_transport::{Clock, EventLoop, Idle, Input, Machine, Sink, Time};
    ///
    /// /// Tells on which thread it is called.
    /// struct Teller(Sender<ThreadId>);
    ///
    /// impl Machine for Teller {
    ///     type Note = ();
    ///     fn handle<S: Sink>(&mut self, _now: Time, _input: Input<'_, ()>, _sink: &mut S) {
    ///         let _ = self.0.send(thread::current().id());
    ///     }
    ///     fn deadline(&self) -> Option<Time> {
    ///         None
    ///     }
    /// }
    ///
    /// let (event_loop, mut prepared) = EventLoop::prepare("later", Clock::new(), Idle::Sleep)?;
    /// let (sender, told) = channel();
    /// let teller = event_loop.add(Teller(sender));
    /// teller.post(());
    /// let mut seen = None;
    /// prepared.run_until(|| {
    ///     seen = told.try_recv().ok();
    ///     seen.is_some()
    /// });
    /// assert_eq!(seen, Some(thread::current().id()));
    ///
    /// prepared.start()?;
    /// teller.post(());
    /// assert_ne!(told.recv(), Ok(thread::current().id()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system gives no poller (usually: too many open files).
    pub fn prepare(thread_name: &str, clock: Clock, idle: Idle) -> io::Result<(Self, Prepared<M>)> {
        let poll = Poll::new()?;
        let signals = Arc::new(Signals::new(Waker::new(poll.registry(), WAKER)?));
        let shared = Arc::new(LoopShared {
            signals,
            controls: Mutex::new(Controls { ended: false, waiting: VecDeque::new() }),
            clock,
            registry: Arc::new(poll.registry().try_clone()?),
            next_id: AtomicU64::new(0),
        });
        let driver = Driver::new(poll, Arc::clone(&shared), idle);
        let prepared =
            Prepared { driver, turns: Turns::new(), thread_name: thread_name.to_owned(), thread: None };
        Ok((Self { guard: Arc::new(Guard(shared)) }, prepared))
    }

    /// Puts a machine on the loop, where it lives until it is removed or the loop ends. Its
    /// [`Machine::deadline`] is asked for at once.
    ///
    /// If the loop has ended (because the system's poller failed) the machine is dropped, and
    /// the handle says so at its first use.
    pub fn add(&self, machine: M) -> MachineHandle<M> {
        let shared = &self.guard.0;
        let (mailbox, presence) = Mailbox::new(shared.next_id(), Arc::clone(&shared.signals));
        let mailbox = Arc::new(mailbox);
        if !shared.submit(Control::Add {
            machine: Box::new(machine),
            mailbox: Arc::clone(&mailbox),
            presence,
        }) {
            mailbox.close();
        }
        MachineHandle { guard: Arc::clone(&self.guard), mailbox }
    }

    /// Whether the calling thread runs the loop at this moment.
    pub fn is_current_thread(&self) -> bool {
        self.guard.0.signals.is_loop_thread()
    }

    /// The clock that the loop goes by.
    pub fn clock(&self) -> Clock {
        self.guard.0.clock
    }
}

impl<M: Machine> Clone for EventLoop<M> {
    fn clone(&self) -> Self {
        Self { guard: Arc::clone(&self.guard) }
    }
}

impl<M: Machine> fmt::Debug for EventLoop<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").finish_non_exhaustive()
    }
}

/// An event loop that does not run yet; from [`EventLoop::prepare`]. Dropped without [`start`](Self::start) it ends
/// as a loop does whose poller failed: its machines are dropped, and their handles say so.
///
/// Nobody but its owner makes the loop go on: whoever holds this, and waits for something on the loop in another way
/// ([`MachineHandle::remove_and_wait`]), waits for ever.
#[must_use = "a loop that is not started ends here"]
pub struct Prepared<M: Machine> {
    driver: Driver<M>,
    turns: Turns,
    thread_name: String,
    /// Where its thread waits for it, once there is one.
    thread: Option<Sender<(Driver<M>, Turns)>>,
}

impl<M: Machine + Send + 'static> Prepared<M> {
    /// Runs the loop on the calling thread until `done` says so, or until the loop has ended. `done` is asked at the
    /// end of each turn, before the loop sleeps, and only then: what another thread changes has to reach the loop, by a
    /// note for instance, to be noticed. Meanwhile the calling thread is the loop's.
    pub fn run_until(&mut self, done: impl FnMut() -> bool) {
        self.driver.run_until(&mut self.turns, done);
    }

    /// Has the system make the loop's thread, which waits for [`start`](Self::start). It needs some time until it
    /// runs, and a processor: best is a moment at which the calling thread would wait for a peer. If there is a thread
    /// already, nothing happens.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn spawn(&mut self) -> io::Result<()> {
        if self.thread.is_none() {
            let (thread, handed_over) = channel::<(Driver<M>, Turns)>();
            let wait = move || {
                if let Ok((driver, turns)) = handed_over.recv() {
                    driver.run(turns);
                }
            };
            thread::Builder::new().name(self.thread_name.clone()).spawn(wait)?;
            self.thread = Some(thread);
        }
        Ok(())
    }

    /// Lets the loop's own thread run it from now on.
    ///
    /// # Errors
    ///
    /// As for [`spawn`](Self::spawn); the loop has ended then.
    pub fn start(mut self) -> io::Result<()> {
        self.spawn()?;
        let Self { driver, turns, thread, .. } = self;
        // A thread that waits ends by nothing else, and a loop that nobody takes ends here.
        thread.map_or(Ok(()), |thread| thread.send((driver, turns)).map_err(|_| gone()))
    }
}

impl<M: Machine> fmt::Debug for Prepared<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// A handle to one machine on an event loop; it can be used from any thread.
///
/// A clone is another handle to the same machine. The machine stays when all of its handles
/// are gone; only [`MachineHandle::remove`] or the end of the loop removes it.
pub struct MachineHandle<M: Machine> {
    guard: Arc<Guard<M>>,
    mailbox: Arc<Mailbox<M::Note>>,
}

impl<M: Machine> MachineHandle<M> {
    /// Posts a note, which the machine gets as [`Input::Note`](crate::Input::Note). The notes
    /// of one thread arrive in the order in which they were posted. Never blocks.
    ///
    /// Returns `false` if the machine is gone. After `true` the note is delivered, unless the
    /// machine panics first.
    pub fn post(&self, note: M::Note) -> bool {
        self.mailbox.post(note)
    }

    /// Listens on `addr`; port 0 lets the system choose one. Returns the address bound. Each
    /// peer that connects is an [`Input::Accepted`](crate::Input::Accepted); `options` are set
    /// on its socket (`bind` and `prefer` mean nothing here). The listener stays open until
    /// [`MachineHandle::stop_listening`], or until the machine is gone.
    ///
    /// # Errors
    ///
    /// What the system says if the address cannot be bound; `InvalidInput` if it cannot take an option's value;
    /// `NotConnected` if the machine is gone.
    pub fn listen(&self, addr: SocketAddr, options: SocketOptions) -> io::Result<(ListenerId, SocketAddr)> {
        self.listen_with(addr, options, Layers::new())
    }

    /// As [`listen`](Self::listen), with layers on every connection.
    ///
    /// # Errors
    ///
    /// As for `listen`.
    pub fn listen_with(
        &self,
        addr: SocketAddr,
        options: SocketOptions,
        layers: Layers,
    ) -> io::Result<(ListenerId, SocketAddr)> {
        let open = |id, registry: &Registry| listener::open(addr, &options, id, registry);
        let (id, socket, bound) = self.open_listener(open)?;
        self.submit_listener(id, socket, options, layers)?;
        Ok((id, bound))
    }

    /// Listens on a socket file, which goes when the listener is closed. One that is left over, to which nobody
    /// listens, is replaced.
    ///
    /// # Errors
    ///
    /// What the system says, for example that the path is too long; `NotConnected` if the machine is gone.
    #[cfg(unix)]
    pub fn listen_unix(&self, path: &std::path::Path, layers: Layers) -> io::Result<ListenerId> {
        let open =
            |id, registry: &Registry| listener::open_unix(path, id, registry).map(|socket| (socket, ()));
        let (id, socket, ()) = self.open_listener(open)?;
        self.submit_listener(id, socket, SocketOptions::default(), layers)?;
        Ok(id)
    }

    fn open_listener<T>(
        &self,
        open: impl FnOnce(ListenerId, &Registry) -> io::Result<(Listening, T)>,
    ) -> io::Result<(ListenerId, Listening, T)> {
        if self.mailbox.is_closed() {
            return Err(gone());
        }
        let shared = &self.guard.0;
        let id = ListenerId(shared.next_id());
        let (socket, bound) = open(id, &shared.registry)?;
        Ok((id, socket, bound))
    }

    fn submit_listener(
        &self,
        id: ListenerId,
        socket: Listening,
        options: SocketOptions,
        layers: Layers,
    ) -> io::Result<()> {
        let listen = Control::Listen { machine: self.mailbox.id, id, socket, options, layers };
        if self.guard.0.submit(listen) { Ok(()) } else { Err(gone()) }
    }

    /// Closes a listener soon. Connections that it has accepted stay.
    pub fn stop_listening(&self, id: ListenerId) {
        self.guard.0.submit(Control::StopListening { machine: self.mailbox.id, id });
    }

    /// Removes the machine soon: it gets the notes that have been posted already, and is
    /// dropped on the loop's thread. Its listeners are closed, and so are its connections, of
    /// which those with bytes from [`Sink::send`](crate::Sink::send) still unsent get up to
    /// one second to send them.
    pub fn remove(&self) {
        self.guard.0.submit(Control::Remove(self.mailbox.id));
    }

    /// Removes the machine as [`MachineHandle::remove`] does, and waits until it is dropped
    /// and its sockets are shut down. On the loop's own thread it does not wait.
    pub fn remove_and_wait(&self) {
        self.remove();
        if !self.is_loop_thread() {
            self.mailbox.wait_until_gone();
        }
    }

    /// Whether the calling thread runs the loop at this moment.
    pub fn is_loop_thread(&self) -> bool {
        self.guard.0.signals.is_loop_thread()
    }

    /// Makes the loop ask [`Machine::deadline`] again, because another thread has made it
    /// earlier. Cheap; calls that come before the loop gets to it are one.
    pub fn wake(&self) {
        self.mailbox.ask_deadline();
    }
}

impl<M: Machine> Clone for MachineHandle<M> {
    fn clone(&self) -> Self {
        Self { guard: Arc::clone(&self.guard), mailbox: Arc::clone(&self.mailbox) }
    }
}

impl<M: Machine> fmt::Debug for MachineHandle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineHandle").field("id", &self.mailbox.id).finish_non_exhaustive()
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the machine has been removed from its loop")
}

/// Stops the loop when the last handle is gone.
struct Guard<M: Machine>(Arc<LoopShared<M>>);

impl<M: Machine> Drop for Guard<M> {
    fn drop(&mut self) {
        self.0.signals.raise(Signal::Stop);
    }
}

/// What the handles share with the loop's thread.
pub(crate) struct LoopShared<M: Machine> {
    pub(crate) signals: Arc<Signals>,
    controls: Mutex<Controls<M>>,
    pub(crate) clock: Clock,
    pub(crate) registry: Arc<Registry>,
    next_id: AtomicU64,
}

/// What the handles want done.
pub(crate) enum Control<M: Machine> {
    Add { machine: Box<M>, mailbox: Arc<Mailbox<M::Note>>, presence: Arc<Presence> },
    Remove(MachineId),
    Listen { machine: MachineId, id: ListenerId, socket: Listening, options: SocketOptions, layers: Layers },
    StopListening { machine: MachineId, id: ListenerId },
}

struct Controls<M: Machine> {
    ended: bool,
    waiting: VecDeque<Control<M>>,
}

impl<M: Machine> LoopShared<M> {
    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a control to the loop; `false` if the loop has ended.
    fn submit(&self, control: Control<M>) -> bool {
        let mut controls = lock(&self.controls);
        if controls.ended {
            // The control may contain a machine, which must not be dropped under the lock.
            drop(controls);
            return false;
        }
        controls.waiting.push_back(control);
        drop(controls);
        self.signals.raise(Signal::Controls);
        true
    }

    pub(crate) fn take_controls(&self) -> VecDeque<Control<M>> {
        std::mem::take(&mut lock(&self.controls).waiting)
    }

    /// The loop has ended: nothing is taken any more, and what waits is dropped.
    pub(crate) fn end(&self) {
        self.signals.end();
        let mut controls = lock(&self.controls);
        controls.ended = true;
        let waiting = std::mem::take(&mut controls.waiting);
        drop(controls);
        for control in &waiting {
            if let Control::Add { mailbox, .. } = control {
                mailbox.close();
                mailbox.discard();
            }
        }
    }
}
