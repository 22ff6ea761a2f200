//! What is looked at every second, and whether it stays where it is.

use std::fmt::Write as _;
use std::fs;

/// One look at this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Bytes of resident memory.
    pub(super) memory: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    /// Messages that have arrived since the start.
    pub(super) messages: u64,
    /// Logons since the start, but for the first of each client.
    pub(super) reconnects: u64,
    /// Bytes of resident memory of the server, which is a process of its own: it keeps a log.
    pub(super) server: u64,
}

impl Sample {
    /// Looks at this process and at the server's.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub(super) fn take(messages: u64, reconnects: u64, server: u32) -> Result<Self, String> {
        let descriptors = fs::read_dir("/proc/self/fd").map_err(|error| format!("/proc/self/fd: {error}"))?;
        Ok(Self {
            memory: status("self", "VmRSS:")? * 1024,
            // The look itself takes one.
            descriptors: (descriptors.count() as u64).saturating_sub(1),
            threads: status("self", "Threads:")?,
            messages,
            reconnects,
            server: status(&server.to_string(), "VmRSS:")? * 1024,
        })
    }
}

fn status(process: &str, field: &str) -> Result<u64, String> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| format!("{path} has no {field}"))
}

/// All samples as a table, a line for each second.
pub(super) fn csv(samples: &[Sample]) -> String {
    let mut out =
        "second,memory_bytes,descriptors,threads,messages,reconnects,server_memory_bytes\n".to_owned();
    for (second, sample) in samples.iter().enumerate() {
        let Sample { memory, descriptors, threads, messages, reconnects, server } = sample;
        // Writing to a string does not fail.
        let _ = writeln!(out, "{second},{memory},{descriptors},{threads},{messages},{reconnects},{server}");
    }
    out
}

/// By how much the median of the last third may exceed that of the second: a share of it, or so much.
pub(super) struct Tolerance {
    pub(super) percent: u64,
    pub(super) least: u64,
}

/// The medians of the second and of the last third, and whether the last stays within the tolerance.
pub(super) fn flat(values: &[u64], tolerance: &Tolerance) -> (u64, u64, bool) {
    let third = values.len() / 3;
    let second = median(values.get(third..third * 2).unwrap_or_default());
    let last = median(values.get(third * 2..).unwrap_or_default());
    let more = (second * tolerance.percent / 100).max(tolerance.least);
    (second, last, last <= second + more)
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { percent: 3, least: 2 };

    #[test]
    fn what_grows_is_not_flat_and_a_peak_or_the_beginning_does_not_count() {
        let growing: Vec<u64> = (0..300).map(|second| 1000 + second).collect();
        assert_eq!(flat(&growing, &TOLERANCE), (1150, 1250, false));
        let mut settled: Vec<u64> = (0..300).map(|second| second.min(50)).collect();
        settled[290] = 1_000_000;
        assert_eq!(flat(&settled, &TOLERANCE), (50, 50, true));
        let shrinking: Vec<u64> = (0..300).rev().collect();
        assert!(flat(&shrinking, &TOLERANCE).2);
    }

    #[test]
    fn a_share_or_a_number_more_is_tolerated() {
        let step = |second: u64, last: u64| [[second; 10], [second; 10], [last; 10]].concat();
        assert!(flat(&step(1000, 1030), &TOLERANCE).2);
        assert!(!flat(&step(1000, 1031), &TOLERANCE).2);
        assert!(flat(&step(10, 12), &TOLERANCE).2);
        assert!(!flat(&step(10, 13), &TOLERANCE).2);
    }

    #[test]
    fn this_process_has_memory_descriptors_and_threads() {
        let sample = Sample::take(7, 8, std::process::id()).unwrap();
        assert!(sample.memory > 1 << 20 && sample.descriptors >= 3 && sample.threads >= 1, "{sample:?}");
        let table = csv(&[sample, sample]);
        assert_eq!(table.lines().count(), 3);
        assert!(table.lines().last().unwrap().starts_with("1,") && table.contains(",7,8,"), "{table}");
    }
}
