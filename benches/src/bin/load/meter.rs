//! The clock of what is measured by the message, and the report made of it.
//!
//! Owns what counts: everything after the first message up to and with the last. Never reads a clock in between.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::system;

/// What had been used at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    at: Instant,
    cpu: Duration,
    allocations: u64,
}

impl Reading {
    /// Begins: the clock is read last.
    pub(crate) fn first() -> Self {
        let (cpu, allocations) = (benches::system::cpu(), system::allocations());
        Self { at: Instant::now(), cpu, allocations }
    }

    /// Ends: the clock is read first.
    pub(crate) fn last() -> Self {
        Self { at: Instant::now(), allocations: system::allocations(), cpu: benches::system::cpu() }
    }
}

/// Counts messages until so many came.
#[derive(Debug)]
pub(crate) struct Meter {
    wanted: u64,
    seen: u64,
    /// Of the bodies behind the first one.
    bytes: u64,
    first: Option<Reading>,
}

impl Meter {
    /// For `wanted` messages, two at least.
    pub(crate) const fn new(wanted: u64) -> Self {
        Self { wanted, seen: 0, bytes: 0, first: None }
    }

    /// Counts a message with a body of so many bytes; the result once it was the last one.
    #[inline]
    pub(crate) fn see(&mut self, body: usize) -> Option<Measured> {
        self.seen += 1;
        let Some(first) = self.first else {
            self.first = Some(Reading::first());
            return None;
        };
        self.bytes += body as u64;
        (self.seen == self.wanted).then(|| Measured::new(first, Reading::last(), self.seen - 1, self.bytes))
    }

    /// Messages so far.
    pub(crate) const fn seen(&self) -> u64 {
        self.seen
    }
}

/// What so many messages took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    messages: u64,
    bytes: u64,
    took: Duration,
    cpu: Duration,
    allocations: u64,
}

impl Measured {
    /// Between two readings there were so many messages, with so many bytes in their bodies.
    pub(crate) fn new(first: Reading, last: Reading, messages: u64, bytes: u64) -> Self {
        Self {
            messages,
            bytes,
            took: last.at.saturating_duration_since(first.at),
            cpu: last.cpu.saturating_sub(first.cpu),
            allocations: last.allocations.saturating_sub(first.allocations),
        }
    }

    /// The report. Says on stderr if bodies are not of the size that was expected.
    pub(crate) fn report(&self, expected: Option<u64>) -> Value {
        let each = |amount: f64| amount / self.messages.max(1) as f64;
        // No clock is finer than that.
        let seconds = self.took.max(Duration::from_nanos(1)).as_secs_f64();
        let body = each(self.bytes as f64);
        if let Some(expected) = expected.filter(|expected| (*expected as f64 - body).abs() > 0.5) {
            eprintln!("note: bodies have {body:.1} bytes on average, and not {expected}");
        }
        json!({
            "msgs_per_s": rounded(self.messages as f64 / seconds, 1),
            "body_MBps": rounded(self.bytes as f64 / seconds / 1e6, 3),
            "cpu_ns_per_msg": rounded(each(self.cpu.as_nanos() as f64), 1),
            "maxrss_mb": rounded(benches::system::max_rss_kb() as f64 / 1024.0, 2),
            "allocs_per_msg": rounded(each(self.allocations as f64), 6),
        })
    }
}

/// So many digits behind the point; nobody reads more.
pub(crate) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_starts_the_clock_and_counts_for_nothing_else() {
        let mut meter = Meter::new(3);
        assert!(meter.see(1000).is_none());
        assert!(meter.see(10).is_none());
        let measured = meter.see(20).unwrap();
        assert_eq!((measured.messages, measured.bytes, meter.seen()), (2, 30, 3));
        assert!(meter.see(10).is_none(), "once only");
    }

    #[test]
    fn a_report_is_per_message_and_per_second() {
        let began = Instant::now();
        let first = Reading { at: began, cpu: Duration::from_millis(100), allocations: 7 };
        let last =
            Reading { at: began + Duration::from_secs(2), cpu: Duration::from_millis(101), allocations: 12 };
        let report = Measured::new(first, last, 1000, 128_000).report(Some(128));
        assert_eq!(report["msgs_per_s"], 500.0);
        assert_eq!(report["body_MBps"], 0.064);
        assert_eq!(report["cpu_ns_per_msg"], 1000.0);
        assert_eq!(report["allocs_per_msg"], 0.005);
    }
}
