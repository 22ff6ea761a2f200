//! Instances that replicate to each other (server.md 7).
//!
//! Owns the links: what each destination has got and confirmed (`source`), what comes in from
//! other instances (`receiver`), which of them delivers a queue message (`ownership`), and what
//! they say to each other (`frames`). A link has one direction: the source connects to its
//! destination and sends what its log holds, the receiver confirms. Two instances that
//! replicate to each other have two links.
//!
//! Invariants: an entry never goes to an instance that has it, or had it when it sent it on
//! (PAIR-06); an entry is taken only if its publisher's sequence number is new (HA-06); what
//! counts as durable is what every synchronous destination has confirmed (HA-03).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use amps_protocol::{LENGTH_PREFIX, Message, MessageId, next_frame};
use amps_transport::{CloseMode, ConnId, ListenerId, Sink, Time};
use bytes::{Buf, BytesMut};

mod frames;
mod ownership;
mod receiver;
mod snapshot;
mod source;

use super::Engine;
use super::config::{Config, ConfigError, SyncMode};
use super::event::Disconnect;
use super::topic::MessageTypes;
use super::txlog::{Position, TxLog};
use frames::Frame;
use ownership::Claim;
pub(super) use ownership::first_owner;
use receiver::Upstream;
pub use snapshot::LinkSnapshot;
pub(crate) use snapshot::{Exchange, Exchanges};
use source::{Destination, Permit};

/// How long a source waits until it tries again to connect.
const RETRY: Duration = Duration::from_millis(100);

/// The longest frame of a link, in bytes: more than any frame of a client, which an entry has to
/// be able to carry on.
const MAX_FRAME: usize = 1 << 30;

/// What a link lets through.
///
/// ```
/// use amps_testkit::LinkState;
///
/// assert_eq!(LinkState::default(), LinkState::Up);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Everything.
    #[default]
    Up,
    /// Nothing: entries queue, and the connection stays.
    Paused,
    /// Nothing: there is no connection.
    Down,
}

/// What a test does to the link to a destination.
///
/// ```
/// use amps_testkit::{DestinationConfig, FakeServer, LinkChange, LinkState};
///
/// let server = FakeServer::builder().replicate_to(DestinationConfig::new("B")).start()?;
/// assert!(server.change_link("B", LinkChange::State(LinkState::Paused)));
/// assert_eq!(server.links()[0].state, LinkState::Paused);
/// assert!(!server.change_link("C", LinkChange::Deliver(1)), "there is no such destination");
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkChange {
    /// It is up, paused or down from now on.
    State(LinkState),
    /// As many of the entries that wait are sent now, if the link is connected.
    Deliver(usize),
    /// Whether publishers wait for it from now on (HA-04).
    Mode(SyncMode),
    /// Every entry is held back so long, from when it was logged here.
    Lag(Duration),
    /// Where the destination listens from now on, as `HOST:PORT`; a connection is ended.
    Address(String),
}

/// Everything about links.
#[derive(Debug)]
pub(super) struct Replication {
    listeners: BTreeSet<ListenerId>,
    destinations: Vec<Destination>,
    /// Instances that replicate to this one.
    upstreams: BTreeMap<ConnId, Upstream>,
    /// The instances that have sent what they had since the last start.
    complete: BTreeSet<String>,
    /// Whether clients are let in.
    accepting: bool,
    /// The server is stopped: it neither connects nor lets anybody in.
    halted: bool,
    /// Entries are sent when they are logged; else when the clock is moved.
    auto: bool,
    /// A test keeps everything from here on from being durable.
    held: Option<Position>,
    /// The groups of the instances met so far, by name.
    groups: BTreeMap<String, String>,
    /// Queue messages that other instances would deliver.
    claims: BTreeMap<(usize, MessageId), Claim>,
    /// Queues whose messages this instance takes over from owners that are gone.
    proxied: BTreeSet<usize>,
    /// Changes whenever anything here does.
    activity: u64,
}

impl Replication {
    /// # Errors
    /// A destination cannot be replicated to.
    pub(super) fn new(config: &Config, types: &mut MessageTypes, log: &TxLog) -> Result<Self, ConfigError> {
        let mut destinations: Vec<Destination> = Vec::new();
        for destination in &config.destinations {
            if destinations.iter().any(|other| other.config.name == destination.name) {
                return Err(ConfigError::DestinationTwice { destination: destination.name.clone() });
            }
            destinations.push(Destination::new(destination.clone(), types, log)?);
        }
        Ok(Self {
            listeners: BTreeSet::new(),
            accepting: config.early_accept || destinations.is_empty(),
            destinations,
            upstreams: BTreeMap::new(),
            complete: BTreeSet::new(),
            halted: false,
            auto: true,
            held: None,
            groups: BTreeMap::new(),
            claims: BTreeMap::new(),
            proxied: BTreeSet::new(),
            activity: 0,
        })
    }

