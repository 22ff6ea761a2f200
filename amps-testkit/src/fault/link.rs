//! What one connection is put through.
//!
//! Owns what is held back of its input and output, and when it goes on. Invariant: output leaves
//! in the order in which it was pushed; only a batch that is being reordered has none yet.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{AckType, Message, Status};
use amps_transport::{CloseMode, ListenerId, Time};
use bytes::{Bytes, BytesMut};

use super::action::{Action, Lasting};
use super::inbound::Held;
use super::{FaultId, Scope};
use crate::sim::Rng;

/// How long a batch waits for frames that do not come.
const PATIENCE: Duration = Duration::from_millis(100);

/// Parts of a second in which a throttled connection gets its share.
const SHARES: u64 = 10;

const NANOS: u64 = 1_000_000_000;

pub(super) struct Link {
    pub(super) index: u64,
    pub(super) listener: ListenerId,
    /// Once a logon has told it.
    pub(super) client: Option<Arc<str>>,
    /// What waits for a frame.
    pub(super) armed: Vec<Armed>,
    /// Inbound frames that are held back.
    pub(super) held: VecDeque<Held>,
    /// Challenges still to be sent.
    pub(super) challenges: VecDeque<String>,
    pub(super) reads: Option<Stall>,
    pub(super) out: Output,
    pub(super) acks: Acks,
    /// A fault ended it: nothing goes in or out any more.
    pub(super) cut: bool,
    /// The engine has closed it; what is left still goes out.
    pub(super) closing: bool,
}

/// An action that waits for a frame of its connection.
pub(super) struct Armed {
    pub(super) fault: FaultId,
    pub(super) scope: Scope,
    pub(super) action: Action,
}

/// Something stands still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    pub(super) fault: FaultId,
    /// `None`: until the fault is removed.
    pub(super) until: Option<Time>,
}

impl Stall {
    pub(super) fn new(fault: FaultId, lasting: Lasting, now: Time) -> Self {
        let until = match lasting {
            Lasting::For(span) => Some(now + span),
            Lasting::UntilRemoved => None,
        };
        Self { fault, until }
    }

