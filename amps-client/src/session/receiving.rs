//! From bytes to the application: cutting, decoding, routing, acknowledging.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::{CommandKind, LENGTH_PREFIX, Message, next_frame};
use amps_transport::{CloseMode, ConnId, Sink, Time};
use bytes::BytesMut;

use super::acks::AckOption;
use super::app::{App, Delivery, Disposition};
use super::inbound::{Session, State};
use super::settling::Lease;
use super::subscription::SubKey;
use crate::error::DisconnectCause;

impl<A: App> Session<A> {
    // ----- receiving ------------------------------------------------------------------

    pub(super) fn received<S: Sink>(&mut self, now: Time, conn: ConnId, bytes: &mut BytesMut, sink: &mut S) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.received(now);
        }
        let mut at = 0;
        let fault = loop {
            if self.state.conn() != Some(conn) {
                break None;
            }
            let total = match next_frame(&bytes[at..], self.config.max_inbound) {
                Ok(Some(total)) => total,
                Ok(None) => break None,
                Err(error) => break Some(DisconnectCause::BadFrame(error)),
            };
            let start = at + LENGTH_PREFIX;
            let frame = &bytes[start..at + total];
            at += total;
            if frame.is_empty() {
                continue;
            }
            match Message::decode(frame) {
                Ok(mut message) => self.dispatch(now, &mut message, start, sink),
                Err(error) => break Some(DisconnectCause::BadHeader(error)),
            }
        };
        self.app.end_of_read(bytes.split_to(at));
        if let Some(cause) = fault {
            sink.close(conn, CloseMode::Abort);
            self.lost(now, cause, sink);
        }
    }

    #[inline]
    pub(super) fn dispatch<S: Sink>(
        &mut self,
        now: Time,
        message: &mut Message<&[u8]>,
        offset: usize,
        sink: &mut S,
    ) {
        match message.command() {
            CommandKind::Ack => match self.state {
                State::LoggingOn { .. } => self.logon_answered(now, message, sink),
                _ => {
                    self.shared.with(|outbound| outbound.acknowledged(message));
                    self.apply_effects();
                }
            },
            CommandKind::Heartbeat => {
                let heartbeat = &self.heartbeat;
                self.shared.with(|outbound| {
                    if heartbeat.as_ref().is_some_and(|h| h.should_answer(now, outbound.last_sent())) {
                        outbound.beat(now);
                    }
                });
            }
            _ => self.route(now, message, offset),
        }
    }

    pub(super) fn route(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize) {
        let leased = message.lease().is_some();
        let Some(ids) = message.sub_ids().or_else(|| message.sub_id()) else {
            return self.app.unexpected(message);
        };
        if !ids.contains(&b',') {
            return match self.find(ids, leased) {
                Some(found) => self.deliver(now, message, offset, found, true),
                None => self.app.unexpected(message),
            };
        }
        let mut found = Vec::new();
        for id in ids.split(|&byte| byte == b',') {
            let Some(one) = self.find(id.trim_ascii(), leased) else { continue };
            if !found.iter().any(|other: &Found| other.key == one.key) {
                found.push(one);
            }
        }
        if found.is_empty() {
            return self.app.unexpected(message);
        }
        let last = found.len() - 1;
        for (i, one) in found.into_iter().enumerate() {
            self.deliver(now, message, offset, one, i == last);
        }
    }

    pub(super) fn find(&mut self, id: &[u8], leased: bool) -> Option<Found> {
        let route = self.routes.find(id)?;
        let number = leased.then(|| {
            let number = route.leased;
            route.leased += 1;
            number
        });
        Some(Found { key: route.key, auto_ack: route.auto_ack, number })
    }

    pub(super) fn deliver(
        &mut self,
        now: Time,
        message: &mut Message<&[u8]>,
        offset: usize,
        found: Found,
        last: bool,
    ) {
        let Found { key, auto_ack, number } = found;
        let generation = self.generation;
        let lease = number.map(|number| Lease { key, generation, number });
        let delivery = Delivery { key, generation, message, offset, lease, last };
        let disposition = self.app.deliver(delivery);
        let Some(lease) = lease.filter(|_| auto_ack) else { return };
        let option = match disposition {
            Disposition::Done => None,
            Disposition::Failed => Some(AckOption::Cancel),
            Disposition::Kept => return,
        };
        let (Some(topic), Some(bookmark)) = (message.topic(), message.bookmark()) else { return };
        // A handler takes its time, and its acknowledgement must not wait for the next one.
        let now = self.app.now(now);
        self.shared.act_quietly(now, |outbound| {
            outbound.settle_unasked(now, lease, topic, bookmark, option.as_ref());
        });
    }
}

/// A subscription that a message is for.
#[derive(Clone, Copy)]
pub(super) struct Found {
    key: SubKey,
    auto_ack: bool,
    number: Option<u64>,
}
