//! Commands that wait for the server's answer, and those that do not.
//!
//! Owns promise P7: a command enters `Outbound::commands` when it is written and leaves it
//! once, when it is answered, when its time is over, or when the connection is lost.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, Field, Message, Options, ReasonClass, Status};
use amps_transport::Time;

use super::outbound::{Effect, Outbound};
use super::placing::unknown_subscription;
use super::replay::Progress;
use super::subscription::{Spec, SubKey};
use super::waiter::{Done, Waiter};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::sow_delete::DeleteStats;

/// Commands that nobody waits for any more, whose late answers are no news to anybody.
const REMEMBERED_COMMANDS: usize = 1024;

/// Why a command waits.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Place(SubKey),
    /// With what the subscription is, once the server agrees.
    Replace {
        key: SubKey,
        spec: Box<Spec>,
        /// Somebody else takes the messages then.
        takes_over: bool,
    },
    Resubscribe(SubKey),
    /// Resumes replays together that were resumed together before.
    ResumeAgain,
    /// Stops the deliveries of a queue subscription that is being drained.
    Drain,
    StartHeartbeats,
    /// Only its acknowledgement concerns anybody, or nothing.
    Perform(Arc<Command>),
    /// Nothing was asked of the server: a number of what was published is to be persisted.
    Persisted,
}

impl Purpose {
    /// Whether the connection is of no use without an answer.
    pub(super) const fn is_recovery(&self) -> bool {
        matches!(self, Self::Resubscribe(_) | Self::ResumeAgain | Self::StartHeartbeats)
    }
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) purpose: Purpose,
    /// It is not on this connection's wire: it waits until what was published before it is.
    pub(super) unsent: Option<Unsent>,
    /// The publish store has it, under this number, and sends it again if that is needed.
    pub(super) kept: Option<u64>,
    /// The command in words, for errors.
    pub(super) action: String,
    /// The acknowledgement that ends the wait, if it reports no failure.
    pub(super) until: AckType,
    pub(super) deadline: Option<Time>,
    pub(super) timeout: Option<Duration>,
    pub(super) waiter: Option<Arc<Waiter>>,
}

/// What a command waits for before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsent {
    /// The last number that was given out before it.
    pub(super) after: u64,
}

impl Pending {
    /// Whether a subscription is to be placed that no server has seen yet.
    pub(super) fn waits_for_place(&self, key: SubKey) -> bool {
        self.unsent.is_some() && matches!(self.purpose, Purpose::Place(placed) if placed == key)
    }
}

/// How a command waits.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a> {
    pub(crate) until: AckType,
    pub(crate) timeout: Option<Duration>,
    pub(crate) waiter: Option<&'a Arc<Waiter>>,
}

impl<'a> Wait<'a> {
    /// Until the command was processed.
    pub(crate) const fn processed(timeout: Option<Duration>, waiter: &'a Arc<Waiter>) -> Self {
        Self { until: AckType::Processed, timeout, waiter: Some(waiter) }
    }
}

impl Outbound {
    /// Writes a command of which only the acknowledgement concerns anybody, now or when its time
    /// comes. Without a wait it is over when it is written.
    ///
    /// # Errors
    /// No connection, and none is awaited; or it is too long.
    pub(crate) fn perform(&mut self, now: Time, command: &Command, wait: Option<Wait<'_>>) -> Result<()> {
        let at_once = self.writes_now(command)?;
        self.require_room(command)?;
        let serial = self.reserve().0;
        let ids = command.wire_ids(serial)?;
        self.require_fresh(&ids.command, command)?;
        let (until, timeout, waiter) = match wait {
            Some(wait) => (wait.until, wait.timeout, wait.waiter),
            // Nobody waits for an answer, but it may have to wait to be sent.
            None => (AckType::Processed, None, None),
        };
        if at_once {
            let kept = self.write_command(now, command, &ids, wait.map(|wait| wait.until))?;
            if wait.is_none() && command.controls_replay() {
                self.replays_controlled(serial, command);
            }
            if wait.is_some() {
                self.note_name(&ids.command, serial);
                let purpose = Purpose::Perform(Arc::new(command.clone()));
                let wait = Wait { until, timeout, waiter };
                self.await_ack(now, serial, purpose, command.describe(), wait);
                self.note_kept(serial, kept);
            }
            return Ok(());
        }
        self.note_name(&ids.command, serial);
        let purpose = Purpose::Perform(Arc::new(command.clone()));
        self.await_ack(now, serial, purpose, command.describe(), Wait { until, timeout, waiter });
        self.put_off(serial);
        Ok(())
    }

