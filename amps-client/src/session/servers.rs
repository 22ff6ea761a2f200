//! Which server to try next, and when.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::Endpoint;
use amps_transport::Time;

use crate::reconnect::{Reconnect, Rng};

/// An ordered list: stays with the current entry while it works, moves on when it fails.
#[derive(Debug)]
pub(crate) struct Servers {
    list: Vec<Endpoint>,
    current: usize,
    /// Attempts per server since the last stable logon.
    tried: Vec<u32>,
    outage_began: Option<Time>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextAttempt {
    After(Duration),
    GiveUp,
}

impl Servers {
    pub(crate) fn new(list: Vec<Endpoint>) -> Self {
        let tried = vec![0; list.len()];
        Self { list, current: 0, tried, outage_began: None }
    }

    pub(crate) fn current(&self) -> Option<&Endpoint> {
        self.list.get(self.current)
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Plans the next attempt at the current server.
    pub(crate) fn plan(&mut self, now: Time, policy: &Reconnect, rng: &mut Rng) -> NextAttempt {
        let began = *self.outage_began.get_or_insert(now);
        let Some(tried) = self.tried.get_mut(self.current) else { return NextAttempt::GiveUp };
        let wait = policy.wait(*tried, rng.unit());
        *tried = tried.saturating_add(1);
        match policy.give_up_after {
            Some(limit) if now - began >= limit => NextAttempt::GiveUp,
            _ => NextAttempt::After(wait),
        }
    }

    /// An attempt failed, or the connection was lost: the next server is the one to try.
    pub(crate) fn failed(&mut self) {
        self.current = (self.current + 1) % self.list.len().max(1);
    }

    /// A logon has held for a while: the next outage begins without a wait.
    pub(crate) fn stable(&mut self) {
        self.tried.fill(0);
        self.outage_began = None;
    }

    /// The application asks to connect: nothing that failed before counts.
    pub(crate) fn restart(&mut self) {
        self.current = 0;
        self.stable();
    }

    /// A connection is up: the outage is over for now.
    pub(crate) fn connected(&mut self) {
        self.outage_began = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C-7-3-2 C-7-3-4
    #[test]
    fn other_servers_are_tried_at_once_and_the_same_one_after_a_wait() {
        let list = ["tcp://a:1/amps", "tcp://b:1/amps"].map(|uri| uri.parse().unwrap());
        let mut servers = Servers::new(list.into());
        let policy = Reconnect::new().jitter(0.0);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let NextAttempt::After(wait) = servers.plan(Time::EPOCH, &policy, &mut Rng(1)) else { panic!() };
            waits.push((servers.current().unwrap().host.clone(), wait.as_millis()));
            servers.failed();
        }
        let expected = [("a", 0), ("b", 0), ("a", 200), ("b", 200), ("a", 400)];
        assert!(waits.iter().map(|(host, wait)| (host.as_str(), *wait)).eq(expected));
        servers.stable();
        assert_eq!(servers.plan(Time::EPOCH, &policy, &mut Rng(1)), NextAttempt::After(Duration::ZERO));
    }

    #[test]
    fn an_outage_beyond_the_limit_is_given_up() {
        let mut servers = Servers::new(vec!["tcp://a:1/amps".parse().unwrap()]);
        let policy = Reconnect::new().give_up_after(Duration::from_secs(1));
        servers.plan(Time::EPOCH, &policy, &mut Rng(1));
        let late = Time::EPOCH + Duration::from_secs(2);
        assert_eq!(servers.plan(late, &policy, &mut Rng(1)), NextAttempt::GiveUp);
    }
}
