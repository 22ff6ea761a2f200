//! The half of a session that every thread uses, behind one lock.
//!
//! Owns the gate (whether a connection is open, and which), command ids, the commands that
//! wait for their acknowledgement, the subscriptions, their batches of acknowledgements, and
//! the order of bytes on the wire. It tells the other half what changed by [`Effect`]s.
//!
//! Invariants:
//! * a frame is encoded only while a connection is open, or by the session that opens it;
//! * whatever belongs to a connection bears its [`Generation`], and acknowledgements of
//!   another generation are dropped: their leases ended with their connection (P1);
//! * a command leaves `commands` exactly once, and its waiter is completed there (P7).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{
    AckType, CommandKind, Field, FrameTooLong, FrameWriter, HeartbeatRequest, Message, Options, ReasonClass,
    Status,
};
use amps_transport::{Outlet, Time};

use super::acks::{AckOption, AckSettings, Acks, write_ack};
use super::bugs::Bugs;
use super::subscription::{SubKey, SubscribeSpec, Subscription};
use super::waiter::{Done, Waiter};
use super::wire::Wire;
use crate::error::{DisconnectCause, Error, Result};

/// Counts the connections of a client that reached the logon, from 1.
pub(crate) type Generation = u64;

/// What the outbound half wants the inbound half, and through it the application, to know.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Messages for the subscription id go to `key` from now on.
    RouteAdded { key: SubKey, id: String, auto_ack: bool },
    /// The subscription is over by the application's will.
    RouteRemoved { key: SubKey },
    /// The subscription is over against the application's will.
    Ended { key: SubKey, error: Error },
    /// The connection is gone; the subscription waits to be placed again.
    Interrupted { key: SubKey },
    /// The subscription was placed again.
    Resumed { key: SubKey, queue: bool },
    /// The last subscription of a recovery was answered.
    AllResubscribed,
    /// The server answered the start of heartbeats.
    HeartbeatsAgreed,
    /// An error that has no caller.
    Report(Error),
}

/// Why a command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Subscribe(SubKey),
    Resubscribe(SubKey),
    /// Stops the deliveries of a queue subscription that is being drained.
    Drain,
    StartHeartbeats,
    Other,
}

#[derive(Debug)]
struct Pending {
    purpose: Purpose,
    /// The command in words, for errors.
    action: String,
    deadline: Option<Time>,
    timeout: Option<Duration>,
    waiter: Option<Arc<Waiter>>,
}

/// How to delete from a queue by hand.
#[derive(Clone, Debug)]
pub(crate) struct QueueDelete {
    pub(crate) topic: String,
    pub(crate) bookmarks: Option<String>,
    pub(crate) filter: Option<String>,
    pub(crate) option: Option<AckOption>,
}

/// Limits on what goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendLimits {
    /// Bytes that may wait before publishers are held back.
    pub(crate) queue: usize,
    /// Header and body of one message.
    pub(crate) message: usize,
}

#[derive(Debug)]
enum Gate {
    Down(DisconnectCause),
    /// Connected; only the session itself writes.
    Opening,
    Up,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Outbound {
    gate: Gate,
    generation: Generation,
    /// Counts every socket, also those that never reach the logon, and every loss.
    connection: u64,
    pub(crate) outlet: Option<Outlet>,
    pub(crate) line: Line,
    limits: SendLimits,
    settings: AckSettings,
    next_id: u64,
    commands: BTreeMap<u64, Pending>,
    subscriptions: BTreeMap<SubKey, Subscription>,
    /// Acknowledgements by topic and bookmark alone, without a delivered message.
    loose: Acks,
    effects: Vec<Effect>,
    /// Not later than any batch's deadline. It may be earlier: then the timer finds nothing
    /// to do once and is set anew, which is cheaper than waking the loop for every batch.
    ack_timer: Option<Time>,
    draining: bool,
    /// How many bytes each earlier connection had written when it was lost.
    written_before: VecDeque<(Generation, u64)>,
    bugs: Bugs,
}

/// Connections whose fate receipts can still tell.
const REMEMBERED_CONNECTIONS: usize = 1024;

/// What became of a publish so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishState {
    /// It waits to be written.
    Queued,
    /// The socket has taken it. The server may or may not have it.
    Written,
    /// The connection was lost before it was written: publish it again.
    Lost,
}

