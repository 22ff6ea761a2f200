//! `STRFTIME` and `STRPTIME`: calendar arithmetic in UTC, with no clock and no locale.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// The longest text `STRFTIME` makes; the rest is cut off.
const LONGEST: usize = 128;
/// Beyond some three million years a calendar means nothing.
const FARTHEST: f64 = 1e14;
const DAY: i64 = 86_400;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment in UTC.
#[derive(Clone, Copy, Debug)]
struct Moment {
    seconds: i64,
    micros: i64,
    year: i64,
    /// 1 to 12.
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// 0 is Sunday.
    weekday: i64,
    /// 0 is the first of January.
    yearday: i64,
}

impl Moment {
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
    fn new(timestamp: f64) -> Option<Self> {
        if timestamp.is_nan() || timestamp.abs() > FARTHEST {
            return None;
        }
        let total = (timestamp * 1e6).round();
        let (seconds, micros) = ((total / 1e6).floor() as i64, (total.rem_euclid(1e6)) as i64);
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        Some(Self {
            seconds,
            micros,
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7),
            yearday: days - days_of(year, 1, 1),
        })
    }

    fn hour12(&self) -> i64 {
        (self.hour + 11) % 12 + 1
    }
}

/// The date of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day of a date, counted from 1970-01-01.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `timestamp`, in seconds, written as `format` says; nothing if it is no time at all.
///
/// Knows the conversions of strftime that need no locale, `%f` (microseconds) and
/// `%03f` (milliseconds; any one digit gives as many decimals). An unknown conversion
/// is copied as it stands.
pub(super) fn format(format: &[u8], timestamp: f64) -> Option<Vec<u8>> {
    let moment = Moment::new(timestamp)?;
    let mut out = Vec::new();
    write(format, &moment, &mut out);
    out.truncate(LONGEST);
    Some(out)
}

fn write(format: &[u8], moment: &Moment, out: &mut Vec<u8>) {
    let mut rest = format;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if out.len() > LONGEST {
            return;
        }
        match (byte, tail) {
            (b'%', [b'0', digits @ b'1'..=b'9', b'f', tail @ ..]) => {
                let micros = format!("{:06}000", moment.micros).into_bytes();
                out.extend_from_slice(&micros[..usize::from(digits - b'0')]);
                rest = tail;
            }
            (b'%', [conversion, tail @ ..]) => {
                convert(*conversion, moment, out);
                rest = tail;
            }
            _ => out.push(byte),
        }
    }
}

fn convert(conversion: u8, moment: &Moment, out: &mut Vec<u8>) {
    let text = match conversion {
        b'Y' => moment.year.to_string(),
        b'C' => format!("{:02}", moment.year.div_euclid(100)),
        b'y' => format!("{:02}", moment.year.rem_euclid(100)),
        b'm' => format!("{:02}", moment.month),
        b'd' => format!("{:02}", moment.day),
        b'e' => format!("{:2}", moment.day),
        b'H' => format!("{:02}", moment.hour),
        b'k' => format!("{:2}", moment.hour),
        b'I' => format!("{:02}", moment.hour12()),
        b'l' => format!("{:2}", moment.hour12()),
        b'M' => format!("{:02}", moment.minute),
        b'S' => format!("{:02}", moment.second),
        b'f' => format!("{:06}", moment.micros),
        b'j' => format!("{:03}", moment.yearday + 1),
        b'w' => moment.weekday.to_string(),
        b'u' => ((moment.weekday + 6) % 7 + 1).to_string(),
        b'U' => format!("{:02}", (moment.yearday + 7 - moment.weekday) / 7),
        b'W' => format!("{:02}", (moment.yearday + 7 - (moment.weekday + 6) % 7) / 7),
        b's' => moment.seconds.to_string(),
        b'p' => String::from(if moment.hour < 12 { "AM" } else { "PM" }),
        b'b' | b'h' => name(&MONTHS, moment.month - 1)[..3].to_owned(),
        b'B' => name(&MONTHS, moment.month - 1).to_owned(),
        b'a' => name(&WEEKDAYS, moment.weekday)[..3].to_owned(),
        b'A' => name(&WEEKDAYS, moment.weekday).to_owned(),
        b'Z' => String::from("UTC"),
        b'z' => String::from("+0000"),
        b'n' => String::from("\n"),
        b't' => String::from("\t"),
        b'%' => String::from("%"),
        _ => match composite(conversion) {
            Some(format) => return write(format, moment, out),
            None => return out.extend_from_slice(&[b'%', conversion]),
        },
    };
    out.extend_from_slice(text.as_bytes());
}

/// The conversions that stand for several others.
fn composite(conversion: u8) -> Option<&'static [u8]> {
    Some(match conversion {
        b'F' => b"%Y-%m-%d",
        b'T' | b'X' => b"%H:%M:%S",
        b'R' => b"%H:%M",
        b'D' | b'x' => b"%m/%d/%y",
        b'r' => b"%I:%M:%S %p",
        b'c' => b"%a %b %e %H:%M:%S %Y",
        _ => return None,
    })
}

