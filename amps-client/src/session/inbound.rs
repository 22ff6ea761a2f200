//! The half of a session that belongs to the event loop.
//!
//! Owns the connection's life (see the picture in the parent module) and the timers;
//! `connecting.rs` and `receiving.rs` hold the two long stretches of it. It never blocks, and
//! calls the application only through [`App`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::connecting::Credentials;
use super::drain::{Drain, outcome};
use super::heartbeat::{Heartbeat, HeartbeatSettings, Pulse};
use super::outbound::{Effect, Generation};
use super::replay::Progress;
use super::routes::Routes;
use super::servers::Servers;
use super::shared::Shared;
use super::subscription::SubKey;
use super::waiter::{Done, Reply};
use crate::advisor::News;
use crate::authenticator::{Answer, Authenticator};
use crate::error::{DisconnectCause, Error, Result};
use crate::listener::{AfterRefusal, ConnectionState};
use crate::reconnect::{Reconnect, Rng};
use crate::server_chooser::ConnectionInfo;
use crate::transports::Transports;
use amps_protocol::{Endpoint, MessageDecoder, RecordPosition};
use amps_transport::{CloseMode, ConnId, Input, Machine, Sink, Time};

/// What a caller is told that waits while only it could make room.
pub(crate) const WOULD_DEADLOCK: Error = Error::Usage(
    "this call would wait for ever: a stream that this thread reads is full, so nothing is received; read it first",
);

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
    /// What else a logon says.
    pub(crate) logon: LogonSettings,
    pub(crate) transports: Transports,
    pub(crate) seed: u64,
}

/// What a logon says besides the connection string.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogonSettings {
    pub(crate) correlation_id: Option<String>,
    pub(crate) ack_conflation: Option<Duration>,
    pub(crate) pretty: bool,
    /// None at all over WebSocket: who connects was told with the upgrade (protocol.md W-8).
    pub(crate) not_over_websocket: bool,
}

/// What server choosers and delay strategies say.
pub(crate) struct Advice {
    pub(crate) endpoint: Endpoint,
    /// Before the attempt.
    pub(crate) wait: Duration,
    /// In place of the client's own.
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
}

impl std::fmt::Debug for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {:?}", self.endpoint, self.wait)
    }
}

/// What other threads ask of the session.
#[derive(Debug)]
pub(crate) enum Note {
    /// An authenticator has answered.
    Authenticated {
        /// For this connection.
        conn: ConnId,
        /// What it said. Boxed, as notes are small otherwise.
        answer: Box<Answer>,
    },
    /// A server chooser has chosen, or has ended the attempts.
    Advised {
        /// Of the question.
        number: u64,
        /// What it said.
        advice: Box<Result<Advice>>,
    },
    /// Connect and log on; to other servers than configured, if given.
    Connect {
        /// Replaces the configured servers.
        servers: Option<Vec<Endpoint>>,
        /// Told when the logon succeeded, or nothing more will be tried.
        waiter: Reply,
    },
    /// Close in an orderly way within a time.
    Close {
        /// For everything together.
        within: Duration,
        /// Told when it is done.
        waiter: Reply,
    },
    /// Close at once.
    Abort {
        /// Told when it is done.
        waiter: Reply,
    },
    /// Heartbeats of another rhythm, or none.
    Heartbeats(Option<HeartbeatSettings>),
    /// Something changed in the outbound half.
    Wake,
    /// Nobody uses the client any more: send what waits, then go.
    Shutdown,
}

#[derive(Debug)]
pub(super) enum State {
    Idle,
    /// A server chooser has the word.
    Choosing,
    Backoff {
        until: Time,
    },
    Connecting {
        conn: ConnId,
    },
    /// Connected; an authenticator has the word.
    Authenticating {
        conn: ConnId,
        attempts: u32,
        until: Time,
    },
    LoggingOn {
        conn: ConnId,
        cid: String,
        attempts: u32,
        until: Time,
    },
    Online {
        conn: ConnId,
        since: Time,
        stable: bool,
    },
}

impl State {
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Idle | Self::Choosing | Self::Backoff { .. } => None,
            Self::Connecting { conn }
            | Self::Authenticating { conn, .. }
            | Self::LoggingOn { conn, .. }
            | Self::Online { conn, .. } => Some(*conn),
        }
    }
}

