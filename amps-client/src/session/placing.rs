//! Placing subscriptions and queries, replacing them, and ending them.
//!
//! Owns the table of what is placed: under its key, and by every identifier that it has on
//! the wire. Whoever takes the messages is told by effects.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{
    AckType, AckTypes, Command as Wire, CommandKind, Id, Message, ReasonClass, ServerVersion,
};
use amps_transport::Time;

use super::commands::{Purpose, Wait};
use super::outbound::{Effect, Outbound};
use super::replay::{self, Placing, Progress, Replay};
use super::subscription::{Spec, SubKey, Subscription};
use super::waiter::{Done, Waiter};
use crate::command::{Command, WireIds};
use crate::error::{Error, Result};

impl Outbound {
    /// Places what has messages for somebody under a reserved key.
    ///
    /// # Errors
    /// No connection, or one of its identifiers is in use.
    pub(crate) fn place(
        &mut self,
        now: Time,
        key: SubKey,
        spec: Spec,
        timeout: Option<Duration>,
        waiter: &Arc<Waiter>,
    ) -> Result<()> {
        let command = &spec.command;
        let at_once = self.writes_now(command)?;
        self.require_room(command)?;
        let action = command.describe();
        let ids = command.wire_ids(key.0)?;
        if let Some(id) = ids.distinct().find(|id| self.by_id.contains_key(id.as_bytes())) {
            let reason = format!("subscription id \"{id}\" already exists on this client");
            return Err(Error::Refused { action, class: ReasonClass::SubscriptionAlreadyExists, reason });
        }
        let replay = self.bookmarks.replay(command, ids.sub.as_ref());
        let asked = replay::acks(command.asked(spec.streams), replay.as_ref());
        let mut kept = None;
        if at_once {
            kept = self.write_placing(command, &ids, replay.as_deref(), asked)?;
            self.line.last_sent = now;
        }
        let command = &spec.command;
        let (waits, auto_ack) = (command.waits(asked), spec.auto_ack);
        let (wanted, ends) = (command.get_acks(), command.ends());
        let progress = replay.clone().map(|replay| Progress::new(replay, command));
        let replays = replay.is_some();
        self.effects.push(Effect::RouteAdded { key, ids: ids.clone(), auto_ack, wanted, ends, progress });
        for id in ids.distinct() {
            self.claim(id);
            self.by_id.insert(id.as_bytes().into(), key);
        }
        self.note_name(&ids.command, key.0);
        self.subscriptions.insert(key, Box::new(Subscription::new(key, ids, spec, replay)));
        if waits {
            self.await_ack(now, key.0, Purpose::Place(key), action, Wait::processed(timeout, waiter));
            self.note_kept(key.0, kept);
        } else {
            self.tell(Some(Arc::clone(waiter)), Ok(Done::default()));
            if replays && at_once {
                // No answer comes that would say so.
                self.effects.push(Effect::Replays { key, serial: key.0, anew: true });
            }
        }
        if !at_once {
            if !waits {
                // Nobody waits for it, but it waits to be sent.
                let wait = Wait { until: AckType::Processed, timeout, waiter: None };
                self.await_ack(now, key.0, Purpose::Place(key), String::new(), wait);
            }
            self.put_off(key.0);
        }
        Ok(())
    }

    /// Writes a command that places something for the first time. Returns the number under which it is kept.
    pub(super) fn write_placing(
        &mut self,
        command: &Command,
        ids: &WireIds,
        replay: Option<&Replay>,
        asked: AckTypes,
    ) -> Result<Option<u64>> {
        let command = replay::resolved(command, replay, Placing::First, self.server_version(), None);
        let (limit, options) = (self.limits.message, command.effective_options());
        self.line.publish_if(
            self.limits,
            command.needs_sequence_number(),
            command.get_sequence(),
            |out, asked, number| command.encode(out, ids, asked, &options, number, limit),
            asked,
        )
    }

    pub(super) fn server_version(&self) -> Option<ServerVersion> {
        self.peer.as_ref().and_then(|peer| peer.version())
    }

