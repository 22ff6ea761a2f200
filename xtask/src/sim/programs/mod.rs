//! Random programs: applications that subscribe, replace, query, publish, delete and leave, in
//! any order, over a network that fails.
//!
//! Each application keeps a copy of what it subscribed to, made of nothing but what it was
//! given. Whatever happened on the way, once the last fault has healed each copy of the state
//! of the world equals what the server has (P8: the subscription was placed again with the
//! options that are in force; P9: in bounded time), no message of one publisher ever came
//! before an earlier one (P4), and every command that waits has ended exactly once (P7). Some
//! servers are no servers, and send anything (P10).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_client::simulation::{Bugs, SimClient, SimConfig, SimNote, Sub, Ticket};
use amps_client::{Command, Reconnect};
use amps_testkit::sim::{Chunking, Door, EndpointId, LinkSettings, Plan, Rng, Step, World};
use amps_testkit::{Config, Engine, SowConfig};
use amps_transport::{ListenerId, Time};

use super::report::{Coverage, FaultKind, Outcome, Violation};
use super::setup::{HOST, PORT, engine};
use liar::Liar;
use mirror::{Application, Kind};

mod liar;
mod mirror;

/// The state of the world.
const RECORDS: &str = "orders";
/// Messages without a state.
const TICKS: &str = "ticks";

const MILLI: Duration = Duration::from_millis(1);
/// Applications do as they like for so long.
const PLAY: Duration = Duration::from_secs(8);
/// Everything has to be in order so long after the last fault.
const PATIENCE: Duration = Duration::from_secs(60);
/// More events than any honest run needs.
const MAX_STEPS: u64 = 1_000_000;

/// The faults of this scenario: those of the network, and of what is behind the door.
pub(super) const FAULTS: [FaultKind; 9] = [
    FaultKind::CutFin,
    FaultKind::CutReset,
    FaultKind::Stall,
    FaultKind::SlowLink,
    FaultKind::Refused,
    FaultKind::Blackholed,
    FaultKind::MuteServer,
    FaultKind::CutAll,
    FaultKind::ClockJump,
];

/// A command whose end is awaited.
struct Waiting {
    client: usize,
    what: &'static str,
    ticket: Ticket,
    due: Time,
}

struct Client {
    id: EndpointId,
    machine: SimClient<Application>,
    /// It was told to close.
    leaving: bool,
}

struct Programs {
    world: World,
    rng: Rng,
    engine: Engine,
    server: EndpointId,
    liar: Liar,
    liar_id: EndpointId,
    door: ListenerId,
    director: EndpointId,
    clients: Vec<Client>,
    plan: Plan<FaultKind>,
    links: LinkSettings,
    waiting: Vec<Waiting>,
    /// The number of the last message that was published.
    published: u64,
    quiet_from: Time,
    end: Time,
    finished: bool,
    coverage: Coverage,
    digest: u64,
    violation: Option<Violation>,
    tracing: bool,
    trace: Vec<String>,
}

/// What a wake-up is for.
mod token {
    pub(super) const TURN: u64 = 1 << 48;
    pub(super) const FAULT: u64 = 2 << 48;
    pub(super) const HEAL: u64 = 3 << 48;
    pub(super) const JUDGE: u64 = 4 << 48;
    pub(super) const ROOM: u64 = 5 << 48;
    pub(super) const KIND: u64 = !0 << 48;
}

/// Runs one seed.
///
/// # Errors
/// The scenario itself is at fault.
pub(super) fn run(seed: u64, bugs: Bugs, tracing: bool) -> Result<Outcome, String> {
    let mut rng = Rng::new(seed ^ 0x70_72_6f_67);
    let start = Time::EPOCH + Duration::from_secs(1_700_000_000);
    let count = rng.between(3, 8) as usize;
    let plan = Plan::draw(&mut rng, &FAULTS, count, start + 200 * MILLI, PLAY, 1500 * MILLI);
    let mut world = World::new(rng.next_u64(), start);
    let links = links(&mut rng);
    world.set_links(links);
    let (server, liar_id, director) = (world.add_endpoint(), world.add_endpoint(), world.add_endpoint());
    let door = world.listen(server, HOST, PORT);
    let config = Config { sow: vec![SowConfig::new(RECORDS).key("/id")], ..Config::default() };
    let quiet_from = (start + PLAY).max(plan.healed_at) + 2000 * MILLI;
    let mut programs = Programs {
        engine: engine(config)?,
        liar: Liar::new(rng.fork()),
        world,
        server,
        liar_id,
        door,
        director,
        clients: Vec::new(),
        plan,
        links,
        waiting: Vec::new(),
        published: 0,
        quiet_from,
        end: quiet_from + PATIENCE,
        finished: false,
        coverage: Coverage::default(),
        digest: seed,
        violation: None,
        tracing,
        trace: Vec::new(),
        rng,
    };
    programs.begin(bugs)?;
    programs.play();
    let Programs { violation, coverage, digest, trace, .. } = programs;
    Ok(Outcome { seed, violation, coverage, digest, trace })
}

