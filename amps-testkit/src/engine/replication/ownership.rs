//! Which instance delivers a queue message (server.md, PAIR-07).
//!
//! Owns the way of a message from one owner to another. An instance with room asks the owner
//! for a message; the owner gives it away when it has nobody to give it to itself, and logs
//! that. What the log says reaches the other instance over the link, and makes it the owner.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::MessageId;
use amps_transport::{ConnId, Sink, Time};

use super::LinkState;
use super::frames::Frame;
use crate::engine::Engine;
use crate::engine::config::{Config, QueueKind};
use crate::engine::queue::Queue;
use crate::engine::selector::Facts;
use crate::engine::subscription::SubKey;
use crate::engine::timers::Timer;
use crate::engine::txlog::{Entry, Position, Via};

/// Another instance would deliver a message.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) by: String,
    since: Time,
}

/// The owner of a message that enters a queue; `None` if that is this instance. A group as
/// initial owner means the instance of that group that got the publish (inferred).
pub(in crate::engine) fn first_owner(config: &Config, queue: &Queue, entry: &Entry) -> Option<Arc<str>> {
    let origin = entry.via.as_ref().and_then(|via| via.path.first());
    let owner = match &queue.config.kind {
        QueueKind::Local => None,
        QueueKind::Distributed => origin,
        // An instance alone does not show the difference.
        QueueKind::GroupLocal { .. } if config.destinations.is_empty() => None,
        QueueKind::GroupLocal { initial_owner, .. } => {
            let group = config.group.as_ref() == Some(initial_owner);
            (!group || origin.is_some()).then_some(initial_owner)
        }
    };
    owner.filter(|owner| **owner != config.instance).map(|owner| owner.as_str().into())
}

impl Engine {
    /// Takes over (`true`) what owners leave behind in a queue that are not connected, as soon
    /// as somebody here would have it; `false` if there is no such queue.
    pub fn set_proxied_transfer<S: Sink>(&mut self, now: Time, queue: &str, on: bool, sink: &mut S) -> bool {
        let Some(index) = self.queues.iter().position(|other| *other.name == *queue) else { return false };
        if on {
            self.replication.proxied.insert(index);
            self.queues[index].look_again();
        } else {
            self.replication.proxied.remove(&index);
        }
        self.dirty.insert(index);
        self.settle(now, sink);
        true
    }

    pub(super) fn claim(&mut self, now: Time, queue: usize, bookmark: MessageId, by: String) {
        self.replication.claims.entry((queue, bookmark)).or_insert(Claim { by, since: now });
        self.dirty.insert(queue);
    }