/// The way out of the current connection, and what is counted on it. Apart from the rest, so
/// that a batch can be written while its subscription is borrowed.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) wire: Wire,
    pub(crate) stats: Counters,
    last_sent: Time,
}

impl Line {
    fn flush_batch(&mut self, now: Time, acks: &mut Acks) {
        if acks.pending() > 0 {
            acks.flush(now, &mut self.wire.tail);
            self.stats.ack_frames += 1;
            self.last_sent = now;
        }
    }

    /// Settles one message at once, after what was acknowledged before it.
    fn settle_at_once(
        &mut self,
        now: Time,
        acks: &mut Acks,
        topic: &[u8],
        bookmark: &[u8],
        option: &AckOption,
    ) {
        self.flush_batch(now, acks);
        write_ack(&mut self.wire.tail, topic, bookmark, Some(option));
        self.last_sent = now;
        self.stats.returned += 1;
        self.stats.ack_frames += 1;
    }
}

/// What was counted since the client was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages published.
    pub published: u64,
    /// Messages acknowledged, batched ones when they joined their batch.
    pub acknowledged: u64,
    /// Messages returned to their queue or expired.
    pub returned: u64,
    /// Acknowledgements that came too late: their connection, and with it the lease, was gone.
    pub stale_acks: u64,
    /// Acknowledgement frames written.
    pub ack_frames: u64,
    /// Connections that reached the logon.
    pub logons: u64,
    /// Bytes that a lost connection took with it before they were written.
    pub unwritten_bytes_lost: u64,
}

impl Outbound {
    pub(crate) fn new(settings: AckSettings, limits: SendLimits, bugs: Bugs) -> Self {
        Self {
            gate: Gate::Down(DisconnectCause::NeverConnected),
            generation: 0,
            connection: 0,
            outlet: None,
            line: Line::default(),
            limits,
            settings,
            next_id: 0,
            commands: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            loose: Acks::default(),
            effects: Vec::new(),
            ack_timer: None,
            draining: false,
            written_before: VecDeque::new(),
            bugs,
        }
    }

    // ----- what applications ask ------------------------------------------------------

    /// Reserves the key of a subscription, so that its messages can be awaited before the
    /// command is written.
    pub(crate) fn reserve(&mut self) -> SubKey {
        self.next_id += 1;
        SubKey(self.next_id)
    }

    /// Writes a publish. Returns its position on the connection's wire.
    ///
    /// # Errors
    /// No connection, the send queue is full, or the message is too large. Nothing was written.
    pub(crate) fn publish(
        &mut self,
        now: Time,
        topic: &str,
        data: &[u8],
        expiration: Option<u64>,
    ) -> Result<(Generation, u64)> {
        self.require_up()?;
        let queued = self.line.wire.queued();
        if queued >= self.limits.queue {
            return Err(Error::Full { queued, limit: self.limits.queue });
        }
        // The length is checked before the body is copied.
        if data.len() > self.limits.message {
            let (length, limit) = (data.len() as u64, self.limits.message as u64);
            return Err(Error::TooLarge(FrameTooLong { length, limit }));
        }
        FrameWriter::new(&mut self.line.wire.tail, CommandKind::Publish)
            .text(Field::Topic, topic)
            .maybe_number(Field::Expiration, expiration)
            .finish_within(data, self.limits.message)
            .map_err(Error::TooLarge)?;
        self.line.last_sent = now;
        self.line.stats.published += 1;
        Ok((self.generation, self.line.wire.end()))
    }

