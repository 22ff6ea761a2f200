//! Commands that wait to be sent: for a connection, or for what was published before them.
//!
//! A client that recovers does not refuse commands (RD2-2): they are kept, and sent in the order in which
//! they were given once what is kept of its publishes is on the wire and its subscriptions
//! are placed. So are commands that a lost connection left unanswered. No command overtakes what
//! was published before it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, AckTypes};
use amps_transport::Time;
use bytes::Bytes;

use super::commands::{Pending, Purpose, Unsent, Wait};
use super::outbound::{Effect, Gate, Outbound};
use super::placing::unknown_subscription;
use super::publisher::{Over, Publisher};
use super::replay;
use super::subscription::SubKey;
use super::waiter::{Done, Waiter};
use crate::command::{Command, WireIds};
use crate::error::{DisconnectCause, Error, Result};

impl Outbound {
    /// Whether a command is written at once; if not, it is put off.
    ///
    /// # Errors
    /// There is no connection, and none is awaited.
    pub(super) fn writes_now(&self, command: &Command) -> Result<bool> {
        let kept = command.needs_sequence_number() && self.line.publisher.is_some();
        match &self.gate {
            // The store knows by itself when it may go.
            Gate::Up | Gate::Replaying if kept => Ok(true),
            Gate::Up => Ok(self.waiting == 0 && self.line.is_level()),
            Gate::Replaying => Ok(false),
            Gate::Down(_) | Gate::Opening if self.recovering && kept => Ok(true),
            // What is published is a store's business alone: sent again without a number it could be there twice.
            Gate::Down(_) | Gate::Opening if self.recovering && self.retry && !command.is_publish() => {
                Ok(false)
            }
            Gate::Down(_) | Gate::Opening => self.require_up().map(|()| true),
        }
    }

    /// A command that waits for its turn.
    pub(super) fn put_off(&mut self, serial: u64) {
        let after = self.line.publisher.as_ref().map_or(0, |publisher| publisher.last());
        if let Some(pending) = self.commands.get_mut(&serial) {
            if pending.unsent.replace(Unsent { after }).is_none() {
                self.waiting += 1;
            }
        }
    }

    /// Whether the first command that waits may be sent.
    pub(super) fn waits_to_be_sent(&self) -> bool {
        if self.waiting == 0 {
            return false;
        }
        let sent = self.line.publisher.as_ref().map_or(u64::MAX, |publisher| publisher.sent());
        let level = self.line.is_level();
        let first = self.commands.values().find_map(|pending| pending.unsent);
        first.is_none_or(|unsent| level || unsent.after <= sent)
    }

    /// Sends the commands whose turn it is.
    pub(super) fn send_waiting(&mut self, now: Time) {
        while self.waits_to_be_sent() {
            let first = self.commands.iter().find(|(_, pending)| pending.unsent.is_some());
            let Some(serial) = first.map(|(serial, _)| *serial) else {
                self.waiting = 0;
                return;
            };
            self.send_one(now, serial);
        }
    }

    /// Sends a command that has waited.
    pub(super) fn send_one(&mut self, now: Time, serial: u64) {
        let Some(mut pending) = self.commands.remove(&serial) else { return };
        if pending.unsent.take().is_some() {
            self.waiting -= 1;
        }
        // Nobody waits for its answer, and no answer may come.
        let over =
            pending.waiter.is_none() && matches!(pending.purpose, Purpose::Perform(_) | Purpose::Place(_));
        match self.write_waiting(now, serial, &pending) {
            Ok(_) if over => {
                self.forget_name(serial);
                match pending.purpose {
                    Purpose::Place(key) if self.replay(key).is_some() => {
                        self.effects.push(Effect::Replays { key, serial, anew: true });
                    }
                    _ => {}
                }
            }
            Ok(kept) => {
                pending.kept = kept;
                self.commands.insert(serial, pending);
            }
            Err(error) => {
                self.forget_name(serial);
                if let Purpose::Place(key) = pending.purpose {
                    self.take_out(key);
                    self.effects.push(Effect::RouteRemoved { key });
                }
                if pending.waiter.is_none() {
                    self.effects.push(Effect::Report(error.clone()));
                }
                self.tell(pending.waiter, Err(error));
            }
        }
    }

    fn write_waiting(&mut self, now: Time, serial: u64, pending: &Pending) -> Result<Option<u64>> {
        match &pending.purpose {
            Purpose::Place(key) => {
                let Some(subscription) = self.subscriptions.get(key) else {
                    return Err(unknown_subscription(&key.to_string()));
                };
                let (command, ids) = (subscription.spec.command.clone(), subscription.ids.clone());
                let replay = subscription.replay.clone();
                let asked = replay::acks(command.asked(subscription.spec.streams), replay.as_ref());
                let written = self.write_placing(&command, &ids, replay.as_deref(), asked)?;
                self.note_name(&ids.command, serial);
                self.line.last_sent = now;
                Ok(written)
            }
            Purpose::Replace { key, spec, .. } => {
                self.write_replacement(*key, serial, spec)?;
                self.line.last_sent = now;
                Ok(None)
            }
            Purpose::Perform(command) => {
                let ids = command.wire_ids(serial)?;
                self.note_name(&ids.command, serial);
                let until = pending.waiter.is_some().then_some(pending.until);
                self.write_command(now, command, &ids, until)
            }
            Purpose::Resubscribe(_)
            | Purpose::ResumeAgain
            | Purpose::Drain
            | Purpose::StartHeartbeats
            | Purpose::Persisted => Ok(None),
        }
    }