    /// Writes a command without anything of our own.
    ///
    /// # Errors
    /// No connection, too much waits, or it is too long.
    pub(crate) fn send_as_is(&mut self, now: Time, command: &Command) -> Result<()> {
        self.require_up()?;
        self.require_room(command)?;
        let serial = self.reserve().0;
        let ids = command.wire_ids(serial)?;
        let (options, limit) = (command.effective_options(), self.limits.message);
        let (tail, number) = (&mut self.line.wire.tail, command.get_sequence());
        command.encode(tail, &ids, command.get_acks(), &options, number, limit)?;
        self.line.last_sent = now;
        Ok(())
    }

    /// Tells when everything that was published before has reached the server: with a publish
    /// store, is persisted or refused; without, was processed.
    ///
    /// # Errors
    /// No connection, and no publish store.
    pub(crate) fn flush(&mut self, now: Time, timeout: Option<Duration>, waiter: &Arc<Waiter>) -> Result<()> {
        match self.line.publisher.as_ref().map(|publisher| publisher.last()) {
            Some(last) => {
                self.await_persisted(now, last, timeout, waiter);
                Ok(())
            }
            None => self.perform(now, &Command::flush(), Some(Wait::processed(timeout, waiter))),
        }
    }

    /// Takes an acknowledgement from the server. Returns whether a command waited for it, or
    /// did until its time was over.
    pub(crate) fn acknowledged(&mut self, ack: &Message<&[u8]>) -> bool {
        let Some(serial) = self.serial_of(ack) else { return false };
        let Some(pending) = self.commands.get(&serial) else {
            // A late answer is nobody's business any more.
            return self.forgotten.contains(&serial);
        };
        if pending.unsent.is_some() {
            return true;
        }
        let failed = ack.status() != Some(Status::Success);
        if !failed && !ack.is_ack(pending.until) {
            return true;
        }
        if failed && !ack.is_ack(pending.until) && !ack.is_ack(AckType::Processed) {
            return true;
        }
        let Some(pending) = self.commands.remove(&serial) else { return true };
        self.forget_name(serial);
        let mut result = if failed { Err(refused(ack, pending.action)) } else { Ok(done(ack)) };
        if let (Purpose::Replace { key, .. }, Ok(_)) = (&pending.purpose, &result) {
            if !self.subscriptions.contains_key(key) {
                // It was ended meanwhile, and the server has ended what it replaced it by.
                result = Err(unknown_subscription(&key.to_string()));
            }
        }
        self.conclude(serial, pending.purpose, &result);
        self.tell(pending.waiter, result);
        true
    }

