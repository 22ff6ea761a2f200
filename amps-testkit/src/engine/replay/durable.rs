//! What is durable, and who is told (server.md BS-08, 5.6).
//!
//! Owns the `persisted` acks of bookmark subscriptions: at most one per interval, and only if
//! there is something new to say. Such an ack never names a message that the subscription has
//! not got to yet, for whoever resumed there would miss what lies between.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, MessageId};
use amps_transport::{ConnId, Sink, Time};

use super::{Stream, StreamId};
use crate::engine::Engine;
use crate::engine::reply::AckFrame;
use crate::engine::subscription::SubKey;
use crate::engine::timers::Timer;
use crate::engine::txlog::{Durability, Position, TxLog};

/// A `persisted` ack of a publish without sequence number.
#[derive(Debug)]
pub(in crate::engine) struct WaitingAck {
    pub(in crate::engine) conn: ConnId,
    command_id: Option<Vec<u8>>,
    /// It is due when everything before is durable.
    logged_before: Position,
}

impl Engine {
    /// Makes the log wait for its peers (`true`): nothing that is logged from now on is durable
    /// until this is called with `false`. Until then publishers get no `persisted` ack, and
    /// subscriptions that are `fully_durable` get no message.
    pub fn hold_durability<S: Sink>(&mut self, now: Time, held: bool, sink: &mut S) {
        let durable = self.log.horizon(Durability::Full);
        self.replication.hold(held.then_some(durable));
        self.settle(now, sink);
    }

    /// What was appended is on disk now.
    pub(in crate::engine) fn log_is_written<S: Sink>(&mut self, now: Time, sink: &mut S) {
        self.log.write();
        self.confirm(now, sink);
        self.confirm_to_upstreams(sink);
    }

    /// Publishers that wait for the log get their acks (PUB-23), and so do, at their intervals,
    /// the subscriptions that are told what is durable.
    pub(in crate::engine) fn confirm<S: Sink>(&mut self, now: Time, sink: &mut S) {
        for conn in std::mem::take(&mut self.unconfirmed) {
            self.send_conflated(now, conn, sink);
        }
        let durable = self.log.horizon(Durability::Full);
        let (ready, waiting) = std::mem::take(&mut self.waiting_acks)
            .into_iter()
            .partition::<Vec<_>, _>(|ack| ack.logged_before <= durable);
        self.waiting_acks = waiting;
        for WaitingAck { conn, command_id, .. } in ready {
            let ack = AckFrame { command_id: command_id.as_deref(), ..AckFrame::new() };
            self.send_ack(now, conn, AckType::Persisted, ack, sink);
        }
        let streams: Vec<StreamId> = self.replays.streams.keys().copied().collect();
        for id in streams {
            self.arm_durable(now, id);
        }
    }

    /// Holds the `persisted` ack of a publish without sequence number back until its message is
    /// durable; `false` if it is already.
    pub(in crate::engine) fn wait_for_durability(&mut self, conn: ConnId, command_id: Option<&[u8]>) -> bool {
        let logged_before = self.log.end();
        if self.log.horizon(Durability::Full) >= logged_before {
            return false;
        }
        let command_id = command_id.map(<[u8]>::to_vec);
        self.waiting_acks.push(WaitingAck { conn, command_id, logged_before });
        true
    }

    /// Sees to it that the members of a stream are told what is durable, if that is news.
    pub(super) fn arm_durable(&mut self, now: Time, id: StreamId) {
        let Some(stream) = self.replays.streams.get(&id) else { return };
        let timer = Timer::Durable(stream.conn);
        let durable = self.log.horizon(Durability::Full);
        if self.timers.is_set(timer) || news(stream, &self.log, durable).next().is_none() {
            return;
        }
        let Some(connection) = self.connections.get(&stream.conn) else { return };
        let interval: Option<Duration> = self.config.switches.bookmark_persisted_interval;
        self.timers.set(timer, Some(now + interval.unwrap_or(connection.ack_conflation)));
    }

    pub(in crate::engine) fn tell_what_is_durable<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        let durable = self.log.horizon(Durability::Full);
        let streams = self.replays.streams.values().filter(|stream| stream.conn == conn);
        let told: Vec<_> = streams.flat_map(|stream| news(stream, &self.log, durable)).collect();
        for (key, bookmark) in told {
            let id = self.replays.of.get(&key).copied();
            let stream = id.and_then(|id| self.replays.streams.get_mut(&id));
            if let Some(member) = stream.and_then(|stream| stream.members.get_mut(&key)) {
                member.reported = Some(bookmark);
            }
            let Some(subscription) = self.subscriptions.get(&key) else { continue };
            let sub_id = Arc::clone(&subscription.id);
            let ack = AckFrame { sub_id: Some(&sub_id), bookmark: Some(bookmark), ..AckFrame::new() };
            self.send_ack(now, conn, AckType::Persisted, ack, sink);
        }
    }
}

fn news<'s>(
    stream: &'s Stream,
    log: &TxLog,
    durable: Position,
) -> impl Iterator<Item = (SubKey, MessageId)> + use<'s> {
    let bookmark = log.bookmark_before(stream.cursor.min(durable));
    let members = stream.members.iter().filter(|(_, member)| member.persisted && !member.ended);
    members.filter_map(move |(&key, member)| {
        bookmark.filter(|bookmark| member.reported != Some(*bookmark)).map(|bookmark| (key, bookmark))
    })
}
