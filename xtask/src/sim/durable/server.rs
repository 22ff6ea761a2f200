//! A server of the play: an engine that can die, and what its log has held.
//!
//! The [`Book`] is the referees' own copy of the log, made of what the engine would write to a
//! disk. It outlives what the server forgets.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};

use amps_testkit::sim::EndpointId;
use amps_testkit::{Engine, LinkChange, LogRecord, MessageId};
use amps_transport::{Input, ListenerId, Machine, Sink, Time};

use super::super::model::id_of;
use super::super::watch::Breach;
use super::setup::QUEUE;

/// What happens to a server from outside.
#[derive(Debug)]
pub(super) enum Order {
    /// Its process dies.
    Halt,
    /// It is started again, with its log or without.
    Restart { empty: bool },
    /// The link to the other server.
    Link(&'static str, LinkChange),
    /// It takes over what others left in the queue, or does not any more.
    TakeOver(bool),
}

/// The engine, which takes orders.
pub(super) struct Machinery(pub(super) Engine);

impl Machine for Machinery {
    type Note = Order;

    fn handle<S: Sink>(&mut self, now: Time, input: Input<'_, Order>, sink: &mut S) {
        let engine = &mut self.0;
        let input = match input {
            Input::Note(Order::Halt) => return engine.halt(now, false, sink),
            Input::Note(Order::Restart { empty }) => {
                if empty {
                    engine.restart_empty(now, sink);
                } else {
                    let kept = engine.state_to_keep();
                    engine.restart(now, kept, sink);
                }
                return engine.end_halt(now, sink);
            }
            Input::Note(Order::Link(to, change)) => {
                engine.change_link(now, to, change, sink);
                return;
            }
            Input::Note(Order::TakeOver(on)) => {
                engine.set_proxied_transfer(now, QUEUE, on, sink);
                return;
            }
            Input::Connected { conn, local, peer } => Input::Connected { conn, local, peer },
            Input::ConnectFailed { conn, error } => Input::ConnectFailed { conn, error },
            Input::Accepted { conn, listener, peer } => Input::Accepted { conn, listener, peer },
            Input::Received { conn, bytes } => Input::Received { conn, bytes },
            Input::Writable { conn } => Input::Writable { conn },
            Input::Closed { conn, reason } => Input::Closed { conn, reason },
            Input::Timer => Input::Timer,
        };
        engine.handle(now, input, sink);
    }

    fn deadline(&self) -> Option<Time> {
        self.0.deadline()
    }
}

pub(super) struct Server {
    pub(super) id: EndpointId,
    pub(super) name: &'static str,
    pub(super) machine: Machinery,
    pub(super) door: ListenerId,
    pub(super) book: Book,
    pub(super) is_up: bool,
    /// It has always waited for its peer before it reported anything as persisted.
    pub(super) waits: bool,
}

/// A message in a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged {
    pub(super) bookmark: MessageId,
    pub(super) id: u32,
    /// It is for the replays, and not for the queue.
    pub(super) replayed: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Book {
    /// By life of the log: how many messages it had with the one that this names, or when that
    /// happened.
    lives: Vec<BTreeMap<MessageId, usize>>,
    pub(super) log: Vec<Logged>,
    ids: BTreeSet<u32>,
    last: BTreeMap<u64, u64>,
    /// Every number that it ever took, whatever it made of it.
    taken: BTreeSet<MessageId>,
    /// What the log says has left the queue.
    departed: BTreeSet<MessageId>,
    /// What it ever took from its publisher, and not from the other server.
    published: BTreeSet<MessageId>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            lives: vec![BTreeMap::new()],
            log: Vec::new(),
            ids: BTreeSet::new(),
            last: BTreeMap::new(),
            taken: BTreeSet::new(),
            departed: BTreeSet::new(),
            published: BTreeSet::new(),
        }
    }
}

impl Book {
    /// What the engine has logged since the last call.
    ///
    /// # Errors
    /// Something is in the log twice, or out of the order of its publisher (P5).
    pub(super) fn take(&mut self, server: &str, records: Vec<LogRecord>, topic: &str) -> Result<(), Breach> {
        for record in records {
            match record {
                LogRecord::Message(message) => {
                    let bookmark = message.bookmark;
                    self.taken.insert(bookmark);
                    if message.via.is_none() {
                        self.published.insert(bookmark);
                    }
                    let Some(id) = id_of(&message.body) else { continue };
                    let last = self.last.insert(bookmark.publisher, bookmark.sequence);
                    if last.is_some_and(|last| last >= bookmark.sequence) {
                        return Err(("P5", format!("{server} logged {bookmark} behind number {last:?}")));
                    }
                    if !self.ids.insert(id) {
                        return Err((
                            "P5",
                            format!("{server} has message {id} twice, the second time as {bookmark}"),
                        ));
                    }
                    self.log.push(Logged { bookmark, id, replayed: message.topic == topic });
                    self.note_place(bookmark);
                }
                LogRecord::Sequence(number) => {
                    self.taken.insert(number);
                }
                LogRecord::Deletion { bookmark, .. } => {
                    self.taken.insert(bookmark);
                    self.note_place(bookmark);
                }
                LogRecord::Departure { bookmark, .. } => {
                    self.departed.insert(bookmark);
                }
                LogRecord::Reset => self.lost(),
                _ => {}
            }
        }
        Ok(())
    }

    fn note_place(&mut self, bookmark: MessageId) {
        let place = self.log.len();
        if let Some(places) = self.lives.last_mut() {
            places.insert(bookmark, place);
        }
    }

    /// The log is empty from now on.
    fn lost(&mut self) {
        self.lives.push(BTreeMap::new());
        self.log.clear();
        self.ids.clear();
        self.last.clear();
        self.departed.clear();
    }

    /// How often the log was begun.
    pub(super) fn life(&self) -> usize {
        self.lives.len() - 1
    }

    /// Where a message is in a log of some life: so many messages come with it and before it.
    pub(super) fn place(&self, life: usize, bookmark: MessageId) -> Option<usize> {
        self.lives.get(life)?.get(&bookmark).copied()
    }

    /// Whether it took a later message of the same publisher without this one: now it never will (server.md
    /// HA-06).
    pub(super) fn passed_by(&self, bookmark: MessageId) -> bool {
        self.place(self.life(), bookmark).is_none()
            && self.last.get(&bookmark.publisher).is_some_and(|last| *last > bookmark.sequence)
    }

    pub(super) fn has_id(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// Whether the log says that a message has left the queue.
    pub(super) fn has_departed(&self, bookmark: MessageId) -> bool {
        self.departed.contains(&bookmark)
    }

    pub(super) fn departed(&self) -> impl Iterator<Item = MessageId> {
        self.departed.iter().copied()
    }

    /// Whether it ever took a message from its publisher.
    pub(super) fn was_published(&self, bookmark: MessageId) -> bool {
        self.published.contains(&bookmark)
    }

    /// Whether it ever took this number.
    pub(super) fn took(&self, number: MessageId) -> bool {
        self.taken.contains(&number)
    }
}