fn links(rng: &mut Rng) -> LinkSettings {
    let chunking =
        if rng.chance(40) { Chunking::UpTo(rng.between(20, 900) as usize) } else { Chunking::Whole };
    let fastest = rng.span(Duration::from_micros(10), MILLI);
    LinkSettings {
        fastest,
        slowest: fastest + rng.span(Duration::ZERO, 15 * MILLI),
        chunking,
        window: *rng.pick(&[2 << 10, 64 << 10]).unwrap_or(&(64 << 10)),
        nanos_per_byte: 0,
    }
}

impl Programs {
    fn begin(&mut self, bugs: Bugs) -> Result<(), String> {
        let count = self.rng.between(2, 4);
        for number in 0..count {
            let config = SimConfig {
                name: format!("program-{number}"),
                servers: vec![format!("tcp://{HOST}:{PORT}/amps/json")],
                reconnect: Some(Reconnect::new().initial(50 * MILLI).max(800 * MILLI)),
                heartbeat: self.rng.chance(70).then(|| Duration::from_secs(1)),
                ack_batch_size: 1,
                ack_timeout: Duration::from_secs(1),
                send_limit: 1 << 20,
                seed: self.rng.next_u64(),
                bugs,
            };
            let machine =
                SimClient::new(config, Application::new(self.tracing)).map_err(|error| error.to_string())?;
            let id = self.world.add_endpoint();
            self.clients.push(Client { id, machine, leaving: false });
            let number = self.clients.len() - 1;
            let ticket = self.await_end(number, "connect", Time::NEVER);
            self.tell(number, SimNote::Connect(ticket));
            self.world.wake(id, self.world.now() + MILLI, token::TURN);
        }
        for number in 0..self.plan.faults.len() {
            self.world.wake(self.director, self.plan.faults[number].at, token::FAULT | number as u64);
        }
        self.world.wake(self.director, self.quiet_from, token::JUDGE);
        Ok(())
    }

    fn play(&mut self) {
        while self.violation.is_none() && !self.finished {
            let Some((who, step)) = self.world.next_step() else {
                return self.breach("P9", "nothing will ever happen again".into());
            };
            self.coverage.steps += 1;
            if self.coverage.steps > MAX_STEPS {
                return self.breach("P9", "the machines keep each other busy without end".into());
            }
            self.digest = (self.digest ^ self.world.now().as_unix_nanos() ^ u64::from(who.0))
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(23);
            self.dispatch(who, step);
        }
    }

    fn dispatch(&mut self, who: EndpointId, step: Step) {
        if let Step::Wake(what) = step {
            return self.woken(who, what);
        }
        if who == self.server {
            self.world.deliver(who, step, &mut self.engine);
        } else if who == self.liar_id {
            self.world.deliver(who, step, &mut self.liar);
        } else if let Some(number) = self.clients.iter().position(|client| client.id == who) {
            let Self { clients, world, .. } = self;
            world.deliver(who, step, &mut clients[number].machine);
            self.look_at(number);
        }
    }

    fn woken(&mut self, who: EndpointId, what: u64) {
        let number = (what & !token::KIND) as usize;
        match what & token::KIND {
            token::FAULT => self.fault(number),
            token::HEAL => self.heal(number),
            token::JUDGE => self.judge(),
            token::ROOM => {
                if let Some(number) = self.clients.iter().position(|client| client.id == who) {
                    self.set_room(number, true);
                }
            }
            _ => {
                if let Some(client) = self.clients.iter().position(|client| client.id == who) {
                    self.turn(client);
                }
            }
        }
    }

