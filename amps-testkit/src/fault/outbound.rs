//! The way out: frames of the engine, what is done to them, and when they leave.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::{CommandKind, LENGTH_PREFIX, Message};
use amps_transport::{CloseMode, ConnId, Sink, Time};
use bytes::{BufMut, Bytes, BytesMut};

use super::FaultId;
use super::action::{Action, Target};
use super::draft::Draft;
use super::layer::{FaultLayer, Occasion};
use super::link::{Armed, End, Gathering, Link, Omitted, Stall};

impl FaultLayer {
    /// The engine sends one frame.
    pub(super) fn outbound<S: Sink>(&mut self, now: Time, conn: ConnId, frame: &[u8], sink: &mut S) {
        self.send_through(now, conn, frame, sink);
        self.has_sent();
    }

    fn send_through<S: Sink>(&mut self, now: Time, conn: ConnId, frame: &[u8], sink: &mut S) {
        match self.links.get(&conn) {
            // No client: what the server connects to is no business of faults.
            None => return sink.send(conn, frame),
            Some(link) if link.cut => return,
            Some(_) => {}
        }
        let Ok(message) = Message::decode(frame.get(LENGTH_PREFIX..).unwrap_or_default()) else {
            return self.leave(now, conn, Bytes::copy_from_slice(frame), false, sink);
        };
        let mut todo = self.take_armed(conn, |armed| armed.is_for_outbound(&message));
        for armed in self.occurs(now, conn, Occasion::Outbound(&message)) {
            match armed.action.target() {
                Target::Outbound | Target::Either => todo.push(armed),
                Target::Connection | Target::Inbound | Target::Server => self.begin(now, conn, armed, sink),
            }
        }
        let Some(link) = self.links.get_mut(&conn).filter(|link| !link.cut) else { return };
        if link.acks.stops(&message, frame) {
            return;
        }
        let mut draft = Draft::new(frame, LENGTH_PREFIX + message.header().body_offset());
        for Armed { fault, action, .. } in todo {
            match action {
                Action::Swallow => return,
                Action::SwallowAck(kind) if message.is_ack(kind) => {
                    return link.acks.keep(&message, frame);
                }
                Action::SwallowAck(kind) => link.acks.omitted.push(Omitted { fault, kind, answers: None }),
                Action::Coalesce(frames) => link.out.gather(Gathering::Coalesce, frames, now),
                Action::Reorder { window, acks_only: false } => {
                    link.out.gather(Gathering::Reorder, window, now);
                }
                Action::Reorder { window, acks_only: true } => {
                    link.out.gather(Gathering::ReorderAcks, window, now);
                }
                action => draft.apply(fault, &action, &mut self.rng),
            }
        }
        self.finish_draft(now, conn, draft, message.command() == CommandKind::Ack);
        self.pump(now, conn, sink);
    }

