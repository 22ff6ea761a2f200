//! Beginning, pausing, resuming, replacing and ending bookmark subscriptions (server.md 5.4).
//!
//! Owns who shares a stream with whom.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use amps_protocol::{AckType, CommandKind, Message, Options};
use amps_transport::{ConnId, Sink, Time};

use super::start::contradiction;
use super::{Command, Member, ReplayRequest, Stream, StreamId};
use crate::engine::Engine;
use crate::engine::reasons::Reason;
use crate::engine::reply::{AckFrame, Refusal};
use crate::engine::subscription::{SubKey, text};
use crate::engine::timers::Timer;
use crate::engine::txlog::Durability;

impl Engine {
    /// Whether a subscription follows the log, but not now.
    pub(in crate::engine) fn is_paused(&self, key: SubKey) -> bool {
        let stream = self.replays.of.get(&key).and_then(|id| self.replays.streams.get(id));
        stream.is_some_and(|stream| stream.paused)
    }

    /// Puts a subscription that was registered on the log, if that is what it asked for. One
    /// that took the place of another goes on where that was (REP-02).
    pub(in crate::engine) fn place_replay<S: Sink>(
        &mut self,
        now: Time,
        key: SubKey,
        message: &Message<&[u8]>,
        replay: Option<ReplayRequest>,
        replaced: bool,
        sink: &mut S,
    ) {
        let Some(subscription) = self.subscriptions.get(&key) else { return };
        let (conn, sub_id) = (subscription.conn, Arc::clone(&subscription.id));
        // The query of a `sow_and_subscribe` has told of its completion already.
        let plain = message.command() == CommandKind::Subscribe;
        let wants_completed = plain && message.acks().contains(AckType::Completed);
        let Some(replay) = replay else {
            self.end_replay(key);
            // An unlogged topic where that is no error: its replay is over before it begins.
            if wants_completed && message.bookmark().is_some() {
                let bookmark = self.log.bookmark_before(self.log.end());
                let ack = AckFrame { sub_id: Some(&sub_id), bookmark, ..AckFrame::new() };
                self.acknowledge_as(now, conn, message, AckType::Completed, ack, sink);
            }
            return;
        };
        let end = self.log.horizon(replay.durability);
        let (mut cursor, mut cutover) = (replay.start, end);
        if replaced {
            let old = self.replays.alone(key).and_then(|id| self.replays.streams.get(&id));
            cursor = old.map_or(end, |old| old.cursor);
            cutover = old.and_then(|old| old.members.get(&key)).map_or(end, |member| member.cutover);
        }
        self.end_replay(key);
        let command = || Command(message.command_id().map(|id| id.to_vec()));
        let member = Member {
            topics: replay.topics,
            queue: replay.queue,
            matched: BTreeMap::new(),
            not_before: replay.not_before,
            cutover,
            completed: wants_completed.then(command),
            stop: replay.stop,
            left: replay.top_n,
            persisted: message.acks().contains(AckType::Persisted),
            reported: self.log.bookmark_before(cursor),
            ended: false,
        };
        let id = self.replays.add(Stream {
            conn,
            cursor,
            durability: replay.durability,
            pacing: replay.pacing,
            paused: replay.paused,
            members: BTreeMap::from([(key, member)]),
        });
        self.step(now, id, sink);
    }

    /// A subscription follows the log no more.
    pub(in crate::engine) fn end_replay(&mut self, key: SubKey) {
        let Some(id) = self.replays.of.remove(&key) else { return };
        let Some(stream) = self.replays.streams.get_mut(&id) else { return };
        stream.members.remove(&key);
        if stream.members.is_empty() {
            self.replays.streams.remove(&id);
            self.replays.rest(id);
            self.timers.set(Timer::Replay(id), None);
        }
    }

