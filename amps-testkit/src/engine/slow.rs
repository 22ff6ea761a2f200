//! Clients that do not take what they are sent (server.md 1.8).
//!
//! Owns the limits: how much may wait for one client, how many frames, and for how long. What waits is what the
//! socket has not taken, so it is looked at before the next input, when the driver has had its
//! chance to write. Replays pace themselves and rarely come here.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::time::Duration;

use amps_transport::{CloseMode, ConnId, Sink, Time};

use super::Engine;
use super::config::SlowClientLimits;
use super::event::Disconnect;
use super::timers::Timer;

/// Who decides when a frame is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The server: the frame ages until it is taken.
    Servers,
    /// The client, by taking what came before: a replay makes nobody slow (CONN-71).
    Clients,
}

/// What one connection was sent, for as long as its age or its number matters.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// All bytes so far.
    sent: u64,
    /// Where each frame ends in all that was sent, and when that was.
    frames: VecDeque<(u64, Time)>,
}

impl Waiting {
    fn add(&mut self, now: Time, bytes: usize, pace: Pace) {
        self.sent += bytes as u64;
        if pace == Pace::Servers {
            self.frames.push_back((self.sent, now));
        }
    }

    /// Since when the oldest frame waits that the socket has not wholly taken.
    fn since(&mut self, unsent: usize) -> Option<Time> {
        self.forget_taken(unsent);
        self.frames.front().map(|(_, at)| *at)
    }

    /// How many frames the socket has not wholly taken.
    fn count(&mut self, unsent: usize) -> usize {
        self.forget_taken(unsent);
        self.frames.len()
    }

    fn forget_taken(&mut self, unsent: usize) {
        let taken = self.sent.saturating_sub(unsent as u64);
        while self.frames.front().is_some_and(|(end, _)| *end <= taken) {
            self.frames.pop_front();
        }
    }
}

/// The most bytes that may wait for one client; `None` without limit (CONN-72). What is over
/// the limit of the memory goes to the disk, so that limit alone disconnects nobody.
fn share(limits: &SlowClientLimits) -> Option<u64> {
    let disk = limits.disk?;
    let total = u128::from(disk) + u128::from(limits.memory.unwrap_or(0));
    Some(u64::try_from(total * u128::from(limits.capacity_percent) / 100).unwrap_or(u64::MAX))
}

/// Which limits there are for any client at all, so that nothing is counted in vain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slowness {
    sizes: bool,
    ages: bool,
    frames: bool,
}

impl Slowness {
    pub(super) fn of(limits: &SlowClientLimits) -> Self {
        Self { sizes: share(limits).is_some(), ages: limits.age.is_some(), frames: limits.frames.is_some() }
    }

    /// There are these limits too.
    pub(super) fn join(&mut self, limits: &SlowClientLimits) {
        let other = Self::of(limits);
        self.sizes |= other.sizes;
        self.ages |= other.ages;
        self.frames |= other.frames;
    }
}

impl Engine {
    /// The limits of the transport that a connection came in by.
    fn limits(&self, conn: ConnId) -> SlowClientLimits {
        let instance = &self.config.slow_clients;
        self.transport(conn).map_or_else(|| instance.clone(), |own| own.limits.within(instance))
    }

    /// How long a message may wait for a client.
    fn most_age(&self, conn: ConnId) -> Option<Duration> {
        if self.slowness.ages { self.limits(conn).age } else { None }
    }

    /// How much may wait for a client.
    fn most_bytes(&self, conn: ConnId) -> Option<u64> {
        if self.slowness.sizes { share(&self.limits(conn)) } else { None }
    }

    /// How many frames may wait for a client.
    fn most_frames(&self, conn: ConnId) -> Option<usize> {
        if self.slowness.frames { self.limits(conn).frames } else { None }
    }

