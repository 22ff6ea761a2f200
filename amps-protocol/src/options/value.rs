//! The values of options (protocol.md 6.1, "value kinds").
//!
//! All arithmetic is exact: what is read prints as the same quantity.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use nom::Parser;
use nom::bytes::complete::take_while;
use nom::character::complete::{char, digit0};
use nom::combinator::opt;
use nom::sequence::preceded;

use super::name::OptionName;

/// A text that is not the value that it should be.
///
/// ```
/// use amps_protocol::Interval;
///
/// let fault = "12parsecs".parse::<Interval>().unwrap_err();
/// assert_eq!(fault.offset, 2);
/// assert_eq!(fault.to_string(), "at byte 2 expected a unit: ns, us, ms, s, m, h, d or w");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset} expected {expected}")]
pub struct ValueFault {
    /// Where in the value, counted from 0.
    pub offset: usize,
    /// What would have done there.
    pub expected: &'static str,
}

impl ValueFault {
    pub(super) const fn new(offset: usize, expected: &'static str) -> Self {
        Self { offset, expected }
    }
}

/// An option whose value cannot be used.
///
/// ```
/// use amps_protocol::Options;
///
/// let error = Options::parse("top_n=ten").top_n().unwrap_err();
/// assert_eq!(error.to_string(), "option \"top_n\" cannot have the value \"ten\": at byte 0 expected a count");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option \"{}\" cannot have the value \"{value}\": {fault}", .option.token())]
pub struct OptionValueError {
    /// The option.
    pub option: OptionName,
    /// Its value; empty if it has none.
    pub value: String,
    /// What is wrong with the value.
    pub fault: ValueFault,
}

/// A length of time, such as `250ms`, `1s` or `1m`.
///
/// The units are `ns us ms s m h d w` in any case; a bare number means seconds. It prints
/// in the largest unit that shows it exactly.
///
/// ```
/// use amps_protocol::Interval;
/// use core::time::Duration;
///
/// let interval: Interval = "90S".parse()?;
/// assert_eq!(interval.duration(), Duration::from_secs(90));
/// assert_eq!(interval.to_string(), "90s");
/// assert_eq!(Interval::from(Duration::from_secs(120)).to_string(), "2m");
/// assert_eq!("1.5s".parse::<Interval>()?.to_string(), "1500ms");
/// # Ok::<(), amps_protocol::ValueFault>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(Duration);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// From the largest to the smallest, in nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("w", 604_800 * NANOS_PER_SECOND),
    ("d", 86_400 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl Interval {
    /// The length of time.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Interval {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Interval> for Duration {
    fn from(interval: Interval) -> Self {
        interval.0
    }
}

impl FromStr for Interval {
    type Err = ValueFault;

    fn from_str(text: &str) -> Result<Self, ValueFault> {
        const FORM: &str = "an interval such as 250ms or 5s";
        let text = text.trim();
        let Number { digits, decimals, unit, unit_at } = number(text, FORM)?;
        let nanos = match unit {
            // Bare numbers are seconds (protocol.md 6.1, inferred).
            "" => NANOS_PER_SECOND,
            _ => {
                let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
                known.ok_or(ValueFault::new(unit_at, "a unit: ns, us, ms, s, m, h, d or w"))?.1
            }
        };
        let too_long = ValueFault::new(0, "an interval of at most 2^64 seconds");
        let scale = 10u128.checked_pow(decimals).ok_or(too_long)?;
        let nanos = digits.checked_mul(nanos).ok_or(too_long)?;
        if nanos % scale != 0 {
            return Err(ValueFault::new(0, "whole nanoseconds"));
        }
        let nanos = nanos / scale;
        let seconds = u64::try_from(nanos / NANOS_PER_SECOND).map_err(|_| too_long)?;
        Ok(Self(Duration::new(seconds, (nanos % NANOS_PER_SECOND) as u32)))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let exact = UNITS.iter().find(|(_, unit)| nanos != 0 && nanos % unit == 0);
        match exact {
            Some((name, unit)) => write!(f, "{}{name}", nanos / unit),
            None => f.write_str("0s"),
        }
    }
}

/// How fast a replay may go.
///
/// ```
/// use amps_protocol::{Pace, Rate, SizeUnit};
///
/// assert_eq!("1000".parse(), Ok(Rate::Messages(1000)));
/// assert_eq!("500kb".parse(), Ok(Rate::Bytes(500, SizeUnit::Kilobytes)));
/// assert_eq!("1.50x".parse(), Ok(Rate::Pace(Pace::new(15, 1))));
/// assert_eq!(Rate::Pace(Pace::new(5, 1)).to_string(), ".5X");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// So many messages per second: `1000`.
    Messages(u64),
    /// So many of a unit of bytes per second: `500KB`.
    Bytes(u64, SizeUnit),
    /// A multiple of the speed at which the messages were published: `2X`, `.5X`.
    Pace(Pace),
}

