//! What a client should perhaps not have done (server.md OBS-08).
//!
//! Owns the kinds of findings, and the checks that need nothing but the command. It refuses
//! nothing: what is found is noted.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use amps_protocol::{AckType, CommandKind, Message};
use amps_transport::{ConnId, Time};

use super::Engine;
use super::event::{Event, Observe};
use super::timers::Timer;

/// A kind of finding.
///
/// Some break a rule of the protocol, or will lose something: these are violations, and fail a
/// strict server. The others are worth a look, but right in some client: a subscriber that does
/// not care whether it is refused, a heartbeat that a busy machine delayed, a command that is
/// refused on purpose.
///
/// ```
/// use amps_testkit::Lint;
///
/// assert!(Lint::AckOfUnknownBookmark.is_violation());
/// assert!(!Lint::HeartbeatLate.is_violation());
/// assert_eq!(Lint::MissingLogonAck.as_str(), "missing_logon_ack");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lint {
    /// A queue message is acknowledged that is not in the queue, or by what is no bookmark.
    AckOfUnknownBookmark,
    /// A publish has no sequence number although earlier ones on the connection had.
    PublishWithoutSequence,
    /// A logon asks for no `processed` ack: its client does not get to know whether it is in, nor
    /// which of its publishes the server has.
    MissingLogonAck,
    /// An option that the server does not know.
    UnknownOption,
    /// A correlation id, or a record key, that is not in the Base64 alphabet (FMT-04).
    NotBase64,
    /// A sign of life came later than one interval after the heartbeat that asked for it, and in
    /// time all the same.
    HeartbeatLate,
    /// A subscription or query asks for no `processed` ack: its failure is silent.
    SubscriptionWithoutProcessed,
    /// A command was refused; the detail that AMPS does not tell.
    Refused,
    /// Something was asked for that this server does not do.
    Unsupported,
    /// What one action does triggered others, or itself, without an end, so that it was ended here. No
    /// client did that: the configuration is wrong.
    EndlessActions,
}

impl Lint {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::AckOfUnknownBookmark,
        Self::PublishWithoutSequence,
        Self::MissingLogonAck,
        Self::UnknownOption,
        Self::NotBase64,
        Self::HeartbeatLate,
        Self::SubscriptionWithoutProcessed,
        Self::Refused,
        Self::Unsupported,
        Self::EndlessActions,
    ];

    /// Whether it fails a strict server.
    pub const fn is_violation(self) -> bool {
        match self {
            Self::AckOfUnknownBookmark
            | Self::PublishWithoutSequence
            | Self::MissingLogonAck
            | Self::UnknownOption
            | Self::NotBase64
            | Self::EndlessActions => true,
            Self::HeartbeatLate | Self::SubscriptionWithoutProcessed | Self::Refused | Self::Unsupported => {
                false
            }
        }
    }

    /// Its name, in small letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AckOfUnknownBookmark => "ack_of_unknown_bookmark",
            Self::PublishWithoutSequence => "publish_without_sequence",
            Self::MissingLogonAck => "missing_logon_ack",
            Self::UnknownOption => "unknown_option",
            Self::NotBase64 => "not_base64",
            Self::HeartbeatLate => "heartbeat_late",
            Self::SubscriptionWithoutProcessed => "subscription_without_processed",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::EndlessActions => "endless_actions",
        }
    }
}

impl Lint {
    /// Whether it is about a connection.
    pub(crate) const fn is_of_a_client(self) -> bool {
        !matches!(self, Self::EndlessActions)
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was found: the kind, and the case in words.
///
/// ```
/// use amps_testkit::{Lint, Noted};
///
/// let noted = Noted { kind: Lint::UnknownOption, text: "unknown option: frobnicate".into() };
/// assert_eq!(noted.to_string(), "unknown option: frobnicate");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The kind.
    pub kind: Lint,
    /// The case.
    pub text: String,
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Engine {
    pub(super) fn note(&mut self, now: Time, conn: ConnId, kind: Lint, text: String) {
        if self.observe != Observe::Nothing {
            self.events.push((now, Event::Noted { conn, noted: Noted { kind, text } }));
        }
    }

    /// Looks at a command before it is carried out.
    pub(super) fn lint(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>) {
        if self.observe == Observe::Nothing {
            return;
        }
        let command = message.command();
        let answered = message.acks().contains(AckType::Processed);
        match command {
            CommandKind::Logon if !answered => {
                let text = "the logon asks for no processed ack".to_owned();
                self.note(now, conn, Lint::MissingLogonAck, text);
            }
            CommandKind::Subscribe
            | CommandKind::DeltaSubscribe
            | CommandKind::Sow
            | CommandKind::SowAndSubscribe
            | CommandKind::SowAndDeltaSubscribe
                if !answered =>
            {
                let text = format!("a {} asks for no processed ack", command.token());
                self.note(now, conn, Lint::SubscriptionWithoutProcessed, text);
            }
            CommandKind::Publish | CommandKind::DeltaPublish => self.lint_publish(now, conn, message),
            _ => {}
        }
        if let Some(id) = message.correlation_id().filter(|id| !is_base64(id)) {
            self.note(now, conn, Lint::NotBase64, format!("the correlation id \"{id}\" is not Base64"));
        }
    }

    fn lint_publish(&mut self, now: Time, conn: ConnId, message: &Message<&[u8]>) {
        let sequenced = message.sequence().is_some_and(|sequence| sequence > 0);
        if let Some(connection) = self.connections.get_mut(&conn) {
            let before = std::mem::replace(&mut connection.sequenced, sequenced);
            if before && !sequenced {
                let text = "a publish without sequence number after one that had it".to_owned();
                self.note(now, conn, Lint::PublishWithoutSequence, text);
            }
        }
        if let Some(key) = message.sow_key().filter(|key| !is_base64(key)) {
            self.note(now, conn, Lint::NotBase64, format!("the record key \"{key}\" is not Base64"));
        }
    }

    /// A client gives a sign of life.
    pub(super) fn lint_silence(&mut self, now: Time, conn: ConnId) {
        let Some(deadline) = self.timers.get(Timer::Silence(conn)) else { return };
        let Some(interval) = self.connections.get(&conn).and_then(|connection| connection.heartbeat) else {
            return;
        };
        // It was asked two intervals before.
        if now + interval > deadline {
            let left = deadline.saturating_since(now);
            let text = format!("a sign of life came {left:?} before the end of the patience");
            self.note(now, conn, Lint::HeartbeatLate, text);
        }
    }
}

fn is_base64(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}
