//! Connections: accepting, cutting frames, handing out commands, ending (server.md 1).
//!
//! Owns the state of a connection. Invariant: a connection that is not in the table gets no
//! frame and holds no subscription, lease or timer.
//!
//! ```text
//! Accepted ──logon──▶ Ready ──▶ (gone)
//!     └──refused, or another command──▶ (gone)
//! ```
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, CommandKind, LENGTH_PREFIX, Message, next_frame};
use amps_transport::{CloseMode, ConnId, ListenerId, Sink, Time};
use bytes::{Buf, BytesMut};

use super::Engine;
use super::entitlement::Rights;
use super::event::{Disconnect, Event, Observe};
use super::reasons::Reason;
use super::reply::AckFrame;
use super::slow::Waiting;
use super::status::{About, is_reported};
use super::subscription::SubKey;
use super::timers::Timer;
use super::topic::TypeId;

#[derive(Debug)]
pub(crate) struct Connection {
    /// Counted from 0 in the order of arrival.
    pub(crate) index: u64,
    pub(crate) listener: ListenerId,
    pub(crate) peer: Option<SocketAddr>,
    /// When it came.
    pub(crate) since: Time,
    /// Frames that came from it, and that it was sent.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Set by the logon; what follows means nothing before.
    pub(crate) identity: Option<Identity>,
    /// Challenges that it was sent.
    pub(crate) challenged: usize,
    /// What it may do; `None` if nobody is restricted.
    pub(crate) rights: Option<Arc<Rights>>,
    pub(crate) client_name: Arc<str>,
    pub(crate) message_type: TypeId,
    pub(crate) subscriptions: BTreeMap<Arc<str>, SubKey>,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) last_sent: Time,
    /// Its last publish had a sequence number.
    pub(crate) sequenced: bool,
    /// Empty unless there is a limit of age.
    pub(crate) waiting: Waiting,
    pub(crate) ack_conflation: Duration,
    /// The sequence number of the last conflated `persisted` ack.
    pub(crate) acknowledged: u64,
}

/// Who logged on.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Empty if nobody was authenticated.
    pub(crate) user: Arc<str>,
    /// The first part of the client's bookmarks.
    pub(crate) hash: u64,
    /// The same for publishes without sequence number (BMK-02).
    pub(crate) server_hash: u64,
}

impl Connection {
    pub(crate) const fn is_ready(&self) -> bool {
        self.identity.is_some()
    }
}

impl Engine {
    pub(super) fn accept(&mut self, now: Time, conn: ConnId, listener: ListenerId, peer: Option<SocketAddr>) {
        let index = self.accepted;
        self.accepted += 1;
        let connection = Connection {
            index,
            listener,
            peer,
            since: now,
            received: 0,
            sent: 0,
            identity: None,
            challenged: 0,
            rights: None,
            client_name: "".into(),
            message_type: TypeId(usize::MAX),
            subscriptions: BTreeMap::new(),
            heartbeat: None,
            last_sent: now,
            sequenced: false,
            waiting: Waiting::default(),
            ack_conflation: self.config.ack_conflation,
            acknowledged: 0,
        };
        self.connections.insert(conn, connection);
        if self.observe != Observe::Nothing {
            self.events.push((now, Event::Accepted { conn, index, peer }));
        }
        self.report(now, conn, "connect", About::default());
    }

