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
use std::task::Poll;
use std::time::Duration;

use amps_protocol::{AckTypes, Command as Wire, FrameTooLong, HeartbeatRequest, Id};
use amps_transport::{Outlet, Time};
use rustc_hash::FxHashMap;

use super::acks::{AckSettings, Acks};
use super::bugs::Bugs;
use super::commands::Pending;
use super::line::{Line, SendLimits};
use super::peer::Peer;
use super::publisher::{Fate, Publisher, StoreStatus};
use super::recovery::RECOVERY_TIMEOUT;
use super::replay::{Bookmarks, Progress, Replay};
use super::subscription::{Spec, SubKey, Subscription};
use super::waiter::{Done, Waiter};
use crate::command::{Command, Ends, WireIds};
use crate::error::{DisconnectCause, Error, Result};
use crate::publish::Publishing;
use crate::server_chooser::ConnectionInfo;

/// Counts the connections of a client that reached the logon, from 1.
pub(crate) type Generation = u64;

/// Callers to be told how their commands ended, when this is dropped.
#[must_use]
pub(crate) struct Ended(Vec<(Arc<Waiter>, Result<Done>)>);

impl Drop for Ended {
    fn drop(&mut self) {
        for (waiter, result) in self.0.drain(..) {
            waiter.complete(result);
        }
    }
}

/// What the outbound half wants the inbound half, and through it the application, to know.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Messages for these identifiers go to `key` from now on.
    RouteAdded {
        key: SubKey,
        ids: WireIds,
        auto_ack: bool,
        wanted: AckTypes,
        ends: Ends,
        progress: Option<Progress>,
    },
    /// The subscription is over by the application's will.
    RouteRemoved { key: SubKey },
    /// The subscription is over against the application's will.
    Ended { key: SubKey, error: Error },
    /// The connection is gone; the subscription waits to be placed again.
    Interrupted { key: SubKey },
    /// The server has agreed to a replacement, whose command had this number.
    Replaced { key: SubKey, serial: SubKey, auto_ack: bool, takes_over: bool, progress: Option<Progress> },
    /// The server begins to replay, perhaps for a new subscriber; it speaks of that by this number too.
    Replays { key: SubKey, serial: u64, anew: bool },
    /// The server has stopped, or goes on with, a replay.
    Paused { key: SubKey },
    /// The subscription was placed again.
    Resumed { key: SubKey, gapless: bool },
    /// The server has refused to place it again: the application decides what that means.
    NotResubscribed { key: SubKey, command: Box<Command>, error: Error },
    /// What was published before the connection is on its wire.
    PublishReplayed,
    /// The last subscription of a recovery was answered.
    AllResubscribed,
    /// The server answered the start of heartbeats.
    HeartbeatsAgreed,
    /// The server keeps none: silence means nothing then.
    HeartbeatsRefused(Error),
    /// The server does not answer what a recovery needs: the connection is of no use.
    Unusable(Error),
    /// An error that has no caller.
    Report(Error),
}