    fn finish_draft(&mut self, now: Time, conn: ConnId, mut draft: Draft, is_ack: bool) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let not_before = draft.delay.map_or(now, |span| now + span);
        let before = std::mem::take(&mut draft.before);
        let (extra, end) = (draft.extra, draft.end);
        let bytes = draft.into_bytes();
        if before.is_empty() && end.is_none() && not_before == now {
            for _ in 0..=extra {
                link.out.push_frame(bytes.clone(), is_ack, now, &mut self.rng);
            }
            return;
        }
        // It has its place in the order, so that what was gathered before has one, too.
        link.out.end_batch(now, &mut self.rng);
        if !before.is_empty() {
            link.out.push(before.freeze(), not_before, None, now);
        }
        for _ in 0..extra {
            link.out.push(bytes.clone(), not_before, None, now);
        }
        link.out.push(bytes, not_before, end, now);
    }

    fn take_armed(&mut self, conn: ConnId, fits: impl Fn(&Armed) -> bool) -> Vec<Armed> {
        let Some(link) = self.links.get_mut(&conn) else { return Vec::new() };
        let (taken, left) = std::mem::take(&mut link.armed).into_iter().partition(fits);
        link.armed = left;
        taken
    }

    pub(super) fn take_armed_inbound(&mut self, conn: ConnId, message: &Message<&[u8]>) -> Vec<Armed> {
        self.take_armed(conn, |armed| armed.is_for_inbound(message))
    }

    /// A frame leaves behind everything before it.
    fn leave<S: Sink>(&mut self, now: Time, conn: ConnId, frame: Bytes, is_ack: bool, sink: &mut S) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.out.push_frame(frame, is_ack, now, &mut self.rng);
        }
        self.pump(now, conn, sink);
    }

    /// Writes what may leave now.
    pub(super) fn pump<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        let clean = |link: &&mut Link| link.out.cutting.is_some() && !link.out.has_written();
        if let Some(link) = self.links.get_mut(&conn).filter(clean) {
            link.out.full = sink.unsent(conn) > 0;
        }
        loop {
            let Some(link) = self.links.get_mut(&conn).filter(|link| !link.cut) else { return };
            let Some((bytes, end)) = link.out.take(now) else { break };
            if let Some(rest) = self.write(now, conn, bytes, sink) {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.out.put_back(rest, end, now);
                }
                return;
            }
            match end {
                Some(End::Close(mode)) => self.cut(conn, mode),
                Some(End::Stall(fault)) => self.stall_writes(conn, Stall { fault, until: None }),
                None => {}
            }
        }
        if self.links.get(&conn).is_some_and(|link| link.closing && link.out.is_empty()) {
            self.links.remove(&conn);
            sink.close(conn, CloseMode::Flush);
        }
    }

    /// Writes bytes, and stops where a fault waits for them. Returns what may not leave now.
    fn write<S: Sink>(&mut self, now: Time, conn: ConnId, mut bytes: Bytes, sink: &mut S) -> Option<Bytes> {
        while let Some(part) = self.bytes_until_fault(conn, bytes.len()) {
            let part = bytes.split_to(part);
            sink.send(conn, &part);
            for armed in self.bytes_left(now, conn, part.len()) {
                self.begin(now, conn, armed, sink);
            }
            let link = self.links.get(&conn).filter(|link| !link.cut)?;
            if link.out.stall.is_some() && !bytes.is_empty() {
                return Some(bytes);
            }
        }
        if !bytes.is_empty() {
            sink.send(conn, &bytes);
            self.bytes_left(now, conn, bytes.len());
        }
        None
    }

    fn cut(&mut self, conn: ConnId, mode: CloseMode) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.cut = true;
        link.out.clear();
        link.held.clear();
        self.doomed.push_back((conn, mode));
    }

    fn stall_writes(&mut self, conn: ConnId, stall: Stall) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.out.stall = Some(stall);
        }
    }

    /// Does what needs no frame.
    pub(super) fn execute<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        fault: FaultId,
        action: Action,
        sink: &mut S,
    ) {
        let Some(link) = self.links.get_mut(&conn).filter(|link| !link.cut) else { return };
        match action {
            Action::DropConnection(how) => self.cut(conn, how.mode()),
            Action::StallReads(lasting) => {
                link.reads = Some(Stall::new(fault, lasting, now));
                sink.set_reading(conn, false);
            }
            Action::StallWrites(lasting) => self.stall_writes(conn, Stall::new(fault, lasting, now)),
            Action::PartialWrites { sizes, gap } => link.out.cut(fault, sizes, gap),
            Action::Throttle(rate) => link.out.throttle = Some((fault, rate)),
            Action::HoldPersisted => link.acks.held_by = Some(fault),
            Action::ReleasePersisted => {
                let kept: Vec<Bytes> = link.acks.release().collect();
                kept.into_iter().for_each(|frame| link.out.push(frame, now, None, now));
                self.pump(now, conn, sink);
            }
            Action::Inject(frame) => {
                let mut bytes = BytesMut::with_capacity(LENGTH_PREFIX + frame.len());
                bytes.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
                bytes.put_slice(&frame);
                self.record_sent(now, conn, &frame);
                self.leave(now, conn, bytes.freeze(), false, sink);
            }
            Action::LeaseShort(span) => self.leases.push((conn, span)),
            // What needs a frame is not begun here.
            _ => {}
        }
    }

    /// The engine closes a connection: what is held back goes out first, if that was asked for.
    pub(super) fn close<S: Sink>(&mut self, now: Time, conn: ConnId, mode: CloseMode, sink: &mut S) {
        let waits = |link: &&mut Link| mode == CloseMode::Flush && !link.cut && !link.out.is_empty();
        match self.links.get_mut(&conn).filter(waits) {
            Some(link) => {
                link.out.end_batch(now, &mut self.rng);
                link.held.clear();
                link.closing = true;
            }
            None => {
                self.closed(conn);
                sink.close(conn, mode);
            }
        }
    }

    /// What the engine sent and the faults hold back, in bytes.
    pub(crate) fn held_back(&self, conn: ConnId) -> usize {
        if self.is_idle() {
            return 0;
        }
        self.links.get(&conn).map_or(0, |link| link.out.waiting())
    }

    /// The server ends: what is held back goes out at once.
    pub(crate) fn finish<S: Sink>(&mut self, now: Time, sink: &mut S) {
        for (conn, mut link) in std::mem::take(&mut self.links) {
            if link.closing {
                link.out.drain(now, &mut self.rng).for_each(|bytes| sink.send(conn, &bytes));
                sink.close(conn, CloseMode::Flush);
            }
        }
    }
}

impl Armed {
    fn is_for_outbound(&self, message: &Message<&[u8]>) -> bool {
        matches!(self.action.target(), Target::Outbound | Target::Either) && self.scope.covers_frame(message)
    }

    fn is_for_inbound(&self, message: &Message<&[u8]>) -> bool {
        self.action.target() == Target::Inbound
            && self.scope.covers_frame(message)
            && self.action.suits(message)
    }
}
