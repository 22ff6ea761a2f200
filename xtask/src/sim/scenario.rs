//! Queue workers: one server, one publisher, some workers, and a network that fails.
//!
//! Owns the machines and the loop that hands each event of the world to the machine that it
//! concerns, then lets the referees look. What the applications do of their own accord is in
//! `actions`, what goes wrong in `faults`, what has to hold at the end in `verdict`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::time::Duration;

use amps_client::simulation::{Bugs, Handled, LeaseId, SimClient, SimNote, Sub, Ticket};
use amps_protocol::CommandKind;
use amps_testkit::Engine;
use amps_testkit::sim::{EndpointId, Rng, Step, World};
use amps_transport::{ConnId, ListenerId, Time};

use super::gatekeeper::Gatekeeper;
use super::ledger::Ledger;
use super::model::{AppEvent, Mark, Worker, id_of};
use super::report::{Coverage, FaultKind, Outcome, Violation};
use super::setup::{self, ClientPlan, HOST, PORT, Setup};
use super::watch::{Breach, Watch, each_frame};

/// More events than any honest run needs.
const MAX_STEPS: u64 = 2_000_000;

/// Lines of trace that are kept.
const TRACE_LINES: usize = 4000;

/// How often the referees look at the clock.
const TICK: Duration = Duration::from_millis(20);

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Worker,
    /// Logs on under somebody else's name.
    Impostor,
}

/// A leased message that an application holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) client: usize,
    pub(super) conn: Option<ConnId>,
    pub(super) sub: Sub,
    pub(super) lease: Option<LeaseId>,
    pub(super) mark: Mark,
    pub(super) id: u32,
    pub(super) settled: bool,
}

/// One client with its application and its referee.
pub(super) struct Client {
    pub(super) id: EndpointId,
    pub(super) role: Role,
    pub(super) plan: ClientPlan,
    pub(super) machine: SimClient<Worker>,
    pub(super) watch: Watch,
    /// The subscription that its application has at present.
    pub(super) sub: Option<Sub>,
    /// Another, to a topic on which nothing ever comes: it has to be placed again, in order.
    pub(super) side: Option<Sub>,
    /// Not before this time does the application subscribe again.
    pub(super) rest_until: Time,
    /// Messages that the application has not read, as indexes of `held`.
    pub(super) unread: VecDeque<usize>,
    pub(super) reading: bool,
    /// The application takes its time until then.
    pub(super) lazy_until: Time,
    /// It was told to close.
    pub(super) leaving: bool,
}

/// A command whose end is awaited.
pub(super) struct Waiting {
    pub(super) client: usize,
    pub(super) what: &'static str,
    pub(super) ticket: Ticket,
    pub(super) due: Time,
}

/// See the module's documentation.
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) setup: Setup,
    pub(super) bugs: Bugs,
    pub(super) world: World,
    pub(super) rng: Rng,
    pub(super) server: EndpointId,
    pub(super) engine: Engine,
    pub(super) door: ListenerId,
    pub(super) gate: EndpointId,
    pub(super) gatekeeper: Gatekeeper,
    pub(super) director: EndpointId,
    pub(super) clients: Vec<Client>,
    pub(super) held: Vec<Held>,
    pub(super) waiting: Vec<Waiting>,
    /// By number of the message: where it was published last.
    pub(super) published: Vec<ConnId>,
    pub(super) reached: Vec<bool>,
    pub(super) processed: Vec<bool>,
    /// The application expired it, or may have.
    pub(super) expired: Vec<bool>,
    /// The end of the last span in which nothing ran.
    pub(super) excused: Time,
    pub(super) closing: bool,
    pub(super) finished: bool,
    pub(super) fired: u64,
    pub(super) coverage: Coverage,
    digest: u64,
    violation: Option<Violation>,
    tracing: bool,
    trace: VecDeque<String>,
    ledger: Ledger,
}

/// Runs one seed.
///
/// # Errors
/// The scenario itself is at fault: its engine's configuration contradicts itself.
pub(super) fn run(seed: u64, bugs: Bugs, tracing: bool) -> Result<Outcome, String> {
    let mut rng = Rng::new(seed);
    let (setup, config) = Setup::draw(&mut rng);
    let mut world = World::new(rng.next_u64(), setup.start);
    world.record_sent();
    world.set_links(setup.links);
    let (server, gate, director) = (world.add_endpoint(), world.add_endpoint(), world.add_endpoint());
    let door = world.listen(server, HOST, PORT);
    let engine = setup::engine(config)?;
    let ledger = Ledger::new(setup.strict);
    let messages = setup.messages as usize;
    let mut scenario = Scenario {
        seed,
        bugs,
        world,
        rng,
        server,
        engine,
        door,
        gate,
        gatekeeper: Gatekeeper::default(),
        director,
        clients: Vec::new(),
        held: Vec::new(),
        waiting: Vec::new(),
        published: Vec::new(),
        reached: vec![false; messages],
        processed: vec![false; messages],
        expired: vec![false; messages],
        excused: setup.start,
        closing: false,
        finished: false,
        fired: 0,
        coverage: Coverage::default(),
        digest: seed,
        violation: None,
        tracing,
        trace: VecDeque::new(),
        ledger,
        setup,
    };
    scenario.begin()?;
    scenario.play();
    Ok(scenario.outcome())
}