#[derive(Debug)]
pub(super) enum Gate {
    Down(DisconnectCause),
    /// Connected; only the session itself writes.
    Opening,
    /// Logged on; what was published before is sent first.
    Replaying,
    Up,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(super) gate: Gate,
    pub(super) generation: Generation,
    /// Counts every socket, also those that never reach the logon, and every loss.
    pub(super) connection: u64,
    pub(crate) outlet: Option<Outlet>,
    pub(crate) line: Line,
    /// The server of the last logon.
    pub(crate) peer: Option<Arc<Peer>>,
    /// The connection of the last logon.
    pub(crate) info: Option<Arc<ConnectionInfo>>,
    pub(super) limits: SendLimits,
    pub(super) settings: AckSettings,
    pub(super) next_id: u64,
    /// Boxed: a map that is empty most of the time keeps room for eleven.
    pub(super) commands: BTreeMap<u64, Box<Pending>>,
    /// Commands of a recovery that the server has not answered yet.
    pub(super) resubscribing: usize,
    /// The socket is read.
    pub(super) reading: bool,
    /// What was kept is on the wire, and that is to be said after heartbeats were agreed.
    pub(super) replayed_with_heartbeats: bool,
    /// Commands whose id the application chose.
    pub(super) named: FxHashMap<Box<[u8]>, u64>,
    /// Commands that ended unanswered.
    pub(super) forgotten: VecDeque<u64>,
    /// Boxed: a map reserves room for several, and most clients have one.
    pub(super) subscriptions: BTreeMap<SubKey, Box<Subscription>>,
    pub(super) bookmarks: Bookmarks,
    pub(super) by_id: FxHashMap<Box<[u8]>, SubKey>,
    /// Acknowledgements by topic and bookmark alone, without a delivered message.
    pub(super) loose: Acks,
    pub(super) effects: Vec<Effect>,
    /// Commands that have ended, whose callers are told once the lock is free: a waker is user code.
    pub(super) ended: Vec<(Arc<Waiter>, Result<Done>)>,
    /// Not later than any batch's deadline. It may be earlier: then the timer finds nothing
    /// to do once and is set anew, which is cheaper than waking the loop for every batch.
    pub(super) ack_timer: Option<Time>,
    /// Publishes that wait for company: how many bytes, and how long.
    batching: (usize, Duration),
    /// When those that wait have to go.
    publishes_due: Option<Time>,
    /// The end of the last of them.
    held_end: u64,
    pub(super) draining: bool,
    /// A reconnect is under way.
    pub(super) recovering: bool,
    /// A policy reconnects.
    pub(super) recovers: bool,
    /// Commands that a connection took down are sent again on the next.
    pub(super) retry: bool,
    /// Commands that are not on the wire yet.
    pub(super) waiting: usize,
    /// How long a server may take to answer what is placed again.
    pub(super) resubscription_timeout: Duration,
    /// How many bytes each earlier connection had written when it was lost.
    pub(super) written_before: VecDeque<(Generation, u64)>,
    pub(super) bugs: Bugs,
}

/// Connections whose fate receipts can still tell. So many take 1 KiB of a client.
pub(super) const REMEMBERED_CONNECTIONS: usize = 64;

/// What became of a publish so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishState {
    /// It waits to be written.
    Queued,
    /// The socket has taken it. The server may or may not have it.
    Written,
    /// The connection was lost before it was known to be written: the server most likely
    /// does not have it. Publish it again if it must not be lost. Never with a publish store.
    Lost,
    /// The server has it for good. Only a publish store brings that to light.
    Persisted,
    /// The server has refused it, and it is not sent again. Only a publish store brings that to light.
    Refused,
}

/// What is known of a publish when it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) generation: Generation,
    /// Its end on the connection's wire, if it went straight there.
    pub(crate) end: u64,
    /// Its sequence number, if it is kept.
    pub(crate) number: Option<u64>,
    /// It must not leave before the store says so.
    pub(crate) held: bool,
}

impl Outbound {
    pub(crate) fn new(settings: AckSettings, limits: SendLimits, bugs: Bugs) -> Self {
        Self {
            gate: Gate::Down(DisconnectCause::NeverConnected),
            generation: 0,
            connection: 0,
            outlet: None,
            line: Line::default(),
            peer: None,
            info: None,
            limits,
            settings,
            next_id: 0,
            commands: BTreeMap::new(),
            resubscribing: 0,
            reading: true,
            replayed_with_heartbeats: false,
            named: FxHashMap::default(),
            forgotten: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            bookmarks: Bookmarks::default(),
            by_id: FxHashMap::default(),
            loose: Acks::default(),
            effects: Vec::new(),
            ended: Vec::new(),
            ack_timer: None,
            batching: (0, Duration::ZERO),
            publishes_due: None,
            held_end: 0,
            draining: false,
            recovering: false,
            recovers: false,
            retry: false,
            waiting: 0,
            resubscription_timeout: RECOVERY_TIMEOUT,
            written_before: VecDeque::new(),
            bugs,
        }
    }

    /// Reserves the key of a subscription, so that its messages can be awaited before the
    /// command is written.
    pub(crate) fn reserve(&mut self) -> SubKey {
        self.next_id += 1;
        SubKey(self.next_id)
    }