    /// After everything that can be delivered here was: gives away what others would deliver,
    /// and asks for what could be delivered here.
    pub(in crate::engine) fn settle_ownership<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        self.give_away(now, index);
        self.ask_for_more(now, index, sink);
    }

    fn give_away(&mut self, now: Time, index: usize) {
        if self.replication.claims.is_empty() {
            return;
        }
        let claims = self.replication.claims.range((index, FIRST)..(index + 1, FIRST));
        let claims: Vec<(MessageId, Claim)> = claims.map(|((_, id), claim)| (*id, claim.clone())).collect();
        let mut next: Option<Time> = None;
        for (bookmark, Claim { by, since }) in claims {
            let queue = &self.queues[index];
            let position = queue.position_of(bookmark);
            // Who asks for what is its own has given it to this instance, and that is on its way, as may be
            // the message.
            let is_coming = match position {
                Some(position) => queue.owner_of(position) == Some(&by),
                None => bookmark.sequence > self.log.highest(bookmark.publisher),
            };
            let own = |position: &Position| queue.owner_of(*position).is_none();
            let Some(position) = position.filter(own) else {
                if !is_coming {
                    self.replication.claims.remove(&(index, bookmark));
                }
                continue;
            };
            let due = since + self.config.switches.transfer_delay;
            if !queue.can_give(position) || !self.is_open_to(&by) {
                continue;
            }
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            self.replication.claims.remove(&(index, bookmark));
            let owner: Arc<str> = by.into();
            let turn = self.queues[index].turn_of(position) + 1;
            self.queues[index].give_to(position, Some(Arc::clone(&owner)), turn);
            self.log.append_transfer(index, bookmark, (owner, turn), now, None);
        }
        self.timers.set(Timer::Transfer(index), next);
    }

    /// Whether what is logged now reaches an instance: a message that is given away while the
    /// link is paused would be nobody's.
    fn is_open_to(&self, instance: &str) -> bool {
        self.replication
            .destinations
            .iter()
            .any(|link| link.state == LinkState::Up && link.is_connected_to(instance))
    }

    fn upstream_named(&self, instance: &str) -> Option<ConnId> {
        let named = |name: &Option<String>| name.as_deref() == Some(instance);
        self.replication.upstreams.iter().find(|(_, up)| named(&up.instance)).map(|(conn, _)| *conn)
    }

    fn ask_for_more<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        if self.queues[index].elsewhere().next().is_none() || !self.queues[index].may_lease_more() {
            return;
        }
        let room = |key: &SubKey| {
            let subscription = self.subscriptions.get(key)?;
            let backlog = subscription.backlog?.saturating_sub(subscription.leased);
            (backlog > 0).then_some((*key, backlog as usize))
        };
        let members: Vec<(SubKey, usize)> = self.queues[index].members.keys().filter_map(room).collect();
        let total: usize = members.iter().map(|(_, room)| room).sum();
        let proxied = self.replication.proxied.contains(&index);
        for (key, _) in members {
            while self.queues[index].asked_for() < total {
                let Some((bookmark, owner)) = self.next_to_ask_for(now, index, key, proxied) else { break };
                match self.upstream_named(&owner) {
                    Some(conn) => self.ask_owner(conn, index, bookmark, sink),
                    None => {
                        let Some(position) = self.queues[index].position_of(bookmark) else { break };
                        let turn = self.queues[index].turn_of(position) + 1;
                        self.queues[index].give_to(position, None, turn);
                        let instance = self.config.instance.as_str().into();
                        self.log.append_transfer(index, bookmark, (instance, turn), now, None);
                        // It is delivered before another is taken.
                        self.dirty.insert(index);
                        return;
                    }
                }
            }
        }
    }

    fn next_to_ask_for(
        &mut self,
        now: Time,
        index: usize,
        key: SubKey,
        proxied: bool,
    ) -> Option<(MessageId, Arc<str>)> {
        let (upstreams, links) = (&self.replication.upstreams, &self.replication.destinations);
        let asks = |owner: &str| upstreams.values().any(|up| up.instance.as_deref() == Some(owner));
        let sends = |owner: &str| links.iter().any(|link| link.is_connected_to(owner));
        let reachable = |owner: &str| asks(owner) || (proxied && !sends(owner));
        let subscription = self.subscriptions.get(&key)?;
        let queue = self.queues.get_mut(index)?;
        let (format, name) = (queue.format.clone(), Arc::clone(&queue.name));
        queue.ask(key, |entry, owner| {
            let matches = subscription.selector.as_ref().is_none_or(|selector| {
                let document = format.read(&entry.body);
                selector.matches(Facts::of(entry, &format, &document).read_as(&name), now)
            });
            matches && reachable(owner)
        })
    }

    fn ask_owner<S: Sink>(&mut self, conn: ConnId, index: usize, bookmark: MessageId, sink: &mut S) {
        let queue = &self.queues[index];
        let message_type = self.types.name(queue.message_type).to_owned();
        let frame = Frame::Wanted { queue: queue.name.to_string(), message_type, bookmark };
        if let Some(upstream) = self.replication.upstreams.get_mut(&conn) {
            upstream.sent += 1;
        }
        self.send_on_link(conn, &frame, sink);
    }

    /// Another instance logged who owns a message from now on. That may be old news, for after a
    /// break everything that was logged is told again: the later turn counts, and of two instances
    /// that took the same turn the one whose name is greater (inferred).
    pub(super) fn take_transfer(
        &mut self,
        now: Time,
        index: usize,
        bookmark: MessageId,
        (owner, turn): (&str, u64),
        via: Option<Via>,
    ) {
        let queue = &mut self.queues[index];
        let Some(position) = queue.position_of(bookmark) else { return };
        let elsewhere: Option<Arc<str>> = (*owner != *self.config.instance).then(|| owner.into());
        let present = queue.owner_of(position).unwrap_or(&self.config.instance);
        if (turn, owner) <= (queue.turn_of(position), present) {
            if elsewhere.is_none() {
                // It was asked for, and given by an owner that did not know of a later one yet.
                queue.ask_again(position);
                self.dirty.insert(index);
            }
            return;
        }
        queue.give_to(position, elsewhere, turn);
        self.dirty.insert(index);
        self.log.append_transfer(index, bookmark, (owner.into(), turn), now, via.map(Arc::new));
    }
}

/// Before every bookmark.
const FIRST: MessageId = MessageId { publisher: 0, sequence: 0 };