impl Scenario {
    fn play(&mut self) {
        while self.violation.is_none() && !self.finished {
            let Some((who, step)) = self.world.next_step() else {
                return self.breach(("P9", "nothing will ever happen again".into()));
            };
            self.coverage.steps += 1;
            if self.coverage.steps > MAX_STEPS {
                return self.breach(("P9", "the machines keep each other busy without end".into()));
            }
            self.note_step(who, &step);
            self.dispatch(who, step);
        }
    }

    fn dispatch(&mut self, who: EndpointId, step: Step) {
        if let Step::Wake(token) = step {
            self.woken(who, token);
        } else if who == self.server {
            if let Step::Received { conn, bytes, .. } = &step {
                self.reached_server(*conn, bytes);
            }
            self.world.deliver(who, step, &mut self.engine);
        } else if who == self.gate {
            self.world.deliver(who, step, &mut self.gatekeeper);
        } else if let Some(number) = self.clients.iter().position(|client| client.id == who) {
            self.feed(number, step);
        }
        self.drain_others();
    }

    /// Hands a step to a client.
    fn feed(&mut self, number: usize, step: Step) {
        let Self { clients, world, .. } = self;
        let client = &mut clients[number];
        match &step {
            Step::Connected(conn) => client.watch.connected(*conn),
            Step::Received { conn, bytes, .. } => client.watch.received(*conn, bytes),
            _ => {}
        }
        world.deliver(client.id, step, &mut client.machine);
        self.look_at(number);
    }

    /// Passes a note to a client, as one of its threads would.
    pub(super) fn tell(&mut self, number: usize, note: SimNote) {
        let client = &mut self.clients[number];
        self.world.tell(client.id, note, &mut client.machine);
        self.look_at(number);
    }

    /// Learns what a client did during its last call, and checks it.
    fn look_at(&mut self, number: usize) {
        let mut events = std::mem::take(&mut self.clients[number].machine.model().events);
        for event in events.drain(..) {
            self.application(number, &event);
        }
        self.clients[number].machine.model().events = events;

        let mut breach = None;
        let Self { clients, world, digest, .. } = self;
        let client = &mut clients[number];
        let id = client.id;
        let mut trace = Vec::new();
        let sent = world.take_sent();
        for (conn, bytes) in sent.iter() {
            *digest = mix(*digest, conn.0, bytes);
            if self.tracing {
                each_frame(bytes, |frame| trace.push(format!("{id:?} > {frame:?}")));
            }
            if let Err(found) = client.watch.sent(conn, bytes) {
                breach.get_or_insert(found);
            }
        }
        world.give_back(sent);
        if client.watch.conn().is_some_and(|conn| !world.is_open(conn)) {
            client.watch.disconnected();
        }
        if breach.is_none() {
            breach = client.watch.settled().err();
        }
        self.coverage.met(client.machine.state_name());
        trace.into_iter().for_each(|line| self.note(|| line));
        if let Some(found) = breach {
            let name = self.clients[number].plan.config.name.clone();
            self.breach((found.0, format!("{name}: {}", found.1)));
        }
    }

    /// What servers sent goes into the digest; the clients' referees see it when it arrives.
    fn drain_others(&mut self) {
        let Self { world, digest, ledger, coverage, .. } = self;
        let (now, mut breach) = (world.now(), None);
        let sent = world.take_sent();
        let mut trace = Vec::new();
        for (conn, bytes) in sent.iter() {
            *digest = mix(*digest, conn.0, bytes);
            each_frame(bytes, |frame| {
                if self.tracing {
                    trace.push(format!("server > {conn:?} {frame:?}"));
                }
                let is_open = |conn| world.is_open(conn);
                if let Err(found) = ledger.sent(coverage.steps, now, conn, frame, is_open) {
                    breach.get_or_insert(found);
                }
            });
        }
        world.give_back(sent);
        trace.into_iter().for_each(|line| self.note(|| line));
        if let Some(found) = breach {
            self.breach(found);
        }
    }

    fn reached_server(&mut self, conn: ConnId, bytes: &[u8]) {
        let Self { reached, coverage, ledger, .. } = self;
        each_frame(bytes, |frame| {
            ledger.received(coverage.steps, conn, frame);
            if frame.command() == CommandKind::Publish {
                let slot = id_of(frame.data()).and_then(|id| reached.get_mut(id as usize));
                if let Some(slot) = slot {
                    coverage.messages += u64::from(!std::mem::replace(slot, true));
                }
            }
        });
    }