    /// Publishes: with a store, keeps it, and writes it if it can; without, writes it.
    ///
    /// # Errors
    /// No connection, and nothing keeps it until there is one; too much waits; or the message
    /// is too large. Nothing was written or kept.
    pub(crate) fn publish(&mut self, now: Time, publishing: &Publishing<'_>) -> Result<Published> {
        let stores = self.line.publisher.is_some();
        if !(stores && self.keeps_what_comes()) {
            self.require_up()?;
        }
        if !stores {
            self.require_queue()?;
        }
        // The length is checked before the body is copied.
        if publishing.data.len() > self.limits.message {
            let (length, limit) = (publishing.data.len() as u64, self.limits.message as u64);
            return Err(Error::TooLarge(FrameTooLong { length, limit }));
        }
        let limit = self.limits.message;
        let kept = self.line.publish(self.limits, None, |out, number| {
            let mut publish = publishing.command();
            if let Some(number) = number {
                publish = publish.sequence(number).ask_persisted();
            }
            Ok(publish.encode_within(out, limit).map(drop)?)
        })?;
        self.line.last_sent = now;
        self.line.stats.published += 1;
        let (generation, end) = (self.generation, self.line.wire.end());
        Ok(Published {
            generation,
            end,
            number: kept.map(|kept| kept.number),
            held: kept.is_some_and(|k| k.held),
        })
    }

    /// Whether what is published now is going to be sent, even if there is no connection.
    const fn keeps_what_comes(&self) -> bool {
        matches!(self.gate, Gate::Up | Gate::Replaying) || self.recovering
    }

    /// What is published waits while too much waits already.
    pub(super) fn require_room(&self, command: &Command) -> Result<()> {
        if command.is_publish() && self.line.publisher.is_none() { self.require_queue() } else { Ok(()) }
    }

    fn require_queue(&self) -> Result<()> {
        let queued = self.line.wire.queued();
        if queued >= self.limits.queue {
            return Err(Error::Full { queued, limit: self.limits.queue });
        }
        Ok(())
    }

    /// What became of a publish.
    pub(crate) fn publish_state(&self, published: Published) -> PublishState {
        let Published { generation, end, number, .. } = published;
        if let (Some(number), Some(publisher)) = (number, &self.line.publisher) {
            let written = generation == self.generation && self.line.up && self.line.wire.written() >= end;
            return match publisher.fate(number) {
                Fate::Persisted => PublishState::Persisted,
                Fate::Refused => PublishState::Refused,
                Fate::Queued if !(written && number <= publisher.sent()) => PublishState::Queued,
                Fate::Queued | Fate::Written => PublishState::Written,
            };
        }
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

    pub(crate) fn granted(&self, key: SubKey) -> Option<u32> {
        self.subscriptions.get(&key)?.granted
    }

    pub(crate) fn sub_id(&self, key: SubKey) -> Option<&Id<'static>> {
        self.subscriptions.get(&key).map(|subscription| subscription.id())
    }

    /// What a subscription asks for at present.
    pub(crate) fn spec(&self, key: SubKey) -> Option<&Spec> {
        self.subscriptions.get(&key).map(|subscription| &subscription.spec)
    }

    /// The topic of a subscription that goes by this id.
    pub(crate) fn topic_of(&self, id: &str) -> Option<String> {
        let subscription = self.subscriptions.get(&self.key_of(id)?)?;
        subscription.spec.command.get_topic().map(str::to_owned)
    }

    /// Whether the publish store has a message as safely as it promises.
    pub(crate) fn store_has(&self, number: u64) -> bool {
        match (&self.line.publisher, &self.line.closed) {
            (Some(publisher), _) => publisher.is_safe(number),
            (None, closed) => closed.as_ref().is_some_and(|closed| closed.was_safe(number)),
        }
    }

    /// Whether the server has persisted or refused what was published under a number, as far as is known.
    pub(crate) fn is_dealt_with(&self, number: u64) -> bool {
        match (&self.line.publisher, &self.line.closed) {
            (Some(publisher), _) => publisher.is_dealt_with(number),
            (None, closed) => closed.as_ref().is_some_and(|closed| closed.is_dealt_with(number)),
        }
    }

    /// Whether something may have been published under this number.
    pub(crate) fn gave_out(&self, number: u64) -> bool {
        self.line.publisher.as_ref().is_some_and(|publisher| number <= publisher.last())
    }

    /// Why the server has refused what was published under a number.
    pub(crate) fn refusal(&self, number: u64) -> Option<String> {
        let reason = match (&self.line.publisher, &self.line.closed) {
            (Some(publisher), _) => publisher.refusal(number),
            (None, closed) => closed.as_ref()?.refusal(number),
        };
        reason.map(str::to_owned)
    }