    /// What all synchronous destinations have confirmed; `None` if there is none.
    pub(super) fn horizon(&self) -> Option<Position> {
        let waited_for = self.destinations.iter().filter(|destination| destination.mode == SyncMode::Sync);
        waited_for.map(|destination| destination.confirmed).chain(self.held).min()
    }

    /// What a restart does not change: where links go, and what a test did to them.
    pub(super) fn take_over(&mut self, old: Self) {
        self.listeners = old.listeners;
        self.halted = old.halted;
        self.auto = old.auto;
        self.proxied = old.proxied;
        self.activity = old.activity + 1;
        for (new, old) in self.destinations.iter_mut().zip(old.destinations) {
            new.keep_settings(old);
        }
    }

    /// What a reset does not change: who listens where.
    pub(super) fn take_over_places(&mut self, old: Self) {
        self.listeners = old.listeners;
        self.activity = old.activity + 1;
        for (new, old) in self.destinations.iter_mut().zip(old.destinations) {
            new.config.addresses = old.config.addresses;
        }
    }

    /// A test keeps everything from a position on from being durable, or does not any more.
    pub(super) fn hold(&mut self, from: Option<Position>) {
        self.held = from;
    }

    fn has_changed(&mut self) {
        self.activity = self.activity.wrapping_add(1);
    }
}

impl Engine {
    /// What connects to this listener are other instances, and no clients.
    pub fn set_replication_listener(&mut self, listener: ListenerId) {
        self.replication.listeners.insert(listener);
    }

    /// Whether clients are let in: not while the server waits for its peers (PAIR-03), see
    /// [`Config::early_accept`].
    pub fn is_accepting(&self) -> bool {
        self.replication.accepting && !self.replication.halted
    }

    /// Lets clients in from now on, whatever peers still have to send.
    pub fn accept_early(&mut self) {
        self.replication.accepting = true;
        self.replication.has_changed();
    }

    /// Whether entries are sent as soon as they are logged (`true`, the default), or only while
    /// the clock is moved (PAIR-08).
    pub fn set_auto_replication<S: Sink>(&mut self, now: Time, on: bool, sink: &mut S) {
        self.replication.auto = on;
        self.settle(now, sink);
    }

    /// Changes the link to a destination; `false` if there is no destination of that name.
    pub fn change_link<S: Sink>(
        &mut self,
        now: Time,
        destination: &str,
        change: LinkChange,
        sink: &mut S,
    ) -> bool {
        let named = |other: &Destination| other.config.name == destination;
        let Some(index) = self.replication.destinations.iter().position(named) else { return false };
        self.replication.has_changed();
        let link = &mut self.replication.destinations[index];
        match change {
            LinkChange::State(state) => {
                link.state = state;
                if state == LinkState::Down {
                    self.hang_up(now, index, sink);
                }
                self.connect(now, index, sink);
                // What waits for a transfer may go now.
                self.dirty.extend(0..self.queues.len());
            }
            LinkChange::Deliver(count) => self.pump(now, index, Permit::Count(count), sink),
            LinkChange::Mode(mode) => link.mode = mode,
            LinkChange::Lag(lag) => link.lag = lag,
            LinkChange::Address(address) => {
                link.config.addresses = vec![address];
                self.hang_up(now, index, sink);
                self.connect(now, index, sink);
            }
        }
        self.settle(now, sink);
        true
    }

    /// Connects every link that is not, and is not down, at once.
    pub fn connect_links<S: Sink>(&mut self, now: Time, sink: &mut S) {
        for index in 0..self.replication.destinations.len() {
            self.connect(now, index, sink);
        }
    }

    pub(super) fn connect_due_links<S: Sink>(&mut self, now: Time, sink: &mut S) {
        for index in 0..self.replication.destinations.len() {
            if self.replication.destinations[index].retry_at().is_some_and(|at| at <= now) {
                self.connect(now, index, sink);
            }
        }
    }

    /// When a link is to be connected again. It is not among the timers of the clock, for the
    /// network does not wait for a clock that a test moves.
    pub fn links_deadline(&self) -> Option<Time> {
        if self.replication.halted {
            return None;
        }
        self.replication.destinations.iter().filter_map(Destination::retry_at).min()
    }

    /// Changes whenever a link did something.
    pub(crate) fn link_activity(&self) -> u64 {
        self.replication.activity
    }

    /// Stops as a process does: nobody is connected, and nobody can connect, until a restart.
    /// With `orderly`, what is left to say is said before; else nothing is.
    pub fn halt<S: Sink>(&mut self, now: Time, orderly: bool, sink: &mut S) {
        if orderly {
            self.stop(now, sink);
        }
        let connections: Vec<_> = self.connections.keys().copied().collect();
        for conn in connections {
            self.close(now, conn, Disconnect::Dropped, CloseMode::Abort, sink);
        }
        self.close_links(if orderly { CloseMode::Flush } else { CloseMode::Abort }, sink);
        self.replication.halted = true;
        self.replication.has_changed();
    }

