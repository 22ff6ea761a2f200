//! How long to wait between connection attempts.
//!
//! Owns the policy and the arithmetic of the back-off; it reads no clock and draws its
//! jitter from a generator that is passed in.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

/// When and how fast a client connects again by itself.
///
/// The first attempt at each server is immediate. Coming back to a server already tried
/// waits: `initial`, then twice as long each time, up to `max`, plus a random part, so that
/// a thousand clients do not come back in the same millisecond. The count starts anew only
/// after a logon that has held for a second: a server that accepts and drops is not hammered.
///
/// ```
/// use amps_client::Reconnect;
/// use std::time::Duration;
///
/// let policy = Reconnect::new().initial(Duration::from_millis(50)).max(Duration::from_secs(5));
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Reconnect {
    pub(crate) initial: Duration,
    pub(crate) max: Duration,
    pub(crate) factor: f64,
    pub(crate) jitter: f64,
    pub(crate) give_up_after: Option<Duration>,
}

impl Reconnect {
    /// 200 ms, doubled each time, at most 20 s, with up to 200 ms of jitter; never gives up.
    pub const fn new() -> Self {
        Self {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(20),
            factor: 2.0,
            jitter: 1.0,
            give_up_after: None,
        }
    }

    /// The wait before the second attempt at the same server.
    #[must_use]
    pub const fn initial(mut self, wait: Duration) -> Self {
        self.initial = wait;
        self
    }

    /// The longest wait, jitter included.
    #[must_use]
    pub const fn max(mut self, wait: Duration) -> Self {
        self.max = wait;
        self
    }

    /// By how much each wait exceeds the one before; values below 1 count as 1.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The random part, in multiples of the initial wait; 0 turns it off.
    #[must_use]
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// Give up when an outage has lasted this long. The client then stays disconnected,
    /// its subscriptions end with the last error, and `Client::connect` may be called again.
    #[must_use]
    pub const fn give_up_after(mut self, outage: Duration) -> Self {
        self.give_up_after = Some(outage);
        self
    }

    /// The wait before an attempt at a server that was tried `tried` times since the last
    /// stable logon; `random` lies in `0.0..1.0`.
    pub(crate) fn wait(&self, tried: u32, random: f64) -> Duration {
        if tried == 0 {
            return Duration::ZERO;
        }
        let exponent = i32::try_from(tried - 1).unwrap_or(i32::MAX).min(1000);
        let base = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let jitter = self.initial.as_secs_f64() * self.jitter.max(0.0) * random;
        let seconds = (base.min(self.max.as_secs_f64()) + jitter).min(self.max.as_secs_f64());
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max)
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self::new()
    }
}

/// A small seeded generator (SplitMix64): jitter needs no more.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// A number in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C-7-3-1
    #[test]
    fn waits_double_up_to_the_maximum() {
        let policy = Reconnect::new().jitter(0.0);
        let waits: Vec<u128> = (0..10).map(|tried| policy.wait(tried, 0.9).as_millis()).collect();
        assert_eq!(waits, [0, 200, 400, 800, 1600, 3200, 6400, 12800, 20000, 20000]);
        assert_eq!(policy.wait(u32::MAX, 0.0), Duration::from_secs(20));
    }

    #[test]
    fn jitter_adds_at_most_its_share_and_never_exceeds_the_maximum() {
        let policy = Reconnect::new();
        let mut rng = Rng(1);
        for tried in 1..20 {
            let wait = policy.wait(tried, rng.unit());
            assert!(wait >= policy.clone().jitter(0.0).wait(tried, 0.0).min(policy.max));
            assert!(wait <= policy.max);
        }
    }
}
