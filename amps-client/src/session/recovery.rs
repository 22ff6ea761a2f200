//! The gate: what happens to commands, subscriptions and acknowledgements when a connection
//! opens, is lost, or is drained.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, Command, HeartbeatRequest, Id};
use amps_transport::{Outlet, Time};

use super::commands::{Pending, Purpose, Wait};
use super::outbound::{Effect, Gate, Outbound, REMEMBERED_CONNECTIONS};
use super::replay::{self, Placing};
use super::subscription::{Pausing, SubKey, Subscription};
use super::waiter::{Done, Waiter};
use crate::error::{DisconnectCause, Error};

/// A server that leaves a command of the recovery unanswered for so long is as good as gone.
pub(crate) const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) const RECOVERED: Wait<'static> =
    Wait { until: AckType::Processed, timeout: Some(RECOVERY_TIMEOUT), waiter: None };

impl Outbound {
    /// A connection is there and the logon may be written. Nobody else writes yet.
    pub(crate) fn opening(&mut self, outlet: Option<Outlet>) {
        self.gate = Gate::Opening;
        self.reading = true;
        self.connection += 1;
        self.outlet = outlet;
        self.written();
        self.line.wire.reset();
    }

    /// Asks the server for heartbeats.
    fn start_heartbeats(&mut self, now: Time, seconds: u64) {
        let cid = self.reserve().0;
        let start = Command::heartbeat(HeartbeatRequest::Start(seconds));
        self.line.write(&start.ask(cid, AckType::Processed).into());
        self.await_ack(now, cid, Purpose::StartHeartbeats, "start heartbeats".into(), RECOVERED);
    }

    /// Heartbeats of another rhythm from now on, or none.
    pub(crate) fn change_heartbeats(&mut self, now: Time, seconds: Option<u64>) {
        if !matches!(self.gate, Gate::Up | Gate::Replaying) {
            return;
        }
        match seconds {
            Some(seconds) => {
                self.start_heartbeats(now, seconds);
                // Of a recovery that is under way it is the last part now.
                self.resubscribing += usize::from(self.resubscribing > 0);
            }
            None => self.line.write(&Command::heartbeat(HeartbeatRequest::Stop).into()),
        }
        self.line.last_sent = now;
    }

    /// The logon succeeded: recovers, in order, then opens the gate. Where a policy restores
    /// subscriptions (`recovers`) the last answer ends the recovery, heartbeats included. `has`: the
    /// server has everything up to this number of what this client published.
    pub(crate) fn open(&mut self, now: Time, heartbeat: Option<u64>, recovers: bool, has: Option<u64>) {
        self.generation += 1;
        self.line.stats.logons += 1;
        self.draining = false;
        self.recovering = false;
        self.recovers = recovers;
        self.line.last_sent = now;
        if let Some(seconds) = heartbeat {
            self.start_heartbeats(now, seconds);
            self.resubscribing += usize::from(recovers);
        }
        self.gate = Gate::Replaying;
        let publisher = self.line.publisher.as_ref();
        let (before, given) = publisher.map_or((0, 0), |publisher| (publisher.len(), publisher.last()));
        if let Some(has) = has {
            self.persisted(has);
        }
        if let Some(publisher) = &mut self.line.publisher {
            let strange = publisher.logged_on(has, given, before.saturating_sub(publisher.len()));
            self.line.troubles.extend(strange);
            self.lose_answers();
        }
        self.line.fill();
        self.go_on(now);
    }

    /// Goes on with what had to wait until what was published before it is on the wire.
    pub(crate) fn go_on(&mut self, now: Time) {
        if !self.may_go_on() {
            return;
        }
        if matches!(self.gate, Gate::Replaying) {
            if let Some(publisher) = &mut self.line.publisher {
                publisher.replayed();
                self.tell_replayed();
            }
            self.place_again(now);
        }
        self.send_waiting(now);
    }

    /// Whether [`go_on`](Self::go_on) has something to do.
    pub(crate) fn may_go_on(&self) -> bool {
        match self.gate {
            Gate::Replaying => !self.line.publisher.as_ref().is_some_and(|publisher| publisher.replays()),
            Gate::Up => self.waits_to_be_sent(),
            Gate::Down(_) | Gate::Opening => false,
        }
    }

    /// Everything that was kept is on the wire. Listeners hear of it after the server has agreed to
    /// heartbeats (ST-2).
    fn tell_replayed(&mut self) {
        let beats = |pending: &Pending| matches!(pending.purpose, Purpose::StartHeartbeats);
        if self.commands.values().any(|pending| beats(pending)) {
            self.replayed_with_heartbeats = true;
        } else {
            self.effects.push(Effect::PublishReplayed);
        }
    }