    /// Places a subscription under a reserved key.
    ///
    /// # Errors
    /// No connection, or the subscription id is in use.
    pub(crate) fn subscribe(
        &mut self,
        now: Time,
        key: SubKey,
        spec: SubscribeSpec,
        timeout: Option<Duration>,
        waiter: &Arc<Waiter>,
    ) -> Result<()> {
        self.require_up()?;
        let action = format!("subscribe \"{}\"", spec.topic);
        let id = spec.sub_id.clone().unwrap_or_else(|| key.0.to_string());
        if self.subscriptions.values().any(|other| other.id == id) {
            let reason = format!("subscription id \"{id}\" already exists on this client");
            return Err(Error::Refused { action, class: ReasonClass::SubscriptionAlreadyExists, reason });
        }
        self.effects.push(Effect::RouteAdded { key, id: id.clone(), auto_ack: spec.auto_ack });
        let subscription = Subscription::new(id, spec);
        subscription.write(key.0, |_| {}, &mut self.line.wire.tail);
        self.subscriptions.insert(key, subscription);
        self.await_ack(now, key.0, Purpose::Subscribe(key), action, timeout, Some(waiter));
        Ok(())
    }

    /// A subscription that came to nothing: whoever was to take its messages is let go.
    pub(crate) fn forget(&mut self, key: SubKey) {
        if !self.subscriptions.contains_key(&key) {
            self.effects.push(Effect::RouteRemoved { key });
        }
    }

    /// Ends a subscription: its pending acknowledgements go out first. Does nothing if it has
    /// ended already.
    pub(crate) fn unsubscribe(&mut self, now: Time, key: SubKey) {
        let Some(mut subscription) = self.subscriptions.remove(&key) else { return };
        if self.is_up() {
            self.line.flush_batch(now, &mut subscription.acks);
            FrameWriter::new(&mut self.line.wire.tail, CommandKind::Unsubscribe)
                .text(Field::SubId, &subscription.id)
                .finish(b"");
            self.line.last_sent = now;
        }
        self.effects.push(Effect::RouteRemoved { key });
    }

    /// As [`settle`](Self::settle), on behalf of auto-ack: not for messages that the
    /// application has taken upon itself.
    pub(crate) fn settle_unasked(
        &mut self,
        now: Time,
        lease: Lease,
        topic: &[u8],
        bookmark: &[u8],
        option: Option<&AckOption>,
    ) {
        let subscription = self.subscriptions.get(&lease.key);
        let exempt = subscription.is_some_and(|subscription| subscription.exempt.contains(&lease.number));
        if !exempt {
            self.settle(now, lease, topic, bookmark, option);
        }
    }

    /// Exempts one delivery from auto-ack.
    pub(crate) fn exempt(&mut self, lease: Lease) {
        if lease.generation == self.generation {
            if let Some(subscription) = self.subscriptions.get_mut(&lease.key) {
                subscription.exempt.insert(lease.number);
            }
        }
    }

    /// Acknowledges a leased message: adds it to its batch, or settles it at once with an
    /// option. Without effect if the lease was settled before, or ended with its connection.
    pub(crate) fn settle(
        &mut self,
        now: Time,
        lease: Lease,
        topic: &[u8],
        bookmark: &[u8],
        option: Option<&AckOption>,
    ) {
        let stale = lease.generation != self.generation || !self.is_up();
        if stale && !(self.bugs.ack_survives_reconnect && self.is_up()) {
            self.line.stats.stale_acks += 1;
            return;
        }
        let Some(subscription) = self.subscriptions.get_mut(&lease.key) else { return };
        if !subscription.leases.settle(lease.number) {
            return;
        }
        if !subscription.exempt.is_empty() {
            subscription.exempt.remove(&lease.number);
        }
        if let Some(option) = option {
            self.line.settle_at_once(now, &mut subscription.acks, topic, bookmark, option);
            return;
        }
        self.line.stats.acknowledged += 1;
        let full = if self.bugs.batch_above_backlog {
            subscription.spec.ack_batch_size.unwrap_or(self.settings.batch_size).max(1)
        } else {
            subscription.effective_batch(self.settings)
        };
        let restart = self.bugs.ack_timer_restarts;
        if subscription.acks.add(now, topic, bookmark, full, self.settings.timeout, restart) {
            self.line.flush_batch(now, &mut subscription.acks);
        } else {
            let deadline = subscription.acks.deadline();
            self.arm(deadline);
        }
    }

