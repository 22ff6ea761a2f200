//! What goes wrong: makes the faults of the plan take effect, and ends them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_client::simulation::{SimNote, Ticket};
use amps_testkit::sim::{Chunking, Door, LinkSettings};
use amps_transport::{ConnId, Time};

use super::model::Style;
use super::report::FaultKind;
use super::scenario::{Role, Scenario, Waiting};

const MILLI: Duration = Duration::from_millis(1);

/// After so long, the kernel of a host notices that its peer is gone.
const KERNEL_NOTICES: Duration = Duration::from_secs(6);

impl Scenario {
    /// A fault of the plan is due.
    pub(super) fn fault(&mut self, number: usize) {
        let Some(planned) = self.setup.plan.faults.get(number).copied() else { return };
        let (kind, now) = (planned.fault, self.world.now());
        let until = now + planned.lasting;
        match kind {
            FaultKind::CutFin
            | FaultKind::CutReset
            | FaultKind::HalfOpen
            | FaultKind::Stall
            | FaultKind::SlowLink => {
                let Some(conn) = self.victim() else { return self.plan_retry(number) };
                self.harm(kind, conn, number, until);
            }
            FaultKind::CutAll => {
                let all = self.served();
                if all.is_empty() {
                    return self.plan_retry(number);
                }
                all.into_iter().for_each(|conn| self.world.reset(conn));
            }
            FaultKind::Refused => self.close_door(Door::Refuse, number, until),
            FaultKind::Blackholed => self.close_door(Door::Blackhole, number, until),
            FaultKind::LogonRefused | FaultKind::MuteServer => {
                self.gatekeeper.mute = kind == FaultKind::MuteServer;
                self.close_door(Door::Redirect(self.gate), number, until);
            }
            FaultKind::LeaseExpiry => {
                let Some(lazy) = self.somebody() else { return self.plan_retry(number) };
                let client = &mut self.clients[lazy];
                if matches!(client.plan.style, Style::Handler { .. }) {
                    // A handler cannot sit on its messages: this one becomes another kind of
                    // application, which still subscribes with auto-ack.
                    client.plan.style = Style::Threads;
                    client.machine.model().style = Style::Threads;
                }
                let until = now + self.setup.lease + 300 * MILLI;
                self.clients[lazy].lazy_until = until;
                self.plan_heal(number, until);
            }
            FaultKind::NameInUse => {
                let Some(twin) = self.somebody() else { return self.plan_retry(number) };
                let twin = if self.rng.chance(30) { 0 } else { twin };
                let name = self.clients[twin].plan.config.name.clone();
                let persistent = self.rng.chance(50);
                if let Err(text) = self.add_client(Role::Impostor, name, persistent) {
                    return self.breach(("scenario", text));
                }
                self.plan_heal(number, until);
            }
            FaultKind::ClockJump => {
                let span = self.rng.span(500 * MILLI, 8000 * MILLI);
                self.world.jump(span);
                self.excused = self.world.now();
            }
            _ => {}
        }
        self.has_fired(kind);
    }

    fn harm(&mut self, kind: FaultKind, conn: ConnId, number: usize, until: Time) {
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
                self.world.stall(amps_testkit::sim::World::peer(conn), longer);
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
    }

    /// Nobody gets in for a while, and somebody is thrown out.
    fn close_door(&mut self, door: Door, number: usize, until: Time) {
        self.world.set_door(self.door, door);
        for _ in 0..=self.rng.below(2) {
            if let Some(conn) = self.victim() {
                self.world.reset(conn);
            }
        }
        self.plan_heal(number, until);
    }

    /// A fault is over.
    pub(super) fn heal(&mut self, number: usize) {
        let Some(planned) = self.setup.plan.faults.get(number).copied() else { return };
        self.note(|| format!("HEALED {:?}", planned.fault));
        match planned.fault {
            FaultKind::HalfOpen => self.world.expire_half_open(),
            FaultKind::SlowLink => {
                for conn in self.served() {
                    self.world.set_link(conn, self.setup.links);
                }
            }
            FaultKind::Refused | FaultKind::Blackholed | FaultKind::LogonRefused | FaultKind::MuteServer => {
                self.world.set_door(self.door, Door::Open);
            }
            FaultKind::NameInUse => {
                for twin in 0..self.clients.len() {
                    if self.clients[twin].role == Role::Impostor && !self.clients[twin].leaving {
                        self.clients[twin].leaving = true;
                        let ticket = Ticket::default();
                        let due = self.world.now();
                        let waiting = Waiting { client: twin, what: "abort", ticket: ticket.clone(), due };
                        self.waiting.push(waiting);
                        self.tell(twin, SimNote::Abort(ticket));
                    }
                }
            }
            _ => {}
        }
    }

    /// The connections of clients with the server.
    fn served(&self) -> Vec<ConnId> {
        let server = self.server;
        self.world.connections().filter(|(.., with)| *with == server).map(|(conn, ..)| conn).collect()
    }

    fn victim(&mut self) -> Option<ConnId> {
        let all = self.served();
        self.rng.pick(&all).copied()
    }

    /// A worker that is at work.
    fn somebody(&mut self) -> Option<usize> {
        let all: Vec<usize> = (0..self.clients.len()).filter(|&number| self.is_working(number)).collect();
        self.rng.pick(&all).copied()
    }
}
