//! The thread of an event loop: one turn after the other.
//!
//! Owns the poller, the machines, and through them everything that lives on the loop. In
//! every turn it takes the signals of other threads, some notes, the timers that are due,
//! one share of work for each ready connection, and then sleeps until there is an event, a
//! signal or a deadline. Invariants:
//! - Every kind of work is bounded per turn, so that none can starve another.
//! - It sleeps only if nothing is ready; it never polls in a circle for a deadline to come, unless it is told to spin.
//! - A machine is called by one function, [`Driver::deliver`], which contains its panics.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mio::event::Event;
use mio::{Events, Poll, Token};
use slab::Slab;

use crate::connection::{Connection, Connections, Phase, Progress, READS_PER_TURN};
use crate::error::CloseReason;
use crate::event_loop::{Control, Idle, LoopShared};
use crate::listener::{Listeners, listener_of};
use crate::machine::{CloseMode, ConnId, Input, ListenerId, Machine};
use crate::mailbox::{MachineId, Mailbox, Presence, Signal};
use crate::sink::LoopSink;
use crate::time::Time;
use crate::timetable::Timetable;

/// The token of the loop's waker.
pub(crate) const WAKER: Token = Token(usize::MAX);

const EVENTS_PER_TURN: usize = 1024;

/// How many bytes one read asks for.
const READ_SIZE: usize = 64 * 1024;

/// How many notes one machine gets in one turn.
const NOTES_PER_TURN: usize = 256;

/// A larger rest of a message moves to its connection together with the loop's buffer, a
/// smaller one is copied out of it.
const COPIED_REST: usize = 16 * 1024;

/// With less room than this the loop's buffer gets a new block.
const SPARE_ROOM: usize = 1024;

pub(crate) struct Driver<M: Machine> {
    poll: Poll,
    shared: Arc<LoopShared<M>>,
    connections: Connections,
    listeners: Listeners,
    machines: Slab<Resident<M>>,
    by_id: HashMap<MachineId, usize>,
    timetable: Timetable,
    /// Who is due in this turn; empty in between.
    due: Vec<usize>,
    /// The machines with notes that have not been delivered.
    mail: VecDeque<usize>,
    /// Every read goes here first and is then appended to a `BytesMut`. Without unsafe code a
    /// `BytesMut` can be read into only after it has been filled with zeros, all 64 KiB, even
    /// if ten bytes come. To copy exactly what came costs next to nothing for small reads, and
    /// for full ones less than a tenth of the read itself (0.7 µs of 10 µs when measured).
    scratch: Vec<u8>,
    /// Where bytes are gathered for connections that have no rest of their own.
    inbox: BytesMut,
    stopping: bool,
    idle: Idle,
}

/// What one turn leaves to the next: events, and memory.
pub(crate) struct Turns {
    events: Events,
    signals: Vec<Signal>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { events: Events::with_capacity(EVENTS_PER_TURN), signals: Vec::new() }
    }
}

/// A machine that lives on the loop. The machine comes first, so that it is dropped before
/// the presence says that it is gone.
struct Resident<M: Machine> {
    /// Boxed: it is large, and what is around it moves.
    machine: Box<M>,
    id: MachineId,
    deadline: Option<Time>,
    mailbox: Arc<Mailbox<M::Note>>,
    notes: VecDeque<M::Note>,
    in_mail: bool,
    presence: Arc<Presence>,
}

fn deadline_of<M: Machine>(machines: &Slab<Resident<M>>, slot: usize) -> Option<Time> {
    machines.get(slot)?.deadline
}

impl<M: Machine> Driver<M> {
    pub(crate) fn new(poll: Poll, shared: Arc<LoopShared<M>>, idle: Idle) -> Self {
        let (registry, signals) = (Arc::clone(&shared.registry), Arc::clone(&shared.signals));
        let connections = Connections::new(registry, signals, shared.clock);
        Self {
            poll,
            shared,
            connections,
            listeners: Listeners::default(),
            machines: Slab::new(),
            by_id: HashMap::new(),
            timetable: Timetable::default(),
            due: Vec::new(),
            mail: VecDeque::new(),
            scratch: vec![0; READ_SIZE],
            inbox: BytesMut::with_capacity(READ_SIZE),
            stopping: false,
            idle,
        }
    }

    /// Runs until the last handle is gone and every connection is closed.
    pub(crate) fn run(mut self, mut turns: Turns) {
        self.run_until(&mut turns, || false);
    }

