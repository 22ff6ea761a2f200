//! From a connection string to a logon: attempts, waits, giving up.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{
    AckType, Command, Endpoint, Field, Message, Options, Password, ReasonClass, Scheme, Status,
};
use amps_transport::{CloseMode, ConnId, Sink, Time};

use super::app::App;
use super::heartbeat::Heartbeat;
use super::inbound::{Advice, Session, State};
use super::peer::Peer;
use super::servers::NextAttempt;
use super::waiter::Done;
use crate::advisor::News;
use crate::authenticator::{Answer, Question, Step};
use crate::error::{DisconnectCause, Error, Result};
use crate::listener::ConnectionState;
use crate::server_chooser::ConnectionInfo;

/// Logons sent on one connection before a server that keeps challenging is given up.
const MAX_LOGONS: u32 = 4;

impl<A: App> Session<A> {
    // ----- connecting -----------------------------------------------------------------

    /// Begins the next attempt, or plans it, or gives up.
    pub(super) fn attempt<S: Sink>(&mut self, now: Time, sink: &mut S) {
        if self.advised {
            self.questions += 1;
            self.state = State::Choosing;
            return self.app.advise(News::Next(self.questions));
        }
        let Some(policy) = &self.config.reconnect else {
            return self.connect(now, sink);
        };
        match self.servers.plan(now, policy, &mut self.rng) {
            NextAttempt::After(Duration::ZERO) => self.connect(now, sink),
            next => self.wait_for(now, next),
        }
    }

    fn wait_for(&mut self, now: Time, next: NextAttempt) {
        match next {
            NextAttempt::After(wait) => self.state = State::Backoff { until: now + wait },
            NextAttempt::GiveUp => self.give_up(),
        }
    }

    /// A server chooser has answered.
    pub(super) fn advised<S: Sink>(&mut self, now: Time, number: u64, advice: Result<Advice>, sink: &mut S) {
        if number != self.questions || !matches!(self.state, State::Choosing) {
            return;
        }
        match advice {
            Ok(Advice { endpoint, wait, authenticator }) => {
                self.chosen = Some(endpoint);
                self.app.chosen(authenticator);
                if wait.is_zero() {
                    self.connect(now, sink);
                } else {
                    self.state = State::Backoff { until: now + wait };
                }
            }
            Err(error) => {
                self.last_error = Some(error);
                self.give_up();
            }
        }
    }

