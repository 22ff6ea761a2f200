//! The half of a session that belongs to the event loop.
//!
//! Owns the connection's life (see the picture in the parent module), decoding, routing and
//! the timers. It never blocks, and calls the application only through [`App`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{
    AckType, CommandKind, Endpoint, Field, FrameWriter, IpPreference, Message, Options, ReasonClass, Scheme,
    Status, next_frame,
};
use amps_transport::{AddressFamily, CloseMode, ConnId, Input, Machine, Sink, SocketOptions, Target, Time};
use bytes::BytesMut;

use super::acks::AckOption;
use super::app::{App, Delivery, Disposition};
use super::drain::Drain;
use super::heartbeat::{Heartbeat, HeartbeatSettings, Pulse};
use super::outbound::{Effect, Generation, Lease};
use super::routes::Routes;
use super::servers::{NextAttempt, Servers};
use super::shared::Shared;
use super::subscription::SubKey;
use super::waiter::{Done, Waiter};
use crate::error::{DisconnectCause, Error, Result};
use crate::listener::ConnectionState;
use crate::reconnect::{Reconnect, Rng};

/// Logons sent on one connection before a server that keeps challenging is given up.
const MAX_LOGONS: u32 = 4;

/// A connection that held this long after its logon counts as stable.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// What a session is told once.
#[derive(Clone, Debug)]
pub(crate) struct SessionConfig {
    pub(crate) name: String,
    pub(crate) servers: Vec<Endpoint>,
    pub(crate) reconnect: Option<Reconnect>,
    pub(crate) heartbeat: Option<HeartbeatSettings>,
    pub(crate) connect_timeout: Duration,
    pub(crate) logon_timeout: Duration,
    /// How long the first `connect` may take, all attempts together.
    pub(crate) connect_deadline: Duration,
    pub(crate) max_inbound: usize,
    pub(crate) seed: u64,
}

/// What other threads ask of the session.
#[derive(Debug)]
pub(crate) enum Note {
    /// Connect and log on; to other servers than configured, if given.
    Connect {
        /// Replaces the configured servers.
        servers: Option<Vec<Endpoint>>,
        /// Told when the logon succeeded, or nothing more will be tried.
        waiter: Arc<Waiter>,
    },
    /// Close in an orderly way within a time.
    Close {
        /// For everything together.
        within: Duration,
        /// Told when it is done.
        waiter: Arc<Waiter>,
    },
    /// Close at once.
    Abort {
        /// Told when it is done.
        waiter: Arc<Waiter>,
    },
    /// Something changed in the outbound half.
    Wake,
    /// Nobody uses the client any more: send what waits, then go.
    Shutdown,
}

#[derive(Debug)]
enum State {
    Idle,
    Backoff { until: Time },
    Connecting { conn: ConnId },
    LoggingOn { conn: ConnId, cid: String, attempts: u32, until: Time },
    Online { conn: ConnId, since: Time, stable: bool },
}

impl State {
    fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Idle | Self::Backoff { .. } => None,
            Self::Connecting { conn } | Self::LoggingOn { conn, .. } | Self::Online { conn, .. } => {
                Some(*conn)
            }
        }
    }
}

/// The caller of `connect`, until its outcome is known.
#[derive(Debug)]
struct Connector {
    waiter: Arc<Waiter>,
    until: Time,
    /// Servers still to try, where no policy retries.
    attempts_left: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Session<A> {
    pub(super) shared: Arc<Shared>,
    pub(super) app: A,
    config: SessionConfig,
    servers: Servers,
    rng: Rng,
    state: State,
    pub(super) routes: Routes,
    heartbeat: Option<Heartbeat>,
    connector: Option<Connector>,
    pub(super) drain: Option<Drain>,
    last_error: Option<Error>,
    reading: bool,
    /// Of the connection that is open, as last learnt from the outbound half.
    generation: Generation,
}

impl<A: App> Session<A> {
    pub(crate) fn new(config: SessionConfig, shared: Arc<Shared>, app: A) -> Self {
        let rng = Rng(config.seed);
        let servers = Servers::new(config.servers.clone());
        Self {
            shared,
            app,
            config,
            servers,
            rng,
            state: State::Idle,
            routes: Routes::default(),
            heartbeat: None,
            connector: None,
            drain: None,
            last_error: None,
            reading: true,
            generation: 0,
        }
    }