    fn tell(&mut self, number: usize, note: SimNote) {
        let Self { clients, world, .. } = self;
        let client = &mut clients[number];
        world.tell(client.id, note, &mut client.machine);
        self.look_at(number);
    }

    fn look_at(&mut self, number: usize) {
        let application = self.clients[number].machine.model();
        let found = application.breach.take();
        self.coverage.deliveries += std::mem::take(&mut application.delivered);
        self.coverage.recoveries += std::mem::take(&mut application.resumed);
        let lines = std::mem::take(&mut application.trace);
        self.coverage.met(self.clients[number].machine.state_name());
        for line in lines {
            self.note(|| format!("program-{number}: {line}"));
        }
        if let Some((promise, text)) = found {
            self.breach(promise, format!("program-{number}: {text}"));
        }
    }

    fn await_end(&mut self, client: usize, what: &'static str, due: Time) -> Ticket {
        let ticket = Ticket::default();
        self.waiting.push(Waiting { client, what, ticket: ticket.clone(), due });
        ticket
    }

    // ----- what applications do -------------------------------------------------------

    fn turn(&mut self, number: usize) {
        let now = self.world.now();
        if now >= self.quiet_from || self.clients[number].leaving {
            return;
        }
        let wait = self.rng.span(MILLI, 60 * MILLI);
        self.world.wake(self.clients[number].id, now + wait, token::TURN);
        if !self.clients[number].machine.is_up() {
            return;
        }
        match self.rng.below(100) {
            0..60 => self.publish(number),
            60..68 => self.subscribe(number),
            68..78 => self.replace(number),
            78..86 => self.query(number),
            86..90 => self.delete(number),
            90..94 => self.unsubscribe(number),
            94..97 => self.flush(number),
            97..99 => {
                // Nobody reads for a while.
                self.set_room(number, false);
                let span = self.rng.span(20 * MILLI, 2500 * MILLI);
                self.world.wake(self.clients[number].id, now + span, token::ROOM);
            }
            _ => self.leave(number),
        }
    }

    /// Each program has records of its own, so that their order is known.
    fn publish(&mut self, number: usize) {
        let now = self.world.now();
        for _ in 0..self.rng.between(1, 5) {
            self.published += 1;
            let (n, id) = (self.published, number as u64 * 100 + self.rng.below(20));
            let topic = if self.rng.chance(70) { RECORDS } else { TICKS };
            let body = format!("{{\"id\":{id},\"n\":{n},\"g\":{},\"by\":{number}}}", self.rng.below(4));
            if self.clients[number].machine.publish(now, topic, body.as_bytes()).is_err() {
                break;
            }
            self.coverage.messages += 1;
        }
        self.tell(number, SimNote::Wake);
    }

    fn filter(&mut self) -> u64 {
        self.rng.below(4)
    }

    fn timeout(&mut self) -> Option<Duration> {
        self.rng.chance(60).then(|| self.rng.span(50 * MILLI, 3000 * MILLI))
    }

    fn subscribe(&mut self, number: usize) {
        if self.clients[number].machine.model().live().count() >= 6 {
            return;
        }
        let group = self.filter();
        let (command, kind) = if self.rng.chance(60) {
            let command = Command::sow_and_subscribe(RECORDS).filter(below(group)).oof();
            (command.batch_size(self.rng.between(1, 30)), Kind::Mirror { group })
        } else {
            (Command::subscribe(TICKS).filter(below(group)), Kind::Ticks)
        };
        self.place(number, "subscribe", command, kind);
    }

    fn query(&mut self, number: usize) {
        let group = self.filter();
        let command = Command::sow(RECORDS).filter(below(group)).batch_size(self.rng.between(1, 30));
        self.place(number, "sow", command, Kind::Query { group });
    }

    fn place(&mut self, number: usize, what: &'static str, command: Command, kind: Kind) {
        let (now, timeout) = (self.world.now(), self.timeout());
        let Ok((sub, ticket)) = self.clients[number].machine.place(now, command, false, timeout) else {
            return;
        };
        self.clients[number].machine.model().placed(sub, kind);
        let due = timeout.map_or(Time::NEVER, |timeout| now + timeout);
        self.waiting.push(Waiting { client: number, what, ticket, due });
        self.note(|| format!("program-{number} places {sub:?} {kind:?}"));
        self.tell(number, SimNote::Wake);
    }