    /// Something that the application was told.
    fn application(&mut self, number: usize, event: &AppEvent) {
        self.note(|| format!("client {number}: {event:?}"));
        let now = self.world.now();
        match *event {
            AppEvent::Delivered { sub, lease, mark, id, handled } => {
                self.coverage.deliveries += 1;
                let client = &mut self.clients[number];
                if let Err(breach) = client.watch.delivered(sub, &mark) {
                    return self.breach(breach);
                }
                let Some(id) = id.filter(|id| (*id as usize) < self.processed.len()) else { return };
                match handled {
                    Handled::Done => {
                        self.processed[id as usize] = true;
                        if lease.is_some() {
                            client.watch.ack_asked(now, sub, mark);
                        }
                    }
                    Handled::Failed => client.watch.return_asked(mark),
                    Handled::Kept => {
                        let conn = client.watch.conn();
                        let held = Held { client: number, conn, sub, lease, mark, id, settled: false };
                        self.held.push(held);
                        self.kept(number, self.held.len() - 1);
                    }
                }
            }
            AppEvent::Ended { sub, .. } => {
                let client = &mut self.clients[number];
                client.watch.over(sub);
                if client.sub == Some(sub) {
                    client.sub = None;
                }
                if client.side == Some(sub) {
                    client.side = None;
                }
            }
            AppEvent::Interrupted => self.clients[number].unread.clear(),
            AppEvent::Resumed | AppEvent::Draining | AppEvent::State(_) | AppEvent::Reported(_) => {}
        }
    }

    // ----- reports --------------------------------------------------------------------

    pub(super) fn breach(&mut self, (promise, text): Breach) {
        let at = self.world.now();
        self.note(|| format!("BROKEN {promise}: {text}"));
        self.violation.get_or_insert(Violation { promise, at, text });
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            if self.trace.len() == TRACE_LINES {
                self.trace.pop_front();
            }
            let at = self.world.now() - self.setup.start;
            self.trace.push_back(format!("{:>10.6} {}", at.as_secs_f64(), line()));
        }
    }

    fn note_step(&mut self, who: EndpointId, step: &Step) {
        let (kind, conn, length) = match step {
            Step::Connected(conn) => (1, conn.0, 0),
            Step::ConnectFailed(conn, _) => (2, conn.0, 0),
            Step::Accepted(conn, _) => (3, conn.0, 0),
            Step::Received { conn, fresh, .. } => (4, conn.0, *fresh as u64),
            Step::Closed(conn, _) => (5, conn.0, 0),
            Step::Timer => (6, 0, 0),
            Step::Wake(token) => (7, *token, 0),
        };
        let now = self.world.now().as_unix_nanos();
        for word in [now, u64::from(who.0), kind, conn, length] {
            self.digest = (self.digest ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        if self.tracing && !matches!(step, Step::Wake(_)) {
            let name = self.clients.iter().find(|client| client.id == who);
            let name = name
                .map_or_else(|| format!("{who:?}"), |client| format!("{} {who:?}", client.plan.config.name));
            match step {
                Step::Received { conn, bytes, fresh } => {
                    self.note(|| format!("{name} receives {fresh} bytes on {conn:?}"));
                    let mut lines = Vec::new();
                    each_frame(bytes, |frame| lines.push(format!("{name} < {frame:?}")));
                    lines.into_iter().for_each(|line| self.note(|| line));
                }
                other => self.note(|| format!("{name}: {other:?}")),
            }
        }
    }

    pub(super) fn is_tracing(&self) -> bool {
        self.tracing
    }

    pub(super) fn is_working(&self, number: usize) -> bool {
        let client = &self.clients[number];
        client.role == Role::Worker && !client.leaving
    }

    pub(super) fn has_fired(&mut self, kind: FaultKind) {
        self.fired += 1;
        self.coverage.fired(kind);
        self.note(|| format!("FAULT {kind:?}"));
    }

    fn outcome(mut self) -> Outcome {
        for client in &self.clients {
            self.coverage.acks += client.watch.acks;
            self.coverage.recoveries += client.watch.recoveries;
        }
        Outcome {
            seed: self.seed,
            violation: self.violation,
            coverage: self.coverage,
            digest: self.digest,
            trace: self.trace.into(),
        }
    }
}

/// Adds bytes to a digest.
pub(super) fn mix(digest: u64, conn: u64, bytes: &[u8]) -> u64 {
    let mut digest = (digest ^ conn).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for word in bytes.chunks(8) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        digest = (digest ^ u64::from_le_bytes(padded)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
    digest
}

/// The time between two looks of the referees.
pub(super) const fn tick() -> Duration {
    TICK
}
