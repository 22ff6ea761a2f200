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

use super::{Replays, Stream};
use crate::engine::Engine;
use crate::engine::reply::AckFrame;
use crate::engine::subscription::SubKey;
use crate::engine::timers::Timer;
use crate::engine::txlog::{Durability, Position, TxLog};

impl Engine {
    /// Makes the log wait for its peers (`true`): nothing that is logged from now on is durable
    /// until this is called with `false`. Until then publishers get no `persisted` ack, and
    /// subscriptions that are `fully_durable` get no message.
    pub fn hold_durability<S: Sink>(&mut self, now: Time, held: bool, sink: &mut S) {
        self.log.confirm(held.then(|| self.log.horizon(Durability::Full)));
        self.confirm_publishes(now, sink);
        self.settle(now, sink);
    }

    /// What was appended is on disk now.
    pub(in crate::engine) fn log_is_written<S: Sink>(&mut self, now: Time, sink: &mut S) {
        self.log.write();
        self.confirm_publishes(now, sink);
    }

    /// Publishers that wait for the log get their acks (PUB-23).
    fn confirm_publishes<S: Sink>(&mut self, now: Time, sink: &mut S) {
        for conn in std::mem::take(&mut self.unconfirmed) {
            self.send_conflated(now, conn, sink);
        }
    }

    /// The members of a connection's streams that have news, with the news.
    fn durable_news(replays: &Replays, log: &TxLog, conn: ConnId) -> Vec<(SubKey, MessageId)> {
        let durable = log.horizon(Durability::Full);
        let streams = replays.streams.values().filter(|stream| stream.conn == conn);
        streams.flat_map(|stream| news(stream, log, durable)).collect()
    }

    /// After the log or its durability moved.
    pub(super) fn arm_durable(&mut self, now: Time) {
        let mut connections: Vec<ConnId> = self.replays.streams.values().map(|stream| stream.conn).collect();
        connections.dedup();
        for conn in connections {
            self.arm_durable_for(now, conn);
        }
    }

    pub(super) fn arm_durable_for(&mut self, now: Time, conn: ConnId) {
        let timer = Timer::Durable(conn);
        if self.timers.is_set(timer) || Self::durable_news(&self.replays, &self.log, conn).is_empty() {
            return;
        }
        let Some(connection) = self.connections.get(&conn) else { return };
        let interval: Option<Duration> = self.config.switches.bookmark_persisted_interval;
        self.timers.set(timer, Some(now + interval.unwrap_or(connection.ack_conflation)));
    }

    pub(in crate::engine) fn tell_what_is_durable<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        for (key, bookmark) in Self::durable_news(&self.replays, &self.log, conn) {
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