    /// Runs on the calling thread until `done`, or until the loop has ended.
    pub(crate) fn run_until(&mut self, turns: &mut Turns, mut done: impl FnMut() -> bool) {
        let _runs_here = self.shared.signals.run_here();
        loop {
            self.serve(turns);
            let ended = self.stopping && self.connections.is_empty();
            if ended || done() || self.wait(turns).is_break() {
                return;
            }
        }
    }

    /// Does what there is to do.
    fn serve(&mut self, turns: &mut Turns) {
        for event in &turns.events {
            self.on_event(event);
        }
        turns.events.clear();
        self.take_signals(&mut turns.signals);
        self.serve_mail();
        self.serve_deadlines();
        self.serve_ready();
    }

    /// Sleeps until there is more.
    fn wait(&mut self, turns: &mut Turns) -> ControlFlow<()> {
        let timeout = self.sleep_time();
        match self.poll.poll(&mut turns.events, timeout) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => ControlFlow::Continue(()),
            // The poller itself is broken. To end is the best that can be done: every
            // outlet and every handle says so.
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// The poller rounds it up to a whole millisecond, so the loop never wakes too early for
    /// a deadline and has to go round in a circle.
    fn sleep_time(&mut self) -> Option<Duration> {
        let busy = self.connections.ready_count() > 0 || !self.mail.is_empty();
        if busy || self.idle == Idle::Spin || !self.shared.signals.is_empty() {
            return Some(Duration::ZERO);
        }
        let machines = &self.machines;
        let machines = self.timetable.earliest(|slot| deadline_of(machines, slot));
        let connections = self.connections.earliest_deadline();
        let deadlines = [machines, connections, self.listeners.earliest_retry()];
        let earliest = deadlines.into_iter().flatten().filter(|at| *at != Time::NEVER).min()?;
        Some(earliest - self.connections.clock.now())
    }

    // --- Signals and notes ---------------------------------------------------------------

    fn take_signals(&mut self, signals: &mut Vec<Signal>) {
        self.shared.signals.take(signals);
        for signal in signals.drain(..) {
            match signal {
                Signal::Controls => self.take_controls(),
                Signal::Mail(id) => self.take_mail(id),
                Signal::AskDeadline(id) => self.ask_deadline(id),
                Signal::Flush(conn) => self.on_flush_asked(conn),
                Signal::Failed(conn) => self.on_write_failed(conn),
                Signal::Resolved(conn, found) => self.connections.resolved(conn, found),
                Signal::Made(conn, made) => {
                    self.connections.made(conn, made);
                    self.on_handshake(conn);
                }
                Signal::Stop => self.stop(),
            }
        }
    }

    fn take_controls(&mut self) {
        for control in self.shared.take_controls() {
            match control {
                Control::Add { machine, mailbox, presence } => self.add(machine, mailbox, presence),
                Control::Remove(id) => {
                    if let Some(&slot) = self.by_id.get(&id) {
                        self.retire(slot);
                    }
                }
                Control::Listen { machine, id, socket, options, layers } => {
                    // A listener of a machine that is gone is closed by being dropped.
                    if let Some(&slot) = self.by_id.get(&machine) {
                        self.listeners.add(id, slot, socket, options, layers);
                        self.accept(id);
                    }
                }
                Control::StopListening { machine, id } => {
                    if let Some(&slot) = self.by_id.get(&machine) {
                        self.listeners.close(id, slot);
                    }
                }
            }
        }
    }

    fn add(&mut self, machine: Box<M>, mailbox: Arc<Mailbox<M::Note>>, presence: Arc<Presence>) {
        let id = mailbox.id;
        let resident = Resident {
            machine,
            id,
            deadline: None,
            mailbox,
            notes: VecDeque::new(),
            in_mail: false,
            presence,
        };
        self.by_id.insert(id, self.machines.insert(resident));
        self.ask_deadline(id);
    }

    fn take_mail(&mut self, id: MachineId) {
        let Some(&slot) = self.by_id.get(&id) else { return };
        let Some(resident) = self.machines.get_mut(slot) else { return };
        if !resident.in_mail {
            resident.in_mail = true;
            self.mail.push_back(slot);
        }
    }

    /// Gives every machine with mail its share of notes.
    fn serve_mail(&mut self) {
        for _ in 0..self.mail.len() {
            let Some(slot) = self.mail.pop_front() else { return };
            let mut delivered = 0;
            while let Some(note) = self.next_note(slot) {
                self.deliver(slot, Input::Note(note));
                delivered += 1;
                if delivered == NOTES_PER_TURN {
                    break;
                }
            }
            // A machine that panicked is gone, and with it its place in the queue.
            let Some(resident) = self.machines.get_mut(slot) else { continue };
            if delivered == NOTES_PER_TURN {
                self.mail.push_back(slot);
            } else {
                resident.in_mail = false;
            }
        }
    }

    /// The next note. The mailbox is looked at only when all notes taken from it are used
    /// up; whatever comes after it was found empty raises a signal.
    fn next_note(&mut self, slot: usize) -> Option<M::Note> {
        let resident = self.machines.get_mut(slot)?;
        if resident.notes.is_empty() {
            resident.mailbox.take(&mut resident.notes);
        }
        resident.notes.pop_front()
    }

    fn on_flush_asked(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get(conn) else { return };
        let (Phase::Open(outlet), Some(owner)) = (&connection.phase, connection.owner) else { return };
        outlet.flush_is_served();
        self.deliver(owner, Input::Writable { conn });
    }

    fn on_write_failed(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get(conn) else { return };
        let Phase::Open(outlet) = &connection.phase else { return };
        connection.failure = connection.failure.take().or_else(|| outlet.ended());
        self.connections.make_ready(conn);
    }

    // --- Time ----------------------------------------------------------------------------

    fn serve_deadlines(&mut self) {
        let now = self.connections.clock.now();
        for (conn, reason) in self.connections.serve_deadlines(now) {
            self.finish(conn, reason);
        }
        for id in self.listeners.due(now) {
            self.accept(id);
        }
        // Each at most once in a turn, even if it wants to be called again at once.
        let mut due = std::mem::take(&mut self.due);
        let machines = &self.machines;
        due.extend(std::iter::from_fn(|| self.timetable.pop_due(now, |slot| deadline_of(machines, slot))));
        for slot in due.drain(..) {
            // An earlier one may have done something to it.
            match deadline_of(&self.machines, slot) {
                Some(deadline) if deadline <= now => self.deliver(slot, Input::Timer),
                moved => self.timetable.set(slot, moved),
            }
        }
        self.due = due;
    }

    fn ask_deadline(&mut self, id: MachineId) {
        let Some(&slot) = self.by_id.get(&id) else { return };
        let Some(resident) = self.machines.get_mut(slot) else { return };
        resident.mailbox.deadline_is_asked();
        match catch_unwind(AssertUnwindSafe(|| resident.machine.deadline())) {
            Ok(deadline) => {
                resident.deadline = deadline;
                self.timetable.set(slot, deadline);
            }
            Err(_) => self.evict(slot, CloseMode::Abort),
        }
    }

    // --- Sockets -------------------------------------------------------------------------

    fn on_event(&mut self, event: &Event) {
        if event.token() == WAKER {
            return;
        }
        if let Some(id) = listener_of(event.token()) {
            return self.accept(id);
        }
        let conn = ConnId(event.token().0 as u64);
        let Some(connection) = self.connections.get(conn) else { return };
        match connection.phase {
            Phase::Connecting { .. } => self.on_handshake(conn),
            Phase::ConnectFailed(_) => {}
            Phase::Open(_) => {
                // Input first: it may come together with the news that the connection failed.
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    // Behind what there is to read there may be the end, of which this event is the only sign.
                    self.read(conn, event.is_read_closed() || event.is_error());
                }
                if event.is_writable() && self.connections.on_writable(conn) {
                    if let Some(owner) = self.connections.get(conn).and_then(|connection| connection.owner) {
                        self.deliver(owner, Input::Writable { conn });
                    }
                }
            }
            Phase::Closing { .. } => {
                self.connections.continue_closing(conn, event.is_writable(), &mut self.scratch);
            }
        }
    }