    /// A frame is on its way.
    pub(super) fn has_sent(&mut self, now: Time, conn: ConnId, bytes: usize, pace: Pace) {
        let age = self.most_age(conn);
        if age.is_none() && self.most_frames(conn).is_none() {
            return;
        }
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.waiting.add(now, bytes, pace);
        if let Some(age) = age.filter(|_| pace == Pace::Servers && !self.timers.is_set(Timer::Slow(conn))) {
            self.timers.set(Timer::Slow(conn), Some(now + age));
        }
    }

    /// How much of a replay may wait for a client: there has to be room for the rest.
    pub(super) fn replay_room(&self, conn: ConnId, most: usize) -> usize {
        let half = self.most_bytes(conn).map(|share| usize::try_from(share / 2));
        half.map_or(most, |half| half.unwrap_or(most).min(most))
    }

    /// Closes the connections for which too much waits.
    pub(super) fn close_slow<S: Sink>(&mut self, now: Time, sink: &mut S) {
        self.look_at_consumers(sink);
        if !self.slowness.sizes && !self.slowness.frames {
            return;
        }
        let too_much =
            |conn: &ConnId| self.most_bytes(*conn).is_some_and(|most| sink.unsent(*conn) as u64 > most);
        let mut slow: Vec<ConnId> = self.connections.keys().copied().filter(too_much).collect();
        if self.slowness.frames {
            let limits: Vec<_> =
                self.connections.keys().filter_map(|conn| Some((*conn, self.most_frames(*conn)?))).collect();
            for (conn, most) in limits {
                let Some(connection) = self.connections.get_mut(&conn) else { continue };
                if connection.waiting.count(sink.unsent(conn)) > most && !slow.contains(&conn) {
                    slow.push(conn);
                }
            }
        }
        for &conn in &slow {
            // Nothing more goes out, and what waits is dropped (CONN-81).
            self.close(now, conn, Disconnect::SlowClient, CloseMode::Abort, sink);
        }
        if !slow.is_empty() {
            self.settle(now, sink);
        }
    }

    /// The oldest frame may have waited too long.
    pub(super) fn age_timer<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        let Some(age) = self.most_age(conn) else { return };
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        match connection.waiting.since(sink.unsent(conn)) {
            None => {}
            Some(since) if since + age <= now => {
                self.close(now, conn, Disconnect::SlowClient, CloseMode::Abort, sink);
            }
            Some(since) => self.timers.set(Timer::Slow(conn), Some(since + age)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_one_client_is_a_part_of_memory_and_disk() {
        let limits = |memory, disk, capacity_percent| {
            share(&SlowClientLimits { memory, disk, capacity_percent, ..SlowClientLimits::default() })
        };
        assert_eq!(limits(None, None, 50), None);
        assert_eq!(limits(Some(1_000), None, 50), None);
        assert_eq!(limits(Some(1_000), Some(3_000), 50), Some(2_000));
        assert_eq!(limits(None, Some(333), 10), Some(33));
        assert_eq!(limits(Some(u64::MAX), Some(1), 100), Some(u64::MAX));
        assert_eq!(limits(Some(u64::MAX), Some(u64::MAX), 255), Some(u64::MAX));
    }

    #[test]
    fn a_frame_waits_until_its_last_byte_is_taken() {
        let at = |seconds: u64| Time::from_unix_nanos(seconds * 1_000_000_000);
        let mut waiting = Waiting::default();
        waiting.add(at(1), 10, Pace::Servers);
        waiting.add(at(2), 10, Pace::Servers);
        assert_eq!(waiting.since(20), Some(at(1)));
        assert_eq!(waiting.since(11), Some(at(1)));
        assert_eq!(waiting.since(10), Some(at(2)));
        assert_eq!(waiting.since(0), None);
        waiting.add(at(3), 5, Pace::Servers);
        assert_eq!(waiting.since(5), Some(at(3)));
        waiting.add(at(4), 100, Pace::Clients);
        assert_eq!(waiting.since(105), Some(at(3)));
        assert_eq!(waiting.since(100), None);
    }
}