    /// Replaces what a subscription asks for, keeping its identity. The command bears the
    /// option `replace`; what is stored does not.
    ///
    /// # Errors
    /// No connection, or no such subscription.
    #[allow(clippy::too_many_arguments, reason = "each says something else of one replacement")]
    pub(crate) fn replace(
        &mut self,
        now: Time,
        key: SubKey,
        serial: SubKey,
        takes_over: bool,
        change: impl FnOnce(&Spec) -> Result<Spec>,
        timeout: Option<Duration>,
        waiter: &Arc<Waiter>,
    ) -> Result<()> {
        let at_once = self.replaces_now()?;
        let Some(subscription) = self.subscriptions.get(&key).filter(|subscription| subscription.is_live())
        else {
            return Err(unknown_subscription(&key.to_string()));
        };
        let mut spec = change(&subscription.spec)?;
        if spec.command.kind() != subscription.spec.command.kind() {
            let (old, new) = (subscription.spec.command.name(), spec.command.name());
            let text = format!("replace: a {old} cannot become a {new}; give the same command");
            return Err(Error::InvalidArgument(text));
        }
        spec.command = spec.command.without_replace();
        if at_once {
            self.write_replacement(key, serial.0, &spec)?;
        }
        let action = format!("replace {}", spec.command.describe());
        let purpose = Purpose::Replace { key, spec: Box::new(spec), takes_over };
        self.await_ack(now, serial.0, purpose, action, Wait::processed(timeout, waiter));
        if !at_once {
            self.put_off(serial.0);
        }
        Ok(())
    }

    /// Writes what replaces a subscription. A replay goes on where it is, unless it is to begin elsewhere.
    ///
    /// # Errors
    /// The subscription has ended, or the command is too long.
    pub(super) fn write_replacement(&mut self, key: SubKey, serial: u64, spec: &Spec) -> Result<()> {
        let version = self.server_version();
        let Some(subscription) = self.subscriptions.get(&key) else {
            return Err(unknown_subscription(&key.to_string()));
        };
        let mut ids = subscription.ids.clone();
        ids.command = Id::number(serial);
        let replay = self.bookmarks.replay(&spec.command, ids.sub.as_ref());
        let goes_on = spec.command.get_bookmark() == subscription.spec.command.get_bookmark();
        let placing = if goes_on { Placing::Again { safe: true } } else { Placing::First };
        let command = replay::resolved(&spec.command, replay.as_deref(), placing, version, None);
        let mut options = command.effective_options().into_owned();
        options.set_replace(true);
        let asked = replay::acks(command.asked(spec.streams).with(AckType::Processed), replay.as_ref());
        command.encode(&mut self.line.wire.tail, &ids, asked, &options, None, self.limits.message)
    }

    /// Whether a replacement is written at once; if not, it is put off.
    fn replaces_now(&self) -> Result<bool> {
        self.writes_now(&Command::subscribe("any"))
    }

    /// A subscription that came to nothing: whoever was to take its messages is let go.
    pub(crate) fn forget(&mut self, key: SubKey) {
        if !self.subscriptions.contains_key(&key) {
            self.effects.push(Effect::RouteRemoved { key });
        }
    }

    /// A query has brought everything, or a command every acknowledgement: nothing to end.
    pub(crate) fn completed(&mut self, key: SubKey) {
        self.take_out(key);
    }

    /// Ends a subscription on behalf of whoever has its messages: not if they have gone over to somebody else.
    pub(crate) fn unsubscribe_as(&mut self, now: Time, key: SubKey, owner: SubKey) {
        if self.subscriptions.get(&key).is_some_and(|subscription| subscription.owner == owner) {
            self.unsubscribe(now, key);
        }
    }

    /// Refuses a command id that another command has, which is not answered yet.
    pub(super) fn require_fresh(&self, id: &Id<'_>, command: &Command) -> Result<()> {
        if self.named.contains_key(id.as_bytes()) || self.by_id.contains_key(id.as_bytes()) {
            let text =
                format!("{}: the command id \"{id}\" is in use; choose another, or none", command.describe());
            return Err(Error::InvalidArgument(text));
        }
        Ok(())
    }

    /// Ends a subscription: its pending acknowledgements go out first. Does nothing if it has
    /// ended already.
    pub(crate) fn unsubscribe(&mut self, now: Time, key: SubKey) {
        let Some(mut subscription) = self.take_out(key) else { return };
        if self.is_up() {
            self.line.flush_batch(now, &mut subscription.acks);
            if let Some(end) = subscription.end() {
                self.line.write(&end.into());
                self.line.last_sent = now;
            }
        }
        self.effects.push(Effect::RouteRemoved { key });
    }