    fn accept(&mut self, id: ListenerId) {
        let now = self.connections.clock.now();
        for (stream, peer) in self.listeners.accept(id, now) {
            // Gone if the machine panicked over an earlier one; the others are closed with it.
            let Some(owner) = self.listeners.get(id).map(|listener| listener.owner) else { return };
            let Some(resident) = self.machines.get(owner) else { return };
            let presence = Arc::clone(&resident.presence);
            let Some(listener) = self.listeners.get(id) else { return };
            let (layers, time) = (&listener.layers, listener.options.handshake_timeout);
            // If it cannot be registered it is dropped, and so the peer gets to know.
            if let Ok(conn) = self.connections.add_accepted(owner, presence, stream, layers, time) {
                self.deliver(owner, Input::Accepted { conn, listener: id, peer });
            }
        }
    }

    fn on_handshake(&mut self, conn: ConnId) {
        match self.connections.check_handshake(conn, &mut self.scratch) {
            Progress::Nothing => {}
            Progress::Established { local, peer } => {
                if let Some(owner) = self.connections.get(conn).and_then(|connection| connection.owner) {
                    self.deliver(owner, Input::Connected { conn, local, peer });
                }
            }
        }
    }

    /// One turn for each connection that is ready now.
    fn serve_ready(&mut self) {
        for _ in 0..self.connections.ready_count() {
            let Some(conn) = self.connections.next_ready() else { return };
            match self.connections.get(conn).map(|connection| &connection.phase) {
                Some(Phase::ConnectFailed(error)) => {
                    let error = error.clone();
                    if let Some(owner) = self.connections.remove(conn, CloseReason::ThisSide) {
                        self.deliver(owner, Input::ConnectFailed { conn, error });
                    }
                }
                Some(Phase::Open(_)) => self.read(conn, true),
                Some(Phase::Closing { .. }) => {
                    self.connections.continue_closing(conn, false, &mut self.scratch);
                }
                Some(Phase::Connecting { .. }) => self.on_handshake(conn),
                None => {}
            }
        }
    }