    /// The server that is used, or tried.
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.chosen.as_ref().or_else(|| self.servers.current())
    }

    /// The server that is used, or tried, is not to be tried next.
    pub(super) fn server_failed(&mut self, error: &Error) {
        self.servers.failed();
        if let Some(info) = self.info.clone().filter(|_| self.advised) {
            self.app.advise(News::Failed(error.clone(), info));
        }
    }

    pub(super) fn connect<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let Some(endpoint) = self.endpoint() else { return self.give_up() };
        let info = ConnectionInfo::of(&self.config.name, endpoint);
        let target = match self.config.transports.target(endpoint, self.config.connect_timeout) {
            Ok(target) => target,
            Err(error) => {
                self.info = Some(info);
                return match &self.config.reconnect {
                    // Not at once, whatever the policy: there would be no end to it.
                    Some(policy) if !self.advised => {
                        let policy = policy.clone();
                        self.note_failure(error);
                        let next = self.servers.plan(now, &policy, &mut self.rng);
                        self.wait_for(now, next);
                    }
                    _ => self.attempt_failed(now, error, sink),
                };
            }
        };
        self.info = Some(info);
        self.state = State::Connecting { conn: sink.connect(target) };
    }

    fn note_failure(&mut self, error: Error) {
        self.state = State::Idle;
        self.server_failed(&error);
        self.app.report(&error);
        self.last_error = Some(error);
    }

    pub(super) fn attempt_failed<S: Sink>(&mut self, now: Time, error: Error, sink: &mut S) {
        self.note_failure(error);
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
    pub(super) fn give_up(&mut self) {
        self.state = State::Idle;
        let error =
            self.last_error.take().unwrap_or_else(|| Error::disconnected(DisconnectCause::NeverConnected));
        let cause = DisconnectCause::GaveUp(Box::new(error.clone()));
        self.shared.with(|outbound| outbound.give_up(&cause));
        self.shared.notify_room();
        match self.connector.take() {
            Some(connector) => connector.waiter.complete(Err(error)),
            None => {
                let error = Error::disconnected(cause);
                self.app.report(&error);
            }
        }
    }

    // ----- logging on -----------------------------------------------------------------

    pub(super) fn connected<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        let outlet = sink.outlet(conn);
        self.shared.with(|outbound| outbound.opening(outlet));
        self.reading = true;
        self.stopped = false;
        self.record = None;
        self.unparsed = 0;
        self.app.state(ConnectionState::Connected);
        let Some(endpoint) = self.endpoint() else { return };
        let is_web = matches!(endpoint.scheme, Scheme::Ws | Scheme::Wss);
        if let (true, Ok(nothing)) =
            (is_web && self.config.logon.not_over_websocket, Message::decode(&b"{}"[..]))
        {
            return self.logged_on(now, conn, &nothing);
        }
        let user = endpoint.user.clone().unwrap_or_default();
        let password = endpoint.password.clone().unwrap_or_else(|| Password::new(""));
        self.prepare_logon(now, conn, 1, Step::First, Credentials { user, password });
    }

    /// Logs on, with what an authenticator makes of the credentials if there is one.
    fn prepare_logon(
        &mut self,
        now: Time,
        conn: ConnId,
        attempts: u32,
        step: Step,
        credentials: Credentials,
    ) {
        if self.app.authenticate(conn, &credentials.question(step, "")) {
            let until = now + self.config.connect_timeout;
            self.state = State::Authenticating { conn, attempts, until };
            return;
        }
        if step == Step::First {
            self.credentials = credentials;
        }
        self.log_on(now, conn, attempts);
    }

    /// An authenticator has answered.
    pub(super) fn authenticated<S: Sink>(&mut self, now: Time, conn: ConnId, answer: Answer, sink: &mut S) {
        let State::Authenticating { conn: asked, attempts, .. } = self.state else { return };
        if asked != conn {
            return;
        }
        match answer.password {
            Ok(password) => {
                self.credentials = Credentials { user: answer.user, password: Password::new(password) };
                self.log_on(now, conn, attempts);
            }
            Err(source) => {
                let (server, client) = (self.server_name(), self.config.name.clone());
                self.logon_failed(now, conn, Error::Authenticator { server, client, source }, sink);
            }
        }
    }

    fn log_on(&mut self, now: Time, conn: ConnId, attempts: u32) {
        let Some(endpoint) = self.endpoint() else { return };
        let (name, settings, credentials) = (&self.config.name, &self.config.logon, &self.credentials);
        let cid = self.shared.with(|outbound| {
            let cid = outbound.reserve().0;
            let mut options = Options::new();
            if endpoint.options.pretty || settings.pretty {
                options.set_pretty(true);
            }
            if let Some(interval) = settings.ack_conflation {
                options.set_ack_conflation(interval.into());
            }
            let logon = Command::logon(cid, name)
                .user_id(&*credentials.user)
                .password(credentials.password.reveal())
                .message_type(endpoint.message_type.as_deref().unwrap_or_default())
                .correlation_id(settings.correlation_id.as_deref().unwrap_or_default())
                .options(options)
                .version(concat!(env!("CARGO_PKG_VERSION"), ":rust"));
            outbound.line.write(&logon.into());
            cid.to_string()
        });
        self.state = State::LoggingOn { conn, cid, attempts, until: now + self.config.logon_timeout };
    }

    pub(super) fn logon_answered<S: Sink>(&mut self, now: Time, ack: &Message<&[u8]>, sink: &mut S) {
        let State::LoggingOn { conn, cid, attempts, .. } = &self.state else { return };
        let (conn, attempts) = (*conn, *attempts);
        if ack.command_id().is_none_or(|answered| answered != cid.as_str()) || !ack.is_ack(AckType::Processed)
        {
            return;
        }
        match ack.status() {
            Some(Status::Success) => {
                let accepted = self.shared.with(|outbound| outbound.accepts(ack.sequence()));
                match accepted {
                    Ok(()) => self.logged_on(now, conn, ack),
                    Err(error) => self.logon_failed(now, conn, error, sink),
                }
            }
            Some(Status::Retry | Status::Other) | None if attempts < MAX_LOGONS => {
                let said = |field, before: &str| match ack.get(field) {
                    Some(text) => text.to_string(),
                    None => before.to_owned(),
                };
                let user = said(Field::UserId, &self.credentials.user);
                let password = Password::new(said(Field::Password, self.credentials.password.reveal()));
                self.prepare_logon(now, conn, attempts + 1, Step::Retry, Credentials { user, password });
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

    /// The connection can be used; `ack` is empty where nobody was asked.
    fn logged_on(&mut self, now: Time, conn: ConnId, ack: &Message<&[u8]>) {
        if ack.status().is_some() {
            let reason = ack.reason().map(ToString::to_string).unwrap_or_default();
            self.app.authenticate(conn, &self.credentials.question(Step::Completed, &reason));
        }
        let peer = Peer::of(ack, self.endpoint());
        if let Some(info) = &mut self.info {
            info.version = peer.version();
        }
        if let Some(info) = self.info.clone().filter(|_| self.advised) {
            self.app.advise(News::Succeeded(info));
        }
        let info = self.info.clone().map(Arc::new);
        self.shared.with(|outbound| (outbound.peer, outbound.info) = (Some(Arc::new(peer)), info));
        self.app.state(ConnectionState::LoggedOn);
        let heartbeat = self.config.heartbeat;
        let seconds = heartbeat.map(|settings| settings.interval.as_secs());
        let recovers = self.config.reconnect.is_some();
        let has = ack.sequence();
        let ended = self.shared.with_ended(|outbound| outbound.open(now, seconds, recovers, has));
        drop(ended);
        self.heartbeat = heartbeat.map(|settings| Heartbeat::new(now, settings));
        self.state = State::Online { conn, since: now, stable: false };
        self.servers.connected();
        self.last_error = None;
        if self.config.reconnect.is_none() {
            self.app.recovered();
        }
        if let Some(connector) = self.connector.take() {
            connector.waiter.complete(Ok(Done::default()));
        }
    }

    pub(super) fn logon_failed<S: Sink>(&mut self, now: Time, conn: ConnId, error: Error, sink: &mut S) {
        sink.close(conn, CloseMode::Abort);
        self.logon_ended(now, error, sink);
    }

    /// The connection is closed already.
    pub(super) fn logon_ended<S: Sink>(&mut self, now: Time, error: Error, sink: &mut S) {
        let cause = DisconnectCause::GaveUp(Box::new(error.clone()));
        let recover = self.config.reconnect.is_some();
        self.shared.with(|outbound| outbound.connection_lost(&cause, recover));
        self.app.state(ConnectionState::Disconnected);
        self.attempt_failed(now, error, sink);
    }
}

/// What a logon says of the user.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    user: String,
    password: Password,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { user: String::new(), password: Password::new("") }
    }
}

impl Credentials {
    fn question(&self, step: Step, reason: &str) -> Question {
        let (user, password) = (self.user.clone(), self.password.reveal().to_owned());
        Question { step, user, password, reason: reason.to_owned() }
    }
}
