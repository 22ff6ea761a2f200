//! What goes wrong: makes the faults of the plan take effect, and ends them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_client::simulation::SimNote;
use amps_testkit::sim::{Chunking, Door, LinkSettings, World};
use amps_testkit::{LinkChange, LinkState, MessageId, SyncMode};
use amps_transport::{ConnId, Time};

use super::super::report::FaultKind;
use super::Durable;
use super::acting::token;
use super::kept::End;
use super::server::Order;
use super::setup::{NAMES, Role, Store};

const MILLI: Duration = Duration::from_millis(1);

/// After so long, the kernel of a host notices that its peer is gone.
const KERNEL_NOTICES: Duration = Duration::from_secs(6);

/// What has to be mended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Harm {
    Server { number: usize, empty: bool },
    Door(usize),
    Link(usize),
    Downgraded(usize, SyncMode),
    Member(usize),
}

impl Durable {
    /// A fault of the plan is due.
    pub(super) fn fault(&mut self, number: usize) {
        let Some(planned) = self.setup.plan.faults.get(number).copied() else { return };
        let (kind, now) = (planned.fault, self.world.now());
        let until = now + planned.lasting;
        let taken = match kind {
            FaultKind::CutFin
            | FaultKind::CutReset
            | FaultKind::HalfOpen
            | FaultKind::Stall
            | FaultKind::SlowLink => self.harm(kind, number, until),
            FaultKind::CutAll => {
                let all: Vec<_> = self.world.connections().collect();
                all.iter().for_each(|(conn, ..)| self.world.reset(*conn));
                !all.is_empty()
            }
            FaultKind::Refused => self.close_door(Door::Refuse, number, until),
            FaultKind::Blackholed => self.close_door(Door::Blackhole, number, until),
            FaultKind::LogonRefused | FaultKind::MuteServer => {
                self.gatekeeper.mute = kind == FaultKind::MuteServer;
                self.gatekeeper.in_use = self.rng.chance(50);
                self.close_door(Door::Redirect(self.gate), number, until)
            }
            FaultKind::NameInUse => self.impostor(number, until),
            FaultKind::ClockJump => {
                let span = self.rng.span(500 * MILLI, 6000 * MILLI);
                self.world.jump(span);
                self.excused_until = self.world.now();
                true
            }
            FaultKind::ServerKilled | FaultKind::ServerLost => {
                self.kill_server(number, kind == FaultKind::ServerLost, until)
            }
            FaultKind::LinkPaused => self.link(number, LinkChange::State(LinkState::Paused), until),
            FaultKind::LinkDown => self.link(number, LinkChange::State(LinkState::Down), until),
            FaultKind::LinkLag => {
                let lag = self.rng.span(MILLI, 400 * MILLI);
                self.link(number, LinkChange::Lag(lag), until)
            }
            FaultKind::Downgraded => self.downgrade(number, until),
            FaultKind::ClientKilled => self.kill_client(number, until),
            FaultKind::PowerCut => self.cut_power(),
            FaultKind::PublishRefused => self.misdirect(),
            FaultKind::LeaseExpiry => false,
        };
        if taken {
            self.has_fired(kind);
        } else {
            let at = now + 50 * MILLI;
            // What cannot happen any more is not waited for.
            if at < self.setup.start + Duration::from_secs(30) {
                self.setup.plan.healed_at = self.setup.plan.healed_at.max(at);
                self.world.wake(self.director, at, token::FAULT | number as u64);
            }
        }
    }

    fn plan_heal(&mut self, number: usize, at: Time) {
        self.setup.plan.healed_at = self.setup.plan.healed_at.max(at);
        self.world.wake(self.director, at, token::HEAL | number as u64);
    }

