//! When the lease of a queue message ends: the `lp` field (protocol.md 10.2, 3.4).

use core::str::FromStr;
use core::time::Duration;

use nom::Parser;
use nom::character::complete::u64 as number;
use nom::combinator::all_consuming;

use crate::options::Interval;
use crate::timestamp::parse_timestamp;

/// The end of a lease, as `lp` tells it.
///
/// ```
/// use amps_protocol::LeaseEnd;
/// use core::time::Duration;
///
/// assert_eq!(LeaseEnd::parse(b"19700101T000002.500000Z"), Ok(LeaseEnd::At(2_500_000_000)));
///
/// let relative = LeaseEnd::parse(b"30000ms")?;
/// assert_eq!(relative, LeaseEnd::In(Duration::from_secs(30)));
/// assert_eq!(relative.unix_nanos(1_000), 30_000_001_000);
/// # Ok::<(), amps_protocol::LeaseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseEnd {
    /// This instant on the server's clock, in nanoseconds since the Unix epoch: what
    /// servers send.
    At(u64),
    /// So long after the message arrived: what one fake server sends.
    In(Duration),
}

/// An `lp` that is neither an instant nor a duration. The message that bears it is good
/// all the same and has its text (protocol.md 3.4).
///
/// ```
/// use amps_protocol::{LeaseEnd, LeaseError};
/// assert_eq!(LeaseEnd::parse(b"soon"), Err(LeaseError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the end of a lease, such as 20260102T030405.000678Z or 30000ms")]
pub struct LeaseError;

impl LeaseEnd {
    /// Reads an instant, or a duration with a unit, or a bare number of milliseconds.
    ///
    /// # Errors
    /// The text is none of them.
    pub fn parse(text: &[u8]) -> Result<Self, LeaseError> {
        let text = text.trim_ascii();
        if let Some(unix_nanos) = parse_timestamp(text) {
            return Ok(Self::At(unix_nanos));
        }
        // Bare numbers are milliseconds here, other than in options.
        if let Ok((_, millis)) = all_consuming(number::<_, ()>).parse(text) {
            return Ok(Self::In(Duration::from_millis(millis)));
        }
        let interval = core::str::from_utf8(text).ok().and_then(|text| Interval::from_str(text).ok());
        interval.map(|interval| Self::In(interval.duration())).ok_or(LeaseError)
    }

    /// The end in nanoseconds since the Unix epoch, for a message that arrived at
    /// `arrival`. Ends that 64 bits cannot express are cut to the last that they can.
    pub fn unix_nanos(self, arrival: u64) -> u64 {
        match self {
            Self::At(unix_nanos) => unix_nanos,
            Self::In(duration) => {
                arrival.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
            }
        }
    }
}

impl FromStr for LeaseEnd {
    type Err = LeaseError;

    fn from_str(text: &str) -> Result<Self, LeaseError> {
        Self::parse(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_durations_are_told_apart() {
        for (text, end) in [
            ("20250909T172019.976304Z", LeaseEnd::At(1_757_438_419_976_304_000)),
            ("20250909T172019", LeaseEnd::At(1_757_438_419_000_000_000)),
            ("30000", LeaseEnd::In(Duration::from_secs(30))),
            ("30s", LeaseEnd::In(Duration::from_secs(30))),
            (" 250MS ", LeaseEnd::In(Duration::from_millis(250))),
            ("0", LeaseEnd::In(Duration::ZERO)),
        ] {
            assert_eq!(text.parse(), Ok(end), "{text}");
        }
        for text in ["", "-5ms", "20251309T172019Z", "99999999999999999999999", "ms"] {
            assert_eq!(text.parse::<LeaseEnd>(), Err(LeaseError), "{text}");
        }
    }

    #[test]
    fn an_end_beyond_the_clock_is_cut() {
        assert_eq!(LeaseEnd::In(Duration::MAX).unix_nanos(5), u64::MAX);
        assert_eq!(LeaseEnd::At(7).unix_nanos(5), 7);
    }
}