    fn some_sub(&mut self, number: usize, mirrors: bool) -> Option<Sub> {
        let model = self.clients[number].machine.model();
        let all: Vec<Sub> =
            model.live().filter(|(_, kind)| !mirrors || kind.is_mirror()).map(|(sub, _)| sub).collect();
        self.rng.pick(&all).copied()
    }

    fn replace(&mut self, number: usize) {
        let Some(sub) = self.some_sub(number, true) else { return };
        let (now, timeout, group) = (self.world.now(), self.timeout(), self.filter());
        let Some(command) = self.clients[number].machine.command_of(sub) else { return };
        // One at a time: which of two is in force would be the server's secret.
        if !self.clients[number].machine.model().may_replace(sub) {
            return;
        }
        let command = command.filter(below(group));
        let Ok(ticket) = self.clients[number].machine.replace(now, sub, command, timeout) else { return };
        self.clients[number].machine.model().replacing(sub, group);
        let due = timeout.map_or(Time::NEVER, |timeout| now + timeout);
        self.waiting.push(Waiting { client: number, what: "replace", ticket, due });
        self.note(|| format!("program-{number} replaces {sub:?} by group {group}"));
        self.tell(number, SimNote::Wake);
    }

    fn delete(&mut self, number: usize) {
        let (now, timeout) = (self.world.now(), self.timeout());
        let id = number as u64 * 100 + self.rng.below(20);
        let command = Command::sow_delete(RECORDS).filter(format!("/id = {id}"));
        let Ok(ticket) = self.clients[number].machine.perform(now, &command, timeout) else { return };
        let due = timeout.map_or(Time::NEVER, |timeout| now + timeout);
        self.waiting.push(Waiting { client: number, what: "sow_delete", ticket, due });
        self.tell(number, SimNote::Wake);
    }

    fn unsubscribe(&mut self, number: usize) {
        let Some(sub) = self.some_sub(number, false) else { return };
        let now = self.world.now();
        self.note(|| format!("program-{number} unsubscribes {sub:?}"));
        self.clients[number].machine.unsubscribe(now, sub);
        self.tell(number, SimNote::Wake);
    }

    fn flush(&mut self, number: usize) {
        let (now, timeout) = (self.world.now(), self.timeout());
        let Ok(ticket) = self.clients[number].machine.flush(now, timeout) else { return };
        let due = timeout.map_or(Time::NEVER, |timeout| now + timeout);
        self.waiting.push(Waiting { client: number, what: "flush", ticket, due });
        self.tell(number, SimNote::Wake);
    }

    fn set_room(&mut self, number: usize, room: bool) {
        self.note(|| format!("program-{number} has room: {room}"));
        let client = &mut self.clients[number];
        client.machine.set_room(room);
        client.machine.model().has_room(room);
        self.tell(number, SimNote::Wake);
    }

    fn leave(&mut self, number: usize) {
        if !self.rng.chance(10) || self.clients.iter().filter(|client| !client.leaving).count() < 2 {
            return;
        }
        self.clients[number].leaving = true;
        let within = self.rng.span(100 * MILLI, 3000 * MILLI);
        let due = self.world.now() + within;
        let ticket = self.await_end(number, "close", due);
        self.note(|| format!("program-{number} closes within {within:?}"));
        self.tell(number, SimNote::Close { within, ticket });
    }

    // ----- what goes wrong ------------------------------------------------------------

