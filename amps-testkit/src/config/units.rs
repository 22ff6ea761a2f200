//! Values with units: intervals, sizes, counts, shares, booleans (FMT-02, FMT-03).
//!
//! Every function takes trimmed text, and says in its error what to write instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Nanoseconds per unit, in any case of letters.
const INTERVALS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("d", 86_400 * NANOS_PER_SECOND),
    ("w", 604_800 * NANOS_PER_SECOND),
];
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Exponents count in tens, as documented; that the byte units count in twos is inferred
/// (FMT-03).
const SIZES: &[(&str, u128)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("kb", 1 << 10),
    ("mb", 1 << 20),
    ("gb", 1 << 30),
    ("tb", 1 << 40),
];

const COUNTS: &[(&str, u128)] =
    &[("", 1), ("k", 1_000), ("m", 1_000_000), ("g", 1_000_000_000), ("t", 1_000_000_000_000)];

/// A number and a unit; a bare number is seconds (FMT-02, inferred).
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let seconds = (!text.ends_with(|last: char| last.is_ascii_alphabetic())).then(|| format!("{text}s"));
    let nanos = scaled(seconds.as_deref().unwrap_or(text), INTERVALS);
    let duration = nanos.and_then(|nanos| {
        let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
        Some(Duration::new(seconds, u32::try_from(nanos % NANOS_PER_SECOND).ok()?))
    });
    duration.ok_or_else(|| {
        format!(
            "\"{text}\" is not an interval; write a number and one of ns, us, ms, s, m, h, d, w, such as 30s"
        )
    })
}

/// Bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    whole(text, SIZES).ok_or_else(|| {
        format!(
            "\"{text}\" is not a size; write a number, alone or with k, M, G, kb, mb, gb, tb, such as 10MB"
        )
    })
}

/// A number of things.
pub(super) fn count(text: &str) -> Result<u64, String> {
    whole(text, COUNTS).ok_or_else(|| {
        format!("\"{text}\" is not a count; write a whole number, alone or with k or M, such as 10k")
    })
}

/// As [`count`], within 32 bits.
pub(super) fn small_count(text: &str) -> Result<u32, String> {
    let count = count(text)?;
    u32::try_from(count).map_err(|_| format!("\"{text}\" is too much; write at most {}", u32::MAX))
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "enabled" | "true" => Ok(true),
        "disabled" | "false" => Ok(false),
        _ => Err(format!("\"{text}\" is neither true nor false; write enabled, disabled, true or false")),
    }
}

/// A share in percent, with or without the sign.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse().ok();
    let share = number.filter(|number| *number <= 100);
    share.ok_or_else(|| format!("\"{text}\" is not a share; write a number from 0 to 100 and %, such as 50%"))
}

/// A byte by its number.
pub(super) fn byte(text: &str) -> Result<u8, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is not the number of a byte; write one from 0 to 255, such as 1"))
}

/// `PORT`, `HOST:PORT` or `[IPv6]:PORT`, as an address of this machine only: what a production
/// file names is usually not this machine (CI-02).
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u16 = port.parse().map_err(|_| {
        format!("\"{text}\" is not an address; write a port or an address and a port, such as 127.0.0.1:9007")
    })?;
    let six = host.starts_with('[');
    let ip = if six { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    Ok(SocketAddr::new(ip, port))
}

/// Whether an address is one of this machine already.
pub(super) fn is_loopback(text: &str) -> bool {
    text.parse::<u16>().is_ok()
        || text.starts_with("127.")
        || text.starts_with("localhost:")
        || text.starts_with("[::1]")
}

fn whole(text: &str, units: &[(&str, u128)]) -> Option<u64> {
    u64::try_from(scaled(text, units)?).ok()
}

/// A number with an optional fraction, times its unit; `None` if the result is no whole
/// number.
fn scaled(text: &str, units: &[(&str, u128)]) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let (digits, fraction) = number.split_once('.').unwrap_or((number, ""));
    if digits.is_empty() || (fraction.is_empty() && number.contains('.')) {
        return None;
    }
    let units = digits.parse::<u128>().ok()?.checked_mul(*factor)?;
    let Ok(places) = u32::try_from(fraction.len()) else { return None };
    let parts = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()?.checked_mul(*factor)? };
    let divisor = 10_u128.checked_pow(places)?;
    (parts % divisor == 0).then(|| units.checked_add(parts / divisor))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_units_in_any_case() {
        let table = [
            ("250us", Duration::from_micros(250)),
            ("1ns", Duration::from_nanos(1)),
            ("100ms", Duration::from_millis(100)),
            ("30s", Duration::from_secs(30)),
            ("30", Duration::from_secs(30)),
            ("0s", Duration::ZERO),
            ("5M", Duration::from_secs(300)),
            ("2 h", Duration::from_secs(7_200)),
            ("1.5d", Duration::from_secs(129_600)),
            ("0.5", Duration::from_millis(500)),
            ("1W", Duration::from_secs(604_800)),
        ];
        for (text, duration) in table {
            assert_eq!(interval(text), Ok(duration), "{text}");
        }
        let huge = format!("{}w", u64::MAX);
        for text in ["", "s", "-1s", "5x", "1.s", ".5s", "1.2.3s", "1e3", "0.1ns", "5 s s", "enabled", &huge]
        {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_count_in_twos_and_exponents_in_tens() {
        let table = [
            ("0", 0),
            ("512", 512),
            ("10k", 10_000),
            ("2G", 2_000_000_000),
            ("1KB", 1_024),
            ("10MB", 10 << 20),
            ("1.5gb", 3 << 29),
            ("1TB", 1 << 40),
        ];
        for (text, bytes) in table {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "10MiB", "1.0001kb", "-1", "99999999999999999999tb"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_whole() {
        assert_eq!(count("1000"), Ok(1_000));
        assert_eq!(count("1.5k"), Ok(1_500));
        assert_eq!(count("2M"), Ok(2_000_000));
        assert!(count("1.5").is_err());
        assert!(count("1kb").is_err());
        assert!(small_count("5G").is_err());
    }

    #[test]
    fn booleans_are_words() {
        for text in ["enabled", "TRUE", "True"] {
            assert_eq!(boolean(text), Ok(true));
        }
        for text in ["disabled", "false"] {
            assert_eq!(boolean(text), Ok(false));
        }
        for text in ["", "1", "yes", "on"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_bytes_and_addresses_have_bounds() {
        assert_eq!(percent("50%"), Ok(50));
        assert_eq!(percent("100"), Ok(100));
        assert!(percent("101%").is_err() && percent("%").is_err() && percent("x").is_err());
        assert_eq!(byte("1"), Ok(1));
        assert!(byte("256").is_err() && byte("|").is_err());
        assert_eq!(loopback("9007").unwrap().to_string(), "127.0.0.1:9007");
        assert_eq!(loopback("0.0.0.0:9007").unwrap().to_string(), "127.0.0.1:9007");
        assert_eq!(loopback("amps1.example.com:9007").unwrap().to_string(), "127.0.0.1:9007");
        assert_eq!(loopback("[::]:9007").unwrap().to_string(), "[::1]:9007");
        assert!(loopback("localhost").is_err() && loopback("").is_err() && loopback("70000").is_err());
    }
}