    fn harm(&mut self, kind: FaultKind, number: usize, until: Time) -> bool {
        let all: Vec<ConnId> = self.world.connections().map(|(conn, ..)| conn).collect();
        let Some(conn) = self.rng.pick(&all).copied() else { return false };
        self.note(|| format!("harm to {conn:?}"));
        match kind {
            FaultKind::CutFin => self.world.cut(conn),
            FaultKind::CutReset => self.world.reset(conn),
            FaultKind::HalfOpen => {
                self.world.half_open(conn);
                self.plan_heal(number, self.world.now() + KERNEL_NOTICES);
            }
            FaultKind::Stall => {
                let longer = until + self.rng.span(Duration::ZERO, 3000 * MILLI);
                self.world.stall(conn, longer);
                self.world.stall(World::peer(conn), longer);
                self.plan_heal(number, longer);
            }
            _ => {
                let slow = LinkSettings {
                    chunking: Chunking::UpTo(self.rng.between(1, 60) as usize),
                    window: self.rng.between(50, 600) as usize,
                    nanos_per_byte: self.rng.between(1_000, 60_000),
                    ..self.setup.links
                };
                self.world.set_link(conn, slow);
                self.plan_heal(number, until);
            }
        }
        true
    }

    /// Nobody gets in at one server for a while, and somebody is thrown out.
    fn close_door(&mut self, door: Door, number: usize, until: Time) -> bool {
        let server = self.rng.below(self.servers.len() as u64) as usize;
        if self.harmed.values().any(|harm| matches!(harm, Harm::Door(other) if *other == server)) {
            return false;
        }
        self.world.set_door(self.servers[server].door, door);
        let id = self.servers[server].id;
        let served: Vec<ConnId> =
            self.world.connections().filter(|(.., with)| *with == id).map(|(conn, ..)| conn).collect();
        for _ in 0..=self.rng.below(2) {
            if let Some(conn) = self.rng.pick(&served).copied() {
                self.world.reset(conn);
            }
        }
        self.harmed.insert(number, Harm::Door(server));
        self.plan_heal(number, until);
        true
    }

    fn kill_server(&mut self, number: usize, empty: bool, until: Time) -> bool {
        let up: Vec<usize> = (0..self.servers.len()).filter(|&at| self.servers[at].is_up).collect();
        let Some(server) = self.rng.pick(&up).copied() else { return false };
        self.servers[server].is_up = false;
        self.order(server, Order::Halt);
        if empty {
            self.note_losses(server);
        }
        self.take_over(server, true);
        self.harmed.insert(number, Harm::Server { number: server, empty });
        self.plan_heal(number, until);
        true
    }

    /// A server is going to begin without its log: what had left the queue only by that log has not
    /// left it.
    fn note_losses(&mut self, server: usize) {
        let elsewhere = |bookmark: &MessageId| {
            let others = self.servers.iter().enumerate().filter(|(other, _)| *other != server);
            others.into_iter().any(|(_, other)| other.book.has_departed(*bookmark))
        };
        let lost = self.servers[server].book.departed().filter(|bookmark| !elsewhere(bookmark));
        self.jobs.lost(lost.collect());
    }

    /// Who survives takes over what the other server leaves behind in the queue, or, when that
    /// one is about to come back, does not any more: two servers that both think that the other one is
    /// dead would both deliver (server.md Q-73).
    fn take_over(&mut self, server: usize, on: bool) {
        if self.setup.takes_over && (self.servers[1 - server].is_up || !on) {
            self.order(1 - server, Order::TakeOver(on));
        }
    }

    fn link(&mut self, number: usize, change: LinkChange, until: Time) -> bool {
        let server = self.rng.below(self.servers.len() as u64) as usize;
        self.order(server, Order::Link(NAMES[1 - server], change));
        self.harmed.insert(number, Harm::Link(server));
        self.plan_heal(number, until);
        true
    }

    fn downgrade(&mut self, number: usize, until: Time) -> bool {
        let server = self.rng.below(self.servers.len() as u64) as usize;
        let links = self.servers[server].machine.0.links();
        let Some(mode) = links.first().map(|link| link.mode) else { return false };
        self.servers[server].waits = false;
        self.order(server, Order::Link(NAMES[1 - server], LinkChange::Mode(SyncMode::Async)));
        self.harmed.insert(number, Harm::Downgraded(server, mode));
        self.plan_heal(number, until);
        true
    }