    /// Takes all whole frames from the front of `bytes`.
    pub(super) fn receive<S: Sink>(&mut self, now: Time, conn: ConnId, bytes: &mut BytesMut, sink: &mut S) {
        if self.connections.get(&conn).is_some_and(|connection| connection.heartbeat.is_some())
            && !self.config.switches.heartbeat_only_beat
        {
            self.lint_silence(now, conn);
            self.timers.set(Timer::Silence(conn), None);
        }
        while self.connections.contains_key(&conn) {
            let total = match next_frame(bytes, self.config.max_frame) {
                Ok(Some(total)) => total,
                Ok(None) => return,
                Err(_) => {
                    self.close(now, conn, Disconnect::UnknownCommand, CloseMode::Flush, sink);
                    break;
                }
            };
            if total > LENGTH_PREFIX {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.received += 1;
                }
                match Message::decode(&bytes[LENGTH_PREFIX..total]) {
                    Ok(message) => self.take_command(now, conn, &message, sink),
                    Err(_) => self.close(now, conn, Disconnect::UnknownCommand, CloseMode::Flush, sink),
                }
                self.settle(now, sink);
            }
            bytes.advance(total);
        }
        self.settle(now, sink);
        // Nobody reads the rest of a connection that was closed.
        bytes.clear();
    }

    fn take_command<S: Sink>(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>, sink: &mut S) {
        self.observe_command(now, conn, message);
        self.lint(now, conn, message);
        let command = message.command();
        let ready = self.connections.get(&conn).is_some_and(Connection::is_ready);
        let needs_logon =
            !matches!(command, CommandKind::Logon | CommandKind::Missing | CommandKind::Unknown);
        if !ready && needs_logon {
            if let Err(refused) = self.admit_without_logon(now, conn) {
                return self.demand_logon(now, conn, message, refused, sink);
            }
        }
        if message.acks().contains(AckType::Received) && is_known(command) {
            let sequence = message.sequence();
            let ack = AckFrame { sequence, ..AckFrame::new() };
            self.acknowledge_as(now, conn, message, AckType::Received, ack, sink);
        }
        let refusals = self.refusals;
        match command {
            CommandKind::Logon => self.logon(now, conn, message, sink),
            CommandKind::Publish | CommandKind::DeltaPublish => {
                self.publish_command(now, conn, message, sink);
            }
            CommandKind::Subscribe | CommandKind::DeltaSubscribe => self.subscribe(now, conn, message, sink),
            CommandKind::Unsubscribe => self.unsubscribe(now, conn, message, sink),
            CommandKind::SowDelete => self.sow_delete(now, conn, message, sink),
            CommandKind::Flush => self.flush(now, conn, message, sink),
            CommandKind::Heartbeat => self.heartbeat(now, conn, message, sink),
            CommandKind::Ack if self.config.switches.accept_client_ack => {
                self.sow_delete(now, conn, message, sink);
            }
            CommandKind::Sow => self.sow_command(now, conn, message, sink),
            CommandKind::SowAndSubscribe | CommandKind::SowAndDeltaSubscribe => {
                self.sow_and_subscribe(now, conn, message, sink);
            }
            _ => self.break_off(now, conn, message, sink),
        }
        if is_reported(command) && self.refusals == refusals {
            self.report(now, conn, command.token(), About { command: Some(message), ..About::default() });
        }
    }

    pub(super) fn observe_command(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>) {
        let wanted = match self.observe {
            Observe::Nothing => false,
            Observe::Commands => message.command() != CommandKind::Publish,
            Observe::All => true,
        };
        if wanted {
            self.events.push((now, Event::Received { conn, message: message.to_owned() }));
        }
    }

    /// A command that the server does not know ends the connection (CONN-50).
    fn break_off<S: Sink>(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>, sink: &mut S) {
        if message.command() != CommandKind::Missing {
            self.refuse(now, conn, message, Reason::UnknownCommand.into(), sink);
        }
        self.close(now, conn, Disconnect::UnknownCommand, CloseMode::Flush, sink);
    }

    /// Ends a connection from this side.
    pub(super) fn close<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        reason: Disconnect,
        mode: CloseMode,
        sink: &mut S,
    ) {
        if self.forget(now, conn, reason) {
            sink.close(conn, mode);
        }
    }

    /// Forgets a connection and returns what it held (CONN-81); `false` if it is unknown.
    pub(super) fn forget(&mut self, now: Time, conn: ConnId, reason: Disconnect) -> bool {
        let Some(connection) = self.connections.get(&conn) else { return false };
        let mut subscriptions: Vec<SubKey> = connection.subscriptions.values().copied().collect();
        subscriptions.sort_unstable();
        let text = reason.to_string();
        self.report(now, conn, "disconnect", About { reason: Some(&text), ..About::default() });
        for key in subscriptions {
            self.end_subscription(now, key);
        }
        self.connections.remove(&conn);
        self.unconfirmed.remove(&conn);
        self.waiting_acks.retain(|ack| ack.conn != conn);
        self.forget_script(conn);
        let timers = [Timer::Persisted, Timer::Silence, Timer::Beat, Timer::Durable, Timer::Slow];
        for timer in timers.map(|timer| timer(conn)) {
            self.timers.set(timer, None);
        }
        if self.observe != Observe::Nothing {
            self.events.push((now, Event::Closed { conn, reason }));
        }
        true
    }
}

const fn is_known(command: CommandKind) -> bool {
    !matches!(
        command,
        CommandKind::Missing
            | CommandKind::Unknown
            | CommandKind::Ack
            | CommandKind::GroupBegin
            | CommandKind::GroupEnd
            | CommandKind::Oof
            | CommandKind::StartTimer
            | CommandKind::StopTimer
    )
}
