//! What the applications do of their own accord: publish, read, settle, subscribe, leave.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::time::Duration;

use amps_client::AckOption;
use amps_client::simulation::{SimClient, SimNote, Ticket};
use amps_testkit::sim::{EndpointId, World};
use amps_transport::Time;

use super::model::{Style, Worker, body_of};
use super::scenario::{Client, Role, Scenario, Waiting, tick};
use super::setup::{ClientPlan, QUEUE, SIDE};
use super::watch::Watch;

const MILLI: Duration = Duration::from_millis(1);

/// The messages are published within this time, if nothing stands in the way.
const PUBLISH_WITHIN: Duration = Duration::from_millis(5300);

/// What a wake-up is for; the rest of the token says of what.
mod token {
    pub(super) const TURN: u64 = 1 << 48;
    pub(super) const READ: u64 = 2 << 48;
    pub(super) const SETTLE: u64 = 3 << 48;
    pub(super) const NUDGE: u64 = 4 << 48;
    pub(super) const TICK: u64 = 5 << 48;
    pub(super) const FAULT: u64 = 6 << 48;
    pub(super) const HEAL: u64 = 7 << 48;
    pub(super) const KIND: u64 = !0 << 48;
}

impl Scenario {
    /// Starts everybody.
    ///
    /// # Errors
    /// A client cannot be built.
    pub(super) fn begin(&mut self) -> Result<(), String> {
        self.add_client(Role::Publisher, "publisher".into(), true)?;
        for number in 0..self.setup.workers {
            self.add_client(Role::Worker, format!("worker-{number}"), true)?;
        }
        let start = self.world.now();
        self.world.wake(self.director, start + tick(), token::TICK);
        for number in 0..self.setup.plan.faults.len() {
            let at = self.setup.plan.faults[number].at;
            self.world.wake(self.director, at, token::FAULT | number as u64);
        }
        Ok(())
    }

    /// # Errors
    /// The client cannot be built.
    pub(super) fn add_client(&mut self, role: Role, name: String, recovers: bool) -> Result<usize, String> {
        let mut plan = ClientPlan::draw(&mut self.rng, name, self.bugs);
        if !recovers {
            plan.config.reconnect = None;
        }
        let model = Worker::new(plan.style, self.rng.fork(), self.is_tracing());
        let machine = SimClient::new(plan.config.clone(), model).map_err(|error| error.to_string())?;
        let heartbeat = plan.config.heartbeat.map(|interval| interval.as_secs());
        let id = self.world.add_endpoint();
        self.note(|| format!("client {} is {id:?}: {plan:?}", plan.config.name));
        let watch = Watch::new(heartbeat, plan.config.ack_timeout);
        let now = self.world.now();
        self.clients.push(Client {
            id,
            role,
            plan,
            machine,
            watch,
            sub: None,
            side: None,
            rest_until: now,
            unread: VecDeque::new(),
            reading: false,
            lazy_until: now,
            leaving: false,
        });
        let number = self.clients.len() - 1;
        let ticket = Ticket::default();
        self.waiting.push(Waiting {
            client: number,
            what: "connect",
            ticket: ticket.clone(),
            due: Time::NEVER,
        });
        self.tell(number, SimNote::Connect(ticket));
        self.world.wake(id, now + MILLI, token::TURN);
        Ok(number)
    }

    pub(super) fn woken(&mut self, who: EndpointId, token: u64) {
        let (kind, what) = (token & token::KIND, (token & !token::KIND) as usize);
        if who == self.director {
            return match kind {
                token::FAULT => self.fault(what),
                token::HEAL => self.heal(what),
                _ => {
                    self.world.wake(self.director, self.world.now() + tick(), token::TICK);
                    self.referee();
                }
            };
        }
        let Some(number) = self.clients.iter().position(|client| client.id == who) else { return };
        match kind {
            token::TURN => self.turn(number),
            token::READ => self.read(number),
            token::SETTLE => self.settle_some_way(what),
            _ => self.tell(number, SimNote::Wake),
        }
    }

    /// Plans the end of a fault, or its next try.
    pub(super) fn plan_heal(&mut self, number: usize, at: Time) {
        self.setup.plan.healed_at = self.setup.plan.healed_at.max(at);
        self.world.wake(self.director, at, token::HEAL | number as u64);
    }

