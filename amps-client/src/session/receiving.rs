//! From bytes to the application: cutting, decoding, routing, acknowledging.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::{AckType, CommandKind, Header, LENGTH_PREFIX, Message, Status, next_frame};
use amps_transport::{CloseMode, ConnId, Sink, Time};
use bytes::{Buf, BytesMut};

use super::acks::AckOption;
use super::app::{App, Delivery, Disposition};
use super::inbound::{Session, State};
use super::publisher::is_duplicate;
use super::replay::{self, Replay};
use super::settling::Lease;
use super::subscription::SubKey;
use crate::bookmark_store::Arrival;
use crate::error::DisconnectCause;

/// What a server says of a publish by its number.
enum Fate {
    /// It has everything up to there.
    Persisted,
    /// It refuses that one, and why.
    Refused(String),
    /// It had that one before.
    Known,
}

/// Whether the next message may be looked at.
enum Walk {
    On,
    /// The application has no room; the frame was dealt with.
    Stop,
    /// The application has no room; the frame has more records.
    StopWithin {
        /// Its length, prefix included.
        frame: usize,
    },
    /// Boxed, so that every other answer fits into registers.
    Fault(Box<DisconnectCause>),
}

impl<A: App> Session<A> {
    // ----- receiving ------------------------------------------------------------------