fn name(names: &[&'static str], index: i64) -> &'static str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or("???")
}

/// What `STRPTIME` has read so far.
#[derive(Debug)]
struct Reading {
    year: i64,
    month: i64,
    day: i64,
    yearday: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    fraction: f64,
    offset: i64,
    afternoon: Option<bool>,
    seconds: Option<i64>,
}

/// The seconds since 1970 that `text`, written as `format` says, stands for; nothing if
/// it does not fit. What the format leaves out is that of 1970-01-01 00:00:00 UTC.
#[expect(clippy::cast_precision_loss, reason = "every accepted year is exact in a float")]
pub(super) fn parse(text: &[u8], format: &[u8]) -> Option<f64> {
    let mut reading = Reading {
        year: 1970,
        month: 1,
        day: 1,
        yearday: None,
        hour: 0,
        minute: 0,
        second: 0,
        fraction: 0.0,
        offset: 0,
        afternoon: None,
        seconds: None,
    };
    let rest = read(format, text, &mut reading)?;
    if !rest.is_empty() {
        return None;
    }
    if let Some(seconds) = reading.seconds {
        return Some(seconds as f64 + reading.fraction);
    }
    let hour = match reading.afternoon {
        None => reading.hour,
        Some(afternoon) => reading.hour % 12 + if afternoon { 12 } else { 0 },
    };
    let days = match reading.yearday {
        Some(yearday) => days_of(reading.year, 1, 1) + yearday - 1,
        None => {
            let days = days_of(reading.year, reading.month, reading.day);
            if civil(days) != (reading.year, reading.month, reading.day) {
                return None; // the 31st of February
            }
            days
        }
    };
    let seconds = days * DAY + hour * 3600 + reading.minute * 60 + reading.second - reading.offset;
    Some(seconds as f64 + reading.fraction)
}

fn read<'t>(format: &[u8], mut text: &'t [u8], reading: &mut Reading) -> Option<&'t [u8]> {
    let mut rest = format;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        text = match (byte, tail) {
            (b'%', [b'0', b'1'..=b'9', b'f', tail @ ..] | [b'f', tail @ ..]) => {
                rest = tail;
                read_fraction(text, reading)?
            }
            (b'%', [conversion, tail @ ..]) => {
                rest = tail;
                read_conversion(*conversion, text, reading)?
            }
            (blank, _) if blank.is_ascii_whitespace() => text.trim_ascii_start(),
            (byte, _) => text.strip_prefix(&[byte])?,
        };
    }
    Some(text)
}

fn read_conversion<'t>(conversion: u8, text: &'t [u8], reading: &mut Reading) -> Option<&'t [u8]> {
    let (field, longest, range) = match conversion {
        b'Y' => (&mut reading.year, 4, 0..=9999),
        b'm' => (&mut reading.month, 2, 1..=12),
        b'd' | b'e' => (&mut reading.day, 2, 1..=31),
        b'H' | b'k' => (&mut reading.hour, 2, 0..=23),
        b'I' | b'l' => (&mut reading.hour, 2, 1..=12),
        b'M' => (&mut reading.minute, 2, 0..=59),
        b'S' => (&mut reading.second, 2, 0..=60),
        b'j' => (reading.yearday.insert(0), 3, 1..=366),
        b's' => (reading.seconds.insert(0), 12, 0..=i64::MAX),
        b'y' => {
            let rest = read_integer(text, 2, 0..=99, &mut reading.year)?;
            reading.year += if reading.year < 69 { 2000 } else { 1900 };
            return Some(rest);
        }
        b'b' | b'B' | b'h' => {
            let (index, rest) = read_name(&MONTHS, text)?;
            reading.month = index + 1;
            return Some(rest);
        }
        b'a' | b'A' => return read_name(&WEEKDAYS, text).map(|(_, rest)| rest),
        b'p' => {
            let (half, rest) = text.split_at_checked(2)?;
            reading.afternoon =
                Some(if half.eq_ignore_ascii_case(b"PM") { true } else { !half.eq_ignore_ascii_case(b"AM") });
            let known = half.eq_ignore_ascii_case(b"PM") || half.eq_ignore_ascii_case(b"AM");
            return known.then_some(rest);
        }
        b'z' | b'Z' => return read_zone(text, reading),
        b'n' | b't' => return Some(text.trim_ascii_start()),
        b'%' => return text.strip_prefix(b"%"),
        _ => return read(composite(conversion)?, text, reading),
    };
    read_integer(text, longest, range, field)
}

fn read_integer<'t>(
    text: &'t [u8],
    longest: usize,
    range: std::ops::RangeInclusive<i64>,
    into: &mut i64,
) -> Option<&'t [u8]> {
    let text = text.trim_ascii_start();
    let length = text.iter().take(longest).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    *into = std::str::from_utf8(digits).ok()?.parse().ok()?;
    range.contains(into).then_some(rest)
}

fn read_fraction<'t>(text: &'t [u8], reading: &mut Reading) -> Option<&'t [u8]> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    reading.fraction = format!("0.{}", std::str::from_utf8(digits).ok().filter(|digits| !digits.is_empty())?)
        .parse()
        .ok()?;
    Some(rest)
}

/// `Z`, `UTC`, `GMT`, `+hhmm` or `+hh:mm`.
fn read_zone<'t>(text: &'t [u8], reading: &mut Reading) -> Option<&'t [u8]> {
    for name in [&b"UTC"[..], b"GMT", b"Z"] {
        if let Some(rest) = text.strip_prefix(name) {
            return Some(rest);
        }
    }
    let (sign, rest) = text.split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (mut hours, mut minutes) = (0, 0);
    let rest = read_integer(rest, 2, 0..=23, &mut hours)?;
    let rest = read_integer(rest.strip_prefix(b":").unwrap_or(rest), 2, 0..=59, &mut minutes)?;
    reading.offset = sign * (hours * 3600 + minutes * 60);
    Some(rest)
}

/// A name in full or its first three letters, in any case.
fn read_name<'t>(names: &[&str], text: &'t [u8]) -> Option<(i64, &'t [u8])> {
    names.iter().zip(0_i64..).find_map(|(name, index)| {
        [name.len(), 3].into_iter().find_map(|length| {
            let (start, rest) = text.split_at_checked(length)?;
            start.eq_ignore_ascii_case(&name.as_bytes()[..length]).then_some((index, rest))
        })
    })
}