    /// Writes a command of which only the acknowledgement concerns anybody. Returns the number
    /// under which it is kept.
    pub(super) fn write_command(
        &mut self,
        now: Time,
        command: &Command,
        ids: &WireIds,
        until: Option<AckType>,
    ) -> Result<Option<u64>> {
        let asked = until.into_iter().fold(command.asked(false), AckTypes::with);
        let (limit, options) = (self.limits.message, command.effective_options());
        let kept = self.line.publish_if(
            self.limits,
            command.needs_sequence_number(),
            command.get_sequence(),
            |out, asked, number| command.encode(out, ids, asked, &options, number, limit),
            asked,
        )?;
        self.line.last_sent = now;
        Ok(kept)
    }

    pub(super) fn note_kept(&mut self, serial: u64, kept: Option<u64>) {
        if let Some(pending) = self.commands.get_mut(&serial) {
            pending.kept = kept;
        }
    }

    /// The connection is gone, and with it the answers to what was sent. With `retry` what can
    /// be sent again waits for the next one. Returns what is still to be placed.
    pub(super) fn interrupt_commands(&mut self, cause: &DisconnectCause, retry: bool) -> BTreeSet<SubKey> {
        let mut placing = BTreeSet::new();
        self.waiting = 0;
        for (serial, mut pending) in std::mem::take(&mut self.commands) {
            let again = match pending.purpose {
                Purpose::Persisted => !self.bugs.wait_ends_at_reconnect,
                Purpose::Place(_) | Purpose::Replace { .. } | Purpose::Perform(_) => retry,
                Purpose::Resubscribe(_)
                | Purpose::ResumeAgain
                | Purpose::Drain
                | Purpose::StartHeartbeats => false,
            };
            if again {
                if let Purpose::Place(key) = pending.purpose {
                    placing.insert(key);
                }
                // What is kept is sent by the store.
                let sends = pending.kept.is_none() && !matches!(pending.purpose, Purpose::Persisted);
                if sends {
                    let after = pending.unsent.map_or(0, |unsent| unsent.after);
                    pending.unsent = Some(Unsent { after });
                    self.waiting += 1;
                }
                self.commands.insert(serial, pending);
                continue;
            }
            if let Purpose::Place(key) = pending.purpose {
                self.take_out(key);
                self.effects.push(Effect::RouteRemoved { key });
            }
            let waiter = pending.waiter.filter(|_| !self.bugs.waiter_forgotten);
            self.tell(waiter, Err(Error::disconnected(cause.clone())));
        }
        placing
    }

    /// A server has what some commands asked for that were kept, and its answer went down with
    /// another connection: nobody is going to give it again.
    pub(super) fn lose_answers(&mut self) {
        let Some(publisher) = &self.line.publisher else { return };
        let persisted = publisher.status().last_persisted;
        let lost = |pending: &Pending| pending.kept.is_some_and(|kept| kept <= persisted);
        let serials: Vec<u64> = self.commands.iter().filter(|(_, p)| lost(p)).map(|(cid, _)| *cid).collect();
        for serial in serials {
            let Some(pending) = self.commands.remove(&serial) else { continue };
            self.forget_name(serial);
            if let Purpose::Place(key) = pending.purpose {
                self.take_out(key);
                self.effects.push(Effect::RouteRemoved { key });
            }
            let error = Error::AnswerLost { action: pending.action };
            self.tell(pending.waiter, Err(error));
        }
    }

    // ----- what is published ----------------------------------------------------------

    /// Tells when everything that was published up to a number is persisted, or refused.
    pub(crate) fn await_persisted(
        &mut self,
        now: Time,
        number: u64,
        timeout: Option<Duration>,
        waiter: &Arc<Waiter>,
    ) {
        let serial = self.reserve().0;
        let over = self.line.publisher.as_mut().is_none_or(|p| p.await_persisted(number, serial));
        if over {
            return self.tell(Some(Arc::clone(waiter)), Ok(Done::default()));
        }
        let wait = Wait { until: AckType::Persisted, timeout, waiter: Some(waiter) };
        let sent = self.line.last_sent;
        self.await_ack(now, serial, Purpose::Persisted, "flush".into(), wait);
        self.line.last_sent = sent;
    }

    pub(super) fn forget_persisted_wait(&mut self, serial: u64) {
        if let Some(publisher) = &mut self.line.publisher {
            publisher.forget_wait(serial);
        }
    }

    /// The server has persisted everything up to a number.
    pub(crate) fn persisted(&mut self, number: u64) {
        self.dealt_with(|publisher| publisher.persisted(number));
    }

    /// The server had the message of a number already.
    pub(crate) fn known(&mut self, number: u64) {
        self.dealt_with(|publisher| publisher.known(number));
    }

    /// The server has refused the message of a number, for good.
    pub(crate) fn refused(&mut self, number: u64, reason: String) {
        self.dealt_with(|publisher| publisher.refused(number, reason));
    }

    fn dealt_with(&mut self, what: impl FnOnce(&mut Publisher) -> Over) {
        let Some(publisher) = &mut self.line.publisher else { return };
        let (over, trouble) = what(publisher);
        self.line.troubles.extend(trouble);
        for serial in over {
            if let Some(pending) = self.commands.remove(&serial) {
                self.tell(pending.waiter, Ok(Done::default()));
            }
        }
    }

    /// What was kept under a number.
    pub(crate) fn original(&mut self, number: u64) -> Option<Bytes> {
        self.line.publisher.as_mut()?.original(number)
    }
}
