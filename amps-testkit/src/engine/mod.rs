//! The engine: a whole AMPS server as a pure state machine.
//!
//! Everything it knows comes in as bytes and as the time, everything it wants goes into a
//! [`Sink`]; equal inputs give equal outputs. Reading order:
//!
//! * `config`, `switches`, `reasons`: what can be set;
//! * `connection` takes frames apart and hands commands to `logon`, `heartbeat`,
//!   `subscription`, `publish` and `acknowledge`;
//! * `topic`, `selector` (with the language of [`filter`]), `txlog`: what those work with;
//! * `replay` are the subscriptions that follow the log; `log_record` is how the log leaves the
//!   engine, and how a new engine gets it back;
//! * `queue` is one queue, `delivery` decides who gets what from it;
//! * `replication` joins the engine with others of its kind;
//! * `reply` is the way out, `timers` the only notion of "later";
//! * `event`, `snapshot` and `inspect` are how tests look inside; `outside` is what they publish and
//!   put in place, `chance` what is drawn where a server may do one thing or another.
//!
//! Invariant: after every input, no message is available that somebody with room and a
//! matching filter could have had (`settle`).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod acknowledge;
mod action;
mod audience;
mod chance;
mod config;
mod conflation;
mod connection;
mod delivery;
mod entitlement;
mod event;
mod fan_out;
pub mod filter;
mod format;
mod heartbeat;
mod inspect;
mod lint;
mod log_record;
mod logon;
mod next_timer;
mod outside;
mod overview;
mod publish;
mod queue;
mod reasons;
mod record_codec;
mod replay;
mod replication;
mod reply;
mod request;
mod scripted;
mod selector;
mod slow;
mod snapshot;
mod sow;
mod status;
mod subscription;
mod switches;
mod timers;
mod topic;
mod txlog;

use std::collections::{BTreeMap, BTreeSet};

use amps_transport::{CloseMode, ConnId, Input, ListenerId, Machine, Sink, Time};
use bytes::BytesMut;

pub use amps_protocol::MessageId;
pub use config::*;
pub use event::{Disconnect, Event, Observe};
pub use inspect::{PublisherSequence, ReplaySnapshot, SowRecord, TopicSnapshot};
pub use lint::{Lint, Noted};
pub use log_record::{LogCut, LogRecord, LoggedMessage};
pub(crate) use outside::SeedKind;
pub use outside::{NotPublished, PublishOptions, Published, SeedError, SeedMessage};
pub(crate) use overview::{
    ConnectionRow, Excerpt, LeaseRow, LogRow, Part, QueueRow, SubscriptionRow, TopicRow, TopicsPart, cut,
};
pub use queue::{ExpiryReason, QueueCounters};
pub use reasons::{Reason, Reasons};
pub(crate) use record_codec::{RecordTooLong, is_record_kind, put_record, read_record};
pub(crate) use replication::{Exchange, Exchanges};
pub use replication::{LinkChange, LinkSnapshot, LinkState};
pub use snapshot::{ConnectionSnapshot, Counters, QueueSnapshot, QueuedMessage, SubscriptionSnapshot};
pub use switches::{
    AfterEnd, DeltaNull, DuplicateAck, LeaseHeader, MaxCancels, NanComparison, NullLogic, PageOrder,
    PublishCommand, QueueTopic, ReturnPosition, SowTimestamp, Switches, UnknownOptions, UnloggedBookmark,
    Unordered, UntypedCompare,
};

use action::Actions;
use connection::Connection;
use queue::Queue;
use replay::{Replays, WaitingAck};
use replication::Replication;
use slow::Slowness;
use sow::{Derived, Table, Watchers, derive};
use subscription::{SubKey, Subscription};
use timers::{Timer, Timers};
use topic::{MessageTypes, Routes};
use txlog::TxLog;
pub use txlog::Via;

/// Whose connections are dropped.
#[derive(Clone, Debug)]
pub(crate) enum Dropped {
    /// Those of a client, by its name.
    Client(String),
    /// One, by its number in the order of arrival.
    Connection(u64),
    Everybody,
}