    /// The application behind the session.
    #[cfg(feature = "simulation")]
    pub(crate) fn app(&mut self) -> &mut A {
        &mut self.app
    }

    /// A word for the state, for reports.
    #[cfg(feature = "simulation")]
    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Idle => "idle",
            State::Backoff { .. } => "backoff",
            State::Connecting { .. } => "connecting",
            State::LoggingOn { .. } => "logging on",
            State::Online { .. } if self.drain.is_some() => "draining",
            State::Online { .. } => "online",
        }
    }

    // ----- notes ----------------------------------------------------------------------

    fn note<S: Sink>(&mut self, now: Time, note: Note, sink: &mut S) {
        match note {
            Note::Connect { servers, waiter } => self.connect_asked(now, servers, waiter, sink),
            Note::Close { within, waiter } => {
                if matches!(self.state, State::Online { .. }) && self.drain.is_none() {
                    self.shared.with(|outbound| outbound.begin_drain(now));
                    self.drain = Some(Drain::new(now + within, waiter));
                } else {
                    self.shut(now, CloseMode::Abort, sink);
                    waiter.complete(Ok(Done::default()));
                }
            }
            Note::Abort { waiter } => {
                self.shut(now, CloseMode::Abort, sink);
                waiter.complete(Ok(Done::default()));
            }
            Note::Wake => {}
            Note::Shutdown => {
                self.shared.with(|outbound| outbound.flush_acks(now));
                self.shut(now, CloseMode::Flush, sink);
            }
        }
    }

    fn connect_asked<S: Sink>(
        &mut self,
        now: Time,
        servers: Option<Vec<Endpoint>>,
        waiter: Arc<Waiter>,
        sink: &mut S,
    ) {
        if !matches!(self.state, State::Idle) {
            waiter.complete(Err(Error::Usage("connect: this client is connected, or connecting, already")));
            return;
        }
        if let Some(servers) = servers {
            self.servers = Servers::new(servers);
        }
        let until = now + self.config.connect_deadline;
        self.connector = Some(Connector { waiter, until, attempts_left: self.servers.len() });
        self.attempt(now, sink);
    }

    // ----- connecting -----------------------------------------------------------------

    /// Begins the next attempt, or plans it, or gives up.
    fn attempt<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let Some(policy) = &self.config.reconnect else {
            return self.connect(now, sink);
        };
        match self.servers.plan(now, policy, &mut self.rng) {
            NextAttempt::After(Duration::ZERO) => self.connect(now, sink),
            NextAttempt::After(wait) => self.state = State::Backoff { until: now + wait },
            NextAttempt::GiveUp => self.give_up(),
        }
    }

    fn connect<S: Sink>(&mut self, _now: Time, sink: &mut S) {
        let Some(endpoint) = self.servers.current() else { return self.give_up() };
        let target = target(endpoint, self.config.connect_timeout);
        self.state = State::Connecting { conn: sink.connect(target) };
    }

    fn attempt_failed<S: Sink>(&mut self, now: Time, error: Error, sink: &mut S) {
        self.state = State::Idle;
        self.servers.failed();
        self.app.report(&error);
        self.last_error = Some(error);
        if self.config.reconnect.is_some() {
            return self.attempt(now, sink);
        }
        match &mut self.connector {
            Some(connector) if connector.attempts_left > 1 => {
                connector.attempts_left -= 1;
                self.connect(now, sink);
            }
            _ => self.give_up(),
        }
    }

    /// No further attempt: whoever waits is told the last error.
    fn give_up(&mut self) {
        self.state = State::Idle;
        let error =
            self.last_error.take().unwrap_or_else(|| Error::disconnected(DisconnectCause::NeverConnected));
        let cause = DisconnectCause::GaveUp(Box::new(error.clone()));
        self.shared.with(|outbound| outbound.give_up(&cause));
        match self.connector.take() {
            Some(connector) => connector.waiter.complete(Err(error)),
            None => {
                let error = Error::disconnected(cause);
                self.app.report(&error);
            }
        }
    }

    // ----- logging on -----------------------------------------------------------------

    fn connected<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        let outlet = sink.outlet(conn);
        self.shared.with(|outbound| outbound.opening(outlet));
        self.reading = true;
        self.app.state(ConnectionState::Connected);
        self.log_on(now, conn, 1);
    }

    fn log_on(&mut self, now: Time, conn: ConnId, attempts: u32) {
        let Some(endpoint) = self.servers.current() else { return };
        let name = &self.config.name;
        let cid = self.shared.with(|outbound| {
            let cid = outbound.reserve().0.to_string();
            let mut options = Options::new();
            if endpoint.options.pretty {
                options.set("pretty", true);
            }
            FrameWriter::new(&mut outbound.line.wire.tail, CommandKind::Logon)
                .text(Field::CommandId, &cid)
                .text(Field::ClientName, name)
                .maybe_text(Field::UserId, endpoint.user.as_ref())
                .maybe_text(Field::Password, endpoint.password.as_ref().map(|password| password.reveal()))
                .maybe_text(Field::MessageType, endpoint.message_type.as_ref())
                .maybe_text(Field::Options, (!options.is_empty()).then(|| options.to_string()))
                .acks(AckType::Processed.into())
                .text(Field::Version, concat!(env!("CARGO_PKG_VERSION"), ":rust"))
                .finish(b"");
            cid
        });
        self.state = State::LoggingOn { conn, cid, attempts, until: now + self.config.logon_timeout };
    }

    fn logon_answered<S: Sink>(&mut self, now: Time, ack: &Message<&[u8]>, sink: &mut S) {
        let State::LoggingOn { conn, cid, attempts, .. } = &self.state else { return };
        let (conn, attempts) = (*conn, *attempts);
        if ack.command_id().is_none_or(|answered| answered != cid.as_str()) || !ack.is_ack(AckType::Processed)
        {
            return;
        }
        match ack.status() {
            Some(Status::Success) => self.logged_on(now, conn),
            Some(Status::Retry | Status::Other) | None if attempts < MAX_LOGONS => {
                self.log_on(now, conn, attempts + 1);
            }
            Some(Status::Retry | Status::Other) | None => {
                let (server, client) = (self.server_name(), self.config.name.clone());
                let error = Error::LogonRetries { server, client, attempts };
                self.logon_failed(now, conn, error, sink);
            }
            Some(Status::Failure) => {
                let reason = ack.reason().map_or_else(|| "no reason given".into(), ToString::to_string);
                let class = ReasonClass::of(&reason);
                let (server, client) = (self.server_name(), self.config.name.clone());
                let error = Error::LogonRefused { server, client, class, reason };
                self.logon_failed(now, conn, error, sink);
            }
        }
    }

    fn logged_on(&mut self, now: Time, conn: ConnId) {
        self.app.state(ConnectionState::LoggedOn);
        let heartbeat = self.config.heartbeat;
        let seconds = heartbeat.map(|settings| settings.interval.as_secs());
        self.shared.with(|outbound| {
            if !outbound.open(now, seconds) && self.config.reconnect.is_some() {
                outbound.nothing_to_recover();
            }
        });
        self.heartbeat = heartbeat.map(|settings| Heartbeat::new(now, settings));
        self.state = State::Online { conn, since: now, stable: false };
        self.servers.connected();
        self.last_error = None;
        if let Some(connector) = self.connector.take() {
            connector.waiter.complete(Ok(Done::default()));
        }
    }

    fn logon_failed<S: Sink>(&mut self, now: Time, conn: ConnId, error: Error, sink: &mut S) {
        sink.close(conn, CloseMode::Abort);
        self.logon_ended(now, error, sink);
    }

    /// The connection is closed already.
    fn logon_ended<S: Sink>(&mut self, now: Time, error: Error, sink: &mut S) {
        let cause = DisconnectCause::GaveUp(Box::new(error.clone()));
        let recover = self.config.reconnect.is_some();
        self.shared.with(|outbound| outbound.connection_lost(&cause, recover));
        self.app.state(ConnectionState::Disconnected);
        self.attempt_failed(now, error, sink);
    }

    // ----- losing and closing ---------------------------------------------------------

    /// The connection is gone, not by our will.
    fn lost<S: Sink>(&mut self, now: Time, cause: DisconnectCause, sink: &mut S) {
        match &self.state {
            State::Idle | State::Backoff { .. } | State::Connecting { .. } => return,
            State::LoggingOn { .. } => {
                return self.logon_ended(now, Error::disconnected(cause), sink);
            }
            State::Online { .. } => {}
        }
        self.state = State::Idle;
        self.heartbeat = None;
        let recover = self.config.reconnect.is_some() && self.drain.is_none();
        self.shared.with(|outbound| outbound.connection_lost(&cause, recover));
        self.shared.notify_room();
        let error = Error::disconnected(cause);
        self.apply_effects();
        self.app.state(ConnectionState::Disconnected);
        self.app.report(&error);
        if let Some(drain) = self.drain.take() {
            self.app.state(ConnectionState::Shutdown);
            drain.waiter.complete(Err(error));
        } else if recover {
            self.servers.failed();
            self.last_error = Some(error);
            self.attempt(now, sink);
        } else {
            self.app.disconnected(&error);
        }
    }

    /// The connection ends by our will, and nothing is to follow.
    pub(super) fn shut<S: Sink>(&mut self, now: Time, mode: CloseMode, sink: &mut S) {
        let conn = self.state.conn();
        let was_connected = matches!(self.state, State::LoggingOn { .. } | State::Online { .. });
        if let Some(conn) = conn {
            if mode == CloseMode::Flush {
                self.shared.write_from_loop(Some(conn), sink);
                self.shared.hand_over(conn, sink);
            }
            sink.close(conn, mode);
        }
        self.state = State::Idle;
        self.heartbeat = None;
        let cause = DisconnectCause::ClosedByUser;
        self.shared.with(|outbound| outbound.give_up(&cause));
        self.shared.notify_room();
        if let Some(connector) = self.connector.take() {
            connector.waiter.complete(Err(Error::disconnected(cause)));
        }
        if let Some(drain) = self.drain.take() {
            let unacknowledged = self.in_hand();
            drain.finish(unacknowledged);
        }
        let _ = now;
        self.apply_effects();
        if was_connected {
            self.app.state(ConnectionState::Disconnected);
        }
        self.app.state(ConnectionState::Shutdown);
    }

    // ----- receiving ------------------------------------------------------------------

    fn received<S: Sink>(&mut self, now: Time, conn: ConnId, bytes: &mut BytesMut, sink: &mut S) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.received(now);
        }
        let mut at = 0;
        let fault = loop {
            if self.state.conn() != Some(conn) {
                break None;
            }
            let total = match next_frame(&bytes[at..], self.config.max_inbound) {
                Ok(Some(total)) => total,
                Ok(None) => break None,
                Err(error) => break Some(DisconnectCause::BadFrame(error)),
            };
            let start = at + amps_protocol::LENGTH_PREFIX;
            let frame = &bytes[start..at + total];
            at += total;
            if frame.is_empty() {
                continue;
            }
            match Message::decode(frame) {
                Ok(mut message) => self.dispatch(now, &mut message, start, sink),
                Err(error) => break Some(DisconnectCause::BadHeader(error)),
            }
        };
        self.app.end_of_read(bytes.split_to(at));
        if let Some(cause) = fault {
            sink.close(conn, CloseMode::Abort);
            self.lost(now, cause, sink);
        }
    }

    #[inline]
    fn dispatch<S: Sink>(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize, sink: &mut S) {
        match message.command() {
            CommandKind::Ack => match self.state {
                State::LoggingOn { .. } => self.logon_answered(now, message, sink),
                _ => {
                    self.shared.with(|outbound| outbound.acknowledged(message));
                    self.apply_effects();
                }
            },
            CommandKind::Heartbeat => {
                let heartbeat = &self.heartbeat;
                self.shared.with(|outbound| {
                    if heartbeat.as_ref().is_some_and(|h| h.should_answer(now, outbound.last_sent())) {
                        outbound.beat(now);
                    }
                });
            }
            _ => self.route(now, message, offset),
        }
    }

    fn route(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize) {
        let leased = message.lease().is_some();
        let Some(ids) = message.sub_ids().or_else(|| message.sub_id()) else {
            return self.app.unexpected(message);
        };
        if !ids.contains(&b',') {
            return match self.find(ids, leased) {
                Some(found) => self.deliver(now, message, offset, found, true),
                None => self.app.unexpected(message),
            };
        }
        let mut found = Vec::new();
        for id in ids.split(|&byte| byte == b',') {
            let Some(one) = self.find(id.trim_ascii(), leased) else { continue };
            if !found.iter().any(|other: &Found| other.key == one.key) {
                found.push(one);
            }
        }
        if found.is_empty() {
            return self.app.unexpected(message);
        }
        let last = found.len() - 1;
        for (i, one) in found.into_iter().enumerate() {
            self.deliver(now, message, offset, one, i == last);
        }
    }

    fn find(&mut self, id: &[u8], leased: bool) -> Option<Found> {
        let route = self.routes.find(id)?;
        let number = leased.then(|| {
            let number = route.leased;
            route.leased += 1;
            number
        });
        Some(Found { key: route.key, auto_ack: route.auto_ack, number })
    }

    fn deliver(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize, found: Found, last: bool) {
        let Found { key, auto_ack, number } = found;
        let generation = self.generation;
        let lease = number.map(|number| Lease { key, generation, number });
        let delivery = Delivery { key, generation, message, offset, lease, last };
        let disposition = self.app.deliver(delivery);
        let Some(lease) = lease.filter(|_| auto_ack) else { return };
        let option = match disposition {
            Disposition::Done => None,
            Disposition::Failed => Some(AckOption::Cancel),
            Disposition::Kept => return,
        };
        let (Some(topic), Some(bookmark)) = (message.topic(), message.bookmark()) else { return };
        // A handler takes its time, and its acknowledgement must not wait for the next one.
        let now = self.app.now(now);
        self.shared.act_quietly(now, |outbound| {
            outbound.settle_unasked(now, lease, topic, bookmark, option.as_ref());
        });
    }

    // ----- timers and changes ---------------------------------------------------------

    fn timer<S: Sink>(&mut self, now: Time, sink: &mut S) {
        if self.connector.as_ref().is_some_and(|connector| connector.until <= now) {
            if let Some(conn) = self.state.conn() {
                sink.close(conn, CloseMode::Abort);
            }
            self.last_error.get_or_insert_with(|| Error::TimedOut {
                action: "connect".into(),
                after: self.config.connect_deadline,
            });
            return self.give_up();
        }
        match &mut self.state {
            State::Backoff { until } if *until <= now => self.connect(now, sink),
            State::LoggingOn { conn, until, .. } if *until <= now => {
                let conn = *conn;
                let action = format!("logon to {}", self.server_name());
                let error = Error::TimedOut { action, after: self.config.logon_timeout };
                self.logon_failed(now, conn, error, sink);
            }
            State::Online { conn, since, stable } => {
                let conn = *conn;
                if !*stable && now - *since >= STABLE_AFTER {
                    *stable = true;
                    self.servers.stable();
                }
                self.shared.with(|outbound| outbound.timer(now));
                self.pulse(now, conn, sink);
            }
            _ => self.shared.with(|outbound| outbound.expire_commands(now)),
        }
    }

    fn pulse<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        let Some(heartbeat) = &mut self.heartbeat else { return };
        let last_sent = self.shared.with(|outbound| outbound.last_sent());
        match heartbeat.pulse(now, last_sent) {
            Pulse::Quiet => {}
            Pulse::Beat => self.shared.with(|outbound| outbound.beat(now)),
            Pulse::Lost => {
                let silence = heartbeat.timeout();
                sink.close(conn, CloseMode::Abort);
                self.lost(now, DisconnectCause::Silent(silence), sink);
            }
        }
    }

    /// Learns from the outbound half what changed, and tells the application.
    pub(super) fn apply_effects(&mut self) {
        let (effects, generation) = self.shared.with(|o| (o.take_effects(), o.generation()));
        self.generation = generation;
        for effect in effects {
            match effect {
                Effect::RouteAdded { key, id, auto_ack } => self.routes.add(&id, key, auto_ack),
                Effect::RouteRemoved { key } => {
                    self.routes.remove(key);
                    self.app.ended(key, None);
                }
                Effect::Ended { key, error } => {
                    self.routes.remove(key);
                    self.app.ended(key, Some(error));
                }
                Effect::Interrupted { key } => {
                    self.routes.restart(key);
                    self.app.interrupted(key);
                }
                Effect::Resumed { key, queue } => self.app.resumed(key, queue),
                Effect::AllResubscribed => self.app.state(ConnectionState::Resubscribed),
                Effect::HeartbeatsAgreed => self.app.state(ConnectionState::HeartbeatInitiated),
                Effect::Report(error) => self.app.report(&error),
            }
        }
    }

    /// Leased messages that the application has neither settled nor given back.
    pub(super) fn in_hand(&self) -> u64 {
        self.shared.with(|outbound| {
            self.routes.iter().map(|route| route.leased.saturating_sub(outbound.settled(route.key))).sum()
        })
    }

    /// Stops reading while the application has taken in too much, and goes on afterwards.
    fn regulate<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let State::Online { conn, .. } = self.state else { return };
        let reading = !self.app.wants_pause();
        if reading != self.reading {
            self.reading = reading;
            sink.set_reading(conn, reading);
            if let Some(heartbeat) = &mut self.heartbeat {
                heartbeat.reading(now, reading);
            }
        }
    }

    fn server_name(&self) -> String {
        self.servers
            .current()
            .map_or_else(String::new, |endpoint| format!("{}:{}", endpoint.host, endpoint.port))
    }
}