    /// Pauses or resumes, if that is what the command is about; `false` if it is a subscribe
    /// like others.
    pub(in crate::engine) fn control_replays<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) -> bool {
        let options = Options::parse(&text(message.options().map(|o| &**o)));
        let pauses = match (options.pause(), options.resume(), options.replace()) {
            (true, false, false) => true,
            (false, true, false) => false,
            _ => return false,
        };
        let ids = text(message.sub_id().map(|id| &**id));
        // A pause of nothing known, with a bookmark, is a new subscription that begins paused.
        if pauses && message.bookmark().is_some() && !self.any_known(conn, &ids) {
            return false;
        }
        match self.read_control(conn, &ids, &options) {
            Ok(keys) if pauses => {
                self.acknowledge(now, conn, message, AckFrame::new(), sink);
                self.pause(&keys);
            }
            Ok(keys) => {
                self.acknowledge(now, conn, message, AckFrame::new(), sink);
                self.resume(now, &keys, sink);
            }
            Err(refusal) => self.refuse(now, conn, message, refusal, sink),
        }
        true
    }

    fn any_known(&self, conn: ConnId, ids: &str) -> bool {
        let known = self.connections.get(&conn).map(|connection| &connection.subscriptions);
        known.is_some_and(|known| ids.split(',').any(|id| known.contains_key(id.trim())))
    }

    /// The subscriptions to pause or resume: all of them, or none.
    fn read_control(&self, conn: ConnId, ids: &str, options: &Options) -> Result<Vec<SubKey>, Refusal> {
        if options.live() {
            return Err(contradiction("live excludes pause and resume"));
        }
        let Some(connection) = self.connections.get(&conn) else { return Err(Reason::LogonRequired.into()) };
        let named = |id: &str| {
            let unknown = || Refusal::because(Reason::InvalidSubId, format!("there is no \"{id}\""));
            let key = *connection.subscriptions.get(id).ok_or_else(unknown)?;
            let stream = self.replays.of.get(&key).and_then(|id| self.replays.streams.get(id));
            match stream {
                None => Err(contradiction("only a bookmark subscription can be paused and resumed")),
                Some(stream) if stream.durability == Durability::Live => {
                    Err(contradiction("live excludes pause and resume"))
                }
                Some(_) => Ok(key),
            }
        };
        ids.split(',').map(str::trim).map(named).collect()
    }

    fn pause(&mut self, keys: &[SubKey]) {
        for &key in keys {
            let Some(id) = self.replays.alone(key) else { continue };
            if let Some(stream) = self.replays.streams.get_mut(&id) {
                stream.paused = true;
            }
            self.replays.rest(id);
            self.timers.set(Timer::Replay(id), None);
        }
    }

    /// Those that were paused at one place and go equally fast go on together (PR-03).
    fn resume<S: Sink>(&mut self, now: Time, keys: &[SubKey], sink: &mut S) {
        let mut resumed: Vec<StreamId> = Vec::new();
        for &key in keys {
            let Some(&id) = self.replays.of.get(&key).filter(|id| !resumed.contains(id)) else { continue };
            let Some(stream) = self.replays.streams.get(&id).filter(|stream| stream.paused) else { continue };
            let goes_along = |other: &&StreamId| {
                self.replays.streams.get(other).is_some_and(|other| together(stream, other))
            };
            let Some(leader) = resumed.iter().find(goes_along).copied() else {
                resumed.push(id);
                continue;
            };
            let Some(follower) = self.replays.streams.remove(&id) else { continue };
            if let Some(leader_stream) = self.replays.streams.get_mut(&leader) {
                for (key, member) in follower.members {
                    self.replays.of.insert(key, leader);
                    leader_stream.members.insert(key, member);
                }
            }
        }
        for id in resumed {
            if let Some(stream) = self.replays.streams.get_mut(&id) {
                stream.paused = false;
                if let Some(pacing) = &mut stream.pacing {
                    pacing.restart(now);
                }
            }
            self.step(now, id, sink);
        }
    }
}

fn together(one: &Stream, other: &Stream) -> bool {
    let equally_fast = match (&one.pacing, &other.pacing) {
        (None, None) => true,
        (Some(one), Some(other)) => one.equals(other),
        _ => false,
    };
    equally_fast && (one.cursor, one.durability) == (other.cursor, other.durability)
}