    fn impostor(&mut self, number: usize, until: Time) -> bool {
        let all: Vec<usize> =
            (0..self.members.len()).filter(|&at| self.members[at].plan.role != Role::Impostor).collect();
        let Some(twin) = self.rng.pick(&all).copied() else { return false };
        let mut plan = self.members[twin].plan.clone();
        (plan.role, plan.publishes, plan.bookmarks) = (Role::Impostor, None, None);
        plan.config.seed = self.rng.next_u64();
        if self.rng.chance(50) {
            plan.config.reconnect = None;
        }
        let impostor = self.add_member(plan);
        self.harmed.insert(number, Harm::Member(impostor));
        self.plan_heal(number, until);
        true
    }

    /// Members whose process may end.
    fn mortals(&self, with_disk: bool) -> Vec<usize> {
        let is_file = |store: Option<Store>| matches!(store, Some(Store::File(_)));
        let mortal = |&at: &usize| {
            let member = &self.members[at];
            let has_disk = is_file(member.plan.publishes) || is_file(member.plan.bookmarks);
            // Numbers that were given out from memory are given out again by the next process.
            let volatile = member.plan.publishes == Some(Store::Memory);
            member.machine.is_some()
                && member.plan.role != Role::Impostor
                && !volatile
                && (has_disk || !with_disk)
        };
        (0..self.members.len()).filter(mortal).collect()
    }

    fn kill_client(&mut self, number: usize, until: Time) -> bool {
        let mortals = self.mortals(false);
        let Some(victim) = self.rng.pick(&mortals).copied() else { return true };
        if self.rng.chance(15) {
            self.end_member(victim, End::Orderly);
        } else if self.members[victim].steps.is_empty() || self.rng.chance(30) {
            self.end_member(victim, End::Killed);
        } else {
            // At one of the next operations of its disk.
            let after = self.rng.below(8);
            self.members[victim].disk.stop_after(after);
            self.harmed.insert(number, Harm::Member(victim));
            self.plan_heal(number, until);
        }
        true
    }

    fn cut_power(&mut self) -> bool {
        let mortals = self.mortals(true);
        let Some(victim) = self.rng.pick(&mortals).copied() else { return true };
        self.end_member(victim, End::PowerCut);
        true
    }

    fn misdirect(&mut self) -> bool {
        let publishes = |&at: &usize| {
            let member = &self.members[at];
            member.plan.role == Role::Publisher
                && member.plan.publishes.is_some()
                && member.next < member.plan.messages
        };
        let all: Vec<usize> = (0..self.members.len()).filter(publishes).collect();
        if let Some(publisher) = self.rng.pick(&all).copied() {
            self.members[publisher].misdirected = true;
        }
        true
    }

    /// A fault is over.
    pub(super) fn heal(&mut self, number: usize) {
        let Some(planned) = self.setup.plan.faults.get(number).copied() else { return };
        self.note(|| format!("HEALED {:?}", planned.fault));
        match planned.fault {
            FaultKind::HalfOpen => self.world.expire_half_open(),
            FaultKind::SlowLink => {
                let all: Vec<ConnId> = self.world.connections().map(|(conn, ..)| conn).collect();
                all.into_iter().for_each(|conn| self.world.set_link(conn, self.setup.links));
            }
            _ => {}
        }
        match self.harmed.remove(&number) {
            Some(Harm::Server { number, empty }) => {
                self.servers[number].is_up = true;
                self.take_over(number, false);
                self.order(number, Order::Restart { empty });
            }
            Some(Harm::Door(server)) => self.world.set_door(self.servers[server].door, Door::Open),
            Some(Harm::Link(server)) => {
                let to = NAMES[1 - server];
                self.order(server, Order::Link(to, LinkChange::State(LinkState::Up)));
                self.order(server, Order::Link(to, LinkChange::Lag(Duration::ZERO)));
            }
            Some(Harm::Downgraded(server, mode)) => {
                self.order(server, Order::Link(NAMES[1 - server], LinkChange::Mode(mode)));
            }
            Some(Harm::Member(member)) if planned.fault == FaultKind::NameInUse => {
                self.members[member].leaving = true;
                let due = self.world.now();
                let ticket = self.wait(member, "abort", due, None);
                self.tell(member, SimNote::Abort(ticket));
            }
            // It found nothing to do on its disk: it ends at rest.
            Some(Harm::Member(member)) if self.members[member].machine.is_some() => {
                self.end_member(member, End::Killed);
            }
            _ => {}
        }
    }
}