impl<A: App> Machine for Session<A> {
    type Note = Note;

    fn handle<S: Sink>(&mut self, now: Time, input: Input<'_, Note>, sink: &mut S) {
        // Whatever other threads changed before these bytes came is known first (RT-3).
        self.apply_effects();
        let of_ours = |state: &State, conn| state.conn() == Some(conn);
        match input {
            Input::Connected { conn, .. } if of_ours(&self.state, conn) => self.connected(now, conn, sink),
            Input::ConnectFailed { conn, error } if of_ours(&self.state, conn) => {
                self.attempt_failed(now, Error::Connect(Arc::new(error)), sink);
            }
            Input::Received { conn, bytes } if of_ours(&self.state, conn) => {
                self.received(now, conn, bytes, sink);
            }
            Input::Writable { conn } if of_ours(&self.state, conn) => {
                self.shared.with(|outbound| outbound.line.wire.unblock());
            }
            Input::Closed { conn, reason } if of_ours(&self.state, conn) => {
                self.lost(now, DisconnectCause::Socket(reason), sink);
            }
            Input::Timer => self.timer(now, sink),
            Input::Note(note) => self.note(now, note, sink),
            // Late events of connections that are no longer ours.
            _ => {}
        }
        self.apply_effects();
        self.advance_drain(now, sink);
        self.regulate(now, sink);
        self.shared.write_from_loop(self.state.conn(), sink);
    }

