//! Logon (server.md 1.3 to 1.5).
//!
//! Owns who may come in, under which name, and what happens to whoever had the name before.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{Field, Message, MessageId, Options, Status};
use amps_transport::{CloseMode, ConnId, Sink, Time};

use super::Engine;
use super::config::{Authentication, SERVER_VERSION};
use super::connection::{Connection, Identity};
use super::entitlement::Rights;
use super::event::{Disconnect, Event, Observe};
use super::reasons::Reason;
use super::reply::AckFrame;
use super::status::About;
use super::subscription::{field_text, text};
use super::topic::TypeId;
use super::txlog::name_hash;

/// What a logon that is accepted amounts to.
struct Admission {
    user: Arc<str>,
    name: Arc<str>,
    message_type: TypeId,
    rights: Option<Arc<Rights>>,
}

impl Engine {
    pub(super) fn logon<S: Sink>(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>, sink: &mut S) {
        if self.connections.get(&conn).is_some_and(Connection::is_ready) {
            return self.refuse(now, conn, message, Reason::DuplicateLogon.into(), sink);
        }
        if self.challenge(now, conn, message, sink) {
            return;
        }
        match self.admit(conn, message) {
            Ok(admission) => self.welcome(now, conn, message, admission, sink),
            Err((recorded, reason)) => self.turn_away(now, conn, message, recorded, &reason, sink),
        }
    }