/// A whole server, without sockets, threads or clock.
///
/// It is an [`amps_transport::Machine`], so an event loop can serve it, and so can a
/// simulation.
pub struct Engine {
    config: Config,
    /// What its expressions are written in.
    language: filter::Language,
    types: MessageTypes,
    /// What is different about each transport.
    listeners: BTreeMap<ListenerId, TransportConfig>,
    /// Whether any client may be too slow.
    slowness: Slowness,
    connections: BTreeMap<ConnId, Connection>,
    subscriptions: BTreeMap<SubKey, Subscription>,
    routes: Routes,
    log: TxLog,
    /// The links to other instances.
    replication: Replication,
    /// The subscriptions that follow the log.
    replays: Replays,
    /// Publishers whose `persisted` ack waits until the log is durable.
    unconfirmed: BTreeSet<ConnId>,
    /// Single acks that wait for the same.
    waiting_acks: Vec<WaitingAck>,
    /// Topics with a state of the world, in the order of the configuration.
    sow: Vec<Table>,
    /// Views and conflated topics.
    derived: Vec<Derived>,
    /// Subscriptions that are windows or aggregated, by what they look at.
    watchers: Watchers,
    /// Subscriptions that are conflated while their clients are behind.
    automatic: BTreeSet<SubKey>,
    queues: Vec<Queue>,
    /// Queues in which something may be deliverable.
    dirty: BTreeSet<usize>,
    actions: Actions,
    timers: Timers,
    /// What scripted faults have left to do.
    scripted: scripted::Scripted,
    /// Where the next frame is encoded; empty between frames.
    out: BytesMut,
    observe: Observe,
    events: Vec<(Time, Event)>,
    /// Events of clients that are published when the step is over.
    reports: Vec<(topic::TypeId, Vec<u8>)>,
    /// Commands that failed.
    refusals: u64,
    /// Whether what no entitlement permits is refused.
    restricted: bool,
    accepted: u64,
    next_sub: u64,
    generated_ids: u64,
    server_sequence: u64,
    published: u64,
    delivered: u64,
}

