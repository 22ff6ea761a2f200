//! The connections of a loop, whoever owns them, and what their machines asked for.
//!
//! Owns every connection from [`Sink::connect`] or accept until its socket is shut down: its
//! phase, its leftover input, its output that the socket has not taken, its deadline.
//! Delivers nothing itself: a connection with something to tell is put into the queue of
//! ready connections, from which the driver serves it.
//!
//! Invariants:
//! - A [`ConnId`] is (serial, slot). The serial differs for each use of a slot, so an event or
//!   a command that comes too late finds nothing.
//! - A connection is in the ready queue at most once.
//! - Output waits only for the event that its socket is writable (`full`) or for the end of
//!   the current call of the machine (`dirty`).
//! - A machine hears of a connection only while `owner` is set; it is cleared by `close`.
//!
//! [`Sink::connect`]: crate::Sink::connect

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use mio::{Registry, Token};
use slab::Slab;

use crate::connect::Plan;
use crate::deadlines::Deadlines;
use crate::error::{CloseReason, ConnectError};
use crate::layer::{LayerError, LayerTrouble, Layers};
use crate::machine::{CloseMode, ConnId, Target};
use crate::mailbox::{Presence, Signals};
use crate::outlet::Outlet;
use crate::stream::{Socket, Stream};
use crate::time::{Clock, Time};

mod handshake;

/// How long a connection that is closed with [`CloseMode::Flush`] may take to do so.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// How often a connection may be read before the others get their turn.
pub(crate) const READS_PER_TURN: usize = 16;

/// Buffers that are empty and larger than this are given back.
const KEPT_BUFFER: usize = 64 * 1024;

/// A `Token` carries the 63 bits of a `ConnId`.
const _: () = assert!(usize::BITS >= 64, "tokens of 64 bits are needed");

pub(crate) struct Connections {
    slots: Slab<Connection>,
    next_serial: u32,
    ready: VecDeque<ConnId>,
    deadlines: Deadlines<ConnId>,
    commands: Vec<Command>,
    dirty: Vec<ConnId>,
    registry: Arc<Registry>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) clock: Clock,
}

pub(crate) struct Connection {
    serial: u32,
    /// The slot of the machine that hears of this connection.
    pub(crate) owner: Option<usize>,
    /// Whoever waits for the machine to be gone waits for this connection too.
    _presence: Arc<Presence>,
    pub(crate) phase: Phase,
    pub(crate) reading: bool,
    /// Reading was switched on again: what the machine left has to be offered once more.
    pub(crate) offer_carry: bool,
    /// What the machine left of the bytes received.
    pub(crate) carry: BytesMut,
    /// What the machine sent and the socket has not taken.
    out: BytesMut,
    /// The socket refused bytes; an event will tell when it takes them again.
    full: bool,
    /// Sending failed; what has been received comes first.
    pub(crate) failure: Option<CloseReason>,
    deadline: Option<Time>,
    /// How long the handshakes of an accepted connection may take.
    handshake_time: Option<Duration>,
    queued: bool,
}

pub(crate) enum Phase {
    Connecting {
        plan: Box<Plan>,
        attempt: Attempt,
    },
    ConnectFailed(ConnectError),
    Open(Outlet),
    /// What is buffered goes out, then the end of the stream; then the peer's end is awaited.
    Closing {
        outlet: Outlet,
        finished: bool,
    },
}

/// How far an attempt to connect is.
pub(crate) enum Attempt {
    /// The name is being resolved, or the application makes the stream.
    Asked,
    /// The system connects the socket.
    Socket(Socket),
    /// It is connected, and its layers shake hands.
    Layers(Stream),
}

enum Command {
    Connect(ConnId, Target),
    Close(ConnId, CloseMode),
    SetReading(ConnId, bool),
}

/// What came of an event or a deadline of a connection that is not established.
pub(crate) enum Progress {
    Nothing,
    Established { local: Option<SocketAddr>, peer: Option<SocketAddr> },
}