    /// Places every subscription again, in the order in which they were placed, and opens the gate.
    fn place_again(&mut self, now: Time) {
        let mut keys: Vec<SubKey> = self.subscriptions.keys().copied().collect();
        if self.bugs.resubscribes_in_reverse {
            keys.reverse();
        }
        let version = self.server_version();
        let groups = self.resumed_groups();
        for &key in &keys {
            // What the server has not answered yet goes out as it would have the first time.
            if self.commands.get(&key.0).is_some_and(|pending| pending.waits_for_place(key)) {
                self.send_one(now, key.0);
                continue;
            }
            let serial = self.reserve().0;
            let Some(subscription) = self.subscriptions.get(&key) else { continue };
            let replay = subscription.replay.as_ref();
            let group = groups.of(subscription);
            let placing = Placing::Again { safe: subscription.safe };
            let common = group.and_then(|group| group.begins.as_deref());
            let spec = &subscription.spec;
            let command = replay::resolved(&spec.command, replay.map(|it| &**it), placing, version, common);
            let mut ids = subscription.ids.clone();
            ids.command = Id::number(serial);
            let asked = replay::acks(command.asked(spec.streams).with(AckType::Processed), replay);
            let (limit, mut options) = (self.limits.message, command.effective_options().into_owned());
            if self.bugs.not_found_left_out {
                options.remove("bookmark_not_found");
            }
            if subscription.pausing != Pausing::No {
                options.remove("pause");
                if subscription.pausing == Pausing::Paused || group.is_some() {
                    options.set_pause(true);
                }
            }
            // It was written once, so it is not too long.
            let written = command.encode(&mut self.line.wire.tail, &ids, asked, &options, None, limit);
            debug_assert!(written.is_ok(), "{written:?}");
            let action = format!("{} again", command.describe());
            let recovered = Wait { timeout: Some(self.resubscription_timeout), ..RECOVERED };
            self.await_ack(now, serial, Purpose::Resubscribe(key), action, recovered);
        }
        self.resume_again(now, &groups);
        self.gate = Gate::Up;
        self.line.up = true;
        if self.recovers && self.resubscribing == 0 {
            self.effects.push(Effect::AllResubscribed);
        }
    }

    /// The connection is gone. With `recover`, subscriptions that want it wait for the next
    /// one; all others end.
    pub(crate) fn connection_lost(&mut self, cause: &DisconnectCause, recover: bool) {
        let was_up = matches!(self.gate, Gate::Up | Gate::Replaying);
        self.gate = Gate::Down(cause.clone());
        self.connection += 1;
        self.recovering = recover;
        self.outlet = None;
        self.line.up = false;
        if let Some(publisher) = &mut self.line.publisher {
            publisher.connection_lost();
        }
        self.line.stats.unwritten_bytes_lost += self.line.wire.queued() as u64;
        if was_up {
            self.written_before.push_back((self.generation, self.line.wire.written()));
        }
        if self.written_before.len() > REMEMBERED_CONNECTIONS {
            self.written_before.pop_front();
        }
        self.line.wire.reset();
        self.written();
        let survivors = self.bugs.ack_survives_reconnect;
        if !survivors {
            self.loose.clear();
            self.ack_timer = None;
        }
        self.resubscribing = 0;
        self.reading = true;
        self.replayed_with_heartbeats = false;
        self.named.clear();
        self.forgotten.clear();
        let placing = self.interrupt_commands(cause, recover && self.retry);
        let goes_on = |key: &SubKey, subscription: &Subscription| {
            placing.contains(key) || (recover && subscription.spec.resubscribe && subscription.is_live())
        };
        let keys: Vec<SubKey> = self.subscriptions.keys().copied().collect();
        for key in keys {
            match self.subscriptions.get_mut(&key) {
                Some(subscription) if goes_on(&key, subscription) => {
                    if survivors {
                        subscription.granted = None;
                    } else {
                        subscription.connection_lost();
                    }
                    self.effects.push(Effect::Interrupted { key });
                }
                _ => {
                    self.take_out(key);
                    self.effects.push(Effect::Ended { key, error: Error::disconnected(cause.clone()) });
                }
            }
        }
    }

    /// Nothing will be recovered any more: what still waited for a connection ends.
    pub(crate) fn give_up(&mut self, cause: &DisconnectCause) {
        self.connection_lost(cause, false);
        self.waiting = 0;
        for (serial, pending) in std::mem::take(&mut self.commands) {
            self.forget_persisted_wait(serial);
            self.tell(pending.waiter, Err(Error::disconnected(cause.clone())));
        }
    }

    /// First step of an orderly close: no further deliveries. Queue subscriptions are
    /// replaced by ones without backlog, which keeps their leases; others are ended.
    pub(crate) fn begin_drain(&mut self, now: Time) {
        self.draining = true;
        let keys: Vec<SubKey> = self.subscriptions.keys().copied().collect();
        for key in keys {
            let cid = self.reserve().0;
            let Some(subscription) = self.subscriptions.get(&key) else { continue };
            let asked = if subscription.is_queue {
                let mut options = subscription.spec.command.get_options().clone();
                options.set_max_backlog(0).set_replace(true);
                let mut ids = subscription.ids.clone();
                ids.command = Id::number(cid);
                let (command, limit) = (&subscription.spec.command, self.limits.message);
                let acks = AckType::Processed.into();
                command.encode(&mut self.line.wire.tail, &ids, acks, &options, None, limit).is_ok()
            } else {
                self.ask_end(key, cid)
            };
            if asked {
                let wait = Wait { until: AckType::Processed, timeout: None, waiter: None };
                self.await_ack(now, cid, Purpose::Drain, "drain".into(), wait);
            }
        }
    }

    /// Whether the server has confirmed that no further delivery comes.
    pub(crate) fn deliveries_stopped(&self) -> bool {
        !self.commands.values().any(|pending| matches!(pending.purpose, Purpose::Drain))
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
            self.tell(Some(Arc::clone(waiter)), Ok(Done::default()));
        }
    }
}
