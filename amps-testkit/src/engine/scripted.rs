//! What a scripted fault makes the engine say or do (server.md 8.3).
//!
//! Owns the answers that are given in the engine's stead, so that they leave by the same way as
//! its own, and the two things that it has to know itself. No command is carried out here.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, Field, Message, Status};
use amps_transport::{CloseMode, ConnId, ListenerId, Sink, Time};

use super::Engine;
use super::chance::Chance;
use super::config::Config;
use super::connection::Connection;
use super::event::Disconnect;
use super::reasons::Reason;
use super::reply::AckFrame;
use super::subscription::field_text;
use super::topic::{TopicPattern, TypeId};
use super::txlog::{Item, Position};

/// What faults have left for the engine to do.
#[derive(Debug, Default)]
pub(super) struct Scripted {
    /// So many messages more in the replay that begins next.
    rewind: u64,
    leases: BTreeMap<ConnId, VecDeque<Duration>>,
    /// The client names of publishers whose sequence numbers were set.
    publishers: BTreeMap<u64, String>,
    chance: Chance,
}

impl Scripted {
    pub(super) fn new(config: &Config) -> Self {
        Self { chance: Chance::new(config), ..Self::default() }
    }

    pub(super) fn name_publisher(&mut self, publisher: u64, client: &str) {
        self.publishers.insert(publisher, client.to_owned());
    }

    pub(super) fn publishers(&self) -> impl Iterator<Item = (u64, String)> + '_ {
        self.publishers.iter().map(|(&publisher, client)| (publisher, client.clone()))
    }

    pub(super) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }
}

impl Engine {
    pub(crate) fn connection_index(&self, conn: ConnId) -> Option<u64> {
        self.connections.get(&conn).map(|connection| connection.index)
    }

    /// The name of a client that has logged on.
    pub(crate) fn client_name(&self, conn: ConnId) -> Option<Arc<str>> {
        let connection = self.connections.get(&conn).filter(|connection| connection.is_ready())?;
        Some(Arc::clone(&connection.client_name))
    }

    pub(crate) fn client_names(&self) -> Vec<(ConnId, Arc<str>)> {
        self.connections.keys().filter_map(|&conn| Some((conn, self.client_name(conn)?))).collect()
    }

    /// Ends one connection, as a test does it.
    pub(crate) fn drop_connection<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        mode: CloseMode,
        sink: &mut S,
    ) {
        self.close(now, conn, Disconnect::Dropped, mode, sink);
        self.settle(now, sink);
    }

    /// Ends the connections that came in by a listener.
    pub(crate) fn drop_listener<S: Sink>(&mut self, now: Time, listener: ListenerId, sink: &mut S) {
        let from = |(_, connection): &(&ConnId, &Connection)| connection.listener == listener;
        let conns: Vec<ConnId> = self.connections.iter().filter(from).map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.close(now, conn, Disconnect::Dropped, CloseMode::Flush, sink);
        }
        self.settle(now, sink);
    }

    /// A command that nobody carries out is journalled all the same.
    pub(crate) fn overlook(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>) {
        self.observe_command(now, conn, message);
    }

    /// Refuses a logon with a reason of choice, or without one as if the name were another user's.
    pub(crate) fn refuse_logon<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        choice: Option<(&str, bool)>,
        sink: &mut S,
    ) {
        self.observe_command(now, conn, message);
        let name_in_use = self.config.reasons.text(Reason::NameInUse).to_owned();
        let (reason, close) = choice.unwrap_or((&name_in_use, true));
        let ack = AckFrame { status: Status::Failure, reason: Some(reason), ..AckFrame::new() };
        self.acknowledge(now, conn, message, ack, sink);
        if close {
            let recorded = if choice.is_none() { Disconnect::NameInUse } else { Disconnect::Auth };
            self.close(now, conn, recorded, CloseMode::Flush, sink);
            self.settle(now, sink);
        }
    }

    /// Answers a logon with a challenge.
    pub(crate) fn challenge_logon<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        challenge: &str,
        sink: &mut S,
    ) {
        self.observe_command(now, conn, message);
        let user = field_text(message, Field::UserId);
        let ack = AckFrame {
            user: Some(&user),
            password: Some(challenge),
            status: Status::Retry,
            ..AckFrame::new()
        };
        self.acknowledge(now, conn, message, ack, sink);
    }

    /// Fails a command that is not carried out (ACK-07, PUB-24). `seen`: its sequence number
    /// counts as that of any publish that fails.
    pub(crate) fn fail_command<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        reason: &str,
        seen: bool,
        sink: &mut S,
    ) {
        self.observe_command(now, conn, message);
        let sequence = message.sequence().filter(|&sequence| sequence > 0);
        let ack = AckFrame { status: Status::Failure, reason: Some(reason), ..AckFrame::new() };
        self.acknowledge(now, conn, message, ack, sink);
        if sequence.is_some() && message.acks().contains(AckType::Persisted) {
            self.flush_conflated(now, conn, sink);
            self.acknowledge_as(now, conn, message, AckType::Persisted, AckFrame { sequence, ..ack }, sink);
        }
        if let (Some(sequence), true) = (sequence, seen && self.config.switches.failed_advances) {
            let hash = self.connections.get(&conn).and_then(|connection| connection.identity.as_ref());
            if let Some(hash) = hash.map(|identity| identity.hash) {
                self.log.advance(hash, sequence);
            }
        }
    }

    // --- What the engine has to know ------------------------------------------------------

    /// Replays begin so many messages earlier than they are asked to, until told otherwise.
    pub(crate) fn rewind_next_replay(&mut self, messages: u64) {
        self.scripted.rewind = messages;
    }

    /// A place in the log, or one so many messages of these topics before it.
    pub(super) fn rewound(
        &self,
        start: Position,
        topics: &[TopicPattern],
        message_type: TypeId,
    ) -> Option<Position> {
        let count = usize::try_from(self.scripted.rewind).ok().filter(|count| *count > 0)?;
        let wanted = |position: &Position| match self.log.get(*position) {
            Some(Item::Message(entry)) => {
                entry.message_type == message_type && topics.iter().any(|topic| topic.matches(&entry.topic))
            }
            _ => false,
        };
        let earlier = (self.log.first()..start).rev().filter(wanted);
        Some(earlier.take(count).last().unwrap_or(start))
    }

    /// The next lease of a connection lasts this long.
    pub(crate) fn shorten_next_lease(&mut self, conn: ConnId, lease: Duration) {
        if self.connections.contains_key(&conn) {
            self.scripted.leases.entry(conn).or_default().push_back(lease);
        }
    }

    /// When a lease that begins now ends, if a fault says so.
    pub(super) fn scripted_lease(&mut self, now: Time, conn: ConnId) -> Option<Time> {
        if self.scripted.leases.is_empty() {
            return None;
        }
        let leases = self.scripted.leases.get_mut(&conn)?;
        let lease = leases.pop_front();
        if leases.is_empty() {
            self.scripted.leases.remove(&conn);
        }
        lease.map(|lease| now + lease)
    }

    /// A connection is gone.
    pub(super) fn forget_script(&mut self, conn: ConnId) {
        self.scripted.leases.remove(&conn);
    }
}
