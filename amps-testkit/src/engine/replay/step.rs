//! Moving over the log (server.md 5.3).
//!
//! Owns the one loop that looks at items, sends what is wanted, and stops for whatever reason
//! there is. Each call is bounded: by the items looked at, and by what the connection has not
//! taken yet.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, CommandKind, Field, FrameWriter, format_timestamp};
use amps_transport::{ConnId, Sink, Time};

use super::start::Stop;
use super::{Command, Stream, StreamId};
use crate::engine::Engine;
use crate::engine::reply::AckFrame;
use crate::engine::selector::Facts;
use crate::engine::subscription::SubKey;
use crate::engine::switches::AfterEnd;
use crate::engine::timers::Timer;
use crate::engine::txlog::{Durability, Entry, Item};

/// Items looked at in one step.
const MAX_ITEMS: usize = 1000;

/// A connection with so many bytes unsent gets no more of a replay.
const MAX_UNSENT: usize = 256 * 1024;

/// After this time it is looked at again. There is no event for "the socket took bytes".
const RETRY: Duration = Duration::from_millis(2);

/// Why a stream stops.
#[derive(Clone, Copy)]
enum Rest {
    /// It has got everything.
    Tail,
    /// It has more to send, and goes on then.
    Behind(Time),
    /// The next message is due then.
    Due(Time),
    /// It is paused, or over.
    Idle,
}

/// What a stream finds at its cursor.
enum Found {
    Rest(Rest),
    /// Nothing that anybody wants.
    Nothing,
    Wanted(Vec<SubKey>, Arc<Entry>),
}

impl Engine {
    /// When replays go on that have more to send; a driver under a virtual clock sees to it by
    /// [`continue_replays`](Self::continue_replays), and others by an [`Input::Timer`] then.
    ///
    /// [`Input::Timer`]: amps_transport::Input::Timer
    pub fn replay_deadline(&self) -> Option<Time> {
        self.replays.next
    }

    /// Sends a bounded part of what replays have to send, to every connection that takes it.
    pub fn continue_replays<S: Sink>(&mut self, now: Time, sink: &mut S) {
        self.replays.next = None;
        let behind: Vec<StreamId> = self.replays.behind.iter().copied().collect();
        for id in behind {
            self.step(now, id, sink);
        }
        self.settle(now, sink);
    }