    /// Whether the publish store has come so far with a message as `done` says. Of a store that is closed, whether it
    /// kept the message.
    pub(crate) fn store_poll(
        &self,
        number: u64,
        done: impl FnOnce(&Publisher, u64) -> bool,
    ) -> Poll<Result<()>> {
        let Some(publisher) = &self.line.publisher else {
            let gone = || Error::disconnected(DisconnectCause::ClosedByUser);
            return Poll::Ready(if self.store_has(number) { Ok(()) } else { Err(gone()) });
        };
        if done(publisher, number) {
            return Poll::Ready(Ok(()));
        }
        publisher.trouble().map_or(Poll::Pending, |trouble| Poll::Ready(Err(trouble)))
    }

    /// The publish store, as the client sees it.
    pub(crate) fn store_status(&self) -> Option<StoreStatus> {
        self.line.publisher.as_ref().map(|publisher| publisher.status())
    }

    /// Whether a server may be used that has everything up to `has` of what was published.
    ///
    /// # Errors
    /// It is behind the others, and that is not to be accepted.
    pub(crate) fn accepts(&self, has: Option<u64>) -> Result<()> {
        self.line.publisher.as_ref().map_or(Ok(()), |publisher| publisher.accepts(has))
    }

    /// The publish store may keep so many bytes.
    pub(crate) fn grow_store(&mut self, capacity: u64) {
        if let Some(publisher) = &mut self.line.publisher {
            publisher.grow(capacity);
        }
    }

    /// The client is done with its publish store.
    pub(crate) fn close_store(&mut self) -> Option<Error> {
        let (closed, outcome) = self.line.publisher.take()?.close();
        self.line.closed = Some(closed);
        outcome.err()
    }

    /// Takes a publish store, before the first connection.
    pub(crate) fn set_publisher(&mut self, publisher: Publisher) {
        self.line.publisher = Some(Box::new(publisher));
    }

