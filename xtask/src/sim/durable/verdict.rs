//! What has to hold at any time, and in the end: P7 (waiting ends), P9 (liveness), P10 (nothing is
//! left over), and that what was accepted is where it was reported to be (P5).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_client::simulation::{SimClient, SimNote};
use amps_testkit::{MessageId, QueuedMessage};
use amps_transport::Time;

use super::Durable;
use super::member::Member;
use super::setup::{NAMES, PORT, QUEUE, Role};

/// Virtual time that timers may be late.
const SLACK: Duration = Duration::from_millis(3);

/// How long the orderly end of everybody may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(8);

impl Durable {
    /// Looks at the clock.
    pub(super) fn referee(&mut self) {
        self.check_waiting();
        if !self.is_calm() {
            return;
        }
        let overdue = self.world.now() > self.setup.plan.healed_at + self.setup.patience;
        if self.closing {
            if self.everybody_left() {
                self.last_look();
            } else if overdue {
                self.breach(("P9", "not everybody could leave".into()));
            }
            return;
        }
        (0..self.servers.len()).for_each(|at| self.sweep(at));
        match self.unfinished() {
            // A clock that jumped may leave faults that end only now.
            None if self.harmed.is_empty() => self.close_down(),
            None => {}
            Some((promise, text)) if overdue => {
                self.breach((promise, format!("{:?} after the last fault: {text}", self.setup.patience)));
            }
            Some(_) => {}
        }
    }

    /// P7: whoever waits is told, once, in time, and the truth.
    fn check_waiting(&mut self) {
        let (now, excused) = (self.world.now(), self.excused_until);
        let mut breach = None;
        let members = &self.members;
        self.waiting.retain(|waiting| {
            let ends = waiting.ticket.completions();
            let member = &members[waiting.member];
            if waiting.life != member.life {
                return false;
            }
            if ends > 1 {
                breach = Some((waiting.member, waiting.what, format!("ended {ends} times")));
            }
            if let (1, Some(outcome)) = (ends, waiting.ticket.outcome()) {
                if let Some(number) = waiting.number {
                    let reported = member.ledger.numbers.get(&number).is_some_and(|kept| kept.reported);
                    match outcome {
                        Ok(()) if !reported => {
                            breach = Some((waiting.member, waiting.what, format!("of {number} is not true")));
                        }
                        Err(error) if waiting.due == Time::NEVER && !member.leaving => {
                            let text = format!("of {number} ended by an error: {error}");
                            breach = Some((waiting.member, waiting.what, text));
                        }
                        _ => {}
                    }
                }
            }
            if ends > 0 {
                // Kept until a little later, to see whether it ends again.
                return waiting.due == Time::NEVER || now < waiting.due + Duration::from_secs(1);
            }
            if now > waiting.due.max(excused) + SLACK {
                let late = now - waiting.due;
                breach = Some((waiting.member, waiting.what, format!("is {late:?} late")));
            }
            true
        });
        if let Some((member, what, how)) = breach {
            let name = self.members[member].name().to_owned();
            self.breach(("P7", format!("{what} of {name} {how}")));
        }
    }

    /// What is not as it should be after the last fault; `None` if everything is.
    fn unfinished(&self) -> Option<(&'static str, String)> {
        if let Some(text) = self.members.iter().filter(|member| !member.leaving).find_map(Self::idle) {
            return Some(("P9", text));
        }
        for member in &self.members {
            if let Some(number) = member.ledger.open().filter(|_| member.plan.role != Role::Impostor) {
                return Some(("P5", format!("number {number} of {} was never reported", member.name())));
            }
            let status = member.machine.as_ref().and_then(SimClient::store_status);
            if let Some(status) = status.filter(|status| status.unpersisted > 0) {
                return Some(("P10", format!("the publish store of {} keeps {status:?}", member.name())));
            }
            let Some((server, _)) = member.line.server else { continue };
            let log = self.servers[server].book.log.iter().filter(|message| message.replayed);
            for replay in &member.replays {
                let missing = log.clone().find(|message| {
                    !replay.is_done_with(message.bookmark) && !replay.excused.contains(&message.bookmark)
                });
                if let Some(message) = missing {
                    let (name, sub, bookmark) = (member.name(), &replay.id, message.bookmark);
                    return Some(("P6", format!("{sub} of {name} never got {bookmark}")));
                }
            }
        }
        let waiting = self.waiting.iter().find(|waiting| waiting.ticket.completions() == 0);
        if let Some(waiting) = waiting {
            let name = self.members[waiting.member].name();
            return Some(("P7", format!("{} of {name} never ended", waiting.what)));
        }
        self.queue_left()
    }

