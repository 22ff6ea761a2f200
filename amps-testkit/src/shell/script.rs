//! What the handle of a server asks of faults, clock and transports.
//!
//! Owns the vocabulary, and the answers.

use std::sync::mpsc::SyncSender;

use amps_transport::{ListenerId, Sink, Time};

use super::Shell;
use crate::clock::NextTimer;
use crate::engine::{Engine, LogRecord, Observe};
use crate::fault::{Fault, FaultId, FaultLayer, FaultSink, FaultStatus};

/// Something that the handle wants.
pub(crate) enum Script {
    AddFault(Box<Fault>, SyncSender<FaultId>),
    RemoveFault(FaultId, SyncSender<bool>),
    Faults(SyncSender<Vec<FaultStatus>>),
    /// A name for the connections of a listener.
    Name(ListenerId, String),
    /// Ends the connections of a listener.
    DropListener(ListenerId, SyncSender<()>),
    SetTime(Time, SyncSender<()>),
    NextTimer(SyncSender<Option<NextTimer>>),
    /// Answered when everything that may leave has left.
    HandedOver(SyncSender<()>),
    /// How many inputs there were that something may follow from.
    Inputs(SyncSender<u64>),
    /// From now on every frame is recorded.
    ObserveAll(SyncSender<()>),
}

impl Shell {
    pub(super) fn take_script<S: Sink>(&mut self, now: Time, script: Script, sink: &mut S) {
        // Whoever asked may have stopped waiting: then nobody hears the answer.
        match script {
            Script::AddFault(fault, done) => {
                let _ = done.try_send(self.faults.add(&mut self.engine, now, *fault, sink));
            }
            Script::RemoveFault(id, done) => {
                let _ = done.try_send(self.faults.remove(&mut self.engine, now, id, sink));
            }
            Script::Faults(done) => {
                let _ = done.try_send(self.faults.status());
            }
            Script::Name(listener, name) => self.faults.name_listener(listener, name),
            Script::DropListener(listener, done) => {
                self.engine.drop_listener(now, listener, &mut FaultSink::new(&mut self.faults, now, sink));
                let _ = done.try_send(());
            }
            Script::SetTime(to, done) => {
                if let Some(now) = self.virtual_now {
                    self.advance(to.saturating_since(now), sink);
                }
                let _ = done.try_send(());
            }
            Script::NextTimer(done) => {
                let _ = done.try_send(next_timer(&self.engine, &self.faults));
            }
            Script::HandedOver(done) => self.waiters.push(done),
            Script::Inputs(done) => {
                let _ = done.try_send(self.inputs);
            }
            Script::ObserveAll(done) => {
                self.engine.set_observe(Observe::All);
                self.faults.observe_all();
                let _ = done.try_send(());
            }
        }
    }

    /// Tells those who wait for it that everything that may leave has left.
    pub(super) fn tell_waiters(&mut self) {
        if !self.faults.wants_turn() {
            for done in self.waiters.drain(..) {
                let _ = done.try_send(());
            }
        }
    }
}

/// What the clock does next, be it the engine's or that of a fault.
pub(super) fn next_timer(engine: &Engine, faults: &FaultLayer) -> Option<NextTimer> {
    let fault = faults.next_due().map(|(at, what)| NextTimer::of_fault(at, what));
    fault.into_iter().chain(engine.next_timer()).min_by_key(|timer| timer.at)
}

/// What is left of a log whose last messages and deletes are lost: what came after them is lost,
/// too, and so are the sequence numbers of their publishers.
pub(super) fn forget_last(mut records: Vec<LogRecord>, count: usize) -> Vec<LogRecord> {
    let bookmark = |record: &LogRecord| match record {
        LogRecord::Message(message) => Some(message.bookmark),
        LogRecord::Deletion { bookmark, .. } => Some(*bookmark),
        _ => None,
    };
    let entries = records.iter().enumerate().rev().filter(|(_, record)| bookmark(record).is_some());
    let Some(first) = entries.take(count).map(|(place, _)| place).last() else { return records };
    let lost: Vec<_> = records.drain(first..).filter_map(|record| bookmark(&record)).collect();
    for record in &mut records {
        let LogRecord::Sequence(known) = record else { continue };
        let of_publisher = lost.iter().filter(|id| id.publisher == known.publisher);
        if let Some(first_lost) = of_publisher.map(|id| id.sequence).min() {
            known.sequence = known.sequence.min(first_lost.saturating_sub(1));
        }
    }
    records
}