    /// What a command's end means for what it is about.
    fn conclude(&mut self, serial: u64, purpose: Purpose, result: &Result<Done>) {
        match (purpose, result) {
            (Purpose::Place(key), Ok(done)) => {
                if let Some(subscription) = self.subscriptions.get_mut(&key) {
                    subscription.granted = done.granted_backlog;
                    subscription.is_queue |= done.granted_backlog.is_some();
                    if subscription.replay.is_some() {
                        self.effects.push(Effect::Replays { key, serial, anew: true });
                    }
                }
            }
            (Purpose::Place(key), Err(_)) => {
                self.take_out(key);
                self.effects.push(Effect::RouteRemoved { key });
            }
            (Purpose::Replace { key, spec, takes_over }, Ok(done)) => {
                if let Some(subscription) = self.subscriptions.get_mut(&key) {
                    subscription.granted = done.granted_backlog;
                    subscription.is_queue |= done.granted_backlog.is_some();
                    if takes_over {
                        subscription.owner = SubKey(serial);
                    }
                    if !self.bugs.replacement_forgotten {
                        if takes_over {
                            subscription.spec = *spec;
                        } else {
                            // Whoever was to take over is gone: how it is dealt with stays as it was.
                            subscription.spec.command = spec.command;
                        }
                    }
                    let command = &subscription.spec.command;
                    let kept = subscription.replay.take();
                    subscription.replay = self.bookmarks.replay(command, subscription.ids.sub.as_ref());
                    if kept.is_some() && subscription.replay.is_some() {
                        subscription.replay = kept;
                    }
                    let progress = subscription.replay.clone().map(|replay| Progress::new(replay, command));
                    let (auto_ack, own) = (subscription.spec.auto_ack, SubKey(serial));
                    self.effects.push(Effect::Replaced { key, serial: own, auto_ack, takes_over, progress });
                    if subscription.replay.is_some() {
                        self.effects.push(Effect::Replays { key, serial, anew: false });
                    }
                }
            }
            // What was there goes on as it was.
            (Purpose::Replace { .. }, Err(_)) => {}
            (Purpose::Resubscribe(key), Ok(done)) => {
                if let Some(subscription) = self.subscriptions.get_mut(&key) {
                    subscription.granted = done.granted_backlog;
                    let gapless = done.granted_backlog.is_some() || subscription.replay.is_some();
                    if subscription.replay.is_some() {
                        self.effects.push(Effect::Replays { key, serial, anew: false });
                    }
                    self.effects.push(Effect::Resumed { key, gapless });
                }
                self.note_recovery();
            }
            (Purpose::Resubscribe(key), Err(error)) => {
                match self.subscriptions.get(&key).map(|subscription| subscription.spec.command.clone()) {
                    Some(command) => {
                        let (command, error) = (Box::new(command), error.clone());
                        self.effects.push(Effect::NotResubscribed { key, command, error });
                    }
                    None => self.note_recovery(),
                }
            }
            (Purpose::ResumeAgain, result) => {
                if let Err(error) = result {
                    self.effects.push(Effect::Report(error.clone()));
                }
                self.note_recovery();
            }
            (Purpose::StartHeartbeats, result) => {
                self.effects.push(match result {
                    Ok(_) => Effect::HeartbeatsAgreed,
                    Err(error) => Effect::HeartbeatsRefused(error.clone()),
                });
                if std::mem::take(&mut self.replayed_with_heartbeats) {
                    self.effects.push(Effect::PublishReplayed);
                }
                self.note_recovery();
            }
            (Purpose::Perform(command), Ok(_)) if command.controls_replay() => {
                self.replays_controlled(serial, &command);
            }
            (Purpose::Drain | Purpose::Perform(_) | Purpose::Persisted, _) => {}
        }
    }

    /// A subscription that the server has refused to place again ends, by decision of the application.
    pub(crate) fn end_refused(&mut self, key: SubKey, error: Error) {
        if self.take_out(key).is_some() {
            self.effects.push(Effect::Ended { key, error });
        }
        self.note_recovery();
    }

    /// Ends the commands whose time is over. The waiting thread calls it too, so that a
    /// handler that blocks the loop does not delay it.
    pub(crate) fn expire_commands(&mut self, now: Time) {
        let reading = self.reading;
        let expired = |pending: &Pending| {
            pending.deadline.is_some_and(|due| due <= now) && (reading || !pending.purpose.is_recovery())
        };
        let due: Vec<u64> = self.commands.iter().filter(|(_, p)| expired(p)).map(|(cid, _)| *cid).collect();
        for serial in due {
            let error = |pending: &Pending| {
                let after = pending.timeout.unwrap_or_default();
                Error::TimedOut { action: pending.action.clone(), after }
            };
            self.end_command(now, serial, error);
        }
    }

