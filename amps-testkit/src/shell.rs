//! The engine on an event loop: which time it sees, and who is told what it did.
//!
//! Owns the virtual clock, the file of the log, and when links are connected again under a
//! virtual clock. Invariant: under a virtual clock the engine sees no other time, and its timers
//! fire only while the clock is being moved.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use amps_transport::{CloseMode, Input, ListenerId, Machine, Sink, Time};

use crate::Bell;
use crate::engine::{
    ConfigError, Dropped, Engine, Entitlement, LinkChange, LogCut, LogRecord, TransportConfig,
};
use crate::fault::{FaultLayer, FaultSink};
use crate::journal::Journal;
use crate::store::Store;

mod outside;
mod script;
pub(crate) use outside::{Initial, Outside, View};
pub(crate) use script::Script;

/// 2026-01-01T00:00:00Z, where virtual clocks start.
pub(crate) const VIRTUAL_START: Time = Time::from_unix_nanos(1_767_225_600_000_000_000);

/// What is done with the engine on the loop's thread.
type Inspection = Box<dyn FnOnce(&Engine, Time) + Send>;

/// What the handle of a server wants done.
pub(crate) enum Note {
    Inspect(Inspection),
    Advance(Duration, SyncSender<()>),
    Drop {
        which: Dropped,
        mode: CloseMode,
        done: SyncSender<usize>,
    },
    ResetEntitlements {
        user: String,
        entitlements: Vec<Entitlement>,
        done: SyncSender<Result<(), ConfigError>>,
    },
    Stall {
        client: String,
        stalled: bool,
        done: SyncSender<bool>,
    },
    RestartEmpty(SyncSender<()>),
    Restart(SyncSender<()>),
    HoldDurability(bool, SyncSender<()>),
    Truncate(LogCut, SyncSender<()>),
    DataError(SyncSender<Option<String>>),
    /// Say what is left to say, and close everything.
    Stop,
    Transport(ListenerId, Box<TransportConfig>),
    ReplicationListener(ListenerId),
    /// Move the virtual clock, and let what is due wait.
    MoveClock(Duration, SyncSender<()>),
    ChangeLink(String, LinkChange, SyncSender<bool>),
    ConnectLinks(SyncSender<()>),
    AutoReplication(bool, SyncSender<()>),
    ProxiedTransfer(String, bool, SyncSender<bool>),
    /// End as a process does, in an orderly way or not.
    Halt {
        orderly: bool,
        done: SyncSender<()>,
    },
    /// Begin again after that, with what is kept.
    EndHalt {
        early: bool,
        done: SyncSender<()>,
    },
    /// About faults, clock and transports.
    Script(Script),
    /// About what is put in place, and seen.
    Outside(Outside),
}

pub(crate) struct Shell {
    engine: Engine,
    /// The time of the virtual clock, if there is one.
    virtual_now: Option<Time>,
    /// The time of the last input, whatever the engine's clock says.
    real_now: Time,
    /// Where the log is kept, if it is, and why not any more.
    store: Option<Store>,
    store_error: Option<String>,
    journal: Arc<Journal>,
    /// Rung when a link has done something.
    bell: Arc<Bell>,
    rung: u64,
    /// When a link is connected again, under a virtual clock: the network knows no other time
    /// than the real one.
    reconnect_at: Option<Time>,
    /// What stands between the loop and the engine.
    faults: FaultLayer,
    /// Those who wait until everything that may leave has left.
    waiters: Vec<SyncSender<()>>,
    /// Inputs that something may follow from.
    inputs: u64,
    /// What a reset goes back to.
    initial: Initial,
}

impl Shell {
    /// `start` is where a virtual clock starts; without one the clock is the real one.
    pub(crate) fn new(
        mut engine: Engine,
        start: Option<Time>,
        faults: FaultLayer,
        store: Option<Store>,
        journal: Arc<Journal>,
        bell: Arc<Bell>,
    ) -> Self {
        if store.is_some() {
            engine.keep_log_records();
        }
        // Time does not go back behind what is in the log.
        let virtual_now = start.map(|start| engine.last_logged_at().map_or(start, |at| at.max(start)));
        Self {
            engine,
            virtual_now,
            real_now: Time::EPOCH,
            store,
            store_error: None,
            journal,
            bell,
            rung: 0,
            reconnect_at: None,
            faults,
            waiters: Vec::new(),
            inputs: 0,
            initial: Initial::default(),
        }
    }

