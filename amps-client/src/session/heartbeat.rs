//! Noticing a dead peer, and showing life.
//!
//! Owns the two timers of the agreement: we send something at least every interval, and
//! expect to receive something within the timeout.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_transport::Time;

/// How heartbeats are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeartbeatSettings {
    /// Whole seconds, at least one.
    pub(crate) interval: Duration,
    /// Silence after which the connection counts as lost; never below the interval.
    pub(crate) timeout: Duration,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Nothing yet.
    Quiet,
    /// Send a beat.
    Beat,
    /// Nothing came for so long that the peer counts as dead.
    Lost,
}

/// Runs while a connection has heartbeats.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    settings: HeartbeatSettings,
    /// `None` while reading is stopped on purpose: silence is our own doing then.
    deadline: Option<Time>,
    warned: bool,
}

impl Heartbeat {
    pub(crate) fn new(now: Time, settings: HeartbeatSettings) -> Self {
        Self { settings, deadline: Some(now + settings.timeout), warned: false }
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, now: Time) {
        if self.deadline.is_some() {
            self.deadline = Some(now + self.settings.timeout);
            self.warned = false;
        }
    }

    /// Reading stops or goes on.
    pub(crate) fn reading(&mut self, now: Time, on: bool) {
        self.deadline = on.then_some(now + self.settings.timeout);
        self.warned = false;
    }

    /// The server showed life; whether it deserves an answer.
    pub(crate) fn should_answer(&self, now: Time, last_sent: Time) -> bool {
        now - last_sent >= self.settings.interval / 2
    }

    pub(crate) fn next(&self, last_sent: Time) -> Time {
        let beat = last_sent + self.settings.interval;
        self.deadline.map_or(beat, |deadline| deadline.min(beat))
    }

    /// Looks at both timers.
    pub(crate) fn pulse(&mut self, now: Time, last_sent: Time) -> Pulse {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            if self.warned {
                return Pulse::Lost;
            }
            // The loop may have been busy elsewhere (a slow handler): look at the socket once
            // more before giving the connection up.
            self.warned = true;
            self.deadline = Some(now + self.settings.interval / 4);
        }
        if last_sent + self.settings.interval <= now { Pulse::Beat } else { Pulse::Quiet }
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.settings.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_noticed_after_a_second_look() {
        let settings = HeartbeatSettings { interval: SECOND, timeout: 2 * SECOND };
        let start = Time::EPOCH + 100 * SECOND;
        let mut heartbeat = Heartbeat::new(start, settings);
        let sent = |now| now;
        assert_eq!(heartbeat.pulse(start + SECOND, sent(start + SECOND)), Pulse::Quiet);
        assert_eq!(heartbeat.pulse(start + 2 * SECOND, sent(start + 2 * SECOND)), Pulse::Quiet);
        let again = heartbeat.next(start + 3 * SECOND);
        assert_eq!(again, start + 2 * SECOND + SECOND / 4);
        assert_eq!(heartbeat.pulse(again, again), Pulse::Lost);
    }

    #[test]
    fn received_bytes_and_stopped_reading_hold_the_deadline_off() {
        let settings = HeartbeatSettings { interval: SECOND, timeout: 2 * SECOND };
        let start = Time::EPOCH + 100 * SECOND;
        let mut heartbeat = Heartbeat::new(start, settings);
        heartbeat.received(start + SECOND);
        assert_eq!(heartbeat.pulse(start + 2 * SECOND, start + 2 * SECOND), Pulse::Quiet);
        assert!(!heartbeat.warned);
        heartbeat.reading(start, false);
        assert_eq!(heartbeat.pulse(start + 100 * SECOND, start + 100 * SECOND), Pulse::Quiet);
        assert_eq!(heartbeat.pulse(start + 100 * SECOND, start), Pulse::Beat);
    }
}