    pub(super) fn received<S: Sink>(&mut self, now: Time, conn: ConnId, bytes: &mut BytesMut, sink: &mut S) {
        self.app.raw_inbound(bytes.get(self.unparsed..).unwrap_or_default());
        self.unparsed = bytes.len();
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.received(now);
        }
        if self.stopped {
            return;
        }
        let mut at = 0;
        let mut walk = Walk::On;
        while matches!(walk, Walk::On) && self.state.conn() == Some(conn) {
            let total = match next_frame(&bytes[at..], self.config.max_inbound) {
                Ok(Some(total)) => total,
                Ok(None) => break,
                Err(error) => {
                    walk = Walk::Fault(Box::new(DisconnectCause::BadFrame(error)));
                    break;
                }
            };
            let start = at + LENGTH_PREFIX;
            let frame = &bytes[start..at + total];
            if !frame.is_empty() {
                // A handler, or another thread, may have ended the subscription that comes next.
                if self.shared.has_changed() {
                    self.apply_effects();
                }
                let mut message = Message::from_parts(frame, Header::default());
                walk = match self.decoder.decode_in_place(&mut message) {
                    Ok(()) => self.dispatch(now, &mut message, start, sink),
                    Err(error) => Walk::Fault(Box::new(DisconnectCause::BadHeader(error))),
                };
            }
            match &mut walk {
                Walk::StopWithin { frame } => *frame = total,
                _ => {
                    self.record = None;
                    at += total;
                }
            }
        }
        if self.app.holds_bytes() {
            let mut read = bytes.split_to(at);
            if let Walk::StopWithin { frame } = walk {
                // The frame stays, for the rest of its records: what was read of it is copied.
                read.extend_from_slice(bytes.get(..frame).unwrap_or_default());
            }
            self.app.end_of_read(read.freeze());
        } else {
            bytes.advance(at);
        }
        if matches!(walk, Walk::Stop | Walk::StopWithin { .. }) {
            self.stopped = true;
            self.set_reading(now, conn, false, sink);
        }
        self.unparsed = bytes.len();
        self.note_hold(now);
        self.tell_finished();
        if let Walk::Fault(cause) = walk {
            sink.close(conn, CloseMode::Abort);
            self.lost(now, *cause, sink);
        }
    }

    #[inline]
    fn dispatch<S: Sink>(
        &mut self,
        now: Time,
        message: &mut Message<&[u8]>,
        offset: usize,
        sink: &mut S,
    ) -> Walk {
        let kind = message.command();
        let logging_on = matches!(self.state, State::LoggingOn { .. });
        match kind {
            CommandKind::Ack if logging_on => self.logon_answered(now, message, sink),
            CommandKind::Ack => return self.ack(now, message, offset),
            CommandKind::Heartbeat => {
                let heartbeat = &self.heartbeat;
                self.shared.with(|outbound| {
                    if heartbeat.as_ref().is_some_and(|h| h.should_answer(now, outbound.last_sent())) {
                        outbound.beat(now);
                    }
                });
                self.observe(message);
            }
            // Nothing was placed on this connection: it belongs to nobody, and nobody may have room for it.
            _ if logging_on => {
                self.observe(message);
                self.app.unexpected(message);
            }
            CommandKind::Sow => {
                if self.record.is_none() {
                    self.observe(message);
                }
                return self.batch(now, message, offset);
            }
            _ => {
                self.observe(message);
                return self.route(now, message, offset);
            }
        }
        Walk::On
    }

    /// Shows a message to whoever watches its kind, whatever else becomes of it (UM-3).
    #[inline]
    fn observe(&mut self, message: &Message<&[u8]>) {
        if self.app.watches(message.command()) {
            self.app.observe(message);
        }
    }

    /// An acknowledgement: first what waits for it, then what the application wants to see.
    fn ack(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize) -> Walk {
        let (known, ended) = self.shared.with_ended(|outbound| outbound.acknowledged(message));
        self.apply_effects();
        // Whoever waits finds everything as the answer says.
        drop(ended);
        self.observe(message);
        let failed = message.status() != Some(Status::Success);
        let write = message.is_ack(AckType::Persisted);
        // What is stored already is no failed write (WF-7).
        let write_failed = failed && write && !is_duplicate(message);
        // Numbers begin at 1 (protocol.md P-1).
        let number = message.sequence().filter(|number| write && *number > 0);
        // Of what was never published nothing can be refused, and all before it is as unsure as it was.
        let number =
            number.filter(|number| !failed || self.shared.with(|outbound| outbound.gave_out(*number)));
        // RT-1: acknowledgements are told apart by their command first.
        let ids = [message.command_id(), message.query_id(), message.sub_id(), message.sub_ids()];
        let id = ids.into_iter().flatten().find(|id| self.routes.find(id).is_some()).map(|id| id.to_vec());
        // What a replay says of the log is about no publish.
        let of_replay = self.replay_acknowledged(message, id.as_deref(), failed);
        let number = number.filter(|_| !of_replay);
        let told = write_failed && self.write_failed(message, number);
        let fate = match (write_failed, failed) {
            (true, _) => Fate::Refused(message.reason().map(ToString::to_string).unwrap_or_default()),
            (false, true) => Fate::Known,
            (false, false) => Fate::Persisted,
        };
        self.note_persisted(number, fate);
        let Some(id) = id else {
            if failed && !known && !told && (write_failed || !write) {
                self.app.unexpected(message);
            }
            return Walk::On;
        };
        let Some(found) = self.find(&id, false) else { return Walk::On };
        let kinds = message.acks();
        let wanted = self.routes.find(&id).is_some_and(|route| kinds.iter().any(|kind| route.wants(kind)));
        if wanted {
            self.deliver(now, message, offset, found, false);
        }
        let Some(route) = self.routes.find(&id) else { return self.walk_on() };
        for kind in kinds.iter() {
            route.acknowledged(kind);
        }
        if route.is_over() || (failed && !route.is_live()) {
            self.finish(found.key);
        }
        self.walk_on()
    }

    /// An acknowledgement that says how far the log of a replay is; `false` if it is none.
    fn replay_acknowledged(&mut self, ack: &Message<&[u8]>, id: Option<&[u8]>, failed: bool) -> bool {
        let Some(route) = id.and_then(|id| self.routes.find(id)) else { return false };
        let (key, Some(progress)) = (route.key, route.progress.as_mut()) else { return false };
        if !failed {
            let (safe, trouble) = progress.acknowledged(ack);
            if safe {
                self.shared.with(|outbound| outbound.replay_is_safe(key));
            }
            if let Some(trouble) = trouble {
                self.app.report(&trouble);
            }
        }
        true
    }

    /// Tells the application of a write that the server refused, with what was written if the store
    /// has it. Returns whether it wanted to know.
    fn write_failed(&mut self, ack: &Message<&[u8]>, number: Option<u64>) -> bool {
        let original = number.and_then(|number| self.shared.with(|outbound| outbound.original(number)));
        let original = original.as_deref().and_then(|frame| Message::decode(frame).ok());
        self.app.failed_write(ack, original.as_ref())
    }

    /// The server has dealt with what was published.
    fn note_persisted(&mut self, number: Option<u64>, fate: Fate) {
        let Some(number) = number else { return };
        let ((), ended) = self.shared.with_ended(|outbound| match fate {
            Fate::Persisted => outbound.persisted(number),
            Fate::Refused(reason) => outbound.refused(number, reason),
            Fate::Known => outbound.known(number),
        });
        self.shared.notify_room();
        self.apply_effects();
        drop(ended);
    }

    /// The records of a query's result, each as a message of its own.
    fn batch(&mut self, now: Time, batch: &mut Message<&[u8]>, offset: usize) -> Walk {
        let mut records = self.decoder.records(batch, self.record.take());
        let (mut walk, mut record) = (Walk::On, Message::from_parts(&[][..], Header::default()));
        while let Some(found) = records.next_in_place(&mut record) {
            if let Err(error) = found {
                walk = Walk::Fault(Box::new(DisconnectCause::BadRecords(error)));
                break;
            }
            if self.shared.has_changed() {
                self.apply_effects();
            }
            if let Walk::Stop = self.route(now, &mut record, offset) {
                self.record = Some(records.position());
                walk = Walk::StopWithin { frame: 0 };
                break;
            }
        }
        self.decoder.recycle(records);
        walk
    }

    fn route(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize) -> Walk {
        let leased = message.lease().is_some();
        let ids = message.sub_ids().or_else(|| message.query_id()).or_else(|| message.sub_id());
        let Some(ids) = ids.or_else(|| message.command_id()) else {
            self.app.unexpected(message);
            return Walk::On;
        };
        let group_end = message.command() == CommandKind::GroupEnd;
        if !ids.contains(&b',') {
            match self.find(ids, leased) {
                Some(found) => {
                    self.deliver(now, message, offset, found, true);
                    if group_end {
                        self.group_ended(found.key);
                    }
                    return self.walk_on();
                }
                None => self.app.unexpected(message),
            }
            return Walk::On;
        }
        let mut found = Vec::new();
        for id in message.ids() {
            found.extend(self.find(id, leased && found.is_empty()));
        }
        if found.is_empty() {
            self.app.unexpected(message);
            return Walk::On;
        }
        // The lease belongs to all of them and is settled once: by the first, and only if
        // none has failed.
        let (last, first) = (found.len() - 1, found[0]);
        let topic = message.topic().map(|topic| topic.to_vec());
        let bookmark = message.bookmark().map(|bookmark| bookmark.to_vec());
        let (mut failed, mut done) = (false, false);
        // Where a stream has the lease, its reader settles it, unless somebody else has failed.
        let mut kept = false;
        for (i, one) in found.into_iter().enumerate() {
            let disposition = self.hand_over(message, offset, one, i == last);
            failed |= disposition == Disposition::Failed;
            done |= disposition == Disposition::Done;
            kept |= i == 0 && disposition == Disposition::Kept;
        }
        if failed || (done && !kept) {
            let disposition = if failed { Disposition::Failed } else { Disposition::Done };
            self.settle(now, first, disposition, topic.as_deref().zip(bookmark.as_deref()));
        }
        self.walk_on()
    }

    #[inline]
    fn walk_on(&self) -> Walk {
        if self.app.is_full() { Walk::Stop } else { Walk::On }
    }

    #[inline]
    fn find(&mut self, id: &[u8], leased: bool) -> Option<Found> {
        let route = self.routes.find(id)?;
        let number = leased.then(|| {
            let number = route.leased;
            route.leased += 1;
            number
        });
        let replays = route.progress.is_some();
        Some(Found { key: route.key, auto_ack: route.auto_ack, number, replays })
    }

    fn deliver(&mut self, now: Time, message: &mut Message<&[u8]>, offset: usize, found: Found, last: bool) {
        let disposition = self.hand_over(message, offset, found, last);
        if found.settles(disposition) {
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
        let mut replay = None;
        if found.replays {
            match self.examine(message, key) {
                Examined::Deliver(of) => replay = of,
                Examined::Drop => return Disposition::Kept,
            }
        }
        self.delivered += 1;
        let lease = found.number.map(|number| Lease { key, generation, number });
        self.app.deliver(Delivery { key, generation, message, offset, lease, replay, last })
    }

    /// Asks the bookmark store whether a message of a replay is new.
    fn examine(&mut self, message: &Message<&[u8]>, key: SubKey) -> Examined {
        let progress = self.routes.get(key).and_then(|route| route.progress.as_ref());
        let Some(progress) = progress else { return Examined::Deliver(None) };
        let (replay, begun) = (Arc::clone(&progress.replay), progress.has_begun());
        let Some(id) = replay::logged(message) else { return Examined::Deliver(Some(replay)) };
        if !begun {
            self.app.unexpected(message);
            return Examined::Drop;
        }
        let (arrival, trouble) = replay.arrived(id);
        if let Some(trouble) = trouble {
            self.app.report(&trouble);
        }
        match arrival {
            Arrival::New => Examined::Deliver(Some(replay)),
            Arrival::Duplicate => {
                self.app.duplicate(message);
                Examined::Drop
            }
        }
    }

    /// Settles a message that a handler has dealt with, if that is asked for, then reports a
    /// failure: the message is on its way back before a listener takes its time.
    fn settle(&mut self, now: Time, found: Found, disposition: Disposition, names: Option<(&[u8], &[u8])>) {
        let lease = found.number.filter(|_| found.auto_ack);
        if let (Some(number), Some((topic, bookmark))) = (lease, names) {
            let lease = Lease { key: found.key, generation: self.generation, number };
            let option = (disposition == Disposition::Failed).then_some(AckOption::Cancel);
            // A handler takes its time, and its acknowledgement must not wait for the next one.
            let (shared, app) = (&self.shared, &mut self.app);
            shared.act_quietly(
                || app.now(now),
                |outbound, now| outbound.settle_unasked(now, lease, topic, bookmark, option.as_ref()),
            );
        }
        if disposition == Disposition::Failed {
            self.app.report_failure();
        }
    }

    // ----- ends -----------------------------------------------------------------------

    fn group_ended(&mut self, key: SubKey) {
        let over = self.routes.get(key).is_some_and(|route| {
            route.group_ended();
            route.is_over()
        });
        if over {
            self.finish(key);
        }
    }

    /// Counts what the read brought, and how long handlers took over it.
    fn note_hold(&mut self, began: Time) {
        let delivered = std::mem::take(&mut self.delivered);
        if delivered > 0 {
            let held = self.app.now(began) - began;
            self.shared.with(|outbound| {
                let stats = &mut outbound.line.stats;
                stats.delivered += delivered;
                stats.longest_hold = stats.longest_hold.max(held);
            });
        }
    }

    /// Nothing more comes for `key`. The application is told at the end of the read, behind
    /// the messages that it brought.
    fn finish(&mut self, key: SubKey) {
        self.routes.remove(key);
        self.shared.with(|outbound| outbound.completed(key));
        self.finished.push(key);
    }

    fn tell_finished(&mut self) {
        for key in std::mem::take(&mut self.finished) {
            self.app.ended(key, None);
        }
    }
}

/// A subscription that a message is for.
#[derive(Clone, Copy)]
pub(super) struct Found {
    key: SubKey,
    auto_ack: bool,
    number: Option<u64>,
    /// The bookmark store has a say.
    replays: bool,
}

impl Found {
    /// Whether something is to be done once the application is done with a message.
    #[inline]
    fn settles(&self, disposition: Disposition) -> bool {
        match disposition {
            Disposition::Kept => false,
            Disposition::Done => self.auto_ack && self.number.is_some(),
            Disposition::Failed => true,
        }
    }
}

/// What the bookmark store makes of a message.
enum Examined {
    /// It goes to the application, with its tie to the store.
    Deliver(Option<Arc<Replay>>),
    Drop,
}