    /// Shows what was logged to the streams that have got everything else.
    pub(in crate::engine) fn follow_log<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let ends = [Durability::Live, Durability::Persisted, Durability::Full];
        let ends = ends.map(|durability| self.log.horizon(durability));
        if ends == self.replays.seen {
            return;
        }
        self.replays.seen = ends;
        if ends[1] < ends[0] && !self.timers.is_set(Timer::LogWrite) {
            self.timers.set(Timer::LogWrite, Some(now + self.config.log_flush_interval));
        }
        for id in self.replays.at_the_tail() {
            self.step(now, id, sink);
        }
    }

    /// Moves a stream as far as it goes.
    pub(in crate::engine) fn step<S: Sink>(&mut self, now: Time, id: StreamId, sink: &mut S) {
        let Some(stream) = self.replays.streams.get(&id) else { return };
        let conn = stream.conn;
        let mut room = self.replay_room(MAX_UNSENT).saturating_sub(sink.unsent(conn));
        let mut looked_at = 0;
        let rest = loop {
            self.conclude(now, id, sink);
            if looked_at >= MAX_ITEMS {
                break Rest::Behind(now);
            }
            match self.look(now, id, room == 0) {
                Found::Rest(rest) => break rest,
                Found::Nothing => {}
                Found::Wanted(keys, entry) => {
                    let (conflated, keys): (Vec<SubKey>, Vec<SubKey>) =
                        keys.into_iter().partition(|key| self.is_conflated(*key));
                    for key in conflated {
                        self.hold_of_replay(now, id, key, &entry, sink);
                    }
                    if !keys.is_empty() {
                        room = room.saturating_sub(self.send_entry(now, conn, &keys, &entry, sink));
                    }
                }
            }
            looked_at += 1;
        };
        self.conflate_at_rest(now, id, rest, sink);
        self.come_to_rest(now, id, rest);
        self.arm_durable(now, id);
    }

    /// While a stream catches up, only the times of what it finds end intervals; when it has got
    /// everything, the clock does.
    fn conflate_at_rest<S: Sink>(&mut self, now: Time, id: StreamId, rest: Rest, sink: &mut S) {
        let Some(stream) = self.replays.streams.get(&id) else { return };
        let keys: Vec<SubKey> =
            stream.members.keys().copied().filter(|key| self.is_conflated(*key)).collect();
        for key in keys {
            match rest {
                Rest::Tail => self.release(now, key, sink),
                _ => self.timers.set(Timer::Conflation(key), None),
            }
        }
    }

    fn is_conflated(&self, key: SubKey) -> bool {
        self.subscriptions.get(&key).is_some_and(|subscription| subscription.conflated.is_some())
    }

    fn hold_of_replay<S: Sink>(&mut self, now: Time, id: StreamId, key: SubKey, entry: &Entry, sink: &mut S) {
        let member = self.replays.streams.get(&id).and_then(|stream| stream.members.get(&key));
        let resource = member.map(|member| member.resource(&self.sow, entry.message_type, &entry.topic));
        let resource = resource.unwrap_or(&entry.topic).to_owned();
        self.hold_replayed(now, key, entry, &resource, sink);
    }

    fn come_to_rest(&mut self, now: Time, id: StreamId, rest: Rest) {
        self.replays.rest(id);
        let Some(stream) = self.replays.streams.get_mut(&id) else {
            return self.timers.set(Timer::Replay(id), None);
        };
        if let (Rest::Tail | Rest::Behind(_), Some(pacing)) = (&rest, &mut stream.pacing) {
            if !matches!(rest, Rest::Behind(at) if at == now) {
                pacing.rest();
            }
        }
        let ends = stream.members.values().filter_map(|member| match member.stop {
            Stop::Before(time) if !member.ended => Some(time),
            _ => None,
        });
        let wake = match rest {
            Rest::Due(at) => Some(at),
            Rest::Tail => ends.min(),
            Rest::Behind(_) | Rest::Idle => None,
        };
        self.timers.set(Timer::Replay(id), wake);
        match rest {
            Rest::Tail => {
                // What was resumed together is together until it has caught up (PR-03).
                let members: Vec<SubKey> = stream.members.keys().copied().collect();
                let split: Vec<StreamId> =
                    members.into_iter().filter_map(|key| self.replays.alone(key)).collect();
                self.replays.tail.extend(split);
                self.replays.tail.insert(id);
            }
            Rest::Behind(at) => self.replays.fall_behind(id, at),
            Rest::Due(_) | Rest::Idle => {}
        }
    }

    /// Looks at the item under the cursor, and moves on if nothing speaks against it.
    fn look(&mut self, now: Time, id: StreamId, full: bool) -> Found {
        let Some(stream) = self.replays.streams.get_mut(&id) else { return Found::Rest(Rest::Idle) };
        if stream.paused || stream.members.values().all(|member| member.ended) {
            return Found::Rest(Rest::Idle);
        }
        // What was truncated is not replayed.
        stream.cursor = stream.cursor.max(self.log.first());
        if stream.cursor >= self.log.horizon(stream.durability) {
            return Found::Rest(Rest::Tail);
        }
        if full {
            return Found::Rest(Rest::Behind(now + RETRY));
        }
        let Some(Item::Message(entry)) = self.log.get(stream.cursor) else {
            stream.cursor += 1;
            return Found::Nothing;
        };
        let format = self.types.format(entry.message_type);
        let document = format.read(&entry.body);
        let facts = Facts::of(entry, format, &document);
        let mut wanted = Vec::new();
        for (&key, member) in &mut stream.members {
            let Some(subscription) = self.subscriptions.get(&key) else { continue };
            let covers = member.covers(&entry.topic);
            let resource = member.resource(&self.sow, entry.message_type, &entry.topic);
            let facts = facts.read_as(resource);
            let in_time = member.not_before.is_none_or(|time| entry.at >= time);
            if !member.ended
                && in_time
                && subscription.message_type == entry.message_type
                && covers
                && subscription.selector.as_ref().is_none_or(|selector| selector.matches(facts, now))
            {
                wanted.push(key);
            }
        }
        if wanted.is_empty() {
            stream.cursor += 1;
            return Found::Nothing;
        }
        if let Some(pacing) = &mut stream.pacing {
            let due = pacing.due(entry.at, now);
            if due > now {
                return Found::Rest(Rest::Due(due));
            }
            pacing.sent(due, entry.at, entry.body.len(), now);
        }
        for key in &wanted {
            if let Some(left) = stream.members.get_mut(key).and_then(|member| member.left.as_mut()) {
                *left = left.saturating_sub(1);
            }
        }
        stream.cursor += 1;
        Found::Wanted(wanted, Arc::clone(entry))
    }

    /// Sends a message to subscriptions of one connection; returns the length of the frame.
    fn send_entry<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        keys: &[SubKey],
        entry: &Entry,
        sink: &mut S,
    ) -> usize {
        self.delivered += 1;
        let body = self.shown_of_entry(conn, keys, entry);
        let subscriptions = || keys.iter().filter_map(|key| self.subscriptions.get(key));
        let timestamp = subscriptions().any(|s| s.shape.timestamp);
        let timestamp = timestamp.then(|| format_timestamp(entry.at.as_unix_nanos()).to_string());
        let key = entry.key.as_deref().filter(|_| subscriptions().any(|s| !s.shape.no_sowkey));
        let length = FrameWriter::new(&mut self.out, CommandKind::Publish)
            .text(Field::Bookmark, entry.bookmark.to_string())
            .text(Field::Topic, entry.topic.as_bytes())
            .list(Field::SubIds, subscriptions().map(|s| s.id.as_bytes()))
            .maybe_text(Field::SowKey, key)
            .maybe_text(Field::CorrelationId, entry.correlation.as_deref())
            .maybe_text(Field::Timestamp, timestamp)
            .maybe_number(Field::Length, self.config.switches.publish_length.then_some(body.len() as u64))
            .finish(&body);
        self.transmit_paced(now, conn, sink);
        length
    }

    /// What subscriptions of one connection get to see of a message. Where they read it by several
    /// names, no more than all of these permit.
    fn shown_of_entry<'e>(&self, conn: ConnId, keys: &[SubKey], entry: &'e Entry) -> Cow<'e, [u8]> {
        let format = self.types.format(entry.message_type);
        let members = keys.iter().filter_map(|key| {
            let stream = self.replays.streams.get(self.replays.of.get(key)?)?;
            stream.members.get(key)
        });
        let resources: BTreeSet<&str> =
            members.map(|member| member.resource(&self.sow, entry.message_type, &entry.topic)).collect();
        let whole = Cow::Borrowed(&*entry.body);
        let visible = resources.into_iter().fold(whole, |body, resource| {
            match self.shown(conn, Some(resource), format, &body, None) {
                Cow::Borrowed(_) => body,
                Cow::Owned(cut) => Cow::Owned(cut),
            }
        });
        match self.selected(keys) {
            Some(select) => Cow::Owned(format.select(&visible, &select)),
            None => visible,
        }
    }

    /// Tells the members that have come to the end of their replay, or to their own end.
    fn conclude<S: Sink>(&mut self, now: Time, id: StreamId, sink: &mut S) {
        let Some(stream) = self.replays.streams.get_mut(&id).filter(|stream| !stream.paused) else { return };
        let Stream { conn, cursor, ref mut members, .. } = *stream;
        let mut over: Vec<(SubKey, Option<Command>, bool)> = Vec::new();
        for (&key, member) in members.iter_mut().filter(|(_, member)| !member.ended) {
            member.stop.settle(now, &self.log);
            let at_end = matches!(member.stop, Stop::At(position) if cursor >= position);
            member.ended = at_end || member.left == Some(0);
            // A range is complete at its end only (BS-09).
            let replayed = member.stop == Stop::Never && cursor >= member.cutover;
            let completed = member.completed.take_if(|_| member.ended || replayed);
            if member.ended || completed.is_some() {
                over.push((key, completed, member.ended));
            }
        }
        for (key, completed, ended) in over {
            let Some(subscription) = self.subscriptions.get(&key) else { continue };
            let sub_id = Arc::clone(&subscription.id);
            if ended {
                self.release_all(now, key, sink);
            } else if self.is_conflated(key) {
                self.release(now, key, sink);
            }
            if let Some(Command(command_id)) = completed {
                let ack = AckFrame {
                    command_id: command_id.as_deref(),
                    sub_id: Some(&sub_id),
                    bookmark: self.log.bookmark_before(cursor),
                    ..AckFrame::new()
                };
                self.send_ack(now, conn, AckType::Completed, ack, sink);
            }
            if ended && self.config.switches.bookmark_after_end == AfterEnd::Remove {
                self.end_subscription(now, key);
            }
        }
    }
}