impl Engine {
    /// An engine without connections.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        if let Some((function, fault)) = config.functions.unusable() {
            return Err(ConfigError::Function { function: function.to_owned(), fault });
        }
        let language = config.language();
        let mut types = MessageTypes::default();
        config.message_types.iter().for_each(|message_type| types.define(message_type));
        let mut log = TxLog::new(&config.log, &mut types, config.log_flush_interval.is_zero())?;
        let replication = Replication::new(&config, &mut types, &log)?;
        log.confirm(replication.horizon());
        let mut sow: Vec<Table> = Vec::new();
        for topic in &config.sow {
            let message_type = types.id(&topic.message_type);
            let format = types.format(message_type).clone();
            if sow.iter().any(|other| *other.name == *topic.name && other.message_type == message_type) {
                return Err(ConfigError::TopicTwice { topic: topic.name.clone() });
            }
            sow.push(Table::new(topic, message_type, format, &language)?);
        }
        entitlement::check(&config.entitlements, &language)?;
        let mut queues: Vec<Queue> = Vec::new();
        for queue in &config.queues {
            let queue = {
                let message_type = types.id(&queue.message_type);
                let format = types.format(message_type).clone();
                Queue::new(queue.clone(), message_type, format, &config.switches, &language)?
            };
            if queues.iter().any(|other| other.name == queue.name && other.message_type == queue.message_type)
            {
                return Err(ConfigError::QueueTwice { queue: queue.name.to_string() });
            }
            let topic = queue.underlying.text();
            if !log.exists() || (queue.underlying.is_literal() && !log.covers(queue.message_type, topic)) {
                let other = log.covers_any(topic).then(|| types.name(queue.message_type).to_owned());
                return Err(ConfigError::NotLogged {
                    queue: queue.name.to_string(),
                    topic: topic.to_owned(),
                    message_type: other,
                });
            }
            queues.push(queue);
        }
        let derived = derive(&config, &mut types, &mut sow, &mut queues)?;
        let actions = Actions::new(&config, &mut types)?;
        let restricted = config.closed || !config.entitlements.is_empty();
        let slowness = Slowness::of(&config.slow_clients);
        let scripted = scripted::Scripted::new(&config);
        Ok(Self {
            config,
            language,
            types,
            listeners: BTreeMap::new(),
            slowness,
            connections: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            routes: Routes::default(),
            log,
            replication,
            replays: Replays::default(),
            unconfirmed: BTreeSet::new(),
            waiting_acks: Vec::new(),
            sow,
            derived,
            watchers: Watchers::default(),
            automatic: BTreeSet::new(),
            queues,
            dirty: BTreeSet::new(),
            actions,
            timers: Timers::default(),
            scripted,
            out: BytesMut::new(),
            observe: Observe::default(),
            events: Vec::new(),
            reports: Vec::new(),
            refusals: 0,
            restricted,
            accepted: 0,
            next_sub: 0,
            generated_ids: 0,
            server_sequence: 0,
            published: 0,
            delivered: 0,
        })
    }

    /// What the engine was told.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// How much is reported as events. Default [`Observe::Commands`]: whoever sets up an
    /// engine that reports has to take the events now and then.
    pub fn set_observe(&mut self, observe: Observe) {
        self.observe = observe;
    }

    /// Takes the events since the last call, with the time of each.
    pub fn take_events(&mut self) -> Vec<(Time, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Binds a listener to one message type. Others take any, which the logon has to name.
    pub fn set_listener_type(&mut self, listener: ListenerId, message_type: impl Into<String>) {
        let message_type = message_type.into();
        self.types.id(&message_type);
        self.listeners.entry(listener).or_default().message_type = Some(message_type);
    }

    /// Says what is different about the connections of a listener. What it says of a name and of
    /// the start means nothing here.
    ///
    /// # Errors
    /// An entitlement does not parse; nothing was changed.
    pub fn set_transport(
        &mut self,
        listener: ListenerId,
        transport: TransportConfig,
    ) -> Result<(), ConfigError> {
        transport.check(&self.language)?;
        self.slowness.join(&transport.limits.within(&self.config.slow_clients));
        if let Some(message_type) = &transport.message_type {
            self.types.id(message_type);
        }
        self.listeners.insert(listener, transport);
        Ok(())
    }

    /// What is different about the transport that a connection came in by.
    fn transport(&self, conn: ConnId) -> Option<&TransportConfig> {
        self.connections.get(&conn).and_then(|connection| self.listeners.get(&connection.listener))
    }

    /// Ends every connection of a client name; returns whether there was one.
    pub fn drop_client<S: Sink>(&mut self, now: Time, client: &str, mode: CloseMode, sink: &mut S) -> bool {
        self.drop_connections(now, &Dropped::Client(client.to_owned()), mode, sink) > 0
    }

    /// Ends connections, those of a client name or others; returns how many there were.
    pub(crate) fn drop_connections<S: Sink>(
        &mut self,
        now: Time,
        which: &Dropped,
        mode: CloseMode,
        sink: &mut S,
    ) -> usize {
        let doomed: Vec<ConnId> = match which {
            Dropped::Client(name) => self.clients_named(name).collect(),
            Dropped::Connection(index) => {
                let found = self.connections.iter().find(|(_, connection)| connection.index == *index);
                found.map(|(conn, _)| *conn).into_iter().collect()
            }
            Dropped::Everybody => self.connections.keys().copied().collect(),
        };
        for &conn in &doomed {
            self.close(now, conn, Disconnect::Dropped, mode, sink);
        }
        self.settle(now, sink);
        doomed.len()
    }

    /// Gives a user other rights in place of the own ones, and ends the user's connections
    /// (ENT-05): rights are looked up when somebody logs on. The user `*` is everybody: then
    /// every connection ends; else what everybody may do stays. From then on what no entitlement
    /// permits is refused.
    ///
    /// # Errors
    /// One of them does not parse, or is of another user; nothing was changed.
    pub fn reset_entitlements<S: Sink>(
        &mut self,
        now: Time,
        user: &str,
        entitlements: Vec<Entitlement>,
        sink: &mut S,
    ) -> Result<(), ConfigError> {
        entitlement::check(&entitlements, &self.language)?;
        if let Some(other) = entitlements.iter().find(|entitlement| entitlement.user != user) {
            let fault = format!("it is not of the user \"{user}\", whose rights are to change");
            let (user, topic) = (other.user.clone(), other.topic.clone());
            return Err(ConfigError::Entitlement { user, topic, fault });
        }
        self.restricted = true;
        self.config.entitlements.retain(|entitlement| entitlement.user != user);
        self.config.entitlements.extend(entitlements);
        let of_user = |connection: &Connection| {
            let identity = connection.identity.as_ref();
            identity.is_some_and(|identity| user == entitlement::EVERYBODY || *identity.user == *user)
        };
        let connections = self.connections.iter().filter(|(_, connection)| of_user(connection));
        for conn in connections.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.close(now, conn, Disconnect::EntitlementReset, CloseMode::Flush, sink);
        }
        self.settle(now, sink);
        Ok(())
    }

    /// Ends every connection and forgets every message, sequence number and lease.
    pub fn restart_empty<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let kept = self.log.records_changes();
        self.begin_anew(now, sink);
        if kept {
            self.log.record_reset();
        }
    }

    /// Becomes a server with this configuration that nobody has ever talked to; listeners stay.
    /// Whoever calls it has ended the connections of clients, of which nothing is said any more.
    ///
    /// # Errors
    /// The configuration contradicts itself; nothing was changed.
    pub(crate) fn reset<S: Sink>(&mut self, config: Config, sink: &mut S) -> Result<(), ConfigError> {
        let kept = self.log.records_changes();
        let fresh = Self::new(config)?;
        self.close_links(CloseMode::Abort, sink);
        let old = std::mem::replace(self, fresh);
        (self.observe, self.listeners, self.slowness) = (old.observe, old.listeners, old.slowness);
        for message_type in self.listeners.values().filter_map(|listener| listener.message_type.as_ref()) {
            self.types.id(message_type);
        }
        self.replication.take_over_places(old.replication);
        if kept {
            self.log.record_reset();
        }
        Ok(())
    }

    /// Sends the `persisted` acks that are due, and ends every connection.
    pub fn stop<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let connections: Vec<_> = self.connections.keys().copied().collect();
        for conn in connections {
            self.flush_conflated(now, conn, sink);
            let mode = if sink.unsent(conn) == 0 { CloseMode::Abort } else { CloseMode::Flush };
            self.close(now, conn, Disconnect::Dropped, mode, sink);
        }
    }

    /// Stops or resumes reading from a client's connections; returns whether there was one.
    pub fn stall_reads<S: Sink>(&mut self, client: &str, stalled: bool, sink: &mut S) -> bool {
        let mut found = false;
        for conn in self.clients_named(client) {
            sink.set_reading(conn, !stalled);
            found = true;
        }
        found
    }

    fn clients_named(&self, client: &str) -> impl Iterator<Item = ConnId> {
        let named = self.connections.iter().filter(move |(_, c)| c.is_ready() && *c.client_name == *client);
        named.map(|(conn, _)| *conn)
    }

    /// When the clock next matters. The other reasons for an [`Input::Timer`] are
    /// [`replay_deadline`](Self::replay_deadline) and [`links_deadline`](Self::links_deadline).
    pub fn clock_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn run_timers<S: Sink>(&mut self, now: Time, sink: &mut S) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Queue(queue) => self.queue_timer(now, queue),
                Timer::Sow(table) => self.sow_timer(now, table, sink),
                Timer::Derived(index) => self.derived_timer(now, index, sink),
                Timer::Conflation(key) if self.is_paused(key) => {}
                Timer::Conflation(key) => self.release(now, key, sink),
                Timer::Persisted(conn) => self.send_conflated(now, conn, sink),
                Timer::Silence(conn) => self.close(now, conn, Disconnect::Heartbeat, CloseMode::Flush, sink),
                Timer::Beat(conn) => self.beat(now, conn, sink),
                Timer::Action(index) => self.action_timer(now, index),
                Timer::Statistics => self.publish_statistics(now, sink),
                Timer::LogWrite => self.log_is_written(now, sink),
                Timer::Replay(stream) => self.step(now, stream, sink),
                Timer::Slow(conn) => self.age_timer(now, conn, sink),
                Timer::Durable(conn) => self.tell_what_is_durable(now, conn, sink),
                Timer::Replicate(index) => self.replication_timer(now, index, sink),
                Timer::Transfer(queue) => _ = self.dirty.insert(queue),
            }
            self.settle(now, sink);
        }
    }
}

