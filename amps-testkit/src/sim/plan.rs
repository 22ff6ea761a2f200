//! Chance, and what is to go wrong when.
//!
//! Owns the seeded generator and the draw of a fault plan from it. The same seed gives the
//! same numbers on every machine.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_transport::Time;

/// A small seeded generator (SplitMix64).
///
/// ```
/// use amps_testkit::sim::Rng;
/// let (mut a, mut b) = (Rng::new(7), Rng::new(7));
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert!(a.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that always yields the same numbers for the same seed. Neighbouring seeds
    /// have nothing in common.
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed ^ 0x5851_f42d_4c95_7f2d);
        rng.0 = rng.next_u64();
        rng
    }

    /// The next 64 random bits.
    #[inline]
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    #[inline]
    pub const fn below(&mut self, bound: u64) -> u64 {
        // The bias is far below what a simulation could notice.
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `percent` of all cases.
    pub const fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A span from `low` to `high`.
    pub fn span(&mut self, low: Duration, high: Duration) -> Duration {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.between(nanos(low), nanos(high).max(nanos(low))))
    }

    /// One of `choices`; `None` if there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len() as u64) as usize)
    }

    /// A generator of its own, so that what one part of a scenario draws does not move what
    /// another part draws.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

/// One fault of a [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned<F> {
    /// When it begins.
    pub at: Time,
    /// How long it lasts, where it lasts.
    pub lasting: Duration,
    /// What goes wrong.
    pub fault: F,
}

/// Which faults happen when, in the order of time.
///
/// ```
/// use amps_testkit::sim::{Plan, Rng};
/// use amps_transport::Time;
/// use std::time::Duration;
///
/// let second = Duration::from_secs(1);
/// let plan = Plan::draw(&mut Rng::new(1), &["cut", "stall"], 5, Time::EPOCH, 10 * second, 2 * second);
/// assert_eq!(plan.faults.len(), 5);
/// assert!(plan.healed_at <= Time::EPOCH + 12 * second);
/// ```
#[derive(Clone, Debug)]
pub struct Plan<F> {
    /// The faults.
    pub faults: Vec<Planned<F>>,
    /// When the last of them is over.
    pub healed_at: Time,
}

impl<F: Copy> Plan<F> {
    /// Draws `count` faults of the given kinds that begin within `span` of `start` and last
    /// up to `longest`. No kind comes twice before each came once.
    pub fn draw(
        rng: &mut Rng,
        kinds: &[F],
        count: usize,
        start: Time,
        span: Duration,
        longest: Duration,
    ) -> Self {
        let mut left: Vec<F> = Vec::new();
        let mut faults = Vec::with_capacity(count);
        for _ in 0..count {
            if left.is_empty() {
                left.extend_from_slice(kinds);
            }
            if left.is_empty() {
                break;
            }
            let fault = left.swap_remove(rng.below(left.len() as u64) as usize);
            let at = start + rng.span(Duration::ZERO, span);
            faults.push(Planned { at, lasting: rng.span(longest / 20, longest), fault });
        }
        faults.sort_by_key(|planned| planned.at);
        let healed_at = faults.iter().map(|planned| planned.at + planned.lasting).max().unwrap_or(start);
        Self { faults, healed_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_them() {
        let mut rng = Rng::new(3);
        let drawn: Vec<u64> = (0..1000).map(|_| rng.between(2, 5)).collect();
        assert!((2..=5).all(|number| drawn.contains(&number)));
        assert!(drawn.iter().all(|number| (2..=5).contains(number)));
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.pick::<u8>(&[]), None);
    }

    #[test]
    fn a_fork_leaves_its_origin_unmoved_by_what_it_draws() {
        let (mut a, mut b) = (Rng::new(1), Rng::new(1));
        let mut fork = a.fork();
        let _ = b.fork();
        fork.next_u64();
        assert_eq!(a.next_u64(), b.next_u64());
    }

    #[test]
    fn every_kind_comes_once_before_any_comes_twice() {
        let plan = Plan::draw(&mut Rng::new(9), &[1, 2, 3], 3, Time::EPOCH, Duration::ZERO, Duration::ZERO);
        let mut kinds: Vec<i32> = plan.faults.iter().map(|planned| planned.fault).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [1, 2, 3]);
    }
}
