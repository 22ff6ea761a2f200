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
            // A handler, or another thread, may have ended the subscription that comes next.
            if self.shared.has_changed() {
                self.apply_effects();
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
    fn dispatch<S: Sink>(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize, sink: &mut S) {
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

    fn route(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize) {
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
        for id in message.ids() {
            found.extend(self.find(id, leased && found.is_empty()));
        }
        if found.is_empty() {
            return self.app.unexpected(message);
        }
        // The lease belongs to all of them and is settled once: by the first, and only if
        // none has failed.
        let (last, first) = (found.len() - 1, found[0]);
        let topic = message.topic().map(|topic| topic.to_vec());
        let bookmark = message.bookmark().map(|bookmark| bookmark.to_vec());
        let (mut failed, mut done) = (false, false);
        for (i, one) in found.into_iter().enumerate() {
            let disposition = self.hand_over(message, offset, one, i == last);
            failed |= disposition == Disposition::Failed;
            done |= disposition == Disposition::Done;
        }
        if failed || done {
            let disposition = if failed { Disposition::Failed } else { Disposition::Done };
            self.settle(now, first, disposition, topic.as_deref().zip(bookmark.as_deref()));
        }
    }

    fn find(&mut self, id: &[u8], leased: bool) -> Option<Found> {
        let route = self.routes.find(id)?;
        let number = leased.then(|| {
            let number = route.leased;
            route.leased += 1;
            number
        });
        Some(Found { key: route.key, auto_ack: route.auto_ack, number })
    }

    fn deliver(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize, found: Found, last: bool) {
        let disposition = self.hand_over(message, offset, found, last);
        if disposition != Disposition::Kept {
            let names = message.topic().zip(message.bookmark()).map(|(t, b)| (&**t, &**b));
            self.settle(now, found, disposition, names);
        }
    }

    /// Gives a message to the application.
    fn hand_over(
        &mut self,
        message: &mut Message<&[u8]>,
        offset: usize,
        found: Found,
        last: bool,
    ) -> Disposition {
        let (key, generation) = (found.key, self.generation);
        let lease = found.number.map(|number| Lease { key, generation, number });
        self.app.deliver(Delivery { key, generation, message, offset, lease, last })
    }

    /// Settles a message that a handler has dealt with, if that is asked for, then reports a
    /// failure: the message is on its way back before a listener takes its time.
    fn settle(&mut self, now: Time, found: Found, disposition: Disposition, names: Option<(&[u8], &[u8])>) {
        let lease = found.number.filter(|_| found.auto_ack);
        if let (Some(number), Some((topic, bookmark))) = (lease, names) {
            let lease = Lease { key: found.key, generation: self.generation, number };
            let option = (disposition == Disposition::Failed).then_some(AckOption::Cancel);
            // A handler takes its time, and its acknowledgement must not wait for the next one.
            let now = self.app.now(now);
            self.shared.act_quietly(now, |outbound| {
                outbound.settle_unasked(now, lease, topic, bookmark, option.as_ref());
            });
        }
        if disposition == Disposition::Failed {
            self.app.report_failure();
        }
    }
}

/// A subscription that a message is for.
#[derive(Clone, Copy)]
pub(super) struct Found {
    key: SubKey,
    auto_ack: bool,
    number: Option<u64>,
}
