//! When the next message of a replay is due (server.md 5.4, PR-05 to PR-07).
//!
//! Owns the arithmetic of rates. Messages and bytes are counted from an anchor, so that what
//! is rounded does not add up; the anchor is set anew whenever there was nothing to send, so
//! that silence gives no credit.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::Rate;
use amps_transport::Time;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// How fast a stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pacing {
    rate: Rate,
    max_gap: Option<Duration>,
    /// Where counting begins, and what was sent since, in messages or bytes.
    anchor: Time,
    sent: u64,
    /// When the last message was due, and when it was logged.
    last: Option<(Time, Time)>,
    /// There has been something to send ever since the last message.
    busy: bool,
}

impl Pacing {
    /// `None` if the first message would be the last.
    pub(super) fn new(rate: Rate, max_gap: Option<Duration>, now: Time) -> Option<Self> {
        let moves = match rate {
            Rate::Messages(count) | Rate::Bytes(count, _) => count > 0,
            Rate::Pace(pace) => pace.parts().0 > 0,
        };
        moves.then_some(Self { rate, max_gap, anchor: now, sent: 0, last: None, busy: false })
    }

    /// Whether both go equally fast.
    pub(super) fn equals(&self, other: &Self) -> bool {
        (self.rate, self.max_gap) == (other.rate, other.max_gap)
    }

    /// Begins anew, as if nothing had been sent.
    pub(super) fn restart(&mut self, now: Time) {
        *self = Self { anchor: now, sent: 0, last: None, busy: false, ..*self };
    }

    /// There is nothing to send, or nobody takes it: what is missed is not made up for.
    pub(super) fn rest(&mut self) {
        self.busy = false;
    }

    /// When a message that was logged at `logged` may be sent.
    pub(super) fn due(&self, logged: Time, now: Time) -> Time {
        let Some((last_due, last_logged)) = self.last else { return now };
        let due = match self.rate {
            Rate::Messages(count) => self.counted(count),
            Rate::Bytes(count, unit) => self.counted(count.saturating_mul(unit.bytes())),
            Rate::Pace(pace) => match pace.stretch(logged.saturating_since(last_logged)) {
                Some(gap) => last_due + gap,
                None => Time::NEVER,
            },
        };
        self.max_gap.map_or(due, |max_gap| due.min(last_due + max_gap))
    }

    /// The anchor, and as long as it takes to send what was sent, rounded up.
    fn counted(&self, per_second: u64) -> Time {
        let nanos = (u128::from(self.sent) * NANOS_PER_SECOND).div_ceil(u128::from(per_second.max(1)));
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.anchor + Duration::from_nanos(nanos)
    }

    /// A message is sent, whose time had come at `due`.
    pub(super) fn sent(&mut self, due: Time, logged: Time, bytes: usize, now: Time) {
        let due = if self.busy { due.min(now) } else { now };
        let counts = match self.rate {
            Rate::Messages(_) => 1,
            Rate::Bytes(..) => bytes as u64,
            Rate::Pace(_) => 0,
        };
        // On time, that is as counted, unless a gap was cut short or there was nothing to send.
        let on_time = match self.rate {
            Rate::Messages(count) => self.counted(count) == due,
            Rate::Bytes(count, unit) => self.counted(count.saturating_mul(unit.bytes())) == due,
            Rate::Pace(_) => true,
        };
        if on_time && self.last.is_some() {
            self.sent = self.sent.saturating_add(counts);
        } else {
            (self.anchor, self.sent) = (due, counts);
        }
        self.last = Some((due, logged));
        self.busy = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Time {
        Time::from_unix_nanos(millis * 1_000_000)
    }

    /// The times at which messages are sent that were logged at these times, all of them at hand.
    fn sent(rate: &str, max_gap: Option<u64>, logged: &[u64]) -> Vec<u64> {
        let mut now = at(1000);
        let max_gap = max_gap.map(Duration::from_millis);
        let mut pacing = Pacing::new(rate.parse().unwrap(), max_gap, now).unwrap();
        let send = |&logged: &u64| {
            let due = pacing.due(at(logged), now);
            now = now.max(due);
            pacing.sent(due, at(logged), 512, now);
            (now.as_unix_nanos() - at(1000).as_unix_nanos()) / 1_000_000
        };
        logged.iter().map(send).collect()
    }

    #[test]
    fn messages_are_evenly_spaced_and_do_not_drift() {
        assert_eq!(sent("10", None, &[0; 4]), [0, 100, 200, 300]);
        let thirds = sent("3", None, &[0; 31]);
        assert_eq!((thirds[3], thirds[30]), (1000, 10_000));
    }

    #[test]
    fn bytes_take_their_time() {
        assert_eq!(sent("1KB", None, &[0; 4]), [0, 500, 1000, 1500]);
    }

    #[test]
    fn the_original_pace_is_scaled_and_its_gaps_are_cut() {
        assert_eq!(sent("2X", None, &[0, 1000, 1000, 5000]), [0, 500, 500, 2500]);
        assert_eq!(sent(".5X", None, &[0, 1000]), [0, 2000]);
        assert_eq!(sent("2X", Some(700), &[0, 1000, 5000, 9000]), [0, 500, 1200, 1900]);
        assert_eq!(sent("1", Some(700), &[0; 3]), [0, 700, 1400]);
    }

    #[test]
    fn silence_gives_no_credit() {
        let mut pacing = Pacing::new("10".parse().unwrap(), None, at(0)).unwrap();
        let first = pacing.due(at(0), at(0));
        pacing.sent(first, at(0), 1, at(0));
        pacing.rest();
        // Nothing to send for a second, then two messages at once.
        let due = pacing.due(at(1000), at(1000));
        assert!(due <= at(1000));
        pacing.sent(due, at(1000), 1, at(1000));
        assert_eq!(pacing.due(at(1000), at(1000)), at(1100));
    }

    #[test]
    fn a_rate_of_nothing_is_none() {
        for rate in ["0", "0KB", "0X"] {
            assert_eq!(Pacing::new(rate.parse().unwrap(), None, at(0)), None, "{rate}");
        }
    }
}