    pub(super) fn plan_retry(&mut self, number: usize) {
        let at = self.world.now() + 50 * MILLI;
        self.setup.plan.healed_at = self.setup.plan.healed_at.max(at);
        self.world.wake(self.director, at, token::FAULT | number as u64);
    }

    // ----- turns ------------------------------------------------------------------------

    fn turn(&mut self, number: usize) {
        if self.clients[number].leaving || self.closing {
            return;
        }
        let wait = match self.clients[number].role {
            Role::Impostor => return,
            Role::Publisher => {
                self.publish_some(number);
                self.setup.pace
            }
            Role::Worker => {
                self.work_some(number);
                self.rng.span(10 * MILLI, 60 * MILLI)
            }
        };
        let id = self.clients[number].id;
        if self.clients[number].machine.is_up() && self.rng.chance(3) {
            self.flush(number);
        }
        self.world.wake(id, self.world.now() + wait, token::TURN);
    }

    fn publish_some(&mut self, number: usize) {
        let now = self.world.now();
        let Some(conn) = self.clients[number].watch.conn().filter(|_| self.clients[number].machine.is_up())
        else {
            return;
        };
        let share = (now - self.setup.start).as_millis() as u64 * u64::from(self.setup.messages);
        let target = (share / PUBLISH_WITHIN.as_millis() as u64 + 1).min(self.setup.messages.into()) as usize;
        let lost: Vec<usize> = (0..self.published.len())
            .filter(|&id| !self.reached[id] && self.published[id] != conn)
            .filter(|&id| !self.world.is_open(World::peer(self.published[id])))
            .collect();
        let fresh = self.published.len()..target.max(self.published.len()).min(self.published.len() + 40);
        let mut any = false;
        for id in lost.into_iter().chain(fresh) {
            let padding =
                if self.setup.padding == 0 { 0 } else { self.rng.below(self.setup.padding) as usize };
            let body = body_of(id as u32, padding);
            let client = &mut self.clients[number];
            if client.machine.publish(now, self.setup.topic, &body).is_err() {
                break;
            }
            any = true;
            match self.published.get_mut(id) {
                Some(slot) => *slot = conn,
                None => self.published.push(conn),
            }
        }
        if any {
            self.tell(number, SimNote::Wake);
        }
    }

    fn work_some(&mut self, number: usize) {
        let now = self.world.now();
        let busy_time = now < self.setup.plan.healed_at;
        let client = &self.clients[number];
        if client.side.is_none() && client.machine.is_up() && self.rng.chance(2) {
            self.subscribe_aside(number);
        }
        let client = &self.clients[number];
        match client.sub {
            None if now >= client.rest_until && client.machine.is_up() => self.subscribe(number),
            Some(sub) if busy_time && self.rng.chance(1) => {
                let rest = self.rng.span(Duration::ZERO, 300 * MILLI);
                self.note(|| format!("client {number} unsubscribes {sub:?}"));
                let client = &mut self.clients[number];
                client.rest_until = now + rest;
                client.sub = None;
                client.machine.unsubscribe(now, sub);
                self.tell(number, SimNote::Wake);
                self.clients[number].watch.over(sub);
            }
            Some(_) if busy_time && self.rng.below(300) == 0 => {
                let within = self.rng.span(200 * MILLI, 4000 * MILLI);
                self.leave(number, within);
                let name = format!("worker-{}", self.clients.len());
                if let Err(text) = self.add_client(Role::Worker, name, true) {
                    self.breach(("scenario", text));
                }
            }
            _ => {}
        }
    }

    fn subscribe(&mut self, number: usize) {
        let now = self.world.now();
        let timeout = self.rng.chance(80).then(|| self.rng.span(500 * MILLI, 3000 * MILLI));
        let client = &mut self.clients[number];
        let auto_ack = matches!(client.plan.style, Style::Handler { .. });
        let subscribed = client.machine.subscribe(now, QUEUE, client.plan.backlog, auto_ack, timeout);
        let Ok((sub, ticket)) = subscribed else { return };
        client.sub = Some(sub);
        client.watch.subscribed(sub, client.plan.config.ack_batch_size, (QUEUE, client.plan.backlog));
        let due = timeout.map_or(Time::NEVER, |timeout| now + timeout);
        self.waiting.push(Waiting { client: number, what: "subscribe", ticket, due });
        self.note(|| format!("client {number} subscribes: {sub:?}"));
        self.tell(number, SimNote::Wake);
    }