    /// Acknowledges by topic and bookmark, without a delivered message and without checks.
    ///
    /// # Errors
    /// No connection.
    pub(crate) fn ack_loose(
        &mut self,
        now: Time,
        topic: &str,
        bookmark: &str,
        option: Option<&AckOption>,
    ) -> Result<()> {
        self.require_up()?;
        let (topic, bookmark) = (topic.as_bytes(), bookmark.as_bytes());
        if let Some(option) = option {
            self.line.settle_at_once(now, &mut self.loose, topic, bookmark, option);
            return Ok(());
        }
        // Which subscription it came from is not known: the smallest grant is safe.
        let granted = self.subscriptions.values().filter_map(|s| s.granted).min();
        let full = self.settings.effective_batch(granted);
        self.line.stats.acknowledged += 1;
        if self.loose.add(now, topic, bookmark, full, self.settings.timeout, false) {
            self.line.flush_batch(now, &mut self.loose);
        }
        self.arm(self.loose.deadline());
        Ok(())
    }

    /// What became of a publish.
    pub(crate) fn publish_state(&self, generation: Generation, end: u64) -> PublishState {
        let (written, over) = if generation == self.generation && self.is_up() {
            (self.line.wire.written(), false)
        } else {
            let before = self.written_before.iter().find(|(earlier, _)| *earlier == generation);
            (before.map_or(0, |(_, written)| *written), true)
        };
        match (written >= end, over) {
            (true, _) => PublishState::Written,
            (false, true) => PublishState::Lost,
            (false, false) => PublishState::Queued,
        }
    }

    /// Writes every pending acknowledgement now.
    pub(crate) fn flush_acks(&mut self, now: Time) {
        if self.is_up() {
            self.flush_acks_due(now, Time::NEVER);
        }
    }

    /// Asks the server to say when everything sent before was processed.
    ///
    /// # Errors
    /// No connection.
    pub(crate) fn flush(&mut self, now: Time, timeout: Option<Duration>, waiter: &Arc<Waiter>) -> Result<()> {
        self.require_up()?;
        let cid = self.reserve().0;
        FrameWriter::new(&mut self.line.wire.tail, CommandKind::Flush)
            .text(Field::CommandId, cid.to_string())
            .acks(AckType::Processed.into())
            .finish(b"");
        self.await_ack(now, cid, Purpose::Other, "flush".into(), timeout, Some(waiter));
        Ok(())
    }

    /// Removes messages from a queue by bookmarks or by filter.
    ///
    /// # Errors
    /// No connection.
    pub(crate) fn queue_delete(
        &mut self,
        now: Time,
        delete: &QueueDelete,
        timeout: Option<Duration>,
        waiter: &Arc<Waiter>,
    ) -> Result<()> {
        self.require_up()?;
        let cid = self.reserve().0;
        FrameWriter::new(&mut self.line.wire.tail, CommandKind::SowDelete)
            .text(Field::CommandId, cid.to_string())
            .maybe_text(Field::Bookmark, delete.bookmarks.as_ref())
            .text(Field::Topic, &delete.topic)
            .maybe_text(Field::Filter, delete.filter.as_ref())
            .maybe_text(Field::Options, delete.option.as_ref().map(AckOption::text))
            .acks(AckType::Processed.into())
            .finish(b"");
        let action = format!("acknowledge on \"{}\"", delete.topic);
        self.await_ack(now, cid, Purpose::Other, action, timeout, Some(waiter));
        Ok(())
    }

    pub(crate) fn set_ack_settings(&mut self, now: Time, settings: AckSettings) {
        self.settings = settings;
        if !self.is_up() {
            return;
        }
        // A smaller size, or none, sends what now meets it.
        for subscription in self.subscriptions.values_mut() {
            if subscription.acks.pending() >= subscription.effective_batch(settings) {
                self.line.flush_batch(now, &mut subscription.acks);
            }
        }
    }

    pub(crate) const fn ack_settings(&self) -> AckSettings {
        self.settings
    }

    pub(crate) fn effective_batch(&self, key: SubKey) -> Option<usize> {
        Some(self.subscriptions.get(&key)?.effective_batch(self.settings))
    }

    pub(crate) fn granted(&self, key: SubKey) -> Option<u32> {
        self.subscriptions.get(&key)?.granted
    }

    pub(crate) fn sub_id(&self, key: SubKey) -> Option<&str> {
        self.subscriptions.get(&key).map(|subscription| subscription.id.as_str())
    }