/// A unit of bytes.
///
/// ```
/// use amps_protocol::SizeUnit;
/// assert_eq!((SizeUnit::Megabytes.token(), SizeUnit::Megabytes.bytes()), ("MB", 1_048_576));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SizeUnit {
    /// `KB`.
    Kilobytes,
    /// `MB`.
    Megabytes,
    /// `GB`.
    Gigabytes,
    /// `TB`.
    Terabytes,
}

/// Bytes in a kilobyte. No document says whether 1000 or 1024 is meant (inferred); only
/// [`SizeUnit::bytes`] depends on it, since rates travel as they were written.
const KILOBYTE: u64 = 1024;

impl SizeUnit {
    const ALL: [Self; 4] = [Self::Kilobytes, Self::Megabytes, Self::Gigabytes, Self::Terabytes];

    /// The unit as it is written.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Kilobytes => "KB",
            Self::Megabytes => "MB",
            Self::Gigabytes => "GB",
            Self::Terabytes => "TB",
        }
    }

    /// How many bytes it stands for, a kilobyte being 1024 bytes (inferred).
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Kilobytes => KILOBYTE,
            Self::Megabytes => KILOBYTE.pow(2),
            Self::Gigabytes => KILOBYTE.pow(3),
            Self::Terabytes => KILOBYTE.pow(4),
        }
    }
}

/// An exact decimal multiple of a speed, such as 1.5.
///
/// ```
/// use amps_protocol::Pace;
/// use core::time::Duration;
///
/// let half = Pace::new(50, 2);
/// assert_eq!(half, Pace::new(5, 1));
/// assert_eq!(half.stretch(Duration::from_secs(3)), Some(Duration::from_secs(6)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pace {
    digits: u64,
    decimals: u8,
}

impl Pace {
    /// `digits` with so many of them behind the point: `new(15, 1)` is 1.5.
    pub const fn new(digits: u64, decimals: u8) -> Self {
        let (mut digits, mut decimals) = (digits, decimals);
        while decimals > 0 && digits % 10 == 0 {
            digits /= 10;
            decimals -= 1;
        }
        Self { digits, decimals }
    }

    /// The digits, without the point, and how many of them stand behind it.
    pub const fn parts(self) -> (u64, u8) {
        (self.digits, self.decimals)
    }

    /// How long a pause between two messages is at this pace, rounded down to the
    /// nanosecond; `None` if it is endless.
    pub fn stretch(self, pause: Duration) -> Option<Duration> {
        let scaled = pause.as_nanos().checked_mul(10u128.checked_pow(self.decimals.into())?)?;
        let nanos = scaled.checked_div(self.digits.into())?;
        let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
        Some(Duration::new(seconds, (nanos % NANOS_PER_SECOND) as u32))
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(self.digits);
        let behind = usize::from(self.decimals);
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(behind));
        f.write_str(whole)?;
        if behind > 0 {
            write!(f, ".{fraction:0>behind$}")?;
        }
        Ok(())
    }
}

impl FromStr for Rate {
    type Err = ValueFault;

    fn from_str(text: &str) -> Result<Self, ValueFault> {
        const FORM: &str = "a rate such as 1000, 500KB or 2X";
        let text = text.trim();
        let Number { digits, decimals, unit, unit_at } = number(text, FORM)?;
        let digits = u64::try_from(digits).map_err(|_| ValueFault::new(0, "a number of 64 bits"))?;
        if unit.eq_ignore_ascii_case("x") {
            let decimals = u8::try_from(decimals).map_err(|_| ValueFault::new(0, "at most 255 decimals"))?;
            return Ok(Self::Pace(Pace::new(digits, decimals)));
        }
        if decimals > 0 {
            return Err(ValueFault::new(0, "a whole number, unless X follows it"));
        }
        if unit.is_empty() {
            return Ok(Self::Messages(digits));
        }
        let unit = SizeUnit::ALL.into_iter().find(|known| known.token().eq_ignore_ascii_case(unit));
        Ok(Self::Bytes(digits, unit.ok_or(ValueFault::new(unit_at, "a unit: KB, MB, GB, TB or X"))?))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(count) => write!(f, "{count}"),
            Self::Bytes(count, unit) => write!(f, "{count}{}", unit.token()),
            Self::Pace(pace) => write!(f, "{pace}X"),
        }
    }
}

/// How often at most a subscription gets updates of one key.
///
/// ```
/// use amps_protocol::Conflation;
///
/// assert_eq!("AUTO".parse(), Ok(Conflation::Auto));
/// assert_eq!(Conflation::Every("1s".parse()?).to_string(), "1s");
/// # Ok::<(), amps_protocol::ValueFault>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Conflation {
    /// Every update is sent: the default.
    #[default]
    None,
    /// The server decides.
    Auto,
    /// At most one update per key and interval.
    Every(Interval),
}

impl FromStr for Conflation {
    type Err = ValueFault;

