//! Commands that wait for the server's answer, and those that do not.
//!
//! Owns promise P7: a command enters `Outbound::commands` when it is written and leaves it
//! once, when it is answered, when its time is over, or when the connection is lost.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, Command, Delete, Id, Message, Options, ReasonClass, Status};
use amps_transport::Time;

use super::outbound::{Effect, Outbound};
use super::subscription::{SubKey, SubscribeSpec, Subscription};
use super::waiter::{Done, Waiter};
use crate::error::{Error, Result};

/// Why a command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Subscribe(SubKey),
    Resubscribe(SubKey),
    /// Stops the deliveries of a queue subscription that is being drained.
    Drain,
    StartHeartbeats,
    Other,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) purpose: Purpose,
    /// The command in words, for errors.
    pub(super) action: String,
    pub(super) deadline: Option<Time>,
    pub(super) timeout: Option<Duration>,
    pub(super) waiter: Option<Arc<Waiter>>,
}

/// How to delete from a queue by hand.
#[derive(Clone, Debug)]
pub(crate) struct QueueDelete {
    pub(crate) topic: String,
    pub(crate) what: Delete<'static>,
}

impl Outbound {
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
        let id = match &spec.sub_id {
            Some(text) => Id::text(text.clone())
                .map_err(|error| Error::InvalidArgument(format!("subscribe: {error}")))?,
            None => Id::number(key.0),
        };
        if let Some(number) = spec.sub_id.as_ref().and_then(|id| id.parse::<u32>().ok()) {
            // A number that the application has taken is not given out again.
            self.next_id = self.next_id.max(number.into());
        }
        if self.subscriptions.values().any(|other| other.id == id) {
            let reason = format!("subscription id \"{id}\" already exists on this client");
            return Err(Error::Refused { action, class: ReasonClass::SubscriptionAlreadyExists, reason });
        }
        let (route, auto_ack) = (id.to_string(), spec.auto_ack);
        let subscription = Subscription::new(id, spec);
        let command = subscription.command(key.0, subscription.spec.options.clone());
        command.encode(&mut self.line.wire.tail)?;
        self.effects.push(Effect::RouteAdded { key, id: route, auto_ack });
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
            self.line.write(&Command::unsubscribe([subscription.id]).into());
            self.line.last_sent = now;
        }
        self.effects.push(Effect::RouteRemoved { key });
    }

    /// Asks the server to say when everything sent before was processed.
    ///
    /// # Errors
    /// No connection.
    pub(crate) fn flush(&mut self, now: Time, timeout: Option<Duration>, waiter: &Arc<Waiter>) -> Result<()> {
        self.require_up()?;
        let cid = self.reserve().0;
        self.line.write(&Command::flush(cid, AckType::Processed).into());
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
        Command::sow_delete(&delete.topic, delete.what.clone())
            .ask(cid, AckType::Processed)
            .encode(&mut self.line.wire.tail)?;
        let action = format!("acknowledge on \"{}\"", delete.topic);
        self.await_ack(now, cid, Purpose::Other, action, timeout, Some(waiter));
        Ok(())
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
                Ok(Done { granted_backlog: options.and_then(|options| options.max_backlog().ok().flatten()) })
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
                    subscription.is_queue |= done.granted_backlog.is_some();
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
            (Purpose::StartHeartbeats, Err(error)) => {
                self.effects.push(Effect::HeartbeatsRefused(error.clone()));
            }
            (Purpose::Drain | Purpose::Other, _) => {}
        }
        if let Some(waiter) = pending.waiter {
            waiter.complete(result);
        }
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
            let after = pending.timeout.unwrap_or_default();
            let error = Error::TimedOut { action: pending.action, after };
            if matches!(pending.purpose, Purpose::Resubscribe(_) | Purpose::StartHeartbeats) {
                self.effects.push(Effect::Unusable(error.clone()));
            }
            if let Some(waiter) = pending.waiter {
                waiter.complete(Err(error));
            }
        }
    }

    pub(super) fn await_ack(
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

    pub(super) fn note_recovery(&mut self) {
        let left = self.commands.values().any(|p| matches!(p.purpose, Purpose::Resubscribe(_)));
        if !left {
            self.effects.push(Effect::AllResubscribed);
        }
    }
}
