//! What the handle of a server puts in place, looks at, and takes back.
//!
//! Owns the vocabulary, the one consistent look at everything, and the way back to the start.

use std::sync::mpsc::SyncSender;

use amps_transport::{ConnId, Sink, Time};

use super::Shell;
use super::script::next_timer;
use crate::clock::NextTimer;
use crate::engine::{
    Config, ConfigError, Engine, NotPublished, Observe, PublishOptions, Published, SeedError, SeedKind,
    SeedMessage,
};
use crate::fault::{Fault, FaultLayer, FaultSink};

/// Something that the handle wants.
pub(crate) enum Outside {
    Look(Look),
    Publish {
        topic: String,
        body: Vec<u8>,
        options: PublishOptions,
        done: SyncSender<Result<Published, NotPublished>>,
    },
    Seed(SeedKind, Box<SeedMessage>, SyncSender<Result<Published, SeedError>>),
    SetSequence(String, u64, SyncSender<Result<(), SeedError>>),
    /// Everything is as it was when the server started.
    Reset(SyncSender<Result<(), ConfigError>>),
}

/// What is done with everything that can be seen, on the loop's thread.
type Look = Box<dyn FnOnce(&View<'_>) + Send>;

/// Everything at one moment.
pub(crate) struct View<'s> {
    pub(crate) engine: &'s Engine,
    pub(crate) faults: &'s FaultLayer,
    pub(crate) now: Time,
    pub(crate) virtual_clock: bool,
    /// The bytes that a connection has not taken yet.
    pub(crate) unsent: &'s dyn Fn(ConnId) -> usize,
}

impl View<'_> {
    /// What the clock does next.
    pub(crate) fn next_timer(&self) -> Option<NextTimer> {
        next_timer(self.engine, self.faults)
    }

    /// Everything that waits for the clock, the earliest first.
    pub(crate) fn timers(&self) -> Vec<NextTimer> {
        let faults = self.faults.all_due().into_iter().map(|(at, what)| NextTimer::of_fault(at, what));
        let mut timers: Vec<NextTimer> = faults.chain(self.engine.timers()).collect();
        timers.sort_by_key(|timer| timer.at);
        timers
    }
}

/// How the server was when it started.
#[derive(Debug, Default)]
pub(crate) struct Initial {
    pub(crate) config: Config,
    /// Where a virtual clock starts.
    pub(crate) clock: Option<Time>,
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) observe: Observe,
}

impl Shell {
    /// The same, and it knows what it goes back to.
    pub(crate) fn with_initial(self, initial: Initial) -> Self {
        Self { initial, ..self }
    }

    pub(super) fn take_outside<S: Sink>(&mut self, now: Time, outside: Outside, sink: &mut S) {
        // Whoever asked may have stopped waiting: then nobody hears the answer.
        match outside {
            Outside::Look(look) => look(&View {
                engine: &self.engine,
                faults: &self.faults,
                now,
                virtual_clock: self.virtual_now.is_some(),
                unsent: &|conn| sink.unsent(conn) + self.faults.held_back(conn),
            }),
            Outside::Publish { topic, body, options, done } => {
                let through = &mut FaultSink::new(&mut self.faults, now, sink);
                let _ = done.try_send(self.engine.publish_as(now, &topic, &body, &options, through));
            }
            Outside::Seed(kind, message, done) => {
                let through = &mut FaultSink::new(&mut self.faults, now, sink);
                let _ = done.try_send(self.engine.seed(now, kind, &message, through));
            }
            Outside::SetSequence(client, sequence, done) => {
                let _ = done.try_send(self.engine.set_sequence(&client, sequence));
            }
            Outside::Reset(done) => {
                let _ = done.try_send(self.reset(sink));
            }
        }
    }

    fn reset<S: Sink>(&mut self, sink: &mut S) -> Result<(), ConfigError> {
        self.engine.reset(self.initial.config.clone(), sink)?;
        self.engine.set_observe(self.initial.observe);
        self.faults.start_over(self.initial.seed, self.initial.observe, sink);
        self.virtual_now = self.initial.clock;
        // What was told of the time before is of no interest any more.
        drop(self.engine.take_events());
        self.journal.clear();
        let now = self.virtual_now.unwrap_or(self.real_now);
        for fault in self.initial.faults.clone() {
            self.faults.add(&mut self.engine, now, fault, sink);
        }
        self.engine.connect_links(now, &mut FaultSink::new(&mut self.faults, now, sink));
        Ok(())
    }
}