    fn fault(&mut self, number: usize) {
        let Some(planned) = self.plan.faults.get(number).copied() else { return };
        let until = self.world.now() + planned.lasting;
        let server = self.server;
        let all: Vec<_> =
            self.world.connections().filter(|(.., with)| *with == server).map(|(conn, ..)| conn).collect();
        let victim = self.rng.pick(&all).copied();
        self.note(|| format!("FAULT {:?} {victim:?}", planned.fault));
        match (planned.fault, victim) {
            (FaultKind::CutFin, Some(conn)) => self.world.cut(conn),
            (FaultKind::CutReset, Some(conn)) => self.world.reset(conn),
            (FaultKind::CutAll, _) => all.into_iter().for_each(|conn| self.world.reset(conn)),
            (FaultKind::Stall, Some(conn)) => {
                self.world.stall(conn, until);
                self.world.stall(World::peer(conn), until);
            }
            (FaultKind::SlowLink, Some(conn)) => {
                let chunking = Chunking::UpTo(self.rng.between(1, 40) as usize);
                let slow = LinkSettings { chunking, nanos_per_byte: 20_000, ..self.links };
                self.world.set_link(conn, slow);
            }
            (FaultKind::Refused, _) => self.close_door(Door::Refuse, victim),
            (FaultKind::Blackholed, _) => self.close_door(Door::Blackhole, victim),
            (FaultKind::MuteServer, _) => self.close_door(Door::Redirect(self.liar_id), victim),
            (FaultKind::ClockJump, _) => {
                let span = self.rng.span(500 * MILLI, 4000 * MILLI);
                self.world.jump(span);
            }
            _ => return,
        }
        self.coverage.fired(planned.fault);
        self.world.wake(self.director, until, token::HEAL | number as u64);
    }

    fn close_door(&mut self, door: Door, victim: Option<amps_transport::ConnId>) {
        self.world.set_door(self.door, door);
        if let Some(conn) = victim {
            self.world.reset(conn);
        }
    }

    fn heal(&mut self, number: usize) {
        let Some(planned) = self.plan.faults.get(number).copied() else { return };
        match planned.fault {
            FaultKind::Refused | FaultKind::Blackholed | FaultKind::MuteServer => {
                self.world.set_door(self.door, Door::Open);
                // Whoever is with the liar finds out.
                let liar = self.liar_id;
                let lied_to: Vec<_> = self.world.connections().filter(|(.., with)| *with == liar).collect();
                lied_to.into_iter().for_each(|(conn, ..)| self.world.reset(conn));
            }
            FaultKind::SlowLink => {
                let links = self.links;
                let all: Vec<_> = self.world.connections().map(|(conn, ..)| conn).collect();
                all.into_iter().for_each(|conn| self.world.set_link(conn, links));
            }
            _ => {}
        }
    }

    // ----- what has to hold -----------------------------------------------------------

    fn judge(&mut self) {
        let now = self.world.now();
        match self.disorder() {
            None => self.finished = true,
            Some((promise, text)) if now >= self.end => self.breach(promise, text),
            Some(_) => self.world.wake(self.director, now + 100 * MILLI, token::JUDGE),
        }
        if let Some(waiting) = self.waiting.iter().find(|waiting| waiting.ticket.completions() > 1) {
            let text = format!("{} of program-{} ended twice", waiting.what, waiting.client);
            self.breach("P7", text);
        }
    }

    /// What is not yet as it should be.
    fn disorder(&mut self) -> Option<(&'static str, String)> {
        let now = self.world.now();
        for waiting in &self.waiting {
            if waiting.ticket.completions() == 0 && (waiting.due < now || now >= self.end) {
                return Some(("P7", format!("{} of program-{} never ended", waiting.what, waiting.client)));
            }
        }
        let records: Vec<(u64, u64, u64)> =
            self.engine.sow(RECORDS).iter().filter_map(|r| mirror::read(&r.body)).collect();
        for (number, client) in self.clients.iter_mut().enumerate().filter(|(_, client)| !client.leaving) {
            if !client.machine.is_up() {
                return Some((
                    "P9",
                    format!("program-{number} is {} at the end", client.machine.state_name()),
                ));
            }
            if let Some(text) = client.machine.model().differs(&records) {
                return Some(("P8", format!("program-{number}: {text}")));
            }
        }
        None
    }

    fn breach(&mut self, promise: &'static str, text: String) {
        let at = self.world.now();
        self.note(|| format!("BROKEN {promise}: {text}"));
        self.violation.get_or_insert(Violation { promise, at, text });
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            let at = self.world.now().as_unix_nanos() / 1_000_000 % 1_000_000;
            self.trace.push(format!("{at:>7} ms {}", line()));
        }
    }
}

/// Records of the groups up to this one.
fn below(group: u64) -> String {
    format!("/g <= {group}")
}