    /// Sends the next challenge, if there is one left (CONN-23, CONN-24).
    fn challenge<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(&conn) else { return false };
        let Some(challenge) = self.config.challenges.get(connection.challenged).cloned() else {
            return false;
        };
        connection.challenged += 1;
        let user = field_text(message, Field::UserId);
        let ack = AckFrame {
            user: Some(&user),
            password: Some(&challenge),
            status: Status::Retry,
            ..AckFrame::new()
        };
        self.acknowledge(now, conn, message, ack, sink);
        true
    }

    /// Takes a first command for a logon, where that is allowed (CONN-19).
    ///
    /// # Errors
    /// Why not, and the reason for refusing as the client will read it.
    pub(super) fn admit_without_logon(
        &mut self,
        now: Time,
        conn: ConnId,
    ) -> Result<(), (Disconnect, Reason)> {
        let conditions = self.authentication(conn).conditions();
        if conditions.is_none_or(|conditions| conditions.require_logon || conditions.require_user) {
            return Err((Disconnect::Auth, Reason::LogonRequired));
        }
        let fixed = self.transport(conn).and_then(|transport| transport.message_type.clone());
        let message_type = self.types.id(fixed.as_deref().unwrap_or("json"));
        let rights = self.rights_of(conn, "");
        if rights.as_ref().is_some_and(|rights| !rights.may_log_on()) {
            return Err((Disconnect::Entitlement, Reason::NotEntitled));
        }
        let name = self.generated_name(conn);
        self.enter(now, conn, Admission { user: "".into(), name, message_type, rights }, None);
        Ok(())
    }

    /// `None` if nobody is restricted.
    fn rights_of(&self, conn: ConnId, user: &str) -> Option<Arc<Rights>> {
        let access = self.transport(conn).and_then(|transport| transport.access.as_ref());
        Rights::of(&self.config, self.restricted, access, user)
    }

    /// Who may log on where the connection came in.
    fn authentication(&self, conn: ConnId) -> &Authentication {
        let own = self.transport(conn).and_then(|transport| transport.authentication.as_ref());
        own.unwrap_or(&self.config.authentication)
    }

    /// # Errors
    /// What is recorded, and the reason for refusing as the client will read it.
    fn admit(&mut self, conn: ConnId, message: &Message<&[u8]>) -> Result<Admission, (Disconnect, String)> {
        let user = self.authenticate(conn, message).map_err(|reason| (Disconnect::Auth, reason))?;
        let agreed = self.agreed_type(conn, message).and_then(|name| self.types.known(&name));
        let Some(message_type) = agreed else {
            return Err(self.refused(Disconnect::Auth, Reason::InvalidMessageType));
        };
        let name: Arc<str> = match message.client_name().filter(|name| !name.is_empty()) {
            Some(name) => text(Some(name)).into(),
            None => self.generated_name(conn),
        };
        let other_user = |conn: ConnId| {
            let identity = self.connections.get(&conn).and_then(|connection| connection.identity.as_ref());
            identity.is_some_and(|identity| identity.user != user)
        };
        if self.log.exists() && self.clients_named(&name).any(other_user) {
            return Err(self.refused(Disconnect::NameInUse, Reason::NameInUse));
        }
        let rights = self.rights_of(conn, &user);
        if rights.as_ref().is_some_and(|rights| !rights.may_log_on()) {
            return Err(self.refused(Disconnect::Entitlement, Reason::NotEntitled));
        }
        Ok(Admission { user, name, message_type, rights })
    }

    fn refused(&self, recorded: Disconnect, reason: Reason) -> (Disconnect, String) {
        (recorded, self.config.reasons.text(reason).to_owned())
    }

    fn authenticate(&self, conn: ConnId, message: &Message<&[u8]>) -> Result<Arc<str>, String> {
        let authentication = self.authentication(conn);
        let user = field_text(message, Field::UserId);
        let (accepted, name) = match (authentication, authentication.conditions()) {
            (Authentication::Refuse(reason), _) => return Err(reason.clone()),
            (Authentication::Passwords(passwords), _) => {
                (passwords.get(&user) == Some(&field_text(message, Field::Password)), user)
            }
            (_, Some(conditions)) => {
                let accepted = !(conditions.require_user && user.is_empty());
                (accepted, if conditions.allow_spoofing { user } else { String::new() })
            }
            (_, None) => (false, user),
        };
        let refused = || self.config.reasons.text(Reason::AuthFailure).to_owned();
        accepted.then(|| name.into()).ok_or_else(refused)
    }

    /// The connection's message type: the listener's, or the one that the logon names (CONN-30).
    fn agreed_type(&self, conn: ConnId, message: &Message<&[u8]>) -> Option<String> {
        let fixed = self.transport(conn).and_then(|transport| transport.message_type.as_ref());
        let named = message.message_type().filter(|name| !name.is_empty()).map(|name| text(Some(name)));
        match (fixed, named) {
            (Some(fixed), Some(named)) if *fixed != named => None,
            (Some(fixed), _) => Some(fixed.clone()),
            (None, named) => named,
        }
    }

    fn generated_name(&self, conn: ConnId) -> Arc<str> {
        let index = self.connections.get(&conn).map_or(0, |connection| connection.index);
        let transport = self.transport(conn).and_then(|transport| transport.name.as_deref());
        format!("{}-{}-{index}-{}", self.config.instance, transport.unwrap_or("any-tcp"), conn.0).into()
    }

    fn welcome<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        admission: Admission,
        sink: &mut S,
    ) {
        if self.log.exists() {
            let predecessors: Vec<_> = self.clients_named(&admission.name).collect();
            for predecessor in predecessors {
                self.close(now, predecessor, Disconnect::NameInUse, CloseMode::Flush, sink);
            }
        }
        let (name, user) = (Arc::clone(&admission.name), Arc::clone(&admission.user));
        let hash = self.enter(now, conn, admission, Some(message));
        let sequence = self.log.highest(hash);
        let conditions = self.authentication(conn).conditions();
        let disabled = conditions.is_some_and(|conditions| conditions.require_logon);
        let reason = disabled.then(|| self.config.reasons.text(Reason::AuthenticationDisabled).to_owned());
        let ack = AckFrame {
            sequence: Some(sequence),
            bookmark: Some(MessageId { publisher: hash, sequence }),
            client_name: Some(&name),
            user: (!disabled || !user.is_empty()).then_some(&*user),
            correlation: message.correlation_id().map(|x| &**x),
            reason: reason.as_deref(),
            version: Some(SERVER_VERSION),
            ..AckFrame::new()
        };
        self.acknowledge(now, conn, message, ack, sink);
    }

    /// The connection is somebody's from now on. Returns the publisher's part of its bookmarks.
    fn enter(
        &mut self,
        now: Time,
        conn: ConnId,
        admission: Admission,
        message: Option<&Message<&[u8]>>,
    ) -> u64 {
        let Admission { user, name, message_type, rights } = admission;
        let hash = self.client_hash(&name);
        let server_hash = name_hash(&format!("{name}@{}", self.config.instance));
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.client_name = Arc::clone(&name);
            connection.message_type = message_type;
            connection.rights = rights;
            connection.identity = Some(Identity { user, hash, server_hash });
            connection.ack_conflation =
                message.and_then(ack_conflation).unwrap_or(self.config.ack_conflation);
        }
        if self.observe != Observe::Nothing {
            self.events.push((now, Event::LoggedOn { conn, client: name }));
        }
        self.report(now, conn, "logon", About { command: message, ..About::default() });
        hash
    }

    fn turn_away<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        recorded: Disconnect,
        reason: &str,
        sink: &mut S,
    ) {
        self.report(now, conn, "auth_failure", About { reason: Some(reason), ..About::default() });
        let ack = AckFrame { status: Status::Failure, reason: Some(reason), ..AckFrame::new() };
        self.acknowledge(now, conn, message, ack, sink);
        if self.config.switches.close_on_refused_logon {
            self.close(now, conn, recorded, CloseMode::Flush, sink);
        }
    }

    /// Another command came before the logon, and may not (CONN-18).
    pub(super) fn demand_logon<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        (recorded, reason): (Disconnect, Reason),
        sink: &mut S,
    ) {
        if self.config.switches.logon_required_ack || reason != Reason::LogonRequired {
            self.refuse(now, conn, message, reason.into(), sink);
        }
        self.close(now, conn, recorded, CloseMode::Flush, sink);
    }
}

fn ack_conflation(message: &Message<&[u8]>) -> Option<Duration> {
    let options = Options::parse(&text(message.options().map(|o| &**o)));
    // An interval that is none is overlooked: the default stands.
    options.ack_conflation().ok().flatten().map(Duration::from)
}
