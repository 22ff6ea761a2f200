//! What the system knows of this process: time, memory, threads, descriptors.
//!
//! Never measures anything by itself; `meter` and the commands say when.

use std::time::Duration;

use nix::sys::resource::{Resource, Usage, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;
use stats_alloc::INSTRUMENTED_SYSTEM;

use crate::failure::Failure;

/// What a process has open besides the sockets of its clients: files, the loop, and room to spare.
const OTHER_DESCRIPTORS: u64 = 64;

/// Processor time of all threads, as user and as system; nothing where the system does not say.
pub(crate) fn cpu() -> Duration {
    usage().map_or(Duration::ZERO, |usage| time(usage.user_time()) + time(usage.system_time()))
}

/// The most resident memory that this process has ever had, in KiB.
pub(crate) fn max_rss_kb() -> u64 {
    let reported = usage().map_or(0, |usage| u64::try_from(usage.max_rss()).unwrap_or(0));
    // Apple counts bytes, everybody else KiB.
    if cfg!(target_vendor = "apple") { reported / 1024 } else { reported }
}

/// Resident memory in KiB: what it is now on Linux, elsewhere the most that it was.
pub(crate) fn rss_kb() -> u64 {
    status("VmRSS:").unwrap_or_else(max_rss_kb)
}

/// Threads of this process; `None` where the system does not say.
pub(crate) fn threads() -> Option<u64> {
    status("Threads:")
}

/// How often memory was asked for since the start, by any thread, what grew included.
pub(crate) fn allocations() -> u64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// Makes room for the sockets of so many clients, up to what the system allows.
///
/// # Errors
/// It does not allow as many.
pub(crate) fn allow_clients(clients: u64) -> Result<(), Failure> {
    let needed = clients.saturating_add(OTHER_DESCRIPTORS);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(Failure::Descriptors { clients, needed, limit: hard });
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard)?;
    Ok(())
}

fn usage() -> Option<Usage> {
    getrusage(UsageWho::RUSAGE_SELF).ok()
}

fn time(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

fn status(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        assert!(max_rss_kb() > 100 && rss_kb() > 100);
        let before = allocations();
        let made = std::hint::black_box(vec![0_u8; 100]);
        assert!(allocations() > before, "{}", made.len());
    }

    #[test]
    fn more_clients_than_the_system_allows_are_refused_with_the_limit() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        if hard < u64::MAX - OTHER_DESCRIPTORS {
            let refused = allow_clients(hard).unwrap_err().to_string();
            assert!(refused.contains(&hard.to_string()), "{refused}");
        }
        allow_clients(1).unwrap();
    }
}
