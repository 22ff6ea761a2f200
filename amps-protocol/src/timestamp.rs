//! Times on the wire: `20260102T030405.000678Z`.

use core::fmt;

const NANOS: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

/// Shows nanoseconds since the Unix epoch as `YYYYMMDDThhmmss.ffffffZ`, in UTC.
///
/// ```
/// let text = amps_protocol::format_timestamp(1_767_323_045_000_678_999).to_string();
/// assert_eq!(text, "20260102T030405.000678Z");
/// assert_eq!(amps_protocol::parse_timestamp(text.as_bytes()), Some(1_767_323_045_000_678_000));
/// ```
pub fn format_timestamp(unix_nanos: u64) -> impl fmt::Display {
    Timestamp(unix_nanos)
}

struct Timestamp(u64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0 / NANOS, self.0 % NANOS);
        let (year, month, day) = civil_from_days(seconds / DAY);
        let second = seconds % DAY;
        write!(
            f,
            "{year:04}{month:02}{day:02}T{:02}{:02}{:02}.{:06}Z",
            second / 3600,
            second / 60 % 60,
            second % 60,
            nanos / 1000
        )
    }
}

/// Reads `YYYYMMDDThhmmss` with an optional fraction (with or without its point) and an
/// optional `Z`, as nanoseconds since the Unix epoch. `None` if it is no such time, or one
/// that lies before 1970 or after 2554. Digits beyond nanoseconds are cut off.
///
/// ```
/// use amps_protocol::parse_timestamp;
///
/// assert_eq!(parse_timestamp(b"19700101T000001.5Z"), Some(1_500_000_000));
/// assert_eq!(parse_timestamp(b"20260229T000000Z"), None, "2026 is no leap year");
/// ```
pub fn parse_timestamp(text: &[u8]) -> Option<u64> {
    let text = text.strip_suffix(b"Z").unwrap_or(text);
    if text.len() < 15 || text[8] != b'T' {
        return None;
    }
    let number = |range: core::ops::Range<usize>| {
        text[range].iter().try_fold(0u64, |value, digit| {
            digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'))
        })
    };
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    // 60 allows for a leap second.
    if year < 1970 || !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction = text[15..].strip_prefix(b".").unwrap_or(&text[15..]);
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().map(|digit| u64::from(digit - b'0')).chain(core::iter::repeat(0));
    let nanos = digits.take(9).fold(0, |nanos, digit| nanos * 10 + digit);
    let seconds = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    seconds.checked_mul(NANOS)?.checked_add(nanos)
}

const fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date from 1970 on.
const fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March here, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
const fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn known_dates_go_both_ways() {
        for (seconds, text) in [
            (0, "19700101T000000.000000Z"),
            (951_782_400, "20000229T000000.000000Z"),
            (4_102_444_799, "20991231T235959.000000Z"),
        ] {
            assert_eq!(format_timestamp(seconds * NANOS).to_string(), text);
            assert_eq!(parse_timestamp(text.as_bytes()), Some(seconds * NANOS));
        }
    }

    #[test]
    fn other_spellings_are_read_and_nonsense_is_not() {
        assert_eq!(parse_timestamp(b"19700101T000001"), Some(NANOS));
        assert_eq!(parse_timestamp(b"19700101T0000015"), Some(NANOS + NANOS / 2));
        assert_eq!(parse_timestamp(b"19701301T000000"), None);
        assert_eq!(parse_timestamp(b"20260229T000000"), None);
        assert_eq!(parse_timestamp(b"20260431T000000"), None);
        assert_eq!(parse_timestamp(b"30000ms"), None);
        for text in [
            "19691231T235959",
            "19700001T000000",
            "19700100T000000",
            "19700101 000000",
            "19700101T240000",
            "19700101T006000",
            "19700101T000061",
            "1970010xT000000",
            "19700101T000000.5x",
            "19700101T000000. 5",
            "19700101T000000.5\0",
            "19700101T000000.0000000005x",
            "19700101T000000ZZ",
        ] {
            assert_eq!(parse_timestamp(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_timestamp(b"19700101T000060"), Some(60 * NANOS), "a leap second");
        assert_eq!(parse_timestamp(b"19700101T000000.0000000019"), Some(1), "cut off, not rounded");
        assert_eq!(parse_timestamp(b"99991231T235959.000000Z"), None, "beyond what 64 bits hold");
    }
}