    /// Whether the server is stopped.
    pub(super) const fn is_halted(&self) -> bool {
        self.replication.halted
    }

    /// Lets a server that was halted connect, and be connected to, again.
    pub fn end_halt<S: Sink>(&mut self, now: Time, sink: &mut S) {
        self.replication.halted = false;
        self.connect_links(now, sink);
    }

    pub(super) fn close_links<S: Sink>(&mut self, mode: CloseMode, sink: &mut S) {
        let connected = self.replication.destinations.iter_mut().filter_map(Destination::let_go);
        let upstreams = std::mem::take(&mut self.replication.upstreams).into_keys();
        for conn in connected.chain(upstreams) {
            sink.close(conn, mode);
        }
        self.replication.has_changed();
    }

    /// Takes in whoever is no client; `false` if it is one.
    pub(super) fn accept_link<S: Sink>(&mut self, conn: ConnId, listener: ListenerId, sink: &mut S) -> bool {
        if self.replication.halted || !(self.replication.accepting || self.is_for_links(listener)) {
            sink.close(conn, CloseMode::Abort);
            return true;
        }
        if !self.is_for_links(listener) {
            return false;
        }
        self.replication.upstreams.insert(conn, Upstream::default());
        self.replication.has_changed();
        true
    }

    fn is_for_links(&self, listener: ListenerId) -> bool {
        self.replication.listeners.contains(&listener)
    }

    /// Whether a connection is a client's.
    pub(crate) fn is_client(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// Whether a connection is a link, or is about to be one.
    pub(crate) fn is_link(&self, conn: ConnId) -> bool {
        self.replication.upstreams.contains_key(&conn) || self.destination_at(conn).is_some()
    }

    pub(super) fn destination_name(&self, index: usize) -> Option<String> {
        self.replication.destinations.get(index).map(|destination| destination.config.name.clone())
    }

    fn destination_at(&self, conn: ConnId) -> Option<usize> {
        self.replication.destinations.iter().position(|destination| destination.conn() == Some(conn))
    }

    /// A link is gone, or could not be made.
    pub(super) fn link_closed<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        self.replication.has_changed();
        if let Some(index) = self.destination_at(conn) {
            self.lose(now, index);
        } else if let Some(upstream) = self.replication.upstreams.remove(&conn) {
            self.forget_upstream(&upstream);
        }
        self.settle(now, sink);
    }

    /// A connection that was asked for is there.
    pub(super) fn link_connected<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        match self.destination_at(conn) {
            Some(index) => self.greet(now, index, sink),
            None => sink.close(conn, CloseMode::Abort),
        }
    }

    /// Takes all whole frames of a link.
    pub(super) fn receive_on_link<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        bytes: &mut BytesMut,
        sink: &mut S,
    ) {
        while self.is_link(conn) {
            let total = match next_frame(bytes, MAX_FRAME) {
                Ok(Some(total)) => total,
                Ok(None) => break,
                Err(_) => {
                    self.drop_link(now, conn, sink);
                    break;
                }
            };
            let frame = bytes.get(LENGTH_PREFIX..total).unwrap_or_default();
            let frame = Message::decode(frame).ok().and_then(|message| Frame::read(&message));
            bytes.advance(total);
            self.replication.has_changed();
            match (frame, self.destination_at(conn)) {
                (None, _) => self.drop_link(now, conn, sink),
                (Some(frame), Some(index)) => self.take_answer(now, index, frame, sink),
                (Some(frame), None) => self.take_from_upstream(now, conn, frame, sink),
            }
            self.settle(now, sink);
        }
        self.confirm_to_upstreams(sink);
    }

    /// Ends a link whose other side says what cannot be understood.
    fn drop_link<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        sink.close(conn, CloseMode::Abort);
        self.link_closed(now, conn, sink);
    }

    /// Sends what can be sent, and lets the log know what is durable.
    pub(super) fn replicate<S: Sink>(&mut self, now: Time, sink: &mut S) {
        for index in 0..self.replication.destinations.len() {
            self.pump(now, index, Permit::Normal, sink);
        }
        let horizon = self.replication.horizon();
        if self.log.confirmed() != horizon {
            self.log.confirm(horizon);
            self.confirm(now, sink);
        }
    }

    /// Sends a frame on a link.
    fn send_on_link<S: Sink>(&mut self, conn: ConnId, frame: &Frame, sink: &mut S) -> bool {
        let sent = frame.write(&mut self.out);
        if sent {
            sink.send(conn, &self.out);
        }
        self.out.clear();
        self.replication.has_changed();
        sent
    }
}
