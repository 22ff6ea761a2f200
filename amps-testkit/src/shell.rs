//! The engine on an event loop: which time it sees, and who is told what it did.
//!
//! Owns the virtual clock, the file of the log, and when links are connected again under a virtual clock. Invariant: under a virtual clock the engine sees no other time, and
//! its timers fire only while the clock is being moved.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use amps_transport::{CloseMode, Input, ListenerId, Machine, Sink, Time};

use crate::Bell;
use crate::engine::{ConfigError, Engine, Entitlement, LinkChange, LogCut};
use crate::journal::Journal;
use crate::store::Store;

/// 2026-01-01T00:00:00Z, where virtual clocks start.
pub(crate) const VIRTUAL_START: Time = Time::from_unix_nanos(1_767_225_600_000_000_000);

/// What is done with the engine on the loop's thread.
type Inspection = Box<dyn FnOnce(&Engine, Time) + Send>;

/// What the handle of a server wants done.
pub(crate) enum Note {
    Inspect(Inspection),
    Advance(Duration, SyncSender<()>),
    Publish {
        message_type: String,
        topic: String,
        body: Vec<u8>,
        done: SyncSender<()>,
    },
    Drop {
        client: String,
        mode: CloseMode,
        done: SyncSender<bool>,
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
    ListenerType(ListenerId, String),
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
}

impl Shell {
    pub(crate) fn new(
        mut engine: Engine,
        virtual_clock: bool,
        store: Option<Store>,
        journal: Arc<Journal>,
        bell: Arc<Bell>,
    ) -> Self {
        if store.is_some() {
            engine.keep_log_records();
        }
        // Time does not go back behind what is in the log.
        let start = engine.last_logged_at().map_or(VIRTUAL_START, |at| at.max(VIRTUAL_START));
        let virtual_now = virtual_clock.then_some(start);
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
        }
    }

    /// Starts the engine anew with what was kept.
    fn restart<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let kept = match &self.store {
            Some(store) => store.read_again(),
            None => Ok(self.engine.state_to_keep()),
        };
        match kept {
            Ok(records) => self.engine.restart(now, records, sink),
            Err(error) => self.store_error = Some(error.to_string()),
        }
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
        // Whoever asked may have stopped waiting: then nobody hears the answer.
        match note {
            Note::Inspect(inspect) => inspect(&self.engine, now),
            Note::Advance(by, done) => {
                self.advance(by, sink);
                let _ = done.try_send(());
            }
            Note::Publish { message_type, topic, body, done } => {
                self.engine.publish(now, &message_type, &topic, &body, sink);
                let _ = done.try_send(());
            }
            Note::Drop { client, mode, done } => {
                let _ = done.try_send(self.engine.drop_client(now, &client, mode, sink));
            }
            Note::ResetEntitlements { user, entitlements, done } => {
                let _ = done.try_send(self.engine.reset_entitlements(now, &user, entitlements, sink));
            }
            Note::Stall { client, stalled, done } => {
                let _ = done.try_send(self.engine.stall_reads(&client, stalled, sink));
            }
            Note::RestartEmpty(done) => {
                self.engine.restart_empty(now, sink);
                let _ = done.try_send(());
            }
            Note::Restart(done) => {
                self.restart(now, sink);
                let _ = done.try_send(());
            }
            Note::HoldDurability(held, done) => {
                self.engine.hold_durability(now, held, sink);
                let _ = done.try_send(());
            }
            Note::Truncate(cut, done) => {
                self.engine.truncate_before(cut);
                let _ = done.try_send(());
            }
            Note::DataError(done) => {
                let _ = done.try_send(self.store_error.clone());
            }
            Note::Stop => self.engine.stop(now, sink),
            Note::ListenerType(listener, message_type) => {
                self.engine.set_listener_type(listener, message_type);
            }
            Note::ReplicationListener(listener) => self.engine.set_replication_listener(listener),
            Note::MoveClock(by, done) => {
                self.virtual_now = self.virtual_now.map(|now| now + by);
                let _ = done.try_send(());
            }
            Note::ChangeLink(destination, change, done) => {
                let _ = done.try_send(self.engine.change_link(now, &destination, change, sink));
            }
            Note::ConnectLinks(done) => {
                self.engine.connect_links(now, sink);
                let _ = done.try_send(());
            }
            Note::AutoReplication(on, done) => {
                self.engine.set_auto_replication(now, on, sink);
                let _ = done.try_send(());
            }
            Note::ProxiedTransfer(queue, on, done) => {
                let _ = done.try_send(self.engine.set_proxied_transfer(now, &queue, on, sink));
            }
            Note::Halt { orderly, done } => {
                self.engine.halt(now, orderly, sink);
                let _ = done.try_send(());
            }
            Note::EndHalt { early, done } => {
                self.restart(now, sink);
                if early {
                    self.engine.accept_early();
                }
                self.engine.end_halt(now, sink);
                let _ = done.try_send(());
            }
        }
    }

    /// Moves the virtual clock; timers fire in the order of their deadlines, each at its time.
    fn advance<S: Sink>(&mut self, by: Duration, sink: &mut S) {
        let Some(start) = self.virtual_now else { return };
        let end = start + by;
        while let Some(at) = self.engine.clock_deadline().filter(|&at| at <= end) {
            let at = at.max(start);
            self.virtual_now = Some(at);
            self.engine.handle(at, Input::Timer, sink);
        }
        self.virtual_now = Some(end);
    }
}

impl Machine for Shell {
    type Note = Note;

    fn handle<S: Sink>(&mut self, real_now: Time, input: Input<'_, Note>, sink: &mut S) {
        let now = self.virtual_now.unwrap_or(real_now);
        self.real_now = real_now;
        match input {
            Input::Note(note) => self.take_note(now, note, sink),
            Input::Accepted { conn, listener, peer } => {
                self.engine.handle(now, Input::Accepted { conn, listener, peer }, sink);
            }
            Input::Received { conn, bytes } => self.engine.handle(now, Input::Received { conn, bytes }, sink),
            Input::Closed { conn, reason } => self.engine.handle(now, Input::Closed { conn, reason }, sink),
            // Under a virtual clock no timer fires by itself, but replays go on, and links connect.
            Input::Timer if self.virtual_now.is_some() => {
                self.engine.continue_replays(now, sink);
                if self.reconnect_at.is_some_and(|at| at <= real_now) {
                    self.engine.connect_links(now, sink);
                }
            }
            Input::Timer => self.engine.handle(now, Input::Timer, sink),
            Input::Writable { conn } => self.engine.handle(now, Input::Writable { conn }, sink),
            Input::Connected { conn, local, peer } => {
                self.engine.handle(now, Input::Connected { conn, local, peer }, sink);
            }
            Input::ConnectFailed { conn, error } => {
                self.engine.handle(now, Input::ConnectFailed { conn, error }, sink);
            }
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
        self.journal.append(self.engine.take_events());
    }

    fn deadline(&self) -> Option<Time> {
        match self.virtual_now {
            // A replay waits for its consumer, who lives in real time.
            Some(now) => {
                let replays = self.engine.replay_deadline();
                let replays = replays.map(|at| self.real_now + at.saturating_since(now));
                replays.into_iter().chain(self.reconnect_at).min()
            }
            None => self.engine.deadline(),
        }
    }
}