impl Connections {
    pub(crate) fn new(registry: Arc<Registry>, signals: Arc<Signals>, clock: Clock) -> Self {
        Self {
            slots: Slab::new(),
            next_serial: 0,
            ready: VecDeque::new(),
            deadlines: Deadlines::new(),
            commands: Vec::new(),
            dirty: Vec::new(),
            registry,
            signals,
            clock,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn get(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(slot_of(conn)).filter(|connection| connection.serial == serial_of(conn))
    }

    fn peek(&self, conn: ConnId) -> Option<&Connection> {
        self.slots.get(slot_of(conn)).filter(|connection| connection.serial == serial_of(conn))
    }

    /// Registers an accepted connection.
    pub(crate) fn add_accepted(
        &mut self,
        owner: usize,
        presence: Arc<Presence>,
        mut socket: Socket,
        layers: &Layers,
        handshake_time: Duration,
    ) -> io::Result<ConnId> {
        let conn = self.next_id();
        socket.register(&self.registry, token_of(conn))?;
        let stream = Stream::new(socket, layers, "")?;
        let handshake_time = Some(handshake_time).filter(|_| stream.has_layers());
        let outlet = Outlet::new(conn, stream, Arc::clone(&self.signals));
        self.insert(conn, owner, presence, Phase::Open(outlet));
        if let Some(connection) = self.get(conn) {
            connection.handshake_time = handshake_time;
        }
        self.watch_handshake(conn);
        Ok(conn)
    }

    fn next_id(&mut self) -> ConnId {
        // One bit less than there is, as the highest bit of a token marks listeners.
        self.next_serial = (self.next_serial + 1) & (u32::MAX >> 1);
        ConnId(u64::from(self.next_serial) << 32 | self.slots.vacant_key() as u64)
    }

    fn insert(&mut self, conn: ConnId, owner: usize, presence: Arc<Presence>, phase: Phase) {
        self.slots.insert(Connection {
            serial: serial_of(conn),
            owner: Some(owner),
            _presence: presence,
            phase,
            reading: true,
            offer_carry: false,
            carry: BytesMut::new(),
            out: BytesMut::new(),
            full: false,
            failure: None,
            deadline: None,
            handshake_time: None,
            queued: false,
        });
    }

    // --- What a machine asks for ---------------------------------------------------------

    pub(crate) fn command_connect(
        &mut self,
        owner: usize,
        presence: &Arc<Presence>,
        target: Target,
    ) -> ConnId {
        let conn = self.next_id();
        let plan = Box::new(Plan::new(target.clone(), self.clock.now()));
        self.insert(conn, owner, Arc::clone(presence), Phase::Connecting { plan, attempt: Attempt::Asked });
        self.commands.push(Command::Connect(conn, target));
        conn
    }

    pub(crate) fn command_send(&mut self, owner: usize, conn: ConnId, bytes: &[u8]) {
        let Some(connection) = self.owned(owner, conn) else { return };
        let first = connection.out.is_empty();
        connection.out.extend_from_slice(bytes);
        if first {
            self.dirty.push(conn);
        }
    }

    pub(crate) fn command_close(&mut self, owner: usize, conn: ConnId, mode: CloseMode) {
        let Some(connection) = self.owned(owner, conn) else { return };
        connection.owner = None;
        self.commands.push(Command::Close(conn, mode));
    }

    pub(crate) fn command_set_reading(&mut self, owner: usize, conn: ConnId, on: bool) {
        if self.owned(owner, conn).is_some() {
            self.commands.push(Command::SetReading(conn, on));
        }
    }

    pub(crate) fn outlet(&self, owner: usize, conn: ConnId) -> Option<Outlet> {
        match self.peek(conn).filter(|connection| connection.owner == Some(owner))? {
            Connection { phase: Phase::Open(outlet), .. } => Some(outlet.clone()),
            _ => None,
        }
    }

    pub(crate) fn unsent(&self, owner: usize, conn: ConnId) -> usize {
        let connection = self.peek(conn).filter(|connection| connection.owner == Some(owner));
        connection.map_or(0, |connection| connection.out.len())
    }

    fn owned(&mut self, owner: usize, conn: ConnId) -> Option<&mut Connection> {
        self.get(conn).filter(|connection| connection.owner == Some(owner))
    }

    /// Does what a machine asked for in the call that has just returned.
    pub(crate) fn carry_out_commands(&mut self) {
        // Indexed and taken back, so that both lists keep their memory.
        let mut commands = std::mem::take(&mut self.commands);
        for command in commands.drain(..) {
            match command {
                Command::Connect(conn, target) => self.begin_connecting(conn, &target),
                Command::Close(conn, mode) => self.close(conn, mode),
                Command::SetReading(conn, on) => self.set_reading(conn, on),
            }
        }
        self.commands = commands;
        let mut dirty = std::mem::take(&mut self.dirty);
        for conn in dirty.drain(..) {
            self.write_out(conn);
        }
        self.dirty = dirty;
    }

    /// The machine that asked is no more.
    pub(crate) fn forget_commands(&mut self) {
        self.dirty.clear();
        for command in std::mem::take(&mut self.commands) {
            // A connection that it has let go of already would be nobody's.
            if let Command::Close(conn, _) = command {
                self.close(conn, CloseMode::Abort);
            }
        }
    }

    fn set_reading(&mut self, conn: ConnId, on: bool) {
        let Some(connection) = self.get(conn) else { return };
        if on && !connection.reading {
            connection.offer_carry = true;
            // The event for bytes that came meanwhile has passed.
            self.make_ready(conn);
        }
        if let Some(connection) = self.get(conn) {
            connection.reading = on;
        }
    }

    // --- Sending -------------------------------------------------------------------------

    /// Writes what waits, unless the socket is known to be full.
    pub(crate) fn write_out(&mut self, conn: ConnId) {
        let Some(connection) = self.get(conn) else { return };
        let (Phase::Open(outlet) | Phase::Closing { outlet, .. }) = &connection.phase else { return };
        if connection.full || connection.failure.is_some() {
            return;
        }
        while !connection.out.is_empty() && connection.failure.is_none() {
            match outlet.stream().write(&connection.out) {
                Ok(0) => connection.failure = Some(CloseReason::Reset),
                Ok(taken) => connection.out.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Only a refusal makes sure that there will be an event; so a short write is
                // not enough to leave.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return connection.full = true;
                }
                Err(error) => connection.failure = Some(CloseReason::from_io(error)),
            }
        }
        if connection.out.capacity() > KEPT_BUFFER || connection.failure.is_some() {
            connection.out = BytesMut::new();
        }
        if connection.failure.is_some() {
            self.make_ready(conn);
        }
    }

    /// The socket is writable. Tells whether the machine wants to know.
    pub(crate) fn on_writable(&mut self, conn: ConnId) -> bool {
        let Some(connection) = self.get(conn) else { return false };
        let Phase::Open(outlet) = &connection.phase else { return false };
        let flushed = outlet.stream().flush();
        if outlet.stream().take_release() {
            self.make_ready(conn);
        }
        let Some(connection) = self.get(conn) else { return false };
        let Phase::Open(outlet) = &connection.phase else { return false };
        match flushed {
            Ok(true) => {}
            // There will be another event, or the layers will be ready.
            Ok(false) => return false,
            Err(error) => {
                connection.failure.get_or_insert(CloseReason::from_io(error));
                self.make_ready(conn);
                return false;
            }
        }
        let asked = outlet.take_full();
        if !connection.full {
            return asked;
        }
        connection.full = false;
        self.write_out(conn);
        let drained = self.get(conn).is_some_and(|c| !c.full && c.failure.is_none());
        asked || drained
    }

    // --- Closing -------------------------------------------------------------------------

    /// Ends a connection of which the machine hears no more.
    pub(crate) fn close(&mut self, conn: ConnId, mode: CloseMode) {
        let Some(connection) = self.get(conn) else { return };
        connection.owner = None;
        let Phase::Open(outlet) = &connection.phase else {
            self.remove(conn, CloseReason::ThisSide);
            return;
        };
        if mode == CloseMode::Reset {
            // Closing then resets the connection; to shut it down first would end it properly.
            let _already_down = outlet.stream().reset_when_closed();
            outlet.end(CloseReason::ThisSide);
            self.slots.remove(slot_of(conn));
            return;
        }
        if mode == CloseMode::Abort || connection.failure.is_some() {
            self.remove(conn, CloseReason::ThisSide);
            return;
        }
        let outlet = outlet.clone();
        outlet.end(CloseReason::ThisSide);
        connection.carry = BytesMut::new();
        connection.phase = Phase::Closing { outlet, finished: false };
        let deadline = self.clock.now() + FLUSH_TIME;
        self.set_deadline(conn, Some(deadline));
        self.write_out(conn);
        self.make_ready(conn);
    }

    /// Goes on with a flush-close: sends the rest, then the end of the stream, and then reads
    /// until the peer ends the stream too. To close earlier could make the kernel answer
    /// bytes that are still under way with a reset, which destroys what the peer has not read.
    pub(crate) fn continue_closing(&mut self, conn: ConnId, writable: bool, scratch: &mut [u8]) {
        let Some(connection) = self.get(conn) else { return };
        if writable {
            connection.full = false;
        }
        self.write_out(conn);
        let Some(connection) = self.get(conn) else { return };
        let Phase::Closing { outlet, finished } = &mut connection.phase else { return };
        if connection.failure.is_some() {
            self.remove(conn, CloseReason::ThisSide);
            return;
        }
        if !*finished && connection.out.is_empty() {
            // If it fails the connection is down, which reading will show.
            *finished = outlet.stream().finish().unwrap_or(true);
        }
        // The peer may have ended its direction long ago, or wait for what is still unsent:
        // read in any case, but leave only when everything is sent.
        match (discard_input(outlet.stream(), scratch), *finished) {
            (Discarded::Ended, true) | (Discarded::Failed, _) => {
                self.remove(conn, CloseReason::ThisSide);
            }
            (Discarded::More, _) => self.make_ready(conn),
            (Discarded::Ended, false) | (Discarded::All, _) => {}
        }
    }

    /// The machine `owner` is no more. What is queued is still sent if `mode` says so; a
    /// connection with nothing queued is closed at once.
    pub(crate) fn close_all_of(&mut self, owner: usize, mode: CloseMode, scratch: &mut [u8]) {
        let mine = self.slots.iter().filter(|(_, connection)| connection.owner == Some(owner));
        let mine: Vec<_> = mine.map(|(slot, connection)| id_of(connection.serial, slot)).collect();
        for conn in mine {
            let Some(connection) = self.get(conn) else { continue };
            if connection.out.is_empty() || mode == CloseMode::Abort {
                if let Phase::Open(outlet) = &connection.phase {
                    // Input that nobody has read would turn the close into a reset.
                    let _whatever_was_left = discard_input(outlet.stream(), scratch);
                    if mode == CloseMode::Flush {
                        // A peer that hears no end takes the connection for cut off.
                        let _as_far_as_possible = outlet.stream().finish();
                    }
                }
                self.close(conn, CloseMode::Abort);
            } else {
                self.close(conn, CloseMode::Flush);
            }
        }
    }

    /// Shuts the socket down and forgets the connection; its owner, if it still has one, is
    /// returned.
    pub(crate) fn remove(&mut self, conn: ConnId, reason: CloseReason) -> Option<usize> {
        self.get(conn)?;
        let connection = self.slots.remove(slot_of(conn));
        if let Phase::Open(outlet) | Phase::Closing { outlet, .. } = &connection.phase {
            outlet.shut_down(reason);
        }
        connection.owner
    }

    /// The loop ends: whoever still holds an outlet gets to know.
    pub(crate) fn end(&mut self) {
        for connection in self.slots.drain() {
            if let Phase::Open(outlet) | Phase::Closing { outlet, .. } = &connection.phase {
                outlet.shut_down(CloseReason::LoopEnded);
            }
        }
    }

    // --- Turns and deadlines -------------------------------------------------------------

    /// Puts a connection into the queue of those that have something to do or to tell.
    pub(crate) fn make_ready(&mut self, conn: ConnId) {
        let Some(connection) = self.get(conn) else { return };
        if !connection.queued {
            connection.queued = true;
            self.ready.push_back(conn);
        }
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(crate) fn next_ready(&mut self) -> Option<ConnId> {
        let conn = self.ready.pop_front()?;
        if let Some(connection) = self.get(conn) {
            connection.queued = false;
        }
        Some(conn)
    }

    fn set_deadline(&mut self, conn: ConnId, deadline: Option<Time>) {
        if let Some(connection) = self.get(conn) {
            connection.deadline = deadline;
            if let Some(at) = deadline {
                self.deadlines.push(at, conn);
            }
        }
    }

    pub(crate) fn earliest_deadline(&mut self) -> Option<Time> {
        let slots = &self.slots;
        self.deadlines.earliest(|conn, at| has_deadline(slots, conn, at))
    }

    /// Ends every attempt and every flush-close that has taken too long. Returns the accepted connections whose
    /// handshakes have, and which their machines must be told of.
    pub(crate) fn serve_deadlines(&mut self, now: Time) -> Vec<(ConnId, CloseReason)> {
        let mut stalled = Vec::new();
        loop {
            let slots = &self.slots;
            let due = self.deadlines.pop_due(now, |conn, at| has_deadline(slots, conn, at));
            let Some(conn) = due else { return stalled };
            match self.get(conn).map(|connection| &mut connection.phase) {
                Some(Phase::Connecting { plan, attempt }) => {
                    let stalled = match attempt {
                        Attempt::Layers(stream) => stream.shaking_hands(),
                        Attempt::Asked | Attempt::Socket(_) => None,
                    };
                    match stalled {
                        Some(layer) => plan.stalled(layer),
                        None => plan.timed_out(),
                    }
                    self.try_next_address(conn);
                }
                Some(Phase::Closing { .. }) => {
                    self.remove(conn, CloseReason::ThisSide);
                }
                Some(Phase::Open(_)) => stalled.extend(self.stalled(conn).map(|reason| (conn, reason))),
                Some(Phase::ConnectFailed(_)) | None => {}
            }
        }
    }

    /// Starts the time for the handshakes of an accepted connection, or stops it when they are done.
    pub(crate) fn watch_handshake(&mut self, conn: ConnId) {
        let now = self.clock.now();
        let Some(connection) = self.get(conn) else { return };
        let (Phase::Open(outlet), Some(allowed)) = (&connection.phase, connection.handshake_time) else {
            return;
        };
        match (outlet.stream().shaking_hands(), connection.deadline) {
            (Some(_), None) => self.set_deadline(conn, Some(now + allowed)),
            (None, Some(_)) => connection.deadline = None,
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// Why an accepted connection has to go whose time for the handshakes is over.
    fn stalled(&mut self, conn: ConnId) -> Option<CloseReason> {
        let connection = self.get(conn)?;
        connection.deadline = None;
        let (Phase::Open(outlet), Some(allowed)) = (&connection.phase, connection.handshake_time) else {
            return None;
        };
        let layer = outlet.stream().shaking_hands()?;
        let text = format!("the handshake did not end within {allowed:?}; check what connects to this port");
        Some(CloseReason::Layer(LayerError::new(layer, LayerTrouble::Handshake, text)))
    }
}

enum Discarded {
    /// Nothing is left for now.
    All,
    /// There may be more; others come first.
    More,
    Ended,
    Failed,
}

fn discard_input(stream: &Stream, scratch: &mut [u8]) -> Discarded {
    for _ in 0..READS_PER_TURN {
        match stream.read_raw(scratch) {
            Ok(0) => return Discarded::Ended,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Discarded::All,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Discarded::Failed,
        }
    }
    Discarded::More
}

fn has_deadline(slots: &Slab<Connection>, conn: ConnId, at: Time) -> bool {
    let connection = slots.get(slot_of(conn)).filter(|connection| connection.serial == serial_of(conn));
    connection.is_some_and(|connection| connection.deadline == Some(at))
}

fn id_of(serial: u32, slot: usize) -> ConnId {
    ConnId(u64::from(serial) << 32 | slot as u64)
}

fn serial_of(conn: ConnId) -> u32 {
    (conn.0 >> 32) as u32
}

fn slot_of(conn: ConnId) -> usize {
    (conn.0 & u64::from(u32::MAX)) as usize
}

pub(crate) fn token_of(conn: ConnId) -> Token {
    Token(conn.0 as usize)
}