    /// A publisher that changes servers leaves behind what one server alone has told it to have, and the second
    /// one never gets (HA-04, HA-06): nobody waited for the link, or it was said at a logon, which counts as
    /// persisted (client.md PS-7) and does not wait; or its process has lost it. It is in the queue of the first
    /// one only, and workers of the second one cannot ask for it: an operator who sees that brings a worker.
    fn sweep(&mut self, at: usize) {
        if self.swept[at] || !self.setup.shares_queue() {
            return;
        }
        let (here, there) = (&self.servers[at], &self.servers[1 - at]);
        let Some(queue) = here.machine.0.queue(QUEUE) else { return };
        let is_stranded = |message: &&QueuedMessage| {
            let excused = |id: MessageId| {
                let mut publishers = self.members.iter().filter(|member| member.publisher == id.publisher);
                publishers.any(|member| member.ledger.is_with_one(id.sequence))
            };
            MessageId::parse(message.bookmark.as_bytes())
                .is_ok_and(|id| there.book.passed_by(id) && excused(id))
        };
        let stranded = queue.available.iter().filter(is_stranded).count() as u64;
        let worker = self.members.iter().find(|member| member.plan.role == Role::Worker);
        let (Some(worker), true) = (worker, stranded > 0) else { return };
        let mut plan = worker.plan.clone();
        plan.config.name = format!("sweeper-{}", NAMES[at]);
        plan.config.servers = vec![format!("tcp://{}:{PORT}/amps/json", NAMES[at])];
        plan.publishes = None;
        (self.swept[at], self.coverage.stranded) = (true, self.coverage.stranded + stranded);
        self.add_member(plan);
    }

    /// What is left of the queue, on either server.
    fn queue_left(&self) -> Option<(&'static str, String)> {
        for server in self.servers.iter().filter(|_| self.setup.has_queue) {
            let queue = server.machine.0.queue(QUEUE)?;
            let kept = [
                ("waits", &queue.available),
                ("is leased", &queue.leased),
                ("is elsewhere", &queue.elsewhere),
            ];
            if let Some((how, message)) = kept.iter().find_map(|(how, all)| Some((how, all.first()?))) {
                let text = format!("{} {how} for the queue of {}", message.bookmark, server.name);
                return Some(("P9", text));
            }
            let mut jobs = server.book.log.iter().filter(|message| !message.replayed);
            if let Some(job) = jobs.find(|job| !self.processed.contains(&job.id)) {
                return Some(("P2", format!("message {} of the queue was never processed", job.id)));
            }
        }
        None
    }

    /// What a client has not done yet.
    fn idle(member: &Member) -> Option<String> {
        let name = member.name();
        if !member.is_up() {
            let state = member.machine.as_ref().map_or("dead", |machine| machine.state_name());
            return Some(format!("{name} is not online but {state}"));
        }
        if member.next < member.plan.messages {
            return Some(format!("{name} has published {} of {}", member.next, member.plan.messages));
        }
        if let Some(id) = member.unplaced() {
            return Some(format!("{id} of {name} was not placed again"));
        }
        if let Some(replay) = member.replays.iter().find(|replay| replay.sub.is_none()) {
            return Some(format!("{name} has not placed {}", replay.id));
        }
        None
    }

    fn close_down(&mut self) {
        self.closing = true;
        self.note(|| "everything is done: everybody leaves".into());
        for number in 0..self.members.len() {
            // Nobody ends any more.
            self.members[number].disk.stop_after(1 << 40);
            if !self.members[number].leaving {
                self.members[number].leaving = true;
                let due = self.world.now() + CLOSE_WITHIN;
                let ticket = self.wait(number, "close", due, None);
                self.tell(number, SimNote::Close { within: CLOSE_WITHIN, ticket });
            }
        }
    }

    fn everybody_left(&self) -> bool {
        let is_idle =
            |member: &Member| member.machine.as_ref().is_none_or(|machine| machine.state_name() == "idle");
        // What a process was about to connect when it died hangs about, and never logs on.
        let is_left = |server: &super::Server| {
            server.machine.0.connections().iter().all(|connection| connection.client_name.is_none())
        };
        self.members.iter().all(is_idle)
            && self.waiting.iter().all(|waiting| waiting.ticket.completions() > 0)
            && self.servers.iter().all(is_left)
    }

    fn last_look(&mut self) {
        self.finished = true;
        for server in &self.servers {
            if let Some(first) = server.machine.0.contradictions().first() {
                let text = first.clone();
                return self.breach(("engine", text));
            }
        }
        for member in &self.members {
            for (number, kept) in &member.ledger.numbers {
                let Some(id) = kept.id.filter(|_| !kept.doubtful) else { continue };
                let logged = self.servers.iter().any(|server| server.book.has_id(id));
                if kept.refusable {
                    if logged {
                        let text = format!("message {id}, which had to be refused, is in a log");
                        return self.breach(("engine", text));
                    }
                    continue;
                }
                if logged {
                    continue;
                }
                // Nothing excuses it but that every log is lost that had it by what the client was told.
                let is_lost = |(server, life): &(usize, usize)| self.servers[*server].book.life() > *life;
                if !kept.by.is_empty() && kept.by.iter().all(is_lost) {
                    self.coverage.lost += 1;
                } else {
                    let text = format!("{} published {id} as {number}, and no log has it", member.name());
                    return self.breach(("P5", text));
                }
            }
        }
    }
}