/// The caller of `connect`, until its outcome is known.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) waiter: Reply,
    until: Time,
    /// Servers still to try, where no policy retries.
    pub(super) attempts_left: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Session<A> {
    pub(super) shared: Arc<Shared>,
    pub(super) app: A,
    pub(super) config: SessionConfig,
    pub(super) servers: Servers,
    /// Somebody else chooses, unless the application has named servers to connect to.
    pub(super) advised: bool,
    /// What was chosen, and how often that was asked.
    pub(super) chosen: Option<Endpoint>,
    pub(super) questions: u64,
    /// The connection, or the attempt at one.
    pub(super) info: Option<ConnectionInfo>,
    pub(super) rng: Rng,
    pub(super) state: State,
    pub(super) routes: Routes,
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) connector: Option<Connector>,
    pub(super) drain: Option<Drain>,
    pub(super) last_error: Option<Error>,
    /// What the logon under way, or the last one, said.
    pub(super) credentials: Credentials,
    pub(super) reading: bool,
    /// The application had no room: nothing is looked at until it has.
    pub(super) stopped: bool,
    /// Of the first frame that waits, the records up to here were dealt with.
    pub(super) record: Option<RecordPosition>,
    /// Knows what the headers of this connection look like.
    pub(super) decoder: MessageDecoder,
    /// Bytes at the front of the buffer that were seen before.
    pub(super) unparsed: usize,
    /// What is over, until the application has the messages that came before.
    pub(super) finished: Vec<SubKey>,
    /// Messages handed over in the read under way.
    pub(super) delivered: u64,
    /// The application was told that nothing follows.
    shut_down: bool,
    /// Why the connection has to be given up.
    unusable: Option<Error>,
    /// Of the connection that is open, as last learnt from the outbound half.
    pub(super) generation: Generation,
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
            advised: false,
            chosen: None,
            questions: 0,
            info: None,
            rng,
            state: State::Idle,
            routes: Routes::default(),
            heartbeat: None,
            connector: None,
            drain: None,
            last_error: None,
            credentials: Credentials::default(),
            reading: true,
            stopped: false,
            record: None,
            decoder: MessageDecoder::new(),
            unparsed: 0,
            finished: Vec::new(),
            delivered: 0,
            shut_down: false,
            unusable: None,
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
            State::Choosing => "choosing",
            State::Backoff { .. } => "backoff",
            State::Connecting { .. } => "connecting",
            State::Authenticating { .. } => "authenticating",
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
                if let Some(drain) = &mut self.drain {
                    drain.join(now + within, waiter);
                } else if matches!(self.state, State::Online { .. }) {
                    self.shared.with(|outbound| outbound.begin_drain(now));
                    self.drain = Some(Drain::new(now + within, waiter));
                } else {
                    let unpersisted = self.unpersisted();
                    self.shut(CloseMode::Abort, sink);
                    waiter.complete(outcome(0, unpersisted));
                }
            }
            Note::Abort { waiter } => {
                self.shut(CloseMode::Abort, sink);
                waiter.complete(Ok(Done::default()));
            }
            Note::Wake => {}
            Note::Heartbeats(settings) => self.change_heartbeats(now, settings),
            Note::Advised { number, advice } => self.advised(now, number, *advice, sink),
            Note::Authenticated { conn, answer } => self.authenticated(now, conn, *answer, sink),
            Note::Shutdown => {
                self.shared.with(|outbound| outbound.flush_acks(now));
                self.shut(CloseMode::Flush, sink);
            }
        }
    }

    fn change_heartbeats(&mut self, now: Time, settings: Option<HeartbeatSettings>) {
        self.config.heartbeat = settings;
        if matches!(self.state, State::Online { .. }) {
            let seconds = settings.map(|settings| settings.interval.as_secs());
            self.shared.with(|outbound| outbound.change_heartbeats(now, seconds));
            self.heartbeat = settings.map(|settings| Heartbeat::new(now, settings));
            if let Some(heartbeat) = self.heartbeat.as_mut().filter(|_| !self.reading) {
                // Nothing is read, so that silence means nothing.
                heartbeat.reading(now, false);
            }
        }
    }

    fn connect_asked<S: Sink>(
        &mut self,
        now: Time,
        servers: Option<Vec<Endpoint>>,
        waiter: Reply,
        sink: &mut S,
    ) {
        if !matches!(self.state, State::Idle) {
            let text = "connect: this client is connected, or connecting, already; close it first";
            waiter.complete(Err(Error::AlreadyConnected(text)));
            return;
        }
        self.advised = servers.is_none() && self.app.advises();
        self.chosen = None;
        // The credentials of a server that was chosen before are for that one only.
        self.app.chosen(None);
        if self.advised {
            self.app.advise(News::Anew);
        }
        if let Some(servers) = servers {
            self.servers = Servers::new(servers);
        }
        self.servers.restart();
        self.last_error = None;
        self.shut_down = false;
        let until = now + self.config.connect_deadline;
        self.connector = Some(Connector { waiter, until, attempts_left: self.servers.len() });
        self.attempt(now, sink);
    }

    // ----- losing and closing ---------------------------------------------------------

    /// The connection is gone, not by our will.
    pub(super) fn lost<S: Sink>(&mut self, now: Time, cause: DisconnectCause, sink: &mut S) {
        match &self.state {
            State::Idle | State::Choosing | State::Backoff { .. } | State::Connecting { .. } => return,
            State::Authenticating { .. } | State::LoggingOn { .. } => {
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
            self.shut_down = true;
            drain.fail(&error);
        } else if recover {
            self.server_failed(&error);
            self.last_error = Some(error);
            self.attempt(now, sink);
        } else {
            self.app.disconnected(&error);
        }
    }

    /// The connection ends by our will, and nothing is to follow.
    pub(super) fn shut<S: Sink>(&mut self, mode: CloseMode, sink: &mut S) {
        let conn = self.state.conn();
        let was_connected = matches!(
            self.state,
            State::Authenticating { .. } | State::LoggingOn { .. } | State::Online { .. }
        );
        // Counted while the subscriptions still know.
        let (unacknowledged, unpersisted) = (self.in_hand(), self.unpersisted());
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
        self.apply_effects();
        if was_connected {
            self.app.state(ConnectionState::Disconnected);
        }
        if !std::mem::replace(&mut self.shut_down, true) {
            self.app.state(ConnectionState::Shutdown);
        }
        // Last of all: who waited finds everything as it is going to stay.
        if let Some(connector) = self.connector.take() {
            connector.waiter.complete(Err(Error::disconnected(cause)));
        }
        if let Some(drain) = self.drain.take() {
            drain.finish(unacknowledged, unpersisted);
        }
    }

    // ----- timers and changes ---------------------------------------------------------

    fn timer<S: Sink>(&mut self, now: Time, sink: &mut S) {
        if self.connector.as_ref().is_some_and(|connector| connector.until <= now) {
            if let Some(conn) = self.state.conn() {
                sink.close(conn, CloseMode::Abort);
            }
            if matches!(self.state, State::Authenticating { .. } | State::LoggingOn { .. }) {
                self.app.state(ConnectionState::Disconnected);
            }
            let last = self.last_error.take().map(|last| format!(" (the last attempt: {last})"));
            self.last_error = Some(Error::TimedOut {
                action: format!("connect{}", last.unwrap_or_default()),
                after: self.config.connect_deadline,
            });
            return self.give_up();
        }
        match &mut self.state {
            State::Backoff { until } if *until <= now => self.connect(now, sink),
            State::Authenticating { conn, until, .. } if *until <= now => {
                let (conn, after) = (*conn, self.config.connect_timeout);
                let action = format!("ask the authenticator for {}", self.server_name());
                self.logon_failed(now, conn, Error::TimedOut { action, after }, sink);
            }
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
                    self.app.advise(News::Stable);
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
        loop {
            let (effects, generation) = self.shared.with(|o| (o.take_effects(), o.generation()));
            self.generation = generation;
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.apply(effect);
            }
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::RouteAdded { key, ids, auto_ack, wanted, ends, progress } => {
                self.routes.add(key, &ids, auto_ack, wanted, ends, progress);
            }
            Effect::Replays { key, serial, anew } => {
                self.routes.add_number(key, serial);
                let progress = self.routes.get(key).and_then(|route| route.progress.as_mut());
                if let Some(trouble) = progress.and_then(|progress| progress.begins(anew)) {
                    self.app.report(&trouble);
                }
            }
            Effect::Paused { key } => {
                if let Some(progress) = self.routes.get(key).and_then(|route| route.progress.as_mut()) {
                    progress.stopped();
                }
            }
            Effect::Replaced { key, serial, auto_ack, takes_over, progress } => {
                self.routes.replaced(key, auto_ack, progress);
                self.app.replaced(key, serial, takes_over);
            }
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
            Effect::Resumed { key, gapless } => {
                let progress = self.routes.get(key).and_then(|route| route.progress.as_mut());
                let gap = progress.is_some_and(Progress::take_gap);
                self.app.resumed(key, gapless && !gap);
            }
            Effect::NotResubscribed { key, command, error } => {
                self.app.report(&error);
                match self.app.not_resubscribed(&command, &error) {
                    AfterRefusal::EndSubscription => {
                        self.shared.with(|outbound| outbound.end_refused(key, error));
                    }
                    AfterRefusal::NextServer => self.unusable = Some(error),
                }
            }
            Effect::PublishReplayed => self.app.state(ConnectionState::PublishReplayed),
            Effect::AllResubscribed => {
                self.app.state(ConnectionState::Resubscribed);
                self.app.recovered();
            }
            Effect::HeartbeatsRefused(error) => {
                self.heartbeat = None;
                self.app.report(&error);
            }
            Effect::HeartbeatsAgreed => self.app.state(ConnectionState::HeartbeatInitiated),
            Effect::Unusable(error) => self.unusable = Some(error),
            Effect::Report(error) => self.app.report(&error),
        }
    }

    /// Leased messages that the application has neither settled nor given back.
    pub(super) fn in_hand(&self) -> u64 {
        self.shared.with(|outbound| {
            self.routes.iter().map(|route| route.leased.saturating_sub(outbound.settled(route.key))).sum()
        })
    }

    /// Messages in the publish store that no server has confirmed.
    fn unpersisted(&self) -> usize {
        self.shared.with(|outbound| outbound.store_status().map_or(0, |status| status.unpersisted))
    }

    /// Stops reading while the application has taken in too much, and goes on afterwards.
    fn regulate<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let State::Online { conn, .. } = self.state else { return };
        let reading = !self.app.wants_pause();
        if reading {
            self.stopped = false;
        }
        self.set_reading(now, conn, reading, sink);
        if !reading {
            // Whoever is to read, and waits for an answer instead, would wait for ever. Asked
            // while no command can be added: one that is there was sent in this state.
            let app = &self.app;
            self.shared.with(|outbound| outbound.refuse_callers(now, &app.held_back(), &WOULD_DEADLOCK));
        }
    }

    pub(super) fn set_reading<S: Sink>(&mut self, now: Time, conn: ConnId, reading: bool, sink: &mut S) {
        if reading != self.reading {
            self.reading = reading;
            self.shared.with(|outbound| outbound.set_reading(now, reading));
            sink.set_reading(conn, reading);
            if let Some(heartbeat) = &mut self.heartbeat {
                heartbeat.reading(now, reading);
            }
        }
    }

    pub(super) fn server_name(&self) -> String {
        self.endpoint().map_or_else(String::new, |endpoint| format!("{}:{}", endpoint.host, endpoint.port))
    }
}

