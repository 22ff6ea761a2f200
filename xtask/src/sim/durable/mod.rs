//! Stores against everything: publishers with publish stores, subscribers with bookmark stores
//! and queue workers, one server that dies or a pair that replicates, processes that end at any
//! operation of their disks, and a network that fails.
//!
//! Owns the machines and the loop that hands each event of the world to the one that it concerns,
//! then lets the referees look: `kept` (P5), `replayed` (P4, P6), `member` (P8), `asks` and `jobs`
//! (P1, P2), `verdict` (P2, P7, P9, P10). What the applications do is in `acting`, what goes wrong in
//! `faults`.
//!
//! What is promised, and what is not:
//! * what was published outlives what its store promised to outlive, when the store said so;
//! * a server that loses its log loses what it had reported as persisted, unless another one has it:
//!   that, and only of messages that the client was told of, excuses a loss;
//! * servers may order the messages of different publishers in different ways: see `replayed`;
//! * a message of the queue may come again after it was acknowledged only if no log that has the
//!   acknowledgement is left, or none that its server has to wait for: see `jobs`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use amps_client::simulation::{Bugs, SimDisk, SimNote, Ticket};
use amps_protocol::{CommandKind, Message, parse_timestamp};
use amps_testkit::sim::{EndpointId, Rng, Step, World};
use amps_testkit::{LogRecord, MessageId, SyncMode};
use amps_transport::{CloseMode, ConnId, Input, Machine, Sink, Time};

use super::gatekeeper::Gatekeeper;
use super::report::{Coverage, FaultKind, Outcome, Violation};
use super::scenario::mix;
use super::setup::engine;
use super::watch::{Breach, each_frame};
use jobs::{Hold, Jobs, Logs};
use kept::End;
use member::Member;
use server::{Book, Machinery, Order, Server};
use setup::{LINK_PORT, MemberPlan, NAMES, PORT, Setup, TOPIC};

mod acting;
mod app;
mod asks;
mod faults;
mod jobs;
mod kept;
mod member;
mod mistakes;
mod replayed;
mod server;
mod setup;
mod verdict;

pub(super) use setup::FAULTS;

/// More events than any honest run needs.
const MAX_STEPS: u64 = 2_000_000;

/// Lines of trace that are kept.
const TRACE_LINES: usize = 6000;

/// How often the referees look at the clock.
const TICK: Duration = Duration::from_millis(25);

/// A command whose end is awaited.
struct Waiting {
    member: usize,
    /// Of the member.
    life: u32,
    what: &'static str,
    ticket: Ticket,
    due: Time,
    /// What was to be persisted.
    number: Option<u64>,
}

struct Durable {
    setup: Setup,
    world: World,
    rng: Rng,
    servers: Vec<Server>,
    gate: EndpointId,
    gatekeeper: Gatekeeper,
    director: EndpointId,
    members: Vec<Member>,
    /// By the client's end of a connection: the server, and the life of its log.
    places: BTreeMap<ConnId, (usize, usize)>,
    waiting: Vec<Waiting>,
    /// The last message that was published.
    last_id: u32,
    /// Queue messages that were processed.
    processed: BTreeSet<u32>,
    jobs: Jobs,
    /// A worker was brought to what the other server never gets.
    swept: [bool; 2],
    /// What became of each fault when it began.
    harmed: BTreeMap<usize, faults::Harm>,
    excused_until: Time,
    closing: bool,
    finished: bool,
    fired: u64,
    coverage: Coverage,
    digest: u64,
    violation: Option<Violation>,
    tracing: bool,
    trace: VecDeque<String>,
}

/// Closes the connections of a process that died.
struct Undertaker;

impl Machine for Undertaker {
    type Note = ConnId;