    pub(super) fn is_over(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Link {
    pub(super) fn new(index: u64, listener: ListenerId) -> Self {
        Self {
            index,
            listener,
            client: None,
            armed: Vec::new(),
            held: VecDeque::new(),
            challenges: VecDeque::new(),
            reads: None,
            out: Output::default(),
            acks: Acks::default(),
            cut: false,
            closing: false,
        }
    }

    /// Whether it is in a state of its own even if no fault is left.
    pub(super) fn is_busy(&self) -> bool {
        self.closing || self.cut || self.reads.is_some() || !self.held.is_empty() || !self.out.is_empty()
    }

    /// The next moment, after the present one, at which something goes on.
    pub(super) fn deadline(&self, now: Time) -> Option<Time> {
        let reads = self.reads.and_then(|stall| stall.until);
        let held = self.held.front().map(|held| held.due);
        [reads, held, self.out.deadline(now)].into_iter().flatten().min()
    }
}

/// Acks that do not leave when they should.
#[derive(Default)]
pub(super) struct Acks {
    /// `persisted` acks are kept back because of this fault.
    pub(super) held_by: Option<FaultId>,
    kept: Vec<(Bytes, bool)>,
    /// Acks that are left out.
    pub(super) omitted: Vec<Omitted>,
}

/// An ack that is to be left out when it comes.
pub(super) struct Omitted {
    pub(super) fault: FaultId,
    pub(super) kind: AckType,
    /// The command that it answers; `None` for any.
    pub(super) answers: Option<Answered>,
}

/// A command, as its acks name it.
pub(super) struct Answered {
    pub(super) command_id: Option<Vec<u8>>,
    pub(super) sequence: Option<u64>,
}

impl Omitted {
    fn means<B: AsRef<[u8]>>(&self, ack: &Message<B>) -> bool {
        if !ack.is_ack(self.kind) {
            return false;
        }
        let Some(answered) = &self.answers else { return true };
        let id = ack.command_id().map(|id| id.to_vec());
        match id {
            Some(_) => id == answered.command_id,
            // One that covers many commands.
            None => answered
                .sequence
                .is_some_and(|sequence| ack.sequence().is_some_and(|up_to| sequence <= up_to)),
        }
    }
}

impl Acks {
    /// Whether this ack stays here. A `persisted` one is kept for its release.
    pub(super) fn stops<B: AsRef<[u8]>>(&mut self, message: &Message<B>, frame: &[u8]) -> bool {
        let omitted = self.omitted.iter().position(|omitted| omitted.means(message));
        if let Some(place) = omitted {
            self.omitted.remove(place);
        }
        let persisted = message.is_ack(AckType::Persisted);
        if omitted.is_none() && !(persisted && self.held_by.is_some()) {
            return false;
        }
        if persisted {
            self.keep(message, frame);
        }
        true
    }

    pub(super) fn keep<B: AsRef<[u8]>>(&mut self, message: &Message<B>, frame: &[u8]) {
        let covers_many = message.command_id().is_none() && message.status().is_some_and(Status::is_success);
        if covers_many && self.kept.last().is_some_and(|(_, covered)| *covered) {
            self.kept.pop();
        }
        self.kept.push((Bytes::copy_from_slice(frame), covers_many));
    }

    pub(super) fn release(&mut self) -> impl Iterator<Item = Bytes> {
        self.held_by = None;
        std::mem::take(&mut self.kept).into_iter().map(|(frame, _)| frame)
    }
}

/// What follows a piece of output.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Close(CloseMode),
    Stall(FaultId),
}

#[derive(Debug)]
struct Piece {
    not_before: Time,
    bytes: Bytes,
    end: Option<End>,
}

/// Frames that are gathered.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) size: usize,
    pub(super) kind: Gathering,
    pub(super) due: Time,
    frames: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathering {
    Coalesce,
    Reorder,
    ReorderAcks,
}

#[derive(Debug)]
pub(super) struct Cutting {
    pub(super) fault: FaultId,
    sizes: Vec<usize>,
    gap: Duration,
    next: usize,
}

/// The output that has not left yet.
#[derive(Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Piece>,
    batch: Option<Batch>,
    pub(super) stall: Option<Stall>,
    pub(super) cutting: Option<Cutting>,
    pub(super) throttle: Option<(FaultId, u64)>,
    /// Nothing leaves before this time, because of what left last.
    next_at: Time,
    /// A piece has been written since the loop had its turn: a second one would become one
    /// write with it.
    written: bool,
    /// The socket has not taken all that was written.
    pub(super) full: bool,
}

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.batch.is_none()
    }

    /// All bytes that wait here.
    pub(super) fn waiting(&self) -> usize {
        let batch = self.batch.iter().flat_map(|batch| &batch.frames);
        self.pieces.iter().map(|piece| &piece.bytes).chain(batch).map(Bytes::len).sum()
    }

    pub(super) fn cut(&mut self, fault: FaultId, sizes: Vec<usize>, gap: Duration) {
        self.cutting = Some(Cutting { fault, sizes, gap, next: 0 });
    }

    /// Begins to gather, unless it does already.
    pub(super) fn gather(&mut self, kind: Gathering, size: usize, now: Time) {
        self.batch.get_or_insert_with(|| Batch { size, kind, due: now + PATIENCE, frames: Vec::new() });
    }

    /// A whole frame: into the batch, if there is one for it.
    pub(super) fn push_frame(&mut self, frame: Bytes, is_ack: bool, now: Time, rng: &mut Rng) {
        let wanted = |batch: &&mut Batch| batch.kind != Gathering::ReorderAcks || is_ack;
        let Some(batch) = self.batch.as_mut().filter(wanted) else { return self.push(frame, now, None, now) };
        batch.frames.push(frame);
        if batch.frames.len() >= batch.size {
            self.end_batch(now, rng);
        }
    }

    /// Bytes that no batch takes.
    pub(super) fn push(&mut self, bytes: Bytes, not_before: Time, end: Option<End>, now: Time) {
        if self.pieces.is_empty() {
            self.next_at = self.next_at.max(now);
        }
        self.pieces.push_back(Piece { not_before, bytes, end });
    }

    pub(super) fn end_batch(&mut self, now: Time, rng: &mut Rng) {
        let Some(Batch { kind, mut frames, .. }) = self.batch.take() else { return };
        if kind == Gathering::Coalesce {
            let whole: BytesMut = frames.iter().flatten().copied().collect();
            if !whole.is_empty() {
                self.push(whole.freeze(), now, None, now);
            }
            return;
        }
        shuffle(&mut frames, rng);
        for frame in frames {
            self.push(frame, now, None, now);
        }
    }

    pub(super) fn end_batch_if_due(&mut self, now: Time, rng: &mut Rng) {
        if self.batch.as_ref().is_some_and(|batch| batch.due <= now) {
            self.end_batch(now, rng);
        }
    }

    /// Forgets everything that waits.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.batch = None;
    }

    /// The loop has written what it had.
    pub(super) fn begin_turn(&mut self) {
        self.written = false;
    }

    /// Whether something was written since then.
    pub(super) const fn has_written(&self) -> bool {
        self.written
    }

    /// The rest of what was taken could not be written after all.
    pub(super) fn put_back(&mut self, bytes: Bytes, end: Option<End>, now: Time) {
        self.pieces.push_front(Piece { not_before: now, bytes, end });
    }

    fn is_due(&self, now: Time) -> bool {
        let front = self.pieces.front();
        self.stall.is_none() && self.next_at <= now && front.is_some_and(|piece| piece.not_before <= now)
    }

    /// Whether a piece waits for nothing but to be a write of its own.
    pub(super) fn wants_turn(&self, now: Time) -> bool {
        self.cutting.is_some() && !self.full && self.is_due(now)
    }

    /// Takes what may leave now, as one write, and what follows it.
    pub(super) fn take(&mut self, now: Time) -> Option<(Bytes, Option<End>)> {
        if !self.is_due(now) || (self.cutting.is_some() && (self.written || self.full)) {
            return None;
        }
        let piece = self.pieces.front_mut()?;
        let begun = self.next_at.max(piece.not_before);
        let mut length = piece.bytes.len();
        if let Some(cutting) = &mut self.cutting {
            let size = cutting.sizes.get(cutting.next).copied().unwrap_or(length).max(1);
            length = length.min(size);
            cutting.next = (cutting.next + 1) % cutting.sizes.len().max(1);
            self.next_at = begun + cutting.gap;
        }
        if let Some((_, rate)) = self.throttle {
            let share = usize::try_from(rate / SHARES).unwrap_or(usize::MAX).max(1);
            length = length.min(share);
            self.next_at =
                self.next_at.max(begun + Duration::from_nanos(length as u64 * NANOS / rate.max(1)));
        }
        self.written = true;
        let bytes = piece.bytes.split_to(length);
        let end = if piece.bytes.is_empty() { piece.end } else { None };
        if piece.bytes.is_empty() {
            self.pieces.pop_front();
        }
        Some((bytes, end))
    }

    fn deadline(&self, now: Time) -> Option<Time> {
        let stall = self.stall.and_then(|stall| stall.until);
        let batch = self.batch.as_ref().map(|batch| batch.due);
        let front = self.pieces.front().filter(|_| self.stall.is_none());
        // What is due already waits for something else than time.
        let front = front.map(|piece| piece.not_before.max(self.next_at)).filter(|at| *at > now);
        [stall, batch, front].into_iter().flatten().min()
    }

    /// Everything that is left, at once.
    pub(super) fn drain(&mut self, now: Time, rng: &mut Rng) -> impl Iterator<Item = Bytes> {
        self.end_batch(now, rng);
        std::mem::take(&mut self.pieces).into_iter().map(|piece| piece.bytes)
    }

    /// A fault is no more: what it did lastingly ends.
    pub(super) fn forget(&mut self, fault: FaultId) {
        self.stall = self.stall.filter(|stall| stall.fault != fault);
        self.throttle = self.throttle.filter(|(other, _)| *other != fault);
        if self.cutting.as_ref().is_some_and(|cutting| cutting.fault == fault) {
            self.cutting = None;
        }
    }
}

/// Puts frames into another order, if there is one.
fn shuffle(frames: &mut [Bytes], rng: &mut Rng) {
    let mut order: Vec<usize> = (0..frames.len()).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, rng.below(last as u64 + 1) as usize);
    }
    if order.is_sorted() && order.len() > 1 {
        order.rotate_left(1);
    }
    let before: Vec<Bytes> = frames.to_vec();
    for (frame, from) in frames.iter_mut().zip(order) {
        if let Some(other) = before.get(from) {
            frame.clone_from(other);
        }
    }
}