    /// A server has said up to where everything of a replay is on all its replicas.
    pub(crate) fn replay_is_safe(&mut self, key: SubKey) {
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            subscription.safe = true;
        }
    }

    pub(crate) fn set_bookmarks(&mut self, bookmarks: Bookmarks) {
        self.bookmarks = bookmarks;
    }

    /// How a subscription is tied to the bookmark store, if it is.
    pub(crate) fn replay(&self, key: SubKey) -> Option<Arc<Replay>> {
        self.subscriptions.get(&key).and_then(|subscription| subscription.replay.clone())
    }

    /// Whether commands that a lost connection left unanswered are sent again on the next.
    pub(crate) fn set_retry(&mut self, retry: bool) {
        self.retry = retry;
    }

    pub(crate) fn set_resubscription_timeout(&mut self, timeout: Duration) {
        self.resubscription_timeout = timeout;
    }

    /// Why nothing comes any more unless the application connects again.
    pub(crate) fn gave_up(&self) -> Option<DisconnectCause> {
        use DisconnectCause::{ClosedByUser, GaveUp, LoopEnded};
        match &self.gate {
            // One attempt has failed, and others follow.
            Gate::Down(_) if self.recovering => None,
            Gate::Down(cause @ (ClosedByUser | GaveUp(_) | LoopEnded)) => Some(cause.clone()),
            _ if self.line.closed.is_some() => Some(ClosedByUser),
            _ => None,
        }
    }

    /// Whether there is a connection, logged on or not.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.gate, Gate::Down(_))
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

    /// Does what is due: sends batches whose time has come, ends commands that nobody answered.
    pub(crate) fn timer(&mut self, now: Time) {
        if self.ack_timer.is_some_and(|due| due <= now) && self.is_up() {
            self.flush_acks_due(now, now);
            let batches = self.subscriptions.values().map(|subscription| &subscription.acks);
            self.ack_timer = batches.chain([&self.loose]).filter_map(Acks::deadline).min();
        }
        if self.publishes_due.is_some_and(|due| due <= now) {
            self.publishes_due = None;
        }
        self.expire_commands(now);
    }

    /// When [`timer`](Self::timer) is next due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let counts = |pending: &Pending| self.reading || !pending.purpose.is_recovery();
        let due = |pending: &Pending| pending.deadline.filter(|_| counts(pending));
        let commands = self.commands.values().filter_map(|pending| due(pending)).min();
        let acks = if self.is_up() { self.ack_timer } else { None };
        let publishes = if self.is_up() { self.publishes_due } else { None };
        [commands, acks, publishes].into_iter().flatten().min()
    }

    /// Gathers publishes up to so many bytes, for so long; zero bytes gathers none.
    pub(crate) fn set_batching(&mut self, bytes: usize, within: Duration) {
        self.batching = (bytes, within);
        self.publishes_due = None;
    }

    /// Whether a publish may wait for more; `Some(true)` if a timer has to be set for it. Behind
    /// anything else that was `waiting` to be written it may not: that is about to go.
    pub(super) fn may_gather(&mut self, now: Time, waiting: usize) -> Option<bool> {
        let (bytes, within) = self.batching;
        let first = self.publishes_due.is_none();
        if self.line.wire.queued() >= bytes || within.is_zero() || (first && waiting > 0) {
            return None;
        }
        self.publishes_due.get_or_insert(now + within);
        self.held_end = self.line.wire.end();
        Some(first)
    }

    /// Whether nothing waits but publishes whose time has not come.
    pub(super) fn waits_for_company(&self) -> bool {
        self.publishes_due.is_some() && self.line.wire.end() == self.held_end
    }

    /// What waited is being written.
    pub(super) const fn written(&mut self) {
        self.publishes_due = None;
    }

    pub(crate) const fn ack_timer(&self) -> Option<Time> {
        self.ack_timer
    }

    /// Shows a sign of life.
    pub(crate) fn beat(&mut self, now: Time) {
        // Else nobody would be called any more.
        self.line.last_sent = now;
        if !matches!(self.gate, Gate::Up | Gate::Replaying) {
            return;
        }
        // What waits already is a sign of life as soon as the server takes it; publishes that
        // wait for company have waited long enough.
        self.publishes_due = None;
        if self.line.wire.queued() == 0 {
            self.line.write(&Wire::heartbeat(HeartbeatRequest::Beat).into());
        }
    }

    pub(crate) const fn last_sent(&self) -> Time {
        self.line.last_sent
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.effects);
        effects.extend(self.line.troubles.drain(..).map(Effect::Report));
        effects
    }

    pub(crate) fn take_ended(&mut self) -> Ended {
        Ended(std::mem::take(&mut self.ended))
    }

    /// The caller of a command is to be told.
    pub(super) fn tell(&mut self, waiter: Option<Arc<Waiter>>, result: Result<Done>) {
        self.ended.extend(waiter.map(|waiter| (waiter, result)));
    }

    pub(crate) fn has_effects(&self) -> bool {
        !self.effects.is_empty() || !self.line.troubles.is_empty()
    }

    pub(super) fn require_up(&self) -> Result<()> {
        match &self.gate {
            Gate::Up => Ok(()),
            Gate::Opening | Gate::Replaying => Err(Error::disconnected(DisconnectCause::NeverConnected)),
            Gate::Down(cause) => Err(Error::disconnected(cause.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_behind_bytes_that_wait_writes_nothing_and_still_moves_the_timer() {
        let limits = SendLimits { queue: 1 << 20, message: 1 << 20 };
        let mut outbound = Outbound::new(AckSettings::default(), limits, Bugs::default());
        let now = Time::EPOCH + Duration::from_secs(100);
        outbound.opening(None);
        outbound.open(now, None, false, None);
        outbound.publish(now, &Publishing::new("t", b"waits")).unwrap();
        let queued = outbound.line.wire.queued();
        let later = now + Duration::from_secs(5);
        outbound.beat(later);
        assert_eq!(outbound.line.wire.queued(), queued);
        assert_eq!(outbound.last_sent(), later, "or the loop would be called again at once, for ever");
    }

    #[test]
    fn a_new_connection_is_read_whatever_stopped_the_last_one() {
        let limits = SendLimits { queue: 1 << 20, message: 1 << 20 };
        let mut outbound = Outbound::new(AckSettings::default(), limits, Bugs::default());
        let now = Time::EPOCH + Duration::from_secs(100);
        outbound.opening(None);
        outbound.open(now, Some(1), true, None);
        outbound.set_reading(now, false);
        assert_eq!(outbound.deadline(), None, "no answer can come");
        outbound.connection_lost(&DisconnectCause::NeverConnected, true);
        outbound.opening(None);
        outbound.open(now, Some(1), true, None);
        assert!(outbound.deadline().is_some(), "the answer to the start of heartbeats is awaited");
    }
}
