//! What applications and the threads of stores do of their own accord, and how processes begin
//! and end.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_client::simulation::{SimNote, Step, Ticket};
use amps_client::{Command, SyncPolicy};
use amps_testkit::sim::EndpointId;
use amps_transport::Time;

use super::super::model::body_of;
use super::app::Event;
use super::kept::End;
use super::member::Held;
use super::replayed::Safety;
use super::setup::{FORBIDDEN, JOBS, QUEUE, Role, Store, TOPIC};
use super::{Durable, TICK, Undertaker, Waiting};

const MILLI: Duration = Duration::from_millis(1);

/// What a wake-up is for; the rest of the token says of what.
pub(super) mod token {
    pub(crate) const TURN: u64 = 1 << 48;
    pub(crate) const DISCARD: u64 = 2 << 48;
    pub(crate) const SETTLE: u64 = 3 << 48;
    pub(crate) const STEP: u64 = 4 << 48;
    pub(crate) const TICK: u64 = 5 << 48;
    pub(crate) const FAULT: u64 = 6 << 48;
    pub(crate) const HEAL: u64 = 7 << 48;
    pub(crate) const START: u64 = 8 << 48;
    pub(crate) const ROOM: u64 = 9 << 48;
    pub(crate) const KIND: u64 = !0 << 48;
}

impl Durable {
    pub(super) fn woken(&mut self, who: EndpointId, token: u64) {
        let (kind, what) = (token & token::KIND, (token & !token::KIND) as usize);
        if who == self.director {
            return match kind {
                token::FAULT => self.fault(what),
                token::HEAL => self.heal(what),
                token::START => self.start_member(what),
                _ => {
                    self.world.wake(self.director, self.world.now() + TICK, token::TICK);
                    self.referee();
                }
            };
        }
        let Some(number) = self.member_at(who) else { return };
        match kind {
            token::TURN => self.turn(number),
            token::DISCARD => self.discard(number, what),
            token::SETTLE => self.settle(number, what),
            token::ROOM => {
                self.members[number].blocked = false;
                self.tell(number, SimNote::Room);
            }
            _ => self.step(number),
        }
    }

    // ----- processes ------------------------------------------------------------------

    /// A process starts, for the first time or again.
    pub(super) fn start_member(&mut self, number: usize) {
        if self.members[number].machine.is_some() {
            return;
        }
        let id = match self.members[number].life {
            0 => self.members[number].id,
            _ => self.world.add_endpoint(),
        };
        if self.members[number].life > 0 && self.rng.chance(10) && !self.is_calm() {
            // It ends while it begins.
            let after = self.rng.below(6);
            self.members[number].disk.stop_after(after);
        }
        let started = self.members[number].start(id, self.tracing);
        self.note(|| format!("client {number} starts as {id:?}: {started:?}"));
        if let Err(text) = started {
            if self.members[number].disk.has_stopped() {
                let end = if self.rng.chance(40) { End::PowerCut } else { End::Killed };
                return self.end_member(number, end);
            }
            return self
                .breach(("P5", format!("{} cannot start again: {text}", self.members[number].name())));
        }
        let ticket = self.wait(number, "connect", Time::NEVER, None);
        self.tell(number, SimNote::Connect(ticket));
        self.world.wake(id, self.world.now() + MILLI, token::TURN);
    }

    /// A process ends, and begins again a little later.
    pub(super) fn end_member(&mut self, number: usize, end: End) {
        let member = &mut self.members[number];
        let (id, conn) = (member.id, member.line.conn);
        member.end(end);
        if let Some(conn) = conn {
            self.world.tell(id, conn, &mut Undertaker);
        }
        self.waiting.retain(|waiting| waiting.member != number);
        self.note(|| format!("client {number} ends: {end:?}"));
        self.drain_sent(None);
        let at = self.world.now() + self.rng.span(10 * MILLI, 900 * MILLI);
        self.setup.plan.healed_at = self.setup.plan.healed_at.max(at);
        self.world.wake(self.director, at, token::START | number as u64);
    }

    /// Whether everything that is going to fail has.
    pub(super) fn is_calm(&self) -> bool {
        self.world.now() >= self.setup.plan.healed_at
    }

    pub(super) fn wait(&mut self, number: usize, what: &'static str, due: Time, of: Option<u64>) -> Ticket {
        let ticket = Ticket::default();
        self.await_end(number, what, ticket.clone(), due, of);
        ticket
    }

    fn await_end(&mut self, member: usize, what: &'static str, ticket: Ticket, due: Time, of: Option<u64>) {
        let life = self.members[member].life;
        self.waiting.push(Waiting { member, life, what, ticket, due, number: of });
    }