    /// One share of reading: until the socket has nothing more, or the connection has had its share. A short read
    /// proves that there is nothing more only if the end of the stream was not `announced`: it may be queued behind
    /// what was read, and has no event of its own.
    fn read(&mut self, conn: ConnId, announced: bool) {
        let Some(connection) = self.connections.get(conn) else { return };
        let (Phase::Open(_), Some(owner)) = (&connection.phase, connection.owner) else { return };
        if !connection.reading {
            if let Some(reason) = connection.failure.take() {
                self.finish(conn, reason);
            }
            return;
        }
        let offer_first = std::mem::take(&mut connection.offer_carry) && !connection.carry.is_empty();
        let from_inbox = connection.carry.is_empty();
        let mut bytes = std::mem::take(if from_inbox { &mut self.inbox } else { &mut connection.carry });
        if offer_first {
            self.deliver(owner, Input::Received { conn, bytes: &mut bytes });
        }
        let end = self.read_share(conn, owner, &mut bytes, announced);
        self.keep_rest(conn, bytes, from_inbox);
        match end {
            Some(reason) => self.finish(conn, reason),
            None => {
                self.connections.watch_handshake(conn);
                self.serve_early_writers(conn, owner);
            }
        }
    }

    /// What was to be sent before the layers of an accepted connection were ready can go now.
    fn serve_early_writers(&mut self, conn: ConnId, owner: usize) {
        let Some(Connection { phase: Phase::Open(outlet), .. }) = self.connections.get(conn) else { return };
        if outlet.stream().take_awaited_readiness() && self.connections.on_writable(conn) {
            self.deliver(owner, Input::Writable { conn });
        }
    }