    /// Starts the engine anew with what was kept.
    fn restart<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let kept = match &self.store {
            Some(store) => store.read_again(),
            None => Ok(self.engine.state_to_keep()),
        };
        match kept {
            Ok(records) => match self.faults.take_lost() {
                0 => self.engine.restart(now, records, &mut FaultSink::new(&mut self.faults, now, sink)),
                lost => self.restart_with(now, script::forget_last(records, lost), sink),
            },
            Err(error) => self.store_error = Some(error.to_string()),
        }
    }

    /// Starts anew with these records only, and forgets the others for good.
    fn restart_with<S: Sink>(&mut self, now: Time, records: Vec<LogRecord>, sink: &mut S) {
        if let Some(store) = &mut self.store {
            let rewritten = store.append(&[LogRecord::Reset]).and_then(|()| store.append(&records));
            self.store_error = rewritten.err().map(|error| error.to_string());
        }
        self.engine.restart(now, records, &mut FaultSink::new(&mut self.faults, now, sink));
    }

    /// Writes down what the engine wants to know after a restart. This comes before anything
    /// that it sent leaves the process, so that nothing is acknowledged that may be forgotten.
    fn keep(&mut self) {
        let Some(store) = &mut self.store else { return };
        if let Err(error) = store.append(&self.engine.take_log_records()) {
            self.store_error = Some(error.to_string());
            self.store = None;
        }
    }

    fn take_note<S: Sink>(&mut self, now: Time, note: Note, sink: &mut S) {
        let through = &mut FaultSink::new(&mut self.faults, now, sink);
        // Whoever asked may have stopped waiting: then nobody hears the answer.
        match note {
            Note::Inspect(inspect) => inspect(&self.engine, now),
            Note::Advance(by, done) => {
                self.advance(by, sink);
                let _ = done.try_send(());
            }
            Note::Drop { which, mode, done } => {
                let _ = done.try_send(self.engine.drop_connections(now, &which, mode, through));
            }
            Note::ResetEntitlements { user, entitlements, done } => {
                let _ = done.try_send(self.engine.reset_entitlements(now, &user, entitlements, through));
            }
            Note::Stall { client, stalled, done } => {
                let _ = done.try_send(self.engine.stall_reads(&client, stalled, through));
            }
            Note::RestartEmpty(done) => {
                self.engine.restart_empty(now, through);
                let _ = done.try_send(());
            }
            Note::Restart(done) => {
                self.restart(now, sink);
                let _ = done.try_send(());
            }
            Note::HoldDurability(held, done) => {
                self.engine.hold_durability(now, held, through);
                let _ = done.try_send(());
            }
            Note::Truncate(cut, done) => {
                self.engine.truncate_before(cut);
                let _ = done.try_send(());
            }
            Note::DataError(done) => {
                let _ = done.try_send(self.store_error.clone());
            }
            Note::Stop => {
                self.engine.stop(now, through);
                self.faults.finish(now, sink);
            }
            Note::Script(script) => self.take_script(now, script, sink),
            Note::Outside(outside) => self.take_outside(now, outside, sink),
            Note::Transport(listener, transport) => {
                // It was checked before anybody listened.
                let _ = self.engine.set_transport(listener, *transport);
            }
            Note::ReplicationListener(listener) => self.engine.set_replication_listener(listener),
            Note::MoveClock(by, done) => {
                self.virtual_now = self.virtual_now.map(|now| now + by);
                let _ = done.try_send(());
            }
            Note::ChangeLink(destination, change, done) => {
                let _ = done.try_send(self.engine.change_link(now, &destination, change, through));
            }
            Note::ConnectLinks(done) => {
                self.engine.connect_links(now, through);
                let _ = done.try_send(());
            }
            Note::AutoReplication(on, done) => {
                self.engine.set_auto_replication(now, on, through);
                let _ = done.try_send(());
            }
            Note::ProxiedTransfer(queue, on, done) => {
                let _ = done.try_send(self.engine.set_proxied_transfer(now, &queue, on, through));
            }
            Note::Halt { orderly, done } => {
                self.engine.halt(now, orderly, through);
                let _ = done.try_send(());
            }
            Note::EndHalt { early, done } => {
                self.restart(now, sink);
                if early {
                    self.engine.accept_early();
                }
                self.engine.end_halt(now, &mut FaultSink::new(&mut self.faults, now, sink));
                let _ = done.try_send(());
            }
        }
    }

    /// Moves the virtual clock; timers fire in the order of their deadlines, each at its time.
    fn advance<S: Sink>(&mut self, by: Duration, sink: &mut S) {
        let Some(start) = self.virtual_now else { return };
        let end = start + by;
        loop {
            let deadlines = [self.engine.clock_deadline(), self.faults.deadline()];
            let Some(at) = deadlines.into_iter().flatten().min().filter(|&at| at <= end) else { break };
            let at = at.max(start);
            self.virtual_now = Some(at);
            // What was held back leaves before what is caused now.
            if self.faults.deadline().is_some_and(|due| due <= at) {
                self.faults.run_due(&mut self.engine, at, sink);
            } else {
                self.engine.handle(at, Input::Timer, &mut FaultSink::new(&mut self.faults, at, sink));
                self.faults.settle(&mut self.engine, at, sink);
            }
        }
        self.virtual_now = Some(end);
    }
}