    fn handle<S: Sink>(&mut self, _: Time, input: Input<'_, ConnId>, sink: &mut S) {
        if let Input::Note(conn) = input {
            sink.close(conn, CloseMode::Reset);
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// Runs one seed.
///
/// # Errors
/// The scenario itself is at fault.
pub(super) fn run(seed: u64, bugs: Bugs, tracing: bool) -> Result<Outcome, String> {
    let mut rng = Rng::new(seed ^ 0x6475_7261_626c_6521);
    let setup = Setup::draw(&mut rng, bugs);
    let mut world = World::new(rng.next_u64(), setup.start);
    world.record_sent();
    world.set_links(setup.links);
    let (gate, director) = (world.add_endpoint(), world.add_endpoint());
    let mut servers = Vec::new();
    for (config, name) in setup.servers.iter().zip(NAMES) {
        let id = world.add_endpoint();
        let door = world.listen(id, name, PORT);
        let mut engine = engine(config.clone())?;
        engine.set_replication_listener(world.listen(id, name, LINK_PORT));
        engine.keep_log_records();
        servers.push(Server {
            id,
            name,
            machine: Machinery(engine),
            door,
            waits: setup.mode == SyncMode::Sync,
            book: Book::default(),
            is_up: true,
        });
    }
    let start = setup.start;
    let mut durable = Durable {
        setup,
        world,
        rng,
        servers,
        gate,
        gatekeeper: Gatekeeper::default(),
        director,
        members: Vec::new(),
        places: BTreeMap::new(),
        waiting: Vec::new(),
        last_id: 0,
        processed: BTreeSet::new(),
        jobs: Jobs::default(),
        swept: [false; 2],
        harmed: BTreeMap::new(),
        excused_until: start,
        closing: false,
        finished: false,
        fired: 0,
        coverage: Coverage::default(),
        digest: seed,
        violation: None,
        tracing,
        trace: VecDeque::new(),
    };
    durable.begin();
    durable.play();
    Ok(durable.outcome(seed))
}

impl Durable {
    fn begin(&mut self) {
        let now = self.world.now();
        if self.tracing {
            let text = format!("{:?}", self.setup);
            self.note(|| text);
        }
        for server in 0..self.servers.len() {
            // Links are made by the clock.
            self.order(server, Order::Link(NAMES[1 - server], amps_testkit::LinkChange::Lag(Duration::ZERO)));
        }
        for plan in self.setup.members.clone() {
            self.add_member(plan);
        }
        self.world.wake(self.director, now + TICK, acting::token::TICK);
        for number in 0..self.setup.plan.faults.len() {
            let at = self.setup.plan.faults[number].at;
            self.world.wake(self.director, at, acting::token::FAULT | number as u64);
        }
    }

    fn add_member(&mut self, plan: MemberPlan) -> usize {
        let id = self.world.add_endpoint();
        let disk = SimDisk::new(self.rng.next_u64());
        self.members.push(Member::new(id, plan, disk));
        let number = self.members.len() - 1;
        self.start_member(number);
        number
    }

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
            return self.woken(who, token);
        }
        if let Some(server) = self.servers.iter().position(|server| server.id == who) {
            self.serve(server, step);
        } else if who == self.gate {
            self.world.deliver(who, step, &mut self.gatekeeper);
            self.drain_sent(None);
        } else if let Some(number) = self.member_at(who) {
            self.feed(number, step);
        }
    }

    fn member_at(&self, who: EndpointId) -> Option<usize> {
        self.members.iter().position(|member| member.id == who)
    }

    // ----- servers --------------------------------------------------------------------

    fn serve(&mut self, number: usize, step: Step) {
        match &step {
            Step::Accepted(conn, listener) if *listener == self.servers[number].door => {
                let life = self.servers[number].book.life();
                self.places.insert(World::peer(*conn), (number, life));
            }
            Step::Received { conn, bytes, .. } => self.reached_server(number, *conn, bytes),
            _ => {}
        }
        let server = &mut self.servers[number];
        self.world.deliver(server.id, step, &mut server.machine);
        self.after_server(number);
    }

    fn order(&mut self, number: usize, order: Order) {
        self.note(|| format!("server {}: {order:?}", NAMES[number]));
        let server = &mut self.servers[number];
        self.world.tell(server.id, order, &mut server.machine);
        self.after_server(number);
    }

    fn after_server(&mut self, number: usize) {
        // One call may deliver a message and then have it leave: the log is read behind the wire.
        let holds = self.drain_sent(None);
        let server = &mut self.servers[number];
        let had_left: Vec<bool> = holds.iter().map(|hold| server.book.has_departed(hold.message)).collect();
        let records = server.machine.0.take_log_records();
        let departure = |record: &LogRecord| match record {
            LogRecord::Departure { bookmark, .. } => Some(*bookmark),
            _ => None,
        };
        let gone: Vec<MessageId> = records.iter().filter_map(departure).collect();
        let before = server.book.log.len();
        let taken = server.book.take(server.name, records, TOPIC);
        self.coverage.messages += server.book.log.len().saturating_sub(before) as u64;
        if let Err(breach) = taken {
            self.breach(breach);
        }
        for (hold, had_left) in holds.into_iter().zip(had_left) {
            self.delivered(number, hold, had_left);
        }
        gone.into_iter().for_each(|message| self.jobs.departed(message));
    }

    /// A server has delivered a message of the queue.
    fn delivered(&mut self, number: usize, hold: Hold, departed_here: bool) {
        let Self { jobs, servers, world, .. } = self;
        let departed = |server: &Server| server.book.has_departed(hold.message);
        let logs = Logs {
            departed_here,
            published_twice: servers.len() > 1
                && servers.iter().all(|server| server.book.was_published(hold.message)),
            departed_elsewhere: (0..servers.len()).any(|other| other != number && departed(&servers[other])),
        };
        if let Err((promise, text)) = jobs.delivered(world.now(), hold, logs, |conn| world.is_open(conn)) {
            let name = self.servers[number].name;
            self.breach((promise, format!("server {name}: {text}")));
        }
    }

    /// What a server is about to be given.
    fn reached_server(&mut self, number: usize, conn: ConnId, bytes: &[u8]) {
        let Self { members, servers, .. } = self;
        let peer = World::peer(conn);
        let Some(member) = members.iter_mut().find(|member| member.line.conn == Some(peer)) else { return };
        let mut breach = None;
        each_frame(bytes, |frame| {
            if frame.command() != CommandKind::Subscribe || breach.is_some() {
                return;
            }
            let id = frame.sub_id().map(ToString::to_string).unwrap_or_default();
            if let Some(replay) = member.replays.iter_mut().find(|replay| replay.id == id) {
                breach = replay.begins(frame, number, servers).err();
            }
        });
        if let Some((promise, text)) = breach {
            let name = member.name().to_owned();
            self.breach((promise, format!("{name}: {text}")));
        }
    }

    // ----- clients --------------------------------------------------------------------

    fn feed(&mut self, number: usize, step: Step) {
        let Self { members, world, places, servers, .. } = self;
        let member = &mut members[number];
        let mut result = Ok(());
        match &step {
            Step::Connected(conn) => member.connected(*conn, places.get(conn).copied(), servers),
            Step::Received { conn, bytes, .. } => result = member.received(*conn, bytes, servers),
            _ => {}
        }
        let id = member.id;
        if let Some(machine) = &mut member.machine {
            world.deliver(id, step, machine);
        }
        for (message, everywhere) in std::mem::take(&mut self.members[number].acknowledged) {
            self.jobs.acknowledged(message, everywhere);
        }
        self.judge(number, result);
        self.look_at(number);
    }

    /// Passes a note to a client, as one of its threads would.
    fn tell(&mut self, number: usize, note: SimNote) {
        let Self { members, world, .. } = self;
        let member = &mut members[number];
        if let Some(machine) = &mut member.machine {
            world.tell(member.id, note, machine);
        }
        self.look_at(number);
    }

    /// Learns what a client did during its last call, and checks it.
    fn look_at(&mut self, number: usize) {
        let member = &mut self.members[number];
        let Some(machine) = &mut member.machine else {
            self.drain_sent(None);
            return;
        };
        self.coverage.met(machine.state_name());
        let events = std::mem::take(&mut machine.model().events);
        for event in events {
            self.application(number, &event);
        }
        self.drain_sent(Some(number));
        let member = &mut self.members[number];
        if member.line.conn.is_some_and(|conn| !self.world.is_open(conn)) {
            member.disconnected();
        }
        member.poll_answers();
        let mut result = Ok(());
        for replay in &mut member.replays {
            result = result.and_then(|()| replay.settled(&self.servers));
        }
        self.judge(number, result);
        self.look_at_socket(number);
        self.look_at_disk(number);
    }

    /// A socket that is full has room again a little later.
    fn look_at_socket(&mut self, number: usize) {
        let member = &mut self.members[number];
        let is_blocked = member.machine.as_ref().is_some_and(amps_client::simulation::SimClient::is_blocked);
        if is_blocked && !std::mem::replace(&mut member.blocked, true) {
            let at = self.world.now() + self.rng.span(Duration::ZERO, Duration::from_millis(20));
            self.world.wake(member.id, at, acting::token::ROOM);
        }
    }

    /// The thread of a store takes its steps some time, and a disk that has stopped ends the process.
    fn look_at_disk(&mut self, number: usize) {
        let member = &mut self.members[number];
        if member.steps.is_empty() {
            return;
        }
        if member.disk.has_stopped() {
            let end = if self.rng.chance(35) { End::PowerCut } else { End::Killed };
            return self.end_member(number, end);
        }
        if !std::mem::replace(&mut member.stepping, true) {
            let at = self.world.now() + self.rng.span(Duration::from_micros(50), member.plan.disk_pace);
            self.world.wake(member.id, at, acting::token::STEP);
        }
    }

    /// What was sent goes into the digest; what this client sent is checked. Returns the leases that
    /// a server gave.
    fn drain_sent(&mut self, number: Option<usize>) -> Vec<Hold> {
        let Self { members, world, digest, .. } = self;
        let (mut breach, mut trace, mut holds) = (None, Vec::new(), Vec::new());
        let sent = world.take_sent();
        for (conn, bytes) in sent.iter() {
            *digest = mix(*digest, conn.0, bytes);
            if self.tracing {
                each_frame(bytes, |frame| trace.push(format!("{conn:?} > {frame:?}")));
            }
            match number {
                Some(number) => {
                    if let Err(found) = members[number].sent(conn, bytes) {
                        breach.get_or_insert(found);
                    }
                }
                None if self.setup.has_queue => {
                    each_frame(bytes, |frame| holds.extend(lease(conn, frame)));
                }
                None => {}
            }
        }
        world.give_back(sent);
        trace.into_iter().for_each(|line| self.note(|| line));
        if let (Some(number), Some(found)) = (number, breach) {
            self.judge(number, Err(found));
        }
        holds
    }

    // ----- reports --------------------------------------------------------------------

    fn judge(&mut self, number: usize, result: Result<(), Breach>) {
        if let Err((promise, text)) = result {
            let name = self.members[number].name().to_owned();
            self.breach((promise, format!("{name}: {text}")));
        }
    }

    fn breach(&mut self, (promise, text): Breach) {
        let at = self.world.now();
        self.note(|| format!("BROKEN {promise}: {text}"));
        self.violation.get_or_insert(Violation { promise, at, text });
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
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
        if self.tracing && !matches!(step, Step::Wake(_) | Step::Timer | Step::Received { .. }) {
            let name = self.member_at(who).map(|number| self.members[number].name().to_owned());
            let server =
                self.servers.iter().find(|server| server.id == who).map(|server| server.name.to_owned());
            let name = name.or(server).unwrap_or_else(|| format!("{who:?}"));
            self.note(|| format!("{name}: {step:?}"));
        }
    }

    fn has_fired(&mut self, kind: FaultKind) {
        self.fired += 1;
        self.coverage.fired(kind);
        self.note(|| format!("FAULT {kind:?}"));
    }

    fn outcome(mut self, seed: u64) -> Outcome {
        let replays = self.members.iter().flat_map(|member| &member.replays);
        self.coverage.excused = replays.map(|replay| replay.excused.len() as u64).sum();
        for member in &self.members {
            self.coverage.acks += member.acks;
            self.coverage.recoveries += member.recoveries;
        }
        self.coverage.shared_queues = u64::from(self.setup.shares_queue());
        self.coverage.failovers = self.members.iter().map(|member| member.failovers).sum();
        self.coverage.shared = self.jobs.shared.len() as u64;
        self.coverage.forgiven = self.jobs.excused.len() as u64;
        let Self { violation, coverage, digest, trace, .. } = self;
        Outcome { seed, violation, coverage, digest, trace: trace.into() }
    }
}

/// The lease that a frame of a server gives.
fn lease(conn: ConnId, frame: &Message<&[u8]>) -> Option<Hold> {
    let lease = frame.lease().filter(|_| frame.command() == CommandKind::Publish)?;
    let message = frame.bookmark().and_then(|text| MessageId::parse(text).ok())?;
    let until = parse_timestamp(lease).map_or(Time::NEVER, Time::from_unix_nanos);
    Some(Hold { message, conn, until })
}
