//! Which messages of a queue this instance delivers (server.md Q-72).
//!
//! Owns the step from one owner to another, and which messages of other owners were asked for.
//! A message that is not this instance's own is delivered by nobody here, and does not expire
//! here: its owner's departure says when it is gone.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use amps_protocol::MessageId;
use amps_transport::Time;

use super::{Holder, Member, Queue, QueueMessage};
use crate::engine::subscription::SubKey;
use crate::engine::txlog::{Entry, Position};

impl Queue {
    /// From now on, a message is delivered by another instance, or (with `None`) by this one.
    /// A lease that somebody has here stays.
    pub(crate) fn give_to(&mut self, position: Position, owner: Option<Arc<str>>, turn: u64) {
        let place = self.place_of(position);
        let Some(message) = self.messages.get_mut(&position) else { return };
        message.owner = owner;
        message.turn = turn;
        let expires = message.expires.map(|at| (at, position));
        self.asked.remove(&position);
        if message.owner.is_some() {
            if let Some(expires) = expires {
                self.expirations.remove(&expires);
            }
            if self.available.remove(&place) {
                self.elsewhere.insert(position);
            }
            self.look_again_from(position);
        } else {
            if let Some(expires) = expires.filter(|_| message.lease.is_none() || self.expire_leased) {
                self.expirations.insert(expires);
            }
            if self.elsewhere.remove(&position) {
                self.offer(place);
            }
        }
    }

    /// The messages that other instances own, oldest first.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = (Position, &QueueMessage)> {
        self.elsewhere.iter().filter_map(|position| Some((*position, self.messages.get(position)?)))
    }

    /// Whether the queue would lease more than it does, if it had more.
    pub(crate) fn may_lease_more(&self) -> bool {
        self.config.total_backlog.is_none_or(|limit| self.leased < limit)
    }

    /// How many messages were asked for and have not come.
    pub(crate) fn asked_for(&self) -> usize {
        self.asked.len()
    }

    /// The oldest message that another instance owns, that was not asked for, and that a member
    /// would take. It counts as asked for from now on.
    pub(crate) fn ask(
        &mut self,
        sub: SubKey,
        mut wanted: impl FnMut(&Entry, &str) -> bool,
    ) -> Option<(MessageId, Arc<str>)> {
        let member = *self.members.get(&sub)?;
        let owner_of = |position: Position| {
            let message = self.messages.get(&position)?;
            let owner = message.owner.clone()?;
            wanted(&message.entry, &owner).then(|| (position, owner, message.entry.bookmark))
        };
        let candidates = self.elsewhere.range(member.asked..).copied();
        let found = candidates.filter(|position| !self.asked.contains(position)).find_map(owner_of);
        let asked = match &found {
            Some((position, ..)) => *position + 1,
            None => self.tail + 1,
        };
        self.members.insert(sub, Member { asked, ..member });
        let (position, owner, bookmark) = found?;
        self.asked.insert(position);
        Some((bookmark, owner))
    }

    /// How many owners a message had before the present one.
    pub(crate) fn turn_of(&self, position: Position) -> u64 {
        self.messages.get(&position).map_or(0, |message| message.turn)
    }

    /// The owner of a message; `None` if that is this instance.
    pub(crate) fn owner_of(&self, position: Position) -> Option<&str> {
        self.messages.get(&position)?.owner.as_deref()
    }

    /// Every message of another instance can be asked for again that was not.
    pub(crate) fn look_again(&mut self) {
        self.look_again_from(0);
    }

    /// What an owner was asked for will not come: it can be asked for again.
    pub(crate) fn forget_asked(&mut self, owner: &str) {
        let of_owner = |message: &QueueMessage| message.owner.as_deref() == Some(owner);
        let messages: &BTreeMap<Position, QueueMessage> = &self.messages;
        self.asked.retain(|position| !messages.get(position).is_some_and(of_owner));
        self.look_again_from(0);
    }

    /// What was asked for did not come: it can be asked for again.
    pub(crate) fn ask_again(&mut self, position: Position) {
        if self.asked.remove(&position) {
            self.look_again_from(position);
        }
    }

    fn look_again_from(&mut self, position: Position) {
        for member in self.members.values_mut().filter(|member| member.asked > position) {
            member.asked = position;
        }
    }

    /// Whether a message can be given away: it is this instance's own, nobody holds it, and no
    /// barrier is before it.
    pub(crate) fn can_give(&self, position: Position) -> bool {
        let place = self.place_of(position);
        self.available.contains(&place) && place < self.bound()
    }

    /// A message left the queue on another instance. `None` if it is not here, or is a barrier,
    /// which each instance sends to its own subscriptions; else who held it here.
    pub(crate) fn depart_elsewhere(&mut self, bookmark: MessageId, now: Time) -> Option<Option<Holder>> {
        let position = self.position_of(bookmark)?;
        if self.barriers.contains(&position) {
            return None;
        }
        let holder = self.end_lease(position);
        self.forget_message(position, now);
        // It is logged as what happened elsewhere.
        self.departures.retain(|departed| *departed != bookmark);
        Some(holder)
    }
}