    /// Whether application commands may be written.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.gate, Gate::Up)
    }

    pub(crate) const fn generation(&self) -> Generation {
        self.generation
    }

    /// Changes whenever bytes of one socket must not reach another.
    pub(crate) const fn connection(&self) -> u64 {
        self.connection
    }

    pub(crate) const fn limits(&self) -> SendLimits {
        self.limits
    }

    // ----- what the session asks ------------------------------------------------------

    /// A connection is there and the logon may be written. Nobody else writes yet.
    pub(crate) fn opening(&mut self, outlet: Option<Outlet>) {
        self.gate = Gate::Opening;
        self.connection += 1;
        self.outlet = outlet;
        self.line.wire.reset();
    }

    /// The logon succeeded: recovers, in order, then opens the gate. Returns whether there is
    /// anything to resubscribe.
    pub(crate) fn open(&mut self, now: Time, heartbeat: Option<u64>) -> bool {
        self.generation += 1;
        self.line.stats.logons += 1;
        self.draining = false;
        self.line.last_sent = now;
        if let Some(seconds) = heartbeat {
            let cid = self.reserve().0;
            FrameWriter::new(&mut self.line.wire.tail, CommandKind::Heartbeat)
                .text(Field::CommandId, cid.to_string())
                .text(Field::Options, HeartbeatRequest::Start(seconds).to_string())
                .acks(AckType::Processed.into())
                .finish(b"");
            self.await_ack(now, cid, Purpose::StartHeartbeats, "start heartbeats".into(), None, None);
        }
        let keys: Vec<SubKey> = self.subscriptions.keys().copied().collect();
        for &key in &keys {
            let cid = self.reserve().0;
            let subscription = &self.subscriptions[&key];
            subscription.write(cid, |options| _ = options.remove("replace"), &mut self.line.wire.tail);
            let action = format!("subscribe \"{}\" again", subscription.spec.topic);
            self.await_ack(now, cid, Purpose::Resubscribe(key), action, None, None);
        }
        self.gate = Gate::Up;
        !keys.is_empty()
    }

    /// A recovery without subscriptions is over at once.
    pub(crate) fn nothing_to_recover(&mut self) {
        self.effects.push(Effect::AllResubscribed);
    }

    /// The connection is gone. With `recover`, subscriptions that want it wait for the next
    /// one; all others end.
    pub(crate) fn connection_lost(&mut self, cause: &DisconnectCause, recover: bool) {
        let was_up = self.is_up();
        self.gate = Gate::Down(cause.clone());
        self.connection += 1;
        self.outlet = None;
        self.line.stats.unwritten_bytes_lost += self.line.wire.queued() as u64;
        if was_up {
            self.written_before.push_back((self.generation, self.line.wire.written()));
        }
        if self.written_before.len() > REMEMBERED_CONNECTIONS {
            self.written_before.pop_front();
        }
        self.line.wire.reset();
        let survivors = self.bugs.ack_survives_reconnect;
        if !survivors {
            self.loose.clear();
            self.ack_timer = None;
        }
        for (_, pending) in std::mem::take(&mut self.commands) {
            if let Purpose::Subscribe(key) = pending.purpose {
                self.subscriptions.remove(&key);
                self.effects.push(Effect::RouteRemoved { key });
            }
            if let Some(waiter) = pending.waiter {
                waiter.complete(Err(Error::disconnected(cause.clone())));
            }
        }
        let ends = |subscription: &Subscription| !(recover && subscription.spec.resubscribe);
        let effects = &mut self.effects;
        self.subscriptions.retain(|&key, subscription| {
            if ends(subscription) {
                effects.push(Effect::Ended { key, error: Error::disconnected(cause.clone()) });
                return false;
            }
            if survivors {
                subscription.granted = None;
            } else {
                subscription.connection_lost();
            }
            effects.push(Effect::Interrupted { key });
            true
        });
    }

    /// Nothing will be recovered any more: what still waited for a connection ends.
    pub(crate) fn give_up(&mut self, cause: &DisconnectCause) {
        self.connection_lost(cause, false);
    }

    /// Takes an acknowledgement from the server.
    pub(crate) fn acknowledged(&mut self, ack: &Message<&[u8]>) {
        if !ack.acks().contains(AckType::Processed) {
            return;
        }
        let cid = ack.command_id().and_then(|cid| cid.to_string().parse().ok());
        // A late answer to a command that timed out is nobody's business any more.
        let Some(pending) = cid.and_then(|cid: u64| self.commands.remove(&cid)) else { return };
        let result = match ack.status() {
            Some(Status::Success) => {
                let options = ack.options().map(|options| Options::parse(&options.to_string()));
                Ok(Done { granted_backlog: options.and_then(|options| options.max_backlog()) })
            }
            _ => {
                let reason = ack.reason().map_or_else(|| "no reason given".into(), ToString::to_string);
                let class = ReasonClass::of(&reason);
                Err(Error::Refused { action: pending.action, class, reason })
            }
        };
        match (pending.purpose, &result) {
            (Purpose::Subscribe(key), Ok(done)) => {
                if let Some(subscription) = self.subscriptions.get_mut(&key) {
                    subscription.granted = done.granted_backlog;
                }
            }
            (Purpose::Subscribe(key), Err(_)) => {
                self.subscriptions.remove(&key);
                self.effects.push(Effect::RouteRemoved { key });
            }
            (Purpose::Resubscribe(key), Ok(done)) => {
                if let Some(subscription) = self.subscriptions.get_mut(&key) {
                    subscription.granted = done.granted_backlog;
                    let queue = done.granted_backlog.is_some();
                    self.effects.push(Effect::Resumed { key, queue });
                }
                self.note_recovery();
            }
            (Purpose::Resubscribe(key), Err(error)) => {
                if self.subscriptions.remove(&key).is_some() {
                    self.effects.push(Effect::Report(error.clone()));
                    self.effects.push(Effect::Ended { key, error: error.clone() });
                }
                self.note_recovery();
            }
            (Purpose::StartHeartbeats, Ok(_)) => self.effects.push(Effect::HeartbeatsAgreed),
            (Purpose::StartHeartbeats, Err(error)) => self.effects.push(Effect::Report(error.clone())),
            (Purpose::Drain | Purpose::Other, _) => {}
        }
        if let Some(waiter) = pending.waiter {
            waiter.complete(result);
        }
    }

    /// Does what is due: sends batches whose time has come, ends commands that nobody answered.
    pub(crate) fn timer(&mut self, now: Time) {
        if self.ack_timer.is_some_and(|due| due <= now) && self.is_up() {
            self.flush_acks_due(now, now);
            let batches = self.subscriptions.values().map(|subscription| &subscription.acks);
            self.ack_timer = batches.chain([&self.loose]).filter_map(Acks::deadline).min();
        }
        self.expire_commands(now);
    }

    /// Ends the commands whose time is over. The waiting thread calls it too, so that a
    /// handler that blocks the loop does not delay it.
    pub(crate) fn expire_commands(&mut self, now: Time) {
        let expired = |pending: &Pending| pending.deadline.is_some_and(|due| due <= now);
        let due: Vec<u64> = self.commands.iter().filter(|(_, p)| expired(p)).map(|(cid, _)| *cid).collect();
        for cid in due {
            let Some(pending) = self.commands.remove(&cid) else { continue };
            if let Purpose::Subscribe(key) = pending.purpose {
                // The server may have registered it: take it back.
                self.unsubscribe(now, key);
            }
            if let Some(waiter) = pending.waiter {
                let after = pending.timeout.unwrap_or_default();
                waiter.complete(Err(Error::TimedOut { action: pending.action, after }));
            }
        }
    }

    /// When [`timer`](Self::timer) is next due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let commands = self.commands.values().filter_map(|pending| pending.deadline).min();
        let acks = if self.is_up() { self.ack_timer } else { None };
        [commands, acks].into_iter().flatten().min()
    }

    pub(crate) const fn ack_timer(&self) -> Option<Time> {
        self.ack_timer
    }

    /// Shows a sign of life.
    pub(crate) fn beat(&mut self, now: Time) {
        if self.is_up() && self.line.wire.queued() == 0 {
            FrameWriter::new(&mut self.line.wire.tail, CommandKind::Heartbeat)
                .text(Field::Options, HeartbeatRequest::Beat.to_string())
                .finish(b"");
            self.line.last_sent = now;
        }
    }

    pub(crate) const fn last_sent(&self) -> Time {
        self.line.last_sent
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    // ----- draining -------------------------------------------------------------------

    /// First step of an orderly close: no further deliveries. Queue subscriptions are
    /// replaced by ones without backlog, which keeps their leases; others are ended.
    pub(crate) fn begin_drain(&mut self, now: Time) {
        self.draining = true;
        let keys: Vec<SubKey> = self.subscriptions.keys().copied().collect();
        for key in keys {
            let subscription = &self.subscriptions[&key];
            let cid = self.next_id + 1;
            if subscription.granted.is_some() {
                let quiet = |options: &mut Options| {
                    options.set("max_backlog", 0);
                    options.flag("replace");
                };
                subscription.write(cid, quiet, &mut self.line.wire.tail);
            } else {
                FrameWriter::new(&mut self.line.wire.tail, CommandKind::Unsubscribe)
                    .text(Field::CommandId, cid.to_string())
                    .text(Field::SubId, &subscription.id)
                    .acks(AckType::Processed.into())
                    .finish(b"");
            }
            self.next_id = cid;
            self.await_ack(now, cid, Purpose::Drain, "drain".into(), None, None);
        }
    }

    /// Whether the server has confirmed that no further delivery comes.
    pub(crate) fn deliveries_stopped(&self) -> bool {
        !self.commands.values().any(|pending| pending.purpose == Purpose::Drain)
    }

    /// Leases settled on this connection, over all live subscriptions.
    pub(crate) fn settled(&self, key: SubKey) -> u64 {
        self.subscriptions.get(&key).map_or(0, |subscription| subscription.leases.settled())
    }

    pub(crate) const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Last step but one: every acknowledgement goes out, then every subscription ends, then
    /// the server is asked to confirm.
    pub(crate) fn finish_drain(&mut self, now: Time, timeout: Option<Duration>, waiter: &Arc<Waiter>) {
        self.flush_acks(now);
        let keys: Vec<SubKey> = self.subscriptions.keys().copied().collect();
        for key in keys {
            self.unsubscribe(now, key);
        }
        if self.flush(now, timeout, waiter).is_err() {
            waiter.complete(Ok(Done::default()));
        }
    }

    // ----- helpers --------------------------------------------------------------------

    fn require_up(&self) -> Result<()> {
        match &self.gate {
            Gate::Up => Ok(()),
            Gate::Opening => Err(Error::disconnected(DisconnectCause::NeverConnected)),
            Gate::Down(cause) => Err(Error::disconnected(cause.clone())),
        }
    }

    fn await_ack(
        &mut self,
        now: Time,
        cid: u64,
        purpose: Purpose,
        action: String,
        timeout: Option<Duration>,
        waiter: Option<&Arc<Waiter>>,
    ) {
        self.line.last_sent = now;
        let deadline = timeout.map(|timeout| now + timeout);
        let pending = Pending { purpose, action, deadline, timeout, waiter: waiter.cloned() };
        self.commands.insert(cid, pending);
    }

    fn note_recovery(&mut self) {
        let left = self.commands.values().any(|p| matches!(p.purpose, Purpose::Resubscribe(_)));
        if !left {
            self.effects.push(Effect::AllResubscribed);
        }
    }

    fn arm(&mut self, deadline: Option<Time>) {
        if let Some(deadline) = deadline {
            self.ack_timer = Some(self.ack_timer.map_or(deadline, |armed| armed.min(deadline)));
        }
    }

    /// Sends every batch whose deadline is not after `due`; with [`Time::NEVER`], all.
    fn flush_acks_due(&mut self, now: Time, due: Time) {
        let is_due =
            |acks: &Acks| due == Time::NEVER || acks.deadline().is_some_and(|deadline| deadline <= due);
        for subscription in self.subscriptions.values_mut() {
            if is_due(&subscription.acks) {
                self.line.flush_batch(now, &mut subscription.acks);
            }
        }
        if is_due(&self.loose) {
            self.line.flush_batch(now, &mut self.loose);
        }
    }
}

/// Names one delivery of one leased message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) key: SubKey,
    pub(crate) generation: Generation,
    pub(crate) number: u64,
}
