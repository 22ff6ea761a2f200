//! The gate: what happens to commands, subscriptions and acknowledgements when a connection
//! opens, is lost, or is drained.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, Command, HeartbeatRequest, Id};
use amps_transport::{Outlet, Time};

use super::commands::{Purpose, Wait};
use super::outbound::{Effect, Gate, Outbound, REMEMBERED_CONNECTIONS};
use super::subscription::{SubKey, Subscription};
use super::waiter::{Done, Waiter};
use crate::error::{DisconnectCause, Error};

/// A server that leaves a command of the recovery unanswered for so long is as good as gone.
const RECOVERED: Wait<'static> =
    Wait { until: AckType::Processed, timeout: Some(Duration::from_secs(30)), waiter: None };

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
        if !self.is_up() {
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
    /// subscriptions (`recovers`) the last answer ends the recovery, heartbeats included.
    pub(crate) fn open(&mut self, now: Time, heartbeat: Option<u64>, recovers: bool) {
        self.generation += 1;
        self.line.stats.logons += 1;
        self.draining = false;
        self.recovering = false;
        self.line.last_sent = now;
        if let Some(seconds) = heartbeat {
            self.start_heartbeats(now, seconds);
            self.resubscribing += usize::from(recovers);
        }
        let keys: Vec<SubKey> = self.subscriptions.keys().copied().collect();
        for &key in &keys {
            let serial = self.reserve().0;
            let Some(subscription) = self.subscriptions.get(&key) else { continue };
            let command = &subscription.spec.command;
            let mut ids = subscription.ids.clone();
            ids.command = Id::number(serial);
            let asked = command.asked(subscription.spec.streams).with(AckType::Processed);
            let (limit, options) = (self.limits.message, command.effective_options());
            // It was written once, so it is not too long.
            let written = command.encode(&mut self.line.wire.tail, &ids, asked, &options, limit);
            debug_assert!(written.is_ok(), "{written:?}");
            let action = format!("{} again", command.describe());
            self.await_ack(now, serial, Purpose::Resubscribe(key), action, RECOVERED);
        }
        self.gate = Gate::Up;
        if recovers && self.resubscribing == 0 {
            self.effects.push(Effect::AllResubscribed);
        }
    }

    /// The connection is gone. With `recover`, subscriptions that want it wait for the next
    /// one; all others end.
    pub(crate) fn connection_lost(&mut self, cause: &DisconnectCause, recover: bool) {
        let was_up = self.is_up();
        self.gate = Gate::Down(cause.clone());
        self.connection += 1;
        self.recovering = recover;
        self.outlet = None;
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
        self.resubscribed_with_heartbeats = false;
        self.named.clear();
        self.forgotten.clear();
        for (_, pending) in std::mem::take(&mut self.commands) {
            if let Purpose::Place(key) = pending.purpose {
                self.take_out(key);
                self.effects.push(Effect::RouteRemoved { key });
            }
            let waiter = pending.waiter.filter(|_| !self.bugs.waiter_forgotten);
            self.tell(waiter, Err(Error::disconnected(cause.clone())));
        }
        let goes_on =
            |subscription: &Subscription| recover && subscription.spec.resubscribe && subscription.is_live();
        let keys: Vec<SubKey> = self.subscriptions.keys().copied().collect();
        for key in keys {
            match self.subscriptions.get_mut(&key) {
                Some(subscription) if goes_on(subscription) => {
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
                command.encode(&mut self.line.wire.tail, &ids, acks, &options, limit).is_ok()
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
