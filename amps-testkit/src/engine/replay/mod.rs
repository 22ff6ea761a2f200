//! Bookmark subscriptions: the log from some place on, and then what is logged (server.md 5).
//!
//! A bookmark subscription is a member of a [`Stream`], which is one cursor over the log. There
//! is no second source of messages: what is published reaches a stream only by the log. So the
//! change from replay to live messages has no gap, no duplicate and no other order (BS-07).
//!
//! * `start` reads where a subscription wants to begin and end;
//! * `step` moves cursors, in bounded steps, and sends;
//! * `pace` says when a message is due, where a rate was asked for;
//! * `control` pauses, resumes, replaces and ends;
//! * `durable` tells subscribers what is durable.
//!
//! Invariants: every subscription with `replays` is a member of exactly one stream, and no
//! other is; a stream has several members only while it catches up after they were resumed
//! together (PR-03); a stream whose cursor is at the end of the log is in `tail`, and one that
//! has more to send and no reason to wait but its consumer is in `behind`.
//!
//! A stream that catches up is moved a step at a time, when the driver has nothing else to do,
//! and only while its connection takes what it is sent: so a replay delays nobody, and a slow
//! consumer slows down nobody but itself (CONN-71). What is sent never depends on how the steps
//! fall; only when it is sent does.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod control;
mod durable;
mod pace;
mod start;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use amps_protocol::MessageId;
use amps_transport::{ConnId, Time};

use super::Engine;
use super::sow::{Table, resource_in};
use super::subscription::SubKey;
use super::topic::{TopicPattern, TypeId};
use super::txlog::{Durability, Position, TxLog};

pub(in crate::engine) use durable::WaitingAck;
use pace::Pacing;
pub(crate) use start::ReplayRequest;
use start::Stop;

/// Names a stream for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId(u64);

/// Topics whose match a member remembers before it begins anew.
const MAX_REMEMBERED: usize = 1024;

/// All bookmark subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    streams: BTreeMap<StreamId, Stream>,
    of: BTreeMap<SubKey, StreamId>,
    created: u64,
    /// Those that have got everything.
    tail: BTreeSet<StreamId>,
    /// Those that have more to send.
    behind: BTreeSet<StreamId>,
    /// When those behind go on.
    next: Option<Time>,
    /// The ends of the log when those at the tail were last looked at.
    seen: [Position; 3],
}

/// A cursor over the log.
#[derive(Debug)]
struct Stream {
    conn: ConnId,
    /// The next item to look at.
    cursor: Position,
    durability: Durability,
    pacing: Option<Pacing>,
    paused: bool,
    members: BTreeMap<SubKey, Member>,
}

/// A subscription on a stream.
#[derive(Debug)]
struct Member {
    topics: Vec<TopicPattern>,
    /// The queue whose messages these are, if it was named: its rights count.
    queue: Option<Arc<str>>,
    /// Which topics match, as far as they came.
    matched: BTreeMap<Arc<str>, bool>,
    /// Messages before this time are not wanted.
    not_before: Option<Time>,
    /// The replay is over when the cursor is here.
    cutover: Position,
    /// The command to tell then.
    completed: Option<Command>,
    stop: Stop,
    /// So many messages more.
    left: Option<u64>,
    /// Whether it wants to know what is durable, and what it was told last.
    persisted: bool,
    reported: Option<MessageId>,
    ended: bool,
}

/// The id of a command that waits for its `completed` ack, if it has one.
#[derive(Clone, Debug)]
struct Command(Option<Vec<u8>>);

impl Replays {
    fn add(&mut self, stream: Stream) -> StreamId {
        self.created += 1;
        let id = StreamId(self.created);
        for &key in stream.members.keys() {
            self.of.insert(key, id);
        }
        self.streams.insert(id, stream);
        id
    }

    /// The stream of a subscription, after it has been made the only member.
    fn alone(&mut self, key: SubKey) -> Option<StreamId> {
        let id = *self.of.get(&key)?;
        let stream = self.streams.get_mut(&id)?;
        if stream.members.len() == 1 {
            return Some(id);
        }
        let member = stream.members.remove(&key)?;
        let split = Stream {
            conn: stream.conn,
            cursor: stream.cursor,
            durability: stream.durability,
            pacing: stream.pacing.clone(),
            paused: stream.paused,
            members: BTreeMap::from([(key, member)]),
        };
        Some(self.add(split))
    }

    /// Where a subscription stands, the end of what it may see, and whether it is paused.
    pub(in crate::engine) fn place_of(&self, key: SubKey, log: &TxLog) -> Option<(Position, Position, bool)> {
        let stream = self.streams.get(self.of.get(&key)?)?;
        Some((stream.cursor.max(log.first()), log.horizon(stream.durability), stream.paused))
    }

    /// The streams that have got everything, in the order in which their subscriptions were made.
    fn at_the_tail(&self) -> Vec<StreamId> {
        let mut tail: Vec<StreamId> = self.tail.iter().copied().collect();
        tail.sort_by_key(|id| self.streams.get(id).and_then(|stream| stream.members.keys().next().copied()));
        tail
    }

    /// Takes a stream out of every set of those that move.
    fn rest(&mut self, id: StreamId) {
        self.tail.remove(&id);
        self.behind.remove(&id);
        if self.behind.is_empty() {
            self.next = None;
        }
    }

    /// A stream has more to send, and goes on at this time.
    fn fall_behind(&mut self, id: StreamId, at: Time) {
        self.behind.insert(id);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl Engine {
    /// Every contradiction in the books of the streams, for tests.
    pub(super) fn replay_contradictions(&self) -> Vec<String> {
        let Replays { streams, of, tail, behind, next, .. } = &self.replays;
        let mut found = Vec::new();
        for (key, subscription) in &self.subscriptions {
            let stream = of.get(key).and_then(|id| streams.get(id));
            let member = stream.is_some_and(|stream| stream.members.contains_key(key));
            if member != subscription.replays {
                found.push(format!("{} is on the log, or is not, against what it says", subscription.id));
            }
        }
        if of.keys().any(|key| !self.subscriptions.contains_key(key)) {
            found.push("somebody follows the log who is not subscribed".to_owned());
        }
        for (id, stream) in streams {
            let unread = stream.cursor < self.log.horizon(stream.durability);
            let (at_tail, is_behind) = (tail.contains(id), behind.contains(id));
            if (at_tail && (unread || is_behind)) || (stream.paused && (at_tail || is_behind)) {
                found.push(format!("stream {id:?} is not where it should be"));
            }
        }
        let known = tail.iter().chain(behind).all(|id| streams.contains_key(id));
        if !known || behind.is_empty() != next.is_none() {
            found.push("the streams that move are not those that are there".to_owned());
        }
        found
    }
}

impl Member {
    /// What the right to read a message of this topic is about.
    fn resource<'a>(&'a self, tables: &'a [Table], message_type: TypeId, topic: &'a str) -> &'a str {
        self.queue.as_deref().unwrap_or_else(|| resource_in(tables, message_type, topic))
    }

    fn covers(&mut self, topic: &Arc<str>) -> bool {
        if let [TopicPattern::Literal(name)] = &self.topics[..] {
            return name == topic;
        }
        if let Some(&matches) = self.matched.get(topic) {
            return matches;
        }
        if self.matched.len() >= MAX_REMEMBERED {
            self.matched.clear();
        }
        let matches = self.topics.iter().any(|pattern| pattern.matches(topic));
        self.matched.insert(Arc::clone(topic), matches);
        matches
    }
}