    fn from_str(text: &str) -> Result<Self, ValueFault> {
        match text.trim() {
            text if text.eq_ignore_ascii_case("none") => Ok(Self::None),
            text if text.eq_ignore_ascii_case("auto") => Ok(Self::Auto),
            text if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                Err(ValueFault::new(0, "an interval, auto or none"))
            }
            text => text.parse().map(Self::Every),
        }
    }
}

impl fmt::Display for Conflation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Auto => f.write_str("auto"),
            Self::Every(interval) => interval.fmt(f),
        }
    }
}

/// What a bookmark subscription does when none of its bookmarks is in the log. Servers
/// know the option from 5.3.5 on.
///
/// ```
/// use amps_protocol::BookmarkNotFound;
/// assert_eq!("Fail".parse(), Ok(BookmarkNotFound::Fail));
/// assert_eq!(BookmarkNotFound::default().to_string(), "now");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BookmarkNotFound {
    /// Replay the whole log.
    Epoch,
    /// Replay nothing: the server's default.
    #[default]
    Now,
    /// Fail the command.
    Fail,
}

impl BookmarkNotFound {
    const ALL: [Self; 3] = [Self::Epoch, Self::Now, Self::Fail];

    /// The word on the wire.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Now => "now",
            Self::Fail => "fail",
        }
    }
}

impl FromStr for BookmarkNotFound {
    type Err = ValueFault;

    fn from_str(text: &str) -> Result<Self, ValueFault> {
        let known = Self::ALL.into_iter().find(|word| word.token().eq_ignore_ascii_case(text.trim()));
        known.ok_or(ValueFault::new(0, "epoch, now or fail"))
    }
}

impl fmt::Display for BookmarkNotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// A decimal number and the unit behind it.
struct Number<'a> {
    /// All digits, without the point.
    digits: u128,
    /// How many of them stand behind the point.
    decimals: u32,
    unit: &'a str,
    unit_at: usize,
}

fn number<'a>(text: &'a str, form: &'static str) -> Result<Number<'a>, ValueFault> {
    let mut decimal = (digit0::<&str, ()>, opt(preceded(char('.'), digit0)));
    let (rest, (whole, fraction)) = decimal.parse(text).map_err(|_| ValueFault::new(0, form))?;
    // Zeros at the end say nothing.
    let fraction = fraction.unwrap_or_default();
    if whole.is_empty() && fraction.is_empty() {
        return Err(ValueFault::new(0, form));
    }
    let fraction = fraction.trim_end_matches('0');
    let too_large = ValueFault::new(0, "fewer digits");
    let digits = whole
        .bytes()
        .chain(fraction.bytes())
        .try_fold(0u128, |value, digit| value.checked_mul(10)?.checked_add(u128::from(digit - b'0')));
    let mut blank = take_while::<_, _, ()>(|c| c == ' ' || c == '\t');
    let unit = blank.parse(rest).map_or(rest, |(unit, _)| unit);
    Ok(Number {
        digits: digits.ok_or(too_large)?,
        decimals: u32::try_from(fraction.len()).map_err(|_| too_large)?,
        unit,
        unit_at: text.len() - unit.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn intervals_print_in_the_largest_exact_unit() {
        for (text, printed) in [
            ("250ms", "250ms"),
            ("1000ms", "1s"),
            ("1M", "1m"),
            ("60", "1m"),
            ("7D", "1w"),
            ("3600 s", "1h"),
            ("1us", "1us"),
            ("0h", "0s"),
            (".5s", "500ms"),
            ("1.500", "1500ms"),
        ] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn intervals_that_are_none_are_refused() {
        for (text, offset) in [("", 0), ("s", 0), ("-1s", 0), ("1y", 1), (".", 0), ("1.5ns", 0)] {
            assert_eq!(text.parse::<Interval>().unwrap_err().offset, offset, "{text}");
        }
        assert!("99999999999999999999w".parse::<Interval>().is_err());
        assert!("9".repeat(60).parse::<Interval>().is_err());
        assert!(Interval::from(Duration::MAX).to_string().parse::<Interval>().is_ok());
    }

    #[test]
    fn rates_keep_their_kind() {
        for text in ["1000", "500KB", "2MB", "1GB", "7TB", "2X", ".5X", "1.25X", ".05X", "0X", "0"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("0.50x".parse::<Rate>().unwrap().to_string(), ".5X");
        for text in ["", "X", "fast", "1.5", "1.5KB", "10B", "18446744073709551616", "-1"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pace_scales_pauses_exactly() {
        let pause = Duration::from_secs(60);
        assert_eq!(Pace::new(2, 0).stretch(pause), Some(Duration::from_secs(30)));
        assert_eq!(Pace::new(5, 1).stretch(pause), Some(Duration::from_secs(120)));
        assert_eq!(Pace::new(0, 0).stretch(pause), None);
        assert_eq!(Pace::new(1, 255).stretch(pause), None);
    }
}
