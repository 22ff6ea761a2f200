//! What has to hold at any time, and in the end: P2's clock, P7 (waiting ends) and P9
//! (liveness).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_transport::Time;

use super::scenario::{Role, Scenario};
use super::setup::QUEUE;

/// Virtual time that timers may be late.
const SLACK: Duration = Duration::from_millis(3);

/// How long the orderly end of everybody may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(8);

/// Each run moves so many messages through so many faults, or proves nothing.
const LEAST_MESSAGES: u64 = 200;
const LEAST_FAULTS: u64 = 3;

impl Scenario {
    /// Looks at the clock.
    pub(super) fn referee(&mut self) {
        self.check_waiting();
        let now = self.world.now();
        for number in 0..self.clients.len() {
            if let Err((promise, text)) = self.clients[number].watch.punctual(now, self.excused) {
                let name = &self.clients[number].plan.config.name;
                return self.breach((promise, format!("{name}: {text}")));
            }
        }
        if now < self.setup.plan.healed_at {
            return;
        }
        let overdue = now > self.setup.plan.healed_at + self.setup.patience;
        if self.closing {
            if self.everybody_left() {
                self.last_look();
            } else if overdue {
                self.breach(("P9", "not everybody could leave".into()));
            }
            return;
        }
        match self.unfinished() {
            None => self.close_down(),
            Some(text) if overdue => {
                self.breach(("P9", format!("{:?} after the last fault: {text}", self.setup.patience)));
            }
            Some(_) => {}
        }
    }

    /// P7: whoever waits is told, once, and in time.
    fn check_waiting(&mut self) {
        let now = self.world.now();
        let mut breach = None;
        let excused = self.excused;
        self.waiting.retain(|waiting| {
            let ends = waiting.ticket.completions();
            if ends > 1 {
                breach = Some((waiting.client, waiting.what, format!("ended {ends} times")));
            }
            if ends > 0 {
                // Kept until a little later, to see whether it ends again.
                return waiting.due == Time::NEVER || now < waiting.due + Duration::from_secs(1);
            }
            if now > waiting.due.max(excused) + SLACK {
                let late = now - waiting.due;
                breach = Some((waiting.client, waiting.what, format!("is {late:?} late")));
            }
            true
        });
        if let Some((client, what, how)) = breach {
            let name = &self.clients[client].plan.config.name;
            self.breach(("P7", format!("{what} of {name} {how}")));
        }
    }

    /// What is not as it should be after the last fault; `None` if everything is.
    fn unfinished(&self) -> Option<String> {
        let messages = self.setup.messages as usize;
        if self.published.len() < messages {
            return Some(format!("only {} of {messages} messages are published", self.published.len()));
        }
        if let Some(id) = self.reached.iter().position(|reached| !reached) {
            return Some(format!("message {id} has not reached the server"));
        }
        let away = |client: &&super::scenario::Client| {
            client.role != Role::Impostor && !client.leaving && !client.machine.is_up()
        };
        if let Some(client) = self.clients.iter().find(away) {
            let (name, state) = (&client.plan.config.name, client.machine.state_name());
            return Some(format!("{name} is not online but {state}"));
        }
        let open: Vec<usize> = (0..messages).filter(|&id| !self.processed[id] && !self.expired[id]).collect();
        let counters = self.engine.queue(QUEUE)?;
        let expired: u64 = counters.counters.expired.values().sum();
        let excused = if self.setup.may_expire { expired as usize } else { 0 };
        if open.len() > excused {
            return Some(format!("{} messages are not processed, the first is {}", open.len(), open[0]));
        }
        let (available, leased) = (counters.available.len(), counters.leased.len());
        if available + leased > 0 {
            return Some(format!("the queue holds {available} messages and {leased} leases"));
        }
        None
    }

    fn close_down(&mut self) {
        self.closing = true;
        self.note(|| "everything is done: everybody leaves".into());
        for number in 0..self.clients.len() {
            if !self.clients[number].leaving {
                self.leave(number, CLOSE_WITHIN);
            }
        }
    }

    fn everybody_left(&self) -> bool {
        self.clients.iter().all(|client| client.machine.state_name() == "idle")
            && self.waiting.iter().all(|waiting| waiting.ticket.completions() > 0)
            && self.engine.connections().is_empty()
    }

    fn last_look(&mut self) {
        self.finished = true;
        let contradictions = self.engine.contradictions();
        if let Some(first) = contradictions.first() {
            return self.breach(("engine", first.clone()));
        }
        if self.engine.queue(QUEUE).is_some_and(|queue| queue.available.len() + queue.leased.len() > 0) {
            return self.breach(("P9", "messages came back when everybody had left".into()));
        }
        if self.coverage.messages < LEAST_MESSAGES || self.fired < LEAST_FAULTS {
            let (messages, faults) = (self.coverage.messages, self.fired);
            self.breach(("scenario", format!("only {messages} messages moved through {faults} faults")));
        }
    }
}