    /// The thread of a store does something.
    fn step(&mut self, number: usize) {
        let now = self.world.now();
        let member = &mut self.members[number];
        if member.machine.is_none() {
            return;
        }
        member.stepping = false;
        let since = *member.unforced_since.get_or_insert(now);
        let interval = match member.policy() {
            Some(SyncPolicy::Interval(interval)) => Some(interval),
            _ => None,
        };
        let force = interval.is_some_and(|interval| now >= since + interval);
        let (mut done, mut failed) = (false, false);
        for steps in &member.steps {
            let step = steps.step(force);
            done |= step == Step::Done;
            failed |= step == Step::Failed;
        }
        if member.disk.has_stopped() {
            return self.look_at_disk(number);
        }
        let forced_first = member.policy() == Some(SyncPolicy::EveryWrite);
        if let Some(machine) = &member.machine {
            member.ledger.note_safe(|number| machine.is_stored(number));
        }
        if !done && !failed {
            let forced = force || forced_first;
            let is_file = |store: Option<Store>| matches!(store, Some(Store::File(_)));
            if forced {
                member.unforced_since = None;
            }
            if forced && is_file(member.plan.publishes) {
                member.ledger.all_forced();
            }
            if is_file(member.plan.bookmarks) {
                let safety = if forced { Safety::Power } else { Safety::Kill };
                member.replays.iter_mut().for_each(|replay| replay.note_safe(safety));
            }
        }
        let waits = interval.filter(|_| !done && !force).map(|interval| since + interval);
        let next = match (done, waits) {
            (true, _) => Some(now + self.rng.span(Duration::from_micros(50), member.plan.disk_pace)),
            (false, Some(at)) => Some(at.max(now + MILLI)),
            (false, None) => failed.then_some(now + 1000 * MILLI),
        };
        if let Some(at) = next {
            member.stepping = true;
            self.world.wake(member.id, at, token::STEP);
        }
        if done {
            self.tell(number, SimNote::Wake);
        }
    }

    // ----- turns ----------------------------------------------------------------------

    fn turn(&mut self, number: usize) {
        if self.members[number].leaving || self.members[number].machine.is_none() || self.closing {
            return;
        }
        match self.members[number].plan.role {
            Role::Impostor => return,
            Role::Publisher => self.publish_some(number),
            Role::Subscriber => self.subscribe_some(number),
            Role::Worker => self.subscribe_queue(number),
        }
        if self.members[number].is_up() && self.rng.chance(4) {
            self.flush(number);
        }
        if self.members[number].machine.is_some() {
            let at = self.world.now() + self.rng.span(10 * MILLI, 90 * MILLI);
            self.world.wake(self.members[number].id, at, token::TURN);
        }
    }

    fn publish_some(&mut self, number: usize) {
        let now = self.world.now();
        let member = &self.members[number];
        let share = (now - self.setup.start).as_millis() as u64 * u64::from(member.plan.messages);
        let within = self.setup.publish_within.as_millis() as u64;
        let target = (share / within + 1).min(member.plan.messages.into()) as u32;
        let mut any = false;
        let life = member.life;
        while self.members[number].next < target && self.members[number].life == life {
            if !self.publish_one(number) {
                break;
            }
            any = true;
        }
        if any {
            self.tell(number, SimNote::Wake);
        }
    }

    fn publish_one(&mut self, number: usize) -> bool {
        let now = self.world.now();
        let to_queue = self.setup.has_queue && self.rng.chance(40);
        let padding = if self.rng.chance(20) { self.rng.below(400) as usize } else { 0 };
        let member = &mut self.members[number];
        let refusable = member.misdirected;
        let topic = match (refusable, to_queue) {
            (true, _) => FORBIDDEN,
            (_, true) => JOBS,
            _ => TOPIC,
        };
        let id = self.last_id + 1;
        let Some(machine) = &mut member.machine else { return false };
        let Ok(kept) = machine.publish(now, topic, &body_of(id, padding)) else { return false };
        self.last_id = id;
        member.next += 1;
        member.misdirected = false;
        self.note(|| format!("client {number} publishes {id} to {topic} as {kept:?}"));
        let Some(kept) = kept else { return true };
        let result = self.members[number].ledger.accepted(kept, id, refusable);
        self.judge(number, result);
        if self.rng.chance(12) {
            let timeout = self.rng.chance(50).then(|| self.rng.span(20 * MILLI, 3000 * MILLI));
            let Some(machine) = &mut self.members[number].machine else { return false };
            let ticket = machine.await_persisted(now, kept, timeout);
            let due = timeout.map_or(Time::NEVER, |timeout| now + timeout);
            self.await_end(number, "wait until persisted", ticket, due, Some(kept));
        }
        true
    }

    fn subscribe_some(&mut self, number: usize) {
        let now = self.world.now();
        for at in 0..self.members[number].replays.len() {
            let member = &mut self.members[number];
            let replay = &mut member.replays[at];
            let Some(machine) = member.machine.as_mut().filter(|machine| machine.is_up()) else { return };
            if replay.sub.is_some() || self.rng.chance(20) {
                continue;
            }
            let mut command = Command::subscribe(TOPIC).sub_id(&replay.id).bookmark(member.plan.from);
            if member.plan.fully_durable {
                command = command.options("fully_durable");
            }
            let Ok((sub, ticket)) = machine.place(now, command, false, None) else { continue };
            (replay.sub, replay.ticket) = (Some(sub), Some(ticket));
            self.note(|| format!("client {number} places replay {at} as {sub:?}"));
            self.tell(number, SimNote::Wake);
        }
    }