impl Machine for Shell {
    type Note = Note;

    fn handle<S: Sink>(&mut self, real_now: Time, input: Input<'_, Note>, sink: &mut S) {
        let now = self.virtual_now.unwrap_or(real_now);
        self.real_now = real_now;
        self.inputs += u64::from(match input {
            Input::Note(_) => false,
            // A replay that waits for its consumer is at rest.
            Input::Timer => self.engine.replay_deadline().is_some_and(|at| at <= now),
            _ => true,
        });
        if !self.faults.is_idle() {
            self.faults.begin_turn(&mut self.engine, now, sink);
        }
        self.tell_waiters();
        let idle = self.faults.is_idle();
        let through = &mut FaultSink::new(&mut self.faults, now, sink);
        match input {
            Input::Note(note) => self.take_note(now, note, sink),
            Input::Accepted { conn, listener, peer } => {
                self.engine.handle(now, Input::Accepted { conn, listener, peer }, through);
                // Links between instances have faults of their own.
                if self.engine.is_client(conn) {
                    self.faults.accepted(&mut self.engine, now, (conn, listener), sink);
                }
            }
            Input::Received { conn, bytes } if idle || self.engine.is_link(conn) => {
                self.engine.handle(now, Input::Received { conn, bytes }, through);
            }
            Input::Received { conn, bytes } => {
                self.faults.receive(&mut self.engine, now, conn, bytes, sink);
            }
            Input::Closed { conn, reason } => {
                self.engine.handle(now, Input::Closed { conn, reason }, through);
                self.faults.closed(conn);
            }
            // Under a virtual clock no timer fires by itself, but replays go on, and links connect.
            Input::Timer if self.virtual_now.is_some() => {
                self.engine.continue_replays(now, through);
                if self.reconnect_at.is_some_and(|at| at <= real_now) {
                    self.engine.connect_links(now, through);
                }
            }
            Input::Timer => self.engine.handle(now, Input::Timer, through),
            Input::Writable { conn } => self.engine.handle(now, Input::Writable { conn }, through),
            Input::Connected { conn, local, peer } => {
                self.engine.handle(now, Input::Connected { conn, local, peer }, through);
            }
            Input::ConnectFailed { conn, error } => {
                self.engine.handle(now, Input::ConnectFailed { conn, error }, through);
            }
        }
        if !idle || !self.faults.is_idle() {
            let now = self.virtual_now.unwrap_or(now);
            self.faults.settle(&mut self.engine, now, sink);
        }
        self.keep();
        self.reconnect_at = match self.engine.links_deadline() {
            Some(at) => self.reconnect_at.or(Some(real_now + at.saturating_since(now))),
            None => None,
        };
        if self.rung != self.engine.link_activity() {
            self.rung = self.engine.link_activity();
            self.bell.ring();
        }
        self.journal.append(self.faults.take_events());
        self.journal.append(self.engine.take_events());
    }

    fn deadline(&self) -> Option<Time> {
        let wanted = self.faults.wants_turn() || !self.waiters.is_empty();
        let turn = wanted.then_some(self.real_now);
        let next = match self.virtual_now {
            // A replay waits for its consumer, who lives in real time.
            Some(now) => {
                let replays = self.engine.replay_deadline();
                let replays = replays.map(|at| self.real_now + at.saturating_since(now));
                replays.into_iter().chain(self.reconnect_at).min()
            }
            None => self.engine.deadline().into_iter().chain(self.faults.deadline()).min(),
        };
        turn.into_iter().chain(next).min()
    }
}