    fn deadline(&self) -> Option<Time> {
        let own = match &self.state {
            State::Idle | State::Connecting { .. } => None,
            State::Backoff { until } | State::LoggingOn { until, .. } => Some(*until),
            State::Online { since, stable, .. } => (!stable).then_some(*since + STABLE_AFTER),
        };
        let connector = self.connector.as_ref().map(|connector| connector.until);
        let drain = self.drain.as_ref().map(Drain::deadline);
        let (outbound, last_sent) = self.shared.with(|o| (o.deadline(), o.last_sent()));
        let heartbeat = self.heartbeat.as_ref().map(|heartbeat| heartbeat.next(last_sent));
        [own, connector, drain, outbound, heartbeat].into_iter().flatten().min()
    }
}

/// A subscription that a message is for.
struct Found {
    key: SubKey,
    auto_ack: bool,
    number: Option<u64>,
}

/// Checks that this build can use a connection string.
///
/// # Errors
/// The transport, or something asked of it, is not available.
pub(crate) fn check_endpoint(endpoint: &Endpoint) -> Result<()> {
    let feature = match endpoint.scheme {
        Scheme::Tcp if endpoint.options.zlib => "the parameter compression=zlib".to_owned(),
        Scheme::Tcp if endpoint.options.http_preflight => "the parameter http_preflight".to_owned(),
        Scheme::Tcp => return Ok(()),
        other => format!("the transport \"{}\"", other.name()),
    };
    Err(Error::Unavailable { feature })
}

fn target(endpoint: &Endpoint, timeout: Duration) -> Target {
    let asked = &endpoint.options;
    let mut socket = SocketOptions::default();
    socket.nodelay = asked.nodelay.unwrap_or(socket.nodelay);
    socket.keepalive = asked.keepalive.unwrap_or(socket.keepalive);
    socket.send_buffer = asked.send_buffer;
    socket.recv_buffer = asked.recv_buffer;
    socket.linger = asked.linger.map(|seconds| Duration::from_secs(seconds.into()));
    socket.bind = asked.bind;
    socket.prefer = match asked.prefer {
        Some(IpPreference::Ipv6) => AddressFamily::V6,
        _ => AddressFamily::V4,
    };
    Target { host: endpoint.host.clone(), port: endpoint.port, timeout, socket }
}