    /// Ends subscriptions by a comma list of ids, or `all`. Unknown ones are passed on to the
    /// server all the same (UN-6).
    ///
    /// # Errors
    /// No connection, and none is coming: what was to be ended has ended with the last one.
    pub(crate) fn unsubscribe_ids(
        &mut self,
        now: Time,
        command: &Command,
        wait: Option<Wait<'_>>,
    ) -> Result<()> {
        let list = command.get_sub_id().or(command.get_query_id()).unwrap_or_default();
        let keys: Vec<SubKey> = if list == "all" {
            self.subscriptions.iter().filter(|(_, s)| s.is_live()).map(|(key, _)| *key).collect()
        } else {
            list.split(',').filter_map(|id| self.by_id.get(id.trim().as_bytes()).copied()).collect()
        };
        for key in keys {
            let Some(mut subscription) = self.take_out(key) else { continue };
            if self.is_up() {
                self.line.flush_batch(now, &mut subscription.acks);
            }
            self.effects.push(Effect::RouteRemoved { key });
        }
        if self.recovering {
            // The next connection does not know them.
            self.tell(wait.and_then(|wait| wait.waiter.cloned()), Ok(Done::default()));
            return Ok(());
        }
        self.perform(now, command, wait)
    }

    /// Writes a command of which only the acknowledgement concerns anybody, also one that ends subscriptions.
    ///
    /// # Errors
    /// No connection, or it is too long.
    pub(crate) fn perform_any(&mut self, now: Time, command: &Command, wait: Option<Wait<'_>>) -> Result<()> {
        if command.kind() == CommandKind::Unsubscribe {
            return self.unsubscribe_ids(now, command, wait);
        }
        self.perform(now, command, wait)
    }

    /// Nothing has to be waited for.
    pub(crate) fn answered(&mut self, waiter: &Arc<Waiter>) {
        self.tell(Some(Arc::clone(waiter)), Ok(Done::default()));
    }

    /// The subscription that goes by this id.
    pub(crate) fn key_of(&self, id: &str) -> Option<SubKey> {
        self.by_id.get(id.as_bytes()).copied()
    }

    /// Takes it out of the tables.
    pub(super) fn take_out(&mut self, key: SubKey) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&key)?;
        for id in subscription.ids.distinct() {
            self.by_id.remove(id.as_bytes());
        }
        Some(*subscription)
    }

    /// Writes the end of something that is still in the tables, and asks to be told.
    pub(super) fn ask_end(&mut self, key: SubKey, cid: u64) -> bool {
        let end = self.subscriptions.get(&key).and_then(|subscription| subscription.end());
        let Some(end) = end else { return false };
        self.line.write(&Wire::from(end.ask(cid, AckType::Processed)));
        true
    }

    /// A number that the application has taken is not given out again.
    fn claim(&mut self, id: &Id<'_>) {
        let number = std::str::from_utf8(id.as_bytes()).ok().and_then(|id| id.parse::<u32>().ok());
        self.next_id = self.next_id.max(number.map_or(0, u64::from));
    }

    /// A command id that the application chose.
    pub(super) fn note_name(&mut self, id: &Id<'_>, serial: u64) {
        if *id != Id::number(serial) {
            self.claim(id);
            self.named.insert(id.as_bytes().into(), serial);
        }
    }

    pub(super) fn forget_name(&mut self, serial: u64) {
        if !self.named.is_empty() {
            self.named.retain(|_, other| *other != serial);
        }
    }

    /// Which command an acknowledgement is about.
    pub(super) fn serial_of(&self, ack: &Message<&[u8]>) -> Option<u64> {
        let cid = ack.command_id()?;
        if let Some(serial) = self.named.get::<[u8]>(cid) {
            return Some(*serial);
        }
        std::str::from_utf8(cid).ok()?.parse().ok()
    }
}

pub(crate) fn unknown_subscription(id: &str) -> Error {
    Error::Refused {
        action: format!("subscription \"{id}\""),
        class: ReasonClass::InvalidSubscription,
        reason: "this client has no such subscription".into(),
    }
}
