//! What is asked of the system: to run on one processor, to open many sockets, what it has used.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
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

/// Processor time of this process.
///
/// # Panics
/// When the system does not say.
pub fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("usage");
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

/// Resident memory, in KiB.
///
/// # Panics
/// Where there is no `/proc`.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