    /// Reading stops or goes on. While it is stopped, because the application has no room, no answer of a
    /// recovery can come, and its time stands still.
    pub(crate) fn set_reading(&mut self, now: Time, on: bool) {
        if on && !self.reading {
            for pending in self.commands.values_mut().filter(|pending| pending.purpose.is_recovery()) {
                pending.deadline = pending.timeout.map(|timeout| now + timeout);
            }
        }
        self.reading = on;
    }

    /// A caller that would have taken the messages of a subscription over is gone. `false` if the server has
    /// answered already.
    pub(crate) fn no_takeover(&mut self, serial: SubKey) -> bool {
        let pending = self.commands.get_mut(&serial.0).map(|pending| &mut **pending);
        let Some(Pending { purpose: Purpose::Replace { takes_over, .. }, .. }) = pending else {
            return false;
        };
        *takes_over = false;
        true
    }

    /// Ends the commands of callers that wait for what only they can bring about.
    pub(crate) fn refuse_callers(&mut self, now: Time, callers: &[u64], error: &Error) {
        let waits = |pending: &Pending| {
            let caller = pending.waiter.as_ref().map(|waiter| waiter.caller());
            caller.is_some_and(|caller| callers.contains(&caller))
        };
        let theirs: Vec<u64> = self.commands.iter().filter(|(_, p)| waits(p)).map(|(cid, _)| *cid).collect();
        for serial in theirs {
            self.end_command(now, serial, |_| error.clone());
        }
    }

    /// Ends a command that nobody answered.
    fn end_command(&mut self, now: Time, serial: u64, error: impl FnOnce(&Pending) -> Error) {
        let Some(pending) = self.commands.remove(&serial) else { return };
        self.waiting -= usize::from(pending.unsent.is_some());
        self.forget_name(serial);
        self.forget_persisted_wait(serial);
        if self.forgotten.len() == REMEMBERED_COMMANDS {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(serial);
        if let Purpose::Place(key) = pending.purpose {
            // The server may have registered it: take it back.
            self.unsubscribe(now, key);
        }
        let error = error(&pending);
        if pending.purpose.is_recovery() {
            self.effects.push(Effect::Unusable(error.clone()));
        }
        self.tell(pending.waiter, Err(error));
    }

    pub(super) fn await_ack(
        &mut self,
        now: Time,
        serial: u64,
        purpose: Purpose,
        action: String,
        wait: Wait<'_>,
    ) {
        self.line.last_sent = now;
        let Wait { until, timeout, waiter } = wait;
        let deadline = timeout.map(|timeout| now + timeout);
        if matches!(purpose, Purpose::Resubscribe(_) | Purpose::ResumeAgain) {
            self.resubscribing += 1;
        }
        let waiter = waiter.cloned();
        let (unsent, kept) = (None, None);
        let pending = Pending { purpose, unsent, kept, action, until, deadline, timeout, waiter };
        self.commands.insert(serial, Box::new(pending));
    }

    /// One answer of a recovery less to wait for, if one is under way.
    fn note_recovery(&mut self) {
        let Some(left) = self.resubscribing.checked_sub(1) else { return };
        self.resubscribing = left;
        if left == 0 {
            self.effects.push(Effect::AllResubscribed);
        }
    }
}

fn refused(ack: &Message<&[u8]>, action: String) -> Error {
    if ack.status() == Some(Status::Retry) {
        return Error::TryAgain { action };
    }
    let reason = ack.reason().map_or_else(|| "no reason given".into(), ToString::to_string);
    Error::Refused { action, class: ReasonClass::of(&reason), reason }
}

fn done(ack: &Message<&[u8]>) -> Done {
    let options = ack.options().map(|options| Options::parse(&options.to_string()));
    let granted_backlog = options.and_then(|options| options.max_backlog().ok().flatten());
    let number = |field| ack.number(field).unwrap_or_default();
    let deleted = DeleteStats {
        records_deleted: number(Field::RecordsDeleted),
        matches: number(Field::Matches),
        topic_matches: number(Field::TopicMatches),
    };
    Done { granted_backlog, deleted }
}