    fn subscribe_queue(&mut self, number: usize) {
        let now = self.world.now();
        let member = &mut self.members[number];
        if member.queue.is_some() {
            return;
        }
        let Some(machine) = member.machine.as_mut().filter(|machine| machine.is_up()) else { return };
        let command = Command::subscribe(QUEUE).sub_id("q").max_backlog(member.plan.wants);
        let at_once = machine.model().at_once;
        let Ok((sub, ticket)) = machine.place(now, command, at_once, None) else { return };
        member.queue = Some((sub, Some(ticket)));
        self.note(|| format!("client {number} works as {sub:?}"));
        self.tell(number, SimNote::Wake);
    }

    fn flush(&mut self, number: usize) {
        let now = self.world.now();
        let timeout = self.rng.chance(70).then(|| self.rng.span(10 * MILLI, 2000 * MILLI));
        let Some(machine) = &mut self.members[number].machine else { return };
        let Ok(ticket) = machine.flush(now, timeout) else { return };
        let due = timeout.map_or(Time::NEVER, |timeout| now + timeout);
        self.await_end(number, "flush", ticket, due, None);
        self.tell(number, SimNote::Wake);
    }

    // ----- messages -------------------------------------------------------------------

    /// Something that the application was told.
    pub(super) fn application(&mut self, number: usize, event: &Event) {
        self.note(|| format!("client {number}: {event:?}"));
        let now = self.world.now();
        let member = &mut self.members[number];
        match *event {
            Event::Replayed { sub, bookmark, .. } => {
                self.coverage.deliveries += 1;
                let Some(at) = member.replays.iter().position(|replay| replay.sub == Some(sub)) else {
                    let text = format!("{bookmark} was delivered to {sub:?}, which is over");
                    return self.judge(number, Err(("P4", text)));
                };
                let result = member.replays[at].delivered(bookmark, &self.servers);
                member.open.push((at, bookmark, member.life));
                let token = token::DISCARD | (member.open.len() - 1) as u64;
                let work = member.plan.work;
                let at = now + self.rng.span(Duration::ZERO, work);
                self.world.wake(member.id, at, token);
                self.judge(number, result);
            }
            Event::Leased { lease, mark, id, done, .. } => {
                self.coverage.deliveries += 1;
                let Some(id) = id else { return };
                self.coverage.redeliveries += u64::from(self.processed.contains(&id));
                let conn = member.line.conn;
                if done {
                    self.processed.insert(id);
                    member.is_done_with_job(mark, conn);
                    return;
                }
                member.held.push(Held { lease, mark, id, conn });
                let token = token::SETTLE | (member.held.len() - 1) as u64;
                let work = member.plan.work;
                let at = now + self.rng.span(Duration::ZERO, work);
                self.world.wake(member.id, at, token);
            }
            Event::Ended { sub, .. } => member.over(sub),
            Event::State(_) | Event::Reported(_) => {}
        }
    }

    /// The application is done with a message of a replay.
    fn discard(&mut self, number: usize, what: usize) {
        let member = &mut self.members[number];
        let Some(&(at, bookmark, life)) = member.open.get(what) else { return };
        let (Some(machine), true) = (&member.machine, life == member.life) else { return };
        let Some(sub) = member.replays[at].sub else {
            // Later: the subscription is being placed.
            let again = self.world.now() + 50 * MILLI;
            return self.world.wake(member.id, again, token::DISCARD | what as u64);
        };
        let outcome = machine.discard(sub, bookmark);
        if member.disk.has_stopped() {
            member.replays[at].discard(bookmark, Safety::Process);
            return self.look_at_disk(number);
        }
        if let Err(error) = outcome {
            return self.judge(number, Err(("P6", format!("{bookmark} cannot be discarded: {error}"))));
        }
        let safety = match member.plan.bookmarks {
            Some(Store::File(SyncPolicy::EveryWrite)) => Safety::Power,
            // It is with the system when the call returns, whatever the policy.
            Some(Store::File(_)) => Safety::Kill,
            _ => Safety::Process,
        };
        member.replays[at].discard(bookmark, safety);
        self.look_at_disk(number);
    }

    /// The application is done with a message of the queue.
    fn settle(&mut self, number: usize, what: usize) {
        let now = self.world.now();
        let member = &mut self.members[number];
        let Some(held) = member.held.get(what).copied() else { return };
        let Some(machine) = &mut member.machine else { return };
        self.processed.insert(held.id);
        machine.settle(now, held.lease, QUEUE.as_bytes(), held.mark.bytes(), None);
        if self.rng.chance(3) {
            // A mistake of the application: it must have no effect.
            machine.settle(now, held.lease, QUEUE.as_bytes(), held.mark.bytes(), None);
        }
        member.is_done_with_job(held.mark, held.conn);
        self.note(|| format!("client {number} settles {held:?}"));
        self.tell(number, SimNote::Wake);
    }
}