    /// Places the subscription on which nothing ever comes.
    fn subscribe_aside(&mut self, number: usize) {
        let now = self.world.now();
        let client = &mut self.clients[number];
        let Ok((sub, ticket)) = client.machine.subscribe(now, SIDE, 1, false, None) else { return };
        client.side = Some(sub);
        client.watch.subscribed(sub, client.plan.config.ack_batch_size, (SIDE, 1));
        self.waiting.push(Waiting { client: number, what: "subscribe", ticket, due: Time::NEVER });
        self.note(|| format!("client {number} subscribes aside: {sub:?}"));
        self.tell(number, SimNote::Wake);
    }

    fn flush(&mut self, number: usize) {
        let now = self.world.now();
        let timeout = self.rng.chance(70).then(|| self.rng.span(10 * MILLI, 2000 * MILLI));
        let Ok(ticket) = self.clients[number].machine.flush(now, timeout) else { return };
        let due = timeout.map_or(Time::NEVER, |timeout| now + timeout);
        self.waiting.push(Waiting { client: number, what: "flush", ticket, due });
        self.tell(number, SimNote::Wake);
    }

    /// Closes a client in an orderly way.
    pub(super) fn leave(&mut self, number: usize, within: Duration) {
        self.note(|| format!("client {number} closes within {within:?}"));
        self.clients[number].leaving = true;
        let ticket = Ticket::default();
        let due = self.world.now() + within;
        self.waiting.push(Waiting { client: number, what: "close", ticket: ticket.clone(), due });
        self.tell(number, SimNote::Close { within, ticket });
    }

    // ----- messages ---------------------------------------------------------------------

    /// A message was kept by the application, to be dealt with later.
    pub(super) fn kept(&mut self, number: usize, held: usize) {
        let now = self.world.now();
        let client = &mut self.clients[number];
        let begin = now.max(client.lazy_until);
        let work = client.plan.work;
        match client.plan.style {
            Style::Stream => {
                client.unread.push_back(held);
                if !std::mem::replace(&mut client.reading, true) {
                    self.world.wake(client.id, begin + work, token::READ);
                }
            }
            _ => {
                let at = begin + self.rng.span(Duration::ZERO, (10 * work).min(600 * MILLI));
                self.world.wake(client.id, at, token::SETTLE | held as u64);
            }
        }
    }

    fn read(&mut self, number: usize) {
        let now = self.world.now();
        let client = &mut self.clients[number];
        let Some(held) = client.unread.pop_front() else {
            client.reading = false;
            return;
        };
        let next = now.max(client.lazy_until) + client.plan.work;
        self.world.wake(client.id, next, token::READ);
        self.settle(held, None);
    }

    fn settle_some_way(&mut self, held: usize) {
        let option = match self.rng.below(100) {
            0..4 => Some(AckOption::Cancel),
            4 => Some(AckOption::Expire),
            _ => None,
        };
        self.settle(held, option.as_ref());
        if self.rng.chance(3) {
            // A mistake of the application: it must have no effect.
            self.settle(held, None);
        }
    }

    fn settle(&mut self, index: usize, option: Option<&AckOption>) {
        let Some(held) = self.held.get_mut(index) else { return };
        let first = !std::mem::replace(&mut held.settled, true);
        let held = *held;
        let id = held.id as usize;
        let client = &mut self.clients[held.client];
        let now = self.world.now();
        let counts = first
            && held.conn.is_some()
            && held.conn == client.watch.conn()
            && client.watch.is_live(held.sub)
            && held.lease.is_some();
        if first {
            match option {
                None => self.processed[id] = true,
                Some(AckOption::Expire) => self.expired[id] = true,
                Some(_) => {}
            }
        }
        match option {
            None if counts => client.watch.ack_asked(now, held.sub, held.mark),
            Some(_) if counts => client.watch.return_asked(held.mark),
            _ => {}
        }
        let Some(lease) = held.lease else { return };
        client.machine.settle(now, lease, QUEUE.as_bytes(), held.mark.bytes(), option);
        let (id, number) = (client.id, held.client);
        self.note(|| format!("client {number} settles {:?} {option:?}, counts: {counts}", held.mark));
        if self.rng.chance(70) {
            self.tell(number, SimNote::Wake);
        } else {
            // The thread has done its part; the loop hears of it a little later.
            let at = now + self.rng.span(Duration::ZERO, MILLI);
            self.world.wake(id, at, token::NUDGE);
        }
    }
}
