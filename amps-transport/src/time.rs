//! Points in time as a machine sees them.
//!
//! Owns [`Time`], the only notion of "now" that a pure machine has. It never reads
//! a clock itself except in [`Clock`], which belongs to the drivers.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A point in time: nanoseconds since the Unix epoch, on a clock that never runs backwards.
///
/// A driver hands it to every call of a machine. In production it advances with the
/// monotonic clock (so a step of the wall clock does not move it); in a simulation or
/// under a virtual clock it is whatever the test says.
///
/// ```
/// use amps_transport::Time;
/// use std::time::Duration;
///
/// let start = Time::from_unix_nanos(1_000);
/// assert_eq!(start + Duration::from_nanos(5) - start, Duration::from_nanos(5));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch, 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// A time that never comes, about the year 2554.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time that lies `nanos` nanoseconds after the Unix epoch.
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_unix_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at [`Time::NEVER`].
    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// The same as [`Time::saturating_since`].
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    /// Saturates at [`Time::EPOCH`].
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Reads the machine's monotonic clock, anchored once at the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_unix: Time,
}

impl Clock {
    /// A clock whose origin is now.
    pub fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), origin_unix: Time::EPOCH + unix }
    }

    /// The present time.
    pub fn now(&self) -> Time {
        self.origin_unix + self.origin.elapsed()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
