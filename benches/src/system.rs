//! What is asked of the system: to run on one processor, to open many sockets, and what it knows of this process.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, Usage, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

/// Runs `f` on one processor, and so every thread that it starts, for as long as that lives.
///
/// # Panics
/// When there is no such processor.
pub fn on_processor<T>(number: usize, f: impl FnOnce() -> T) -> T {
    let before = sched_getaffinity(Pid::from_raw(0)).expect("an affinity");
    let mut one = CpuSet::new();
    one.set(number).expect("a processor");
    sched_setaffinity(Pid::from_raw(0), &one).expect("a processor");
    let result = f();
    sched_setaffinity(Pid::from_raw(0), &before).expect("the processors from before");
    result
}

/// The processors that this process may run on.
///
/// # Panics
/// When the system does not say.
pub fn processors() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("an affinity");
    (0..CpuSet::count()).filter(|number| allowed.is_set(*number).unwrap_or(false)).collect()
}

/// Opens as many sockets as the system allows from now on, and says how many that are.
///
/// # Panics
/// When the system does not say.
pub fn open_many() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the limit");
    hard
}

/// Processor time of all threads, as user and as system; nothing where the system does not say.
pub fn cpu() -> Duration {
    usage().map_or(Duration::ZERO, |usage| time(usage.user_time()) + time(usage.system_time()))
}

/// The most resident memory that this process has ever had, in KiB.
pub fn max_rss_kb() -> u64 {
    let reported = usage().map_or(0, |usage| u64::try_from(usage.max_rss()).unwrap_or(0));
    // Apple counts bytes, everybody else KiB.
    if cfg!(target_vendor = "apple") { reported / 1024 } else { reported }
}

/// Resident memory in KiB: what it is now on Linux, elsewhere the most that it was.
pub fn rss_kb() -> u64 {
    status("VmRSS:").unwrap_or_else(max_rss_kb)
}

/// Threads of this process; `None` where the system does not say.
pub fn threads() -> Option<u64> {
    status("Threads:")
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