impl<A> Drop for Session<A> {
    /// Nobody drives the session any more: whoever waits is told.
    fn drop(&mut self) {
        self.shared.with(|outbound| outbound.give_up(&DisconnectCause::LoopEnded));
        self.shared.notify_room();
    }
}

impl<A: App> Machine for Session<A> {
    type Note = Note;

    fn handle<S: Sink>(&mut self, now: Time, input: Input<'_, Note>, sink: &mut S) {
        // Whatever other threads changed before these bytes came is known first (RT-3).
        self.apply_effects();
        let of_ours = |state: &State, conn| state.conn() == Some(conn);
        match input {
            Input::Connected { conn, local, peer } if of_ours(&self.state, conn) => {
                if let Some(info) = &mut self.info {
                    (info.local, info.peer) = (local, peer);
                }
                self.connected(now, conn, sink);
            }
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
        if let (Some(error), Some(conn)) = (self.unusable.take(), self.state.conn()) {
            sink.close(conn, CloseMode::Abort);
            self.lost(now, DisconnectCause::GaveUp(Box::new(error)), sink);
        }
        self.advance_drain(now, sink);
        self.regulate(now, sink);
        self.shared.write_from_loop(self.state.conn(), sink);
        // Writing may have ended what others waited for.
        while self.shared.with(|outbound| {
            let goes_on = outbound.may_go_on();
            outbound.go_on(now);
            goes_on
        }) {
            self.apply_effects();
            self.shared.write_from_loop(self.state.conn(), sink);
        }
    }

    fn deadline(&self) -> Option<Time> {
        let own = match &self.state {
            State::Idle | State::Choosing | State::Connecting { .. } => None,
            State::Backoff { until }
            | State::Authenticating { until, .. }
            | State::LoggingOn { until, .. } => Some(*until),
            State::Online { since, stable, .. } => (!stable).then_some(*since + STABLE_AFTER),
        };
        let connector = self.connector.as_ref().map(|connector| connector.until);
        let drain = self.drain.as_ref().map(Drain::deadline);
        let (outbound, last_sent) = self.shared.with(|o| (o.deadline(), o.last_sent()));
        let heartbeat = self.heartbeat.as_ref().map(|heartbeat| heartbeat.next(last_sent));
        [own, connector, drain, outbound, heartbeat].into_iter().flatten().min()
    }
}