    /// Returns how the connection ended, if it did.
    fn read_share(
        &mut self,
        conn: ConnId,
        owner: usize,
        bytes: &mut BytesMut,
        announced: bool,
    ) -> Option<CloseReason> {
        for _ in 0..READS_PER_TURN {
            // Whatever the machine did in the meantime counts: it may have closed the
            // connection, stopped reading, or be gone.
            let connection = self.connections.get(conn)?;
            let (Phase::Open(outlet), true) = (&connection.phase, connection.reading) else { return None };
            if std::mem::take(&mut connection.offer_carry) && !bytes.is_empty() {
                // It stopped and went on within one call: what it left comes before what follows, and
                // before the end of the stream above all.
                self.deliver(owner, Input::Received { conn, bytes });
                continue;
            }
            match outlet.stream().read(&mut self.scratch, bytes) {
                Ok(0) => return connection.failure.take().or(Some(CloseReason::EndOfStream)),
                Ok(count) => {
                    let emptied = !announced && outlet.stream().is_emptied_by(count, self.scratch.len());
                    self.deliver(owner, Input::Received { conn, bytes });
                    let connection = self.connections.get(conn)?;
                    if emptied && connection.reading && !connection.offer_carry {
                        return connection.failure.take();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return connection.failure.take();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let reason = CloseReason::from_io(error);
                    // The words of a layer (an alert, say) are why the peer has let go of the connection, which
                    // is all that a failed write can tell.
                    let failure = connection.failure.take();
                    return failure.filter(|_| !matches!(reason, CloseReason::Layer(_))).or(Some(reason));
                }
            }
        }
        self.connections.make_ready(conn);
        None
    }

    /// Stores what the machine left with its connection, and gets the loop's buffer back.
    fn keep_rest(&mut self, conn: ConnId, mut bytes: BytesMut, from_inbox: bool) {
        match self.connections.get(conn).filter(|connection| connection.owner.is_some()) {
            // Moved as it is: a long message arrives in pieces, and to copy what is there
            // with every piece would cost the square of its length.
            Some(connection) if !bytes.is_empty() && (!from_inbox || bytes.len() > COPIED_REST) => {
                connection.carry = bytes;
            }
            // Copied, so that a connection with half a message does not hold a whole block.
            Some(connection) if from_inbox => {
                connection.carry = BytesMut::from(&bytes[..]);
                bytes.clear();
                self.inbox = bytes;
            }
            None if from_inbox => {
                bytes.clear();
                self.inbox = bytes;
            }
            // The connection's own buffer is used up or of no more use: let go of its block.
            Some(_) | None => {}
        }
        if self.inbox.capacity() > 4 * READ_SIZE {
            self.inbox = BytesMut::new();
        }
        if self.inbox.capacity() < SPARE_ROOM {
            // Takes the block back if the machine has let go of all its pieces; otherwise it
            // allocates a new one, and the pieces stay valid. Not earlier, or small messages
            // that are kept would pin a whole block each.
            self.inbox.reserve(READ_SIZE);
        }
    }

    fn finish(&mut self, conn: ConnId, reason: CloseReason) {
        if let Some(owner) = self.connections.remove(conn, reason.clone()) {
            self.deliver(owner, Input::Closed { conn, reason });
        }
    }

    // --- Machines ------------------------------------------------------------------------

    /// Calls a machine, does what it asks for, and asks for its deadline. One that panics is
    /// removed; the others do not notice.
    fn deliver(&mut self, slot: usize, input: Input<'_, M::Note>) {
        let Some(Resident { machine, deadline, presence, .. }) = self.machines.get_mut(slot) else { return };
        let connections = &mut self.connections;
        let now = connections.clock.now();
        let called = catch_unwind(AssertUnwindSafe(|| {
            machine.handle(now, input, &mut LoopSink { connections, owner: slot, presence });
            machine.deadline()
        }));
        match called {
            Ok(next) => {
                *deadline = next;
                self.timetable.set(slot, next);
                self.connections.carry_out_commands();
            }
            Err(_) => {
                self.connections.forget_commands();
                self.evict(slot, CloseMode::Abort);
            }
        }
    }

    /// Removes a machine at the wish of its owner: what was posted before comes first.
    fn retire(&mut self, slot: usize) {
        if let Some(resident) = self.machines.get(slot) {
            resident.mailbox.close();
        }
        while let Some(note) = self.next_note(slot) {
            self.deliver(slot, Input::Note(note));
        }
        self.evict(slot, CloseMode::Flush);
    }

    /// Drops a machine, its listeners and its connections.
    fn evict(&mut self, slot: usize, mode: CloseMode) {
        let Some(resident) = self.machines.try_remove(slot) else { return };
        resident.mailbox.close();
        self.timetable.remove(slot);
        self.by_id.remove(&resident.id);
        self.mail.retain(|waiting| *waiting != slot);
        self.listeners.close_all_of(slot);
        self.connections.close_all_of(slot, mode, &mut self.scratch);
        // Its destructor, and those of notes it never got, are foreign code too.
        let _panicked = catch_unwind(AssertUnwindSafe(|| resident.mailbox.discard()));
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(resident)));
    }

    fn stop(&mut self) {
        self.stopping = true;
        let slots: Vec<_> = self.machines.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.retire(slot);
        }
    }
}

/// However the loop ends, nobody is left waiting for it.
impl<M: Machine> Drop for Driver<M> {
    fn drop(&mut self) {
        // Destructors of machines ask.
        let _runs_here = self.shared.signals.run_here();
        self.shared.end();
        self.connections.end();
        let slots: Vec<_> = self.machines.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.evict(slot, CloseMode::Abort);
        }
    }
}