impl Machine for Engine {
    type Note = ();

    fn handle<S: Sink>(&mut self, now: Time, input: Input<'_, ()>, sink: &mut S) {
        self.close_slow(now, sink);
        self.arm_statistics(now);
        self.arm_actions(now);
        match input {
            Input::Accepted { conn, listener, peer } => {
                if !self.accept_link(conn, listener, sink) {
                    self.accept(now, conn, listener, peer);
                }
                self.settle(now, sink);
            }
            Input::Received { conn, bytes } if self.is_link(conn) => {
                self.receive_on_link(now, conn, bytes, sink);
            }
            Input::Received { conn, bytes } => self.receive(now, conn, bytes, sink),
            Input::Connected { conn, .. } => self.link_connected(now, conn, sink),
            Input::ConnectFailed { conn, .. } => self.link_closed(now, conn, sink),
            Input::Closed { conn, .. } if self.is_link(conn) => self.link_closed(now, conn, sink),
            Input::Closed { conn, .. } => {
                self.forget(now, conn, Disconnect::ConnectionClosed);
                self.settle(now, sink);
            }
            Input::Timer => {
                self.run_timers(now, sink);
                if self.links_deadline().is_some_and(|at| at <= now) {
                    self.connect_due_links(now, sink);
                }
                if self.replay_deadline().is_some_and(|at| at <= now) {
                    self.continue_replays(now, sink);
                }
            }
            Input::Writable { .. } => self.continue_replays(now, sink),
            Input::Note(()) => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        let others = [self.replay_deadline(), self.links_deadline()];
        self.clock_deadline().into_iter().chain(others.into_iter().flatten()).min()
    }
}
